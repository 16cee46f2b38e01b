--- Functions come in; each runs as a task, a limited number at a time; their results go out together.
local errors = require "lmm.errors"
local loops = require "lmm.loop"
local options = require "lmm.options"

local rows = { limit = "number" }

--- Refuses what cannot be run; gives how many run at a time.
local function check(fns, opts)
  local limit = options.check("lmm.gather", rows, opts).limit or 16
  if type(fns) ~= "table" then errors.misuse("lmm.gather: a list of functions expected, got %s", type(fns)) end
  for i = 1, #fns do
    local given = type(fns[i])
    if given ~= "function" then errors.misuse("lmm.gather: entry %d is a %s, not a function", i, given) end
  end
  if not (limit >= 1 and (limit % 1 == 0 or limit == math.huge)) then
    errors.misuse("lmm.gather: limit is at least 1, and whole, not %s", tostring(limit))
  end
  return limit
end

--- Runs `fns` as tasks on one thread and waits for all. A raise in one cancels the others and is raised again.
---@param fns (fun(): any)[]
---@param opts { limit: integer? }?  how many run at a time (16)
---@return any[]? results, table|string errors, lmm.Error? err  both by the index in `fns`; in a task that is cancelled
--- nil, message, err
local function gather(fns, opts)
  local limit, loop = check(fns, opts), loops.current()
  local cell, running, count, started, total, results, failures = {}, {}, 0, 0, #fns, {}, {}
  local raised

  local function stop()
    for task in pairs(running) do task:cancel() end
  end

  local function start(index)
    local task, ended
    count = count + 1
    task = loop:spawn(fns[index], function(ok, value, message, err)
      ended, count = true, count - 1
      if task then running[task] = nil end
      if not ok then
        raised = raised or { value }
        stop()
      elseif value ~= nil then
        results[index] = value
      elseif message ~= nil then
        failures[index] = err or message
      end
      loop:wake(cell)
    end)
    if not ended then running[task] = true end
  end

  while true do
    while count < limit and started < total and not raised do
      started = started + 1
      start(started)
    end
    if count == 0 then break end
    local ok, woken = loops.pcall(loop.wait, loop, cell)
    if not ok then
      stop()
      error(woken, 0)
    elseif not woken then -- only a cancelled task is told so
      stop()
      return errors.public(nil, errors.new { kind = "cancelled", message = "the gather was cancelled" })
    end
  end
  if raised then error(raised[1], 0) end
  return results, failures
end

return gather
