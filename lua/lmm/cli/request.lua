--- What the commands that send one kind of request have in common: options of the command line come in; a client and
--- the options of its method go out.
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"
local field = require "lmm.cli.field"
local logging = require "lmm.cli.logging"
local sources = require "lmm.cli.sources"

local request = {}

--- Declares the model, the server, the fields and the time limit.
function request.declare(command)
  command:option("-m --model", "The model to ask (default: the first that the server lists)."):argname "NAME"
  connection.declare(command)
  logging.declare(command)
  command:option("-p --param", "A field of the request, by the server's name; retry and timeout as the library takes"
    .. " them. VALUE is read as JSON where it is JSON, @FILE stands for what the file holds. May be given several"
    .. " times."):argname("NAME=VALUE"):count("*"):convert(field.parse)
  command:option("--timeout", "How long to wait for the whole answer, all attempts included (default: no limit but"
    .. " 600 until it begins)."):argname("SECONDS"):convert(console.seconds)
end

--- Declares pictures and other media, as `lmm ask` has them; their sources go to args.media.
function request.declare_media(command)
  command:option("-i --image", "A picture: a path, an http:, https:, file: or data: URL, or - for standard input. May"
    .. " be given several times; the order is kept."):argname("SOURCE"):count("*"):action(sources.add "image")
  command:option("-a --attach", "A medium of any kind, told by its bytes. Sources are as for -i.")
    :argname("SOURCE"):count("*"):action(sources.add())
end

--- The texts of the arguments; `@FILE` stands for that file's.
---@param words string[]
---@param what string  for messages
---@return string[]
function request.texts(words, what)
  local texts = {}
  for i, word in ipairs(words) do texts[i] = console.text(word, what) end
  return texts
end

---@param reserved table<string, string>?  the fields that options of their own set, each with what to do
---@return lmm.Client client, table opts
function request.client(args, reserved)
  local options, opts = logging.apply(connection.options(args), args), {}
  options.model = args.model
  for _, given in ipairs(args.param) do
    local instead = reserved and reserved[given.name] or given.name == "headers" and "-H gives them"
    if instead then console.misuse("-p does not set '%s': %s", given.name, instead) end
    opts[given.name] = given.value
  end
  if args.timeout then opts.timeout = args.timeout end
  return require "lmm".connect(options), opts
end

return request
