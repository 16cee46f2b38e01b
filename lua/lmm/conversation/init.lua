--- A conversation: questions come in, answers go out, and both stay as its history. It is transactional: an exchange
--- that fails or is cancelled leaves the history as it was.
local arguments = require "lmm.conversation.arguments"
local errors = require "lmm.errors"
local histories = require "lmm.conversation.history"
local request = require "lmm.request"
local texts = require "lmm.text"

---@class lmm.Conversation
---@field messages table[]  the history in the form that servers take, the system message first
local Conversation = {}
Conversation.__name = "lmm.Conversation"

function Conversation:__index(name)
  if name == "messages" then return self.history:expose() end
  return rawget(Conversation, name)
end

function Conversation:__newindex(name, value)
  if name ~= "messages" then return rawset(self, name, value) end
  if type(value) ~= "table" then
    errors.misuse("the messages of a conversation are a list, not a %s", type(value))
  end
  self.history = histories.new(value)
  self.history:expose()
end

local conversation = {}

--- Of what holds the stream under way: one that nobody else holds any more is collected, and so cancelled.
local WEAK = { __mode = "v" }

local NOTHING = { opts = {}, fields = {} }

local function read_options(opts)
  if type(opts) ~= "table" then
    errors.misuse("client:conversation takes a table of options, not a %s", type(opts))
  end
  local given = request.copy(opts)
  local system = given.system
  given.system = nil
  if system ~= nil and type(system) ~= "string" then errors.misuse("system is a string, not a %s", type(system)) end
  local own, fields = arguments.split(given, NOTHING)
  return own, fields, system
end

--- Makes a conversation: `system` is its system message; `timeout`, `retry`, `schema` and `headers` are ours; every
--- other name goes along with each request.
function conversation.new(client, opts)
  local own, fields, system = {}, {}, nil
  if opts ~= nil then own, fields, system = read_options(opts) end
  return setmetatable({
    client = client,
    opts = own,
    fields = fields,
    history = histories.new { system and { role = "system", content = system } or nil },
    current = setmetatable({ stream = nil, is_open = nil }, WEAK),
  }, Conversation)
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

--- What is to be sent behind the history: the user's message, or nothing where the history waits for an answer.
local function pending(self, message)
  if message then return { message } end
  local role = self.history:role(-1)
  if role == "user" or role == "tool" then return {} end
  errors.misuse "there is nothing to ask: pass a question"
end

function Conversation:open_stream(streamed, ...)
  local message, given = arguments.read(...)
  local before = abandoned(self)
  local opts, fields = arguments.split(given, self)
  local messages = pending(self, message)
  fields.messages = self.history:with(messages)
  local stream = self.client:open_stream("conversation:ask", fields, opts, streamed, true)
  if before then before:cancel() end
  local current = self.current
  function stream.on_end(reply)
    if current.stream == stream then current.is_open = nil end
    if not reply then return end
    messages[#messages + 1] = sendable(reply.message)
    self.history:append(messages)
  end
  current.stream, current.is_open = stream, true
  return stream
end

--- Asks and waits for the whole answer. Strings are text parts, the order is kept; without any part the history is
--- asked about, where it ends in a user's message or a tool's result; a last table without `type` holds
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
  other.opts, other.fields = arguments.copy(self.opts), arguments.copy(self.fields)
  other.history = self.history:fork()
  return other
end

--- Forgets the last question and its answer; one that nobody reads is cancelled. Without one it does nothing.
function Conversation:undo()
  local stream, current = abandoned(self), self.current
  if current.is_open then -- also where the stream was collected
    current.is_open = nil
    return stream and stream:cancel()
  end
  for i = self.history:size(), 1, -1 do
    if self.history:role(i) == "user" then return self.history:truncate(i - 1) end
  end
end

errors.check_self(Conversation, "chat", "ask", "stream", "cancel", "fork", "undo")

return conversation
