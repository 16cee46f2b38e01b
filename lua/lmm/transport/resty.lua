--- The transport over nginx's cosockets: a request comes in; the head and the bytes of its reply go out, as light
--- threads wait for them.
--
-- What may take long runs in light threads of the transfer's own, so that it can be ended at any moment: a `receiver`
-- connects, sends the head of the request, and receives when it is asked to; a `sender` uploads a body that is too
-- large to go with the head. nginx lets only the parent of a light thread kill it, so whoever waits in `head` or `read`
-- (the reader) starts them and stops them. A transfer belongs to its request; only nginx's pools of idle connections
-- are shared.
-- luacheck: globals ngx
local cosocket = require "lmm.transport.cosocket"
local errors = require "lmm.errors"
local http1 = require "lmm.transport.http1"

local Transfer = {}
Transfer.__index = Transfer

local Transport = {}
Transport.__index = Transport

local transport = {}

local INLINE_BODY = 64 * 1024         -- bytes: a body up to this size goes with the head
local PIECE_SIZE = 96 * 1024          -- bytes of a larger one that are sent at a time
local YIELD_AFTER = 1024 * 1024       -- bytes of an upload after which nginx gets to handle other events
local COLLECT_AFTER = 4 * 1024 * 1024 -- bytes of an upload after which the collector is to go around
local RECEIVE_SIZE = 256 * 1024       -- bytes that are received at a time, and no more before they were read
local STALE_WITHIN = 1                -- seconds of sending in which a kept connection that was dead shows it
local IDLE_TIMEOUT = 0.1              -- seconds that an idle receiver waits, and may keep its request from ending
local YIELD_TIMEOUT = 0.001           -- seconds, the shortest time that nginx knows

--- Makes the transport of one client. Options: `base_url`, `proxy`, `unix_socket`, `tls` as lmm.connect takes them.
---@return lmm.Transport
function transport.new(loop, opts)
  local connector = cosocket.connector(opts)
  if opts.base_url then connector:route(opts.base_url) end -- raises where the proxy cannot be used
  return setmetatable({ loop = loop, connector = connector }, Transport)
end

function Transport:start(request)
  self.loop.check()
  return setmetatable({
    loop = self.loop,
    connector = self.connector,
    request = request,
    body_size = request.body and request.body:size(),
    route = self.connector:route(request.url),
    nginx_request = self.loop.request(), -- the request to nginx that this is part of
    ready = {},   -- the cell in which the reader waits
    wanted = {},  -- the cell in which an idle receiver waits
    threads = {}, -- by name
    running = {}, -- name -> a token, until the thread has ended
    phase = "connect",
  }, Transfer)
end

--- Lets nginx look at its connections and handle what has happened there, and comes back without delay. ngx.sleep(0)
--- alone does not do: for a thread that a timer has resumed it sets a timer that is due, and nginx handles all timers
--- that are due before it looks at its connections again. So the thread first has itself woken by the reader, since
--- nginx handles what wakes a thread after the timers. It does so once more afterwards, since with the directive
--- accept_mutex nginx handles after the timers what it has seen on its connections, too.
function Transfer:yield()
  local function wait_for_reader()
    local cell = {}
    self.yielding = cell
    self.loop:wake(self.ready)
    self.loop:wait(cell, self.loop:now() + YIELD_TIMEOUT) -- a reader that is busy elsewhere wakes nobody
  end
  wait_for_reader()
  ngx.sleep(0)
  wait_for_reader()
end

-- ---- the receiver

