--- JSON Schema, as much of it as a model's JSON needs: a schema and a decoded value come in; what is wrong with either
--- of them goes out as a sentence.
--
-- Checked are `type` (one, or a list of them), `enum`, `const`, `required`, `properties`, `additionalProperties` where
-- it is false, and `items`. Everything else in a schema (`anyOf`, `pattern`, `minimum`, `$ref`, ...) is left unchecked.
-- Since lmm gives a null as nil, a property that is missing counts as null where its schema takes null, and one that is
-- null as missing where it is not required.
local core = require "lmm.core"
local json = require "lmm.json"
local options = require "lmm.options"
local texts = require "lmm.text"

local schema = {}

schema.MAX_DEPTH = 100   -- how deep a schema may be nested
schema.MAX_SIZE = 10000  -- how many schemas may stand in it

local LONGEST_QUOTE = 60 -- bytes of a value or a name in a message

local is_type = { array = true, boolean = true, integer = true, null = true, number = true, object = true,
  string = true }

local article = { array = "an array", boolean = "a boolean", integer = "an integer", null = "null",
  number = "a number", object = "an object", string = "a string" }

-- ---- values

--- Whether a table is an array: marked as one, or with numbers for keys. An empty table without a mark is an object.
local function is_array(value)
  return getmetatable(value) == core.array_mt or type(next(value)) == "number"
end

--- The type of a value in JSON's words, "integer" where a number is whole; nil where JSON has none.
local function type_of(value)
  if value == nil or value == json.null then return "null" end
  local name = type(value)
  if name == "table" then return is_array(value) and "array" or "object" end
  if name == "number" then
    if value ~= value or value == math.huge or value == -math.huge then return nil end
    return value % 1 == 0 and "integer" or "number"
  end
  return is_type[name] and name or nil
end

local function is_equal(a, b, depth)
  local kind = type_of(a)
  if a == b or kind == "null" and type_of(b) == "null" then return true end
  if kind ~= type_of(b) or kind ~= "array" and kind ~= "object" or depth > schema.MAX_DEPTH then return false end
  for key, item in pairs(a) do
    if not is_equal(item, b[key], depth + 1) then return false end
  end
  for key, item in pairs(b) do
    if a[key] == nil and item ~= json.null then return false end
  end
  return true
end

--- A number that JSON does not have.
local function quote_odd(value)
  return value ~= value and "NaN" or value > 0 and "infinity" or "-infinity"
end

--- A value as it is quoted in a message: a table by its kind alone, which may be large.
local function quote(value)
  local kind = type_of(value)
  if not kind and type(value) == "number" then return quote_odd(value) end
  if kind == "string" then return ('"%s"'):format(texts.line(texts.utf8(value:sub(1, 1000)), LONGEST_QUOTE)) end
  return (kind == "integer" or kind == "number" or kind == "boolean") and json.encode(value)
    or article[kind] or "a " .. type(value)
end

--- A value of the schema's own, which the message has to name.
local function show(value)
  if type(value) ~= "table" then return quote(value) end
  return texts.line(json.text(value) or quote(value), LONGEST_QUOTE)
end

--- The place of a property or an item within a place; "" is the value itself.
local function within(path, key)
  if type(key) == "number" then return ("%s[%d]"):format(path, key - 1) end -- counted from 0, as JSON's readers do
  local name = texts.line(texts.utf8(tostring(key):sub(1, 1000)), LONGEST_QUOTE)
  if not name:find "^[%a_][%w_-]*$" then return ("%s[%q]"):format(path, name) end
  return path == "" and name or path .. "." .. name
end

-- ---- checks of a value; each gives nil, or what is wrong there, and a list of the names and numbers that lead to the
-- place, the innermost first

--- The names of a `type` in words: "a string or null".
local function words(types)
  if type(types) == "string" then return article[types] or types end
  local list = {}
  for i, name in ipairs(types) do list[i] = article[name] or tostring(name) end
  return table.concat(list, " or ")
