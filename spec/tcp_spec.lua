-- The transport over plain TCP: for whom it is, where it connects to, and that it goes together with libcurl's in one
-- loop. What it does with replies is told by parity_spec, and by those of phases, cancelling, sending again and storms.
local core = require "lmm.core"
local lmm = require "lmm"
local process = require "spec.support.process"
local program = require "spec.support.program"
local raw = require "spec.support.raw"
local route = require "lmm.transport.route"
local tcp = require "lmm.tcp"
local shell = require "spec.support.shell"
local transports = require "spec.support.transports"

local ANSWER = '{"choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}'
local WHOLE = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#ANSWER, ANSWER)

local function answering(count)
  local steps = {}
  for _ = 1, count or 1 do
    steps[#steps + 1] = { await = "request" }
    steps[#steps + 1] = { send = WHOLE }
  end
  steps[#steps + 1] = { await = "close" }
  return steps
end

local function with(scenarios, fn, address)
  local server = raw.start(scenarios, address)
  local ok, err = xpcall(function() fn(server) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

local function client_of(url, opts)
  local given = { base_url = url, model = "m", retry = false, timeout = 50, dialect = "generic" }
  for name, value in pairs(opts or {}) do given[name] = value end
  return lmm.connect(given)
end

local function ask(client)
  return client:chat { messages = { { role = "user", content = "q" } } }
end

describe("a server that is reached by plain TCP", function()
  it("has its address in its URL, and neither TLS nor a proxy nor a socket's path", function()
    for _, host in ipairs { "127.0.0.1", "10.1.2.3:8000", "localhost:1", "LOCALHOST", "a.localhost:80", "[::1]:8000",
      "[fe80::1]" } do
      assert.equal(true, route.is_plain { base_url = "http://" .. host .. "/v1" }, host)
      assert.equal(false, route.is_plain { base_url = "https://" .. host .. "/v1" }, host)
      assert.equal(false, route.is_plain { base_url = "http://" .. host, proxy = "http://127.0.0.1:3128" }, host)
      assert.equal(false, route.is_plain { base_url = "http://" .. host, unix_socket = "/tmp/s" }, host)
    end
    for _, host in ipairs { "gpu1:8000", "example.org", "localhost.example.org", "[fe80::1%eth0]" } do
      assert.equal(false, route.is_plain { base_url = "http://" .. host .. "/v1" }, host)
    end
  end)
end)

describe("the transport over plain TCP", function()
  setup(function() transports.use "tcp" end)
  teardown(function() transports.use "curl" end)

  it("keeps the connection for the next request, and takes none to another server", function()
    with({ answering(3) }, function(server)
      with({ answering() }, function(other)
        local client = client_of(server.url)
        assert.equal("fine", assert(ask(client)).text)
        assert.equal("fine", assert(ask(client_of(server.url))).text)
        assert.equal(1, #server:seen "accepted")
        assert.equal("fine", assert(ask(client_of(other.url))).text)
        assert.equal(1, #other:seen "accepted")
        client:close()
        server:wait "closed"
        other:wait "closed"
      end)
    end)
  end)

  it("finds localhost at both of its addresses", function()
    for _, address in ipairs { "127.0.0.1", process.has_v6() and "::1" or nil } do
      with({ answering(2) }, function(server)
        local host = address:find ":" and "[" .. address .. "]" or address
        assert.equal("fine", assert(ask(client_of(("http://localhost:%d/v1"):format(server.port)))).text)
        assert.equal("fine", assert(ask(client_of(("http://%s:%d/v1"):format(host, server.port)))).text)
      end, address)
    end
  end)

  it("tells what is wrong with a connection", function()
    local err = select(3, ask(client_of "http://127.0.0.1:1/v1"))
    assert.same({ "connect", "connect", 1 }, { err.kind, err.phase, err.attempts })
    assert.matches("^cannot reach http://127.0.0.1:1/v1: Connection refused %(is a server running there%?%)$",
      err.message)
    err = select(3, ask(client_of("http://127.0.0.256:80/v1", { retry = true })))
    assert.same({ "connect", "dns", 1 }, { err.kind, err.phase, err.attempts })
    assert.equal("cannot reach http://127.0.0.256:80/v1: it is no address (is the host's name right?)", err.message)
  end)

  it("tells what was wrong with the first address of localhost, whatever is wrong with the second", function()
    local connect = tcp.connect
    finally(function() tcp.connect = connect end)
    function tcp.connect(address, port)
      if address == "::1" then return nil, "Cannot assign requested address" end
      return connect(address, port)
    end
    assert.refused("Connection refused", ask(client_of "http://localhost:1/v1"))
  end)

  it("a connection idle for 4 s is not used again", function()
    local loop = require("lmm.loop").current()
    finally(function() loop.now = nil end)
    for idle, connections in pairs { [3.9] = 1, [4.1] = 2 } do
      with({ answering(2) }, function(server)
        local late = 0
        function loop.now() return core.now() + late end
        assert(ask(client_of(server.url)))
        late = idle
        assert(ask(client_of(server.url)))
        assert.equal(connections, #server:seen "accepted", idle)
      end)
    end
  end)

  it("says that it receives once a head has come, also while a body is still being sent", function()
    local large = process.write(os.tmpname(), ("\0"):rep(30e6))
    finally(function() os.remove(large) end)
    local early = "HTTP/1.1 200 OK\r\n\r\n" .. ANSWER:sub(1, 9)
    with({ { { await = "head" }, { send = early }, { hold = true } } }, function(server)
      local messages = { { role = "user", content = { lmm.file(large) } } }
      local err = select(3, client_of(server.url, { timeout = 0.3 }):chat { messages = messages })
      assert.same({ "timeout", "receive" }, { err.kind, err.phase })
    end)
  end)

  it("takes the answer of a server that breaks off before it is asked", function()
    local connect = tcp.connect
    finally(function() tcp.connect = connect end)
    local said = { "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "" }
    function tcp.connect()
      return { number = function() return -1 end, close = function() end,
        send = function() return nil, "Connection reset by peer" end,
        receive = function() return table.remove(said, 1) end }
    end
    assert.refused("HTTP 503 from .*: busy", ask(client_of "http://127.0.0.1:1/v1"))
  end)

  it("goes on beside calls by libcurl, each moved while the other waits", function()
    with({ { { await = "request" }, { await_all = 2 }, { send = WHOLE }, { await = "close" } } }, function(server)
      local first, second
      local ok = lmm.gather {
        function() first = assert(ask(client_of(server.url))) end,
        function() second = assert(ask(client_of("http://a.name:" .. server.port .. "/v1",
          { proxy = "http://127.0.0.1:" .. server.port }))) end,
      }
      assert.truthy(ok)
      assert.same({ "fine", "fine" }, { first.text, second.text })
    end)
  end)

  it("gives up what it uploads when the server has answered, and says what that answered", function()
    local refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    local large = process.write(os.tmpname(), ("\0"):rep(30e6))
    finally(function() os.remove(large) end)
    with({ { { await = "head" }, { deaf = true }, { send = refusal }, { await = "close" } } }, function(server)
      local messages = { { role = "user", content = { lmm.file(large) } } }
      local err = assert.refused("413", client_of(server.url):chat { messages = messages })
      assert.same({ "http", 413 }, { err.kind, err.status })
    end)
  end)

  it("sends what it was given, byte for byte, in however many pieces", function()
    local bytes = {}
    for i = 1, 3e6 do bytes[i] = string.char(i * 7919 % 251) end
    local file = process.write(os.tmpname(), table.concat(bytes))
    finally(function() os.remove(file) end)
    local sums = {}
    for _, name in ipairs { "curl", "tcp" } do
      transports.use(name)
      with({ answering() }, function(server)
        local messages = { { role = "user", content = { lmm.file(file) } } }
        assert(client_of(server.url):chat { messages = messages })
        sums[#sums + 1] = server:wait "request"[1].sha256
      end)
    end
    assert.equal(sums[1], sums[2])
  end)
end)

describe("a program that makes a call or a few", function()
  it("loads libcurl for a client that needs it with its first call, not with the client", function()
    local loaded = program.run([[
      require("lmm.loop").current().transport = "tcp"
      local client = require("lmm").connect { base_url = "https://127.0.0.1:1/v1", model = "m", retry = false }
      io.write(tostring(package.loaded["lmm.curl"] ~= nil))
      client:chat { messages = {} }
      io.write(" ", tostring(package.loaded["lmm.curl"] ~= nil))
    ]])
    assert.same({ 0, "false true", "" }, { loaded.status, loaded.out, loaded.err })
  end)

  it("has plain TCP only in a loop that moves it beside libcurl", function()
    local transport = require "lmm.transport"
    local others = { name = "blocking" }
    transport.hasten(others, "http://127.0.0.1:1")
    assert.equal("tcp", others.transport)
    others = { name = "nvim" }
    transport.hasten(others, "http://127.0.0.1:1")
    assert.is_nil(others.transport)
  end)
end)

describe("the command", function()
  --- The libraries that a command has loaded, from the dynamic linker.
  local function libraries(words)
    local log = os.tmpname()
    shell.output(("LD_DEBUG=files LD_DEBUG_OUTPUT=%s %s bin/lmm %s 2>/dev/null; cat %s.* >%s; rm -f %s.*"):format(log,
      shell.quote(arg[-1]), words, log, log, log))
    local text = process.read(log)
    os.remove(log)
    return text
  end

  it("asks a server by plain TCP without libcurl, and loads that where it needs it", function()
    with({ answering(2) }, function(server)
      local loaded = libraries("ask --no-log -m m --dialect generic --url " .. server.url .. " q")
      assert.matches("lmm/tcp%.so", loaded)
      assert.is_nil(loaded:find "libcurl")
      assert.equal(1, #server:seen "request")
    end)
    with({ answering() }, function(server)
      local named = ("ask --no-log -m m --dialect generic --url http://host.invalid:%d/v1 q"):format(server.port)
      local loaded = libraries(named)
      assert.matches("libcurl", loaded)
    end)
  end)

  it("asks by libcurl where the server of the configuration needs it", function()
    local folder = shell.output "mktemp -d":gsub("\n", "")
    finally(function() shell.output("rm -rf " .. folder) end)
    os.execute("mkdir " .. folder .. "/lmm")
    with({ answering() }, function(server)
      process.write(folder .. "/lmm/config.lua", ("return { servers = { far = { base_url = 'http://far:%d/v1', "
        .. "proxy = 'http://127.0.0.1:%d' } } }"):format(server.port, server.port))
      local command = "XDG_CONFIG_HOME=%s %s bin/lmm ask --no-log --dialect generic --server far -m m q 2>&1"
      local said = shell.output(command:format(folder, shell.quote(arg[-1])))
      assert.equal("fine\n", said)
    end)
  end)
end)

describe("sleep", function()
  it("ends when a descriptor is readable", function()
    local watch = assert(tcp.watch())
    local connection
    with({ { { send = "x" }, { await = "close" } } }, function(server)
      connection = assert(tcp.connect("127.0.0.1", server.port))
      watch:add(connection, false)
      local before = core.now()
      core.sleep(60, watch:number())
      assert(core.now() - before < 50)
      assert.same({ connection:number() }, watch:ready(0))
      assert.equal("x", connection:receive())
      assert.is_false(connection:receive())
      connection:close()
    end)
    watch:close()
    assert.raises("it is closed", watch.ready, watch, 0)
    assert.raises("it is closed", connection.receive, connection)
    assert.has_error(function() connection.close(io.stdout) end)
    assert.has_error(function() watch.number(io.stdout) end)
  end)
end)
