-- The library in real editors: that it loads there, never holds them up, and leaves with them.
local nvim = require "spec.support.nvim"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local replies = require "spec.support.replies"

local HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
local END = replies.delta({}, "stop") .. replies.event "[DONE]"

-- An answer that goes on until its reader leaves.
local ENDLESS = { { await = "request" }, { send = HEAD } }
for _ = 1, 2000 do
  ENDLESS[#ENDLESS + 1] = { send = replies.delta "word " }
  ENDLESS[#ENDLESS + 1] = { pause = 0.002 }
end

local INIT = [[
package.path = %q .. "/?.lua;" .. package.path
lmm = require "lmm"
client = function() return lmm.connect { model = "m" } end
read = function(stream, into)
  local piece, message
  repeat
    piece, message = stream:next()
    if piece then into.text = (into.text or "") .. piece end
  until not piece
  into.message = message
  into.ended = true
end
state = {}
]]

local here = process.shell "pwd":match "^[^\n]+"
local editors = nvim.editors()
local plugin -- the folder

--- A case in each editor, with a server of these scenarios.
local function case(name, scenarios, fn)
  for _, editor in ipairs(editors) do
    it(name .. " (" .. editor.name .. ")", function()
      if not editor.program then pending "it is not there" end
      local server = raw.start(scenarios)
      local opts = { program = editor.program, plugin = plugin, url = server.url, init = INIT:format(here) }
      local ok, problem = pcall(nvim.with, opts, function(ed) fn(ed, server) end)
      server:stop()
      if not ok then error(problem, 0) end
      assert.falsy(problem:find "Error", problem)
    end)
  end
end

describe("the library in Neovim", function()
  setup(function() plugin = nvim.plugin() end)
  teardown(function() os.execute("rm -rf " .. plugin) end)

  local NOTHING = { { { hold = true } } }

  case("require loads neither libcurl nor JSON; a first call loads what it needs", { { { await = "request" },
    { send = OK } } }, function(ed)
    local maps = "io.open('/proc/self/maps'):read '*a'"
    assert.equal(false, ed:lua("return " .. maps .. ":find 'libcurl' ~= nil"))
    assert.equal(false, ed:lua "return package.loaded['lmm.json'] ~= nil or package.loaded['lmm.core'] ~= nil")
    assert.equal(true, ed:lua "return client():health()")
    assert.equal(true, ed:lua("return " .. maps .. ":find('lua/lmm/core.so', 1, true) ~= nil"))
  end)

  case("vim.loader, where there is one, finds the C modules", { { { await = "request" }, { send = OK } } }, function(ed)
    assert.equal(true, ed:lua "if vim.loader then vim.loader.enable() end return client():health()")
  end)

  for _, editor in ipairs(editors) do
    it("make install LUA=lua5.1 puts the library where Neovim finds it (" .. editor.name .. ")", function()
      if not editor.program then pending "it is not there" end
      local text = nvim.run(plugin, [[make install LUA=lua5.1 DESTDIR="$PWD/stage" >/dev/null && cd stage/usr/local &&
        ]] .. editor.program .. [[ --headless -n -i NONE -u NONE --cmd "lua
          local function here(paths) return (paths:gsub('/usr/local', vim.fn.getcwd())) end
          package.path, package.cpath = here(package.path), here(package.cpath)
          require('lmm').connect({ base_url = 'http://127.0.0.1:9/v1', retry = false }):health()
          io.write(require('lmm.core') and package.loaded['lmm.curl'] and 'loaded\n')" --cmd 'qa!']])
      assert.equal("loaded\nexit 0\n", text)
    end)
  end

  case("an answer comes as the server meant it, however its bytes are split", { { { await = "request" },
    { dribble = HEAD .. replies.delta "z\195\164h" .. replies.delta "e \240\159\152\128\n", every = 0 },
    { dribble = replies.delta "\nend" .. END, every = 0 } } }, function(ed)
    ed:lua "local stream = client():conversation():stream 'q' lmm.go(function() read(stream, state) end)"
    ed:wait_for("the end", "return state.ended")
    assert.same({ text = "z\195\164he \240\159\152\128\n\nend", ended = true }, ed:lua "return state")
  end)

  -- Each goes on until the editor says so, by a ninth request.
  local EIGHT = { { await = "request" }, { send = HEAD } }
  for _ = 1, 60 do
    EIGHT[#EIGHT + 1] = { send = replies.delta "word " }
    EIGHT[#EIGHT + 1] = { pause = 0.005 }
  end
  EIGHT[#EIGHT + 1] = { await_all = 9 }
  EIGHT[#EIGHT + 1] = { send = replies.delta "." .. END }
  local scenarios = {}
  for i = 1, 8 do scenarios[i] = EIGHT end
  scenarios[9] = { { await = "request" }, { send = OK } }

  case("while 8 streams run a timer ticks, and keys are taken", scenarios, function(ed, server)
    ed:lua [[
      state.running, state.ticks, state.texts = 0, 0, {}
      local timer = (vim.uv or vim.loop).new_timer()
      timer:start(10, 10, function() state.ticks = state.ticks + 1 end)
      for i = 1, 8 do
        state.running, state.texts[i] = state.running + 1, {}
        local stream = client():conversation():stream "q"
        lmm.go(function() read(stream, state.texts[i]) end, function() state.running = state.running - 1 end)
      end]]
    server:wait("request", 8)
    local before = ed:lua "return state.ticks"
    ed:keys "ityped meanwhile<Esc>"
    ed:wait_for("ticks", ("return state.ticks > %d + 20"):format(before))
    assert.equal("typed meanwhile", ed:lua "return vim.api.nvim_get_current_line()")
    ed:wait_for("text", "return #(state.texts[8].text or '') >= 60 * 5")
    assert.equal(8, ed:lua "return state.running")
    ed:lua "lmm.go(function() client():health() end)"
    ed:wait_for("the end", "return state.running == 0")
    for i, one in ipairs(ed:lua "return state.texts") do
      assert.same({ text = ("word "):rep(60) .. ".", ended = true }, one, "stream " .. i)
    end
  end)

  case("a cancelled stream's server sees it", { ENDLESS }, function(ed, server)
    ed:lua "stream = client():conversation():stream 'q' lmm.go(function() read(stream, state) end)"
    ed:wait_for("text", "return state.text")
    ed:lua "stream:cancel()"
    server:wait "closed"
    ed:wait_for("the end", "return state.ended")
    assert.matches("cancelled", ed:lua "return state.message")
  end)

  case("an abandoned stream is collected, and its server sees it", { ENDLESS }, function(ed, server)
    ed:lua "state.piece = client():conversation():stream('q'):next()"
    assert.equal("word ", ed:lua "return state.piece")
    process.wait_for("the end of the connection", function()
      ed:lua "collectgarbage() collectgarbage()" -- what a place of the stack still holds, another call overwrites
      return #server:seen "closed" > 0
    end)
  end)

  case("what would wait where nothing may wait raises, and says what to do",
    { { { await = "request" }, { send = OK } } }, function(ed)
      ed:lua [[
        chat = client()
        chat:health()
        local timer = (vim.uv or vim.loop).new_timer()
        timer:start(0, 0, function()
          state.ok, state.problem = pcall(chat.health, chat)
          lmm.go(function()
            state.buffer = vim.api.nvim_get_current_buf()
            return chat:health()
          end, function(...) state.done = { ... } end)
          timer:close()
        end)]]
      ed:wait_for("the task's end", "return state.done")
      assert.equal(false, ed:lua "return state.ok")
      assert.matches("in a callback of libuv.*lmm%.go", ed:lua "return state.problem")
      assert.equal(1, ed:lua "return state.buffer")
      assert.same({ true, true }, ed:lua "return state.done")
    end)

  -- vim.wait is made to wait for its condition alone, so that only what tells the loop ends it.
  local PATIENT = "local wait = vim.wait vim.wait = function(_, fn) return wait(600000, fn, 10) end\n"

  case("a wait outside of tasks ends when a scheduled function ends it, or a task", NOTHING, function(ed)
    ed:lua(PATIENT .. [[
      local chat = client():conversation()
      vim.schedule(function() chat:cancel() end)
      state.cancelled = select(2, chat:ask "q")
      local cell, loop = {}, require("lmm.loop").current()
      local task = lmm.go(function() return loop:wait(cell) end)
      vim.schedule(function() loop:wake(cell) end)
      state.waited = { task:wait() }]])
    assert.matches("cancelled", ed:lua "return state.cancelled")
    assert.same({ true, true }, ed:lua "return state.waited")
  end)

  case("a wait within another leaves that one its event", { { { await = "request" }, { send = OK } } }, function(ed)
    ed:lua(PATIENT .. [[
      local cell, loop = {}, require("lmm.loop").current()
      vim.schedule(function()
        loop:wake(cell)
        state.inner = client():health()
      end)
      state.outer = loop:wait(cell)]])
    assert.same({ true, true }, ed:lua "return { state.inner, state.outer }")
  end)

  case("Ctrl-C ends a wait", NOTHING, function(ed, server)
    ed:keys ":lua state.asked = { pcall(function() return client():conversation():ask 'q' end) }<CR>"
    server:wait "request"
    ed:keys "<C-c>"
    server:wait "closed"
    assert.same({ false, "interrupted" }, ed:wait_for("the end", "return state.asked"))
  end)

  for name, code in pairs {
    ["in tasks"] = "for i = 1, 4 do lmm.go(function() read(client():conversation():stream 'q', state) end) end",
    ["outside of tasks"] = "vim.schedule(function() read(client():conversation():stream 'q', state) end)",
    ["that nobody reads"] = "stream = client():conversation():stream 'q' state.text = stream:next()",
  } do
    case(":qa! in mid-stream, read " .. name, { ENDLESS }, function(ed, server)
      ed:lua(code)
      ed:wait_for("text", "return state.text")
      ed:remote "--remote-expr 'execute(\"qa!\")'"
      assert.same({ 0, "" }, { ed:code(), ed:said() })
      server:wait "closed"
    end)
  end

  -- What the client does where there is no lua-cjson. Each spec file runs in an editor of its own.
  for _, editor in ipairs(editors) do
    for name in ("json request stream conversation client retry errors loop sse body"):gmatch "%a+" do
      it(name .. "_spec.lua holds with cjson hidden (" .. editor.name .. ")", function()
        if not editor.program then pending "it is not there" end
        -- The paths are for the programs that specs start, and for .busted.
      local command = "export LUA_PATH='./lua/?.lua;./lua/?/init.lua;./?.lua;;' LUA_CPATH='%s/build/lua5.1/?.so;;'; "
        .. "timeout 300 %s --headless -n -i NONE -u NONE --cmd 'set rtp^=%s' "
          .. "--cmd 'luafile spec/nvim/specs.lua' -- spec/%s_spec.lua"
        local text = nvim.run(here, command:format(plugin, editor.program, plugin, name))
        if not text:find "counts: [1-9]%d* 0 %d+\nexit 0\n$" then error(text, 0) end
      end)
    end
  end
end)
