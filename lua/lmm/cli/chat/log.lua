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

--- Where a question stands in the log: its conversation.
local function chat_of(opened, question)
  local rows, err = opened:list { limit = 50 }
  for _, row in ipairs(question and rows or {}) do
    if row.question == question then return row.chat end
  end
  return nil, err
end

--- The last exchanges of a conversation, the newest first; of all of them where it has none yet.
---@param most integer
---@param question string?  the texts of its last question, a line each
---@return lmm.LoggedExchange[]? rows, string? message
function log.last(most, question)
  return with_log(function(opened)
    local chat, err = chat_of(opened, question)
    if err then return nil, err end
    return opened:list { limit = most, chat = chat }
  end)
end

--- What it takes to go on with the last conversation.
---@return lmm.LoggedChat? chat, string? message
function log.last_chat()
  local chat, message = with_log(function(opened) return opened:last_chat() end)
  return chat, message or not chat and "the log holds no conversation" or nil
end

return log
