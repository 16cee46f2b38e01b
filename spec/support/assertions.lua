-- The assertions of these specs beside luassert's own; .busted names this file as busted's helper.
--
--     assert.raises(pattern, fn, ...)               `fn(...)` raises, and the message matches; gives what was raised
--     assert.refused(pattern, value, message, err)  a call gave `nil, message, err` as the public face does; gives err
local assert = require "luassert"
local say = require "say"

package.loaded["spec.support.test"] = require "spec.support.test"

local function register(name, check)
  say:set("assertion." .. name, "%s")
  local function callback(_, arguments, level)
    local fault, result = check(table.unpack and table.unpack(arguments, 1, arguments.n)
      or unpack(arguments, 1, arguments.n)) -- luacheck: ignore
    if fault then error(fault, level + 1) end
    return true, { result }
  end
  assert:register("assertion", name, callback, "assertion." .. name, "assertion." .. name)
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
