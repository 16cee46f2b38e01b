-- Replies as servers, gateways and clouds really send them, and what a client must make of each, streamed or not.
-- A row:
--
--   [1]       what is odd about it
--   [2]       the reply, as spec/support/fake has it: `body`, `headers`, `status`
--   n         how many choices are asked for
--   gives     fields of the reply; a function is called with the value
--   fails     { kind, status or false, texts in the message ... }; `partial` is the text before it
--   only      "chat" or "stream", where the other differs by nature
local assert = require "luassert"

local function reply(body, headers, status)
  return { body = body, headers = headers or { ["content-type"] = "text/event-stream" }, status = status }
end

local function json_reply(body, more)
  local headers = { ["content-type"] = "application/json" }
  for name, value in pairs(more or {}) do headers[name] = value end
  return reply(body, headers)
end

--- A whole answer with this message, and whatever else the choice and the reply hold.
local function whole(message, choice, rest)
  return json_reply(('{"id":"c","model":"m","choices":[{"index":0,"message":%s,"finish_reason":"stop"%s}]%s}')
    :format(message, choice or "", rest or ""))
end

local function event(text) return "data: " .. text .. "\n\n" end

local function choice(fields) return event('{"id":"c","model":"m","choices":[{' .. fields .. "}]}") end

local function delta(fields, rest) return choice('"index":0,"delta":{' .. fields .. '},"finish_reason":null'
  .. (rest or "")) end

local ROLE = delta '"role":"assistant","content":""'
local STOP = choice '"index":0,"delta":{},"finish_reason":"stop"'
local DONE = event "[DONE]"

--- A stream that opens and ends as usual.
local function stream(...) return reply(ROLE .. table.concat { ... } .. STOP .. DONE) end

local function calls(...)
  local expected = { ... }
  return function(given)
    local found = {}
    for i, call in ipairs(given or {}) do found[i] = { call.id or false, call.name or false, call.arguments } end
    assert.same(expected, found)
  end
end

