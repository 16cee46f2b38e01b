--- `-p name=value`: the argument comes in; the name of a request field and its value go out.
local console = require "lmm.cli.console"

local field = {}

--- The field of an argument. `@path` stands for that file's text, `@@` for an @ at the beginning.
--- The value is read as JSON where it is JSON; anything else is a text.
---@return { name: string, value: any }? field, string? message
function field.parse(word)
  local name, text = word:match "^([^=]+)=(.*)$"
  if not name then return nil, ("-p takes name=value, not '%s'"):format(word) end
  text = console.text(text, ("the value of -p %s"):format(name))
  local value, message = require "lmm.json".decode(text)
  if message then value = text end
  return { name = name, value = value }
end

return field
