--- Tools as vLLM has them: a request's tools, checked, and the calls that its last messages ask for come in; the pieces
--- of an answer that makes these calls go out.
--
-- The mock calls a tool where a line of the question, or of what tools have given since the last calls, says so:
--
--     call NAME {"argument": 1}
--
-- What stands behind the name goes as it is, whether it is JSON or not, `{}` where there is nothing; several lines are
-- several calls at once. A tool that is forced is called without arguments where no line says more.
local json = require "lmm.json"
local validation = require "lmm.mock.validation"

local tools = {}

local refuse, refuse_field, malformed = validation.refuse, validation.refuse_field, validation.malformed
local given, is_list, show = validation.given, validation.is_list, validation.show

-- ---- the request

local function check_tool(tool, place)
  if type(tool) ~= "table" then malformed(place, "model_attributes_type", validation.DICTIONARY, tool) end
  local fn = tool["function"]
  place = place .. ".function"
  if fn == nil then malformed(place, "missing", "Field required", tool) end
  if type(fn) ~= "table" then malformed(place, "model_attributes_type", validation.DICTIONARY, fn) end
  if type(fn.name) ~= "string" then malformed(place .. ".name", "missing", "Field required", fn) end
end

--- The name of the tool that a choice names.
local function named(choice)
  return type(choice["function"]) == "table" and choice["function"].name
end

local function check_named(list, choice, has_parser)
  for _, tool in ipairs(list) do
    if tool["function"].name == named(choice) then
      if has_parser then return end
      refuse(400, string.format('tool_choice=function "%s" requires --tool-call-parser to be set', named(choice)))
    end
  end
  refuse_field("tool_choice", "The tool specified in `tool_choice` does not match any of the specified `tools`")
end

local function check_choice(choice, list, has_parser)
  if (choice == nil or choice == "auto") and not has_parser then
    refuse(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
  elseif choice == "required" and not has_parser then
    refuse(400, 'tool_choice="required" requires --tool-call-parser to be set')
  elseif type(choice) == "table" then
    check_named(list, choice, has_parser)
  elseif choice and choice ~= "auto" and choice ~= "required" then
    refuse_field("tool_choice", "Invalid value for `tool_choice`: " .. show(choice)
      .. '! Only named tools, "none", "auto" or "required" are supported.')
  end
end

--- Refuses what vLLM refuses.
---@param request table      the decoded body
---@param has_parser boolean  as if it had been started with --tool-call-parser
function tools.check(request, has_parser)
  local list, choice = given(request.tools), given(request.tool_choice)
  if list == nil then
    if choice ~= nil and choice ~= "none" then
      refuse_field("tool_choice", "When using `tool_choice`, `tools` must be set.")
    end
    return
  end
  if not is_list(list) then malformed("tools", "list_type", "Input should be a valid list", list) end
  if #list == 0 then
    refuse_field("tools",
      "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.")
  end
  for i, tool in ipairs(list) do check_tool(tool, "tools." .. i - 1) end
  if choice == "none" or request.tool_choice == json.null then return end
  check_choice(choice, list, has_parser)
end

-- ---- the conversation

--- Notes what a message says of tools. The arguments of earlier calls are read as JSON, for the model's template.
---@param seen lmm.mock.Seen
---@param message table
---@param text string
function tools.note(seen, message, text)
  if message.role == "user" then
    seen.results, seen.latest = {}, { text }
  elseif message.role == "tool" then
    seen.results[#seen.results + 1] = { name = seen.names[message.tool_call_id] or "?", text = text }
    table.insert(seen.latest, text)
  elseif message.role == "assistant" then
    seen.latest = {}
    for _, call in json.items(given(message.tool_calls)) do
      local fn = type(call["function"]) == "table" and call["function"] or {}
      if call.id ~= nil and type(fn.name) == "string" then seen.names[call.id] = fn.name end
      local _, fault = json.decode(type(fn.arguments) == "string" and fn.arguments or "{}")
      if fault then refuse(400, "Expecting value: line 1 column 1 (char 0)") end
    end
  end
end

--- The calls that an answer to these messages makes, or nil.
---@param request table
---@param seen lmm.mock.Seen
---@return { name: string, arguments: string }[]? calls
function tools.calls(request, seen)
  local list, choice = given(request.tools), given(request.tool_choice)
  if not list or choice == "none" then return nil end
  local calls = {}
  for line in table.concat(seen.latest, "\n"):gmatch "[^\n]+" do
    local name, arguments = line:match "^%s*call%s+(%S+)%s*(.-)%s*$"
    if name and (arguments == "" or arguments:find "^[{%[]") then
      calls[#calls + 1] = { name = name, arguments = arguments ~= "" and arguments or "{}" }
    end
  end
  local forced = type(choice) == "table" and named(choice) or choice == "required" and list[1]["function"].name
  if #calls == 0 and forced then calls[1] = { name = forced, arguments = "{}" } end
  if request.parallel_tool_calls == false then calls = { calls[1] } end
  return calls[1] and calls or nil
end

--- Why an answer with calls ends: vLLM says "stop" of one that was forced by its name.
function tools.finish_reason(request)
  return type(given(request.tool_choice)) == "table" and "stop" or "tool_calls"
end

-- ---- the answer

local count = 0 -- of calls, of which each has an id of its own

--- The pieces of an answer with these calls: for each first its id and name, then its arguments.
---@return table[]  { index, id?, name?, arguments }
function tools.pieces(calls)
  local pieces = {}
  for i, call in ipairs(calls) do
    count = count + 1
    pieces[#pieces + 1] = { index = i - 1, id = ("chatcmpl-tool-%08x"):format(count), name = call.name, arguments = "" }
    for text in call.arguments:gmatch "[^,:]*[,:]?" do
      if text ~= "" then pieces[#pieces + 1] = { index = i - 1, arguments = text } end
    end
  end
  return pieces
end

--- The whole calls of these pieces, each { id, name, arguments }.
function tools.whole(pieces)
  local calls = {}
  for _, piece in ipairs(pieces) do
    local call = calls[piece.index + 1]
    if not call then
      call = { id = piece.id, name = piece.name, arguments = {} }
      calls[piece.index + 1] = call
    end
    table.insert(call.arguments, piece.arguments)
  end
  for _, call in ipairs(calls) do call.arguments = table.concat(call.arguments) end
  return calls
end

return tools
