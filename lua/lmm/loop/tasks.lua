--- What the loops of lmm have in common: tasks, the cells they wait for, and deadlines.
--
-- A wait inside a task yields to whoever runs the loop; a wait anywhere else runs the loop until it is over. How time
-- passes is what the loops differ in:
--
--     loop:run_once(cell, deadline)  outside of tasks: lets something happen, or `deadline` come; may return early
--     loop:schedule()                a task waits, or is ready: see to it that `run_ready` is called in time
--     loop:interrupt()               a cell was set that a wait outside of tasks may be for: `run_once` is to return
--     loop:check()                   raises where nothing can wait
--     loop:report(text)              tells the user of a failure that the program did not take
--     loop:later(fn)                 calls a function in some milliseconds, true; or it cannot
local deadlines = require "lmm.loop.deadlines"
local errors = require "lmm.errors"

local tasks = {}

-- ---- tasks, whatever runs them

local Task = {}
Task.__index = Task
Task.__name = "lmm.Task"

--- Makes a task that others can wait for and cancel; whoever runs it calls `finish`.
---@param loop lmm.Loop
---@param done fun(ok: boolean, ...)?
function tasks.new_task(loop, done)
  return setmetatable({
    loop = loop,
    done = done,
    co = nil,         -- until it has ended
    cell = false,     -- that it waits for
    deadline = math.huge,
    slot = nil,       -- see deadlines.lua
    next_ready = nil, -- while it is ready: the task to resume after it, or false
  }, Task)
end

local function pack(...)
  return { n = select("#", ...), ... }
end

local unpack = table.unpack or unpack -- luacheck: ignore

--- The task has ended with what `pcall` of its function would give. Where it raised is said by `place`, a traceback or
--- a coroutine.
function Task:finish(place, ok, ...)
  self.result = pack(ok, ...)
  for _, cell in ipairs(self.watchers or {}) do self.loop:wake(cell) end
  if self.done then
    self.done(ok, ...)
  elseif not ok and not self.cancelled then
    self.failure = require("lmm.loop.unhandled").new(self.loop, (...), place)
  end
end

function Task:cancel()
  self.cancelled = true
  self.loop:resume(self)
end

