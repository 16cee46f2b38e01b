--- A pool: several servers behind one client. A call comes in before each of its attempts; the server that is to get
--- the attempt goes out. How the attempts end comes back, and tells which servers are left alone for a while.
--
-- Each server has a client of its own, which knows what there is to know of one server: its address and key, its list
-- of models, its dialect, and what media it keeps. A pool has no timer and no task: what it has to find out, a call
-- finds out on its way.
local calls = require "lmm.call"
local errors = require "lmm.errors"
local loops = require "lmm.loop"
local models = require "lmm.client.models"
local pool_errors = require "lmm.client.pool_error"
local pool_servers = require "lmm.client.pool_server"

---@class lmm.Pool
---@field client lmm.Client  the one that the caller holds
---@field servers lmm.PoolServer[]
---@field chosen integer  how many servers were chosen since the attempts under way were counted anew, some of which may
--- have been collected
---@field count_after integer  so many choices they are counted anew
--- A conversation's affinity, `{ server = lmm.PoolServer? }`, names the server that answered it last: it has the media
--- and the beginning of the prompt, so that it is asked again while it lives.
local Pool = {}
Pool.__index = Pool

local pool = {}

local PROBE_CONNECT = 2   -- seconds that a call which finds out whether a server is back waits for the connection
local LIST_AGE = 10       -- seconds after which a list without the model that is asked for is asked for anew
local COUNTED_AFTER = 100 -- choices, or more where more attempts are under way

--- Makes a pool.
---@param client lmm.Client
---@param servers lmm.PoolServer[]
---@return lmm.Pool
function pool.new(client, servers)
  return setmetatable({ client = client, servers = servers, chosen = 0, count_after = COUNTED_AFTER }, Pool)
end

-- ---- models

--- The model that a call asks for, as far as it is known.
function Pool:model_of(call)
  return call.wanted or call.request and call.request.needs_model and self.client.listed_model or nil
end

--- What runs the calls for lists, so that whoever cancels the call under way cancels those, too.
local function runner(call)
  if not call.stream then return call.run end
  return function(...) return call.stream:run_aside(...) end
end

--- The time limits of a call at a server; one that finds out whether that is back waits less for the connection.
local function timeout_of(call, is_probe)
  local given = call.given.timeout
  if not is_probe then return given end
  return calls.settings.timeout("call", { connect = math.min(PROBE_CONNECT, given.connect) }, given)
end

--- The options of a look at a server's list, which takes no longer than the call has left.
local function list_options(server, call, is_probe)
  local opts = models.probe_options(server.client, timeout_of(call, is_probe))
  if call.deadline then
    opts.timeout.total = math.max(0, math.min(opts.timeout.total, call.deadline - call.loop:now()))
  end
  return opts
end

--- Finds out what models a server has, where the call needs to know.
---@return true? ok, lmm.Error? err
function Pool:learn(server, call, is_probe)
  local model, err = self:model_of(call), nil
  if not model and call.request and call.request.needs_model then
    model = server.models and server.models[1]
    if not model then model, err = models.find(server.client, list_options(server, call, is_probe), runner(call)) end
    if not model then return nil, err end
    self.client.listed_model = self.client.listed_model or model -- so that all calls ask for the same
  elseif server:serves(model) == nil then
    err = models.learn(server.client, list_options(server, call, is_probe), runner(call))
    local has_answered = err and (err.kind == "http" or err.kind == "protocol") and not pool_servers.is_down(err)
    if err and not has_answered then return nil, err end -- one that answers without a list may have any model
    server.dead_until = nil
  end
  return true
end

--- Forgets old lists without the model that a call asks for, once; whether there were any.
function Pool:forget_lists(call)
  if call.has_relisted then return false end
  call.has_relisted = true
  local found = false
  for _, server in ipairs(self.servers) do found = server:forget_list(self:model_of(call), LIST_AGE) or found end
  return found
end

-- ---- choosing

