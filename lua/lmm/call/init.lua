--- One call: a request comes in, and a transfer whose reply has begun well goes out, tried again as the policy says.
--- Every wait of the call passes through here, so that its deadlines and its cancelling are in one place.
local errors = require "lmm.errors"
local retry = require "lmm.call.retry"
local settings = require "lmm.call.settings"
local usage = require "lmm.call.usage"

---@class lmm.Call
---@field client lmm.Client
---@field method string
---@field url string
---@field body userdata?
---@field timeout table    { connect, first, idle, total }, seconds
---@field policy table|function
---@field started number   when the caller called, by the loop's clock
---@field deadline number? when it must have ended, by the loop's clock
---@field attempts integer
---@field requests integer    that were sent, of all attempts
---@field bytes_sent integer  of their bodies
---@field first number?    seconds to the first piece of content
---@field model string?     what it asks for, of which a refusal may have to say more
---@field stream lmm.Stream?  whose call it is
---@field parts lmm.Part[]?  what media it sends, of which a refusal may have to say more
---@field sent_headers table<string, string>  the client's, and those of this call
---@field content_type string?  of a body that is not JSON
---@field variants lmm.Variants?  the forms in which the request may be sent
---@field pool lmm.Pool|false  of several servers: it gives each attempt one of them, whose client `client` is then
---@field server lmm.PoolServer?  of the attempt under way
---@field entry lmm.log.Entry?  that has it logged
---@field canned lmm.Transfer?  the answer, from the log
---@field wanted string?  of such a client: the model that the server must have
local Call = {}
Call.__index = Call

local call = {
  settings = settings,
  retry = retry.new,
  usage = usage,
}

--- A text that a client's server said, of several lines perhaps, without the client's secrets.
---@param client lmm.Client
---@param text string
---@return string
function call.without_secrets(client, text)
  local redact = require "lmm.call.redact"
  local key = type(client.api_key) == "string" and client.api_key or nil
  return redact.without_secrets(text, redact.secrets(client, key))
end

--- Whether what has this name, a header or a field, is a secret.
---@param name string
function call.is_secret_name(name)
  return require("lmm.call.redact").is_secret_name(name)
end

--- What of a request's fields may be kept in a file. See lmm.call.public.
---@param fields table
---@return table
function call.public(fields)
  return require "lmm.call.public"(fields)
end

--- The options of a call that a caller gives, and their types.
call.rows = { timeout = "number|table", retry = "table|function|boolean", headers = "table" }

--- The options of one call: what `timeout` and `retry` make of the client's own.
---@param client lmm.Client
---@param opts { timeout: number|table?, retry: table|function|boolean|nil, headers: table? }
---@return lmm.CallSettings
function call.options(client, opts)
  ---@class lmm.CallSettings
  ---@field timeout table
  ---@field policy table|function
  ---@field started number
  ---@field headers table<string, string>  the client's, and those of this call
  ---@field content_type string?  of a body that is not JSON
  ---@field parts lmm.Part[]?  those in the body
  ---@field model string?  that is asked for, where the client has several servers
  return {
    timeout = opts.timeout == nil and client.timeout or settings.timeout("call", opts.timeout, client.timeout),
    policy = opts.retry == nil and client.policy or retry.new(opts.retry),
    started = client.loop:now(),
    headers = opts.headers and settings.headers(opts.headers, client.headers) or client.headers,
    content_type = nil,
    parts = nil,
  }
end

--- Makes a call; nothing is sent yet.
---@param client lmm.Client
---@param method string
---@param url string
---@param body userdata?  of lmm.core
---@param opts lmm.CallSettings
---@return lmm.Call
function call.new(client, method, url, body, opts)
  local self = setmetatable({
    client = client,
    pool = client.pool,
    loop = client.loop,
    method = method,
    url = url,
    body = body,
    timeout = opts.timeout,
    policy = opts.policy,
    started = opts.started,
    deadline = opts.timeout.total and opts.started + opts.timeout.total,
    cell = { set = false },
    sent_headers = opts.headers,
    content_type = opts.content_type,
    parts = body and opts.parts,
    attempts = 0,
    requests = 0, bytes_sent = 0,
    received = 0,
    -- Of the attempt under way; named here so that the table is made large enough at once.
    transfer = nil, key = nil, headers = nil, limit = nil, time_left = nil, late_until = nil, first = nil,
    is_ending = nil,
    model = nil, stream = nil, cancelled = nil, variants = nil, is_varied = nil,
  }, Call)
  client.calls[self] = true
  if self.pool then
    self.wanted = opts.model
    self.given = { url = url, timeout = opts.timeout, headers = opts.headers } -- to which each server adds its own
  end
  return self
