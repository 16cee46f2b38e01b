-- Several servers behind one client, each a network of spec/support/fake.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local REFUSED = { fail = { kind = "connect", phase = "connect", reason = "refused" } }
local BUSY = { status = 503, body = "busy" }
local QUESTION = { messages = { { role = "user", content = "q" } } }

local function listing(...)
  local list = {}
  for i, name in ipairs { ... } do list[i] = { id = name } end
  return { json = { object = "list", data = lmm.array(list) } }
end

--- Answers GET .../models with `models`, and everything else with `replies`, one after the other.
local function server(models, ...)
  local net, lists = fake.net { ... }, fake.net { models }
  return { net = net, lists = lists, start = function(_, request)
    return (request.url:find "/models$" and lists or net):start(request)
  end }
end

--- A client of servers by name; the names are their hosts. With a model "m" and models known, unless `opts` say so.
local function connect(servers, opts)
  local transport = { start = function(_, request)
    return servers[request.url:match "^http://(%w+)"]:start(request)
  end }
  local given = { base_url = {}, transport = transport, model = "m", dialect = "generic", retry = { base = 1,
    random = function() return 0 end } }
  local names = {}
  for name in pairs(servers) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do given.base_url[i] = "http://" .. name .. "/v1" end
  for name, value in pairs(opts or {}) do given[name] = value end
  if given.model == "" then given.model = nil end
  if given.dialect == "" then given.dialect = nil end
  return lmm.connect(given)
end

local M = listing "m"

--- How many requests each server got, lists aside.
local function counts(servers)
  local out = {}
  for name, each in pairs(servers) do out[name] = #each.net.requests end
  return out
end

local function pass(seconds)
  fake.loop:wait({}, fake.loop:now() + seconds)
end

