-- The whole library on real sockets: what the server sees of asks, streams, gathers and cancels, and in which order.
local lmm = require "lmm"
local raw = require "spec.support.raw"

local function reply(text)
  local body = '{"choices":[{"index":0,"message":{"content":"' .. text .. '"},"finish_reason":"stop"}]}'
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

local function delta(text)
  return 'data: {"choices":[{"index":0,"delta":{"content":"' .. text .. '"}}]}\n\n'
end

local STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

local UNENDED = { { await = "request" }, { send = STREAM .. delta "a" }, { await = "close" } }

local function with(scenarios, opts, fn)
  local server = raw.start(scenarios)
  local given = { base_url = server.url, model = "m", retry = false, dialect = "generic" }
  for name, value in pairs(opts) do given[name] = value end
  local client = lmm.connect(given)
  local ok, err = xpcall(function() fn(client, server) end, debug.traceback)
  client:close()
  server:stop()
  if not ok then error(err, 0) end
end

local request = { messages = { { role = "user", content = "q" } } }

describe("the library on the wire", function()
  it("two asks in a gather are both on the wire before either is answered", function()
    local scenario = { { await = "request" }, { await_all = 2 }, { send = reply "a" }, { await = "close" } }
    with({ scenario }, {}, function(client, server)
      local function ask() return client:chat(request) end
      local results, errors = lmm.gather { ask, ask }
      assert.same({ "a", "a" }, { results[1] and results[1].text, results[2] and results[2].text, next(errors) })
      local order = {}
      for _, event in ipairs(server:events()) do
        if event.event == "request" or event.event == "accepted" then order[#order + 1] = event.event end
      end
      assert.same({ "accepted", "accepted", "request", "request" }, order)
    end)
  end)

  it("a body is rewound and sent again whole", function()
    local busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    local scenario = { { await = "request" }, { send = busy }, { await = "request" }, { send = reply "a" } }
    with({ scenario }, { retry = { base = 0.001 } }, function(client, server)
      local content = { lmm.image "examples/picture.jpg" }
      local answer = assert(client:chat { messages = { { role = "user", content = content } } })
      assert.equal(2, answer.attempts)
      local seen = server:wait("request", 2)
      assert.same({ seen[2].sha256, seen[2].bytes }, { seen[1].sha256, seen[1].bytes })
    end)
  end)

  it("cancelling a stream closes its connection; nobody else is disturbed", function()
    with({ UNENDED }, {}, function(client, server)
      local first, second = client:stream(request), client:stream(request)
      assert.same({ "a", "a" }, { first:next(), (second:next()) })
      first:cancel()
      assert.equal(1, server:wait("closed")[1].connection)
      assert.equal(1, #server:seen "closed")
      assert.equal("cancelled", first.err.kind)
      second:cancel()
      server:wait("closed", 2)
    end)
  end)

  it("a cancelled task, a closed client and a collected stream close theirs, too", function()
    with({ UNENDED }, {}, function(client, server)
      local task = lmm.go(function() return client:stream(request):reply() end)
      local stream = client:stream(request)
      stream:next()
      server:wait("request", 2)
      task:cancel()
      local _, value, _, err = task:wait()
      assert.same({ nil, "cancelled" }, { value, err.kind })
      server:wait("closed", 1)
      stream = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      server:wait("closed", 2)
      stream = client:stream(request)
      stream:next()
      client:close()
      server:wait("closed", 3)
      assert.is_nil(stream.err)
      assert.refused("cancelled", stream:next())
    end)
  end)

  it("a stream of a server that stops in the middle is truncated", function()
    with({ { { await = "request" }, { send = STREAM .. delta "ab" }, { close = true } } }, {}, function(client)
      local err = assert.refused("without %[DONE%]", client:stream(request):reply())
      assert.same({ "truncated", "ab" }, { err.kind, err.partial })
    end)
    with({ { { await = "request" }, { send = STREAM .. delta "ab" }, { reset = true } } }, {}, function(client)
      local err = assert.refused("broke off", client:stream(request):reply())
      assert.same({ "truncated", "ab", "receive" }, { err.kind, err.partial, err.phase })
    end)
  end)

  it("time limits on the wire", function()
    with({ { { await = "request" }, { hold = true } } }, { timeout = { first = 0.2 } }, function(client)
      local err = assert.refused("timeout.first", client:chat(request))
      assert.same({ "timeout", "wait" }, { err.kind, err.phase })
    end)
    with({ { { await = "request" }, { send = STREAM .. delta "a" }, { dribble = (": ping\n\n"):rep(20), every = 0.02 },
      { hold = true } } }, { timeout = { idle = 0.3 } }, function(client)
      local err = assert.refused("timeout.idle", client:stream(request):reply())
      assert.same({ "timeout", "receive", "a" }, { err.kind, err.phase, err.partial })
    end)
  end)

  it("after a stream the connection is used again", function()
    local events = delta "a" .. "data: [DONE]\n\n"
    local chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. ("%x\r\n%s\r\n0\r\n\r\n"):format(#events, events)
    local twice = { { await = "request" }, { send = chunked }, { await = "request" }, { send = chunked } }
    with({ twice }, {}, function(client, server)
      for _ = 1, 2 do assert.equal("a", assert(client:stream(request):reply()).text) end
      assert.equal(1, #server:seen "accepted")
    end)
  end)

  it("what is not HTTP, and nothing at all", function()
    with({ { { send = "SSH-2.0-OpenSSH_9.2\r\n" }, { hold = true } } }, {}, function(client)
      assert.equal("protocol", assert.refused("does not answer as it should", client:models()).kind)
    end)
    with({ { { await = "request" }, { close = true } } }, {}, function(client)
      local err = assert.refused("the connection to http://127.* ended before an answer", client:chat(request))
      assert.same({ "connect", true }, { err.kind, err.retryable })
    end)
  end)

  it("what a server sends beyond its reply is not taken for the next one", function()
    -- libcurl takes 16 KiB at a time, so that what follows a reply of just that size waits in the socket.
    local long = reply(("a"):rep(16384 - #reply(("a"):rep(10000)) + 10000))
    assert.equal(16384, #long)
    with({ { { await = "request" }, { send = long .. reply "forged" }, { await = "close" } },
      { { await = "request" }, { send = reply "b" } } }, {}, function(client, server)
      assert.is_true(#assert(client:chat(request)).text > 10000)
      assert.equal("b", assert(client:chat(request)).text)
      server:wait "closed"
    end)
  end)
end)
