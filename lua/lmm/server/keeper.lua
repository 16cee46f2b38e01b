--- A model server that is kept running: what lmm.serve takes comes in; a task starts the server, watches it, and starts
--- it again when it dies. Whoever uses it is told each time that it answers, and each time that it is gone.
local errors = require "lmm.errors"
local loops = require "lmm.loop"
local serve = require "lmm.server.serve"

local keeper = {}

local POLL_INTERVAL = 0.1 -- seconds between looks at whether it runs
local RESTART_DELAY = 0.5 -- seconds: whoever ends a whole job, as Slurm does, tells this program, too

---@class lmm.KeeperOptions
---@field serve table        what lmm.serve takes; each start after the first has a log of its own: LOG.2, LOG.3 ...
---@field restarts integer   how often it is started again, counted anew after a death that something else explains
---@field explains (fun(err: lmm.Error): boolean)?  whether something else than the server is known to have ended it
---@field on_ready fun(server: lmm.Server)  it answers
---@field on_down fun(err: lmm.Error)       it has died, and is to be started again
---@field on_restart fun(err: lmm.Error, count: integer)  that is done now, for the count-th time; 0: it does not count
---@field on_end fun(err: lmm.Error)        it does not run, and is not started again

---@class lmm.Keeper
---@field server lmm.Server?  while it answers
---@field starts integer
---@field deaths integer      that count
local Keeper = {}
Keeper.__index = Keeper

--- What lmm.serve takes, for the next start.
local function options_of(self)
  local out = {}
  for name, value in pairs(self.opts.serve) do out[name] = value end
  if out.log and self.starts > 1 then out.log = ("%s.%d"):format(out.log, self.starts) end
  return out
end

--- Gives nil where the task was cancelled.
local function wait(seconds)
  local loop = loops.current()
  local _, why = loop:wait({}, loop:now() + seconds)
  return why ~= "cancelled" or nil
end

--- Waits until the server has died; gives why, or nil where the task was cancelled.
local function watch(server)
  while server:is_running() do
    if not wait(POLL_INTERVAL) then return nil end
  end
  return server:problem()
end

--- Starts it and watches it; gives why it does not run any more, or nil where the task was cancelled.
---@return lmm.Error?
local function live(self)
  self.starts = self.starts + 1
  local server, _, err = serve.start(options_of(self))
  if not server then return err end
  self.server = server
  self.opts.on_ready(server)
  return watch(server)
end

--- Where the first start fails there is no other one: the command is wrong, most likely.
local function run(self)
  while true do
    local problem = live(self)
    if not problem or self.is_stopping then return end
    local dead = self.server
    local is_explained = dead and self.opts.explains and self.opts.explains(problem)
    self.deaths = is_explained and 0 or self.deaths + 1
    local is_last = self.deaths > self.opts.restarts or self.starts == 1 and not dead
    self.server = nil
    if is_last then self.opts.on_end(problem) else self.opts.on_down(problem) end
    if dead then dead:stop() end
    if is_last or not wait(RESTART_DELAY) then return end
    self.opts.on_restart(problem, self.deaths)
  end
end

--- Starts to keep a server. Nothing is waited for; raises where the options are wrong.
---@param opts lmm.KeeperOptions
---@return lmm.Keeper
function keeper.start(opts)
  serve.check(opts.serve)
  local self = setmetatable({ opts = opts, starts = 0, deaths = 0 }, Keeper)
  self.task = loops.go(function() run(self) end, function(ok, problem)
    if ok then return end
    self.raised = { problem }
    opts.on_end(errors.new { kind = "invalid", message = tostring(problem) })
  end)
  return self
end

--- Kills the server at once; stop is still owed.
function Keeper:kill()
  if self.server then self.server:kill() end
end

--- Ends the server, or its start, and waits until nothing of it is left. Raises what the task has raised.
function Keeper:stop()
  self.is_stopping = true
  self.task:cancel()
  self.task:wait()
  if self.server then self.server:stop() end
  if self.raised then error(self.raised[1], 0) end
end

return keeper
