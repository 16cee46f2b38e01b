-- Going back and shortening: undo, edit, retry and trim keep calls and their results together, and change nothing where
-- they fail.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local function user(text) return { role = "user", content = text } end

local function said(text) return { role = "assistant", content = text } end

local function called(...)
  local calls = {}
  for i, id in ipairs { ... } do
    calls[i] = { id = id, type = "function", ["function"] = { name = "f", arguments = "{}" } }
  end
  return { role = "assistant", content = lmm.null, tool_calls = calls }
end

local function result(id) return { role = "tool", tool_call_id = id, content = "result of " .. id } end

--- What a conversation holds, in short: "system | 1 | a".
local function words(chat)
  local out = {}
  for i, message in ipairs(chat.messages) do
    local content = message.content
    out[i] = message.tool_calls and "calls" or type(content) == "string" and content or content[1].text
  end
  return table.concat(out, " | ")
end

--- A conversation with these messages, and its network, which answers as it is told.
local function begun(messages, ...)
  local net = fake.net { ... }
  return net:connect({ retry = false }):conversation { messages = messages }, net
end

local TOOLS = { { role = "system", content = "s" }, user "1", called("a", "b"), result "a", result "b", called "a",
  result "a", said "one", user "2", said "two", user "3", called "a", result "a", said "three" }

