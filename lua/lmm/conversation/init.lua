--- A conversation: questions come in, answers go out, and both stay as its history. It is transactional: an exchange
--- that fails or is cancelled leaves the history as it was. Where it has tools, an exchange is as many requests as the
--- model needs for its answer (see lmm.conversation.rounds).
local arguments = require "lmm.conversation.arguments"
local calls = require "lmm.conversation.calls"
local errors = require "lmm.errors"
local histories = require "lmm.conversation.history"
local request = require "lmm.request"
local usages = require("lmm.call").usage

--- Questions and their answers, which stay as its history. An exchange that fails leaves that as it was. Made by
--- client:conversation.
---@class lmm.Conversation
---@field messages table[]  the history in the form that servers take, the system message first; calls of tools stand in
--- it as the model made them
---@field usage lmm.Usage  what its answers have taken so far
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

local NOTHING = { opts = {}, fields = {}, rules = {} }

--- A module that only conversations with tools need.
local function the(name)
  return require("lmm.conversation." .. name)
end

--- What of a table of options is whose. See arguments.split.
local function split(given, base)
  local opts, fields, rules = arguments.split(given, base)
  if rules ~= base.rules then the("rounds").check(rules) end
  return opts, fields, rules
end

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
  local own, fields, rules = split(given, NOTHING)
  return own, fields, rules, messages
end

--- Makes a conversation: `system` is its system message, `messages` what it begins with; `timeout`, `retry`, `headers`
--- and one of `schema`, `choice`, `regex` and `grammar` are ours, and so are the rules about tools (lmm.ToolRules);
--- every other name goes along with each request.
function conversation.new(client, opts)
  local own, fields, rules, messages = {}, {}, NOTHING.rules, {}
  if opts ~= nil then own, fields, rules, messages = read_options(opts) end
  return setmetatable({
    client = client,
    opts = own, fields = fields, rules = rules,
    tools = nil, -- those of chat:tool, once there are some
    history = histories.new(messages),
    usage = usages.new(),
    current = setmetatable({ stream = nil, is_open = nil }, WEAK),
    affinity = { server = nil }, -- see lmm.Pool
  }, Conversation)
end

--- Why no request can be made of options that come from a file, or nil.
---@return lmm.Error?
local function problem_of(client, path, loaded)
  local sent = arguments.copy(loaded.fields)
  sent.messages = {}
  local _, misuse = errors.try(client.open_stream, client, "client:load", sent, loaded.opts, false) -- sends nothing
  if not misuse then return nil end
  return errors.new { kind = "invalid", message = ("the saved conversation in '%s' was changed, and cannot be used: "
    .. "options: %s"):format(path, misuse) }
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
  split(given, NOTHING) -- which refuses what cannot be
  local loaded, err = require("lmm.conversation.saved").load(path, media)
  err = err or problem_of(client, path, loaded)
  if err then return nil, err end
  local self = conversation.new(client)
  loaded.rules = NOTHING.rules
  self.opts, self.fields, self.rules = split(given, loaded)
  self.history = loaded.history
  return self
end

--- Why there cannot be saved at a path, or nil.
---@return lmm.Error?
function conversation.check_target(path)
  return require("lmm.conversation.saved").check_target(path)
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
---@package
function Conversation:settle()
  local stream = abandoned(self)
  self.current.is_open = nil
  if stream then stream:cancel() end
end

local function add_usage(self, told)
  local sum = self.usage
  sum.requests, sum.bytes_sent = sum.requests + told.requests, sum.bytes_sent + told.bytes_sent
  usages.add_tokens(sum, told)
end

--- What is to be sent behind the history: the user's message, or nothing where the history waits for an answer.
local function pending(self, message)
  if message then return { message } end
  local role = self.history:role(-1)
  if role == "user" or role == "tool" then return {} end
  errors.misuse "there is nothing to ask: pass a question"
end

--- Frees the choice of tools where an exchange goes on whose first request forced it: that of the conversation, and not
--- one that came with this request.
local function free_choice(self, fields, messages)
  local choice = fields.tool_choice
  if choice == nil or choice ~= self.fields.tool_choice then return end
  local goes_on = not messages[1] and self.history:role(-1) ~= "user"
  if goes_on then fields.tool_choice = the("tools").freed(choice) end
