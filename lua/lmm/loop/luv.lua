--- The loop of a program that runs libuv's: one poll handle for all of the transport's sockets and one timer call the
--- tasks on. They exist only while somebody waits, so that `uv.run` ends when nothing else is left to do.
local errors = require "lmm.errors"
local tasks = require "lmm.loop.tasks"

local Loop = tasks.class()

local luv = {}

--- A timer that comes sooner than asked is always right: what is not yet due waits on.
local LONGEST = 3600

--- Makes the loop on a `uv`, luv's unless given. `soon(fn)` calls a function where tasks may run: at once unless given.
---@param uv table?
---@param soon fun(fn: fun())?
function luv.new(uv, soon)
  local self = setmetatable(tasks.fields(), Loop)
  self.uv = uv or require "luv"
  self.soon = soon or function(fn) fn() end
  self.waiting = 0 -- waits outside of tasks that are under way
  self.on_event = function() self:event() end
  self.on_turn = function()
    self.is_coming = false
    if self.raised then return end -- the wait that it comes out of goes on from there
    local ok, problem = pcall(self.turn, self) -- what a caller's `done` raises holds nobody else up
    self:arm()
    if not ok and self.waiting == 0 then error(problem, 0) end
    self.raised = not ok and { problem } or nil
  end
  return self
end

---@class lmm.Poller  a transport's sockets
---@field poll fun(seconds: number): boolean  moves what can be moved; whether anything is under way
---@field watch fun(): integer                the descriptor that is readable when `poll` has something to do
---@field timeout fun(): number?              the seconds after which it has something to do all the same

---@param poller lmm.Poller
function Loop:poller(poller)
  self.poll = poller
end

--- Without this `uv.run "once"` goes on from the timers, among which it may have happened, to wait for a socket.
function Loop:stir()
  if self.waiting > 0 then self.uv.stop() end
end

--- Runs in libuv's callback, where an editor allows little: bytes are moved here, tasks where they may run.
function Loop:event()
  self:stir()
  self.is_due = false
  if self.poll then self.poll.poll(0) end
  if self.is_coming or #self.ready == 0 and self:patience() > 0 then return self:arm() end
  self.is_coming = true
  self.soon(self.on_turn)
end

--- Sees to it that `event` comes when it is time, and takes the handles away where nobody waits.
function Loop:arm(deadline)
  if next(self.parked) == nil and #self.ready == 0 and self.waiting == 0 then return self:disarm() end
  if self.is_due and #self.ready > 0 and not self.is_coming then return end -- many may be woken at once
  local seconds = LONGEST
  if not self.is_coming then seconds = #self.ready > 0 and 0 or math.min(self:patience(deadline), LONGEST) end
  local fd = self.poll and self.poll.watch()
  local own = self.poll and self.poll.timeout()
  if own and own < seconds then seconds = own end
  if fd and not self.handle then
    self.handle = assert(self.uv.new_poll(fd))
    self.handle:start("r", self.on_event)
  end
  self.timer = self.timer or self.uv.new_timer()
  self.uv.update_time()
  self.timer:start(math.ceil(seconds * 1000), 0, self.on_event)
  self.is_due = seconds <= 0
end

function Loop:disarm()
  local timer, handle = self.timer, self.handle
  self.timer, self.handle, self.is_due = nil, nil, false
  if timer then timer:close() end
  if handle then handle:close() end
end

function Loop:check()
  if self.uv.loop_mode() and not self:running() then
    errors.misuse "this would have to wait inside a callback of uv.run: call it in a task, lmm.go(function() ... end)"
  end
end

--- Runs libuv's loop until something has happened.
function Loop:run_once()
  self.uv.run "once"
end

function Loop:pass(deadline)
  self:check()
  self.waiting = self.waiting + 1
  self:arm(deadline)
  local ok, problem = pcall(self.run_once, self, deadline)
  self.waiting = self.waiting - 1
  local raised = self.raised
  if ok and raised then
    ok, problem, self.raised = false, raised[1], nil
  end
  if not ok then
    self:rest()
    error(problem, 0)
  end
end

--- Nothing is left behind: a program that leaves between a handle's closing and the call that tells of it crashes.
function Loop:rest()
  self:arm()
  if not self.timer and not self.uv.loop_mode() then self.uv.run "nowait" end
end

return luv
