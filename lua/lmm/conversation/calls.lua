--- The calls of an assistant's message: a reply or a history comes in; its message for the history, a message as
--- servers take it, and the calls that nobody has answered go out.
local core = require "lmm.core"
local json = require "lmm.json"
local texts = require "lmm.text"

local calls = {}

--- A value of a reply for the history. A broken character in it could not be sent back.
local function sendable(value)
  if type(value) == "string" then return texts.utf8(value) end
  if type(value) ~= "table" then return value end
  local out = {}
  for key, item in pairs(value) do out[sendable(key)] = sendable(item) end
  return setmetatable(out, getmetatable(value)) -- such as lmm.array's
end

--- The message of a reply for the history. Each of its calls gets an id of its own where the server gave none, or one
--- twice. The reply's calls have the same ids then, so that they can be answered.
---@param reply lmm.Reply
---@return table message
function calls.message(reply)
  local message = sendable(reply.message)
  if not message.tool_calls then return message end
  local taken = {}
  for i, item in json.items(message.tool_calls) do
    local id = item.id or "call_" .. i
    while taken[id] do id = id .. "_" .. i end
    taken[id], item.id, reply.tool_calls[i].id = true, id, id
  end
  return message
end

-- ---- as servers take them

local UNNAMED = "unnamed" -- for a call that names no tool

--- The same value, with a null for each number that JSON does not have.
local function with_finite(value)
  if type(value) == "number" and (value ~= value or math.abs(value) == math.huge) then return json.null end
  if type(value) ~= "table" then return value end
  local copy = json.copy(value)
  for key, item in next, value do copy[key] = with_finite(item) end
  return copy
end

--- Arguments that a server takes back: vLLM reads them as JSON before it shows them to the model, and refuses the whole
--- request where they are none. What can be read is written anew; else the call goes back without them.
local function sendable_arguments(text)
  local _, fault = core.decode(text, { depth = json.MAX_DEPTH })
  if not fault then return text end
  local value, broken = core.decode(text, { depth = json.MAX_DEPTH, lenient = true })
  return not broken and json.text(with_finite(value)) or "{}"
end

--- The function of a call as servers take it: OpenAI's API demands a name.
local function sendable_function(fn)
  local name = fn.name ~= "" and fn.name or UNNAMED
  local arguments = type(fn.arguments) == "string" and sendable_arguments(fn.arguments) or fn.arguments
  if name == fn.name and arguments == fn.arguments then return fn end
  local copy = json.copy(fn)
  copy.name, copy.arguments = name, arguments
  return copy
end

--- A message of a history as it is sent. The history keeps its calls as the model made them: what is wrong with one is
--- found where it is to be run.
---@param message any
---@return any
function calls.sent(message)
  local list = type(message) == "table" and message.tool_calls
  local copy
  for place, item in json.items(list) do
    local fn = item["function"]
    local sent = type(fn) == "table" and sendable_function(fn)
    if sent and sent ~= fn then
      copy = copy or json.copy(list)
      copy[place] = json.copy(item)
      copy[place]["function"] = sent
    end
  end
  if not copy then return message end
  message = json.copy(message)
  message.tool_calls = copy
  return message
end

-- ---- calls without an answer

--- The calls of a message of a history, which may have come from elsewhere.
---@return lmm.ToolCall[]
local function calls_of(message)
  local list = {}
  for _, item in json.items(message.tool_calls) do
    local fn = type(item["function"]) == "table" and item["function"] or {}
    local arguments = type(fn.arguments) == "table" and json.text(fn.arguments) or fn.arguments
    if type(arguments) ~= "string" or arguments == "" then arguments = "{}" end
    local args = core.decode(json.arguments(arguments), { depth = json.MAX_DEPTH, clean = true, lenient = true })
    list[#list + 1] = { id = item.id, name = json.name_of(fn.name) or "", arguments = arguments, args = args }
  end
  return list
end

--- How often each id stands in the tools' messages at the end of a history, and where the message before them is.
local function answers(history)
  local at, answered = history:size(), {}
  while history:role(at) == "tool" do
    local id = history:at(at).tool_call_id
    if id ~= nil then answered[id] = (answered[id] or 0) + 1 end
    at = at - 1
  end
  return answered, at
end

--- The calls of a history's last assistant's message that no tool's message behind it answers.
---@param history lmm.History
---@return lmm.ToolCall[]?  nil where there is none
function calls.unanswered(history)
  local last = history:at(-1)
  if type(last) ~= "table" or last.role ~= "tool" and not last.tool_calls then return nil end
  local answered, at = answers(history)
  if history:role(at) ~= "assistant" or history:at(at).tool_calls == nil then return nil end
  local open = {}
  for _, call in ipairs(calls_of(history:at(at))) do
    local count = call.id ~= nil and answered[call.id] or 0
    if count > 0 then answered[call.id] = count - 1 else open[#open + 1] = call end
  end
  return open[1] and open or nil
end

return calls
