--- The answers that the log of all exchanges has for a grid: a cell's request comes in; what was answered to the same
--- request, from this grid or anywhere else, goes out.
local logs = require "lmm.log"

local logged = {}

--- What finds answers; nil where there is no log that can be read: then everything is asked.
---@param path string?  of the log
---@return (fun(cell: lmm.GridCell, request: table): lmm.GridAnswer?)? find, fun() close
function logged.finder(path)
  local log = path and logs.open(path, { create = false })
  if not log then return nil, function() end end
  local function find(cell, request)
    if cell.turn > 1 then return nil end -- a second try is a try of its own
    local key = logs.key(request, { server = cell.model.client.base_url })
    local exchange = key and log:find(key)
    local reply = exchange and exchange.reply
    if not reply or not exchange.finish_reason then return nil end
    local calls = reply.tool_calls
    return {
      text = reply.text or "", reasoning = reply.reasoning, refusal = reply.refusal, id = reply.id,
      finish_reason = exchange.finish_reason, tool_calls = calls and next(calls) and calls or nil, cost = exchange.cost,
      first = exchange.first_token, total = exchange.total, model = reply.model, logged = exchange.id,
      usage = { prompt_tokens = exchange.prompt_tokens, completion_tokens = exchange.completion_tokens },
    }
  end
  return find, function() log:close() end
end

return logged
