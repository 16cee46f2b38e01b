-- Streams on the fake transport: what is read from events, however they come, and how a stream can end.
local cut_up = require "spec.support.cut_up"
local fake = require "spec.support.fake"
local json = require "lmm.json"
local lmm = require "lmm"

local delta, event, streamed = fake.delta, fake.event, fake.streamed
local done = event "[DONE]"

local function open(reply, opts, request)
  local net = fake.net(reply[1] and reply or { reply })
  request = request or {}
  request.messages = { { role = "user", content = "q" } }
  return net:connect(opts):stream(request), net
end

local function collect(stream)
  local pieces = {}
  for piece in stream do pieces[#pieces + 1] = piece end
  return pieces
end

describe("streams", function()
  it("pieces, then the reply", function()
    local stream, net = open(fake.answer("Hel", "lo"))
    assert.same({ "Hel", "lo" }, collect(stream))
    local reply = assert(stream:reply())
    assert.equal("Hello", reply.text)
    assert.equal("stop", reply.finish_reason)
    assert.is_nil(stream:next())
    assert.is_nil(stream.err)
    assert.is_true(net.requests[1].body.stream)
    assert.is_true(net.requests[1].body.stream_options.include_usage)
    assert.equal(1, reply.attempts)
    assert.truthy(reply.timing.first_token)
  end)

  it("reply() alone reads everything; next() gives the pieces; events() gives every event", function()
    assert.equal("ab", assert(open(fake.answer("a", "b")):reply()).text)
    local stream = open(fake.answer("a", "b"))
    assert.same({ "a", "b" }, { stream:next(), (stream:next()) })
    local count = 0
    for item in open(fake.answer("a", "b")):events() do
      assert.equal(0, item.choices[1].index)
      count = count + 1
    end
    assert.equal(4, count)
  end)

  it("a streamed and an unstreamed answer of the same content are equal", function()
    local message = { role = "assistant", content = "Hello", reasoning = "hm", tool_calls = {
      { id = "t1", type = "function", ["function"] = { name = "f", arguments = '{"a":1}' } } } }
    local usage = { prompt_tokens = 5, completion_tokens = 2, total_tokens = 7 }
    local whole = fake.net { { json = { id = "c1", model = "m", usage = usage,
      choices = { { index = 0, message = message, finish_reason = "tool_calls",
        logprobs = { content = { { token = "H" } } } } } } } }
    local call = message.tool_calls[1]
    local stream = open(streamed {
      delta { role = "assistant", content = "" }, delta { reasoning = "hm" }, delta "Hel", delta "lo",
      event { choices = { { index = 0, delta = {}, logprobs = { content = { { token = "H" } } } } } },
      delta { tool_calls = { { index = 0, id = call.id, ["function"] = { name = "f", arguments = "" } } } },
      delta { tool_calls = { { index = 0, ["function"] = { arguments = '{"a"' } } } },
      delta { tool_calls = { { index = 0, ["function"] = { arguments = ':1}' } } } },
      delta({}, "tool_calls"), event { id = "c1", model = "m", choices = lmm.null, usage = usage }, done })
    local function comparable(reply)
      reply.raw, reply.timing, reply.usage.requests, reply.usage.bytes_sent = nil, nil, nil, nil
      return reply
    end
    assert.same(comparable(assert(whole:connect():chat { messages = { { role = "user", content = "q" } } })),
      comparable(assert(stream:reply())))
  end)

  it("the result does not depend on how the bytes are cut", function()
    local text = table.concat(fake.answer("Gr\195\188\195\159e ", "\240\159\140\153", "!").chunks)
    for cut = 1, #text - 1 do
      local stream = open(streamed { text:sub(1, cut), text:sub(cut + 1) })
      assert.equal("Gr\195\188\195\159e \240\159\140\153!", table.concat(collect(stream)))
    end
    assert.equal("Gr\195\188\195\159e \240\159\140\153!", assert(open(streamed(cut_up(text))):reply()).text)
  end)

  local function tool(fields, name, arguments)
    fields["function"] = { name = name, arguments = arguments }
    return fields
  end

  it("tool-call deltas with every quirk of real servers", function()
    local cases = {
      { "by index", { { tool({ index = 0, id = "a" }, "f", "{") }, { tool({ index = 1, id = "b" }, "g", "[") },
        { tool({ index = 0 }, nil, "}") }, { tool({ index = 1 }, nil, "]") } }, { "a f {}", "b g []" } },
      { "no index, by id", { { tool({ id = "a" }, "f", "{") }, { tool({ id = "b" }, "g", "[") },
        { tool({ id = "a" }, nil, "}") }, { tool({ id = "b" }, nil, "]") } }, { "a f {}", "b g []" } },
      { "no index, no id: the latest", { { tool({ id = "a" }, "f", "{") }, { tool({}, nil, "}") } }, { "a f {}" } },
      { "null index", { { tool({ index = lmm.null, id = "a" }, "f", "{}") } }, { "a f {}" } },
      { "null id and name later", { { tool({ index = 0, id = "a" }, "f", "") },
        { tool({ index = 0, id = lmm.null }, lmm.null, "{}") } }, { "a f {}" } },
      { "repeated id and name", { { tool({ index = 0, id = "a" }, "f", "{") },
        { tool({ index = 0, id = "a" }, "f", "}") } }, { "a f {}" } },
      { "several deltas of one index in one chunk",
        { { tool({ index = 0, id = "a" }, "f", "{"), tool({ index = 0 }, nil, "}") } }, { "a f {}" } },
      { "arguments as an object", { { tool({ index = 0, id = "a" }, "f", { x = 1 }) } }, { 'a f {"x":1}' } },
      { "null arguments", { { tool({ index = 0, id = "a" }, "f", lmm.null) } }, { "a f " } },
      { "no function at all", { { { index = 0, id = "a" } }, { tool({ index = 0 }, "f", "{}") } }, { "a f {}" } },
      { "an empty id without an index", { { tool({ id = "a" }, "f", "{") }, { tool({ id = "" }, "", "}") } },
        { "a f {}" } },
      { "an empty id with an index", { { tool({ index = 0, id = "a" }, "f", "{") },
        { tool({ index = 0, id = "" }, "", "}") } }, { "a f {}" } },
      { "the index later", { { tool({ id = "a" }, "f", "{") }, { tool({ index = 0, id = "a" }, nil, '"x"') },
        { tool({ index = 0 }, nil, ":1}") } }, { 'a f {"x":1}' } },
      { "one index for all", { { tool({ index = 0, id = "a" }, "f", "{") }, { tool({ index = 0 }, nil, "}") },
        { tool({ index = 0, id = "b" }, "g", "[") }, { tool({ index = 0 }, nil, "]") } }, { "a f {}", "b g []" } },
      { "one index for all, and back", { { tool({ index = 0, id = "a" }, "f", "{") },
        { tool({ index = 0, id = "b" }, "g", "[") }, { tool({ index = 0, id = "a" }, nil, "}") },
        { tool({ index = 0, id = "b" }, nil, "]") } }, { "a f {}", "b g []" } },
      { "one id for all", { { tool({ index = 0, id = "a" }, "f", "{") }, { tool({ index = 1, id = "a" }, "g", "[") },
        { tool({ index = 0, id = "a" }, nil, "}") }, { tool({ index = 1 }, nil, "]") } }, { "a f {}", "a g []" } },
      { "id and name later", { { tool({ index = 0, id = "" }, "", "") }, { tool({ index = 0, id = "a" }, "f", "{}") } },
        { "a f {}" } },
      { "id and name later, without an index", { { tool({ id = "" }, "", "") }, { tool({ id = "a" }, "f", "{}") },
        { tool({ id = "b" }, "g", "[]") } }, { "a f {}", "b g []" } },
    }
    for _, case in ipairs(cases) do
      local chunks = {}
      for i, calls in ipairs(case[2]) do chunks[i] = delta { tool_calls = calls } end
      chunks[#chunks + 1] = delta({}, "tool_calls")
      chunks[#chunks + 1] = done
      local got = {}
      for i, call in ipairs(assert(open(streamed(chunks)):reply()).tool_calls) do
        got[i] = call.id .. " " .. call.name .. " " .. call.arguments
      end
      assert.same(case[3], got, case[1])
    end
  end)

  it("tool arguments are decoded where they are JSON", function()
    local reply = assert(open(streamed { delta { tool_calls = { tool({ index = 0, id = "a" }, "f", '{"n":2}') } },
      delta { tool_calls = { tool({ index = 1, id = "b" }, "g", '{"n":') } }, delta({}, "tool_calls") }):reply())
    assert.equal("2", tostring(reply.tool_calls[1].args.n))
    assert.is_nil(reply.tool_calls[2].args)
  end)

  it("a stream that breaks before all choices that were asked for have come is truncated", function()
    local first = delta("A", "stop")
    assert.equal(1, #assert(open(streamed { first }, nil, { n = 2 }):reply()).choices)
    local broken = streamed { first, { fail = { kind = "truncated", phase = "receive", reason = "gone" } } }
    assert.equal("A", assert.refused("gone", open(broken, nil, { n = 2 }):reply()).partial)
    assert.equal(1, #assert(open(streamed { first, done }, nil, { n = 2 }):reply()).choices) -- it takes no n
  end)

  it("several choices: the pieces are the first one's, all are in choices", function()
    local function choice(index, content, finish_reason)
      return event { choices = { { index = index, delta = { content = content }, finish_reason = finish_reason } } }
    end
    local stream = open(streamed { choice(1, "B"), choice(0, "A"), choice(1, "b", "length"), choice(0, "a", "stop") },
      nil, { n = 2 })
    assert.same({ "A", "a" }, collect(stream))
    local reply = stream:reply()
    assert.same({ "Aa", "Bb", "length" }, { reply.choices[1].text, reply.choices[2].text,
      reply.choices[2].finish_reason })
  end)

  it("nulls, empty deltas, pings, roles repeated, usage last", function()
    local reply = assert(open(streamed { ": keep-alive\n\n", "event: ping\ndata:\n\n", "data:\n\n",
      delta { role = "assistant", content = lmm.null },
      delta { role = "assistant", content = "a", reasoning_content = "r" },
      event { choices = lmm.array {}, prompt_progress = 1 }, delta {}, delta({ content = lmm.null }, "stop"),
      event { choices = lmm.array {}, usage = { total_tokens = 3 }, metrics = lmm.null }, done }):reply())
    assert.equal("a", reply.text)
    assert.equal("r", reply.reasoning)
    assert.equal("3", tostring(reply.usage.total_tokens))
    assert.same({}, reply.raw[3].choices)
  end)

  it("how a stream may end well", function()
    local reset = { fail = { kind = "truncated", phase = "receive", reason = "reset" } }
    for name, chunks in pairs {
      ["[DONE] alone"] = { delta "a", done },
      ["a finish_reason alone"] = { delta "a", delta({}, "stop") },
      ["broken after a finish_reason"] = { delta("a", "stop"), reset },
      ["data behind [DONE]"] = { delta("a", "stop"), done, "data: junk\n\n" },
    } do
      assert.equal("a", assert(open(streamed(chunks)):reply()).text, name)
    end
  end)

  it("how a stream may break, with what had arrived", function()
    local reset = { fail = { kind = "truncated", phase = "receive", reason = "connection reset" } }
    local cases = {
      { { delta "ab" }, "truncated", "without %[DONE%] and without a finish_reason", "ab" },
      { { delta "ab", reset }, "truncated", "connection reset", "ab" },
      { { delta "ab", "data: {\"choices\":[{\"delta\":{\"content\":\"c\"}}]}\n" }, "truncated", "without", "abc" },
      { { delta "ab", "data: {\"choices\":[{\"delta\":{\"content\":\"c\"}}]" }, "truncated", "without", "ab" },
      { { delta "ab", "data: {broken\n\n", done }, "protocol", "JSON with a fault, .*{broken", "ab" },
      { { delta "ab", event { error = { message = "boom", code = 500 } }, done }, "http", "HTTP 500 .*boom", "ab" },
      { { delta "ab", event { error = "plain" }, done }, "http", "an error from .*plain", "ab" },
      { { delta "ab", event { error = { message = "m", code = "overloaded" } } }, "http", "an error from .*: m", "ab" },
      { { delta "ab", event { object = "error", message = "flat", code = 400 } }, "http", "HTTP 400 .*flat", "ab" },
      { { delta "ab", 'event: error\ndata: {"message":"bare"}\n\n' }, "http", "bare", "ab" },
      { { event { error = { message = "bad schema", code = 400 } }, done }, "http", "HTTP 400 .*bad schema", "" },
      { {}, "truncated", "without", "" },
    }
    for _, case in ipairs(cases) do
      local stream = open(streamed(case[1]), { retry = false })
      local text = ""
      for piece in function() return (stream:next()) end do text = text .. piece end
      assert.equal(case[4] or "", text)
      local err = assert.refused(case[3], stream:next())
      assert.equal(case[2], err.kind, case[3])
      assert.equal(case[4], err.partial, case[3])
      assert.equal(err, stream.err)
      assert.equal(err, select(3, stream:reply()))
      assert.matches("^[^:]*http", assert.raises(case[3], collect, open(streamed(case[1]), { retry = false })))
    end
  end)

  it("an error that comes as an object without choices is one, in an event or as the whole reply", function()
    for body, expected in pairs {
      ['{"type":"error","message":"boom"}'] = { "an error from .*: boom$", 200 },
      ['{"type":"error"}'] = { "an error from", 200 },
      ['{"code":500,"message":"boom"}'] = { "HTTP 500 from .*: boom$", 500, 500 },
      ['{"status":503,"message":"boom","choices":null}'] = { "HTTP 503 from .*: boom$", 503 },
      ['{"status":"error","message":"boom"}'] = { "an error from .*: boom$", 200 },
      ['{"code":"InvalidApiKey","message":"boom"}'] = { "an error from .*: boom$", 200, "InvalidApiKey" },
      ['{"errors":[{"message":"boom","code":429}]}'] = { "HTTP 429 from .*: boom$", 429, 429 },
      ['{"errors":["boom"]}'] = { "an error from .*: boom$", 200 },
      ['{"errors":{"n":"boom"}}'] = { 'an error from .*: {"n":"boom"}$', 200 },
      ['{"error":{"message":"boom","status":503}}'] = { "HTTP 503 from .*: boom$", 503 },
    } do
      local events = { delta "ab", "data: " .. body .. "\n\n", delta({}, "stop"), done }
      for _, reply in ipairs { { body = body }, streamed(events) } do
        local err = assert.refused(expected[1], open(reply, { retry = false }):reply())
        assert.same({ "http", "receive", expected[2], expected[3] or false, reply.body and "" or "ab" },
          { err.kind, err.phase, err.status, err.code or false, err.partial }, body)
      end
    end
    for _, body in ipairs { '{"message":"m"}', '{"message":"m","type":"t"}', '{"message":"m","status":"queued"}',
      '{"message":"m","code":0}', '{"message":"ok","code":200}', '{"errors":[]}', '{"errors":null,"code":500}',
      '{"type":"ping"}', '{"type":"error","message":"m","choices":[]}' } do
      assert.equal("a", assert(open(streamed { "data: " .. body .. "\n\n", delta("a", "stop"), done }):reply()).text,
        body)
    end
  end)

  it("an event that is named an error is one, whatever it holds", function()
    for given, says in pairs {
      ["event: error\ndata:\n\n"] = "no reason given$", ["event: error\ndata: \ndata:\n\n"] = "no reason given$",
      ["event: Error\ndata: {\"message\":\"boom\"}\n\n"] = "boom$", ["event: ERROR\ndata\n\n"] = "no reason given$",
      ["event: error\ndata: boom\n\n"] = ": boom$", ["event: error\ndata: {\n\n"] = ": {$",
      ["event: error\ndata: null\n\n"] = ": null$", ['event: error\ndata: "boom"\n\n'] = ': "boom"$',
    } do
      local err = assert.refused("an error from .*" .. says, open(streamed { delta "ab", given, done }):reply())
      assert.same({ "http", 200, "ab" }, { err.kind, err.status, err.partial }, given)
    end
    -- no data, no event
    assert.equal("a", assert(open(streamed { "event: error\n\n", delta("a", "stop") }):reply()).text)
  end)

  it("an error inside a choice, or in its finish_reason", function()
    local cases = {
      { { error = { code = 502, message = "boom" } }, "HTTP 502 from .*: boom$", "http", 502, again = true },
      { { error = { code = 400, message = "boom" }, finish_reason = "error" }, "HTTP 400 from .*: boom$", "http", 400 },
      { { error = { message = "boom", code = "x" } }, "HTTP 500 from .*: boom$", "http", 500, again = true },
      { { error = "boom", finish_reason = "stop" }, "HTTP 500 from .*: boom$", "http", 500, again = true },
      { { finish_reason = "error" }, 'HTTP 500 from .*finish_reason "error"$', "http", 500, again = true },
      { { finish_reason = "abort" }, 'broke off: .*finish_reason "abort"$', "truncated", nil, again = true },
    }
    local function choice(way, content, fields, index)
      local out = { index = index or 0, [way] = { content = content } }
      for name, value in pairs(fields) do out[name] = value end
      return out
    end
    for _, case in ipairs(cases) do
      local function check(err, partial)
        assert.same({ case[3], case[4] or false, "receive", partial, case.again or false },
          { err.kind, err.status or false, err.phase, err.partial, err.retryable }, case[2])
      end
      local whole = { json = { choices = { choice("message", "ab", case[1]) } } }
      check(assert.refused(case[2], open(whole, { retry = false }):reply()), "ab")
      local second = { json = { choices = { choice("message", "a", {}), choice("message", "b", case[1], 1) } } }
      check(assert.refused(case[2], open(second, { retry = false }, { n = 2 }):reply()), "a")
      local last = event { choices = { choice("delta", "b", case[1]) } }
      check(assert.refused(case[2], open(streamed { delta "a", last, done }, { retry = false }):reply()), "ab")
      -- Before anything was handed out it is tried again.
      local policy = { random = function() return 0 end }
      local early = event { choices = { choice("delta", "", case[1]) } }
      for _, reply in ipairs { streamed { delta { role = "assistant", content = "" }, early }, whole } do
        local stream, net = open({ reply, fake.answer "a" }, { retry = policy })
        assert.same({ case.again or false, case.again and 2 or 1 }, { stream:reply() ~= nil, #net.requests })
      end
    end
    for _, nothing in ipairs { "", false, lmm.null } do
      local whole = { json = { choices = { choice("message", "ab", { error = nothing }) } } }
      assert.equal("ab", assert(open(whole):reply()).text)
    end
  end)

  it("finish_reason of one choice does not finish another", function()
    local stream = open(streamed { event { choices = { { index = 0, delta = { content = "a" }, finish_reason = "stop" },
      { index = 1, delta = { content = "b" } } } } }, { retry = false }, { n = 2 })
    assert.equal("truncated", assert.refused("without", stream:reply()).kind)
  end)

  it("a server that answers a stream request with one JSON object, or with HTML", function()
    assert.equal("hello", assert(open(fake.whole "hello"):reply()).text)
    assert.same({ "hello" }, collect(open(fake.whole "hello")))
    assert.refused("an HTML page", open({ body = "<!doctype html>" }):reply())
  end)

  it("retried until the first piece is handed out, never after", function()
    local policy = { random = function() return 0 end }
    local broken = streamed { delta "x", event { error = { message = "m", code = 503 } } }
    local early = streamed { delta { role = "assistant", content = "" },
      event { error = { message = "m", code = 503 } } }
    local stream, net = open({ { status = 503 }, early, fake.answer "a" }, { retry = policy })
    assert.equal("a", assert(stream:reply()).text)
    assert.equal(3, #net.requests)
    assert.equal(3, stream:reply().attempts)
    stream, net = open({ broken, fake.answer "a" }, { retry = policy })
    assert.equal("x", stream:next())
    assert.refused("503", stream:next())
    assert.equal(1, #net.requests)
  end)

  it("limits: an event, a line without end, choices, tool calls", function()
    local long = ("x"):rep(3000)
    local function refused(pattern, chunks, limits)
      assert.equal("limit", assert.refused(pattern, open(streamed(chunks),
        { limits = limits, retry = false }):reply()).kind)
    end
    refused("limits.event", { delta(long), done }, { event = 1000 })
    refused("limits.event", { "data: " .. long }, { event = 1000 })
    refused("limits.reply", { delta(long), delta(long), done }, { reply = 4000 })
    local choices, calls = {}, {}
    for i = 1, 4 do
      choices[i] = { index = i, delta = { content = "a" } }
      calls[i] = { index = i - 1, ["function"] = { name = "f" } }
    end
    refused("limits.choices", { event { choices = choices } }, { choices = 3 })
    refused("limits.calls", { delta { tool_calls = calls } }, { calls = 3 })
  end)

  it("cancel ends it: the transfer is closed and the reader is told", function()
    local stream, net = open(streamed { delta "a", { pause = 100 }, delta "b" })
    assert.equal("a", stream:next())
    stream:cancel()
    assert.is_true(net.transfers[1].closed)
    local err = assert.refused("cancelled", stream:next())
    assert.equal("cancelleda", err.kind .. err.partial)
    stream:cancel()

    stream, net = open(streamed { delta "a", { pause = 100 }, delta "b" })
    fake.after(5, function() stream:cancel() end)
    assert.equal("a", stream:next())
    assert.equal("cancelled", assert.refused("cancelled", stream:next()).kind)
    assert.is_true(net.transfers[1].closed)
  end)

  it("cancel while it waits to try again", function()
    local stream, net = open({ { status = 503, headers = { ["retry-after"] = "50" } }, fake.answer "a" })
    fake.after(5, function() stream:cancel() end)
    assert.refused("cancelled", stream:next())
    assert.equal(1, #net.requests)
  end)

  it("cancel before anything was read sends nothing", function()
    local stream, net = open(fake.answer "a")
    stream:cancel()
    assert.refused("cancelled", stream:next())
    assert.equal(0, #net.requests)
  end)

  it("break out of a loop cancels on Lua 5.4", function()
    if _VERSION < "Lua 5.4" then pending "only 5.4 closes the loop's value" end
    local net = fake.net { streamed { delta "a", delta "b", { pause = 100 }, delta "c" } }
    for piece in net:connect():stream { messages = {} } do
      if piece == "b" then break end
    end
    assert.is_true(net.transfers[1].closed)
  end)

  it("events that wait to be read are kept once, and all of them are given", function()
    local chunks, COUNT = {}, 20000
    for i = 1, COUNT / 1000 do chunks[i] = ("data:{}\n\n"):rep(1000) end
    chunks[#chunks + 1] = delta("a") .. delta("b", "stop")
    local stream = open(streamed(chunks))
    local next_event, count, text = stream:events(), 1, ""
    collectgarbage()
    local before = collectgarbage "count"
    assert.same({}, next_event()) -- all but the last have been read for it
    collectgarbage()
    local grown = (collectgarbage "count" - before) * 1024 / COUNT
    assert(grown < 120, ("%.0f bytes for each"):format(grown))
    for given in next_event do
      count, text = count + 1, text .. (given.choices and given.choices[1].delta.content or "")
    end
    assert.same({ COUNT + 2, "ab", "ab", COUNT + 2 }, { count, text, stream:reply().text, #stream:reply().raw })
  end)

  it("raw keeps what the server sent, nulls and all", function()
    local chunks = { delta { role = "assistant", content = lmm.null }, delta("a", "stop"), done }
    local reply = assert(open(streamed(chunks)):reply())
    assert.equal(json.null, reply.raw[1].choices[1].delta.content)
  end)

  it("half a character is no piece", function()
    local function half(text) return 'data: {"choices":[{"delta":{"content":"' .. text .. '"}}]}\n\n' end
    local stream, pieces = open(streamed { delta "a", half "\\ud83d", half "\\ude00", delta({}, "stop"), done }), {}
    for piece in stream do pieces[#pieces + 1] = piece end
    assert.same({ "a", "\240\159\152\128" }, pieces)
  end)

  it("a text and a finish_reason in two choices of one event", function()
    local last = event { choices = { { index = 0, delta = { content = "b" } },
      { index = 0, delta = lmm.array {}, finish_reason = "stop" } } }
    local stream, pieces = open(streamed { delta "a", last, done }), {}
    for piece in stream do pieces[#pieces + 1] = piece end
    assert.same({ "a", "b" }, pieces)
    assert.equal("ab", assert(stream:reply()).text)
  end)

  it("a finish_reason that is the text null is none", function()
    local reset = { fail = { kind = "truncated", phase = "receive", reason = "reset" } }
    local err = assert.refused("broke off", open(streamed { delta("1", "null"), delta("2", "null"), reset },
      { retry = false }):reply())
    assert.equal("12", err.partial)
  end)

  it("what next() has read stays there where what follows raises", function()
    local call = { { index = 0, id = "t", ["function"] = { name = "f", arguments = "{}" } } }
    local chunks = delta "a" .. delta { tool_calls = call } .. delta({}, "tool_calls") .. done
    local stream = open { headers = { ["content-type"] = "text/event-stream" }, body = chunks }
    assert.equal("a", stream:next())
    local check = fake.loop.check
    fake.loop.check = function() error("not here", 0) end
    for _ = 1, 3 do assert.raises("not here", stream.next, stream) end
    fake.loop.check = check
    local reply = assert(stream:reply())
    assert.same({ "tool_calls", "f" }, { reply.finish_reason, reply.tool_calls[1].name })
  end)

  it("events() gives the one object of an answer without any text", function()
    local body = '{"choices":[{"message":{"content":""},"finish_reason":"length"}]}'
    local count, stream = 0, open { body = body }
    for given in stream:events() do
      count = count + 1
      assert.equal("length", given.choices[1].finish_reason)
    end
    assert.equal(1, count)
    assert.equal("length", assert(stream:reply()).finish_reason)
  end)

  it("names that are repeated in a message are no raise", function()
    for _, first in ipairs { '"delta":[1],', '"delta":{"tool_calls":{}},', '"delta":5,' } do
      local text = '{"choices":[{' .. first .. '"delta":{"tool_calls":[{"id":"t","function":{"name":"f","arguments":'
        .. '{"a":1}}}]},"finish_reason":"stop"}]}'
      local reply = assert(open(streamed { "data: " .. text .. "\n\n", done }):reply())
      assert.equal('{"a":1}', reply.tool_calls[1].arguments)
    end
  end)

  it("many choices and many calls in one event end at their limits", function()
    local choices, calls = {}, {}
    for i = 1, 200 do choices[i] = { index = 0, delta = { content = "a" } } end
    for i = 1, 200 do calls[i] = { index = 0, ["function"] = { arguments = {} } } end
    assert.refused("limits.choices", open(streamed { event { choices = choices } }):reply())
    assert.refused("limits.calls", open(streamed { delta { tool_calls = calls } }):reply())
  end)

  it("an id, a model and a tool's name are texts or nothing", function()
    local last = { delta = { content = "b" }, finish_reason = "stop" }
    local reply = assert(open(streamed {
      event {}, event { id = 5, model = { 1 }, choices = { { delta = { content = "a" } } } },
      event { id = "", model = "m2", choices = { last } }, done }):reply())
    assert.same({ text = "ab", model = "m2" }, { text = reply.text, model = reply.model, id = reply.id })
  end)

  it("two readers of one stream: the second is told so", function()
    local stream = open(streamed { delta "a", { pause = 50 }, delta("b", "stop") })
    local task = lmm.go(function() return stream:reply() end)
    assert.raises("is being read already", stream.next, stream)
    local ok, reply = task:wait()
    assert.same({ true, "ab" }, { ok, reply.text })
  end)

  it("a stream of nothing but [DONE] is no answer", function()
    assert.equal("truncated", assert.refused("broke off: it holds no answer", open(streamed { done }):reply()).kind)
  end)

  it("what another task's done raises ends the stream that was waiting, in good order", function()
    local stream, net = open(streamed { delta "a", { pause = 50 }, delta("b", "stop") })
    lmm.go(function() fake.loop:wait({}, fake.loop:now() + 5) end, function() error "in done" end)
    assert.equal("a", stream:next())
    assert.raises("in done", stream.next, stream)
    assert.is_true(net.transfers[1].closed)
    assert.refused("cancelled", stream:next())
  end)

  it("nonsense from the server is an error or is passed over, never a raise", function()
    local refused = {
      '{"choices":[1]}', '{"choices":[true]}', '{"choices":[{"message":5}]}', '{"choices":{"a":1}}',
    }
    for _, body in ipairs(refused) do
      assert.equal("protocol", assert.refused("does not answer",
        open({ body = body }, { retry = false }):reply()).kind, body)
    end
    local passed = {
      '{"choices":[{"message":{"content":"a"},"index":NaN}]}',
      '{"choices":[{"message":{"content":"a","tool_calls":[1,null,{}]}}]}',
      '{"choices":[{"message":{"content":"a","tool_calls":5,"reasoning":7,"refusal":{}}}],"usage":5}',
      '{"error":"","choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"x"},7]}}]}',
      '{"choices":[{"index":"zero","message":{"content":"a"},"logprobs":3}]}',
    }
    for _, body in ipairs(passed) do
      local reply = assert(open({ body = body }, { retry = false }):reply())
      assert.equal(body:find ",7%]" and "a7" or "a", reply.text, body)
    end
    for _, code in ipairs { "1.5", "-3", "0", "99999", "true", "[]", "{}" } do
      local reply = { body = '{"error":{"message":"m","code":' .. code .. "}}" }
      assert.equal(200, assert.refused("an error from .*: m", open(reply, { retry = false }):reply()).status)
    end
  end)

  it("arguments that come decoded keep their nulls", function()
    local body = '{"choices":[{"message":{"tool_calls":[{"id":"t","function":{"name":"f","arguments":{"a":null}}}]}}]}'
    local call = assert(open({ body = body }):reply()).tool_calls[1]
    assert.equal(json.null, json.decode(call.arguments).a)
  end)

  it("arguments that come decoded are written as they came", function()
    local numbers, text = '12345678901234567,3.141592653589793,-0.5,1e+22,2,7', '"[] 12 \\"{\\\\\\" \\u00e4\\/"'
    local given = '{"id":12345678901234567}'
    local function arguments_of(arguments, way)
      local body = ('{"object":"12","choices":[{"%s":{"content":"[ ] 5","tool_calls":[null,{"index":0,"id":"t",'
        .. '"function":{"arguments":%s,"name":"f"}}]},"finish_reason":"stop"}],"x":[],"y":12}'):format(way, arguments)
      local reply = way == "delta" and streamed { "data: " .. body .. "\n\n" } or { body = body }
      local call = assert(open(reply):reply()).tool_calls[1]
      return call.arguments, call
    end
    for _, way in ipairs { "delta", "message" } do
      assert.equal(given, (arguments_of(given, way)))
      assert.equal('{"l":[ ], "f":2.0}', (arguments_of('{"l":[ ], "f":2.0}', way)))
      assert.same({ "[]", "{}" }, { arguments_of("[]", way), (arguments_of("{}", way)) })
      local list = "[" .. numbers .. ",{},[],[[]],null,true]"
      assert.equal(list, (arguments_of(list, way)))
      local _, call = arguments_of('{"pi":3.141592653589793,"s":' .. text .. '}', way)
      assert.same({ pi = 3.141592653589793, s = '[] 12 "{\\" \195\164/' }, call.args)
      assert.matches('"pi":3.141592653589793', call.arguments)
    end
  end)

  it("where nothing else tells the end of an answer, JSON that is cut is told from JSON that is wrong", function()
    local function reply_of(body, headers)
      return open({ body = body, headers = headers }, { retry = false }):reply()
    end
    local text = [[ {"a":"x\u00e4\ud83d\ude00\n\\","b":[1,-2.5e+10,true,false,null,{}],"c":{"d":"\"{"}} ]]
    for cut = 2, #text - 2 do
      local err = assert.refused("broke off: .* JSON", reply_of(text:sub(1, cut)))
      assert.same({ "truncated", "receive", "", true }, { err.kind, err.phase, err.partial, err.retryable }, cut)
      for _, framing in ipairs { { ["content-length"] = tostring(cut) }, { ["transfer-encoding"] = "chunked" } } do
        err = assert.refused("JSON", reply_of(text:sub(1, cut), framing))
        assert.equal("protocol", err.kind)
      end
    end
    for _, body in ipairs { "", " ", "\239\187\191", "\239\187\191\nda", "retry" } do
      assert.equal("truncated", assert.refused("ended without %[DONE%]", reply_of(body)).kind)
    end
    for _, body in ipairs { '{"choices":[}', "{]", '{"a":1 x', '{"a":oops', '{"a":"\\q', '{"a":tru}',
      '"text', '{"a":1}}', '{"a":1} {', '{"a":1} t', "<html>", '{"a":-x' } do
      assert.equal("protocol", assert.refused("does not answer", reply_of(body)).kind, body)
    end
  end)

  it("two deltas of one choice in one event are one piece; an empty reasoning hides nothing", function()
    local both = event { choices = { { index = 0, delta = { content = "a", reasoning = "", reasoning_content = "r" } },
      { index = 0, delta = { content = "b" }, finish_reason = "stop" } } }
    local stream = open(streamed { both, "data: [DONE] \n\n" })
    assert.same({ "ab" }, collect(stream))
    assert.same({ "ab", "r" }, { stream:reply().text, stream:reply().reasoning })
  end)

  it("limits.depth bounds how deep a reply is nested", function()
    local deep = ("["):rep(50) .. ("]"):rep(50)
    local body = '{"choices":[{"message":{"content":"a"}}],"x":' .. deep .. "}"
    assert(open({ body = body }):reply())
    local err = assert.refused("nested more than 20 deep %(limits%.depth%)", open({ body = body },
      { limits = { depth = 20 }, retry = false }):reply())
    assert.same({ "limit", "receive" }, { err.kind, err.phase })
  end)
end)
