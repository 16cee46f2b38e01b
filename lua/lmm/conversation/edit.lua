--- Going back in a conversation: a question is put in the place of an earlier one, or asked once more.
local arguments = require "lmm.conversation.arguments"
local errors = require "lmm.errors"
local request = require "lmm.request"
local turns = require "lmm.conversation.turns"

local edit = {}

--- The place of a question in the history, or nil, and how many there are.
local function place_of(where, chat, n)
  if type(n) ~= "number" then errors.misuse("%s takes the number of a question, not a %s", where, type(n)) end
  local places = turns.places(chat.history)
  return places[n < 0 and #places + 1 + n or n], #places
end

--- See Conversation:question.
---@param chat lmm.Conversation
---@param n integer
---@return (string|lmm.Part|table)[]?
function edit.question(chat, n)
  local place = place_of("chat:question", chat, n)
  local content = place and chat.history:at(place).content
  if type(content) ~= "table" then return place and { content } end
  local out = {}
  for i, part in ipairs(content) do
    local is_text = part.type == "text" and type(part.text) == "string" and next(part, next(part, next(part))) == nil
    out[i] = is_text and part.text or request.copy(part)
  end
  return out
end

--- See Conversation:edit.
---@param chat lmm.Conversation
---@param n integer
function edit.edit(chat, n, ...)
  local message, opts = arguments.read(...)
  local place, count = place_of("chat:edit", chat, n)
  if not place then
    errors.misuse("chat:edit: there is no question %s, there %s", tostring(n), count == 1 and "is 1" or "are " .. count)
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
  if opts ~= nil and (type(opts) ~= "table" or arguments.is_content(opts) or #opts > 0) then
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
