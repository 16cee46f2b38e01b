--- JSON text in, Lua values out, and back, exactly: `[]` stays `[]` (lmm.array), a null stays lmm.null, and whole
--- numbers keep their digits. lmm.core reads and writes it; what marks an empty list or a null in lua-cjson and Neovim
--- is understood, too.
local core = require "lmm.core"
local errors = require "lmm.errors"

local json = {}

--- Stands for a JSON null, as `cjson.null` and `ngx.null` do.
json.null = core.null

--- Marks a table, a new one unless given, as an array: it is written as `[]` when it is empty.
function json.array(items)
  if items ~= nil and type(items) ~= "table" then errors.misuse("lmm.array: a table expected, got %s", type(items)) end
  return setmetatable(items or {}, core.array_mt)
end

function json.is_empty_array(value)
  return getmetatable(value) == core.array_mt and next(value) == nil
end

json.MAX_DEPTH = 1000 -- how deep what is written may be nested, and, unless told, what is read

local MARKS = { null = "null", empty_array = "array", empty_array_mt = "array", array_mt = "array" }

--- Tells the writer which values and metatables of a JSON library stand for null and for an empty list.
local function learn(marked)
  if type(marked) ~= "table" then return end
  for name, meaning in pairs(MARKS) do
    local mark = marked[name]
    if type(mark) == "userdata" or type(mark) == "table" then core.mark(mark, meaning) end
  end
end

local vim = rawget(_G, "vim")
if type(vim) == "table" and vim.empty_dict then
  core.mark(vim.NIL, "null")
  core.mark(getmetatable(vim.empty_dict()), "object")
  learn(vim.json)
end

local loaded, learned, learned_safe = package.loaded, nil, nil

--- To be called before core.write or core.encode, since a caller may load lua-cjson at any time.
function json.learn_marks()
  local cjson, safe = loaded.cjson, loaded["cjson.safe"]
  if cjson == learned and safe == learned_safe then return end
  learn(cjson)
  learn(safe)
  learned, learned_safe = cjson, safe
end

--- The text of a value; raises where it has none.
---@return string text
function json.encode(value)
  json.learn_marks()
  local text, message = core.encode(value)
  if not text then errors.misuse("lmm.json.encode: %s", message) end
  return text
end

local LENIENT = { replace = true }

--- The text of what a stranger sent, broken characters replaced; nil and why where it has none.
---@return string? text, string? message
function json.text(value)
  json.learn_marks()
  return core.encode(value, LENIENT)
end

--- The value of a text, or nil and what is wrong with it where. NaN and infinities are refused; half of a surrogate
--- pair is U+FFFD; so that it can be sent back, an empty list is an lmm.array() and a null is lmm.null.
---@param text string
---@param depth integer?  how deep it may be nested (1000)
---@return any value, string? message
function json.decode(text, depth)
  if type(text) ~= "string" then errors.misuse("lmm.json.decode: a text expected, got %s", type(text)) end
  if depth ~= nil and type(depth) ~= "number" then
    errors.misuse("lmm.json.decode: the depth is a number, not a %s", type(depth))
  end
  local value, message = core.decode(text, depth and { depth = depth } or nil)
  return value, message
end

local to_integer = math.tointeger or function() end

--- A copy without nulls, in which whole numbers are integers (on Lua 5.3 and later, so that they print as such).
function json.clean(value)
  if value == json.null then return nil end
  if type(value) == "number" then return to_integer(value) or value end
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, item in pairs(value) do copy[key] = json.clean(item) end
  return json.is_empty_array(value) and json.array(copy) or copy
end

--- A stranger's id or name, if there is one; some send an empty text where they have none.
---@return string?
function json.name_of(value)
  return type(value) == "string" and value ~= "" and value or nil
end

--- The text of a call's arguments; where a model gave none, some servers write nothing, others null.
---@param text string
function json.arguments(text)
  return (text:find "^%s*$" or text:find "^%s*null%s*$") and "{}" or text
end

--- Another table of the same fields.
---@param value table
---@return table
function json.copy(value)
  local copy = {}
  for key, item in next, value do copy[key] = item end
  return setmetatable(copy, getmetatable(value)) -- such as json.array's
end

--- The tables in a stranger's list, each with its place: others, and nulls, are passed over.
function json.items(list)
  local i, last = 0, 0
  for place in pairs(type(list) == "table" and list or {}) do -- nulls have left holes
    if type(place) == "number" and place > last then last = place end
  end
  return function()
    while i < last do
      i = i + 1
      if type(list[i]) == "table" then return i, list[i] end
    end
  end
end

return json
