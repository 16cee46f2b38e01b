-- core.answer: a reply's bytes go in, however they are cut; the same pieces of text, events and ends come out.
local core = require "lmm.core"
local cut_up = require "spec.support.cut_up"

local MIB = 1024 * 1024
local BOM, LOST = "\239\187\191", "\239\191\189"
local SMILE = "\240\159\152\128" -- "\ud83d\ude00"
local HIGH, LOW = "\237\160\189", "\237\184\128"
local LIMITS = { reply = 64 * MIB, event = MIB, depth = 100 }

local function new(limits)
  limits = limits or {}
  return core.answer { reply = limits.reply or LIMITS.reply, event = limits.event or LIMITS.event,
    depth = limits.depth or LIMITS.depth }
end

local function event(text) return "data: " .. text .. "\n\n" end

local function choice(delta, rest)
  return ('{"id":"x","model":"m","choices":[{"index":0,"delta":%s,"finish_reason":null%s}]}'):format(delta, rest or "")
end

local function delta(json, rest) return event(choice(json, rest)) end

--- The first event of a reply, which is never plain.
local FIRST = delta '{"role":"assistant","content":""}'

--- All that comes, one entry each; the values of events in the place of their names, where `values` says so.
local function drain(answer, out, opts)
  while true do
    local what, given, which = answer:next(opts.all)
    if what == nil then
      out[#out + 1] = { "failed", given, which }
      return
    end
    if not what then return end
    if what == "event" and opts.values then given = { answer:value() } end
    out[#out + 1] = { what, given }
  end
end

local function read(pieces, opts)
  local answer, out = new(opts.limits), {}
  for _, piece in ipairs(pieces) do
    answer:feed(piece)
    drain(answer, out, opts)
  end
  if opts.finish ~= false then
    answer:finish()
    drain(answer, out, opts)
  end
  -- A failure is told again and again.
  while #out > 1 and out[#out][1] == "failed" and out[#out - 1][1] == "failed" do out[#out] = nil end
  return { out = out, text = answer:text(), reasoning = answer:reasoning(), kind = answer:kind(), rest = answer:rest(),
    size = answer:size(), raw = { (answer:raw()) } }
end

--- What comes of a text: the same whole, cut in two at every byte, in single bytes, and in pieces of every small size.
local function run(text, opts)
  opts = opts or {}
  local whole = read({ text }, opts)
  for cut = 0, #text do assert.same(whole, read({ text:sub(1, cut), text:sub(cut + 1) }, opts)) end
  assert.same(whole, read(cut_up(text), opts))
  for _, size in ipairs { 2, 3, 5, 7, 11 } do
    assert.same(whole, read(cut_up(text, size), opts))
  end
  return whole
end

local function kinds_of(result)
  local kinds = {}
  for i, entry in ipairs(result.out) do
    kinds[i] = entry[1] .. (type(entry[2]) == "string" and ":" .. entry[2] or "")
  end
  return table.concat(kinds, " ")
end

describe("a plain delta", function()
  for _, row in ipairs {
    { "content", delta '{"content":"a"}', "text:a" },
    { "reasoning", delta '{"reasoning":"a"}', "reasoning:a" },
    { "reasoning_content", delta '{"reasoning_content":"a"}', "reasoning:a" },
    { "a role repeated", delta '{"role":"assistant","content":"a"}', "text:a" },
    { "nulls, and empty texts, lists and objects", delta('{"content":"a","reasoning":"","refusal":null,"tool_calls":[],'
      .. '"audio":{},"annotations":[ ]}', ',"logprobs":null,"message":null,"text":""'), "text:a" },
    { "fields that say nothing of the answer", event('{"choices":[{"delta":{"content":"a"},"x":1,"y":[1,{"a":[]}]}],'
      .. '"created":1e3,"system_fingerprint":"fp","object":{"a":[]}}'), "text:a" },
    { "no error and no usage", event '{"choices":[{"delta":{"content":"a"}}],"error":null,"usage":{}}', "text:a" },
    { "an index that is null", event '{"choices":[{"index":null,"delta":{"content":"a"}}]}', "text:a" },
    { "a finish_reason that is no reason", delta('{"content":"a"}', "") .. event
      '{"choices":[{"finish_reason":"null","delta":{"content":"b"}}]}' .. event
      '{"choices":[{"finish_reason":"","delta":{"content":"c"}}]}', "text:a text:b text:c" },
    { "escapes", delta '{"content":"\\"\\n\\u00e4\\ud83d\\ude00"}', "text:\"\n\195\164" .. SMILE },
    { "no escapes and bytes that are no UTF-8", delta '{"content":"\255"}', "text:\255" },
    { "white space everywhere", event ' { "choices" : [ { "delta" : { "content" : "a" } } ] } ', "text:a" },
    { "on several lines", 'data: {"choices":[{"delta":\ndata:{"content":"a"}\ndata: }]}\n\n', "text:a" },
    { "an empty text", delta '{"content":""}', "" }, { "no delta", delta "{}", "" },
    { "a delta of null", delta "null", "" },
  } do
    it("is one with " .. row[1], function()
      assert.equal(("event: " .. row[3]):gsub(" $", ""), kinds_of(run(FIRST .. row[2])))
    end)
  end

  for name, json in pairs {
    ["an error"] = '{"choices":[{"delta":{"content":"a"}}],"error":{"message":"no"}}',
    ["usage"] = '{"choices":[{"delta":{"content":"a"}}],"usage":{"total_tokens":1}}',
    ["citations"] = '{"choices":[{"delta":{"content":"a"}}],"citations":["u"]}',
    ["a choice's usage"] = choice('{"content":"a"}', ',"usage":{"total_tokens":1}'),
    ["another index"] = '{"choices":[{"index":1,"delta":{"content":"a"}}]}',
    ["an index that is no integer"] = '{"choices":[{"index":"0","delta":{"content":"a"}}]}',
    ["two choices"] = '{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}',
    ["no choices"] = '{"choices":[]}', ["choices that are no list"] = '{"choices":{"delta":{}}}',
    ["nothing of the kind"] = '{"type":"response.output_text.delta","delta":"a"}',
    ["a choice that is none"] = '{"choices":[1]}', ["a delta that is none"] = '{"choices":[{"delta":"a"}]}',
    ["no delta"] = '{"choices":[{"text":"a"}]}',
    ["a finish_reason"] = choice('{"content":"a"}', ',"finish_reason":"stop"'),
    ["a finish_reason at last"] = '{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}',
    ["logprobs"] = choice('{"content":"a"}', ',"logprobs":{"content":[]}'),
    ["a message beside it"] = choice('{"content":"a"}', ',"message":{"content":"b"}'),
    ["a text beside it"] = choice('{"content":"a"}', ',"text":"b"'),
    ["text and reasoning"] = choice '{"content":"a","reasoning":"b"}',
    ["tool calls"] = choice '{"tool_calls":[{"index":0}]}',
    ["anything else in the delta"] = choice '{"content":"a","x":0}',
    ["content that is no text"] = choice '{"content":5}', ["content that is a list"] = choice '{"content":[]}',
    ["content twice"] = choice '{"content":"a","content":"b"}',
    ["choices twice"] = '{"choices":[{"delta":{"content":"a"}}],"choices":[{"delta":{"content":"b"}}]}',
    ["a name with escapes"] = choice '{"\\u0063ontent":"a"}', ["more behind it"] = choice '{"content":"a"}' .. "x",
    ["a fault"] = '{"choices":[{"delta":{"content":"a"}}],"x":01}',
    ["its end missing"] = '{"choices":[{"delta":{"content":"a"}}]',
    ["deep nesting"] = '{"choices":[{"delta":{"content":"a"}}],"x":' .. ("["):rep(50) .. ("]"):rep(50) .. "}",
  } do
    it("is none with " .. name, function() assert.equal("event: event:", kinds_of(run(FIRST .. event(json)))) end)
  end

  it("is none in an event that has a name", function()
    assert.equal("event: event:x", kinds_of(run(FIRST .. "event: x\n" .. delta '{"content":"a"}')))
  end)

  it("is none in the first event, nor in the first that names the reply or the model", function()
    local function named(name, text) return event(('{%s"choices":[{"delta":{"content":"%s"}}]}'):format(name, text)) end
    assert.equal("event:", kinds_of(run(delta '{"content":"a"}')))
    local text = named("", "a") .. named('"id":"","model":null,', "b") .. named('"id":"x",', "c")
      .. named('"id":"y",', "d") .. named('"id":"z","model":"m",', "e") .. named('"id":"z","model":"m",', "f")
    assert.equal("event: text:b event: text:d event: text:f", kinds_of(run(text)))
  end)

  it("that says nothing is given to who wants every event", function()
    local result = run(FIRST .. delta '{"content":""}' .. delta "{}" .. delta '{"content":"a"}', { all = true })
    assert.equal("event: empty empty text:a", kinds_of(result))
  end)
end)

describe("the text", function()
  it("is all that came, and what Lua adds in between", function()
    local answer = new()
    answer:feed(FIRST .. delta '{"content":"a"}' .. delta '{"reasoning":"r"}')
    assert.equal("event", (answer:next()))
    assert.equal("x", answer:append("text", "x"))
    assert.same({ "text", "a" }, { answer:next() })
    assert.equal("y", answer:append("text", "y"))
    assert.same({ "reasoning", "r" }, { answer:next() })
    assert.equal("z", answer:append("reasoning", "z"))
    assert.same({ "xay", "rz", "reasoning" }, { answer:text(), answer:reasoning() })
  end)

  for _, row in ipairs {
    { "two halves in two deltas", { "a\\ud83d", "\\ude00b" }, { "a", SMILE .. "b" } },
    { "a half and nothing", { "a\\ud83d" }, { "a", LOST } },
    { "a half and something else", { "\\ud83d", "b" }, { LOST .. "b" } },
    { "a half and an empty delta", { "a\\ud83d", "", "\\ude00" }, { "a", SMILE } },
    { "a low half alone", { "\\ude00", "a" }, { LOST, "a" } },
    { "the halves the wrong way round", { "\\ude00\\ud83d" }, { LOST, LOST } },
    { "high halves in a row", { "\\ud83d", "\\ud83d", "\\ude00" }, { LOST, SMILE } },
    { "halves within", { "a\\ud83db\\ude00c" }, { "a" .. LOST .. "b" .. LOST .. "c" } },
    { "a half at each end", { "\\ud83d", "\\ude00\\ud83d", "\\ude00" }, { SMILE, SMILE } },
    { "halves as bytes", { HIGH, LOW }, { SMILE } },
  } do
    it("of " .. row[1], function()
      local text = FIRST
      for _, piece in ipairs(row[2]) do text = text .. delta('{"content":"' .. piece .. '"}') end
      for _, rest in ipairs { "", "data: [DONE]\n\n" } do
        local result = run(text .. rest)
        local pieces = {}
        for _, entry in ipairs(result.out) do if entry[1] == "text" then pieces[#pieces + 1] = entry[2] end end
        assert.same(row[3], pieces)
        assert.equal(table.concat(row[3]), result.text)
        assert.equal(rest ~= "" and "done" or "text", result.out[#result.out][1])
      end
    end)
  end

  it("of two halves, one of which Lua adds", function()
    local answer = new()
    assert.equal("a", answer:append("text", "a" .. HIGH))
    assert.equal("a", answer:text())
    assert.equal("", answer:append("text", ""))
    assert.equal(SMILE .. "b", answer:append("text", LOW .. "b"))
    assert.equal("a" .. SMILE .. "b", answer:text())
  end)

  it("of the reasoning does not mix with it", function()
    local result = run(FIRST .. delta '{"content":"\\ud83d"}' .. delta '{"reasoning":"\\ude00"}'
      .. delta '{"content":"\\ude00"}')
    assert.same({ SMILE, LOST }, { result.text, result.reasoning })
  end)

  it("joins pieces of other texts the same way", function()
    assert.equal("a" .. SMILE .. "b" .. LOST, core.join { "a" .. HIGH, LOW .. "b", HIGH })
    assert.equal(LOST .. "a" .. LOST, core.join { LOW .. "a", HIGH, "" })
    assert.same({ "", "abc" }, { core.join {}, core.join { "a", "", "bc" } })
    assert.raises("piece 2 is no string", core.join, { "a", 1 })
    assert.raises("table", core.join, "a")
  end)
end)

describe("an event", function()
  local function first_of(text)
    local answer = new()
    answer:feed(text)
    assert.equal("event", (answer:next()))
    return answer
  end

  it("is decoded without nulls, exactly, and not at all", function()
    local json = '{"a":null,"b":[],"c":[1,2.0,null],"id":1696004797}'
    local answer = first_of(event(json))
    local value, exact = answer:value(), answer:exact()
    assert.same({ b = {}, c = { 1, 2 }, id = 1696004797 }, value)
    assert.equal(core.array_mt, getmetatable(value.b))
    assert.equal("2", tostring(value.c[2]))
    assert.same({ a = core.null, b = {}, c = { 1, 2, core.null }, id = 1696004797 }, exact)
    assert.equal(json, answer:data())
    assert.equal(1, select("#", answer:value()))
  end)

  it("is there for plain deltas, too, and until the next one", function()
    local answer = new()
    answer:feed(FIRST .. delta '{"content":"a"}' .. delta "{}")
    answer:next()
    assert.equal("text", (answer:next()))
    assert.equal("a", answer:value().choices[1].delta.content)
    assert.equal(core.null, answer:exact().choices[1].finish_reason)
    assert.equal("empty", (answer:next(true)))
    assert.same({}, answer:value().choices[1].delta)
    assert.equal(false, answer:next())
    for _, name in ipairs { "value", "exact", "data" } do assert.raises("no event now", answer[name], answer) end
  end)

  it("with a fault says which, and where", function()
    for _, row in ipairs { { "{", "ended within an object", 2, "cut" }, { "[1,]", "a value expected", 4, "syntax" },
      { ("["):rep(101), "nested more than 100 deep", 101, "limit" } } do
      local value, message, place, why = first_of(event(row[1])):value()
      assert.same({ nil, row[3], row[4] }, { value, place, why })
      assert.matches(row[2], message)
    end
  end)

  it("of more lists and objects than a reply of its limit may have is refused", function()
    local answer = new { reply = 3200 }
    answer:feed(event("[" .. ("[],"):rep(101) .. "[]]"))
    answer:next()
    local value, message, _, why = answer:value()
    assert.same({ nil, "limit" }, { value, why })
    assert.matches("more than 101 lists and objects", message)
  end)

  it("takes numbers that JSON has not", function()
    assert.same({ -math.huge }, first_of(event "[-Infinity]"):value())
  end)

  it("with halves of characters has them replaced, and kept beside", function()
    local json = '{"a":"x\\ud83d","b":"\\ude00","c":"\\ud83dx","d":"\\ud83d\\ude00"}'
    local value, message, halves = first_of(event(json)):value()
    assert.same({ a = "x" .. LOST, b = LOST, c = LOST .. "x", d = SMILE }, value)
    assert.is_nil(message)
    assert.same({ a = "x" .. HIGH, b = LOW, c = LOST .. "x", d = SMILE }, halves)
  end)
end)

describe("what holds nothing is passed over:", function()
  for _, row in ipairs {
    { "comments", ": ping\n\n:\n\n" }, { "empty data", "data:\n\ndata\n\ndata:  \n\n" }, { "null", "data: null\n\n" },
    { "a comment in the place of data", "data: : OPENROUTER PROCESSING\n\n" },
    { "names without data", "event: ping\n\n" },
    { "retry and id", "retry: 1000\n\nid: 7\n\n" },
  } do
    it(row[1], function()
      local result = run(row[2] .. FIRST .. row[2] .. delta '{"content":"a"}' .. row[2], { all = true })
      assert.equal("event: text:a", kinds_of(result))
      assert.equal(2, #result.raw[1])
    end)
  end

  it("but nothing that is named an error", function()
    assert.equal("event:error event:ERROR event:error",
      kinds_of(run "event: error\ndata: null\n\nevent: ERROR\ndata:\n\nevent: error\ndata: overloaded\n\n"))
  end)
end)

describe("the end", function()
  for _, done in ipairs { "data: [DONE]\n\n", "data:[DONE]\r\n\r\n", "data: [DONE] \n\n", 'data: "[DONE]"\n\n',
    "data: [DONE]\n", "data: [DONE]", "event: x\ndata: [DONE]\n\n" } do
    it(("is told by %q"):format(done), function()
      assert.equal("event: text:a done", kinds_of(run(FIRST .. delta '{"content":"a"}' .. done)))
    end)
  end

  it("does not hide what follows", function()
    assert.equal("event: done event:", kinds_of(run(FIRST .. "data: [DONE]\n\n" .. event "{}")))
  end)

  local last = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}'
  for _, stop in ipairs { "", "\n", "\r", "\r\n" } do
    it(("of the input ends an event that is all there, with %q"):format(stop), function()
      local result = run(FIRST .. last .. stop)
      assert.equal("event: event:", kinds_of(result))
      assert.same({ 2, "" }, { #result.raw[1], result.rest })
    end)
    it(("of the input does not end half an event, with %q"):format(stop), function()
      for _, text in ipairs { last:sub(1, -2), "data: [DON", "data: x", 'data: {"a":1', last:sub(1, 4) } do
        local result = run(FIRST .. text .. stop)
        assert.equal("event:", kinds_of(result))
        assert.same({ 1, text .. stop }, { #result.raw[1], result.rest })
      end
    end)
    it(("of the input that was not clean ends nothing, with %q"):format(stop), function()
      assert.equal("event:", kinds_of(run(FIRST .. last .. stop, { finish = false })))
    end)
  end

  it("shows what stands behind the last event and is none", function()
    local result = run(FIRST .. '{\n  "error": "no"\n}\n')
    assert.same({ "event:", '{\n  "error": "no"\n}\n' }, { kinds_of(result), result.rest })
  end)
end)

describe("what came is told by its first bytes:", function()
  for _, row in ipairs {
    { "json", "{}" }, { "json", " \r\n\t[1]" }, { "json", BOM .. "{}" }, { "json", "\n" .. BOM .. "\n{" },
    { "events", "data: x" }, { "events", "data:" }, { "events", "event:" }, { "events", "id:" }, { "events", "retry:" },
    { "events", ":" }, { "events", BOM .. "data:" }, { "events", "\n\n \ndata: {}\n\n" },
    { "other", "<html>" }, { "other", "upstream connect error" }, { "other", "dat" }, { "other", "event" },
    { "other", "dada:" },
    { "other", "DATA:" }, { "other", "\239\187" }, { "other", "\0" }, { "other", "null" }, { "other", "\"x\"" },
    { nil, "" }, { nil, " \n" }, { nil, BOM },
  } do
    it(("%q is %s"):format(row[2], tostring(row[1])), function() assert.equal(row[1], run(row[2]).kind) end)
  end

  it("not before it is certain", function()
    for _, text in ipairs { "d", "data", "\239", BOM, "  ", "retry", "e" } do
      local answer = new()
      answer:feed(text)
      assert.is_nil(answer:kind())
    end
  end)

  it("and the first event may have white space before it", function()
    assert.equal("event:", kinds_of(run("\n  " .. BOM .. " " .. FIRST)))
  end)
end)

describe("a reply that is one JSON text", function()
  local json = '{"choices":[{"message":{"content":"a"}}],"usage":null}'

  for _, behind in ipairs { "", "\n", "\n\ndata: [DONE]\n\n", "\r\n\r\ndata:[DONE]", " \n" } do
    it(("comes when all of it is there, with %q behind it"):format(behind), function()
      local result = run(BOM .. json .. behind)
      assert.equal("whole", kinds_of(result))
      assert.same({ { choices = { { message = { content = "a" } } }, usage = core.null } }, result.raw)
      assert.equal("", kinds_of(run(json .. behind, { finish = false })))
    end)
  end

  it("is decoded as events are", function()
    local answer = new()
    answer:feed(json)
    assert.equal(false, answer:next())
    assert.is_nil((answer:raw()))
    answer:finish()
    assert.equal("whole", (answer:next()))
    assert.same({ choices = { { message = { content = "a" } } } }, answer:value())
    assert.same({ json, json }, { answer:data(), answer:bytes() })
    assert.equal(false, answer:next())
  end)

  it("that was cut says so", function()
    for cut = 1, #json - 1 do
      local answer = new()
      answer:feed(json:sub(1, cut))
      answer:finish()
      assert.equal("whole", (answer:next()))
      assert.equal("cut", (select(4, answer:value())))
    end
  end)

  it("that has more behind it is none", function()
    for _, behind in ipairs { "x", "data: [DONE]", "\n[DONE]", "\ndata: [DONE]x", "{}" } do
      local answer = new()
      answer:feed(json .. behind)
      answer:finish()
      answer:next()
      assert.equal("syntax", (select(4, answer:value())))
    end
  end)
end)

describe("a limit", function()
  it("of the reply is told behind what came before it, however it was cut", function()
    local text = FIRST .. delta '{"content":"a"}'
    local result = run(text .. ("x"):rep(50), { limits = { reply = #text + 20 } })
    assert.equal("event: text:a failed:limit", kinds_of(result))
    assert.same({ { "failed", "limit", "reply" }, #text + 20 }, { result.out[3], result.size })
    assert.equal("failed:limit", kinds_of(run("[" .. (" "):rep(30), { limits = { reply = 30 } })))
    assert.equal("whole", kinds_of(run("[" .. (" "):rep(29), { limits = { reply = 30 } })))
    local answer = new { reply = 3 }
    assert.same({ true }, { answer:feed "abc" })
    assert.same({ nil, "limit", "reply" }, { answer:feed "d" })
    assert.equal("abc", answer:bytes())
  end)

  it("of an event", function()
    for _, text in ipairs { "data: 1234567", "data:12345\ndata:67890\n\n", ":" .. ("x"):rep(10) .. "\n" } do
      local result = run(":\n" .. text, { limits = { event = 10 } })
      assert.same({ { "failed", "limit", "event" } }, result.out)
    end
    assert.equal("event: event:", kinds_of(run("data: 1234\n\ndata:1234\ndata:6789\n\n", { limits = { event = 10 } })))
  end)

  it("of the text that Lua adds", function()
    local answer = new { reply = 10 }
    assert.equal(("x"):rep(10), answer:append("text", ("x"):rep(10)))
    assert.same({ nil, "limit", "reply" }, { answer:append("text", "x") })
  end)
end)

describe("a place in a JSON text", function()
  local TEXT = '{"a":[1,{"b":[ 2.0 ]},[]],"a":[0,{"b":[3]}],"\\u0063":{"d":{}},"e":5}'

  for _, row in ipairs {
    { "the last of names that are repeated", { "a", 2, "b" }, "[3]" },
    { "a name that is spelled with escapes", { "c", "d" }, "{}" },
    { "all of it", {}, TEXT },
    { "a number", { "e" }, "5" },
    { "a number in a list, as it is spelled", { "a", 1 }, "0" },
    { "a name that is not there", { "f" }, nil },
    { "beyond the end of a list", { "a", 3 }, nil },
    { "before its beginning", { "a", 0 }, nil },
    { "a number in an object", { 1 }, nil },
    { "a name in a list", { "a", "b" }, nil },
    { "within a number", { "e", "x" }, nil },
  } do
    it(row[1], function()
      assert.equal(row[3], (core.slice(TEXT, (table.unpack or unpack)(row[2])))) -- luacheck: ignore
    end)
  end

  it("in a text with a fault there is none", function()
    for cut = 0, #TEXT - 2 do assert.is_nil((core.slice(TEXT:sub(1, cut), "e"))) end
    assert.same({}, core.slices("[1", 1))
    assert.same({ "-1.0", "[2]", '"x\\n"', "null", "{}" }, core.slices(' [ -1.0 ,[2],"x\\n",null,{} ] '))
  end)
end)

describe("a JSON text is a line", function()
  for _, text in ipairs { "{}", '{ "b": 1.0, "a": [null, "\\n\\u00e4\\\\ud800"] }', "[-1e2]", '"\195\164"', "0", "true",
    ("["):rep(256) .. ("]"):rep(256) } do
    it("as it is, without white space around it: " .. text:sub(1, 60), function()
      assert.equal(text, core.line(text))
      assert.equal(text, core.line(" \r\n\t" .. text .. "\n "))
    end)
  end

  it("with spaces in the place of its line ends", function()
    assert.equal('{  "a": [1,   2]  }', core.line '{\n "a": [1,\r\n 2] \n}\n')
  end)

  for what, text in pairs { ["a line end in a string"] = '"a\n"', ["nothing"] = " ",
    ["no JSON"] = "{", ["two texts"] = "1 2", ["a NaN"] = "[NaN]", ["bytes that are not UTF-8"] = '"\255"',
    ["a byte order mark"] = "\239\187\191{}", ["a half of a character"] = '["\\uD83d"]',
    ["a NUL byte"] = "{}\0", ["too many levels"] = ("["):rep(257) .. ("]"):rep(257) } do
    it("not with " .. what, function() assert.is_nil((core.line(text))) end)
  end
end)

describe("what asks for less", function()
  it("next() passes over what next(true) gives", function()
    local text = FIRST .. delta "{}" .. delta '{"role":"assistant"}' .. delta '{"content":"a"}'
    local kinds = {}
    for i, all in ipairs { true, false } do
      local answer = new()
      answer:feed(text)
      kinds[i] = {}
      local kind = all and answer:next(true) or answer:next()
      while kind do
        table.insert(kinds[i], kind)
        if all then kind = answer:next(true) else kind = answer:next() end
      end
    end
    assert.same({ { "event", "empty", "empty", "text" }, { "event", "text" } }, kinds)
  end)

  it("a finalizer that runs while a value is made cannot move its bytes", function()
    local function on_collect(fn)
      if not rawget(_G, "newproxy") then return setmetatable({}, { __gc = fn }) end
      getmetatable(newproxy(true)).__gc = fn -- luacheck: ignore
    end
    local item = '{"a":"' .. ("z"):rep(50) .. '","b":[null,1]}'
    local answer, fed, count, is_over = new(), nil, 0, false
    answer:feed("data: [" .. (item .. ","):rep(3000) .. item .. "]\n\n")
    assert.equal("event", answer:next())
    local function again()
      if is_over then return end -- one that is collected only later
      count = count + 1
      if count < 3 then
        answer:exact()
        on_collect(again)
      elseif not fed then
        fed = { pcall(answer.feed, answer, ("x"):rep(1024 * 1024)) }
      end
    end
    local pause, step = collectgarbage("setpause", 0), collectgarbage("setstepmul", 1000)
    on_collect(again)
    local value = answer:value()
    is_over = true
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", step)
    assert.equal(3001, #value)
    if fed then assert.matches("in use", tostring(fed[2])) end
  end)

  it("hooks that are no table are refused", function()
    assert.raises("hooks: a table expected", core.encode, setmetatable({ 1 }, {}), { hooks = 5 })
  end)

  it("a closed answer and a closed decoder hold nothing, and crash nothing", function()
    local answer = new()
    answer:feed(FIRST)
    assert.equal("event", answer:next())
    getmetatable(answer).__gc(answer)
    assert.equal(false, answer:next())
    assert.same({ "", "", "" }, { answer:text(), answer:bytes(), answer:rest() })
    assert.raises("no event now", answer.value, answer)
  end)

  it("raw holds no more lists and objects than the limit of the reply allows", function()
    local answer = new { reply = 64 * 1024 }
    local lists = 'data: {"x":[' .. ("[],"):rep(400) .. "[]]}\n\n"
    for _ = 1, 8 do answer:feed(lists) end
    while answer:next(true) do end -- luacheck: ignore
    assert.raises("too many lists and objects", answer.raw, answer)
  end)
end)

describe("time is linear:", function()
  local function feed(text, size, limits)
    local answer, count = new(limits), 0
    for i = 1, #text, size do
      answer:feed(text:sub(i, i + size - 1))
      while answer:next(true) do count = count + 1 end
    end
    answer:finish()
    while answer:next(true) do count = count + 1 end
    return count, answer
  end

  it("many calls in one event whose arguments come decoded", function()
    local call = '{"index":0,"function":{"arguments":{"a":[1,{"b":2}]}}}'
    local texts = core.slices('{"x":{"y":[' .. (call .. ","):rep(20000) .. "5]}}", "x", "y")
    assert.same({ 20001, call, "5" }, { #texts, texts[20000], texts[20001] })
  end)

  it("an event of 256 KiB, byte by byte", function()
    local count, answer = feed(FIRST .. delta('{"content":"' .. ("x"):rep(256 * 1024) .. '"}'), 1)
    assert.same({ 2, 256 * 1024 }, { count, #answer:text() })
  end)

  it("a JSON text of 256 KiB, byte by byte", function()
    assert.equal(1, (feed("[\"" .. ("x"):rep(256 * 1024) .. "\"]", 1)))
  end)
  it("256 KiB of white space, byte by byte", function() assert.equal(0, (feed((" "):rep(256 * 1024), 1))) end)

  it("data of 200,000 lines", function()
    local count, answer = feed(FIRST .. ("data\n"):rep(200000) .. "\n" .. FIRST, 1000)
    assert.same({ 2, 2 }, { count, #answer:raw() })
  end)

  it("16 MiB of comments, of line ends of each kind, and of empty events", function()
    for _, text in ipairs { ": keep-alive\n\n", "\r", "\n", ":\r", "data:\n\n", "data:\r\r", "event: x\n\n",
      "data: null\n\n" } do
      local flood = ":\n" .. text:rep(math.floor(16 * MIB / #text))
      assert.equal(0, (feed(flood, #flood)))
    end
  end)

  it("200,000 events in pieces of 16 KiB, and nothing of them is left in Lua", function()
    local text = FIRST .. delta '{"content":" w"}':rep(200000)
    collectgarbage()
    local before = collectgarbage "count"
    local count, answer = feed(text, 16384)
    collectgarbage()
    assert.equal(200001, count)
    assert.equal(2 * 200000, #answer:text())
    assert.truthy(collectgarbage "count" - before < 1000 + #text / 1024 / 100, "they are kept in Lua")
  end)

  it("a million halves", function()
    local text = FIRST .. delta('{"content":"' .. ("\\ud83d"):rep(100000) .. '"}')
      .. delta '{"content":"\\ud83d"}':rep(50000)
    local _, answer = feed(text, #text)
    assert.equal(LOST:rep(150000), answer:text())
  end)
end)

describe("misuse", function()
  it("raises", function()
    for _, opts in ipairs { {}, { reply = 1 }, { reply = 1, event = 1 }, { reply = 0, event = 1, depth = 1 },
      { reply = 1, event = 1, depth = "x" } } do
      assert.raises("number", core.answer, opts)
    end
    assert.raises("table", core.answer)
    local answer = new()
    for _, name in ipairs { "next", "feed", "finish", "kind", "value", "exact", "data", "text", "reasoning", "append",
      "raw", "bytes", "rest", "size" } do
      assert.raises("lmm.answer", answer[name], {})
      assert.raises("lmm.answer", answer[name], io.stdout)
    end
    assert.raises("string", answer.feed, answer)
    assert.raises("invalid option", answer.append, answer, "refusal", "x")
    assert.raises("no event now", answer.value, answer)
  end)

  it("from a finalizer while values are made raises, and breaks nothing", function()
    local answer, seen = new { event = 8 * MIB }, {}
    answer:feed(event("[" .. ('["x","y"],'):rep(200000) .. "1]"))
    answer:next()
    local has_modes, mode = pcall(collectgarbage, "incremental") -- Lua 5.4, where busted chooses the other one
    local pause = collectgarbage("setpause", 100)
    collectgarbage()
    local function meddle()
      for _, name in ipairs { "feed", "next", "finish", "raw" } do
        local _, message = pcall(answer[name], answer, "data: x\n\n")
        if tostring(message):find "the answer is in use" then seen[#seen + 1] = name end
      end
    end
    local newproxy = rawget(_G, "newproxy")
    for _ = 1, 50 do
      if newproxy then getmetatable(newproxy(true)).__gc = meddle else setmetatable({}, { __gc = meddle }) end
    end
    assert.equal(200001, #answer:value())
    collectgarbage("setpause", pause)
    if has_modes and type(mode) == "string" then collectgarbage(mode) end
    assert.truthy(#seen > 0, "no finalizer ran in time")
  end)

  it("of a value after its answer is gone cannot be", function()
    local answer = new()
    answer:feed(FIRST .. delta '{"content":"a"}')
    answer:next()
    local value = answer:value()
    local _, piece = answer:next()
    getmetatable(answer).__gc(answer)
    assert.same({ "a", "x", "", 0 }, { piece, value.id, answer:text(), answer:size() })
    assert.equal(false, answer:next())
  end)
end)
