--- The loop of a program that runs libuv's: one poll handle for all of the transport's sockets and one timer call the
--- tasks on. They exist only while somebody waits, so that `uv.run` ends when nothing else is left to do.
local errors = require "lmm.errors"
local tasks = require "lmm.loop.tasks"

local Loop = tasks.class()

local luv = {}

--- A timer that fires sooner than asked is always right: what is not yet due waits on.
local LONGEST = 3600
local MOMENT = 20 -- milliseconds

local function load_luv()
  local found, uv = pcall(require, "luv")
  if found then return uv end
  errors.misuse("lmm.use \"luv\": %s", errors.missing_package(uv) or uv)
end

--- Makes the loop on a `uv`, luv's unless given.
---@param uv table?
---@param defer fun(fn: fun())?  calls a function where tasks may run: at once unless given
function luv.new(uv, defer)
  local self = setmetatable(tasks.fields(), Loop)
  self.uv = uv or load_luv()
  self.defer = defer or function(fn) fn() end
  self.pumping = 0          -- waits outside of tasks that are under way
  self.timer_at = math.huge -- when the timer fires
  self.is_polling = false   -- `on_event` polls, and sees to what becomes ready
  self.is_deferred = false  -- `on_ready` is about to be called
  self.raised = nil         -- { what a `done` raised }, to be raised by a wait outside of tasks
  self.on_event = function() self:event() end
  self.on_timer = function()
    self.timer_at = math.huge
    self:event()
  end
  self.on_ready = function()
    self.is_deferred = false
    if self.raised then return end -- the wait that raises it goes on from there
    local ok, problem = pcall(self.run_ready, self) -- what a caller's `done` raises delays nobody else
    self:schedule()
    if not ok and self.pumping == 0 then error(problem, 0) end
    self.raised = not ok and { problem } or nil
  end
  return self
end

---@class lmm.Poller  a transport's sockets
---@field name string?                        of the transport: a poller takes the place of one of the same name
---@field poll fun(seconds: number): boolean  moves what can be moved; whether anything is under way
---@field watch fun(): integer                the descriptor that is readable when `poll` has something to do
---@field timeout fun(): number?              the seconds after which it has something to do all the same

---@param poller lmm.Poller
function Loop:poller(poller)
  self.transport_poller = poller
end

--- Without this `uv.run "once"` goes on from the timers, among which it may have happened, to wait for a socket.
function Loop:interrupt()
  if self.pumping > 0 then self.uv.stop() end
end

--- Runs in libuv's callback, where an editor allows little: bytes are moved here, tasks where they may run.
function Loop:event()
  local ok, problem = true, nil
  self:interrupt()
  if self.transport_poller then
    self.is_polling = true
    ok, problem = pcall(self.transport_poller.poll, 0)
    self.is_polling = false
  end
  local is_new = not self.is_deferred and (self.first_ready or self:timeout() <= 0)
  if is_new then
    self.is_deferred = true
    self.defer(self.on_ready)
  end
  if self.is_deferred or not is_new then self:schedule() end -- otherwise on_ready has done it
  if not ok then error(problem, 0) end
end

--- Sees to it that `on_event` is called when it is time, and closes the handles where nobody waits.
function Loop:schedule(deadline)
  if self.is_polling then return end
  if self.group.count == 0 and self.pumping == 0 then return self:close_handles() end
  local poller = self.transport_poller
  if poller and not self.socket then
    self.socket = assert(self.uv.new_poll(poller.watch()))
    self.socket:start("r", self.on_event)
  end
  if self.first_ready and not self.is_deferred then return self:set_timer(0) end
  local now = self:now()
  local time = now + LONGEST
  if not self.is_deferred then time = math.min(time, self.deadlines:first(), deadline or math.huge) end
  local seconds = poller and poller.timeout()
  if seconds then time = math.min(time, now + seconds) end
  self:set_timer(time)
end

--- Has the timer fire at a time, which may be past, unless it fires sooner.
function Loop:set_timer(time)
  if self.timer_at <= time then return end
  self.timer = self.timer or self.uv.new_timer()
  if time > 0 then self.uv.update_time() end
  self.timer:start(math.max(0, math.ceil((time - self:now()) * 1000)), 0, self.on_timer)
  self.timer_at = time
end

function Loop:close_handles()
  local timer, socket = self.timer, self.socket
  self.timer, self.socket, self.timer_at = nil, nil, math.huge
  if timer then timer:close() end
  if socket then socket:close() end
end

function Loop:check()
  if self.uv.loop_mode() and not self:running() then
    errors.misuse "this would have to wait inside a callback of uv.run: call it in a task, lmm.go(function() ... end)"
  end
end

--- Runs libuv's loop until something has happened.
function Loop:run_host()
  self.uv.run "once"
end

function Loop:run_once(cell, deadline)
  self:schedule(deadline)
  self:run_host(cell, deadline)
  local raised = self.raised
  self.raised = nil
  if raised then error(raised[1], 0) end
end

local pump = Loop.pump

function Loop:pump(cell, deadline)
  self:check()
  self.pumping = self.pumping + 1
  local ok, result, why = pcall(pump, self, cell, deadline)
  self.pumping = self.pumping - 1
  self:schedule()
  if not self.timer then self:finish_closing() end
  if not ok then error(result, 0) end
  return result, why
end

--- A program that leaves between a handle's closing and the call that tells of it would crash.
function Loop:finish_closing()
  if not self.uv.loop_mode() then self.uv.run "nowait" end
end

function Loop:later(fn)
  local timer = self.uv.new_timer()
  timer:start(MOMENT, 0, function()
    timer:close()
    fn()
  end)
  timer:unref() -- no program goes on for its sake
  return true
end

return luv
