-- The mock's structured answers: what fits a schema, a choice, a regex or a grammar; what vLLM refuses, at once or
-- inside a stream that has begun; and all of it asked for by a client of ours.
local asking = require "spec.support.asking"
local json = require "lmm.json"
local lmm = require "lmm"
local schemas = require "lmm.schema"

local curl, client, server

setup(function()
  server = assert(lmm.mock { delay = 0 })
  curl = asking.new(server)
  client = lmm.connect { base_url = server.url, model = "mock", retry = false }
end)

teardown(function() curl.stop() end)

local function format(schema)
  return { response_format = { type = "json_schema", json_schema = { name = "a", schema = schema } } }
end

local function text_of(fields, question)
  local answer = curl.ask(fields, question)
  assert.equal(200, answer.status, answer.body)
  return json.decode(answer.body).choices[1].message.content
end

local RECEIPT = { type = "object", required = { "shop", "rows", "paid" }, additionalProperties = false, properties = {
  shop = { type = "string" }, paid = { type = "boolean" }, currency = { enum = { "EUR", "USD" } },
  rows = { type = "array", minItems = 3, items = { type = "object", required = { "item", "price" }, properties = {
    item = { type = "string" }, price = { type = { "number", "null" } },
    count = { type = "integer", minimum = 5 } } } } } }

describe("the mock answers", function()
  it("by a JSON schema, in words that a stream cuts into pieces", function()
    local text = text_of(format(RECEIPT))
    assert.equal('{"currency": "EUR", "paid": true, "rows": [{"count": 5, "item": "item 1", "price": 1.5}, '
      .. '{"count": 5, "item": "item 2", "price": 2.5}, {"count": 5, "item": "item 3", "price": 3.5}], '
      .. '"shop": "shop 1"}', text)
    assert.is_true(schemas.check(json.decode(text), RECEIPT))
    assert.equal(text, text_of { structured_outputs = { json = RECEIPT } })
    assert.equal(text, text_of { structured_outputs = { json = json.encode(RECEIPT) } })
  end)

  for _, row in ipairs {
    { { type = "string" }, '"answer 1"' }, { {}, '"answer 1"' }, { { const = 7 }, "7" }, { { type = "null" }, "null" },
    { { type = "array" }, '["answer 1", "answer 2"]' }, { { type = "array", maxItems = 0 }, "[]" },
    { { properties = { a = {} } }, '{"a": "a 1"}' }, { { enum = { "x", "y" } }, '"x"' },
    { { type = "integer", maximum = -2 }, "-2" },
  } do
    it("by the schema " .. json.encode(row[1]), function() assert.equal(row[2], text_of(format(row[1]))) end)
  end

  it("by a schema of lists in lists with no more values than one can read", function()
    local schema = { type = "string" }
    for _ = 1, 3 do schema = { type = "array", minItems = 60, items = schema } end
    local answer = curl.ask(format(schema))
    local count = select(2, answer.body:gsub("answer %d", ""))
    assert(count > 5000 and count <= 10000, count)
  end)

  it("by the other constraints", function()
    local function by(outputs) return text_of { structured_outputs = outputs } end
    assert.equal("a b", by { choice = { "a b", "c" } })
    assert.equal("yes", by { regex = "yes|no" })
    assert.equal("yes", by { grammar = 'root ::= "yes" | "no"' })
    assert.equal('{"question": "Hello there"}', by { json_object = true })
    assert.equal('{"question": "Hello there"}', text_of { response_format = { type = "json_object" } })
    assert.matches("^question: ", by { regex = "a[0-9]+" })
  end)

  it("in prose where it is told to, as models do", function()
    assert.equal("question: Please, no JSON today.", text_of(format(RECEIPT), "Please, no JSON today."))
  end)
end)

