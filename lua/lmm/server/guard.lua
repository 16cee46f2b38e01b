--- The program of the guard, the process between a program (its owner) and the model server that it starts: a job comes
--- in; the server as a process group, and reports of what becomes of it, go out. The guard ends the whole group when it
--- is told to or when its owner is gone, whatever happened to that. See lmm.serve.
--
-- In:  one line of JSON on standard input: { command, env, log, is_temporary, port? }. SIGTERM means: end the group. So
--      do SIGHUP and the end of standard input, after which nobody reads the reports.
-- Out: lines appended to the file of reports: "started PID PORT" or "failed WHY"; "exited CODE SIGNAL"; "gone" once no
--      process of the group is left.
local uv = require "luv"
local child = require "lmm.server.child"
local json = require "lmm.json"

local guard = {}

local GRACE_PERIOD = 15       -- seconds between SIGTERM to a group and SIGKILL
local CHILD_GRACE_PERIOD = 1  -- the same where the command has ended by itself, for what it has started
local KILL_TIMEOUT = 2        -- seconds to wait after SIGKILL: a zombie that nobody reaps stays a member for ever
local POLL_INTERVAL = 50      -- milliseconds between checks whether the group has ended
local PROC_EVERY = 10         -- at every so many checks /proc is read, too

-- Free ports are looked for below those that Linux gives to outgoing connections (from 32768 on): a model server may
-- take half a minute before it takes its port, and until then a connection could have it.
local FIRST_PORT, PORTS, PORT_TRIES = 20000, 12000, 50

local Guard = {}
Guard.__index = Guard

function Guard:report(...)
  uv.fs_write(self.reports, table.concat({ ... }, " ") .. "\n", -1)
end

function Guard:fail(format, ...)
  self:report("failed", (format:format(...):gsub("%s+", " ")))
  self:finish()
end

--- Ends this process. Where the owner is gone nobody else removes the files.
function Guard:finish()
  self:report "gone"
  if self.is_abandoned or uv.os_getppid() ~= child.owner then
    os.remove(self.path)
    if self.temporary_log then os.remove(self.temporary_log) end
  end
  os.exit(0)
end

local function try_port(port)
  local socket = uv.new_tcp()
  local ok, problem = socket:bind("127.0.0.1", port)
  if ok then ok, problem = socket:listen(1, function() end) end
  local found = ok and socket:getsockname().port
  socket:close()
  return found, problem
end

--- A port of this machine that nobody listens on; the one asked for, if it is still free.
local function find_port(wanted)
  if wanted then return try_port(wanted) end
  math.randomseed(uv.hrtime() % 2 ^ 31 + uv.os_getpid())
  for _ = 1, PORT_TRIES do
    local port = try_port(FIRST_PORT + math.random(0, PORTS - 1))
    if port then return port end
  end
  return try_port(0)
end

