-- Retries on real sockets: what the server gets, how often, and whether it is the same each time.
local core = require "lmm.core"
local json = require "lmm.json"
local lmm = require "lmm"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"
local transports = require "spec.support.transports"

local ANSWER = '{"choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}'
local WHOLE = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#ANSWER, ANSWER)
local BUSY = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

local function event(delta, finish_reason)
  return "data: " .. json.encode { choices = { { index = 0, delta = delta, finish_reason = finish_reason } } } .. "\n\n"
end

local ROLE, PIECE = event { role = "assistant", content = "" }, event { content = "fine" }
local FAULT = 'data: {"error":{"message":"no room","code":503}}\n\ndata: [DONE]\n\n'
local STREAMED = EVENTS .. ROLE .. PIECE .. event({}, "stop") .. "data: [DONE]\n\n"

local function after_request(...)
  return { { await = "request" }, ... }
end

local close, reset = { close = true }, { reset = true }

local function with(scenarios, policy, fn)
  local server = raw.start(scenarios)
  local client = lmm.connect { base_url = server.url, model = "m", retry = policy, timeout = 50, dialect = "generic" }
  local ok, err = xpcall(function() fn(client, server) end, debug.traceback)
  client:close()
  server:stop()
  if not ok then error(err, 0) end
end

local function quick(attempts)
  return { attempts = attempts, base = 0, max_wait = 0 }
end

local file

--- A request with a file in it.
local function request_of()
  local content = { { type = "text", text = "What is it?" }, lmm.image(file, { mime = "image/png" }) }
  return { messages = { { role = "user", content = content } } }
end

