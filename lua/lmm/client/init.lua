--- A client: where the server is and how to talk to it come in; replies and streams go out. Making one asks nobody.
local calls = require "lmm.call"
local errors = require "lmm.errors"
local fields = require "lmm.client.fields"
local loops = require "lmm.loop"
local options = require "lmm.options"
local request = require "lmm.request"
local streams = require "lmm.stream"
local variants = require "lmm.client.variants"

---@class lmm.Client
---@field base_url string  without its query
---@field usage lmm.Usage  of all calls so far
local Client = {}
Client.__index = Client
Client.__name = "lmm.Client"

local client = {}

--- Makes a client. See lmm.connect.
---@param opts string|table|nil
---@return lmm.Client
function client.new(opts)
  local self = setmetatable(calls.settings.of_client(opts), Client)
  self.calls = setmetatable({}, { __mode = "k" }) -- those under way
  self.chat_url = self:url "chat/completions"
  self.lines = {} -- header lines, by whether there is a body
  self.left_out = {} -- names of fields that the server refuses and that requests can do without
  self.loop = loops.current()
  if self.loop.transport then self:get_transport() end -- which refuses what it cannot do
  return self
end

-- ---- for the modules that make calls

function Client:check_open()
  if self.closed then errors.misuse "this client is closed" end
end

--- The server's own address: the base URL without its version.
function Client:root()
  return (self.base_url:gsub("/v%d+$", ""))
end

--- The URL of a path below the base URL, or from the server's root where it begins with "/"; the base URL's query stays
--- at its end.
---@param path string
---@return string
function Client:url(path)
  local url = path:find "^/" and self:root() .. path or self.base_url .. "/" .. path
  return url .. (path:find("?", 1, true) and self.query:gsub("^?", "&") or self.query)
end

--- The transport, the one that goes with the loop; libcurl is loaded when it is first needed.
---@return lmm.Transport
function Client:get_transport()
  self.transport = self.transport or require("lmm.transport").new(self.loop, self)
  return self.transport
end

