-- nginx itself while lmm runs in it: others are answered while a hundred streams are under way, streams outlive a
-- reload, and where nothing may wait a call raises.
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local run_curl = require "spec.support.curl"

local STREAMS = 100
local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local LAST = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

local function piece(text) return ('data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'):format(text) end

describe("nginx while lmm runs in it", function()
  local server, folder

  setup(function()
    server = nginx.start {
      workers = 2,
      server = [[
        location = /status { stub_status; }
        location = /stream {
          lua_check_client_abort on;
          content_by_lua_block {
            for piece in require("lmm").connect { base_url = ngx.var.arg_url, model = "m" }:stream { messages = {} } do
              ngx.print(piece)
              ngx.flush(true)
            end
          }
        }]],
    }
    folder = process.shell "mktemp -d":match "^[^\n]+"
  end)

  teardown(function()
    server:stop()
    os.execute("rm -rf " .. folder)
  end)

  local function path(i) return folder .. "/" .. i end

  --- Starts streams in the background; each writes what it gets to its file.
  local function start_streams(count, url)
    local words = ("env -u LD_PRELOAD curl -sSN --max-time 100 --unix-socket %s/socket "
      .. "'http://localhost/stream?url=%s'"):format(server.folder, url)
    for i = 1, count do os.execute(("%s >%s 2>&1 &"):format(words, path(i))) end
  end

  local function count_files(count, text)
    local found = 0
    for i = 1, count do
      if process.read(path(i)) == text then found = found + 1 end
    end
    return found
  end

  local function wait_for_files(count, text)
    process.wait_for(("%d times %q"):format(count, text), function() return count_files(count, text) == count end)
  end

  local function requests()
    return tonumber((server:get "/status"):match "\n %d+ %d+ (%d+)")
  end

  --- How many pings are answered in half a second, one after the other; the best of three times.
  local function pings()
    local config = process.write(folder .. "/pings", ('url = "http://localhost/ping"\noutput = /dev/null\n'):rep(20000))
    local most = 0
    for _ = 1, 3 do
      local before = requests()
      os.execute(("env -u LD_PRELOAD timeout 0.5 curl -s --unix-socket %s/socket -K %s"):format(server.folder, config))
      most = math.max(most, requests() - before)
    end
    return most
  end

  it("a plain location is answered while 100 streams are under way", function()
    local steps = { { await = "request" }, { send = EVENTS .. piece "a" } }
    for _ = 1, 40 do
      steps[#steps + 1] = { pause = 0.1 }
      steps[#steps + 1] = { send = piece "b" }
    end
    steps[#steps + 1] = { await_all = STREAMS + 1 } -- however long the measuring takes
    steps[#steps + 1] = { send = LAST }
    local upstream = raw.start { steps }
    local before = pings()
    start_streams(STREAMS, upstream.url)
    process.wait_for("the streams", function() return #upstream:seen "request" == STREAMS end)
    local meanwhile = pings()
    assert.equal(0, #upstream:seen "closed")
    run_curl(upstream.url .. "/anything --max-time 0.2")
    wait_for_files(STREAMS, "a" .. ("b"):rep(40))
    assert(meanwhile >= before / 5, ("%d answers, %d without the streams"):format(meanwhile, before))
    upstream:stop()
  end)

  it("streams outlive a reload", function()
    local upstream = raw.start { { { await = "request" }, { send = EVENTS .. piece "a" }, { await_all = 5 },
      { send = piece "b" .. LAST } } }
    local old = server:workers()
    start_streams(4, upstream.url)
    wait_for_files(4, "a")
    server:signal "reload"
    process.wait_for("new workers", function()
      local pids = server:workers()
      for _, pid in ipairs(pids) do
        if pid == old[1] or pid == old[2] then return nil end
      end
      return #pids == 2 and pids
    end)
    assert.equal(4, count_files(4, "a"))
    local said = server:run(([[
      local client = require("lmm").connect { base_url = "%s", model = "m" }
      return client:chat { messages = {} }.text]]):format(upstream.url))
    assert.equal("ab", said) -- the fifth request lets all of them end
    wait_for_files(4, "ab")
    for _, pid in ipairs(old) do process.wait_gone(pid) end
    upstream:stop()
  end)

  -- ---- where nothing may wait

  --- Lua that does something and adds what it came to, to `said`.
  local function saying(code)
    return ('said = (said or "") .. ngx.get_phase() .. ": " .. tostring(select(2, pcall(function() %s end))) .. "\\n" ')
      :format(code)
  end

  local CALL = saying 'return require("lmm").connect { base_url = "http://127.0.0.1:1/v1", model = "m" }:models()'
  local TASK = saying 'return require("lmm").go(function() end)'

  local function block(where, code) return where .. "_by_lua_block { " .. code .. " }\n" end

  local SAID = "location = /said { content_by_lua_block { ngx.print(said) } }"

  local REQUEST = "call it from rewrite_by_lua, access_by_lua or content_by_lua, or from ngx.timer.at%(0, %.%.%.%)"
  local TIMER = "call it from ngx.timer.at%(0, %.%.%.%), which may be set there"

  it("where nothing may wait a call raises, and says what to do", function()
    local one = nginx.start {
      http = block("init", CALL .. TASK) .. block("init_worker", CALL .. TASK),
      server = "location = /places {" .. ("set_by_lua_block $x { %s }\n"):format(CALL .. TASK .. 'return ""')
        .. block("header_filter", CALL .. TASK) .. block("body_filter", CALL .. TASK) .. block("log", CALL .. TASK)
        .. "return 200 hello; }" .. SAID,
    }
    finally(function() one:stop() end)
    assert.equal("hello", (one:get "/places"))
    local lines = {}
    for line in one:get("/said"):gmatch "[^\n]+" do lines[#lines + 1] = line end
    local places = { { "init", "call it from a request, or from init_worker_by_lua by ngx.timer.at%(0, %.%.%.%)" },
      { "init_worker", TIMER }, { "set", "call it from rewrite_by_lua" }, { "header_filter", REQUEST },
      { "body_filter", REQUEST }, { "log", TIMER } }
    for i, place in ipairs(places) do
      for at = 2 * i - 1, 2 * i do
        assert.matches(("^%s: .*: lmm: nginx allows no waiting in %s_by_lua: %s$"):format(place[1], place[1],
          place[2]), lines[at])
      end
    end
    assert.equal(2 * #places, #lines)
  end)

  it("a request that begins many tasks does not keep those that have ended", function()
    local own = nginx.start {}
    finally(function() own:stop() end)
    local kept = own:run [[
      local lmm = require "lmm"
      local function heap_after(count)
        local fns = {}
        for i = 1, count do fns[i] = function() ngx.sleep(0) end end
        lmm.gather(fns, { limit = 4 })
        fns = nil
        collectgarbage()
        collectgarbage()
        return collectgarbage "count"
      end
      return -heap_after(500) + heap_after(2000)
    ]]
    assert(tonumber(kept) < 200, kept .. " KiB")
  end)

  it("everywhere else it waits", function()
    local upstream = raw.start { { { await = "request" }, { send = EVENTS .. piece "a" .. LAST } } }
    local chat = saying(('return require("lmm").connect { base_url = %q, model = "m" }:chat { messages = {} }'):format(
      upstream.url))
    local one = nginx.start {
      http = block("init_worker", "assert(ngx.timer.at(0, function() " .. chat .. " end))"),
      server = "location = /places {" .. block("rewrite", chat) .. block("access", chat)
        .. block("content", "local wrapped = coroutine.wrap(function() " .. chat .. ' end) wrapped() ngx.print "hello"')
        .. block("log", "assert(ngx.timer.at(0, function() " .. chat .. " end))") .. "}" .. SAID,
    }
    finally(function()
      one:stop()
      upstream:stop()
    end)
    assert.equal("hello", (one:get "/places"))
    process.wait_for("all of them", function() return select(2, one:get("/said"):gsub("\n", "")) == 5 end)
    assert.equal("timer: a\nrewrite: a\naccess: a\ncontent: a\ntimer: a\n", (one:get "/said"))
  end)
end)