end

--- Why a question cannot be asked while calls are unanswered: there is another one, or no function to run them.
---@return lmm.Error?
local function refusal(rounds, unanswered, message)
  local results = the "results"
  if message then
    return results.unanswered(unanswered[1], "before the next question answer it by chat:result(call, value), have its "
      .. "tool run by chat:tool and chat:ask, or take the whole exchange back by chat:undo()")
  end
  local call = rounds and rounds:first_unknown(unanswered) or not rounds and unanswered[1]
  return call and results.unanswered(call, "answer it by chat:result(call, value), or give its tool by chat:tool")
end

---@package
function Conversation:open_stream(streamed, ...)
  local message, given = arguments.read(...)
  local before = abandoned(self)
  local opts, fields, rules = split(given, self)
  local unanswered = calls.unanswered(self.history)
  local messages = unanswered and { message } or pending(self, message)
  free_choice(self, fields, messages)
  local rounds = self.tools and the("rounds").new(self, fields, rules, opts, messages, function()
    fields.messages = self.history:with(messages)
    return self.client:exchange("conversation:ask", fields, opts, streamed, self.affinity)
  end)
  fields.messages = self.history:with(messages)
  local stream = self.client:open_stream("conversation:ask", fields, opts, streamed, self.affinity)
  if before then before:cancel() end
  if unanswered then
    local err = refusal(rounds, unanswered, message)
    if err then
      stream.exchange.err = err
    else
      rounds:begin(unanswered)
      stream.between = rounds
    end
  end
  self:follow(stream, messages, rounds)
  return stream
end

