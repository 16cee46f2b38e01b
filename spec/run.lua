-- usage: LUA spec/run.lua [SPEC_FILE...]         from the project's folder; without names, every spec
--        LUA spec/run.lua --here SPEC_FILE...    in this process
--
-- Runs each spec file with busted in a process of its own, so that a crash in one is counted and the others still run.
-- $LMM_TEST_WRAP is put before the interpreter (valgrind, for one). Ends with `N passed, N failed`.
if arg[1] == "--here" then
  table.remove(arg, 1)
  io.stdout:setvbuf "line" -- a crash leaves what was printed before it
  -- Where a case failed, busted ends the process; it does so in one way on every Lua if it does not know its caller.
  assert(pcall(require "busted.runner", { standalone = false, output = "spec/support/output.lua" }))
  collectgarbage()
  collectgarbage()
  return
end

local shell = require "spec.support.shell"

local files = {}
for i = 1, #arg do files[i] = arg[i] end
if #files == 0 then
  for file in shell.output "ls spec/*_spec.lua":gmatch "[^\n]+" do files[#files + 1] = file end
end

-- The configuration of whoever runs the specs is none of theirs.
local command = ("XDG_CONFIG_HOME=/nowhere %s %s spec/run.lua --here %%s 2>&1; echo \"status: $?\"")
  :format(os.getenv "LMM_TEST_WRAP" or "", shell.quote(arg[-1]))

--- Prints what a spec file says; gives how many of its cases passed, failed and were skipped. Whatever ends the process
--- before busted has counted, or lets it end badly after that, is a failure.
local function run(file)
  local counts, status
  local pipe = assert(io.popen(command:format(shell.quote(file))))
  for line in pipe:lines() do
    local of_run, of_process = line:match "^counts: (.*)$", line:match "^status: (.*)$"
    if not of_run and not of_process then print(line) end
    counts, status = of_run or counts, of_process or status
  end
  pipe:close()
  local passed, failed, skipped = (counts or "0 0 0"):match "^(%d+) (%d+) (%d+)$"
  local fault = not counts and ("ended before its end, with status " .. status)
    or counts == "0 0 0" and "has no case"
    or status ~= (failed == "0" and "0" or "1") and ("ended with status " .. status)
  if fault then print(("  FAILED: %s %s"):format(file, fault)) end
  return tonumber(passed), failed + (fault and 1 or 0), tonumber(skipped)
end

local passed, failed, skipped = 0, 0, 0
for _, file in ipairs(files) do
  print(file)
  local p, f, s = run(file)
  passed, failed, skipped = passed + p, failed + f, skipped + s
end
print(("%d passed, %d failed%s"):format(passed, failed, skipped > 0 and (", %d skipped"):format(skipped) or ""))
os.exit(failed == 0 and 0 or 1)
