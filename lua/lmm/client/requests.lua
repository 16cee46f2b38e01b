--- Requests to any endpoint: a method, a path and a body come in; the reply as it came, or its events, go out.
local answers = require "lmm.answer"
local calls = require "lmm.call"
local errors = require "lmm.errors"
local fields = require "lmm.client.fields"
local options = require "lmm.options"
local request = require "lmm.request"

local requests = {}

--- The model that a body names, by which a pool chooses the server.
local function model_in(body)
  return type(body) == "table" and type(body.model) == "string" and body.model or nil
end

--- What a call to a path that the caller names begins with. Its arguments are checked first.
---@return lmm.CallSettings call_opts, string url, lmm.log.Entry? entry
local function begin(self, where, method, path, body, opts)
  self:check_open()
  local call_opts = calls.options(self, options.check(where, calls.rows, opts))
  if type(method) ~= "string" or not method:find "^%u+$" then errors.misuse("%s: no method like GET", where) end
  if type(path) ~= "string" or path:find "[%c%s]" then errors.misuse("%s: no path, or one with spaces", where) end
  call_opts.model = model_in(body)
  return call_opts, self:url(path), self:begin_entry(path, body)
end

--- Any other request. `path` is taken from the server's root where it begins with "/" ("/tokenize"), else from the
--- base URL ("embeddings"). A table is sent as JSON, parts in it replaced; a string as it is; a form (lmm.form) as
--- multipart/form-data.
---@param self lmm.Client
---@param method string  GET, POST, ...
---@param path string
---@param body table|string|lmm.Form|nil
---@param opts lmm.CallOptions?
---@return lmm.Response? reply  a status that is no success is an error
---@return string? message
---@return lmm.Error? err
function requests.request(self, method, path, body, opts)
  local call_opts, url, entry = begin(self, "client:request", method, path, body, opts)
  local written, err
  written, err, call_opts.content_type, call_opts.parts = request.any(body)
  if err then return errors.public(nil, err) end
  local reply, failure = self:fetch(method, url, written, call_opts, function(call, attempt)
    call.entry = entry
    return call:run(attempt)
  end, function(text, head)
    local value, failure = answers.decode(text, self.limits)
    if failure and failure.kind == "limit" then return nil, failure end
    return { status = head.status, headers = head.headers, body = text, json = value }
  end)
  return errors.public(reply, failure)
end

--- The events of any endpoint that streams ("responses", "completions"), as an iterator: each decoded, with its name.
--- The arguments are those of client:request; `stream = true` goes along with a JSON object that says nothing of it. A
--- failure before the first event is tried again, `[DONE]` ends them, and an error among them ends them as one. Gives
--- them in the form that a `for` loop closes on Lua 5.4.
---@param self lmm.Client
---@param method string
---@param path string
---@param body table|string|lmm.Form|nil
---@param opts lmm.CallOptions?
---@return lmm.Events events, nil, nil, lmm.Events
function requests.events(self, method, path, body, opts)
  local call_opts, url, entry = begin(self, "client:events", method, path, body, opts)
  local written, err
  written, err, call_opts.content_type, call_opts.parts = request.any(fields.streamed(body))
  local function prepare()
    if err then return nil, err end
    call_opts.started = self.loop:now() -- the clock starts when they are first read
    local call = calls.new(self, method, url, written, call_opts)
    call.entry = entry
    return call
  end
  local result = require("lmm.events").new(prepare, self.limits)
  return result, nil, nil, result
end

return requests