--- Has the history get the messages of an exchange once it has ended well.
---@package
function Conversation:follow(stream, messages, rounds)
  local current = self.current
  function stream.after_reply(reply)
    messages[#messages + 1] = calls.message(reply)
    if rounds then return rounds:after_reply(reply) end
  end
  function stream.on_end(reply, err)
    if current.stream == stream then current.is_open = nil end
    if reply then
      if not reply.cached then add_usage(self, reply.usage) end
      for _, step in ipairs(reply.steps or {}) do
        if step.usage ~= reply.usage then add_usage(self, step.usage) end -- unless it is the same reply's
      end
      self.history:append(messages)
    elseif rounds then
      err.messages = rounds:finished_messages()
    end
  end
  current.stream, current.is_open = stream, true
end

--- Asks and waits for the whole answer. Strings are text parts, the order is kept; without any part the history is
--- asked about, where it ends in a user's message or a tool's result, and calls that nobody has answered are run first;
--- a last table without `type` holds options for this request: those that are ours (see lmm.RequestOptions and
--- lmm.ToolRules), and any request field by the server's name.
---@param ... string|lmm.Part|table|lmm.AskOptions
---@return lmm.Reply? reply, string? message, lmm.Error? err  where some of the tools have been run, `err.messages` are
--- the messages that they belong to: behind the history `chat:ask()` goes on from them
function Conversation:ask(...)
  return self:open_stream(false, ...):reply()
end

--- Asks and gives the answer as it comes: `for piece in chat:stream(...)`. The history has it once the stream ended.
---@param ... string|lmm.Part|table|lmm.AskOptions
---@return lmm.Stream stream, nil, nil, lmm.Stream
function Conversation:stream(...)
  local stream = self:open_stream(true, ...)
  return stream, nil, nil, stream
end

--- Gives the model a tool: from now on `ask` and `stream` run `fn` when it is called, send back what it gives, and go
--- on until there is an answer. It is run as a task, several at once, so that it may wait. What it returns is the
--- result: a text; a part, or a list with parts; a model's reply; any other value as JSON; nothing; `nil, message` says
--- that it could not be done. What it raises is told to the model.
---@param def lmm.Tool
---@param fn fun(args: table, call: lmm.ToolCall): any
function Conversation:tool(def, fn)
  local tools = self.tools or the("tools").new()
  tools:add(def, fn)
  self.tools = tools
end

--- Answers a call of the last reply by hand; `chat:ask()` goes on once all are answered.
---@param call lmm.ToolCall|string  of `reply.tool_calls`, or its id
---@param value any  as a tool's function returns it
---@param ... any    further values that it returns: `nil, message`
function Conversation:result(call, value, ...)
  local id = call
  if type(call) == "table" then id = call.id end
  for _, open in ipairs(calls.unanswered(self.history) or {}) do
    if open.id == id and id ~= nil then
      self:settle()
      local results = the "results"
      local result = results.returned(open, value, ...)
      if result.content then result = the("media").checked(result, self.client) end
      return self.history:append { results.message(result) }
    end
  end
  errors.misuse("chat:result: there is no unanswered call with the id %s", tostring(id))
end

--- Ends whatever this conversation is doing; the tools that run are cancelled.
function Conversation:cancel()
  if self.current.stream then self.current.stream:cancel() end
end

--- Another conversation with the same history and tools, which goes its own way from here.
---@param client lmm.Client?  the one that it asks, where that is to be another
---@return lmm.Conversation
function Conversation:fork(client)
  if client ~= nil and (type(client) ~= "table" or type(client.exchange) ~= "function") then
    errors.misuse("chat:fork takes a client, not a %s", type(client))
  end
  local other = conversation.new(client or self.client)
  other.opts, other.fields = arguments.copy(self.opts), arguments.copy(self.fields)
  other.rules = self.rules -- which is never changed
  other.tools = self.tools and self.tools:copy()
  other.history, other.affinity.server = self.history:fork(), not client and self.affinity.server or nil
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

--- The parts of an earlier question, so that it can be asked again as it was or changed: texts are strings.
---@param n integer  which question, from 1; from the end where it is negative
---@return (string|lmm.Part|table)[]? parts  nil where there is no such question
function Conversation:question(n)
  return require("lmm.conversation.edit").question(self, n)
end

--- Asks the last question again. Its answer is replaced once the new one is there; where that fails it stays.
---@param opts lmm.AskOptions?  for this request
---@return lmm.Reply? reply, string? message, lmm.Error? err  `err.messages` belong behind the question, in the place of
--- the answer that stays
function Conversation:retry(opts)
  return require("lmm.conversation.edit").retry(self, opts)
end

--- Forgets the oldest turns (a question and all that followed it): all but the last so many, or until what is left has
--- at most so many tokens. What the system says stays, and so does the last turn. Tokens are counted by the server's
--- /tokenize; where it has none, four bytes of text count as one, media as none, and `details.is_estimate` says so.
---@param opts lmm.TrimOptions
---@return integer? dropped, string|{ tokens: integer, is_estimate: boolean }|nil details_or_message, lmm.Error? err
--- how many messages were dropped; with `tokens`, how many tokens are left
function Conversation:trim(opts)
  local dropped, details = require("lmm.conversation.trim").trim(self, opts)
  if not dropped then return errors.public(nil, details) end
  return dropped, details
end

--- Changes what every request from now on carries: an option that is ours, a field by the server's name, or `system`,
--- the system message.
---@param name string
---@param value any  nil takes it away
function Conversation:set(name, value)
  require("lmm.conversation.changes").set(self, name, value)
end

--- Saves it in a file, for its owner alone: messages, the fields of its requests and its schema; no header and no key.
--- Media are named by path, size and SHA-256; those made of bytes are in the file. What is at the path is replaced in
--- one step where it is a saved conversation, and else is left alone.
---@param path string
---@param opts lmm.SaveOptions?
---@return true? saved, string? message, lmm.Error? err
function Conversation:save(path, opts)
  return errors.public(require("lmm.conversation.saved").save(self, path, opts))
end

--- The conversation as Markdown, which links to its files, or as a list of messages in the form of OpenAI's API, media
--- as data: URLs; with `media = false` a text stands for each.
---@param format "markdown"|"openai"
---@param opts lmm.ExportOptions?
---@return string|table[]|nil exported, string? message, lmm.Error? err
function Conversation:export(format, opts)
  return errors.public(require("lmm.conversation.export").export(self, format, opts))
end

errors.check_self(Conversation, "chat", "ask", "stream", "tool", "result", "cancel", "fork", "undo", "edit", "retry",
  "question", "set", "trim", "save", "export")

return conversation
