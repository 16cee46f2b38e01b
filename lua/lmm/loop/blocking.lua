--- The loop of plain Lua: tasks on one thread, and a step that blocks in the transport's poll until something happens.
--
-- A wait inside a task yields to whoever runs the loop; a wait anywhere else runs the loop. Both are one function: only
-- how they let time pass differs.
local core = require "lmm.core"
local errors = require "lmm.errors"

local Task = {}
Task.__index = Task
Task.__name = "lmm.Task"

local Loop = {}
Loop.__index = Loop

local blocking = {}

--- A poll that returns sooner than asked is always right: the step is run again.
local LONGEST_POLL = 60

function blocking.new()
  return setmetatable({
    poll = core.sleep,
    ready = {},                                  -- tasks to resume, in this order
    parked = {},                                 -- task -> its deadline, or false
    tasks = setmetatable({}, { __mode = "k" }),  -- coroutine -> task
  }, Loop)
end

Loop.now = core.now

function Loop:poller(poll)
  self.poll = poll
end

function Loop:wake(cell)
  cell.set = true
  if cell.task then self:resume_soon(cell.task) end
end

function Loop:resume_soon(task)
  if self.parked[task] == nil then return end
  self.parked[task] = 0 -- due: it is not forgotten where memory for the next line is wanting
  self.ready[#self.ready + 1] = task
  self.parked[task] = nil
end

--- Seconds until the first deadline of anyone who waits.
function Loop:patience(deadline)
  local first = deadline or math.huge
  for _, other in pairs(self.parked) do
    if other and other < first then first = other end
  end
  return math.max(0, first - self:now())
end

function Loop:expire()
  local now = self:now()
  local late = {}
  for task, deadline in pairs(self.parked) do
    if deadline and deadline <= now then late[#late + 1] = task end
  end
  for _, task in ipairs(late) do self:resume_soon(task) end
end

--- Resumes the tasks that can go on, or else blocks until something happens or `deadline` has come.
function Loop:step(deadline)
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
  self:expire()
  for _ = 1, #self.ready do -- those that become ready meanwhile wait for the next step
    local task = table.remove(self.ready, 1)
    if task then task:resume() end
  end
end

--- The task that runs, or nil.
function Loop:running()
  local co = coroutine.running()
  return co and self.tasks[co]
end

function Loop:wait(cell, deadline)
  local task = self:running()
  while true do
    if task and task.cancelled then return nil, "cancelled" end
    if cell.set then
      cell.set = false
      return true
    end
    if deadline and self:now() >= deadline then return nil, "timeout" end
    if task then
      self.parked[task], cell.task = deadline or false, task
      coroutine.yield()
      cell.task = nil
    else
      self:step(deadline)
    end
  end
end

function Loop:spawn(fn, done)
  local task = setmetatable({ loop = self, done = done, watchers = {} }, Task)
  task.co = coroutine.create(fn)
  self.tasks[task.co] = task
  task:resume()
  return task
end

local function pack(...)
  return { n = select("#", ...), ... }
end

local unpack = table.unpack or unpack -- luacheck: ignore

function Task:resume()
  local result = pack(coroutine.resume(self.co))
  if coroutine.status(self.co) ~= "dead" then
    if self.loop.parked[self] ~= nil then return end
    result = pack(false, "lmm: a task waits by calling lmm: it must not yield by itself")
  end
  self.result = result
  self.loop.tasks[self.co] = nil -- Lua 5.1 and LuaJIT never collect a weak key that its own value refers to
  for _, cell in ipairs(self.watchers) do self.loop:wake(cell) end
  if self.done then self.done(unpack(result, 1, result.n)) end
end

function Task:cancel()
  self.cancelled = true
  self.loop:resume_soon(self)
end

--- Waits for the task's end. In a task that is cancelled meanwhile it gives false, "cancelled".
function Task:wait()
  if self.loop:running() == self then errors.misuse "a task cannot wait for itself" end
  local cell = {}
  self.watchers[#self.watchers + 1] = cell
  while not self.result do
    local ok, why = self.loop:wait(cell)
    if not ok then return false, why end
  end
  return unpack(self.result, 1, self.result.n)
end

return blocking
