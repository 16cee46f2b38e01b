--- An answer: the bytes of one reply come in, however they are split; its events, the text in them, and at last the
--- whole reply go out. Here is no socket, no clock and no error object: what fails is a table { kind, reason, ... }.
--
-- Whether it is a stream of events or one JSON object is told by its first bytes, whatever was asked for and whatever
-- its Content-Type says. The bytes stay in the core (core.answer), which gives the pieces of plain deltas by itself.
local choices = require "lmm.answer.choices"
local core = require "lmm.core"
local failures = require "lmm.answer.failure"
local server_error = require "lmm.answer.server_error"

---@class lmm.Answer
---@field reader userdata  core.answer, into which the bytes of the reply go
local Answer = {}
Answer.__index = Answer

local answer = {
  refusal = server_error.from_reply,
  find_error = server_error.find,
}

--- Iterators over the value of an answer while it comes, and over the items of a list in it: see lmm.answer.growing.
function answer.values(...)
  return require("lmm.answer.growing").values(...)
end

function answer.elements(...)
  return require("lmm.answer.growing").elements(...)
end

--- The value of a reply's text without nulls, or nil and what is wrong with it.
---@param text string
---@param limits { depth: integer }
---@return any value, table? failure
function answer.decode(text, limits)
  local value, message, _, why = core.decode(text, { depth = limits.depth, clean = true, lenient = true })
  if message then return nil, server_error.of_decode(text, limits, message, why) end
  return value
end

--- The same, where the text has to be a JSON object or list.
---@return table? value, table? failure
function answer.decode_table(text, limits)
  local value, failure = answer.decode(text, limits)
  if not failure and type(value) ~= "table" then failure = server_error.not_json(text) end
  return not failure and value or nil, failure
end

--- Makes what reads the events of a reply without knowing what they mean.
---@return lmm.EventReader
function answer.events(head, opts)
  return require("lmm.answer.events").new(head, opts)
end

--- Makes an answer of the reply that begins with this head.
---@param head { status: integer, headers: table<string, string> }
---@param opts { limits: table, choices: integer, streamed: boolean }  how many choices, and whether a stream, was asked
--- for
---@return lmm.Answer
function answer.new(head, opts)
  local limits, headers = opts.limits, head.headers
  local reader = core.answer(limits)
  return setmetatable({
    reader = reader,
    limits = limits,
    asked_for = opts.choices,
    streamed = opts.streamed,
    status = head.status,
    has_no_length = not headers["content-length"] and not headers["transfer-encoding"],
    choices = choices.new(reader, limits, opts.choices),
    request_id = headers["x-request-id"] or headers["request-id"],
    has_piece = false, -- `next_text` has given pieces since `note_pieces`
    kept_kind = nil, kept_piece = nil, -- what `next_text` has read that is no piece
    is_over = false,   -- no more bytes will come
    is_done = false,   -- nor events
  }, Answer)
end

--- The next thing that is complete. "text": a piece of the first choice; "content": something else that the model said;
--- "other": an event without content; false: more bytes are needed; nil: the end, or a failure. For the first three
--- `event` gives it decoded.
---@return "text"|"content"|"other"|false|nil kind, string|table|nil piece_or_failure
function Answer:next()
  local kind, piece = self.kept_kind, self.kept_piece
  if not kind then return self:handle(self.reader:next(true)) end
  self.kept_kind, self.kept_piece = nil, nil
  return self:handle(kind, piece)
end

--- The next piece of the first choice, where it has come already and nothing else comes before it: most of a stream,
--- for which nothing more has to be done. What else there is stays for `next`.
---@return string?
function Answer:next_text()
  if self.kept_kind then return nil end
  local kind, piece = self.reader:next()
  if kind == "text" then
    self.has_piece = true
    if piece == "" then return self:next_text() end -- half a character waits for its other half
    return piece
  end
  self.kept_kind, self.kept_piece = kind or nil, piece
end

--- Notes the pieces that `next_text` gave; whether there were any.
function Answer:note_pieces()
  if not self.has_piece then return false end
  self.has_piece = false
  self.choices:add_piece "text"
  return true
end

--- What the reader gave.
function Answer:handle(kind, piece, which)
  if kind == "text" or kind == "reasoning" then
    self.choices:add_piece(kind)
    if self.choices.pieces then self.choices:note(self.choices:choice(0), kind, piece) end
    return kind == "text" and piece ~= "" and kind or "content", piece
  elseif kind == "event" or kind == "whole" then
    return self:add_event(kind == "event", piece)
  elseif kind == "empty" then
    return "other"
  elseif kind == "done" then
    self.is_done = true
    return self:check_done()
  elseif kind == nil then
    return nil, failures.limit(self.limits, which)
  end
  if self.is_over then return self:check_end() end
  return false
end

