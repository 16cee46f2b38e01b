--- The process between a program and the server that it starts: it starts the server, keeps it in a process group of
--- its own, and ends the whole group when it is told to or when its owner is gone, whatever happened. See lmm.serve.
--
-- In:  one line of JSON on standard input: { command, env, log, temporary, port? }. SIGTERM means: end it. So do SIGHUP
--      and the end of standard input, and nobody will read what there is to say.
-- Out: lines in the file of notes: "started PID PORT" or "failed WHY"; "exited CODE SIGNAL"; "gone" once no process of
--      the group is left.

local uv = require "luv"
local child = require "lmm.server.child"
local json = require "lmm.json"

local guard = {}

local PATIENCE = 15 -- seconds between asking a group to end and killing it
local ORPHAN_PATIENCE = 1 -- seconds that what it has started is given where the command has ended by itself
local LAST = 2      -- seconds to wait for its end after that: a zombie that nobody reaps stays a member for ever
local LOOK = 50     -- milliseconds between looks at whether it has ended
local THOROUGH = 10 -- every so many looks /proc is read, too

-- Free ports are looked for below those that Linux gives to outgoing connections (from 32768 on): a model server may
-- take half a minute before it takes its port, and until then a connection could have it.
local FIRST_PORT, PORTS, PORT_TRIES = 20000, 12000, 50

local Guard = {}
Guard.__index = Guard

function Guard:note(...)
  uv.fs_write(self.notes, table.concat({ ... }, " ") .. "\n", -1)
end

function Guard:fail(format, ...)
  self:note("failed", (format:format(...):gsub("%s+", " ")))
  self:finish()
end

--- Ends this process. Where the owner is gone nobody else takes its files away.
function Guard:finish()
  self:note "gone"
  if self.alone or uv.os_getppid() ~= child.owner then
    os.remove(self.path)
    if self.temporary then os.remove(self.temporary) end
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

function Guard:start(order)
  self.temporary = order.temporary and order.log
  if self.stopping then return self:fail "it was told to end" end
  local port, problem = find_port(order.port)
  if not port then return self:fail("port %d cannot be had: %s", order.port or 0, problem) end
  local about = uv.fs_stat(order.log)
  if about and about.type ~= "file" then return self:fail("the log '%s' is a %s, not a file", order.log, about.type) end
  local log
  log, problem = uv.fs_open(order.log, "w", 420) -- 0644
  if not log then return self:fail("cannot write the log: %s", problem) end

  local words = with_port(order.command, port)
  local program = table.remove(words, 1)
  local handle, pid = uv.spawn(program, {
    args = words, env = environment(order.env), stdio = { nil, log, log }, detached = true,
  }, function(code, signal)
    self:note("exited", ("%d %d"):format(code, signal))
    self:stop(ORPHAN_PATIENCE)
  end)
  uv.fs_close(log)
  if not handle then return self:fail("cannot run '%s': %s", program, pid) end
  self.group = pid
  self:note("started", ("%d %d"):format(pid, port))
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
function Guard:is_gone(is_thorough)
  if uv.kill(-self.group, 0) and not is_thorough then return false end
  local members = self:members()
  if members then return #members == 0 end
  return not uv.kill(-self.group, 0)
end

--- Asks the group to end, kills it when it does not, and ends this process when it is gone.
---@param patience number?  seconds before it is killed
function Guard:stop(patience)
  self.stopping = true
  if not self.group or self.ending then return end
  self.ending = uv.new_timer()
  local deadline, killed, looks = uv.now() + (patience or PATIENCE) * 1000, false, 0
  self:signal "sigterm"
  self.ending:start(0, LOOK, function()
    looks = looks + 1
    local late = uv.now() > deadline
    if self:is_gone(looks % THOROUGH == 0) or killed and late then return self:finish() end
    if late then
      self:signal "sigkill"
      deadline, killed = uv.now() + LAST * 1000, true
    end
  end)
end

--- The owner is gone, or wants no more to do with this process.
function Guard:leave()
  self.alone = true
  if not self.ordered then self:finish() end
  self:stop()
end

function Guard:read_order()
  local pieces, pipe = {}, uv.new_pipe(false)
  pipe:open(0)
  pipe:read_start(function(err, bytes)
    if err or not bytes then return self:leave() end
    pieces[#pieces + 1] = bytes
    if self.ordered or not bytes:find "\n" then return end
    self.ordered = true
    local order, problem = json.decode(table.concat(pieces))
    if problem then return self:fail("the order is no JSON: %s", problem) end
    self:start(order)
  end)
end

--- The program of the process.
---@param notes string  the file to write notes to
function guard.main(notes)
  local self = setmetatable({ path = notes, notes = assert(uv.fs_open(notes, "a", 384)) }, Guard) -- 0600
  uv.new_signal():start("sigint", function() end) -- its owner decides what Ctrl-C means
  uv.new_signal():start("sigterm", function() self:stop() end)
  uv.new_signal():start("sighup", function() self:leave() end)
  uv.new_timer():start(500, 500, function() -- in case another process holds the other end of standard input
    if uv.os_getppid() ~= child.owner then self:leave() end
  end)
  self:read_order()
  uv.run()
end

return guard
