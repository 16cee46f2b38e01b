--- What processes there are, as /proc tells, and waiting for what other processes do.
--
-- In:  process numbers, conditions.
-- Out: states; a wait that ends in an error where the condition is never met, after a time that no machine needs.

local shell = require "spec.support.shell"

local process = {}

local TIMEOUT = 60 -- seconds

-- What deals with processes deals with files, too.
process.shell, process.read, process.write, process.quote = shell.output, shell.read, shell.write, shell.quote

--- Whether a process runs; a zombie does not.
function process.runs(pid)
  local state = (process.read(("/proc/%d/stat"):format(pid)) or ""):match "%) (%a)"
  return state ~= nil and state ~= "Z"
end

--- The processes of a group that run.
---@return integer[]
function process.group(leader)
  local found = {}
  for line in process.shell "cat /proc/[0-9]*/stat 2>/dev/null":gmatch "[^\n]+" do
    local pid, state, group = line:match "^(%d+) %(.*%) (%a) %d+ (%d+)"
    if tonumber(group) == tonumber(leader) and state ~= "Z" then found[#found + 1] = tonumber(pid) end
  end
  return found
end

--- The processes that a process has started and that run.
---@return integer[]
function process.children(parent)
  local found = {}
  for line in process.shell "cat /proc/[0-9]*/stat 2>/dev/null":gmatch "[^\n]+" do
    local pid, state, of = line:match "^(%d+) %(.*%) (%a) (%d+)"
    if tonumber(of) == tonumber(parent) and state ~= "Z" then found[#found + 1] = tonumber(pid) end
  end
  return found
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
