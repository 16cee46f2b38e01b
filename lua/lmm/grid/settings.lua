--- The settings that a grid compares: what its definition says comes in; a list of tables of request fields, each with
--- words for it, goes out.
local errors = require "lmm.errors"
local json = require "lmm.json"
local options = require "lmm.options"

local settings = {}

--- "temperature 0.7, top_p 1"
---@param fields table
---@return string
function settings.describe(fields)
  local words = {}
  for i, name in ipairs(options.names(fields)) do
    local value = fields[name]
    words[i] = name .. " " .. (type(value) == "string" and value or json.text(value) or tostring(value))
  end
  return table.concat(words, ", ")
end

--- All combinations of the values that each field has a list of.
local function product(lists)
  local out = { {} }
  for _, name in ipairs(options.names(lists)) do
    local values, longer = lists[name], {}
    if type(values) ~= "table" or values[1] == nil then values = { values } end
    for _, fields in ipairs(out) do
      for _, value in ipairs(values) do
        local copy = {}
        for key, item in pairs(fields) do copy[key] = item end
        copy[name] = value
        longer[#longer + 1] = copy
      end
    end
    out = longer
  end
  return out
end

--- Finds them.
---@param given table?  a list of tables, or lists of values by field
---@return { name: string, fields: table }[]? found, lmm.Error? err
function settings.find(given)
  local list = given and (given[1] ~= nil and given or product(given)) or { {} }
  local found, numbers = {}, {}
  for i, fields in ipairs(list) do
    if type(fields) ~= "table" or fields[1] ~= nil then
      return nil, errors.new { kind = "invalid",
        message = ("settings: number %d is no table of request fields, such as { temperature = 0 }"):format(i) }
    end
    local copy, name = {}, fields.name
    for key, value in pairs(fields) do
      if type(key) ~= "string" then
        return nil, errors.new { kind = "invalid",
          message = ("settings: number %d has a field without a name"):format(i) }
      end
      if key ~= "name" then copy[key] = value end
    end
    name = name and tostring(name) or settings.describe(copy)
    if numbers[name] then
      return nil, errors.new { kind = "invalid", message = ("settings: numbers %d and %d are both called '%s': "
        .. "give each a name of its own"):format(numbers[name], i, name) }
    end
    numbers[name], found[i] = i, { name = name, fields = copy }
  end
  return found
end

return settings
