--- `-p name=value`: the argument comes in; the name of a request field and its value go out.
local field = {}

--- The field of an argument. Its value is read as JSON where it is JSON; anything else is a text.
---@return { name: string, value: any }? field, string? message
function field.parse(word)
  local name, text = word:match "^([^=]+)=(.*)$"
  if not name then return nil, ("-p takes name=value, not '%s'"):format(word) end
  local value, message = require "lmm.json".decode(text)
  if message then value = text end
  return { name = name, value = value }
end

return field
