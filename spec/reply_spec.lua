-- Replies: what a server means is the same whether it comes whole, in pieces, or byte by byte; and what real servers
-- send that no document tells of.
local cut_up = require "spec.support.cut_up"
local fake = require "spec.support.fake"
local json = require "lmm.json"
local lmm = require "lmm"
local raw = require "spec.support.raw"

local null = lmm.null
local REQUEST = { messages = { { role = "user", content = "q" } } }

--- A reply without what differs by nature: what was sent, and when it came.
local function comparable(reply)
  reply.raw, reply.timing, reply.usage.requests, reply.usage.bytes_sent = nil, nil, nil, nil
  return reply
end

local function call_of(id, name, arguments)
  return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
end

local function event_of(index, delta, more)
  local choice = { index = index, delta = delta }
  for name, value in pairs(more or {}) do choice[name] = value end
  return { id = "c1", model = "m", object = "chat.completion.chunk", choices = { choice } }
end

local function tool_delta(index, fields, name, arguments)
  fields.index = index
  fields["function"] = { name = name, arguments = arguments }
  return { tool_calls = { fields } }
end

local TOKENS = { { token = "H", logprob = -0.5, bytes = { 72 }, top_logprobs = { { token = "J", logprob = -1 } } },
  { token = "i", logprob = -0.25, bytes = null, top_logprobs = lmm.array {} } }
local USAGE = { prompt_tokens = 5, completion_tokens = 2, total_tokens = 7,
  prompt_tokens_details = { cached_tokens = 1 } }

local answers = { -- what, the choices of the whole answer, the deltas of the same in order
  { "text", { { message = { role = "assistant", content = "Hello" }, finish_reason = "stop" } },
    { { 0, { role = "assistant", content = "" } }, { 0, { content = "Hel" } }, { 0, { content = "lo" } },
      { 0, {}, { finish_reason = "stop" } } } },
  { "characters of several bytes",
    { { message = { content = "a\195\164\240\159\152\128" }, finish_reason = "stop" } },
    { { 0, { content = "a" } }, { 0, { content = "\195\164" } }, { 0, { content = "\240\159\152\128" },
      { finish_reason = "stop" } } } },
  { "nothing, cut off", { { message = { role = "assistant", content = "" }, finish_reason = "length" } },
    { { 0, { role = "assistant", content = "" } }, { 0, {}, { finish_reason = "length" } } } },
  { "reasoning, as vLLM names it", { { message = { content = "A", reasoning = "because" }, finish_reason = "stop" } },
    { { 0, { reasoning = "be" } }, { 0, { reasoning = "cause" } },
      { 0, { content = "A" }, { finish_reason = "stop" } } } },
  { "reasoning, as llama-server does",
    { { message = { content = "A", reasoning_content = "because" }, finish_reason = "stop" } },
    { { 0, { content = null, reasoning_content = "because" } }, { 0, { content = "A", reasoning_content = null } },
      { 0, {}, { finish_reason = "stop" } } } },
  { "a refusal", { { message = { content = null, refusal = "I cannot." }, finish_reason = "stop" } },
    { { 0, { role = "assistant", refusal = null } }, { 0, { refusal = "I " } }, { 0, { refusal = "cannot." } },
      { 0, {}, { finish_reason = "stop" } } } },
  { "tool calls", { { message = { content = null,
    tool_calls = { call_of("a", "f", '{"x":1}'), call_of("b", "g", "{}") } }, finish_reason = "tool_calls" } },
    { { 0, tool_delta(0, { id = "a", type = "function" }, "f", "") }, { 0, tool_delta(0, {}, nil, '{"x"') },
      { 0, tool_delta(0, { id = null }, null, ":1}") },
      { 0, tool_delta(1, { id = "b", type = "function" }, "g", "{}") }, { 0, {}, { finish_reason = "tool_calls" } } } },
  { "text and a tool call whose arguments are no JSON",
    { { message = { content = "So:", tool_calls = { call_of("a", "f", '{"x":') } }, finish_reason = "length" } },
    { { 0, { content = "So:" } }, { 0, tool_delta(0, { id = "a" }, "f", '{"x":') },
      { 0, {}, { finish_reason = "length" } } } },
  { "logprobs", { { message = { content = "Hi" }, logprobs = { content = TOKENS, refusal = null },
    finish_reason = "stop" } },
    { { 0, { content = "" }, { logprobs = null } },
      { 0, { content = "H" }, { logprobs = { content = { TOKENS[1] } } } },
      { 0, { content = "i" }, { logprobs = { content = { TOKENS[2] } } } },
      { 0, {}, { finish_reason = "stop", logprobs = null } } } },
  { "three choices", { { index = 0, message = { content = "A1" }, finish_reason = "stop" },
    { index = 1, message = { content = "B", reasoning = "r" }, finish_reason = "length" },
    { index = 2, message = { content = null, tool_calls = { call_of("t", "f", "{}") } },
      finish_reason = "tool_calls" } },
    { { 2, tool_delta(0, { id = "t" }, "f", "{}") }, { 0, { content = "A" } }, { 1, { reasoning = "r" } },
      { 1, { content = "B" }, { finish_reason = "length" } }, { 0, { content = "1" } },
      { 2, {}, { finish_reason = "tool_calls" } }, { 0, {}, { finish_reason = "stop" } } }, 3 },
}

