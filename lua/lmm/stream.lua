--- A stream: a call comes in; its events, its text piece by piece, or the whole reply go out. An unstreamed answer is a
--- stream of one event.
local core = require "lmm.core"
local errors = require "lmm.errors"
local json = require "lmm.json"
local loops = require "lmm.loop"
local reply = require "lmm.reply"
local server_error = require "lmm.answer.server_error"

---@class lmm.Stream
---@field err lmm.Error?  why it broke
---@overload fun(): string?
local Stream = {}
Stream.__index = Stream
Stream.__name = "lmm.Stream"

local stream = {}

--- How long to wait, after the last event, for the end of the reply that lets the connection be used again. Seconds.
local GRACE = 0.1

--- Bytes that each list and object of a reply counts beyond its text: tables are what it takes in memory.
local PER_TABLE = 32

--- Makes a stream. Its request is sent when it is first read.
---@param prepare fun(stream: lmm.Stream): lmm.Call?, lmm.Error?  makes the call when it is needed
---@param opts { schema: table?, limits: table, choices: integer }  choices: how many were asked for
function stream.new(prepare, opts)
  return setmetatable({ prepare = prepare, opts = opts }, Stream)
end

--- Reads events until one holds content or the reply ends: so far, a failure can be tried again.
function Stream:attempt()
  self.accumulator, self.ended = nil, false
  local head, err = self.call:open()
  if not head then return nil, err end
  local headers = head.headers
  self.content_type = headers["content-type"] or ""
  self.streamed = self.content_type:lower():find("text/event-stream", 1, true) ~= nil
  self.is_open_ended = not self.streamed and not headers["content-length"] and not headers["transfer-encoding"]
  self.accumulator = reply.accumulator(self.opts.limits, self.streamed)
  self.decoder = self.streamed and core.sse(self.opts.limits.event) or nil
  local entry, has_content
  repeat
    entry, err, has_content = self:receive()
    if err then return nil, err end
  until not entry or has_content
  self.read, self.given, self.last = #self.accumulator.raw, 0, entry
  return true
end

function Stream:begin()
  self.begun = true
  local call, err = self.prepare(self)
  if not call then return nil, err end
  return self:run(call, function() return self:attempt() end)
end

--- Runs a call of this stream, so that `cancel` ends it.
function Stream:run(call, attempt)
  self.call = call
  return call:run(attempt)
end

--- Runs another call while the stream's own stands; `cancel` ends it, too.
function Stream:run_aside(call, attempt)
  local own = self.call
  local value, err = self:run(call, attempt)
  self.call, own.cancelled = own, own.cancelled or call.cancelled
  return value, err
end

--- nil and the error for what came; one of the server's own, `http`, with advice.
function Stream:refuse(fields)
  fields.phase = "receive"
  if fields.kind == "http" then
    fields.status = fields.status or self.call.status
    fields.hint = server_error.hint(fields, self.call:sent())
  end
  return nil, self.call:fail(fields)
end

--- The next event from the wire, and its text in it: event | nil at the end | nil, err.
function Stream:receive()
  local raw, event, source = self:next_object()
  if not raw then return nil, event end
  local text, has_content, failure = self.accumulator:add(raw, event, source)
  if failure then return self:refuse(failure) end
  if has_content or not self.streamed then self.call:progress() end
  return { event = event, text = text }, nil, has_content
end

local function protocol(self, format, ...)
  return self:refuse { kind = "protocol", reason = format:format(...) }
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

--- A decoded object of the reply, the same without nulls, and its text; nil and an error where it is one.
---@param is_error boolean?  it comes as an error, whatever it holds
function Stream:decode(text, is_error)
  local _, tables = text:gsub("[%[{]", "%0") -- or brackets in a string
  local too_large = self.call:count(PER_TABLE * tables)
  if too_large then return nil, too_large end
  local raw, message = json.decode(text, self.opts.limits.depth)
  local too_deep = self.call:too_deep(message)
  if too_deep then return nil, too_deep end
  local is_object = type(raw) == "table"
  if not is_object and not is_error then
    if self.is_open_ended and message and is_cut(text, message) then
      return self:refuse { kind = "truncated", reason = "it ended within its JSON" }
    end
    return protocol(self, "%s", server_error.describe(self.call:redact(text), message, self.content_type))
  end
  local value = is_object and json.clean(raw) or { error = text:find "%S" and text or "no reason given" }
  local fields = server_error.find(value, is_error)
  if not fields then return raw, value, text end
  fields.kind = "http"
  return self:refuse(fields)
end

function Stream:next_object()
  if self.ended then return nil end
  if not self.decoder then return self:whole_object() end
  while true do
    local data, name = self.decoder:next()
    if data and data:find "^%[DONE%]%s*$" then return self:finish_reading() end
    local is_error = data and name and name:lower() == "error"
    if data and (is_error or data:find "%S") then return self:decode(data, is_error) end
    if not data and name == "limit" then
      return self:refuse { kind = "limit",
        reason = ("an event is longer than %d bytes (limits.event)"):format(self.opts.limits.event) }
    end
    if not data then
      local bytes, err = self.call:read()
      if not bytes then return self:end_of_input(err) end
      self.decoder:feed(bytes)
    end
  end
end

