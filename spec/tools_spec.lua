-- Tools on the fake transport: what is sent, what functions are given and may give, and what is refused.
local calling = require "spec.support.calling"
local fake = require "spec.support.fake"
local lmm = require "lmm"
local shell = require "spec.support.shell"

local called, told = calling.whole, calling.told

local weather = { name = "weather", description = "The weather of a city.", parameters = { type = "object",
  properties = { city = { type = "string" }, days = { type = "integer" } }, required = { "city" } } }

describe("chat:tool", function()
  it("has ask run what the model calls, until there is an answer", function()
    local chat, net = calling.chat({ called { "weather", { city = "Oslo" } }, fake.whole "Rain." }, { system = "s" })
    local got
    chat:tool(weather, function(args, call)
      got = { args, call }
      return "rain"
    end)
    local reply = assert(chat:ask "How is it in Oslo?")
    assert.equal("Rain.", reply.text)
    assert.same({ { city = "Oslo" }, { id = "c1", name = "weather", arguments = '{"city":"Oslo"}',
      args = { city = "Oslo" } } }, got)
    assert.same({ { type = "function", ["function"] = { name = "weather", description = weather.description,
      parameters = weather.parameters } } }, net.requests[1].body.tools)
    assert.same(net.requests[1].body.tools, net.requests[2].body.tools)
    local sent = net.requests[2].body.messages
    assert.equal(4, #sent)
    assert.same({ role = "tool", tool_call_id = "c1", content = "rain" }, sent[4])
    assert.equal("c1", sent[3].tool_calls[1].id)
    assert.equal(lmm.null, sent[3].content)
    assert.same({ "system", "user", "assistant", "tool", "assistant" }, (function()
      local roles = {}
      for i, message in ipairs(chat.messages) do roles[i] = message.role end
      return roles
    end)())
    assert.equal(1, #reply.steps)
    assert.same({ "weather", "rain", 7 }, { reply.steps[1].calls[1].name, reply.steps[1].results[1].text,
      reply.steps[1].usage.total_tokens })
  end)

  it("gives an answer without calls as before, with no steps", function()
    local chat = calling.chat { fake.whole "Hello." }
    chat:tool(weather, error)
    assert.same({}, assert(chat:ask "Hi").steps)
    assert.is_nil(assert(calling.chat({ fake.whole "Hello." }):ask "Hi").steps)
  end)

  it("sends a tool without parameters as one of an empty object, and strict where it is given", function()
    local chat, net = calling.chat { called { "now", "" }, fake.whole "x" }
    local count
    chat:tool({ name = "now", strict = true }, function(args, ...)
      count = select("#", ...)
      return next(args) == nil
    end)
    assert(chat:ask "q")
    assert.matches('"function":{"name":"now","parameters":{"properties":{},"type":"object"},"strict":true}',
      net.requests[1].text, 1, true)
    assert.same({ 1, { "true" } }, { count, told(net.requests[2]) })
  end)

  it("what was given stays as it was", function()
    local given = { type = "object", properties = {} }
    local chat, net = calling.chat { fake.whole "x" }
    chat:tool({ name = "f", parameters = given }, print)
    given.properties.late = { type = "string" }
    assert(chat:ask "q")
    assert.matches('"properties":{}', net.requests[1].text, 1, true)
  end)

  for _, row in ipairs {
    { "a text", { "Gr\195\188n" }, "Gr\195\188n" }, { "a text that is not UTF-8", { "a\255" }, "a\239\191\189" },
    { "nothing", {}, "" }, { "a number", { 0.5 }, "0.5" }, { "false", { false }, "false" },
    { "a table", { { a = { 1, "x" } } }, '{"a":[1,"x"]}' }, { "an empty list", { lmm.array {} }, "[]" },
    { "a table with a type", { { type = "cat" } }, '{"type":"cat"}' }, { "null", { lmm.null }, "null" },
    { "nil and a message", { nil, "no such city" }, "error: no such city" },
    { "nil and an error", { nil, setmetatable({}, { __tostring = function() return "gone" end }) }, "error: gone" },
    { "a function", { print }, "error: the result cannot be written as JSON: .*function" },
    { "a part within data", { { img = lmm.image "https://host/a.png" } },
      "error: the result cannot be written as JSON: .*a part stands alone or in a list of parts and texts" },
    { "a part among data", { { lmm.image "spec/media/baseline.jpg", 5 } }, "error: .*a part stands alone or in a" },
    { "a part that cannot be sent", { lmm.image "gone.jpg" }, "error: .*gone.jpg.*No such file" },
  } do
    it("a tool may give " .. row[1], function()
      local chat, net = calling.chat { called { "f" }, fake.whole "x" }
      chat:tool({ name = "f" }, function() return (table.unpack or unpack)(row[2], 1, 2) end) -- luacheck: ignore
      local reply = assert(chat:ask "q")
      local text = told(net.requests[2])[1]
      if row[3]:find "^error: .*%.%*" then assert.matches(row[3], text) else assert.equal(row[3], text) end
      assert.equal(text, reply.steps[1].results[1].text)
      assert.equal(row[3]:find "^error" ~= nil, reply.steps[1].results[1].is_error or false)
    end)
  end

  it("a tool's picture goes in its message", function()
    local chat, net = calling.chat { called { "f" }, fake.whole "x" }
    chat:tool({ name = "f" }, function() return { "It looks so:", lmm.image "spec/media/baseline.jpg" } end)
    local reply = assert(chat:ask "q")
    local content = told(net.requests[2])[1]
    assert.same({ { type = "text", text = "It looks so:" }, "image_url" }, { content[1], content[2].type })
    assert.matches("^data:image/jpeg;base64,/9j/", content[2].image_url.url)
    assert.equal("It looks so:", reply.steps[1].results[1].text)
  end)

  it("or in a user's message behind the results, where the server takes it only there", function()
    local net = fake.net { called({ "f" }, { "g" }), fake.whole "x", fake.whole "y" }
    local chat = net:connect({ retry = false, dialect = "openai" }):conversation()
    chat:tool({ name = "f" }, function() return lmm.image "https://host/a.png" end)
    chat:tool({ name = "g" }, function() return "text" end)
    assert(chat:ask "q")
    assert(chat:ask "r")
    for i, count in pairs { [2] = 5, [3] = 7 } do
      local sent = net.requests[i].body.messages
      assert.equal(count, #sent)
      assert.same({ "tool", "c1", "tool", "c2", "user" }, { sent[3].role, sent[3].tool_call_id, sent[4].role,
        sent[4].tool_call_id, sent[5].role })
      assert.same({ "(media: see the user's message below)", "text" }, { sent[3].content, sent[4].content })
      assert.same({ { type = "text", text = "What the call c1 gave:" }, { type = "image_url",
        image_url = { url = "https://host/a.png" } } }, sent[5].content)
    end
    assert.equal(7, #chat.messages) -- the history is the same whatever the server
    chat:undo()
    assert.equal(5, #chat.messages)
  end)

  for _, row in ipairs {
    { "a URL", function() return lmm.image "https://host/a.png" end, "cannot be sent: Ollama fetches nothing" },
    { "a video", function() return { "It moves:", lmm.video "spec/media/clip.mp4" } end, "Ollama takes no video" },
    { "a file that is gone", function(path)
      shell.write(path, shell.read "spec/media/picture.png")
      local part = lmm.image(path)
      os.remove(path)
      return part
    end, "No such file" },
    { "a picture that cannot be converted", function()
      local broken = shell.read "spec/media/picture.png":gsub("IDAT....", "IDATxxxx")
      return lmm.image({ bytes = broken }, { max_side = 2 })
    end, "the data in bytes" },
  } do
    for _, dialect in ipairs { "ollama", "" } do
      it(("media that %s server cannot get are told to the model: %s"):format(dialect == "" and "an unknown" or "a",
        row[1]), function()
        local listed = { json = { data = { { id = "m", owned_by = "library" } } } }
        local net = fake.net { called({ "f" }, { "g" }), dialect == "" and listed or fake.whole "x", fake.whole "x" }
        local chat = net:connect({ retry = false, dialect = dialect }):conversation()
        local path = os.tmpname()
        chat:tool({ name = "f" }, function() return row[2](path) end)
        chat:tool({ name = "g" }, function() return "well" end)
        local reply = assert(chat:ask "q")
        os.remove(path)
        local said = told(net.requests[#net.requests])
        assert.matches("^error: .*" .. row[3], said[1])
        assert.same({ "well", true }, { said[2], reply.steps[1].results[1].is_error })
        assert.equal(dialect == "" and 3 or 2, #net.requests)
      end)
    end
  end

  it("media that the server cannot get are told by chat:result, too, as far as that is known", function()
    local net = fake.net { called { "f" }, fake.whole "x" }
    local chat = net:connect({ retry = false, dialect = "ollama" }):conversation { run_tools = false }
    chat:tool({ name = "f" }, error)
    chat:result(assert(chat:ask "q").tool_calls[1], lmm.image "https://host/a.png")
    assert.equal("x", assert(chat:ask()).text)
    assert.matches("^error: the image cannot be sent", told(net.requests[2])[1])
  end)

  it("also where the server's dialect is not known before the request is sent", function()
    local listed = { headers = { ["x-litellm-version"] = "1" }, json = { data = { { id = "m" } } } }
    local net = fake.net { listed, fake.whole "x" }
    local chat = net:connect({ retry = false, dialect = "" }):conversation()
    local call = { id = "c", type = "function", ["function"] = { name = "f", arguments = "{}" } }
    chat.messages = { { role = "user", content = "q" }, { role = "assistant", tool_calls = { call } },
      { role = "tool", tool_call_id = "c", content = { lmm.image "spec/media/baseline.jpg" } } }
    assert(chat:ask())
    local sent = net.requests[2].body.messages
    assert.same({ 4, "user", "image_url" }, { #sent, sent[4].role, sent[4].content[2].type })
    assert.equal(4, #chat.messages)
  end)

  it("a raw request's messages stay as they are", function()
    local net = fake.net { fake.whole "x" }
    local content = { { type = "image_url", image_url = { url = "https://host/a.png" } } }
    assert(net:connect({ dialect = "openai" }):chat { messages = { { role = "tool", content = content } } })
    assert.same({ { role = "tool", content = content } }, net.requests[1].body.messages)
  end)

  for _, row in ipairs {
    { "a text", function() error "no luck" end, "error: no luck" },
    { "a text without a place", function() error("no luck", 0) end, "error: no luck" },
    { "several lines", function() error("a\nb\27", 0) end, "error: a b" },
    { "a table", function() error { code = 5 } end, "error: it failed" },
    { "nothing", function() error() end, "error: it failed" },
    { "what has no text", function() error(setmetatable({}, { __tostring = function() error "x" end })) end,
      "error: it failed" },
    { "an error of lmm", function() error(lmm.image("gone.jpg").err) end, "error: cannot read 'gone.jpg'" },
    { "very much", function() error(("x"):rep(100000)) end, "error: " .. ("x"):rep(1000) },
    { "a yield of its own", function() coroutine.yield() end, "error: lmm: a task waits by calling lmm" },
  } do
    it("what a tool raises is told to the model: " .. row[1], function()
      local chat, net = calling.chat { called { "f" }, fake.whole "x" }
      chat:tool({ name = "f" }, row[2])
      assert.equal("x", assert(chat:ask "q").text)
      local text = told(net.requests[2])[1]
      assert.equal(row[3], text:sub(1, #row[3]))
      assert.truthy(#text < 2100)
    end)
  end

  for name, wait in pairs { ["at once"] = 0, ["after a wait"] = 1 } do
    it("a result that raises where it is read is as if its tool had raised, " .. name, function()
      local strict = setmetatable({}, { __index = function(_, key) error("no field " .. tostring(key), 0) end })
      local chat, net = calling.chat { called({ "f" }, { "g" }), fake.whole "x" }
      chat:tool({ name = "f" }, function()
        if wait > 0 then fake.loop:wait({}, fake.loop:now() + wait) end
        return { strict }
      end)
      chat:tool({ name = "g" }, function() return "well" end)
      assert.equal("x", assert(chat:ask "q").text)
      assert.same({ "error: no field type", "well" }, told(net.requests[2]))
    end)
  end

  it("on_tool_error = \"raise\" raises it again, and leaves the history alone", function()
    local chat = calling.chat({ called({ "f" }, { "g" }) }, { on_tool_error = "raise" })
    local cause, waited = {}, nil
    chat:tool({ name = "g" }, function() error(cause) end)
    chat:tool({ name = "f" }, function()
      waited = { fake.loop:wait({}, fake.loop:now() + 5) }
    end)
    local ok, raised = pcall(chat.ask, chat, "q")
    assert.same({ false, true }, { ok, raised == cause })
    assert.equal(0, #chat.messages)
    fake.loop:wait({}, fake.loop:now() + 0.1)
    assert.same({ nil, "cancelled" }, waited)
    local stream = chat:stream "q"
    assert.raises("", stream.next, stream)
    assert.equal("cancelled", stream.err.kind)
    assert.is_nil(stream.err.messages)
  end)

  it("a forked conversation has its tools, and more of its own", function()
    local chat, net = calling.chat { fake.whole "x", fake.whole "y" }
    chat:tool({ name = "f" }, print)
    local fork = chat:fork()
    fork:tool({ name = "g" }, print)
    assert(chat:ask "q")
    assert(fork:ask "q")
    assert.same({ 1, 2 }, { #net.requests[1].body.tools, #net.requests[2].body.tools })
  end)

  it("tools stand beside those of the request, which are the caller's", function()
    local own = { type = "function", ["function"] = { name = "own" } }
    local chat, net = calling.chat({ called({ "own" }, { "f" }), fake.whole "x" }, { tools = { own } })
    local count = 0
    chat:tool({ name = "f" }, function() count = count + 1 end)
    local reply = assert(chat:ask "q")
    assert.equal(2, #net.requests[1].body.tools)
    assert.same({ 1, 2, 1 }, { count, #reply.tool_calls, #reply.steps })
    local _, message = chat:ask()
    assert.matches("the call of 'own' %(c1%) is unanswered: answer it by chat:result", message)
    chat:result(reply.tool_calls[1], { 5 })
    assert.equal("x", assert(chat:ask()).text)
    assert.same({ "", "[5]" }, told(net.requests[2]))
    assert.equal(1, count)
    chat:tool({ name = "own" }, print)
    assert.raises("two tools 'own': one of chat:tool, and one in the request's tools", chat.ask, chat, "q")
    assert.raises("tools is a list, not a string", chat.ask, chat, "q", { tools = "x" })
  end)

  for _, row in ipairs {
    { nil, "a tool needs a name" }, { {}, "a tool needs a name" }, { "f", "a table of options expected, got string" },
    { { name = "a b" }, "1 to 64 letters, digits, _ and %-, not \"a b\"" }, { { name = "" }, "1 to 64 letters" },
    { { name = "a\n" }, "not \"a\\n\"" }, { { name = "a\0b" }, "not \"a\\u0000b\"" },
    { { name = "g", description = "a\255" }, "the tool 'g' cannot be sent: .*description.*UTF%-8" },
    { { name = "g", parameters = { type = "object", properties = { q = { default = print } } } },
      "the tool 'g' cannot be sent: .*parameters.properties.q.default is a function" },
    { { name = "g", parameters = { type = "object", properties = { q = { minimum = 0 / 0 } } } },
      "the tool 'g' cannot be sent: .*parameters.properties.q.minimum" },
    { { name = ("x"):rep(65) }, "1 to 64 letters" }, { { name = "\195\188" }, "1 to 64 letters" },
    { { name = 5 }, "'name' must be a string" }, { { name = "f" }, "there is a tool 'f' already" },
    { { name = "g", descripton = "x" }, "did you mean 'description'" },
    { { name = "g", parameters = { type = "string" } }, "no schema of an object: its type must be \"object\"" },
    { { name = "g", parameters = { type = "object", properties = { a = "string" } } },
      "the parameters of 'g' are no schema of an object: at a: a schema is a table, not a string" },
    { { name = "g", parameters = { { type = "object" } } }, "a schema is an object, not a list" },
    { { name = "g" }, "comes the function that runs it, not a nil", true },
  } do
    it("refuses: " .. row[2], function()
      local chat = calling.chat {}
      chat:tool({ name = "f" }, print)
      assert.raises("tools_spec.lua:%d+: lmm: chat:tool: .*" .. row[2], function()
        chat:tool(row[1], not row[3] and print or nil)
      end)
    end)
  end
end)

describe("arguments", function()
  local function ask(calls, opts)
    local replies = {}
    for i, call in ipairs(calls) do replies[i] = type(call) == "table" and called(call) or fake.whole(call) end
    local chat, net = calling.chat(replies, opts)
    local ran = {}
    chat:tool(weather, function(args) ran[#ran + 1] = args.city end)
    local reply, message, err = chat:ask "q"
    return { reply = reply, message = message, err = err, ran = ran, chat = chat, net = net }
  end

  for _, row in ipairs {
    { "[", "error: the arguments of weather are wrong: they are no JSON: ", "{}" },
    { '{"city":"a', "error: the arguments of weather are wrong: they are no JSON: ", "{}" },
    { "", "error: the arguments of weather are wrong: city is missing", "{}" },
    { "{}", "error: the arguments of weather are wrong: city is missing", "{}" },
    { " null", "error: the arguments of weather are wrong: city is missing", "{}" },
    { "5", "error: the arguments of weather are wrong: the value must be an object, not 5", "5" },
    { '{"city":5}', "error: the arguments of weather are wrong: city must be a string, not 5", '{"city":5}' },
    { '{"city":"a","days":"x"}', "error: the arguments of weather are wrong: days must be an integer, not \"x\"",
      '{"city":"a","days":"x"}' },
  } do
    it("that do not fit go back with the reason: " .. row[1], function()
      local case = ask { { "weather", row[1] }, { "weather", { city = "Rome" } }, "Done." }
      assert.equal("Done.", case.reply.text)
      local text = told(case.net.requests[2])[1]
      assert.equal(row[2], text:sub(1, #row[2]))
      assert.same({ "Rome" }, case.ran)
      local sent = case.net.requests[2].body.messages[2].tool_calls[1]["function"].arguments
      assert.equal(row[3], sent) -- vLLM reads them, and refuses the whole request where they are no JSON
    end)
  end

  it("that are null or empty are none", function()
    for _, arguments in ipairs { "null", " null\n", "" } do
      local chat, net = calling.chat { called { "f", arguments }, fake.whole "x", fake.whole "y" }
      local got
      chat:tool({ name = "f" }, function(args) got = args end)
      local reply = assert(chat:ask "q")
      assert.same({}, got)
      assert.equal(arguments, reply.steps[1].calls[1].arguments)
      assert.equal("{}", net.requests[2].body.messages[2].tool_calls[1]["function"].arguments)
      chat.messages = { { role = "user", content = "q" }, { role = "assistant", tool_calls = { { id = "a",
        ["function"] = { name = "f", arguments = arguments } } } } }
      got = nil
      assert(chat:ask())
      assert.same({}, got)
    end
  end)

  it("are read leniently, and go back as JSON", function()
    local case = ask { { "weather", '{"city":"a","days":null,"odd":NaN}' }, "Done." }
    assert.same({ "a" }, case.ran)
    local sent = case.net.requests[2].body.messages[2].tool_calls[1]["function"].arguments
    assert.equal("table", type(lmm.json.decode(sent)))
  end)

  it("that are wrong too often end the exchange", function()
    local wrong, right = { "weather", "{}" }, { "weather", { city = "a" } }
    local case = ask { wrong, wrong, wrong }
    local err = assert.refused("'weather' with wrong arguments 3 times in succession: city is missing %(max_rep",
      nil, case.message, case.err)
    assert.same({ "limit", 0, 3 }, { err.kind, #case.chat.messages, #case.net.requests })
    assert.equal(5, #err.messages)
    case = ask({ wrong, wrong }, { max_repairs = 1 })
    assert.equal("limit", case.err.kind)
    local chat = calling.chat { called({ "none" }, { "weather", "{}" }) } -- of which nothing has been run
    chat:tool(weather, error)
    assert.is_nil(select(3, chat:ask("q", { max_repairs = 0 })).messages)
    case = ask({ wrong }, { max_repairs = 0 })
    assert.same({ "limit", nil }, { case.err.kind, case.err.messages })
    assert.matches("the model called 'weather' with wrong arguments: city is missing", case.message, 1, true)
    case = ask { wrong, wrong, right, wrong, wrong, "Done." } -- counted anew after each that fits
    assert.equal("Done.", case.reply.text)
  end)

  it("of several calls at once are counted each by itself", function()
    local three = called({ "weather", "{}" }, { "weather", "{}" }, { "weather", "{}" })
    local chat = calling.chat { three, fake.whole "Done." }
    chat:tool(weather, print)
    assert.equal("Done.", assert(chat:ask("q", { max_repairs = 1 })).text)
  end)

  it("that were cut by the most tokens are told as that", function()
    local function cut()
      local reply = called({ "weather", '{"city":' }, { "weather", '{"city":"a' })
      reply.json.choices[1].finish_reason = "length"
      return reply
    end
    local chat, net = calling.chat { cut(), cut(), cut() }
    chat:tool(weather, print)
    local _, message = chat:ask("q", { max_repairs = 1 })
    local said = told(net.requests[2])
    assert.matches("they are no JSON", said[1])
    assert.equal("error: the arguments of weather are wrong: they were cut where the reply reached the most tokens "
      .. "(max_tokens)", said[2])
    assert.matches("wrong arguments 2 times in succession: they are no JSON", message)
  end)

  it("that were cut before they began are told as that", function()
    for _, arguments in ipairs { "", " " } do
      local cut = called { "wipe", arguments }
      cut.json.choices[1].finish_reason = "length"
      local chat, net = calling.chat { cut, fake.whole "x" }
      chat:tool({ name = "wipe" }, error)
      assert(chat:ask "q")
      assert.matches("they were cut where the reply reached the most tokens", told(net.requests[2])[1])
    end
  end)

  it("that hold a number that JSON does not have are told as that", function()
    local case = ask { { "weather", '{"city":"a","days":NaN}' }, { "weather", '{"city":"a","days":-1e999}' }, "Done." }
    assert.same({ "error: the arguments of weather are wrong: days is NaN, which JSON does not have",
      "error: the arguments of weather are wrong: days is -infinity, which JSON does not have" },
      told(case.net.requests[3]))
  end)

  it("of 10 MB come whole, and are quoted briefly", function()
    local city = ("x"):rep(10 * 1024 * 1024)
    local case = ask { { "weather", { city = city } }, "Done." }
    assert.equal(#city, #case.ran[1])
    case = ask { { "weather", { city = "a", days = city } }, "Done." }
    assert.truthy(#told(case.net.requests[2])[1] < 200)
  end)
end)

describe("calls", function()
  it("of an unknown tool are answered with the names there are", function()
    local chat, net = calling.chat({ called({ "wether" }, { "weather", { city = "a" } }), fake.whole "x" },
      { tools = { { type = "function", ["function"] = { name = "own" } } } })
    chat:tool(weather, function() return "rain" end)
    local reply = assert(chat:ask "q")
    assert.same({ "error: there is no tool 'wether'; the tools are: own, weather", "rain" }, told(net.requests[2]))
    assert.is_true(reply.steps[1].results[1].is_error)
    chat, net = calling.chat { called({ "weather " }, { ("x"):rep(1000) }), fake.whole "x" }
    chat:tool(weather, error)
    assert(chat:ask "q")
    local said = told(net.requests[2])
    assert.same({ "error: there is no tool 'weather '; the tools are: weather", true }, { said[1], #said[2] < 200 })
  end)

  it("without an id, or without a type, get one", function()
    local odd = fake.whole(nil, { tool_calls = { { ["function"] = { name = "f", arguments = { a = 1 } } },
      { ["function"] = { name = "f" } } } })
    local chat, net = calling.chat { odd, fake.whole "x", odd }
    local ran = {}
    chat:tool({ name = "f" }, function(args, call) ran[#ran + 1] = call.id .. " " .. tostring(args.a) end)
    assert(chat:ask "q")
    assert.same({ "call_1 1", "call_2 nil" }, ran)
    local sent = net.requests[2].body.messages
    assert.same({ "call_1", "call_2", "function", "call_1", "call_2" }, { sent[2].tool_calls[1].id,
      sent[2].tool_calls[2].id, sent[2].tool_calls[1].type, sent[3].tool_call_id, sent[4].tool_call_id })
    local reply = assert(chat:ask("q", { run_tools = false }))
    assert.equal("call_2", reply.tool_calls[2].id)
  end)

  it("without a name go back with one, and of another kind as they came", function()
    local custom = { id = "c2", type = "custom", custom = { name = "shell", input = "ls" } }
    local odd = fake.whole(nil, { tool_calls = { { id = "c1", type = "function", ["function"] = { arguments = "{}" } },
      custom } })
    local chat, net = calling.chat { odd, fake.whole "x" }
    chat:tool(weather, error)
    assert(chat:ask "q")
    local sent = net.requests[2].body.messages[2].tool_calls
    assert.same({ "unnamed", custom }, { sent[1]["function"].name, sent[2] })
    assert.same({ "error: the call names no tool; the tools are: weather",
      "error: the call names no tool; the tools are: weather" }, told(net.requests[2]))
  end)

  it("of one id for all are each answered", function()
    local chat, net = calling.chat { called({ "f", { n = 1 }, "same" }, { "f", { n = 2 }, "same" }), fake.whole "x" }
    chat:tool({ name = "f" }, function(args) return args.n end)
    assert(chat:ask "q")
    assert.same({ "1", "2" }, told(net.requests[2]))
    assert(chat:ask "r")
  end)

  it("are approved by on_call", function()
    local asked, ran = {}, {}
    local answers = { a = true, b = false, c = "ask me first", d = nil }
    local chat, net = calling.chat({ called({ "f", { n = "a" } }, { "f", { n = "b" } }, { "f", { n = "c" } },
      { "f", { n = "d" } }, { "f", "[" }, { "none" }), fake.whole "x" }, { on_call = function(call)
        asked[#asked + 1] = call.args.n
        return answers[call.args.n]
      end })
    chat:tool({ name = "f" }, function(args) ran[#ran + 1] = args.n end)
    assert(chat:ask "q")
    assert.same({ { "a", "b", "c", "d" }, { "a" } }, { asked, ran })
    local said = told(net.requests[2])
    assert.same({ "", "error: this call was not allowed", "error: ask me first", "error: this call was not allowed" },
      { said[1], said[2], said[3], said[4] })
  end)

  it("what on_call raises goes on to the caller", function()
    local chat = calling.chat { called { "f" } }
    chat:tool({ name = "f" }, print)
    assert.raises("stop it", chat.ask, chat, "q", { on_call = function() error("stop it", 0) end })
    assert.equal(0, #chat.messages)
  end)

  it("more than limits.calls at once are told", function()
    local many = {}
    for i = 1, 129 do many[i] = { "f" } end
    local chat = calling.chat { called((table.unpack or unpack)(many)) } -- luacheck: ignore
    chat:tool({ name = "f" }, error)
    local err = assert.refused("more than 128 calls in a reply", chat:ask "q")
    assert.equal("limit", err.kind)
  end)

  it("without end end the exchange after max_rounds requests, and what was done is kept", function()
    for _, most in ipairs { 8, 2, 1 } do
      local chat, net = calling.chat { called { "f" } }
      local count = 0
      chat:tool({ name = "f" }, function()
        count = count + 1
        return count
      end)
      local err = assert.refused("still calls tools in reply " .. most .. " to one question %(max_rounds sets",
        chat:ask("q", { max_rounds = most ~= 8 and most or nil }))
      assert.same({ "limit", most, most - 1, 0 }, { err.kind, #net.requests, count, #chat.messages })
      if most == 1 then
        assert.is_nil(err.messages)
      else
        assert.equal(1 + 2 * (most - 1), #err.messages)
        for _, message in ipairs(err.messages) do table.insert(chat.messages, message) end
        net.replies = { fake.whole "Done." }
        assert.equal("Done.", assert(chat:ask()).text)
        assert.equal(2 * most, #chat.messages)
      end
    end
  end)

  it("end where stop_when says so; ask goes on from there", function()
    local seen = {}
    local chat, net = calling.chat({ called { "f" }, called { "f" }, fake.whole "x" }, { stop_when = function(steps)
      seen[#seen + 1] = steps[#steps].results[1].text
      return #steps == 2
    end })
    local count = 0
    chat:tool({ name = "f" }, function()
      count = count + 1
      return count
    end)
    local reply = assert(chat:ask "q")
    assert.same({ { "1", "2" }, 2, 2, 5 }, { seen, #reply.steps, #net.requests, #chat.messages })
    assert.equal("f", reply.tool_calls[1].name)
    assert.equal("x", assert(chat:ask()).text)
    assert.equal(6, #chat.messages)
  end)

  it("that are forced are forced once", function()
    for _, choice in ipairs { "required", { type = "function", ["function"] = { name = "f" } }, "auto", "none" } do
      local chat, net = calling.chat({ called { "f" }, called { "f" }, fake.whole "x" }, { tool_choice = choice })
      chat:tool({ name = "f" }, print)
      chat.tools:find("f").run = function() end
      assert(chat:ask "q")
      assert.same({ choice, choice == "none" and "none" or nil }, { net.requests[1].body.tool_choice,
        net.requests[2].body.tool_choice })
      assert(chat:ask "r")
      assert.same(choice, net.requests[4].body.tool_choice)
    end
  end)

  it("that are allowed stay so, forced once or not", function()
    for _, mode in ipairs { "auto", "required" } do
      local only = { { type = "function", ["function"] = { name = "f" } } }
      local choice = { type = "allowed_tools", allowed_tools = { mode = mode, tools = only } }
      local chat, net = calling.chat({ called { "f" }, fake.whole "x" }, { tool_choice = choice })
      chat:tool({ name = "f" }, function() end)
      assert(chat:ask "q")
      assert.same(choice, net.requests[1].body.tool_choice)
      assert.same({ type = "allowed_tools", allowed_tools = { mode = "auto", tools = only } },
        net.requests[2].body.tool_choice)
    end
  end)

  it("of tools that a tool has added can be made from then on", function()
    local chat, net = calling.chat { called { "f" }, called { "g" }, fake.whole "x" }
    chat:tool({ name = "f" }, function() chat:tool({ name = "g" }, function() return "of g" end) end)
    assert(chat:ask "q")
    assert.same({ 1, 2, "g", "of g" }, { #net.requests[1].body.tools, #net.requests[2].body.tools,
      net.requests[2].body.tools[2]["function"].name, told(net.requests[3])[2] })
  end)
end)

describe("the rules about tools", function()
  it("that are wrong raise", function()
    for _, row in ipairs {
      { { max_rounds = 0 }, "max_rounds is a whole number from 1 on, not 0" },
      { { max_rounds = 1.5 }, "max_rounds is" },
      { { max_repairs = -1 }, "max_repairs is a whole number from 0 on" }, { { tool_timeout = 0 }, "more than 0 sec" },
      { { on_tool_error = "stop" }, "on_tool_error is \"tell\" or \"raise\", not 'stop'" },
      { { on_call = true }, "'on_call' must be a function" }, { { run_tools = 1 }, "'run_tools' must be a boolean" },
      { { max_round = 3 }, "did you mean 'max_rounds'" }, { { stop_when = 5 }, "'stop_when' must be a function" },
    } do
      local client = fake.net({}):connect()
      assert.raises(row[2], client.conversation, client, row[1])
      local chat = client:conversation()
      assert.raises(row[2], chat.ask, chat, "q", row[1])
    end
  end)

  it("of a question win over those of its conversation, and none of them is sent", function()
    local chat, net = calling.chat({ called { "f" }, fake.whole "x" }, { max_rounds = 1, run_tools = false })
    chat:tool({ name = "f" }, function() end)
    assert.equal("x", assert(chat:ask("q", { max_rounds = 2, run_tools = true, max_repairs = math.huge })).text)
    for name in pairs(net.requests[1].body) do
      assert(({ messages = 1, model = 1, stream = 1, tools = 1 })[name], name)
    end
  end)

  it("hold for a fork", function()
    local chat = calling.chat({ called { "f" } }, { max_rounds = 1 }):fork()
    chat:tool({ name = "f" }, function() end)
    assert.refused("reply 1 to one question", chat:ask "q")
  end)
end)