describe("a pool", function()
  it("gives each call to the server with the least to do", function()
    local slow = fake.whole "slow"
    slow.delay = 10
    local servers = { a = server(M, slow), b = server(M, slow), c = server(M, slow) }
    local client = connect(servers)
    local tasks = {}
    for i = 1, 6 do tasks[i] = function() return client:chat(QUESTION) end end
    local running
    local results = lmm.gather { function() return lmm.gather(tasks) end, function()
      pass(5)
      running = {}
      for i, state in ipairs(client:servers()) do running[i] = state.running end
    end }
    for i = 1, 6 do assert.equal("slow", results[1][i].text) end
    assert.same({ 2, 2, 2 }, running)
    assert.same({ a = 2, b = 2, c = 2 }, counts(servers))
    for _, state in ipairs(client:servers()) do
      assert.same({ 0, true, 0 }, { state.running, state.alive, state.failures })
    end
  end)

  it("gives more to a server of more weight, at once and one after the other", function()
    local slow = fake.whole "slow"
    slow.delay = 10
    for _, at_once in ipairs { 8, 1 } do
      local servers = { a = server(M, slow), b = server(M, slow) }
      local client = connect(servers, { base_url = { { url = "http://a/v1", weight = 3 }, "http://b/v1" } })
      local tasks = {}
      for i = 1, 8 do tasks[i] = function() return client:chat(QUESTION) end end
      lmm.gather(tasks, { limit = at_once })
      assert.same({ a = 6, b = 2 }, counts(servers))
    end
  end)

  it("passes over a server that cannot be reached, leaves it alone, and comes back to it", function()
    local servers = { a = server(M, REFUSED, fake.whole "a"), b = server(M, fake.whole "b") }
    local client = connect(servers, { retry = false })
    local reply = assert(client:chat(QUESTION))
    assert.same({ "b", 2 }, { reply.text, reply.attempts })
    local state = client:servers()[1]
    assert.same({ false, 1, "connect" }, { state.alive, state.failures, state.last_error.kind })
    assert.matches("http://a/v1", state.last_error.message)
    for _ = 1, 3 do assert.equal("b", assert(client:chat(QUESTION)).text) end
    assert.same({ a = 1, b = 4 }, counts(servers))
    pass(6)
    assert.equal("a", assert(client:chat(QUESTION)).text)
    assert.same({ true, 0 }, { client:servers()[1].alive, client:servers()[1].failures })
  end)

  it("has one call find out whether a server is back, within 2 s of connecting", function()
    local late = { hang = true }
    local servers = { a = server(M, REFUSED, late), b = server(M, fake.whole "b") }
    local client = connect(servers, { retry = false })
    assert(client:chat(QUESTION))
    pass(6)
    local tasks = {}
    for i = 1, 4 do tasks[i] = function() return client:chat(QUESTION, { timeout = { first = 3 } }) end end
    lmm.gather(tasks)
    assert.equal(2, #servers.a.net.requests)
    assert.equal(2, servers.a.net.requests[2].connect_timeout)
    assert.equal(10, servers.b.net.requests[1].connect_timeout)
  end)

  it("connects no longer for the list of a server that may be back", function()
    local limits = {}
    local servers = { a = { start = function(_, request)
      limits[#limits + 1] = request.connect_timeout
      return fake.net { REFUSED }:start(request)
    end }, b = server(M, fake.whole "b") }
    local client = connect(servers)
    assert.equal("b", assert(client:chat(QUESTION)).text)
    pass(6)
    assert.equal("b", assert(client:chat(QUESTION)).text)
    assert.same({ 10, 2 }, limits)
  end)

  it("leaves a server alone that is busy, by 502 and 503", function()
    for _, status in ipairs { 502, 503 } do
      local servers = { a = server(M, { status = status, body = "" }), b = server(M, fake.whole "b") }
      local client = connect(servers)
      local before = fake.loop:now()
      for _ = 1, 3 do assert.equal("b", assert(client:chat(QUESTION)).text) end
      assert.same({ a = 1, b = 3 }, counts(servers))
      assert.equal(before, fake.loop:now())
    end
  end)

  it("leaves a server alone that fails three times in a row, whatever the failure", function()
    local servers = { a = server(M, { status = 500, body = "" }), b = server(M, fake.whole "b") }
    local client = connect(servers)
    for _ = 1, 10 do assert.equal("b", assert(client:chat(QUESTION)).text) end
    assert.equal(3, #servers.a.net.requests)
  end)

  it("leaves a server alone that does not even list its models", function()
    local servers = { a = server({ delay = 100, json = {} }, fake.whole "a"), b = server(M, fake.whole "b") }
    local client = connect(servers)
    local before = fake.loop:now()
    for _ = 1, 4 do assert.equal("b", assert(client:chat(QUESTION)).text) end
    assert.equal(1, #servers.a.lists.requests)
    assert.is_true(fake.loop:now() - before < 6)
    local state = client:servers()[1]
    assert.same({ false, 1, "timeout" }, { state.alive, state.failures, state.last_error.kind })
  end)

  it("asks for lists no longer than a call may take", function()
    local never = { delay = 100, json = {} }
    local client = connect { a = server(never), b = server(never), c = server(never) }
    local before = fake.loop:now()
    local _, message, err = client:chat(QUESTION, { timeout = 7 })
    assert.equal("timeout", err.kind)
    assert.equal("no complete answer from http://b/v1/models within 2 s (timeout.total sets this limit)", message)
    assert.equal(7, fake.loop:now() - before)
    local alive = {}
    for i, state in ipairs(client:servers()) do alive[i] = state.alive end
    assert.same({ false, false, true }, alive) -- of the third nobody knows
  end)

  it("tries the next server at once where the policy allows another attempt", function()
    local full = { status = 429, headers = { ["retry-after"] = "30" }, body = "" }
    local servers = { a = server(M, full), b = server(M, fake.whole "b") }
    local before, told = fake.loop:now(), {}
    local reply = assert(connect(servers, { retry = { on_retry = function(n, err, delay)
      told = { n, err.status, delay }
    end } }):chat(QUESTION))
    assert.same({ "b", 2, before }, { reply.text, reply.attempts, fake.loop:now() })
    assert.same({ 1, 429, 0 }, told)
    local _, _, err = connect({ a = server(M, full), b = server(M, fake.whole "b") }, { retry = false }):chat(QUESTION)
    assert.equal(429, err.status)
  end)

  it("does not have a call that can go elsewhere wait as long as one server asks", function()
    for _, seconds in ipairs { 60, 3600 } do
      local busy = { status = 429, headers = { ["retry-after"] = tostring(seconds) }, body = "busy" }
      local servers = { a = server(M, busy), b = server(M, fake.whole "b") }
      local client, before = connect(servers), fake.loop:now()
      for _ = 1, 2 do assert.equal("b", assert(client:chat(QUESTION)).text) end
      assert.equal(before, fake.loop:now())
    end
  end)

  it("goes on from a server that does not have the model that it lists", function()
    local without = { status = 404, json = { error = { message = "The model `m` does not exist.", code = 404 } } }
    local servers = { a = server(M, without), b = server(M, fake.whole "b") }
    local client = connect(servers)
    for _ = 1, 4 do assert.equal("b", assert(client:chat(QUESTION, { retry = false })).text) end
    local _, _, err = connect({ a = server(M, without), b = server(M, without) }):chat(QUESTION)
    assert.equal(404, err.status)
  end)

  it("asks no policy about a picture that cannot be prepared", function()
    local servers, asked = { a = server(M, fake.whole "a"), b = server(M, fake.whole "b") }, 0
    local client = connect(servers, { retry = function()
      asked = asked + 1
      return asked < 3 and 0 or nil
    end })
    local head = "\137PNG\r\n\26\n\0\0\0\rIHDR\0\0\0\8\0\0\0\8\8\2\0\0\0"
    local picture = lmm.image({ bytes = head .. "xxxx" }, { max_side = 4, check = false })
    local _, message, err = client:chat { messages = { { role = "user", content = { picture } } } }
    assert.matches("cannot be prepared", message)
    assert.same({ "invalid", 0 }, { err.kind, asked })
    assert.same({ a = 0, b = 0 }, counts(servers))
  end)

  it("does not go on with what the request is to blame for", function()
    local servers = { a = server(M, { status = 400, body = "" }), b = server(M, fake.whole "b") }
    local _, message = connect(servers):chat(QUESTION)
    assert.matches("^HTTP 400 from http://a/v1", message)
    assert.same({ a = 1, b = 0 }, counts(servers))
  end)

  it("leaves a server alone that refuses its key, but for a key of the call's own", function()
    local wrong = { status = 401, body = "" }
    local servers = { a = server(M, wrong), b = server(M, fake.whole "b") }
    local client = connect(servers, { retry = false })
    local own = { headers = { Authorization = "Bearer of-the-call" } }
    assert.matches("^HTTP 401 from http://a/v1", (select(2, client:chat(QUESTION, own))))
    assert.same({ true, a = 1, b = 0 }, { client:servers()[1].alive, a = counts(servers).a, b = counts(servers).b })
    for _ = 1, 4 do assert.equal("b", assert(client:chat(QUESTION, { headers = { ["X-Trace"] = "1" } })).text) end
    assert.same({ a = 2, b = 4 }, counts(servers))
    assert.same({ false, 401 }, { client:servers()[1].alive, client:servers()[1].last_error.status })
  end)

  it("ends with each one's refusal where all refuse the key, and waits for one that may come back", function()
    local wrong = { status = 401, body = "" }
    local client = connect({ a = server(M, wrong), b = server(M, wrong) }, { retry = false })
    for _ = 1, 2 do
      local _, message, err = client:chat(QUESTION)
      assert.matches("^no server answers: HTTP 401 from http://a/v1[^;]*; HTTP 401 from http://b/v1", message)
      assert.same({ "http", 401, false }, { err.kind, err.status, err.retryable or false })
    end
    for _, order in ipairs { { REFUSED, wrong }, { wrong, REFUSED } } do
      client = connect({ a = server(M, order[1]), b = server(M, order[2]) }, { retry = false })
      local _, _, err = client:chat(QUESTION)
      assert.same({ "connect", true }, { err.kind, err.retryable })
    end
  end)

  it("waits and goes round again where all have failed", function()
    local servers = { a = server(M, BUSY, fake.whole "a"), b = server(M, BUSY) }
    local before = fake.loop:now()
    local reply = assert(connect(servers):chat(QUESTION))
    assert.same({ "a", 3, 1 }, { reply.text, reply.attempts, fake.loop:now() - before })
  end)

  it("names each server in one sentence where all are dead", function()
    local servers = { a = server(M, REFUSED), b = server(M, BUSY), c = server(M, REFUSED) }
    local client = connect(servers, { retry = { attempts = 2 } })
    for _ = 1, 2 do
      local _, message, err = client:chat(QUESTION)
      assert.matches("^no server answers: .*http://a/v1: refused[^;]*; HTTP 503 from http://b/v1[^;]*; .*http://c/v1",
        message)
      assert.same({ true, "lmm.Error" }, { err.retryable, getmetatable(err).__name })
      assert.is_nil(message:find "\n")
    end
    assert.same({ a = 4, b = 4, c = 4 }, counts(servers))
    for _, state in ipairs(client:servers()) do assert.is_false(state.alive) end
  end)

  it("goes on before anything was handed over, and not after", function()
    local fault = fake.streamed { fake.event { error = { message = "loading", code = 503 } } }
    local role = fake.event { choices = { { index = 0, delta = { role = "assistant", content = "" } } } }
    local broken = fake.streamed { role, { fail = { kind = "truncated", phase = "receive" } } }
    local later = fake.streamed { fake.delta "one", { fail = { kind = "truncated", phase = "receive" } } }
    for _, first in ipairs { fault, broken } do
      local client = connect { a = server(M, first), b = server(M, fake.answer "b") }
      assert.equal("b", client:stream(QUESTION):reply().text)
    end
    local servers = { a = server(M, later), b = server(M, fake.answer "b") }
    local client = connect(servers)
    local _, message, err = client:stream(QUESTION):reply()
    assert.same({ "truncated", "one" }, { err.kind, err.partial })
    assert.matches("http://a/v1", message)
    assert.equal(0, #servers.b.net.requests)
    assert.same({ 0, 1 }, { client:servers()[1].running, client:servers()[1].failures })
  end)

  it("keeps a conversation with its server while that lives", function()
    local servers = { a = server(M, fake.whole "a", fake.whole "a", REFUSED), b = server(M, fake.whole "b") }
    local client = connect(servers)
    local chat = client:conversation()
    assert.equal("a", chat:ask("1").text)
    assert.equal("b", client:chat(QUESTION).text)
    assert.equal("a", chat:fork():ask("2").text)
    assert.equal("b", chat:ask("3").text)
    pass(6)
    servers.a.net.replies = { fake.whole "a" }
    assert.equal("b", chat:ask("4").text)
  end)

  it("forgets calls that were collected", function()
    local servers = { a = server(M, fake.streamed { fake.delta "one", { pause = 60 } }), b = server(M, fake.whole "b") }
    local client = connect(servers)
    local stream = client:stream(QUESTION)
    assert.equal("one", stream:next())
    assert.equal(1, client:servers()[1].running)
    stream = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.equal(0, client:servers()[1].running)
  end)

  it("counts a cancelled stream no more", function()
    local client = connect { a = server(M, fake.streamed { fake.delta "one", { pause = 60 } }), b = server(M, BUSY) }
    local stream = client:stream(QUESTION)
    assert.equal("one", stream:next())
    stream:cancel()
    local state = client:servers()[1]
    assert.same({ 0, 0, true }, { state.running, state.failures, state.alive })
  end)
end)

describe("the models of a pool", function()
  it("say where a request can go", function()
    local servers = { a = server(listing("m", "n"), fake.whole "a"), b = server(M, fake.whole "b") }
    local client = connect(servers)
    for _ = 1, 4 do assert.equal("a", client:chat({ model = "n", messages = QUESTION.messages }).text) end
    assert.equal(1, #servers.a.lists.requests)
    for _ = 1, 2 do assert(client:request("POST", "embeddings", { model = "n" })) end
    assert.equal("http://a/embeddings", servers.a.net.requests[5].url:gsub("/v1", ""))
    assert.equal(0, #servers.b.net.requests)
  end)

  it("are told, of each server, where none has the one that is asked for", function()
    local servers = { a = server(listing("m", "n"), fake.whole "a"), b = server(M, fake.whole "b") }
    local client = connect(servers)
    local _, message, err = client:chat { model = "x", messages = QUESTION.messages }
    assert.equal('no server has the model "x": http://a/v1 has "m", "n"; http://b/v1 has "m"', message)
    assert.same({ "invalid", "model_not_found", false, 1 }, { err.kind, err.code, err.retryable, err.attempts })
    servers.b.lists.replies = { listing("m", "x") }
    assert.is_nil((client:chat { model = "x", messages = QUESTION.messages }))
    pass(11) -- a list that is older is asked for anew
    assert.equal("b", client:chat({ model = "x", messages = QUESTION.messages }).text)
  end)

  it("are told with what is wrong with the others", function()
    local servers = { a = server(REFUSED), b = server(M) }
    local client = connect(servers, { retry = false })
    local _, message, err = client:chat { model = "x", messages = QUESTION.messages }
    assert.matches('^no server that answers has the model "x": .*http://a/v1/models: refused.*; http://b/v1 has "m"$',
      message)
    assert.same({ "connect", true }, { err.kind, err.retryable })
    servers = { a = server(REFUSED), b = server(REFUSED) }
    _, message, err = connect(servers, { retry = { attempts = 2 } }):chat(QUESTION)
    assert.matches("^no server answers: .*http://a/.*refused.*; .*http://b/.*refused", message)
    assert.same({ "connect", 2 }, { err.kind, err.attempts })
    assert.same({ 2, 2 }, { #servers.a.lists.requests, #servers.b.lists.requests })
  end)

  it("may be named, or not be listed at all", function()
    local none = { status = 404, body = "" }
    local servers = { a = server(none, fake.whole "a"), b = server(BUSY, fake.whole "b") }
    local client = connect(servers, { base_url = { { url = "http://b/v1", models = { "x" } }, "http://a/v1" } })
    assert.equal("b", client:chat({ model = "x", messages = QUESTION.messages }).text)
    assert.equal("a", client:chat({ model = "y", messages = QUESTION.messages }).text)
    assert.equal(0, #servers.b.lists.requests)
    assert.equal(1, #servers.a.lists.requests)
  end)

  it("do not matter where a server answers, but not with a list", function()
    for _, list in ipairs { { status = 500, body = "" }, { status = 401, body = "" }, { body = "<html>" } } do
      local servers = { a = server(list, fake.whole "a") }
      assert.equal("a", assert(connect(servers):chat { model = "x", messages = QUESTION.messages }).text)
    end
  end)

  it("are the first server's where none is named, whoever answers", function()
    local servers = { a = server(listing "first", fake.whole "a"),
      b = server(listing("second", "first"), fake.whole "b") }
    local client = connect(servers, { model = "" })
    for _ = 1, 4 do assert(client:chat(QUESTION)) end
    assert.same({ a = 2, b = 2 }, counts(servers))
    for _, name in ipairs { "a", "b" } do
      for _, request in ipairs(servers[name].net.requests) do assert.equal("first", request.body.model) end
    end
  end)

  it("are listed together, each once", function()
    local servers = { a = server(listing("m", "n")), b = server(M), c = server(REFUSED) }
    local names = {}
    for i, model in ipairs(assert(connect(servers, { retry = false }):models())) do names[i] = model.id end
    assert.same({ "m", "n" }, names)
    local _, message = connect({ a = server(REFUSED), b = server(REFUSED) }, { retry = false }):models()
    assert.matches("^no server answers: .*http://a/v1.*; .*http://b/v1", message)
  end)
end)

describe("a pool's servers", function()
  it("have keys and headers of their own", function()
    local servers = { a = server(M, fake.whole "a"), b = server(M, fake.whole "b") }
    local client = connect(servers, { api_key = "common-key", headers = { ["X-Team"] = "t", ["X-Kind"] = "k" },
      base_url = { { url = "http://a/v1", api_key = "key-of-a", headers = { ["x-team"] = "u" } }, "http://b/v1" } })
    for _ = 1, 2 do assert(client:chat(QUESTION, { headers = { ["X-Call"] = "c" } })) end
    local function sent(name)
      local lines = {}
      for _, line in ipairs(servers[name].net.requests[1].headers) do
        if line:find "^[Xx]%-" or line:find "^Auth" then lines[#lines + 1] = line end
      end
      table.sort(lines)
      return lines
    end
    assert.same({ "Authorization: Bearer key-of-a", "X-Call: c", "X-Kind: k", "x-team: u" }, sent "a")
    assert.same({ "Authorization: Bearer common-key", "X-Call: c", "X-Kind: k", "X-Team: t" }, sent "b")
  end)

  it("are spoken to each in its dialect, and keep media each for itself", function()
    local function owned(owner) return { json = { data = { { id = "m", owned_by = owner } } } } end
    local servers = { a = server(owned "vllm", fake.whole "a"), b = server(owned "llamacpp", fake.whole "b") }
    local client = connect(servers, { dialect = "" })
    local sound = lmm.audio "spec/media/sound.wav"
    for _ = 1, 2 do
      assert(client:chat { messages = { { role = "user", content = { { type = "text", text = "?" }, sound } } } })
    end
    local function kind(name) return servers[name].net.requests[1].body.messages[1].content[2].type end
    assert.same({ "audio_url", "input_audio" }, { kind "a", kind "b" })
  end)

  it("get a picture whole the first time, each", function()
    local list = { json = { data = { { id = "m", owned_by = "vllm" } } } }
    local servers = { a = server(list, fake.whole "a", fake.whole "a", REFUSED), b = server(list, fake.whole "b") }
    local chat = connect(servers, { dialect = "" }):conversation()
    assert(chat:ask("What?", lmm.image "examples/picture.jpg"))
    assert(chat:ask "And?")
    assert.equal("b", assert(chat:ask "Now?").text)
    local sizes = {}
    for i, request in ipairs(servers.a.net.requests) do sizes[i] = #request.text > 100000 end
    assert.same({ true, false, false }, sizes)
    assert.is_true(#servers.b.net.requests[1].text > 100000)
  end)

  it("are well where one is", function()
    local well, ill = { body = "" }, { status = 500, body = "" }
    assert.is_true(connect({ a = server(M, ill), b = server(M, well) }, { retry = false }):health())
    local _, message = connect({ a = server(M, ill), b = server(M, REFUSED) }, { retry = false }):health()
    assert.matches("http://a.*; .*http://b", message)
  end)

  it("are waited for, all or any", function()
    local well = { body = "" }
    local servers = { a = server(M, well), b = server(M, REFUSED, REFUSED, well) }
    local before = fake.loop:now()
    assert(connect(servers):wait_ready())
    assert.equal(0.5, fake.loop:now() - before)
    assert.equal(1, #servers.a.net.requests)
    before = fake.loop:now()
    assert(connect({ a = server(M, well), b = server(M, REFUSED) }):wait_ready { any = true })
    assert.equal(before, fake.loop:now())
    local _, message = connect({ a = server(M, well), b = server(M, REFUSED) }):wait_ready { timeout = 2 }
    assert.matches("no server was ready at http://b/v1 within 2 s", message)
    local wrong = { status = 401, body = "" }
    _, message = connect({ a = server(M, wrong), b = server(M, REFUSED) }):wait_ready()
    assert.matches("401 from http://a", message)
    assert(connect({ a = server(M, wrong), b = server(M, REFUSED, well) }):wait_ready { any = true })
  end)

  it("are closed together", function()
    local client = connect { a = server(M, { hang = true }), b = server(M, { hang = true }) }
    fake.after(1, function() client:close() end)
    local _, _, err = client:chat(QUESTION)
    assert.equal("cancelled", err.kind)
    assert.raises("closed", function() client:chat(QUESTION) end)
  end)

  it("have to be given as they should", function()
    local rows = {
      { {}, "a list of URLs" }, { { 1 }, "expected" }, { { { weight = 1 } }, "has no url" },
      { { { url = "http://a", weight = 0 } }, "weight" }, { { { url = "http://a", waight = 1 } }, "did you mean" },
      { { "nonsense" }, "no scheme" }, { { { url = "http://a", models = {} } }, "models names none" },
      { { x = "http://a" }, "a list of URLs" }, { { "http://a", x = 1 }, "a list of URLs" },
    }
    for _, row in ipairs(rows) do
      local _, message = pcall(lmm.connect, { base_url = row[1] })
      assert.matches(row[2], message)
    end
    assert.raises("unix_socket", function() lmm.connect { base_url = { "http://a" }, unix_socket = "/s" } end)
  end)
end)
