--- What a pool says where none of its servers gives an answer: what was wrong with each comes in; one error that names
--- them goes out.
local errors = require "lmm.errors"
local pool_servers = require "lmm.client.pool_server"

local pool_errors = {}

local MOST_TOLD = 16 -- servers that a message tells of

--- One sentence that names each server and what was wrong with it.
---@param pool lmm.Pool
---@param beginning string
---@param problems table<lmm.PoolServer, lmm.Error>
---@param fields table  of the error
---@return lmm.Error
local function sentence(pool, beginning, problems, fields)
  local told = {}
  for _, server in ipairs(pool.servers) do
    local err = problems[server]
    local message = err and (err.kind == "invalid" and server.client.base_url .. ": " or "") .. err.message
    if #told < MOST_TOLD then told[#told + 1] = message or server:describe() end
  end
  local more = #pool.servers - #told
  fields.message = beginning .. table.concat(told, "; ") .. (more > 0 and ("; and %d more"):format(more) or "")
  return errors.new(fields)
end

--- How the sentence begins where none of a call's servers is left, and the error's code.
---@param refused lmm.Error?  by one of them, in whose dialect the request cannot be said
---@return string beginning, string? code
local function beginning_of(pool, call, count, refused)
  local model = pool:model_of(call)
  if refused then return "no server takes the request: " end
  if count == #pool.servers or not model then return "no server answers: " end
  if count > 0 then return ("no server that answers has the model %q: "):format(model) end
  return ("no server has the model %q: "):format(model), "model_not_found"
end

--- The error where no server can be asked.
---@param pool lmm.Pool
---@param call lmm.Call
---@return lmm.Error
function pool_errors.nowhere(pool, call)
  local count, last, down, refused = 0, nil, nil, nil
  for _, err in pairs(call.passed) do
    count, last, down = count + 1, err, pool_servers.is_down(err) and err or down
    refused = err.kind == "invalid" and err or refused
  end
  if #pool.servers == 1 and refused then return refused end
  last = down or last or {}
  local beginning, code = beginning_of(pool, call, count, refused)
  return sentence(pool, beginning, call.passed, { code = code,
    kind = down and "connect" or last.kind or "invalid", phase = last.phase, status = not down and last.status or nil,
    retryable = down ~= nil, attempts = call.attempts, elapsed = call.loop:now() - call.started })
end

--- The error to end with: where all servers that could be asked are down, refuse their keys, or do not take the
--- request, one that names each.
---@param pool lmm.Pool
---@param call lmm.Call
---@param err lmm.Error  the last one
---@return lmm.Error
function pool_errors.last(pool, call, err)
  local count, refused, down = 0, nil, nil
  for _, problem in pairs(call.passed) do
    local is_refusal, is_down = problem.kind == "invalid", pool_servers.is_down(problem)
    if not is_refusal and not is_down and not pool_servers.refuses_key(call, problem) then return err end
    refused, down = is_refusal and problem or refused, is_down and problem or down
    count = count + 1
  end
  if count < 2 or pool:has_other(call) then return err end
  local of, fields = pool_servers.refuses_key(call, err) and down or err, {} -- one that is down may come back
  for name, value in pairs(of) do fields[name] = value end
  fields.hint = nil
  return sentence(pool, (beginning_of(pool, call, count, refused)), call.passed, fields)
end

--- The error where each server was asked the same and failed.
---@param pool lmm.Pool
---@param found lmm.Error[]  by the servers' places
---@return lmm.Error
function pool_errors.of_all(pool, found)
  local problems, fields = {}, {}
  for i, server in ipairs(pool.servers) do
    problems[server] = found[i]
    for name, value in pairs(found[i] or {}) do fields[name] = value end
  end
  fields.hint = nil
  if #pool.servers == 1 then return found[1] end
  return sentence(pool, "no server answers: ", problems, fields)
end

return pool_errors
