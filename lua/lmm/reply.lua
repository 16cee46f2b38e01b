--- A reply: the chunks of a stream, or the one object of an unstreamed answer, come in; what they add up to goes out.
local json = require "lmm.json"

---@class lmm.ToolCall
---@field id string
---@field name string
---@field arguments string  as text
---@field args any          decoded; nil where the text is no JSON

---@class lmm.Reply
---@field text string
---@field reasoning string?
---@field refusal string?
---@field tool_calls lmm.ToolCall[]?
---@field finish_reason string?
---@field logprobs table?
---@field choices table[]    all of them; the fields above are those of the first
---@field usage table?
---@field model string?
---@field id string?
---@field value any          structured output, decoded
---@field timing { first_token: number?, total: number }  seconds
---@field attempts integer
---@field raw table          what the server sent: its object, or the list of a stream's events; nulls are `lmm.null`
local Reply = {}
Reply.__name = "lmm.Reply"
Reply.__tostring = function(self) return self.text end
Reply.__concat = function(a, b) return tostring(a) .. tostring(b) end

local Accumulator = {}
Accumulator.__index = Accumulator

local reply = {}

---@param limits { calls: integer, choices: integer, depth: integer }
function reply.accumulator(limits)
  return setmetatable({ limits = limits, choices = {}, count = 0, raw = {} }, Accumulator)
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

--- The tool call that a delta belongs to: by index, then by id, then the latest.
local function find_call(calls, delta)
  if type(delta.index) == "number" then
    for _, call in ipairs(calls) do
      if call.index == delta.index then return call end
    end
  elseif delta.id then
    for _, call in ipairs(calls) do
      if call.id == delta.id then return call end
    end
  elseif #calls > 0 then
    return calls[#calls]
  end
end

--- In a whole message each call is another.
local function find_or_make_call(calls, delta, is_whole)
  local call = not is_whole and find_call(calls, delta)
  if not call then
    call = { index = delta.index, arguments = {} }
    calls[#calls + 1] = call
  end
  return call
end

--- Some servers send the arguments decoded. They are written again from what was sent, nulls and all.
local function arguments_of(fn, raw_delta)
  if type(fn.arguments) ~= "table" then return fn.arguments end
  local raw = table_or_empty(table_or_empty(raw_delta)["function"]).arguments
  return (json.text(raw))
end

local function add_call(choice, delta, raw_delta, is_whole)
  choice.calls = choice.calls or {}
  local call = find_or_make_call(choice.calls, delta, is_whole)
  local fn = table_or_empty(delta["function"])
  call.id = call.id or delta.id
  call.name = call.name or fn.name
  append(call, "arguments", arguments_of(fn, raw_delta))
  return #choice.calls
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

--- Adds one choice of an event; gives its text and whether it held any content, or nil and the limit that it broke.
---@param raw table  the same with its nulls
---@param place integer  where it stands in the event, from 0
function Accumulator:add_choice(given, raw, place)
  local is_whole = given.delta == nil and given.message ~= nil
  local choice = self:choice(type(given.index) == "number" and given.index or is_whole and place or 0)
  if self.count > self.limits.choices then return nil, "choices" end
  local delta = table_or_empty(given.delta or given.message)
  local raw_calls = table_or_empty(table_or_empty(raw.delta or raw.message).tool_calls)
  local text = append(choice, "text", text_of(delta.content))
  local reasoning = append(choice, "reasoning", delta.reasoning) or append(choice, "reasoning", delta.reasoning_content)
  local refusal = append(choice, "refusal", delta.refusal)
  local called
  for i = 1, #table_or_empty(raw_calls) do
    local call = delta.tool_calls[i]
    called = type(call) == "table" or called
    if type(call) == "table" and add_call(choice, call, raw_calls[i], is_whole) > self.limits.calls then
      return nil, "calls"
    end
  end
  add_logprobs(choice, given.logprobs)
  local reason = given.finish_reason
  choice.finish_reason = type(reason) == "string" and reason ~= "" and reason or choice.finish_reason
  return { text = text, content = (text or reasoning or refusal or called) and true, index = choice.index }
end

--- Adds a decoded event. Gives the first choice's text in it (or nil) and whether it held content of any kind, or nil,
--- nil and the name of the limit that it broke.
---@param raw table  as decoded
---@param event table  the same without nulls
function Accumulator:add(raw, event)
  self.raw[#self.raw + 1] = raw
  self.id = self.id or event.id
  self.model = self.model or event.model
  self.usage = type(event.usage) == "table" and event.usage or self.usage
  local text, content
  for i, given in ipairs(table_or_empty(event.choices)) do
    if type(given) == "table" then
      local added, limit = self:add_choice(given, raw.choices[i], i - 1)
      if not added then return nil, nil, limit end
      if added.index == 0 and added.text then text = (text or "") .. added.text end
      content = content or added.content
    end
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

--- The reply that the events add up to.
---@param streamed boolean  `raw` is the list of events rather than the one object
---@return lmm.Reply
function Accumulator:finish(streamed)
  local depth = self.limits.depth
  local result = finish_choice(self:choice(0), depth)
  result.index = nil
  result.choices = {}
  for _, choice in pairs(self.choices) do result.choices[#result.choices + 1] = finish_choice(choice, depth) end
  table.sort(result.choices, function(a, b) return a.index < b.index end)
  result.id, result.model, result.usage = self.id, self.model, self.usage
  result.raw = streamed and self.raw or self.raw[1]
  return setmetatable(result, Reply)
end

return reply
