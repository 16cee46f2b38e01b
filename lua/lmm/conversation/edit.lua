--- Going back in a conversation: a question is put in the place of an earlier one, or asked once more.
local arguments = require "lmm.conversation.arguments"
local errors = require "lmm.errors"
local turns = require "lmm.conversation.turns"

local edit = {}

--- See Conversation:edit.
---@param chat lmm.Conversation
---@param n integer
function edit.edit(chat, n, ...)
  local message, opts = arguments.read(...)
  local places = turns.places(chat.history)
  local place = type(n) == "number" and places[n < 0 and #places + 1 + n or n]
  if not place then
    errors.misuse("chat:edit: there is no question %s, there %s", tostring(n),
      #places == 1 and "is 1" or "are " .. #places)
  end
  if not message then errors.misuse "chat:edit: pass the question that is to stand there" end
  if next(opts) ~= nil then errors.misuse "chat:edit takes no options: give them to the ask that follows" end
  chat:settle()
  chat.history:truncate(place - 1)
  chat.history:append { message }
end

--- See Conversation:retry. It is asked in a fork, so that until the new answer is there everything stays as it was.
---@param chat lmm.Conversation
---@param opts table?
---@return lmm.Reply? reply, string? message, lmm.Error? err
function edit.retry(chat, opts)
  if opts ~= nil and (type(opts) ~= "table" or opts.type ~= nil or #opts > 0) then
    errors.misuse("chat:retry takes a table of options, and no question: use chat:edit to change that")
  end
  chat:settle()
  local place = turns.last(chat.history)
  if not place then errors.misuse "chat:retry: there is no question yet" end
  local fork = chat:fork()
  fork.history:truncate(place)
  fork.current, fork.usage = chat.current, chat.usage -- chat:cancel() ends it
  local reply, message, err = fork:ask(opts)
  if not reply then return nil, message, err end
  local answers = {}
  for i = place + 1, fork.history:size() do answers[#answers + 1] = fork.history:at(i) end
  chat.history:truncate(place)
  chat.history:append(answers)
  return reply
end

return edit
