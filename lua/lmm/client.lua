--- A client: where the server is and how to talk to it come in; replies and streams go out. Making one asks nobody.
local call = require "lmm.call"
local errors = require "lmm.errors"
local json = require "lmm.json"
local loops = require "lmm.loop"
local options = require "lmm.options"
local redact = require "lmm.call.redact"
local request = require "lmm.request"
local retry = require "lmm.call.retry"
local server_error = require "lmm.answer.server_error"
local settings = require "lmm.call.settings"
local stream = require "lmm.stream"

---@class lmm.Client
---@field base_url string
local Client = {}
Client.__index = Client
Client.__name = "lmm.Client"

local client = {}

--- Makes a client. See lmm.connect.
---@param opts string|table|nil
---@return lmm.Client
function client.new(opts)
  local self = setmetatable(settings.of_client(opts), Client)
  self.calls = setmetatable({}, { __mode = "k" }) -- those under way
  self.loop = loops.current()
  if self.loop.transport then self:transport() end -- which refuses what it cannot do
  return self
end

function Client:check_open()
  if self.closed then errors.misuse "this client is closed" end
end

--- The server's own address: the base URL without its version.
function Client:root()
  return (self.base_url:gsub("/v%d+$", ""))
end

--- The transport, the one that goes with the loop; libcurl is loaded when it is first needed.
function Client:transport()
  self.carrier = self.carrier or require(self.loop.transport or "lmm.transport.curl").new(self.loop, self)
  return self.carrier
end

