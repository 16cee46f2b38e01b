--- What of a request's fields may be kept in a file: the fields come in; a copy without headers, and without what holds
--- a text and has the name of a secret, goes out.
local json = require "lmm.json"
local redact = require "lmm.call.redact"

--- Under these names a JSON schema has other schemas, each by the name of what it describes, which is no secret.
local names_schemas = { properties = true, patternProperties = true, dependentSchemas = true, definitions = true,
  ["$defs"] = true }

local function holds_text(value, seen)
  if type(value) ~= "table" or seen[value] then return type(value) == "string" end
  seen[value] = true
  for _, item in next, value do
    if holds_text(item, seen) then return true end
  end
  return false
end

local function is_public(name, value)
  if type(name) ~= "string" then return true end
  return not name:lower():find "headers$" and not (redact.is_secret_name(name) and holds_text(value, {}))
end

local function is_schema(value)
  return type(value) == "table" and value[1] == nil
end

--- A copy as request.copy makes it, of which what is nested too deep is refused when it is written.
---@param copies table<boolean, table>  of the tables met so far: those of schemas by their names, and all others
---@param are_schemas boolean
local function copy(value, depth, copies, are_schemas)
  local parts = package.loaded["lmm.part"]
  if type(value) ~= "table" or parts and parts.is(value) or depth > json.MAX_DEPTH then return value end
  local out, meta = copies[are_schemas][value], getmetatable(value)
  if out then return out end
  out = {}
  copies[are_schemas][value] = out
  for name, item in next, value do
    if are_schemas and is_schema(item) or is_public(name, item) then
      out[name] = copy(item, depth + 1, copies, names_schemas[name] == true and not are_schemas)
    end
  end
  return type(meta) == "table" and setmetatable(out, meta) or out
end

---@param fields table  of a request, or what stands in one
---@return table
return function(fields)
  return copy(fields, 1, { [true] = {}, [false] = {} }, false)
end
