--- How a chat begins: the arguments of the command line come in; a client and a conversation go out, a new one, a saved
--- one, or the last one in the log.
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"
local logging = require "lmm.cli.logging"

local start = {}

--- What a request carries that -p does not set. Tools are sent anew, where there are functions for them.
local RESERVED = { stream = true, messages = true, system = true, headers = true, on_call = true, stop_when = true }
local NOT_CONTINUED = { tools = true, tool_choice = true }

local function check(args)
  if args["continue"] and args.load then console.misuse "--continue and --load say both where to begin: give one" end
  if args.system and (args["continue"] or args.load) then
    console.misuse "-s is for a conversation that begins: /system changes that of another one"
  end
  for _, given in ipairs(args.media or {}) do
    if given.source == "-" then console.misuse "the standard input is where the questions come from, not a medium" end
  end
end

local function read_fields(args)
  local fields = {}
  for _, given in ipairs(args.param) do
    if RESERVED[given.name] then console.misuse("-p does not set '%s'", given.name) end
    fields[given.name] = given.value
  end
  if args.system then fields.system = console.text(args.system, "the system message") end
  return fields
end

--- The client that the arguments name. What they stand for in the user's configuration is in them afterwards.
---@param args table
---@param last lmm.LoggedChat?  whose server and model it is, where nothing else says so
local function connect(args, last, on_retry)
  local is_named = args.model ~= nil
  local options = logging.apply(connection.options(args), args)
  options.timeout, options.retry = args.timeout, { on_retry = on_retry }
  options.base_url = options.base_url or os.getenv "OPENAI_BASE_URL" or last and last.server
  local is_same = last and not is_named and options.base_url == last.server
  options.model = is_same and last.model or args.model
  return require "lmm".connect(options)
end

--- The client of another server, of its URL or its name. Headers are not sent there.
---@param server string
local function connect_other(args, server, on_retry)
  local is_url, given = server:find "://" ~= nil, {}
  for name, value in pairs(args) do given[name] = value end
  given.url, given.server = { is_url and server or nil }, not is_url and server or nil
  given.header, given.param, given.model, given.dialect = {}, {}, nil, nil
  local options = logging.apply(connection.options(given), args)
  if not options.base_url then
    console.misuse("there is no server '%s': a URL begins with http:// or https://", server)
  end
  options.timeout, options.retry, options.model = args.timeout, { on_retry = on_retry }, given.model
  return require "lmm".connect(options)
end

--- The conversation of the log.
---@param last lmm.LoggedChat
local function continued(client, last, fields)
  for _, given in ipairs { last.fields, last.options or {} } do
    for name, value in pairs(given) do
      if fields[name] == nil and not RESERVED[name] and not NOT_CONTINUED[name] then fields[name] = value end
    end
  end
  fields.messages = last.messages
  return client:conversation(fields)
end

---@class lmm.chat.Start
---@field client lmm.Client
---@field chat lmm.Conversation
---@field connect fun(server: string): lmm.Client
---@field clear fun()

---@return lmm.chat.Start? start, string? message, lmm.Error? err
function start.start(args)
  check(args)
  local last
  if args["continue"] then
    local message
    last, message = require("lmm.cli.chat.log").last_chat()
    if not last then console.fail("--continue: %s", message) end
  end
  local on_retry, clear = require "lmm.cli.progress".retries()
  local client = connect(args, last, on_retry)
  local fields = read_fields(args)
  local chat, message, err
  if last then
    chat = continued(client, last, fields)
  elseif args.load then
    fields.model = fields.model or args.model
    chat, message, err = client:load(args.load, fields)
  else
    chat = client:conversation(fields)
  end
  if not chat then return nil, message, err end
  return { client = client, chat = chat, clear = clear,
    connect = function(server) return connect_other(args, server, on_retry) end }
end

return start
