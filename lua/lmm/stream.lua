--- A stream: an exchange comes in; its events, its text piece by piece, or the whole reply go out. An unstreamed
--- answer is a stream of one event.
--
-- Mostly it is one exchange: a request and its reply. Where `after_reply` is set, it is asked what goes on behind a
-- complete reply; what it gives may hand out pieces of its own, and have another exchange follow.
local answers = require "lmm.answer"
local errors = require "lmm.errors"
local json = require "lmm.json"
local loops = require "lmm.loop"

---@class lmm.StreamExchange  what a stream reads: a request, and the reply to it
---@field limits table    the client's
---@field choices integer how many were asked for
---@field streamed boolean  whether a stream was asked for
---@field form table?     what the answer is to be, see lmm.request.structured
---@field total number?   seconds that it may take, and what goes on between two exchanges
---@field answer nil|fun(head: table, exchange: table): table  makes what reads the reply; an answer unless given
---@field prepare fun(self, stream: lmm.Stream): lmm.Call?, lmm.Error?  makes the call when it is needed

---@class lmm.Between     what goes on between two exchanges of a stream
---@field next fun(self, stream: lmm.Stream): kind: string?, piece_or_exchange: any, err: lmm.Error?  a piece and its
--- kind; then nil and the next exchange, or nothing where the reply that came is the last; or nil, nil and an error. It
--- may wait
---@field cancel fun(self)  ends it; whoever waits in `next` gets a `cancelled` error

--- An answer as it comes. A `for` loop over it gives the pieces of its text. It is sent when it is first read.
---@class lmm.Stream
---@field err lmm.Error?  why it broke
---@field package after_reply nil|fun(reply: lmm.Reply): lmm.Between?, lmm.Error?  called with each exchange's reply
---@field package on_end nil|fun(reply: lmm.Reply?, err: lmm.Error?)  called once
---@overload fun(): string?
local Stream = {}
Stream.__index = Stream
Stream.__name = "lmm.Stream"

local stream = {}

--- How long to wait, after the last event, for the end of the reply that lets the connection be used again. Seconds.
local CLOSING_TIMEOUT = 0.1

--- How long to wait, once every choice has said why it ended, for what a server may still tell: the usage. Seconds.
local ENDING_TIMEOUT = 2

--- Makes a stream. Its request is sent when it is first read.
---@param exchange lmm.StreamExchange  the first one
---@return lmm.Stream
function stream.new(exchange)
  return setmetatable({
    exchange = exchange,
    form = exchange.form,
    begun = false, has_answer = nil,
    -- What comes later; named here so that the table is made large enough at once.
    call = nil,      -- the one under way
    answer = nil,    -- of the attempt under way
    ready = nil,     -- the same, once its pieces may be taken without more ado
    unread = nil,    -- how many events without content the attempt has read, while they are still to be handed out,
    replayed = nil, unread_events = nil, -- how many of them were, and all of them
    first_kind = nil, first_piece = nil, -- and what came behind them
    reading = nil,   -- the coroutine that waits in it, or "main"
    is_collecting = nil, is_collected = nil, is_relayed = nil, -- for `pieces`, for `raw`
    started = nil, first_token = nil, -- when it was first read, and the seconds from then to the first piece
    after_reply = nil, between = nil, -- the latter while no exchange is under way
    stopped = nil, err = nil, result = nil, on_end = nil,
  }, Stream)
end

-- ---- reading

--- Reads until there is content or the reply ends: so far, a failure can be tried again.
---@package
function Stream:attempt()
  self.answer = nil
  local head, err = self.call:open()
  if not head then return nil, err end
  local exchange = self.exchange
  self.answer = (exchange.answer or answers.new)(head, exchange)
  self.is_collected = self.is_collecting -- what it reads comes to `pieces` at once
  local kind, piece
  local unread = -1
  repeat
    kind, piece = self:receive()
    if piece and not kind then return nil, piece end
    unread = unread + 1
  until kind ~= "other"
  self.first_kind, self.first_piece, self.unread, self.replayed = kind, piece, unread, 0
  return true
end

--- When it must have ended, by the loop's clock. Its time counts from when it was first read on, of all exchanges
--- together.
---@package
---@return number?
function Stream:deadline()
  self.started = self.started or loops.current():now()
  local total = self.exchange.total
  return total and self.started + total
