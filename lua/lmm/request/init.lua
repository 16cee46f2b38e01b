--- A request table comes in; a body that the transport can pull goes out. lmm.core writes it; a dialect says how the
--- parts in it are written.
local core = require "lmm.core"
local dialects = require "lmm.request.dialects"
local errors = require "lmm.errors"
local forms = require "lmm.form"
local json = require "lmm.json"
local parts = require "lmm.part"

local request = {}

local written -- the parts of the request that is being written

local function write_part(part)
  if part.err then error(part.err, 0) end
  written = written or {}
  written[#written + 1] = part
  return dialects.content(part)
end

local function refuse_form()
  error(errors.new { kind = "invalid", message = "a form is a body of its own, and cannot stand in JSON" }, 0)
end

local OPTIONS = { name = "the request",
  hooks = { [parts.metatable] = write_part, [forms.metatable] = refuse_form } }

local function checked(body, message)
  if body then return body end
  return nil, errors.new { kind = "invalid", message = message }
end

--- Writes a request as it now stands: what happens to the caller's tables afterwards does not change it.
---@param fields table  request fields by their server names; parts may stand anywhere in it, and bodies, which go in as
--- they were written
---@return userdata? body, lmm.Error? err  a body of lmm.core
---@return lmm.Part[]? parts  those in it, in the order in which they were written
function request.body(fields)
  json.learn_marks()
  written = nil
  local ok, body, message = pcall(core.write, fields, OPTIONS)
  local found = written
  written = nil
  if ok and body then return body, nil, found end
  if ok then return checked(body, message) end
  if errors.is(body) then return nil, body end
  error(body, 0)
end

--- The same request with one more field.
---@return userdata? body, lmm.Error? err
function request.with(body, name, value)
  return checked(body:with(name, value))
end

--- The body that a caller gives in one of its forms: a table is JSON, a string goes as it is, and a form is
--- multipart/form-data.
---@param given table|string|lmm.Form|nil
---@return userdata? body, lmm.Error? err, string? content_type  where it is not JSON's
function request.any(given)
  if given == nil then return nil end
  if type(given) == "string" then return core.body(given) end
  if type(given) ~= "table" then errors.misuse("a body is a table, a form or a string, not a %s", type(given)) end
  if not forms.is(given) then
    local body, err = request.body(given)
    return body, err
  end
  local pieces, boundary = forms.pieces(given)
  if not pieces then return nil, boundary end
  return core.concat(pieces), nil, "multipart/form-data; boundary=" .. boundary
end

return request
