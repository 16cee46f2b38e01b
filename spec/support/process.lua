--- What processes there are, as /proc tells, and waiting for what other processes do.
--
-- In:  process numbers, conditions.
-- Out: states; a wait that ends in an error where the condition is never met, after a time that no machine needs.

local shell = require "spec.support.shell"

local process = {}

local TIMEOUT = 60 -- seconds

-- What deals with processes deals with files, too.
process.shell, process.read, process.write, process.quote = shell.output, shell.read, shell.write, shell.quote
process.folder = shell.folder

--- Whether a process runs; a zombie does not.
function process.runs(pid)
  local state = (process.read(("/proc/%d/stat"):format(pid)) or ""):match "%) (%a)"
  return state ~= nil and state ~= "Z"
end

--- A function that gives the processes that run whose field in their `stat`, counted from the state on, is a number.
---@param index integer
---@return fun(number: integer|string): integer[]
local function having(index)
  local pattern = "^(%d+) %(.*%) (%a)" .. (" %d+"):rep(index - 1) .. " (%d+)"
  return function(number)
    local found = {}
    for line in process.shell "cat /proc/[0-9]*/stat 2>/dev/null":gmatch "[^\n]+" do
      local pid, state, field = line:match(pattern)
      if tonumber(field) == tonumber(number) and state ~= "Z" then found[#found + 1] = tonumber(pid) end
    end
    return found
  end
end

--- The processes that a process has started, those of the group, and those of the session that it leads.
process.children, process.group, process.session = having(1), having(2), having(3)

--- Whether this machine has the address ::1.
function process.has_v6()
  return (process.read "/proc/net/if_inet6" or ""):find "00000000000000000000000000000001" ~= nil
end

--- Looks until `fn` gives a true value, and gives it.
function process.wait_for(what, fn)
  local deadline = os.time() + TIMEOUT
  while os.time() <= deadline do
    local value = fn()
    if value then return value end
    os.execute "sleep 0.02"
  end
  error("waited in vain for " .. what, 2)
end

--- Waits for the end of a process and of every process of the group that it leads.
function process.wait_gone(pid)
  process.wait_for("the end of process " .. pid, function()
    return not process.runs(pid) and #process.group(pid) == 0
  end)
end

return process
