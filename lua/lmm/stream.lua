--- A stream: what makes a call comes in; its events, its text piece by piece, or the whole reply go out. An unstreamed
--- answer is a stream of one event.
local answers = require "lmm.answer"
local errors = require "lmm.errors"
local loops = require "lmm.loop"

---@class lmm.Stream
---@field err lmm.Error?  why it broke
---@overload fun(): string?
local Stream = {}
Stream.__index = Stream
Stream.__name = "lmm.Stream"

local stream = {}

--- How long to wait, after the last event, for the end of the reply that lets the connection be used again. Seconds.
local CLOSING_TIMEOUT = 0.1

--- Makes a stream. Its request is sent when it is first read.
---@param prepare fun(stream: lmm.Stream): lmm.Call?, lmm.Error?  makes the call when it is needed
---@param opts { schema: table?, limits: table, choices: integer }  choices: how many were asked for
function stream.new(prepare, opts)
  return setmetatable({ prepare = prepare, opts = opts }, Stream)
end

-- ---- reading

--- Reads events until one holds content or the reply ends: so far, a failure can be tried again.
function Stream:attempt()
  self.answer = nil
  local head, err = self.call:open()
  if not head then return nil, err end
  self.answer = answers.new(head, self.opts)
  local entry
  repeat
    entry, err = self:receive()
    if err then return nil, err end
  until not entry or entry.has_content
  self.replayed, self.received, self.last = 0, self.answer:count_events(), entry
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

--- The next entry from the wire: { event, text, has_content } | nil at the end | nil, err.
function Stream:receive()
  local answer, call = self.answer, self.call
  local entry, failure = answer:next()
  local is_over = false
  while entry == false do
    local bytes, err = call:read()
    if bytes then
      failure = answer:feed(bytes)
      entry = nil
      if not failure then entry, failure = answer:next() end
    else
      is_over = true
      entry, failure = answer:finish(err)
    end
  end
  if failure then return nil, call:fail(failure) end
  if not entry then return not is_over and self:finish_reading() or nil end
  if entry.has_content or not answer.streamed then call:progress() end
  return entry
end

--- Waits a moment for the end of a reply whose last event has come.
function Stream:finish_reading()
  local call = self.call
  call.time_left = math.min(call.time_left, CLOSING_TIMEOUT)
  repeat until not call:await "read"
end

--- The next entry: first those that the attempt had read, of which the last alone holds content, then what comes. The
--- others are decoded again from what came, so that they are not kept twice.
function Stream:next_entry()
  if not self.begun then
    local ok, err = self:begin()
    if not ok then return nil, err end
  end
  if self.replayed == self.received then return self:receive() end
  self.replayed = self.replayed + 1
  return self.replayed == self.received and self.last or { event = self.answer:event(self.replayed) }
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
  local ok, entry, err = loops.pcall(self.next_entry, self)
  self.reader = nil
  if not ok then
    self:cancel()
    error(entry, 0)
  end
  if entry then return entry end
  if err then self:stop(err) elseif not self.stopped then self:complete() end
end

-- ---- its end

--- Ends the stream, as a success or with an error, once.
function Stream:stop(err)
  if self.stopped then return end
  self.stopped, self.reader, self.err = true, nil, err
  if err then err.partial = self.answer and self.answer:text() or "" end
  if self.call then self.call:close() end
  if self.on_end then self.on_end(self.result) end
end

--- The whole answer has come.
function Stream:complete()
  local call = self.call
  local result, failure = self.answer:reply()
  if not failure and self.opts.schema then result.value, failure = self.answer:structured(result) end
  if failure then return self:stop(call:fail(failure)) end
  result.attempts = call.attempts
  result.timing = { first_token = call.first, total = call.loop:now() - call.started }
  self.result = result
  self:stop()
end

-- ---- what its holder calls

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
