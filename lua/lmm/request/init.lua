--- A request table comes in; a body that the transport can pull goes out. lmm.core writes it; the server's dialect says
--- how the parts in it are written, and its media cache which of them it need not get again.
local core = require "lmm.core"
local dialects = require "lmm.request.dialects"
local errors = require "lmm.errors"
local json = require "lmm.json"

local loaded = package.loaded
local PART, FORM = "lmm.part", "lmm.form" -- whose modules are loaded with the first part and the first form

local request = { dialects = dialects, structured = require "lmm.request.structured" }

--- What is found while a request is written: the parts in it, in their order, and the media that the server is to keep.
---@class lmm.Found
---@field parts lmm.Part[]
---@field kept lmm.KeptMedia[]?  see lmm.request.media_cache

---@class lmm.Speaker  what knows the server: a client
---@field known_dialect fun(self): lmm.Dialect?
---@field get_media_cache fun(self): lmm.MediaCache?

local speaker, fields, found -- of the request that is being written

local function write_part(part)
  local err = loaded[PART].check(part)
  if err then error(err, 0) end
  local dialect = speaker and speaker:known_dialect()
  part = require("lmm.prepare").needs(part, dialect)
  if part.err then error(part.err, 0) end
  found = found or { parts = {} }
  found.parts[#found.parts + 1] = part
  if part.film then found.parts[#found.parts + 1] = part.film end
  local cache = dialect and dialect.caches and speaker:get_media_cache()
  if not cache then return require("lmm.request.content").of(part, dialect) end
  found.kept = found.kept or {}
  return cache:write(part, dialect, fields, found.kept)
end

local function refuse_form()
  error(errors.new { kind = "invalid", message = "a form is a body of its own, and cannot stand in JSON" }, 0)
end

local OPTIONS = { name = "the request", hooks = {} }

--- Has what may stand in a request written: what was never loaded has made nothing.
---@return table? parts  lmm.part, where there are some
local function learn_hooks()
  local parts, forms, hooks = loaded[PART], loaded[FORM], OPTIONS.hooks
  if parts then hooks[parts.metatable] = write_part end
  if forms then hooks[forms.metatable] = refuse_form end
  return parts
end

local function checked(body, message)
  if body then return body end
  return nil, errors.new { kind = "invalid", message = message }
end

--- Writes a request as it now stands: what happens to the caller's tables afterwards does not change it.
---@param given table  request fields by their server names; parts may stand anywhere in it, and bodies, which go in as
--- they were written
---@param client lmm.Speaker?
---@return userdata? body, lmm.Error? err  a body of lmm.core
---@return lmm.Found? found  where there are parts in it
function request.body(given, client)
  json.learn_marks()
  if learn_hooks() then given = require("lmm.request.frames").expand(given, client and client:known_dialect()) end
  speaker, fields, found = client, given, nil
  local ok, body, message = pcall(core.write, given, OPTIONS)
  local what = found
  speaker, fields, found = nil, nil, nil
  if ok and body then return body, nil, what end
  if ok then return checked(body, message) end
  if errors.is(body) then return nil, body end
  error(body, 0)
end

--- A copy of what is to be written, that does not change with the caller's tables. Parts never change; what is nested
--- too deep is refused later.
---@param copies table?  of the tables met so far: each is copied once
function request.copy(value, depth, copies)
  depth, copies = depth or 1, copies or {}
  local parts = loaded[PART]
  if type(value) ~= "table" or parts and parts.is(value) or depth > json.MAX_DEPTH then return value end
  local out, meta = copies[value], getmetatable(value)
  if out then return out end
  out = {}
  copies[value] = out
  for key, item in pairs(value) do out[key] = request.copy(item, depth + 1, copies) end
  return type(meta) == "table" and setmetatable(out, meta) or out -- such as lmm.array's
end

--- Messages for a server that takes no media in a tool's message. See lmm.request.tool_media.
---@param messages table[]
---@return table[]
function request.with_media_of_user(messages)
  return require("lmm.request.tool_media").moved(messages)
end

--- The same request with one more field.
---@return userdata? body, lmm.Error? err
function request.with(body, name, value)
  return checked(body:with(name, value))
end

--- Makes the memory of what media a server keeps.
---@return lmm.MediaCache
function request.new_media_cache()
  return require("lmm.request.media_cache").new()
end

--- The body that a caller gives in one of its forms: a table is JSON, a string goes as it is, and a form is
--- multipart/form-data.
---@param given table|string|lmm.Form|nil
---@return userdata? body, lmm.Error? err
---@return string? content_type  where it is not JSON's
---@return lmm.Part[]? parts  those in it
function request.any(given)
  if given == nil then return nil end
  if type(given) == "string" then return core.body(given) end
  if type(given) ~= "table" then errors.misuse("a body is a table, a form or a string, not a %s", type(given)) end
  local forms = loaded[FORM]
  if not (forms and forms.is(given)) then
    local body, err, what = request.body(given)
    return body, err, nil, what and what.parts
  end
  local pieces, boundary = forms.pieces(given)
  if not pieces then return nil, boundary end
  return core.concat(pieces), nil, "multipart/form-data; boundary=" .. boundary, forms.parts(given)
end

return request
