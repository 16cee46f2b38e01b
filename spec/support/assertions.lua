-- The assertions of these specs beside luassert's own; .busted names this file as busted's helper.
--
--     assert.raises(pattern, fn, ...)               `fn(...)` raises, and the message matches; gives what was raised
--     assert.refused(pattern, value, message, err)  a call gave `nil, message, err` as the public face does; gives err
local assert = require "luassert"
local say = require "say"

local unpack = table.unpack or unpack -- luacheck: ignore

--- Registers an assertion. `check` takes what the assertion was called with, and gives nil and the assertion's result,
--- or a text that says what is wrong.
local function register(name, check)
  local message = "assertion." .. name
  say:set(message, "%s")
  assert:register("assertion", name, function(_, arguments)
    local fault, result = check(unpack(arguments, 1, arguments.n))
    if not fault then return true, { result } end
    arguments[1], arguments.n, arguments.nofmt = fault, 1, { true }
    return false
  end, message, message)
end

local function show(value)
  return type(value) == "string" and string.format("%q", value) or tostring(value)
end

register("raises", function(pattern, fn, ...)
  local ok, raised = pcall(fn, ...)
  if ok then return "did not raise; expected " .. show(pattern) end
  if not tostring(raised):find(pattern) then
    return ("raised %s, expected %s"):format(show(tostring(raised)), show(pattern))
  end
  return nil, raised
end)

register("refused", function(pattern, value, message, err)
  if value ~= nil then return ("succeeded with %s, expected a failure %s"):format(show(value), show(pattern)) end
  if type(err) ~= "table" or err.message ~= message then return "no error object: " .. show(err) end
  if not message:find(pattern) then return ("failed with %s, expected %s"):format(show(message), show(pattern)) end
  if message:find "[\r\n]" then return "a message of several lines: " .. show(message) end
  return nil, err
end)