end

Call.add_usage = usage.add

--- Adds to what a server counted what was sent for it.
---@param told table?
---@return table
function Call:complete_usage(told)
  told = told or {}
  told.requests, told.bytes_sent = self.requests, self.bytes_sent
  return told
end

--- What a hint may need to know of the request.
function Call:request_facts()
  return { url = self.url:gsub("%?.*$", ""), base_url = self.client.base_url, size = self.body and self.body:size(),
    has_key = self.key ~= nil and self.key ~= "", parts = self.parts }
end

--- The error object for a failure: the transport's, the answer's or our own, { kind, phase?, reason?, ... }.
---@return lmm.Error
function Call:fail(failure)
  if errors.is(failure) then return failure end
  return require("lmm.call.message").error(self, failure)
end

-- ---- deadlines

local LATE_READ = 0.01 -- seconds in which what came while the program was busy is still taken, after a deadline

--- Waits for the transfer's head or next bytes until the first deadline. What a wait takes is taken off `time_left`, so
--- that time the reader spends elsewhere does not count. A deadline holds, too, against a server that always has
--- something more to read; but where a wait was overslept, since the program was busy with something else, what has
--- come meanwhile may still be read.
---@param method "head"|"read"  of the transfer
---@param sink userdata?  see lmm.Transfer
function Call:await(method, sink)
  local now = self.loop:now()
  local deadline, limit = now + self.time_left, self.limit
  if self.deadline and self.deadline < deadline then deadline, limit = self.deadline, "total" end
  deadline = math.max(deadline, self.late_until or deadline)
  local value, failure, is_end
  if method == "read" and now >= deadline then
    failure = { kind = "timeout", phase = "receive" }
  else
    value, failure, is_end = self.transfer[method](self.transfer, deadline, sink)
  end
  local ended = self.loop:now()
  self.time_left = self.time_left - (ended - now)
  if value and ended > deadline then self.late_until = self.late_until or ended + LATE_READ end
  if not failure then return value, nil, is_end end
  if failure.kind == "timeout" and ended >= deadline then failure.limit = limit end
  return nil, self:fail(failure)
end

--- Something of the content came: from now on the time between pieces counts.
function Call:progress()
  if self.is_ending then return end
  self.first = self.first or self.loop:now() - self.started
  self.limit, self.time_left, self.late_until = "idle", self.timeout.idle or math.huge, nil
end

--- The answer is complete: what follows of the reply gets so many seconds.
function Call:expect_end(seconds)
  if self.is_ending then return end
  self.is_ending, self.time_left = true, math.min(self.time_left, seconds)
end

-- ---- the reply

