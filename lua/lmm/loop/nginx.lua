--- The loop inside nginx, which nginx itself runs: every coroutine may wait, on a semaphore; tasks are light threads.
--
-- Light threads and cosockets belong to their request. Cells do not: a wait in one request may be ended from another.
-- luacheck: globals ngx
local core = require "lmm.core"
local errors = require "lmm.errors"
local semaphore = require "ngx.semaphore"
local tasks = require "lmm.loop.tasks"

local Loop = {}
Loop.__index = Loop

local nginx = {}

local TIMER = "call it from ngx.timer.at(0, ...), which may be set there"
local CONTENT = "call it from rewrite_by_lua, access_by_lua or content_by_lua, or from ngx.timer.at(0, ...)"

--- Where nginx allows no waiting, and what to do instead; everywhere else it does.
local no_waiting = {
  init = "call it from a request, or from init_worker_by_lua by ngx.timer.at(0, ...)",
  init_worker = TIMER,
  exit_worker = "the worker ends: call it from a request",
  set = "call it from rewrite_by_lua",
  balancer = CONTENT,
  header_filter = CONTENT,
  body_filter = CONTENT,
  log = TIMER,
  ssl_session_store = TIMER,
}

local LONGEST = 86400 -- seconds: returning early is always right
local MOMENT = 0.02   -- seconds

function nginx.new()
  return setmetatable({ transport = "resty" }, Loop)
end

Loop.now = core.now

--- Raises where nothing can wait; gives the phase that nginx is in.
function Loop.check()
  local phase = ngx.get_phase()
  local advice = no_waiting[phase]
  if advice then errors.misuse("nginx allows no waiting in %s_by_lua: %s", phase, advice) end
  return phase
end

--- Where there is no request with variables: in ngx.timer.at, and before one begins.
local no_variables = { timer = true, init_worker = true, exit_worker = true, ssl_cert = true, ssl_client_hello = true,
  ssl_session_fetch = true, ssl_session_store = true }

local names = setmetatable({}, { __mode = "k" }) -- by ngx.ctx: each look at a variable takes memory of the request
local subrequests = 0

--- What tells this request from all others of the worker. A program may replace its ngx.ctx; where there are no
--- variables, that has to do.
---@return string|table
function Loop.request()
  local context = ngx.ctx
  if no_variables[ngx.get_phase()] then return context end
  local name = names[context]
  if name then return name end
  name = ngx.var.connection .. ":" .. (ngx.var.connection_requests or "")
  if ngx.is_subrequest then
    subrequests = subrequests + 1
    name = name .. ":" .. subrequests
  end
  names[context] = name
  return name
end

local requests = setmetatable({}, { __mode = "kv" }) -- what is known of each
local by_context = setmetatable({}, { __mode = "kv" }) -- the same by ngx.ctx, where it was looked up last

---@class lmm.NginxRequest  what is known of a request; a coroutine that is over nginx gives to another request
---@field group table  its tasks
---@field tasks table<thread, lmm.Task>
---@field ended table<thread, thread[]>  the light threads that a coroutine has begun and that have ended

--- What is known of this request.
---@param phase string  that nginx is in
---@return lmm.NginxRequest
local function this_request(phase)
  local context = ngx.ctx
  local known = not no_variables[phase] and by_context[context]
  if known then return known end
  local request = Loop.request()
  known = requests[request]
  if not known then
    known = { group = tasks.new_group(), tasks = {}, ended = {} }
    requests[request] = known
  end
  by_context[context] = known
  context.lmm = known -- kept as long as the request
  return known
end

--- The task that runs, or nil.
function Loop.running()
  local co, phase = coroutine.running(), ngx.get_phase()
  return co and not no_waiting[phase] and this_request(phase).tasks[co] or nil
end

local function post(cell)
  local waiting = cell.waiting
  cell.waiting = nil
  if waiting then waiting:post(1) end
end

function Loop.wake(_, cell)
  cell.set = true
  post(cell)
end

function Loop:wait(cell, deadline)
  local task = this_request(self.check()).tasks[coroutine.running()]
  while true do
    if task and task.cancelled then return nil, "cancelled" end
    if cell.set then
      cell.set = false
      return true
    end
    local left = deadline and deadline - self.now() or LONGEST
    if left <= 0 then return nil, "timeout" end
    cell.semaphore = cell.semaphore or assert(semaphore.new(0))
    cell.waiting = cell.semaphore
    if task then task.cell = cell end
    cell.semaphore:wait(math.min(math.ceil(left * 1000) / 1000, LONGEST))
    cell.waiting = nil
    if task then task.cell = false end
  end
end

--- Has nginx forget the light threads of this one that have ended, which it keeps for somebody to wait for them.
local function forget_ended(known)
  local co = coroutine.running()
  local ended = known.ended[co] or {}
  known.ended[co] = ended
  for _ = 1, #ended do ngx.thread.kill(table.remove(ended)) end
  return ended
end

function Loop:spawn(fn, done)
  local known = this_request(self.check())
  local task = tasks.new_task(self, done)
  local ended, place = forget_ended(known), nil
  local function trace(problem)
    place = not done and debug.traceback("", 2):sub(2)
    return problem
  end
  ngx.thread.spawn(function()
    local co = coroutine.running()
    known.tasks[co] = task
    known.group:add()
    local function finish(...)
      known.tasks[co] = nil
      task:finish(place, ...)
    end
    local ok, problem = pcall(finish, xpcall(fn, trace))
    known.ended[co] = nil
    ended[#ended + 1] = co
    known.group:remove(self)
    if not ok then error(problem, 0) end
  end)
  return task
end

--- Has a task that waits go on: it has been cancelled.
function Loop.resume(_, task)
  if task.cell then post(task.cell) end
end

--- Waits until all tasks of this request have ended.
function Loop:run()
  local known = this_request(self.check())
  if self.running() then errors.misuse "lmm.run waits for all tasks: a task would wait for itself" end
  known.group:wait(self)
end

function Loop.report(_, text)
  ngx.log(ngx.ERR, text)
end

function Loop.later(_, fn)
  return ngx.timer.at(MOMENT, function(is_over)
    if not is_over then fn() end
  end)
end

return nginx
