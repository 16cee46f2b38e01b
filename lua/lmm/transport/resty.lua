--- The transport over nginx's cosockets: a request comes in; head and bytes go out as light threads wait for them.
--
-- What may take long runs in light threads of the transfer's own, so that it can be ended at any moment: a `worker`
-- connects, sends the head, and receives on demand; a `sender` uploads a body that is too large to go with the head.
-- nginx lets only the parent of a light thread end it, so whoever waits in `head` or `read` starts them and ends them.
-- A transfer belongs to its request. Only nginx's own pool of idle connections is shared.
-- luacheck: globals ngx
local cosocket = require "lmm.transport.cosocket"
local errors = require "lmm.errors"
local http1 = require "lmm.transport.http1"

local Transfer = {}
Transfer.__index = Transfer

local Transport = {}
Transport.__index = Transport

local transport = {}

local INLINE_BODY = 64 * 1024 -- bytes: a body up to this size goes with the head
local PIECE = 128 * 1024      -- bytes of a larger one that are read at a time
local TURN = 512 * 1024       -- bytes after which an upload lets others go on, however fast the server takes them
local RECEIVE = 256 * 1024    -- bytes that are taken in at a time, and no more before they were read
local DEAD_WITHIN = 1         -- seconds of sending in which a kept connection that was dead shows it
local LINGER = 0.1            -- seconds that an idle worker awaits the next read: so long it may keep its request

--- Makes a transport for one server. Options: `proxy`, `unix_socket`, `tls` as lmm.connect takes them.
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
    size = request.body and request.body:size(),
    route = self.connector:route(request.url),
    owned_by = self.loop.request(), -- the request that this is part of
    cell = {},    -- for whoever waits in head or read
    demand = {},  -- for the worker
    threads = {}, -- by name
    active = {},  -- name -> a token, unless it has ended
    stage = "connect",
  }, Transfer)
end

-- ---- the worker

