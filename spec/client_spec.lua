-- The client on the fake transport: what it refuses, what it sends, what it makes of replies, how it retries and waits.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local unpack = table.unpack or unpack -- luacheck: ignore

--- Asks, with more fields of the request and with options that are ours.
local function ask(net, opts, request, ours)
  request = request or {}
  request.messages = request.messages or { { role = "user", content = "q" } }
  return net:connect(opts):chat(request, ours)
end

local quick = { clock = function() return 1696004797 end, random = function() return 0 end }

describe("the client", function()
  it("misuse of connect raises and says what to do", function()
    local cases = {
      { { modle = "x" }, "did you mean 'model'" },
      { { base_url = "127.0.0.1:8000" }, "has no scheme: write http://127.0.0.1:8000" },
      { "ftp://host/v1", "only http and https" },
      { { base_url = "http://user:secret@host" }, "user name or password" },
      { { base_url = "http://ho st/" }, "not a server's address" },
      { { base_url = "http://host\r\nX: y" }, "control character" },
      { { headers = { ["X-A"] = "a\r\nB: c" } }, "control character" },
      { { headers = { ["X A"] = "a" } }, "not a header's name" },
      { { headers = { ["X-A\n"] = "a" } }, "not a header's name" },
      { { headers = { ["X-A"] = "a\0b" } }, "control character" },
      { { headers = { ["X-A"] = 1 } }, "the value of 'X%-A' is a number" },
      { { model = "a\nb" }, "model holds a control character" },
      { { api_key = "sk-1\n" }, "api_key holds a control character" },
      { { timeout = { frist = 1 } }, "did you mean 'first'" },
      { { timeout = 0 }, "timeout.total must be more than 0 seconds, not 0$" },
      { { timeout = { idle = -1.5 } }, "timeout.idle must be more than 0 seconds, not %-1.5$" },
      { { timeout = { first = 0 / 0 } }, "timeout.first must be more than 0 seconds, not %-?nan$" },
      { { limits = { reply = -1 } }, "'reply' must be a whole number, 1 at least, not %-1$" },
      { { limits = { reply = 0 } }, "'reply' must be a whole number, 1 at least, not 0$" },
      { { limits = { error = 1.5 } }, "'error' must be a whole number, 1 at least, not 1.5$" },
      { { limits = { header = 0 / 0 } }, "'header' must be a whole number, 1 at least, not %-?nan$" },
      { { limits = { depth = 2501 } }, "'depth' must be 2500 at most, not 2501$" },
      { { limits = { depth = math.huge } }, "'depth' must be 2500 at most, not inf$" },
      { { headers = { ["content-length"] = "5" } }, "is set by what is sent" },
      { { base_url = "http://host:99999/v1" }, "not a server's address" },
      { { base_url = "http://host:port/v1" }, "not a server's address" },
      { { base_url = "http://[::1/v1" }, "not a server's address" },
      { { proxy = "ftp://host" }, "http, https, socks4 and socks5" },
      { { proxy = "" }, "proxy '' is not a proxy's address$" },
      { { proxy = "http://" }, "proxy 'http://' is not a proxy's address$" },
      { { proxy = "http://a b" }, "proxy 'http://a b' is not a proxy's address$" },
      { { proxy = "http://user:secret@/" }, "proxy 'http:///' is not a proxy's address: a user name" },
      { { proxy = "http://user:secret@x@host" }, "'http://host' is not a proxy's address: .* %%40 for @, %%2F for /" },
      { { proxy = "http://user:secret/x@host" }, "'http://host' is not a proxy's address: .* %%40 for @, %%2F for /" },
      { { proxy = "http://us er:secret@host" }, "'http://host' is not a proxy's address: a user name" },
      { { proxy = "socks5://user:secret@host:99999" }, "proxy 'socks5://host:99999' is not" },
      { { proxy = "user:secret@host:port" }, "proxy 'host:port' is not" },
      { { proxy = "http://:3128" }, "proxy 'http://:3128' is not" },
      { { proxy = "http://host:0" }, "proxy 'http://host:0' is not" },
      { { proxy = "http://[::1" }, "proxy 'http://%[::1' is not" },
      { { limits = { repyl = 1 } }, "did you mean 'reply'" },
      { { tls = { cafile = "x" } }, "unknown option 'cafile'" },
      { { retry = { attempt = 1 } }, "did you mean 'attempts'" },
      { { retry = { attempts = 0 } }, "at least 1" },
      { { base_url = "HTTP:/host" }, "has no scheme" },
      { { base_url = "http://h\195\164/v1" }, "not a server's address: write the host as DNS has it, xn%-%-" },
      { { base_url = "http://host:80a/v1" }, "not a server's address: a port is from 1 to 65535" },
      { { base_url = "http://host:80/v1 " }, "not a server's address: it holds a space" },
      { { base_url = "http://:80/v1" }, "not a server's address: it names no host" },
      { { base_url = "http://::1/v1" }, "not a server's address: an IPv6 address stands in brackets" },
      { 7, "a table of options expected, got number" },
    }
    for _, case in ipairs(cases) do
      local message = assert.raises(case[2], function()
        local made = lmm.connect(case[1])
        return made
      end)
      assert.matches("client_spec%.lua", message) -- points at the caller
      assert.truthy(not message:find("secret", 1, true) and not message:find("sk-1", 1, true))
    end
  end)

  it("proxies are named in every form that libcurl knows", function()
    for _, proxy in ipairs { "host", "host:3128", "http://host", "HTTP://host:3128/", "https://a.b:443",
      "user:pass@host",
      "http://us%20er:p%40ss@host:1", "socks5h://[::1]:1080", "[::1]",
      "http://[fe80::1%25eth0.1]:1", "socks4a://127.0.0.1:65535", "http://host:" } do
      assert.equal(proxy, lmm.connect({ proxy = proxy }).proxy)
    end
  end)

  it("a scheme may have capitals, and settings of the environment are called by their names", function()
    assert.equal("http://127.0.0.1:1/v1", lmm.connect("HTTP://127.0.0.1:1/v1/").base_url)
    assert.equal("http://127.0.0.1:1/\195\188", lmm.connect("http://127.0.0.1:1/\195\188").base_url)
    assert.raises("lmm.connect takes one argument", lmm.connect, "http://127.0.0.1:1/v1", { timeout = 5 })
    local settings, getenv = require "lmm.call.settings", os.getenv
    for name, value in pairs { OPENAI_BASE_URL = "foo", OPENAI_API_KEY = "key\n" } do
      os.getenv = function(asked) return asked == name and value or nil end -- luacheck: ignore
      local ok, message = pcall(settings.of_client)
      os.getenv = getenv -- luacheck: ignore
      assert.is_false(ok)
      assert.matches("lmm: %$" .. name, message)
    end
  end)

  it("misuse of a request raises", function()
    local client = fake.net({ fake.whole "a" }):connect()
    assert.raises("a request must be a table", client.chat, client, 5)
    assert.raises("goes as it is", client.chat, client, "{}", { schema = { type = "object" } })
    assert.raises("schema and response_format are two ways", client.chat, client, { response_format = {} },
      { schema = {} })
    assert.raises("client:chat: unknown option 'timeot' %(did you mean 'timeout'", client.chat, client, {},
      { timeot = 1 })
    assert.raises("'guided_json' is no longer heeded by servers: use the option 'schema'", client.chat, client,
      { guided_json = {} })
    assert.raises("model holds a control character", client.chat, client, { messages = {}, model = "a\nb" })
    assert.raises("client:models: unknown option 'timeot' %(did you mean 'timeout'", client.models, client,
      { timeot = 1 })
    assert.raises("client:models: a table of options expected, got string", client.models, client, "x")
    assert.raises("client:health: unknown option 'tiemout'", client.health, client, { tiemout = 1 })
    for _, seconds in ipairs { 0, -1, 0 / 0 } do
      assert.raises("wait_ready: timeout must be more than 0 seconds", client.wait_ready, client, { timeout = seconds })
    end
    client:close()
    assert.raises("this client is closed", client.chat, client, { messages = {} })
    assert.raises("this client is closed", client.models, client)
    assert.raises("this client is closed", client.conversation, client)
  end)

  it("a request goes out as it was given, whatever its fields are called, and the caller's table untouched", function()
    local net = fake.net { fake.whole "a" }
    local request = { messages = { { role = "user", content = "q" } }, temperature = 0.5, seed = 9007199254740993,
      timeout = 5, retry = false, schema = "s", headers = { a = 1 }, api_key = "x", stream = true, stop = lmm.array {} }
    assert(net:connect { api_key = "k123", headers = { ["X-Title"] = "t" } }:chat(request, { timeout = 7 }))
    local sent = net.requests[1]
    assert.equal("POST http://fake/v1/chat/completions", sent.method .. " " .. sent.url)
    assert.same({ 5, false, "s", 1, "x", false }, { sent.body.timeout, sent.body.retry, sent.body.schema,
      sent.body.headers.a, sent.body.api_key, sent.body.stream })
    assert.equal("m", sent.body.model)
    assert.matches('"stop":%[%]', sent.text)
    assert.is_nil(request.model)
    assert.equal(5, request.timeout)
    local lines = table.concat(sent.headers, "\n")
    assert.matches("Content%-Type: application/json", lines)
    assert.matches("Authorization: Bearer k123", lines)
    assert.matches("X%-Title: t", lines)
    if math.type then assert.matches('"seed":9007199254740993', sent.text) end
  end)

  it("the key may come from a function, asked for each attempt", function()
    local count = 0
    local net = fake.net { { status = 503 }, fake.whole "a" }
    assert(ask(net, { retry = quick, api_key = function()
      count = count + 1
      return "key-" .. count
    end }))
    assert.matches("Bearer key%-1", table.concat(net.requests[1].headers, "\n"))
    assert.matches("Bearer key%-2", table.concat(net.requests[2].headers, "\n"))
    assert.refused("api_key function", ask(fake.net { fake.whole "a" }, { api_key = function() return "a\nb" end }))
  end)

  it("the model is the first that the server lists, asked for once", function()
    local net = fake.net { { json = { data = { { id = "first" }, { id = "second" } } } }, fake.whole "a" }
    local client = net:connect { model = "" }
    for _ = 1, 2 do assert(client:chat { messages = { { role = "user", content = "q" } } }) end
    assert.equal(3, #net.requests)
    assert.equal("http://fake/v1/models", net.requests[1].url)
    assert.equal("first", net.requests[3].body.model)
  end)

  it("a list of models is what is one in it, or it is refused", function()
    local function models(json) return fake.net({ { json = json } }):connect():models() end
    local mixed = { data = { lmm.null, 5, { id = "a" }, {}, { id = 7 }, "b", { id = "c", owned_by = "d" } } }
    assert.same({ { id = "a" }, { id = "c", owned_by = "d" } }, models(mixed))
    assert.refused("no list of models: it names no model", models { data = { 5, { id = 7 } } })
    assert.refused("no list of models: there is no 'data'", models { other = 1 })
    assert.refused("no list of models: there is no 'data'", models { data = 5 })
    assert.refused("not a JSON object but \"5\"", models(5))
  end)

  it("a list of models may be bare, or empty", function()
    local function models(json) return assert(fake.net({ { json = json } }):connect():models()) end
    assert.same({ { id = "a" } }, models { { id = "a" } })
    for _, empty in ipairs { lmm.array {}, { data = lmm.array {} }, { object = "list", data = lmm.null } } do
      assert.same({}, models(empty))
      assert(fake.net({ { body = "" }, { json = empty } }):connect():wait_ready())
      local err = assert.refused("no model is named, and http://fake/v1 lists none %(name the model%)",
        ask(fake.net { { json = empty } }, { model = "" }))
      assert.equal("invalid", err.kind)
    end
    local missing = { status = 404, json = { detail = "Not Found" } }
    assert(fake.net({ { body = "" }, missing }):connect():wait_ready())
    assert.refused("HTTP 404", fake.net({ missing, missing }):connect():wait_ready())
    local err = assert.refused("v1 has no list of them %(HTTP 404%) %(name the model%)",
      ask(fake.net { missing }, { model = "" }))
    assert.same({ "http", 404 }, { err.kind, err.status })
    assert.refused("HTTP 401", ask(fake.net { { status = 401, body = "" } }, { model = "" }))
  end)

  it("bad parts and bad text send nothing, not even for the model", function()
    local net = fake.net { fake.whole "a" }
    local client = net:connect { model = "" }
    assert.equal("invalid", assert.refused("no/such%.jpg.*No such file", client:chat {
      messages = { { role = "user", content = { lmm.image "no/such.jpg" } } } }).kind)
    assert.refused("not UTF%-8", client:chat { messages = { { role = "user", content = "\255" } } })
    assert.equal(0, #net.requests)
  end)

  --- A network that knows no model of the name asked for, and its list of models.
  local function without_model(list, refusal)
    local error_object = { message = "The model `qwen-vl` does not exist.", code = 404 }
    return fake.net { refusal or { status = 404, json = { error = error_object } }, list }
  end

  local function models(...)
    local data = {}
    for i, id in ipairs { ... } do data[i] = { id = id } end
    return { json = { data = data } }
  end

  it("a model that is not served: the hint names the nearest, or those that are", function()
    local cases = {
      { models("other", "Qwen-VL2"), '%(did you mean "Qwen%-VL2"%?%)$' },
      { models "Qwen/Qwen2.5-VL-72B-Instruct", '%(the server has "Qwen/Qwen2.5%-VL%-72B%-Instruct"%)$' },
      { models("a/b1", "a/b2", "a/b3", "a/b4", "a/b5"), 'has "a/b1", "a/b2", "a/b3", "a/b4", "a/b5"%)$' },
      { models("a/b1", "a/b2", "a/b3", "a/b4", "a/b5", "a/b6", "a/b7"), '"a/b5" and 2 more%)$' },
      { models("a/b1\n\27[31m" .. ("x"):rep(20), ("y"):rep(1000)), 'has "a/b1.*x" and 1 more%)$' },
    }
    for i, case in ipairs(cases) do
      for _, method in ipairs { "chat", "stream" } do
        local net = without_model(case[1])
        local value, message, err = net:connect()[method](net:connect(), { model = "qwen-vl", messages = {} })
        if method == "stream" then value, message, err = value:reply() end
        assert.refused(case[2], value, message, err)
        assert(not message:find "%c" and message:find("does not exist. (" .. err.hint .. ")", 1, true), "case " .. i)
        assert.same({ 404, 1, 2 }, { err.status, err.attempts, #net.requests })
        assert.same({ "GET", "http://fake/v1/models" }, { net.requests[2].method, net.requests[2].url })
      end
    end
  end)

  it("where the list of models says no more, the refusal stays as it was", function()
    local cases = {
      { status = 503 }, { status = 401, json = { error = "Unauthorized" } }, { body = "<html>" }, { json = {} },
      { json = { data = lmm.array {} } }, { json = { data = { { id = 5 } } } }, { json = { data = { "a" } } },
      { fail = { kind = "connect", phase = "connect", reason = "refused" } }, models "qwen-vl", { hang = true },
      { json = { data = { { id = "qwen-vl2x" }, 7 } }, delay = 6 }, models(("x"):rep(129)),
    }
    for i, list in ipairs(cases) do
      local net = without_model(list)
      local before = fake.loop:now()
      local err = assert.refused("does not exist. %(client:models%(%), or lmm models, lists those that are served%)",
        ask(net, {}, { model = "qwen-vl" }))
      assert.same({ "http", 404, 2, true }, { err.kind, err.status, #net.requests, net.transfers[2].closed },
        "case " .. i)
      assert.is_true(fake.loop:now() - before <= 5) -- by the fake clock
    end
    local net = without_model({ hang = true })
    local err = assert.refused("does not exist", ask(net, { timeout = 2 }, { model = "qwen-vl" }))
    assert.equal(2, err.elapsed)
  end)

  it("the list is asked for once in a call, and only where a model is refused", function()
    for _, refusal in ipairs { { status = 404, json = { detail = "Not Found" } }, { status = 400, body = "model" },
      { status = 404, body = "" } } do
      local net = without_model(models "qwen-vl2", refusal)
      ask(net, {}, { model = "qwen-vl" })
      assert.equal(1, #net.requests)
    end
    local net = without_model(models "qwen-vl2")
    net.replies[3] = net.replies[1]
    local err = assert.refused('did you mean "qwen%-vl2"%?', ask(net, { retry = function(attempt)
      return attempt < 3 and 0 or nil
    end }, { model = "qwen-vl" }))
    assert.same({ 4, 3 }, { #net.requests, err.attempts })
    assert.is_nil(net:connect().listed_model)
  end)

  it("a call can be ended while it asks for the list", function()
    local net = without_model({ hang = true }, { status = 404, body = "no such model",
      headers = { ["x-should-retry"] = "true" } })
    local chat = net:connect():conversation()
    local result
    lmm.go(function() return chat:ask "q" end, function(...) result = { ... } end)
    while #net.requests < 2 do fake.loop:wait({}, fake.loop:now() + 1) end
    chat:cancel()
    while not result do fake.loop:wait({}, fake.loop:now() + 1) end
    assert.same({ "cancelled", 2, true }, { result[4].kind, #net.requests, net.transfers[2].closed })
    assert.equal(0, #chat.messages)
  end)

  it("an unstreamed reply", function()
    local reply = assert(ask(fake.net { fake.whole("hello", { reasoning_content = "hm", refusal = lmm.null }) }))
    assert.equal("hello", tostring(reply))
    assert.equal("hello!hello", reply .. "!" .. reply)
    assert.equal("hm", reply.reasoning)
    assert.is_nil(reply.refusal)
    assert.equal("stop", reply.finish_reason)
    assert.equal("m", reply.model)
    assert.equal("c1", reply.id)
    assert.equal("7", tostring(reply.usage.total_tokens))
    assert.equal(1, reply.attempts)
    assert.equal(lmm.null, reply.raw.choices[1].message.refusal)
    assert.is_true(reply.timing.total >= 0)
  end)

  it("replies that are none", function()
    local cases = {
      { { body = "<html><body>hi</body></html>" }, "protocol", "an HTML page" },
      { { body = "" }, "protocol", "an empty reply" },
      { { body = "hello" }, "protocol", "not a JSON object" },
      { { body = '{"a":"\\ud83d"}' }, "protocol", "a reply without choices" },
      { { body = '{"a":"\\u00"}' }, "protocol", "JSON with a fault" },
      { { body = '"text"' }, "protocol", 'not a JSON object but ' },
      { { json = { id = "x" } }, "protocol", "a reply without choices" },
      { { body = '{"choices":[{"mess' }, "truncated", "broke off" },
      { { json = { error = "a string" } }, "http", "a string" },
      { { json = { error = { message = "m1", code = 400, type = "T", param = "p" } } }, "http", "HTTP 400 .*m1" },
      { { json = { object = "error", message = "flat", code = 404 } }, "http", "HTTP 404 .*flat" },
      { { headers = { ["content-encoding"] = "gzip" }, body = "x" }, "protocol", "an encoded reply %(gzip%)" },
      { { status = 302, headers = { location = "https://other/v1" } }, "http", "it points to https://other/v1" },
      { { status = 401, json = { error = "Unauthorized" } }, "http", "HTTP 401 .*Unauthorized.*OPENAI_API_KEY" },
      { { status = 404, json = { detail = "Not Found" } }, "http", "HTTP 404 from http://fake/v1: Not Found$" },
      { { status = 413, body = "" }, "http", "HTTP 413 .*the request has %d+ bytes" },
      { { chunks = { "{", { fail = { kind = "truncated", reason = "x" } } } }, "truncated", "broke off" },
      { { fail = { kind = "protocol", phase = "wait", reason = "HTTP/0.9" } }, "protocol", "not answer as it should" },
    }
    for _, case in ipairs(cases) do
      local err = assert.refused(case[3], ask(fake.net { case[1] }, { retry = false }))
      assert.equal(case[2], err.kind, case[3])
      assert.equal(1, err.attempts)
    end
  end)

  it("a reply larger than limits.reply", function()
    local net = fake.net { fake.whole(("x"):rep(1000)) }
    local err = assert.refused("limits.reply", ask(net, { limits = { reply = 500 } }))
    assert.equal("limit", err.kind)
  end)

  it("retry: what passes is tried again, after the delay, and counted", function()
    local net = fake.net { { fail = { kind = "connect", phase = "connect", reason = "refused" } }, { status = 503 },
      fake.whole "a" }
    local reply = assert(ask(net, { retry = quick }))
    assert.equal(3, reply.attempts)
    assert.equal(0.5, net.requests[2].time - net.requests[1].time)
    assert.equal(1, net.requests[3].time - net.requests[2].time)
    assert.equal(net.requests[3].text, net.requests[1].text)
  end)

  it("retry: what does not pass is not tried again", function()
    local cases = {
      { { status = 400 }, 1 }, { { status = 401 }, 1 }, { { status = 404 }, 1 }, { { status = 422 }, 1 },
      { { status = 408 }, 3 }, { { status = 409 }, 3 }, { { status = 429 }, 3 }, { { status = 502 }, 3 },
      { { status = 504 }, 3 }, { { status = 500 }, 2 },
      { { status = 429, json = { error = { code = "insufficient_quota", message = "m" } } }, 1 },
      { { status = 503, headers = { ["x-should-retry"] = "false" } }, 1 },
      { { status = 400, headers = { ["x-should-retry"] = "true" } }, 3 },
      { { status = 503, headers = { ["retry-after"] = "121" } }, 1 },
      { { fail = { kind = "protocol", phase = "wait", reason = "x" } }, 1 },
      { { body = "<html>" }, 1 },
    }
    for i, case in ipairs(cases) do
      local net = fake.net { case[1] }
      local _, _, err = ask(net, { retry = quick })
      assert.equal(case[2], #net.requests, "case " .. i)
      assert.equal(case[2], err.attempts)
    end
  end)

  it("retry: Retry-After wins, and a call's own policy wins over the client's", function()
    local net = fake.net { { status = 429, headers = { ["retry-after"] = "20" } }, fake.whole "a" }
    assert(ask(net, { retry = quick }))
    assert.equal(20, net.requests[2].time - net.requests[1].time)
    net = fake.net { { status = 503 }, fake.whole "a" }
    assert.refused("503", ask(net, { retry = quick }, nil, { retry = false }))
    local seen = {}
    net = fake.net { { status = 400 }, { status = 400 }, fake.whole "a" }
    assert(ask(net, {}, nil, { retry = function(attempt, err)
      seen[attempt] = err.status
      return 3
    end }))
    assert.same({ 400, 400 }, seen)
    assert.equal(3, net.requests[2].time - net.requests[1].time)
  end)

  it("on_retry is told before each wait: the attempt, its error, and the delay", function()
    local net = fake.net { { status = 503 }, { status = 429, headers = { ["retry-after"] = "20" } }, fake.whole "a" }
    local seen = {}
    local policy = lmm.retry { random = quick.random, on_retry = function(attempt, err, delay)
      local time = fake.loop:now() - net.requests[1].time
      seen[#seen + 1] = { attempt, err.status, err.attempts, delay, #net.requests, time }
    end }
    assert.equal(3, assert(ask(net, { retry = policy })).attempts)
    assert.same({ { 1, 503, 1, 0.5, 1, 0 }, { 2, 429, 2, 20, 2, 0.5 } }, seen)
    seen = {}
    net = fake.net { { json = { data = { { id = "a" } } } } }
    assert(net:connect({ retry = policy }):models())
    assert.refused("503", ask(fake.net { { status = 503 } }, { retry = policy, timeout = 0.4 }))
    assert.refused("400", ask(fake.net { { status = 400 } }, { retry = policy }))
    assert.equal(0, #seen) -- neither after a success nor where there is no further attempt
    net = fake.net { { status = 503 } }
    assert.refused("503", net:connect({ retry = policy }):models())
    assert.equal(2, #seen)
  end)

  it("what on_retry raises reaches the caller: nothing stays open, and the conversation goes on", function()
    local net = fake.net { { status = 503 }, fake.answer "a" }
    local problem = {}
    local client = net:connect { retry = { on_retry = function() error(problem) end } }
    local chat = client:conversation()
    local ok, raised = pcall(chat.ask, chat, "one")
    assert(not ok and raised == problem, "another error")
    assert.same({ true, 1, 0 }, { net.transfers[1].closed, #net.requests, #chat.messages })
    assert.same({ "a", 2 }, { assert(chat:ask "two").text, #chat.messages })
    net = fake.net { { status = 503 } }
    client = net:connect { retry = { on_retry = function() error(problem) end } }
    ok, raised = pcall(client.models, client)
    assert(not ok and raised == problem, "another error")
    local task = lmm.go(function() return client:chat { messages = {} } end)
    ok, raised = task:wait()
    assert(not ok and raised == problem, "another error")
  end)

  it("on_retry may end the call", function()
    local net = fake.net { { status = 503 } }
    local stream
    stream = net:connect({ retry = { on_retry = function() stream:cancel() end } }):stream { messages = {} }
    assert.same({ "cancelled", 1 }, { assert.refused("cancelled", stream:next()).kind, #net.requests })
    local client
    client = net:connect { retry = { on_retry = function() client:close() end } }
    assert.same({ "cancelled", 2 }, { assert.refused("cancelled", client:models()).kind, #net.requests })
  end)

  it("time limits: first, idle and total, each with its own text", function()
    local hang = { hang = true }
    local err = assert.refused("no answer from http://fake/v1 within 7 s %(timeout.first sets this limit%)",
      ask(fake.net { hang }, { timeout = { first = 7 }, retry = false }))
    assert.equal("timeoutwait", err.kind .. err.phase)
    assert.is_true(err.retryable)
    assert.equal(7, err.elapsed)
    err = assert.refused("no complete answer .* within 5 s %(timeout.total sets this limit%)",
      ask(fake.net { hang }, { timeout = 5 }))
    assert.is_false(err.retryable)
    assert.equal(1, err.attempts)
    err = assert.refused("stopped for 2 s %(timeout.idle sets this limit%)", ask(fake.net {
      fake.streamed { fake.delta "a", { pause = 1 }, ": p\n\n", { pause = 1 }, ": p\n\n", { pause = 9 } } },
      { timeout = { idle = 2 }, retry = false }))
    assert.equal("a", err.partial)
    assert.equal(2, err.elapsed)
  end)

  it("time limits hold against a server that always has more to read, and nothing to say", function()
    for limit, seconds in pairs { first = 2, idle = 3, total = 4 } do
      local closed
      local pieces = { limit == "idle" and fake.delta "a" or ": hello\n\n" }
      local transfer = {
        head = function() return { status = 200, headers = { ["content-type"] = "text/event-stream" } } end,
        read = function()
          fake.loop.time = fake.loop.time + 0.01
          return table.remove(pieces) or ": ping\n\n"
        end,
        close = function() closed = true end,
      }
      local client = lmm.connect { base_url = "http://fake/v1", model = "m", retry = false, limits = { reply = 1e6 },
        timeout = { [limit] = seconds }, transport = { start = function() return transfer end } }
      local before = fake.loop.time
      local err = assert.refused("timeout%." .. limit, client:stream({ messages = {} }):reply())
      assert.same({ "timeout", limit, "receive", true }, { err.kind, err.limit, err.phase, closed })
      assert.is_true(fake.loop.time - before < seconds + 0.1)
    end
  end)

  it("each limit of a call's own wins over the client's, which holds for the others", function()
    local client = fake.net({ { hang = true } }):connect { retry = false, timeout = { first = 50, total = 60 } }
    for _, row in ipairs { { { first = 7 }, "first", 7 }, { { total = 8 }, "total", 8 }, { 9, "total", 9 },
      { { first = 70 }, "total", 60 }, { { first = 70, total = 80 }, "first", 70 }, { { idle = 1 }, "first", 50 },
      { { total = math.huge }, "first", 50 } } do
      local err = assert.refused("timeout%." .. row[2], client:chat({ messages = {} }, { timeout = row[1] }))
      assert.same({ row[2], row[3] }, { err.limit, err.elapsed })
    end
    local net = fake.net { { hang = true } }
    assert.refused("", net:connect({ retry = false }):chat({ messages = {} }, { timeout = { connect = 3, total = 5 } }))
    assert.refused("", net:connect({ retry = false, timeout = { total = 5 } }):chat { messages = {} })
    assert.same({ 3, 10 }, { net.requests[1].connect_timeout, net.requests[2].connect_timeout })
    local slow = fake.streamed { fake.delta "a", { pause = 30 }, fake.delta("b", "stop") }
    assert.equal("a", assert.refused("timeout.idle", fake.net({ slow }):connect():stream({ messages = {} },
      { timeout = { idle = 20 } }):reply()).partial)
  end)

  it("total covers all attempts and their waits", function()
    local net = fake.net { { status = 503, delay = 1 } }
    local err = assert.refused("503", ask(net, { retry = quick, timeout = { total = 3 } }))
    assert.equal(2, err.attempts) -- 1 s, 0.5 s of waiting, 1 s; the next wait would end beyond the limit
  end)

  it("time that the reader spends elsewhere does not count", function()
    local net = fake.net { fake.streamed { fake.delta "a", fake.delta "b", fake.delta({}, "stop"),
      fake.event "[DONE]" } }
    local client = net:connect { timeout = { first = 5, idle = 2 } }
    local stream = client:stream { messages = {} }
    assert.equal("a", stream:next())
    fake.loop.time = fake.loop.time + 100
    assert.equal("b", stream:next())
    fake.loop.time = fake.loop.time + 100
    assert.is_nil(stream:next())
    assert.is_nil(stream.err)
  end)

  it("a key or a header that the server quotes back is not in the error", function()
    local err = assert.refused("bad key %[redacted%]", ask(
      fake.net { { status = 401, json = { error = { message = "bad key sk-secret%1 for tenant-77" } } } },
      { api_key = "sk-secret%1", headers = { ["X-Tenant-Token"] = "tenant-77" }, retry = false }))
    assert.falsy(err.message:find "tenant")
    assert.refused("bad key %[redacted%]", fake.net {
      { json = { object = "error", message = "bad key sk-se\0cret%1", param = "sk-secret%1" } } }:connect {
      api_key = "sk-secret%1", retry = false }:models())
    local refusal = { status = 400, json = { error = { message = "bad", param = "sk-secret%1" } } }
    err = assert.refused("bad", ask(fake.net { refusal }, { api_key = "sk-secret%1" }))
    assert.equal("[redacted]", err.param)
    err = assert.refused("%[redacted%]", ask(
      fake.net { { status = 302, headers = { location = "https://other/?key=sk-secret%1" } } },
      { api_key = "sk-secret%1", retry = false }))
    assert.falsy((err.hint .. err.message):find("sk-secret", 1, true))
  end)

  for _, row in ipairs {
    { "a key that is a common word", "no null, ollama, none, local or test here", { api_key = "null" } },
    { "ollama's", "is ollama running?", { api_key = "ollama" } },
    { "none", "none of these", { api_key = "none" } },
    { "local", "a local file", { api_key = "local" } },
    { "test", "the test failed", { api_key = "test" } },
    { "a longer placeholder", "anything but lm-studio is placeholder", { api_key = "lm-studio" } },
    { "a header that is no secret", "in the test environment", { headers = { ["X-Env"] = "test environment" } } },
    { "a header that says true", "that is true", { headers = { ["Helicone-Cache-Enabled"] = "true" } } },
    { "the caller's own words", "cannot parse: What is shown in this image, please?", {} },
    { "any Chinese sentence", [[\u6a21\u578b\u4e0d\u5b58\u5728]], {},
      "\230\168\161\229\158\139\228\184\141\229\173\152\229\156\168" },
  } do
    it("what is no secret stays in a message: " .. row[1], function()
      local body = '{"error":{"message":"' .. row[2] .. '"}}'
      local opts = { retry = false }
      for name, value in pairs(row[3]) do opts[name] = value end
      local err = assert.refused("HTTP 400", ask(fake.net { { status = 400, body = body } }, opts, {
        messages = { { role = "user", content = "What is shown in this image, please?" } } }))
      assert(err.message:find(row[4] or row[2], 1, true), err.message)
    end)
  end

  it("other headers with secrets, cookies, and a proxy's password in every form go, too", function()
    local opts = { retry = false, proxy = "http://user:p%40ss%2Fword99@127.0.0.1:9", headers = {
      ["Helicone-Auth"] = "Bearer pk-helicone-1", Cookie = "sid=crumb-secret-1; b=2",
      ["X-Password"] = "hunter2hunter2" } }
    for _, secret in ipairs { "pk-helicone-1", "crumb-secret-1", "hunter2hunter2", "p@ss/word99", "p%40ss%2Fword99",
      "dXNlcjpwQHNzL3dvcmQ5OQ==" } do
      local net = fake.net { { status = 400, json = { error = { message = "bad: " .. secret } } } }
      local err = assert.refused("bad: %[redacted%]$", ask(net, opts))
      assert.falsy(err.message:find(secret, 1, true))
    end
    local message = assert.raises("is not a header's name", lmm.connect,
      { headers = { ["Authorization: Bearer sk-secret-9"] = "x" } })
    assert.falsy(message:find("sk-secret", 1, true))
  end)

  it("base64 that was wrapped, or escaped within a text in a text, goes", function()
    local line = ("QUJD+/aQ"):rep(8)
    local escaped = line:gsub("/", "\\\\\\\\/")
    for _, words in ipairs { (line .. "\\n"):rep(5), "data:image/png;base64," .. escaped:rep(3) } do
      local body = '{"error":{"message":"bad ' .. words .. ' end"}}'
      local err = assert.refused("bad .*%.%.%.", ask(fake.net { { status = 400, body = body } }, { retry = false }))
      assert.falsy(err.message:find("QUJD+/aQQUJD+/aQ", 1, true), err.message)
    end
  end)

  it("of a refusal that breaks off, what came is told", function()
    local broken = { status = 400, chunks = { '{"error":{"message":"the picture is too larg',
      { fail = { kind = "truncated", phase = "receive", reason = "reset" } } } }
    assert.refused("HTTP 400 .*the picture is too larg", ask(fake.net { broken }, { retry = false }))
  end)

  it("an error event without a message is told as it came", function()
    local event = 'data: {"error":{"detail":[null,{"msg":"no such adapter"}]}}\n\n'
    assert.refused("no such adapter", ask(fake.net { fake.streamed { event } }, { retry = false }))
  end)

  it("a request's own id comes back", function()
    local refusal = { status = 500, json = { error = "x" }, headers = { ["x-request-id"] = "my-req-77" } }
    local err = assert.refused("HTTP 500", ask(fake.net { refusal }, { retry = false,
      headers = { ["X-Request-Id"] = "my-req-77" } }))
    assert.equal("my-req-77", err.request_id)
  end)

  it("the model's own words stay as they came, the key's word among them", function()
    local net = fake.net { fake.streamed { fake.delta "the word is sk-secret-77" } }
    local stream = net:connect({ api_key = "sk-secret-77", retry = false }):stream { messages = {} }
    assert.equal("the word is sk-secret-77", stream:next())
    local err = assert.refused("broke off", stream:next())
    assert.equal("the word is sk-secret-77", err.partial)
  end)

  it("media and keys go from what a server quotes, decoded or within a text", function()
    local data = ("QUJD/+/a"):rep(40)
    for _, words in ipairs { "data:image/png;base64," .. data, "data:image/png;base64,abcd", data,
      (data:gsub("/", "\\\\/")) } do
      local body = '{"error":{"message":"bad ' .. words .. ' end"}}'
      local err = assert.refused("bad .*%.%.%. end", ask(fake.net { { status = 400, body = body } }, { retry = false }))
      assert.falsy(err.message:find("QUJD", 1, true) or err.message:find("abcd", 1, true))
    end
  end)

  describe("without a model of its own", function()
    local LIST = { json = { data = { { id = "first" } } }, delay = 1 }

    --- Asks in so many tasks at once; gives the network and what came of each.
    local function ask_at_once(count, replies, meanwhile)
      local net = fake.net(replies)
      local client, results, tasks = net:connect { model = "", retry = false }, {}, {}
      for i = 1, count do
        tasks[i] = lmm.go(function() results[i] = { client:chat { messages = {} } } end)
      end
      if meanwhile then meanwhile(tasks) end
      for i = 1, count do tasks[i]:wait() end
      return net, results
    end

    local function lists_in(net)
      local count = 0
      for _, request in ipairs(net.requests) do count = count + (request.method == "GET" and 1 or 0) end
      return count
    end

    it("16 tasks on a fresh client list the models once", function()
      local net, results = ask_at_once(16, { LIST, fake.whole "a" })
      assert.equal(1, lists_in(net))
      assert.equal(17, #net.requests)
      for i = 1, 16 do assert.equal("a", tostring(results[i][1])) end
      for i = 2, 17 do assert.equal("first", net.requests[i].body.model) end
    end)

    it("all of them are told when there is no list, which is asked for once", function()
      local net, results = ask_at_once(3, { { status = 400, json = { error = "no" }, delay = 1 } })
      assert.equal(1, lists_in(net))
      for i = 1, 3 do assert.refused("HTTP 400", unpack(results[i], 1, 3)) end
    end)

    it("a refusal is not that of another one, who asks with other headers", function()
      local net = fake.net { { status = 401, json = { error = "whose key?" }, delay = 1 }, LIST, fake.whole "a" }
      local client, results = net:connect { model = "", retry = false }, {}
      local tasks = {}
      for i, key in ipairs { "wrong", "right" } do
        tasks[i] = lmm.go(function()
          results[i] = { client:chat({ messages = {} }, { headers = { Authorization = key } }) }
        end)
      end
      for _, task in ipairs(tasks) do task:wait() end
      assert.refused("HTTP 401", unpack(results[1], 1, 3))
      assert.equal("a", tostring(results[2][1]))
    end)

    it("another one lists them when the first is cancelled", function()
      local net, results = ask_at_once(3, { LIST, LIST, fake.whole "a" }, function(tasks) tasks[1]:cancel() end)
      assert.equal(2, lists_in(net))
      assert.refused("cancelled", unpack(results[1], 1, 3))
      assert.equal("a", tostring(results[2][1]))
      assert.equal("a", tostring(results[3][1]))
    end)

    it("one that waits for the list can be cancelled", function()
      local net, results = ask_at_once(3, { LIST, fake.whole "a" }, function(tasks) tasks[2]:cancel() end)
      assert.equal(1, lists_in(net))
      assert.refused("cancelled", unpack(results[2], 1, 3))
      assert.equal("a", tostring(results[3][1]))
    end)

    it("what is raised while the list is asked for leaves nobody waiting", function()
      local net = fake.net { { status = 503, body = "", delay = 1 }, LIST, fake.whole "a" }
      local function on_retry() error("in on_retry", 0) end
      local client = net:connect { model = "", retry = { on_retry = on_retry } }
      local first = lmm.go(function() return client:chat { messages = {} } end, function() end)
      local second = lmm.go(function() return client:chat { messages = {} } end)
      local ok, problem = first:wait()
      assert.same({ false, "in on_retry" }, { ok, problem })
      local answered, reply = second:wait()
      assert.same({ true, "a" }, { answered, tostring(reply) })
    end)

    it("what one task's limits and policy make of the list is not another's", function()
      local net = fake.net { { json = { data = { { id = "first" } } }, delay = 5 }, LIST, fake.whole "a" }
      local client, results = net:connect { model = "" }, {}
      local tasks = {
        lmm.go(function() results[1] = { client:chat({ messages = {} }, { timeout = 0.2, retry = false }) } end),
        lmm.go(function() results[2] = { client:chat({ messages = {} }, { timeout = 60 }) } end),
      }
      for _, task in ipairs(tasks) do task:wait() end
      assert.refused("within 0.2 s", unpack(results[1], 1, 3))
      assert.equal("a", tostring(results[2][1]))
      net = fake.net { { status = 503, body = "", delay = 1 }, LIST, fake.whole "a" }
      client = net:connect { model = "" }
      tasks = {
        lmm.go(function() results[1] = { client:chat({ messages = {} }, { retry = false }) } end),
        lmm.go(function() results[2] = { client:chat { messages = {} } } end),
      }
      for _, task in ipairs(tasks) do task:wait() end
      assert.refused("HTTP 503", unpack(results[1], 1, 3))
      assert.equal("a", tostring(results[2][1]))
    end)

    it("the first model is the first that is there, whatever is null before it", function()
      local list = {}
      for i = 1, 40 do list[i] = i % 3 == 0 and lmm.null or { id = "m" .. i } end
      list[1] = lmm.null
      assert.equal("m2", assert(fake.net({ { json = { data = list } } }):connect():models())[1].id)
    end)

    it("the time limit of one that waits for the list is its own", function()
      local net = fake.net { LIST, fake.whole "a" }
      local client, late = net:connect { model = "", retry = false }, nil
      local first = lmm.go(function() assert(client:chat { messages = {} }) end)
      local second = lmm.go(function() late = { client:chat({ messages = {} }, { timeout = 0.5 }) } end)
      assert.is_true(first:wait())
      second:wait()
      assert.refused("within 0.5 s", unpack(late, 1, 3))
    end)
  end)

  it("a dot in the place of the colon is told", function()
    local client = fake.net({}):connect()
    assert.raises("client_spec.lua:%d+: lmm: write client:chat%(...%), with a colon", function() client.chat {} end)
    assert.raises("write chat:ask%(...%), with a colon", function() client:conversation().ask "x" end)
    assert.raises("write chat:undo%(...%)", function() client:conversation().undo() end)
    assert.raises("write stream:reply%(...%)", function() client:conversation():stream("q").reply() end)
  end)

  it("options that are not documented are not listed", function()
    local message = assert.raises("there are: api_key, base_url", function() lmm.connect { bogus_name = 1 } end)
    assert.falsy(message:find("transport", 1, true))
  end)

  it("models and health", function()
    local net = fake.net { { json = { data = { { id = "a", max_model_len = 2048 } } } }, { body = "" },
      { status = 503, body = "" } }
    local client = net:connect { retry = false }
    assert.equal("a", assert(client:models())[1].id)
    assert.is_true(client:health())
    assert.equal("GEThttp://fake/health", net.requests[2].method .. net.requests[2].url)
    assert.refused("503", client:health())
    assert.refused("an HTML page", fake.net({ { body = "<html>" } }):connect({ retry = false }):models())
  end)

  it("structured output: the schema goes out, the value comes back", function()
    local net = fake.net { fake.whole '{"n":3,"s":null}' }
    local schema = { type = "object" }
    local reply = assert(ask(net, {}, nil, { schema = schema }))
    assert.same({ type = "json_schema",
      json_schema = { name = "answer", schema = schema } }, net.requests[1].body.response_format)
    assert.equal("3", tostring(reply.value.n))
    assert.is_nil(reply.value.s)
    net = fake.net { fake.whole '{"n":' }
    local err = assert.refused("not the JSON that the schema asks for", ask(net, {}, nil, { schema = {} }))
    assert.equal('{"n":', err.partial)
  end)

  it("structured output that was cut by its length is told as that, and what came is kept", function()
    local cut = { choices = { { index = 0, finish_reason = "length", message = { content = '{"n":' } } },
      usage = { prompt_tokens = 3, completion_tokens = 4 } }
    for _, method in ipairs { "ask", "stream" } do
      local net = fake.net { { body = lmm.json.encode(cut) } }
      local chat = net:connect():conversation {}
      local reply, message, err = chat[method](chat, "q", { schema = {} })
      if method == "stream" then reply, message, err = reply:reply() end
      assert.refused("the answer was cut at the most tokens, before .* was whole %(raise max_tokens%)",
        reply, message, err)
      assert.same({ "protocol", '{"n":', 4 }, { err.kind, err.partial, err.usage.completion_tokens })
    end
  end)

  it("what belongs to streams alone may be set for both", function()
    local options = { include_usage = false }
    local net = fake.net { fake.whole "a", fake.answer "b" }
    local chat = net:connect():conversation { stream_options = options }
    assert(chat:ask "q")
    assert(chat:stream("q"):reply())
    assert.same({ nil, options }, { net.requests[1].body.stream_options, net.requests[2].body.stream_options })
  end)

  it("close ends what is under way", function()
    local net = fake.net { { hang = true } }
    local client = net:connect()
    local result
    lmm.go(function() return client:chat { messages = {} } end, function(...) result = { ... } end)
    client:close()
    fake.loop:wait({}, fake.loop:now() + 0.001)
    assert.is_true(result[1])
    assert.equal("cancelled", result[4].kind)
    assert.is_true(net.transfers[1].closed)
  end)

  it("what the caller's own functions raise reaches the caller, and the conversation goes on", function()
    local first = true
    local chat = fake.net({ fake.whole "a" }):connect({ api_key = function()
      if first then
        first = false
        error "vault is locked"
      end
      return "key"
    end }):conversation()
    assert.raises("vault is locked", chat.ask, chat, "one")
    assert.equal("a", assert(chat:ask "two").text)
    assert.equal(2, #chat.messages)
    local net = fake.net { { status = 503 } }
    assert.raises("must give seconds or nil, not \"soon\"", ask, net, { retry = function() return "soon" end })
  end)

  it("an api_key function that gives none ends the call, and its reason is told", function()
    local net = fake.net { fake.whole "a" }
    local err = assert.refused("vault closed", ask(net, { api_key = function() return nil, "vault closed" end }))
    assert.same({ "invalid", 0 }, { err.kind, #net.requests })
    assert(ask(net, { api_key = function() return "" end }))
  end)

  it("headers of the caller's own replace ours", function()
    local net = fake.net { fake.whole "a" }
    assert(ask(net, { api_key = "k", headers = { authorization = "Basic x", ["Content-Type"] = "application/x" } }))
    local lines = table.concat(net.requests[1].headers, "\n")
    assert(not lines:find "Bearer" and not lines:find "application/json", lines)
  end)

  it("a base URL's query stays at the end of every URL, and in no message", function()
    local key = "abcdefgh-4711"
    local net = fake.net { fake.whole "a", { json = { data = { { id = "m" } } } }, { body = "" }, { body = "{}" },
      { body = "{}" }, { status = 404, body = "nothing at /x?api-version=1&key=" .. key } }
    local client = net:connect { base_url = "http://h/openai/deployments/d/?api-version=1&key=" .. key, retry = false }
    assert.equal("http://h/openai/deployments/d", client.base_url)
    assert(client:chat { messages = {} })
    assert(client:models())
    assert(client:health())
    assert(client:request("GET", "x"))
    assert(client:request("GET", "/x?y=1"))
    local message = select(2, client:models())
    local urls = {}
    for i = 1, 5 do urls[i] = net.requests[i].url end
    local query, base = "?api-version=1&key=" .. key, "http://h/openai/deployments/d"
    assert.same({ base .. "/chat/completions" .. query, base .. "/models" .. query, base .. "/health" .. query,
      base .. "/x" .. query, base .. "/x?y=1&api-version=1&key=" .. key }, urls)
    assert.matches("^HTTP 404 from http://h/openai/deployments/d/models: ", message)
    assert(not message:find(key, 1, true), message)
    assert.raises("it has a fragment", lmm.connect, "http://h/v1#x")
  end)

  it("headers of one call go over the client's, and a secret in them is told nobody", function()
    local echo = { status = 400, body = "you sent secret-4711" }
    local net = fake.net { fake.whole "a", fake.whole "a", { json = { data = { { id = "m" } } } }, { body = "" },
      { body = "{}" }, fake.whole "a", echo }
    local client = net:connect { headers = { ["X-A"] = "1", ["X-B"] = "2" }, retry = false }
    local own = { headers = { ["x-a"] = "3", ["X-Key"] = "secret-4711" } }
    assert(client:chat({ messages = {} }, own))
    assert(client:stream({ messages = {} }, own):reply())
    assert(client:models(own))
    assert(client:health(own))
    assert(client:request("GET", "x", nil, own))
    assert(client:conversation { headers = { ["x-a"] = "3" } }:ask("q", { headers = { ["X-Key"] = "secret-4711" } }))
    for i = 1, 6 do
      local lines = "\n" .. table.concat(net.requests[i].headers, "\n"):lower() .. "\n"
      assert.matches("\nx%-a: 3\n", lines)
      assert.matches("\nx%-b: 2\n", lines)
      assert.matches("\nx%-key: secret%-4711\n", lines)
      assert(not lines:find("x-a: 1", 1, true))
    end
    assert.refused("you sent %[redacted%]", client:chat({ messages = {} }, own))
    assert.raises("headers: 'a b' is not a header's name", client.chat, client, { messages = {} },
      { headers = { ["a b"] = "x" } })
  end)

  it("says who it is, unless told otherwise", function()
    local function agent(opts)
      local net = fake.net { fake.whole "a" }
      assert(ask(net, opts))
      return ("\n" .. table.concat(net.requests[1].headers, "\n")):match "\n[Uu]ser%-[Aa]gent: ([^\n]*)"
    end
    assert.equal("lmm/" .. lmm.version, agent {})
    assert.equal("mine/2", agent { user_agent = "mine/2" })
    assert.equal("other", agent { headers = { ["user-agent"] = "other" } })
    assert.is_nil(agent { user_agent = "" })
    assert.raises("user_agent holds a control", lmm.connect, { user_agent = "a\nb" })
  end)

  it("stream_options are left out where that is asked for, or where the server refuses them", function()
    local function has(request) return request.body.stream_options ~= nil end
    local net = fake.net { fake.answer "a" }
    local client = net:connect { retry = false }
    assert(client:stream({ messages = {}, stream_options = false }):reply())
    assert(client:stream({ messages = {}, stream_options = { include_usage = false } }):reply())
    assert(client:stream({ messages = {} }):reply())
    assert.same({ false, true, true }, { has(net.requests[1]), has(net.requests[2]), has(net.requests[3]) })
    assert.is_false(net.requests[2].body.stream_options.include_usage)
    for _, refusal in ipairs { { status = 400, body = "Unknown field: stream_options" }, { status = 422,
      json = { detail = { { loc = { "body", "stream_options" }, msg = "Extra inputs are not permitted" } } } } } do
      net = fake.net { refusal, fake.answer "a" }
      client = net:connect { retry = false }
      assert.equal("a", assert(client:stream({ messages = {} }):reply()).text)
      assert.equal("a", assert(client:stream({ messages = {} }):reply()).text)
      assert.same({ 3, true, false, false }, { #net.requests, has(net.requests[1]), has(net.requests[2]),
        has(net.requests[3]) })
    end
    net = fake.net { { status = 400, body = "stream_options and temperature" } }
    local err = assert.refused("temperature", net:connect({ retry = false }):stream({ messages = {} }):reply())
    assert.same({ 400, 2 }, { err.status, #net.requests })
    net = fake.net { { status = 400, body = "temperature" } }
    assert.refused("temperature", net:connect({ retry = false }):stream({ messages = {} }):reply())
    assert.equal(1, #net.requests)
  end)

  it("what is no value for an option, or for the model, is refused", function()
    local client = fake.net({ fake.whole "a" }):connect()
    assert.raises("client:chat: option 'schema' must be a table", client.chat, client,
      { messages = {} }, { schema = "x" })
    assert.raises("model is empty", client.chat, client, { messages = {}, model = "" })
  end)

  it("answers without an answer", function()
    for _, json in ipairs { { choices = lmm.array {} }, { choices = { { message = "hi" } } } } do
      assert.equal("protocol", assert.refused("does not answer as it should", ask(fake.net { { json = json } })).kind)
    end
  end)

  it("nothing begins after close, not even a stream made before", function()
    local net = fake.net { fake.answer "a" }
    local client = net:connect()
    local stream = client:stream { messages = {} }
    client:close()
    assert.refused("cancelled", stream:next())
    assert.equal(0, #net.requests)
  end)

  it("the clock of a stream starts when it is first read", function()
    local net = fake.net { fake.answer "a" }
    local stream = net:connect({ timeout = 5 }):stream { messages = {} }
    fake.loop.time = fake.loop.time + 100
    assert.equal("a", stream:next())
  end)

  it("errors carry what the guide promises", function()
    local err = assert.refused("HTTP 429", ask(fake.net { { status = 429, headers = { ["retry-after"] = "600" } } }))
    assert.same({ "receive", 1, 600, "" }, { err.phase, err.attempts, err.retry_after, err.partial })
    assert.matches(" %(the server asks to wait 600 s%)$", err.message)
    -- 2 s on by that clock
    local date = { status = 503, headers = { ["retry-after"] = "Fri, 29 Sep 2023 16:26:39 GMT" } }
    err = assert.refused("HTTP 503", ask(fake.net { date }, { retry = { attempts = 1, clock = quick.clock } }))
    assert.equal(2, err.retry_after)
    err = assert.refused("an HTML page", ask(fake.net { { body = "<html>" } }, { model = "" }))
    assert.same({ "receive", 1 }, { err.phase, err.attempts })
    err = assert.refused("the connection to .* ended before an answer", ask(
      fake.net { { fail = { kind = "connect", phase = "wait", reason = "empty" } } }, { retry = false }))
    assert.equal("does the server speak https?", err.hint)
    local untrusted = { fail = { kind = "connect", phase = "tls", reason = "self-signed", permanent = true } }
    local net = fake.net { untrusted }
    err = assert.refused("self%-signed", ask(net))
    assert.same({ 1, false }, { #net.requests, err.retryable, err.hint })
  end)
end)
