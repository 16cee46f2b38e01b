--- An answer: the bytes of one reply come in, however they are split; its events, the text in them, and at last the
--- whole reply go out. Here is no socket, no clock and no error object: what fails is a table { kind, reason, ... }.
local choices = require "lmm.answer.choices"
local core = require "lmm.core"
local json = require "lmm.json"
local server_error = require "lmm.answer.server_error"

--- Bytes that each list and object of a reply counts beyond its text: tables are what it takes in memory.
local PER_TABLE = 32

---@class lmm.Answer
---@field streamed boolean  events come, not one object
local Answer = {}
Answer.__index = Answer

local answer = {
  refusal = server_error.from_reply,
  find_error = server_error.find,
}

--- The value of a reply's text without nulls, or nil and what is wrong with it.
---@param text string
---@param limits { depth: integer }
---@param content_type string?  for the message
---@return any value, table? failure, any exact, string? fault  exact: the value with its nulls; fault: the decoder's words
function answer.decode(text, limits, content_type)
  local exact, message = json.decode(text, limits.depth)
  if not message then return json.clean(exact), nil, exact end
  if message:find "too many nested" or message:find "nested more than" then
    return nil, { kind = "limit", phase = "receive",
      reason = ("the reply is nested more than %d deep (limits.depth)"):format(limits.depth) }
  end
  return nil, server_error.not_json(text, message, content_type), nil, message
end

--- The same, where the text has to be a JSON object or list.
---@return table? value, table? failure
function answer.decode_table(text, limits)
  local value, failure = answer.decode(text, limits)
  if not failure and type(value) ~= "table" then failure = server_error.not_json(text) end
  return not failure and value or nil, failure
end

--- Makes an answer of the reply that begins with this head.
---@param head { status: integer, headers: table<string, string> }
---@param opts { limits: table, choices: integer }  choices: how many were asked for
---@return lmm.Answer
function answer.new(head, opts)
  local headers = head.headers
  local content_type = headers["content-type"] or ""
  local streamed = content_type:lower():find("text/event-stream", 1, true) ~= nil
  return setmetatable({
    opts = opts,
    limits = opts.limits,
    status = head.status,
    content_type = content_type,
    streamed = streamed,
    has_no_length = not streamed and not headers["content-length"] and not headers["transfer-encoding"],
    decoder = streamed and core.sse(opts.limits.event) or nil,
    pieces = not streamed and {} or nil,
    choices = choices.accumulator(opts.limits, streamed),
    size = 0,
  }, Answer)
end

