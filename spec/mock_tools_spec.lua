-- The mock calls tools when told to, as vLLM with a parser for them does, and refuses them as vLLM without one.
local asking = require "spec.support.asking"
local json = require "lmm.json"
local lmm = require "lmm"
local mock = require "lmm.mock"

local server, client, without

setup(function()
  server = assert(mock.start { delay = 0 })
  client = asking.new(server)
  without = asking.new(assert(mock.start { delay = 0, tools = false }))
end)

teardown(function()
  client.stop()
  without.stop()
end)

local ADD = { type = "function", ["function"] = { name = "add" } }

local function choice_of(answer)
  assert.equal(200, answer.status, answer.body)
  return json.decode(answer.body).choices[1]
end

--- What the events of a stream hold in their first choices.
local function deltas_of(answer)
  local list = {}
  for text in answer.body:gmatch "data: ({.-})\n\n" do list[#list + 1] = json.decode(text).choices[1] end
  return list
end

describe("the mock, with tools,", function()
  for _, row in ipairs {
    { "one call", "Please\ncall add {\"a\": 1}", { { "add", '{"a": 1}' } } },
    { "several", " call add {}\n\ncall sub [1,\ncall none", { { "add", "{}" }, { "sub", "[1," }, { "none", "{}" } } },
    { "none in other words", "call me maybe\nwe call add {}\ncall", nil },
  } do
    it("makes " .. row[1], function()
      local choice = choice_of(client.ask({ tools = { ADD } }, row[2]))
      assert.equal(row[3] and "tool_calls" or "stop", choice.finish_reason)
      local calls = {}
      for i, call in ipairs(choice.message.tool_calls or {}) do
        assert.matches("^chatcmpl%-tool%-%x+$", call.id)
        assert.equal("function", call.type)
        calls[i] = { call["function"].name, call["function"].arguments }
      end
      assert.same(row[3] or {}, calls)
      assert.equal(row[3] and json.null or "question: " .. row[2], choice.message.content)
    end)
  end

  it("streams a call as vLLM does: its name first, then its arguments in pieces", function()
    local list = deltas_of(client.ask({ tools = { ADD }, stream = true }, 'call add {"a":1,"b":"x:y"}\ncall add'))
    local first, pieces = list[2].delta.tool_calls[1], {}
    assert.same({ id = first.id, type = "function", index = 0, ["function"] = { name = "add", arguments = "" } }, first)
    for i = 3, #list - 1 do
      local call = list[i].delta.tool_calls[1]
      if call.index == 0 then
        assert.is_nil(call.id or call.type or call["function"].name)
        pieces[#pieces + 1] = call["function"].arguments
      end
    end
    assert.truthy(#pieces > 2)
    assert.equal('{"a":1,"b":"x:y"}', table.concat(pieces))
    assert.same({ "tool_calls", 1 }, { list[#list].finish_reason, list[#list - 1].delta.tool_calls[1].index })
    assert.equal("assistant", list[1].delta.role)
  end)

  it("calls what it must, whatever is said", function()
    local choice = choice_of(client.ask({ tools = { ADD }, tool_choice = "required" }))
    assert.same({ "add", "{}", "tool_calls" }, { choice.message.tool_calls[1]["function"].name,
      choice.message.tool_calls[1]["function"].arguments, choice.finish_reason })
    choice = choice_of(client.ask({ tools = { ADD }, tool_choice = ADD }, 'call add {"a":1}'))
    assert.same({ '{"a":1}', "stop" }, { choice.message.tool_calls[1]["function"].arguments, choice.finish_reason })
  end)

  it("calls nothing where it may not", function()
    local others = { {}, { tools = { ADD }, tool_choice = "none" }, { tools = { ADD }, mock = { reply = "r" } } }
    for _, fields in ipairs(others) do
      local choice = choice_of(client.ask(fields, "call add"))
      assert.same({ "stop", nil }, { choice.finish_reason, choice.message.tool_calls })
    end
    local choice = choice_of(client.ask({ tools = { ADD }, parallel_tool_calls = false }, "call add\ncall add"))
    assert.equal(1, #choice.message.tool_calls)
  end)

  it("is cut in a call at the most tokens", function()
    local choice = choice_of(client.ask({ tools = { ADD }, max_tokens = 2 }, 'call add {"a":1}'))
    assert.same({ "length", '{"a":' }, { choice.finish_reason, choice.message.tool_calls[1]["function"].arguments })
    local list = deltas_of(client.ask({ tools = { ADD }, max_tokens = 2, stream = true }, 'call add {"a":1}'))
    assert.same({ 4, "length" }, { #list, list[4].finish_reason })
  end)

  local function with_result(text, arguments)
    return { tools = { ADD }, messages = { { role = "user", content = "call add" },
      { role = "assistant", content = json.null, tool_calls = { { id = "x", type = "function",
        ["function"] = { name = "add", arguments = arguments or "{}" } } } },
      { role = "tool", tool_call_id = "x", content = text }, { role = "tool", tool_call_id = "y", content = "odd" } } }
  end

  it("tells what the tools gave", function()
    local message = choice_of(client.post(with_result "42")).message
    assert.equal("tool add: 42\ntool ?: odd\nquestion: call add", message.content)
  end)

  it("calls again where a result says so", function()
    assert.equal('{"n":2}', choice_of(client.post(with_result 'call add {"n":2}')).message.tool_calls[1]["function"]
      .arguments)
  end)

  it("refuses arguments in the history that are no JSON", function()
    local answer = client.post(with_result("42", "{"))
    assert.equal(400, answer.status)
  end)

  it("answers a conversation that has tools", function()
    for _, method in ipairs { "ask", "stream" } do
      local chat = lmm.connect(server.url):conversation()
      chat:tool({ name = "add", parameters = { type = "object", properties = { a = { type = "number" } } } },
        function(args) return args.a + 1 end)
      chat:tool({ name = "look" }, function() return lmm.image "spec/media/baseline.jpg" end)
      local reply = chat[method](chat, 'call add {"a":1}\ncall look\ncall add {"a":"x"}\ncall sub {}\ncall add {"a":')
      if method == "stream" then reply = assert(reply:reply()) end
      assert.matches("^image 1: image/jpeg, .*\ntool add: 2\ntool look: \ntool add: error: the arguments of add are "
        .. "wrong: .*\ntool sub: error: there is no tool 'sub'; the tools are: add, look\n"
        .. "tool add: error: the arguments of add are wrong: they are no JSON: .*\nquestion: call add", reply.text)
      assert.equal(5, #reply.steps[1].calls)
    end
  end)

  it("never ends where a tool has it called again", function()
    local chat = lmm.connect(server.url):conversation()
    chat:tool({ name = "again" }, function() return "call again" end)
    local err = assert.refused("max_rounds", chat:ask("call again", { max_rounds = 3 }))
    assert.equal(5, #err.messages)
  end)
end)

describe("the mock, without tools,", function()
  for _, row in ipairs {
    { "any", nil, '^"auto" tool choice requires %-%-enable%-auto%-tool%-choice and %-%-tool%-call%-parser to be set$' },
    { "what must be called", "required", '^tool_choice="required" requires %-%-tool%-call%-parser to be set$' },
    { "one by its name", ADD, '^tool_choice=function "add" requires %-%-tool%-call%-parser to be set$' },
  } do
    it("refuses " .. row[1], function()
      local answer = without.ask { tools = { ADD }, tool_choice = row[2] }
      local problem = json.decode(answer.body).error
      assert.same({ 400, 400, "BadRequestError", json.null },
        { answer.status, problem.code, problem.type, problem.param })
      assert.matches(row[3], problem.message)
    end)
  end

  it("takes what is not to be called", function()
    assert.equal(200, without.ask({ tools = { ADD }, tool_choice = "none" }).status)
  end)
end)
