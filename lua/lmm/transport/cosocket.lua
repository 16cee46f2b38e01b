--- Connecting in nginx: a route comes in; a cosocket on which HTTP can be spoken goes out, new or from nginx's pool of
--- idle connections.
-- luacheck: globals ngx
local errors = require "lmm.errors"
local http1 = require "lmm.transport.http1"
local routes = require "lmm.transport.route"

local cosocket = {}

local NO_TIMEOUT = 2 ^ 31 - 1  -- milliseconds: the call has its own deadlines
local IDLE_TIMEOUT = 4000      -- milliseconds that a connection is kept: uvicorn closes it after 5 s
local POOL_SIZE = 64           -- connections to one server that a worker process keeps
local RECEIVE_SIZE = 64 * 1024 -- bytes of a proxy's answer that are received at a time

local Connector = {}
Connector.__index = Connector

--- Makes what connects for one client. Raises where nginx cannot do what is asked for.
---@param opts { tls: table?, unix_socket: string?, proxy: string? }
function cosocket.connector(opts)
  local tls = opts.tls or {}
  if tls.ca then
    errors.misuse "tls.ca cannot be used in nginx: name the file in its directive lua_ssl_trusted_certificate"
  end
  if opts.unix_socket and opts.unix_socket:find ":" then errors.misuse "unix_socket: nginx takes no path with a ':'" end
  return setmetatable({ tls = tls, opts = opts }, Connector)
end

--- Where a request to this URL goes.
function Connector:route(url)
  return routes.of(url, self.opts)
end

--- Gives a connection back, to be used again.
function cosocket.keep(socket)
  return socket:setkeepalive(IDLE_TIMEOUT, POOL_SIZE)
end

local pool_names, count = {}, 0

--- The name of the pool for connections of this kind: those that may stand for one another. It is a number, since a
--- proxy's password may be among what tells the kinds apart.
local function pool_name(route, tls)
  local proxy = route.proxy or {}
  local key = table.concat({ route.scheme, route.scheme == "https" and route.authority or "", route.connect_to,
    route.connect_port or "", proxy.authorization or "", tostring(tls.verify ~= false), tls.cert or "", tls.key or "" },
    "\n")
  if not pool_names[key] then
    count = count + 1
    pool_names[key] = "lmm:" .. count
  end
  return pool_names[key]
end

--- A failure as the transport gives it.
local function failed(phase, reason, more)
  local failure = { kind = "connect", phase = phase, reason = reason }
  for name, value in pairs(more or {}) do failure[name] = value end
  return failure
end

--- The hosts to try for a host: addresses, or its name again once nginx has it in its cache. It is looked up here so
--- that what follows is connecting alone. Only nginx's own resolver is asked, which does not know localhost.
local function resolve(progress, host, port)
  if routes.is_address(host) or host:find "^unix:" then return { host } end
  if routes.is_loopback(host) then return { "127.0.0.1", "[::1]" } end
  progress.phase = "dns"
  local probe = ngx.socket.udp()
  probe:settimeout(NO_TIMEOUT)
  local ok, problem = probe:setpeername(host, port)
  probe:close()
  if ok or not problem:find "resol" then return { host } end
  if not problem:find "no resolver" then return nil, failed("dns", problem) end
  return nil, failed("dns", problem, { permanent = true,
    hint = "nginx looks names up only where its directive resolver names a server" })
end

--- Connects to one host; with `fresh`, not from the pool. Before, nginx gets to look at its idle connections: it closes
--- those on which a server went on talking, whose bytes would else be taken for the next reply.
---@return table? socket
---@return string|boolean problem_or_reused
local function connect_to(progress, host, port, opts, fresh)
  progress:yield()
  while true do
    local socket = ngx.socket.tcp()
    socket:settimeouts(NO_TIMEOUT, NO_TIMEOUT, NO_TIMEOUT)
    local ok, problem
    if port then ok, problem = socket:connect(host, port, opts) else ok, problem = socket:connect(host, opts) end
    if not ok then return nil, problem end
    local is_reused = socket:getreusedtimes() > 0
    if not (is_reused and fresh) then return socket, is_reused end
    socket:close() -- where one was dead, so may be the others
  end
end