--- The whole of a body that is small; nil where it is to be uploaded.
function Transfer:small_body()
  local body = self.request.body
  if not body then return "" end
  body:rewind()
  if self.size > INLINE_BODY then return nil end
  local pieces = {}
  while true do
    local piece, problem = body:read(INLINE_BODY)
    if problem then return nil, { kind = "invalid", phase = "send", reason = problem } end
    if not piece then return table.concat(pieces) end
    pieces[#pieces + 1] = piece
  end
end

--- Sends the head and what goes with it. Where that fails, it is the receiving that tells: there may be an answer.
function Transfer:send()
  local request, route = self.request, self.route
  local body, failure = self:small_body()
  if failure then return failure end
  local lines = {}
  for i, line in ipairs(request.headers) do lines[i] = line end
  if route.proxy and not route.tunnel then lines[#lines + 1] = route.proxy.authorization end
  self.stage, self.sent_at = "send", self.loop:now()
  local sent, problem = self.socket:send { http1.request_head { method = request.method, target = route.target,
    host = route.authority, lines = lines, size = self.size }, body or "" }
  self.send_problem = problem
  if body and sent then
    self.stage, self.is_sent = "wait", true
  elseif sent then
    self.wants_sender = true
    self.loop:wake(self.cell)
  end
end

--- Connects and sends.
function Transfer:begin()
  local timeout, max_head = self.request.connect_timeout, self.request.max_head
  self.decoder, self.is_sent = http1.decoder { method = self.request.method, max_head = max_head }, false
  self.is_over = false
  self.connect_deadline = timeout and self.loop:now() + timeout
  local socket, outcome = self.connector:connect(self.route, self, self.is_second, max_head)
  self.connect_deadline = nil
  self.loop:wake(self.cell) -- who waits has another limit from here on
  if not socket then return outcome end
  self.socket, self.is_reused = socket, outcome
  return self:send()
end

--- Takes bytes in until there is something for the reader.
function Transfer:receive()
  local decoder = self.decoder
  local had_head = decoder.head
  repeat
    local bytes, problem = self.socket:receiveany(RECEIVE)
    local failure
    if bytes then
      failure = decoder:feed(bytes)
    else
      self.is_over = true
      failure = decoder:finish(problem ~= "closed" and problem or not decoder.head and self.send_problem or nil)
    end
    if failure then
      if failure.phase == "wait" then failure.phase = self.stage end
      return failure
    end
  until decoder.done or decoder.head and (not had_head or #decoder.pieces > 0)
  self.stage = "receive"
  if decoder.done and not self.active.sender then self:release() end
end

--- Gives the connection of a whole reply back to the pool, or closes it.
function Transfer:release()
  local socket = self.socket
  self.socket = nil
  local may_be_kept = self.decoder.is_reusable and self.is_sent and not self.is_over
  if not (may_be_kept and cosocket.keep(socket)) then socket:close() end
end

function Transfer:work()
  local demand = self.demand
  local failure = not self.socket and self:begin() or nil
  while true do
    failure = failure or self:receive()
    local was_dead = self.is_reused and failure and failure.kind == "connect" and not self.is_second
      and self.loop:now() - self.sent_at <= DEAD_WITHIN
    if was_dead then self.is_stale = true else self.failure = failure end
    if failure or self.decoder.done or self.closed then return end
    self.loop:wake(self.cell)
    self.is_idle = true
    local is_wanted = self.loop:wait(demand, self.loop:now() + LINGER)
    if demand.is_over or not is_wanted then return end
    self.is_idle = false
  end
end

-- ---- the sender

function Transfer:upload()
  local body, socket, since = self.request.body, self.socket, 0
  while not self.closed do
    local piece, problem = body:read(PIECE)
    if problem then
      self.failure = { kind = "invalid", phase = "send", reason = problem }
      return
    elseif not piece then
      if not self.decoder.head then self.stage = "wait" end
      self.is_sent = true
      return
    end
    local sent
    sent, self.send_problem = socket:send(piece)
    if not sent then return end
    collectgarbage("step", 2 * PIECE / 1024) -- what a piece leaves behind would else pile up to the size of the heap
    since = since + #piece
    if since >= TURN then
      since = 0
      ngx.sleep(0.001) -- after 0 seconds nginx comes back before it looks at anybody else
    end
  end
end

-- ---- whoever waits

--- Who runs: a task, which nginx's coroutines are not as they are used again, or else the coroutine.
function Transfer:runner()
  return self.loop.running() or coroutine.running()
end

function Transfer:launch(name, fn)
  local token = {}
  self.owner, self.active[name] = self:runner(), token
  self.threads[name] = ngx.thread.spawn(function()
    local ok, problem = pcall(fn, self)
    if not ok then self.raised = { problem } end
    if self.active[name] == token then self.active[name] = nil end
    self.loop:wake(self.cell)
  end)
end

--- Ends the light threads and closes the socket. In another request nothing of this one can be touched; and a worker
--- that somebody else has started ends by itself, since it is told to.
function Transfer:halt()
  if self.loop.request() ~= self.owned_by then return end
  for _, thread in pairs(self.threads) do pcall(ngx.thread.kill, thread) end
  self.demand.is_over = true
  self.loop:wake(self.demand)
  local socket = self.socket
  self.threads, self.active, self.demand, self.is_idle, self.socket = {}, {}, {}, false, nil
  if socket then pcall(socket.close, socket) end
end

--- Sees to it that something is done for the one who waits.
function Transfer:drive()
  if self.is_stale then -- the connection was kept, and dead: once again on another, which does not count
    self:halt()
    self.is_stale, self.is_second, self.wants_sender = false, true, false
  end
  if self.wants_sender then
    self.wants_sender = false
    self:launch("sender", self.upload)
  end
  if self.active.worker and not self.is_idle then return end
  if self.active.worker and self.owner == self:runner() then return self.loop:wake(self.demand) end
  self.demand.is_over = true
  self.loop:wake(self.demand)
  if self.threads.worker then pcall(ngx.thread.kill, self.threads.worker) end
  self.demand, self.is_idle = {}, false
  self:launch("worker", self.work)
end

--- Raises where nothing of this transfer can be touched.
function Transfer:check()
  local request = self.loop.request()
  if type(request) == "string" and request ~= self.owned_by then
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
      self:halt() -- where a body is still being sent that the server did not wait for
      return nil
    end
    self:drive()
    local limit = math.min(deadline or math.huge, self.connect_deadline or math.huge)
    local ok, why = self.loop:wait(self.cell, limit < math.huge and limit or nil)
    if not ok then
      local phase = self.stage
      self:halt()
      self.failure = { kind = why, phase = phase }
    end
  end
  self:halt()
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
  local is_busy = self.active.sender or self.active.worker and not self.is_idle
  if not is_busy or self.owner == self:runner() then self:halt() end
  self.loop:wake(self.cell) -- else it is the reader who ends what it has started
end

return transport
