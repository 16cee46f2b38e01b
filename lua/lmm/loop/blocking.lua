--- The loop of plain Lua: whoever waits outside of a task blocks in the transport's poll until something happens, and
--- the tasks run meanwhile.
local core = require "lmm.core"
local errors = require "lmm.errors"
local tasks = require "lmm.loop.tasks"

local Loop = tasks.class()

local blocking = {}

--- A poll that returns sooner than asked is always right: the step is run again.
local LONGEST_POLL = 60

function blocking.new()
  local self = setmetatable(tasks.fields(), Loop)
  self.poll = core.sleep
  return self
end

function Loop:poller(poller)
  self.poll = poller.poll
end

function Loop:run_once(cell, deadline)
  local seconds = self.first_ready and 0 or self:timeout(deadline) -- tasks that keep waking each other delay nobody
  if seconds == math.huge then
    local is_busy = self.poll(0)
    local is_idle = not cell.set and not self.first_ready
    if is_idle and not is_busy then errors.misuse "waiting for what nothing can bring about" end
    seconds = is_idle and LONGEST_POLL or 0
  end
  self.poll(math.min(seconds, LONGEST_POLL))
  self:run_ready()
end

return blocking
