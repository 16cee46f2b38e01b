--- Jobs come in; each runs as a task, and what it gave goes to the job's own function.
local loops = require "lmm.loop"

local LIMIT = 16 -- tools that run at a time

---@class lmm.ToolRun
---@field cancel fun(self)
local Run = {}
Run.__index = Run

local running = {}

---@class lmm.ToolJob
---@field is_sequential boolean?  it never runs at the same time as another one that is
---@field run fun(): any
---@field ended fun(how: "returned"|"raised"|"late", value: any)  called once, unless the run is cancelled; may end it

--- Makes a run of these jobs; nothing is begun yet.
---@param jobs lmm.ToolJob[]
---@param seconds number?  that each may take
---@param deadline number? of all together, by the loop's clock
function running.new(jobs, seconds, deadline)
  local self = setmetatable({
    loop = loops.current(), cell = {}, seconds = seconds or math.huge, deadline = deadline or math.huge,
    queues = { {}, {} },    -- those that may run at once, and those that run one after the other
    next = { 1, 1 },        -- of each queue
    count = 0, under_way = {}, -- jobs that run, with the deadline of each
    cancelled = nil,
    in_sequence = 0,        -- of the second queue, those that run
  }, Run)
  for _, job in ipairs(jobs) do
    table.insert(self.queues[job.is_sequential and 2 or 1], job)
  end
  return self
end

--- A job is over, once.
function Run:finish(job, how, value)
  if job.is_over then return end -- it was late, and ends now
  job.is_over = true
  self.under_way[job], self.count = nil, self.count - 1
  if job.is_sequential then self.in_sequence = self.in_sequence - 1 end
  if not self.cancelled then job.ended(how, value) end
  self.loop:wake(self.cell)
end

function Run:start(job)
  self.count = self.count + 1
  if job.is_sequential then self.in_sequence = self.in_sequence + 1 end
  self.under_way[job] = self.loop:now() + self.seconds
  job.task = self.loop:spawn(job.run, function(ok, value)
    self:finish(job, ok and "returned" or "raised", value)
  end)
  if self.cancelled and not job.is_over then job.task:cancel() end -- while it was begun
end

--- The next job that may begin, which is taken out of its queue.
function Run:take()
  for i, queue in ipairs(self.queues) do
    local job = queue[self.next[i]]
    if job and self.count < LIMIT and not (i == 2 and self.in_sequence > 0) then
      self.next[i] = self.next[i] + 1
      return job
    end
  end
end

--- Ends the jobs whose time is up.
function Run:expire()
  local now, late = self.loop:now(), {}
  for job, deadline in pairs(self.under_way) do
    if now >= deadline then late[#late + 1] = job end
  end
  for _, job in ipairs(late) do
    job.task:cancel()
    self:finish(job, "late")
  end
end

function Run:stop(why)
  self:cancel()
  return nil, why
end

--- Runs all of them and waits until they are over.
---@return true? done, "cancelled"|"timeout"|nil why  the latter where the deadline of all has come
function Run:wait()
  while true do
    local job = not self.cancelled and self:take()
    while job do
      if self.loop:now() >= self.deadline then return self:stop "timeout" end
      self:start(job)
      job = not self.cancelled and self:take()
    end
    if self.cancelled then return nil, "cancelled" end
    if self.count == 0 then return true end
    local first = self.deadline
    for _, deadline in pairs(self.under_way) do first = math.min(first, deadline) end
    local _, why = self.loop:wait(self.cell, first < math.huge and first or nil)
    local is_late = why == "timeout" and self.loop:now() >= self.deadline
    if why == "cancelled" or is_late then return self:stop(why) end
    if why == "timeout" then self:expire() end
  end
end

--- Ends those that run; none begins after this.
function Run:cancel()
  if self.cancelled then return end
  self.cancelled = true
  for job in pairs(self.under_way) do
    if job.task then job.task:cancel() end
  end
  self.loop:wake(self.cell)
end

return running