end

---@package
function Stream:begin()
  self.begun, self.has_answer, self.answer = true, nil, nil
  local call, err = self.exchange:prepare(self)
  if not call then return nil, err end
  local ok
  ok, err = self:run(call, self.attempt, self)
  self.has_answer = ok -- from now on nothing is tried again
  return ok, err
end

--- Runs a call of this stream, so that `cancel` ends it.
---@package
function Stream:run(call, attempt, subject)
  self.call = call
  return call:run(attempt, subject)
end

--- Runs another call while the stream's own stands; `cancel` ends it, too.
---@package
function Stream:run_aside(call, attempt, subject)
  local own = self.call
  local value, err = self:run(call, attempt, subject)
  self.call, own.cancelled = own, own.cancelled or call.cancelled
  return value, err
end

--- What comes next, from what has come already or from the wire: a kind and a piece as from Answer:next; nil at the
--- end; nil and an error.
---@package
---@param is_relayed boolean?  bytes that came are told, too, as a kind of their own
function Stream:receive(is_relayed)
  local answer, call = self.answer, self.call
  if answer:note_pieces() then call:progress() end
  if self.is_collecting then answer:collect() end
  local kind, piece = answer:next()
  while kind == false do
    if answer:is_finished() then call:expect_end(ENDING_TIMEOUT) end
    local ok, err, is_end = call:read_into(answer.reader)
    if ok and is_relayed then return "bytes" end
    if is_end or not ok then ok, err = answer:finish(err) end
    if not ok then return nil, call:fail(err) end
    kind, piece = answer:next()
  end
  if kind == "text" or kind == "content" then call:progress() end
  if kind then return kind, piece end
  if piece then return nil, call:fail(piece) end
  if not answer.is_over then call:drain(CLOSING_TIMEOUT) end
end

--- What comes next: first what the attempt has read, of which the last alone holds content. At the end of an exchange
--- nil alone.
---@package
---@param only_begins boolean?  nothing of an answer is taken
function Stream:take(only_begins)
  if self.between then
    local kind, piece, err = self.between:next(self)
    if kind then return kind, piece end
    self.between = nil
    if err or not piece then return nil, err end
    self.exchange, self.begun, self.result = piece, false, nil
  end
  if not self.begun then
    local ok, err = self:begin()
    if not ok then return nil, err end
  end
  if only_begins then return "begun" end
  if not self.unread then return self:receive(self.is_relayed) end
  self.replayed = self.replayed + 1
  if self.replayed <= self.unread then return "other" end
  self.unread, self.unread_events = nil, nil
  local kind, piece = self.first_kind, self.first_piece
  self.first_kind, self.first_piece = nil, nil
  if kind then self.ready = self.answer end
  return kind, piece
end

--- Whether somebody waits in it now. A coroutine that a raise has ended does not.
---@package
function Stream:is_read()
  local reading = self.reading
  return reading ~= nil and (reading == "main" or coroutine.status(reading) ~= "dead")
end