--- Waits for the task's end. In a task that is cancelled meanwhile it gives false, "cancelled".
function Task:wait()
  if self.loop:running() == self then errors.misuse "a task cannot wait for itself" end
  if not self.result then
    local cell = {}
    self.watchers = self.watchers or {}
    self.watchers[#self.watchers + 1] = cell
    while not self.result do
      local ok, why = self.loop:wait(cell)
      if not ok then return false, why end
    end
  end
  if self.failure then self.failure:take() end
  return unpack(self.result, 1, self.result.n)
end

-- ---- tasks that are waited for together

local Group = {}
Group.__index = Group

function tasks.new_group()
  return setmetatable({ count = 0, watchers = {} }, Group)
end

function Group:add()
  self.count = self.count + 1
end

function Group:remove(loop)
  self.count = self.count - 1
  if self.count > 0 then return end
  local watchers = self.watchers
  self.watchers = {}
  for _, cell in ipairs(watchers) do loop:wake(cell) end
end

--- Waits until there is none.
function Group:wait(loop)
  while self.count > 0 do
    local cell = {}
    self.watchers[#self.watchers + 1] = cell
    loop:wait(cell)
  end
end

-- ---- loops that resume the tasks themselves

local Loop = {}

--- A class of loops to which `run_once` and, where they are needed, the others are to be added. It has the methods
--- itself, so that each is found at once.
function tasks.class()
  local class = {}
  for name, method in pairs(Loop) do class[name] = method end
  class.__index = class
  return class
end

--- The fields of a new loop.
function tasks.fields()
  return {
    tasks = {},                  -- coroutine -> task, until it has ended
    group = tasks.new_group(),   -- the same tasks
    deadlines = deadlines.new(), -- of those that wait
    -- What comes and goes is false in between: a field that is set to nil again and again makes its table grow anew.
    first_ready = false,         -- the tasks to resume, a list by `next_ready`
    last_ready = false,
    ready_count = 0,
    active = false,              -- the task that was resumed last and has not come back yet
  }
end

Loop.now = require("lmm.core").now

function Loop.schedule() end

function Loop.interrupt() end

function Loop.check() end

function Loop.report(_, text)
  io.stderr:write(text, "\n")
end

--- Has a task that waits resumed with the next ready ones. Takes no memory, so that none is forgotten for want of it.
local function make_ready(self, task)
  if not task.cell or task.next_ready ~= nil then return end
  task.next_ready = false
  if self.last_ready then self.last_ready.next_ready = task else self.first_ready = task end
  self.last_ready, self.ready_count = task, self.ready_count + 1
end

--- Sets the cell, and lets the one who waits for it go on; never resumes it in the caller's stack.
function Loop:wake(cell)
  cell.set = true
  if cell.task then self:resume(cell.task) else self:interrupt() end
end

--- Has a task that waits go on, though perhaps nothing happened that it waits for.
function Loop:resume(task)
  make_ready(self, task)
  self:schedule()
end

--- Seconds until the first deadline of anyone who waits; it may be too early, but never too late.
function Loop:timeout(deadline)
  return math.max(0, math.min(self.deadlines:first(), deadline or math.huge) - self:now())
end

--- Resumes the tasks that can go on. Those that become ready meanwhile wait for the next time.
function Loop:run_ready()
  local now = self:now()
  local task = self.deadlines:take(now)
  while task do
    make_ready(self, task)
    task = self.deadlines:take(now)
  end
  for _ = 1, self.ready_count do
    task = self.first_ready
    if not task then return end -- a `done` has waited, and had them resumed
    self.first_ready, self.ready_count = task.next_ready, self.ready_count - 1
    if not self.first_ready then self.last_ready = false end
    task.next_ready = nil
    task:resume()
  end
end

--- The task that runs, or nil.
function Loop:running()
  return self.tasks[coroutine.running()]
end

--- Waits until the cell is set, which it clears, or until `deadline`.
function Loop:wait(cell, deadline)
  local task = self.tasks[coroutine.running()]
  if task and task.cancelled then return nil, "cancelled" end
  if cell.set then
    cell.set = false
    return true
  end
  if not task then return self:pump(cell, deadline) end
  repeat
    if deadline and self:now() >= deadline then return nil, "timeout" end
    self.deadlines:set(task, deadline or math.huge)
    task.cell, cell.task = cell, task
    coroutine.yield()
    cell.task = false
    if task.cancelled then return nil, "cancelled" end
  until cell.set
  cell.set = false
  return true
end

--- The same outside of tasks.
function Loop:pump(cell, deadline)
  while not cell.set do
    if deadline and self:now() >= deadline then return nil, "timeout" end
    self:run_once(cell, deadline)
  end
  cell.set = false
  return true
end

--- Waits until all tasks have ended.
function Loop:run()
  if self.active then errors.misuse "lmm.run waits for all tasks: a task would wait for itself" end
  self.group:wait(self)
end

function Loop:spawn(fn, done)
  local task = tasks.new_task(self, done)
  task.co = coroutine.create(fn)
  self.tasks[task.co] = task
  self.group:add()
  task:resume()
  self:schedule()
  return task
end

--- What a resume gave comes in: the task waits, or else it has ended.
local function settle(task, before, ok, ...)
  local loop, co = task.loop, task.co
  loop.active = before
  local is_dead = coroutine.status(co) == "dead"
  if not is_dead and task.cell then return end
  if task.cell then task.cell.task, task.cell = false, false end -- it died at its own wait, where Lua cannot yield
  loop.tasks[co], task.co = nil, nil
  loop.deadlines:remove(task)
  loop.group:remove(loop)
  if is_dead then return task:finish(co, ok, ...) end
  task:finish(co, false, "lmm: a task waits by calling lmm: it must not yield by itself")
end

function Task:resume()
  local loop, co = self.loop, self.co
  if not co or coroutine.status(co) ~= "suspended" then return end -- it did not come to wait where Lua cannot yield
  local before = loop.active
  loop.active, self.cell, self.deadline = self, false, math.huge
  settle(self, before, coroutine.resume(co))
end

return tasks
