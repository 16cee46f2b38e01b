--- The loop that everything waits in. There is one for each Lua state, chosen at the first call.
local errors = require "lmm.errors"

---@class lmm.Cell              what a wait is for: an empty table, owned by whoever waits
---@class lmm.Task
---@field cancel fun(self)      makes the current and every later wait in it give "cancelled"
---@field wait fun(self): boolean, ...  waits for its end; gives what `pcall` of its function would

---@class lmm.Loop
---@field now fun(self): number                  seconds, monotonic
---@field wait fun(self, cell, deadline?: number): true?, "timeout"|"cancelled"|nil
---@field wake fun(self, cell)                   sets the cell; never resumes in the caller's stack
---@field spawn fun(self, fn, done?: fun(ok: boolean, ...)): lmm.Task
---@field running fun(self): lmm.Task?           the task that runs
---@field poller fun(self, poll: fun(seconds: number): boolean)  what to block in, where the loop itself has nothing to;
--- it tells whether anything is under way that could wake somebody

local loop = {}

local current

--- The loop in use.
---@return lmm.Loop
function loop.current()
  if not current then current = require("lmm.loop.blocking").new() end
  return current
end

--- Names the loop, before the first call: "blocking", or a table with the methods of lmm.Loop.
function loop.use(chosen)
  if chosen == "blocking" then chosen = require("lmm.loop.blocking").new() end
  if type(chosen) ~= "table" then errors.misuse("lmm.use: \"blocking\" or a loop expected") end
  if current and current ~= chosen then errors.misuse("lmm.use: a loop is in use already; call it first of all") end
  current = chosen
end

--- Runs `fn` as a task of the loop in use. See lmm.go.
---@return lmm.Task
function loop.go(fn, done)
  if type(fn) ~= "function" then errors.misuse("lmm.go: a function expected, got %s", type(fn)) end
  if done ~= nil and type(done) ~= "function" then errors.misuse("lmm.go: done is a %s", type(done)) end
  return loop.current():spawn(fn, done)
end

local resumable = _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil

--- `pcall` of a function that may wait. On PUC 5.1 a task cannot wait inside a pcall: there the function is called as
--- it is, and what it raises ends the task.
function loop.pcall(fn, ...)
  if resumable or not current or not current:running() then return pcall(fn, ...) end
  return true, fn(...)
end

return loop