--- The words of the command with the port in its place, or behind them.
local function with_port(words, port)
  local out, found = {}, false
  for i, word in ipairs(words) do
    local count
    out[i], count = word:gsub("{port}", port)
    found = found or count > 0
  end
  if not found then
    out[#out + 1] = "--port"
    out[#out + 1] = tostring(port)
  end
  return out
end

local function environment(more)
  local all, list = uv.os_environ(), {}
  for name, value in pairs(more) do all[name] = value end
  for name, value in pairs(all) do list[#list + 1] = name .. "=" .. value end
  return list
end

function Guard:start(job)
  self.temporary_log = job.is_temporary and job.log
  if self.is_stopping then return self:fail "it was told to end" end
  local port, problem = find_port(job.port)
  if not port then return self:fail("port %d cannot be had: %s", job.port or 0, problem) end
  local stat = uv.fs_stat(job.log)
  if stat and stat.type ~= "file" then return self:fail("the log '%s' is a %s, not a file", job.log, stat.type) end
  local log
  log, problem = uv.fs_open(job.log, "w", 420) -- 0644
  if not log then return self:fail("cannot write the log: %s", problem) end

  local words = with_port(job.command, port)
  local program = table.remove(words, 1)
  local handle, pid = uv.spawn(program, {
    args = words, env = environment(job.env), stdio = { nil, log, log }, detached = true,
  }, function(code, signal)
    self:report("exited", ("%d %d"):format(code, signal))
    self:stop(CHILD_GRACE_PERIOD)
  end)
  uv.fs_close(log)
  if not handle then return self:fail("cannot run '%s': %s", program, pid) end
  self.group = pid
  self:report("started", ("%d %d"):format(pid, port))
end

--- The living processes of the group, and those of its session that have made a group of their own, as timeout(1)
--- does; nil where there is no /proc to tell.
function Guard:members()
  local listing = uv.fs_scandir "/proc/self" and uv.fs_scandir "/proc"
  if not listing then return nil end
  local found = {}
  for name in function() return uv.fs_scandir_next(listing) end do
    local file = name:find "^%d+$" and io.open("/proc/" .. name .. "/stat")
    if file then
      local state, group, session = (file:read "*a" or ""):match "^.*%) (%a) %d+ (%d+) (%d+) "
      file:close()
      local is_ours = tonumber(group) == self.group or tonumber(session) == self.group
      if is_ours and state ~= "Z" and state ~= "X" then found[#found + 1] = tonumber(name) end
    end
  end
  return found
end

function Guard:signal(name)
  uv.kill(-self.group, name)
  for _, pid in ipairs(self:members() or {}) do uv.kill(pid, name) end
end

--- Whether nothing of the group is left. A zombie that nobody reaps counts for nothing where /proc tells of it.
function Guard:is_gone(reads_proc)
  if uv.kill(-self.group, 0) and not reads_proc then return false end
  local members = self:members()
  if members then return #members == 0 end
  return not uv.kill(-self.group, 0)
end

--- Asks the group to end, kills it when it does not, and ends this process when the group is gone.
---@param grace_period number?  seconds before it is killed
function Guard:stop(grace_period)
  self.is_stopping = true
  if not self.group or self.stop_timer then return end
  self.stop_timer = uv.new_timer()
  local deadline, is_killed, checks = uv.now() + (grace_period or GRACE_PERIOD) * 1000, false, 0
  self:signal "sigterm"
  self.stop_timer:start(0, POLL_INTERVAL, function()
    checks = checks + 1
    local is_late = uv.now() > deadline
    if self:is_gone(checks % PROC_EVERY == 0) or is_killed and is_late then return self:finish() end
    if is_late then
      self:signal "sigkill"
      deadline, is_killed = uv.now() + KILL_TIMEOUT * 1000, true
    end
  end)
end

--- The owner is gone, or has abandoned this process.
function Guard:abandon()
  self.is_abandoned = true
  if not self.has_job then self:finish() end
  self:stop()
end

function Guard:read_job()
  local pieces, pipe = {}, uv.new_pipe(false)
  pipe:open(0)
  pipe:read_start(function(err, bytes)
    if err or not bytes then return self:abandon() end
    pieces[#pieces + 1] = bytes
    if self.has_job or not bytes:find "\n" then return end
    self.has_job = true
    local job, problem = json.decode(table.concat(pieces))
    if problem then return self:fail("the job is no JSON: %s", problem) end
    self:start(job)
  end)
end

--- Runs until the group is gone.
---@param path string  the file of reports
function guard.main(path)
  local self = setmetatable({ path = path, reports = assert(uv.fs_open(path, "a", 384)) }, Guard) -- 0600
  uv.new_signal():start("sigint", function() end) -- its owner decides what Ctrl-C means
  uv.new_signal():start("sigterm", function() self:stop() end)
  uv.new_signal():start("sighup", function() self:abandon() end)
  uv.new_timer():start(500, 500, function() -- in case another process holds the other end of standard input
    if uv.os_getppid() ~= child.owner then self:abandon() end
  end)
  self:read_job()
  uv.run()
end

return guard
