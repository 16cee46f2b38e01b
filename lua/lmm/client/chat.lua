--- One chat request: what a caller asks comes in, written down at once, so that what happens to the caller's tables
--- afterwards does not change it; the body for whichever server is to answer it goes out.
local calls = require "lmm.call"
local core = require "lmm.core"
local errors = require "lmm.errors"
local fields = require "lmm.client.fields"
local json = require "lmm.json"
local request = require "lmm.request"
local variants = require "lmm.client.variants"

---@class lmm.Chat: lmm.StreamExchange
---@field client lmm.Client  who asks
---@field url string
---@field opts lmm.CallSettings
---@field body userdata?  as far as it can be written before the server is known
---@field err lmm.Error?  why there is none
---@field found lmm.Found?  the media in it
---@field unwritten table?  the fields, where it is to be written again once the server is known
---@field entry lmm.log.Entry?  that has it logged
---@field model string?   where one is named
---@field needs_model boolean  where none is, the first that the server lists goes along
---@field wants_usage boolean
---@field affinity table|false|nil  of the conversation, in which the same media will come again; see lmm.Pool
local Chat = { needs_model = true }
Chat.__index = Chat

local chat = {}

--- Whether a request can be written better where the server's dialect is known, and it is not: one with media, which it
--- may keep, not decode, not fetch or not take where they stand, or with what only some servers have for answers.
---@param client lmm.Client
function Chat:needs_dialect(client)
  local is_wanted = self.found or request.structured.needs_dialect(self.form)
  if not is_wanted or client:known_dialect() then return false end
  return not (client.next_probe and client.loop:now() < client.next_probe)
end

--- Writes a request by what is known of the server; one of a conversation with its messages in the form that it takes.
---@return userdata? body, lmm.Error? err, lmm.Found? found
local function write(client, sent, form, affinity)
  if form or client.dialect then
    local ok, err = request.structured.add(sent, form, form and client:known_dialect() or client.dialect or nil)
    if not ok then return nil, err end
  end
  local dialect = affinity and client:known_dialect()
  if dialect and dialect.tool_media == "user" then sent.messages = request.with_media_of_user(sent.messages) end
  return request.body(sent, client)
end

local MOST_TABLES = 100000 -- lists and objects in a text

--- A request that is JSON already, and goes as it is: nothing is added and nothing left out.
---@param text string
---@param ours table  options
---@return lmm.Chat chat, table? fields  what was asked
local function of_text(text, ours)
  if request.structured.asked(ours, {}) then
    errors.misuse "a request that is a text goes as it is: what the answer is to be stands in it"
  end
  local self = setmetatable({ needs_model = false, wants_usage = false, streamed = false, choices = 1 }, Chat)
  local value, message = core.decode(text, { depth = json.MAX_DEPTH, containers = MOST_TABLES })
  local is_object = type(value) == "table" and value[1] == nil and getmetatable(value) == nil
  if not is_object then
    local what = type(value) == "table" and "list" or "value"
    local reason = not text:find "%S" and "it is empty" or message or "it is a " .. what
    self.err = errors.new { kind = "invalid", message = "the request is not a JSON object: " .. reason }
    return self
  end
  self.body, self.streamed = core.body(text), value.stream == true
  if type(value.model) == "string" then self.model = value.model end
  if type(value.n) == "number" then self.choices = value.n end
  return self, value
end

--- A request of fields.
---@return lmm.Chat chat, table fields  what was asked, the caller's own tables
local function of_fields(client, given, ours, streamed, affinity)
  fields.check(given)
  local form = request.structured.asked(ours, given)
  if form then form.value = request.copy(form.value) end
  local sent, wants_usage = fields.sent(given, streamed)
  sent.model = sent.model or client.given_model or client.listed_model
  local body, err, found = write(client, sent, form, affinity)
  local self = setmetatable({ body = body, err = err, found = found, form = form, model = sent.model,
    choices = type(sent.n) == "number" and sent.n or 1, streamed = streamed, wants_usage = wants_usage,
    affinity = affinity,
    -- Set below and by chat.new; named here so that the table is made large enough at once.
    unwritten = nil, client = nil, url = nil, opts = nil, limits = nil, total = nil, entry = nil }, Chat)
  if body and (found or form) and (client.pool or self:needs_dialect(client)) then
    self.unwritten = request.copy(sent)
  end
  return self, given
