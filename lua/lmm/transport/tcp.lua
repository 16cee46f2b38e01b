--- The transport over plain TCP: a request comes in; the head and the bytes of its reply go out, as who reads them
--- waits for them. It is for a program that makes a call or a few and ends, to a server whose address is known: to load
--- libcurl and its forty libraries would take longer than all else that such a program does.
--
-- Bytes are moved by the reader alone: what he does not take waits in the kernel, which then holds the server up.
local errors = require "lmm.errors"
local http1 = require "lmm.transport.http1"
local routes = require "lmm.transport.route"
local tcp = require("lmm.version").check "lmm.tcp"

local Transfer = {}
Transfer.__index = Transfer

local Transport = {}
Transport.__index = Transport

local transport = {}

local PIECE_SIZE = 64 * 1024  -- bytes of a body that are read at a time
local STALE_WITHIN = 1        -- seconds of sending in which a kept connection that was dead shows it
local LONGEST_IDLE = 4        -- seconds after which a kept connection is not used again: uvicorn closes it after 5

-- ---- the connection that is kept for the next request: one, since a few calls are made one after the other

local kept -- { connection, authority, since }

function Transport.close()
  if kept then kept.connection:close() end
  kept = nil
end

local function keep(connection, authority, now)
  Transport.close()
  kept = { connection = connection, authority = authority, since = now }
end

--- The one that is kept, where it goes to this host and port and is still open.
local function take(authority, now)
  if not kept or kept.authority ~= authority then return nil end
  local connection, is_fresh = kept.connection, now - kept.since <= LONGEST_IDLE
  kept = nil
  if is_fresh and connection:receive() == false then return connection end
  connection:close() -- the server has closed it, or will soon, or says what nobody asked for
end

-- ---- what the loop moves all transfers by

local watch   -- of this process
local waiting -- descriptor -> the transfer whose reader waits for it

--- The watch, and a new one after a fork: the parent's would take from the parent what it waits for.
local function own_watch()
  if not (watch and watch:is_ours()) then
    Transport.close()
    watch, waiting = assert(tcp.watch()), {}
  end
  return watch
end

local function poller(loop)
  local function poll(seconds)
    for _, number in ipairs(own_watch():ready(seconds)) do
      local transfer = waiting[number]
      waiting[number] = nil
      if transfer then loop:wake(transfer) end
    end
    return next(waiting) ~= nil
  end
  return { name = "tcp", poll = poll, watch = function() return own_watch():number() end, timeout = function() end }
end

-- ---- the transport

--- Makes the transport of one client, whose server is one that `is_plain` of lmm.transport.route tells.
---@return lmm.Transport
function transport.new(loop)
  loop:poller(poller(loop))
  return setmetatable({ loop = loop, watch = own_watch() }, Transport)
end

--- The addresses to try for a host.
local function addresses(host)
  if routes.is_address(host) then return { (host:gsub("^%[(.*)%]$", "%1")) } end
  return { "127.0.0.1", "::1" } -- localhost
end

function Transport:start(request)
  if not self.watch:is_ours() then errors.misuse "this client was made before a fork: connect again in the child" end
  local transfer = setmetatable({
    loop = self.loop,
    watch = self.watch,
    request = request,
    route = routes.of(request.url, {}),
    set = false, task = false, -- it is itself the cell in which its reader waits
  }, Transfer)
  transfer.failure = transfer:begin(true)
  return transfer
end

-- ---- sending

--- Begins the exchange, on the kept connection where there is one and it may be taken.
---@return table? failure
function Transfer:begin(may_be_kept)
  local request, route = self.request, self.route
  self.decoder = http1.decoder { method = request.method, max_head = request.max_head }
  self.is_sent, self.is_at_end, self.connect_problem, self.send_problem = false, false, nil, nil
  if request.body then request.body:rewind() end
  local failure = self:take_piece(http1.request_head { method = request.method, target = route.target,
    host = route.authority, lines = request.headers, size = request.body and request.body:size() })
  if failure then return failure end
  self.began = self.loop:now()
  self.connection = may_be_kept and take(route.authority, self.began) or nil
  self.is_reused = self.connection ~= nil
  self.is_connected = self.is_reused
  if self.is_reused then return self:send() end
  self.connect_deadline = request.connect_timeout and self.began + request.connect_timeout
  self.addresses = addresses(route.host)
  return self:connect()
end

--- Connects to the next address. Where none is left, it is the first one's problem that is told: to a machine without
--- IPv6 that with ::1 would say nothing of localhost.
---@param problem string?  with the one before
---@return table? failure
function Transfer:connect(problem)
  self:drop()
  self.connect_problem = self.connect_problem or problem
  local address = table.remove(self.addresses, 1)
  if not address then return { kind = "connect", phase = "connect", reason = self.connect_problem } end
  local is_none
  self.connection, problem, is_none = tcp.connect(address, self.route.port)
  if self.connection then return self:send() end
  if is_none then return { kind = "connect", phase = "dns", reason = "it is no address", permanent = true } end
  return self:connect(problem)
