--- The transport over libcurl: a request comes in; head and bytes go out as the loop's tasks wait for them.
local core = require "lmm.core"
local version = require "lmm.version"

require("lmm.transport").load_libcurl()
local curl = version.check "lmm.curl"

---@class lmm.TransportRequest
---@field method string
---@field url string
---@field headers string[]          lines, "Name: value"
---@field body userdata?            of lmm.core
---@field connect_timeout number?   seconds, for DNS, TCP and TLS together
---@field max_head integer          bytes

---@class lmm.Transport
---@field start fun(self, request: lmm.TransportRequest): lmm.Transfer?, table?  never waits
---@field close nil|fun(self)  its client asks nothing any more

---@class lmm.Transfer
---@field head fun(self, deadline?: number): { status: integer, headers: table<string, string> }?, table?
---@field read fun(self, deadline?: number, sink?: userdata): string|integer|nil, table?, boolean?  bytes, or, where
--- they went into the sink (core.answer), their number, and whether the reply is known to end with them; nil alone at
--- the end. A transport may ignore the sink, and need not know the end
---@field close fun(self)  idempotent; the socket is closed on return; wakes the reader

--- A failure at this seam is a plain table { kind, phase, reason?, permanent?, hint? }; the call that it belongs to
--- makes the error of it.

--- A transfer is itself the cell in which its reader waits.
local Transfer = {}
Transfer.__index = Transfer

local Transport = {}
Transport.__index = Transport

local transport = {}

--- What the loop moves all transfers by.
local function poller(loop)
  local function poll(seconds)
    local busy = curl.poll(seconds)
    for transfer in curl.changed do loop:wake(transfer) end
    return busy
  end
  return { name = "curl", poll = poll, watch = curl.watch, timeout = curl.timeout }
end

--- Makes a transport for one server. Options: `proxy`, `unix_socket`, `tls` as lmm.connect takes them.
---@return lmm.Transport
function transport.new(loop, opts)
  local tls = opts.tls or {}
  loop:poller(poller(loop))
  return setmetatable({
    loop = loop,
    connection = curl.connect {
      proxy = opts.proxy or "", -- the environment was asked when the client was made
      no_proxy = "",
      unix_socket = opts.unix_socket,
      ca = tls.ca,
      cert = tls.cert,
      key = tls.key,
      verify = tls.verify,
    },
  }, Transport)
end

function Transport:start(request)
  local transfer = setmetatable({ loop = self.loop, handle = nil,
    set = false, task = false }, Transfer) -- a place for both, so that waiting and waking allocate nothing
  local handle, reason = self.connection:start(request, transfer)
  if not handle then return nil, { kind = "invalid", phase = "send", reason = reason } end
  transfer.handle = handle
  return transfer
end

--- The connections kept for later belong to all clients, and it costs no more than a new one to close all of them.
function Transport.close()
  curl.close_idle()
end

--- Calls a method of the handle until it has an answer; false stands for "not yet".
function Transfer:await(method, deadline, argument)
  while self.handle do
    local first, second, phase, reason, permanent = self.handle[method](self.handle, argument)
    if first then return first, second, phase end
    if first == nil then
      return nil, second and { kind = second, phase = phase, reason = reason, permanent = permanent }
    end
    local ok, why = self.loop:wait(self, deadline)
    if not ok then return nil, { kind = why, phase = self.handle and self.handle:phase() } end
  end
  return nil, { kind = "cancelled" }
end

function Transfer:head(deadline)
  local status, text = self:await("head", deadline)
  if not status then return nil, text end
  return { status = status, headers = core.headers(text) }
end

function Transfer:read(deadline, sink)
  return self:await("read", deadline, sink)
end

function Transfer:close()
  if not self.handle then return end
  self.handle:close()
  self.handle = nil
  self.loop:wake(self)
end

return transport
