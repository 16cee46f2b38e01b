--- `lmm models`: which models a server offers.
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"

local models = {}

function models.declare(parser)
  local command = parser:command("models", "List the models that a server offers, one on each line.", [[
Examples:
   lmm models
   lmm models --url http://gpu1:8000/v1 -v]])
  command:usage "Usage: lmm models [OPTION]..."
  connection.declare(command)
  command:flag("-v --verbose", "Say on standard error what else the server tells of each model.")
end

local function describe(model)
  local fields = {}
  for name, value in pairs(model) do
    if name ~= "id" and type(value) ~= "table" then fields[#fields + 1] = name .. " " .. tostring(value) end
  end
  table.sort(fields)
  return table.concat(fields, ", ")
end

function models.run(args)
  local list, message, err = require "lmm".connect(connection.options(args)):models()
  if not list then return nil, message, err end
  for _, model in ipairs(list) do
    console.show(tostring(model.id) .. "\n")
    if args.verbose then console.note("%s: %s", tostring(model.id), describe(model)) end
  end
  return true
end

return models