end

local function takes_type(types, kind)
  if type(types) == "string" then return types == kind or types == "number" and kind == "integer" end
  for _, name in ipairs(types) do
    if takes_type(name, kind) then return true end
  end
  return false
end

--- Whether null is a value of a schema, as far as that is checked.
local function takes_null(given)
  if type(given) ~= "table" then return given ~= false end
  if given.type ~= nil and not takes_type(given.type, "null") then return false end
  if given.const ~= nil and given.const ~= json.null then return false end
  if type(given.enum) ~= "table" then return true end
  for _, item in ipairs(given.enum) do
    if item == json.null then return true end
  end
  return false
end

local function check_enum(value, enum)
  local choices, length = {}, 0
  for _, item in ipairs(enum) do
    if is_equal(value, item, 1) then return nil end
    length = length + LONGEST_QUOTE / 2
    if length <= 20 * LONGEST_QUOTE then choices[#choices + 1] = show(item) end
  end
  local more = #choices < #enum and ", ..." or ""
  return ("must be one of %s%s, not %s"):format(table.concat(choices, ", "), more, quote(value)), {}
end

local check -- of a value, below

--- The same of a value that stands under a name or a number in another one.
local function check_within(key, value, given)
  local problem, place = check(value, given)
  if problem then place[#place + 1] = key end
  return problem, place
end

local function check_array(value, given)
  local items = given.items
  if items == nil or items == true or type(items) == "table" and is_array(items) then return nil end
  local last = 0
  for key in pairs(value) do last = math.max(last, key) end
  for i = 1, last do
    local problem, place = check_within(i, value[i], items) -- nil is a null between others
    if problem then return problem, place end
  end
end

local function check_property(name, item, given, properties)
  if properties[name] ~= nil then return check_within(name, item, properties[name]) end
  if given.additionalProperties == false then return "is not among the properties there are", { name } end
end

local function check_object(value, given)
  local properties, is_required = type(given.properties) == "table" and given.properties or {}, {}
  for _, name in ipairs(type(given.required) == "table" and given.required or {}) do
    local may_be_null = properties[name] ~= nil and takes_null(properties[name])
    if value[name] == nil and not may_be_null then return "is missing", { name } end
    is_required[name] = true
  end
  local first, problem, place -- by its name, so that the same value gives the same message
  for name, item in pairs(value) do
    local is_missing = item == json.null and not is_required[name]
    if not is_missing and (not first or tostring(name) < tostring(first)) then
      local what, where = check_property(name, item, given, properties)
      if what then first, problem, place = name, what, where end
    end
  end
  return problem, place
end

function check(value, given)
  if given == false then return "must not be there", {} end
  if type(given) ~= "table" then return nil end
  local kind = type_of(value)
  if not kind then return ("is %s, which JSON does not have"):format(quote(value)), {} end
  if given.type ~= nil and not takes_type(given.type, kind) then
    return ("must be %s, not %s"):format(words(given.type), quote(value)), {}
  end
  if given.const ~= nil and not is_equal(value, given.const, 1) then
    return ("must be %s, not %s"):format(show(given.const), quote(value)), {}
  end
  if type(given.enum) == "table" then
    local problem, place = check_enum(value, given.enum)
    if problem then return problem, place end
  end
  if kind == "array" then return check_array(value, given) end
  if kind == "object" then return check_object(value, given) end
end

--- Whether a decoded value is what a schema asks for. Only what the schema speaks of is looked at, so that the time
--- grows with the value, and the depth is the schema's.
---@param value any     as lmm.json.decode gives it, with nulls or without
---@param given table   a schema of which `problem` finds nothing
---@return true? fits, string? problem  a sentence without a capital and a full stop, with the place: `items[0].price
--- must be a number, not "12"`
function schema.check(value, given)
  local problem, place = check(value, given)
  if not problem then return true end
  local path = ""
  for i = #place, 1, -1 do path = within(path, place[i]) end
  return nil, (path == "" and "the value" or path) .. " " .. problem
end

-- ---- checks of a schema

local function list_of(value, name, is_item, what)
  if type(value) ~= "table" or not is_array(value) and next(value) ~= nil then
    return ("'%s' must be a list of %s"):format(name, what)
  end
  if not is_array(value) and getmetatable(value) == nil then
    return ("'%s' is an empty table, which JSON writes as {}: leave it out, or write lmm.array {}"):format(name)
  end
  for i = 1, #value do
    if not is_item(value[i]) then return ("'%s' must be a list of %s"):format(name, what) end
  end
end

local function is_string(value) return type(value) == "string" end

local function no_type(name)
  if type(name) ~= "string" then return "a type is a name, not " .. quote(name) end
  return ("there is no type '%s': there are array, boolean, integer, null, number, object, string"):format(
    texts.line(texts.utf8(name:sub(1, 1000)), LONGEST_QUOTE))
end

--- What is wrong with the words of one schema, its own properties and items aside.
local function problem_of_words(given)
  local types = given.type
  if type(types) == "table" then
    if #types == 0 then return "'type' is an empty list" end
    for _, name in ipairs(types) do
      if not is_type[name] then return no_type(name) end
    end
  elseif types ~= nil and not is_type[types] then
    return no_type(types)
  end
  local problem = given.required ~= nil and list_of(given.required, "required", is_string, "names")
    or given.enum ~= nil and list_of(given.enum, "enum", function(item) return item ~= nil end, "values")
  if problem then return problem end
  if given.enum and #given.enum == 0 then return "'enum' is an empty list" end
  local more = given.additionalProperties
  if more ~= nil and type(more) ~= "boolean" and type(more) ~= "table" then
    return "'additionalProperties' must be true, false or a schema"
  end
end

local problem_of -- of one schema in another, below

local function problem_of_properties(properties, path, depth, count)
  if properties == nil then return nil end
  if type(properties) ~= "table" or is_array(properties) then return "'properties' must be schemas by their names" end
  for _, name in ipairs(options.names(properties)) do -- in order: the same schema gives the same message
    if type(name) ~= "string" then return "'properties' must be schemas by their names" end
    local problem = problem_of(properties[name], within(path, name), depth + 1, count)
    if problem then return problem, true end
  end
end

--- A schema, or a list of schemas, one for each place, of which nothing is checked.
local function problem_of_items(items, path, depth, count)
  if items == nil or type(items) == "table" and is_array(items) then return nil end
  return problem_of(items, path .. "[]", depth + 1, count)
end

--- What is wrong with a schema that stands somewhere in another.
---@param count { n: integer }  the schemas met so far
function problem_of(given, path, depth, count)
  if type(given) == "boolean" and depth > 1 then return nil end
  local where = path == "" and "" or "at " .. path .. ": "
  if type(given) ~= "table" then return ("%sa schema is a table, not a %s"):format(where, type(given)) end
  if is_array(given) then return where .. "a schema is an object, not a list" end
  if depth > schema.MAX_DEPTH then
    return ("it is nested more than %d deep: does it hold itself?"):format(schema.MAX_DEPTH)
  end
  count.n = count.n + 1
  if count.n > schema.MAX_SIZE then return ("it holds more than %d schemas"):format(schema.MAX_SIZE) end
  local problem = problem_of_words(given)
  if problem then return where .. problem end
  local is_placed
  problem, is_placed = problem_of_properties(given.properties, path, depth, count)
  if problem then return is_placed and problem or where .. problem end
  return problem_of_items(given.items, path, depth, count)
end

--- Why something is no schema of an object or another value: a table that is not a list, whose checked words are as
--- JSON Schema has them, nested at most MAX_DEPTH deep.
---@param given any
---@return string? problem  nil where it is one
function schema.problem(given)
  return problem_of(given, "", 1, { n = 0 })
end

return schema
