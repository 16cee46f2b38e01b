--- What `lmm grid` is to compare: its arguments, and a file of Lua if there is one, come in; a plan goes out, and where
--- its page is written.
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"
local logging = require "lmm.cli.logging"

local grid_file = {}

--- What the options say, over what the file says.
local function overlay(definition, args)
  local copy = {}
  for name, value in pairs(definition) do copy[name] = value end
  if args.prompt[1] then
    copy.prompts = {}
    for i, text in ipairs(args.prompt) do copy.prompts[i] = console.text(text, "the prompt") end
  end
  if args.images[1] then copy.images = args.images end
  if args.model[1] then copy.models = args.model end
  if args.system then copy.system = console.text(args.system, "the system message") end
  if args.set[1] then
    copy.settings = {}
    for _, given in ipairs(args.set) do copy.settings[given.name] = given.values end
  end
  if args.param[1] then
    copy.params = {}
    for name, value in pairs(definition.params or {}) do copy.params[name] = value end
    for _, given in ipairs(args.param) do copy.params[given.name] = given.value end
  end
  if args.max_side then
    copy.image = {}
    for name, value in pairs(definition.image or {}) do copy.image[name] = value end
    copy.image.max_side = args.max_side
  end
  copy.repeats, copy.title = args.repeats or copy.repeats, args.title or copy.title
  copy.threshold = args.threshold or copy.threshold
  return copy
end

--- What the names of models stand for: those of the configuration, else the server's own. All are logged as everywhere.
---@return fun(name: string?): lmm.GridNamed
local function namer(args)
  local by_server = {}
  return function(name)
    local given, params = {}, {}
    for key, value in pairs(args) do given[key] = value end
    given.model, given.param = name, {}
    local options = connection.options(given)
    local server = given.server or ""
    by_server[server] = by_server[server] or logging.apply(options, args)
    for _, param in ipairs(given.param) do params[param.name] = param.value end
    return { connect = by_server[server], model = given.model, params = params }
  end
end

--- Reads the file, and makes the plan.
---@param path string?
---@return lmm.GridPlan? plan, lmm.Error? err
function grid_file.plan(path, args)
  local grids = require "lmm.grid"
  local definition, err = {}, nil
  if path then definition, err = grids.load(path) end
  if not definition then return nil, err end
  return grids.plan(overlay(definition, args), { path = path, connect = namer(args) })
end

--- What two paths of one file have in common.
local function place_of(path)
  if path == "-" then return path end
  local absolute = require("lmm.version").check("lmm.files").absolute(path) or path
  return require "luv".fs_realpath(path) or (absolute:gsub("/%./", "/"):gsub("//+", "/"))
end

--- The path of the page. No two things are written to one file, and nothing over the grid's own.
---@return string
function grid_file.page(path, args)
  local page = args.output or (path and path:match "[^/]*$":gsub("%.lua$", "") or "grid") .. ".html"
  local taken = { [path and place_of(path) or ""] = "the grid" }
  for _, name in ipairs { "page", "csv", "markdown", "json", "junit" } do
    local file = name == "page" and page or args[name]
    local place = file and place_of(file)
    if place and taken[place] then console.misuse("'%s' is %s, and cannot be %s, too", file, taken[place], name) end
    if place then taken[place] = name end
  end
  return page
end

return grid_file
