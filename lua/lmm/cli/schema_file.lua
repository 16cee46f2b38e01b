--- A file with a JSON schema: its path comes in; the schema goes out.
local console = require "lmm.cli.console"

local schema_file = {}

---@param path string
---@return table schema
function schema_file.read(path)
  local schema, message = require "lmm.json".decode(console.read_file(path, "the schema"))
  local is_list = type(schema) == "table" and (schema[1] ~= nil or getmetatable(schema) ~= nil)
  if type(schema) ~= "table" or is_list or message then
    console.misuse("the schema in %s is no JSON object%s", path, message and ": " .. message or "")
  end
  local problem = require "lmm.schema".problem(schema)
  if problem then console.misuse("the schema in %s is none: %s", path, problem) end
  return schema
end

return schema_file
