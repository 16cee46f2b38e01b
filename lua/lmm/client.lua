--- A client: where the server is and how to talk to it come in; replies and streams go out. Making one does no I/O.
local call = require "lmm.call"
local errors = require "lmm.errors"
local json = require "lmm.json"
local loops = require "lmm.loop"
local options = require "lmm.options"
local request = require "lmm.request"
local retry = require "lmm.retry"
local server_error = require "lmm.server_error"
local stream = require "lmm.stream"

---@class lmm.Client
---@field base_url string
local Client = {}
Client.__index = Client
Client.__name = "lmm.Client"

local client = {}

local rows = {
  base_url = "string", api_key = "string|function", model = "string", headers = "table", timeout = "number|table",
  retry = "table|function|boolean", proxy = "string", tls = "table", unix_socket = "string", limits = "table",
  transport = "table",
}

local timeout_rows = { connect = "number", first = "number", idle = "number", total = "number" }
local timeout_defaults = { connect = 10, first = 600, idle = 120 }
local tls_rows = { ca = "string", cert = "string", key = "string", verify = "boolean" }
local limit_defaults = {
  header = 64 * 1024, reply = 64 * 1024 * 1024, event = 64 * 1024 * 1024, calls = 128, choices = 128, error = 2000,
}
local limit_rows = {}
for name in pairs(limit_defaults) do limit_rows[name] = "number" end

local function merged(defaults, given)
  local out = {}
  for name, value in pairs(defaults) do out[name] = value end
  for name, value in pairs(given) do out[name] = value end
  return out
end

--- { connect, first, idle, total } of a number (the total) or a table, over the client's own.
local function timeouts(where, given, base)
  if type(given) == "number" then given = { total = given } end
  given = options.check(where .. " timeout", timeout_rows, given)
  for name, seconds in pairs(given) do
    if not (seconds > 0) then errors.misuse("%s: timeout.%s is more than 0 seconds", where, name) end
  end
  return merged(base, given)
end

--- Refuses what would break out of a line of the request's head; the value itself may be a secret and is not shown.
local function check_line(what, value)
  if value:find "[%c]" then errors.misuse("%s holds a control character (CR, LF, NUL, ...)", what) end
  return value
end

local function check_base_url(url)
  check_line("base_url", url)
  local scheme, host = url:match "^(%a[%w+.-]*)://([^/?#]*)"
  if not scheme then
    errors.misuse("base_url '%s' has no scheme: write http://%s or https://%s", url, url, url)
  elseif scheme ~= "http" and scheme ~= "https" then
    errors.misuse("base_url '%s': only http and https servers can be asked, not %s", url, scheme)
  elseif host:find "@" then
    errors.misuse "base_url holds a user name or password: pass api_key or headers instead"
  end
  host = host:match "^%[[%x:.]+%]" or host:match "^[^:]+"
  if not host or url:find "[%s?#]" then errors.misuse("base_url '%s' is not a server's address", url) end
  return url:gsub("/+$", ""), host
end

local function check_headers(headers)
  for name, value in pairs(headers) do
    if type(name) ~= "string" or not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then
      errors.misuse("headers: '%s' is not a header's name", tostring(name):gsub("%c", "?"))
    end
    if type(value) ~= "string" then errors.misuse("headers: the value of '%s' is a %s", name, type(value)) end
    check_line("headers: the value of '" .. name .. "'", value)
  end
  return merged({}, headers)
end

