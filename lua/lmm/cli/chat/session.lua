--- What a chat is made of: its conversations by name, what is attached, the client and the screen. Questions come in;
--- answers are shown as they come, and stay in the conversation.
local advice = require "lmm.cli.chat.advice"
local attachments = require "lmm.cli.chat.attachments"
local console = require "lmm.cli.console"
local signals = require "lmm.cli.signals"

local unpack = table.unpack or unpack -- luacheck: ignore

---@class lmm.chat.Session
---@field client lmm.Client
---@field chats table<string, lmm.Conversation>  by name
---@field name string                    of the one that is asked in
---@field attached lmm.chat.Attachments  for the next question
---@field screen lmm.chat.Screen
---@field reader lmm.chat.Reader
---@field is_verbose boolean?
---@field unanswered lmm.chat.Unanswered?  a question that failed, until another one is answered
---@field last lmm.Reply?     the last answer
---@field used { answers: integer, prompt: integer, completion: integer, cost: number? }  of all answers
---@field has_failed boolean? a question, or a command
---@field is_over boolean?
local Session = {}
Session.__index = Session

---@class lmm.chat.Unanswered
---@field text string
---@field parts any[]?         what is asked in the place of an earlier question
---@field n integer?           of that one
---@field chat lmm.Conversation  in which it was asked

local session = {}

session.FIRST = "main"

---@class lmm.chat.SessionOptions
---@field uv table                 luv
---@field client lmm.Client
---@field chat lmm.Conversation
---@field screen lmm.chat.Screen
---@field change fun(change: { server: string?, model: string? }): lmm.chat.Asked?  what a server, of its URL or its
--- name, or a model of the configuration stands for; nil where that is none
---@field clear fun()              takes away what a terminal shows of waiting
---@field is_verbose boolean?

---@param opts lmm.chat.SessionOptions
---@return lmm.chat.Session
function session.new(opts)
  return setmetatable({
    uv = opts.uv, client = opts.client, change = opts.change, clear = opts.clear, screen = opts.screen,
    is_verbose = opts.is_verbose, pictures = nil, reader = nil, price = nil,
    chats = { [session.FIRST] = opts.chat }, name = session.FIRST, attached = attachments.new(),
    used = { answers = 0, prompt = 0, completion = 0, cost = nil },
    task = nil, view = nil, -- what is waited for, and shown
  }, Session)
end

--- The conversation that is asked in.
---@return lmm.Conversation
function Session:chat()
  return self.chats[self.name]
end

--- Puts another conversation in its place, or under another name, which is asked in from now on.
---@param chat lmm.Conversation
---@param name string?
function Session:use(chat, name)
  self.name = name or self.name
  self.chats[self.name] = chat
end

--- Asks by another client, in all conversations. Each forgets its model, which was the other server's.
---@param client lmm.Client
function Session:move(client)
  for name, chat in pairs(self.chats) do
    local moved = chat:fork(client)
    moved:set("model", nil)
    self.chats[name] = moved
  end
  self.client:close()
  self.client = client
end

--- What stands before the cursor: the conversation's name, and how much is attached.
function Session:prompt()
  local count = #self.attached.parts
  return (self.name ~= session.FIRST and self.name .. " " or "") .. (count > 0 and "+" .. count .. " " or "") .. "> "
end

--- Asks who sits there; nobody does not agree.
---@param question string
---@param is_likely boolean?  Enter alone says yes
---@return boolean? agrees  nil where Ctrl-C answers
function Session:confirm(question, is_likely)
  if not self.reader.is_interactive then return false end
  local line = self.reader:read(require("lmm.text").line(question) .. (is_likely and " [Y/n] " or " [y/N] "))
  if not line then return nil end
  if not line:find "%S" then return is_likely == true end
  return line:find "^%s*[yY]" ~= nil
end

-- ---- waiting ------------------------------------------------------------------------------------------------------

--- Runs what waits, so that a signal ends it; gives what it gives, and raises what it raises.
function Session:wait(fn)
  local input = self.reader and self.reader.input
  local function begin(task) self.task = task end
  local function look()
    if input and input:take_key() then self:stop() end
  end
  if input then input:watch_keys() end
  local ok, value, message, err = pcall(signals.run_task, self.uv, fn, begin, look)
  if input then input:leave_keys() end
  self.task = nil
  if not ok then error(value, 0) end
  return value, message, err
end

--- Ends what is waited for; whether there was something. The terminal may have shown ^C then, so that what follows
--- begins a line.
function Session:stop()
  if not self.task then return false end
  self.task:cancel()
  if self.screen.is_terminal then self.screen.say "\n" end
  if self.view then self.view:note_line() end
  return true
end

-- ---- asking -------------------------------------------------------------------------------------------------------

