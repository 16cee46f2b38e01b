--- The guard as its owner sees it: a job comes in, and a handle on a guard process goes out (see lmm/server/guard.lua).
--
-- Nothing here waits or needs luv. The job goes to the guard through its standard input, which stays open as long as
-- the owner lives; what the guard has to report it appends, in whole lines, to a file.
local child = require "lmm.server.child"
local core = require "lmm.core"
local quote = require "lmm.text".quote
local version = require "lmm.version"

local guard_handle = {}

-- Runs in the guard's process. Its input is read to the end even where the program cannot run, since writing to a pipe
-- that nobody reads ends the writer.
local PROGRAM = [[
package.path, package.cpath = %q, %q
local ok, problem = pcall(function()
  require("lmm.server.child").owner = owner
  require("lmm.server.guard").main(%q)
end)
if not ok then
  local reports = io.open(%q, "a")
  reports:write("failed ", (tostring(problem):gsub("%%s+", " ")), "\ngone\n")
  reports:close()
  io.read "*a"
end
]]

-- A session of its own keeps the guard from the signals that go to its owner's whole process group, from a terminal
-- or from `kill`; and it holds nobody's terminal or pipe open.
local COMMAND = "echo pid $$ >>%s; command -v %s >/dev/null || { echo failed %s >>%s; exec cat >/dev/null; }; "
  .. "setsid=; command -v setsid >/dev/null && setsid=setsid; "
  .. 'exec $setsid %s -e "owner = $PPID" -e %s >/dev/null 2>&1'

local PID_TIMEOUT = 10 -- seconds in which a shell has reported its process number, unless something is badly wrong

-- Whether a process that this one has started, and not reaped, still runs. Without /proc that cannot be known.
local function is_running(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if not file then return io.open "/proc/self/stat" == nil end
  local state = (file:read "*a" or ""):match "%) (%a)"
  file:close()
  return state ~= "Z" and state ~= "X"
end

local Guard = {}
Guard.__index = Guard

--- The lines of the file so far; the last that were read where the guard has removed the file.
function Guard:reports()
  local file = io.open(self.path, "rb")
  self.has_file = file ~= nil
  if not file or self.is_closed then return self.lines end
  self.lines = {}
  for line in file:read "*a":gmatch "([^\n]*)\n" do self.lines[#self.lines + 1] = line end
  file:close()
  return self.lines
end

function Guard:find_pid()
  local lines = not self.pid and self:reports() or {}
  self.pid = self.pid or tonumber((lines[1] or ""):match "^pid (%d+)$")
  return self.pid
end

function Guard:is_running()
  if not self.pipe then return false end
  if self:find_pid() then return is_running(self.pid) end
  return core.now() - self.since < PID_TIMEOUT
end

--- Until the guard is reaped, which closing the pipe does, no other process can have its number.
function Guard:signal(name)
  if not (self.pipe and self:find_pid()) then return end
  os.execute(("kill -%s %d 2>/dev/null"):format(name, self.pid))
  return true
end

-- The guards whose pipes are open. A pipe that were collected together with its handle would wait for the guard's end.
local open = {}

function Guard:wait_pid()
  while not self:find_pid() and core.now() - self.since < PID_TIMEOUT do core.sleep(0.01) end
end

function Guard:close()
  if not self.pipe then return end
  self:wait_pid()
  self:signal "TERM"
  local pipe = self.pipe
  self.pipe, open[self] = nil, nil
  pipe:close()
  local lines = self:reports()
  self.is_closed = true
  -- A guard that has ended in good order has reported "gone" last, or has removed its file.
  if self.on_killed and self.has_file and lines[#lines] ~= "gone" then self.on_killed(lines) end
  os.remove(self.path)
  for _, path in ipairs(self.files) do os.remove(path) end
end

-- Closes those that are abandoned and have ended since.
local function sweep()
  for guard in pairs(open) do
    if guard.is_abandoned and not guard.is_signalled then guard.is_signalled = guard:signal "HUP" end
    if guard.is_abandoned and not guard:is_running() then guard:close() end
  end
end

---@class lmm.GuardHandle
---@field reports fun(): string[]     the lines that the guard has written so far, after "pid N"
---@field is_running fun(): boolean
---@field terminate fun()             asks it to end; what it has to clean up may take it a while
---@field kill fun()                  ends it at once, however stuck it is
---@field keep_files fun()            the files of `opts` are not removed
---@field abandon fun()               asks it to end, and waits for nothing; it is closed some time after it is gone.
--- The same happens when the handle is collected
---@field close fun()                 asks it to end, and waits until it is gone; may be called again

--- Starts a guard. It cleans up by itself when its standard input ends or SIGTERM or SIGHUP comes: because it was asked
--- to, because the handle was collected, or because this process is gone. It removes the file of reports unless SIGTERM
--- has come: then its owner reads that to the end. Nothing is waited for.
---@param job string  what the guard reads first; no other process can see it
---@param opts { files: string[], on_killed: fun(lines: string[]) }  files: removed when it is gone; on_killed: called
--- with its reports where it was killed before it could clean up
---@return lmm.GuardHandle? handle
---@return string? message  why it could not be started
function guard_handle.start(job, opts)
  sweep()
  local interpreter = child.own_interpreter()
  local path, message = version.check("lmm.files").temporary()
  if not path then return nil, message end
  local program = PROGRAM:format(package.path, package.cpath, path, path)
  local missing = "the interpreter " .. interpreter .. " was not found"
  local lua, reports = quote(interpreter), quote(path)
  local pipe, problem = io.popen(COMMAND:format(reports, lua, quote(missing), reports, lua, quote(program)), "w")
  if not pipe then return nil, "no process could be started: " .. problem end
  pipe:write(job)
  pipe:flush()

  local guard = setmetatable({
    pipe = pipe, path = path, lines = {}, since = core.now(), files = opts.files, on_killed = opts.on_killed,
  }, Guard)
  open[guard] = true
  local function close() guard:close() end
  local function abandon()
    guard.is_abandoned = true
    guard:wait_pid() -- else there would be no process to signal, now or later
    sweep()
  end
  return child.set_finalizer({
    reports = function() return guard:reports() end,
    is_running = function() return guard:is_running() end,
    terminate = function() guard:signal "TERM" end,
    kill = function() guard:signal "KILL" end,
    keep_files = function() guard.files = {} end,
    abandon = abandon,
    close = close,
  }, abandon, close)
end

return guard_handle
