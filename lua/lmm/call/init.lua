--- One call: a request comes in, and a transfer whose reply has begun well goes out, tried again as the policy says.
--- Every wait of the call passes through here, so that its time limits and its cancelling are in one place.
local errors = require "lmm.errors"
local redact = require "lmm.call.redact"
local retry = require "lmm.call.retry"
local server_error = require "lmm.answer.server_error"
local texts = require "lmm.text"

---@class lmm.Call
---@field client lmm.Client
---@field method string
---@field url string
---@field body userdata?
---@field timeout table    { connect, first, idle, total }, seconds
---@field policy table|function
---@field started number   when the caller called, by the loop's clock
---@field fields any        what `body` was made of, whose texts nobody needs to be told again
---@field attempts integer
---@field advise nil|fun(fields: table): string?  a better hint for what a server refuses; may ask the server
local Call = {}
Call.__index = Call

local call = {}

--- Makes a call; nothing is sent yet.
---@param terms { timeout: table, policy: table|function, started: number, fields: any }
function call.new(client, method, url, body, terms)
  local self = setmetatable({
    client = client,
    loop = client.loop,
    method = method,
    url = url,
    body = body,
    timeout = terms.timeout,
    policy = terms.policy,
    started = terms.started,
    fields = terms.fields,
    deadline = terms.timeout.total and terms.started + terms.timeout.total,
    cell = {},
    attempts = 0,
    received = 0,
  }, Call)
  client.calls[self] = true
  return self
end

--- What a hint may need to know of the request.
function Call:sent()
  return { url = self.url, base_url = self.client.base_url, size = self.body and self.body:size() }
end

local MOMENT = 0.01 -- seconds

local limit_messages = {
  connect = "could not connect to %s within %g s",
  first = "no answer from %s within %g s",
  idle = "the answer from %s stopped for %g s",
  total = "no complete answer from %s within %g s",
}

local messages = {
  connect = "cannot reach %s: %s",
  protocol = "%s does not answer as it should: %s",
  truncated = "the reply from %s broke off: %s",
}

local connect_hints = {
  connect = "is a server running there?",
  dns = "is the host's name right?",
}

--- The same for TLS, by the words of OpenSSL and libcurl.
local trust = "tls.ca: name the file of the authority's certificate"
local own_key = "tls.key: name the file of the certificate's own key, PEM and without a pass phrase"
local tls_hints = {
  { "self-signed certificate", trust },
  { "self signed certificate", trust }, -- before OpenSSL 3
  { "unable to get local issuer certificate", trust },
  { "alert certificate required", "the server asks for a client certificate: tls.cert and tls.key" },
  { "unable to set private key file", own_key },
}

local LOOKED_AT = 1024 * 1024 -- bytes of what a server says that are looked at
local LONGEST_SECRET = 64 * 1024 -- bytes; servers take no longer header

--- What a server said, without what it quotes of secrets and media. Of more than `most` bytes, LOOKED_AT unless given,
--- the beginning, without its last bytes, which may be half a secret. To be called before anything else is cut off.
---@param is_answer boolean?  the model's own words, all of which stay
---@param most integer?
function Call:redact(text, is_answer, most)
  if is_answer then return self.client:redact(text, self.key, true) end
  most = most or LOOKED_AT
  if #text <= most then return redact.media(self.client:redact(text, self.key)) end
  return redact.media(self.client:redact(text:sub(1, most), self.key):sub(1, -LONGEST_SECRET - 1))
end

local LONGEST_NAME = 64 -- bytes, of an error's code or type
local FAR = 16 -- so many times what will be shown is looked at for texts of the request

--- The same without what it quotes of the request's texts, as one line. A name stays as it is.
function Call:unquote(said)
  if #said > LOOKED_AT then said = self:redact(said) end
  if said:find "^[%w_]+$" and #said <= LONGEST_NAME then return said end
  said = texts.line(self:redact(texts.line(said)), FAR * self.client.limits.error)
  self.texts = self.texts or redact.texts_of(self.fields)
  return redact.quoted(said, self.texts)
end

--- The status by which a proxy has refused a tunnel, in the words of older and newer libcurls.
local function proxy_status(reason)
  return tonumber(reason:match "HTTP code (%d+) from proxy" or reason:match "CONNECT tunnel failed, response (%d+)")
end