--- An unstreamed answer is the whole body.
function Stream:whole_object()
  local text, err = self.call:read_all()
  if not text then return nil, err end
  self.ended = true
  local raw, value = self:decode(text)
  if not raw then return nil, value end
  local first = type(value.choices) == "table" and value.choices[1]
  if type(first) ~= "table" then return protocol(self, "a reply without choices") end
  if type(first.message) ~= "table" and type(first.delta) ~= "table" then
    return protocol(self, "a choice without a message")
  end
  return raw, value, text
end

--- Whether every choice that was asked for has said why it ended; some servers send one after the other.
function Stream:is_finished()
  return self.accumulator.count >= self.opts.choices and self.accumulator:is_finished()
end

--- The input ended without [DONE]: well only if the answer had said why it stops.
function Stream:end_of_input(err)
  self.ended = true
  if err and (err.kind == "cancelled" or not self:is_finished()) then return nil, err end
  if not err and not self:is_finished() then
    return nil, self.call:fail { kind = "truncated", phase = "receive",
      reason = "it ended without [DONE] and without a finish_reason" }
  end
end

function Stream:finish_reading()
  self.ended = true
  self.call.patience = math.min(self.call.patience, GRACE)
  repeat until not self.call:take "read"
end

--- Ends the stream, as a success or with an error, once.
function Stream:stop(err)
  if self.stopped then return end
  self.stopped, self.reader, self.err = true, nil, err
  if err then err.partial = self.accumulator and self.call:redact(self.accumulator:text(), true) or "" end
  if self.call then self.call:close() end
  if self.on_end then self.on_end(self.result) end
end

--- The value of a structured answer.
function Stream:decode_value(result)
  local value, message = json.decode(result.text, self.opts.limits.depth)
  if message then
    return self.call:too_deep(message) or self.call:fail { kind = "protocol", phase = "receive",
      reason = ("the answer is not the JSON that the schema asks for, %s, and ended with finish_reason %s"):format(
        server_error.describe(self.call:redact(result.text), message), tostring(result.finish_reason)) }
  end
  result.value = json.clean(value)
end

function Stream:complete()
  local call = self.call
  local result, reason = self.accumulator:finish()
  if not result then return self:stop(select(2, protocol(self, "%s", reason))) end
  result.attempts = call.attempts
  result.timing = { first_token = call.first, total = call.loop:now() - call.started }
  local err = self.opts.schema and self:decode_value(result)
  if not err then self.result = result end
  self:stop(err)
end

--- The next entry: what the first attempt that went well had read, of which the last alone holds content, then what
--- comes. The others are made again from what came, so that they are not kept twice.
function Stream:take()
  if not self.begun then
    local ok, err = self:begin()
    if not ok then return nil, err end
  end
  if self.given == self.read then return self:receive() end
  self.given = self.given + 1
  return self.given == self.read and self.last or { event = json.clean(self.accumulator.raw[self.given]) }
end

--- Whether somebody waits in it now. A coroutine that a raise has ended does not.
function Stream:is_read()
  local reader = self.reader
  return reader ~= nil and (reader == "main" or coroutine.status(reader) ~= "dead")
end

--- The next entry { event, text }; nil at the end, with self.err set where it broke. What is raised in between (by a
--- function of the caller's, by Ctrl-C) ends the stream and goes on to the caller.
function Stream:advance()
  if self.stopped then return nil end
  if self:is_read() then errors.misuse "this stream is being read already" end
  loops.check() -- here, where the stream is left as it was
  if self.call then self.call:check() end
  self.reader = coroutine.running() or "main"
  local ok, entry, err = loops.pcall(self.take, self)
  self.reader = nil
  if not ok then
    self:cancel()
    error(entry, 0)
  end
  if entry then return entry end
  if err then self:stop(err) elseif not self.stopped then self:complete() end
end

--- The next piece of the answer's text.
---@return string? piece, string? message, lmm.Error? err  nil alone at the end
function Stream:next()
  local entry
  repeat entry = self:advance() until not entry or entry.text
  if entry then return entry.text end
  return errors.public(nil, self.err)
end

--- The same for a `for` loop, which has no place for an error: it raises the message, as io.lines does.
function Stream:__call()
  local piece, message = self:next()
  if message then error(message, 0) end
  return piece
end

--- An iterator over the decoded events, those without text included. It raises like the stream itself.
---@return fun(): table?
function Stream:events()
  return function()
    local entry = self:advance()
    if entry then return entry.event end
    if self.err then error(self.err.message, 0) end
  end
end

--- The whole reply, once the rest of the stream has come.
---@return lmm.Reply? reply, string? message, lmm.Error? err
function Stream:reply()
  while self:advance() do end
  return errors.public(self.result, self.err)
end

--- Ends it at once; the server sees the connection close. Whoever waits in it gets a `cancelled` error.
function Stream:cancel()
  if self.stopped then return end
  local call = self.call
  if call then call:cancel() end
  self:stop(call and call:fail { kind = "cancelled" }
    or errors.new { kind = "cancelled", message = "the request was cancelled", attempts = 0, elapsed = 0 })
end

--- Leaving a `for` loop over a stream by `break` cancels it (Lua 5.4).
Stream.__close = Stream.cancel

return stream
