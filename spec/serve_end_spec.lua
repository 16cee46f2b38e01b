-- Model servers as child processes: beside other tasks, stopped, and never left behind however their owner ends.
local lmm = require "lmm"
local loops = require "lmm.loop"
local process = require "spec.support.process"
local serving = require "spec.support.serving"

local LUA = arg[-1]
local scratch = os.tmpname()
local mock_words, flawed, after, gone = serving.mock, serving.flawed, serving.after, serving.gone

--- A task that makes the scratch file after a few rounds, on which the server waits.
local function maker()
  os.remove(scratch)
  return function()
    for _ = 1, 10 do loops.current():wait({}, loops.current():now() + 0.02) end
    process.write(scratch, "")
  end
end

describe("lmm.serve in tasks", function()
  it("a task beside goes on while it waits, and while it stops", function()
    local wait = "until [ -e " .. scratch .. " ]; do sleep 0.02; done"
    local words = { "sh", "-c", wait .. '\n"$@" & trap "rm ' .. scratch .. "; echo told; " .. wait
      .. '; kill $!; exit" TERM; wait', "sh", LUA, "bin/lmm", "mock", "--port", "{port}" }
    local server
    lmm.gather { function() server = assert(lmm.serve { command = words, ready_timeout = 60 }) end, maker() }
    local order = {}
    lmm.gather {
      function()
        server:stop()
        order[#order + 1] = "stopped"
      end,
      function()
        while not process.read(server.log):find "told" do loops.current():wait({}, loops.current():now() + 0.02) end
        maker()()
        order[#order + 1] = "made"
      end,
      function() -- another who stops it waits as long
        server:stop()
        order[#order + 1] = "stopped"
      end,
    }
    assert.same({ "made", "stopped", "stopped" }, order)
    gone(server)
  end)

  it("a cancelled start leaves nothing", function()
    local message
    local task = lmm.go(function()
      message = select(2, lmm.serve { command = after("echo $$ >" .. scratch .. "; sleep 600") })
    end)
    os.remove(scratch)
    local loop = loops.current()
    process.wait_for("the server", function()
      loop:wait({}, loop:now() + 0.02)
      return (process.read(scratch) or ""):find "\n"
    end)
    task:cancel()
    task:wait()
    assert.matches("cancelled", message)
    process.wait_gone(process.read(scratch):match "%d+")
  end)
end)

local function guard_of(server) return server.guard.reports()[1]:match "%d+" end

describe("how a server ends", function()
  local collected -- the process of one that takes its time

  it("collecting one that takes long to end waits for nothing", function()
    do
      local server = assert(lmm.serve { command = flawed "stubborn" })
      collected = server.pid
    end
    for _ = 1, 3 do collectgarbage() end
    assert(process.runs(collected), "it is asked, not waited for")
  end)

  it("one that ignores SIGTERM is killed with its children, and the others go on meanwhile", function()
    local server = assert(lmm.serve { command = flawed "stubborn" })
    process.wait_for("its child", function() return #process.group(server.pid) > 1 end)
    local stopped, ticks = false, 0
    lmm.gather {
      function()
        server:stop()
        stopped = true
      end,
      function()
        while not stopped do
          loops.current():wait({}, loops.current():now() + 0.05)
          ticks = ticks + 1
        end
      end,
    }
    gone(server)
    assert(ticks > 20, ticks)
  end)

  it("one that was collected is killed, too, where it ignores SIGTERM", function() process.wait_gone(collected) end)

  it("a server killed in mid-stream", function()
    local server = assert(lmm.serve { command = mock_words("--delay", "0.05") })
    local stream = server.client:conversation():stream("x", { mock = { reply = ("word "):rep(10000) } })
    assert.equal("word ", stream:next())
    os.execute(("kill -9 %d"):format(server.pid))
    local piece, message, err
    repeat piece, message, err = stream:next() until not piece
    assert.equal("truncated", assert.refused("broke off", piece, message, err).kind)
    assert.matches("^word ", err.partial)
    process.wait_for("its end", function() return not server:is_running() end)
    assert.matches("^the server '.*' ended by signal 9; it said last: lmm mock: listening", server:problem().message)
    assert.equal(true, server:stop())
  end)

  it("it ends when it is collected; whoever keeps its client alone keeps it", function()
    local client, pid
    do
      local server = assert(lmm.serve { command = mock_words() })
      client, pid = server.client, server.pid
    end
    for _ = 1, 3 do collectgarbage() end
    assert(client:models())
    client = nil -- luacheck: ignore
    for _ = 1, 3 do collectgarbage() end
    process.wait_gone(pid)
  end)

  it("a variable that is closed stops it", function()
    if _VERSION < "Lua 5.4" then pending "before Lua 5.4 no variable is closed" end
    local run = load([[local words = ...
    local server <close> = assert(require("lmm").serve { command = words })
    return server]])
    gone(run(mock_words()))
  end)

  it("it goes although the process that watches over it was killed", function()
    local server = assert(lmm.serve { command = mock_words() })
    os.execute("kill -9 " .. guard_of(server))
    process.wait_for("that process's end", function() return not server:is_running() end)
    assert.matches("left alone", server:problem().message)
    assert.truthy(process.runs(server.pid))
    server:stop()
    process.wait_gone(server.pid)

    local path = process.shell "mktemp":match "%S+"
    -- Its parent is that process.
    local err = assert.refused("the process that .* was killed", -- before or after it could note that it had started it
      lmm.serve { command = { "sh", "-c", "echo $$ >" .. path .. "; kill -9 $PPID; sleep 600" } })
    assert.equal("connect", err.kind)
    os.execute("kill -9 " .. process.read(path):match "%d+" .. " 2>/dev/null") -- left where it could not be noted
    os.remove(path)
  end)
end)

-- An owner tells what it has made. `hold` starts a process that holds open every pipe that the owner has.
local OWNER = [[
local files = require "lmm.files"
local temporary = files.temporary
function files.temporary()
  local name = temporary()
  print("file " .. name)
  return name
end
local function hold() os.execute "sleep 600 >/dev/null 2>&1 & echo holder $!" end
io.stdout:setvbuf "no"
local lmm = require "lmm"
local server = lmm.serve { command = {%s}, on_wait = function() %s end }
print("running " .. server.pid)
%s
]]

local KILLED = "while true do os.execute 'sleep 0.1' end"
local LOADING = "print 'loading'"

-- Each: what happens, what the owner does while the server loads and while it runs, and how it is killed.
local ends = {
  { "is killed while it loads", LOADING, "", "kill -9 %d", loads = true },
  { "is killed while it loads, its pipes held open", "hold() hold = print", "", "kill -9 %d", loads = true },
  { "is told to end while it loads", LOADING, "", "kill -TERM %d", loads = true },
  { "is killed with its whole process group while it loads", LOADING, "", "kill -9 -%d", loads = true },
  { "is killed", "", KILLED, "kill -9 %d" },
  { "is killed, its pipes held open", "", "hold() " .. KILLED, "kill -9 %d" },
  { "is killed with its whole process group", "", KILLED, "kill -9 -%d" },
  { "is interrupted with its whole process group", "", KILLED, "kill -INT -%d; kill -9 %d" },
  { "returns", "", "" },
  { "returns, its pipes held open", "", "hold()" },
  { "raises", "", "error 'on purpose'" },
  { "exits", "", "os.exit(0)" },
  { "exits and closes its state", "", "os.exit(0, true)" },
  { "exits, its pipes held open", "", "hold() os.exit(0)" },
}

local function quote_all(words)
  local out = {}
  for i, word in ipairs(words) do out[i] = ("%q"):format(word) end
  return table.concat(out, ", ")
end

teardown(function()
  for _, suffix in ipairs { "", ".pids", ".said", ".lua" } do os.remove(scratch .. suffix) end
end)

describe("how its owner may end", function()
  for _, row in ipairs(ends) do
    it("no process and no file is left when its owner " .. row[1], function()
      local pids, said = scratch .. ".pids", scratch .. ".said"
      os.remove(pids)
      local words = after("echo $$ >" .. pids .. "; sleep 600 & " .. (row.loads and "sleep 600" or ""))
      local script = process.write(scratch .. ".lua", OWNER:format(quote_all(words), row[2], row[3]))
      local owner = process.shell(("setsid %s %s </dev/null >%s 2>&1 & echo $!"):format(LUA, script, said)):match "%d+"
      local mark = row[2] == LOADING and "loading\n" or row.loads and "holder %d+\n" or "running %d+\n"
      process.wait_for("the server", function()
        local text = process.read(said)
        return text:find(mark) and (not row[3]:find "hold" or text:find "holder %d+\n") and process.read(pids)
      end)
      local leader = process.read(pids):match "%d+"
      if row[4] then os.execute((row[4]:gsub("%%d", owner)) .. " 2>/dev/null") end
      process.wait_for("the owner's end", function() return not process.runs(owner) end)
      process.wait_gone(leader)
      local text = process.read(said)
      for file in text:gmatch "file (%S+)" do
        process.wait_for("the end of " .. file, function() return process.read(file) == nil end)
      end
      local holder = text:match "holder (%d+)"
      if holder then
        assert(row[4] and row[4]:find "-%-" or process.runs(holder), "the holder has outlived them")
        os.execute("kill " .. holder .. " 2>/dev/null")
      end
    end)
  end
end)
