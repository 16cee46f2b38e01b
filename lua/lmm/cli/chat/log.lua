--- The log of exchanges, as the chat needs it.
local log = {}

--- Calls `fn` with the log; nil and a message where there is none.
local function with_log(fn)
  local room = require "lmm.log"
  local path, message = room.default_path()
  if not path then return nil, message end
  local opened, err = room.open(path, { create = false })
  if not opened then return nil, err.message end
  local value
  value, err = fn(opened)
  opened:close()
  if err then return nil, err.message end
  return value
end

--- The last exchanges, the newest first.
---@param most integer
---@return lmm.LoggedExchange[]? rows, string? message
function log.last(most)
  return with_log(function(opened) return opened:list { limit = most } end)
end

--- What it takes to go on with the last conversation.
---@return lmm.LoggedChat? chat, string? message
function log.last_chat()
  local chat, message = with_log(function(opened) return opened:last_chat() end)
  return chat, message or not chat and "the log holds no conversation" or nil
end

return log