--- Shows an answer as it comes.
---@param open fun(): lmm.Stream
---@return lmm.Reply? reply, string? message, lmm.Error? err, string shown  the text that had come
local function show_answer(self, open)
  local view, stream, shown = self.screen:view(), nil, {}
  self.view = view
  function console.break_line() view:break_line() end
  local ok, reply, message, err = pcall(self.wait, self, function()
    stream = open()
    local pieces = stream:pieces()
    local piece, kind
    repeat
      piece, kind = pieces()
      self.clear()
      if kind then view:piece(kind, piece) end
      if kind == "text" then shown[#shown + 1] = piece end
      if kind == "tool_call" then shown = {} end -- the text before it stands in a message of its own
    until not kind
    return stream:reply()
  end)
  self.view = nil
  self.clear()
  view:break_line()
  if not ok then
    if not (stream and stream.err) then error(reply, 0) end
    reply, message, err = nil, stream.err.message, stream.err
  end
  return reply, message, err, table.concat(shown)
end

--- Keeps what had come of an answer that was stopped, so that the conversation can go on from it.
---@param question table[]  the messages that lead to it
local function keep(chat, question, text)
  local messages = chat.messages
  for _, message in ipairs(question) do messages[#messages + 1] = message end
  messages[#messages + 1] = { role = "assistant", content = text }
end

local function count(self, reply)
  local used, usage = self.used, reply.usage or {}
  used.answers = used.answers + 1
  used.prompt = used.prompt + (usage.prompt_tokens or 0)
  used.completion = used.completion + (usage.completion_tokens or 0)
  if reply.cost then used.cost = (used.cost or 0) + reply.cost end
end

--- What is said of an answer that is there.
local function tell(self, reply)
  local answer = require "lmm.cli.answer"
  for _, image in ipairs(reply.images or {}) do self.pictures:show(image) end
  answer.warn(reply, function(format, ...)
    self.screen:note("%s", advice.of(format:format(...):gsub("^lmm: (.*)$", "[%1]"), nil))
  end)
  if reply.images or reply.audio then
    self.screen:note("[the model made %s: /output FILE saves what came]", answer.media_words(reply))
  end
  if self.is_verbose then
    local usage = reply.usage or {}
    self.screen:note("[%s, %.1f s, %s + %s tokens]", reply.model or "unknown model", reply.timing.total,
      usage.prompt_tokens or "?", usage.completion_tokens or "?")
  end
end

--- Asks, and shows the answer.
---@param chat lmm.Conversation  in which it stands afterwards, in the place of the session's own
---@param parts any[]            the question; none where the history ends with it
---@return true? answered, string? message, lmm.Error? err
local function ask(self, chat, parts)
  local reply, message, err, text = show_answer(self, function() return (chat:stream(unpack(parts))) end)
  if reply then
    self:use(chat)
    self.last, self.unanswered = reply, nil
    count(self, reply)
    tell(self, reply)
    return true
  end
  if err.kind == "cancelled" and text ~= "" then
    keep(chat, err.messages or parts[1] and { { role = "user", content = session.content(parts) } } or {}, text)
    self:use(chat)
    self.last, self.unanswered = { text = text }, nil
    self.screen:note "[stopped: what came stays in the chat; /undo takes it back]"
    return true
  end
  return nil, message, err
end

--- The content of a message, of the parts of a question.
---@param parts (string|table)[]
function session.content(parts)
  local content = {}
  if #parts == 1 and type(parts[1]) == "string" then return parts[1] end
  for i, part in ipairs(parts) do content[i] = type(part) == "string" and { type = "text", text = part } or part end
  return content
end

--- How many /undo it takes until no question has a medium that cannot be sent; nil where that is not what is wrong.
local function undos(chat, message)
  local found, n = nil, 1
  local question = chat:question(-n)
  while question do
    for _, part in ipairs(question) do
      local path = type(part) == "table" and part.path
      if type(part) == "table" and part.err or path and message:find("'" .. path .. "'", 1, true) then found = n end
    end
    n = n + 1
    question = chat:question(-n)
  end
  return found
end

--- What servers refuse a request with, which they would refuse again. vLLM's 500 may be meant so.
local REFUSED = { [400] = true, [413] = true, [415] = true, [422] = true, [500] = true }

--- What helps where every further question would fail, too.
---@param has_attached boolean  the question had what is attached
---@return string?
local function way_out(self, message, err, has_attached)
  local n = err.kind == "invalid" and undos(self:chat(), message)
  if n == 1 then return "/undo takes back the question with it" end
  if n then return ("/undo, %d times, takes back the question with it"):format(n) end
  local attached = has_attached and (err.kind == "invalid" or REFUSED[err.status]) and #self.attached.parts or 0
  if attached == 0 then return nil end
  return attached == 1 and "it stays attached: /detach takes it away"
    or "they stay attached: /detach N takes one of them away, /detach all takes all"
end

local function report(self, message, err, has_attached)
  if err.kind == "cancelled" then return self.screen:note "[stopped: the chat is as it was; /retry asks again]" end
  self.has_failed = true
  self.screen:fail(advice.of(message, err))
  local help = way_out(self, message, err, has_attached)
  if help then self.screen:note("[%s]", help) end
end

--- Asks a question with what is attached. Where that fails the attachments stay, and `retry` asks it again.
---@param text string
function Session:ask(text)
  local parts = { text }
  for _, part in ipairs(self.attached.parts) do parts[#parts + 1] = part end
  self.unanswered = { text = text, chat = self:chat() }
  local ok, message, err = ask(self, self:chat(), parts)
  if not ok then return report(self, message, err, true) end
  self.attached:clear()
end

--- The words of a question, without its media.
---@param parts any[]
---@return string
function session.words(parts)
  local words = {}
  for _, part in ipairs(parts) do
    if type(part) == "string" then words[#words + 1] = part end
  end
  return table.concat(words, "\n\n")
end

--- Asks a question of before again, as it was or changed. The conversation stays as it is until the answer is there.
---@param n integer  which one; from the end where it is negative
---@param parts any[]
function Session:ask_again(n, parts)
  local chat = self:chat():fork()
  chat:edit(n, unpack(parts))
  self.unanswered = { text = session.words(parts), parts = parts, n = n, chat = self:chat() }
  local ok, message, err = ask(self, chat, {})
  if not ok then report(self, message, err, false) end
end

return session
