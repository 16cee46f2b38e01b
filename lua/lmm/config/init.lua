--- Servers, models and templates by name: a file of the user's comes in; what lmm.connect takes, and prompts, go out.
--- Nothing is looked for unless somebody asks for it: the command does, and `lmm.config()`.
local errors = require "lmm.errors"
local files = require("lmm.version").check "lmm.files"
local texts = require "lmm.text"

---@class lmm.Config
---@field path string
---@field servers table<string, table>  options of lmm.connect, with `key` in the place of api_key
---@field models table<string, { server: string?, model: string?, params: table? }>
---@field templates table<string, lmm.Template>  those in the file, and those beside it once they were looked for
---@field default string?  a model or a server
---@field problems lmm.ConfigProblem[]  in the order of their lines
local Config = {}
Config.__index = Config
Config.__name = "lmm.Config"

local config = {}

--- The folder of the configuration, without a slash at its end; nil where there is no home.
local function folder()
  local base, home = os.getenv "XDG_CONFIG_HOME", os.getenv "HOME"
  if base and base:find "^/" then return base .. "/lmm" end -- what is not absolute is not heeded, as XDG says
  return home and home ~= "" and home .. "/.config/lmm" or nil
end

--- Where the configuration is: the file that is there, or the one that might be.
---@return string? path, boolean is_there, string? other  a second one, which must not be
function config.find()
  local base = folder()
  if not base then return nil, false end
  local lua, json = base .. "/config.lua", base .. "/config.json"
  local has_lua, has_json = files.kind(lua) ~= nil, files.kind(json) ~= nil
  if has_lua then return lua, true, has_json and json or nil end
  return has_json and json or lua, has_json
end

local function invalid(format, ...)
  return errors.new { kind = "invalid", message = format:format(...) }
end

--- Options of lmm.connect, of a server of the file.
local function to_options(server)
  local options = {}
  for name, value in pairs(server) do options[name] = value end
  options.key = nil
  -- Without one none is sent: $OPENAI_API_KEY is some other server's.
  options.api_key = server.key and require("lmm.config.key").reader(server.key) or ""
  return options
end

--- Reads a configuration, and says all that is wrong in it.
---@param path string
---@return lmm.Config? config, string? why, integer? line  nil where it cannot be read
function config.read(path)
  local given, text, line = require "lmm.config.read"(path)
  if not given then return nil, text, line end
  local problems, line_of = require "lmm.config.check"(given, to_options), require "lmm.config.lines"(text)
  for _, problem in ipairs(problems) do problem.line = line_of(problem.keys) end
  table.sort(problems, function(a, b)
    if a.line ~= b.line then return (a.line or 0) < (b.line or 0) end
    return table.concat(a.keys, ".") .. a.message < table.concat(b.keys, ".") .. b.message
  end)
  local self = { path = path, problems = problems, default = given.default }
  for _, name in ipairs { "servers", "models", "templates" } do
    self[name] = type(given[name]) == "table" and given[name] or {}
  end
  for name, template in pairs(self.templates) do
    if type(template) == "string" then self.templates[name] = { prompt = template } end
  end
  return setmetatable(self, Config)
end

--- A problem on one line: "PATH:LINE: servers.gpu: ..."
---@param path string
---@param problem lmm.ConfigProblem
---@return string
function config.describe(path, problem)
  local about = table.concat(problem.keys, ".")
  return ("%s:%s %s%s"):format(path, problem.line and problem.line .. ":" or "", about ~= "" and about .. ": " or "",
    problem.message)
end

--- Loads a configuration, the user's own unless a path is given. See lmm.config.
---@param path string?
---@return lmm.Config? config, lmm.Error? err
function config.load(path)
  local is_there, other = true, nil
  if path == nil then path, is_there, other = config.find() end
  if not path then return nil, invalid "there is no configuration: neither $XDG_CONFIG_HOME nor $HOME is set" end
  if not is_there then return nil, invalid("there is no configuration at '%s'", path) end
  if other then return nil, invalid("there are two configurations, '%s' and '%s': remove one", path, other) end
  local self, why, line = config.read(path)
  if not self then return nil, invalid("%s:%s %s", path, line and line .. ":" or "", why) end
  local first = self.problems[1]
  if not first then return self end
  local more = #self.problems - 1
  return nil, invalid("%s%s", config.describe(path, first),
    more > 0 and (" (and %d more: `lmm config` tells all)"):format(more) or "")
end

--- What a model's and a server's name stand for. A model that is not in the file is the server's own name for it.
---@param self lmm.Config
---@param model string?
---@param server string?
---@return { server: string?, options: table, model: string?, params: table }? found, string? problem
function config.resolve(self, model, server)
  local default = self.default
  if not model and not server then
    if default and self.models[default] then model = default else server = default end
  end
  local entry = model and self.models[model] or { model = model }
  server = server or entry.server or self.servers[default or ""] and default
    or (self.models[default or ""] or {}).server
  if server and not self.servers[server] then
    return nil, ("there is no server '%s' in %s (%s)"):format(server, self.path,
      require("lmm.options").known(self.servers))
  end
  return { server = server, options = server and to_options(self.servers[server]) or {}, model = entry.model,
    params = entry.params or {} }
end

--- A client for a model or a server of the file. `client:conversation(params)` asks with the fields that the file has
--- for the model.
---@param name string?  the default of the file where none is given
---@return lmm.Client client, table params
function Config:connect(name)
  if name ~= nil and type(name) ~= "string" then errors.misuse("config:connect takes a name, not a %s", type(name)) end
  name = name or self.default
  if not name then errors.misuse("config:connect: %s has no default: name a server or a model", self.path) end
  local is_server = not self.models[name]
  if is_server and not self.servers[name] then
    errors.misuse("config:connect: there is no model and no server '%s' in %s", name, self.path)
  end
  local found = config.resolve(self, not is_server and name or nil, is_server and name or nil)
  local options, params = found.options, {}
  options.model = found.model
  for field, value in pairs(found.params) do params[field] = value end
  return require("lmm.client").new(options), params
end

--- The templates that stand as files in the folder `templates` beside the file, by their names.
---@param path string  of the configuration, also where it is not there
---@param name string  of the template, without an ending
---@return lmm.Template? template, string? problem
function config.template_file(path, name)
  if not name:find "^[%w_][%w_.-]*$" then return nil, "a template's name has letters, digits, _, - and ." end
  local base = path:match "^(.*/)" .. "templates/" .. name
  for _, ending in ipairs { ".txt", ".md", "" } do
    local kind, is_own = files.kind(base .. ending)
    if kind == "file" then
      if not is_own then return nil, ("others can write '%s': chmod go-w makes it yours"):format(base .. ending) end
      local text, why = files.read(base .. ending, 1024 * 1024)
      if not text then return nil, ("cannot read '%s': %s"):format(base .. ending, why) end
      return { prompt = (text:gsub("[\r\n]+$", "")) }
    end
  end
  return nil, nil
end

--- The names of those templates.
---@param path string  of the configuration
---@return string[]
function config.template_names(path)
  local pipe = io.popen("ls " .. texts.quote((path:match "^(.*/)") .. "templates") .. " 2>/dev/null")
  local names = {}
  for file in pipe:lines() do
    local name = file:gsub("%.txt$", ""):gsub("%.md$", "")
    if config.template_file(path, name) then names[#names + 1] = name end
  end
  pipe:close()
  return names
end

--- See lmm.config.templates.
function config.fill(...)
  return require("lmm.config.templates").fill(...)
end

function config.holes(...)
  return require("lmm.config.templates").holes(...)
end

return config
