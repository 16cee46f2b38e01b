-- Conversations on the fake transport: what goes into the history, and what never does.
local fake = require "spec.support.fake"
local lmm = require "lmm"
local test = require "spec.support.test"

local picture = "spec/media/baseline.jpg"

test.case("the history grows with each answer, the system message first", function()
  local net = fake.net { fake.whole "one", fake.answer("t", "wo"), fake.whole "three" }
  local chat = net:connect():conversation { system = "Be brief.", temperature = 0 }
  assert(chat:ask "first")
  for _ in chat:stream "second" do end
  assert(chat:ask("third", { temperature = 1 }))
  test.equal(net.requests[3].body.messages, {
    { role = "system", content = "Be brief." },
    { role = "user", content = "first" }, { role = "assistant", content = "one" },
    { role = "user", content = "second" }, { role = "assistant", content = "two" },
    { role = "user", content = "third" },
  })
  test.equal({ net.requests[1].body.temperature, net.requests[3].body.temperature }, { 0, 1 })
  test.equal(#chat.messages, 7)
end)

test.case("parts keep their order; raw parts go as they are; ours do not go at all", function()
  local net = fake.net { fake.whole "a" }
  local chat = net:connect():conversation()
  assert(chat:ask("before", lmm.image(picture, { detail = "low", uuid = "u1" }), { type = "text", text = "raw" },
    lmm.image "https://host/x.png", "after", { timeout = 9, max_tokens = 5 }))
  local body = net.requests[1].body
  local content = body.messages[1].content
  test.equal(#content, 5)
  test.equal({ content[1].text, content[3].text, content[5].text }, { "before", "raw", "after" })
  test.match(content[2].image_url.url, "^data:image/jpeg;base64,/9j/")
  test.equal({ content[2].type, content[2].image_url.detail, content[2].uuid }, { "image_url", "low", "u1" })
  test.equal(content[4], { type = "image_url", image_url = { url = "https://host/x.png" } })
  test.equal({ body.timeout, body.max_tokens }, { nil, 5 })
  assert(chat:ask "again") -- the picture goes along again, from its file
  test.match(net.requests[2].text, "data:image")
end)

test.case("an exchange that fails or is cancelled leaves the history as it was", function()
  local broken = fake.streamed { fake.delta "half" }
  local cases = {
    function(chat) test.refused("400", chat:ask "q") end,
    function(chat) test.refused("broke off", chat:stream("q"):reply()) end,
    function(chat)
      local stream = chat:stream "q"
      stream:next()
      stream:cancel()
    end,
    function(chat) test.refused("No such file", chat:ask("q", lmm.image "gone.jpg")) end,
    function(chat) test.raises("there is nothing to ask", chat.ask, chat) end,
  }
  for i, case in ipairs(cases) do
    local replies = { fake.whole "one", i == 1 and { status = 400 } or broken }
    local chat = fake.net(replies):connect({ retry = false }):conversation()
    assert(chat:ask "first")
    local before = #chat.messages
    case(chat)
    test.equal(#chat.messages, before, "case " .. i)
  end
end)

test.case("the next ask cancels an abandoned stream", function()
  local net = fake.net { fake.streamed { fake.delta "a", { pause = 50 }, fake.delta "b" }, fake.whole "c" }
  local chat = net:connect():conversation()
  local stream = chat:stream "q"
  test.equal(stream:next(), "a")
  assert(chat:ask "next")
  test.equal(net.transfers[1].closed, true)
  test.equal(stream.err.kind, "cancelled")
  test.equal(#chat.messages, 2)
end)

test.case("a stream that nobody holds any more is collected", function()
  local net = fake.net { fake.streamed { fake.delta "a", { pause = 50 }, fake.delta "b" } }
  local chat = net:connect():conversation()
  do
    local stream = chat:stream "q"
    stream:next()
  end
  collectgarbage()
  collectgarbage()
  test.equal(chat.current.stream, nil)
end)

test.case("a second ask while a task waits in the first raises, naming fork", function()
  local net = fake.net { fake.streamed { fake.delta "a", { pause = 50 }, fake.delta("b", "stop") }, fake.whole "other" }
  local chat = net:connect():conversation()
  local task = lmm.go(function() return chat:stream("q"):reply() end)
  test.raises("use conversation:fork%(%)", chat.ask, chat, "another")
  test.equal(assert(chat:fork():ask "another").text, "other")
  local ok, reply = task:wait()
  test.equal({ ok, reply.text }, { true, "ab" })
end)

test.case("cancel ends what the conversation does, from elsewhere", function()
  local chat = fake.net({ { hang = true } }):connect():conversation()
  local result
  lmm.go(function() return chat:ask "q" end, function(...) result = { ... } end)
  chat:cancel()
  fake.loop:wait({}, fake.loop:now() + 0.001)
  test.equal({ result[1], result[4].kind }, { true, "cancelled" })
  test.equal(#chat.messages, 0)
  chat:cancel()
end)

test.case("fork goes its own way, undo forgets the last exchange", function()
  local net = fake.net { fake.whole "1", fake.whole "2", fake.whole "3" }
  local chat = net:connect():conversation { system = "s", top_k = 1 }
  assert(chat:ask "a")
  local other = chat:fork()
  assert(other:ask "b")
  test.equal({ #chat.messages, #other.messages }, { 3, 5 })
  test.equal(net.requests[2].body.top_k, 1)
  other:undo()
  test.equal(#other.messages, 3)
  other:undo()
  other:undo()
  test.equal(other.messages, { { role = "system", content = "s" } })
end)

test.case("undo while an answer is under way", function()
  local slow = fake.streamed { fake.delta "a", { pause = 50 }, fake.delta("b", "stop") }
  local net = fake.net { fake.whole "1", slow, slow, slow }
  local chat = net:connect():conversation()
  assert(chat:ask "one")
  local task = lmm.go(function() return chat:stream("two"):reply() end)
  test.raises("this conversation waits for an answer", chat.undo, chat)
  task:wait()
  test.equal(#chat.messages, 4)
  local stream = chat:stream "three" -- which nobody reads on
  stream:next()
  chat:undo()
  test.equal({ #chat.messages, stream.err.kind, net.transfers[3].closed }, { 4, "cancelled", true })
  do
    local dropped = chat:stream "four"
    dropped:next()
  end
  collectgarbage()
  collectgarbage()
  chat:undo()
  test.equal(#chat.messages, 4)
  chat:undo()
  test.equal(#chat.messages, 2)
end)

test.case("tool calls of an answer stay in the history", function()
  local net = fake.net { fake.whole("", { tool_calls = { { id = "t", type = "function",
    ["function"] = { name = "f", arguments = "{}" } } } }), fake.whole "b" }
  local chat = net:connect():conversation()
  assert(chat:ask "a")
  assert(chat:ask "b")
  test.equal(net.requests[2].body.messages[2].tool_calls[1]["function"].name, "f")
end)

test.case("misuse disturbs no stream under way", function()
  local net = fake.net { fake.streamed { fake.delta "a", { pause = 5 }, fake.delta("b", "stop") } }
  local chat = net:connect():conversation()
  local stream = chat:stream "q"
  stream:next()
  test.raises("did you mean 'timeout'", chat.ask, chat, "q", { timeot = 1 })
  test.equal(assert(stream:reply()).text, "ab")
end)

test.case("misuse raises", function()
  local client = fake.net({ fake.whole "a" }):connect()
  local chat = client:conversation()
  test.raises("argument 1 is a number", chat.ask, chat, 5)
  test.raises("argument 1 is a table without 'type'", chat.ask, chat, { temperature = 1 })
  test.raises("argument 1 is a table without 'type'", chat.ask, chat, { temperature = 1 }, "q")
  test.raises("keeps its own messages", chat.ask, chat, "q", { messages = {} })
  test.raises("keeps its own messages", client.conversation, client, { messages = {} })
  test.raises("system is a string", client.conversation, client, { system = 1 })
  test.raises("a table of options", client.conversation, client, "system")
end)

test.case("an answer with a broken character can be sent back", function()
  local call = { id = "t\255", type = "function", ["function"] = { name = "f\255", arguments = '{"a":"\255"}' } }
  local net = fake.net { fake.whole("a\226\130b\255", { tool_calls = { call }, refusal = "no\195" }), fake.whole "b" }
  local chat = net:connect():conversation()
  test.equal(assert(chat:ask "a").text, "a\226\130b\255")
  assert(chat:ask "b")
  local message = net.requests[2].body.messages[2]
  call = message.tool_calls[1]
  test.equal({ message.content, message.refusal }, { "a\239\191\189b\239\191\189", "no\239\191\189" })
  test.equal({ call.id, call["function"].name, call["function"].arguments },
    { "t\239\191\189", "f\239\191\189", '{"a":"\239\191\189"}' })
end)

test.case("a refusal stays in the history", function()
  local net = fake.net { fake.whole(nil, { refusal = "I cannot." }), fake.whole "b" }
  local chat = net:connect():conversation()
  assert(chat:ask "a")
  assert(chat:ask "b")
  test.equal(net.requests[2].body.messages[2], { role = "assistant", content = "", refusal = "I cannot." })
end)

test.case("what was given does not change with the caller's tables", function()
  local net = fake.net { fake.whole "1", fake.whole "2", fake.whole "3" }
  local given, stop = { type = "text", text = "first" }, { "a" }
  local chat = net:connect():conversation { stop = stop, tools = lmm.array {} }
  assert(chat:ask(given, "and"))
  given.text, stop[1] = "changed", "b"
  local other = chat:fork()
  other.messages[1].content[1].text = "the fork's"
  assert(chat:ask "second")
  test.equal(net.requests[2].body.messages[1].content[1].text, "first")
  test.equal(net.requests[2].body.stop, { "a" })
  test.match(net.requests[2].text, '"tools":%[%]')
  local options = { stop = { "c" } }
  local stream = chat:stream("third", options)
  options.stop[1], chat.messages[1].content[1].text = "d", "edited later"
  assert(stream:reply())
  test.equal({ net.requests[3].body.stop, net.requests[3].body.messages[1].content[1].text }, { { "c" }, "first" })
end)

test.case("a table that holds itself, more than once, is refused", function()
  local a, b = {}, {}
  a.peers, b.peers = { a, b }, { a, b }
  local chat = fake.net({ fake.whole "1" }):connect():conversation { metadata = a }
  test.refused("nested more than 1000 deep: does it hold itself", chat:ask "q")
end)

test.case("what a question's answer is to be wins over what the conversation's are", function()
  local net = fake.net { fake.whole "{}" }
  local client, json_object = net:connect(), { type = "json_object" }
  assert(client:conversation({ response_format = json_object }):ask("q", { schema = { type = "object" } }))
  assert(client:conversation({ schema = { type = "object" } }):ask("q", { response_format = json_object }))
  test.equal({ net.requests[1].body.response_format.type, net.requests[2].body.response_format.type },
    { "json_schema", "json_object" })
end)

test.case("misuse of a conversation's options raises", function()
  local client = fake.net({ fake.whole "1" }):connect()
  test.raises("unknown option 'sytem' %(did you mean 'system'?", client.conversation, client, { sytem = "s" })
  local chat = client:conversation()
  test.raises("system is an option of client:conversation", chat.ask, chat, "q", { system = "s" })
  test.raises("argument 2 is a table without 'type'", chat.ask, chat, "q", { temperature = 1 }, "r")
  test.equal(#chat.messages, 0)
end)
