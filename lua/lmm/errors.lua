--- What goes wrong comes in; one error object with one line of text goes out.
--
-- Inside, functions return `nil, err`. The public face gives `nil, message, err` through `errors.public`; misuse raises
-- through `errors.misuse`.

local text = require "lmm.text"

--- What went wrong. `tostring` and `..` take its message.
---@class lmm.Error
---@field kind "invalid"|"connect"|"timeout"|"http"|"protocol"|"truncated"|"cancelled"|"limit"
---@field message string      a complete sentence on one line, the hint included
---@field hint string?        one line of advice
---@field phase string?       dns, connect, tls, send, wait or receive
---@field status integer?     the HTTP status, or the code in an error event
---@field code string|integer|nil  the server's own code, or "model_not_found" where no server of a pool has it
---@field type string?        the server's own type
---@field param string?       the request field the server complains about
---@field request_id string?
---@field body string?        what the server sent in the place of an answer, as it came; nil beyond 1 MiB, and where it
--- may hold a secret
---@field content_type string?  the type of that
---@field retryable boolean   whether the same request may succeed later
---@field attempts integer?   how often it was tried
---@field elapsed number?     seconds from the call to the failure
---@field partial string?     the text that had arrived; of several rounds, that of the last
---@field messages table[]?   of a conversation with tools: what the rounds so far have done, see conversation:ask
---@field usage table?        the tokens of an answer that was cut before its JSON was whole
---@field limit string?       of a timeout: connect, first, idle, total or ready
---@field retry_after number? seconds that the server asks to wait
---@field last lmm.Error?     of wait_ready: what the last try met
---@field log string?         of lmm.serve: the last lines that the server said
---@field summary lmm.MapSummary?  of lmm.map: how far it came
local Error = {}
Error.__name = "lmm.Error"
Error.__tostring = function(err) return err.message end
Error.__concat = function(a, b) return tostring(a) .. tostring(b) end

local errors = {}

--- Makes an error of its fields, `kind` and `message` at least. A hint becomes part of the message.
---@return lmm.Error
function errors.new(fields)
  local err = setmetatable({}, Error)
  for name, value in pairs(fields) do err[name] = value end
  err.retryable = fields.retryable or false
  err.message = text.line(fields.hint and fields.message .. " (" .. fields.hint .. ")" or fields.message)
  return err
end

--- The same error for another call.
---@param err lmm.Error
---@return lmm.Error
function errors.copy(err)
  local copy = setmetatable({}, Error)
  for name, value in pairs(err) do copy[name] = value end
  return copy
end

function errors.is(value)
  return getmetatable(value) == Error
end

--- The one place where `value | nil, err` becomes `value | nil, message, err`.
function errors.public(value, err)
  if value == nil and err ~= nil then return nil, err.message, err end
  return value
end

-- What Debian calls the packages of the Lua modules that not everything needs.
local packages = {
  argparse = "lua-argparse", cjson = "lua-cjson", luv = "lua-luv", ["openssl.digest"] = "lua-luaossl",
  ["luasql.sqlite3"] = "lua-sql-sqlite3",
}

--- A sentence for a module that `require` did not find, with the package that holds it.
---@param raised any  what `require` raised, also on one line
---@return string? message  nil where it is something else
function errors.missing_package(raised)
  local name = tostring(raised):match "module '([^']+)' not found"
  if not packages[name] then return nil end
  return ("the Lua module '%s' is not installed (on Debian: apt install %s)"):format(name, packages[name])
end

local library = debug.getinfo(1, "S").source:match "^(.*)errors%.lua$" or "=?"

--- Raises, pointing at the line of the caller's own code from which the library was entered.
function errors.misuse(format, ...)
  local level = 2
  local info = debug.getinfo(level, "S")
  while info and (info.what == "C" or info.what == "tail" or info.source:sub(1, #library) == library) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  error("lmm: " .. string.format(format, ...), level)
end

--- The words of a misuse that was raised; nil where it is something else.
---@return string?
function errors.misuse_in(raised)
  raised = tostring(raised)
  return raised:match "^lmm: (.*)$" or raised:match "^[^\n]-:%d+: lmm: (.*)$"
end

--- Calls a function that may refuse what it is given. What else is raised, as by Ctrl-C, is raised again.
---@return any value   nil where it was refused
---@return string? why  the words of the misuse
function errors.try(fn, ...)
  local ok, value = pcall(fn, ...)
  if ok then return value end
  local misuse = errors.misuse_in(value)
  if not misuse then error(value, 0) end
  return nil, misuse
end

--- Has methods refuse a call with a dot in the place of the colon, and say so.
---@param class table  the metatable of what the methods are for
---@param name string  what such a value is called in the message
---@param ... string   the methods
function errors.check_self(class, name, ...)
  for _, method in ipairs { ... } do
    local fn = class[method]
    class[method] = function(self, ...)
      if getmetatable(self) ~= class then
        errors.misuse("write %s:%s(...), with a colon: with a dot it does not know its %s", name, method, name)
      end
      return fn(self, ...)
    end
  end
end

return errors