--- The lines of a request's head; a key may come from a function, asked for each attempt.
---@return string[]? lines, lmm.Error|string|nil key  the key in them, or why there are none
function Client:header_lines(has_body)
  local lines, own = {}, {}
  for name in pairs(self.headers) do own[name:lower()] = true end
  if has_body and not own["content-type"] then lines[1] = "Content-Type: application/json" end
  local key = self.api_key
  if type(key) == "function" then
    local why
    key, why = key()
    if type(key) ~= "string" or key:find "%c" then
      return nil, { kind = "invalid", reason = "the api_key function gave no key: "
        .. (key == nil and type(why) == "string" and why or "it must be one line of text, \"\" for none") }
    end
  end
  if key and key ~= "" and not own.authorization then lines[#lines + 1] = "Authorization: Bearer " .. key end
  for name, value in pairs(self.headers) do
    lines[#lines + 1] = value == "" and name .. ";" or name .. ": " .. value
  end
  return lines, key
end

--- A text without what must not be in a message: keys, a proxy's password, and the values of the caller's headers.
--- See redact.secrets.
function Client:redact(text, key, keeps_headers)
  return redact.secrets(text, self, key, keeps_headers)
end

--- What `timeout` and `retry` of one call make of the client's own.
function Client:terms(opts)
  self:check_open()
  return {
    timeout = settings.timeout("call", opts.timeout, self.timeout),
    policy = opts.retry == nil and self.policy or retry.new(opts.retry),
    started = self.loop:now(),
  }
end

--- One exchange whose reply is read whole. `run(call, attempt)` runs it, where someone else is to be able to end it.
---@return { status: integer, headers: table, body: string }? reply, lmm.Error? err, lmm.Call call
function Client:fetch(method, url, body, terms, run)
  loops.check()
  local exchange = call.new(self, method, url, body, terms)
  local function attempt()
    local head, err = exchange:open()
    if not head then return nil, err end
    local text
    text, err = exchange:read_all()
    return text and { status = head.status, headers = head.headers, body = text }, err
  end
  -- What is raised in between (by a function of the caller's, by Ctrl-C) ends the exchange, too.
  local ok, reply, err = loops.pcall(run or exchange.run, exchange, attempt)
  exchange:close()
  if not ok then error(reply, 0) end
  return reply, err, exchange
end

--- The same, and the reply is JSON.
---@return table? value, lmm.Error? err, lmm.Call? call
function Client:fetch_json(...)
  local reply, err, exchange = self:fetch(...)
  if not reply then return nil, err end
  local value, message = json.decode(reply.body, self.limits.depth)
  if type(value) == "table" then return json.clean(value), nil, exchange end
  local too_deep = exchange:too_deep(message)
  if too_deep then return nil, too_deep end
  local reason = server_error.describe(exchange:redact(reply.body), message)
  return nil, exchange:fail { kind = "protocol", phase = "receive", reason = reason }
end

local function list_models(self, terms, run)
  local value, err, exchange = self:fetch_json("GET", self.base_url .. "/models", nil, terms, run)
  if not value then return nil, err end
  local models = {}
  for _, model in json.items(value.data) do
    if type(model.id) == "string" then models[#models + 1] = model end
  end
  if #models > 0 then return models end
  local fields = server_error.find(value)
  local what = fields and fields.message or type(value.data) ~= "table" and "there is no 'data'" or "it names no model"
  return nil, exchange:fail { kind = "protocol", phase = "receive", reason = "no list of models: " .. what }
end

local request_rows = { timeout = "number|table", retry = "table|function|boolean" }

--- The models that the server offers, each a table with `id`.
---@param opts { timeout: number|table?, retry: table|function|false? }?
---@return table[]? models, string? message, lmm.Error? err
function Client:models(opts)
  return errors.public(list_models(self, self:terms(options.check("client:models", request_rows, opts))))
end

--- Whether the server says that it is well (GET /health, beside the base URL's /v1).
---@return true? healthy, string? message, lmm.Error? err
function Client:health(opts)
  local terms = self:terms(options.check("client:health", request_rows, opts))
  local reply, err = self:fetch("GET", self:root() .. "/health", nil, terms)
  return errors.public(reply and true, err)
end

local ready_rows = { timeout = "number", on_wait = "function" }
local READY_TIMEOUT, READY_INTERVAL, PROBE_TIMEOUT = 600, 0.25, 10 -- seconds

--- Why the server is not ready, or nil. A server without /health tells by its list of models.
local function probe(self, deadline)
  local now = self.loop:now()
  local timeout = { connect = 5, total = math.max(0.1, math.min(PROBE_TIMEOUT, deadline - now)) }
  local terms = { timeout = timeout, policy = retry.new(false), started = now }
  local reply, err = self:fetch("GET", self:root() .. "/health", nil, terms)
  if not reply and err.status ~= 404 and err.status ~= 405 then return err end
  terms.started = self.loop:now()
  local models
  models, err = list_models(self, terms)
  return not models and err or nil
end

--- Whether a server that is still starting may answer so.
local function is_passing(err)
  return err.kind == "connect" or err.kind == "timeout" or err.kind == "http" and err.status >= 500
end

--- Waits until the server answers: GET /health, then the list of models, about four times a second.
---@param opts { timeout: number?, on_wait: (fun(seconds: number, err: lmm.Error): lmm.Error?)? }?  timeout: seconds
--- (600); on_wait is called after each try that found it not ready, with the reason, and ends the wait with an error
--- that it returns
---@return true? ready, string? message, lmm.Error? err  where the time is up, `err.last` is what the last try met
function Client:wait_ready(opts)
  opts = options.check("client:wait_ready", ready_rows, opts)
  options.check_seconds("client:wait_ready: timeout", opts.timeout)
  self:check_open()
  local loop, timeout = self.loop, opts.timeout or READY_TIMEOUT
  local started, cell = loop:now(), {}
  while true do
    local err = probe(self, started + timeout)
    if not err then return true end
    local stop = not is_passing(err) and err or opts.on_wait and opts.on_wait(loop:now() - started, err)
    if errors.is(stop) then return errors.public(nil, stop) end
    if loop:now() - started >= timeout then
      return errors.public(nil, errors.new { kind = "timeout", limit = "ready", elapsed = loop:now() - started,
        last = err,
        message = ("no server was ready at %s within %g s: %s"):format(self.base_url, timeout, err.message) })
    end
    local _, why = loop:wait(cell, loop:now() + READY_INTERVAL)
    if why == "cancelled" then
      return errors.public(nil, errors.new { kind = "cancelled", message = "the wait was cancelled" })
    end
  end
end

--- Any other exchange. `path` is taken from the server's root where it begins with "/" ("/tokenize"), else from the
--- base URL ("embeddings"). A table is sent as JSON, parts in it replaced; a string as it is.
---@param method string  GET, POST, ...
---@param path string
---@param body table|string|nil
---@param opts { timeout: number|table?, retry: table|function|false? }?
---@return { status: integer, headers: table<string, string>, body: string, json: any }? reply  `json` is the body
--- decoded, where it is JSON; a status that is no success is an error
---@return string? message
---@return lmm.Error? err
function Client:request(method, path, body, opts)
  opts = options.check("client:request", request_rows, opts)
  if type(method) ~= "string" or not method:find "^%u+$" then errors.misuse "client:request: no method like GET" end
  if type(path) ~= "string" or path:find "[%c%s]" then errors.misuse "client:request: no path, or one with spaces" end
  local terms = self:terms(opts)
  terms.fields = body
  local err
  if type(body) == "table" then
    body, err = request.body(body)
    if not body then return errors.public(nil, err) end
  elseif body ~= nil then
    body = request.verbatim(body)
  end
  local url = path:find "^/" and self:root() .. path or self.base_url .. "/" .. path
  local reply, exchange
  reply, err, exchange = self:fetch(method, url, body, terms)
  if not reply then return errors.public(nil, err) end
  local value, message = json.decode(reply.body, self.limits.depth)
  local too_deep = exchange:too_deep(message)
  if too_deep then return errors.public(nil, too_deep) end
  reply.json = json.clean(value)
  return reply
end

--- The model to ask: the client's own, or the first that the server lists, which is remembered.
local function find_model(self, terms, run)
  if self.given_model then return self.given_model end
  if not self.listed_model then
    local models, err = list_models(self, terms, run)
    if not models then return nil, err end
    self.listed_model = models[1].id
  end
  return self.listed_model
end

local ADVICE_TIMEOUT = 5 -- seconds
local MOST_NAMES, LONGEST_NAME, LISTED = 500, 128, 5 -- so many are looked at; bytes; so many are told

--- What to say to somebody who asked for a model that is not served, where the server's list says more.
local function advise_model(name, models)
  local by_name, listed = {}, {}
  for i = 1, math.min(#models, MOST_NAMES) do
    local id = models[i].id
    if id == name then return nil end
    if #id <= LONGEST_NAME then
      by_name[id:lower()] = id
      listed[#listed + 1] = ("%q"):format(id)
    end
  end
  local near = #name <= LONGEST_NAME and options.nearest(name:lower(), by_name)
  if near then return ("did you mean %q?"):format(by_name[near]) end
  local told = math.min(#listed, LISTED)
  if told == 0 then return nil end
  local more = #models > told and (" and %d more"):format(#models - told) or ""
  return "the server has " .. table.concat(listed, ", ", 1, told) .. more
end

--- Asks the server once for its list when it refuses the model `name`; whatever comes of that, the refusal stays.
---@param run fun(call: lmm.Call, attempt: function)  see Client:fetch
---@param exchange lmm.Call  the one that may be refused
local function model_adviser(self, name, run, exchange)
  local is_asked, hint
  return function(fields)
    if fields.status ~= 404 or not fields.message:find "[Mm]odel" then return nil end
    if is_asked then return hint end
    is_asked = true
    local now = self.loop:now()
    local timeout = { total = math.min(ADVICE_TIMEOUT, (exchange.deadline or math.huge) - now) }
    local models = list_models(self, { timeout = timeout, policy = retry.new(false), started = now }, run)
    hint = models and advise_model(name, models)
    return hint
  end
end

--- Names that are ours; every other name in a request is the server's.
local ours = { timeout = true, retry = true, schema = true }

--- Names that vLLM took once and would now leave unheeded without a word.
local gone = { guided_json = "schema", guided_regex = "structured_outputs", guided_choice = "structured_outputs",
  guided_grammar = "structured_outputs" }

--- Refuses a name that no server takes: one of the client's own options, or one of ours misspelt.
local function check_field(name)
  if gone[name] then errors.misuse("'%s' is no longer heeded by servers: use '%s'", name, gone[name]) end
  if settings.is_option(name) then errors.misuse("'%s' is an option of lmm.connect, not of a request", name) end
  local near = type(name) == "string" and options.nearest(name, ours)
  if near then errors.misuse("unknown option '%s' (did you mean '%s'?)", name, near) end
end

--- The fields to send, and the options that stay here.
local function split(given, streamed)
  local fields, opts = {}, {}
  for name, value in pairs(given) do
    if ours[name] then
      opts[name] = value
    else
      if name ~= "model" then check_field(name) end
      fields[name] = value
    end
  end
  if opts.schema ~= nil and type(opts.schema) ~= "table" then
    errors.misuse("schema must be a table (a JSON schema), not a %s", type(opts.schema))
  end
  if fields.stream ~= nil then errors.misuse "'stream' is what client:stream and client:chat are for: leave it out" end
  if streamed then
    fields.stream = true
    fields.stream_options = fields.stream_options or { include_usage = true }
  else
    fields.stream_options = nil -- a conversation has it for both
  end
  if opts.schema and fields.response_format then
    errors.misuse "schema and response_format are two ways to say the same: give one"
  end
  if opts.schema then
    fields.response_format = { type = "json_schema", json_schema = { name = "answer", schema = opts.schema } }
  end
  return fields, opts
end

--- The stream of one exchange, whether the server is asked to stream or not; nothing is sent before it is read.
---@return lmm.Stream
function Client:exchange(given, streamed)
  if type(given) ~= "table" then errors.misuse("a request must be a table, not a %s", type(given)) end
  local fields, opts = split(given, streamed)
  local terms = self:terms(opts)
  terms.fields = fields
  if fields.model ~= nil then
    if type(fields.model) ~= "string" then errors.misuse("model must be a string, not a %s", type(fields.model)) end
    settings.model(fields.model)
  end
  local function prepare(self_stream)
    terms.started = self.loop:now() -- the clock starts when the stream is first read
    local body, err = request.body(fields) -- before anything is sent, even to ask for the model
    if not body then return nil, err end
    if not fields.model then
      fields.model, err = find_model(self, terms, function(...) return self_stream:run(...) end)
      if not fields.model then return nil, err end
      body, err = request.body(fields)
      if not body then return nil, err end
    end
    local exchange = call.new(self, "POST", self.base_url .. "/chat/completions", body, terms)
    exchange.advise = model_adviser(self, fields.model, function(...) return self_stream:run_aside(...) end, exchange)
    return exchange
  end
  local choices = type(fields.n) == "number" and fields.n or 1
  return stream.new(prepare, { schema = opts.schema, limits = self.limits, choices = choices })
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
  if self.carrier and self.carrier.close then self.carrier:close() end
end

return client
