--- Messages that come from elsewhere, from a caller or a file: a list comes in; what is wrong with its form goes out.
local json = require "lmm.json"
local parts = require "lmm.part"

local messages = {}

--- What a value is, for a message.
local function kind_of(value)
  if value == json.null then return "null" end
  if parts.is(value) then return "a part" end
  return type(value) == "table" and "a table" or "a " .. type(value)
end

--- What is wrong with a value that has to be a list of `what`, or nil: of tables, but for those that `also` takes.
local function problem_in_list(name, list, what, also)
  if type(list) ~= "table" or parts.is(list) then
    return ("%s is %s, not a list of %s"):format(name, kind_of(list), what)
  end
  local count = 0
  for _ in next, list do count = count + 1 end
  if count ~= #list then return ("%s is no list of %s: it has names or holes"):format(name, what) end
  for i = 1, count do
    local item = list[i]
    if not (also and also(item)) and (type(item) ~= "table" or parts.is(item)) then
      return ("%s[%d] is %s: a list of %s is needed"):format(name, i, kind_of(item), what)
    end
  end
end

local function is_said(value)
  return type(value) == "string" or parts.is(value)
end

local TEXTS = { "name", "tool_call_id", "refusal", "reasoning", "reasoning_content" }

local function problem_in_message(name, message)
  local role, content = message.role, message.content
  if type(role) ~= "string" or role == "" then
    return role == nil and name .. ".role is missing" or ("%s.role is %s, not a name"):format(name,
      role == "" and "empty" or kind_of(role))
  end
  if content ~= nil and content ~= json.null and type(content) ~= "string" then
    local problem = problem_in_list(name .. ".content", content, "parts", is_said)
    if problem then return problem end
  end
  for _, field in ipairs(TEXTS) do
    local value = message[field]
    if value ~= nil and value ~= json.null and type(value) ~= "string" then
      return ("%s.%s is %s, not a text"):format(name, field, kind_of(value))
    end
  end
  if message.tool_calls ~= nil and message.tool_calls ~= json.null then
    return problem_in_list(name .. ".tool_calls", message.tool_calls, "calls")
  end
end

--- What is wrong with the form of a list of messages, with the place: "messages[2].role is missing"; nil where it can
--- be a history. What they say is the server's to judge.
---@param list any
---@return string?
function messages.problem(list)
  local problem = problem_in_list("messages", list, "messages")
  for i = 1, problem and 0 or #list do
    problem = problem_in_message(("messages[%d]"):format(i), list[i])
    if problem then break end
  end
  return problem
end

return messages
