-- What a spec file is written with: `test.case(name, fn)` runs a case at once and notes how it went; the checks raise.

local test = { passed = 0, failed = 0, skipped = 0 }

local function show(value, depth)
  if type(value) == "string" then return string.format("%q", value) end
  if type(value) ~= "table" or (depth or 0) > 4 then return tostring(value) end
  local keys, out = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, key in ipairs(keys) do out[i] = tostring(key) .. " = " .. show(value[key], (depth or 0) + 1) end
  return "{ " .. table.concat(out, ", ") .. " }"
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function fail(level, format, ...)
  error(string.format(format, ...), level + 1)
end

--- Runs one case. A case that raises has failed; `test.skip(why)` inside it skips it.
function test.case(name, fn)
  local ok, err = xpcall(fn, function(e)
    if type(e) == "table" and e.skip then return e end
    return debug.traceback(type(e) == "table" and show(e) or tostring(e), 2)
  end)
  if ok then
    test.passed = test.passed + 1
    if os.getenv "LMM_TEST_VERBOSE" then print("  ok: " .. name) end
  elseif type(err) == "table" and err.skip then
    test.skipped = test.skipped + 1
    print("  skipped: " .. name .. ": " .. err.skip)
  else
    test.failed = test.failed + 1
    print("  FAILED: " .. name .. "\n    " .. err:gsub("\n", "\n    "))
  end
end

function test.skip(why)
  error({ skip = why }, 0)
end

--- Equal by value, tables by their contents.
function test.equal(actual, expected, what)
  if not same(actual, expected) then
    fail(2, "%sgot %s, expected %s", what and what .. ": " or "", show(actual), show(expected))
  end
  return actual
end

function test.ok(value, what)
  if not value then fail(2, "%s", tostring(what or "expected a true value")) end
  return value
end

--- `text` is a string in which the Lua pattern is found.
function test.match(text, pattern)
  if type(text) ~= "string" or not text:find(pattern) then
    fail(2, "%s does not match %s", show(text), show(pattern))
  end
  return text
end

--- `fn(...)` raises, and the message matches.
function test.raises(pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then fail(2, "did not raise; expected %s", show(pattern)) end
  if not tostring(err):find(pattern) then fail(2, "raised %s, expected %s", show(tostring(err)), show(pattern)) end
  return err
end

--- `fn` gave `nil, message, err` as the public face does; gives err.
function test.refused(pattern, value, message, err)
  if value ~= nil then fail(2, "succeeded with %s, expected a failure %s", show(value), show(pattern)) end
  if type(err) ~= "table" or err.message ~= message then fail(2, "no error object: %s", show(err)) end
  if not message:find(pattern) then fail(2, "failed with %s, expected %s", show(message), show(pattern)) end
  if message:find "[\r\n]" then fail(2, "a message of several lines: %s", show(message)) end
  return err
end

return test
