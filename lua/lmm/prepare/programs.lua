--- A program beside this one, as ffmpeg: a script of the shell comes in, which writes files in a folder of its own;
--- when it is over, how it ended goes out. Nothing waits here, and no loop has to know of it: the shell notes the end
--- in a file. The program is ended when its time is up, when the job is collected, and when this process is gone.
--- Whoever has much to do asks for room before each.
local core = require "lmm.core"
local quote = require "lmm.text".quote
local version = require "lmm.version"

local programs = {}

programs.LIMIT = 60               -- seconds
programs.MOST = 256 * 1024 * 1024 -- bytes that are taken of what it makes
programs.MEMORY = 2 * 1024 ^ 3    -- bytes that each of its processes may have
programs.AT_ONCE = 4              -- more would take each other's time, and the loop's
local SLACK = 2 ^ 20 -- bytes of one file beyond MOST, so that it is told from one that is not too long

-- $from is where the owner is. timeout leads a process group of its own, which is killed as a whole: whatever becomes
-- of the shell and of timeout itself, a program may heed no other signal, and may leave behind what it has started.
-- What looks after all that heeds none of the signals that end the owner's whole group, as a closed terminal's.
local COMMAND = "from=$PWD && export from && umask 077 && cd %s && { "
  .. "( timeout -s KILL %d sh -c %s >out 2>err </dev/null & "
  .. "echo $! >pid; wait $!; status=$?; kill -s KILL -- -$!; echo $status >end.new; mv end.new end ) >/dev/null 2>&1 & "
  .. "(trap '' HUP INT TERM; %s) >/dev/null 2>&1 & }"

local function read(path, most)
  local file = io.open(path, "rb")
  if not file then return nil end
  local size = file:seek "end"
  file:seek "set"
  local bytes = file:read(math.min(size, most)) -- Lua makes room for all that is asked for
  file:close()
  return bytes or ""
end

local Job = {}
Job.__index = Job

local running, looked_at = setmetatable({}, { __mode = "k" }), nil
local PAUSE = 0.01 -- seconds: many may wait for room, and each end is a file to be looked for

--- Whether there is room for one more. Those that nobody asks for any more are counted by how they are, too: a part
--- whose call was cancelled may be kept.
---@return boolean
function programs.has_room()
  local now, count = core.now(), 0
  for _ in pairs(running) do count = count + 1 end
  if count < programs.AT_ONCE then return true end
  if looked_at and now - looked_at < PAUSE then return false end
  looked_at = now
  for job in pairs(running) do
    if not job:is_running() then running[job], count = nil, count - 1 end
  end
  return count < programs.AT_ONCE
end

local function finalizer(fn)
  local newproxy = rawget(_G, "newproxy") -- Lua 5.1 knows finalizers of userdata only
  if not newproxy then return setmetatable({}, { __gc = fn }) end
  local proxy = newproxy(true)
  getmetatable(proxy).__gc = fn
  return proxy
end

-- There is no group yet where timeout has only begun; it hands the signal on then. While it ends it may still write
-- something into the folder.
local KILL = "cd %s 2>/dev/null && pid=$(cat pid) && { kill -s KILL -- -$pid || kill $pid; } 2>/dev/null; cd /; "
  .. "for i in 1 2 3 4 5 6 7 8 9; do rm -rf %s && break; sleep 0.2; done 2>/dev/null"

-- Looks each second whether the owner still runs, which may be killed and remove nothing, as long as there is something
-- to remove.
local WATCH = "cd /; for i in $(seq %d); do kill -0 %d && test -d %s || break; sleep 1; done; "
  .. "kill -0 %d || { %s; }"
local GRACE = 10 -- seconds after which there is nothing left of a program whose time is up

local function watch(folder, owner)
  local name = quote(folder)
  return WATCH:format(programs.LIMIT + GRACE, owner, name, owner, KILL:format(name, name))
end

local LEFT = { "out", "err", "pid", "end", "source" } -- what is in the folder of one that has ended

--- Ends what runs, and removes the folder; without a shell, for which a loop would wait, where only what is known is
--- left in it.
local function remove(folder, is_over)
  if is_over then
    for _, name in ipairs(LEFT) do os.remove(folder .. "/" .. name) end
    if os.remove(folder) then return end
  end
  local name = quote(folder)
  core.shell(is_over and "rm -rf " .. name or "(" .. KILL:format(name, name) .. ") >/dev/null 2>&1 </dev/null &")
end

--- Starts a script in a folder of its own.
---@param script string
---@return table? job, string? message
function programs.start(script)
  local folder, message = version.check("lmm.files").temporary(true)
  if not folder then return nil, message end
  local owner, state, deadline = core.pid(), {}, core.now() + programs.LIMIT
  local bounded = ("ulimit -v %d\nulimit -f %d\n%s"):format(programs.MEMORY / 1024,
    math.ceil((programs.MOST + SLACK) / 512), script)
  local ok = core.shell(COMMAND:format(quote(folder), programs.LIMIT, quote(bounded), watch(folder, owner)))
  if not ok then
    os.remove(folder)
    return nil, "a shell cannot be started in " .. folder
  end
  local function finalize()
    if state.is_removed or core.pid() ~= owner then return end -- a child that was forked has the job, too
    state.is_removed = true
    remove(folder, state.is_over)
  end
  local job = setmetatable({ folder = folder, owner = owner, state = state, deadline = deadline, finalize = finalize,
    guard = finalizer(finalize) }, Job)
  running[job] = true
  return job
end

--- How it ended: its status, 137 where its time was up or somebody has killed it; nil while it runs. The shell that
--- notes the end may have been killed, too, or have had no room for one more process.
---@return integer? status
function Job:status()
  local text = read(self.folder .. "/end", 16)
  if text then self.state.is_over = true end
  if text then return tonumber(text:match "%d+") or 1 end
  return core.now() > self.deadline + GRACE and 137 or nil
end

--- Whether it runs, as far as this process has to do with it: one that was forked has its parent's jobs, too.
---@return boolean
function Job:is_running()
  return core.pid() == self.owner and not self:is_late() and not self:status()
end

--- Whether its time is up.
---@return boolean
function Job:is_late()
  return core.now() >= self.deadline
end

--- The bytes of a file that it has written, at most so many; nil where there is none. The file goes.
---@return string? bytes
function Job:take(name, most)
  local path = self.folder .. "/" .. name
  local bytes = read(path, most)
  os.remove(path)
  return bytes
end

--- Ends it, where it still runs, and removes its files.
function Job:close()
  running[self] = nil
  self.finalize()
end

return programs