--- An environment variable; an empty one counts as unset.
local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- Makes a client. `opts` is a base URL or a table of options; what is missing comes from $OPENAI_BASE_URL,
--- $OPENAI_API_KEY and the defaults.
---@param opts string|table|nil
---@return lmm.Client
function client.new(opts)
  if type(opts) == "string" then opts = { base_url = opts } end
  opts = options.check("lmm.connect", rows, opts)
  local limits = options.check("lmm.connect limits", limit_rows, opts.limits)
  local self = setmetatable({
    api_key = opts.api_key or environment "OPENAI_API_KEY",
    headers = check_headers(opts.headers or {}),
    timeout = timeouts("lmm.connect", opts.timeout, timeout_defaults),
    policy = retry.new(opts.retry == true and {} or opts.retry),
    limits = merged(limit_defaults, limits),
    tls = merged({}, options.check("lmm.connect tls", tls_rows, opts.tls)),
    given_model = opts.model and check_line("model", opts.model),
    proxy = opts.proxy and check_line("proxy", opts.proxy),
    unix_socket = opts.unix_socket,
    carrier = opts.transport,
    calls = setmetatable({}, { __mode = "k" }), -- those under way
    loop = loops.current(),
  }, Client)
  local url = opts.base_url or environment "OPENAI_BASE_URL" or "http://127.0.0.1:8000/v1"
  self.base_url, self.host = check_base_url(url)
  if type(self.api_key) == "string" then check_line("api_key", self.api_key) end
  return self
end

function Client:check_open()
  if self.closed then errors.misuse "this client is closed" end
end

--- The transport, made when it is first needed.
function Client:transport()
  self.carrier = self.carrier or require("lmm.transport.curl").new(self.loop, self)
  return self.carrier
end

