--- What an exchange asks: its request comes in; the texts of its fields and messages, which the log stores, and the key
--- that names all of it, go out.
local errors = require "lmm.errors"
local json = require "lmm.json"
local options = require "lmm.options"
local plain = require "lmm.log.plain"
local version = require "lmm.version"

local request = {}

---@class lmm.log.Asked
---@field kind string
---@field model string?
---@field fields string     JSON
---@field messages (string|userdata)[]  JSON of each, or the body that holds it; see request.text
---@field digests string[]  each names a message with all that come before it
---@field media table<integer, lmm.log.Medium[]>  of each message, by its place; those in fields count to the last one
---@field last_answer integer?  the place of the last message that an assistant said

local CHAT = "chat/completions"

--- What says how an answer comes, not which.
local HOW = { stream = true, stream_options = true, model = true, messages = true }

--- The name under which options that are lmm's own stand among the fields.
request.OPTIONS = "lmm.options"

local function digest(...)
  local sum = version.check("lmm.digest").new()
  for i = 1, select("#", ...) do sum:update(tostring((select(i, ...)) or "")):update "\n" end
  return sum:finish():hex()
end
request.digest = digest

--- The JSON of a message.
---@param body string|userdata
---@return string
function request.text(body)
  if type(body) == "string" then return body end
  body:rewind()
  local pieces = {}
  for piece in function() return body:read(65536) end do pieces[#pieces + 1] = piece end
  body:rewind()
  return table.concat(pieces)
end

--- What names the messages up to this one.
local function link(before, text)
  local is_answer = text:find('"role":"assistant"', 1, true) ~= nil
  return { before = before, digest = digest(before, text), is_answer = is_answer }
end

--- The same of bodies, which conversations keep from turn to turn, so that a turn costs the same whatever came before.
local links = setmetatable({}, { __mode = "k" })

local function link_of_body(before, body)
  local known = links[body]
  if not known or known.before ~= before then
    known = link(before, request.text(body))
    links[body] = known
  end
  return known
end

local function is_messages(value)
  return type(value) == "table" and #value > 0 and getmetatable(value) == nil or false
end

--- Reads what was asked.
---@param given table  the request, parts in it
---@param opts { kind: string?, model: string?, options: table?, known: function?, is_strict: boolean? }
---@return lmm.log.Asked
function request.read(given, opts)
  local fields, rest = {}, {}
  local is_chat = is_messages(given.messages)
  for name, value in pairs(given) do
    if not HOW[name] or name == "messages" and not is_chat then fields[name] = value end
  end
  local plain_fields, media = plain.of(fields, opts)
  if not is_chat then
    plain_fields, rest = {}, { json.text(plain_fields) }
  end
  local asked = { kind = opts.kind or CHAT, model = given.model or opts.model, messages = rest, media = {},
    digests = { [0] = "" } }
  for i, message in ipairs(is_chat and given.messages or {}) do
    if type(message) == "userdata" then
      rest[i] = message
    else
      local value, found = plain.of(message, opts)
      rest[i], asked.media[i] = json.text(value) or "null", found[1] and found or nil
    end
  end
  for i, message in ipairs(rest) do
    local known = (type(message) == "string" and link or link_of_body)(asked.digests[i - 1], message)
    asked.digests[i] = known.digest
    if known.is_answer then asked.last_answer = i end
  end
  if opts.options and next(opts.options) ~= nil then plain_fields[request.OPTIONS] = plain.of(opts.options) end
  asked.fields = json.text(plain_fields) or "{}"
  local last = asked.media[#rest] or {}
  for _, medium in ipairs(media) do last[#last + 1] = medium end
  asked.media[#rest] = last[1] and last or nil
  return asked
end

--- What names all of it. Paths and the order of names do not count, the bytes of media do.
---@param asked lmm.log.Asked
---@param server string
---@param salt string?
---@return string
function request.key(asked, server, salt)
  return digest("lmm", server, asked.model, asked.kind, salt, asked.fields, asked.digests[#asked.messages])
end

local ROWS = { server = "string", model = "string", kind = "string", salt = "string", options = "table" }

--- See log.key and Log:key.
---@param known function?  see plain.of
---@return string? key, lmm.Error? err
function request.key_of(given, opts, known)
  opts = options.check("log.key", ROWS, opts)
  if type(given) ~= "table" then errors.misuse("log.key takes a request, not a %s", type(given)) end
  if not opts.server then errors.misuse "log.key needs the server: its base URL" end
  local ok, asked = pcall(request.read, given, { kind = opts.kind, model = opts.model, options = opts.options,
    known = known, is_strict = true })
  if ok then return request.key(asked, opts.server, opts.salt) end
  if errors.is(asked) then return nil, asked end
  error(asked, 0)
end

return request
