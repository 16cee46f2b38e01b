-- The transport over libcurl against a scripted server on real sockets: what arrives, how a transfer ends, and that it
-- is gone when it is closed.
local core = require "lmm.core"
local loops = require "lmm.loop"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"
local test = require "spec.support.test"
local transport = require "lmm.transport.curl"

local loop = loops.current()

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
local function fetch(carrier, given)
  local transfer, failure = carrier:start(given)
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

--- Runs `fn(server, carrier)` with a server of these scenarios.
local function with(scenarios, fn)
  local server = raw.start(scenarios)
  local carrier = transport.new(loop, { host = "127.0.0.1" })
  local ok, err = xpcall(function() fn(server, carrier) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

local function descriptors()
  return select(2, shell.output "ls /proc/$PPID/fd":gsub("\n", ""))
end

test.case("a whole exchange, and what was sent", function()
  with({ { { await = "request" }, { send = OK } } }, function(server, carrier)
    local head, body, failure = fetch(carrier, request(server))
    test.equal({ head.status, head.headers["content-length"], body, failure }, { 200, "5", "hello" })
    local sent = server:received()
    test.match(sent, "^POST /v1/x HTTP/1.1\r\n")
    test.match(sent, "\r\nX%-A: b\r\n")
    test.match(sent, "\r\nContent%-Length: 8\r\n")
    test.match(sent, "\r\n\r\nquestion$")
    test.ok(not sent:find "Expect" and not sent:find "Accept%-Encoding")
  end)
end)

test.case("headers: names in lower case, values trimmed, repeated ones joined, 1xx passed over", function()
  local reply = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    .. "HTTP/1.1 200 OK\r\nX-A:  one  \r\nx-a: two\r\nEmpty:\r\nContent-Length: 0\r\n\r\n"
  with({ { { await = "request" }, { send = reply } } }, function(server, carrier)
    local head = fetch(carrier, request(server))
    test.equal({ head.status, head.headers["x-a"], head.headers.empty, head.headers.link }, { 200, "one, two", "" })
  end)
end)

test.case("a head with bare line ends, and a value of many spaces: with quadratic work this would not end", function()
  local reply = "HTTP/1.1 200 OK\nX: a" .. (" "):rep(60000) .. "b \t\nContent-Length: 5\n\nhello"
  with({ { { await = "request" }, { send = reply } } }, function(server, carrier)
    local head, body = fetch(carrier, request(server))
    test.equal({ head.status, #head.headers.x, body }, { 200, 60002, "hello" })
  end)
end)

test.case("a chunked reply, byte by byte", function()
  local reply = CHUNKED .. "2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
  with({ { { await = "request" }, { dribble = reply, every = 0.0005 } } }, function(server, carrier)
    local _, body, failure = fetch(carrier, request(server))
    test.equal({ body, failure }, { "abcde" })
  end)
end)

test.case("a large body is pulled from its source and arrives whole", function()
  local bytes = ("0123456789abcdef"):rep(512 * 1024)
  local media = assert(core.media { bytes = bytes })
  with({ { { await = "request" }, { send = OK } } }, function(server, carrier)
    local body = core.body('{"data":"T1;"}', "T", { media })
    fetch(carrier, request(server, { body = body }))
    local seen = server:wait("request")[1]
    test.equal(seen.bytes, body:size())
    test.equal(server:received():match "\r\n\r\n(.*)$", '{"data":"' .. core.base64.encode(bytes) .. '"}')
  end)
end)

test.case("how a transfer fails: kind and phase", function()
  local cases = {
    { "closed without a byte", { { await = "request" }, { close = true } }, "connect", "wait" },
    { "reset without a byte", { { await = "request" }, { reset = true } }, "connect", "wait" },
    { "not HTTP", { { await = "request" }, { send = "SSH-2.0-OpenSSH_9.2\r\n" }, { close = true } }, "protocol" },
    { "half a head", { { await = "request" }, { send = HALF }, { close = true } }, "truncated", "wait" },
    { "Content-Length not reached", { { await = "request" }, { send = OK:sub(1, -3) }, { close = true } },
      "truncated", "receive" },
    { "no last chunk", { { await = "request" }, { send = CHUNKED }, { close = true } }, "truncated", "receive" },
    { "reset in the reply", { { await = "request" }, { send = CHUNKED }, { reset = true } }, "truncated", "receive" },
    { "a head too long", { { await = "request" }, { send = HALF .. ("x"):rep(70000) .. "\r\n\r\n" }, { hold = true } },
      "limit", nil },
    { "a head without end", { { await = "request" }, { send = HALF .. ("x"):rep(200000) }, { hold = true } },
      "limit", nil },
    { "many short header lines", { { await = "request" }, { send = "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(20000) },
      { hold = true } }, "limit", nil },
  }
  for _, case in ipairs(cases) do
    with({ case[2] }, function(server, carrier)
      local _, _, failure = fetch(carrier, request(server))
      test.ok(failure, case[1])
      test.equal(failure.kind, case[3], case[1] .. " " .. tostring(failure.reason))
      if case[4] then test.equal(failure.phase, case[4], case[1]) end
    end)
  end
end)

test.case("nothing listens; a name that does not exist; a port that does not answer in time", function()
  local server = raw.start { {} }
  server:stop()
  local carrier = transport.new(loop, { host = "127.0.0.1" })
  local _, _, failure = fetch(carrier, request(server))
  test.equal({ failure.kind, failure.phase }, { "connect", "connect" })
  _, _, failure = fetch(carrier, request { url = "http://no-such-host.invalid/v1" })
  test.equal({ failure.kind, failure.phase }, { "connect", "dns" })
end)

test.case("TLS that is never answered, and TLS spoken to a plain server", function()
  with({ { { hold = true } } }, function(server, carrier)
    local given = request(server, { url = server.url:gsub("^http:", "https:"), connect_timeout = 0.3 })
    local _, _, failure = fetch(carrier, given)
    test.equal({ failure.kind, failure.phase }, { "timeout", "tls" })
  end)
  with({ { { send = "HTTP/1.1 400 Bad Request\r\n\r\n" }, { await = "close" } } }, function(server, carrier)
    local _, _, failure = fetch(carrier, request(server, { url = server.url:gsub("^http:", "https:") }))
    test.equal({ failure.kind, failure.phase }, { "connect", "tls" })
  end)
end)

test.case("a deadline ends the wait; the phase says where it was", function()
  with({ { { await = "request" }, { hold = true } } }, function(server, carrier)
    local transfer = carrier:start(request(server))
    server:wait("accepted", 0)
    local _, failure = transfer:head(loop:now() + 0.2)
    test.equal({ failure.kind, failure.phase }, { "timeout", "wait" })
    transfer:close()
    server:wait "closed"
  end)
end)

test.case("close: the server sees it at once, the reader is told, and it may be called again", function()
  with({ { { await = "request" }, { send = OK:sub(1, -3) }, { await = "close" } } }, function(server, carrier)
    local transfer = carrier:start(request(server))
    test.equal(transfer:head(soon()).status, 200)
    local result
    local task = loop:spawn(function()
      transfer:read(soon())
      return transfer:read(soon())
    end, function(...) result = { ... } end)
    transfer:close()
    transfer:close()
    task:wait()
    test.equal({ result[1], result[2], result[3].kind }, { true, nil, "cancelled" })
    server:wait "closed"
  end)
end)

test.case("a transfer that nobody holds is closed by the collector", function()
  with({ { { await = "request" }, { send = OK:sub(1, -3) }, { await = "close" } } }, function(server, carrier)
    do
      local transfer = carrier:start(request(server))
      test.equal(transfer:head(soon()).status, 200)
    end
    collectgarbage()
    collectgarbage()
    server:wait "closed"
  end)
end)

test.case("connections are used again, and a dead one is replaced once without a word", function()
  local twice = { { await = "request" }, { send = OK }, { await = "request" }, { send = OK } }
  with({ twice }, function(server, carrier)
    for _ = 1, 2 do test.equal(select(2, fetch(carrier, request(server))), "hello") end
    test.equal(#server:seen "accepted", 1)
  end)
  local dies = { { await = "request" }, { send = OK }, { await = "request" }, { reset = true } }
  with({ dies, { { await = "request" }, { send = OK } } }, function(server, carrier)
    for _ = 1, 2 do test.equal(select(2, fetch(carrier, request(server))), "hello") end
    local seen = server:wait("request", 3)
    test.equal({ seen[2].connection, seen[3].connection }, { 1, 2 })
    test.equal(seen[2].sha256, seen[3].sha256)
  end)
end)

test.case("a connection idle for 4 s is not used again", function()
  local twice = { { await = "request" }, { send = OK }, { await = "request" }, { send = OK } }
  with({ twice }, function(server, carrier)
    fetch(carrier, request(server))
    loop:wait({}, loop:now() + 4.01)
    fetch(carrier, request(server))
    test.equal(#server:seen "accepted", 2)
  end)
end)

test.case("a request is sent at most twice by libcurl itself, the second time on a fresh connection", function()
  local dies = { { await = "request" }, { send = OK }, { await = "request" }, { reset = true } }
  with({ dies, dies, dies, { { await = "request" }, { reset = true } } }, function(server, carrier)
    -- Three connections idle side by side, each of which dies at its next request.
    local transfers = {}
    for i = 1, 3 do transfers[i] = carrier:start(request(server)) end
    for i = 1, 3 do
      test.equal(transfers[i]:head(soon()).status, 200)
      while transfers[i]:read(soon()) do end
    end
    for i = 1, 3 do transfers[i]:close() end
    local _, _, failure = fetch(carrier, request(server))
    test.equal(failure.kind, "connect")
    test.equal(server:wait("request", 5)[5].connection, 4)
    test.equal(#server:seen "accepted", 4)
  end)
end)

test.case("a reader that does not read holds the sender back", function()
  local size = 32 * 1024 * 1024
  local reply = "HTTP/1.1 200 OK\r\nContent-Length: " .. size .. "\r\n\r\n" .. ("x"):rep(size)
  with({ { { await = "request" }, { send = reply } } }, function(server, carrier)
    local transfer = carrier:start(request(server))
    test.equal(transfer:head(soon()).status, 200)
    local largest, total = 0, 0
    while true do
      loop:wait({}, loop:now() + 0.0001) -- others would run meanwhile, and libcurl with them
      local bytes = transfer:read(soon())
      if not bytes then break end
      largest, total = math.max(largest, #bytes), total + #bytes
    end
    test.equal(total, size)
    test.ok(largest <= 512 * 1024, "handed out " .. largest .. " bytes at once")
    transfer:close()
  end)
end)

test.case("a file that changes after its part was made is never sent short or mixed", function()
  local name = os.tmpname()
  local function write(bytes) shell.write(name, bytes) end
  for _, size in ipairs { 1000, 1000000 } do
    write(("a"):rep(size))
    local body = core.body('"T1;"', "T", { assert(core.media(name)) })
    write(("b"):rep(size + 1))
    with({ { { await = "request" }, { send = OK } } }, function(server, carrier)
      local head, _, failure = fetch(carrier, request(server, { body = body }))
      test.equal({ head, failure.kind }, { nil, "invalid" })
      test.match(failure.reason, "has changed")
      test.equal(#server:seen "request", 0)
    end)
  end
  os.remove(name)
end)

test.case("many at once share one poll; no descriptor stays", function()
  local serves = {}
  for i = 1, 600, 2 do serves[i], serves[i + 1] = { await = "request" }, { send = OK } end -- one may get them all
  serves[#serves + 1] = { await = "close" }
  with({ serves }, function(server, carrier)
    local before = descriptors()
    for _ = 1, 10 do
      local tasks = {}
      for i = 1, 30 do
        tasks[i] = loop:spawn(function() return select(2, fetch(carrier, request(server))) end)
      end
      for i = 1, 30 do test.equal({ tasks[i]:wait() }, { true, "hello" }) end
    end
    local after = descriptors() -- idle connections are kept, but not one for each of 300 exchanges
    test.ok(after - before <= 60, before .. " descriptors before, " .. after .. " after")
  end)
end)

test.case("bad arguments to the C module raise", function()
  local curl = require "lmm.curl"
  local connection = curl.connect {}
  test.raises("bad option 'proxy'", curl.connect, { proxy = 1 })
  test.raises("request.url: string expected", connection.start, connection, { method = "GET" })
  test.raises("a body made by this build's lmm.core", connection.start, connection,
    { method = "POST", url = "http://x", body = "text" })
  test.raises("a body made by this build's lmm.core", connection.start, connection,
    { method = "POST", url = "http://x", body = io.stdout })
  connection:close()
  connection:close()
  test.raises("closed connection", connection.start, connection, { method = "GET", url = "http://x" })
  local transfer, message = curl.connect({}):start { method = "GET", url = "gopher://x/" }
  test.ok(transfer or message)
end)

test.case("a reset while bytes wait to be read ends nobody else's request", function()
  local early = "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" .. ("x"):rep(800000)
  local server = raw.start { { { await = "head" }, { send = early }, { pause = 0.1 }, { reset = true } } }
  local other = raw.start { { { await = "request" }, { hold = true } } }
  local carrier = transport.new(loop, { host = "127.0.0.1" })
  local silent = assert(carrier:start(request(other)))
  local broken = assert(carrier:start(request(server, { body = core.body(("y"):rep(60000000)) })))
  assert(broken:head(soon()))
  for _ = 1, 20 do loop:wait({}, loop:now() + 0.02) end -- it fills its buffer, and breaks off
  local failure
  repeat
    local bytes
    bytes, failure = broken:read(soon())
  until not bytes
  test.equal(failure.kind, "truncated")
  test.equal(select(2, silent:head(loop:now() + 0.05)).kind, "timeout")
  broken:close()
  silent:close()
  server:stop()
  other:stop()
end)