describe("messages to begin with", function()
  it("are the caller's no more, and stand behind the system message", function()
    local given = { user "1", said "one" }
    local net = fake.net { fake.whole "two" }
    local chat = net:connect():conversation { system = "s", messages = given }
    given[1].content, given[3] = "changed", user "x"
    assert(chat:ask "2")
    assert.equal("s | 1 | one | 2 | two", words(chat))
    assert.equal("1", net.requests[1].body.messages[2].content)
  end)

  it("that end in a question are asked about", function()
    local chat, net = begun({ user "1" }, fake.whole "one")
    assert.equal("one", assert(chat:ask()).text)
    assert.equal(1, #net.requests[1].body.messages)
  end)

  it("have to be messages", function()
    local client = fake.net({}):connect()
    for pattern, messages in pairs {
      ["messages is a string, not a list of messages"] = "x", ["messages%[1%] is a string"] = { "x" },
      ["messages is no list of messages: it has names or holes"] = { user "1", nil, said "one" },
      ["messages%[2%]%.role is missing"] = { user "1", { content = "x" } },
      ["messages%[1%]%.content is a number, not a list of parts"] = { user(5) },
      ["messages%[1%]%.content%[1%] is a number: a list of parts"] = { user { 5 } },
      ["messages%[1%]%.content is a part, not a list"] = { user(lmm.image(nil, { uuid = "u" })) },
      ["messages%[1%]%.tool_call_id is a number, not a text"] = { { role = "tool", tool_call_id = 5 } },
    } do
      assert.raises("turns_spec.lua:%d+: lmm: client:conversation: " .. pattern, function()
        client:conversation { messages = messages }
      end)
    end
    assert.raises("system stands in messages, too", client.conversation, client, { system = "s",
      messages = { { role = "system", content = "t" } } })
    local image = lmm.image(nil, { uuid = "u" })
    assert.equal(image, client:conversation { messages = { user { image, "text" } } }.messages[1].content[1])
  end)
end)

describe("undo", function()
  it("takes back a whole exchange, its rounds of tools too", function()
    local chat = begun(TOOLS)
    chat:undo()
    assert.equal("s | 1 | calls | result of a | result of b | calls | result of a | one | 2 | two", words(chat))
    chat:undo()
    chat:undo()
    assert.equal("s", words(chat))
    chat:undo()
    assert.equal("s", words(chat))
  end)

  it("parts no call from its result", function()
    local chat = begun { user "1", said "one", user "2", called("a", "b"), result "b", user "meanwhile", result "a" }
    chat:undo()
    assert.equal("1 | one", words(chat))
  end)

  it("goes back to the last question where results belong to no call", function()
    local chat = begun { user "1", said "one", user "2", result "x", said "two" }
    chat:undo()
    assert.equal("1 | one", words(chat))
  end)
end)

describe("edit", function()
  it("puts a question in the place of an earlier one, which the next ask asks", function()
    for n, expected in pairs { [1] = "s | new", [2] = "s | 1 | calls | result of a | result of b | calls | result of a"
      .. " | one | new", [-1] = "s | 1 | calls | result of a | result of b | calls | result of a | one | 2 | two | new",
      [-3] = "s | new" } do
      local chat, net = begun(TOOLS, fake.whole "answer")
      assert.is_nil(chat:edit(n, "new"))
      assert.equal(expected, words(chat))
      assert(chat:ask { temperature = 1 })
      assert.equal(expected .. " | answer", words(chat))
      assert.equal("new", net.requests[1].body.messages[#net.requests[1].body.messages].content)
    end
  end)

  it("takes what ask takes, and leaves forks alone", function()
    local chat = begun { user "1", said "one", user "2" }
    local fork = chat:fork()
    chat:edit(1, "look", lmm.image(nil, { uuid = "u" }))
    assert.same({ "look", "1 | one | 2" }, { words(chat), words(fork) })
    assert.equal("u", chat.messages[1].content[2].options.uuid)
  end)

  it("counts no question between a call and its result", function()
    local chat = begun { user "1", called "a", user "meanwhile", result "a", user "2" }
    chat:edit(2, "new")
    assert.equal("1 | calls | meanwhile | result of a | new", words(chat))
  end)

  it("without such a question, or with anything wrong, changes nothing", function()
    local chat = begun { user "1", said "one" }
    for _, n in ipairs { 2, 0, -2, 1.5 } do
      assert.raises("chat:edit: there is no question " .. tostring(n):gsub("%p", "%%%0") .. ", there is 1",
        chat.edit, chat, n, "x")
    end
    for what, n in pairs { ["string"] = "1", ["nil"] = false } do
      assert.raises("chat:edit takes the number of a question, not a " .. what, chat.edit, chat, n or nil, "x")
      assert.raises("chat:question takes the number of a question, not a " .. what, chat.question, chat, n or nil)
    end
    assert.raises("pass the question that is to stand there", chat.edit, chat, 1)
    assert.raises("takes no options", chat.edit, chat, 1, "x", { temperature = 1 })
    assert.raises("argument 1 is a number", chat.edit, chat, 1, 5)
    assert.equal("1 | one", words(chat))
    assert.raises("there is no question 1, there are 0", begun({}).edit, begun {}, 1, "x")
  end)

  it("ends a stream that nobody reads, and not one that somebody does", function()
    local streamed = fake.streamed { fake.delta "a", { pause = 50 }, fake.delta("b", "stop") }
    local chat, net = begun({ user "1", said "one" }, streamed)
    local stream = chat:stream "2"
    stream:next()
    chat:edit(1, "new")
    assert.is_true(net.transfers[1].closed)
    assert.equal("new", words(chat))
    local task = lmm.go(function() return chat:stream("3"):reply() end)
    assert.raises("use conversation:fork", chat.edit, chat, 1, "newer")
    assert(task:wait())
    assert.equal("new | 3 | ab", words(chat))
  end)
end)

describe("retry", function()
  it("asks the last question again and replaces its answer, tools and all", function()
    local chat, net = begun(TOOLS, fake.whole "better")
    local held = chat.messages
    assert.equal("better", assert(chat:retry { temperature = 1 }).text)
    local body = net.requests[1].body
    assert.same({ 1, "3" }, { body.temperature, body.messages[#body.messages].content })
    assert.equal("s | 1 | calls | result of a | result of b | calls | result of a | one | 2 | two | 3 | better",
      words(chat))
    assert.equal(held, chat.messages)
    assert.equal(1, chat.usage.requests)
  end)

  it("keeps the old answer where that fails or is cancelled", function()
    local chat = begun({ user "1", said "one" }, { status = 400 }, { hang = true })
    local fork = chat:fork()
    assert.refused("400", chat:retry())
    assert.equal("1 | one", words(chat))
    local task = lmm.go(function() return chat:retry() end)
    assert.raises("use conversation:fork", chat.ask, chat, "x")
    chat:cancel()
    local ok, reply, _, err = task:wait()
    assert.same({ true, nil, "cancelled" }, { ok, reply, err.kind })
    assert.same({ "1 | one", "1 | one" }, { words(chat), words(fork) })
  end)

  it("asks a question that has no answer yet", function()
    local chat = begun({ user "1", said "one" }, fake.whole "two")
    chat:edit(1, "2")
    assert(chat:retry())
    assert.equal("2 | two", words(chat))
  end)

  it("without a question, or with one, raises", function()
    local chat = begun { { role = "system", content = "s" } }
    assert.raises("chat:retry: there is no question yet", chat.retry, chat)
    for _, given in ipairs { "x", { "x" }, { type = "text", text = "x" },
      lmm.image "spec/media/picture.png" } do
      assert.raises("chat:retry takes a table of options, and no question", chat.retry, chat, given)
    end
  end)
end)

describe("trim", function()
  it("to turns drops the oldest whole ones, and keeps what the system says", function()
    for turns, expected in pairs { [1] = { 9, "s | 3 | calls | result of a | three" },
      [2] = { 7, "s | 2 | two | 3 | calls | result of a | three" }, [3] = { 0 }, [99] = { 0 } } do
      local chat = begun(TOOLS)
      local before = words(chat)
      assert.equal(expected[1], (chat:trim { turns = turns }))
      assert.equal(expected[2] or before, words(chat))
    end
  end)

  it("parts no call from its result, and keeps system messages where they stand", function()
    local chat = begun { said "hello", user "1", { role = "developer", content = "d" }, said "one", user "2",
      called "a", user "meanwhile", result "a", said "two" }
    assert.equal(3, chat:trim { turns = 1 })
    assert.equal("d | 2 | calls | meanwhile | result of a | two", words(chat))
    assert.equal(0, (begun({}):trim { turns = 1 }))
  end)

  it("leaves forks alone, and the list that the caller holds is the conversation's", function()
    local chat, net = begun({ user "1", said "one", user "2", said "two" }, fake.whole "three")
    local fork = chat:fork()
    local held = fork:fork().messages
    assert.equal(2, chat:trim { turns = 1 })
    assert.same({ "2 | two", "1 | one | 2 | two", 4 }, { words(chat), words(fork), #held })
    held = chat.messages
    table.insert(held, user "3")
    assert.equal(2, chat:trim { turns = 1 })
    assert.same({ held, 1 }, { chat.messages, #held })
    assert(chat:ask())
    assert.equal("3", net.requests[1].body.messages[1].content)
  end)

  it("to tokens asks the server how many there are", function()
    local messages = { { role = "system", content = "s" } }
    for i = 1, 16 do
      messages[#messages + 1] = user(tostring(i))
      messages[#messages + 1] = said "x"
    end
    for most, left in pairs { [99] = 33, [33] = 33, [32] = 31, [20] = 19, [3] = 3, [2] = 3, [1] = 3 } do
      local net = fake.net {}
      function net.start(self, request) -- a token for each message of the request
        request.body:rewind()
        local body = lmm.json.decode(request.body:read(1000000))
        self.replies = { { json = { count = #body.messages } } }
        assert.same({ "http://fake/tokenize", "m" }, { request.url, body.model })
        return getmetatable(self).__index.start(self, request)
      end
      local chat = net:connect():conversation { messages = messages }
      local dropped, details = chat:trim { tokens = most }
      assert.same({ 33 - left, { tokens = left, is_estimate = false } }, { dropped, details })
      assert.equal(left, #chat.messages)
      assert.equal(left == 33 and "1" or ("%d"):format(17 - (left - 1) / 2), chat.messages[2].content)
      assert(#net.requests <= 6, #net.requests)
    end
  end)

  it("to tokens has the server count calls as they are sent", function()
    local call = { id = "a", type = "function", ["function"] = { name = "f", arguments = "[" } }
    local chat, net = begun({ user "q", { role = "assistant", tool_calls = { call } } }, { json = { count = 1 } })
    assert.equal(0, chat:trim { tokens = 5 })
    assert.equal("{}", net.requests[1].body.messages[2].tool_calls[1]["function"].arguments)
  end)

  it("to tokens counts bytes where the server does not", function()
    local messages = { user(("x"):rep(400)), said(("y"):rep(400)), user { { type = "text", text = ("z"):rep(40) },
      lmm.image "spec/media/picture.png", { type = "image_url", image_url = { url = "data:" .. ("A"):rep(9999) } } } }
    for _, reply in ipairs { { status = 404 }, { status = 405 }, { status = 501 }, { json = { tokens = lmm.array {} } },
      { body = "nonsense" } } do
      local chat, net = begun(messages, reply)
      local dropped, details = chat:trim { tokens = 100 }
      assert.same({ 2, true }, { dropped, details.is_estimate })
      assert(details.tokens >= 10 and details.tokens < 30, details.tokens)
      assert.equal(1, #net.requests)
      assert.same({ 0, { tokens = details.tokens, is_estimate = true } }, { chat:trim { tokens = 1 } })
      assert.equal(1, #chat.messages)
    end
  end)

  it("to tokens counts what is said by its place, whatever it begins with", function()
    local list, sum = {}, 0
    for _, content in ipairs { "data: " .. ("x"):rep(394), { { type = "text", text = "data:" .. ("y"):rep(395) } } } do
      list[#list + 1], list[#list + 2], sum = user(content), said "a", sum + 100
    end
    list[#list + 1] = user { { type = "input_audio", input_audio = { data = ("A"):rep(9999), format = "wav" } },
      { type = "file", file = { file_data = "data:application/pdf;base64," .. ("A"):rep(9999) } },
      { type = "image_url", image_url = "data:image/png;base64," .. ("A"):rep(9999) } }
    local _, details = begun(list, { status = 404 }):trim { tokens = 1000 }
    assert(details.tokens >= sum and details.tokens < sum + 50, details.tokens)
  end)

  it("to tokens fails where the server does, and changes nothing", function()
    for _, reply in ipairs { { status = 401 }, { status = 500 }, { fail = { kind = "connect", phase = "connect" } } } do
      local chat = begun({ user "1", said "one", user "2" }, reply)
      assert.refused(reply.status and tostring(reply.status) or "cannot reach", chat:trim { tokens = 1 })
      assert.equal(3, #chat.messages)
    end
  end)

  it("to tokens does not take away what another task has changed meanwhile", function()
    local chat = begun({ user "1", said "one", user "2", said "two" }, { json = { count = 9 }, delay = 1 })
    local task = lmm.go(function() return chat:trim { tokens = 5 } end)
    chat:undo()
    chat:undo()
    local ok, problem = task:wait()
    assert.is_false(ok)
    assert.matches("changed by another task", problem)
    assert.equal(0, #chat.messages)
    local other = begun({ user "1", said "one", user "2", said "two" }, { json = { count = 9 }, delay = 1 },
      fake.whole "three", { json = { count = 2 } })
    task = lmm.go(function() return other:trim { tokens = 5 } end)
    assert(other:ask "3")
    ok, problem = task:wait()
    assert.same({ true, 2 }, { ok, problem })
    assert.equal("2 | two | 3 | three", words(other))
  end)

  it("to less than a turn, or to anything else, raises", function()
    local chat = begun { user "1" }
    for _, n in ipairs { 0, -1, 1.5 } do
      assert.raises("chat:trim: turns is a whole number from 1 on, not " .. tostring(n):gsub("%p", "%%%0")
        .. ": the last turn always stays", chat.trim, chat, { turns = n })
      assert.raises("chat:trim: tokens is a whole number", chat.trim, chat, { tokens = n })
    end
    assert.raises("takes one of { turns = n } and { tokens = n }", chat.trim, chat)
    assert.raises("takes one of", chat.trim, chat, { turns = 1, tokens = 1 })
    assert.raises("unknown option 'turn'", chat.trim, chat, { turn = 1 })
    assert.raises("'turns' must be a number", chat.trim, chat, { turns = "1" })
  end)
end)

describe("the usage of a conversation", function()
  it("adds up what its answers took", function()
    local one = { prompt_tokens = 10, completion_tokens = 2, total_tokens = 12, details = {} }
    local answer = { choices = { { message = { content = "a" }, finish_reason = "stop" } }, usage = one }
    local net = fake.net { { json = answer }, fake.whole "b", { json = answer }, { status = 400 } }
    local chat = net:connect({ retry = false }):conversation()
    assert.same({ requests = 0, prompt_tokens = 0, completion_tokens = 0, total_tokens = 0,
      bytes_sent = 0 }, chat.usage)
    assert(chat:ask "1")
    local first = chat.usage.total_tokens
    assert(chat:ask "2")
    assert(chat:retry())
    assert.is_nil((chat:ask "3"))
    assert.same({ 3, 12 }, { chat.usage.requests, first })
    assert.equal(#net.requests[1].text + #net.requests[2].text + #net.requests[3].text, chat.usage.bytes_sent)
    assert.equal(0, chat:fork().usage.requests)
  end)
end)
