-- Conversations on the fake transport: what goes into the history, and what never does.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local picture = "spec/media/baseline.jpg"

describe("conversations", function()
  it("the history grows with each answer, the system message first", function()
    local net = fake.net { fake.whole "one", fake.answer("t", "wo"), fake.whole "three" }
    local chat = net:connect():conversation { system = "Be brief.", temperature = 0 }
    assert(chat:ask "first")
    for _ in chat:stream "second" do end
    assert(chat:ask("third", { temperature = 1 }))
    assert.same({
      { role = "system", content = "Be brief." },
      { role = "user", content = "first" }, { role = "assistant", content = "one" },
      { role = "user", content = "second" }, { role = "assistant", content = "two" },
      { role = "user", content = "third" },
    }, net.requests[3].body.messages)
    assert.same({ 0, 1 }, { net.requests[1].body.temperature, net.requests[3].body.temperature })
    assert.equal(7, #chat.messages)
  end)

  it("options without a question, and messages that are no list, are told", function()
    local chat = fake.net({}):connect():conversation()
    assert.raises("there is nothing to ask: pass a question", chat.ask, chat, { timeout = 1 })
    assert.raises("conversation_spec.lua:%d+: .*messages of a conversation are a list, not a string", function()
      chat.messages = "x"
    end)
  end)

  it("without a part the history is asked about, where it ends in a question", function()
    local net = fake.net { fake.whole "one", fake.whole "two" }
    local chat = net:connect():conversation()
    chat.messages = { { role = "user", content = "mine" } }
    assert.equal("one", assert(chat:ask()).text)
    assert.same({ { role = "user", content = "mine" } }, net.requests[1].body.messages)
    assert.raises("there is nothing to ask", chat.ask, chat)
    assert.same({ { role = "user", content = "mine" }, { role = "assistant", content = "one" } }, chat.messages)
    table.insert(chat.messages, { role = "tool", content = "4", tool_call_id = "a" })
    assert.equal("two", assert(chat:ask { temperature = 0 }).text)
    assert.equal(4, #chat.messages)
  end)

  it("what was said is sent in each turn as it was, and as the caller has changed it", function()
    local net = fake.net { fake.whole "a\n\"\195\164" }
    local chat = net:connect():conversation { system = "S" }
    chat.messages[1].content = "T"
    chat = chat:fork()
    local expected = { { role = "system", content = "T" } }
    for turn = 1, 4 do
      assert(chat:ask("q" .. turn))
      expected[2 * turn] = { role = "user", content = "q" .. turn }
      assert.same(expected, net.requests[turn].body.messages)
      expected[2 * turn + 1] = { role = "assistant", content = "a\n\"\195\164" }
    end
    chat.messages[2].content, expected[2].content = "changed", "changed"
    assert(chat:ask("q", lmm.image(picture)))
    local sent = net.requests[5].body.messages
    assert.equal("image_url", table.remove(sent).content[2].type)
    assert.same(expected, sent)
  end)

  it("forks go their own ways, whoever changes what in which order", function()
    local net = fake.net { fake.whole "a", fake.whole "b", fake.whole "c", fake.whole "d", fake.whole "e" }
    local chat = net:connect():conversation()
    assert(chat:ask "1")
    local fork = chat:fork()
    local third = fork:fork()
    assert(chat:ask "2") -- b
    assert(fork:ask "3") -- c
    third:undo()
    assert(third:ask "4") -- d
    fork.messages[1].content = "changed"
    local function said(of)
      local out = {}
      for i, message in ipairs(of.messages) do out[i] = message.content end
      return table.concat(out, " ")
    end
    assert.equal("1 a 2 b", said(chat))
    assert.equal("changed a 3 c", said(fork))
    assert.equal("4 d", said(third))
    local late = fork:fork()
    fork.messages[2].content = "later"
    assert(late:ask "5")
    assert.equal("changed a 3 c 5 e", said(late))
    assert.raises("model is empty", chat.ask, chat, "6", { model = "" })
    assert.equal("1 a 2 b", said(chat))
  end)

  it("a nil at the end is no argument", function()
    local net = fake.net { fake.whole "a" }
    local chat = net:connect():conversation()
    assert(chat:ask("q", nil))
    assert(chat:ask("r", { max_tokens = 5 }, nil))
    assert.equal("q", net.requests[1].body.messages[1].content)
    assert.equal(5, net.requests[2].body.max_tokens)
    assert.raises("argument 1 is a nil", function() chat:ask(nil, "q") end)
  end)

  it("parts keep their order; raw parts go as they are; ours do not go at all", function()
    local net = fake.net { fake.whole "a" }
    local chat = net:connect():conversation()
    assert(chat:ask("before", lmm.image(picture, { detail = "low", uuid = "u1", trust_uuid = true }),
      { type = "text", text = "raw" },
      lmm.image "https://host/x.png", "after", { timeout = 9, max_tokens = 5 }))
    local body = net.requests[1].body
    local content = body.messages[1].content
    assert.equal(5, #content)
    assert.same({ "before", "raw", "after" }, { content[1].text, content[3].text, content[5].text })
    assert.matches("^data:image/jpeg;base64,/9j/", content[2].image_url.url)
    assert.same({ "image_url", "low", "u1" }, { content[2].type, content[2].image_url.detail, content[2].uuid })
    assert.same({ type = "image_url", image_url = { url = "https://host/x.png" } }, content[4])
    assert.same({ nil, 5 }, { body.timeout, body.max_tokens })
    assert(chat:ask "again") -- the picture goes along again, from its file
    assert.matches("data:image", net.requests[2].text)
  end)

  it("an exchange that fails or is cancelled leaves the history as it was", function()
    local broken = fake.streamed { fake.delta "half" }
    local cases = {
      function(chat) assert.refused("400", chat:ask "q") end,
      function(chat) assert.refused("broke off", chat:stream("q"):reply()) end,
      function(chat)
        local stream = chat:stream "q"
        stream:next()
        stream:cancel()
      end,
      function(chat) assert.refused("No such file", chat:ask("q", lmm.image "gone.jpg")) end,
      function(chat) assert.raises("there is nothing to ask", chat.ask, chat) end,
    }
    for i, case in ipairs(cases) do
      local replies = { fake.whole "one", i == 1 and { status = 400 } or broken }
      local chat = fake.net(replies):connect({ retry = false }):conversation()
      assert(chat:ask "first")
      local before = #chat.messages
      case(chat)
      assert.equal(before, #chat.messages, "case " .. i)
    end
  end)

  it("the next ask cancels an abandoned stream", function()
    local net = fake.net { fake.streamed { fake.delta "a", { pause = 50 }, fake.delta "b" }, fake.whole "c" }
    local chat = net:connect():conversation()
    local stream = chat:stream "q"
    assert.equal("a", stream:next())
    assert(chat:ask "next")
    assert.is_true(net.transfers[1].closed)
    assert.equal("cancelled", stream.err.kind)
    assert.equal(2, #chat.messages)
  end)

  it("a stream that nobody holds any more is collected", function()
    local net = fake.net { fake.streamed { fake.delta "a", { pause = 50 }, fake.delta "b" } }
    local chat = net:connect():conversation()
    do
      local stream = chat:stream "q"
      stream:next()
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(chat.current.stream)
  end)

  it("a second ask while a task waits in the first raises, naming fork", function()
    local net = fake.net { fake.streamed { fake.delta "a", { pause = 50 }, fake.delta("b", "stop") },
      fake.whole "other" }
    local chat = net:connect():conversation()
    local task = lmm.go(function() return chat:stream("q"):reply() end)
    assert.raises("use conversation:fork%(%)", chat.ask, chat, "another")
    assert.equal("other", assert(chat:fork():ask "another").text)
    local ok, reply = task:wait()
    assert.same({ true, "ab" }, { ok, reply.text })
  end)

  it("cancel ends what the conversation does, from elsewhere", function()
    local chat = fake.net({ { hang = true } }):connect():conversation()
    local result
    lmm.go(function() return chat:ask "q" end, function(...) result = { ... } end)
    chat:cancel()
    fake.loop:wait({}, fake.loop:now() + 0.001)
    assert.same({ true, "cancelled" }, { result[1], result[4].kind })
    assert.equal(0, #chat.messages)
    chat:cancel()
  end)

  it("fork goes its own way, undo forgets the last exchange", function()
    local net = fake.net { fake.whole "1", fake.whole "2", fake.whole "3" }
    local chat = net:connect():conversation { system = "s", top_k = 1 }
    assert(chat:ask "a")
    local other = chat:fork()
    assert(other:ask "b")
    assert.same({ 3, 5 }, { #chat.messages, #other.messages })
    assert.equal(1, net.requests[2].body.top_k)
    other:undo()
    assert.equal(3, #other.messages)
    other:undo()
    other:undo()
    assert.same({ { role = "system", content = "s" } }, other.messages)
  end)

  it("undo while an answer is under way", function()
    local slow = fake.streamed { fake.delta "a", { pause = 50 }, fake.delta("b", "stop") }
    local net = fake.net { fake.whole "1", slow, slow, slow }
    local chat = net:connect():conversation()
    assert(chat:ask "one")
    local task = lmm.go(function() return chat:stream("two"):reply() end)
    assert.raises("this conversation waits for an answer", chat.undo, chat)
    task:wait()
    assert.equal(4, #chat.messages)
    local stream = chat:stream "three" -- which nobody reads on
    stream:next()
    chat:undo()
    assert.same({ 4, "cancelled", true }, { #chat.messages, stream.err.kind, net.transfers[3].closed })
    do
      local dropped = chat:stream "four"
      dropped:next()
    end
    collectgarbage()
    collectgarbage()
    chat:undo()
    assert.equal(4, #chat.messages)
    chat:undo()
    assert.equal(2, #chat.messages)
  end)

  it("tool calls of an answer stay in the history", function()
    local net = fake.net { fake.whole("", { tool_calls = { { id = "t", type = "function",
      ["function"] = { name = "f", arguments = "{}" } } } }), fake.whole "b" }
    local chat = net:connect():conversation()
    assert(chat:ask "a")
    chat:result("t", "done")
    assert(chat:ask "b")
    assert.equal("f", net.requests[2].body.messages[2].tool_calls[1]["function"].name)
  end)

  it("misuse disturbs no stream under way", function()
    local net = fake.net { fake.streamed { fake.delta "a", { pause = 5 }, fake.delta("b", "stop") } }
    local chat = net:connect():conversation()
    local stream = chat:stream "q"
    stream:next()
    assert.raises("did you mean 'timeout'", chat.ask, chat, "q", { timeot = 1 })
    assert.equal("ab", assert(stream:reply()).text)
  end)

  it("misuse raises", function()
    local client = fake.net({ fake.whole "a" }):connect()
    local chat = client:conversation()
    assert.raises("argument 1 is a number", chat.ask, chat, 5)
    assert.raises("there is nothing to ask: pass a question", chat.ask, chat, { temperature = 1 })
    assert.raises("argument 1 is a table without 'type'", chat.ask, chat, { temperature = 1 }, "q")
    assert.raises("keeps its own messages", chat.ask, chat, "q", { messages = {} })
    assert.raises("messages%[1%]%.role is missing", client.conversation, client, { messages = { {} } })
    assert.raises("system is a string", client.conversation, client, { system = 1 })
    assert.raises("a table of options", client.conversation, client, "system")
  end)

  it("an answer with a broken character can be sent back", function()
    local call = { id = "t\255", type = "function", ["function"] = { name = "f\255", arguments = '{"a":"\255"}' } }
    local net = fake.net { fake.whole("a\226\130b\255", { tool_calls = { call }, refusal = "no\195" }), fake.whole "b" }
    local chat = net:connect():conversation()
    local reply = assert(chat:ask "a")
    assert.equal("a\226\130b\255", reply.text)
    chat:result(reply.tool_calls[1], "done")
    assert(chat:ask "b")
    local message = net.requests[2].body.messages[2]
    call = message.tool_calls[1]
    assert.same({ "a\239\191\189b\239\191\189", "no\239\191\189" }, { message.content, message.refusal })
    assert.same({ "t\239\191\189", "f\239\191\189", '{"a":"\239\191\189"}' },
      { call.id, call["function"].name, call["function"].arguments })
  end)

  it("a refusal stays in the history", function()
    local net = fake.net { fake.whole(nil, { refusal = "I cannot." }), fake.whole "b" }
    local chat = net:connect():conversation()
    assert(chat:ask "a")
    assert(chat:ask "b")
    assert.same({ role = "assistant", content = "", refusal = "I cannot." }, net.requests[2].body.messages[2])
  end)

  it("what was given does not change with the caller's tables", function()
    local net = fake.net { fake.whole "1", fake.whole "2", fake.whole "3" }
    local given, stop = { type = "text", text = "first" }, { "a" }
    local chat = net:connect():conversation { stop = stop, tools = lmm.array {} }
    assert(chat:ask(given, "and"))
    given.text, stop[1] = "changed", "b"
    local other = chat:fork()
    other.messages[1].content[1].text = "the fork's"
    assert(chat:ask "second")
    assert.equal("first", net.requests[2].body.messages[1].content[1].text)
    assert.same({ "a" }, net.requests[2].body.stop)
    assert.matches('"tools":%[%]', net.requests[2].text)
    local options = { stop = { "c" } }
    local stream = chat:stream("third", options)
    options.stop[1], chat.messages[1].content[1].text = "d", "edited later"
    assert(stream:reply())
    assert.same({ { "c" }, "first" }, { net.requests[3].body.stop, net.requests[3].body.messages[1].content[1].text })
  end)

  it("a table that holds itself, more than once, is refused", function()
    local a, b = {}, {}
    a.peers, b.peers = { a, b }, { a, b }
    local chat = fake.net({ fake.whole "1" }):connect():conversation { metadata = a }
    assert.refused("nested more than 1000 deep: does it hold itself", chat:ask "q")
  end)

  it("what a question's answer is to be wins over what the conversation's are", function()
    local net = fake.net { fake.whole "{}" }
    local client, json_object = net:connect(), { type = "json_object" }
    assert(client:conversation({ response_format = json_object }):ask("q", { schema = { type = "object" } }))
    assert(client:conversation({ schema = { type = "object" } }):ask("q", { response_format = json_object }))
    assert.same({ "json_schema", "json_object" }, { net.requests[1].body.response_format.type,
      net.requests[2].body.response_format.type })
  end)

  it("misuse of a conversation's options raises", function()
    local client = fake.net({ fake.whole "1" }):connect()
    assert.raises("unknown option 'sytem' %(did you mean 'system'?", client.conversation, client, { sytem = "s" })
    for _, name in ipairs { "proxy", "tls", "unix_socket", "media_cache", "dialect", "limits", "prices" } do
      assert.raises("'" .. name .. "' is an option of lmm.connect, not of a conversation", client.conversation, client,
        { [name] = false })
    end
    assert.raises("the options are a part: ask and stream take those", client.conversation, client,
      lmm.image "spec/media/picture.png")
    local chat = client:conversation()
    assert.raises("system is an option of client:conversation", chat.ask, chat, "q", { system = "s" })
    assert.raises("argument 2 is a table without 'type'", chat.ask, chat, "q", { temperature = 1 }, "r")
    for _, list in ipairs { { "r" }, { lmm.image "spec/media/picture.png" } } do
      assert.raises("argument 2 is a list: pass what is in it one by one$", chat.ask, chat, "q", list)
      assert.raises("argument 1 is a list: pass what is in it one by one$", chat.ask, chat, list)
      assert.raises("argument 1 is a list: pass what is in it one by one$", chat.stream, chat, list, "q")
      assert.raises("unknown option '1': an option has a name$", client.conversation, client, list)
      assert.raises("unknown option 'true': an option has a name$", chat.ask, chat, "q", { [true] = 1 })
    end
    assert.equal(0, #chat.messages)
  end)
end)
