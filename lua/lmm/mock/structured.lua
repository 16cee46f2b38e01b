--- Structured answers, as vLLM takes them: the fields `response_format` and `structured_outputs` of a request come in;
--- a text that fits them, or what vLLM would say against them, goes out. There is no model behind it: a value says what
--- place it stands in.
local json = require "lmm.json"
local options = require "lmm.options"
local validation = require "lmm.mock.validation"

local structured = {}

local given, is_list, refuse = validation.given, validation.is_list, validation.refuse

local KINDS = { "json", "regex", "choice", "grammar", "json_object", "structural_tag" }
local TYPES = { array = true, boolean = true, integer = true, null = true, number = true, object = true, string = true }
local DEEPEST = 32 -- levels of a value; below, lists are empty, and objects too
local ITEMS = 2    -- of a list that says nothing of it
local MOST = 10000 -- values in all; lists are short or empty then

-- ---- what is asked for

--- The constraints of a request by their kinds, and how many there are.
---@param names table<string, string>?  the fields that say them, and which kind each is: nil for vLLM's
local function constraints_of(request, names)
  local format, found, count = given(request.response_format), {}, 0
  local outputs = given(request.structured_outputs)
  for _, kind in ipairs(names and {} or KINDS) do
    local value = type(outputs) == "table" and given(outputs[kind]) or nil
    if value ~= nil then found[kind], count = value, count + 1 end
  end
  for name, kind in pairs(names or {}) do
    if given(request[name]) ~= nil then found[kind], count = request[name], count + 1 end
  end
  if type(format) ~= "table" then return found, count end
  if format.type == "json_object" then found.json_object, count = true, count + 1 end
  if format.type ~= "json_schema" then return found, count end
  if type(format.json_schema) ~= "table" then
    validation.refuse_field("response_format",
      "When response_format type is 'json_schema', the 'json_schema' field must be provided.")
  end
  found.json, count = given(format.json_schema.schema) or {}, count + 1
  return found, count
end

--- vLLM finds out when it begins to answer: a stream has its head by then.
local function refuse_late(format, ...)
  refuse(400, format:format(...), { is_late = true })
end

local function check_schema(schema, depth)
  if type(schema) ~= "table" or is_list(schema) and next(schema) ~= nil or depth > DEEPEST then
    refuse_late "Invalid grammar: a schema must be an object or a boolean."
  end
  for _, name in ipairs(type(schema.type) == "table" and schema.type or { schema.type }) do
    if not TYPES[name] then refuse_late('Invalid grammar: unsupported type "%s" in the schema.', tostring(name)) end
  end
  for _, property in pairs(type(schema.properties) == "table" and schema.properties or {}) do
    if type(property) ~= "boolean" then check_schema(property, depth + 1) end
  end
  if type(schema.items) == "table" and not is_list(schema.items) then check_schema(schema.items, depth + 1) end
end

-- ---- a text that fits

local write -- of any schema, below

local function quote(text)
  return (json.encode(text):gsub("\\/", "/"))
end

local function clamp(number, schema)
  local least, most = tonumber(schema.minimum), tonumber(schema.maximum)
  if least and number < least then number = least end
  if most and number > most then number = most end
  return ("%.14g"):format(number)
end

local function write_object(schema, place, depth)
  local fields = {}
  local properties = depth < DEEPEST and type(schema.properties) == "table" and schema.properties or {}
  for _, name in ipairs(options.names(properties)) do
    fields[#fields + 1] = quote(name) .. ": " .. write(schema.properties[name],
      { name = name, number = place.number, written = place.written }, depth + 1)
  end
  return "{" .. table.concat(fields, ", ") .. "}"
end

local function write_list(schema, place, depth)
  local count = math.max(tonumber(schema.minItems) or ITEMS, 0)
  count = math.min(count, tonumber(schema.maxItems) or math.huge, 1000)
  local items = {}
  for i = 1, depth < DEEPEST and count or 0 do
    if place.written.count >= MOST then break end
    local inner = type(schema.items) == "table" and not is_list(schema.items) and schema.items or {}
    items[i] = write(inner, { name = place.name, number = i, written = place.written }, depth + 1)
  end
  return "[" .. table.concat(items, ", ") .. "]"
end

local writers = {
  null = function() return "null" end,
  boolean = function(_, place) return place.number % 2 == 1 and "true" or "false" end,
  integer = function(schema, place) return clamp(place.number, schema) end,
  number = function(schema, place) return clamp(place.number + 0.5, schema) end,
  string = function(_, place) return quote(("%s %d"):format(place.name, place.number)) end,
  array = write_list,
  object = write_object,
}

--- The type of a value that a schema asks for.
local function type_of(schema)
  local types = type(schema.type) == "table" and schema.type or { schema.type }
  for _, name in ipairs(types) do
    if name ~= "null" then return name end
  end
  return types[1] or schema.properties and "object" or schema.items and "array" or "string"
end

--- The JSON of a value that fits: `place` names it, says which of a list it is, and counts those written so far.
function write(schema, place, depth)
  place.written.count = place.written.count + 1
  if type(schema) ~= "table" then return quote(place.name) end
  if schema.const ~= nil then return json.encode(schema.const) end
  if type(schema.enum) == "table" and #schema.enum > 0 then
    return json.encode(schema.enum[(place.number - 1) % #schema.enum + 1])
  end
  return writers[type_of(schema)](schema, place, depth)
end

-- ---- by kind

local answers = {
  json = function(schema)
    if type(schema) == "string" then schema = json.decode(schema) end
    check_schema(schema, 1)
    return write(schema, { name = "answer", number = 1, written = { count = 0 } }, 1)
  end,
  json_object = function(_, question) return '{"question": ' .. quote(question) .. "}" end,
  choice = function(choices)
    if not is_list(choices) or #choices == 0 then refuse(400, "Choice must be a list of strings") end
    return tostring(choices[1])
  end,
  --- Where a regex is plain words with | between them, the first; else there is nobody who could make one.
  regex = function(regex)
    if type(regex) ~= "string" or select(2, regex:gsub("%(", "")) ~= select(2, regex:gsub("%)", "")) then
      refuse_late "Invalid grammar: the regex cannot be parsed."
    end
    return regex:match "^([%w ]+)|" or regex:match "^[%w ]+$"
  end,
  --- The first text in quotes.
  grammar = function(grammar)
    if type(grammar) ~= "string" or not grammar:find "::=" then
      refuse_late "Invalid grammar specification: a rule with ::= is expected."
    end
    return grammar:match '"([^"]*)"' or grammar:match "'([^']*)'"
  end,
}

--- The answer to a request that says what it is to be; nil where it says nothing, where it has to follow a regex or a
--- grammar that nobody here can follow, and where the question says "no json", for what a model may say all the same.
---@param request table     the decoded body
---@param question string
---@param names table<string, string>?  see lmm.mock.Likeness
---@return string? text  raises a problem, as lmm.mock.validation does; one that vLLM finds late has `is_late`
function structured.answer(request, question, names)
  local constraints, count = constraints_of(request, names)
  if count > 1 then
    refuse(400, "You can only use one kind of structured outputs constraint but multiple are specified: "
      .. table.concat(options.names(constraints), ", "))
  end
  if not names and type(given(request.structured_outputs)) == "table" and count == 0 then
    refuse(400, "You must use one kind of structured outputs constraint but none are specified")
  end
  local kind, value = next(constraints)
  local text = answers[kind] and answers[kind](value, question)
  if question:lower():find("no json", 1, true) then return nil end
  return text
end

return structured
