-- What goes on around a call in a real nginx: time limits and cancelling in each phase, clients that leave, uploads,
-- and requests that share what belongs to their worker.
local core = require "lmm.core"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local relay = require "spec.support.relay"
local test = require "spec.support.test"

local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local PIECE = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
local MODELS = '{"data":[{"id":"tiny"}]}'
local COUNTED = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#MODELS, MODELS)

-- A name server's address that no other run of this has.
local RESOLVER = ("127.83.%d.%d"):format(math.floor(core.pid() / 250) % 250, core.pid() % 250 + 1)

local large = os.tmpname()
os.execute("head -c 30000000 /dev/urandom >" .. large)
os.execute("chmod a+r " .. large)

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

-- ---- time limits, and cancelling

local server = nginx.start {
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

--- Runs Lua, where `chat` is a conversation with this server; `file` makes a large part.
local function run(upstream, code, timeout)
  return server:run([[
    local lmm = require "lmm"
    local timeout = { $limits }
    local client = lmm.connect { base_url = "$url", model = "m", retry = false, timeout = timeout }
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
      test.ok(#upstream:received() < 40000000, "everything was sent")
    end,
  },
  wait = {
    start = function() return raw.start { { { await = "request" }, { hold = true } } } end,
    limits = { "first", "total" },
    is_reached = function(upstream) return #upstream:seen "request" > 0 end,
    ended = wait_closed,
  },
  receive = {
    start = function() return raw.start { { { await = "request" }, { send = EVENTS .. PIECE }, { hold = true } } } end,
    limits = { "idle", "total" },
    partial = "a",
    is_reached = function(upstream) return #upstream:seen "request" > 0 end,
    ended = wait_closed,
  },
}

local function begin(phase)
  local upstream, why = phase.start()
  if not upstream then test.skip("this cannot be played here: " .. why) end
  local url = phase.url or url_of(upstream)
  return upstream, { url = url:gsub("^http", phase.scheme or "http") }
end

for _, name in ipairs { "dns", "connect", "tls", "send", "wait", "receive" } do
  local phase = phases[name]
  for _, limit in ipairs(phase.limits) do
    test.case(("timeout.%s in the phase %s"):format(limit, name), function()
      local upstream, target = begin(phase)
      with(upstream, function()
        test.equal(run(target, ([[
          local _, _, err = (chat:stream(%s)):reply()
          return err.kind, err.phase, err.limit, err.attempts, err.partial]]):format(phase.question or "'q'"),
          limit .. " = 0.3"), table.concat({ "timeout", name, limit, 1, phase.partial or "" }, "\n"))
        if phase.ended then phase.ended(upstream) end
      end)
    end)
  end

  test.case("cancelling in the phase " .. name, function()
    local upstream, target = begin(phase)
    with(upstream, function()
      local out = os.tmpname()
      os.execute(server:command(([[
        local lmm = require "lmm"
        local chat = lmm.connect { base_url = "%s", model = "m", retry = false }:conversation()
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
      test.equal(said and process.read(out), "the request was cancelled\n" .. (phase.partial or "") .. "\n0\n")
      if phase.ended then phase.ended(upstream) end
      os.remove(out)
    end)
  end)
end

-- ---- clients that leave, and streams that nobody reads

test.case("a client that leaves ends the call", function()
  with(raw.start { { { await = "request" }, { send = EVENTS .. PIECE }, { hold = true } } }, function(upstream)
    local _, code = server:get("/stream?url=" .. upstream.url, "--max-time 0.3")
    test.equal(code, 28)
    test.equal(#upstream:wait "closed", 1)
  end)
end)

test.case("ngx.on_abort may cancel the call, whose reader is told", function()
  with(raw.start { { { await = "request" }, { send = EVENTS .. PIECE }, { hold = true } } }, function(upstream)
    local file = os.tmpname()
    server:get(("/cleanup?file=%s'&'url=%s"):format(file, upstream.url), "--max-time 0.3")
    upstream:wait "closed"
    test.equal(process.wait_for("the reader", function()
      local text = process.read(file)
      return text ~= "" and text
    end), "cancelled: the request was cancelled")
    os.remove(file)
  end)
end)

test.case("a stream that was left does not keep its request", function()
  with(raw.start { { { await = "request" }, { send = EVENTS .. PIECE }, { hold = true } } }, function(upstream)
    test.equal(server:get("/leave?url=" .. upstream.url), "a\n")
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

test.case("a file is uploaded as it is, in constant memory", function()
  local steps = {}
  for i = 1, 11, 2 do steps[i], steps[i + 1] = { await = "request" }, { send = COUNTED } end
  with(raw.start { steps }, function(upstream)
    local small = process.write(os.tmpname(), process.read(large):sub(1, 300000))
    for _ = 1, 4 do test.equal(run(upstream, (UPLOAD:gsub("$file", small))), "tiny") end -- both workers are warm
    local before = peak(server:workers())
    test.equal(run(upstream, (UPLOAD:gsub("$file", large))), "tiny")
    local growth = peak(server:workers()) - before
    test.ok(growth < 2000, "30 MB took " .. growth .. " KiB")
    local request = upstream:seen "request"
    local sent = upstream:received(request[#request].connection)
    local data = sent:match '.*base64,([^"]*)"'
    process.write(small, data)
    test.equal(process.shell("base64 -d " .. small .. " | sha256sum"):match "%x+",
      process.shell("sha256sum " .. large):match "%x+")
    os.remove(small)
  end)
end)

test.case("an answer that comes while a file is still being sent", function()
  local no = "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"
  with(raw.start { { { await = "head" }, { send = no }, { hold = true } } }, function(upstream)
    test.match(run(upstream, [[return select(2, chat:ask("What?", file()))]]), "^HTTP 413 from .*: large")
    upstream:wait "closed"
  end)
end)

test.case("a file that changes while it is sent", function()
  with(relay.start { mode = "stall" }, function(upstream)
    local file = process.write(os.tmpname(), process.read(large))
    local out = os.tmpname()
    os.execute(server:command(([[return select(2, require("lmm").connect { base_url = "%s", model = "m" }
      :conversation():ask("What?", require("lmm").file "%s"))]]):format(url_of(upstream), file)) .. ">" .. out .. " &")
    upstream:wait "stalled 1"
    process.write(file, "other")
    upstream:go_on()
    test.match(process.wait_for("the error", function()
      local text = process.read(out)
      return text ~= "" and text
    end), "changed")
    os.remove(file)
    os.remove(out)
  end)
end)

-- ---- requests that share what a worker has

test.case("a client of the whole worker: its requests use each other's connections", function()
  with(raw.start { { { await = "request" }, { send = COUNTED }, { await = "request" }, { send = COUNTED },
    { hold = true } } }, function(upstream)
    local ask = [[
      package.loaded.shared = package.loaded.shared or require("lmm").connect("$url")
      return ngx.worker.pid(), package.loaded.shared:models()[1].id]]
    local first = run(upstream, ask)
    local second
    repeat second = run(upstream, ask) until second:match "^%d+" == first:match "^%d+" or #upstream:seen "accepted" > 9
    test.equal(second, first)
    test.match(first, "\ntiny$")
  end)
end)

test.case("closing a client from another request ends the calls under way", function()
  with(raw.start { { { await = "request" }, { hold = true } } }, function(upstream)
    local out = os.tmpname()
    local one = nginx.start {}
    os.execute(one:command(([[
      package.loaded.shared = require("lmm").connect { base_url = "%s", model = "m" }
      local _, message, err = package.loaded.shared:models()
      return message, err.kind]]):format(upstream.url)) .. " >" .. out .. " &")
    upstream:wait "request"
    test.equal(one:run [[package.loaded.shared:close() return "closed"]], "closed")
    upstream:wait "closed"
    process.wait_for("the end of the call", function() return process.read(out):find "cancelled\n$" end)
    test.equal(process.read(out), "the request was cancelled\ncancelled\n")
    os.remove(out)
    one:stop()
  end)
end)

test.case("tasks: gather, go, cancel", function()
  with(raw.start { { { await_all = 2 }, { send = COUNTED }, { hold = true } }, { { await_all = 2 }, { send = COUNTED },
    { hold = true } }, { { await = "request" }, { hold = true } } }, function(upstream)
    test.equal(run(upstream, [[
      local function models() return client:models()[1].id end
      local found = lmm.gather { models, models } -- answered only once both have asked
      local ended
      local task = lmm.go(function() return client:models() end, function(ok, _, message) ended = message end)
      local before = ended
      task:cancel()
      local ok, _, message = task:wait()
      return found[1], found[2], before, ok, message, ended, client.closed,
        select(2, lmm.go(function() error "x" end):wait())]]),
      "tiny\ntiny\nnil\ntrue\nthe request was cancelled\nthe request was cancelled\nnil\nspec:14: x")
  end)
end)

server:stop { "while resolving", "recv%(%) failed %(104: ", "send%(%) failed %(104: ", "send%(%) failed %(32: " }
os.remove(large)