--- The lines of a request's head; a key may come from a function, asked for each attempt.
---@return string[]? lines, lmm.Error? err
function Client:header_lines(has_body)
  local lines = {}
  if has_body then lines[1] = "Content-Type: application/json" end
  local key = self.api_key
  if type(key) == "function" then key = key() end
  if key ~= nil and (type(key) ~= "string" or key:find "%c") then
    return nil, errors.new { kind = "invalid", message = "the api_key function gave no key: one line of text is one" }
  end
  self.key_in_use = key
  if key and key ~= "" then lines[#lines + 1] = "Authorization: Bearer " .. key end
  for name, value in pairs(self.headers) do
    lines[#lines + 1] = value == "" and name .. ";" or name .. ": " .. value
  end
  return lines
end

--- A message without what must not be in one: the key and the values of the caller's headers.
function Client:redact(text)
  local function remove(secret)
    if secret and #secret >= 4 then text = text:gsub(secret:gsub("%p", "%%%0"), "[redacted]") end
  end
  remove(self.key_in_use)
  for _, value in pairs(self.headers) do remove(value) end
  return text
end

--- What `timeout` and `retry` of one call make of the client's own.
function Client:settings(opts)
  self:check_open()
  return {
    timeout = timeouts("call", opts.timeout, self.timeout),
    policy = opts.retry == nil and self.policy or retry.new(opts.retry == true and {} or opts.retry),
    started = self.loop:now(),
  }
end

--- One exchange whose reply is read whole. `run(call, attempt)` runs it, where someone else is to be able to end it.
---@return { status: integer, headers: table, body: string }? reply, lmm.Error? err
function Client:fetch(method, url, body, settings, run)
  local exchange = call.new(self, method, url, body, settings)
  local function attempt()
    local head, err = exchange:open()
    if not head then return nil, err end
    local text
    text, err = exchange:read_all()
    return text and { status = head.status, headers = head.headers, body = text }, err
  end
  local reply, err
  if run then reply, err = run(exchange, attempt) else reply, err = exchange:run(attempt) end
  exchange:close()
  return reply, err
end

--- The same, and the reply is JSON.
---@return table? value, lmm.Error? err
function Client:fetch_json(...)
  local reply, err = self:fetch(...)
  if not reply then return nil, err end
  local value, message = json.decode(reply.body)
  if type(value) == "table" then return json.clean(value) end
  return nil, errors.new { kind = "protocol", status = reply.status, message =
    ("%s does not answer as it should: %s"):format(self.base_url,
      reply.body:find "^%s*<" and "an HTML page, not JSON" or "not JSON, " .. (message or "an empty reply")) }
end

local function list_models(self, settings, run)
  local value, err = self:fetch_json("GET", self.base_url .. "/models", nil, settings, run)
  if not value then return nil, err end
  if type(value.data) == "table" then return value.data end
  local fields = server_error.find(value)
  return nil, errors.new { kind = "protocol", message =
    ("%s lists no models: %s"):format(self.base_url, fields and fields.message or "there is no 'data' in its reply") }
end

--- The models that the server offers, each a table with `id`.
---@param opts { timeout: number|table?, retry: table|function|false? }?
---@return table[]? models, string? message, lmm.Error? err
function Client:models(opts)
  return errors.public(list_models(self, self:settings(opts or {})))
end

--- Whether the server says that it is well (GET /health, beside the base URL's /v1).
---@return true? healthy, string? message, lmm.Error? err
function Client:health(opts)
  local settings = self:settings(opts or {})
  local reply, err = self:fetch("GET", self.base_url:gsub("/v%d+$", "") .. "/health", nil, settings)
  return errors.public(reply and true, err)
end

--- The model to ask: the client's own, or the first that the server lists, asked for once.
local function find_model(self, settings, run)
  if self.given_model then return self.given_model end
  if not self.listed_model then
    local models, err = list_models(self, settings, run)
    if not models then return nil, err end
    if not models[1] or type(models[1].id) ~= "string" then
      return nil, errors.new { kind = "protocol", message = self.base_url .. " lists no model" }
    end
    self.listed_model = models[1].id
  end
  return self.listed_model
end

--- Names that are ours; every other name in a request is the server's.
local ours = { timeout = true, retry = true, schema = true }

--- Names that vLLM took once and would now leave unheeded without a word.
local gone = { guided_json = "schema", guided_regex = "structured_outputs", guided_choice = "structured_outputs",
  guided_grammar = "structured_outputs" }

--- The fields to send, and the options that stay here.
local function split(given, streamed)
  local fields, opts = {}, {}
  for name, value in pairs(given) do
    if gone[name] then errors.misuse("'%s' is no longer heeded by servers: use '%s'", name, gone[name]) end
    if ours[name] then opts[name] = value else fields[name] = value end
  end
  if fields.stream ~= nil then errors.misuse "'stream' is what client:stream and client:chat are for: leave it out" end
  if streamed then
    fields.stream = true
    fields.stream_options = fields.stream_options or { include_usage = true }
  end
  if opts.schema then
    fields.response_format = { type = "json_schema", json_schema = { name = "answer", schema = opts.schema } }
  end
  return fields, opts
end

--- The stream of one exchange, whether the server is asked to stream or not; nothing is sent before it is read.
---@return lmm.Stream
function Client:exchange(given, streamed)
  if type(given) ~= "table" then errors.misuse("a request is a table, not a %s", type(given)) end
  local fields, opts = split(given, streamed)
  local settings = self:settings(opts)
  if fields.model ~= nil then
    if type(fields.model) ~= "string" then errors.misuse("model is a string, not a %s", type(fields.model)) end
    check_line("model", fields.model)
  end
  local function prepare(self_stream)
    local body, err = request.body(fields) -- before anything is sent, even to ask for the model
    if not body then return nil, err end
    if not fields.model then
      fields.model, err = find_model(self, settings, function(...) return self_stream:run(...) end)
      if not fields.model then return nil, err end
      body, err = request.body(fields)
      if not body then return nil, err end
    end
    return call.new(self, "POST", self.base_url .. "/chat/completions", body, settings)
  end
  return stream.new(prepare, { schema = opts.schema, limits = self.limits })
end

--- One exchange from a raw request: `messages` and whatever else the server takes, by its names; parts may stand in it.
--- `timeout`, `retry` and `schema` (a JSON schema for a structured answer) are ours.
---@param given table
---@return lmm.Reply? reply, string? message, lmm.Error? err
function Client:chat(given)
  return self:exchange(given, false):reply()
end

--- The same, streamed. Gives the stream in the form that a `for` loop closes on Lua 5.4.
---@return lmm.Stream stream, nil, nil, lmm.Stream
function Client:stream(given)
  local result = self:exchange(given, true)
  return result, nil, nil, result
end

--- A conversation with this client.
---@param opts { system: string?, [string]: any }?  `system`, and what every request of it is to carry
---@return lmm.Conversation
function Client:conversation(opts)
  self:check_open()
  return require("lmm.conversation").new(self, opts)
end

--- Ends the calls under way, each with a `cancelled` error; none begins after this.
function Client:close()
  self.closed = true
  for exchange in pairs(self.calls) do exchange:cancel() end
end

return client
