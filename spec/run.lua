-- usage: LUA spec/run.lua [SPEC_FILE...]      from the project's folder; without names, every spec
--
-- Runs each spec file with busted in a process of its own, so that a crash in one is counted and the others still run.
-- $LMM_TEST_WRAP is put before the interpreter (valgrind, for one). Ends with `N passed, N failed`.
local interpreter = arg[-1]

if arg[1] == "--one" then
  table.remove(arg, 1)
  require "busted.runner" { standalone = false, output = "spec/support/output.lua" }
  collectgarbage()
  collectgarbage()
  os.exit(0, true)
end

local shell = require "spec.support.shell"

local files = {}
for i = 1, #arg do files[i] = arg[i] end
if #files == 0 then
  for file in shell.output "ls spec/*_spec.lua":gmatch "[^\n]+" do files[#files + 1] = file end
end

local passed, failed, skipped = 0, 0, 0
local wrap = os.getenv "LMM_TEST_WRAP" or ""
local command = wrap .. " " .. shell.quote(interpreter) .. " spec/run.lua --one %s 2>&1; echo \"status: $?\""
for _, file in ipairs(files) do
  print(file)
  local counts, status
  local run = assert(io.popen(command:format(shell.quote(file))))
  for line in run:lines() do
    counts = line:match "^counts: (.*)$" or counts
    status = line:match "^status: (.*)$" or status
    if not line:find "^counts: " and not line:find "^status: " then print(line) end
  end
  run:close()
  local p, f, s = (counts or "0 0 0"):match "^(%d+) (%d+) (%d+)$"
  if not counts or status ~= "0" and f == "0" then
    print("  FAILED: " .. file .. " ended with status " .. tostring(status))
    f = f + 1
  end
  passed, failed, skipped = passed + p, failed + f, skipped + s
end

print(("%d passed, %d failed%s"):format(passed, failed, skipped > 0 and (", %d skipped"):format(skipped) or ""))
os.exit(failed == 0 and 0 or 1)