--- What to look at where no connection came to be, or nothing came through it.
function Call:connect_hint(failure)
  local reason = failure.reason or ""
  local refusal = proxy_status(reason)
  if refusal then
    return refusal == 407 and server_error.hint({ status = 407, message = reason }, {}) or "the proxy refused"
  end
  if reason:find "[Tt]oo many open files" then return "raise ulimit -n, or let fewer calls run at once" end
  if self.url:find "^https" then
    for _, row in ipairs(tls_hints) do
      if reason:find(row[1], 1, true) then return row[2] end
    end
    local is_plain = not failure.permanent or reason:find "wrong version number" or reason:find "unexpected TLS packet"
    if failure.phase == "tls" and is_plain then return "does the server speak http?" end
  elseif not self.client.has_answered then
    local is_dropped = failure.kind == "connect" and failure.phase == "wait"
    if is_dropped or reason:find "not speak HTTP" then return "does the server speak https?" end
  end
  if self.client.unix_socket and failure.phase == "connect" then return "is a server listening at that path?" end
  return failure.kind == "connect" and connect_hints[failure.phase] or nil
end

--- Where the call goes, for a message: a proxy's user name and password are nobody's business.
function Call:target()
  local client = self.client
  return self.url:gsub("/chat/completions$", "")
    .. (client.proxy and " through " .. texts.without_user(client.proxy) or "")
    .. (client.proxy_variable and " (" .. client.proxy_variable .. ")" or "")
    .. (client.unix_socket and " at " .. client.unix_socket or "")
end

--- The fields of a failure that may be the server's own words.
local words = { message = true, reason = true, code = true, type = true, param = true, request_id = true }

--- The error object for a failure: one of the transport's, or our own in the same form.
function Call:fail(failure)
  if errors.is(failure) then return failure end
  local fields = {}
  local is_theirs = failure.kind == "http" or failure.kind == "protocol"
  for name, value in pairs(failure) do
    fields[name] = is_theirs and words[name] and type(value) == "string" and self:unquote(value) or value
  end
  -- What a server says may hold a NUL, at which %s ends on Lua 5.1 and 5.2.
  local said = texts.line(fields.message or fields.reason or "")
  local base = self:target()
  if self.client.unix_socket then -- even then libcurl tells of the host and port of the URL
    said = said:gsub("^Failed to connect to .- after %d+ ms: ", "")
  end
  if failure.kind == "timeout" then
    fields.limit = failure.limit or "connect"
    fields.message = limit_messages[fields.limit]:format(base, self.timeout[fields.limit] or 0)
    fields.hint = "timeout." .. fields.limit .. " sets this limit"
  elseif failure.kind == "cancelled" then
    fields.message = "the request was cancelled"
  elseif failure.kind == "http" then
    local what = failure.status < 300 and "an error" or "HTTP " .. failure.status
    fields.message = ("%s from %s: %s"):format(what, base, said)
  elseif failure.kind == "connect" and (failure.phase == "send" or failure.phase == "wait") then
    fields.message = ("the connection to %s ended before an answer: %s"):format(base, said)
  else
    local template = messages[failure.kind]
    fields.message = template and template:format(base, said) or said
  end
  if failure.kind == "connect" or failure.kind == "protocol" then
    fields.hint = failure.hint or self:connect_hint(failure)
  end
  local clock = type(self.policy) == "table" and self.policy.clock or os.time
  fields.retry_after = self.headers and retry.requested(self.headers, clock) or nil
  if fields.retry_after and failure.kind == "http" and not fields.hint then
    fields.hint = ("the server asks to wait %g s"):format(fields.retry_after)
  end
  fields.reason = nil
  for _, name in ipairs { "message", "hint", "code", "type", "param", "request_id" } do
    local value = fields[name]
    if type(value) == "string" then
      fields[name] = texts.line(self:redact(texts.line(value)), self.client.limits.error)
    end
  end
  fields.attempts, fields.elapsed = self.attempts, self.loop:now() - self.started
  fields.retryable = retry.is_retryable(fields, self.headers)
  return errors.new(fields)
end

--- The error for JSON that json.decode found to be nested too deep, or nil where its message says something else.
function Call:too_deep(message)
  if not message or not (message:find "too many nested" or message:find "nested more than") then return nil end
  return self:fail { kind = "limit", phase = "receive",
    reason = ("the reply is nested more than %d deep (limits.depth)"):format(self.client.limits.depth) }
end

--- Waits for the transfer's head or next bytes within whichever limit ends first. What a wait takes is taken off
--- `patience`, so that time the reader spends elsewhere does not count. A limit that is reached holds, too, against a
--- server that always has something more to read; but where a wait was overslept, for the program was busy with
--- something else, there is a moment for what has come meanwhile.
function Call:take(method)
  local now = self.loop:now()
  local deadline, limit = now + self.patience, self.waiting_for
  if self.deadline and self.deadline < deadline then deadline, limit = self.deadline, "total" end
  deadline = math.max(deadline, self.grace or deadline)
  local value, failure
  if method == "read" and now >= deadline then
    failure = { kind = "timeout", phase = "receive" }
  else
    value, failure = self.transfer[method](self.transfer, deadline)
  end
  local ended = self.loop:now()
  self.patience = self.patience - (ended - now)
  if value and ended > deadline then self.grace = self.grace or ended + MOMENT end
  if not failure then return value end
  if failure.kind == "timeout" and ended >= deadline then failure.limit = limit end
  return nil, self:fail(failure)
