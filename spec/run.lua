-- usage: LUA spec/run.lua [SPEC_FILE...]      from the project's folder; without names, every spec
--
-- Each spec file runs in a process of its own, so that a crash in one is counted and the others still run.
-- $LMM_TEST_WRAP is put before the interpreter (valgrind, for one). Ends with `N passed, N failed`.

local interpreter = arg[-1]
local shell = require "spec.support.shell"
local test = require "spec.support.test"

if arg[1] == "--one" then
  dofile(arg[2])
  collectgarbage()
  collectgarbage()
  print(string.format("%d %d %d", test.passed, test.failed, test.skipped))
  os.exit(0, true)
end

local files = {}
for i = 1, #arg do files[i] = arg[i] end
if #files == 0 then
  for file in shell.output "ls spec/*_spec.lua":gmatch "[^\n]+" do files[#files + 1] = file end
end

local passed, failed, skipped = 0, 0, 0
for _, file in ipairs(files) do
  local wrap = os.getenv "LMM_TEST_WRAP" or ""
  local run = assert(io.popen(wrap .. " " .. shell.quote(interpreter) .. " spec/run.lua --one " .. shell.quote(file)
    .. " 2>&1; echo \"exit $?\""))
  local last, before
  print(file)
  for line in run:lines() do
    if before then print(before) end
    before, last = last, line
  end
  run:close()
  local p, f, s = (before or ""):match "^(%d+) (%d+) (%d+)$"
  if not p then
    if before then print(before) end
    p, f, s = 0, 0, 0
  end
  if last ~= "exit 0" then
    print("  FAILED: " .. file .. " ended with " .. tostring(last))
    f = tonumber(f) + 1
  end
  passed, failed, skipped = passed + tonumber(p), failed + tonumber(f), skipped + tonumber(s)
end

print(string.format("%d passed, %d failed%s", passed, failed, skipped > 0 and ", " .. skipped .. " skipped" or ""))
os.exit(failed == 0 and 0 or 1)
