-- Structured answers: how each kind is asked for, by what is known of the server; what of the answer becomes the value,
-- and what is told where it is not what was asked for; and values that grow while the answer comes.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local unpack = table.unpack or unpack -- luacheck: ignore
local delta, streamed, event = fake.delta, fake.streamed, fake.event
local QUESTION = { messages = { { role = "user", content = "q" } } }

--- The body that a client of such a dialect sends for these options; or what it gives, where nothing is sent.
local function sent(dialect, opts, request)
  local net = fake.net { fake.whole '"a"' }
  local client = net:connect { retry = false, dialect = dialect }
  local given = { messages = QUESTION.messages }
  for name, value in pairs(request or {}) do given[name] = value end
  local reply, message, err = client:chat(given, opts)
  if #net.requests == 0 then return nil, message, err end
  return net.requests[1].body, reply
end

local function json_schema(schema)
  return { response_format = { type = "json_schema", json_schema = { name = "answer", schema = schema } } }
end

local TEXT = { type = "string", enum = { "a", "b" } }
local CHOSEN = json_schema(TEXT)
local FIELD = json_schema { type = "object", properties = { choice = TEXT }, required = { "choice" },
  additionalProperties = false }
local SCHEMA = { type = "string" }

local written = {
  -- the dialect, the option, its value, what is written
  { nil, "schema", SCHEMA, json_schema(SCHEMA) },
  { nil, "choice", { "a", "b" }, CHOSEN },
  { nil, "regex", "a|b", { structured_outputs = { regex = "a|b" } } },
  { nil, "grammar", "root ::= 'a'", { structured_outputs = { grammar = "root ::= 'a'" } } },
  { "generic", "regex", "a|b", { structured_outputs = { regex = "a|b" } } },
  { "vllm", "schema", SCHEMA, json_schema(SCHEMA) },
  { "vllm", "choice", { "a", "b" }, { structured_outputs = { choice = { "a", "b" } } } },
  { "vllm", "regex", "a|b", { structured_outputs = { regex = "a|b" } } },
  { "vllm", "grammar", "root ::= 'a'", { structured_outputs = { grammar = "root ::= 'a'" } } },
  { "llama.cpp", "schema", SCHEMA, json_schema(SCHEMA) },
  { "llama.cpp", "choice", { "a", "b" }, CHOSEN },
  { "llama.cpp", "grammar", "root ::= 'a'", { grammar = "root ::= 'a'" } },
  { "sglang", "regex", "a|b", { regex = "a|b" } },
  { "sglang", "grammar", "root ::= 'a'", { ebnf = "root ::= 'a'" } },
  { "sglang", "choice", { "a", "b" }, CHOSEN },
  { "openai", "schema", SCHEMA, json_schema(SCHEMA) },
  { "openai", "choice", { "a", "b" }, FIELD },
  { "ollama", "choice", { "a", "b" }, CHOSEN },
  { "litellm", "choice", { "a", "b" }, FIELD },
  { "litellm", "regex", "a|b", { structured_outputs = { regex = "a|b" } } },
}

local FIELDS = { "response_format", "structured_outputs", "regex", "ebnf", "grammar" }