--- Adds what an event, or the whole reply, holds.
---@param streamed boolean
---@param name string?  the event's
function Answer:add_event(streamed, name)
  -- `halves` is the event with half characters kept, where a piece ends or begins with one.
  local event, message, halves, why = self.reader:value()
  local is_error = streamed and name:lower() == "error"
  if type(event) ~= "table" then
    if why == "limit" then return nil, server_error.of_decode("", self.limits, message, why) end
    local text = self.reader:data()
    if is_error then
      event = { error = text:find "%S" and text or server_error.NO_REASON }
    elseif streamed and event == nil and not message then
      return self:next() -- a null keeps the connection alive
    elseif why == "cut" and self.has_no_length and not streamed then
      return nil, failures.new("truncated", "it ended within its JSON")
    else
      return nil, server_error.not_json(text, message)
    end
  end
  local failure = server_error.find(event, is_error)
  if failure then
    failure.body, failure.content_type = self.reader:data(), "application/json"
    local data = failure.message == server_error.NO_REASON and failure.body or ""
    if data:find "%S" then failure.message = data end
    return nil, failures.of_server(failure, self.status)
  end
  local text, has_content
  text, has_content, failure = self.choices:add(streamed and halves or event, streamed)
  if failure then
    failure.phase = "receive"
    if failure.kind == "http" then failure.status = failure.status or self.status end
    return nil, failure
  end
  if not streamed then
    failure = self:check_whole(event)
    if failure then return nil, failure end
  end
  return text and text ~= "" and "text" or (has_content or not streamed) and "content" or "other", text
end

--- The failure of a whole reply in which something is missing, or nil. A choice that says why it ended may have nothing
--- else.
function Answer:check_whole(event)
  local first = type(event.choices) == "table" and event.choices[1]
  if type(first) ~= "table" then
    local failure = server_error.not_json(self.reader:data())
    failure.reason = "a reply without choices: {quote}"
    return failure
  end
  local has_message = type(first.message) == "table" or type(first.delta) == "table" or first.text ~= nil
  if not has_message and type(first.finish_reason) ~= "string" then
    return failures.new("protocol", "a choice without a message")
  end
  self.is_done = true
end

--- From now on `take_pieces` gives what each event says.
function Answer:collect()
  self.choices:collect()
end

--- What has been said of the first choice since the pieces were taken last, in order: { kind, value }. Nothing more is
--- collected.
---@return { [1]: string, [2]: any }[]
function Answer:take_pieces()
  local pieces = self.choices.pieces or {}
  self.choices.pieces = nil
  return pieces
end

--- The event that `next` gave last, decoded, without nulls.
---@return table?
function Answer:event()
  return (self.reader:value())
end

--- Whether every choice that was asked for has said why it ended; some servers send one after the other.
function Answer:is_finished()
  return self.choices.count >= self.asked_for and self.choices:is_finished()
end

--- The input has ended: `next` gives what there is still.
---@param err lmm.Error?  how, where that was not in order
---@return true? ok, lmm.Error? err  where nothing more can come of it
function Answer:finish(err)
  self.is_over = true
  if not err then
    self.reader:finish()
  elseif err.kind == "cancelled" or not self:is_finished() then
    return nil, err
  end
  return true
end

--- The failure of a stream that broke off, with the error that stands in it and is no event, or the words.
function Answer:broken_off(reason)
  local failure = server_error.among_events(self.reader:bytes())
  if failure then return nil, failures.of_server(failure, self.status) end
  failure = failures.new("truncated", reason)
  failure.quote = server_error.words_in(self.reader:rest())
  if failure.quote then failure.reason = reason .. ", but with {quote}" end
  return nil, failure
end

--- [DONE] has come: nil where that is well, else nil and a failure. A server that is interrupted sends it after
--- nothing.
function Answer:check_done()
  if self.choices.has_content or self.choices:is_finished() then return nil end
  return self:broken_off "it holds no answer"
end

--- Nothing more comes: nil where that is well, else nil and a failure.
function Answer:check_end()
  if self.is_done or self.choices:is_finished() then return nil end
  local kind = self.reader:kind()
  local says_why = self.status ~= 200 and self.reader:size() == 0 -- as 202 and 204 do
  if kind == "events" or kind ~= "json" and not says_why and self:may_begin_events() then
    return self:broken_off "it ended without [DONE] and without a finish_reason"
  end
  local failure = server_error.not_json(self.reader:bytes())
  if self.status ~= 200 then failure.reason = ("%s, under HTTP %d"):format(failure.reason, self.status) end
  return nil, failure
end

--- Whether the few bytes that came may be the beginning of a stream: of a field's name, or none at all where a stream
--- was asked for.
function Answer:may_begin_events()
  local bytes = self.reader:bytes():gsub("^\239?\187?\191?", ""):match "^%s*(.*)$" -- without a byte order mark
  if bytes == "" then return self.streamed end
  for _, field in ipairs { "data:", "event:", "retry:", "id:" } do
    if field:sub(1, #bytes) == bytes then return true end
  end
  return false
end

--- The text of the first choice so far.
function Answer:text()
  self:note_pieces()
  return self.choices:text()
end

--- The value of a structured answer, or why it is not what was asked for.
---@param result lmm.Reply
---@param asked { kind: string, value: any }
---@return any value, table? failure
function Answer:structured(result, asked)
  return require("lmm.answer.structured").value(result, asked, self.limits)
end

--- The reply that it all adds up to, or nil and what is missing in it.
---@return lmm.Reply? reply, table? failure
function Answer:reply()
  self:note_pieces()
  local result, reason = self.choices:finish()
  if not result and self.choices.count == 0 and self.reader:kind() == "events" then
    return self:broken_off "it holds no answer"
  end
  if not result then return nil, failures.new("protocol", reason) end
  result.request_id = self.request_id
  return result
end

return answer
