--- `-p name=value`: the word comes in; the name of a request field and its value go out.
local json = require "lmm.json"

local field = {}

local CONSTANTS = { ["true"] = true, ["false"] = false, null = json.null }

--- JSON's numbers, and no others: "0x10", "inf" and "007" are texts.
local function is_number(text)
  local whole, rest = text:match "^%-?(%d+)(.*)$"
  if not whole or whole:find "^0%d" then return false end
  rest = rest:gsub("^%.%d+", "")
  return rest == "" or rest:find "^[eE][+-]?%d+$" ~= nil
end

--- Stands in an empty array while it is decoded: afterwards it could not be told from an empty object.
local EMPTY = "\0lmm.array"

--- JSON in which each `[]` outside of a string holds EMPTY.
local function mark(text)
  -- Escaped characters are put aside as digits, so that each quote left begins or ends a string.
  text = text:gsub("\\(.)", function(char) return ("\\%03d"):format(char:byte()) end)
  text = (text .. '""'):gsub('([^"]*)("[^"]*")', function(outside, string)
    return outside:gsub("%[%s*%]", '["\\u0000lmm.array"]') .. string
  end):sub(1, -3)
  return (text:gsub("\\(%d%d%d)", function(code) return "\\" .. string.char(tonumber(code)) end))
end

local function unmark(value)
  if type(value) ~= "table" then return value end
  if value[1] == EMPTY then return json.array() end
  for key, item in pairs(value) do value[key] = unmark(item) end
  return value
end

local function value_of(text)
  if CONSTANTS[text] ~= nil then return CONSTANTS[text] end
  if is_number(text) then return tonumber(text) end
  if text:find "^%s*[%[{\"]" then
    local value, message = json.decode(mark(text))
    if not message then return unmark(value) end
  end
  return text
end

--- The field of a word. Its value is read as JSON where it is JSON; anything else is a text.
---@return { name: string, value: any }? field, string? message
function field.parse(word)
  local name, text = word:match "^([^=]+)=(.*)$"
  if not name then return nil, ("-p takes name=value, not '%s'"):format(word) end
  return { name = name, value = value_of(text) }
end

return field
