--- The settings of a client: the options of lmm.connect, and of a call, come in; checked settings go out.
local dialects = require("lmm.request").dialects
local errors = require "lmm.errors"
local options = require "lmm.options"
local retry = require "lmm.call.retry"
local transport = require "lmm.transport"
local text = require "lmm.text"
local usage = require "lmm.call.usage"
local version = require "lmm.version"

local settings = {}

local rows = {
  base_url = "string|table", api_key = "string|function", model = "string", headers = "table", timeout = "number|table",
  retry = "table|function|boolean", proxy = "string|boolean", tls = "table", unix_socket = "string", limits = "table",
  user_agent = "string", dialect = "string|table", media_cache = "boolean", prices = "table",
  log = "string|boolean", log_media = "boolean", cache = "boolean",
}
setmetatable(rows, { __index = { transport = "table" } }) -- for specs: taken, but not among the names that are listed

local timeout_rows = { connect = "number", first = "number", idle = "number", total = "number" }
local timeout_defaults = { connect = 10, first = 600, idle = 120 }
local tls_rows = { ca = "string", cert = "string", key = "string", verify = "boolean" }
local limit_defaults = {
  header = 64 * 1024, reply = 64 * 1024 * 1024, event = 64 * 1024 * 1024, depth = 1000, calls = 128, choices = 128,
  error = 2000,
}
local limit_rows = {}
for name in pairs(limit_defaults) do limit_rows[name] = "number" end

local function merged(defaults, given)
  local out = {}
  for name, value in pairs(defaults) do out[name] = value end
  for name, value in pairs(given) do out[name] = value end
  return out
end

--- { connect, first, idle, total } of a number (the total) or a table, over what holds otherwise.
function settings.timeout(where, given, base)
  if type(given) == "number" then given = { total = given } end
  if given ~= nil and type(given) ~= "table" then
    errors.misuse("%s: timeout is a number of seconds or a table, not a %s", where, type(given))
  end
  given = options.check(where .. " timeout", timeout_rows, given)
  for name, seconds in pairs(given) do options.check_seconds(where .. ": timeout." .. name, seconds) end
  return merged(base, given)
end

--- Refuses what would break out of a line of the request's head; the value itself may be a secret and is not shown.
function settings.line(what, value)
  if value:find "[%c]" then errors.misuse("%s holds a control character (CR, LF, NUL, ...)", what) end
  return value
end

--- A model's name.
function settings.model(name)
  if name == "" then errors.misuse "model is empty: leave it out to ask the first that the server lists" end
  return settings.line("model", name)
end

--- The host in "host" or "host:port", an IPv6 address in brackets; nil where it is neither.
local function host_of(authority)
  local host, rest = authority:match "^(%[[%x:.]*%%?[%w._-]*%])(.*)$"
  if not host then host, rest = authority:match "^([^:@%s]+)(.*)$" end
  local port = host and (rest:find "^:?$" and 1 or tonumber(rest:match "^:(%d+)$"))
  return port and port >= 1 and port <= 65535 and host or nil
end

local proxy_schemes = {
  http = true, https = true, socks = true, socks4 = true, socks4a = true, socks5 = true, socks5h = true,
}

---@param what string  where the URL comes from, for messages
local function check_proxy(url, what)
  settings.line(what, url)
  local shown = text.without_user(url)
  local scheme, rest = url:match "^(%a[%w+.-]*)://(.*)$"
  local authority = (rest or url):match "^[^/?#]*"
  if scheme and not proxy_schemes[scheme:lower()] then
    errors.misuse("%s '%s': http, https, socks4 and socks5 proxies can be used, not %s", what, shown, scheme)
  elseif not host_of(authority:gsub("^[^@%s]*@", "")) then
    errors.misuse("%s '%s' is not a proxy's address%s", what, shown,
      url:find "@" and ": a user name and a password are written with %40 for @, %2F for / and so on" or "")
  end
  return url
end

--- The proxy to go through, or nil, and the variable of the environment that names it.
local function find_proxy(opts, base_url, host)
  local given = opts.proxy
  if given == true then errors.misuse "proxy is a URL, or false for none, not true" end
  if given then return check_proxy(given, "proxy") end
  if given == false or opts.unix_socket or opts.transport then return nil end
  local url, variable = transport.proxy_of_environment(base_url:match "^%a+", host)
  return url and check_proxy(url, variable), variable
end

local LONGEST_SOCKET = 107 -- bytes, on Linux: see unix(7)

local function check_socket(path)
  if path == "" or path:find "%z" or #path > LONGEST_SOCKET then
    errors.misuse("unix_socket: a path of 1 to %d bytes expected", LONGEST_SOCKET)
  end
  return path
end

