-- The rounds of a question with tools, on the fake transport: time, order, streams, cancelling, and going on.
local calling = require "spec.support.calling"
local fake = require "spec.support.fake"
local lmm = require "lmm"

local called, told, sleep, wait = calling.whole, calling.told, calling.sleep, calling.wait

local function now() return fake.loop:now() end

--- A chat with the tool `wait`, its network, and what happens in which order.
local function waiting_chat(replies, opts, def)
  local chat, net = calling.chat(replies, opts)
  return chat, net, calling.add_wait(chat, def)
end

describe("tools run", function()
  it("several at once, and their results go back in the order of the calls", function()
    local chat, net, log = waiting_chat { called(wait("a", 5), wait("b", 3), wait("c", 4)), fake.whole "x" }
    local before = now()
    assert(chat:ask "q")
    assert.equal(5, now() - before)
    assert.same({ "begin a", "begin b", "begin c", "end b", "end c", "end a" }, log)
    assert.same({ "a", "b", "c" }, told(net.requests[2]))
  end)

  it("one after the other where they are sequential, beside others", function()
    local chat, net, log = waiting_chat({ called(wait("a", 5), wait("b", 3), { "free", {} }, wait("c", 4)),
      fake.whole "x" }, nil, { sequential = true })
    chat:tool({ name = "free" }, function()
      log[#log + 1] = "begin free"
      sleep(9)
      log[#log + 1] = "end free"
    end)
    local before = now()
    assert(chat:ask "q")
    assert.equal(12, now() - before)
    assert.same({ "begin free", "begin a", "end a", "begin b", "end b", "begin c", "end free", "end c" }, log)
    assert.same({ "a", "b", "", "c" }, told(net.requests[2]))
  end)

  it("sixteen at a time", function()
    local calls, most, count = {}, 0, 0
    for i = 1, 40 do calls[i] = { "f" } end
    local chat = calling.chat { called((table.unpack or unpack)(calls)), fake.whole "x" } -- luacheck: ignore
    chat:tool({ name = "f" }, function()
      count = count + 1
      most = math.max(most, count)
      sleep(1)
      count = count - 1
    end)
    local before = now()
    assert(chat:ask "q")
    assert.same({ 16, 0, 3 }, { most, count, now() - before })
  end)

  it("in a task, too, where the whole may be one of several", function()
    local function ask()
      local chat = waiting_chat { called(wait("a", 5), wait("b", 5)), fake.whole "x" }
      return chat:ask "q"
    end
    local before = now()
    local results, failures = lmm.gather { ask, ask, ask }
    assert.same({ "x", "x", "x" }, { results[1].text, results[2].text, results[3].text })
    assert.same({}, failures)
    assert.equal(5, now() - before)
  end)

  it("and may ask a model themselves", function()
    local chat, net = calling.chat { called { "ask" }, fake.whole "inner", fake.whole "outer" }
    chat:tool({ name = "ask" }, function() return chat:fork():ask("inside?", { run_tools = false }).text end)
    assert.equal("outer", assert(chat:ask "q").text)
    assert.same({ "inner" }, told(net.requests[3]))
    chat, net = calling.chat { called { "ask" }, fake.whole "inner", fake.whole "outer" }
    chat:tool({ name = "ask" }, function() return chat:fork():ask("inside?", { run_tools = false }) end)
    assert.equal("outer", assert(chat:ask "q").text)
    assert.same({ "inner" }, told(net.requests[3]))
    local drawn = { { type = "image_url", image_url = { url = "data:image/png;base64,iVBORw0KGgo=" } } }
    chat, net = calling.chat { called { "draw" }, fake.whole("Here:", { images = drawn }), fake.whole "outer" }
    chat:tool({ name = "draw" }, function() return chat:fork():ask("a cat", { run_tools = false }) end)
    assert.equal("outer", assert(chat:ask "q").text)
    local content = told(net.requests[3])[1]
    assert.same({ "Here:", drawn[1].image_url.url }, { content[1].text, content[2].image_url.url })
    chat, net = calling.chat { called { "ask" }, fake.whole "outer" }
    chat:tool({ name = "ask" }, function() return chat:ask("inside?") end)
    assert.equal("outer", assert(chat:ask "q").text)
    assert.matches("error: .*this conversation waits for an answer", told(net.requests[2])[1])
  end)

  it("no longer than tool_timeout, each", function()
    local chat, net, log = waiting_chat({ called(wait("a", 50), wait("b", 3)), fake.whole "x" }, { tool_timeout = 4 })
    local before = now()
    local reply = assert(chat:ask "q")
    assert.equal(4, now() - before)
    assert.same({ "error: the tool did not end within 4 s", "b" }, told(net.requests[2]))
    assert.is_true(reply.steps[1].results[1].is_error)
    sleep(1)
    assert.same({ "begin a", "begin b", "end b", "cancelled a" }, log)
  end)

  it("in sequence, with tool_timeout for each from its own beginning", function()
    local chat, net = waiting_chat({ called(wait("a", 3), wait("b", 3), wait("c", 50), wait("d", 3)), fake.whole "x" },
      { tool_timeout = 4 }, { sequential = true })
    assert(chat:ask "q")
    assert.same({ "a", "b", "error: the tool did not end within 4 s", "d" }, told(net.requests[2]))
  end)

  it("no longer than the total of the call", function()
    local chat, _, log = waiting_chat({ called(wait("a", 3)), called(wait("b", 50), wait("c", 1)) },
      { timeout = { total = 10 } })
    local before = now()
    local err = assert.refused("no complete answer within 10 s: not all tools had ended %(timeout.total sets",
      chat:ask "q")
    assert.same({ "timeout", "total", 10, 0 }, { err.kind, err.limit, now() - before, #chat.messages })
    assert.equal(5, #err.messages) -- the question, two messages of the first round, and what of the second is over
    assert.same({ "assistant", "c" }, { err.messages[4].role, err.messages[5].content })
    sleep(1)
    assert.equal("cancelled b", log[#log])
  end)

  it("not at all once the total of the call is over", function()
    local chat, _, log = waiting_chat { called(wait("a", 1)) }
    local _, _, err = chat:ask("q", { timeout = 5, on_call = function() return sleep(6) end })
    assert.same({ "timeout", "total", {} }, { err.kind, err.limit, log })
    chat = calling.chat { called({ "busy" }, { "busy" }) }
    local count = 0
    chat:tool({ name = "busy", sequential = true }, function()
      count, fake.loop.time = count + 1, fake.loop.time + 6 -- without a wait
    end)
    _, _, err = chat:ask("q", { timeout = 5 })
    assert.same({ "timeout", 1, 3 }, { err.kind, count, #err.messages })
  end)

  it("within the total of the call, which goes on over all rounds", function()
    local slow = fake.whole "x"
    slow.delay = 8
    local chat = waiting_chat({ called(wait("a", 3)), slow }, { timeout = 10 })
    local before = now()
    local err = assert.refused("no complete answer .* within 10 s", chat:ask "q")
    assert.same({ "timeout", 10, 3 }, { err.kind, now() - before, #err.messages })
  end)
end)

describe("a stream with tools", function()
  local function stream_of(replies, opts, question_opts)
    local chat, net, log = waiting_chat(replies or { calling.streamed("Let me see. ", wait("a", 1), wait("b", 2)),
      fake.answer("So: ", "ab") }, opts)
    return (chat:stream("q", question_opts)), chat, net, log
  end

  it("gives the text of all rounds, and the reply of the last", function()
    local stream, chat = stream_of()
    local pieces = {}
    for piece in stream do pieces[#pieces + 1] = piece end
    assert.same({ "Let me see. ", "So: ", "ab" }, pieces)
    local reply = assert(stream:reply())
    assert.same({ "So: ab", 1, 5 }, { reply.text, #reply.steps, #chat.messages })
    assert.equal("Let me see. ", chat.messages[2].content)
    assert.same({ 0, 2 }, { reply.timing.first_token, reply.timing.total })
    assert.is_nil(stream:next())
  end)

  it("tells calls and results among the pieces", function()
    local stream = stream_of()
    local seen = {}
    for piece, kind in stream:pieces() do
      if kind == "tool_call" then piece = piece.name .. " " .. piece.args.name end
      if kind == "tool_result" then piece = piece.call.args.name .. " " .. piece.text end
      if kind ~= "tool_calls" then seen[#seen + 1] = kind .. ": " .. tostring(piece) end
    end
    assert.same({ "text: Let me see. ", "tool_call: wait a", "tool_call: wait b", "tool_result: a a",
      "tool_result: b b", "text: So: ", "text: ab" }, seen)
  end)

  it("has run nothing yet when it tells of the calls", function()
    local stream, _, _, log = stream_of()
    for _, kind in stream:pieces() do
      if kind == "tool_call" then break end
    end
    assert.same({}, log)
    stream:cancel()
    assert.equal("cancelled", stream.err.kind)
  end)

  it("gives the events of all rounds", function()
    local stream, _, net = stream_of()
    local count = 0
    for event in stream:events() do
      assert.equal("table", type(event))
      count = count + 1
    end
    local expected = 0
    for i = 1, 2 do expected = expected + #net.replies[i].chunks - 1 end
    assert.equal(expected, count)
  end)

  it("gives the bytes of all rounds, one behind the other, and then the reply", function()
    local stream, _, net = stream_of()
    local bytes = {}
    for piece in stream:raw() do bytes[#bytes + 1] = piece end
    assert.equal(table.concat(net.replies[1].chunks) .. table.concat(net.replies[2].chunks), table.concat(bytes))
    assert.equal("So: ab", assert(stream:reply()).text)
  end)

  it("whose bytes come in one piece, or one by one, is the same", function()
    local cut_up = require "spec.support.cut_up"
    local first, second = calling.streamed("See. ", wait("a", 1)), fake.answer("So: ", "ab")
    for _, cut in ipairs { function(text) return { text } end, cut_up } do
      local stream = stream_of { fake.streamed(cut(table.concat(first.chunks))),
        fake.streamed(cut(table.concat(second.chunks))) }
      local pieces = {}
      for piece in stream do pieces[#pieces + 1] = piece end
      assert.equal("See. So: ab", table.concat(pieces))
      assert.equal(1, #stream:reply().steps)
    end
  end)

  it("is tried again in each round, and what was handed over stays", function()
    local busy = { status = 503, body = "busy" }
    local chat, net = waiting_chat({ busy, calling.streamed("See. ", wait("a", 1)), busy, busy, fake.answer "x" },
      { retry = { attempts = 3 } })
    local stream, pieces = chat:stream "q", {}
    for piece in stream do pieces[#pieces + 1] = piece end
    assert.same({ "See. ", "x" }, pieces)
    assert.same({ 5, 3 }, { #net.requests, stream:reply().attempts })
  end)

  it("that breaks in a later round leaves the history alone, and tells what was done", function()
    local stream, chat, net = stream_of { calling.streamed("See. ", wait("a", 1)),
      fake.streamed { fake.delta "half" }, fake.answer "whole" }
    assert.same({ "See. ", "half" }, { stream:next(), (stream:next()) })
    assert.refused("broke off", stream:next())
    assert.same({ "truncated", "half", 3, 0 }, { stream.err.kind, stream.err.partial, #stream.err.messages,
      #chat.messages })
    for _, kept in ipairs(stream.err.messages) do table.insert(chat.messages, kept) end
    assert.equal("whole", assert(chat:stream():reply()).text)
    assert.same({ "a" }, told(net.requests[3]))
    assert.equal(4, #chat.messages)
  end)

  it("whose reply is to follow a schema is checked at its end", function()
    local schema = { type = "object" }
    local stream = stream_of({ calling.streamed("See. ", wait("a", 1)), fake.answer '{"a":1}' }, { schema = schema })
    assert.same({ a = 1 }, assert(stream:reply()).value)
    stream = stream_of({ calling.streamed("", wait("a", 1)), fake.answer "no" }, { schema = schema })
    assert.refused("the answer is not the JSON that the schema asks for", stream:reply())
    assert.equal(3, #stream.err.messages)
  end)

  it("has the values of its last answer grow, whatever was said before", function()
    local replies = { calling.streamed('First: {"a":[9,9]}', wait("a", 1)), fake.answer('{"a":[1', ",2", "]}") }
    local last
    for value in stream_of(replies, { schema = { type = "object" } }):values() do last = value end
    assert.same({ a = { 1, 2 } }, last)
    local stream, items = stream_of(replies, { schema = { type = "object" } }), {}
    for item in stream:elements "a" do items[#items + 1] = item end
    assert.same({ 1, 2 }, { items[#items - 1], items[#items] })
    stream = stream_of({ fake.answer('{"a":[1', ",2", "]}") }, { schema = { type = "object" } })
    assert.equal('{"a":[1', stream:next())
    items = {}
    for item in stream:elements "a" do items[#items + 1] = item end
    assert.same({ 1, 2 }, items)
  end)

  it("keeps no connection while tools run", function()
    local chat, net = calling.chat { calling.streamed("See. ", { "f" }), fake.answer "x" }
    local closed
    chat:tool({ name = "f" }, function() closed = net.transfers[1].closed end)
    assert(chat:stream("q"):reply())
    assert.is_true(closed)
  end)

  it("whose next request cannot be written has no part of an answer", function()
    local chat = calling.chat { calling.streamed("See. ", { "f" }) }
    chat:tool({ name = "f" }, function() table.insert(chat.messages, { role = "user", content = print }) end)
    local err = assert.refused("function", chat:stream("q"):reply())
    assert.same({ "invalid", "", 3 }, { err.kind, err.partial, #err.messages })
  end)

  it("that nobody holds any more is collected between two rounds", function()
    local chat = waiting_chat { calling.streamed("See. ", wait("a", 1)), fake.answer "x" }
    do
      local stream = chat:stream "q"
      for _, kind in stream:pieces() do
        if kind == "tool_result" then break end
      end
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(chat.current.stream)
    chat:undo()
    assert.equal(0, #chat.messages)
  end)
end)

describe("a conversation with tools", function()
  local function usage(reply, tokens)
    reply.json.usage = { prompt_tokens = tokens, completion_tokens = 1, total_tokens = tokens + 1 }
    return reply
  end

  it("adds up what all rounds cost", function()
    local net = fake.net { usage(called { "f" }, 10), usage(called { "f" }, 20), usage(fake.whole "x", 30) }
    local chat = net:connect({ prices = { m = { input = 1e6, output = 2e6 } } }):conversation()
    chat:tool({ name = "f" }, function() return "done" end)
    assert.equal(10 + 20 + 30 + 3 * 2, assert(chat:ask "q").cost)
  end)

  it("adds up the usage of all rounds", function()
    local chat, net = waiting_chat { usage(called(wait("a", 1)), 10), usage(called(wait("b", 1)), 20),
      usage(fake.whole "x", 30), usage(called(wait("c", 1)), 40) }
    local reply = assert(chat:ask "q")
    assert.same({ 10, 20, 30 }, { reply.steps[1].usage.prompt_tokens, reply.steps[2].usage.prompt_tokens,
      reply.usage.prompt_tokens })
    assert.same({ 3, 60, 63 }, { chat.usage.requests, chat.usage.prompt_tokens, chat.usage.total_tokens })
    assert.equal(#net.requests[1].text + #net.requests[2].text + #net.requests[3].text, chat.usage.bytes_sent)
    assert(chat:ask("q", { stop_when = function() return true end })) -- whose reply is that of its last step
    assert.same({ 4, 100 }, { chat.usage.requests, chat.usage.prompt_tokens })
  end)

  it("asks again with its tools", function()
    local chat, net = waiting_chat { called(wait("a", 1)), fake.whole "x", called(wait("b", 1)), fake.whole "y" }
    assert(chat:ask "q")
    assert.equal("y", assert(chat:retry()).text)
    assert.same({ "b" }, told(net.requests[4]))
    assert.equal(4, #chat.messages)
  end)

  it("counts its tools when it is trimmed", function()
    local chat, net = waiting_chat { fake.whole "x", { json = { count = 5 } } }
    assert(chat:ask "q")
    assert(chat:trim { tokens = 100 })
    assert.equal("wait", net.requests[2].body.tools[1]["function"].name)
  end)
end)

describe("cancelling while tools run", function()
  for _, row in ipairs {
    { "by the conversation", function(chat) chat:cancel() end },
    { "by the task", function(_, task) task:cancel() end },
    { "by the client", function(chat) chat.client:close() end },
  } do
    it(row[1], function()
      local chat, net, log = waiting_chat { called(wait("a", 50), wait("b", 1)), fake.whole "x" }
      local result
      local task = lmm.go(function() return chat:ask "q" end, function(...) result = { ... } end)
      sleep(2)
      assert.same({ "begin a", "begin b", "end b" }, log)
      row[2](chat, task)
      sleep(1)
      assert.same({ true, "cancelled", "cancelled a" }, { result[1], result[4].kind, log[4] })
      assert.same({ 1, 0 }, { #net.requests, #chat.messages })
      assert.same({ "user", "assistant", "b" }, { result[4].messages[1].role, result[4].messages[2].role,
        result[4].messages[3].content })
      assert.equal(3, #result[4].messages)
    end)
  end

  it("by the stream, and what was done goes on without being done again", function()
    local chat, net, log = waiting_chat { calling.streamed("", wait("a", 50), wait("b", 1)), fake.answer "x" }
    local stream = chat:stream "q"
    lmm.go(function() return stream:reply() end)
    sleep(2)
    stream:cancel()
    sleep(1)
    assert.equal("cancelled", stream.err.kind)
    for _, message in ipairs(stream.err.messages) do table.insert(chat.messages, message) end
    assert.equal("x", assert(chat:ask()).text)
    assert.same({ "begin a", "begin b", "end b", "cancelled a", "begin a", "end a" }, log)
    assert.same({ "b", "a" }, told(net.requests[2]))
  end)

  it("by what is raised where it waits", function()
    local chat, _, log = waiting_chat { called(wait("a", 50)) }
    fake.after(2, function() error("interrupted!", 0) end)
    assert.raises("interrupted!", chat.ask, chat, "q")
    for _, is_under_way in pairs(chat.client.calls) do assert.is_false(is_under_way) end
    sleep(1)
    assert.same({ "begin a", "cancelled a" }, log)
    assert.equal(0, #chat.messages)
  end)

  it("by on_call", function()
    local chat, net, log = waiting_chat { called(wait("a", 50)) }
    chat.rules.on_call = function()
      chat:cancel()
      return true
    end
    assert.refused("the request was cancelled", chat:ask "q")
    assert.same({ {}, 1 }, { log, #net.requests })
  end)

  it("by on_call, which is asked no more then", function()
    local chat, _, log = waiting_chat { called(wait("a", 50), wait("b", 50)) }
    local asked = 0
    assert.refused("the request was cancelled", chat:ask("q", { on_call = function()
      asked = asked + 1
      chat:cancel()
      return true
    end }))
    assert.same({ {}, 1 }, { log, asked })
  end)

  for _, row in ipairs {
    { "on_call", 0 },   -- before the tools have run
    { "stop_when", 1 }, -- and behind them
  } do
    for _, name in ipairs { "the conversation", "the client" } do
      it(("by %s, that ends %s"):format(row[1], name), function()
        local chat, net = calling.chat { called { "f" }, fake.whole "x" }
        local count = 0
        chat:tool({ name = "f" }, function() count = count + 1 end)
        local rules = { [row[1]] = function()
          if name == "the client" then chat.client:close() else chat:cancel() end
          return row[1] == "on_call"
        end }
        local _, _, err = chat:ask("q", rules)
        assert.same({ "cancelled", row[2], 1, 0 }, { err.kind, count, #net.requests, #chat.messages })
        assert.equal(row[2] == 1 and 3 or nil, err.messages and #err.messages)
      end)
    end
  end

  it("by the client, before a stream is read on", function()
    local chat = calling.chat { calling.streamed("", { "f" }), fake.answer "x" }
    local count = 0
    chat:tool({ name = "f" }, function() count = count + 1 end)
    local stream = chat:stream "q"
    for _, kind in stream:pieces() do
      if kind == "tool_call" then break end
    end
    chat.client:close()
    assert.refused("the request was cancelled", stream:reply())
    assert.same({ 0, "cancelled" }, { count, stream.err.kind })
  end)

  it("by a tool", function()
    local chat, _, log = waiting_chat { called({ "stop" }, wait("a", 50)) }
    chat:tool({ name = "stop" }, function() chat:cancel() end)
    assert.refused("the request was cancelled", chat:ask "q")
    assert.same({}, log) -- it was first
  end)

  it("by a tool that waits then", function()
    local chat, log = calling.chat { called { "stop" } }, {}
    chat:tool({ name = "stop" }, function()
      chat:cancel()
      log[1] = sleep(50)
    end)
    assert.refused("the request was cancelled", chat:ask "q")
    sleep(1)
    assert.same({ false }, log)
  end)

  it("while others wait for their turn, which never begin", function()
    local calls = {}
    for i = 1, 20 do calls[i] = wait(tostring(i), 50) end
    local chat, _, log = waiting_chat { called((table.unpack or unpack)(calls)) } -- luacheck: ignore
    lmm.go(function() return chat:ask "q" end)
    sleep(1)
    chat:cancel()
    sleep(100)
    assert.equal(32, #log) -- sixteen began, and were cancelled
  end)

  it("by the next question, of a stream that nobody reads", function()
    local chat = waiting_chat { calling.streamed("See. ", wait("a", 1)), fake.whole "x" }
    local stream = chat:stream "q"
    for _, kind in stream:pieces() do
      if kind == "tool_call" then break end
    end
    assert.equal("x", assert(chat:ask "r").text)
    assert.equal("cancelled", stream.err.kind)
    assert.equal(2, #chat.messages)
  end)
end)

describe("run_tools = false", function()
  it("leaves the calls to the caller", function()
    local chat, net = calling.chat({ called({ "f", { n = 1 } }, { "g", {} }), fake.whole "x" }, { run_tools = false })
    chat:tool({ name = "f" }, error)
    chat:tool({ name = "g" }, error)
    local reply = assert(chat:ask "q")
    assert.same({ "f", "g", "assistant" }, { reply.tool_calls[1].name, reply.tool_calls[2].name, reply.message.role })
    assert.same({ 2, 2 }, { #chat.messages, #net.requests[1].body.tools })
    local err = assert.refused("the call of 'f' %(c1%) is unanswered: before the next question answer it by",
      chat:ask "another?")
    assert.equal("invalid", err.kind)
    assert.refused("the call of 'f' %(c1%) is unanswered: answer it by chat:result%(call, value%)", chat:ask())
    chat:result(reply.tool_calls[1], { a = 1 })
    assert.refused("the call of 'g' %(c2%) is unanswered", chat:stream():reply())
    chat:result("c2", nil, "no luck")
    assert.equal("x", assert(chat:ask()).text)
    assert.same({ '{"a":1}', "error: no luck" }, told(net.requests[2]))
    assert.same({ 2, 5 }, { #net.requests, #chat.messages })
  end)

  it("a schema is for the answer, not for calls", function()
    local chat = calling.chat({ calling.streamed("Let me see.", { "f" }), fake.whole '{"a":1}' },
      { run_tools = false, schema = { type = "object" } })
    chat:tool({ name = "f" }, error)
    local reply = assert(chat:ask "q")
    assert.is_nil(reply.value)
    chat:result(reply.tool_calls[1], "x")
    assert.same({ a = 1 }, assert(chat:ask()).value)
  end)

  it("of a result that is none", function()
    local chat = calling.chat({ called({ "f" }), fake.whole "x" }, { run_tools = false })
    chat:tool({ name = "f" }, error)
    assert.raises("rounds_spec.lua:%d+: lmm: chat:result: there is no unanswered call with the id c1", function()
      chat:result("c1", "x")
    end)
    local reply = assert(chat:ask "q")
    assert.raises("no unanswered call with the id c2", chat.result, chat, "c2", "x")
    assert.raises("no unanswered call with the id nil", chat.result, chat, nil, "x")
    assert.raises("no unanswered call with the id nil", chat.result, chat, {}, "x")
    chat:result(reply.tool_calls[1], "x")
    assert.raises("no unanswered call with the id c1", chat.result, chat, reply.tool_calls[1], "x")
    assert.raises("with a colon", chat.result, "c1")
  end)

  it("a forced tool is free once it was called", function()
    local chat, net = calling.chat({ called({ "f" }), fake.whole "x", fake.whole "y" },
      { run_tools = false, tool_choice = "required" })
    chat:tool({ name = "f" }, error)
    chat:result(assert(chat:ask "q").tool_calls[1], "x")
    assert(chat:ask())
    assert(chat:ask "r")
    assert.same({ "required", nil, "required" }, { net.requests[1].body.tool_choice, net.requests[2].body.tool_choice,
      net.requests[3].body.tool_choice })
  end)

  it("a forced tool of the request's own is, too, where there is no other", function()
    local own = { { type = "function", ["function"] = { name = "f" } } }
    local chat, net = calling.chat({ called({ "f" }), fake.whole "x", called({ "f" }), fake.whole "y" },
      { tools = own, tool_choice = "required" })
    chat:result(assert(chat:ask "q").tool_calls[1], "x")
    assert(chat:ask())
    chat:result(assert(chat:ask "r").tool_calls[1], "x")
    assert(chat:ask { tool_choice = own[1] }) -- which is this question's
    assert.same({ "required", nil, "required", own[1] }, { net.requests[1].body.tool_choice,
      net.requests[2].body.tool_choice, net.requests[3].body.tool_choice, net.requests[4].body.tool_choice })
  end)
end)

describe("calls that nobody has answered", function()
  local function call(id, name, arguments)
    return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
  end

  local function loaded(replies)
    local chat, net, log = waiting_chat(replies)
    chat.messages = { { role = "user", content = "q" },
      { role = "assistant", tool_calls = { call("x", "wait", '{"name":"a","s":1}'),
        call("y", "wait", { name = "b", s = 1 }), call("z", "wait", '{"name":"c","s":1}') } },
      { role = "tool", tool_call_id = "y", content = "done before" } }
    return chat, net, log
  end

  it("are run first, and no other", function()
    local chat, net, log = loaded { called(wait("d", 1)), fake.whole "x" }
    local reply = assert(chat:ask())
    assert.same({ "x", 1 }, { reply.text, #reply.steps })
    assert.same({ "done before", "a", "c", "d" }, told(net.requests[2]))
    assert.same({ "begin a", "begin c", "end a", "end c", "begin d", "end d" }, log)
    assert.same({ "x", "z" }, { net.requests[1].body.messages[4].tool_call_id,
      net.requests[1].body.messages[5].tool_call_id })
    assert.equal(8, #chat.messages)
  end)

  it("of one id are answered one by one", function()
    local chat, net = waiting_chat { fake.whole "x" }
    chat.messages = { { role = "assistant", tool_calls = { call("s", "wait", '{"name":"a","s":1}'),
      call("s", "wait", '{"name":"b","s":1}') } }, { role = "tool", tool_call_id = "s", content = "done before" } }
    assert(chat:ask())
    assert.same({ "done before", "b" }, told(net.requests[1]))
  end)

  for _, arguments in ipairs { '{"path":"/tmp/x', "rm -r /", "[" } do
    it("are not run where their arguments were no JSON: " .. arguments, function()
      local path = os.tmpname()
      os.remove(path)
      local chat, net = calling.chat({ called { "wipe", arguments }, fake.whole "x", fake.whole "y" })
      assert(chat:ask("q", { run_tools = false }))
      assert(chat:save(path))
      for _, again in ipairs { chat, assert(chat.client:load(path)) } do
        again:tool({ name = "wipe" }, error)
        assert(again:ask())
        local request = net.requests[#net.requests]
        assert.matches("the arguments of wipe are wrong: they are no JSON", told(request)[1])
        assert.equal("{}", request.body.messages[2].tool_calls[1]["function"].arguments)
      end
      os.remove(path)
    end)
  end

  it("are run with what could be read of their arguments", function()
    local chat, net = calling.chat({ called { "f", '{"path":"x","n":[NaN,1]}' }, fake.whole "x" })
    assert(chat:ask("q", { run_tools = false }))
    local ran
    chat:tool({ name = "f" }, function(args) ran = args.path end)
    assert(chat:ask())
    assert.equal("x", ran)
    assert.same({ path = "x", n = { lmm.null, 1 } },
      lmm.json.decode(net.requests[2].body.messages[2].tool_calls[1]["function"].arguments))
  end)

  it("are known though the server gave one id to several", function()
    local chat, net, log = waiting_chat { called({ "wait", { name = "a", s = 50 }, "same" },
      { "wait", { name = "b", s = 1 }, "same" }, { "wait", { name = "c", s = 50 }, "same_2" }), fake.whole "x" }
    local err
    lmm.go(function() err = select(3, chat:ask "q") end)
    sleep(2)
    chat:cancel()
    sleep(1)
    for _, message in ipairs(err.messages) do table.insert(chat.messages, message) end
    assert(chat:ask())
    assert.same({ "b", "a", "c" }, told(net.requests[2]))
    local counts = {}
    for _, entry in ipairs(log) do
      local name = entry:match "begin (%a)"
      if name then counts[name] = (counts[name] or 0) + 1 end
    end
    assert.same({ a = 2, b = 1, c = 2 }, counts)
  end)

  it("of one id are answered by hand each", function()
    local chat, net = calling.chat({ called({ "f", {}, "same" }, { "g", {}, "same" }), fake.whole "x" },
      { run_tools = false })
    local reply = assert(chat:ask "q")
    chat:result(reply.tool_calls[2], "of g")
    chat:result(reply.tool_calls[1], "of f")
    assert(chat:ask())
    local sent = net.requests[2].body.messages
    assert.same({ "same", "same_2", "same_2", "same" }, { sent[2].tool_calls[1].id, sent[2].tool_calls[2].id,
      sent[3].tool_call_id, sent[4].tool_call_id })
    assert.equal("of g", sent[3].content)
  end)

  it("stay where the exchange fails, with what the tools gave", function()
    local chat = loaded { { status = 400, body = "no" } }
    local err = assert.refused("400", chat:ask())
    assert.same({ 3, 2, "a" }, { #chat.messages, #err.messages, err.messages[1].content })
  end)

  it("are told among the pieces, approved, and checked", function()
    local chat, net = loaded { fake.answer "x" }
    chat.messages[2].tool_calls[1]["function"].arguments = "["
    local kinds = {}
    for _, kind in chat:stream({ on_call = function(given) return given.id == "z" and "not now" end }):pieces() do
      kinds[#kinds + 1] = kind
    end
    assert.same({ "tool_call", "tool_call", "tool_result", "tool_result", "text" }, kinds)
    local said = told(net.requests[1])
    assert.matches("they are no JSON", said[2])
    assert.equal("error: not now", said[3])
  end)

  it("have no time but that of the call", function()
    local chat = loaded { fake.whole "x" }
    local err = assert.refused("no complete answer within 0.5 s", chat:ask { timeout = 0.5 })
    assert.same({ "timeout", 0.5 }, { err.kind, err.elapsed })
  end)

  it("are run once, though the conversation was saved and loaded in between", function()
    local path = os.tmpname()
    os.remove(path)
    local net = fake.net { called(wait("a", 1), wait("b", 1)), fake.whole "x" }
    local client = net:connect { retry = false }
    local chat = client:conversation { run_tools = false, system = "s" }
    chat:tool({ name = "wait" }, error)
    chat:result(assert(chat:ask "q").tool_calls[1], "done before")
    assert(chat:save(path))
    chat = assert(client:load(path))
    os.remove(path)
    local ran = {}
    chat:tool({ name = "wait" }, function(args)
      ran[#ran + 1] = args.name
      return "done now"
    end)
    assert.equal("x", assert(chat:ask()).text)
    assert.same({ { "b" }, { "done before", "done now" } }, { ran, told(net.requests[2]) })
    assert.equal(6, #chat.messages)
  end)

  it("are run with rules that a load is given", function()
    local path = os.tmpname()
    os.remove(path)
    local chat, net = calling.chat({ called { "f" } }, { run_tools = false })
    chat:tool({ name = "f" }, error)
    assert(chat:ask "q")
    assert(chat:save(path))
    chat = assert(net:connect():load(path, { max_rounds = 1 }))
    os.remove(path)
    chat:tool({ name = "f" }, print)
    chat.tools:find("f").run = function() end
    assert.refused("still calls tools in reply 1", chat:ask())
  end)

  it("need a function", function()
    local chat, net = loaded { fake.whole "x" }
    chat.messages[2].tool_calls[3]["function"].name = "gone"
    local _, _, log = waiting_chat {}
    assert.refused("the call of 'gone' %(z%) is unanswered: answer it by chat:result.*or give its tool by chat:tool",
      chat:ask())
    assert.refused("the call of 'wait' %(x%) is unanswered", chat:ask { run_tools = false })
    assert.same({ {}, 0 }, { log, #net.requests })
    chat = fake.net({ fake.whole "x" }):connect():conversation()
    chat.messages = { { role = "assistant", tool_calls = { call("x", "f", "{}") } } }
    assert.refused("the call of 'f' %(x%) is unanswered", chat:ask())
    assert.refused("unanswered: before the next question answer it by .*, have its tool run by chat:tool and chat:ask,",
      chat:ask "q")
    chat:result("x", 1)
    assert(chat:ask())
  end)

  it("in a history that is none are no calls", function()
    for _, odd in ipairs { "x", 5, { call("x", "f") }, { tool_calls = "x" }, { role = "assistant", tool_calls = "x" },
      { role = "assistant", tool_calls = { "x", 5 } }, { role = "assistant", tool_calls = {} } } do
      local chat = waiting_chat { fake.whole "x" }
      chat.messages = { odd, { role = "tool", content = "t" } }
      chat:ask()
    end
    for _, odd in ipairs { { {} }, { { ["function"] = 5 } }, { { id = {}, ["function"] = { arguments = 5 } } } } do
      local chat = waiting_chat { fake.whole "x" }
      chat.messages = { { role = "assistant", tool_calls = odd } }
      assert.refused("is unanswered", chat:ask())
    end
  end)
end)
