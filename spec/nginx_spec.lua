-- The transport of nginx in a real nginx, against servers that do byte by byte what a case says.
local authorities = require "spec.support.authority"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local relay = require "spec.support.relay"

describe("the transport in nginx", function()
  local authority, server

  setup(function()
    authority = authorities.new()
    authority:issue("good", "IP:127.0.0.1,DNS:localhost")
    authority:issue("other", "DNS:other.example")
    authority:issue("client", "email:client@other.example")
    authority:vouch("alone", "DNS:localhost")
    server = nginx.start {
      main = "env http_proxy;",
      env = "http_proxy=http://127.0.0.1:9",
      http = "lua_ssl_trusted_certificate " .. authority:path "ca.pem" .. ";",
    }
  end)

  teardown(function()
    -- Of a broken connection nginx itself tells, whatever the directive lua_socket_log_errors says.
    server:stop { "recv%(%) failed %(104: ", "send%(%) failed %(32: ", "send%(%) failed %(104: " }
    authority:remove()
  end)

  local function with(upstream, fn)
    local ok, err = xpcall(function() fn(upstream) end, debug.traceback)
    upstream:stop()
    if not ok then error(err, 0) end
  end

  --- Runs Lua in nginx, where `client` is one of this server's, with `more` options.
  local function run(upstream, code, more, own)
    return (own or server):run(([[
      local lmm = require "lmm"
      local client = lmm.connect { base_url = "%s", model = "m", retry = false %s }
      local function tell(value, message, err)
        if value then return value end
        return err.kind .. " " .. tostring(err.phase) .. " " .. tostring(err.limit) .. " " .. err.attempts, message
      end
      %s]]):format(upstream.url or "http://127.0.0.1:" .. upstream.port .. "/v1", more and ", " .. more or "", code))
  end

  local MODELS = '{"data":[{"id":"tiny"}]}'
  local COUNTED = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#MODELS, MODELS)
  local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
  local PIECE = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
  local LAST = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

  local function chunk(text) return ("%x\r\n%s\r\n"):format(#text, text) end

  local STREAMED = EVENTS .. "Transfer-Encoding: chunked\r\n\r\n" .. chunk(PIECE) .. chunk(PIECE) .. chunk(LAST)
    .. chunk ""

  -- ---- replies

  local replies = {
    { "counted", { { send = COUNTED }, { hold = true } }, "tiny" },
    { "counted, byte by byte", { { dribble = COUNTED, every = 0.001 }, { hold = true } }, "tiny" },
    { "chunked", { { send = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. chunk(MODELS) .. chunk "" },
      { hold = true } }, "tiny" },
    { "to the end", { { send = "HTTP/1.1 200 OK\r\n\r\n" .. MODELS } }, "tiny" },
    { "after an interim one", { { send = "HTTP/1.1 103 Early\r\nA: b\r\n\r\n" .. COUNTED }, { hold = true } }, "tiny" },
    { "counted and cut", { { send = COUNTED:sub(1, -2) } }, "truncated receive nil 1\n.*: 1 bytes are missing" },
    { "cut by a reset", { { send = COUNTED:sub(1, -2) }, { pause = 0.05 }, { reset = true } },
      "truncated receive nil 1\n.*connection reset by peer, 1 bytes are missing" },
    { "none at all", {}, "connect wait nil 1\n.* ended before an answer: the server closed it %(does .*" },
    { "a reset", { { reset = true } },
      "connect wait nil 1\n.* ended before an answer: connection reset by peer %(does .*" },
    { "cut in the head", { { send = "HTTP/1.1 200 OK\r\n" } }, "truncated wait nil 1\n.*: it ended within its head" },
    { "too long a head", { { send = "HTTP/1.1 200 OK\r\nA: " .. ("a"):rep(70000) }, { hold = true } },
      "limit wait nil 1\nthe reply's header is longer than 65536 bytes %(limits.header%)" },
    { "no HTTP", { { send = "SSH-2.0-OpenSSH\r\n" }, { hold = true } },
      "protocol wait nil 1\n.*: it does not speak HTTP %(does the server speak https%?%)" },
    { "a refusal", { { send = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnope!" }, { hold = true } },
      "http receive nil 1\nHTTP 404 from .*: nope!" },
  }

  for _, row in ipairs(replies) do
    it("a reply: " .. row[1], function()
      local steps = { { await = "request" } }
      for _, step in ipairs(row[2]) do steps[#steps + 1] = step end
      with(raw.start { steps }, function(upstream)
        local said = run(upstream, [[
          local models, message, err = client:models()
          return tell(models and models[1].id, message, err)]])
        assert.matches("^" .. row[3] .. "$", said)
      end)
    end)
  end

  it("a request as it goes out", function()
    with(raw.start { { { await = "request" }, { send = COUNTED }, { hold = true } } }, function(upstream)
      assert.equal("done", run(upstream, [[client:request("POST", "x", { a = 1 }) return "done"]],
        [[api_key = "key", headers = { ["X-Empty"] = "" }]]))
      local lines = {}
      for line in upstream:received():gmatch "([^\r\n]+)\r?\n?" do lines[#lines + 1] = line end
      local agent = "User-Agent: lmm/" .. require("lmm").version
      assert.same({ "POST /v1/x HTTP/1.1", "Host: 127.0.0.1:" .. upstream.port, "Accept: */*", agent,
        "Content-Type: application/json", "Authorization: Bearer key", "X-Empty:", "Content-Length: 7", '{"a":1}' },
        lines)
    end)
  end)

  it("a stream, piece by piece", function()
    local steps = { { await = "request" }, { send = EVENTS .. "\r\n" .. PIECE }, { pause = 0.3 }, { send = PIECE },
      { pause = 0.3 }, { send = LAST } } -- longer pauses than a worker lingers
    with(raw.start { steps }, function(upstream)
      assert.equal("a\na late", run(upstream, [[
        local pieces, now = {}, require("lmm.core").now
        local since = now()
        for piece in client:stream { messages = {} } do
          pieces[#pieces + 1] = piece .. (now() - since >= 0.25 and " late" or "")
          ngx.sleep(0.15) -- longer than a worker waits for its reader
          since = now() - 0.15
        end
        return unpack(pieces)]]))
    end)
  end)

  it("a request that replaces its ngx.ctx can still cancel, be told of time limits, and gather", function()
    local steps = { { await = "request" }, { send = EVENTS .. "\r\n" .. PIECE }, { await = "close" } }
    local ways = {
      { [[stream:cancel() return "cancelled"]], "cancelled" },
      { [[return (select(2, stream:next()))]], "the answer from .* stopped for 0.2 s .*" },
      { [[
        local task = lmm.go(function() ngx.ctx = {} return stream:next() end)
        ngx.ctx = { x = 1 }
        task:cancel()
        return (select(3, task:wait()))]], "the request was cancelled" },
      { [[
        local function read() ngx.ctx = {} stream:reply() end
        local ok, problem = pcall(lmm.gather, { read, function() error "mine" end })
        return problem]], ".*mine" },
    }
    for _, way in ipairs(ways) do
      with(raw.start { steps }, function(upstream)
        local begin = "local stream = client:stream({ messages = {} }, { timeout = { idle = %s } }) "
          .. "stream:next() ngx.ctx = {}"
        local idle = way[2]:find "stopped" and 0.2 or 60
        assert.matches("^" .. way[2] .. "$", run(upstream, begin:format(idle) .. " " .. way[1]))
        assert.equal("EOF", upstream:wait("closed")[1].how)
      end)
    end
  end)

  it("a timer that replaces its ngx.ctx reads on", function()
    local steps = { { await = "request" }, { send = EVENTS .. "\r\n" .. PIECE }, { pause = 0.3 } }
    steps[4] = { send = PIECE .. LAST }
    with(raw.start { steps }, function(upstream)
      assert.equal("aanil", run(upstream, [[
        local cell, loop, text = {}, require("lmm.loop").current(), nil
        assert(ngx.timer.at(0, function()
          local stream = client:stream { messages = {} }
          text = stream:next()
          ngx.ctx = {}
          text = text .. tostring(stream:next()) .. tostring(stream:next())
          loop:wake(cell)
        end))
        loop:wait(cell, loop:now() + 9)
        return text]]))
    end)
  end)

  it("what a request takes does not grow with its waits", function()
    assert.truthy(tonumber(server:run [[
      local loop = require("lmm.loop").current()
      local function resident() return tonumber(io.open "/proc/self/statm":read "*a":match "%S+ (%d+)") * 4 end
      for _ = 1, 1000 do loop.running() end
      local before = resident()
      for _ = 1, 100000 do loop.running() end
      return resident() - before]]) < 2000)
  end)

  it("a stream of another request", function()
    local steps = { { await = "request" }, { send = EVENTS .. "\r\n" .. PIECE }, { await = "close" } }
    with(raw.start { steps }, function(upstream)
      local kept = ("'%s/kept'"):format(server.folder)
      local pipe = io.popen(server:command(([[
        local client = require("lmm").connect { base_url = "%s", model = "m" }
        local stream = client:stream { messages = {} }
        stream:next()
        shared = stream
        io.open(%s, "w"):close()
        repeat ngx.sleep(0.01) until not shared
        return stream.err or "as it was"]]):format(upstream.url, kept)))
      process.wait_for("the stream", function() return process.read(server.folder .. "/kept") end)
      local said = run(upstream, "local ok, problem = pcall(shared.next, shared) shared = nil return problem")
      assert.matches("lmm: this stream belongs to another request of nginx$", said)
      assert.equal("as it was\n", pipe:read "*a")
      pipe:close()
    end)
  end)

  -- ---- connections

  it("a connection is used again", function()
    local answer = { { await = "request" }, { send = STREAMED }, { await = "request" }, { send = COUNTED },
      { await = "request" }, { send = COUNTED }, { hold = true } }
    with(raw.start { answer }, function(upstream)
      assert.equal("aa\ntiny\ntiny", run(upstream, [[
        local text = client:stream({ messages = {} }):reply().text
        return text, client:models()[1].id, lmm.connect(client.base_url):models()[1].id]]))
      assert.equal(1, #upstream:seen "accepted")
    end)
  end)

  local not_reused = {
    { "that the server wants closed", (COUNTED:gsub("\r\n", "\r\nConnection: close\r\n", 1)) },
    { "with more than was asked for", COUNTED .. "HTTP/1.1 200 OK\r\n\r\n" },
    { "of an older HTTP", (COUNTED:gsub("1%.1", "1.0", 1)) },
  }

  for _, row in ipairs(not_reused) do
    it("a connection is not used again: one " .. row[1], function()
      with(raw.start { { { await = "request" }, { send = row[2] }, { hold = true } } }, function(upstream)
        assert.equal("tiny\ntiny", run(upstream, [[return client:models()[1].id, client:models()[1].id]]))
        assert.equal(2, #upstream:wait("closed", 2))
      end)
    end)
  end

  local busy = {
    { "in what the client's request began", "" },
    { "in what a timer began", "ngx.sleep(0.001)" },
    { "with accept_mutex", "", { workers = 2, events = "accept_mutex on;" } },
  }

  for _, row in ipairs(busy) do
    it("what a server says after its reply is not taken for the next one, however busy the worker was: " .. row[1],
      function()
        local function reply(id)
          local text = ('{"data":[{"id":"%s"}]}'):format(id)
          return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text)
        end
        local own = row[3] and nginx.start(row[3])
        finally(function() if own then own:stop() end end)
        local first = { { await = "request" }, { send = reply "one" }, { pause = 0.1 }, { send = reply "stale" },
          { hold = true } }
        with(raw.start { first, { { await = "request" }, { send = reply "two" } } }, function(upstream)
          assert.equal("one\ntwo", run(upstream, row[2] .. [[
            local one = client:models()[1].id
            local now = require("lmm.core").now
            local busy = now() + 0.5
            repeat until now() > busy
            return one, client:models()[1].id]], nil, own))
        end)
      end)
  end

  it("a connection idle for 4 s is closed", function()
    with(raw.start { { { await = "request" }, { send = COUNTED }, { hold = true } } }, function(upstream)
      assert.equal("tiny", run(upstream, [[return client:models()[1].id]]))
      local since = os.time()
      assert.equal("EOF", upstream:wait("closed")[1].how)
      assert(os.time() - since <= 6, "after " .. os.time() - since .. " s")
    end)
  end)

  local dead = {
    { "closed", { { pause = 0 } } },
    { "closed on the next request", { { await = "head" }, { reset = true } } },
  }

  local body = ("x"):rep(3000000)

  for _, row in ipairs(dead) do
    for _, size in ipairs { 10, #body } do
      it(("a kept connection that is dead, %s, and a body of %d bytes"):format(row[1], size), function()
        local first = { { await = "request" }, { send = COUNTED } }
        for _, step in ipairs(row[2]) do first[#first + 1] = step end
        local second = { { await = "request" }, { send = COUNTED }, { hold = true } }
        with(raw.start { first, second }, function(upstream)
          assert.equal("tiny", run(upstream, ([[
            client:models()
            local reply, message, err = client:request("POST", "x", ("x"):rep(%d))
            return tell(reply and reply.json.data[1].id, message, err)]]):format(size)))
          assert.equal(2, #upstream:seen "accepted")
          assert.equal(size, upstream:seen "request"[2].bytes)
        end)
      end)
    end
  end

  it("that happens once: another death is a failure, and is counted", function()
    local first = { { await = "request" }, { send = COUNTED }, { await = "head" }, { reset = true } }
    with(raw.start { first, { { await = "request" } } }, function(upstream)
      assert.matches("^connect wait nil 1\n", run(upstream, [[client:models() return tell(client:models())]]))
      assert.equal(2, #upstream:seen "accepted")
    end)
  end)

  it("one that ends after a while was not dead: that is a failure, and is counted", function()
    local first = { { await = "request" }, { send = COUNTED }, { await = "head" }, { pause = 1.3 }, { reset = true } }
    with(raw.start { first, { { await = "request" }, { send = COUNTED } } }, function(upstream)
      assert.matches("^connect wait nil 1\n", run(upstream, [[client:models() return tell(client:models())]]))
      assert.equal(1, #upstream:seen "accepted")
    end)
  end)

  it("nobody listens", function()
    local upstream = raw.start { {} }
    upstream:stop()
    assert.matches("^connect connect nil 1\ncannot reach .*: connection refused %(is a server running there%?%)$",
      run(upstream, [[return tell(client:models())]]))
  end)

  it("a Unix socket", function()
    with(raw.start { { { await = "request" }, { send = COUNTED }, { hold = true } } }, function(upstream)
      local path = os.tmpname()
      os.remove(path)
      with(assert(relay.start { mode = "pass", listen = path, to = upstream.port }), function()
        assert.equal("tiny", run({ url = "http://some.example/v1" }, [[return client:models()[1].id]],
          ("unix_socket = %q"):format(path)))
      end)
      assert.matches("\r\nHost: some.example\r\n", upstream:received())
    end)
  end)

  it("localhost needs no resolver, and may be an IPv6 address", function()
    with(raw.start { { { await = "request" }, { send = COUNTED }, { hold = true } } }, function(upstream)
      local url = "http://localhost:%d/v1"
      assert.equal("tiny", run({ url = url:format(upstream.port) }, [[return client:models()[1].id]]))
      with(assert(relay.start { mode = "pass", listen = "::1", to = upstream.port }), function(six)
        assert.equal("tiny", run({ url = url:format(six.port) }, [[return client:models()[1].id]]))
      end)
    end)
  end)

  it("an HTTP proxy", function()
    with(raw.start { { { await = "request" }, { send = COUNTED }, { hold = true } } }, function(upstream)
      assert.equal("tiny", run({ url = "http://some.example/v1" }, [[return client:models()[1].id]],
        ("proxy = 'http://user:secret@127.0.0.1:%d'"):format(upstream.port)))
      assert.matches("^GET http://some%.example/v1/models HTTP/1%.1\r\nHost: some%.example\r\n", upstream:received())
      assert.matches("\r\nProxy%-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n", upstream:received())
    end)
  end)

  it("a proxy that the environment names, and that is not for this machine", function()
    local said = run({ url = "http://some.example/v1" }, [[return tell(client:models())]])
    assert.matches("^connect connect nil 1\n", said)
  end)

  -- ---- TLS

  local tls = {
    { "good", "", "localhost", "", "tiny" },
    { "good", "-Verify 1", "localhost", "tls = { cert = '$folder/client.pem', key = '$folder/client.key' }", "tiny" },
    { "alone", "", "localhost", "", "connect tls nil 1\n.*certificate.*lua_ssl_trusted_certificate.*" },
    { "alone", "", "localhost", "tls = { verify = false }", "tiny" },
    { "other", "", "localhost", "", "connect tls nil 1\n.*certificate host mismatch" },
    { "good", "", "127.0.0.1", "",
      "connect tls nil 1\n.*certificate host mismatch %(.*with names, not with addresses.*" },
    { "good", "", "localhost", "tls = { cert = '/dev/null' }",
      "connect tls nil 1\n.*the certificate and its key do not work: .*" },
  }

  for i, row in ipairs(tls) do
    it(("TLS %d: %s %s"):format(i, row[1], row[2]), function()
      local upstream = authority:serve(row[1], row[2])
      with(upstream, function()
        local said = run({ url = upstream.url:gsub("127%.0%.0%.1", row[3]) }, [[
          local models, message, err
          for _ = 1, 20 do -- a handshake may end at once or later, which nginx tells in different ways
            models, message, err = client:models()
            if err and err.phase ~= "tls" then break end
          end
          return tell(models and models[1].id, message, err)]], (row[4]:gsub("$folder", authority.folder)))
        assert.matches("^" .. row[5] .. "$", said)
      end)
    end)
  end

  it("TLS through a proxy", function()
    local upstream = authority:serve "good"
    with(upstream, function()
      with(assert(relay.start { mode = "connect", to = upstream.port }), function(proxy)
        local url = upstream.url:gsub("127%.0%.0%.1", "localhost")
        assert.equal("tiny", run({ url = url }, [[return client:models()[1].id]],
          ("proxy = 'http://127.0.0.1:%d'"):format(proxy.port)))
        assert.matches("^CONNECT localhost:%d+ HTTP/1%.1\r\n", proxy:received())
      end)
    end)
  end)

  it("a proxy that refuses", function()
    local no = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with(raw.start { { { await = "head" }, { send = no }, { hold = true } } }, function(proxy)
      local said = run({ url = "https://some.example/v1" }, [[return tell(client:models())]],
        ("proxy = 'http://127.0.0.1:%d'"):format(proxy.port))
      assert.matches("^connect connect nil 1\n.*CONNECT tunnel failed, response 407", said)
    end)
  end)

  it("what nginx cannot do for one client is refused at once, and says where it is done", function()
    local said = server:run [[return pcall(require("lmm").connect, { tls = { ca = "/dev/null" } })]]
    assert.matches("^false\ncontent_by_lua.*:3: lmm: tls%.ca .* lua_ssl_trusted_certificate$", said)
    said = server:run [[return pcall(require("lmm").connect, { proxy = "socks5://p" })]]
    assert.matches("^false\n.*only http://", said)
  end)

  it("no resolver", function()
    local said = run({ url = "http://name.example/v1" }, [[return tell(client:models())]],
      "proxy = 'http://p.example'")
    assert.matches("^connect dns nil 1\n.*no resolver defined.*%(nginx looks names up only where its directive "
      .. "resolver.*%)$", said)
  end)
end)