describe("what the answer is to be", function()
  for _, row in ipairs(written) do
    it(("is said to %s as it knows it: %s"):format(row[1] or "a server that is not known", row[2]), function()
      local body, reply = sent(row[1], { [row[2]] = row[3] })
      for _, name in ipairs(FIELDS) do assert.same(row[4][name], body[name]) end
      assert.equal(row[2] == "choice" and "a" or row[2] == "schema" and "a" or '"a"', reply.value)
    end)
  end

  it("is said as a dialect's own table says", function()
    local net = fake.net { fake.whole "a" }
    local client = net:connect { dialect = { name = "mine",
      structured = { heeds = {}, regex = { "pattern" }, grammar = "write a regex" } } }
    assert(client:chat(QUESTION, { regex = "a" }))
    assert.equal("a", net.requests[1].body.pattern)
    assert.refused("^mine has no grammar for answers: write a regex$", client:chat(QUESTION, { grammar = "a" }))
    assert.equal(1, #net.requests)
  end)

  it("is an error before anything is sent where the server has nothing of the kind", function()
    local err = assert.refused("^llama%-server has no regex for answers: give a grammar %(GBNF%), or a schema with a "
      .. "pattern$", sent("llama.cpp", { regex = "a" }))
    assert.same({ "invalid", false }, { err.kind, err.retryable })
    assert.refused("^OpenAI has no grammar for answers: give a schema, ", sent("openai", { grammar = "a" }))
  end)

  local function listing(owner) return { json = { data = { { id = "m", owned_by = owner } } } } end
  local NO_LIST = { status = 404, body = "" }

  it("is written once the server is known, where another one would pass it over", function()
    for owner, field in pairs { vllm = "structured_outputs", sglang = "ebnf", llamacpp = "grammar" } do
      local net = fake.net { listing(owner), fake.whole "a", fake.whole "b" }
      local client = net:connect { dialect = "" }
      assert(client:chat(QUESTION, { grammar = "g" }))
      assert(client:chat(QUESTION, { grammar = "g" }))
      assert.equal("GET http://fake/v1/models", net.requests[1].method .. " " .. net.requests[1].url)
      for i = 2, 3 do
        for _, name in ipairs(FIELDS) do assert.equal(name == field, net.requests[i].body[name] ~= nil) end
      end
    end
    local net = fake.net { NO_LIST, fake.whole "a" }
    assert(net:connect({ dialect = "" }):chat(QUESTION, { regex = "a" }))
    assert.same({ regex = "a" }, net.requests[2].body.structured_outputs)
    net = fake.net { listing "llamacpp", fake.whole "a" }
    assert.refused("^llama%-server has no regex", net:connect({ dialect = "" }):chat(QUESTION, { regex = "a" }))
    assert.equal(1, #net.requests)
  end)

  it("needs no look at the server where every one takes it", function()
    local net = fake.net { fake.whole '"a"' }
    assert(net:connect({ dialect = "" }):chat(QUESTION, { choice = { "a" } }))
    assert(net:connect({ dialect = "" }):chat(QUESTION, { schema = SCHEMA }))
    assert.equal("POST", net.requests[1].method)
  end)

  it("stays as it was when it was given", function()
    local choices = { "a", "b" }
    local stream = fake.net({ fake.whole "b" }):connect():stream(QUESTION, { choice = choices })
    choices[2] = "c"
    assert.equal("b", assert(stream:reply()).value)
  end)

  it("cannot be a field that the server passes over without a word", function()
    assert.refused("^SGLang does not heed the field 'structured_outputs': give the option schema, choice, regex or "
      .. "grammar, which lmm writes as that server has it$",
      sent("sglang", {}, { structured_outputs = { regex = "a" } }))
    assert.refused("^OpenAI does not heed the field 'structured_outputs': give the option schema or choice, ",
      sent("openai", {}, { structured_outputs = { regex = "a" } }))
    assert.refused("^OpenAI does not heed the field 'regex': it has no regex for answers: give a schema, ",
      sent("openai", {}, { regex = "a" }))
    assert.refused("^llama%-server does not heed the field 'regex': it has no regex for answers: give a grammar %(GBNF",
      sent("llama.cpp", {}, { regex = "a" }))
    assert.refused("^vLLM does not heed the field 'ebnf': give the option grammar, ", sent("vllm", {}, { ebnf = "a" }))
    assert.refused("^vLLM does not heed the field 'regex': give the option regex, ", sent("vllm", {}, { regex = "a" }))
    assert.equal("a", sent("sglang", {}, { regex = "a" }).regex)
    assert.equal("a", sent(nil, {}, { ebnf = "a" }).ebnf)
    assert.equal("a", sent("litellm", {}, { ebnf = "a" }).ebnf)
    for name, option in pairs { guided_regex = "regex", guided_choice = "choice", guided_grammar = "grammar" } do
      assert.raises(("'%s' is no longer heeded by servers: use the option '%s'"):format(name, option), sent, nil, {},
        { [name] = "a" })
    end
  end)

  for pattern, opts in pairs {
    ["schema and choice are two ways to say what the answer is to be: give one"] = { schema = {}, choice = { "a" } },
    ["regex and grammar are two ways"] = { regex = "a", grammar = "b" },
    ["choice is an empty list"] = { choice = {} },
    ["choice is a list of texts, and its item 2 is number"] = { choice = { "a", 2 } },
    ["choice is a list of texts, and its item 1 is nil"] = { choice = { yes = "a" } },
    ["choice is a list of texts, and its item 1 is empty"] = { choice = { "" } },
    ["choice holds 'a' twice"] = { choice = { "a", "b", "a" } },
    ["regex is empty"] = { regex = "" },
    ["the schema is none: a schema is an object, not a list"] = { schema = { "a" } },
    ["the schema is none: there is no type 'nothing'"] = { schema = { type = "nothing" } },
    ["option 'choice' must be a table, not a string"] = { choice = "a" },
    ["option 'regex' must be a string, not a table"] = { regex = {} },
  } do
    it("is misuse: " .. pattern, function()
      assert.raises(pattern, sent, nil, opts)
      if not pattern:find "must be a" then
        local chat = fake.net({ fake.whole "a" }):connect():conversation(opts)
        assert.raises(pattern, chat.ask, chat, "q")
      end
    end)
  end

  it("is misuse beside a field that says the same", function()
    assert.raises("choice and response_format are two ways to say the same", sent, nil, { choice = { "a" } },
      { response_format = {} })
    assert.raises("regex and structured_outputs are two ways to say the same", sent, nil, { regex = "a" },
      { structured_outputs = {} })
  end)

  it("is what the question says, whatever the conversation's is", function()
    local net = fake.net { fake.whole "a", fake.whole '{"x":1}', fake.whole "a" }
    local chat = net:connect():conversation { choice = { "a", "b" } }
    assert.equal("a", assert(chat:ask "q").value)
    assert.same({ x = 1 }, assert(chat:ask("q", { schema = {} })).value)
    assert.equal("a", assert(chat:ask("q", { structured_outputs = { regex = "." } })).text)
    assert.same({ "string", nil, nil }, { net.requests[1].body.response_format.json_schema.schema.type,
      net.requests[2].body.response_format.json_schema.schema.type, net.requests[3].body.response_format })
    assert.is_nil(net.requests[2].body.choice)
  end)
end)

-- ---- the value

local function answered(text, opts, finish_reason, message)
  message = message or { content = text }
  local whole = { json = { choices = { { index = 0, message = message, finish_reason = finish_reason or "stop" } } } }
  return fake.net({ whole }):connect({ retry = false }):chat(QUESTION, opts)
end

local ROWS = { type = "object", required = { "rows" }, additionalProperties = false, properties = {
  rows = { type = "array", items = { type = "object", required = { "price" }, properties = {
    price = { type = { "number", "null" } }, kind = { enum = { "food", "tool" } } } } } } }

describe("the value", function()
  it("of JSON in a fence is what stands in it", function()
    local reply = assert(answered("```json\n{\"rows\": []}\n```\n", { schema = ROWS }))
    assert.same({ rows = {} }, reply.value)
    assert.equal("```json\n{\"rows\": []}\n```\n", reply.text)
    assert.refused("not the JSON that the schema asks for, .*the end expected", answered("```json\n{}\n```\nDone.",
      { schema = {} }))
    assert.refused("not the JSON that the schema asks for, ", answered("Here it is: {}", { schema = {} }))
  end)

  for text, problem in pairs {
    ['{"rows":[{"price":"12"}]}'] = "rows%[0%]%.price must be a number or null, not \"12\"",
    ['{"rows":[{"price":1},{}]}'] = false, -- a null, as lmm gives it
    ['{"rows":[{"price":null,"kind":"toy"}]}'] = "rows%[0%]%.kind must be one of \"food\", \"tool\", not \"toy\"",
    ['{"rows":[],"more":1}'] = "more is not among the properties there are",
    ['{}'] = "rows is missing",
    ['[]'] = "the value must be an object, not an array",
    ['{"rows":[{"price":1.5,"kind":"food"}]}'] = false,
  } do
    it("is held against the schema: " .. text, function()
      local reply, message, err = answered(text, { schema = ROWS })
      if not problem then return assert.is_table(assert(reply, message).value) end
      assert.refused("the answer does not follow the schema: " .. problem .. ", and ended with finish_reason stop$",
        reply, message, err)
      assert.same({ "protocol", text }, { err.kind, err.partial })
    end)
  end

  it("that begins with a tag is quoted, and no HTML page", function()
    assert.refused('the answer is not the JSON that the schema asks for, not a JSON object but "<think>so</think> {}", '
      .. "and ended with finish_reason stop$", answered("<think>so</think> {}", { schema = {} }))
  end)

  for text, value in pairs { yes = "yes", [' no\n'] = "no", ['"yes"'] = "yes", ['{"choice": "no"}'] = "no",
    ["```json\n\"yes\"\n```"] = "yes", ['say "hi"'] = 'say "hi"', ["[x]"] = "[x]" } do
    it(("of a choice is the choice itself: %q"):format(text), function()
      assert.equal(value, assert(answered(text, { choice = { "yes", "no", 'say "hi"', "[x]" } })).value)
    end)
  end

  it("of a choice must be one of them", function()
    local err = assert.refused('the answer "maybe" is none of the choices, and ended with finish_reason stop '
      .. "%(they are: yes, no%)$", answered("maybe", { choice = { "yes", "no" } }))
    assert.same({ "protocol", "maybe" }, { err.kind, err.partial })
    local many = {}
    for i = 1, 30 do many[i] = "c" .. i end
    assert.refused("they are: c1, c2, .*, c10, %.%.%.%)$", answered("x", { choice = many }))
    assert.refused("none of the choices", answered((" "):rep(100000), { choice = { "yes" } }))
    assert.refused("none of the choices", answered('{"choice": ["yes"]}', { choice = { "yes" } }))
  end)

  it("of a regex and a grammar is the text", function()
    assert.equal("a1", assert(answered("a1", { regex = "a\\d" })).value)
    assert.equal(" x ", assert(answered(" x ", { grammar = "root ::= 'x'" })).value)
  end)

  for kind, row in pairs {
    schema = { {}, '{"a', "the JSON that the schema asks for" },
    choice = { { "yes", "no" }, "ye", "one of the choices" },
    regex = { "a+", "aa", "what the regex asks for" }, grammar = { "x", "aa", "what the grammar asks for" },
  } do
    it("that was cut by length is told as that: " .. kind, function()
      local err = assert.refused("the answer was cut at the most tokens, before " .. row[3]
        .. " was whole %(raise max_tokens%)$", answered(row[2], { [kind] = row[1] }, "length"))
      assert.same({ "protocol", row[2] }, { err.kind, err.partial })
    end)
  end

  it("that was whole when the tokens ended is given", function()
    assert.equal("yes", assert(answered("yes", { choice = { "yes", "no" } }, "length")).value)
    assert.refused("was cut at", answered("yes", { choice = { "yes", "yes, if" } }, "length"))
    assert.equal("yes", assert(answered('"yes"', { choice = { "yes", "yes, if" } }, "length")).value)
    assert.equal(1, assert(answered('{"a":1}', { schema = {} }, "length")).value.a)
  end)

  it("that is a number may go on where it was cut", function()
    local NUMBER = { schema = { type = "number" } }
    for _, text in ipairs { "12", "-3", "1.5", "1e5", "```json\n12" } do
      assert.refused("was cut at the most tokens, before the JSON", answered(text, NUMBER, "length"))
      assert.refused("was cut before the JSON that the schema asks for was whole, and ended with finish_reason "
        .. "content_filter$", answered(text, NUMBER, "content_filter"))
      assert.is_number(assert(answered(text, NUMBER)).value)
    end
    for _, text in ipairs { "12\n", "12 ", "```json\n12\n```" } do
      assert.equal(12, assert(answered(text, NUMBER, "length")).value)
    end
    assert.equal(true, assert(answered("true", { schema = {} }, "length")).value)
  end)

  it("of a regex or a grammar is none where the model refuses or a filter ends the answer", function()
    for _, kind in ipairs { "regex", "grammar" } do
      for _, content in ipairs { "", false } do
        local message = { content = content or lmm.null, refusal = "I will not" }
        assert.refused('the model refuses to answer: "I will not"', answered(nil, { [kind] = "[0-9]*" }, "stop",
          message))
      end
      for _, text in ipairs { "", "1" } do
        assert.refused("the answer was cut before what the " .. kind .. " asks for was whole, and ended with "
          .. "finish_reason content_filter$", answered(text, { [kind] = "[0-9]*" }, "content_filter"))
      end
      assert.equal("", assert(answered("", { [kind] = "[0-9]*" })).value)
    end
    assert.refused("none of the choices, and ended with finish_reason content_filter",
      answered("yes", { choice = { "yes", "yes, if" } }, "content_filter"))
  end)

  for text, row in pairs { -- the schema, and the value or what is wrong with it
    ["[1,null]"] = { { items = { type = "integer" } }, "[1] must be an integer, not null" },
    ["[null,1]"] = { { items = { type = "integer" } }, "[0] must be an integer, not null" },
    ['{"a":null}'] = { { required = { "a" } }, {} },
    ['{"a":null,"b":1}'] = { { properties = { a = { type = "string" }, b = {} }, additionalProperties = false },
      { b = 1 } },
    ['{"a":1,"b":null}'] = { { properties = { a = {} }, additionalProperties = false }, { a = 1 } },
    ['{"a":null,"c":1}'] = { { required = { "a" }, properties = { a = { type = "string" } } },
      "a must be a string, not null" },
  } do
    it("is held against the schema with its nulls: " .. text, function()
      local reply, message, err = answered(text, { schema = row[1] })
      if type(row[2]) == "table" then return assert.same(row[2], assert(reply, message).value) end
      assert.refused("follow the schema: " .. row[2]:gsub("%p", "%%%0"), reply, message, err)
    end)
  end

  it("is not looked for where the model calls tools, or refuses", function()
    local call = { id = "1", type = "function", ["function"] = { name = "f", arguments = "{}" } }
    local reply = assert(answered(nil, { schema = ROWS }, "tool_calls", { tool_calls = { call } }))
    assert.same({ "f", nil }, { reply.tool_calls[1].name, reply.value })
    assert.refused('the model refuses to answer: "I may not%."', answered(nil, { schema = ROWS }, "stop",
      { refusal = "I may not." }))
  end)

  it("that is not what was asked for leaves the conversation as it was", function()
    local chat = fake.net({ fake.whole "prose" }):connect():conversation()
    assert.refused("not the JSON", chat:ask("q", { schema = {} }))
    assert.equal(0, #chat.messages)
  end)
end)

-- ---- growing

--- A stream of these pieces of text.
local function stream_of(pieces, opts, finish_reason)
  local events = {}
  for i, piece in ipairs(pieces) do events[i] = delta(piece) end
  events[#events + 1] = event { choices = { { index = 0, delta = {}, finish_reason = finish_reason or "stop" } } }
  return (fake.net({ streamed(events) }):connect({ retry = false }):stream(QUESTION, opts))
end

local function encode(value) return lmm.json.encode(value) end

local function collect(iterator)
  local seen = {}
  for value in iterator do seen[#seen + 1] = encode(value) end
  return seen
end

local PIECES = { '{"items": [{"n', '": 1}, {"n": 2', '}, {"t": "lo', 'ng', '"}], "end', '": true}' }
local WHOLE = { items = { { n = 1 }, { n = 2 }, { t = "long" } }, ["end"] = true }

describe("a stream's values", function()
  it("are one table that grows, and the reply has the same", function()
    local stream = stream_of(PIECES, { schema = { type = "object" } })
    local first, count
    for value in stream:values() do
      first, count = first or value, (count or 0) + 1
      assert.equal(first, value)
    end
    assert.same({ WHOLE, 6 }, { first, count })
    assert.same(WHOLE, assert(stream:reply()).value)
  end)

  it("come as far as each piece goes", function()
    local seen = collect(stream_of({ '[1', ',"a', "b", '"]' }):values())
    assert.same({ "[]", '[1,"a"]', '[1,"ab"]', '[1,"ab"]' }, seen)
    assert.same({ "12" }, collect(stream_of({ "1", "2" }):values()))
    assert.same({ "false" }, collect(stream_of({ "false" }):values()))
    assert.same({}, collect(stream_of({ "null" }):values()))
    assert.same({ "{}" }, collect(stream_of({ "```json\n", "{}", "\n```" }):values()))
  end)

  it("are JSON without a schema, too, and then the reply has it", function()
    local stream = stream_of { '{"a":', "1}" }
    for _ in stream:values() do end -- luacheck: ignore 542
    assert.same({ a = 1 }, assert(stream:reply()).value)
    assert.is_nil(assert(stream_of({ "{}" }):reply()).value)
  end)

  it("begin with what was read before, and give the whole value after the end", function()
    local stream = stream_of(PIECES)
    assert.equal(PIECES[1], stream:next())
    local last
    for value in stream:values() do last = value end
    assert.same(WHOLE, last)
    assert.same({ encode(last) }, collect(stream:values()))
    stream = fake.net({ fake.answer(unpack(PIECES)) }):connect():stream(QUESTION)
    assert.equal("assistant", stream:events()().choices[1].delta.role) -- before any text
    assert.same(WHOLE, lmm.json.decode(collect(stream:values())[6]))
  end)

  local failures = {
    { "malformed", { "[1", ",]" }, {}, "stop", "is not the JSON that the schema asks for, .*a value expected" },
    { "prose", { "I ", "cannot." }, {}, "stop", 'the answer is not the JSON .*"I cannot%."' },
    { "cut", { "[1", "," }, {}, "length", "the answer was cut at the most tokens" },
    { "against the schema", { "[1", ",2]" }, { type = "object" }, "stop", "the value must be an object" },
    { "text behind it", { "[1]", " so" }, {}, "stop", "the end expected at byte 5" },
  }
  for _, row in ipairs(failures) do
    it("raise what the reply fails with: " .. row[1], function()
      local stream, last = stream_of(row[2], { schema = row[3] }, row[4]), nil
      local raised = assert.raises(row[5], function()
        for value in stream:values() do last = value end
      end)
      local _, message, err = stream:reply()
      assert.same({ message, message, table.concat(row[2]) }, { raised, err.message, err.partial })
      assert.equal(err, stream.err)
      assert.equal(row[1] == "prose" and "nil" or "table", type(last))
      assert.equal(message, (select(2, stream_of(row[2], { schema = row[3] }, row[4]):reply())))
      assert.raises(row[5], function() collect(stream_of(row[2], { schema = row[3] }, row[4]):elements "") end)
    end)
  end

  it("raise where the stream breaks, with what came", function()
    local broken = { chunks = { delta '{"a":1', { fail = { kind = "connect", phase = "receive", reason = "reset" } } } }
    local stream = fake.net({ broken }):connect({ retry = false }):stream(QUESTION)
    local value
    assert.raises("reset", function() for v in stream:values() do value = v end end)
    assert.same({ {}, '{"a":1' }, { value, stream.err.partial })
  end)

  it("end where the stream is cancelled in between", function()
    local stream = stream_of(PIECES)
    assert.raises("cancelled", function()
      for _ in stream:values() do stream:cancel() end
    end)
  end)

  it("are for JSON alone", function()
    for name, value in pairs { choice = { "a" }, regex = "a", grammar = "a" } do
      local stream = stream_of({ "a" }, { [name] = value })
      assert.raises("stream:values is for JSON: with " .. name .. " an answer is one text", stream.values, stream)
      assert.raises("stream:elements is for JSON", stream.elements, stream, "a")
      assert.equal("a", assert(stream:reply()).value)
    end
    assert.raises("write stream:values%(%.%.%.%), with a colon", stream_of({ "a" }).values)
  end)

  it("are bounded", function()
    local opts = { limits = { depth = 3 } }
    local stream = fake.net({ fake.answer("[[", "[[1]]]]") }):connect(opts):stream(QUESTION, { schema = {} })
    assert.raises("more than 3 deep", collect, stream:values())
    assert.equal("limit", stream.err.kind)
  end)
end)

describe("a stream's elements", function()
  it("come once each, when they are whole", function()
    local stream = stream_of(PIECES, { schema = {} })
    local seen = {}
    for item in stream:elements "items" do
      seen[#seen + 1] = encode(item)
      if #seen == 1 then assert.equal('{"items": [{"n": 1}, {"n": 2', stream.answer:text()) end
    end
    assert.same({ '{"n":1}', '{"n":2}', '{"t":"long"}' }, seen)
    assert.same(WHOLE, assert(stream:reply()).value)
  end)

  it("are those of the list at the path", function()
    local function at(path, text) return table.concat(collect(stream_of({ text }):elements(path)), " ") end
    assert.equal("1 [2] true", at("", "[1,[2],null,true]"))
    assert.equal("2 3", at("a.b", '{"b":[1],"a":{"c":[9],"b":[2,3]},"d":{"b":[4]}}'))
    assert.equal("", at("a.b", '{"a":[{"b":[1]}]}'))
    assert.equal("", at("x", '{"a":[1]}'))
    assert.equal("", at("a", '{"a":{"b":[1]}}'))
    assert.equal("7", at("", "```\n[7]\n```"))
    assert.raises("takes the path of a list, .*, not a table", function() stream_of({ "[]" }):elements {} end)
  end)

  it("come anew where the list does", function()
    assert.same({ "1", "2", "3", "4" }, collect(stream_of({ '{"a":[1,2', "]", ',"a":[3,', '4]}' }):elements "a"))
  end)

  it("begin with what was read before", function()
    local stream = stream_of(PIECES)
    stream:next()
    stream:next()
    assert.equal(3, #collect(stream:elements "items"))
    assert.equal(3, #collect(stream:elements "items"))
  end)
end)
