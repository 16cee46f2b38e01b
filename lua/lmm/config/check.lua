--- What is wrong in a configuration: its table comes in, and sentences go out, each with the keys that lead to what it
--- is about.
local errors = require "lmm.errors"
local json = require "lmm.json"
local keys = require "lmm.config.key"
local options = require "lmm.options"
local templates = require "lmm.config.templates"

---@class lmm.ConfigProblem
---@field keys string[]
---@field message string
---@field line integer?

local TOP = { servers = "table", models = "table", templates = "table", default = "string" }

local SERVER = { base_url = "string|table", key = "table", headers = "table", dialect = "string",
  timeout = "number|table", proxy = "string|boolean", tls = "table", unix_socket = "string", user_agent = "string",
  media_cache = "boolean", limits = "table" }

local MODEL = { server = "string", model = "string", params = "table" }

local TEMPLATE = { prompt = "string", system = "string", model = "string", params = "table", defaults = "table" }

--- Fields of a request that are made by what is asked.
local MADE = { messages = true, stream = true, model = true }

--- Checks the names in a table and the types of their values; gives whether it may be looked into further.
local function check_rows(add, path, rows, given)
  if type(given) ~= "table" then return add(path, "it is a %s, not a table", type(given)) end
  local is_sound = true
  for name, value in pairs(given) do
    local own = { path[1], path[2], path[3] }
    own[#own + 1] = tostring(name)
    if not rows[name] then
      local near = type(name) == "string" and options.nearest(name, rows)
      add(own, "there is no '%s' here%s", tostring(name),
        near and (": did you mean '%s'?"):format(near) or " (" .. options.known(rows) .. ")")
    elseif not ("|" .. rows[name] .. "|"):find("|" .. type(value) .. "|", 1, true) then
      is_sound = add(own, "it must be a %s, not a %s", rows[name]:gsub("|", " or "), type(value))
    end
  end
  return is_sound
end

local function check_key(add, path, given)
  local kind = next(given)
  if not check_rows(add, path, keys.kinds, given) or not kind or not keys.kinds[kind] then
    return kind or add(path, "it names no place where the key is kept: give one of command, env and file")
  end
  if next(given, kind) then add(path, "the key is kept at one place: give one of command, env and file") end
  local problem = kind == "command" and select(2, keys.words(given.command))
  if problem then add({ path[1], path[2], path[3], "command" }, "%s", problem) end
end

--- What lmm.connect says to the options of a server.
local function check_options(add, path, opts)
  local _, misuse = errors.try(require("lmm.call").settings.of_client, opts)
  if misuse then add(path, "%s", (misuse:gsub("^lmm%.connect: ", ""))) end
end

local function check_server(add, path, given, to_options)
  local count = #add.list
  if not check_rows(add, path, SERVER, given) then return end
  local place = { path[1], path[2], "key" }
  if given.key then check_key(add, place, given.key) end
  if not given.base_url then add(path, "it has no base_url") end
  if #add.list == count then check_options(add, path, to_options(given)) end
end

local function check_params(add, path, params)
  for name, value in pairs(params or {}) do
    local own = { path[1], path[2], "params", tostring(name) }
    if type(name) ~= "string" then add(own, "a field of a request has a name, and this is %s", tostring(name)) end
    if MADE[name] then add(own, "'%s' is made by what is asked", name) end
    local is_fine, problem = pcall(json.encode, value)
    if not is_fine then add(own, "%s", (tostring(problem):gsub("^.-lmm%.json%.encode: ", ""))) end
  end
end

local function check_model(add, path, given, config)
  if not check_rows(add, path, MODEL, given) then return end
  check_params(add, path, given.params)
  if given.server and not config.servers[given.server] then
    add({ path[1], path[2], "server" }, "there is no server '%s' (%s)", given.server, options.known(config.servers))
  end
end

local function check_template(add, path, given)
  if type(given) == "string" then return end
  if not check_rows(add, path, TEMPLATE, given) then return end
  check_params(add, path, given.params)
  if not given.prompt then return add(path, "it has no prompt") end
  local holes = templates.holes(given)
  for name, value in pairs(given.defaults or {}) do
    local own = { path[1], path[2], "defaults", tostring(name) }
    if not holes[name] then add(own, "the prompt has no hole {%s}", tostring(name)) end
    if type(value) ~= "string" then add(own, "it must be a string, not a %s", type(value)) end
  end
end

--- Calls `fn(path, given)` for each entry of a table by names.
local function each(add, kind, list, fn)
  for name, given in pairs(list or {}) do
    local path = { kind, tostring(name) }
    if type(name) == "string" then fn(path, given) else add(path, "a name is a string, not a %s", type(name)) end
  end
end

--- All that is wrong.
---@param config { servers: table, models: table, templates: table, default: string? }  as it was read
---@param to_options fun(server: table): table  what lmm.connect takes
---@return lmm.ConfigProblem[]
return function(config, to_options)
  local add = setmetatable({ list = {} }, { __call = function(self, path, format, ...)
    table.insert(self.list, { keys = path, message = format:format(...) })
  end })
  if not check_rows(add, {}, TOP, config) then return add.list end
  local whole = { servers = config.servers or {} }
  each(add, "servers", whole.servers, function(path, given) check_server(add, path, given, to_options) end)
  each(add, "models", config.models, function(path, given) check_model(add, path, given, whole) end)
  each(add, "templates", config.templates, function(path, given) check_template(add, path, given) end)
  local default = config.default
  if default and not whole.servers[default] and not (config.models or {})[default] then
    add({ "default" }, "there is no server and no model '%s'", default)
  end
  return add.list
end
