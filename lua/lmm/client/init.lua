--- A client: where the server is and how to talk to it come in; replies and streams go out. Making one asks nobody.
local calls = require "lmm.call"
local chats = require "lmm.client.chat"
local errors = require "lmm.errors"
local fields = require "lmm.client.fields"
local loops = require "lmm.loop"
local options = require "lmm.options"
local make_lines = require "lmm.client.header_lines"
local request = require "lmm.request"
local streams = require "lmm.stream"

--- Where a server is, and how to talk to it: made by lmm.connect.
---@class lmm.Client
---@field base_url string  without its query
---@field usage lmm.Usage  of all calls so far
local Client = {}
Client.__index = Client
Client.__name = "lmm.Client"

local client = {}

--- Makes a client. See lmm.connect.
---@param opts string|lmm.ConnectOptions|nil
---@return lmm.Client
function client.new(opts)
  local self = setmetatable(calls.settings.of_client(opts), Client)
  self.calls = setmetatable({}, { __mode = "k" }) -- each with whether it is under way
  self.pool = false -- or that of its servers
  if self.server_settings then
    local made = {}
    for i, server in ipairs(self.server_settings) do
      local own = client.new(server.opts)
      own.calls, own.usage = self.calls, self.usage
      made[i] = require("lmm.client.pool_server").new(own, server)
    end
    self.server_settings, self.pool = nil, require("lmm.client.pool").new(self, made)
  end
  self.chat_url = self:url "chat/completions"
  self.lines = {} -- header lines, by whether there is a body
  self.left_out = {} -- names of fields that the server refuses and that requests can do without
  self.loop = loops.current()
  if self.log then self.log = require("lmm.log").recorder(self.log, self.loop) end
  if self.loop.transport == "resty" and not self.pool then self:get_transport() end -- which refuses what it cannot do
  return self
end

-- ---- for the modules that make calls

---@package
function Client:check_open()
  if self.closed then errors.misuse "this client is closed" end
end

--- The server's own address: the base URL without its version.
---@package
function Client:root()
  return (self.base_url:gsub("/v%d+$", ""))
end

--- The URL of a path below the base URL, or from the server's root where it begins with "/"; the base URL's query stays
--- at its end.
---@package
---@param path string
---@return string
function Client:url(path)
  if self.pool then return path end -- each attempt of a call has a server of its own
  local url = path:find "^/" and self:root() .. path or self.base_url .. "/" .. path
  return url .. (path:find("?", 1, true) and self.query:gsub("^?", "&") or self.query)
end

--- The transport, the one that goes with the loop; libcurl is loaded when it is first needed.
---@package
---@return lmm.Transport
function Client:get_transport()
  self.transport = self.transport or require("lmm.transport").new(self.loop, self)
  return self.transport
end

--- Puts another transport in the place of each server's own, from which `wrap` makes it.
---@package
---@param wrap fun(transport: lmm.Transport): lmm.Transport
function Client:wrap_transport(wrap)
  if not self.pool then self.transport = wrap(self:get_transport()) end
  for _, server in ipairs(self.pool and self.pool.servers or {}) do server.client:wrap_transport(wrap) end
end

--- The header lines of a call; a key may come from a function, asked for each attempt.
---@package
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

--- Begins the record of a call, where the client has a log.
---@package
---@param kind string  the endpoint
---@param sent any     the fields, if it is a table of them
---@param ours table?  options
---@return lmm.log.Entry?
function Client:begin_entry(kind, sent, ours)
  if not self.log or type(sent) ~= "table" or require("lmm.form").is(sent) then return nil end
  local rest = {}
  for name, value in pairs(sent) do rest[name] = value end
  rest.messages = nil
  local public = calls.public(rest)
  public.messages = request.copy(sent.messages) -- whole
  return self.log:begin(kind, public, request.copy(fields.answer_options(ours)))
end

--- One call whose reply is read whole. `run(call, attempt)` runs it, where someone else is to be able to end it.
---@package
---@param opts lmm.CallSettings
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
  if not ok then
    call:finish()
    error(reply, 0)
  end
  local told = reply and read and (reply.json or reply)
  if type(told) == "table" and type(told.usage) == "table" then call:add_usage(told) end
  call:finish(err, reply)
  return reply, err, call
end

--- The same, and the reply is a JSON object or list.
---@package
---@return table? value, lmm.Error? err, lmm.Call? call
function Client:fetch_json(...)
  local reply, err, call = self:fetch(...)
  if not reply then return nil, err end
  local value, failure = require("lmm.answer").decode_table(reply.body, self.limits)
  if failure then return nil, call:fail(failure) end
  return value, nil, call
end

--- What the server says of itself: its models, and the headers that came with them.
---@package
---@param list table[]
---@param headers table<string, string>
function Client:note_models(list, headers)
  self.listed = { models = list, headers = headers, at = self.loop:now() }
  if self.dialect == false then self.dialect = nil end -- which could not be told so far
end

--- The server's dialect, where it is known: the caller's, by the URL, or by what the server said of itself.
---@package
---@return lmm.Dialect?
function Client:known_dialect()
  if self.dialect == nil then
    local listed, of = self.listed, request.dialects
    self.dialect = of.of_url(self.base_url) or listed and of.of_models(listed.models, listed.headers) or false
  end
  return self.dialect or nil
