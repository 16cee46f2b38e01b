--- One request to an endpoint whose reply is read whole: fields and options come in; what the reply means, with what
--- every reply has, goes out.
local answers = require "lmm.answer"
local calls = require "lmm.call"
local errors = require "lmm.errors"
local json = require "lmm.json"
local models = require "lmm.client.models"
local options = require "lmm.options"
local request = require "lmm.request"

local endpoint = {}

--- What every reply of these endpoints has.
---@class lmm.EndpointReply
---@field model string?      as the server names it
---@field id string?
---@field request_id string? the server's, of its header X-Request-Id
---@field usage table        as the server sent it, with `requests`, all attempts, and `bytes_sent`, of their bodies
---@field cost number?       where a price is known (see lmm.connect)
---@field attempts integer
---@field timing { total: number }  seconds

--- Splits a table of options into ours and the fields for the server, which have every other name.
---@param client lmm.Client
---@param where string  what the caller called, for messages
---@param given table?
---@param own table<string, true>  the names of fields that the method itself sets
---@param ours table?   the types of those that are ours, by name (those of every call)
---@return table opts, table fields
function endpoint.split(client, where, given, own, ours)
  client:check_open()
  if given ~= nil and type(given) ~= "table" then
    errors.misuse("%s: a table of options expected, got %s", where, type(given))
  end
  ours = ours or calls.rows
  local opts, fields = {}, {}
  for name, value in pairs(given or {}) do
    if ours[name] then
      opts[name] = value
    else
      if type(name) ~= "string" then errors.misuse("%s: an option has a name, not %s", where, tostring(name)) end
      local meant = options.slip_of(name, ours)
      if meant then errors.misuse("%s: unknown option '%s' (did you mean '%s'?)", where, name, meant) end
      if own[name] then errors.misuse("%s sets '%s' itself", where, name) end
      fields[name] = value
    end
  end
  options.check(where, ours, opts)
  if fields.model ~= nil then
    if type(fields.model) ~= "string" then errors.misuse("model must be a string, not a %s", type(fields.model)) end
    calls.settings.model(fields.model)
  end
  return opts, fields
end

local function run(call, attempt) return call:run(attempt) end

--- The model to ask, found as client:chat finds it.
---@return string? model, lmm.Error? err
function endpoint.model(client, fields, opts)
  local model = fields.model or client.given_model or client.listed_model
  if model then return model end
  return models.find(client, opts, run)
end

--- A request that is written, and may be sent.
---@class lmm.Written
---@field body userdata
---@field model string?
---@field parts lmm.Part[]?
---@field content_type string?  where it is not JSON's
---@field fields table      which nobody changes any more

--- Whom a request is written for: a server that keeps media does so for chats.
local function without_cache(client)
  return { known_dialect = function() return client:known_dialect() end, get_media_cache = function() return nil end }
end

--- Writes a request; nothing is sent yet, and what happens to the caller's tables afterwards does not change it.
---@return lmm.Written? written, lmm.Error? err
function endpoint.write(client, fields)
  fields.model = fields.model or client.given_model or client.listed_model
  local body, err, found = request.body(fields, without_cache(client))
  if not body then return nil, err end
  return { body = body, model = fields.model, parts = found and found.parts, fields = fields }
end

--- Sends it, and reads the reply.
---@param client lmm.Client
---@param path string
---@param written lmm.Written
---@param opts lmm.CallSettings
---@param read fun(text: string, head: table): table?, table?  makes a reply of a body, or nil and a failure
---@return table? reply, lmm.Error? err
function endpoint.send(client, path, written, opts, read)
  local model, err = endpoint.model(client, written, opts)
  if not model then return nil, err end
  local body = written.body
  if not written.model then body, err = request.with(body, "model", model) end
  if not body then return nil, err end
  opts.content_type, opts.model = written.content_type, model
  local reply, failure, call = client:fetch("POST", client:url(path), body, opts, function(call, attempt)
    call.model, call.parts = model, written.parts -- of which a refusal may have to say more
    call.entry = not path:find "^/" and client:begin_entry(path, written.fields)
    return call:run(attempt)
  end, read)
  if not reply then return nil, failure end
  reply.attempts, reply.timing = call.attempts, { total = call.loop:now() - call.started }
  reply.request_id = call.headers["x-request-id"] or call.headers["request-id"]
  reply.usage = call:complete_usage(reply.usage)
  return reply
end

--- Both.
---@return table? reply, lmm.Error? err
function endpoint.post(client, path, fields, opts, read)
  local written, err = endpoint.write(client, fields)
  if not written then return nil, err end
  return endpoint.send(client, path, written, opts, read)
end

---@param reason string
function endpoint.failure(reason)
  return { kind = "protocol", phase = "receive", reason = reason }
end

--- The object or list in a reply, or nil and the failure: what is no JSON, and an error under a success's status.
---@param text string
---@param limits { depth: integer }
---@param status integer
---@return table? value, table? failure
function endpoint.decode(text, limits, status)
  local value, failure = answers.decode_table(text, limits)
  if failure then return nil, failure end
  failure = answers.find_error(value)
  if not failure then return value end
  failure.kind, failure.phase, failure.status = "http", "receive", failure.status or status
  return nil, failure
end

--- Gives a reply what every server says of itself, where it is of the right kind.
---@return table reply
function endpoint.common(reply, value)
  reply.model, reply.id = json.name_of(value.model), json.name_of(value.id)
  reply.usage = type(value.usage) == "table" and value.usage or nil
  return reply
end

--- Makes what reads a reply of a function that makes it of the decoded object.
---@param client lmm.Client
---@param read fun(value: table, text: string): table?, table?
---@return fun(text: string, head: table): table?, table?
function endpoint.reader(client, read)
  return function(text, head)
    local value, failure = endpoint.decode(text, client.limits, head.status)
    if not value then return nil, failure end
    local reply
    reply, failure = read(value, text)
    return reply and endpoint.common(reply, value), failure
  end
end

--- The items of a server's list by their `index`, which begins at 0; by their places where that tells nothing.
---@param list any
---@param count integer  how many there are to be
---@param what string    what they are, for the message
---@return table[]? items, table? failure
function endpoint.by_index(list, count, what)
  local by_index, by_place, found = {}, {}, 0
  for _, item in json.items(list) do
    local index = item.index
    local is_place = type(index) == "number" and index % 1 == 0 and index >= 0 and index < count
    if is_place and not by_index[index + 1] then by_index[index + 1], found = item, found + 1 end
    by_place[#by_place + 1] = item
  end
  if #by_place == count then return found == count and by_index or by_place end
  return nil, endpoint.failure(("the number of %s is %d, not %d"):format(what, #by_place, count))
end

return endpoint
