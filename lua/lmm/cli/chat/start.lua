--- How a chat begins: the arguments of the command line come in; a client and a conversation go out, a new one, a saved
--- one, or the last one in the log.
local connection = require "lmm.cli.connection"
local configured = require "lmm.cli.configured"
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
  local options = logging.apply(connection.options(args, nil, last and last.server), args)
  options.timeout, options.retry = args.timeout, { on_retry = on_retry }
  local is_same = last and (options.base_url or os.getenv "OPENAI_BASE_URL") == last.server
  options.model = args.model or is_same and last.model or nil
  return require "lmm".connect(options)
end

---@class lmm.chat.Asked
---@field client lmm.Client?  nil where the server stays the same
---@field model string?
---@field fields table        that go with the model

--- What is asked from now on: a server, of its URL or its name, or a model of the user's configuration. Headers are not
--- sent to another server.
---@param change { server: string?, model: string? }
---@return lmm.chat.Asked? asked  nil where the model is none of the configuration's
local function change_to(args, change, on_retry)
  if change.model and not configured.names "models"[change.model] then return nil end
  local is_url, given, fields = change.server and change.server:find "://" ~= nil, {}, {}
  for name, value in pairs(args) do given[name] = value end
  given.url, given.server = { is_url and change.server or nil }, not is_url and change.server or nil
  given.header, given.param, given.model, given.dialect = {}, {}, change.model, nil
  local options = logging.apply(connection.options(given), args)
  options.timeout, options.retry, options.model = args.timeout, { on_retry = on_retry }, given.model
  for _, param in ipairs(given.param) do fields[param.name] = param.value end
  local client = options.base_url and require "lmm".connect(options) or nil
  return { client = client, model = given.model, fields = fields }
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
---@field change fun(change: table): lmm.chat.Asked?  see change_to
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
    change = function(change) return change_to(args, change, on_retry) end }
end

return start
