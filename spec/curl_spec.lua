-- The transport over libcurl against a scripted server on real sockets: what arrives, how a transfer ends, and that it
-- is gone when it is closed.
local core = require "lmm.core"
local loops = require "lmm.loop"
local program = require "spec.support.program"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"
local curl_transport = require "lmm.transport.curl"

local loop = loops.current()
local unpack = table.unpack or unpack -- luacheck: ignore

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

local CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
local HALF = "HTTP/1.1 200 OK\r\nX: "

local function request(server, more)
  local given = { method = "POST", url = server.url .. "/x", headers = { "X-A: b" }, body = core.body "question",
    connect_timeout = 5, max_head = 65536 }
  for name, value in pairs(more or {}) do given[name] = value end
  return given
end

local function soon()
  return loop:now() + 60
end

--- The whole reply: status, body, failure.
local function fetch(transport, given)
  local transfer, failure = transport:start(given)
  if not transfer then return nil, nil, failure end
  local pieces, head = {}
  head, failure = transfer:head(soon())
  while head do
    local bytes
    bytes, failure = transfer:read(soon())
    if not bytes then break end
    pieces[#pieces + 1] = bytes
  end
  transfer:close()
  return head, table.concat(pieces), failure
end

--- Runs `fn(server, transport)` with a server of these scenarios.
local function with(scenarios, fn)
  local server = raw.start(scenarios)
  local transport = curl_transport.new(loop, { host = "127.0.0.1" })
  local ok, err = xpcall(function() fn(server, transport) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

local function descriptors()
  return select(2, shell.output "ls /proc/$PPID/fd":gsub("\n", ""))
end

describe("the transport over libcurl", function()
  it("bytes that a finalizer has taken in while others are read are not lost", function()
    local BYTES = 4 * 1024 * 1024
    local whole = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(BYTES) .. ("x"):rep(BYTES)
    with({ { { await = "request" }, { send = whole } } }, function(server, transport)
      local curl, is_over = require "lmm.curl", false
      local function poll_when_collected()
        if is_over then return end
        curl.poll(0)
        if not rawget(_G, "newproxy") then return setmetatable({}, { __gc = poll_when_collected }) end
        getmetatable(newproxy(true)).__gc = poll_when_collected -- luacheck: ignore
      end
      local transfer = assert(transport:start(request(server)))
      assert(transfer:head(soon()))
      local pause, step = collectgarbage("setpause", 0), collectgarbage("setstepmul", 1000)
      poll_when_collected()
      local total, bytes = 0, transfer:read(soon())
      while bytes do
        total, bytes = total + #bytes, transfer:read(soon())
      end
      is_over = true
      collectgarbage("setpause", pause)
      collectgarbage("setstepmul", step)
      transfer:close()
      assert.equal(BYTES, total)
    end)
  end)

  it("a whole exchange, and what was sent", function()
    with({ { { await = "request" }, { send = OK } } }, function(server, transport)
      local head, body, failure = fetch(transport, request(server))
      assert.same({ 200, "5", "hello" }, { head.status, head.headers["content-length"], body, failure })
      local sent = server:received()
      assert.matches("^POST /v1/x HTTP/1.1\r\n", sent)
      assert.matches("\r\nX%-A: b\r\n", sent)
      assert.matches("\r\nContent%-Length: 8\r\n", sent)
      assert.matches("\r\n\r\nquestion$", sent)
      assert.truthy(not sent:find "Expect" and not sent:find "Accept%-Encoding")
    end)
  end)

  for what, row in pairs {
    ["of a reply that is whole"] = { steps = { { send = OK } }, is_end = true },
    ["of the last chunk"] = { steps = { { send = CHUNKED .. "0\r\n\r\n" } }, is_end = true },
    ["of a chunk with more to come"] = { steps = { { send = CHUNKED }, { hold = true } }, is_end = false },
    ["of a reply that breaks off"] = { steps = { { send = OK:sub(1, -2) } }, is_end = false, kind = "truncated" },
  } do
    it("bytes " .. what .. " tell whether it ends with them", function()
      with({ { { await = "request" }, unpack(row.steps) } }, function(server, transport)
        local transfer = assert(transport:start(request(server)))
        assert(transfer:head(soon()))
        local bytes, _, is_end = transfer:read(soon())
        assert.same({ "string", row.is_end }, { type(bytes), is_end })
        if row.is_end or row.kind then
          local more, failure = transfer:read(soon())
          assert.same({ nil, row.kind }, { more, failure and failure.kind })
        end
        transfer:close()
      end)
    end)
  end

  it("headers: names in lower case, values trimmed, repeated ones joined, 1xx passed over", function()
    local reply = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
      .. "HTTP/1.1 200 OK\r\nX-A:  one  \r\nx-a: two\r\nEmpty:\r\nContent-Length: 0\r\n\r\n"
    with({ { { await = "request" }, { send = reply } } }, function(server, transport)
      local head = fetch(transport, request(server))
      assert.same({ 200, "one, two", "" }, { head.status, head.headers["x-a"], head.headers.empty, head.headers.link })
    end)
  end)

  it("a head with bare line ends, and a value of many spaces: with quadratic work this would not end", function()
    local reply = "HTTP/1.1 200 OK\nX: a" .. (" "):rep(60000) .. "b \t\nContent-Length: 5\n\nhello"
    with({ { { await = "request" }, { send = reply } } }, function(server, transport)
      local head, body = fetch(transport, request(server))
      assert.same({ 200, 60002, "hello" }, { head.status, #head.headers.x, body })
    end)
  end)

  it("a chunked reply, byte by byte", function()
    local reply = CHUNKED .. "2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
    with({ { { await = "request" }, { dribble = reply, every = 0.0005 } } }, function(server, transport)
      local _, body, failure = fetch(transport, request(server))
      assert.same({ "abcde" }, { body, failure })
    end)
  end)

  it("a large body is pulled from its source and arrives whole", function()
    local bytes = ("0123456789abcdef"):rep(512 * 1024)
    local media = assert(core.media { bytes = bytes })
    with({ { { await = "request" }, { send = OK } } }, function(server, transport)
      local body = core.write { data = core.embed("", media) }
      fetch(transport, request(server, { body = body }))
      local seen = server:wait("request")[1]
      assert.equal(body:size(), seen.bytes)
      assert.equal('{"data":"' .. core.base64.encode(bytes) .. '"}', server:received():match "\r\n\r\n(.*)$")
    end)
  end)

  it("how a transfer fails: kind and phase", function()
    local cases = {
      { "closed without a byte", { { await = "request" }, { close = true } }, "connect", "wait" },
      { "reset without a byte", { { await = "request" }, { reset = true } }, "connect", "wait" },
      { "not HTTP", { { await = "request" }, { send = "SSH-2.0-OpenSSH_9.2\r\n" }, { close = true } }, "protocol" },
      { "half a head", { { await = "request" }, { send = HALF }, { close = true } }, "truncated", "wait" },
      { "Content-Length not reached", { { await = "request" }, { send = OK:sub(1, -3) }, { close = true } },
        "truncated", "receive" },
      { "no last chunk", { { await = "request" }, { send = CHUNKED }, { close = true } }, "truncated", "receive" },
      { "reset in the reply", { { await = "request" }, { send = CHUNKED }, { reset = true } }, "truncated", "receive" },
      { "a head too long", { { await = "request" }, { send = HALF .. ("x"):rep(70000) .. "\r\n\r\n" },
        { hold = true } }, "limit", nil },
      { "a head without end", { { await = "request" }, { send = HALF .. ("x"):rep(200000) }, { hold = true } },
        "limit", nil },
      { "many short header lines", { { await = "request" }, { send = "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(20000) },
        { hold = true } }, "limit", nil },
    }
    for _, case in ipairs(cases) do
      with({ case[2] }, function(server, transport)
        local _, _, failure = fetch(transport, request(server))
        assert.truthy(failure, case[1])
        assert.equal(case[3], failure.kind, case[1] .. " " .. tostring(failure.reason))
        if case[4] then assert.equal(case[4], failure.phase, case[1]) end
      end)
    end
  end)

  it("nothing listens; a name that does not exist; a port that does not answer in time", function()
    local server = raw.start { {} }
    server:stop()
    local transport = curl_transport.new(loop, { host = "127.0.0.1" })
    local _, _, failure = fetch(transport, request(server))
    assert.same({ "connect", "connect" }, { failure.kind, failure.phase })
    _, _, failure = fetch(transport, request { url = "http://no-such-host.invalid/v1" })
    assert.same({ "connect", "dns" }, { failure.kind, failure.phase })
  end)

  it("TLS that is never answered, and TLS spoken to a plain server", function()
    with({ { { hold = true } } }, function(server, transport)
      local given = request(server, { url = server.url:gsub("^http:", "https:"), connect_timeout = 0.3 })
      local _, _, failure = fetch(transport, given)
      assert.same({ "timeout", "tls" }, { failure.kind, failure.phase })
    end)
    with({ { { send = "HTTP/1.1 400 Bad Request\r\n\r\n" }, { await = "close" } } }, function(server, transport)
      local _, _, failure = fetch(transport, request(server, { url = server.url:gsub("^http:", "https:") }))
      assert.same({ "connect", "tls" }, { failure.kind, failure.phase })
    end)
  end)

  it("a deadline ends the wait; the phase says where it was", function()
    with({ { { await = "request" }, { hold = true } } }, function(server, transport)
      local transfer = transport:start(request(server))
      server:wait("accepted", 0)
      local _, failure = transfer:head(loop:now() + 0.2)
      assert.same({ "timeout", "wait" }, { failure.kind, failure.phase })
      transfer:close()
      server:wait "closed"
    end)
  end)

  it("close: the server sees it at once, the reader is told, and it may be called again", function()
    with({ { { await = "request" }, { send = OK:sub(1, -3) }, { await = "close" } } }, function(server, transport)
      local transfer = transport:start(request(server))
      assert.equal(200, transfer:head(soon()).status)
      local result
      local task = loop:spawn(function()
        transfer:read(soon())
        return transfer:read(soon())
      end, function(...) result = { ... } end)
      transfer:close()
      transfer:close()
      task:wait()
      assert.same({ true, nil, "cancelled" }, { result[1], result[2], result[3].kind })
      server:wait "closed"
    end)
  end)

  it("a transfer that nobody holds is closed by the collector", function()
    with({ { { await = "request" }, { send = OK:sub(1, -3) }, { await = "close" } } }, function(server, transport)
      do
        local transfer = transport:start(request(server))
        assert.equal(200, transfer:head(soon()).status)
      end
      collectgarbage()
      collectgarbage()
      server:wait "closed"
    end)
  end)

  it("connections are used again, and a dead one is replaced once without a word", function()
    local twice = { { await = "request" }, { send = OK }, { await = "request" }, { send = OK } }
    with({ twice }, function(server, transport)
      for _ = 1, 2 do assert.equal("hello", (select(2, fetch(transport, request(server))))) end
      assert.equal(1, #server:seen "accepted")
    end)
    local dies = { { await = "request" }, { send = OK }, { await = "request" }, { reset = true } }
    with({ dies, { { await = "request" }, { send = OK } } }, function(server, transport)
      for _ = 1, 2 do assert.equal("hello", (select(2, fetch(transport, request(server))))) end
      local seen = server:wait("request", 3)
      assert.same({ 1, 2 }, { seen[2].connection, seen[3].connection })
      assert.equal(seen[3].sha256, seen[2].sha256)
    end)
  end)

  it("a connection idle for 4 s is not used again", function()
    local twice = { { await = "request" }, { send = OK }, { await = "request" }, { send = OK } }
    with({ twice }, function(server, transport)
      fetch(transport, request(server))
      loop:wait({}, loop:now() + 4.01)
      fetch(transport, request(server))
      assert.equal(2, #server:seen "accepted")
    end)
  end)

  it("a request is sent at most twice by libcurl itself, the second time on a fresh connection", function()
    local dies = { { await = "request" }, { send = OK }, { await = "request" }, { reset = true } }
    with({ dies, dies, dies, { { await = "request" }, { reset = true } } }, function(server, transport)
      -- Three connections idle side by side, each of which dies at its next request.
      local transfers = {}
      for i = 1, 3 do transfers[i] = transport:start(request(server)) end
      for i = 1, 3 do
        assert.equal(200, transfers[i]:head(soon()).status)
        while transfers[i]:read(soon()) do end
      end
      for i = 1, 3 do transfers[i]:close() end
      local _, _, failure = fetch(transport, request(server))
      assert.equal("connect", failure.kind)
      assert.equal(4, server:wait("request", 5)[5].connection)
      assert.equal(4, #server:seen "accepted")
    end)
  end)

  it("a reader that does not read holds the sender back", function()
    local size = 32 * 1024 * 1024
    local reply = "HTTP/1.1 200 OK\r\nContent-Length: " .. size .. "\r\n\r\n" .. ("x"):rep(size)
    with({ { { await = "request" }, { send = reply } } }, function(server, transport)
      local transfer = transport:start(request(server))
      assert.equal(200, transfer:head(soon()).status)
      local largest, total = 0, 0
      while true do
        loop:wait({}, loop:now() + 0.0001) -- others would run meanwhile, and libcurl with them
        local bytes = transfer:read(soon())
        if not bytes then break end
        largest, total = math.max(largest, #bytes), total + #bytes
      end
      assert.equal(size, total)
      assert.truthy(largest <= 512 * 1024, "handed out " .. largest .. " bytes at once")
      transfer:close()
    end)
  end)

  it("a file that changes after its part was made is never sent short or mixed", function()
    local name = os.tmpname()
    local function write(bytes) shell.write(name, bytes) end
    for _, size in ipairs { 1000, 1000000 } do
      write(("a"):rep(size))
      local body = core.embed("", assert(core.media(name)))
      write(("b"):rep(size + 1))
      with({ { { await = "request" }, { send = OK } } }, function(server, transport)
        local head, _, failure = fetch(transport, request(server, { body = body }))
        assert.same({ nil, "invalid" }, { head, failure.kind })
        assert.matches("has changed", failure.reason)
        assert.equal(0, #server:seen "request")
      end)
    end
    os.remove(name)
  end)

  it("many at once share one poll; no descriptor stays", function()
    local serves = {}
    for i = 1, 600, 2 do serves[i], serves[i + 1] = { await = "request" }, { send = OK } end -- one may get them all
    serves[#serves + 1] = { await = "close" }
    with({ serves }, function(server, transport)
      local before = descriptors()
      for _ = 1, 10 do
        local tasks = {}
        for i = 1, 30 do
          tasks[i] = loop:spawn(function() return select(2, fetch(transport, request(server))) end)
        end
        for i = 1, 30 do assert.same({ true, "hello" }, { tasks[i]:wait() }) end
      end
      local after = descriptors() -- idle connections are kept, but not one for each of 300 exchanges
      assert.truthy(after - before <= 60, before .. " descriptors before, " .. after .. " after")
    end)
  end)

  it("large bodies of many requests at once are sent from little memory", function()
    with({ { { await_all = 96 }, { send = OK } } }, function(server)
      local ended = program.run([[
        local core, loop = require "lmm.core", require("lmm.loop").current()
        local transport = require("lmm.transport.curl").new(loop, { host = "127.0.0.1" })
        local media = assert(core.media { bytes = ("0123456789abcdef"):rep(64 * 1024) })
        local function memory(name)
          return tonumber(io.open("/proc/self/status"):read("*a"):match(name .. ":%s*(%d+)")) / 1024
        end
        local before, transfers = memory "VmRSS", {}
        for i = 1, 96 do
          transfers[i] = assert(transport:start { method = "POST", url = ..., headers = {}, connect_timeout = 50,
            body = core.write { data = core.embed("", media) }, max_head = 65536 })
        end
        for i = 1, 96 do assert(transfers[i]:head(loop:now() + 50)) end
        print(memory "VmHWM" - before)
      ]], { server.url })
      assert.same({ 0, "" }, { ended.status, ended.err })
      local grown = tonumber(ended.out) -- MiB: 50 where each request has 512 KiB to send from
      if os.getenv "LMM_TEST_WRAP" == nil then assert.truthy(grown < 32, ended.out) end
    end)
  end)

  it("bad arguments to the C module raise", function()
    local curl = require "lmm.curl"
    local connection = curl.connect {}
    assert.raises("bad option 'proxy'", curl.connect, { proxy = 1 })
    assert.raises("request.url: string expected", connection.start, connection, { method = "GET" })
    assert.raises("a body made by this build's lmm.core", connection.start, connection,
      { method = "POST", url = "http://x", body = "text" })
    assert.raises("a body made by this build's lmm.core", connection.start, connection,
      { method = "POST", url = "http://x", body = io.stdout })
    connection:close()
    connection:close()
    assert.raises("closed connection", connection.start, connection, { method = "GET", url = "http://x" })
    local transfer, message = curl.connect({}):start { method = "GET", url = "gopher://x/" }
    assert.truthy(transfer or message)
  end)

  it("a reset while bytes wait to be read ends nobody else's request", function()
    local early = "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" .. ("x"):rep(800000)
    local server = raw.start { { { await = "head" }, { send = early }, { pause = 0.1 }, { reset = true } } }
    local other = raw.start { { { await = "request" }, { hold = true } } }
    local transport = curl_transport.new(loop, { host = "127.0.0.1" })
    local silent = assert(transport:start(request(other)))
    local broken = assert(transport:start(request(server, { body = core.body(("y"):rep(60000000)) })))
    assert(broken:head(soon()))
    for _ = 1, 20 do loop:wait({}, loop:now() + 0.02) end -- it fills its buffer, and breaks off
    local failure
    repeat
      local bytes
      bytes, failure = broken:read(soon())
    until not bytes
    assert.equal("truncated", failure.kind)
    assert.equal("timeout", select(2, silent:head(loop:now() + 0.05)).kind)
    broken:close()
    silent:close()
    server:stop()
    other:stop()
  end)
end)
