--- What the user's configuration says to a command: its options come in; what they stand for goes out. Where there is
--- no configuration, names are the server's own.
local console = require "lmm.cli.console"

local configured = {}

--- The configuration; nil where there is none. One that is wrong ends the command.
---@return lmm.Config? config
local function load()
  local config = require "lmm.config"
  local _, is_there = config.find()
  if not is_there then return nil end
  local loaded, err = config.load()
  return loaded or console.fail("%s", err.message)
end

--- Whether the arguments name the server by its URL, or start it.
local function has_url(args)
  return args.url[1] or args.url_file or args.serve
end

local function is_told(args)
  return has_url(args) or (os.getenv "OPENAI_BASE_URL" or "") ~= ""
end

--- The options of the server with this URL, whatever its name.
local function of_url(config, url)
  for name, server in pairs(config.servers) do
    if server.base_url == url then return require "lmm.config".resolve(config, nil, name).options end
  end
  return { base_url = url }
end

--- What -m and --server stand for. The default is for where neither they nor --url nor $OPENAI_BASE_URL name a server.
---@param url string?  of the server that is asked in the place of the default
---@return table options  of lmm.connect
function configured.options(args, url)
  if args.server and has_url(args) then
    console.misuse "--server and another option both say which server it is: give one"
  end
  local config = load()
  if not config then
    if not args.server then return { base_url = not is_told(args) and url or nil } end
    local path = require "lmm.config".find()
    console.misuse("there is no server '%s': a configuration gives servers names, and there is none at %s", args.server,
      path or "$HOME")
  end
  if not config.models[args.model or ""] and not args.server then
    if is_told(args) then return {} end
    if url then return of_url(config, url) end
  end
  local found, problem = require "lmm.config".resolve(config, args.model, args.server)
  if not found then console.misuse("%s", problem) end
  args.model = found.model
  local param = {}
  for name, value in pairs(found.params) do param[#param + 1] = { name = name, value = value } end
  for _, given in ipairs(args.param or {}) do param[#param + 1] = given end
  args.param = args.param and param
  if has_url(args) then return {} end
  args.server = found.server
  return found.options
end

--- Names of the configuration, for completion: none where there is none, or where it is wrong.
---@param kind "servers"|"models"
---@return table<string, table> by_name
function configured.names(kind)
  local loaded = require "lmm.config".load()
  return loaded and loaded[kind] or {}
end

--- The template of a name.
---@return lmm.Template
function configured.template(name)
  local config = require "lmm.config"
  local loaded, path = load(), config.find()
  local template, problem = loaded and loaded.templates[name], nil
  if not template and path then template, problem = config.template_file(path, name) end
  if template then return template end
  console.misuse("%s", problem or ("there is no template '%s', neither in %s nor as %s"):format(name, path or "$HOME",
    path and path:match "^(.*/)" .. "templates/" .. name .. ".txt" or "a file"))
end

return configured
