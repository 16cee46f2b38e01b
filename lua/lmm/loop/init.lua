--- The loop that everything waits in, and the tasks that run in it. There is one for each Lua state, chosen at the
--- first call.
local errors = require "lmm.errors"
local texts = require "lmm.text"

---@class lmm.Cell              what a wait is for: a table of the one who waits, of which `set` tells that it happened

--- A function that runs beside others: made by lmm.go.
---@class lmm.Task
---@field cancel fun(self)      makes the current and every later wait in it give "cancelled"
---@field wait fun(self): boolean, ...  waits for its end; gives what `pcall` of its function would

---@class lmm.Loop
---@field now fun(self): number                  seconds, monotonic
---@field wait fun(self, cell, deadline?: number): true?, "timeout"|"cancelled"|nil
---@field wake fun(self, cell)                   sets the cell; never resumes in the caller's stack
---@field spawn fun(self, fn, done?: fun(ok: boolean, ...)): lmm.Task
---@field running fun(self): lmm.Task?           the task that runs
---@field check nil|fun(self)                    raises where nothing can wait
---@field run fun(self)                          waits until all tasks have ended
---@field name string?                           "luv", ...
---@field poller nil|fun(self, poller: lmm.Poller)  the transport's sockets, which the loop is to move
---@field transport string?                     its transport, "resty", unless that is "curl"

local loop = {}

local current

local modules = {
  blocking = "lmm.loop.blocking",
  luv = "lmm.loop.luv",
  nvim = "lmm.loop.nvim",
  nginx = "lmm.loop.nginx",
}

--- The name of the loop that belongs to the program we are in.
local function host()
  local ngx, vim = rawget(_G, "ngx"), rawget(_G, "vim")
  if type(ngx) == "table" and ngx.get_phase then return "nginx" end
  if type(vim) == "table" and vim.schedule and (vim.uv or vim.loop) then return "nvim" end
  return "blocking"
end

--- The loop in use.
---@return lmm.Loop
function loop.current()
  if not current then
    local name = host()
    current = require(modules[name]).new()
    current.name = name
  end
  return current
end

--- Names the loop, before the first call: "luv" for a program that runs `uv.run()`; "blocking", "nvim" and "nginx" are
--- found by themselves; or a table with the methods of lmm.Loop.
---@param chosen string|lmm.Loop
function loop.use(chosen)
  if type(chosen) == "string" and not modules[chosen] or type(chosen) ~= "string" and type(chosen) ~= "table" then
    errors.misuse("lmm.use: \"luv\", \"blocking\", \"nvim\", \"nginx\" or a loop expected, got %s", texts.shown(chosen))
  end
  if current and current ~= chosen and chosen ~= current.name then
    errors.misuse("lmm.use: a loop is in use already; call it first of all")
  end
  if current then return end
  current = type(chosen) == "table" and chosen or require(modules[chosen]).new()
  if type(chosen) == "string" then current.name = chosen end
end

--- Runs `fn` as a task of the loop in use. See lmm.go.
---@return lmm.Task
function loop.go(fn, done)
  if type(fn) ~= "function" then errors.misuse("lmm.go: a function expected, got %s", type(fn)) end
  if done ~= nil and type(done) ~= "function" then errors.misuse("lmm.go: done is a %s", type(done)) end
  return loop.current():spawn(fn, done)
end

--- Runs functions as tasks and waits for all. See lmm.gather.
function loop.gather(fns, opts)
  return require "lmm.loop.gather"(fns, opts)
end

--- Runs what a source hands out, no more at a time than it lets go: what gather and lmm.map are made of.
---@param work lmm.Work
---@return true? done
function loop.bounded(work)
  return require "lmm.loop.bounded"(work)
end

--- Waits until all tasks have ended. See lmm.run.
function loop.run()
  loop.check()
  loop.current():run()
end

--- Raises where the loop in use cannot wait.
function loop.check()
  local loop_in_use = loop.current()
  if loop_in_use.check then loop_in_use:check() end
end

local resumable = _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil

--- `pcall` of a function that may wait. On PUC 5.1 a task cannot wait inside a pcall: there the function is called as
--- it is, and what it raises ends the task.
function loop.pcall(fn, ...)
  if resumable or not current or not current:running() then return pcall(fn, ...) end
  return true, fn(...)
end

return loop