--- What comes next, as from `take`; nil at the end, with self.err set where it broke. What is raised in between (by a
--- function of the caller's, by Ctrl-C) ends the stream and goes on to the caller.
---@package
---@param only_begins boolean?  up to the answer's begin, of which nothing is taken
---@return "text"|"content"|"other"|"bytes"|"begun"|"tool_call"|"tool_result"|nil kind, any piece
function Stream:advance(only_begins)
  if self.stopped then return nil end
  if self:is_read() then errors.misuse "this stream is being read already" end
  if self.reading then -- by a task that a raise has ended, on PUC 5.1
    self:cancel()
    return nil
  end
  loops.check() -- here, where the stream is left as it was
  repeat
    if self.call then self.call:check() end
    self.reading = coroutine.running() or "main"
    local ok, kind, piece = loops.pcall(self.take, self, only_begins)
    self.reading = nil
    if not ok then
      self:cancel()
      error(kind, 0)
    end
    if kind then
      local answer = not self.between and self.answer
      if answer and answer.is_done and answer.is_over and not self.unread then self:complete() end -- one JSON object
      return kind, piece
    end
    if piece then self:stop(piece) else self:complete() end
  until self.stopped
end

-- ---- its end

--- Ends the stream, as a success or with an error, once. What is raised while the call is logged goes on to the caller
--- after that.
---@package
function Stream:stop(err)
  if self.stopped then return end
  self.stopped, self.reading, self.ready, self.err = true, nil, nil, err
  if err then err.partial = self.answer and self.answer:text() or "" end
  local ok, raised = true, nil
  if self.call then ok, raised = pcall(self.call.finish, self.call, err, self.result) end
  if self.on_end then self.on_end(not err and self.result or nil, err) end
  if not ok then error(raised, 0) end
end

--- The whole reply of an exchange has come, unless the stream was ended meanwhile.
---@package
function Stream:complete()
  if self.stopped then return end
  if self.result then return self:succeed() end -- nothing has followed it
  local call = self.call
  local result, failure = self.answer:reply()
  if result then call:add_usage(result) end
  if failure then return self:stop(call:fail(failure)) end
  self.first_token = self.first_token or call.first
  result.attempts = call.attempts
  result.usage = call:complete_usage(result.usage)
  self.result, self.ready = result, nil
  if call.entry then call.entry.cost = result.cost end -- of this round alone
  local err
  if self.after_reply then self.between, err = self.after_reply(result) end
  if err then return self:stop(err) end
  if not self.between then return self:succeed() end
  call:finish(nil, result)
end

--- The reply of the last exchange is the stream's.
---@package
function Stream:succeed()
  local result, call, asked, failure = self.result, self.call, self.form, nil
  if asked then result.value, failure = self.answer:structured(result, asked) end
  if failure and not result.tool_calls then return self:stop(call:fail(failure)) end -- calls are no answer yet
  result.timing = { first_token = self.first_token, total = call.loop:now() - call.started }
  self:stop()
end

-- ---- what its holder calls

--- The status and the headers of the reply, by their names in small letters, once the answer has begun: up to then the
--- call is tried again as the policy says. Nothing of the answer is taken.
---@return { status: integer, headers: table<string, string> }? head, string? message, lmm.Error? err
function Stream:head()
  while not (self.has_answer or self.stopped) do self:advance(true) end
  if not self.has_answer then return errors.public(nil, self.err) end
  local headers = {}
  for name, value in pairs(self.call.headers) do headers[name] = value end
  return { status = self.answer.status, headers = headers }
end

--- The next piece of the answer's text.
---@return string? piece, string? message, lmm.Error? err  nil alone at the end
function Stream:next()
  local kind, piece
  if self.ready then
    piece = self.ready:next_text() -- where nobody has to wait for it
    if piece then return piece end
  end
  repeat kind, piece = self:advance() until not kind or kind == "text"
  if kind then return piece end
  return errors.public(nil, self.err)
end

--- The same for a `for` loop, which has no place for an error: it raises the message, as io.lines does.
function Stream:__call()
  local piece, message = self:next()
  if message then error(message, 0) end
  return piece
end

--- The event that came last, decoded, without nulls. Those that the attempt had read are decoded again.
---@package
function Stream:event()
  if not self.unread then return self.answer:event() end
  if not self.unread_events then
    self.unread_events = {}
    for _, event in ipairs(self.answer.reader:raw()) do
      if type(event) == "table" then table.insert(self.unread_events, event) end -- a null is a keep-alive
    end
  end
  return json.clean(self.unread_events[self.replayed])
end

--- The kinds for which there is an event.
local of_event = { text = true, content = true, other = true }

--- An iterator over the decoded events, those without text included. It raises like the stream itself.
---@return fun(): table?
function Stream:events()
  return function()
    local kind
    repeat kind = self:advance() until not kind or of_event[kind]
    if kind then return self:event() end
    if self.err then error(self.err.message, 0) end
  end
end

--- An iterator over what the model says, each piece with its kind: "text", "reasoning" or "refusal" with their texts,
--- or the name of any other field of a delta ("tool_calls", "audio", "images", "reasoning_details" ...) with what the
--- server sent in it; of a conversation with tools also "tool_call" with each whole lmm.ToolCall that is going to be
--- run, and "tool_result" with the lmm.ToolResult of each. It raises like the stream itself.
---@return fun(): any, string?  the piece, its kind
function Stream:pieces()
  local queue, at = {}, 0
  return function()
    while at == #queue do
      self.is_collecting = true
      local kind, piece = self:advance()
      self.is_collecting = false
      if not kind then
        if self.err then error(self.err.message, 0) end
        return nil
      end
      local is_event = of_event[kind] or kind == "bytes"
      queue, at = is_event and self.answer:take_pieces() or { { kind, piece } }, 0
      if kind == "text" and #queue == 0 and not self.is_collected then
        queue[1] = { kind, piece } -- it had been read before
      end
    end
    at = at + 1
    return queue[at][2], queue[at][1]
  end
end

local is_json = { json = true, schema = true }

--- What reads pieces on behalf of `values` and `elements`, and the text that was handed out before.
---@package
---@return fun(): string?, boolean? read, string text
function Stream:begin_json(method)
  local asked = self.form or { kind = "json" }
  self.form = asked
  if not is_json[asked.kind] then
    errors.misuse("stream:%s is for JSON: with %s an answer is one text, of which stream:next gives the pieces",
      method, asked.kind)
  end
  local has_text = self.has_answer and not self.unread
  local from = has_text and self.answer or nil
  return function()
    local piece = Stream.__call(self)
    local is_new = self.answer ~= from -- each exchange has an answer of its own
    from = self.answer
    return piece, is_new
  end, has_text and from:text() or ""
end

--- An iterator over the value of an answer that is JSON, as far as it came: a list or an object is the same table each
--- time, which grows; a name and a number appear once they are whole, a string as it comes, though a long one not with
--- each piece: it is given anew when it is a quarter longer. All of it takes time that is linear in the answer.
--- `stream:reply().value` holds the same value, in a table of its own. It raises like the stream itself, also where the
--- answer turns out not to be what was asked for.
---@return fun(): any
function Stream:values()
  return answers.values(self.exchange.limits, self:begin_json "values")
end

--- An iterator over the items of a list in an answer that is JSON, each once, when it is whole. Nulls are passed over;
--- where the answer has no such list, there are none. It raises like the stream itself.
---@param path string  the names that lead to the list, with dots between them ("receipt.rows"); "" where the answer is
--- itself a list; a name with a dot in it cannot be given
---@return fun(): any
function Stream:elements(path)
  if type(path) ~= "string" then
    errors.misuse("stream:elements takes the path of a list, as in 'receipt.rows', not a %s", type(path))
  end
  return answers.elements(self.exchange.limits, path, self:begin_json "elements")
end

--- An iterator over the bytes of the reply's body as they came, to relay them, from the first on, those of one exchange
--- behind those of another; `reply` still gives the answer afterwards. Nothing is handed out before the answer has
--- begun, so that until then the call is tried again as the policy says. It raises like the stream itself.
---@return fun(): string?
function Stream:raw()
  local given, from = 0, nil
  self.is_relayed = true
  return function()
    while true do
      local reader = self.has_answer and self.answer.reader
      if reader and reader ~= from then from, given = reader, 0 end
      if reader and reader:size() > given then
        local bytes = reader:bytes(given)
        given = given + #bytes
        return bytes
      end
      if self.stopped then
        if self.err then error(self.err.message, 0) end
        return nil
      end
      self:advance()
    end
  end
end

--- The whole reply, once the rest of the stream has come.
---@return lmm.Reply? reply, string? message, lmm.Error? err
function Stream:reply()
  while self:next() do end
  return errors.public(not self.err and self.result or nil, self.err)
end

--- Ends it at once; the server sees the connection close. Whoever waits in it gets a `cancelled` error.
function Stream:cancel()
  if self.stopped then return end
  local call, between = self.call, self.between
  if call then call:cancel() end
  if between then between:cancel() end
  self:stop(call and call:fail { kind = "cancelled" }
    or errors.new { kind = "cancelled", message = "the request was cancelled", attempts = 0, elapsed = 0 })
end

errors.check_self(Stream, "stream", "head", "events", "pieces", "values", "elements", "raw", "reply", "cancel")

--- Leaving a `for` loop over a stream by `break` cancels it (Lua 5.4).
Stream.__close = Stream.cancel

return stream
