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

function Loop:pass(deadline)
  if #self.ready > 0 then
    self.poll(0) -- tasks that keep waking each other hold nobody else up
  else
    local patience = self:patience(deadline)
    if patience < math.huge then
      self.poll(math.min(patience, LONGEST_POLL))
    elseif not self.poll(0) and #self.ready == 0 then
      errors.misuse "waiting for what nothing can bring about"
    elseif #self.ready == 0 then
      self.poll(LONGEST_POLL)
    end
  end
  self:turn()
end

return blocking
