--- Functions come in, one at a time, from whoever has them; each runs as a task, and no more at a time than that one
--- lets go. gather and lmm.map are both this.
local loops = require "lmm.loop"

---@class lmm.Work  what is to be run; `cell` wakes the one who runs it, when there may be something new to run
---@field next fun(self, running: integer): (fun(): any)|nil, number?  the next function; nil: none now. It is asked
--- again when a task has ended, and at the time it names. Where nothing runs and it names no time, all is done
---@field ended fun(self, ...)  gets the four values that a function returned; not called for one that raised
---@field is_cancelled boolean?  set once those that run are cancelled, since one raised or the task that waits was

--- Runs all of it and waits for all. A raise in one cancels the others and is raised again, once they have ended.
---@param work lmm.Work
---@return true? done  nil where the task that waits was cancelled: those that ran are cancelled, too
return function(work)
  local loop, running, count = loops.current(), {}, 0
  local raised, is_over
  work.cell = work.cell or {}

  local function stop()
    work.is_cancelled = true
    for task in pairs(running) do task:cancel() end
  end

  local function start(fn)
    local task, has_ended
    count = count + 1
    task = loop:spawn(fn, function(ok, ...)
      has_ended, count = true, count - 1
      if task then running[task] = nil end
      local problem = ...
      if ok and not is_over then ok, problem = pcall(work.ended, work, ...) end
      if not ok and not is_over then
        raised = raised or { problem }
        stop()
      end
      loop:wake(work.cell)
    end)
    if not has_ended then running[task] = true end
  end

  while true do
    local fn, time
    while not raised do
      local ok
      ok, fn, time = loops.pcall(work.next, work, count)
      if not ok then
        raised, fn, time = { fn }, nil, nil
        stop()
      end
      if not fn then break end
      start(fn)
    end
    if count == 0 and (raised or not time) then break end
    local ok, woken, why = loops.pcall(loop.wait, loop, work.cell, time)
    if not ok or not woken and why == "cancelled" then
      is_over = true
      stop()
      if not ok then error(woken, 0) end
      return nil
    end
  end
  if raised then error(raised[1], 0) end
  return true
end
