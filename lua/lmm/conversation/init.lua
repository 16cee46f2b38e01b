--- A conversation: questions come in, answers go out, and both stay as its history. It is transactional: an exchange
--- that fails or is cancelled leaves the history as it was.
local arguments = require "lmm.conversation.arguments"
local errors = require "lmm.errors"
local histories = require "lmm.conversation.history"
local request = require "lmm.request"
local texts = require "lmm.text"

---@class lmm.Conversation
---@field messages table[]  the history in the form that servers take, the system message first
---@field usage lmm.ConversationUsage  what its answers have taken so far

---@class lmm.ConversationUsage
---@field requests integer  that were answered
---@field prompt_tokens integer      as the servers counted, like the next two; 0 where they told nothing
---@field completion_tokens integer
---@field total_tokens integer
---@field bytes_sent integer  of the requests' bodies

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

--- What is added up of the usage of each answer.
local COUNTS = { "prompt_tokens", "completion_tokens", "total_tokens", "bytes_sent" }

local NOTHING = { opts = {}, fields = {} }

--- The messages to begin with, of the options.
local function read_messages(given)
  local list, system = given.messages, given.system
  given.messages, given.system = nil, nil
  if system ~= nil and type(system) ~= "string" then errors.misuse("system is a string, not a %s", type(system)) end
  local first = system and { role = "system", content = system }
  if list == nil then return { first or nil } end
  local problem = require("lmm.conversation.messages").problem(list)
  if problem then errors.misuse("client:conversation: %s", problem) end
  if first then
    if list[1] and list[1].role == "system" then
      errors.misuse "client:conversation: system stands in messages, too: give one of them"
    end
    table.insert(list, 1, first)
  end
  return list
end

local function read_options(opts)
  if type(opts) ~= "table" then
    errors.misuse("client:conversation takes a table of options, not a %s", type(opts))
  end
  local given = request.copy(opts)
  local messages = read_messages(given)
  local own, fields = arguments.split(given, NOTHING)
  return own, fields, messages
end

--- Makes a conversation: `system` is its system message, `messages` what it begins with; `timeout`, `retry`, `headers`
--- and one of `schema`, `choice`, `regex` and `grammar` are ours; every other name goes along with each request.
function conversation.new(client, opts)
  local own, fields, messages = {}, {}, {}
  if opts ~= nil then own, fields, messages = read_options(opts) end
  return setmetatable({
    client = client,
    opts = own,
    fields = fields,
    history = histories.new(messages),
    usage = { requests = 0, prompt_tokens = 0, completion_tokens = 0, total_tokens = 0, bytes_sent = 0 },
    current = setmetatable({ stream = nil, is_open = nil }, WEAK),
  }, Conversation)
end

--- Why no request can be made of options that come from a file, or nil.
---@return lmm.Error?
local function problem_of(client, path, loaded)
  local sent = arguments.copy(loaded.fields)
  sent.messages = {}
  local ok, raised = pcall(client.open_stream, client, "client:load", sent, loaded.opts, false) -- sends nothing
  if ok then return nil end
  return errors.new { kind = "invalid", message = ("the saved conversation in '%s' was changed, and cannot be used: "
    .. "options: %s"):format(path, tostring(raised):gsub("^.-lmm: ", "")) }
end

--- Makes the conversation that was saved in a file. See Client:load.
---@return lmm.Conversation? chat, lmm.Error? err
function conversation.load(client, path, opts)
  if opts ~= nil and type(opts) ~= "table" then
    errors.misuse("client:load takes a table of options, not a %s", type(opts))
  end
  local given = request.copy(opts or {})
  local media = given.media
  given.media = nil
  if media ~= nil and type(media) ~= "table" then
    errors.misuse("client:load: option 'media' must be a table, not a %s", type(media))
  end
  arguments.split(given, NOTHING) -- which refuses what cannot be
  local loaded, err = require("lmm.conversation.saved").load(path, media)
  err = err or problem_of(client, path, loaded)
  if err then return nil, err end
  local self = conversation.new(client)
  self.opts, self.fields = arguments.split(given, loaded)
  self.history = loaded.history
  return self