--- All requests were the same, whole, and as many as they should be.
local function check_requests(server, count)
  local seen = server:wait("request", count)
  assert.equal(count, #seen)
  local least = #core.base64.encode(process.read(file))
  for i, request in ipairs(seen) do
    assert.same({ seen[1].sha256, seen[1].bytes }, { request.sha256, request.bytes }, "request " .. i)
    assert.truthy(request.bytes > least)
  end
end

transports.describe("a request that is sent again", function()
  setup(function()
    file = os.tmpname()
    process.write(file, ("0123456789abcdef"):rep(2 ^ 18)) -- 4 MiB
  end)
  teardown(function() os.remove(file) end)

  it("a stream is sent again, whole and the same, until its first piece is handed out", function()
    with({ after_request({ send = BUSY }, close), after_request(reset),
      after_request({ send = EVENTS .. ROLE .. FAULT }, close),
      after_request({ send = EVENTS .. ": hello\n\n" .. FAULT }, close), after_request({ send = STREAMED }, close) },
      quick(9), function(client, server)
      local stream = client:stream(request_of())
      assert.equal("fine", stream:next())
      assert.same({ "fine", 5 }, { stream:reply().text, stream:reply().attempts })
      check_requests(server, 5)
    end)
  end)

  it("and never again after that", function()
    for _, ending in ipairs { { send = FAULT }, close, reset } do
      with({ after_request({ send = EVENTS .. ROLE .. PIECE }, ending, close) }, quick(9), function(client, server)
        local stream = client:stream(request_of())
        assert.equal("fine", stream:next())
        local err = assert.refused("", stream:next())
        assert.same({ "fine", 1, 1 }, { err.partial, err.attempts, #server:seen "request" })
      end)
    end
  end)

  it("an answer that broke off is asked for again, as long as nothing of it was handed out", function()
    with({ after_request({ send = WHOLE:sub(1, -20) }, close) }, quick(3), function(client, server)
      local err = assert.refused("broke off", client:chat(request_of()))
      assert.same({ "truncated", 3, 3 }, { err.kind, err.attempts, #server:seen "request" })
    end)
  end)

  it("never more requests than attempts, whatever ends them", function()
    for _, ending in ipairs { { close }, { reset }, { { send = BUSY }, close } } do
      for _, attempts in ipairs { 1, 2, 4 } do
        for _, way in ipairs { "chat", "stream" } do
          with({ after_request(ending[1], ending[2]) }, quick(attempts), function(client, server)
            local told = 0
            client.policy.on_retry = function() told = told + 1 end
            local value, message, err = client[way](client, request_of())
            if way == "stream" then value, message, err = value:reply() end
            assert.refused("", value, message, err)
            assert.same({ attempts, attempts - 1, attempts }, { err.attempts, told, #server:seen "accepted" })
            check_requests(server, attempts)
          end)
        end
      end
    end
  end)

  it("a refusal that nobody can read is one by its status", function()
    local encoded = "HTTP/1.1 503 Busy\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    with({ after_request({ send = encoded }, close) }, quick(2), function(client, server)
      local err = assert.refused("HTTP 503 from .*: its reason is encoded %(gzip%)", client:chat(request_of()))
      assert.same({ "http", 503, 2 }, { err.kind, err.status, err.attempts })
      check_requests(server, 2)
    end)
  end)

  it("a refusal that comes while a body is still being sent, from a server that closes then", function()
    local large = os.tmpname()
    os.execute("head -c 20000000 /dev/zero >" .. large)
    local long = '{"error":{"param":"' .. ("x"):rep(40000) .. '","message":"no way"}}'
    local replies = {
      { "Content-Length: 6\r\n\r\nno way", ": no way %(" },
      { "\r\n", ": no reason given" },
      { ("Content-Length: %d\r\n\r\n%s"):format(#long, long), ": no way %(" }, -- more than is read at once
      { "Transfer-Encoding: chunked\r\n\r\n6\r\nno way\r\n0\r\n\r\n", ": no %l+ " }, -- the status at least
    }
    for _, row in ipairs(replies) do
      local reply = "HTTP/1.1 413 Too Large\r\nConnection: close\r\n" .. row[1]
      with({ { { await = "head" }, { deaf = true }, { send = reply }, close } }, quick(3), function(client, server)
        for i = 1, 30 do
          local messages = { { role = "user", content = { lmm.file(large) } } }
          local err = assert.refused("HTTP 413 from .*" .. row[2], client:chat { messages = messages })
          assert.same({ "http", 413, 1, i }, { err.kind, err.status, err.attempts, #server:wait("accepted", i) })
        end
      end)
    end
    os.remove(large)
  end)

  it("a body that broke off on its way is sent again from its beginning", function()
    local scenarios = { { { await = "head" }, reset }, { { await = "head" }, close },
      after_request({ send = WHOLE }, close) }
    with(scenarios, quick(9), function(client, server)
      local reply = assert(client:chat(request_of()))
      assert.same({ "fine", 3 }, { reply.text, reply.attempts })
      check_requests(server, 1)
      assert.matches("base64,MDEyMzQ1Njc4OWFiY2RlZjAxMjM0", server:received(3))
    end)
  end)

  -- The first request of each connection is answered, and the connection kept.
  local function kept(...)
    return { { await = "request" }, { send = WHOLE }, { await = "request" }, ... }
  end

  it("a kept connection that turns out dead: once more, not counted, and told to nobody", function()
    for _, way in ipairs { "chat", "stream" } do
      with({ kept(reset), after_request({ send = way == "chat" and WHOLE or STREAMED }, close) }, false,
        function(client, server)
          assert(client:chat(request_of()))
          local reply = way == "chat" and assert(client:chat(request_of()))
            or assert(client:stream(request_of()):reply())
          assert.same({ "fine", 1 }, { reply.text, reply.attempts })
          local seen = server:wait("request", 3)
          assert.same({ 3, 1, 2 }, { #seen, seen[2].connection, seen[3].connection })
          assert.same({ seen[3].sha256, seen[3].bytes }, { seen[2].sha256, seen[2].bytes })
        end)
    end
  end)

  -- libcurl sends again by itself where reading tells it of the end, and not where writing does.
  it("and one that dies while the request is still going out", function()
    for _, ending in ipairs { reset, close } do
      local dying = { { await = "request" }, { send = WHOLE }, { await = "head" }, { await = "head" }, ending }
      local scenarios = {}
      for i = 1, 2 * 20, 2 do scenarios[i], scenarios[i + 1] = dying, after_request({ send = WHOLE }, close) end
      with(scenarios, false, function(client, server)
        for _ = 1, 20 do
          assert(client:chat(request_of()))
          local reply = assert(client:chat(request_of()))
          assert.same({ "fine", 1 }, { reply.text, reply.attempts })
        end
        check_requests(server, 40)
      end)
    end
  end)

  it("a kept connection that ends after a while was not dead: that is a failure, and is counted", function()
    with({ kept({ pause = 1.3 }, reset), after_request({ send = WHOLE }, close) }, false, function(client, server)
      assert(client:chat(request_of()))
      local err = assert.refused("ended before an answer", client:chat(request_of()))
      assert.same({ "connect", "wait", 1, true }, { err.kind, err.phase, err.attempts, err.retryable })
      check_requests(server, 2)
    end)
  end)

  it("or that ends after a while in which the request was sent", function()
    local large = os.tmpname()
    os.execute("head -c 50000000 /dev/zero >" .. large)
    local slow = { { await = "request" }, { send = WHOLE }, { await = "head" }, { await = "head" }, { deaf = true },
      { pause = 1.3 }, reset }
    with({ slow, after_request({ send = WHOLE }, close) }, false, function(client, server)
      assert(client:chat(request_of()))
      local messages = { { role = "user", content = { lmm.file(large) } } }
      local err = assert.refused("ended before an answer", client:chat { messages = messages })
      assert.same({ "connect", "send", 1, true }, { err.kind, err.phase, err.attempts, err.retryable })
      assert.equal(1, #server:seen "accepted")
    end)
    os.remove(large)
  end)

  it("time limits while the fresh one that takes its place is made", function()
    local dying = { { await = "request" }, { send = WHOLE }, { await = "head" }, { await = "head" }, { shut = true },
      reset }
    for _, limit in ipairs { "connect", "first", "total" } do
      for _ = 1, 3 do -- writing tells of the end, or reading
        with({ dying }, false, function(client, server)
          assert(client:chat(request_of()))
          local err = assert.refused("timeout." .. limit, client:chat(request_of(), { timeout = { [limit] = 0.5 } }))
          assert.same({ "timeout", "connect", limit }, { err.kind, err.phase, err.limit })
          assert.equal(1, #server:seen "accepted")
        end)
      end
    end
  end)

  it("the fresh one that takes its place counts as the attempt", function()
    for _, attempts in ipairs { 1, 3 } do
      with({ kept(reset), after_request(reset) }, quick(attempts), function(client, server)
        assert(client:chat(request_of()))
        local err = assert.refused("ended before an answer", client:chat(request_of()))
        assert.same({ "connect", attempts }, { err.kind, err.attempts })
        check_requests(server, 1 + 1 + attempts)
      end)
    end
  end)

  it("a kept connection that dies after its first byte is not dead: it is not replaced", function()
    with({ kept({ send = "HTTP/1.1 200 OK\r\nContent-" }, close) }, quick(1), function(client, server)
      assert(client:chat(request_of()))
      assert.equal(1, assert.refused("broke off", client:chat(request_of())).attempts)
      check_requests(server, 2)
    end)
  end)

  it("a file that changed meanwhile is not sent again as another", function()
    local other = os.tmpname()
    process.write(other, ("a"):rep(2 ^ 20))
    with({ after_request({ send = BUSY }, close) }, { base = 0, on_retry = function()
      process.write(other, ("b"):rep(2 ^ 20 + 1))
    end }, function(client, server)
      local content = { lmm.image(other, { mime = "image/png" }) }
      local err = assert.refused("has changed", client:chat { messages = { { role = "user", content = content } } })
      assert.same({ "invalid", 2, 1 }, { err.kind, err.attempts, #server:seen "request" })
    end)
    os.remove(other)
  end)

  it("a picture that a server has lost is not sent again as another that its file holds now", function()
    local server = assert(require("lmm.mock").start { delay = 0, media_cache = 1 })
    local client = lmm.connect { base_url = server.url, model = "mock", retry = false }
    local folder = shell.output "mktemp -d":sub(1, -2)
    local one, two, shown = folder .. "/one.png", folder .. "/two.png", folder .. "/shown.png"
    local bytes = process.read "spec/media/picture.png"
    process.write(one, bytes .. "1")
    process.write(two, bytes .. "2")
    shell.run("touch -d 2020-01-01 %s %s && cp -p %s %s", one, two, one, shown)
    local chat = client:conversation()
    assert(chat:ask("q", lmm.image(shown)))
    assert(client:conversation():ask("another", lmm.image "spec/media/baseline.jpg")) -- in whose favour it is evicted
    shell.run("cp -p %s %s", two, shown)
    assert.refused("shown.png' has changed since the part was made", chat:ask "r")
    local reply = assert(client:conversation():ask("q", lmm.image(one)))
    assert.matches("sha256 " .. shell.output("sha256sum " .. one):match "^%x+", reply.text)
    client:close()
    server.stop()
    shell.run("rm -r %s", folder)
  end)
end)
