--- The choices of an answer: the decoded events of a stream, or the one object of an unstreamed answer, come in; what
--- they add up to goes out. A stream's text and reasoning of the first choice are kept by the core (see lmm.answer),
--- since most of a stream never passes through here.
local core = require "lmm.core"
local json = require "lmm.json"
local replies = require "lmm.reply"
local server_error = require "lmm.answer.server_error"

local Choices = {}
Choices.__index = Choices

local choices = {}

---@param reader userdata  core.answer, which has the bytes
---@param limits { calls: integer, choices: integer, depth: integer }
function choices.new(reader, limits)
  return setmetatable({
    reader = reader,
    limits = limits,
    list = { [0] = nil }, -- by index
    count = 0,
    events = 0,
    streamed = false,
    id = nil, model = nil, usage = nil, -- named here so that the table is made large enough at once
  }, Choices)
end

--- A stranger's value, if it is a table.
local function table_or_empty(value)
  return type(value) == "table" and value or {}
end

--- The text of a content: a string, or a list of parts.
local function text_of(content)
  if type(content) ~= "table" then return content end
  local pieces = {}
  for _, part in json.items(content) do
    if type(part.text) == "string" then pieces[#pieces + 1] = part.text end
  end
  return table.concat(pieces)
end

local kept_by_core = { text = true, reasoning = true }

--- Adds a piece of text to a choice; gives what of it is complete, for half a character waits for its other half.
function Choices:append(choice, name, text)
  if type(text) ~= "string" or text == "" then return nil end
  if self.streamed and choice.index == 0 and kept_by_core[name] then
    choice[name] = true
    return self.reader:append(name, text)
  end
  local pieces = choice[name] or {}
  choice[name] = pieces
  pieces[#pieces + 1] = text
  return text
end

--- An id or a name; some servers send an empty text where they have none.
local function name_of(value)
  return type(value) == "string" and value ~= "" and value or nil
end

local function differ(a, b)
  return a and b and a ~= b
end

--- The tool call that a delta belongs to: by index and by id, as far as both have them, the latest first. Some servers
--- send an index, an id or a name late, and some the index 0 for every call.
local function find_call(calls, index, id)
  local latest = calls[#calls]
  if not index and not id then return latest end
  for i = #calls, 1, -1 do
    local call = calls[i]
    local is_same = index and call.index == index or id and call.id == id
    if is_same and not differ(call.index, index) and not differ(call.id, id) then return call end
  end
  local has_no_name = latest and not latest.id and not latest.name
  return has_no_name and not differ(latest.index, index) and latest or nil
end

--- Adds a tool call's delta, its arguments as they stand in the event where they came decoded, as from some servers;
--- gives whether it holds anything new. In a whole message each call is another.
---@param number integer  which call of the message it is
---@param place integer  where its choice stands in the event, from 0
---@param name "message"|"delta"
function Choices:add_call(calls, delta, is_whole, number, place, name)
  local fn = table_or_empty(delta["function"])
  local index, id, fn_name = type(delta.index) == "number" and delta.index or nil, name_of(delta.id), name_of(fn.name)
  local call = not is_whole and find_call(calls, index, id)
  local is_new = not call or id and not call.id or fn_name and not call.name
  if not call then
    call = { arguments = {} }
    calls[#calls + 1] = call
  end
  call.index, call.id, call.name = call.index or index, call.id or id, call.name or fn_name
  local arguments = fn.arguments
  if type(arguments) == "table" then
    self.event_text = self.event_text or self.reader:data()
    self.call_texts = self.call_texts or core.slices(self.event_text, "choices", place + 1, name, "tool_calls")
    arguments = core.slice(self.call_texts[number] or "", "function", "arguments") or json.text(arguments)
  end
  return self:append(call, "arguments", arguments) or is_new
end

local function add_logprobs(choice, logprobs)
  if type(logprobs) ~= "table" then return end
  choice.logprobs = choice.logprobs or {}
  for name, value in pairs(logprobs) do
    if type(value) == "table" then
      local list = choice.logprobs[name] -- our own: an event, whoever has it, stays as it came
      if type(list) ~= "table" then list = {} end
      choice.logprobs[name] = list
      choice.lengths = choice.lengths or {}
      local length = choice.lengths[name] or 0
      for key, item in pairs(value) do -- nulls in it have left holes
        if type(key) == "number" then
          list[length + key] = item
          choice.lengths[name] = math.max(choice.lengths[name] or 0, length + key)
        else
          list[key] = item
        end
      end
    else
      choice.logprobs[name] = value
    end
  end
end

--- The choice of this index, made where it is new.
function Choices:choice(index)
  local choice = self.list[index]
  if not choice then
    choice = { index = index, text = nil, finish_reason = nil, has_deltas = false,
      whole_in = nil } -- the number of the event that brought it whole
    self.list[index] = choice
    self.count = self.count + 1
  end
  return choice
end

--- The core has given out a piece of the first choice.
---@param name "text"|"reasoning"
function Choices:add_piece(name)
  local choice = self:choice(0)
  choice[name], choice.has_deltas, self.streamed = true, true, true
end

local function too_many(self, name)
  return { kind = "limit", reason = ("more than %d %s in a reply (limits.%s)"):format(self.limits[name], name, name) }
end

--- What a choice says that the server could not bring to its end: the fields of an error, or nil.
local function failure_of(given)
  local failure = given.error and server_error.find { error = given.error }
  local ended = 'the server ended the answer with finish_reason "%s"'
  if not failure and given.finish_reason == "abort" then
    return { kind = "truncated", reason = ended:format "abort" }
  end
  if not failure and given.finish_reason == "error" then failure = { message = ended:format "error" } end
  if not failure then return nil end
  failure.kind, failure.status = "http", failure.status or 500
  return failure
end

--- Adds a message or a delta to a choice; gives the text in it and whether it held any content, or nil, nil and a
--- failure. A whole message behind deltas brings what they have not brought.
---@param place integer  where the choice stands in the event, from 0
---@param name "message"|"delta"
function Choices:add_message(choice, message, is_whole, place, name)
  local content = message.content
  if content ~= nil and type(content) ~= "string" and type(content) ~= "table" then
    return nil, nil, { kind = "protocol", reason = ("a message whose content is a %s"):format(type(content)) }
  end
  local is_late = is_whole and choice.has_deltas
  local text = not (is_late and choice.text) and self:append(choice, "text", text_of(content))
  local has_content = text
  if not (is_late and choice.reasoning) then
    has_content = self:append(choice, "reasoning", message.reasoning)
      or self:append(choice, "reasoning", message.reasoning_content) or has_content
  end
  if not (is_late and choice.refusal) then
    has_content = self:append(choice, "refusal", message.refusal) or has_content
  end
  if message.tool_calls and not (is_late and choice.calls) then
    local count = 0
    self.call_texts = nil -- the JSON of each of these calls, once it is needed
    for i, call in json.items(message.tool_calls) do
      count = count + 1
      if count > self.limits.calls then return nil, nil, too_many(self, "calls") end
      choice.calls = choice.calls or {}
      has_content = self:add_call(choice.calls, call, is_whole, i, place, name) or has_content
      if #choice.calls > self.limits.calls then return nil, nil, too_many(self, "calls") end
    end
  end
  return text or nil, has_content and true
end

--- Adds one choice of an event; gives its text, whether it held any content and its index, or nil, nil, nil and a
--- failure.
---@param place integer  where it stands in the event, from 0
---@param streamed boolean
function Choices:add_choice(given, place, streamed)
  local has_message = type(given.message) == "table" and not (streamed and given.delta ~= nil)
  local is_whole = has_message or not streamed
  local index = given.index
  local has_index = type(index) == "number" and index == index
  local choice = self:choice(has_index and index or is_whole and place or 0)
  if self.count > self.limits.choices then return nil, nil, nil, too_many(self, "choices") end
  if is_whole and choice.whole_in == self.events then
    return nil, nil, nil, { kind = "protocol", reason = ("a reply with two choices %g"):format(choice.index) }
  end
  local name = has_message and "message" or "delta"
  local text, has_content, failure = self:add_message(choice, table_or_empty(given[name]), is_whole, place, name)
  if failure then return nil, nil, nil, failure end
  if not (is_whole and choice.has_deltas and choice.logprobs) then add_logprobs(choice, given.logprobs) end
  choice.has_deltas, choice.whole_in = choice.has_deltas or not is_whole, is_whole and self.events or nil
  local reason = given.finish_reason
  local is_reason = type(reason) == "string" and reason ~= "" and reason ~= "null" -- as some write that there is none
  choice.finish_reason = is_reason and reason or choice.finish_reason
  return text, has_content, choice.index, failure_of(given)
end

--- Adds a decoded event. Gives the first choice's text in it (or nil) and whether it held content of any kind, or nil,
--- nil and a failure.
---@param event table       without nulls
---@param streamed boolean  it is one of a stream
---@return string? text, boolean? has_content, table? failure
function Choices:add(event, streamed)
  self.events, self.streamed, self.event_text = self.events + 1, streamed, nil
  self.id = self.id or name_of(event.id)
  self.model = self.model or name_of(event.model)
  self.usage = type(event.usage) == "table" and event.usage or self.usage
  local text, has_content, pieces
  local count = 0
  for i, given in json.items(event.choices) do
    count = count + 1
    if count > self.limits.choices then return nil, nil, too_many(self, "choices") end
    local piece, added, index, failure = self:add_choice(given, i - 1, streamed)
    if failure then return nil, nil, failure end
    if index == 0 and piece and text then
      pieces = pieces or { text }
      pieces[#pieces + 1] = piece
    elseif index == 0 and piece then
      text = piece
    end
    has_content = has_content or added
  end
  return pieces and table.concat(pieces) or text, has_content
end

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
  if pieces == true then return self.reader[name](self.reader) end
  return #pieces == 1 and not self.streamed and pieces[1] or core.join(pieces)
end

--- The first choice's text so far.
function Choices:text()
  return self.list[0] and self:joined(self.list[0], "text") or ""
end

function Choices:finish_choice(choice)
  local calls = choice.calls and {}
  for i, call in ipairs(choice.calls or {}) do
    local arguments = core.join(call.arguments)
    local args = core.decode(arguments, { depth = self.limits.depth, clean = true, lenient = true })
    calls[i] = { id = call.id, name = call.name, arguments = arguments, args = args }
  end
  return {
    index = choice.index,
    text = self:joined(choice, "text") or "",
    reasoning = self:joined(choice, "reasoning"),
    refusal = self:joined(choice, "refusal"),
    tool_calls = calls,
    finish_reason = choice.finish_reason,
    logprobs = choice.logprobs,
  }
end

local function by_index(a, b)
  return a.index < b.index
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
  if #all > 1 then table.sort(all, by_index) end
  return replies.new({
    text = first.text, reasoning = first.reasoning, refusal = first.refusal, tool_calls = first.tool_calls,
    finish_reason = first.finish_reason, logprobs = first.logprobs,
    choices = all, id = self.id, model = self.model, usage = self.usage,
    attempts = nil, timing = nil, value = nil, -- the stream's to set
  }, self.reader)
end

return choices
