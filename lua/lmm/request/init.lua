--- A request table comes in; a body that core can pull goes out. Media never passes through JSON: tokens stand for it.
local core = require "lmm.core"
local dialect = require "lmm.request.dialects"
local errors = require "lmm.errors"
local json = require "lmm.json"
local parts = require "lmm.part"

local request = {}

local function invalid(format, ...)
  error(errors.new { kind = "invalid", message = string.format(format, ...) }, 0)
end

--- What stands in the JSON text for a splice: a string that core finds again. See lmm_body_splice.
local function splice(state, value)
  state.splices[#state.splices + 1] = value
  return state.token .. #state.splices .. ";"
end

--- cjson writes 14 digits; a number that needs more is spliced in as text.
local function number(state, value, path)
  if value ~= value or value == math.huge or value == -math.huge then
    invalid("%s is %s, which JSON cannot hold", path, tostring(value))
  end
  if math.type and math.type(value) == "integer" then
    return value > -1e14 and value < 1e14 and value or splice(state, string.format("%d", value))
  end
  if value % 1 == 0 and (value <= -1e14 or value >= 1e14) and value >= -2 ^ 63 and value < 2 ^ 63 then
    return splice(state, string.format("%.0f", value)) -- not 1e+14: many fields take whole numbers only
  end
  if tonumber(string.format("%.14g", value)) == value then return value end
  local text = string.format("%.15g", value)
  return splice(state, tonumber(text) == value and text or string.format("%.17g", value))
end

local function text(value, path)
  local bad = core.utf8(value)
  if bad then invalid("%s is not UTF-8: byte %d is 0x%02X", path, bad, value:byte(bad)) end
  return value
end

local copy

local function copy_part(state, part, path, depth)
  if part.err then error(part.err, 0) end
  return copy(state, dialect.content(part, function(media) return splice(state, media) end), path, depth)
end

--- JSON has lists and objects, and a Lua table must be one of them; cjson would fill holes and rename indices.
local function check_keys(value, path)
  local where, items, last, named = path or "the request", 0, 0, false
  for key in pairs(value) do
    if type(key) == "number" then
      if key < 1 or key % 1 ~= 0 then
        invalid("%s[%s] is no place in a list (the keys of an object are strings)", path or "", tostring(key))
      end
      items, last = items + 1, math.max(last, key)
    elseif type(key) ~= "string" then
      invalid("%s has a %s as a field name, which JSON cannot hold", where, type(key))
    else
      text(key, "a field name in " .. where)
      named = true
    end
  end
  if items > 0 and named then invalid("%s has both items and named fields, which JSON cannot hold", where) end
  if last == items then return end
  local hole = 1
  while value[hole] ~= nil do hole = hole + 1 end
  invalid("%s[%d] is missing: a list has no holes (lmm.null stands for a null; the keys of an object are strings)",
    path or "", hole)
end

local function copy_table(state, value, path, depth)
  if depth > json.MAX_DEPTH then
    invalid("the request is nested more than %d deep: does it hold itself?", json.MAX_DEPTH)
  end
  if json.is_empty_array(value) then return splice(state, "[]") end
  check_keys(value, path)
  local out = {}
  for key, item in pairs(value) do
    local inner = type(key) == "number" and ("%s[%d]"):format(path or "", key) or (path and path .. "." or "") .. key
    out[key] = copy(state, item, inner, depth + 1)
  end
  return out
end

--- A copy that cjson can write: text checked, parts and numbers beyond cjson replaced by tokens.
function copy(state, value, path, depth)
  if type(value) == "string" then return text(value, path) end
  if type(value) == "number" then return number(state, value, path) end
  if type(value) == "boolean" or value == json.null then return value end
  if parts.is(value) then return copy_part(state, value, path, depth) end
  if type(value) == "table" then return copy_table(state, value, path, depth) end
  invalid("%s is a %s, which JSON cannot hold", path, type(value))
end

local count = 0

--- A text that does not stand in the caller's own by accident; core finds out when it does, and another is tried.
local function new_token()
  count = count + 1
  return "lmm-" .. tostring({}):gsub("[^%x]", "") .. "-" .. count .. "-"
end

local function encode(fields)
  while true do
    local state = { token = new_token(), splices = {} }
    local encoded, problem = json.text(copy(state, fields, nil, 1))
    if not encoded then invalid("the request cannot be written as JSON: %s", problem) end
    local body = core.body(encoded, state.token, state.splices)
    if body then return body end
  end
end

--- Encodes a request. The caller's tables are left as they are.
---@param fields table  request fields by their server names; parts may stand anywhere in it
---@return userdata? body, lmm.Error? err  a body of lmm.core
function request.body(fields)
  local ok, body = pcall(encode, fields)
  if ok then return body end
  if errors.is(body) then return nil, body end
  error(body, 0)
end

--- A body of a text as it is.
function request.verbatim(body)
  if type(body) ~= "string" then errors.misuse("a body is a table or a string, not a %s", type(body)) end
  return core.body(body)
end

return request