--- Takes bytes in.
---@return table? failure
function Answer:feed(bytes)
  local failure = self:count(#bytes)
  if failure then return failure end
  if self.streamed then self.decoder:feed(bytes) else self.pieces[#self.pieces + 1] = bytes end
end

--- Counts what the reply takes in memory.
---@return table? failure
function Answer:count(bytes)
  self.size = self.size + bytes
  if self.size <= self.limits.reply then return nil end
  return { kind = "limit", phase = "receive",
    reason = ("the reply is longer than %d bytes (limits.reply)"):format(self.limits.reply) }
end

--- The next event, as soon as it is complete.
---@return { event: table, text: string?, has_content: boolean }|false|nil entry  false: it needs more bytes; nil: the
--- answer has ended
---@return table? failure
function Answer:next()
  if self.done then return nil end
  if not self.streamed then return false end
  while true do
    local data, name = self.decoder:next()
    if data and data:find "^%[DONE%]%s*$" then
      self.done = true
      return nil
    end
    local is_error = data and name and name:lower() == "error"
    if data and (is_error or data:find "%S") then
      local exact, event = self:decode(data, is_error)
      if not exact then return nil, event end
      return self:add(exact, event, data)
    end
    if not data and name == "limit" then
      return nil, { kind = "limit", phase = "receive",
        reason = ("an event is longer than %d bytes (limits.event)"):format(self.limits.event) }
    end
    if not data then return false end
  end
end

--- Whether JSON that cannot be decoded is the beginning of an object: the codec says so by where it stopped, at the end
--- or at a part of a literal, of a number or of an escape.
local function is_cut(text, message)
  if not text:find "^%s*{" or message:find("Expected the end", 1, true) then return false end
  local rest = text:sub(tonumber(message:match "at character (%d+)$") or 1)
  return rest == "" or rest == "-" or rest:find "^[eE][+-]?$" ~= nil
    or (" true false null"):find(" " .. rest, 1, true) ~= nil
    or rest:find "^\\u?%x?%x?%x?%x?\\?u?%x?%x?%x?$" ~= nil
end

--- A decoded object of the reply, and the same without nulls; nil and a failure where it is an error.
---@param is_error boolean?  it comes as an error, whatever it holds
function Answer:decode(text, is_error)
  local _, tables = text:gsub("[%[{]", "%0") -- or brackets in a string
  local too_large = self:count(PER_TABLE * tables)
  if too_large then return nil, too_large end
  local value, failure, exact, fault = answer.decode(text, self.limits, self.content_type)
  if failure and failure.kind == "limit" then return nil, failure end
  local is_object = type(value) == "table"
  if not is_object and not is_error then
    if self.has_no_length and fault and is_cut(text, fault) then
      return nil, { kind = "truncated", phase = "receive", reason = "it ended within its JSON" }
    end
    return nil, failure or server_error.not_json(text, nil, self.content_type)
  end
  if not is_object then value = { error = text:find "%S" and text or "no reason given" } end
  local found = server_error.find(value, is_error)
  if not found then return exact, value end
  found.kind, found.phase, found.status = "http", "receive", found.status or self.status
  return nil, found
end

--- Adds what an event, or the whole reply, holds.
---@param text string  what it was decoded from
function Answer:add(exact, event, text)
  local piece, has_content, failure = self.choices:add(exact, event, text)
  if not failure then return { event = event, text = piece, has_content = has_content } end
  failure.phase = "receive"
  if failure.kind == "http" then failure.status = failure.status or self.status end
  return nil, failure
end

local function protocol(reason)
  return nil, { kind = "protocol", phase = "receive", reason = reason }
end

--- Whether every choice that was asked for has said why it ended; some servers send one after the other.
function Answer:is_finished()
  return self.choices.count >= self.opts.choices and self.choices:is_finished()
end

--- The input has ended; gives the one entry of an unstreamed answer.
---@param failure table?  how, where that was not in order; an error object is one, too
---@return table? entry, table? failure
function Answer:finish(failure)
  if self.done then return nil end
  self.done = true
  if self.streamed then
    if failure and (failure.kind == "cancelled" or not self:is_finished()) then return nil, failure end
    if failure or self:is_finished() then return nil end
    return nil, { kind = "truncated", phase = "receive",
      reason = "it ended without [DONE] and without a finish_reason" }
  end
  if failure then return nil, failure end
  local text = table.concat(self.pieces)
  self.pieces = nil
  local exact, value = self:decode(text)
  if not exact then return nil, value end
  local first = type(value.choices) == "table" and value.choices[1]
  if type(first) ~= "table" then return protocol "a reply without choices" end
  if type(first.message) ~= "table" and type(first.delta) ~= "table" then
    return protocol "a choice without a message"
  end
  return self:add(exact, value, text)
end

--- The text of the first choice so far.
function Answer:text()
  return self.choices:text()
end

--- The number of events so far.
function Answer:count_events()
  return #self.choices.raw
end

--- An event that came, by its number, without nulls.
function Answer:event(number)
  return json.clean(self.choices.raw[number])
end

--- The value of a structured answer, or the failure of an answer that is not JSON.
---@return any value, table? failure
function Answer:structured(result)
  local value, failure = answer.decode(result.text, self.limits)
  if not failure or failure.kind == "limit" then return value, failure end
  failure.reason = ("the answer is not the JSON that the schema asks for, %s, and ended with finish_reason %s"):format(
    failure.reason, tostring(result.finish_reason))
  return nil, failure
end

--- The reply that it all adds up to, or nil and what is missing in it.
---@return lmm.Reply? reply, table? failure
function Answer:reply()
  local result, reason = self.choices:finish()
  if not result then return protocol(reason) end
  return result
end

return answer