--- The whole of a body that is small; nil where it is to be uploaded.
---@return string? bytes, table? failure
function Transfer:inline_body()
  local body = self.request.body
  if not body then return "" end
  body:rewind()
  if self.body_size > INLINE_BODY then return nil end
  local pieces = {}
  while true do
    local piece, problem = body:read(INLINE_BODY)
    if problem then return nil, { kind = "invalid", phase = "send", reason = problem } end
    if not piece then return table.concat(pieces) end
    pieces[#pieces + 1] = piece
  end
end

--- Sends the head and what goes with it. Where that fails, it is receiving that tells why: there may be an answer.
function Transfer:send_head()
  local request, route = self.request, self.route
  local body, failure = self:inline_body()
  if failure then return failure end
  local lines = {}
  for i, line in ipairs(request.headers) do lines[i] = line end
  if route.proxy and not route.tunnel then lines[#lines + 1] = route.proxy.authorization end
  self.phase, self.sent_at = "send", self.loop:now()
  local sent, problem = self.socket:send { http1.request_head { method = request.method, target = route.target,
    host = route.authority, lines = lines, size = self.body_size }, body or "" }
  self.send_problem = problem
  if body and sent then
    self.phase, self.is_sent = "wait", true
  elseif sent then
    self.needs_sender = true
    self.loop:wake(self.ready)
  end
end

--- Connects and sends the head.
function Transfer:connect()
  local timeout, max_head = self.request.connect_timeout, self.request.max_head
  self.decoder, self.is_sent = http1.decoder { method = self.request.method, max_head = max_head }, false
  self.is_closed_by_server = false
  self.connect_deadline = timeout and self.loop:now() + timeout
  local socket, outcome = self.connector:connect(self.route, self, self.is_second, max_head)
  self.connect_deadline = nil
  self.loop:wake(self.ready) -- the reader's deadline is another one from here on
  if not socket then return outcome end
  self.socket, self.is_reused = socket, outcome
  return self:send_head()
end

--- Receives until there is something for the reader.
function Transfer:receive()
  local decoder = self.decoder
  local had_head = decoder.head
  repeat
    local bytes, problem = self.socket:receiveany(RECEIVE_SIZE)
    local failure
    if bytes then
      failure = decoder:feed(bytes)
    else
      self.is_closed_by_server = true
      failure = decoder:finish(problem ~= "closed" and problem or not decoder.head and self.send_problem or nil)
    end
    if failure then
      if failure.phase == "wait" then failure.phase = self.phase end
      return failure
    end
  until decoder.done or decoder.head and (not had_head or #decoder.pieces > 0)
  self.phase = "receive"
  if decoder.done and not self.running.sender then self:release() end
end

--- Gives the connection of a whole reply back to the pool, or closes it.
function Transfer:release()
  local socket = self.socket
  self.socket = nil
  local may_be_kept = self.decoder.is_reusable and self.is_sent and not self.is_closed_by_server
  if not (may_be_kept and cosocket.keep(socket)) then socket:close() end
end

function Transfer:run_receiver()
  local wanted = self.wanted
  local failure = not self.socket and self:connect() or nil
  while true do
    failure = failure or self:receive()
    local was_stale = self.is_reused and failure and failure.kind == "connect" and not self.is_second
      and self.loop:now() - self.sent_at <= STALE_WITHIN
    if was_stale then self.is_stale = true else self.failure = failure end
    if failure or self.decoder.done or self.closed then return end
    self.loop:wake(self.ready)
    self.is_idle = true
    local is_wanted = self.loop:wait(wanted, self.loop:now() + IDLE_TIMEOUT)
    if wanted.is_stopped or not is_wanted then return end
    self.is_idle = false
  end
end

-- ---- the sender

--- Uploads the body. For a string of any length LuaJIT's collector goes on by the same step, so that with long pieces
--- what is to be collected would grow to many times the heap: from COLLECT_AFTER on it is moved on by as much as small
--- strings would have moved it, until it has gone around.
function Transfer:run_sender()
  local body, socket, since_yield, since_collection = self.request.body, self.socket, 0, 0
  while not self.closed do
    local piece, problem = body:read(PIECE_SIZE)
    if problem then
      self.failure = { kind = "invalid", phase = "send", reason = problem }
      return
    elseif not piece then
      if not self.decoder.head then self.phase = "wait" end
      self.is_sent = true
      return
    end
    local sent
    sent, self.send_problem = socket:send(piece)
    if not sent then return end
    since_yield, since_collection = since_yield + #piece, since_collection + #piece
    if since_collection >= COLLECT_AFTER and collectgarbage("step", PIECE_SIZE / 1024) then since_collection = 0 end
    if since_yield >= YIELD_AFTER then
      since_yield = 0
      self:yield()
    end
  end
end

-- ---- the reader

--- What runs: a task, which nginx's coroutines are not, since it uses them again, or else the coroutine.
function Transfer:current()
  return self.loop.running() or coroutine.running()
end

function Transfer:start_thread(name, fn)
  local token = {}
  self.owner, self.running[name] = self:current(), token
  self.threads[name] = ngx.thread.spawn(function()
    local ok, problem = pcall(fn, self)
    if not ok then self.raised = { problem } end
    if self.running[name] == token then self.running[name] = nil end
    self.loop:wake(self.ready)
  end)
end

--- Has a receiver that is idle end by itself.
function Transfer:dismiss_receiver()
  self.wanted.is_stopped = true
  self.loop:wake(self.wanted)
  self.wanted, self.is_idle = {}, false
end

--- Stops the light threads and closes the socket. In another request nothing of this one can be touched; and a receiver
--- that somebody else has started cannot be killed, but ends by itself.
function Transfer:stop()
  if self.loop.request() ~= self.nginx_request then return end
  for _, thread in pairs(self.threads) do pcall(ngx.thread.kill, thread) end
  self:dismiss_receiver()
  local socket = self.socket
  self.threads, self.running, self.socket = {}, {}, nil
  if socket then pcall(socket.close, socket) end
end

--- Sees to it that what the reader waits for is being done.
function Transfer:ensure_threads()
  if self.yielding then
    self.loop:wake(self.yielding)
    self.yielding = nil
  end
  if self.is_stale then -- the connection was kept, and dead: once again on another, which does not count
    self:stop()
    self.is_stale, self.is_second, self.needs_sender = false, true, false
  end
  if self.needs_sender then
    self.needs_sender = false
    self:start_thread("sender", self.run_sender)
  end
  if self.running.receiver and not self.is_idle then return end
  if self.running.receiver and self.owner == self:current() then return self.loop:wake(self.wanted) end
  self:dismiss_receiver()
  if self.threads.receiver then pcall(ngx.thread.kill, self.threads.receiver) end
  self:start_thread("receiver", self.run_receiver)
end

--- Raises where nothing of this transfer can be touched.
function Transfer:check()
  local request = self.loop.request()
  if type(request) == "string" and request ~= self.nginx_request then
    errors.misuse "this stream belongs to another request of nginx"
  end
end

--- Waits until `look` gives something, or the reply ends.
function Transfer:await(look, deadline)
  while not self.closed do
    local value = look(self)
    if value then return value end
    if self.raised then error(self.raised[1], 0) end
    if self.failure then return nil, self.failure end
    if self.decoder and self.decoder.done then
      self:stop() -- where a body is still being sent that the server did not wait for
      return nil
    end
    self:ensure_threads()
    local limit = math.min(deadline or math.huge, self.connect_deadline or math.huge)
    local ok, why = self.loop:wait(self.ready, limit < math.huge and limit or nil)
    if not ok then
      local phase = self.phase
      self:stop()
      self.failure = { kind = why, phase = phase }
    end
  end
  self:stop()
  return nil, { kind = "cancelled" }
end

local function look_for_head(self)
  return self.decoder and self.decoder.head
end

local function look_for_bytes(self)
  return self.decoder and self.decoder:take()
end

function Transfer:head(deadline)
  return self:await(look_for_head, deadline)
end

function Transfer:read(deadline)
  return self:await(look_for_bytes, deadline)
end

function Transfer:close()
  if self.closed then return end
  self.closed = true
  local is_busy = self.running.sender or self.running.receiver and not self.is_idle
  if not is_busy or self.owner == self:current() then self:stop() end
  self.loop:wake(self.ready) -- else it is the reader who stops what it has started
end

return transport
