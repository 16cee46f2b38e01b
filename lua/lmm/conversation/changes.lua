--- What a conversation's requests carry, changed while it goes on: a name and a value come in.
local arguments = require "lmm.conversation.arguments"
local errors = require "lmm.errors"

local changes = {}

--- Puts a system message in the place of the one at the beginning, if there is one.
local function set_system(chat, text)
  if text ~= nil and type(text) ~= "string" then errors.misuse("system is a string, not a %s", type(text)) end
  chat:settle()
  local history, list = chat.history, {}
  for i = 1, history:size() do list[i] = history:at(i) end
  local role = history:role(1)
  if role == "system" or role == "developer" then table.remove(list, 1) end
  if text then table.insert(list, 1, { role = "system", content = text }) end
  history:replace(list)
end

--- The options, fields and rules with a name taken away.
local function without(chat, name)
  local out = {}
  for i, kind in ipairs { "opts", "fields", "rules" } do
    out[i] = arguments.copy(chat[kind])
    out[i][name] = nil
  end
  return out[1], out[2], out[3]
end

--- See Conversation:set.
---@param chat lmm.Conversation
---@param name string
function changes.set(chat, name, value)
  if type(name) ~= "string" then errors.misuse("chat:set takes a name and a value, not a %s", type(name)) end
  if name == "system" then return set_system(chat, value) end
  local opts, fields, rules
  if value == nil then
    opts, fields, rules = without(chat, name)
  else
    opts, fields, rules = arguments.split({ [name] = value }, chat)
    if rules ~= chat.rules then require("lmm.conversation.rounds").check(rules) end
    local asked = arguments.copy(fields)
    asked.messages = {}
    chat.client:open_stream("chat:set", asked, opts, false) -- which refuses what cannot be, and sends nothing
  end
  chat.opts, chat.fields, chat.rules = opts, fields, rules
end

return changes
