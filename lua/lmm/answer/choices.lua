--- The choices of an answer: the decoded events of a stream, or the one object of an unstreamed answer, come in; what
--- they add up to goes out. A stream's text and reasoning of the first choice are kept by the core (see lmm.answer),
--- since most of a stream never passes through here.
local core = require "lmm.core"
local json = require "lmm.json"
local message = require "lmm.answer.message"
local replies = require "lmm.reply"
local server_error = require "lmm.answer.server_error"

local Choices = {}
Choices.__index = Choices

local choices = {}

---@param reader userdata  core.answer, which has the bytes
---@param limits { calls: integer, choices: integer, depth: integer }
---@param asked_for integer  how many choices; where it is one, all that comes is that one, whatever index it names
function choices.new(reader, limits, asked_for)
  return setmetatable({
    reader = reader,
    limits = limits,
    asked_for = asked_for,
    list = { [0] = nil }, -- by index
    count = 0,
    events = 0,
    streamed = false,
    has_content = false, -- anything was said so far
    -- named here so that the table is made large enough at once
    id = nil, model = nil, usage = nil, citations = nil, pieces = nil, first = nil,
    -- of the event under way: the choice's place in it, and JSON as it came
    place = nil, event_text = nil, call_texts = nil,
  }, Choices)
end

--- A module that only some answers need.
local function the(name)
  return require("lmm.answer." .. name)
end

-- ---- pieces

--- From now on what is said of the first choice is kept in `pieces`, in order: { kind, value }.
function Choices:collect()
  self.pieces = self.pieces or {}
end