--- Why the file cannot be read, or nil. Nothing is taken from it: it may be a pipe.
local function problem_of(path)
  local file, problem = io.open(path, "rb")
  if not file then return problem:sub(#path + #": " + 1) end
  file:close()
  file = io.open(path .. "/.", "rb") -- a directory can be opened, too, but a file has nothing in it
  if file then file:close() end
  return file and "Is a directory" or nil
end

--- Whether they fit together, the handshake finds out.
local function check_tls(given)
  local tls = merged({}, options.check("lmm.connect tls", tls_rows, given))
  for _, name in ipairs { "ca", "cert", "key" } do
    local problem = tls[name] and problem_of(tls[name])
    if problem then errors.misuse("lmm.connect: tls.%s: cannot read '%s': %s", name, tls[name], problem) end
  end
  return tls
end

local DEEPEST = 2500 -- a value takes some of the Lua stack for each level; Lua 5.1 has no more

local function check_limits(given)
  local limits = merged(limit_defaults, options.check("lmm.connect limits", limit_rows, given))
  for name, value in pairs(limits) do
    local is_whole = value == math.huge or value % 1 == 0
    if not (is_whole and value >= 1) then
      errors.misuse("lmm.connect limits: '%s' must be a whole number, 1 at least, not %s", name, tostring(value))
    elseif name == "depth" and value > DEEPEST then
      errors.misuse("lmm.connect limits: 'depth' must be %d at most, not %s", DEEPEST, tostring(value))
    end
    limits[name] = math.floor(math.min(value, 2 ^ 31 - 1)) -- as much as fits everywhere
  end
  return limits
end

---@param what string  where the URL comes from, for messages
---@return string base_url, string query  which begins with "?", or is empty
---@return string host
local function check_base_url(url, what)
  settings.line(what, url)
  local scheme, host = url:match "^(%a[%w+.-]*)://([^/?#]*)"
  local shown = text.without_user(url):gsub("[?#].*", "") -- what follows may hold a key
  if not scheme then
    errors.misuse("%s '%s' has no scheme: write http://%s or https://%s", what, shown, shown, shown)
  elseif scheme:lower() ~= "http" and scheme:lower() ~= "https" then
    errors.misuse("%s '%s': only http and https servers can be asked, not %s", what, shown, scheme)
  elseif host:find "@" then
    errors.misuse("%s holds a user name or password: pass api_key or headers instead", what)
  end
  local name = host_of(host)
  if not name or url:find "[%s#]" or host:find "[\128-\255]" then
    errors.misuse("%s '%s' is not a server's address%s", what, shown, url:find "#" and ": it has a fragment"
      or url:find "%s" and ": it holds a space"
      or host:find "[\128-\255]" and ": write the host as DNS has it, xn--..."
      or host:find "^[^:]+:[^:]*$" and ": a port is from 1 to 65535"
      or host:find "^[%x:]*:[%x:]*:" and ": an IPv6 address stands in brackets"
      or host:find "^:" and ": it names no host" or "")
  end
  local path, query = url:sub(#scheme + 1):match "^([^?]*)(.*)$"
  return scheme:lower() .. path:gsub("/+$", ""), query ~= "?" and query or "", name
end

local framing = { ["content-length"] = true, ["transfer-encoding"] = true, expect = true }

--- Checked headers, over those of `base`, whatever the case of their names.
---@param given table<string, string>
---@param base table<string, string>?
---@return table<string, string>
function settings.headers(given, base)
  if type(given) ~= "table" then errors.misuse("headers are a table, not a %s", type(given)) end
  local own = {}
  for name, value in pairs(given) do
    if type(name) ~= "string" or not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then
      local shown = tostring(name):gsub("%c", "?"):match "^[^:]*" -- what follows may be a value, and a secret
      errors.misuse("headers: '%s' is not a header's name", #shown < #tostring(name) and shown .. ":..." or shown)
    end
    if type(value) ~= "string" then errors.misuse("headers: the value of '%s' is a %s", name, type(value)) end
    settings.line("headers: the value of '" .. name .. "'", value)
    if framing[name:lower()] then errors.misuse("headers: '%s' is set by what is sent", name) end
    own[name:lower()] = true
  end
  local out = merged({}, given)
  for name, value in pairs(base or {}) do
    if not own[name:lower()] then out[name] = value end
  end
  return out
end

--- The dialect that the caller names, or describes.
local function check_dialect(given)
  if given == nil then return nil end
  if type(given) == "table" then return dialects.described(given) end
  local known = dialects.named(given)
  if not known then
    local names = dialects.names()
    errors.misuse("lmm.connect: there is no dialect '%s' (there are: %s)", given, table.concat(names, ", "))
  end
  return known
end

local server_rows = { url = "string", weight = "number", models = "table", api_key = "string|function",
  headers = "table", dialect = "string|table" }

--- The options of one server of a pool, as a client of its own takes them.
local function options_of_server(opts, server)
  local out = merged(opts, { base_url = server.url, api_key = server.api_key, dialect = server.dialect })
  out.headers = settings.headers(server.headers or {}, settings.headers(opts.headers or {}))
  return out
end

--- The servers of a pool: URLs, or tables of server_rows.
---@return { weight: number, models: string[]?, opts: table }[]
local function check_servers(opts)
  local servers = {}
  if opts.unix_socket then errors.misuse "lmm.connect: unix_socket is one server's, and base_url names several" end
  for i, given in ipairs(opts.base_url) do
    if type(given) == "string" then given = { url = given } end
    local where = ("lmm.connect: base_url[%d]"):format(i)
    local server = options.check(where, server_rows, given)
    if not server.url then errors.misuse("%s has no url", where) end
    local weight = server.weight or 1
    if not (weight > 0 and weight < math.huge) then errors.misuse("%s: weight is above 0, not %s", where, weight) end
    for _, name in ipairs(server.models or {}) do
      if type(name) ~= "string" then errors.misuse("%s: models are names, not a %s", where, type(name)) end
    end
    if server.models and #server.models == 0 then errors.misuse("%s: models names none", where) end
    servers[i] = { weight = weight, opts = options_of_server(opts, server),
      models = server.models and merged({}, server.models) }
  end
  local count = 0
  for _ in pairs(opts.base_url) do count = count + 1 end
  if count == 0 or count ~= #servers then
    errors.misuse "lmm.connect: base_url is a URL, or a list of URLs and of tables like { url = \"...\", weight = 2 }"
  end
  return servers
end

--- Where the calls of a client are logged; false: nowhere.
---@return { path: string, media: boolean?, cache: boolean? }|false
local function log_settings(opts)
  local path = opts.log
  if path == nil then path = opts.cache or opts.log_media end -- which need one
  if not path then
    if opts.cache then errors.misuse "lmm.connect: cache = true answers from the log, and log = false" end
    return false
  end
  if path == true then
    local message
    path, message = require("lmm.log").default_path()
    if not path then errors.misuse("lmm.connect: log = true: %s", message) end
  end
  if path == "" or path:find("\0", 1, true) then
    errors.misuse "lmm.connect: log is a path, or true for the usual one"
  end
  return { path = path, media = opts.log_media, cache = opts.cache }
end

--- The settings that a client of several servers has for all of them, and theirs.
local function of_pool(opts)
  local servers, urls = check_servers(opts), {}
  local out = settings.of_client(merged(servers[1].opts, { headers = {}, api_key = "" }))
  for i, server in ipairs(servers) do urls[i] = settings.of_client(server.opts).base_url end
  out.base_url, out.query, out.server_settings = table.concat(urls, ", "), "", servers
  out.keeps_media, out.proxy, out.proxy_variable = false, nil, nil -- that is each server's own
  out.dialect = check_dialect(opts.dialect) or false
  return out
end

--- The settings of a client. `opts` is a base URL or a table of options; what is missing comes from $OPENAI_BASE_URL,
--- $OPENAI_API_KEY and the defaults. Where `base_url` is a list, `server_settings` are those of a
--- pool's servers.
---@param opts string|table|nil
---@return table
function settings.of_client(opts)
  if type(opts) == "string" then opts = { base_url = opts } end
  opts = options.check("lmm.connect", rows, opts)
  if type(opts.base_url) == "table" then return of_pool(opts) end
  local out = {
    api_key = opts.api_key or transport.environment "OPENAI_API_KEY",
    headers = settings.headers(opts.headers or {}),
    user_agent = settings.line("user_agent", opts.user_agent or "lmm/" .. version.number),
    timeout = settings.timeout("lmm.connect", opts.timeout, timeout_defaults),
    policy = retry.new(opts.retry),
    limits = check_limits(opts.limits),
    tls = check_tls(opts.tls),
    given_model = opts.model and settings.model(opts.model),
    unix_socket = opts.unix_socket and check_socket(opts.unix_socket),
    transport = opts.transport,
    dialect = check_dialect(opts.dialect),
    keeps_media = opts.media_cache, -- nil: where the server does
    usage = usage.new(),
    prices = opts.prices and usage.prices(opts.prices) or false, -- there, so that it is found at once
    log = log_settings(opts), -- of which the client makes what logs
  }
  local url = opts.base_url or transport.environment "OPENAI_BASE_URL" or "http://127.0.0.1:8000/v1"
  local base_url, query, host = check_base_url(url, opts.base_url and "base_url" or "$OPENAI_BASE_URL")
  out.base_url, out.query = base_url, query
  out.proxy, out.proxy_variable = find_proxy(opts, base_url, host)
  if type(out.api_key) == "string" then settings.line(opts.api_key and "api_key" or "$OPENAI_API_KEY", out.api_key) end
  return out
end

return settings