end

--- Something of the content came: from now on the time between pieces counts.
function Call:progress()
  self.first = self.first or self.loop:now() - self.started
  self.waiting_for, self.patience, self.grace = "idle", self.timeout.idle or math.huge, nil
end

--- The next bytes of the reply; nil at its end.
---@return string? bytes, lmm.Error? err
function Call:read()
  local bytes, err = self:take "read"
  if not bytes then return nil, err end
  err = self:count(#bytes)
  if err then return nil, err end
  return bytes
end

--- Counts bytes of the reply, or of what it takes in memory; gives the error where they are too many.
---@return lmm.Error? err
function Call:count(bytes)
  self.received = self.received + bytes
  if self.received <= self.client.limits.reply then return nil end
  return self:fail { kind = "limit", phase = "receive",
    reason = ("the reply is longer than %d bytes (limits.reply)"):format(self.client.limits.reply) }
end

--- The rest of the reply; not all of it where it has more than `most` bytes.
---@param most integer?
function Call:read_all(most)
  local pieces = {}
  while self.received <= (most or math.huge) do
    local bytes, err = self:read()
    if err then return nil, err end
    if not bytes then break end
    pieces[#pieces + 1] = bytes
  end
  return table.concat(pieces)
end

--- One attempt up to the head of its reply. A reply that refuses is an error.
---@return { status: integer, headers: table<string, string> }? head, lmm.Error? err
function Call:open()
  self.headers, self.received, self.grace = nil, 0, nil
  self.waiting_for, self.patience = "first", self.timeout.first or math.huge
  local lines, key = self.client:header_lines(self.body ~= nil)
  local is_over = self.cancelled or self.client.closed -- since a key was asked for
  if is_over then return nil, self:fail { kind = "cancelled" } end
  if not lines then return nil, self:fail(key) end
  self.key = key
  local transfer, failure = self.client:transport():start {
    method = self.method,
    url = self.url,
    headers = lines,
    body = self.body,
    connect_timeout = self.timeout.connect,
    max_head = self.client.limits.header,
  }
  if not transfer then return nil, self:fail(failure) end
  self.transfer = transfer
  local head, err = self:take "head"
  if not head then return nil, err end
  self.headers, self.status = head.headers, head.status
  self.client.has_answered = true
  local is_success = head.status >= 200 and head.status < 300
  local encoding = head.headers["content-encoding"]
  local is_encoded = encoding and encoding:lower() ~= "identity"
  if is_success and is_encoded then
    return nil, self:fail { kind = "protocol", phase = "receive", reason = "an encoded reply (" .. encoding .. ")" }
  end
  if is_success then return head end
  local most = LOOKED_AT + 2 * (self.body and self.body:size() or 0) -- it may quote the request, even twice
  local text
  text, err = self:read_all(most)
  if not text and err.kind == "cancelled" then return nil, err end
  if is_encoded then text = nil end -- the status tells all that can be told
  head.headers.location = head.headers.location and self:redact(head.headers.location)
  local fields = server_error.from_reply(head, self:redact(text or "", false, most), self:sent())
  if self.advise then fields.hint = self.advise(fields) or fields.hint end
  return nil, self:fail(fields)
end

--- Waits before the next attempt; gives an error where the wait was ended from elsewhere.
function Call:sleep(delay)
  local woken, why = self.loop:wait(self.cell, self.loop:now() + delay)
  if woken or why == "cancelled" then return self:fail { kind = "cancelled" } end
end

--- Runs `attempt()` until it gives a value, or an error that the policy does not retry.
---@return any value, lmm.Error? err
function Call:run(attempt)
  local failures = {}
  while true do
    if self.cancelled or self.client.closed then return nil, self:fail { kind = "cancelled" } end
    self.attempts = self.attempts + 1
    local value, err = attempt()
    if value ~= nil then return value end
    self:close()
    if self.body then self.body:rewind() end -- lets go of a file that was not read to its end
    failures[#failures + 1] = err
    local delay = not self.cancelled and err.kind ~= "cancelled" and retry.delay(self.policy, failures, self.headers)
    if not delay or self.deadline and self.loop:now() + delay >= self.deadline then return nil, err end
    local told = type(self.policy) == "table" and self.policy.on_retry
    if told then told(self.attempts, err, delay) end
    local stopped = self:sleep(delay)
    if stopped then return nil, stopped end
  end
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

--- Ends the call from wherever it is: whoever waits in it gets a `cancelled` error.
function Call:cancel()
  self.cancelled = true
  if self.transfer then self.transfer:close() end
  self.loop:wake(self.cell)
end

return call
