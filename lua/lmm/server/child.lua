-- A Lua program as a child process of this one, started by plain Lua: io.popen and the shell, no luv in the caller.
--
-- In:  the name of a module whose `main(words)` is the program, and its words.
-- Out: a handle, once the program has announced itself by its first line; the program ends when the handle is stopped
--      or collected, and when its owner ends, however that happens.
--
-- The pipe from the child's standard output is what ties the two together: nothing is read from it after the
-- announcement, but when the owner goes, its end closes, and the child sees that.

local core = require "lmm.core"

local M = {}

local READY = "ready " -- begins the announcement

--- In a child, the process that has started it.
---@type integer?
M.owner = nil

-- Runs in the child. What goes wrong before the announcement is said through the same pipe, on one line.
local PROGRAM = [[
package.path, package.cpath = %q, %q
local ok, problem = pcall(function()
  require("lmm.server.child").owner = owner
  require(%q).main({%s})
end)
if not ok then print((tostring(problem):gsub("%%s+", " "))) os.exit(1) end
]]

-- The shell tells its process number, which the program keeps after `exec`, and tells the program who its owner is: the
-- owner may be gone before the program could ask. A missing interpreter is said through the pipe, too; otherwise the
-- reason would only reach the terminal.
local COMMAND = "echo $$; command -v %s >/dev/null || { echo %s; exit 127; }; "
  .. 'exec %s -e "owner = $PPID" -e %s </dev/null'

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- The interpreter this process was started with, where `arg` tells it as the stand-alone `lua` does.
local function own_interpreter()
  local arguments = rawget(_G, "arg")
  local lowest = 0
  while type(arguments) == "table" and arguments[lowest - 1] do lowest = lowest - 1 end
  if lowest < 0 then return arguments[lowest] end
  return rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d+%.%d+"
end

-- Calls `give_up` when `handle` is collected, and `close`, the same unless given, where a variable that holds it is
-- closed. After a fork the child has a copy of the handle, and collecting that leaves the program alone. Lua 5.1 knows
-- finalizers of userdata only.
local function on_collect(handle, give_up, close)
  local owner = core.pid()
  local function collect()
    if core.pid() == owner then give_up() end
  end
  local newproxy = rawget(_G, "newproxy")
  if newproxy then
    handle.guard = newproxy(true)
    getmetatable(handle.guard).__gc = collect
  end
  return setmetatable(handle, { __gc = collect, __close = close or give_up })
end

---@class lmm.Child
---@field line string           what the program announced
---@field pid integer
---@field stop fun()            ends the program at once and waits until it is gone; may be called again