--- Of servers that have as much to do: each in its turn, as often as its weight says (nginx's smooth round robin).
local function next_in_turn(servers)
  local best, total = servers[1], 0
  if #servers < 2 then return best end
  for _, server in ipairs(servers) do
    server.turn, total = server.turn + server.weight, total + server.weight
    if server.turn > best.turn then best = server end
  end
  best.turn = best.turn - total
  return best
end

--- The server for the next attempt of a call: that of its conversation; one that was down and may be up again; the one
--- with the least to do; and where none is left, one that is down.
---@return lmm.PoolServer? server, boolean? is_probe
function Pool:choose(call)
  local now, model = self.client.loop:now(), self:model_of(call)
  local affinity = call.request and call.request.affinity
  local own = affinity and affinity.server
  if own and not own.dead_until and not call.passed[own] and own:serves(model) ~= false then return own end
  local idle, least, soonest, due = {}, math.huge, nil, nil
  for _, server in ipairs(self.servers) do
    local is_open = not call.passed[server] and server:serves(model) ~= false
    local load = server.running / server.weight
    if is_open and server.dead_until then
      if not soonest or server.dead_until < soonest.dead_until then soonest = server end
      if server.dead_until <= now then due = soonest end
    elseif is_open and load <= least then
      if load < least then idle, least = {}, load end
      idle[#idle + 1] = server
    end
  end
  if due then
    due:leave_alone() -- so that one call finds out, and not all
    return due, true
  end
  return next_in_turn(idle) or soonest
end

--- Whether there is a server that a call has not tried since it waited last.
function Pool:has_other(call)
  for _, server in ipairs(self.servers) do
    if not call.passed[server] and server:serves(self:model_of(call)) ~= false then return true end
  end
  return false
end

--- Counts the attempts under way, where some may have been collected: a little for each choice.
function Pool:count_choice()
  self.chosen = self.chosen + 1
  if self.chosen < self.count_after then return end
  local total = 0
  for _, server in ipairs(self.servers) do total = total + server:count() end
  self.chosen, self.count_after = 0, math.max(COUNTED_AFTER, total)
end

--- Makes a call this server's.
---@return lmm.Error? err
function Pool:take(call, server, is_probe)
  local client, given = server.client, call.given
  call.client, call.server, call.url = client, server, client:url(given.url)
  call.sent_headers = next(given.headers) and calls.settings.headers(given.headers, client.headers) or client.headers
  call.timeout = timeout_of(call, is_probe)
  self:count_choice()
  server.running, server.calls[call] = server.running + 1, true
  if not call.request then return nil end
  local model = not call.request.model and self:model_of(call) or nil
  local err = call.request:bind(call, client, model, runner(call))
  if err then self:release(call) end
  return err
end

-- ---- what a call asks of it

--- Gives a call the server for its next attempt; may ask servers for their models.
---@param call lmm.Call
---@return lmm.Error? err  where there is none that can be asked
function Pool:assign(call)
  if call.server then return nil end -- it sends another form of its request
  call.passed = call.passed or {}
  if not self:has_other(call) then call.passed = {} end
  local server, is_probe = self:choose(call)
  while server do
    local ok, err = self:learn(server, call, is_probe)
    if ok and server:serves(self:model_of(call)) ~= false then
      local refusal = self:take(call, server, is_probe)
      if not refusal or refusal.kind ~= "invalid" then return refusal end
      call.passed[server] = refusal -- what is asked cannot be said in its dialect, but perhaps in another one
    elseif not ok then
      if err.kind == "cancelled" then return err end
      server:note_unlisted(err)
      if call.deadline and call.loop:now() >= call.deadline then return err end
      call.passed[server] = err
    end
    server, is_probe = self:choose(call)
  end
  if self:forget_lists(call) then return self:assign(call) end
  return self:nowhere(call)
end

--- An attempt has brought an answer.
function Pool.answered(_, call)
  local affinity = call.request and call.request.affinity
  call.server:note_answer()
  if affinity then affinity.server = call.server end
end

--- Whether a server has said that it does not have what a call asks for, whatever its list says.
local function lacks_model(call, err)
  return err.kind == "http" and err.status == 404 and call.model ~= nil
end

--- An attempt is over.
---@param err lmm.Error?  that ended it
function Pool:release(call, err)
  local server = call.server
  if not server then return end
  call.server = nil
  if server.calls[call] then server.running, server.calls[call] = server.running - 1, nil end
  if not err then return end
  server:note_failure(err, pool_servers.refuses_key(call, err))
  if lacks_model(call, err) then server.client.listed = nil end
  return server
end

--- An attempt has failed: whether the call goes on to another server as if it had not been made, since the server is
--- down, refuses its key, or does not have the model.
---@return boolean
function Pool:passes_over(call, err)
  local server = self:release(call, err)
  if not server then return false end
  call.passed[server] = err
  return (pool_servers.is_down(err) or pool_servers.refuses_key(call, err) or lacks_model(call, err))
    and self:has_other(call)
end

Pool.nowhere, Pool.error = pool_errors.nowhere, pool_errors.last

-- ---- for its holder

--- Asks all servers the same, at once.
---@param fn fun(client: lmm.Client, opts: lmm.CallSettings): any, lmm.Error?
---@param opts table?  of the call
---@return any[]? values, lmm.Error? err  what those that answered gave, in their order; where none did, one error
function Pool:ask_each(fn, opts)
  local asks, values = {}, {}
  for i, server in ipairs(self.servers) do
    asks[i] = function()
      local value, err = fn(server.client, calls.options(server.client, opts or {}))
      return errors.public(value, err)
    end
  end
  local results, failures, cancelled = loops.gather(asks, { limit = #asks })
  if not results then return nil, cancelled end
  for i = 1, #asks do
    if results[i] ~= nil then values[#values + 1] = results[i] end
  end
  if #values > 0 then return values end
  return nil, pool_errors.of_all(self, failures)
end

function Pool:close()
  for _, server in ipairs(self.servers) do server.client:close() end
end

--- How each server is.
---@return lmm.ServerState[]
function Pool:states()
  local states = {}
  for i, server in ipairs(self.servers) do states[i] = server:state() end
  return states
end

return pool
