-- Between the client and the server: proxies, Unix sockets, IPv6 and redirects, on real sockets.
local authorities = require "spec.support.authority"
local lmm = require "lmm"
local mock = require "lmm.mock"
local process = require "spec.support.process"
local program = require "spec.support.program"
local raw = require "spec.support.raw"
local relay = require "spec.support.relay"

local MODELS = '{"object":"list","data":[{"id":"tiny"}]}'

local function answer(status, body, headers)
  return table.concat({ "HTTP/1.1 " .. status, "Content-Type: application/json", "Content-Length: " .. #body,
    "Connection: close" .. (headers and "\r\n" .. headers or ""), "", body }, "\r\n")
end

local OK = { { await = "request" }, { send = answer("200 OK", MODELS) }, { await = "close" } }

local KEY = "sk-network-spec-key"

-- A host that no resolver knows: whoever asks for it directly fails at its name.
local ELSEWHERE = "http://server.invalid/v1"

local function with(server, fn)
  local ok, err = xpcall(function() fn(server) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

local function list(url, opts)
  local given = { base_url = url, api_key = KEY, retry = false, timeout = 60 }
  for name, value in pairs(opts or {}) do given[name] = value end
  return lmm.connect(given):models()
end

local CHILD = [[
local lmm = require "lmm"
local models, message, err = lmm.connect { base_url = os.getenv "URL", retry = false,
  proxy = os.getenv "PROXY" ~= "false" and os.getenv "PROXY",
  tls = { ca = os.getenv "CA" }, timeout = 60 }:models()
print(models and models[1].id or err.kind .. " " .. err.phase .. " " .. message)
]]

--- What a process of its own, with this environment, gets from models(): the first one, or what went wrong.
local function list_elsewhere(environment)
  local words = { "env -u http_proxy -u https_proxy -u HTTPS_PROXY -u all_proxy -u ALL_PROXY -u no_proxy -u NO_PROXY" }
  for name, value in pairs(environment) do words[#words + 1] = name .. "=" .. process.quote(value) end
  words[#words + 1] = process.quote(arg[-1]) .. " -e " .. process.quote(CHILD) .. " 2>&1"
  return (process.shell(table.concat(words, " ")):gsub("\n$", ""))
end

describe("a proxy", function()
  it("a proxy of the environment is named in messages; proxy = false goes around it", function()
    local gone = raw.start { {} }
    gone:stop()
    local url = "http://127.0.0.1:" .. gone.port
    assert.matches("^connect connect cannot reach " .. ELSEWHERE .. "/models through " .. url .. " %(%$http_proxy%): ",
      list_elsewhere { URL = ELSEWHERE, http_proxy = "http://user:secret@127.0.0.1:" .. gone.port })
    assert.matches("lmm: %$all_proxy 'garbage::' is not a proxy's address",
      list_elsewhere { URL = ELSEWHERE, all_proxy = "garbage::" })
    assert.matches("^connect dns ", list_elsewhere { URL = ELSEWHERE, http_proxy = url, PROXY = "false" })
    assert.matches("^connect connect cannot reach .* through socks://127.0.0.1:",
      list_elsewhere { URL = ELSEWHERE, all_proxy = "socks://127.0.0.1:" .. gone.port .. "/" })
  end)

  it("plain HTTP through a proxy by option: the request line is absolute", function()
    with(raw.start { OK }, function(proxy)
      local address = "127.0.0.1:" .. proxy.port
      for i, given in ipairs { "http://" .. address, address } do
        assert.equal("tiny", assert(list(ELSEWHERE, { proxy = given }))[1].id)
        local sent = proxy:received(i)
        assert.matches("^GET http://server%.invalid/v1/models HTTP/1%.1\r\nHost: server%.invalid\r\n", sent)
        assert.truthy(not sent:find "Proxy%-Authorization", sent)
      end
    end)
  end)

  it("a proxy's user name and password are sent to it", function()
    with(raw.start { OK }, function(proxy)
      assert(list(ELSEWHERE, { proxy = "http://user:passphrase@127.0.0.1:" .. proxy.port }))
      assert.matches("\r\nProxy%-Authorization: Basic dXNlcjpwYXNzcGhyYXNl\r\n", proxy:received())
    end)
  end)

  it("a proxy by option is used for this machine's own addresses, too", function()
    with(raw.start { OK }, function(proxy)
      assert(list("http://127.0.0.1:9/v1", { proxy = "http://127.0.0.1:" .. proxy.port }))
      assert.matches("^GET http://127%.0%.0%.1:9/v1/models ", proxy:received())
    end)
  end)

  it("a proxy by environment: for others, not for this machine's own addresses", function()
    with(raw.start { OK }, function(proxy)
      local url = "http://127.0.0.1:" .. proxy.port
      assert.equal("tiny", list_elsewhere { URL = ELSEWHERE, http_proxy = url })
      assert.matches("^GET http://server%.invalid/v1/models ", proxy:received(1))
      assert.equal("tiny", list_elsewhere { URL = ELSEWHERE, all_proxy = url })
      with(raw.start { OK }, function(server)
        assert.equal("tiny", list_elsewhere { URL = server.url, http_proxy = url, all_proxy = url })
        assert.matches("^GET /v1/models ", server:received())
        assert.equal("tiny", list_elsewhere { URL = server.url:gsub("127.0.0.1", "localhost"), http_proxy = url })
        assert.equal("tiny", list_elsewhere { URL = server.url, PROXY = url })
      end)
      assert.equal(3, #proxy:seen "accepted")
    end)
  end)

  it("no_proxy", function()
    with(raw.start { OK }, function(proxy)
      local url = "http://127.0.0.1:" .. proxy.port
      for _, hosts in ipairs { "server.invalid", "other.invalid,.invalid", "*" } do
        assert.matches("^%l+ dns ", list_elsewhere { URL = ELSEWHERE, http_proxy = url, no_proxy = hosts })
      end
      assert.equal(0, #proxy:seen "accepted")
      assert.equal("tiny", list_elsewhere { URL = ELSEWHERE, http_proxy = url, no_proxy = "other.invalid" })
      -- It is for the environment's proxy alone.
      assert.equal("tiny", list_elsewhere { URL = ELSEWHERE, PROXY = url, no_proxy = "*" })
    end)
  end)

  it("HTTPS through a proxy: CONNECT, and nothing of the key outside the tunnel", function()
    local authority = authorities.new()
    authority:issue("server", "DNS:server.invalid")
    local server = authority:serve "server"
    local proxy = relay.start { mode = "connect", to = server.port }
    local all = { stop = function()
      proxy:stop()
      server.stop()
      authority:remove()
    end }
    with(all, function()
      local url = "http://user:passphrase@127.0.0.1:" .. proxy.port
      local target = "https://server.invalid/v1"
      local ca = authority:path "ca.pem"
      local opts = { proxy = url, tls = { ca = ca }, headers = { ["X-Tenant"] = "tenant-77" } }
      assert.equal("tiny", assert(list(target, opts))[1].id)
      assert.equal("tiny", list_elsewhere { URL = target, https_proxy = url, CA = ca, OPENAI_API_KEY = KEY })
      assert.equal("tiny", list_elsewhere { URL = target, HTTPS_PROXY = url, CA = ca, OPENAI_API_KEY = KEY })
      assert.matches("^%l+ dns ", list_elsewhere { URL = target, http_proxy = url, CA = ca }) -- which is not for https
      assert.equal(3, server.requests())
      local sent = proxy:received()
      assert.matches("^CONNECT server%.invalid:443 HTTP/1%.1\r\nHost: server%.invalid:443\r\n", sent)
      assert.matches("\r\nProxy%-Authorization: Basic dXNlcjpwYXNzcGhyYXNl\r\n", sent)
      assert.equal(3, (select(2, sent:gsub("CONNECT ", ""))))
      assert.is_nil(sent:find(KEY, 1, true))
      assert.is_nil(sent:find "tenant")
      assert.is_nil(sent:find "[\n]Authorization")
      local err = assert.refused("certificate", list(target, { proxy = url }))
      assert.same({ "connect", "tls", false }, { err.kind, err.phase, err.retryable })
    end)
  end)

  local function proxy_that_says(status)
    return raw.start { { { await = "head" }, { send = answer(status, "") }, { close = true } } }
  end

  it("a proxy that refuses a tunnel: not the server's doing, and tried again only where it may pass", function()
    local cases = { { "407 Proxy Authentication Required", 1 }, { "403 Forbidden", 1 }, { "400 Bad Request", 1 },
      { "502 Bad Gateway", 3 }, { "503 Service Unavailable", 3 } }
    for _, case in ipairs(cases) do
      with(proxy_that_says(case[1]), function(proxy)
        local url = "http://127.0.0.1:" .. proxy.port
        local err = assert.refused("^cannot reach https://server%.invalid/v1/models through http://127%.0%.0%.1:%d+: ",
          list("https://server.invalid/v1", { proxy = url, retry = { base = 0 } }))
        assert.same({ "connect", "connect", nil, case[2] }, { err.kind, err.phase, err.status, err.attempts },
          err.message)
        assert.matches(case[1]:match "%d+", err.message)
        assert.equal(case[2], #proxy:seen "head")
        assert.matches(case[1]:find "^407" and "user:password@" or "the proxy refused", err.hint)
      end)
    end
  end)

  it("a proxy that refuses plain HTTP answers in the server's place", function()
    for _, status in ipairs { "407 Proxy Authentication Required", "502 Bad Gateway" } do
      with(proxy_that_says(status), function(proxy)
        local err = assert.refused(" through http://127",
          list(ELSEWHERE, { proxy = "http://127.0.0.1:" .. proxy.port }))
        assert.same({ "http", tonumber(status:match "%d+") }, { err.kind, err.status })
        if err.status == 407 then assert.matches("user:password@", err.hint) end
      end)
    end
  end)

  it("a proxy that is not there, that hangs, and whose name does not exist", function()
    local gone = raw.start { {} }
    gone:stop()
    local err = assert.refused("cannot reach .* through", list(ELSEWHERE, { proxy = "http://127.0.0.1:" .. gone.port }))
    assert.same({ "connect", "connect" }, { err.kind, err.phase })
    with(raw.start { { { hold = true } } }, function(proxy)
      err = assert.refused("within 0.3 s", list("https://server.invalid/v1",
        { proxy = "http://127.0.0.1:" .. proxy.port, timeout = { connect = 0.3 } }))
      assert.same({ "timeout", "connect", "connect" }, { err.kind, err.phase, err.limit })
    end)
    err = assert.refused("through http://proxy%.invalid", list(ELSEWHERE, { proxy = "http://proxy.invalid:3128" }))
    assert.equal("dns", err.phase)
  end)
end)

describe("a Unix socket", function()
  local folder

  setup(function() folder = process.shell "mktemp -d":match "^[^\n]+" end)
  teardown(function() os.execute("rm -rf " .. process.quote(folder)) end)

  it("a Unix socket, whatever the URL's host and the environment's proxy", function()
    local path = folder .. "/socket"
    with(raw.start { OK }, function(server)
      with(relay.start { mode = "pass", listen = path, to = server.port }, function(socket)
        assert.equal("tiny", assert(list(ELSEWHERE, { unix_socket = path }))[1].id)
        assert.matches("^GET /v1/models HTTP/1%.1\r\nHost: server%.invalid\r\n", socket:received())
      end)
    end)
  end)

  it("what a server says on a Unix socket after its reply is not taken for the next one", function()
    local path = folder .. "/talkative"
    local function reply(id)
      local body = ('{"data":[{"id":"%s"}]}'):format(id)
      return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)
    end
    local first = { { await = "request" }, { send = reply "one" }, { pause = 0.1 }, { send = reply "stale" },
      { hold = true } }
    with(raw.start { first, { { await = "request" }, { send = reply "two" } } }, function(server)
      with(relay.start { mode = "pass", listen = path, to = server.port }, function()
        local client = lmm.connect { base_url = ELSEWHERE, unix_socket = path, retry = false, timeout = 60 }
        assert.equal("one", assert(client:models())[1].id)
        server:wait("closed", 1) -- such a connection is not kept
        assert.equal("two", assert(client:models())[1].id)
      end)
    end)
  end)

  it("a path without a socket, with something else, and one that nobody listens on", function()
    local function refused(path)
      local says = "^cannot reach .* at " .. path:gsub("%p", "%%%0") .. ": Could ?n[o']t connect to server %("
      local err = assert.refused(says, list(ELSEWHERE, { unix_socket = path }))
      assert.same({ "connect", "connect", "is a server listening at that path?" }, { err.kind, err.phase, err.hint })
    end
    refused(folder .. "/gone")
    refused(process.write(folder .. "/file", "text"))
    refused(folder)
    local path = folder .. "/left"
    relay.start({ mode = "pass", listen = path, to = 9 }):stop()
    assert.truthy(process.shell("ls " .. process.quote(path)):find "left", "the socket is gone")
    refused(path)
    for _, wrong in ipairs { "", "a\0b", ("x"):rep(108) } do
      assert.raises("unix_socket: a path of 1 to 107 bytes expected", lmm.connect, { unix_socket = wrong })
    end
    refused(folder .. "/" .. ("x"):rep(107 - #folder - 1))
  end)
end)

describe("IPv6", function()
  it("IPv6, which the environment's proxy is not for either", function()
    if not process.has_v6() then pending "this machine has no ::1" end
    with(raw.start { OK }, function(server)
      with(relay.start { mode = "pass", listen = "::1", to = server.port }, function(v6)
        local url = "http://[::1]:" .. v6.port .. "/v1"
        assert.equal("tiny", assert(list(url))[1].id)
        assert.matches("\r\nHost: %[::1%]:" .. v6.port .. "\r\n", v6:received())
        assert.equal("tiny", list_elsewhere { URL = url, http_proxy = "http://127.0.0.1:9" })
        v6:stop()
        assert.equal("connect", assert.refused("http://%[::1%]:%d+/v1/models", list(url)).phase)
      end)
    end)
  end)

  it("IPv6, and IPv4 written as such: what a server says after its reply is not taken for the next one", function()
    if not process.has_v6() then pending "this machine has no ::1" end
    for _, host in ipairs { "::1", "::ffff:127.0.0.1" } do
      local function reply(id)
        local body = MODELS:gsub("tiny", id)
        return (answer("200 OK", body):gsub("Connection: close\r\n", ""))
      end
      local long = reply(("a"):rep(16384 - #reply(("a"):rep(10000)) + 10000)) -- libcurl takes as much at a time
      assert.equal(16384, #long)
      local talkative = { { await = "request" }, { send = long .. reply "stale" }, { await = "close" } }
      with(raw.start({ talkative, { { await = "request" }, { send = reply "two" } } }, host), function(server)
        local url = ("http://[%s]:%d/v1"):format(host, server.port)
        local client = lmm.connect { base_url = url, retry = false, timeout = 60 }
        assert.equal(true, #assert(client:models())[1].id > 10000)
        assert.equal("two", assert(client:models())[1].id)
      end)
    end
  end)
end)

describe("a redirect", function()
  it("a redirect is an error that names where it points; nobody goes there", function()
    with(raw.start { OK }, function(other)
      for _, status in ipairs { "300 Multiple Choices", "301 Moved Permanently", "302 Found", "303 See Other",
        "307 Temporary Redirect", "308 Permanent Redirect" } do
        local location = ("http://127.0.0.1:%d/v1/models"):format(other.port)
        local redirect = { { await = "request" }, { send = answer(status, "", "Location: " .. location) } }
        with(raw.start { redirect }, function(server)
          local client = lmm.connect { base_url = server.url, model = "m", api_key = KEY }
          for _, ask in ipairs { client.models, client.health, client.chat } do
            local request = ask == client.chat and { messages = {} } or nil
            local err = assert.refused("HTTP " .. status:match "%d+", ask(client, request))
            assert.same({ "http", tonumber(status:match "%d+"), 1,
              "it points to " .. location .. "; redirects are not followed" },
              { err.kind, err.status, err.attempts, err.hint })
          end
          assert.refused("it points to", client:stream({ messages = {} }):next())
        end)
      end
      assert.equal(0, #other:events())
    end)
    with(raw.start { { { await = "request" }, { send = answer("304 Not Modified", "") } } }, function(server)
      assert.is_nil(assert.refused("HTTP 304", list(server.url)).hint)
    end)
  end)
end)

describe("its sockets", function()
  it("are told apart where the host has several addresses: nothing stale is read on a kept connection", function()
    local function reply(id)
      local body = ('{"data":[{"id":"%s"}]}'):format(id)
      return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)
    end
    local long = reply(("a"):rep(16384 - #reply(("a"):rep(10000)) + 10000)) -- libcurl takes as much at a time
    local talkative = { { await = "request" }, { send = long .. reply "stale" }, { await = "close" } }
    with(raw.start { talkative, { { await = "request" }, { send = reply "two" }, { hold = true } } }, function(server)
      local library = program.library "two_addresses"
      local ended = program.run([[
        local client = require("lmm").connect { base_url = ..., retry = false, timeout = 60 }
        print(#assert(client:models())[1].id > 10000)
        print(assert(client:models())[1].id)]],
        { "http://two.addresses:" .. server.port .. "/v1" }, 'LD_PRELOAD="$LD_PRELOAD ' .. library .. '"')
      os.remove(library)
      assert.same({ 0, "", "true\ntwo\n" }, { ended.status, ended.err, ended.out })
    end)
  end)

  it("no descriptor left for a connection", function()
    local ended = program.run([[
      local lmm, raw = require "lmm", require "spec.support.raw"
      local server = raw.start { {} }
      lmm.connect({ base_url = "http://127.0.0.1:9/v1", retry = false }):models() -- what is opened once is open
      local files = {}
      repeat
        local file = io.open "/dev/null"
        files[#files + 1] = file
      until not file
      local _, message, err = lmm.connect({ base_url = server.url, retry = false }):models()
      print(err.kind, err.phase, err.retryable, message)
      for _, file in ipairs(files) do file:close() end
      server:stop()
    ]], {}, "ulimit -n 100;")
    assert.matches("^connect\tconnect\ttrue\tcannot reach .*: Too many open files %(raise ulimit", ended.out)
  end)

  it("a process that is started meanwhile inherits no socket", function()
    local script = process.write(os.tmpname(), [[
      local lmm = require "lmm"
      local function sockets()
        local pipe = io.popen "ls -l /proc/self/fd"
        local count = select(2, pipe:read "*a":gsub("socket:", ""))
        pipe:close()
        return count
      end
      local before = sockets()
      local stream = lmm.connect({ model = "m" }):stream { messages = {} }
      assert(stream:next())
      local during = sockets()
      stream:cancel()
      print(during - before)]])
    local events = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    local head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with(raw.start { { { await = "request" }, { send = head .. events }, { hold = true } } }, function(server)
      local command = ("OPENAI_BASE_URL=%s %s %s 2>&1"):format(server.url, process.quote(arg[-1]),
        process.quote(script))
      assert.equal("0\n", process.shell(command))
    end)
    os.remove(script)
  end)

  -- While the other host has sent more than was read, a request goes out on the first one's kept connection.
  local BESIDE = [[
  local lmm = require "lmm"
  local first, other = ...
  local function client_of(url) return lmm.connect { base_url = url, model = "m", retry = false, timeout = 60 } end
  local near, far = client_of(first), client_of(other)
  assert(near:models())
  local stream = far:stream { messages = {} }
  local count = #stream:next()
  print(near:models()[1].id)
  for piece in stream do count = count + #piece end
  print(count, (select(2, stream:reply())))]]

  it("two hosts on one port, connected to from one port: their connections are not mixed up", function()
    local count, size = 4000, 1000
    local piece = ('data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'):format(("y"):rep(size))
    local stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" .. piece:rep(count)
      .. "data: [DONE]\n\n"
    local kept = { send = (answer("200 OK", MODELS):gsub("Connection: close\r\n", "")) }
    with(raw.start { { { await = "request" }, kept, { await = "request" }, kept, { hold = true } } }, function(server)
      with(raw.start({ { { await = "request" }, { send = stream } } }, "127.0.0.2", server.port), function(other)
        local library = program.library "one_port"
        local ended = program.run(BESIDE, { server.url, other.url }, 'LD_PRELOAD="$LD_PRELOAD ' .. library .. '"')
        os.remove(library)
        assert.same({ 0, "", "tiny\n" .. count * size .. "\tnil\n" }, { ended.status, ended.err, ended.out })
        assert.equal(server:seen "accepted"[1].port, other:seen "accepted"[1].port)
        assert.equal(1, #server:seen "accepted")
      end)
    end)
  end)
end)

describe("the model that is not served", function()
  it("a model that the built-in server does not have: its own is named", function()
    local server = assert(mock.start { model = "org/tiny-vl" })
    local client = lmm.connect { base_url = server.url, model = "org/tinyvl" }
    local err = assert.refused('%(did you mean "org/tiny%-vl"%?%)$', client:chat { messages = { { role = "user",
      content = "q" } } })
    assert.same({ 404, 1 }, { err.status, err.attempts })
    assert.refused('%(the server has "org/tiny%-vl"%)$', client:stream({ model = "gpt", messages = { { role = "user",
      content = "q" } } }):reply())
    server.stop()
  end)
end)