--- The next bytes of the reply; nil at its end.
---@return string? bytes, lmm.Error? err
function Call:read()
  local bytes, err = self:await "read"
  if not bytes then return nil, err end
  err = self:count(#bytes)
  if err then return nil, err end
  return bytes
end

--- Moves the next bytes of the reply into a sink, which has its own limit; nil at its end.
---@param sink userdata  core.answer
---@return true? more, lmm.Error? err, boolean? is_end  the reply is known to end with these
function Call:read_into(sink)
  local count, err, is_end = self:await("read", sink)
  if not count then return nil, err end
  if type(count) == "string" then -- of a transport that knows no sinks
    sink:feed(count)
    count = #count
  end
  self.received = self.received + count
  return true, nil, is_end
end

--- Counts bytes of the reply; gives the error where they are too many.
---@return lmm.Error? err
function Call:count(bytes)
  self.received = self.received + bytes
  if self.received <= self.client.limits.reply then return nil end
  return self:fail { kind = "limit", phase = "receive",
    reason = ("the reply is longer than %d bytes (limits.reply)"):format(self.client.limits.reply) }
end

--- Reads what there is still of a reply whose last event has come, so that its connection can be used again.
---@param seconds number  how long to wait for its end
function Call:drain(seconds)
  local deadline = self.loop:now() + math.min(seconds, self.time_left)
  repeat until not self.transfer:read(math.min(deadline, self.deadline or deadline))
end

--- The rest of the reply; not all of it where it has more than `most` bytes.
---@param most integer?
---@return string? text, lmm.Error? err, string? partial  what had come before the error
function Call:read_all(most)
  local pieces = {}
  while self.received <= (most or math.huge) do
    local bytes, err = self:read()
    if err then return nil, err, table.concat(pieces) end
    if not bytes then break end
    pieces[#pieces + 1] = bytes
  end
  return table.concat(pieces)
end

local LONGEST_REFUSAL = 1024 * 1024 -- bytes that are read of a refusal, beside what it may quote of the request

--- What some write where nothing is encoded.
local no_encodings = { identity = true, none = true, ["utf-8"] = true, utf8 = true }

--- How the body of a reply is encoded, by its header Content-Encoding, or nil.
local function encoding_of(names)
  for name in names:gmatch "[^%s,]+" do
    if not no_encodings[name:lower()] then return names end
  end
end

--- The error for a reply whose status is no success.
function Call:refusal(head, encoding)
  local most = LONGEST_REFUSAL + 2 * (self.body and self.body:size() or 0) -- it may quote the request, even twice
  local text, err, partial = self:read_all(most)
  if not text and err.kind == "cancelled" then return err end
  text = not encoding and (text or partial) -- of an encoded one the status tells all that can be told
  local failure = require("lmm.answer").refusal(head, text or "", encoding)
  failure.body, failure.content_type = text or nil, head.headers["content-type"]
  if self.model and not failure.hint then failure.hint = self.client:hint_for(self, failure) end
  return self:fail(failure)
end

--- One attempt up to the head of its reply. A reply that refuses is an error.
---@return { status: integer, headers: table<string, string> }? head, lmm.Error? err
function Call:open()
  self.headers, self.received, self.late_until, self.is_ending = nil, 0, nil, nil
  self.limit, self.time_left = "first", self.timeout.first or math.huge
  if self.canned then
    self.transfer, self.headers = self.canned, {}
    return self.canned:head()
  end
  local lines, key = self.client:header_lines(self)
  local is_cancelled = self.cancelled or self.client.closed -- while a key was asked for
  if is_cancelled then return nil, self:fail { kind = "cancelled" } end
  if not lines then return nil, self:fail(key) end
  self.key = key
  local transfer, failure = self.client:get_transport():start {
    method = self.method,
    url = self.url,
    headers = lines,
    body = self.body,
    connect_timeout = self.timeout.connect,
    max_head = self.client.limits.header,
  }
  if not transfer then return nil, self:fail(failure) end
  self.transfer = transfer
  local sum = self.client.usage
  self.requests, sum.requests = self.requests + 1, sum.requests + 1
  if self.body then
    local size = self.body:size()
    self.bytes_sent, sum.bytes_sent = self.bytes_sent + size, sum.bytes_sent + size
  end
  local head, err = self:await "head"
  if not head then return nil, err end
  self.headers = head.headers
  self.client.has_answered = true
  local encoding = head.headers["content-encoding"]
  encoding = encoding and encoding_of(encoding)
  if head.status < 200 or head.status > 299 then return nil, self:refusal(head, encoding) end
  if not encoding then return head end
  return nil, self:fail { kind = "protocol", phase = "receive", reason = "an encoded reply (" .. encoding .. ")" }
end

-- ---- attempts

--- Waits before the next attempt; gives an error where the wait was ended from elsewhere.
function Call:backoff(delay)
  local woken, why = self.loop:wait(self.cell, self.loop:now() + delay)
  if woken or why == "cancelled" then return self:fail { kind = "cancelled" } end
end

--- Prepares the media that are to be sent, where there is something to do (lmm.prepare). It counts as time of the call,
--- but is no attempt.
---@return true? ready, lmm.Error? err
function Call:prepare()
  local prepare = require "lmm.prepare"
  return prepare.all(self.parts, function(elapsed)
    local now = self.loop:now()
    if self.deadline and now >= self.deadline then
      return self:fail { kind = "timeout", phase = "send", limit = "total" }
    end
    local _, why = self.loop:wait(self.cell, math.min(now + prepare.interval(elapsed), self.deadline or math.huge))
    if why == "cancelled" or self.cancelled or self.client.closed then return self:fail { kind = "cancelled" } end
  end)
end

--- Has the pool give it a server, and prepares what that one is to get.
---@return lmm.Error? err, boolean? is_final  no other server can help it
function Call:assign()
  local err = self.pool:assign(self)
  if err or not self.parts then return err end
  local ready, problem = self:prepare()
  return problem, not ready
end

--- Runs `attempt(subject)` until it gives a value, or an error that the policy does not retry.
---@return any value, lmm.Error? err
function Call:run(attempt, subject)
  local failures
  if self.parts then
    local ready, err = self:prepare()
    if not ready then return nil, err end
  end
  while true do
    if self.cancelled or self.client.closed then return nil, self:fail { kind = "cancelled" } end
    self.attempts = self.attempts + 1
    local value, err, is_final
    if self.pool then err, is_final = self:assign() end
    if is_final then return nil, err end
    if not err then
      value, err = attempt(subject)
      if value ~= nil then
        if self.variants then self.variants:accepted() end
        if self.pool then self.pool:answered(self) end
        return value
      end
      self.is_varied = self.variants and self.variants:refused(err) -- also where a stream's event says so
    end
    self:close()
    if self.body then self.body:rewind() end -- closes a file that was not read to its end
    if self.is_varied then -- at once, and as a part of the same attempt
      self.attempts = self.attempts - 1
      self.body, err = self.variants:body()
      if not self.body then return nil, self:fail(err) end
      self.is_varied = nil
    elseif not (self.pool and self.pool:passes_over(self, err)) then
      failures = failures or {}
      failures[#failures + 1] = self.pool and self.pool:error(self, err) or err
      local stopped = self:wait_for_retry(failures)
      if stopped then return nil, stopped end
    end
  end
end

--- Waits as the policy says; gives the error to end with where there is to be no further attempt.
---@return lmm.Error?
function Call:wait_for_retry(failures)
  local err = failures[#failures]
  local is_cancelled = self.cancelled or err.kind == "cancelled"
  local goes_elsewhere = self.pool and self.pool:has_other(self)
  local delay = not is_cancelled and retry.delay(self.policy, failures, self.headers, goes_elsewhere)
  if not delay or self.deadline and self.loop:now() + delay >= self.deadline then return err end
  local on_retry = type(self.policy) == "table" and self.policy.on_retry
  if on_retry then on_retry(self.attempts, err, delay) end
  if not goes_elsewhere then return self:backoff(delay) end
end

--- Raises where this call cannot go on from here.
function Call:check()
  if self.transfer and self.transfer.check then self.transfer:check() end
end

--- Ends the transfer under way; its connection is closed unless the reply was complete.
function Call:close()
  if self.transfer then self.transfer:close() end
  self.transfer = nil
end

--- The call is over, for good. Its entry comes last: Ctrl-C may be raised while the log is written.
---@param err lmm.Error?  how, where that is not well
---@param reply table?
function Call:finish(err, reply)
  self:close()
  if self.pool then self.pool:release(self, err) end
  self.client.calls[self] = false -- nil would have a table with 16 or 64 under way made anew for each that begins
  if self.entry then self.entry:finish(self, err, reply) end
end

--- Ends the call from wherever it is: whoever waits in it gets a `cancelled` error.
function Call:cancel()
  self.cancelled = true
  if self.transfer then self.transfer:close() end
  self.loop:wake(self.cell)
end

return call
