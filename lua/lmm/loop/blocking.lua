--- The loop of plain Lua: whoever waits outside of a task blocks in the transport's poll until something happens, and
--- the tasks run meanwhile.
local core = require "lmm.core"
local errors = require "lmm.errors"
local tasks = require "lmm.loop.tasks"

local Loop = tasks.class()

local blocking = {}

--- A poll that returns sooner than asked is always right: the step is run again.
local LONGEST_POLL = 60

local unpack = table.unpack or unpack -- luacheck: ignore

function blocking.new()
  local self = setmetatable(tasks.fields(), Loop)
  self.poll = core.sleep
  self.pollers = {} -- by name
  return self
end

--- Waits until one of the transports can go on, and moves each.
local function poll_all(pollers)
  return function(seconds)
    local watched, is_busy = {}, false
    for _, poller in pairs(pollers) do
      watched[#watched + 1] = poller.watch()
      seconds = math.min(seconds, poller.timeout() or seconds)
    end
    core.sleep(seconds, unpack(watched))
    for _, poller in pairs(pollers) do is_busy = poller.poll(0) or is_busy end
    return is_busy
  end
end

--- Mostly there is one transport, which waits by itself.
function Loop:poller(poller)
  local pollers = self.pollers
  pollers[poller.name or "curl"] = poller
  local first = next(pollers)
  self.poll = next(pollers, first) and poll_all(pollers) or poller.poll
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