end

--- Writes a request down.
---@param client lmm.Client
---@param given table|string
---@param ours table  options
---@param streamed boolean
---@param affinity table|false|nil
---@param url string?       that of chat completions unless given
---@param prompts integer?  how many questions the request holds (1)
---@return lmm.Chat
function chat.new(client, given, ours, streamed, affinity, url, prompts)
  local self, asked
  if type(given) == "string" then
    self, asked = of_text(given, ours)
  else
    self, asked = of_fields(client, given, ours, streamed, affinity)
  end
  local opts = calls.options(client, ours)
  self.client, self.url, self.opts, self.limits, self.total =
    client, url or client.chat_url, opts, client.limits, opts.timeout.total
  if prompts then self.choices = self.choices * prompts end
  if client.log then self.entry = client:begin_entry(url and "completions" or "chat/completions", asked, ours) end
  return self
end

--- Writes the request again for a server, which may be asked what it is.
---@return userdata? body, lmm.Error? err, lmm.Found? found
function Chat:rewrite(call, client, model, run)
  if self:needs_dialect(client) then
    local models = require "lmm.client.models"
    local opts = models.probe_options(client, call.timeout, call.sent_headers)
    local err = models.learn(client, opts, run)
    if err and err.kind == "cancelled" then return nil, err end -- a server that does not tell is taken as any other
  end
  local sent = { model = self.model or model }
  for name, value in pairs(self.unwritten) do sent[name] = value end -- another server may need another form of it
  return write(client, sent, self.form, self.affinity)
end

--- Gives a call the body that this server is to get.
---@param call lmm.Call
---@param client lmm.Client  of one server
---@param model string?  where the request names none
---@param run nil|fun(call: lmm.Call, attempt: function)
---@return lmm.Error? err
function Chat:bind(call, client, model, run)
  local body, found, err = self.body, self.found, nil
  if self.unwritten then
    body, err, found = self:rewrite(call, client, model, run)
  elseif model and not self.model then
    body, err = request.with(body, "model", model)
  end
  if not body then return err end
  local has_usage = self.wants_usage and not client.left_out.stream_options
    and not (client.dialect and client.dialect.stream_options == false)
  local forms = variants.new(client, body, has_usage, found and found.kept)
  if forms then body, err = forms:body() end
  if not body then return err end
  call.body, call.model, call.parts, call.variants = body, self.model or model, found and found.parts, forms
end

--- Makes the call. See lmm.StreamExchange.
---@param stream lmm.Stream
---@return lmm.Call? call, lmm.Error? err
function Chat:prepare(stream)
  if self.err then return nil, self.err end
  local client, opts, entry = self.client, self.opts, self.entry
  stream.started = stream.started or client.loop:now() -- the clock starts when the stream is first read
  opts.started = stream.started
  local lacks_model = self.needs_model and not self.model and not client.pool
  local run = (lacks_model or self.unwritten) and function(...) return stream:run(...) end or nil -- of other calls
  local model, err
  if lacks_model then
    model, err = require("lmm.client.models").find(client, opts, run)
    if entry and not model then entry:fail(client, err) end
    if not model then return nil, err end
  end
  opts.model = self.model
  local call = calls.new(client, "POST", self.url, nil, opts)
  call.stream, call.request = stream, self
  if entry then
    call.entry = entry
    if entry:answer(call, self.model or model) then return call end
  end
  if client.pool then return call end -- which binds it to each server
  local problem = self:bind(call, client, model, run)
  if not problem then return call end
  call:finish()
  return nil, problem
end

return chat
