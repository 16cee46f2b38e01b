--- A conversation: questions come in, answers go out, and both stay as its history. It is transactional: an exchange
--- that fails or is cancelled leaves the history as it was.
local errors = require "lmm.errors"
local json = require "lmm.json"
local options = require "lmm.options"
local parts = require "lmm.part"
local settings = require("lmm.call").settings
local texts = require "lmm.text"

---@class lmm.Conversation
---@field messages table[]  the history in the form that servers take, the system message first
local Conversation = {}
Conversation.__index = Conversation
Conversation.__name = "lmm.Conversation"

local conversation = {}

--- Of what holds the stream under way: one that nobody else holds any more is collected, and so cancelled.
local WEAK = { __mode = "v" }

--- A copy that does not change with the caller's tables. Parts never change; what is nested too deep is refused later.
---@param copies table?  of the tables met so far: each is copied once
local function snapshot(value, depth, copies)
  depth, copies = depth or 1, copies or {}
  if type(value) ~= "table" or parts.is(value) or depth > json.MAX_DEPTH then return value end
  local out, meta = copies[value], getmetatable(value)
  if out then return out end
  out = {}
  copies[value] = out
  for key, item in pairs(value) do out[key] = snapshot(item, depth + 1, copies) end
  return type(meta) == "table" and setmetatable(out, meta) or out -- such as lmm.array's
end

local function copy(fields)
  local out = {}
  for name, value in pairs(fields) do out[name] = value end
  return out
end

--- The names that are ours in a table of options; every other name is a field of the request, the server's.
local OURS = { timeout = true, retry = true, schema = true, headers = true }

--- What says how the server is reached, which no server can be told.
local OF_CONNECT = { proxy = true, tls = true, unix_socket = true }

--- Refuses what the server would get, and pass over without a word.
local function check_name(name)
  if name == "messages" then errors.misuse "a conversation keeps its own messages: see client:chat" end
  if name == "system" then errors.misuse "system is an option of client:conversation, not of a question" end
  if OF_CONNECT[name] then errors.misuse("'%s' is an option of lmm.connect, not of a conversation", name) end
  local meant = options.is_slip(name, "system") and "system"
  for own in pairs(OURS) do meant = meant or options.is_slip(name, own) and own end
  if meant then errors.misuse("unknown option '%s' (did you mean '%s'?)", name, meant) end
end

--- What of a table of options is ours, and what the server's; each over what holds otherwise.
---@param base { opts: table, fields: table }
---@return table opts, table fields
local function split(given, base)
  local opts, fields = copy(base.opts), copy(base.fields)
  if given.schema or given.response_format then opts.schema, fields.response_format = nil, nil end
  for name, value in pairs(given) do
    if OURS[name] then
      opts[name] = value
    else
      if type(name) == "string" then check_name(name) end
      fields[name] = value
    end
  end
  if given.headers then opts.headers = settings.headers(given.headers, base.opts.headers) end
  return opts, fields
end

local NOTHING = { opts = {}, fields = {} }

--- Makes a conversation: `system` is its system message; `timeout`, `retry`, `schema` and `headers` are ours; every
--- other name goes along with each request.
function conversation.new(client, opts)
  if opts ~= nil and type(opts) ~= "table" then
    errors.misuse("client:conversation takes a table of options, not a %s", type(opts))
  end
  local given = snapshot(opts or {})
  local system = given.system
  given.system = nil
  if system ~= nil and type(system) ~= "string" then errors.misuse("system is a string, not a %s", type(system)) end
  local own, fields = split(given, NOTHING)
  return setmetatable({
    client = client,
    opts = own,
    fields = fields,
    messages = { system and { role = "system", content = system } or nil },
    current = setmetatable({ stream = nil, is_open = nil }, WEAK),
  }, Conversation)
end

