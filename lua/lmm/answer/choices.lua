--- The choices of an answer: the events of a stream, or the one object of an unstreamed answer, come in; what they add
--- up to goes out.
local json = require "lmm.json"
local replies = require "lmm.reply"
local server_error = require "lmm.answer.server_error"

local Accumulator = {}
Accumulator.__index = Accumulator

local choices = {}

---@param limits { calls: integer, choices: integer, depth: integer }
---@param streamed boolean  events come, not one object
function choices.accumulator(limits, streamed)
  return setmetatable({ limits = limits, streamed = streamed, choices = {}, count = 0, raw = {} }, Accumulator)
end

--- The text of a content: a string, or a list of parts.
local function text_of(content)
  if type(content) ~= "table" then return content end
  local pieces = {}
  for _, part in ipairs(content) do
    if type(part) == "table" and type(part.text) == "string" then pieces[#pieces + 1] = part.text end
  end
  return table.concat(pieces)
end

--- A stranger's value, if it is a table.
local function table_or_empty(value)
  return type(value) == "table" and value or {}
end

local function append(choice, name, text)
  if type(text) ~= "string" or text == "" then return nil end
  local pieces = choice[name] or {}
  choice[name] = pieces
  pieces[#pieces + 1] = text
  return text
end

--- An empty text, which some servers send for an id or a name, is none.
local function present(value)
  return value ~= "" and value or nil
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

--- The arguments as text. Some servers send them decoded: they are written again as they came.
local function arguments_of(fn, spell)
  if type(fn.arguments) == "table" then return spell() end
  return fn.arguments
end

--- Adds a tool call's delta; gives whether it told anything new. In a whole message each call is another.
---@param spell fun(): string?  writes the arguments that are no text
local function add_call(calls, delta, is_whole, spell)
  local fn = table_or_empty(delta["function"])
  local index, id, name = type(delta.index) == "number" and delta.index or nil, present(delta.id), present(fn.name)
  local call = not is_whole and find_call(calls, index, id)
  local is_new = not call or id and not call.id or name and not call.name
  if not call then
    call = { arguments = {} }
    calls[#calls + 1] = call
  end
  call.index, call.id, call.name = call.index or index, call.id or id, call.name or name
  local added = append(call, "arguments", arguments_of(fn, spell))
  return is_new or added
end

local function add_logprobs(choice, logprobs)
  if type(logprobs) ~= "table" then return end
  choice.logprobs = choice.logprobs or {}
  for name, value in pairs(logprobs) do
    if type(value) == "table" then
      local list = choice.logprobs[name] -- our own: an event, whoever has it, stays as it came
      if type(list) ~= "table" then list = {} end
      for _, item in ipairs(value) do list[#list + 1] = item end
      choice.logprobs[name] = list
    else
      choice.logprobs[name] = value
    end
  end
end

function Accumulator:choice(index)
  local choice = self.choices[index]
  if not choice then
    choice = { index = index }
    self.choices[index] = choice
    self.count = self.count + 1
  end
  return choice
end

local function too_many(self, name)
  return { kind = "limit", reason = ("more than %d %s in a reply (limits.%s)"):format(self.limits[name], name, name) }
end

--- What a choice says that the server could not bring to its end: the fields of an error, or nil.
local function failure_of(given)
  local fields = given.error and server_error.find { error = given.error }
  local ended = 'the server ended the answer with finish_reason "%s"'
  if not fields and given.finish_reason == "abort" then return { kind = "truncated", reason = ended:format "abort" } end
  if not fields and given.finish_reason == "error" then fields = { message = ended:format "error" } end
  if not fields then return nil end
  fields.kind, fields.status = "http", fields.status or 500
  return fields
end

--- Adds a message or a delta to a choice; gives the text in it and whether it held any content, or nil, nil and the
--- fields of an error. A whole message behind deltas brings what they have not brought.
---@param spell fun(...): string?  writes again what stands at a place in the message, as it came
function Accumulator:add_message(choice, message, is_whole, spell)
  local content = message.content
  if content ~= nil and type(content) ~= "string" and type(content) ~= "table" then
    return nil, nil, { kind = "protocol", reason = ("a message whose content is a %s"):format(type(content)) }
  end
  local is_late = is_whole and choice.has_deltas
  local function add(name, ...)
    local added
    for i = 1, is_late and choice[name] and 0 or select("#", ...) do
      added = added or append(choice, name, (select(i, ...)))
    end
    return added
  end
  local text = add("text", text_of(content))
  local reasoning = add("reasoning", message.reasoning, message.reasoning_content)
  local refusal = add("refusal", message.refusal)
  local called
  for i, call in json.items(not (is_late and choice.calls) and message.tool_calls) do
    choice.calls = choice.calls or {}
    local function spell_arguments() return spell("tool_calls", i, "function", "arguments") end
    called = add_call(choice.calls, call, is_whole, spell_arguments) or called
    if #choice.calls > self.limits.calls then return nil, nil, too_many(self, "calls") end
  end
  return text, text or reasoning or refusal or called
end

--- Adds one choice of an event; gives its text and whether it held any content, or nil and the fields of an error.
---@param place integer  where it stands in the event, from 0
---@param spell fun(...): string?  writes again what stands at a place in the event, as it came
function Accumulator:add_choice(given, place, spell)
  local has_message = type(given.message) == "table" and not (self.streamed and given.delta ~= nil)
  local is_whole = has_message or not self.streamed
  local choice = self:choice(type(given.index) == "number" and given.index or is_whole and place or 0)
  if self.count > self.limits.choices then return nil, too_many(self, "choices") end
  if is_whole and choice.whole_in == #self.raw then
    return nil, { kind = "protocol", reason = ("a reply with two choices %g"):format(choice.index) }
  end
  local way = has_message and "message" or "delta"
  local text, content, failure = self:add_message(choice, table_or_empty(given[way]), is_whole, function(...)
    return spell("choices", place + 1, way, ...)
  end)
  if failure then return nil, failure end
  if not (is_whole and choice.has_deltas and choice.logprobs) then add_logprobs(choice, given.logprobs) end
  choice.has_deltas, choice.whole_in = choice.has_deltas or not is_whole, is_whole and #self.raw or nil
  local reason = given.finish_reason
  choice.finish_reason = type(reason) == "string" and reason ~= "" and reason or choice.finish_reason
  failure = failure_of(given)
  if failure then return nil, failure end
  return { text = text, content = content and true, index = choice.index }
end

--- What writes again a part of an event as it came.
local function speller(text, depth)
  local value, write
  return function(...)
    if not write then value, write = json.spelled(text, depth) end
    local part = value
    for _, key in ipairs { ... } do part = table_or_empty(part)[key] end
    return write(part)
  end
end

--- Adds a decoded event. Gives the first choice's text in it (or nil) and whether it held content of any kind, or nil,
--- nil and the fields of an error.
---@param raw table  as decoded
---@param event table  the same without nulls
---@param source string  what it was decoded from
function Accumulator:add(raw, event, source)
  self.raw[#self.raw + 1] = raw
  self.id = self.id or event.id
  self.model = self.model or event.model
  self.usage = type(event.usage) == "table" and event.usage or self.usage
  local spell = speller(source, self.limits.depth)
  local text, content
  for i, given in json.items(event.choices) do
    local added, failure = self:add_choice(given, i - 1, spell)
    if not added then return nil, nil, failure end
    if added.index == 0 and added.text then text = (text or "") .. added.text end
    content = content or added.content
  end
  return text, content
end

--- Whether every choice seen so far has said why it ended.
function Accumulator:is_finished()
  for _, choice in pairs(self.choices) do
    if not choice.finish_reason then return false end
  end
  return self.count > 0
end

local function joined(pieces)
  return pieces and table.concat(pieces)
end

--- The first choice's text so far.
function Accumulator:text()
  return self.choices[0] and joined(self.choices[0].text) or ""
end

local function finish_choice(choice, depth)
  local calls = choice.calls and {}
  for i, call in ipairs(choice.calls or {}) do
    local arguments = table.concat(call.arguments)
    local args = json.clean((json.decode(arguments, depth)))
    calls[i] = { id = call.id, name = call.name, arguments = arguments, args = args }
  end
  return {
    index = choice.index,
    text = joined(choice.text) or "",
    reasoning = joined(choice.reasoning),
    refusal = joined(choice.refusal),
    tool_calls = calls,
    finish_reason = choice.finish_reason,
    logprobs = choice.logprobs,
  }
end

--- The reply that the events add up to, or nil and what is missing in it.
---@return lmm.Reply? reply, string? reason
function Accumulator:finish()
  if self.count == 0 then return nil, "a reply without choices" end
  if not self.choices[0] then return nil, "a reply without its choice 0" end
  local depth = self.limits.depth
  local result = finish_choice(self.choices[0], depth)
  result.index = nil
  result.choices = {}
  for _, choice in pairs(self.choices) do result.choices[#result.choices + 1] = finish_choice(choice, depth) end
  table.sort(result.choices, function(a, b) return a.index < b.index end)
  result.id, result.model, result.usage = self.id, self.model, self.usage
  result.raw = self.streamed and self.raw or self.raw[1]
  return replies.new(result)
end

return choices