function Choices:note(choice, kind, value)
  if self.pieces and choice.index == 0 and value ~= nil and value ~= "" then
    self.pieces[#self.pieces + 1] = { kind, value }
  end
end

local kept_by_core = { text = true, reasoning = true }

--- Adds a piece of text to a choice or to a call; gives what of it is complete, for half a character waits for its
--- other half.
function Choices:append(choice, name, text)
  if type(text) ~= "string" or text == "" then return nil end
  if self.streamed and choice.index == 0 and kept_by_core[name] then
    choice[name] = true
    return self.reader:append(name, text)
  end
  local pieces = choice[name]
  if pieces then pieces[#pieces + 1] = text else choice[name] = { text } end
  return text
end

--- The same for a text of the answer.
function Choices:say(choice, name, text)
  local piece = self:append(choice, name, text)
  self:note(choice, name, piece)
  return piece
end

--- The core has given out a piece of the first choice.
---@param name "text"|"reasoning"
function Choices:add_piece(name)
  local choice = self:choice(0)
  choice[name], choice.has_deltas, self.streamed, self.has_content = true, true, true, true
end

-- ---- what one choice of an event says

--- The JSON of what stands at a path within the choice under way.
function Choices:spelled(...)
  self.event_text = self.event_text or self.reader:data()
  return core.slice(self.event_text, "choices", self.place, ...)
end

--- The choice of this index, made where it is new.
function Choices:choice(index)
  local choice = self.list[index]
  if not choice then
    choice = { index = index, streamed = self.streamed, text = nil, finish_reason = nil, has_deltas = false,
      whole_in = nil } -- the number of the event that brought it whole
    self.list[index] = choice
    self.count = self.count + 1
  end
  return choice
end

--- The failure of a reply with more of something than it may have.
---@param name "calls"|"choices"
function Choices:too_many(name)
  return { kind = "limit", reason = ("more than %d %s in a reply (limits.%s)"):format(self.limits[name], name, name) }
end

--- What a choice says that the server could not bring to its end: the fields of an error, or nil.
local function failure_of(given)
  local failure = given.error and server_error.beside_answer(given.error)
  local ended = 'the server ended the answer with finish_reason "%s"'
  if not failure and given.finish_reason == "abort" then
    return { kind = "truncated", reason = ended:format "abort" }
  end
  if not failure and given.finish_reason == "error" then failure = { message = ended:format "error" } end
  if not failure then return nil end
  failure.kind, failure.status = "http", failure.status or 500
  return failure
end

--- The choice that is meant, by its index; in a reply of one, by nothing.
function Choices:find(given, is_whole)
  if self.asked_for == 1 then return self:choice(0) end
  local index = given.index
  local has_index = type(index) == "number" and index == index
  local choice = self:choice(has_index and index or is_whole and self.place - 1 or 0)
  local is_taken = is_whole and choice.whole_in == self.events
  return is_taken and self:choice(self.place - 1) or choice
end

--- What a choice holds in the place of a message: a text of its own, as for /completions.
local function message_of(given, streamed)
  local has_message = type(given.message) == "table" and not (streamed and given.delta ~= nil)
  local name = has_message and "message" or "delta"
  return name, type(given[name]) == "table" and given[name] or nil, has_message or not streamed
end

--- Adds one choice of an event; gives its text, whether it held any content and its index, or nil, nil, nil and a
--- failure.
---@param place integer  where it stands in the event, from 1
---@param streamed boolean
function Choices:add_choice(given, place, streamed)
  self.place = place
  local name, said, is_whole = message_of(given, streamed)
  local choice = self:find(given, is_whole)
  if self.count > self.limits.choices then return nil, nil, nil, self:too_many "choices" end
  local text, has_content, failure
  if said then text, has_content, failure = message.add(self, choice, said, is_whole, name) end
  if failure then return nil, nil, nil, failure end
  if given.text ~= nil and not text and not (is_whole and choice.has_deltas and choice.text) then
    local added
    text, added = message.add_text(self, choice, "text", given.text, "text")
    has_content = has_content or added
  end
  if type(given.logprobs) == "table" and not (is_whole and choice.has_deltas and choice.logprobs) then
    the("fields").add_logprobs(choice, given.logprobs)
  end
  if type(given.usage) == "table" then self.usage = given.usage end
  choice.has_deltas, choice.whole_in = choice.has_deltas or not is_whole, is_whole and self.events or nil
  local reason = given.finish_reason
  local is_reason = type(reason) == "string" and reason ~= "" and reason ~= "null" -- as some write that there is none
  if is_reason and not (choice.calls and choice.finish_reason == "tool_calls") then choice.finish_reason = reason end
  return text, has_content, choice.index, failure_of(given)
end

--- What an event says of the whole reply.
function Choices:add_fields(event)
  self.id = self.id or json.name_of(event.id)
  self.model = self.model or json.name_of(event.model)
  local groq = event.x_groq
  self.usage = type(event.usage) == "table" and event.usage
    or type(groq) == "table" and type(groq.usage) == "table" and groq.usage or self.usage
  local citations = event.citations or event.search_results
  if type(citations) == "table" and next(citations) ~= nil then self.citations = citations end
end

--- Adds a decoded event. Gives the first choice's text in it (or nil) and whether it held content of any kind, or nil,
--- nil and a failure.
---@param event table       without nulls
---@param streamed boolean  it is one of a stream
---@return string? text, boolean? has_content, table? failure
function Choices:add(event, streamed)
  self.events, self.streamed, self.event_text = self.events + 1, streamed, nil
  self:add_fields(event)
  local text, has_content, pieces
  local count = 0
  for i, given in json.items(event.choices) do
    count = count + 1
    if count > self.limits.choices then return nil, nil, self:too_many "choices" end
    local piece, added, index, failure = self:add_choice(given, i, streamed)
    if failure then return nil, nil, failure end
    if index == 0 and piece and text then
      pieces = pieces or { text }
      pieces[#pieces + 1] = piece
    elseif index == 0 and piece then
      text = piece
    end
    has_content = has_content or added
  end
  self.has_content = self.has_content or has_content or false
  return pieces and table.concat(pieces) or text, has_content
end

-- ---- the reply

--- Whether every choice seen so far has said why it ended.
function Choices:is_finished()
  for _, choice in pairs(self.list) do
    if not choice.finish_reason then return false end
  end
  return self.count > 0
end

function Choices:joined(choice, name)
  local pieces = choice[name]
  if not pieces then return nil end
  if pieces == true then return (self.reader[name](self.reader)) end
  return #pieces == 1 and not self.streamed and pieces[1] or core.join(pieces)
end

--- The first choice's text so far.
function Choices:text()
  return self.list[0] and self:joined(self.list[0], "text") or ""
end

function Choices:finish_choice(choice)
  if choice.reasoning == true and not choice.reasoning_name then
    choice.reasoning_name = select(2, self.reader:reasoning())
  end
  return {
    index = choice.index,
    text = self:joined(choice, "text") or "",
    reasoning = self:joined(choice, "reasoning"),
    refusal = self:joined(choice, "refusal"),
    tool_calls = choice.calls and the("tool_calls").finish(choice.calls, self.limits),
    finish_reason = choice.finish_reason,
    logprobs = choice.logprobs,
    images = choice.images and the("fields").images(choice),
    audio = choice.audio and the("fields").audio(choice),
  }
end

local function by_index(a, b)
  return a.index < b.index
end

--- Whether nothing was answered.
local function is_empty(finished)
  return finished.text == "" and not (finished.tool_calls or finished.refusal or finished.images or finished.audio)
end

--- The reply that the events add up to, or nil and what is missing in it.
---@return lmm.Reply? reply, string? reason
function Choices:finish()
  if self.count == 0 then return nil, "a reply without choices" end
  if not self.list[0] then return nil, "a reply without its choice 0" end
  local all, first = {}, nil
  for _, choice in pairs(self.list) do
    local finished = self:finish_choice(choice)
    all[#all + 1] = finished
    if finished.index == 0 then first = finished end
  end
  if first.finish_reason == "tool_calls" and is_empty(first) then
    return nil, 'a reply with finish_reason "tool_calls", and no call that can be read'
  end
  if #all > 1 then table.sort(all, by_index) end
  self.event_text, self.call_texts, self.first = nil, nil, first
  return replies.new({
    text = first.text, reasoning = first.reasoning, refusal = first.refusal, tool_calls = first.tool_calls,
    finish_reason = first.finish_reason, logprobs = first.logprobs, images = first.images, audio = first.audio,
    choices = all, id = self.id, model = self.model, usage = self.usage,
    citations = self.citations or self.list[0].annotations,
    attempts = nil, timing = nil, value = nil, request_id = nil, cost = nil, -- the stream's to set
  }, self)
end

--- What came, exactly; for the reply.
function Choices:raw()
  return self.reader:raw()
end

--- The JSON of a whole reply, as it came; for the reply.
function Choices:json()
  return self.reader:kind() ~= "events" and self.reader:data() or nil
end

--- The first choice's message as it goes into a history; for the reply.
function Choices:message()
  return the("history").message(self.list[0], self.first)
end

return choices