--- The user's message and the options, from what was given in order.
local function read_arguments(...)
  local content, opts = {}, nil
  local count = select("#", ...)
  while count > 1 and select(count, ...) == nil do count = count - 1 end -- a nil at the end is no argument
  for i = 1, count do
    local value = select(i, ...)
    if type(value) == "string" then
      content[#content + 1] = { type = "text", text = value }
    elseif parts.is(value) or type(value) == "table" and value.type ~= nil then
      content[#content + 1] = snapshot(value)
    elseif type(value) == "table" and i == count then
      opts = value -- behind a question
    else
      errors.misuse("argument %d is %s: strings, parts, and last a table of options are taken", i,
        type(value) == "table" and "a table without 'type'" or "a " .. type(value))
    end
  end
  if #content == 0 then errors.misuse "there is nothing to ask: pass a question" end
  local only = content[1]
  if #content == 1 and only.type == "text" and type(only.text) == "string" then content = only.text end
  return { role = "user", content = content }, opts or {}
end

--- A reply's message for the history. A broken character in it could not be sent back.
local function sendable(value)
  if type(value) == "string" then return texts.utf8(value) end
  if type(value) ~= "table" then return value end
  local out = {}
  for key, item in pairs(value) do out[sendable(key)] = sendable(item) end
  return setmetatable(out, getmetatable(value)) -- such as lmm.array's
end

--- The stream of the question before, if there is one, which nobody reads.
local function abandoned(self)
  local stream = self.current.stream
  if stream and stream:is_read() then
    errors.misuse "this conversation waits for an answer: use conversation:fork() to ask something else meanwhile"
  end
  return stream
end

function Conversation:open_stream(streamed, ...)
  local message, given = read_arguments(...)
  local before = abandoned(self)
  local opts, fields = split(given, self)
  if type(self.messages) ~= "table" then
    errors.misuse("the messages of a conversation are a list, not a %s", type(self.messages))
  end
  fields.messages = copy(self.messages)
  table.insert(fields.messages, message)
  local stream = self.client:open_stream("conversation:ask", fields, opts, streamed)
  if before then before:cancel() end
  local current = self.current
  function stream.on_end(reply)
    if current.stream == stream then current.is_open = nil end
    if not reply then return end
    table.insert(self.messages, message)
    table.insert(self.messages, sendable(reply.message))
  end
  current.stream, current.is_open = stream, true
  return stream
end

--- Asks and waits for the whole answer. Strings are text parts, the order is kept; a last table without `type` holds
--- options for this request: `timeout`, `retry`, `schema`, `headers`, and any request field by the server's name.
---@return lmm.Reply? reply, string? message, lmm.Error? err
function Conversation:ask(...)
  return self:open_stream(false, ...):reply()
end

--- Asks and gives the answer as it comes: `for piece in chat:stream(...)`. The history has it once the stream ended.
---@return lmm.Stream stream, nil, nil, lmm.Stream
function Conversation:stream(...)
  local stream = self:open_stream(true, ...)
  return stream, nil, nil, stream
end

--- Ends whatever this conversation is doing.
function Conversation:cancel()
  if self.current.stream then self.current.stream:cancel() end
end

--- Another conversation with the same history, which goes its own way from here.
---@return lmm.Conversation
function Conversation:fork()
  local other = conversation.new(self.client)
  other.opts, other.fields = copy(self.opts), copy(self.fields)
  other.messages = snapshot(self.messages)
  return other
end

--- Forgets the last question and its answer; one that nobody reads is cancelled. Without one it does nothing.
function Conversation:undo()
  local stream, current = abandoned(self), self.current
  if current.is_open then -- also where the stream was collected
    current.is_open = nil
    return stream and stream:cancel()
  end
  for i = #self.messages, 1, -1 do
    if self.messages[i].role == "user" then
      for j = #self.messages, i, -1 do self.messages[j] = nil end
      return
    end
  end
end

errors.check_self(Conversation, "chat", "ask", "stream", "cancel", "fork", "undo")

return conversation
