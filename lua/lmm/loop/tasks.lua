--- What the loops of lmm have in common: tasks, the cells they wait for, and deadlines.
--
-- A wait inside a task yields to whoever runs the loop; a wait anywhere else lets time pass until it is over. How time
-- passes is what the loops differ in:
--
--     loop:pass(deadline)   outside of tasks: lets something happen, or `deadline` come; may return early
--     loop:arm()            something waits, or may go on: see to it that `turn` is called when it is time
--     loop:stir()           something happened that a wait outside of tasks may be for: `pass` is to return
--     loop:rest()           a wait outside of tasks is over
--     loop:check()          raises where nothing can wait
local errors = require "lmm.errors"

local Task = {}
Task.__index = Task
Task.__name = "lmm.Task"

local Loop = {}
Loop.__index = Loop

local tasks = {}

--- A class of loops to which `pass` and, where they are needed, the others are to be added.
function tasks.class()
  local class = setmetatable({}, Loop)
  class.__index = class
  return class
end

--- The fields of a new loop.
function tasks.fields()
  return {
    ready = {},                                  -- tasks to resume, in this order
    parked = {},                                 -- task -> its deadline, or false
    tasks = setmetatable({}, { __mode = "k" }),  -- coroutine -> task
  }
end

Loop.now = require("lmm.core").now

function Loop.arm() end

function Loop.stir() end

function Loop.rest() end

function Loop.check() end

function Loop:wake(cell)
  cell.set = true
  self:stir()
  if cell.task then self:resume_soon(cell.task) end
  self:arm()
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

--- Resumes the tasks that can go on. Those that become ready meanwhile wait for the next turn.
function Loop:turn()
  local now = self:now()
  local late = {}
  for task, deadline in pairs(self.parked) do
    if deadline and deadline <= now then late[#late + 1] = task end
  end
  for _, task in ipairs(late) do self:resume_soon(task) end
  for _ = 1, #self.ready do
    local task = table.remove(self.ready, 1)
    if task then task:resume() end
  end
end

--- The task that runs, or nil.
function Loop:running()
  local co = coroutine.running()
  return co and self.tasks[co]
end

--- Waits until the cell is set, which it clears, or until `deadline`.
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
      self:pass(deadline)
      self:rest()
    end
  end
end

--- Makes a task that others can wait for and cancel; whoever runs it calls `finish`.
---@param loop lmm.Loop
---@param done fun(ok: boolean, ...)?
function tasks.new_task(loop, done)
  return setmetatable({ loop = loop, done = done, watchers = {} }, Task)
end

--- Lets a task go on that waits: it has been cancelled.
function Loop:rouse(task)
  self:resume_soon(task)
  self:arm()
end

function Loop:spawn(fn, done)
  local task = tasks.new_task(self, done)
  task.co = coroutine.create(fn)
  self.tasks[task.co] = task
  task:resume()
  self:arm()
  return task
end

local function pack(...)
  return { n = select("#", ...), ... }
end

local unpack = table.unpack or unpack -- luacheck: ignore

--- The task has ended with what `pcall` of its function would give.
function Task:finish(...)
  self.result = pack(...)
  for _, cell in ipairs(self.watchers) do self.loop:wake(cell) end
  if self.done then self.done(...) end
end

--- What a resume gave comes in: the task waits, or else it has ended.
local function settle(task, ...)
  local is_dead = coroutine.status(task.co) == "dead"
  local loop = task.loop
  if not is_dead and loop.parked[task] ~= nil then return end
  loop.parked[task] = nil -- it may have died at its own wait, where Lua cannot yield
  loop.tasks[task.co] = nil -- Lua 5.1 and LuaJIT never collect a weak key that its own value refers to
  if is_dead then return task:finish(...) end
  task:finish(false, "lmm: a task waits by calling lmm: it must not yield by itself")
end

function Task:resume()
  settle(self, coroutine.resume(self.co))
end

function Task:cancel()
  self.cancelled = true
  self.loop:rouse(self)
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

return tasks
