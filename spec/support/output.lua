-- busted's output for spec/run.lua: each case that failed or was skipped, when it has ended, and whatever else failed
-- (a setup, a file that does not load); last a line `counts: PASSED FAILED SKIPPED`.
local busted = require "busted"

local passed, failed, skipped = 0, 0, 0
local why_pending -- of the case that runs

local function say(...)
  io.stdout:write("  ", string.format(...):gsub("%s+$", ""):gsub("\n", "\n    "), "\n")
end

--- "FILE" for a file, else the names of what stands around it and its own.
local function name_of(element)
  if element.descriptor == "file" then return element.name end
  local names = {}
  while element and element.descriptor ~= "file" and element.descriptor ~= "suite" do
    table.insert(names, 1, element.name or element.descriptor)
    element = busted.parent(element)
  end
  return table.concat(names, " ")
end

--- The lines of a traceback that are not those of busted; nil where the message has named the only one.
local function trace_of(trace)
  local lines = {}
  for line in (trace and trace.traceback or ""):gmatch "\n(\t[^\n]+)" do
    if not line:find "[/\\]busted[/\\]" and not line:find "^\t%[C%]" and not line:find "in main chunk$" then
      lines[#lines + 1] = line
    end
  end
  return #lines > 1 and "\n" .. table.concat(lines, "\n") or ""
end

local function on_failure(element, _, message, trace)
  failed = failed + 1
  say("FAILED: %s\n%s%s", name_of(element), message, trace_of(trace))
  return nil, true
end

local function on_pending(_, _, message)
  why_pending = message
  return nil, true
end

local function on_test_end(element, _, status)
  if status == "success" then
    passed = passed + 1
    if os.getenv "LMM_TEST_VERBOSE" then say("ok: %s", name_of(element)) end
  elseif status == "pending" then
    skipped = skipped + 1
    say("skipped: %s: %s", name_of(element), (why_pending or "pending"):gsub("^[^:]+:%d+: ", ""))
    why_pending = nil
  end
  return nil, true
end

local function on_suite_end()
  io.stdout:write(("counts: %d %d %d\n"):format(passed, failed, skipped))
  return nil, true
end

return function()
  return {
    subscribe = function()
      busted.subscribe({ "failure" }, on_failure)
      busted.subscribe({ "error" }, on_failure)
      busted.subscribe({ "pending" }, on_pending)
      busted.subscribe({ "test", "end" }, on_test_end)
      busted.subscribe({ "suite", "end" }, on_suite_end)
    end,
  }
end
