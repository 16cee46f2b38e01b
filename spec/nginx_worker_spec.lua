-- What goes on around a call in a real nginx: time limits and cancelling in each phase, clients that leave, uploads,
-- and requests that share what belongs to their worker.
local core = require "lmm.core"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local relay = require "spec.support.relay"

local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local PIECE = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
local MODELS = '{"data":[{"id":"tiny"}]}'
local COUNTED = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#MODELS, MODELS)

-- A name server's address that no other run of this has.
local RESOLVER = ("127.83.%d.%d"):format(math.floor(core.pid() / 250) % 250, core.pid() % 250 + 1)

local large = os.tmpname() -- 30 MB

local function with(upstream, fn)
  local ok, err = xpcall(function() fn(upstream) end, function(e)
    return type(e) == "table" and e or debug.traceback(e, 2)
  end)
  upstream:stop()
  if not ok then error(err, 0) end
end

local function url_of(upstream)
  return upstream.url or "http://127.0.0.1:" .. upstream.port .. "/v1"
end

describe("calls in nginx", function()
  local server

  setup(function()
    os.execute("head -c 30000000 /dev/urandom >" .. large)
    os.execute("chmod a+r " .. large)
    server = nginx.start {
      workers = 2,
      http = "resolver " .. RESOLVER .. ";",
      server = [[
        location = /stream {
          lua_check_client_abort on;
          content_by_lua_block {
            local lmm = require "lmm"
            for piece in lmm.connect { base_url = ngx.var.arg_url, model = "m" }:stream { messages = {} } do
              ngx.print(piece)
              ngx.flush(true)
            end
          }
        }
        location = /cleanup {
          lua_check_client_abort on;
          content_by_lua_block {
            local stream = require("lmm").connect { base_url = ngx.var.arg_url, model = "m" }:stream { messages = {} }
            assert(ngx.on_abort(function() stream:cancel() end))
            local _, message, err = stream:reply()
            local file = io.open(ngx.var.arg_file, "w")
            file:write(err.kind, ": ", message)
            file:close()
          }
        }
        location = /leave {
          content_by_lua_block {
            local stream = require("lmm").connect { base_url = ngx.var.arg_url, model = "m" }:stream { messages = {} }
            ngx.say(stream:next())
          }
        }]],
    }
  end)

  teardown(function()
    os.remove(large)
    server:stop { "while resolving", "recv%(%) failed %(104: ", "send%(%) failed %(104: ", "send%(%) failed %(32: " }
  end)

  --- Runs Lua, where `chat` is a conversation with this server; `file` makes a large part.
  local function run(upstream, code, timeout)
    return server:run([[
      local lmm = require "lmm"
      local timeout = { $limits }
      local client = lmm.connect { dialect = "generic", base_url = "$url", model = "m", retry = false,
        timeout = timeout }
      local chat = client:conversation()
      local function file() return lmm.file "$large" end
      ]] .. code, { limits = timeout or "", url = url_of(upstream), large = large })
  end

  local function wait_closed(upstream) upstream:wait "closed" end

  local phases = {
    dns = {
      start = function() return relay.start { mode = "swallow", listen = RESOLVER } end,
      url = "http://name.example/v1",
      limits = { "connect", "first", "total" },
      is_reached = function(upstream) return upstream:events()[1] == "query" end,
    },
    connect = {
      start = function() return relay.start { mode = "full" } end,
      limits = { "connect", "first", "total" },
      is_reached = function(upstream) return upstream:is_knocked_at(server:workers()) end,
      ended = function(upstream)
        process.wait_for("the end of knocking", function() return not upstream:is_knocked_at(server:workers()) end)
      end,
    },
    tls = {
      start = function() return raw.start { { { hold = true } } } end,
      scheme = "https",
      limits = { "connect", "first", "total" },
      is_reached = function(upstream) return #upstream:seen "accepted" > 0 and upstream:received() ~= "" end,
      ended = wait_closed,
    },
    send = {
      start = function() return relay.start { mode = "stall" } end,
      question = "file()",
      limits = { "first", "total" },
      is_reached = function(upstream) return upstream:events()[2] == "stalled 1" end,
      ended = function(upstream)
        upstream:go_on()
        upstream:wait "closed 1"
        assert(#upstream:received() < 40000000, "everything was sent")
      end,
    },
    wait = {
      start = function() return raw.start { { { await = "request" }, { hold = true } } } end,
      limits = { "first", "total" },
      is_reached = function(upstream) return #upstream:seen "request" > 0 end,
      ended = wait_closed,
    },
    receive = {
      start = function()
        return raw.start { { { await = "request" }, { send = EVENTS .. PIECE }, { hold = true } } }
      end,
      limits = { "idle", "total" },
      partial = "a",
      is_reached = function(upstream) return #upstream:seen "request" > 0 end,
      ended = wait_closed,
    },
  }

  local function begin(phase)
    local upstream, why = phase.start()
    if not upstream then pending("this cannot be played here: " .. why) end
    local url = phase.url or url_of(upstream)
    return upstream, { url = url:gsub("^http", phase.scheme or "http") }
  end

  for _, name in ipairs { "dns", "connect", "tls", "send", "wait", "receive" } do
    local phase = phases[name]
    for _, limit in ipairs(phase.limits) do
      it(("timeout.%s in the phase %s"):format(limit, name), function()
        local upstream, target = begin(phase)
        with(upstream, function()
          local said = run(target, ([[
            local _, _, err = (chat:stream(%s)):reply()
            return err.kind, err.phase, err.limit, err.attempts, err.partial]]):format(phase.question or "'q'"),
            limit .. " = 0.3")
          assert.equal(table.concat({ "timeout", name, limit, 1, phase.partial or "" }, "\n"), said)
          if phase.ended then phase.ended(upstream) end
        end)
      end)
    end

    it("cancelling in the phase " .. name, function()
      local upstream, target = begin(phase)
      with(upstream, function()
        local out = os.tmpname()
        os.execute(server:command(([[
          local lmm = require "lmm"
          local chat = lmm.connect { base_url = "%s", model = "m", retry = false, dialect = "generic" }:conversation()
          local function file() return lmm.file "%s" end
          local result
          local task = lmm.go(function() return chat:stream(%s):reply() end, function(...) result = { ... } end)
          while not io.open "%s" do ngx.sleep(0.01) end
          chat:cancel()
          while not result do ngx.sleep(0.01) end
          return result[3], result[4].partial, #chat.messages]]):format(target.url, large, phase.question or "'q'",
          out .. ".go"), "--max-time 60") .. " >" .. out .. " 2>&1 &")
        process.wait_for("the phase " .. name, function() return phase.is_reached(upstream) end)
        process.write(out .. ".go", "")
        local said = process.wait_for("the end of the call", function() return process.read(out):find "\n0\n" end)
        os.remove(out .. ".go")
        assert.equal("the request was cancelled\n" .. (phase.partial or "") .. "\n0\n", said and process.read(out))
        if phase.ended then phase.ended(upstream) end
        os.remove(out)
      end)
    end)
  end

  -- ---- clients that leave, and streams that nobody reads

  it("a client that leaves ends the call", function()
    with(raw.start { { { await = "request" }, { send = EVENTS .. PIECE }, { hold = true } } }, function(upstream)
      local _, code = server:get("/stream?url=" .. upstream.url, "--max-time 0.3")
      assert.equal(28, code)
      assert.equal(1, #upstream:wait "closed")
    end)
  end)

  it("ngx.on_abort may cancel the call, whose reader is told", function()
    with(raw.start { { { await = "request" }, { send = EVENTS .. PIECE }, { hold = true } } }, function(upstream)
      local file = os.tmpname()
      server:get(("/cleanup?file=%s'&'url=%s"):format(file, upstream.url), "--max-time 0.3")
      upstream:wait "closed"
      assert.equal("cancelled: the request was cancelled", process.wait_for("the reader", function()
        local text = process.read(file)
        return text ~= "" and text
      end))
      os.remove(file)
    end)
  end)

  it("a stream that was left does not keep its request", function()
    with(raw.start { { { await = "request" }, { send = EVENTS .. PIECE }, { hold = true } } }, function(upstream)
      assert.equal("a\n", (server:get("/leave?url=" .. upstream.url)))
    end)
  end)

  -- ---- uploads

  local function peak(pids)
    local most = 0
    for _, pid in ipairs(pids) do
      most = math.max(most, tonumber(process.read("/proc/" .. pid .. "/status"):match "VmHWM:%s*(%d+)"))
    end
    return most
  end

  local UPLOAD = [[
    local reply, message = client:request("POST", "x", { file = lmm.file "$file" }, { timeout = 60 })
    return reply and reply.json.data[1].id or message]]

  it("a file is uploaded as it is, in constant memory", function()
    local steps = {}
    for i = 1, 11, 2 do steps[i], steps[i + 1] = { await = "request" }, { send = COUNTED } end
    with(raw.start { steps }, function(upstream)
      local small = process.write(os.tmpname(), process.read(large):sub(1, 300000))
      for _ = 1, 4 do assert.equal("tiny", run(upstream, (UPLOAD:gsub("$file", small)))) end -- both workers are warm
      local before = peak(server:workers())
      assert.equal("tiny", run(upstream, (UPLOAD:gsub("$file", large))))
      local growth = peak(server:workers()) - before
      assert(growth < 2000, "30 MB took " .. growth .. " KiB")
      local request = upstream:seen "request"
      local sent = upstream:received(request[#request].connection)
      local data = sent:match '.*base64,([^"]*)"'
      process.write(small, data)
      assert.equal(process.shell("sha256sum " .. large):match "%x+",
        process.shell("base64 -d " .. small .. " | sha256sum"):match "%x+")
      os.remove(small)
    end)
  end)

  it("what an upload leaves to the collector does not grow with the heap", function()
    local own = nginx.start {}
    finally(function() own:stop() end)
    local steps = { { await = "request" }, { send = COUNTED }, { await = "request" }, { send = COUNTED } }
    with(raw.start { steps }, function(upstream)
      local function upload()
        return own:run('local lmm = require "lmm" local client = lmm.connect "$url" ' .. UPLOAD,
          { url = url_of(upstream), file = large })
      end
      own:run [[
        heap = {}
        while collectgarbage "count" < 20000 do heap[#heap + 1] = { tostring(#heap) } end
        collectgarbage()]]
      local before = peak(own:workers())
      assert.equal("tiny", upload())
      local growth = peak(own:workers()) - before
      assert(growth < 20000, "40 MB in pieces took " .. growth .. " KiB")
    end)
  end)

  it("an upload that never has to wait lets others go on", function()
    local own = nginx.start {}
    finally(function() own:stop() end)
    assert.equal("tiny\ntrue", own:run([[
      local tcp, answer = ngx.socket.tcp, require("ngx.semaphore").new(0)
      local is_over, left, pings = false, nil, 0
      local peer = { send = function(_, data) -- takes all bytes at once
        if type(data) == "table" then left = tonumber(data[1]:match "Content%-Length: (%d+)") return true end
        left = left - #data
        if left == 0 then answer:post(1) end
        return true
      end }
      function peer.receiveany() answer:wait(60) is_over = true return $answer end
      function peer.connect() return true end
      peer.settimeouts, peer.setkeepalive, peer.close = peer.connect, peer.connect, peer.connect
      function peer.getreusedtimes() return 0 end

      local others = ngx.thread.spawn(function() -- this is what is to go on: requests to this very worker
        while not is_over do
          local socket = tcp()
          socket:connect "unix:$folder/socket"
          socket:send "GET /ping HTTP/1.0\r\n\r\n"
          socket:receive "*a"
          socket:close()
          if left then pings = pings + 1 end
        end
      end)
      ngx.socket.tcp = function() return peer end
      local lmm = require "lmm"
      local client = lmm.connect { base_url = "http://127.0.0.1:1/v1", dialect = "generic" }
      local reply, message = client:request("POST", "x", { file = lmm.file "$file" })
      ngx.thread.wait(others)
      return reply and reply.json.data[1].id or message, pings >= 5 or pings]],
      { answer = ("%q"):format(COUNTED):gsub("\r", "\\r"):gsub("\\\n", "\\n"), folder = own.folder, file = large }))
  end)

  it("an answer that comes while a file is still being sent", function()
    local no = "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"
    with(raw.start { { { await = "head" }, { send = no }, { hold = true } } }, function(upstream)
      assert.matches("^HTTP 413 from .*: large", run(upstream, [[return select(2, chat:ask("What?", file()))]]))
      upstream:wait "closed"
    end)
  end)

  it("a file that changes while it is sent", function()
    with(relay.start { mode = "stall" }, function(upstream)
      local file = process.write(os.tmpname(), process.read(large))
      local out = os.tmpname()
      os.execute(server:command(([[return select(2, require("lmm").connect {
        base_url = "%s", model = "m", dialect = "generic" }:conversation():ask("What?", require("lmm").file "%s"))]])
        :format(url_of(upstream), file))
        .. ">" .. out .. " &")
      upstream:wait "stalled 1"
      process.write(file, "other")
      upstream:go_on()
      assert.matches("changed", process.wait_for("the error", function()
        local text = process.read(out)
        return text ~= "" and text
      end))
      os.remove(file)
      os.remove(out)
    end)
  end)

  -- ---- requests that share what a worker has

  it("a client of the whole worker: its requests use each other's connections", function()
    with(raw.start { { { await = "request" }, { send = COUNTED }, { await = "request" }, { send = COUNTED },
      { hold = true } } }, function(upstream)
      local ask = [[
        package.loaded.shared = package.loaded.shared or require("lmm").connect("$url")
        return ngx.worker.pid(), package.loaded.shared:models()[1].id]]
      local first = run(upstream, ask)
      local second
      repeat
        second = run(upstream, ask)
      until second:match "^%d+" == first:match "^%d+" or #upstream:seen "accepted" > 9
      assert.equal(first, second)
      assert.matches("\ntiny$", first)
    end)
  end)

  it("closing a client from another request ends the calls under way", function()
    with(raw.start { { { await = "request" }, { hold = true } } }, function(upstream)
      local out = os.tmpname()
      local one = nginx.start {}
      finally(function() one:stop() end)
      os.execute(one:command(([[
        package.loaded.shared = require("lmm").connect { base_url = "%s", model = "m", dialect = "generic" }
        local _, message, err = package.loaded.shared:models()
        return message, err.kind]]):format(upstream.url)) .. " >" .. out .. " &")
      upstream:wait "request"
      assert.equal("closed", one:run [[package.loaded.shared:close() return "closed"]])
      upstream:wait "closed"
      process.wait_for("the end of the call", function() return process.read(out):find "cancelled\n$" end)
      assert.equal("the request was cancelled\ncancelled\n", process.read(out))
      os.remove(out)
    end)
  end)

  it("tasks: gather, go, cancel", function()
    local both = { { await_all = 2 }, { send = COUNTED }, { hold = true } }
    with(raw.start { both, both, { { await = "request" }, { hold = true } } }, function(upstream)
      local cancelled = "the request was cancelled\n"
      assert.equal("tiny\ntiny\nnil\ntrue\n" .. cancelled .. cancelled .. "nil\nspec:15: x", run(upstream, [[
        local function models() return client:models()[1].id end
        local found = lmm.gather { models, models } -- answered only once both have asked
        local ended
        local task = lmm.go(function() return client:models() end, function(ok, _, message) ended = message end)
        local before = ended
        task:cancel()
        local ok, _, message = task:wait()
        return found[1], found[2], before, ok, message, ended, client.closed,
          select(2, lmm.go(function() error "x" end):wait())]]))
    end)
  end)
end)
