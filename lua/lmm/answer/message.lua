--- What one message or one delta adds to its choice: a stranger's table comes in; text, reasoning, refusals, tool calls
--- and whatever else it says go into the choice (see lmm.answer.choices).
local core = require "lmm.core"

local message = {}

--- A module that only some answers need.
local function the(name)
  return require("lmm.answer." .. name)
end

--- Adds a field that mostly holds a text, in whatever form it comes; gives the text in it, and whether it said
--- anything.
---@param kind "text"|"reasoning"|"refusal"
function message.add_text(choices, choice, kind, value, ...)
  if type(value) == "string" or value == nil then
    local piece = choices:say(choice, kind, value)
    return kind == "text" and piece or nil, piece ~= nil
  end
  local said, text = the("content").read(value, kind, choices:spelled(...) or ""), nil
  local count = #said.images
  for _, name in ipairs { "reasoning", "text", "refusal" } do
    count = count + #said[name]
    local piece = choices:say(choice, name, table.concat(said[name]))
    if name == "text" then text = piece end
  end
  for _, image in ipairs(said.images) do the("fields").add_image(choices, choice, image) end
  return text, count > 0
end

--- Adds the reasoning under one of its names; gives whether there is any. The name is kept for the history.
---@param name "message"|"delta"
---@param field "reasoning"|"reasoning_content"
local function add_reasoning(choices, choice, given, name, field)
  if given[field] == nil then return nil end
  local _, has_content = message.add_text(choices, choice, "reasoning", given[field], name, field)
  if has_content then choice.reasoning_name = choice.reasoning_name or field end
  return has_content
end

--- The JSON of the arguments of a call, as they are spelled.
---@param i integer  which call of the field it is
local function spelled_arguments(choices, i, name, field)
  if not choices.call_texts then
    local all = choices:spelled(name, field)
    choices.call_texts = all:find "^%[" and core.slices(all) or { all } -- one may stand in the place of a list
  end
  local text = choices.call_texts[i]
  return core.slice(text, "function", "arguments") or core.slice(text, "arguments")
end

--- Adds tool calls; gives whether they say anything new, or nil and a failure.
---@param field "tool_calls"|"function_call"  where in the message they stand
local function add_calls(choices, choice, given, is_whole, name, field)
  local tool_calls = the "tool_calls"
  local count, has_content = 0, false
  choices.call_texts = nil -- the JSON of each of these calls, once it is needed
  for i, delta in tool_calls.items(given) do
    count = count + 1
    if count > choices.limits.calls then return nil, choices:too_many "calls" end
    choice.calls = choice.calls or {}
    local call, arguments, is_new = tool_calls.add(choice.calls, delta, is_whole)
    if #choice.calls > choices.limits.calls then return nil, choices:too_many "calls" end
    if arguments ~= nil and type(arguments) ~= "string" then
      arguments = spelled_arguments(choices, i, name, field)
    end
    if choices:append(call, "arguments", arguments) or is_new then
      has_content = true
      choices:note(choice, "tool_calls", delta)
    end
  end
  return has_content
end

local function is_empty(value)
  return value == "" or value == false or type(value) == "table" and next(value) == nil
end

--- The fields of a message or delta that are read below; in each other one, something else is said.
local read_here = { role = true, content = true, reasoning = true, reasoning_content = true, refusal = true,
  tool_calls = true, function_call = true }

--- Adds a message or a delta to a choice; gives the text in it and whether it held any content, or nil, nil and a
--- failure. A whole message behind deltas brings what they have not brought.
---@param name "message"|"delta"
function message.add(choices, choice, given, is_whole, name)
  local is_late = is_whole and choice.has_deltas
  local text, has_content, added, failure, _
  if not (is_late and choice.reasoning) then
    has_content = add_reasoning(choices, choice, given, name, "reasoning")
      or add_reasoning(choices, choice, given, name, "reasoning_content")
  end
  if not (is_late and choice.text) then
    text, added = message.add_text(choices, choice, "text", given.content, name, "content")
    has_content = has_content or added
  end
  if given.refusal ~= nil and not (is_late and choice.refusal) then
    _, added = message.add_text(choices, choice, "refusal", given.refusal, name, "refusal")
    has_content = has_content or added
  end
  if given.tool_calls and not (is_late and choice.calls) then
    added, failure = add_calls(choices, choice, given.tool_calls, is_whole, name, "tool_calls")
    if failure then return nil, nil, failure end
    has_content = has_content or added
  end
  if type(given.function_call) == "table" and not (is_late and choice.calls) then
    local calls = { { ["function"] = given.function_call } }
    added, failure = add_calls(choices, choice, calls, is_whole, name, "function_call")
    if failure then return nil, nil, failure end
    has_content = has_content or added
  end
  for field, value in pairs(given) do
    if not read_here[field] and not (is_late and choice[field]) and not is_empty(value) then
      the("fields").add(choices, choice, field, value)
      has_content = true
    end
  end
  return text, has_content
end

return message
