--- The tools of a conversation: what a tool is and the function that runs it come in; the `tools` of a request, and
--- what is wrong with a call, go out.
local errors = require "lmm.errors"
local json = require "lmm.json"
local options = require "lmm.options"
local request = require "lmm.request"
local schema = require "lmm.schema"

---@class lmm.Tool
---@field name string          letters, digits, _ and -, at most 64
---@field description string?  what it is good for, for the model
---@field parameters table?    a JSON schema of an object; none unless given
---@field sequential boolean?  it never runs at the same time as another tool that is sequential
---@field strict boolean?      goes to the server, which then binds the arguments to the schema, if it can

local Tools = {}
Tools.__index = Tools

local tools = {}

local rows = { name = "string", description = "string", parameters = "table", sequential = "boolean",
  strict = "boolean" }

function tools.new()
  return setmetatable({ list = {}, by_name = {} }, Tools)
end

--- The same tools, to which others can be added.
function Tools:copy()
  local other = tools.new()
  for i, tool in ipairs(self.list) do other.list[i], other.by_name[tool.name] = tool, tool end
  return other
end

local function check_parameters(name, parameters)
  local problem = schema.problem(parameters)
  if not problem and parameters.type ~= "object" then problem = "its type must be \"object\"" end
  if problem then errors.misuse("chat:tool: the parameters of '%s' are no schema of an object: %s", name, problem) end
end

--- Adds a tool.
---@param def lmm.Tool
---@param fn fun(args: table, call: lmm.ToolCall): any
function Tools:add(def, fn)
  options.check("chat:tool", rows, def)
  local name = def and def.name
  if not name then errors.misuse "chat:tool: a tool needs a name: { name = \"...\", ... }" end
  if not name:find "^[%w_-]+$" or name:find "[\128-\255]" or #name > 64 then
    errors.misuse("chat:tool: a tool's name is 1 to 64 letters, digits, _ and -, not %s", json.text(name:sub(1, 100)))
  end
  if self.by_name[name] then errors.misuse("chat:tool: there is a tool '%s' already", name) end
  if type(fn) ~= "function" then
    errors.misuse("chat:tool: behind what the tool '%s' is comes the function that runs it, not a %s", name, type(fn))
  end
  local parameters = def.parameters or { type = "object", properties = {} }
  check_parameters(name, parameters)
  local tool = { name = name, run = fn, sequential = def.sequential, parameters = request.copy(parameters) }
  tool.sent = { type = "function", ["function"] = { name = name, description = def.description,
    parameters = tool.parameters, strict = def.strict } }
  local body, err = request.body(tool.sent["function"])
  if not body then errors.misuse("chat:tool: the tool '%s' cannot be sent: %s", name, err.message) end
  body:close()
  self.list[#self.list + 1], self.by_name[name] = tool, tool
end

---@return lmm.Tool?
function Tools:find(name)
  return self.by_name[name]
end

--- The name of a tool of a request, in the server's form.
local function name_of(item)
  local fn = type(item) == "table" and item["function"]
  return type(fn) == "table" and fn.name or nil
end

--- The names of the tools in a request that the caller runs himself.
---@param raw any  the request's own `tools`
---@return table<string, true>
function tools.names(raw)
  local names = {}
  for _, item in ipairs(type(raw) == "table" and raw or {}) do
    local name = name_of(item)
    if type(name) == "string" then names[name] = true end
  end
  return names
end

--- The `tool_choice` of the requests behind the first: a tool that is forced is forced once, or there would never be an
--- answer. What tools are allowed stays.
---@param choice any
---@return any
function tools.freed(choice)
  local allowed = type(choice) == "table" and choice.allowed_tools
  if type(allowed) ~= "table" then return choice == "none" and choice or nil end
  return { type = choice.type, allowed_tools = { mode = "auto", tools = allowed.tools } }
end

--- The `tools` of a request: these, beside its own.
---@param raw any
---@return any
function Tools:sent(raw)
  if raw ~= nil and type(raw) ~= "table" then errors.misuse("tools is a list, not a %s", type(raw)) end
  local list = {}
  for i, item in ipairs(raw or {}) do
    local name = name_of(item)
    if self.by_name[name] then
      errors.misuse("there are two tools '%s': one of chat:tool, and one in the request's tools", name)
    end
    list[i] = item
  end
  for _, tool in ipairs(self.list) do list[#list + 1] = tool.sent end
  return list
end

--- The names that a model can call, in order, for a message.
---@param more table<string, true>  those of the caller's own
function Tools:words(more)
  local names = {}
  for i, tool in ipairs(self.list) do names[i] = tool.name end
  for name in pairs(more) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

--- What is wrong with the arguments of a call, or nil.
---@param tool lmm.Tool
---@param call lmm.ToolCall
---@return string?
function tools.problem(tool, call)
  local _, fault
  if call.args == nil then _, fault = json.decode(call.arguments) end
  if fault then return "they are no JSON: " .. fault end
  local _, problem = schema.check(call.args, tool.parameters)
  return problem
end

return tools
