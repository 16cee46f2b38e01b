--- JSON text in, Lua values out, and back. Nothing else requires a JSON library.
local cjson = require "cjson"

local json = {}

local codec = cjson.new()
codec.encode_sparse_array(false, 2, 10)
codec.decode_invalid_numbers(false)

--- Stands for a JSON null in a request.
json.null = cjson.null

local Array = { __name = "lmm.array" }

--- Marks a table as an array, so that it is written as `[]` when it is empty.
function json.array(items)
  return setmetatable(items or {}, Array)
end

function json.is_empty_array(value)
  return getmetatable(value) == Array and next(value) == nil
end

--- The text of a value; raises where a value has none.
json.encode = codec.encode

--- What `pcall` gives, as a value or nil and a message. A lack of memory is no fault of what was given: it is raised.
local function try(fn, given)
  local ok, value = pcall(fn, given)
  if ok then return value end
  if value == "not enough memory" then error(value, 0) end
  return nil, tostring(value)
end

--- The same as `encode`, and nil and why where a value has no text.
---@return string? text, string? message
function json.text(value)
  return try(codec.encode, value)
end

--- The value of a text as it stands, nulls included, or nil and why the text has none.
---@param depth integer?  how deep it may be nested (1000)
---@return any value, string? message
function json.decode(text, depth)
  codec.decode_max_depth(depth or 1000)
  return try(codec.decode, text)
end

local to_integer = math.tointeger or function() end

--- A copy without nulls, in which whole numbers are integers (on Lua 5.3 and later, so that they print as such).
function json.clean(value)
  if value == json.null then return nil end
  if type(value) == "number" then return to_integer(value) or value end
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, item in pairs(value) do copy[key] = json.clean(item) end
  return copy
end

return json
