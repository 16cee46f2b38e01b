--- The model server of a run's own: a run and what lmm.serve takes come in; the run waits until the server answers, and
--- while it is started again after its death. No row pays for that: what went wrong with one while the server died is
--- the server's failure, so the row is run again; but for one that is found to be what the server dies of.
local errors = require "lmm.errors"
local texts = require "lmm.text"

---@class lmm.RunServerOptions
---@field serve table          what lmm.serve takes
---@field restarts integer     how often the server is started again
---@field on_restart fun(message: string)?  it has died, and is started again

---@class lmm.RunServer
local RunServer = {}
RunServer.__index = RunServer

local server = {}

local HEALTH_TIMEOUT = 5 -- seconds

--- Whether the server says that it is not well. One that is dying may still refuse what it was asked, with 500.
local function is_ill(client)
  local well, _, err = client:health { timeout = HEALTH_TIMEOUT, retry = false }
  return not well and err.status ~= 404 and err.status ~= 405 -- which has no /health
end

--- Whether what went wrong with a row may be the server's doing.
local function is_doubtful(err)
  if err.kind == "http" then return (err.status or 0) >= 500 end
  return err.kind ~= "invalid" and err.kind ~= "limit"
end

--- A function of a row that tells the server's failures from the row's.
local function guard(self, fn)
  local keeper = self.keeper
  return function(item, client)
    local starts = keeper.starts
    local value, message, err = fn(item, client)
    if value ~= nil or self.run.stopped or type(err) ~= "table" then return value, message, err end
    local lives = keeper.starts == starts and keeper.server and keeper.server:is_running()
    if lives and not (is_doubtful(err) and is_ill(client)) then return value, message, err end
    local lost = errors.new { kind = "connect", retryable = true, message = "the server died: " .. err.message }
    lost.is_death = true
    return nil, lost.message, lost
  end
end

--- What a run ends with whose server does.
local function ended(err, keeper)
  if not keeper or keeper.starts == 1 then return err end
  err = errors.copy(err)
  err.message = ("%s; it had been started again %s (--restarts)"):format(err.message,
    texts.count(keeper.starts - 1, "time"))
  return err
end

--- Starts the server; the run, which is begun then, is held until it answers. Where nothing is left to do, none is
--- started.
function RunServer:start()
  local run, opts, line = self.run, self.opts, ""
  if not run:has_row() then return end
  local serve = {}
  for name, value in pairs(opts.serve) do serve[name] = value end
  function serve.on_log(text) line = text:find "%S" and text or line end
  function serve.on_wait() run:hold("the server loads" .. (line ~= "" and ": " .. line or "")) end
  run:hold "the server is started"
  self.keeper = require("lmm.server").keep {
    serve = serve, restarts = opts.restarts,
    on_ready = function(kept) run:resume(kept.client) end,
    explains = function(err) return run:blame(err) end,
    on_down = function()
      run:hold "the server is started again"
      line = ""
    end,
    on_restart = function(err, count)
      if not opts.on_restart then return end
      opts.on_restart(count == 0 and err.message .. "; it died of one row, as it seems, and is started again without it"
        or ("%s; it is started again, for time %d of %d"):format(err.message, count, opts.restarts))
    end,
    on_end = function(err) run:stop(ended(err, self.keeper)) end,
  }
  run.fn = guard(self, run.fn)
end

function RunServer:stop()
  if self.keeper then self.keeper:stop() end
end

--- Kills the server at once; stop is still owed.
function RunServer:kill()
  if self.keeper then self.keeper:kill() end
end

--- Makes it; nothing is started before `start`.
---@param run lmm.Run
---@param opts lmm.RunServerOptions
---@return lmm.RunServer
function server.new(run, opts)
  return setmetatable({ run = run, opts = opts }, RunServer)
end

return server
