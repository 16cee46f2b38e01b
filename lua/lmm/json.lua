--- JSON text in, Lua values out, and back. lmm.core writes. What reads is lua-cjson, or, in a Neovim that does not find
-- it, the library that is built in (vim.json, of the same origin).
local core = require "lmm.core"
local errors = require "lmm.errors"

local json = {}

--- The library, and what stands for a null in it.
local function find_library()
  local found, cjson = pcall(require, "cjson")
  if found then return cjson, cjson.null end
  local vim = rawget(_G, "vim")
  if type(vim) == "table" and vim.json then return vim.json, vim.NIL end
  error(cjson, 0)
end

local library, null = find_library()
local codec = library.new()

-- As the state closes, a finalizer may still ask. This one comes before what the codec needs is gone.
local closing = setmetatable({}, { __index = function() error("the Lua state is closing", 0) end })
local function on_close() codec = closing end
local proxy = rawget(_G, "newproxy") and newproxy(true) -- luacheck: ignore
if proxy then getmetatable(proxy).__gc = on_close end   -- before Lua 5.2 a table has no finalizer
json.sentinel = proxy or setmetatable({}, { __gc = on_close })

-- Neovim's of 0.8 and later cannot be set: a decoded text is at most 1000 deep, and may hold Infinity and 0x10.
if codec.decode_invalid_numbers then codec.decode_invalid_numbers(false) end

--- Stands for a JSON null in a request.
json.null = null

--- Marks a table, a new one unless given, as an array: it is written as `[]` when it is empty.
function json.array(items)
  if items ~= nil and type(items) ~= "table" then errors.misuse("lmm.array: a table expected, got %s", type(items)) end
  return setmetatable(items or {}, core.array_mt)
end

function json.is_empty_array(value)
  return getmetatable(value) == core.array_mt and next(value) == nil
end

json.MAX_DEPTH = 1000 -- of what is written; the codec says so where it ends

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

--- What `pcall` gives, as a value or nil and a message. A lack of memory is no fault of what was given: it is raised.
local function try(fn, given)
  local ok, value = pcall(fn, given)
  if ok then return value end
  if value == "not enough memory" then error(value, 0) end
  return nil, tostring(value)
end

--- What the codec was to refuse, and could not be told.
local function find_fault(value, depth)
  if value ~= value then return "it holds NaN" end
  if type(value) ~= "table" then return nil end
  if depth == 0 then return "it holds too many nested lists and objects" end
  for _, item in pairs(value) do
    local fault = find_fault(item, depth - 1)
    if fault then return fault end
  end
end

--- The value of a text as it stands, nulls included, or nil and why the text has none.
---@param depth integer?  how deep it may be nested (1000)
---@return any value, string? message
function json.decode(text, depth)
  depth = depth or json.MAX_DEPTH
  if codec.decode_max_depth then codec.decode_max_depth(depth) end
  local value, message = try(codec.decode, text)
  if codec.decode_max_depth or message then return value, message end
  message = find_fault(value, depth)
  if message then return nil, message end
  return value
end

--- A text decoded with its numbers and empty lists as marked texts, which decoding would change, and the mark.
local function marked(text, depth)
  local mark = "lmm" .. tostring({}):gsub("%W", "")
  local function keep(spelling) return '"' .. mark .. spelling .. '"' end
  -- Without quotes in it, a text ends at the next quote.
  text = text:gsub("\\.", { ['\\"'] = mark .. "q", ["\\\\"] = mark .. "b" })
  text = text:gsub('([^"]*)("?[^"]*"?)', function(bare, quoted)
    return bare:gsub("[%d-][%w.+-]*", keep):gsub("%[%s*%]", keep "[]") .. quoted
  end)
  text = text:gsub(mark .. "([qb])", { q = '\\"', b = "\\\\" })
  return json.decode(text, depth), mark
end

--- A value decoded with its numbers and empty lists as marked texts, and a function that writes a part of it as it was,
--- which what is decoded the usual way no longer shows: not [] beside {}, nor the last digits of a long number.
---@return any value, fun(part: any): string? write
function json.spelled(text, depth)
  local value, mark = marked(text, depth)
  return value, function(part)
    local written = part ~= nil and json.text(part)
    return written and (written:gsub('"' .. mark .. '([^"]*)"', "%1")) or nil
  end
end

--- The value of a text for a request, in which [] is lmm.array() and a whole number keeps the digits that Lua has.
---@return any value, string? message  as from json.decode
function json.exact(text)
  local _, message = json.decode(text)
  if message then return nil, message end
  local value, mark = marked(text)
  local function restore(item)
    local spelling = type(item) == "string" and item:match("^" .. mark .. "(.*)$")
    if spelling then return spelling == "[]" and json.array() or tonumber(spelling) end
    for key, inner in pairs(type(item) == "table" and item or {}) do item[key] = restore(inner) end
    return item
  end
  return restore(value)
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

--- The tables in a stranger's list, each with its place: others, and nulls, are passed over.
function json.items(list)
  local places = {}
  for place, item in pairs(type(list) == "table" and list or {}) do
    if type(place) == "number" and type(item) == "table" then places[#places + 1] = place end
  end
  table.sort(places)
  local i = 0
  return function()
    i = i + 1
    if places[i] then return places[i], list[places[i]] end
  end
end

return json