end

--- What is known of the media that the server keeps; nil where it is to keep none.
---@package
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

--- The model of a request that names none; of several servers, the first that one of them lists.
---@package
---@return string? model, lmm.Error? err
function Client:default_model()
  self:check_open()
  return require("lmm.client.models").default(self)
end

--- Has the server say what it is, where that is not known, for a call with these options.
---@package
---@param ours table
function Client:learn_dialect(ours)
  require("lmm.client.models").learn_dialect(self, ours)
end

--- A better hint for a refusal of this call; may ask the server.
---@package
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

--- The models that the server offers, each a table with `id`; of several servers, those of all that answer.
---@param opts lmm.CallOptions?
---@return lmm.Model[]? models, string? message, lmm.Error? err
function Client:models(opts)
  local call_opts = call_options(self, "client:models", opts)
  local models = require "lmm.client.models"
  if self.pool then return errors.public(models.union(self.pool:ask_each(models.list, opts))) end
  return errors.public(models.list(self, call_opts))
end

local function is_well(self, opts)
  local reply, err = self:fetch("GET", self:url "/health", nil, opts)
  return reply and true, err
end

--- Whether the server says that it is well (GET /health, beside the base URL's /v1), or one of several does.
---@param opts lmm.CallOptions?
---@return true? healthy, string? message, lmm.Error? err
function Client:health(opts)
  local call_opts = call_options(self, "client:health", opts)
  if not self.pool then return errors.public(is_well(self, call_opts)) end
  local well, err = self.pool:ask_each(is_well, opts)
  return errors.public(well and true, err)
end

--- How the servers of a pool are, in the order of `base_url`. Asks nobody.
---@return lmm.ServerState[]
function Client:servers()
  self:check_open()
  if self.pool then return self.pool:states() end
  errors.misuse "client:servers tells of a pool: connect with base_url = { \"...\", \"...\" }"
end

--- Waits until the server answers: GET /health, then the list of models, about four times a second; of several servers
--- until all do, or, with `any = true`, one.
---@param opts lmm.WaitOptions?
---@return true? ready, string? message, lmm.Error? err  where the time is up, `err.last` is what the last try met
function Client:wait_ready(opts)
  self:check_open()
  return errors.public(require("lmm.client.ready").wait(self, opts))
end

--- One request for a stream, whether the server is asked to stream or not. It is written at once; nothing is sent
--- before the stream is read.
---@package
---@param where string  what the caller called, for messages
---@param given table|string
---@param ours table?
---@param ... any  streamed, and what else chats.new takes
---@return lmm.StreamExchange
function Client:exchange(where, given, ours, ...)
  ours = options.check(where, fields.rows, ours)
  self:check_open()
  return chats.new(self, given, ours, ...)
end

--- The stream of one request.
---@package
---@return lmm.Stream
function Client:open_stream(...)
  return streams.new(self:exchange(...))
end

--- One answer to a raw request: `messages` and whatever else the server takes, by its names; parts may stand in it. All
--- of its fields go to the server, whatever they are called; `stream` is set here. What is ours stands apart. A text is
--- a request that is JSON already: it goes byte for byte, and says itself whether it asks for a stream.
---@param given lmm.Request|string
---@param opts lmm.RequestOptions?
---@return lmm.Reply? reply, string? message, lmm.Error? err
function Client:chat(given, opts)
  return self:open_stream("client:chat", given, opts, false):reply()
end

--- The same, streamed. Gives the stream in the form that a `for` loop closes on Lua 5.4.
---@param given lmm.Request|string  its own `stream_options` win, `false` leaves them out
---@param opts lmm.RequestOptions?
---@return lmm.Stream stream, nil, nil, lmm.Stream
function Client:stream(given, opts)
  local result = self:open_stream("client:stream", given, opts, true)
  return result, nil, nil, result
end

--- A conversation with this client.
---@param opts lmm.ConversationOptions?  its fields of a request go along with every one of it
---@return lmm.Conversation
function Client:conversation(opts)
  self:check_open()
  return require("lmm.conversation").new(self, opts)
end

--- The conversation that chat:save has put into a file. Its media are not looked at before they are needed: a file that
--- was moved or changed is then an error of `ask`, before anything is sent.
---@param path string
---@param opts lmm.LoadOptions?  over what was saved
---@return lmm.Conversation? chat, string? message, lmm.Error? err
function Client:load(path, opts)
  self:check_open()
  return errors.public(require("lmm.conversation").load(self, path, opts))
end

--- Ends the calls under way, each with a `cancelled` error; none begins after this.
function Client:close()
  self.closed = true
  for call, is_under_way in pairs(self.calls) do
    if is_under_way then call:cancel() end
  end
  if self.pool then self.pool:close() end
  if self.log then self.log:close() end
  if self.transport and self.transport.close then self.transport:close() end
end

errors.check_self(Client, "client", "models", "health", "servers", "wait_ready", "chat", "stream",
  "conversation", "load", "close")
require "lmm.client.late"(Client)

return client