end

--- Takes the next piece of the body, behind `before`; there is none at its end.
---@return table? failure
function Transfer:take_piece(before)
  local body, piece, problem = self.request.body, nil, nil
  if body then piece, problem = body:read(PIECE_SIZE) end
  if problem then return { kind = "invalid", phase = "send", reason = problem } end
  self.piece, self.from = before and before .. (piece or "") or piece, 1
end

--- Sends what the connection takes now.
---@return table? failure
function Transfer:send()
  if not self.piece then return nil end
  local from, problem = self.connection:send(self.piece, self.from)
  if from == false then return nil end
  if not from then return self:stop_sending(problem) end
  self.is_connected, self.connect_deadline, self.from = true, nil, from
  if from <= #self.piece then return nil end
  local failure = self:take_piece()
  self.is_sent = not self.piece
  return failure
end

--- The connection takes nothing any more. What is received tells why; where nothing is, a new one never stood. A server
--- that is too busy may have said so before it was asked.
---@return table? failure
function Transfer:stop_sending(problem)
  local early
  if not self.is_connected then
    early = self.connection:receive()
    if not early or early == "" then return self:connect(problem) end
    self.is_connected, self.connect_deadline = true, nil
  end
  self.piece, self.send_problem = nil, problem
  return early and self:take_in(early)
end

-- ---- receiving

--- What the transfer is doing.
function Transfer:phase()
  if self.decoder.head then return "receive" end
  return self.is_sent and "wait" or self.is_connected and "send" or "connect"
end

--- Receives what is there.
---@return table? failure
function Transfer:receive()
  local bytes, problem = self.connection:receive()
  if bytes ~= false then return self:take_in(bytes, problem) end
end

--- Takes in what was received, or the end.
---@return table? failure
function Transfer:take_in(bytes, problem)
  local decoder, failure = self.decoder
  if bytes and bytes ~= "" then
    failure = decoder:feed(bytes)
  else
    self.is_at_end = true
    failure = decoder:finish(not decoder.head and self.send_problem or problem)
  end
  if failure and failure.phase == "wait" then failure.phase = self:phase() end
  return failure
end

--- Moves what can be moved. A kept connection that turns out to be dead is replaced, which does not count.
---@return table? failure
function Transfer:move()
  local failure = self:send()
  if not failure and self.is_connected then failure = self:receive() end
  local is_stale = failure and failure.kind == "connect" and self.is_reused
    and self.loop:now() - self.began <= STALE_WITHIN
  if not is_stale then return failure end
  self:drop()
  return self:begin(false)
end

-- ---- the end

--- Parts with the connection, and gives it.
function Transfer:detach()
  local connection = self.connection
  self.connection = nil
  if connection then waiting[connection:number()] = nil end
  return connection
end

--- Gives up the connection.
function Transfer:drop()
  local connection = self:detach()
  if connection then connection:close() end
end

--- The reply is whole: its connection is kept where it may be.
function Transfer:release()
  if not (self.decoder.is_reusable and self.is_sent and not self.is_at_end) then return self:drop() end
  local connection = self:detach()
  if connection then keep(connection, self.route.authority, self.loop:now()) end
end

-- ---- the reader

--- Waits until the connection can go on.
---@return true? ready, table? failure
function Transfer:wait(deadline)
  if not self.watch:is_ours() then errors.misuse "this request was started before a fork: it is the parent's" end
  local limit = math.min(deadline or math.huge, self.connect_deadline or math.huge)
  self.watch:add(self.connection, self.piece ~= nil)
  waiting[self.connection:number()] = self
  local ok, why = self.loop:wait(self, limit < math.huge and limit or nil)
  if ok then return true end
  return nil, { kind = why, phase = self:phase() }
end

--- Waits until `look` gives something, or the reply ends.
function Transfer:await(look, deadline)
  while not self.is_closed do
    local value = look(self.decoder)
    if value then return value end
    if self.failure then return nil, self.failure end
    if self.decoder.done then return self:release() end
    local ok, failure = self:wait(deadline)
    if not ok then return nil, failure end
    self.failure = self.connection and self:move()
  end
  return nil, { kind = "cancelled" }
end

local function look_for_head(decoder)
  return decoder.head
end

function Transfer:head(deadline)
  return self:await(look_for_head, deadline)
end

function Transfer:read(deadline)
  return self:await(self.decoder.take, deadline)
end

function Transfer:close()
  if self.is_closed then return end
  self.is_closed = true
  self:drop()
  self.loop:wake(self)
end

return transport