local function whole_of(row)
  return json.encode { id = "c1", object = "chat.completion", model = "m", choices = row[2], usage = USAGE }
end

local function events_of(row)
  local pieces = { ": hello\n\n" }
  for _, delta in ipairs(row[3]) do pieces[#pieces + 1] = fake.event(event_of(delta[1], delta[2], delta[3])) end
  pieces[#pieces + 1] = fake.event { id = "c1", model = "m", choices = lmm.array {}, usage = USAGE }
  pieces[#pieces + 1] = fake.event "[DONE]"
  return pieces
end

local function request_of(row)
  return { messages = REQUEST.messages, n = row[4] }
end

--- What a choice of a reply must hold, read off what was sent.
local function check_choice(choice, sent)
  local message = json.clean(sent.message)
  assert.same({ message.content or "", message.reasoning or message.reasoning_content or false,
    message.refusal or false, sent.finish_reason },
    { choice.text, choice.reasoning or false, choice.refusal or false, choice.finish_reason })
  assert.same(json.clean((sent.logprobs or {}).content or {}), choice.logprobs and choice.logprobs.content or {})
  local calls = {}
  for i, call in ipairs(message.tool_calls or {}) do
    local args = json.decode(call["function"].arguments)
    calls[i] = { id = call.id, name = call["function"].name, arguments = call["function"].arguments,
      args = json.clean(args) }
  end
  assert.same(calls, choice.tool_calls or {})
end

describe("replies", function()
  for _, row in ipairs(answers) do
    it("the same whole, in events, in bytes, and unasked for the other way: " .. row[1], function()
      local request = request_of(row)
      local function get(method, reply)
        local client = fake.net({ reply }):connect { retry = false }
        if method == "chat" then return comparable(assert(client:chat(request))) end
        return comparable(assert(client:stream(request):reply()))
      end
      local whole, events = { body = whole_of(row) }, events_of(row)
      local expected = get("chat", whole)
      assert.same(expected, get("stream", fake.streamed(events)))
      assert.same(expected, get("stream", fake.streamed(cut_up(table.concat(events)))))
      assert.same(expected, get("stream", whole))                 -- a server that cannot stream
      assert.same(expected, get("chat", fake.streamed(events)))   -- and one that always does
      -- By its own measure.
      assert.equal(#row[2], #expected.choices)
      assert.same({ "c1", "m", 1 }, { expected.id, expected.model, expected.attempts })
      assert.equal("7", tostring(expected.usage.total_tokens))
      for i, choice in ipairs(row[2]) do check_choice(expected.choices[i], choice) end
      check_choice(expected, row[2][1])
    end)
  end

  for _, calls in ipairs { "[5]", "[null]", '"x"', "[]", "{}" } do
    it("that end in calls of which none can be read are no answer: " .. calls, function()
      local body = ('{"choices":[{"%s":{"content":"%s","tool_calls":' .. calls .. '},"finish_reason":"tool_calls"}]}')
      local function ask(reply) return fake.net({ reply }):connect({ retry = false }):chat(REQUEST) end
      for _, field in ipairs { "message", "delta" } do
        local whole, said = body:format(field, ""), body:format(field, "Hello")
        local err = assert.refused("finish_reason \"tool_calls\".*no call that can be read",
          ask(field == "delta" and fake.streamed { fake.event(whole), fake.event "[DONE]" } or { body = whole }))
        assert.equal("protocol", err.kind)
        assert.equal("Hello", assert(ask(field == "delta" and fake.streamed { fake.event(said), fake.event "[DONE]" }
          or { body = said })).text)
      end
    end)
  end

  it("the same on real sockets, chunked, counted and byte by byte", function()
    local function framed(type_of, body, chunked)
      local head = "HTTP/1.1 200 OK\r\nContent-Type: " .. type_of .. "\r\n"
      if not chunked then return head .. ("Content-Length: %d\r\n\r\n%s"):format(#body, body) end
      local pieces = {}
      for i = 1, #body, 7 do
        local piece = body:sub(i, i + 6)
        pieces[#pieces + 1] = ("%x\r\n%s\r\n"):format(#piece, piece)
      end
      return head .. "Transfer-Encoding: chunked\r\n\r\n" .. table.concat(pieces) .. "0\r\n\r\n"
    end
    local scenarios, count = {}, 0
    for _, row in ipairs(answers) do
      local whole, events = whole_of(row), table.concat(events_of(row))
      for _, step in ipairs {
        { send = framed("application/json", whole) }, { send = framed("application/json", whole, true) },
        { send = framed("text/event-stream", events) },
        { dribble = framed("text/event-stream", events, true), every = 0 },
      } do
        count = count + 1
        scenarios[count] = { { await = "request" }, step, { close = true } }
      end
    end
    local server = raw.start(scenarios)
    local ok, err = xpcall(function()
      local program = ([[
      local lmm, json = require "lmm", require "lmm.json"
      local client = lmm.connect { base_url = %q, model = "m", retry = false }
      for _, n in ipairs { %s } do
        for i = 1, 4 do
          local request = { messages = { { role = "user", content = "q" } }, n = n }
          local reply = i < 3 and assert(client:chat(request)) or assert(client:stream(request):reply())
          reply.raw, reply.timing, reply.usage.requests, reply.usage.bytes_sent = nil, nil, nil, nil
          local function show(value)
            if type(value) ~= "table" then return tostring(value) end
            local names = {}
            for name in pairs(value) do names[#names + 1] = name end
            table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
            for at, name in ipairs(names) do names[at] = tostring(name) .. "=" .. show(value[name]) end
            return "{" .. table.concat(names, ",") .. "}"
          end
          print((show(reply)))
        end
      end]]):format(server.url, (("1,"):rep(#answers - 1)) .. "3")
      local ended = require("spec.support.program").run(program)
      assert.same({ 0, "" }, { ended.status, ended.err })
      local lines = {}
      for line in ended.out:gmatch "[^\n]+" do lines[#lines + 1] = line end
      assert.equal(4 * #answers, #lines)
      for i = 1, #lines, 4 do
        for j = 1, 3 do assert.equal(lines[i], lines[i + j], answers[(i + 3) / 4][1]) end
      end
    end, debug.traceback)
    server:stop()
    if not ok then error(err, 0) end
  end)
end)

-- ---- what no document tells of

local function stream_of(...)
  return fake.net({ fake.streamed { ... } }):connect({ retry = false }):stream(REQUEST)
end

describe("what no document tells of", function()
  it("an empty finish_reason ends nothing, nor does one that is no text", function()
    for _, reason in ipairs { "", false, 0, null } do
      local event = fake.event(event_of(0, { content = "half" }, { finish_reason = reason }))
      local err = assert.refused("without a finish_reason", stream_of(event):reply())
      assert.same({ "truncated", "half" }, { err.kind, err.partial })
      local reply = assert(stream_of(event, fake.event(event_of(0, {}, { finish_reason = "stop" })),
        fake.event(event_of(0, {}, { finish_reason = reason })), fake.event "[DONE]"):reply())
      assert.equal("stop", reply.finish_reason)
    end
  end)

  it("whole tool calls without id and index are as many as there are; so are whole choices", function()
    local function f(name) return { ["function"] = { name = name, arguments = "{}" } } end
    local calls = { f "a", null, f "b", f "c" }
    local message = { content = "x", tool_calls = calls }
    local body = { choices = { { message = message }, { message = { content = "y" } } } }
    local reply = assert(fake.net({ { json = body } }):connect():chat { messages = REQUEST.messages, n = 2 })
    local names = {}
    for i, call in ipairs(reply.tool_calls) do names[i] = call.name .. call.arguments end
    assert.same({ "a{}", "b{}", "c{}" }, names)
    assert.same({ "x", 2, "y" }, { reply.text, #reply.choices, reply.choices[2].text })
    calls[3].id, calls[4].id = "same", "same"
    assert.equal(3, #assert(fake.net({ { json = body } }):connect():chat(REQUEST)).tool_calls)
  end)

  it("an event that somebody keeps stays as it came", function()
    local stream = stream_of(fake.event(event_of(0, { content = "H" }, { logprobs = { content = { TOKENS[1] } } })),
      fake.event(event_of(0, { content = "i" }, { logprobs = { content = { TOKENS[2] } }, finish_reason = "stop" })))
    local kept = {}
    for event in stream:events() do kept[#kept + 1] = event end
    assert.equal(2, #stream:reply().logprobs.content)
    assert.same({ 1, 1 }, { #kept[1].choices[1].logprobs.content, #kept[2].choices[1].logprobs.content })
  end)

  it("a reply of several choices without its choice 0 is none", function()
    local two = { messages = REQUEST.messages, n = 2 }
    local function refused(says, value, message, err)
      err = assert.refused(says, value, message, err)
      assert.same({ "protocol", "" }, { err.kind, err.partial })
    end
    for _, index in ipairs { 1, -1, 0.5, 1e300 } do
      local choice = { index = index, message = { content = "a" }, finish_reason = "stop" }
      refused("without its choice 0", fake.net({ { json = { choices = { choice } } } }):connect():chat(two))
      local event = fake.event(event_of(index, { content = "a" }, { finish_reason = "stop" }))
      for _, chunks in ipairs { { event, fake.event "[DONE]" }, { event } } do
        refused("without its choice 0", fake.net({ fake.streamed(chunks) }):connect():stream(two):reply())
      end
    end
    local only = fake.streamed { fake.event(event_of(1, { content = "b" }, { finish_reason = "stop" })),
      fake.event "[DONE]" }
    refused("without its choice 0", fake.net({ only }):connect():stream(two):reply())
    local err = assert.refused("broke off: it holds no answer", stream_of(fake.event "[DONE]"):reply())
    assert.equal("truncated", err.kind)
  end)

  it("whole choices of one index are others, where several were asked for", function()
    local two = { messages = REQUEST.messages, n = 2 }
    local function texts_of(choices)
      local reply = assert(fake.net({ { json = { choices = choices } } }):connect():chat(two))
      return { reply.text, #reply.choices, reply.choices[2] and reply.choices[2].text }
    end
    local a = { index = 0, message = { content = "a" }, finish_reason = "stop" }
    for _, b in ipairs { { index = 0, message = { content = "b" } }, { index = 0, delta = { content = "b" } } } do
      assert.same({ "a", 2, "b" }, texts_of { a, b })
      assert.same({ "b", 2, "a" }, texts_of { b, a })
    end
    assert.same({ "a", 2, "b" }, texts_of { { delta = { content = "a" } }, { delta = { content = "b" } } })
  end)

  it("nulls in a list leave the others in their order", function()
    local calls, names = {}, {}
    for i = 1, 60 do
      for _ = 1, 2 do calls[#calls + 1] = null end
      names[i] = "f" .. i
      calls[#calls + 1] = call_of("c" .. i, names[i], "{}")
    end
    local choices = { { index = 0, message = { tool_calls = calls }, finish_reason = "stop" } }
    local reply = assert(fake.net({ { json = { choices = choices } } }):connect():chat(REQUEST))
    local found = {}
    for i, call in ipairs(reply.tool_calls) do found[i] = call.name end
    assert.same(names, found)
  end)

  it("a whole message behind the deltas says nothing twice", function()
    local message = { content = "Hello", reasoning = "because", refusal = "no",
      tool_calls = { call_of("a", "f", "{}") } }
    local last = { index = 0, message = message, finish_reason = "stop", logprobs = { content = { TOKENS[1] } } }
    local reply = assert(stream_of(fake.event(event_of(0, { content = "Hel", reasoning = "because" })),
      fake.event(event_of(0, { content = "lo" }, { logprobs = { content = { TOKENS[1] } } })),
      fake.event(event_of(0, tool_delta(0, { id = "a" }, "f", "{}"))), fake.event { choices = { last } }):reply())
    assert.same({ "Hello", "because", "no", 1, "{}", 1, "stop" }, { reply.text, reply.reasoning, reply.refusal,
      #reply.tool_calls, reply.tool_calls[1].arguments, #reply.logprobs.content, reply.finish_reason })
    -- Alone it says all, also behind the delta of the role.
    reply = assert(stream_of(fake.event(event_of(0, { role = "assistant" })),
      fake.event { choices = { last } }):reply())
    assert.same({ "Hello", "because", 1 }, { reply.text, reply.reasoning, #reply.tool_calls })
    reply = assert(stream_of(fake.event { choices = { { delta = null, message = message, finish_reason = "stop" } } })
      :reply())
    assert.same({ "Hello", "f" }, { reply.text, reply.tool_calls[1].name })
  end)

  it("a delta that adds nothing to a tool call is no content", function()
    local made = fake.event(event_of(0, tool_delta(0, {}, nil, nil)))
    local empty = fake.event(event_of(0, tool_delta(0, { id = "a" }, "f", "")))
    local nothing = { fake.event(event_of(0, { tool_calls = {} })), fake.event(event_of(0, { tool_calls = { null } })) }
    local bad = fake.event { error = { message = "m", code = 503 } }
    local function requests_of(...) -- two where nothing was content, and the first was tried again
      local net = fake.net { fake.streamed { ... }, fake.answer "a" }
      local stream = net:connect({ retry = { random = function() return 0 end } }):stream(REQUEST)
      local _, _, err = stream:reply()
      return #net.requests, err and err.status
    end
    assert.same({ 2 }, { requests_of(nothing[1], nothing[2], bad) })
    assert.same({ 1, 503 }, { requests_of(made, bad) })
    assert.same({ 1, 503 }, { requests_of(empty, bad) })

    -- The first of a kind counts, the second does not: the time limit between pieces goes on.
    local function ends_at(...)
      local chunks, start = { fake.event(event_of(0, { content = "x" })), made, empty }, fake.loop:now()
      for i = 1, select("#", ...) do
        chunks[#chunks + 1] = { pause = 40 }
        chunks[#chunks + 1] = select(i, ...)
      end
      chunks[#chunks + 1] = { pause = 1000 }
      local net = fake.net { fake.streamed(chunks) }
      local stream = net:connect({ retry = false, timeout = { idle = 60 } }):stream(REQUEST)
      assert.equal("idle", select(3, stream:reply()).limit)
      return fake.loop:now() - start
    end
    assert.equal(60, ends_at(empty, nothing[1]))
    assert.equal(100, ends_at(fake.event(event_of(0, tool_delta(0, { id = "b" }, "", ""))), empty)) -- another call
    assert.equal(100, ends_at(fake.event(event_of(0, tool_delta(0, {}, "", "{"))), empty))
    assert.equal(140, ends_at(fake.event(event_of(0, tool_delta(1, { id = "b" }, "", ""))),
      fake.event(event_of(0, tool_delta(1, { id = "b" }, "g", "")))))
  end)
end)