--- Starts `require(module).main(words)` in a process of its own and waits for its announcement (`child.ready`). It
--- finds modules where this process does, reads an empty standard input, and writes errors where this process does.
--- The program is killed, not asked, so it must leave nothing that needs tidying; `stop` does not rely on the pipe
--- alone, since another process that this one has started meanwhile may hold the pipe's end open as well.
---@param module string
---@param words string[]
---@param opts? { interpreter: string? }  interpreter: the `lua` to run; otherwise the one that runs this process
---@return lmm.Child? handle  keep it: the program ends when it is collected
---@return string? message    a sentence with what the program said before it ended
function M.start(module, words, opts)
  local interpreter = opts and opts.interpreter or own_interpreter()
  local literals = {}
  for i, word in ipairs(words) do literals[i] = string.format("%q", word) end
  local program = PROGRAM:format(package.path, package.cpath, module, table.concat(literals, ", "))
  local missing = "the interpreter " .. interpreter .. " was not found; name one by the option interpreter"
  local pipe = assert(io.popen(COMMAND:format(quote(interpreter), quote(missing), quote(interpreter), quote(program))))

  local pid = tonumber(pipe:read "*l")
  local said, line = {}, nil
  repeat
    said[#said + 1] = line
    line = pipe:read "*l"
  until not line or line:sub(1, #READY) == READY
  if not line then
    pipe:close()
    said[1] = said[1] or "it said nothing"
    return nil, string.format("%s ended before it was ready: %s.", module, table.concat(said, " "))
  end

  local function stop()
    if not pipe then return end
    local mine = pipe
    pipe = nil
    os.execute(string.format("kill -9 %d 2>/dev/null", pid))
    mine:close()
  end
  return on_collect({ line = line:sub(#READY + 1), pid = pid, stop = stop }, stop)
end

-- The same for a program that gets its input through a pipe. It is read to its end even where the program cannot run,
-- since writing to a pipe that nobody reads ends the writer.
local HELD_PROGRAM = [[
package.path, package.cpath = %q, %q
local ok, problem = pcall(function() require("lmm.server.child").owner = owner require(%q).main(%q) end)
if not ok then
  local notes = io.open(%q, "a")
  notes:write("failed ", (tostring(problem):gsub("%%s+", " ")), "\ngone\n")
  notes:close()
  io.read "*a"
end
]]

-- A session of its own keeps the program from the signals that go to its owner's whole process group, from a terminal
-- or from `kill`; and it holds nobody's terminal or pipe open.
local HELD_COMMAND = "echo pid $$ >>%s; command -v %s >/dev/null || { echo failed %s >>%s; exec cat >/dev/null; }; "
  .. "apart=; command -v setsid >/dev/null && apart=setsid; "
  .. 'exec $apart %s -e "owner = $PPID" -e %s >/dev/null 2>&1'

local PID_TIMEOUT = 10 -- seconds in which a shell has told its process number, unless something is badly wrong

-- Whether a process that this one has started, and not reaped, still runs. Without /proc that cannot be told.
local function is_running(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if not file then return io.open "/proc/self/stat" == nil end
  local state = (file:read "*a" or ""):match "%) (%a)"
  file:close()
  return state ~= "Z" and state ~= "X"
end

---@class lmm.Held
local Held = {}
Held.__index = Held

--- The lines so far; those it had at last where the program has taken the file away.
function Held:notes()
  local file = io.open(self.path, "rb")
  self.is_kept = file ~= nil
  if not file or self.is_closed then return self.lines end
  self.lines = {}
  for line in file:read "*a":gmatch "([^\n]*)\n" do self.lines[#self.lines + 1] = line end
  file:close()
  return self.lines
end

function Held:find_pid()
  local lines = not self.pid and self:notes() or {}
  self.pid = self.pid or tonumber((lines[1] or ""):match "^pid (%d+)$")
  return self.pid
end

function Held:is_running()
  if not self.pipe then return false end
  if self:find_pid() then return is_running(self.pid) end
  return core.now() - self.since < PID_TIMEOUT
end

-- Until it is reaped, which closing the pipe does, nobody else can have its number.
function Held:signal(name)
  if not (self.pipe and self:find_pid()) then return end
  os.execute(("kill -%s %d 2>/dev/null"):format(name, self.pid))
  return true
end

-- Those whose pipe is open. Were a pipe collected together with its handle, that would wait for the program's end.
local all = {}

function Held:await_pid()
  while not self:find_pid() and core.now() - self.since < PID_TIMEOUT do core.sleep(0.01) end
end

function Held:close()
  if not self.pipe then return end
  self:await_pid()
  self:signal "TERM"
  local pipe = self.pipe
  self.pipe, all[self] = nil, nil
  pipe:close()
  local lines = self:notes()
  self.is_closed = true
  -- A program that has ended well has said so last, or has taken its notes with it.
  if self.orphan and self.is_kept and lines[#lines] ~= "gone" then self.orphan(lines) end
  os.remove(self.path)
  for _, path in ipairs(self.files) do os.remove(path) end
end

-- Closes those whose handles have been collected and whose programs have ended since.
local function sweep()
  for held in pairs(all) do
    if held.left and not held.told then held.told = held:signal "HUP" end
    if held.left and not held:is_running() then held:close() end
  end
end

---@class lmm.HeldChild
---@field notes fun(): string[]       the lines that the program has written so far, after "pid N"
---@field is_running fun(): boolean
---@field ask fun()                   tells it to end; what it has to tidy up may take it a while
---@field kill fun()                  ends it, however stuck it is
---@field keep fun()                  its files are not removed
---@field leave fun()                 the same as ask, and closes it some time after it is gone, as when it is collected
---@field close fun()                 tells it to end, and waits until it is gone; may be called again

--- Starts `require(module).main(notes)` in a process of its own, which tidies up by itself when its standard input
--- ends or SIGTERM or SIGHUP comes: because it was told to, because the handle was collected, or because this process
--- is gone. What it has to say it appends, in whole lines, to the file `notes`; a line `failed ...` says why it could
--- not run. It removes that file unless SIGTERM has come: then somebody reads it to the end. Nothing is waited for.
---@param module string
---@param input string  what it reads first; seen by nobody else
---@param opts? { files: string[]?, orphan: fun(lines: string[])? }  files: removed when it is gone; orphan:
--- called with its lines where it was killed before it could tidy up
---@return lmm.HeldChild? handle
---@return string? message  why it could not be started
function M.hold(module, input, opts)
  sweep()
  local interpreter = own_interpreter()
  local named, path = pcall(os.tmpname)
  if not named then return nil, "there is no place for a temporary file: " .. path end
  local program = HELD_PROGRAM:format(package.path, package.cpath, module, path, path)
  local missing = "the interpreter " .. interpreter .. " was not found"
  local lua, notes = quote(interpreter), quote(path)
  local pipe, problem = io.popen(HELD_COMMAND:format(notes, lua, quote(missing), notes, lua, quote(program)), "w")
  if not pipe then return nil, "no process could be started: " .. problem end
  pipe:write(input)
  pipe:flush()

  local held = setmetatable({ pipe = pipe, path = path, lines = {}, since = core.now(),
    files = opts and opts.files or {}, orphan = opts and opts.orphan }, Held)
  all[held] = true
  local function close() held:close() end
  local function leave()
    held.left = true
    held:await_pid() -- or there would be nobody to tell, and nobody to tell it later
    sweep()
  end
  return on_collect({
    notes = function() return held:notes() end,
    is_running = function() return held:is_running() end,
    ask = function() held:signal "TERM" end,
    kill = function() held:signal "KILL" end,
    keep = function() held.files = {} end,
    leave = leave,
    close = close,
  }, leave, close)
end

--- In the child: announces that the program is ready, and from here on ends this process when its owner is gone. It
--- sees that nobody holds the reading end of its standard output any more, or, where some other process does, that its
--- parent has changed (looked at twice a second). SIGINT is ignored: a terminal sends it to both, and the owner decides
--- what it means. The loop runs until the process ends, and nothing else may be printed.
---
--- Where `child.start` has not started this process, the line is printed, and that is all.
---@param uv table  luv
---@param line string
function M.ready(uv, line)
  if not M.owner or uv.guess_handle(1) ~= "pipe" then return print(line) end
  local function die() os.exit(0) end
  local function look()
    if uv.os_getppid() ~= M.owner then die() end
  end
  uv.new_signal():start("sigint", function() end)
  uv.new_timer():start(0, 500, look)

  -- The owner reads no further than the line, so the pipe fills, and the last write waits until it fails. A poll handle
  -- would tell the same, but luv prints the error that it gives to standard error.
  local pipe, filling = uv.new_pipe(false), (" "):rep(64 * 1024)
  local function fill(err)
    if err then die() end
    pipe:write(filling, fill)
  end
  pipe:open(1)
  pipe:write(READY .. line .. "\n", fill)
end

return M