describe("the mock refuses", function()
  local both = format { type = "string" }
  both.structured_outputs = { choice = { "a" } }
  for name, row in pairs {
    ["both at once"] = { both, "^You can only use one kind of structured outputs constraint but multiple are" },
    ["two in one"] = { { structured_outputs = { choice = { "a" }, regex = "a" } }, "^You can only use one kind" },
    ["none"] = { { structured_outputs = {} }, "^You must use one kind of structured outputs constraint but none" },
  } do
    it(name .. ", streamed or not", function()
      for _, streamed in ipairs { true, false } do
        row[1].stream = streamed
        local answer = curl.ask(row[1])
        assert.equal(400, answer.status)
        assert.matches(row[2], json.decode(answer.body).error.message)
      end
    end)
  end

  for name, fields in pairs {
    ["a schema with an unknown type"] = format { type = "object", properties = { a = { type = "nothing" } } },
    ["a list for a schema"] = format { "a" },
    ["a regex that cannot be parsed"] = { structured_outputs = { regex = "(a" } },
    ["a grammar that is none"] = { structured_outputs = { grammar = "yes" } },
  } do
    it(name .. ", in a stream by an event under 200", function()
      local answer = curl.ask(fields)
      assert.same({ 400, 400 }, { answer.status, json.decode(answer.body).error.code })
      fields.stream = true
      answer = curl.ask(fields)
      assert.equal(200, answer.status)
      local event = answer.body:match "^data: ({[^\n]*})\n\ndata: %[DONE%]\n\n$"
      assert.matches("^Invalid grammar", json.decode(event).error.message)
    end)
  end
end)

describe("a client of the mock", function()
  it("gets the value of a schema, and the failure of prose", function()
    local chat = client:conversation { schema = RECEIPT }
    assert.equal("item 2", assert(chat:ask "What was bought?").value.rows[2].item)
    assert.refused("not the JSON that the schema asks for, .*and ended with finish_reason stop", chat:ask "No JSON.")
    assert.refused("the answer was cut at the most tokens", chat:ask("What?", { max_tokens = 5 }))
  end)

  it("gets values that grow, and rows one by one", function()
    local chat, sizes = client:conversation { schema = RECEIPT }, {}
    for value in chat:stream("What?"):values() do sizes[#(value.rows or {}) + 1] = true end
    assert.same({ true, true, true, true }, sizes)
    local rows = {}
    for row in chat:stream("What?"):elements "rows" do rows[#rows + 1] = row.item end
    assert.same({ "item 1", "item 2", "item 3" }, rows)
    assert.equal(4, #chat.messages)
  end)

  it("gets what it asked for by choice, regex and grammar", function()
    assert.equal("cat", assert(client:conversation():ask("Which?", { choice = { "cat", "dog" } })).value)
    assert.equal("yes", assert(client:conversation():ask("Yes?", { regex = "yes|no" })).value)
    assert.equal("yes", assert(client:conversation():stream("?", { grammar = 'root ::= "yes"' }):reply()).value)
    local vllm = lmm.connect { base_url = server.url, model = "mock", dialect = "vllm" }
    assert.equal("cat", assert(vllm:conversation():ask("Which?", { choice = { "cat", "dog" } })).value)
  end)

  it("gets it from servers that have other names for it, once it knows them", function()
    for like, refused in pairs { ["llama.cpp"] = "regex", ollama = "grammar", sglang = false } do
      local other = assert(lmm.mock { delay = 0, like = like })
      local chat = lmm.connect(other.url):conversation()
      assert.equal("cat", assert(chat:ask("Which?", { choice = { "cat", "dog" } })).value)
      local opts = { regex = { regex = "yes|no" }, grammar = { grammar = 'root ::= "yes"' } }
      for kind, given in pairs(opts) do
        if refused == kind or refused == "grammar" then
          assert.refused("has no " .. kind .. " for answers: give a ", chat:ask("?", given))
        else
          assert.equal("yes", assert(chat:ask("?", given)).value)
        end
      end
      assert.equal("question: q", assert(chat:fork():ask("q", { response_format = { type = "text" } })).text:sub(1, 11))
      other.stop()
    end
  end)

  it("is told of a bad grammar with its status, inside a stream, too", function()
    local chat = client:conversation { grammar = "no rule" }
    local _, _, err = chat:ask "q"
    assert.same({ "http", 400 }, { err.kind, err.status })
    _, _, err = chat:stream("q"):reply()
    assert.same({ "http", 400 }, { err.kind, err.status })
    assert.raises("Invalid grammar", function()
      for _ in client:stream({ messages = { { role = "user", content = "q" } },
        structured_outputs = { grammar = "no rule" } }):values() do end -- luacheck: ignore 542
    end)
  end)
end)