--- The header lines of a request with this key, the same each time.
---@param is_form boolean?  its type says where the body's fields begin: no other one will do
local function make_lines(headers, content_type, key, user_agent, is_form)
  local lines, own = {}, {}
  for name in pairs(headers) do own[name:lower()] = true end
  if user_agent ~= "" and not own["user-agent"] then lines[1] = "User-Agent: " .. user_agent end
  if content_type and (is_form or not own["content-type"]) then
    lines[#lines + 1] = "Content-Type: " .. content_type
  end
  if key and key ~= "" and not own.authorization then lines[#lines + 1] = "Authorization: Bearer " .. key end
  for name, value in pairs(headers) do
    local is_given = is_form and name:lower() == "content-type"
    if not is_given then lines[#lines + 1] = value == "" and name .. ";" or name .. ": " .. value end
  end
  return lines
end

--- The header lines of a call; a key may come from a function, asked for each attempt.
---@param call lmm.Call
---@return string[]? lines, table|string|nil key  the key in them, or the failure where there are none
function Client:header_lines(call)
  local key, has_body, headers = self.api_key, call.body ~= nil, call.sent_headers
  local content_type, is_form = has_body and (call.content_type or "application/json") or nil, call.content_type ~= nil
  if type(key) ~= "function" then
    if headers ~= self.headers or is_form then
      return make_lines(headers, content_type, key, self.user_agent, is_form), key
    end
    local lines = self.lines[has_body] or make_lines(headers, content_type, key, self.user_agent)
    self.lines[has_body] = lines
    return lines, key
  end
  local why
  key, why = key()
  if type(key) == "string" and not key:find "%c" then
    return make_lines(headers, content_type, key, self.user_agent, is_form), key
  end
  return nil, { kind = "invalid", reason = "the api_key function gave no key: "
    .. (key == nil and type(why) == "string" and why or "it must be one line of text, \"\" for none") }
end

--- One call whose reply is read whole. `run(call, attempt)` runs it, where someone else is to be able to end it.
---@param opts lmm.CallOptions
---@param read nil|fun(text: string, head: table): any, table?  makes what is given of a body, or nil and a failure
---@return { status: integer, headers: table, body: string }|any reply, lmm.Error? err, lmm.Call call
function Client:fetch(method, url, body, opts, run, read)
  loops.check()
  local call = calls.new(self, method, url, body, opts)
  local function attempt()
    local head, err = call:open()
    if not head then return nil, err end
    local text
    text, err = call:read_all()
    if not text then return nil, err end
    if not read then return { status = head.status, headers = head.headers, body = text } end
    local value, failure = read(text, head)
    return value, failure and call:fail(failure)
  end
  -- What is raised in between (by a function of the caller's, by Ctrl-C) ends the call, too.
  local ok, reply, err = loops.pcall(run or call.run, call, attempt)
  call:finish()
  if not ok then error(reply, 0) end
  return reply, err, call
end

--- The same, and the reply is a JSON object or list.
---@return table? value, lmm.Error? err, lmm.Call? call
function Client:fetch_json(...)
  local reply, err, call = self:fetch(...)
  if not reply then return nil, err end
  local value, failure = require("lmm.answer").decode_table(reply.body, self.limits)
  if failure then return nil, call:fail(failure) end
  return value, nil, call
end

--- What the server says of itself: its models, and the headers that came with them.
---@param list table[]
---@param headers table<string, string>
function Client:note_models(list, headers)
  self.listed = { models = list, headers = headers }
  if self.dialect == false then self.dialect = nil end -- which could not be told so far
end

--- The server's dialect, where it is known: the caller's, by the URL, or by what the server said of itself.
---@return lmm.Dialect?
function Client:known_dialect()
  if self.dialect == nil then
    local listed, of = self.listed, request.dialects
    self.dialect = of.of_url(self.base_url) or listed and of.of_models(listed.models, listed.headers) or false
  end
  return self.dialect or nil
end

--- What is known of the media that the server keeps; nil where it is to keep none.
---@return lmm.MediaCache?
function Client:get_media_cache()
  if self.keeps_media == false then return nil end
  if not self.media_cache then
    local ok, made = pcall(request.new_media_cache)
    if not ok and self.keeps_media then error(made, 0) end
    self.media_cache, self.keeps_media = ok and made or nil, ok -- without lmm.digest all media go whole
  end
  return self.media_cache
end

--- A better hint for a refusal of this call; may ask the server.
---@param call lmm.Call
---@param failure table
---@return string?
function Client:hint_for(call, failure)
  return require("lmm.client.models").hint(self, call, failure)
end

-- ---- what its holder calls

local function call_options(self, where, opts)
  self:check_open()
  return calls.options(self, options.check(where, calls.rows, opts))
end

--- The models that the server offers, each a table with `id`.
---@param opts { timeout: number|table?, retry: table|function|false?, headers: table? }?
---@return table[]? models, string? message, lmm.Error? err
function Client:models(opts)
  local call_opts = call_options(self, "client:models", opts)
  return errors.public(require("lmm.client.models").list(self, call_opts))
end

--- Whether the server says that it is well (GET /health, beside the base URL's /v1).
---@param opts { timeout: number|table?, retry: table|function|false?, headers: table? }?
---@return true? healthy, string? message, lmm.Error? err
function Client:health(opts)
  local reply, err = self:fetch("GET", self:url "/health", nil, call_options(self, "client:health", opts))
  return errors.public(reply and true, err)
end

--- Waits until the server answers: GET /health, then the list of models, about four times a second.
---@param opts { timeout: number?, headers: table?, on_wait: (fun(seconds: number, err: lmm.Error): lmm.Error?)? }?
--- timeout: seconds (600); on_wait is called after each try that found it not ready, with the reason, and ends the wait
--- with an error that it returns
---@return true? ready, string? message, lmm.Error? err  where the time is up, `err.last` is what the last try met
function Client:wait_ready(opts)
  self:check_open()
  return errors.public(require("lmm.client.ready").wait(self, opts))
end

--- The URL of a path that a caller names.
function Client:url_of(where, method, path)
  if type(method) ~= "string" or not method:find "^%u+$" then errors.misuse("%s: no method like GET", where) end
  if type(path) ~= "string" or path:find "[%c%s]" then errors.misuse("%s: no path, or one with spaces", where) end
  return self:url(path)
end

--- Any other request. `path` is taken from the server's root where it begins with "/" ("/tokenize"), else from the
--- base URL ("embeddings"). A table is sent as JSON, parts in it replaced; a string as it is; a form (lmm.form) as
--- multipart/form-data.
---@param method string  GET, POST, ...
---@param path string
---@param body table|string|lmm.Form|nil
---@param opts { timeout: number|table?, retry: table|function|false?, headers: table? }?
---@return { status: integer, headers: table<string, string>, body: string, json: any }? reply  `json` is the body
--- decoded, where it is JSON; a status that is no success is an error
---@return string? message
---@return lmm.Error? err
function Client:request(method, path, body, opts)
  local call_opts = call_options(self, "client:request", opts)
  local url = self:url_of("client:request", method, path)
  local err
  body, err, call_opts.content_type, call_opts.parts = request.any(body)
  if err then return errors.public(nil, err) end
  local reply, call
  reply, err, call = self:fetch(method, url, body, call_opts)
  if not reply then return errors.public(nil, err) end
  local value, failure = require("lmm.answer").decode(reply.body, self.limits)
  if failure and failure.kind == "limit" then return errors.public(nil, call:fail(failure)) end
  reply.json = value
  if type(value) == "table" and type(value.usage) == "table" then call:add_usage { usage = value.usage } end
  return reply
end

--- The events of any endpoint that streams ("responses", "completions"), as an iterator: each decoded, with its name.
--- The arguments are those of client:request; `stream = true` goes along with a JSON object that says nothing of it. A
--- failure before the first event is tried again, `[DONE]` ends them, and an error among them ends them as one. Gives
--- them in the form that a `for` loop closes on Lua 5.4.
---@param method string
---@param path string
---@param body table|string|lmm.Form|nil
---@param opts { timeout: number|table?, retry: table|function|false?, headers: table? }?
---@return lmm.Events events, nil, nil, lmm.Events
function Client:events(method, path, body, opts)
  local call_opts = call_options(self, "client:events", opts)
  local url = self:url_of("client:events", method, path)
  local err
  body, err, call_opts.content_type, call_opts.parts = request.any(fields.streamed(body))
  local function prepare()
    if err then return nil, err end
    call_opts.started = self.loop:now() -- the clock starts when they are first read
    return calls.new(self, method, url, body, call_opts)
  end
  local result = require("lmm.events").new(prepare, self.limits)
  return result, nil, nil, result
end

local everywhere = { ["image/jpeg"] = true, ["image/png"] = true } -- what every server decodes

--- Whether a request can be written better where the server's dialect is known, and it is not.
---@param found lmm.Found?  its media
---@param talks boolean?
---@param asked table?  what its answer is to be
function Client:needs_dialect(found, talks, asked)
  local by_form = request.structured.needs_dialect(asked)
  if not found and not by_form or self:known_dialect() then return false end
  if self.next_probe and self.loop:now() < self.next_probe then return false end
  for _, part in ipairs(found and found.parts or {}) do
    local is_plain = part.kind == "image" and (part.url or everywhere[part.mime])
    if not is_plain or talks and part.media and self.keeps_media ~= false then return true end
  end
  return by_form
end

--- Writes a request by what is known of the server; one of a conversation with its messages in the form that it takes.
---@return userdata? body, lmm.Error? err, lmm.Found? found
function Client:write(sent, asked, talks)
  if asked or self.dialect then
    local ok, err = request.structured.add(sent, asked, asked and self:known_dialect() or self.dialect or nil)
    if not ok then return nil, err end
  end
  local dialect = talks and self:known_dialect()
  if dialect and dialect.tool_media == "user" then sent.messages = request.with_media_of_user(sent.messages) end
  return request.body(sent, self)
end

--- Writes it again, once the server's dialect is known.
---@param again { sent: table, asked: table?, talks: boolean? }
---@return userdata? body, lmm.Error? err, lmm.Found? found
function Client:rewrite(again, model, opts, run)
  local err = not self:known_dialect() and require("lmm.client.models").find_dialect(self, opts, run)
  if err then return nil, err end
  again.sent.model = model
  return self:write(again.sent, again.asked, again.talks)
end

--- What makes the call of one request for a stream, whether the server is asked to stream or not. The request is
--- written at once, so that what the caller does with its tables afterwards does not change it; nothing is sent before
--- the stream is read.
---@param where string  what the caller called, for messages
---@param given table
---@param ours table?
---@param streamed boolean
---@param talks boolean?    it is of a conversation: the same media will come again
---@param url string?       that of chat completions unless given
---@param prompts integer?  how many questions the request holds (1)
---@return fun(stream: lmm.Stream): lmm.Call?, lmm.Error? prepare, table stream_opts, number? total  see
--- lmm.stream
function Client:exchange(where, given, ours, streamed, talks, url, prompts)
  ours = options.check(where, fields.rows, ours)
  fields.check(given)
  self:check_open()
  local asked = request.structured.asked(ours, given)
  if asked then asked.value = request.copy(asked.value) end
  local sent, wants_usage = fields.sent(given, streamed)
  local opts = calls.options(self, ours)
  sent.model = sent.model or self.given_model or self.listed_model
  local model, choices = sent.model, (type(sent.n) == "number" and sent.n or 1) * (prompts or 1)
  local body, err, found = self:write(sent, asked, talks)
  local again = body and (found or asked) and self:needs_dialect(found, talks, asked)
    and { sent = request.copy(sent), asked = asked, talks = talks }
  local function prepare(stream)
    if not body then return nil, err end
    stream.started = stream.started or self.loop:now() -- the clock starts when the stream is first read
    opts.started = stream.started
    local function run(...) return stream:run(...) end
    if not model then
      model, err = require("lmm.client.models").find(self, opts, run)
      if not model then return nil, err end
      body, err = request.with(body, "model", model)
      if not body then return nil, err end
    end
    if again then
      body, err, found = self:rewrite(again, model, opts, run)
      if not body then return nil, err end
    end
    local has_usage = wants_usage and not self.left_out.stream_options
      and not (self.dialect and self.dialect.stream_options == false)
    local forms = variants.new(self, body, has_usage, found and found.kept)
    if forms then body, err = forms:body() end
    if not body then return nil, err end
    local call = calls.new(self, "POST", url or self.chat_url, body, opts)
    call.model, call.stream, call.parts, call.variants = model, stream, found and found.parts, forms
    return call
  end
  return prepare, { structured = asked, limits = self.limits, choices = choices, streamed = streamed },
    opts.timeout.total
end

--- The stream of one request.
---@return lmm.Stream
function Client:open_stream(...)
  return streams.new(self:exchange(...))
end

---@class lmm.RequestOptions
---@field timeout number|table|nil  seconds in all, or { connect, first, idle, total }
---@field retry table|function|boolean|nil  see lmm.retry
---@field schema table?  a JSON schema that the answer is to follow: `reply.value` holds it decoded. One of this and
--- the next three
---@field choice string[]?  the answer is to be one of these, and `reply.value` is that one
---@field regex string?  a regular expression, as the server has them, that the answer is to match
---@field grammar string?  a grammar, as the server has them, that the answer is to follow
---@field headers table<string, string>?  more headers, over those of the client

--- One answer to a raw request: `messages` and whatever else the server takes, by its names; parts may stand in it. All
--- of its fields go to the server, whatever they are called; `stream` is set here. What is ours stands apart.
---@param given table
---@param opts lmm.RequestOptions?
---@return lmm.Reply? reply, string? message, lmm.Error? err
function Client:chat(given, opts)
  return self:open_stream("client:chat", given, opts, false):reply()
end

--- The same, streamed. Gives the stream in the form that a `for` loop closes on Lua 5.4.
---@param given table  its own `stream_options` win, `false` leaves them out
---@param opts lmm.RequestOptions?
---@return lmm.Stream stream, nil, nil, lmm.Stream
function Client:stream(given, opts)
  local result = self:open_stream("client:stream", given, opts, true)
  return result, nil, nil, result
end

--- A conversation with this client.
---@param opts { system: string?, messages: table[]?, [string]: any }?  `system`, `messages` to begin with, what is ours
--- (see lmm.RequestOptions), and fields that every request of it is to carry
---@return lmm.Conversation
function Client:conversation(opts)
  self:check_open()
  return require("lmm.conversation").new(self, opts)
end

--- The conversation that chat:save has put into a file. Its media are not looked at before they are needed: a file that
--- was moved or changed is then an error of `ask`, before anything is sent.
---@param path string
---@param opts { media: table<string, string>?, [string]: any }?  `media`: folders that were moved, by what they were;
--- everything else, as for `conversation`, over what was saved
---@return lmm.Conversation? chat, string? message, lmm.Error? err
function Client:load(path, opts)
  self:check_open()
  return errors.public(require("lmm.conversation").load(self, path, opts))
end

--- Ends the calls under way, each with a `cancelled` error; none begins after this.
function Client:close()
  self.closed = true
  for call in pairs(self.calls) do call:cancel() end
  if self.transport and self.transport.close then self.transport:close() end
end

errors.check_self(Client, "client", "models", "health", "wait_ready", "request", "chat", "stream", "conversation",
  "load", "close")
require "lmm.client.late"(Client)

return client
