--- The process between a program and the server that it starts: it starts the server, keeps it in a process group of
--- its own, and ends the whole group when it is told to or when its owner is gone, whatever happened. See lmm.serve.
--
-- In:  one line of JSON on standard input: { command, env, log, port? }. The end of standard input means: end it.
-- Out: lines in the file of notes: "guard PID"; "started PID PORT" or "failed WHY"; "exited CODE SIGNAL"; "gone" once
--      no process of the group is left.

local uv = require "luv"
local child = require "lmm.child"
local json = require "lmm.json"

local guard = {}

local PATIENCE = 15 -- seconds between asking a group to end and killing it
local LOOK = 50     -- milliseconds between looks at whether it has ended

local Guard = {}
Guard.__index = Guard

function Guard:note(...)
  self.notes:write(table.concat({ ... }, " "), "\n")
  self.notes:flush()
end

function Guard:fail(format, ...)
  self:note("failed", (format:format(...):gsub("%s+", " ")))
  self:finish()
end

function Guard:finish()
  self:note "gone"
  os.exit(0)
end

--- A port of this machine that nobody listens on; the one asked for, if it is still free.
local function find_port(wanted)
  local socket = uv.new_tcp()
  local ok, err = socket:bind("127.0.0.1", wanted or 0)
  if ok then ok, err = socket:listen(1, function() end) end
  local port = ok and socket:getsockname().port
  socket:close()
  return port, err
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
  local port, problem = find_port(order.port)
  if not port then return self:fail("port %d cannot be had: %s", order.port, problem) end
  local log
  log, problem = uv.fs_open(order.log, "w", 420) -- 0644
  if not log then return self:fail("cannot write the log: %s", problem) end

  local words = with_port(order.command, port)
  local program = table.remove(words, 1)
  local handle, pid = uv.spawn(program, {
    args = words, env = environment(order.env), stdio = { nil, log, log }, detached = true,
  }, function(code, signal)
    self:note("exited", ("%d %d"):format(code, signal))
    self:stop()
  end)
  uv.fs_close(log)
  if not handle then return self:fail("cannot run '%s': %s", program, pid) end
  self.group = pid
  self:note("started", ("%d %d"):format(pid, port))
  if self.stopping then self:stop() end
end

--- Asks the group to end, kills it when it does not, and ends this process when it is gone.
function Guard:stop()
  self.stopping = true
  if not self.group then return end
  if self.ending then return end
  self.ending = uv.new_timer()
  local since, killed = uv.now(), false
  uv.kill(-self.group, "sigterm")
  self.ending:start(0, LOOK, function()
    -- A zombie that nobody reaps counts as a member for ever: after the kill it is not waited for long.
    local late = uv.now() - since > PATIENCE * 1000
    if not uv.kill(-self.group, 0) or killed and late then return self:finish() end
    if late then
      uv.kill(-self.group, "sigkill")
      since, killed = uv.now() - (PATIENCE - 2) * 1000, true
    end
  end)
end

function Guard:read_orders()
  local text, pipe = "", uv.new_pipe(false)
  pipe:open(0)
  pipe:read_start(function(err, bytes)
    if err or not bytes then
      if not self.ordered then os.exit(1) end
      return self:stop()
    end
    text = text .. bytes
    if self.ordered or not text:find "\n" then return end
    self.ordered = true
    self:start(json.decode(text))
  end)
end

--- The program of the process.
---@param notes string  the file to write notes to
function guard.main(notes)
  local self = setmetatable({ notes = assert(io.open(notes, "a")) }, Guard)
  self:note("guard", ("%d"):format(uv.os_getpid()))
  -- Ctrl-C in a terminal reaches this process, too: its owner decides what it means.
  uv.new_signal():start("sigint", function() end)
  uv.new_signal():start("sigterm", function() self:stop() end)
  uv.new_signal():start("sighup", function() self:stop() end)
  uv.new_timer():start(500, 500, function() -- in case another process holds the other end of standard input
    if uv.os_getppid() ~= child.owner then self:stop() end
  end)
  self:read_orders()
  uv.run()
end

return guard
