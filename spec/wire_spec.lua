-- The whole library on real sockets: what the server sees of asks, streams, gathers and cancels, and in which order.
local lmm = require "lmm"
local raw = require "spec.support.raw"
local test = require "spec.support.test"

local function reply(text)
  local body = '{"choices":[{"index":0,"message":{"content":"' .. text .. '"},"finish_reason":"stop"}]}'
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

local function delta(text)
  return 'data: {"choices":[{"index":0,"delta":{"content":"' .. text .. '"}}]}\n\n'
end

local STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

local function with(scenarios, opts, fn)
  local server = raw.start(scenarios)
  local given = { base_url = server.url, model = "m", retry = false }
  for name, value in pairs(opts) do given[name] = value end
  local client = lmm.connect(given)
  local ok, err = xpcall(function() fn(client, server) end, debug.traceback)
  client:close()
  server:stop()
  if not ok then error(err, 0) end
end

local request = { messages = { { role = "user", content = "q" } } }

test.case("two asks in a gather are both on the wire before either is answered", function()
  local scenario = { { await = "request" }, { await_all = 2 }, { send = reply "a" }, { await = "close" } }
  with({ scenario }, {}, function(client, server)
    local function ask() return client:chat(request) end
    local results, errors = lmm.gather { ask, ask }
    test.equal({ results[1] and results[1].text, results[2] and results[2].text, next(errors) }, { "a", "a" })
    local order = {}
    for _, event in ipairs(server:events()) do
      if event.event == "request" or event.event == "accepted" then order[#order + 1] = event.event end
    end
    test.equal(order, { "accepted", "accepted", "request", "request" })
  end)
end)

test.case("a body is rewound and sent again whole", function()
  local busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
  local policy = { base = 0.001 }
  with({ { { await = "request" }, { send = busy }, { await = "request" }, { send = reply "a" } } }, { retry = policy },
    function(client, server)
      local content = { lmm.image "examples/picture.jpg" }
      local answer = assert(client:chat { messages = { { role = "user", content = content } } })
      test.equal(answer.attempts, 2)
      local seen = server:wait("request", 2)
      test.equal({ seen[1].sha256, seen[1].bytes }, { seen[2].sha256, seen[2].bytes })
    end)
end)

test.case("cancelling a stream closes its connection; nobody else is disturbed", function()
  with({ { { await = "request" }, { send = STREAM .. delta "a" }, { await = "close" } } }, {}, function(client, server)
    local first, second = client:stream(request), client:stream(request)
    test.equal({ first:next(), (second:next()) }, { "a", "a" })
    first:cancel()
    test.equal(server:wait("closed")[1].connection, 1)
    test.equal(#server:seen "closed", 1)
    test.equal(first.err.kind, "cancelled")
    second:cancel()
    server:wait("closed", 2)
  end)
end)

test.case("a cancelled task, a closed client and a collected stream close theirs, too", function()
  with({ { { await = "request" }, { send = STREAM .. delta "a" }, { await = "close" } } }, {}, function(client, server)
    local task = lmm.go(function() return client:stream(request):reply() end)
    local stream = client:stream(request)
    stream:next()
    server:wait("request", 2)
    task:cancel()
    local _, value, _, err = task:wait()
    test.equal({ value, err.kind }, { nil, "cancelled" })
    server:wait("closed", 1)
    stream = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    server:wait("closed", 2)
    stream = client:stream(request)
    stream:next()
    client:close()
    server:wait("closed", 3)
    test.equal(stream.err, nil)
    test.refused("cancelled", stream:next())
  end)
end)

test.case("a stream of a server that stops in the middle is truncated", function()
  with({ { { await = "request" }, { send = STREAM .. delta "ab" }, { close = true } } }, {}, function(client)
    local err = test.refused("without %[DONE%]", client:stream(request):reply())
    test.equal({ err.kind, err.partial }, { "truncated", "ab" })
  end)
  with({ { { await = "request" }, { send = STREAM .. delta "ab" }, { reset = true } } }, {}, function(client)
    local err = test.refused("broke off", client:stream(request):reply())
    test.equal({ err.kind, err.partial, err.phase }, { "truncated", "ab", "receive" })
  end)
end)

test.case("time limits on the wire", function()
  with({ { { await = "request" }, { hold = true } } }, { timeout = { first = 0.2 } }, function(client)
    local err = test.refused("timeout.first", client:chat(request))
    test.equal({ err.kind, err.phase }, { "timeout", "wait" })
  end)
  with({ { { await = "request" }, { send = STREAM .. delta "a" }, { dribble = (": ping\n\n"):rep(20), every = 0.02 },
    { hold = true } } }, { timeout = { idle = 0.3 } }, function(client)
    local err = test.refused("timeout.idle", client:stream(request):reply())
    test.equal({ err.kind, err.phase, err.partial }, { "timeout", "receive", "a" })
  end)
end)

test.case("after a stream the connection is used again", function()
  local events = delta "a" .. "data: [DONE]\n\n"
  local chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    .. ("%x\r\n%s\r\n0\r\n\r\n"):format(#events, events)
  local twice = { { await = "request" }, { send = chunked }, { await = "request" }, { send = chunked } }
  with({ twice }, {}, function(client, server)
    for _ = 1, 2 do test.equal(assert(client:stream(request):reply()).text, "a") end
    test.equal(#server:seen "accepted", 1)
  end)
end)

test.case("what is not HTTP, and nothing at all", function()
  with({ { { send = "SSH-2.0-OpenSSH_9.2\r\n" }, { hold = true } } }, {}, function(client)
    test.equal(test.refused("does not answer as it should", client:models()).kind, "protocol")
  end)
  with({ { { await = "request" }, { close = true } } }, {}, function(client)
    local err = test.refused("the connection to http://127.* ended before an answer", client:chat(request))
    test.equal({ err.kind, err.retryable }, { "connect", true })
  end)
end)

test.case("what a server sends beyond its reply is not taken for the next one", function()
  -- libcurl takes 16 KiB at a time, so that what follows a reply of just that size waits in the socket.
  local long = reply(("a"):rep(16384 - #reply(("a"):rep(10000)) + 10000))
  test.equal(#long, 16384)
  with({ { { await = "request" }, { send = long .. reply "forged" }, { await = "close" } },
    { { await = "request" }, { send = reply "b" } } }, {}, function(client, server)
    test.equal(#assert(client:chat(request)).text > 10000, true)
    test.equal(assert(client:chat(request)).text, "b")
    server:wait "closed"
  end)
end)
