--- How a command reaches its server: the options --url, --url-file, --server, -m, -H and --dialect come in; options of
--- lmm.connect go out.
local console = require "lmm.cli.console"

local connection = {}

--- For argparse. A value may be a secret, so it stands in no message.
local function header(word)
  local name, value = word:match "^([^:%s]+):[ \t]*(.-)[ \t]*$"
  if name and value ~= "" then return { name = name, value = value } end
  return nil, ("-H takes 'Name: value', not '%s'"):format(word:match "^[^:]*" .. (word:find ":" and ":..." or ""))
end

function connection.declare(command)
  command:option("--url", "The server's base URL, which mostly ends in /v1 (default: $OPENAI_BASE_URL, else"
    .. " http://127.0.0.1:8000/v1). Given several times, one that answers is asked."):argname("URL"):count "*"
  command:option("--url-file", "The file in which `lmm serve --url-file` tells where its server is, and its key."
    ):argname "FILE"
  command:option("--server", "A server of your configuration, by its name; -m takes the names of its models, too. See"
    .. " `lmm config --help`."):argname "NAME"
  command:option("-H --header", "A header of each request, such as 'X-Team: vision'. May be given several times. The"
    .. " key is better in $OPENAI_API_KEY."):argname("'NAME: VALUE'"):count("*"):convert(header)
  command:option("--dialect", "What the server is, where that cannot be found out: vllm, llama.cpp, ollama, generic ..."
    .. " (default: by its URL or its list of models)."):argname "NAME"
end

--- What a file tells of its server.
---@return lmm.cli.Where
local function read_where(path)
  local where, message, is_unread = require "lmm.cli.url_file".read(path)
  if where and where.url then return where end
  local advice = (where or is_unread) and " (lmm wait --url-file waits for it)" or ""
  return console.fail("%s%s", message or ("the server of '%s' is still starting"):format(path), advice)
end

--- Options of lmm.connect. Where -m names a model of the configuration, `args.model` becomes the server's own name for
--- it, `args.server` the name of its server, and its fields go before those of -p.
---@param where lmm.cli.Where?  what the file of --url-file tells, where it has been read already
---@param url string?  of the server to ask where nothing names another one, in the place of the default
function connection.options(args, where, url)
  if args.url_file and args.url[1] then console.misuse "--url and --url-file both name the server: give one" end
  where = where or args.url_file and read_where(args.url_file) or {}
  local options = require "lmm.cli.configured".options(args, url)
  local headers = {}
  for name, value in pairs(options.headers or {}) do headers[name] = value end
  for _, given in ipairs(args.header) do headers[given.name] = given.value end
  options.headers = headers
  options.base_url = where.url or args.url[2] and args.url or args.url[1] or options.base_url
  options.api_key = where.key or options.api_key
  options.dialect = args.dialect or options.dialect
  return options
end

return connection
