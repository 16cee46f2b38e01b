--- Functions come in; each runs as a task, a limited number at a time; their results go out together.
local bounded = require "lmm.loop.bounded"
local errors = require "lmm.errors"
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
  local limit, started, total, results, failures = check(fns, opts), 0, #fns, {}, {}
  local work = {}

  function work.next(_, running)
    if running >= limit or started >= total then return nil end
    started = started + 1
    local index, fn = started, fns[started]
    return function() return index, fn() end
  end

  function work.ended(_, index, value, message, err)
    if value ~= nil then
      results[index] = value
    elseif message ~= nil then
      failures[index] = err or message
    end
  end

  if bounded(work) then return results, failures end
  return errors.public(nil, errors.new { kind = "cancelled", message = "the gather was cancelled" })
end

return gather
