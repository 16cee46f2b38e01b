--- `lmm config`: what the user's configuration says, and what is wrong in it.
local console = require "lmm.cli.console"
local options = require "lmm.options"

local config = {}

local EPILOG = [[
The configuration is $XDG_CONFIG_HOME/lmm/config.lua (~/.config/lmm/config.lua),
or config.json beside it, with the same fields:

   return {
     default = "fast",
     servers = {
       gpu = { base_url = "http://gpu1:8000/v1",
               key = { command = "pass show gpu" } },
       cloud = { base_url = "https://api.openai.com/v1",
                 key = { env = "OPENAI_API_KEY" } },
     },
     models = {
       fast = { server = "gpu", model = "Qwen/Qwen3-VL-8B-Instruct",
                params = { temperature = 0 } },
     },
     templates = {
       review = "Review this {language} code:\n\n{stdin}",
       caption = { prompt = "Describe it in {words} words.", model = "fast",
                   system = "Be brief.", defaults = { words = "ten" } },
     },
   }

A server takes the options of lmm.connect, and `key`: the first line that a
command prints (no shell runs it), a variable of the environment, or a file.
A server without `key` gets none. `default` is for where neither -m nor --server
nor --url nor $OPENAI_BASE_URL says otherwise. A template may also be a file
beside it: templates/NAME.txt or templates/NAME.md.

The file can reach no file, program or module. It is refused where others can
write it.

Exit status:
   0 all is well, 1 it is wrong or not there, 2 wrong usage

Examples:
   lmm config
   lmm ask -m fast -i picture.jpg "What is it?"
   lmm models --server cloud
   git diff | lmm ask -t review -D language=Lua]]

function config.declare(parser)
  local command = parser:command("config", "Show the servers, models and templates that you have given names, and say"
    .. " what is wrong in your configuration.", EPILOG):summary "Show your servers, models and templates."
  command:usage "Usage: lmm config [OPTION]..."
  command:option("--list", "Print the names alone of servers, models or templates, one on each line.")
    :argname("KIND"):choices { "servers", "models", "templates" }
  command:flag("--path", "Print where the configuration is, or would be.")
end

--- Adds the templates that stand in files.
local function add_files(templates, path)
  local configs = require "lmm.config"
  for _, name in ipairs(configs.template_names(path)) do
    templates[name] = templates[name] or configs.template_file(path, name) or nil
  end
end

--- "a, b" of fields; what is a table is told as one.
local function describe_fields(fields)
  local words = {}
  for _, name in ipairs(options.names(fields)) do
    words[#words + 1] = name .. "=" .. (type(fields[name]) == "table" and "{...}" or tostring(fields[name]))
  end
  return table.concat(words, " ")
end

local function describe_key(key)
  if type(key) ~= "table" or not next(key) then return "no key" end
  local kind, what = next(key)
  return ("key by %s %s"):format(kind, type(what) == "table" and table.concat(what, " ") or tostring(what))
end

local function describe_server(server)
  local url = server.base_url
  if type(url) == "table" then url = require "lmm.text".count(#url, "server") end
  return ("%s  (%s)"):format(tostring(url), describe_key(server.key))
end

local function describe_model(model)
  local params = type(model.params) == "table" and next(model.params) and "  " .. describe_fields(model.params) or ""
  return ("%s at %s%s"):format(tostring(model.model or "the first that is listed"),
    tostring(model.server or "the default server"), params)
end

local function describe_template(template)
  return require "lmm.text".line(tostring(template.prompt), 60)
end

local function print_kind(title, list, describe, default)
  if not next(list) then return end
  console.write("\n" .. title .. ":\n")
  for _, name in ipairs(options.names(list)) do
    local what = type(list[name]) == "table" and describe(list[name]) or tostring(list[name])
    console.write(("   %-14s %s%s\n"):format(tostring(name), what, name == default and "  [default]" or ""))
  end
end

local function print_names(list)
  for _, name in ipairs(options.names(list)) do console.write(tostring(name) .. "\n") end
  return true
end

function config.run(args)
  local configs = require "lmm.config"
  local path, is_there, other = configs.find()
  if not path then console.fail "there is no configuration: neither $XDG_CONFIG_HOME nor $HOME is set" end
  if args.path then return console.write(path .. "\n") or true end
  local loaded, why, line
  if is_there then loaded, why, line = configs.read(path) end
  local templates = loaded and loaded.templates or {}
  add_files(templates, path)
  if args.list then return print_names(args.list == "templates" and templates or loaded and loaded[args.list] or {}) end
  if not is_there and not next(templates) then
    console.fail("there is no configuration at %s (see lmm config --help)", path)
  end
  console.write(path .. (is_there and "\n" or "  (not there)\n"))
  if loaded then
    print_kind("servers", loaded.servers, describe_server, loaded.default)
    print_kind("models", loaded.models, describe_model, loaded.default)
  end
  print_kind("templates", templates, describe_template)
  if why then console.fail("%s:%s %s", path, line and line .. ":" or "", why) end
  if other then console.fail("there is %s, too: remove one of them", other) end
  local problems = loaded and loaded.problems or {}
  for i = 1, #problems - 1 do console.note("lmm: %s", configs.describe(path, problems[i])) end
  if #problems > 0 then return nil, configs.describe(path, problems[#problems]) end
  return true
end

return config
