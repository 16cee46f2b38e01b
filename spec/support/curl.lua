-- The program curl, as somebody else's client: `curl(words)` runs it and gives what it printed and its exit status.
-- It does not start under AddressSanitizer, which `make asan` preloads into all that the specs run.
local shell = require "spec.support.shell"

return function(words)
  local command = "env -u LD_PRELOAD curl -s --noproxy '*' --max-time 10 " .. words
  local text = shell.output(command .. "; echo \" exit $?\"")
  local output, status = text:match "^(.*) exit (%d+)\n$"
  return output, tonumber(status)
end
