--- One server of a pool: how its attempts end, and its client's list of models, come in; whether it is to be asked goes
--- out.
local calls = require "lmm.call"

---@class lmm.PoolServer
---@field client lmm.Client   of this server alone
---@field loop lmm.Loop
---@field weight number
---@field models string[]?    as the caller named them, else its list tells
---@field running integer     attempts under way
---@field calls table<lmm.Call, true>  the same, weakly held: one that was collected has never said that it ended
---@field turn number         see Pool:choose
---@field failures integer    so many in a row
---@field last_error lmm.Error?
---@field dead_until number?  by the loop's clock: until then it is asked only where no other server is left
---@field names table<string, true>?  the models on `names_of`, its list
---@field names_of table?
local Server = {}
Server.__index = Server

local pool_server = {}

local LEFT_ALONE = 5    -- seconds: a server that is down is asked again by the first call after them
local MANY_FAILURES = 3 -- in a row: whatever they are, the server is left alone
local MODELS_TOLD = 5   -- of a list, in a message

local WEAK = { __mode = "k" }

---@param client lmm.Client
---@param settings { weight: number, models: string[]? }
---@return lmm.PoolServer
function pool_server.new(client, settings)
  return setmetatable({ client = client, loop = client.loop, weight = settings.weight, models = settings.models,
    running = 0, calls = setmetatable({}, WEAK), turn = 0, failures = 0, last_error = nil, dead_until = nil,
    names = nil, names_of = nil }, Server)
end

--- Whether this error means that at the moment no request reaches the server's model.
---@param err lmm.Error
function pool_server.is_down(err)
  return err.kind == "connect" or err.kind == "timeout" and err.limit == "connect"
    or err.kind == "http" and (err.status == 502 or err.status == 503)
end

--- Whether this error means that the server does not take the key that the pool has for it; a call may have another.
---@param call lmm.Call
---@param err lmm.Error
function pool_server.refuses_key(call, err)
  if err.kind ~= "http" or err.status ~= 401 then return false end
  for name in pairs(call.given.headers) do
    if calls.is_secret_name(name) then return false end
  end
  return true
end

--- Whether it is the server's fault, not the request's.
local function is_fault(err)
  return pool_server.is_down(err) or err.kind == "truncated" or err.kind == "protocol"
    or err.kind == "timeout" and err.limit ~= "total" or err.kind == "http" and err.status >= 500
end

--- It is left alone for a while from now on.
function Server:leave_alone()
  self.dead_until = self.loop:now() + LEFT_ALONE
end

--- An attempt has failed.
---@param err lmm.Error
---@param is_out boolean?  not even its list came in time, or it refuses the pool's key for it
function Server:note_failure(err, is_out)
  if is_out or is_fault(err) then
    self.failures, self.last_error = self.failures + 1, err
    if is_out or pool_server.is_down(err) or self.failures >= MANY_FAILURES then
      self:leave_alone()
      self.client.listed = nil -- when it comes back it may have other models
    end
  elseif err.kind == "http" then
    self:note_answer() -- a refusal is one, too
  end
end

--- A look at its list has failed. Where that took too long, the server hangs, or its machine is off: no call is to wait
--- for the same again soon.
---@param err lmm.Error
function Server:note_unlisted(err)
  self:note_failure(err, err.kind == "timeout")
end

function Server:note_answer()
  self.failures, self.dead_until = 0, nil
end

--- Counts the attempts under way anew.
---@return integer
function Server:count()
  self.running = 0
  for _ in pairs(self.calls) do self.running = self.running + 1 end
  return self.running
end

--- Its models, as the caller named them or as it lists them; nil where that is not known.
---@return string[]?
function Server:model_names()
  local listed = self.client.listed
  if self.models or not listed then return self.models end
  local names = {}
  for i, model in ipairs(listed.models) do names[i] = model.id end
  return names
end

--- Whether it has a model; nil where its list is not known. One that lists none may have any.
---@param model string?
---@return boolean?
function Server:serves(model)
  if not model then return true end
  local of = self.models or self.client.listed
  if not of then return nil end
  if self.names_of ~= of then
    self.names, self.names_of = {}, of
    for _, name in ipairs(self:model_names()) do self.names[name] = true end
  end
  return self.names[model] or next(self.names) == nil
end

--- Forgets a list that does not have this model, where it is older than so many seconds; whether it did.
---@return boolean
function Server:forget_list(model, age)
  local listed = self.client.listed
  if self.models or not listed or self:serves(model) or listed.at + age > self.loop:now() then return false end
  self.client.listed = nil
  return true
end

--- What it is, for a message: its URL and some of its models.
---@return string
function Server:describe()
  local names, told = self:model_names() or {}, {}
  for i = 1, math.min(#names, MODELS_TOLD) do told[i] = ("%q"):format(names[i]) end
  local more = #names > #told and (" and %d more"):format(#names - #told) or ""
  return self.client.base_url .. " has " .. (told[1] and table.concat(told, ", ") .. more or "none that is known")
end

--- How it is, for the pool's holder.
---@return lmm.ServerState
function Server:state()
  ---@class lmm.ServerState
  ---@field url string
  ---@field alive boolean  false: it is left alone for a while
  ---@field retry_in number?  for so many seconds, unless no other is left
  ---@field running integer  requests under way
  ---@field failures integer  so many in a row
  ---@field last_error lmm.Error?  what failed last, however long ago
  ---@field weight number
  ---@field models string[]?  where they are known
  return { url = self.client.base_url, alive = not self.dead_until, running = self:count(), failures = self.failures,
    last_error = self.last_error, weight = self.weight, models = self:model_names(),
    retry_in = self.dead_until and math.max(0, self.dead_until - self.loop:now()) }
end

return pool_server
