-- What a client has logged: every call, however it ends; and what it answers from the log.
local fake = require "spec.support.fake"
local lmm = require "lmm"
local read_log = require "spec.support.logged"
local shell = require "spec.support.shell"

local PNG = "spec/media/picture.png"

local folder = shell.output "mktemp -d":match "%S+"
local path = folder .. "/log.db"

before_each(function() shell.run("rm -rf %s && mkdir %s", folder, folder) end)

teardown(function() os.execute("rm -rf " .. folder) end)

local function user(words) return { role = "user", content = words } end

--- A client with a log, of a network that answers so.
local function client_of(replies, opts)
  local net = fake.net(replies)
  local given = { log = path, retry = false }
  for name, value in pairs(opts or {}) do given[name] = value end
  return net:connect(given), net
end

local function logged() return read_log(path) end

describe("a client with a log", function()
  it("logs what is asked and answered, streamed or not, and the times", function()
    local client = client_of({ fake.whole "one", fake.answer("t", "wo") },
      { prices = { m = { input = 1, output = 1 } } })
    local chat = client:conversation { system = "s", temperature = 0.5 }
    assert(chat:ask "first")
    assert.equal("two", table.concat({ chat:stream("second"):reply().text }))
    local one, two = (table.unpack or unpack)(logged()) -- luacheck: ignore
    assert.same({ "first", "one", 1, "m", 0.5, "http://fake/v1", "stop" }, { one.question, one.answer, one.chat,
      one.model, one.request.temperature, one.server, one.finish_reason })
    assert.same({ "second", "two", 1, 4 }, { two.question, two.answer, two.chat, #two.request.messages })
    assert.is_number(two.first_token)
    assert.is_number(two.total)
    assert(math.abs(os.time() - two.time) < 60)
  end)

  it("logs what fails: a refusal, a stream that breaks, one that is cancelled", function()
    local client = client_of { { status = 503, json = { error = { message = "busy" } } },
      fake.streamed { fake.delta "half", { fail = { kind = "connect", phase = "receive" } } },
      fake.answer("a", "b", "c") }
    assert.is_nil((client:chat { messages = { user "1" } }))
    assert.is_nil((client:stream({ messages = { user "2" } }):reply()))
    local stream = client:stream { messages = { user "3" } }
    assert.equal("a", stream:next())
    stream:cancel()
    local all = logged()
    assert.same({ 503, "half", "connect", "a", "cancelled" }, { all[1].err.status, all[2].answer, all[2].err.kind,
      all[3].answer, all[3].err.kind })
    assert.same({ "1", "2", "3" }, { all[1].question, all[2].question, all[3].question })
  end)

  it("logs what could not be sent to anybody", function()
    local client = client_of({ { fail = { kind = "connect", phase = "connect" } } }, { model = "" })
    assert.is_nil((client:conversation():ask "hello"))
    assert.same({ "hello", "connect" }, { logged()[1].question, logged()[1].err.kind })
  end)

  it("logs each round of tools, as one chat", function()
    local call = fake.whole ""
    call.json.choices[1].message.tool_calls = { { id = "c", type = "function", ["function"] = { name = "now",
      arguments = "{}" } } }
    local prices = { m = { input = 1e6, output = 1e6 } }
    local chat = client_of({ call, fake.whole "noon" }, { prices = prices }):conversation()
    chat:tool({ name = "now" }, function() return "12" end)
    assert(chat:ask "time?")
    local one, two = (table.unpack or unpack)(logged()) -- luacheck: ignore
    assert.same({ "noon", one.id, "12" }, { two.answer, two.chat, two.request.messages[3].content })
    assert.equal("now", one.reply.message.tool_calls[1]["function"].name)
    assert.same({ { id = "c", name = "now", arguments = "{}", args = {} } }, one.reply.tool_calls)
    assert.same({ 7, 7 }, { one.cost, two.cost }) -- each its own
  end)

  it("logs what an answer was to be, and one that is not that", function()
    local client = client_of { fake.whole '{"a":1}', fake.whole "no JSON" }
    local schema = { type = "object", required = { "a" } }
    assert(client:conversation():ask("q", { schema = schema }))
    assert.is_nil((client:conversation():ask("q", { schema = schema })))
    local one, two = (table.unpack or unpack)(logged()) -- luacheck: ignore
    assert.same({ schema = schema }, one.options)
    assert.same({ a = 1 }, one.reply.value)
    assert.equal("no JSON", two.answer)
    assert.is_truthy(two.error)
  end)

  it("logs what was asked, whatever the caller does with his tables afterwards", function()
    local client = client_of { fake.answer "a" }
    local request = { messages = { user "before" } }
    local stream = client:stream(request)
    request.messages[1].content = "after"
    assert(stream:reply())
    assert.equal("before", logged()[1].question)
  end)

  it("keeps media where that is asked for, and none in the database", function()
    local client = client_of({ fake.whole "a" }, { log_media = true })
    assert(client:conversation():ask("q", lmm.image { bytes = shell.read(PNG) }))
    local part = logged()[1].request.messages[1].content[2]
    assert.equal(shell.read(PNG), shell.read(part.path))
  end)

  it("says what is wrong with the options", function()
    for pattern, opts in pairs {
      ["log is a path, or true"] = { log = "" },
      ["cache = true answers from the log, and log = false"] = { log = false, cache = true },
      ["'log' must be a string or boolean, not a number"] = { log = 1 },
    } do
      opts.base_url = "http://x/v1"
      assert.raises(pattern, lmm.connect, opts)
    end
  end)
end)

describe("a client with a cache", function()
  local function request(more)
    local out = { messages = { user "q" }, temperature = 0 }
    for name, value in pairs(more or {}) do out[name] = value end
    return out
  end

  it("answers the same request from the log, in every way, and says so", function()
    local whole = fake.whole '{"a":1}'
    whole.json.choices[1].message.reasoning_content = "hm"
    whole.json.usage = { prompt_tokens = 3, completion_tokens = 2, total_tokens = 5 }
    local client, net = client_of({ whole }, { cache = true, prices = { m = { input = 1e6, output = 1e6 } } })
    local first = assert(client:chat(request()))
    assert.same({ nil, 5 }, { first.cached, first.cost })
    local again = assert(client:chat(request()))
    assert.same({ true, '{"a":1}', "hm", "stop", nil }, { again.cached, again.text, again.reasoning,
      again.finish_reason, again.cost })
    assert.same({ 3, 2 }, { again.usage.prompt_tokens, again.usage.completion_tokens })
    assert.equal('{"a":1}', client:stream(request()):next())
    local chat = client:conversation { temperature = 0 }
    assert.is_true(assert(chat:ask "q").cached)
    assert.same({ 2, 0 }, { #chat.messages, chat.usage.total_tokens })
    for value in client:stream(request()):values() do assert.equal(1, value.a) end
    assert.same({ 1, 1, 5 }, { #net.requests, client.usage.requests, client.usage.total_tokens })
    local rows = logged()
    assert.same({ nil, true, true }, { rows[1].cached, rows[2].cached, rows[3].cached })
  end)

  it("has another process answer, too, about the same picture at another place", function()
    local client = client_of({ fake.whole "a cat" }, { cache = true })
    assert(client:conversation { seed = 1 }:ask("What?", lmm.image(PNG)))
    shell.run("cp %s %s/other.png", PNG, folder)
    local other, net = client_of({ fake.whole "never" }, { cache = true })
    local reply = assert(other:conversation { seed = 1 }:ask("What?", lmm.image(folder .. "/other.png")))
    assert.equal("a cat", reply.text)
    assert.equal(0, #net.requests)
  end)

  it("asks where the answer may be another one, or was none", function()
    for what, row in pairs {
      temperature = { request { temperature = 0.7 } }, none = { request { temperature = lmm.null } },
      n = { request { n = 2 } }, failure = { request(), { status = 500, json = {} } },
      field = { request { top_p = 1 }, nil, request() }, schema = { request(), nil, request(), { schema = {} } },
    } do
      os.remove(path)
      local client, net = client_of({ row[2] or fake.whole "1" }, { cache = true })
      client:chat(row[1])
      client:chat(row[3] or row[1], row[4])
      assert.equal(2, #net.requests, what)
    end
  end)

  it("answers tools' calls as they came", function()
    local call = fake.whole ""
    call.json.choices[1].message.tool_calls = { { id = "c", type = "function", ["function"] = { name = "now",
      arguments = "{}" } } }
    call.json.choices[1].finish_reason = "tool_calls"
    local client, net = client_of({ call }, { cache = true })
    for _ = 1, 2 do assert.equal("now", assert(client:chat(request())).tool_calls[1].name) end
    assert.equal(1, #net.requests)
  end)
end)