--- Has the proxy connect to the server.
---@return table? failure
local function open_tunnel(socket, route, max_head)
  local decoder = http1.decoder { method = "CONNECT", is_tunnel = true, max_head = max_head }
  local _, problem = socket:send(http1.request_head { method = "CONNECT", target = route.tunnel, host = route.tunnel,
    lines = { route.proxy.authorization } })
  while not problem and not decoder.head do
    local bytes
    bytes, problem = socket:receiveany(RECEIVE_SIZE)
    local failure = bytes and decoder:feed(bytes)
    if failure then return failed("connect", "the proxy does not answer as it should: " .. failure.reason) end
  end
  if problem then return failed("connect", "the proxy ended the connection: " .. problem) end
  local status = decoder.head.status
  if status < 300 then return nil end
  local is_refusal = status >= 400 and status < 500 and status ~= 408 and status ~= 429
  return failed("connect", ("CONNECT tunnel failed, response %d"):format(status), { permanent = is_refusal })
end

local function read_file(path, what)
  local file, problem = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  return text, not text and ("the %s cannot be read: %s"):format(what, problem or path) or nil
end

--- Reads and parses the client certificate and its key, once for each client.
---@return boolean? ok, string? problem
function Connector:load_certificate()
  if self.certificate then return true end
  local ssl = require "ngx.ssl"
  local cert, problem = read_file(self.tls.cert, "certificate")
  local key
  if cert then key, problem = read_file(self.tls.key or self.tls.cert, "key of the certificate") end
  if not key then return nil, problem end
  local chain, parsed
  chain, problem = ssl.parse_pem_cert(cert)
  if chain then parsed, problem = ssl.parse_pem_priv_key(key) end
  if not parsed then return nil, "the certificate and its key do not work: " .. tostring(problem) end
  self.certificate, self.key = chain, parsed
  return true
end

local trust_hint = "nginx trusts whom the file of its directive lua_ssl_trusted_certificate names, along a chain no "
  .. "longer than its lua_ssl_verify_depth, which is 1 unless it is set"
local address_hint = "nginx compares a certificate with names, not with addresses: does it have a name?"

--- Calls socket:sslhandshake. Where the certificate is refused and the handshake ends at once, lua-resty-core 0.1.25
--- gives a success if it was told to give no session, though the socket is closed, and else raises an assertion of its
--- own. So a session is asked for, and the reason is read from where its C function has put it.
local function ssl_handshake(socket, name, verify)
  local ok, session, problem = pcall(socket.sslhandshake, socket, nil, name, verify)
  if ok then return session, problem end
  if not tostring(session):find "assertion failed" then error(session, 0) end
  local reason = require("resty.core.base").get_errmsg_ptr()[0]
  return nil, "certificate refused: " .. require("ffi").string(reason)
end

function Connector:handshake(socket, route)
  if self.tls.cert then
    local ok, problem = self:load_certificate()
    if not ok then return failed("tls", problem, { permanent = true }) end
    socket:setclientcert(self.certificate, self.key)
  end
  local name = route.host:gsub("^%[(.*)%]$", "%1")
  local ok, problem = ssl_handshake(socket, name, self.tls.verify ~= false)
  if ok then return nil end
  if problem:find "mismatch" then
    return failed("tls", problem, { permanent = true, hint = routes.is_address(route.host) and address_hint or nil })
  elseif problem:find "^%d+: " or problem:find "certificate" then
    return failed("tls", problem, { permanent = true, hint = trust_hint })
  end
  return failed("tls", problem)
end

--- Connects. `progress.phase` is set to the phase that it is in.
---@param route lmm.Route
---@param progress { phase: string, yield: fun(self) }  the transfer
---@param fresh boolean?    do not use a kept connection
---@param max_head integer  bytes of a proxy's answer
---@return table? socket
---@return table|boolean failure_or_reused  whether it was used before; where there is none, the failure
function Connector:connect(route, progress, fresh, max_head)
  local hosts, failure = resolve(progress, route.connect_to, route.connect_port)
  if not hosts then return nil, failure end
  progress.phase = "connect"
  local socket, outcome
  local pool = { pool = pool_name(route, self.tls), pool_size = POOL_SIZE }
  for _, host in ipairs(hosts) do
    socket, outcome = connect_to(progress, host, route.connect_port, pool, fresh)
    if socket then break end
  end
  if not socket then return nil, failed("connect", outcome) end
  if outcome then return socket, true end
  failure = route.tunnel and open_tunnel(socket, route, max_head)
  if not failure and route.scheme == "https" then
    progress.phase = "tls"
    failure = self:handshake(socket, route)
  end
  if not failure then return socket, false end
  socket:close()
  return nil, failure
end

return cosocket