end

--- Why there cannot be saved at a path, or nil.
---@return lmm.Error?
function conversation.check_target(path)
  return require("lmm.conversation.saved").check_target(path)
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

--- Sees to it that nothing is under way: a stream that nobody reads is cancelled, one that somebody waits in raises.
function Conversation:settle()
  local stream = abandoned(self)
  self.current.is_open = nil
  if stream then stream:cancel() end
end

local function add_usage(self, reply)
  local usage, told = self.usage, reply.usage
  usage.requests = usage.requests + 1
  for i = 1, #COUNTS do
    local name = COUNTS[i]
    local count = told[name]
    if type(count) == "number" then usage[name] = usage[name] + count end
  end
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
    add_usage(self, reply)
    messages[#messages + 1] = sendable(reply.message)
    self.history:append(messages)
  end
  current.stream, current.is_open = stream, true
  return stream
end

--- Asks and waits for the whole answer. Strings are text parts, the order is kept; without any part the history is
--- asked about, where it ends in a user's message or a tool's result; a last table without `type` holds
--- options for this request: those that are ours (see lmm.RequestOptions), and any request field by the server's name.
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

--- Forgets the last question and all that followed it; one that nobody reads is cancelled. Without one it does nothing.
function Conversation:undo()
  local stream, current = abandoned(self), self.current
  if current.is_open then -- also where the stream was collected
    current.is_open = nil
    return stream and stream:cancel()
  end
  local place = require("lmm.conversation.turns").last(self.history)
  if place then self.history:truncate(place - 1) end
end

--- Puts another question in the place of an earlier one and forgets what followed that; `chat:ask()` then asks it.
---@param n integer  which question, from 1; from the end where it is negative
---@param ... string|lmm.Part|table  the question, as for `ask`, without options
function Conversation:edit(n, ...)
  require("lmm.conversation.edit").edit(self, n, ...)
end

--- Asks the last question again. Its answer is replaced once the new one is there; where that fails it stays.
---@param opts table?  for this request, as for `ask`
---@return lmm.Reply? reply, string? message, lmm.Error? err
function Conversation:retry(opts)
  return require("lmm.conversation.edit").retry(self, opts)
end

--- Forgets the oldest turns (a question and all that followed it): all but the last so many, or until what is left has
--- at most so many tokens. What the system says stays, and so does the last turn. Tokens are counted by the server's
--- /tokenize; where it has none, four bytes of text count as one, media as none, and `details.is_estimate` says so.
---@param opts { turns: integer?, tokens: integer? }  one of them
---@return integer? dropped, string|{ tokens: integer, is_estimate: boolean }|nil details_or_message, lmm.Error? err
--- how many messages were dropped; with `tokens`, how many tokens are left
function Conversation:trim(opts)
  local dropped, details = require("lmm.conversation.trim").trim(self, opts)
  if not dropped then return errors.public(nil, details) end
  return dropped, details
end

--- Saves it in a file, for its owner alone: messages, the fields of its requests and its schema; no header and no key.
--- Media are named by path, size and SHA-256; those made of bytes are in the file. What is at the path is replaced in
--- one step where it is a saved conversation, and else is left alone.
---@param path string
---@param opts { inline: boolean? }?  inline: the bytes of all files go into it
---@return true? saved, string? message, lmm.Error? err
function Conversation:save(path, opts)
  return errors.public(require("lmm.conversation.saved").save(self, path, opts))
end

--- The conversation as Markdown, which links to its files, or as a list of messages in the form of OpenAI's API, media
--- as data: URLs; with `media = false` a text stands for each.
---@param format "markdown"|"openai"
---@param opts { media: boolean? }?
---@return string|table[]|nil exported, string? message, lmm.Error? err
function Conversation:export(format, opts)
  return errors.public(require("lmm.conversation.export").export(self, format, opts))
end

errors.check_self(Conversation, "chat", "ask", "stream", "cancel", "fork", "undo", "edit", "retry", "trim", "save",
  "export")

return conversation
