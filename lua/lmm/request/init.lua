--- A request table comes in; a body that the transport can pull goes out. lmm.core writes it; a dialect says how the
--- parts in it are written.
local core = require "lmm.core"
local dialects = require "lmm.request.dialects"
local errors = require "lmm.errors"
local json = require "lmm.json"
local parts = require "lmm.part"

local request = {}

local function write_part(part)
  if part.err then error(part.err, 0) end
  return dialects.content(part)
end

local OPTIONS = { name = "the request", hooks = { [parts.metatable] = write_part } }

local function checked(body, message)
  if body then return body end
  return nil, errors.new { kind = "invalid", message = message }
end

--- Writes a request as it now stands: what happens to the caller's tables afterwards does not change it.
---@param fields table  request fields by their server names; parts may stand anywhere in it, and bodies, which go in as
--- they were written
---@return userdata? body, lmm.Error? err  a body of lmm.core
function request.body(fields)
  json.learn_marks()
  local ok, body, message = pcall(core.write, fields, OPTIONS)
  if ok then return checked(body, message) end
  if errors.is(body) then return nil, body end
  error(body, 0)
end

--- The same request with one more field.
---@return userdata? body, lmm.Error? err
function request.with(body, name, value)
  return checked(body:with(name, value))
end

--- A body of a text as it is.
function request.verbatim(body)
  if type(body) ~= "string" then errors.misuse("a body is a table or a string, not a %s", type(body)) end
  return core.body(body)
end

return request
