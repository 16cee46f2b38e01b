--- Where a request goes: its URL and a client's settings come in; the address to connect to, and what to say of the
--- destination there, go out.
local core = require "lmm.core"
local errors = require "lmm.errors"
local text = require "lmm.text"

local route = {}

--- Whether requests to this host stay on the machine, where no proxy of the environment belongs in between.
function route.is_loopback(host)
  host = host:lower():gsub("%.$", "")
  if host == "localhost" or host:find "%.localhost$" or host:find "^127%.%d+%.%d+%.%d+$" or host == "0.0.0.0" then
    return true
  end
  local v6 = host:match "^%[(.*)%]$"
  return v6 and (v6:find "^[0:]*:0*[01]?$" or v6:find "^[0:]*:ffff:127%.%d+%.%d+%.%d+$") and true
end

--- Whether a host is named by its address.
function route.is_address(host)
  return host:find "^%[" ~= nil or host:find "^%d+%.%d+%.%d+%.%d+$" ~= nil
end

--- An environment variable; an empty one counts as unset.
function route.environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- The groups of an IPv4 address and the 8 bits of each, of an IPv6 address and their 16; nil where it is neither.
local function groups_of(address)
  local groups = {}
  local is_v4, is_v6 = address:find "^%d+%.%d+%.%d+%.%d+$", address:find "^[%x:]*:[%x:]*$"
  if not (is_v4 or is_v6) then return nil end
  local _, count = address:gsub("%x+", "")
  for group in address:gsub("::", (":0"):rep(8 - count) .. ":"):gmatch "%x+" do
    groups[#groups + 1] = tonumber(group, is_v4 and 10 or 16)
  end
  return groups, is_v4 and 8 or 16
end

--- Whether a host is an address in a network, "ADDRESS/BITS", or the address itself.
local function is_within(host, network)
  local address, length = network:match "^([^/]+)/?(%d*)$"
  local groups, size = groups_of(host)
  local others, other_size = groups_of(address or "")
  local left = tonumber(length) or 128
  if not groups or size ~= other_size or #groups ~= #others then return false end
  for i, group in ipairs(groups) do
    local unit = 2 ^ math.max(size - left, 0)
    if math.floor(group / unit) ~= math.floor(others[i] / unit) then return false end
    left = math.max(left - size, 0)
  end
  return true
end

--- Whether $no_proxy names the host: itself, a domain or a network it is in, or "*".
local function bypasses_proxy(host)
  host = host:lower():gsub("%.$", ""):gsub("^%[(.*)%]$", "%1")
  for word in (route.environment "no_proxy" or route.environment "NO_PROXY" or ""):lower():gmatch "[^%s,]+" do
    local name = word:gsub("^%.", ""):gsub("%.$", "")
    if name == "*" or host == name or host:sub(-#name - 1) == "." .. name or is_within(host, name) then return true end
  end
  return false
end

--- The proxy that the environment names for a host, and the variable that does; as with curl, HTTP_PROXY is not heeded,
--- since whoever calls a CGI program sets it.
---@return string? url, string? variable
function route.proxy_of_environment(scheme, host)
  if route.is_loopback(host) or bypasses_proxy(host) then return nil end
  for _, name in ipairs { scheme .. "_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" } do
    local url = (name ~= "HTTPS_PROXY" or scheme == "https") and route.environment(name)
    if url then return url, "$" .. name end
  end
end

local function unescape(given)
  return (given:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local PROXY_PORT = 1080 -- curl's, where the URL of a proxy names none

--- { host, port, authorization } of a proxy's URL.
local function parse_proxy(url)
  local scheme, rest = url:match "^(%a[%w+.-]*)://(.*)$"
  if scheme and scheme:lower() ~= "http" then
    errors.misuse("proxy '%s': from here only http:// proxies can be used", text.without_user(url))
  end
  local user, authority = (rest or url):gsub("/.*$", ""):match "^(.*)@(.*)$"
  authority = authority or (rest or url):gsub("/.*$", "")
  local host, port = authority:match "^(.*):(%d+)$"
  return {
    host = host or authority,
    port = tonumber(port or PROXY_PORT),
    authorization = user and "Proxy-Authorization: Basic " .. core.base64.encode(unescape(user)) or nil,
  }
end

--- Whether a client's server is reached without TLS, without a proxy, and without asking for the address of a name.
---@param opts { base_url: string, proxy: string?, unix_socket: string? }  as lmm.connect takes them
---@return boolean
function route.is_plain(opts)
  local authority = opts.base_url:match "^http://([^/?]+)"
  local host = authority and authority:gsub(":%d+$", "")
  if not host or opts.proxy or opts.unix_socket then return false end
  return route.is_loopback(host) or route.is_address(host) and not host:find "%%" -- of one interface: fe80::1%eth0
end

local ports = { http = 80, https = 443 }

---@class lmm.Route
---@field scheme "http"|"https"
---@field host string       of the URL; an IPv6 address in brackets
---@field port integer
---@field authority string  as the Host header has it
---@field target string     what the request line asks for
---@field proxy { host: string, port: integer, authorization: string? }?
---@field tunnel string?    what the proxy is to connect to
---@field connect_to string the host to connect to, or "unix:PATH"
---@field connect_port integer?

--- The route of a URL for a client with these settings.
---@param url string
---@param opts { proxy: string?, unix_socket: string? }
---@return lmm.Route
function route.of(url, opts)
  local scheme, authority, target = url:match "^(https?)://([^/?]+)(.*)$"
  local host, port = authority:match "^(.*):(%d+)$"
  host, port = host or authority, tonumber(port or ports[scheme])
  local self = { scheme = scheme, host = host, port = port, target = target:find "^/" and target or "/" .. target }
  self.authority = port == ports[scheme] and host or host .. ":" .. port
  if opts.unix_socket then
    self.connect_to = "unix:" .. opts.unix_socket
    return self
  end
  self.proxy = opts.proxy and parse_proxy(opts.proxy)
  if self.proxy and scheme == "https" then
    self.tunnel = host .. ":" .. port
  elseif self.proxy then
    self.target = "http://" .. self.authority .. self.target
  end
  self.connect_to, self.connect_port = host, port
  if self.proxy then self.connect_to, self.connect_port = self.proxy.host, self.proxy.port end
  return self
end

return route