local function only_choice(list) assert.equal(1, #list) end

local HELLO = delta '"content":"Hel"' .. delta '"content":"lo"'
local FFFD, SMILE = "\239\191\189", "\240\159\152\128"
local WHOLE = '{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},'
  .. '"finish_reason":"stop"}]}'
local rows = {}

local function add(group, list)
  for _, row in ipairs(list) do
    row[1] = group .. ": " .. row[1]
    rows[#rows + 1] = row
  end
end

-- ---- labels

local hello = { text = "Hello", finish_reason = "stop" }
for _, label in ipairs { "text/plain", "application/json", "application/octet-stream", "text/event-stream", false } do
  local headers = { ["content-type"] = label or nil }
  add("labelled " .. tostring(label), {
    { "a stream of events", reply(ROLE .. HELLO .. STOP .. DONE, headers), gives = hello },
    { "a whole reply", reply(WHOLE, headers), gives = hello },
    { "a whole reply with [DONE] behind it", reply(WHOLE .. "\n\ndata: [DONE]\n\n", headers), gives = hello },
    { "a whole reply as the only event", reply("data: " .. WHOLE .. "\n\n" .. DONE, headers), gives = hello },
    { "a byte order mark before JSON", reply("\239\187\191" .. WHOLE, headers), gives = hello },
    { "a byte order mark before events", reply("\239\187\191" .. ROLE .. HELLO .. STOP .. DONE, headers),
      gives = hello },
    { "white space before JSON", reply("\r\n \n" .. WHOLE, headers), gives = hello },
  })
end
for _, name in ipairs { "none", "utf-8", "UTF8", "identity", "Identity, none", "" } do
  add("no encoding, called " .. name, {
    { "a whole reply", json_reply(WHOLE, { ["content-encoding"] = name }), gives = hello },
  })
end

-- ---- the last event

local FINISH = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
for _, ending in ipairs { "", "\n", "\r", "\r\n", "\n\n" } do
  add(("an end by %q"):format(ending), {
    { "behind the finish_reason", reply(ROLE .. HELLO .. "data: " .. FINISH .. ending), gives = hello },
    { "behind [DONE]", reply(ROLE .. HELLO .. STOP .. "data: [DONE]" .. ending), gives = hello },
    { "behind [DONE] alone", reply(ROLE .. HELLO .. "data: [DONE]" .. ending), gives = { text = "Hello" } },
  })
end
add("an end", {
  { "within an event", reply(ROLE .. HELLO .. "data: " .. FINISH:sub(1, -3)), fails = { "truncated", false },
    partial = "Hello" },
  { "without any", reply(ROLE .. HELLO), fails = { "truncated", false }, partial = "Hello" },
  { "by [DONE] after nothing at all", reply(DONE), fails = { "truncated", false }, partial = "" },
  { "by [DONE] after the role", reply(ROLE .. DONE), fails = { "truncated", false }, partial = "" },
  { "by a reason \"null\" in every chunk, then one", reply(choice '"delta":{"content":"Hello"},"finish_reason":"null"'
    .. STOP .. DONE), gives = hello },
  { "by a reason \"null\" alone", reply(choice '"delta":{"content":"Hello"},"finish_reason":"null"'),
    fails = { "truncated", false }, partial = "Hello" },
  { "of a choice without a message, by length", json_reply '{"choices":[{"index":0,"finish_reason":"length"}]}',
    gives = { text = "", finish_reason = "length" } },
  { "of a choice with a null message, by length",
    json_reply '{"choices":[{"index":0,"message":null,"finish_reason":"length"}]}',
    gives = { text = "", finish_reason = "length" } },
  { "of a choice without a delta, by length", reply(event '{"choices":[{"index":0,"finish_reason":"length"}]}' .. DONE),
    gives = { text = "", finish_reason = "length" } },
  { "of a choice without a message, by nothing", json_reply '{"choices":[{"index":0}]}',
    fails = { "protocol", false, "a choice without a message" } },
})
add("an id and a model", {
  { "that come late", reply(event '{"id":"","model":"","choices":[]}' .. ROLE .. HELLO .. STOP .. DONE),
    gives = { id = "c", model = "m", text = "Hello" } },
})

-- ---- one choice unless n was asked for

local function token(index, text, reason)
  return choice(('"index":%d,"delta":{"content":"%s"},"finish_reason":%s'):format(index, text, reason or "null"))
end
add("one choice", {
  { "whose index counts tokens", reply(token(1, "He") .. token(2, "l") .. token(3, "lo") .. token(4, "", '"stop"')
    .. DONE), gives = { text = "Hello", finish_reason = "stop", choices = only_choice } },
  { "of index 1", reply(token(1, "Hello") .. token(1, "", '"stop"') .. DONE), gives = hello },
  { "of index 1, whole",
    json_reply '{"choices":[{"index":1,"message":{"content":"Hello"},"finish_reason":"stop"}]}', gives = hello },
  { "in two of index 0, text and calls", json_reply([[{"choices":[
    {"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"},
    {"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function",
      "function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}]]),
    gives = { text = "Hello", finish_reason = "tool_calls", tool_calls = calls { "a", "f", "{}" },
      choices = only_choice } },
  { "in two without index, calls and text", json_reply([[{"choices":[
    {"message":{"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},
      "finish_reason":"tool_calls"},
    {"message":{"content":"Hello"},"finish_reason":"stop"}]}]]),
    gives = { text = "Hello", finish_reason = "tool_calls", tool_calls = calls { "a", "f", "{}" },
      choices = only_choice } },
  { "in two deltas of one event, without index", reply(event([[{"choices":[{"delta":{"content":"Hello"}},
    {"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}]]):gsub("\n%s*", "")
      .. "\n\n" .. STOP .. DONE), gives = { text = "Hello", tool_calls = calls { "a", "f", "{}" } } },
})
add("two choices asked for", {
  { "of a server that gives one", reply(ROLE .. HELLO .. STOP), n = 2,
    gives = { text = "Hello", choices = only_choice } },
  { "of a server that gives one, whole", json_reply(WHOLE), n = 2, gives = { text = "Hello", choices = only_choice } },
  { "of a server that gives one that has not ended", reply(ROLE .. HELLO), n = 2, fails = { "truncated", false },
    partial = "Hello" },
  { "one of which has not ended", reply(token(0, "a", '"stop"') .. token(1, "b")), n = 2,
    fails = { "truncated", false }, partial = "a" },
  { "both of index 0", json_reply([[{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"},
    {"index":0,"message":{"content":"b"},"finish_reason":"stop"}]}]]), n = 2,
    gives = { text = "a", choices = function(list) assert.equal("b", list[2].text) end } },
})

-- ---- text in other clothes

local clothes = {
  { "a number", "0.10", "0.10" }, { "a whole number", "12345678901234567890", "12345678901234567890" },
  { "an exponent", "1E5", "1E5" }, { "true", "true", "true" }, { "false", "false", "false" },
  { "a list of strings", '["Hel","lo"]', "Hello" },
  { "one part", '{"type":"text","text":"Hello"}', "Hello" },
  { "a part without a type", '[{"text":"Hello"}]', "Hello" },
  { "a list with null", '[null,{"type":"text","text":"Hel"},null,"lo"]', "Hello" },
  { "a list with a number", '["a ",1.50,true]', "a 1.50true" },
  { "a part whose text is a number", '[{"type":"text","text":2.50}]', "2.50" },
  { "a part as Responses has it", '[{"type":"output_text","text":"Hello","annotations":[]}]', "Hello" },
  { "an object that is no part", '{"answer":0.10}', '{"answer":0.10}' },
}
for _, row in ipairs(clothes) do
  add("text that is " .. row[1], {
    { "whole", whole('{"role":"assistant","content":' .. row[2] .. "}"), gives = { text = row[3] } },
    { "in a delta", stream(delta('"content":' .. row[2])), gives = { text = row[3] } },
    { "in its last delta", reply(ROLE .. choice('"index":0,"delta":{"content":' .. row[2] .. '},"finish_reason":"stop"')
      .. DONE), gives = { text = row[3] } },
    { "in the first delta", reply(delta('"content":' .. row[2]) .. STOP .. DONE), gives = { text = row[3] } },
  })
end
add("text", {
  { "in pieces that are numbers", stream(delta '"content":1', delta '"content":0', delta '"content":".50"'),
    gives = { text = "10.50" } },
  { "in the choice itself, streamed", reply(choice '"index":0,"text":"Hel"' .. choice '"index":0,"text":"lo"'
    .. choice '"index":0,"text":"","finish_reason":"stop"' .. DONE), gives = hello },
  { "in the choice itself, whole", json_reply '{"choices":[{"index":0,"text":"Hello","finish_reason":"stop"}]}',
    gives = hello },
  { "in the choice beside a delta without any", stream(choice '"index":0,"text":"Hello","delta":{"role":"assistant"}'),
    gives = hello },
})
add("reasoning", {
  { "that is a number", whole '{"content":"a","reasoning_content":0.50}', gives = { text = "a", reasoning = "0.50" } },
  { "in pieces that are numbers", stream(delta '"reasoning_content":1', delta '"reasoning_content":2.0', HELLO),
    gives = { text = "Hello", reasoning = "12.0" } },
  { "in thinking parts", whole([[{"content":[{"type":"thinking","thinking":[{"type":"text","text":"be"},
    {"type":"text","text":"cause"}]},{"type":"text","text":"Hello"}]}]]),
    gives = { text = "Hello", reasoning = "because" } },
  { "in thinking parts of a stream", stream(
    delta '"content":[{"type":"thinking","thinking":[{"type":"text","text":"be"}]}]',
    delta '"content":[{"type":"thinking","thinking":"cause"}]', HELLO),
    gives = { text = "Hello", reasoning = "because" } },
  { "under both names", stream(delta '"reasoning":"because","reasoning_content":"because"', HELLO),
    gives = { text = "Hello", reasoning = "because" } },
})
add("a refusal", {
  { "in a part", whole '{"content":[{"type":"refusal","refusal":"No."}]}', gives = { text = "", refusal = "No." } },
})

-- ---- half characters, and numbers that JSON has not

add("a half character", {
  { "alone", whole '{"content":"l\\udcafo"}', gives = { text = "l" .. FFFD .. "o" } },
  { "alone in a delta", stream(delta '"content":"l\\udcafo"'), gives = { text = "l" .. FFFD .. "o" } },
  { "and its other half", stream(delta '"content":"\\ud83d"', delta '"content":"\\ude00"'), gives = { text = SMILE } },
  { "and its other half, in arguments", stream(
    delta '"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\\"x\\":\\"\\ud83d"}}]',
    delta '"tool_calls":[{"index":0,"function":{"arguments":"\\ude00\\"}"}}]'),
    gives = { tool_calls = calls { "a", "f", '{"x":"' .. SMILE .. '"}' } } },
  { "as an escape within arguments", whole([[{"content":null,"tool_calls":[{"id":"a","type":"function",
    "function":{"name":"f","arguments":"{\"x\":\"l\\udcafo\"}"}}]}]]),
    gives = { tool_calls = function(list) assert.equal("l" .. FFFD .. "o", list[1].args.x) end } },
  { "in reasoning", stream(delta '"reasoning":"\\ud83d"', delta '"reasoning":"\\ude00"', HELLO),
    gives = { text = "Hello", reasoning = SMILE } },
})
add("logprobs", {
  { "that are infinite", whole('{"content":"Hello"}',
    ',"logprobs":{"content":[{"token":"Hello","logprob":-Infinity},{"token":"","logprob":NaN}]}'),
    gives = { text = "Hello", logprobs = function(given) assert.equal(-math.huge, given.content[1].logprob) end } },
  { "that are infinite, streamed",
    stream(delta('"content":"Hello"', ',"logprobs":{"content":[{"logprob":-Infinity}]}')),
    gives = { text = "Hello", logprobs = function(given) assert.equal(-math.huge, given.content[1].logprob) end } },
  { "that are maps", whole('{"content":"Hello"}',
    ',"logprobs":{"tokens":["a"],"top_logprobs":[{"a":-1}],"text_offset":null,"by_id":{"7":{"logprob":-1}}}'),
    gives = { text = "Hello", logprobs = function(given)
      assert.same({ { -1 }, -1 }, { { given.top_logprobs[1].a }, given.by_id["7"].logprob })
    end } },
  { "that are a list, with nulls", stream(delta('"content":"Hello"', ',"logprobs":[null,-1]')),
    gives = { text = "Hello" } },
  { "of lists with nulls", stream(delta('"content":"Hel"', ',"logprobs":{"token_logprobs":[null,-1]}'),
    delta('"content":"lo"', ',"logprobs":{"token_logprobs":[-2]}')),
    gives = { text = "Hello", logprobs = function(given)
      assert.same({ -1, -2 }, { given.token_logprobs[2], given.token_logprobs[3] })
    end } },
})

-- ---- what is no error

for _, field in ipairs { '{}', '{"message":"","code":null}', '{"code":0,"message":"success"}', '{"code":"0"}', 'null',
  '""', 'false', '{"code":200,"message":"OK"}', '{"message":null,"type":null}' } do
  add("no error is " .. field, {
    { "whole", whole('{"content":"Hello"}', "", ',"error":' .. field), gives = hello },
    { "within a choice", whole('{"content":"Hello"}', ',"error":' .. field), gives = hello },
    { "in every event", reply((ROLE .. HELLO .. STOP):gsub('{"id"', '{"error":' .. field .. ',"id"') .. DONE),
      gives = hello },
    { "beside usage at the end", reply(ROLE .. HELLO .. STOP
      .. event('{"choices":[],"usage":{"total_tokens":7},"error":'
      .. field .. "}") .. DONE), gives = { text = "Hello", usage = function(u) assert.equal(7, u.total_tokens) end } },
  })
end
add("no error", {
  { "is a success beside the answer", whole('{"content":"Hello"}', "",
    ',"base_resp":{"status_code":0,"status_msg":"success"}'), gives = hello },
  { "is a message beside the answer", whole('{"content":"Hello"}', "", ',"message":"ok","code":0,"success":true'),
    gives = hello },
})

-- ---- keep-alives

for _, data in ipairs { "data: null", "data: : OPENROUTER PROCESSING", ": OPENROUTER PROCESSING", "data:", "data: ",
  "event: ping", "event: ping\ndata: {}", "data: : ping", "retry: 1000" } do
  add("a keep-alive like " .. data, {
    { "anywhere", reply(data .. "\n\n" .. ROLE .. data .. "\n\n" .. HELLO .. data .. "\n\n" .. STOP .. data .. "\n\n"
      .. DONE .. data .. "\n\n"), gives = hello },
  })
end
add("[DONE]", {
  { "in quotes", reply(ROLE .. HELLO .. STOP .. 'data: "[DONE]"\n\n'), gives = hello },
})

-- ---- tool calls

local function call_delta(fields) return delta('"tool_calls":[{' .. fields .. "}]") end
add("tool calls", {
  { "whose index goes on", stream(call_delta '"index":0,"id":"a","function":{"name":"f","arguments":""}',
    call_delta '"index":1,"function":{"arguments":"{\\"x\\""}', call_delta '"index":2,"function":{"arguments":":1}"}',
    call_delta '"index":3,"id":"b","function":{"name":"g","arguments":""}',
    call_delta '"index":4,"function":{"arguments":"{}"}'),
    gives = { tool_calls = calls({ "a", "f", '{"x":1}' }, { "b", "g", "{}" }) } },
  { "whose index goes on, with empty ids", stream(
    call_delta '"index":0,"id":"a","function":{"name":"f","arguments":""}',
    call_delta '"index":1,"id":"","function":{"name":"","arguments":"{\\"x\\""}',
    call_delta '"index":2,"id":null,"function":{"name":null,"arguments":":1}"}'),
    gives = { tool_calls = calls { "a", "f", '{"x":1}' } } },
  { "the second of which has its name late", stream(
    call_delta '"index":0,"id":"a","function":{"name":"f","arguments":"{}"}',
    call_delta '"index":1,"function":{"arguments":"{"}',
    call_delta '"index":1,"id":"b","function":{"name":"g","arguments":"}"}'),
    gives = { tool_calls = calls({ "a", "f", "{}" }, { "b", "g", "{}" }) } },
  { "in turns", stream(call_delta '"index":0,"id":"a","function":{"name":"f","arguments":"{"}',
    call_delta '"index":1,"id":"b","function":{"name":"g","arguments":"{"}',
    call_delta '"index":0,"function":{"arguments":"}"}', call_delta '"index":1,"function":{"arguments":"}"}'),
    gives = { tool_calls = calls({ "a", "f", "{}" }, { "b", "g", "{}" }) } },
  { "whose arguments are numbers", stream(call_delta '"index":0,"id":"a","function":{"name":"f","arguments":"[0"}',
    call_delta '"index":0,"function":{"arguments":1.50}', call_delta '"index":0,"function":{"arguments":"]"}'),
    gives = { tool_calls = calls { "a", "f", "[01.50]" } } },
  { "whose arguments are an object", whole([[{"content":null,"tool_calls":[{"id":"a","type":"function",
    "function":{"name":"f","arguments":{"x":[],"y":0.10}}}]}]]),
    gives = { tool_calls = calls { "a", "f", '{"x":[],"y":0.10}' } } },
  { "as functions were called once", whole '{"content":null,"function_call":{"name":"f","arguments":"{}"}}',
    gives = { tool_calls = calls { false, "f", "{}" } } },
  { "as functions were called once, streamed", stream(delta '"function_call":{"name":"f","arguments":""}',
    delta '"function_call":{"arguments":"{\\"x\\""}', delta '"function_call":{"arguments":":1}"}'),
    gives = { tool_calls = calls { false, "f", '{"x":1}' } } },
  { "as functions were called once, with a list that holds nulls",
    whole '{"content":null,"function_call":{"name":"f","arguments":[null,1.0]}}',
    gives = { tool_calls = calls { false, "f", "[null,1.0]" } } },
  { "one instead of a list", whole([[{"content":null,"tool_calls":{"id":"a","type":"function",
    "function":{"name":"f","arguments":"{}"}}}]]), gives = { tool_calls = calls { "a", "f", "{}" } } },
})

-- ---- what else comes with an answer

add("usage", {
  { "in the choice", whole('{"content":"Hello"}', ',"usage":{"total_tokens":7}'),
    gives = { usage = function(u) assert.equal(7, u.total_tokens) end } },
  { "in the choice, streamed", reply(ROLE .. HELLO
    .. choice '"index":0,"delta":{},"finish_reason":"stop","usage":{"total_tokens":7}' .. DONE),
    gives = { text = "Hello", usage = function(u) assert.equal(7, u.total_tokens) end } },
  { "in x_groq", reply(ROLE .. HELLO .. event('{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    .. '"x_groq":{"id":"r","usage":{"total_tokens":7}}}') .. DONE),
    gives = { text = "Hello", usage = function(u) assert.equal(7, u.total_tokens) end } },
})
local ANNOTATIONS = '"annotations":[{"type":"url_citation","url_citation":{"url":"http://a/"}}]'
add("citations", {
  { "as links", whole('{"content":"Hello"}', "", ',"citations":["http://a/","http://b/"]'),
    gives = { citations = function(c) assert.same({ "http://a/", "http://b/" }, c) end } },
  { "as links, streamed", reply(ROLE .. (HELLO .. STOP):gsub('{"id"', '{"citations":["http://a/"],"id"') .. DONE),
    gives = { text = "Hello", citations = function(c) assert.same({ "http://a/" }, c) end } },
  { "as search results", whole('{"content":"Hello"}', "", ',"search_results":[{"title":"A","url":"http://a/"}]'),
    gives = { citations = function(c) assert.same({ { title = "A", url = "http://a/" } }, c) end } },
  { "as annotations", whole('{"content":"Hello",' .. ANNOTATIONS .. "}"),
    gives = { citations = function(c) assert.equal("http://a/", c[1].url_citation.url) end } },
  { "as annotations, streamed", stream(HELLO, delta(ANNOTATIONS)),
    gives = { citations = function(c) assert.equal("http://a/", c[1].url_citation.url) end } },
})
add("the request's id", {
  { "as a header", json_reply(WHOLE, { ["x-request-id"] = "r1" }), gives = { request_id = "r1" } },
})
add("what Azure begins with", {
  { "", reply(event '{"choices":[],"id":"","model":"","created":0,"prompt_filter_results":[{"prompt_index":0}]}'
    .. ROLE .. HELLO .. STOP .. DONE), gives = { text = "Hello", id = "c", model = "m" } },
})

-- ---- reasons

local function refused(body, headers, status) return reply(body, headers, status) end
local EVENTS = { ["content-type"] = "text/event-stream" }
add("a reason under 200", {
  { "as a whole JSON error", reply '{"error":{"message":"It broke.","code":503}}',
    fails = { "http", 503, "It broke." } },
  { "in quotes", reply(event '{"error":{"message":"Slow down.","code":"429"}}'),
    fails = { "http", 429, "Slow down." } },
  { "pretty-printed", reply '{\n  "error": {\n    "message": "It broke.",\n    "code": 503\n  }\n}\n',
    fails = { "http", 503, "It broke." } },
  { "pretty-printed among events", reply(ROLE .. HELLO
    .. '{\n  "error": {\n    "message": "It broke.",\n    "code": 503\n  }\n}\n'), fails = { "http", 503, "It broke." },
    partial = "Hello" },
  { "pretty-printed among events, [DONE] behind it", reply(ROLE
    .. '{\n  "error": {\n    "message": "It broke.",\n    "code": 503\n  }\n}\n\n' .. DONE),
    fails = { "http", 503, "It broke." }, partial = "" },
  { "on a line of its own", reply(ROLE .. HELLO .. '{"error":{"message":"It broke.","code":503}}\n'),
    fails = { "http", 503, "It broke." }, partial = "Hello" },
  { "in words", reply "upstream connect error or disconnect/reset before headers", fails = { "protocol", false,
    "upstream connect error or disconnect" } },
  { "in words behind events", reply(ROLE .. HELLO .. "upstream connect error or disconnect/reset before headers"),
    fails = { "truncated", false, "upstream connect error or disconnect" }, partial = "Hello" },
  { "as a page", reply "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>",
    fails = { "protocol", false, "HTML page", "502 Bad Gateway" } },
  { "around which is a list", reply '[{"error":{"message":"It broke.","code":429,"status":"RESOURCE_EXHAUSTED"}}]',
    fails = { "http", 429, "It broke." } },
  { "around which is a list, as an event", reply(event '[{"error":{"message":"It broke.","code":429}}]'),
    fails = { "http", 429, "It broke." } },
  { "of a provider", reply(event([[{"error":{"code":502,"message":"Provider returned error","metadata":
    {"provider_name":"Acme","raw":"{\"error\":{\"message\":\"the picture is too large\"}}"}}}]]):gsub("\n%s*", "")
      .. "\n\n"),
    fails = { "http", 502, "Provider returned error", "Acme", "the picture is too large" } },
  { "of a provider, in words", reply(event([[{"error":{"code":502,"message":"Provider returned error","metadata":
    {"provider_name":"Acme","raw":"no such model"}}}]]):gsub("\n%s*", "") .. "\n\n"),
    fails = { "http", 502, "Provider returned error", "Acme", "no such model" } },
  { "with code and message", json_reply '{"code":1113,"message":"Your balance is used up."}',
    fails = { "http", 200, "Your balance is used up." } },
  { "with a status for a code", json_reply '{"code":429,"message":"Slow down."}',
    fails = { "http", 429, "Slow down." } },
  { "with a word for a code", json_reply '{"code":"InvalidParameter","message":"Wrong."}',
    fails = { "http", 200, "Wrong." } },
  { "with error_code", json_reply '{"error_code":110,"error_msg":"Access token invalid"}',
    fails = { "http", 200, "Access token invalid" } },
  { "with base_resp", json_reply '{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}',
    fails = { "http", 200, "insufficient balance" } },
  { "with base_resp beside null choices",
    json_reply '{"choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}',
    fails = { "http", 200, "insufficient balance" } },
  { "with success false", json_reply '{"success":false,"msg":"No such model."}',
    fails = { "http", 200, "No such model." } },
  { "with nothing that is known", json_reply '{"foo":"the wheel came off"}',
    fails = { "protocol", false, "the wheel came off" } },
  { "with an empty list of choices", json_reply '{"choices":[],"note":"the wheel came off"}',
    fails = { "protocol", false, "the wheel came off" } },
})
add("a refusal", {
  { "in an event", refused(event '{"error":{"message":"Slow down.","code":429}}', EVENTS, 429),
    fails = { "http", 429, "429", "Slow down." } },
  { "in an event that is named", refused('event: error\ndata: {"message":"Slow down."}\n\n', EVENTS, 429),
    fails = { "http", 429, "Slow down." } },
  { "in a list", refused('[{"error":{"message":"Slow down.","code":429}}]', nil, 429),
    fails = { "http", 429, "Slow down." } },
  { "with error_msg", refused('{"error_code":18,"error_msg":"QPS limit"}', nil, 400),
    fails = { "http", 400, "QPS limit" } },
  { "that is encoded", { status = 400, body = "\40\181\47\253", headers = { ["content-encoding"] = "zstd" } },
    fails = { "http", 400, "zstd" } },
})
for _, status in ipairs { 202, 204 } do
  add("status " .. status, {
    { "without a body", refused("", nil, status), fails = { "protocol", false, tostring(status) } },
  })
end

return rows
