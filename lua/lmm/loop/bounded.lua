--- Items come in, one at a time, from whoever has them; what is to be done with each is done in a task, and for no more
--- at a time than that one lets go. gather and lmm.map are both this.
local loops = require "lmm.loop"

---@class lmm.Work  what is to be done; `cell` wakes the one who runs it, when there may be something new to run
---@field next fun(self, running: integer): any, number?  the next item; nil: none now. It is asked again when one has
--- ended, and at the time it names. Where nothing runs and it names no time, all is done
---@field may_wait boolean?  `next` may wait: the one who runs it asks for each item, and no task for its next one
---@field call fun(self, item: any): any  what is to be done with an item; it may wait
---@field ended fun(self, item: any, ...)  gets three values that `call` returned; not called where that raised
---@field is_cancelled boolean?  set once those that run are cancelled, since one raised or the task that waits was

--- Runs all of it and waits for all. A raise in one cancels the others and is raised again, once they have ended.
---@param work lmm.Work
---@return true? done  nil where the task that waits was cancelled: those that ran are cancelled, too
return function(work)
  local loop, running, count = loops.current(), {}, 0
  local goes_on = loops.resumable and not work.may_wait -- a task, with the next item
  local raised, is_over
  work.cell = work.cell or {}

  local function stop()
    work.is_cancelled = true
    for task in pairs(running) do task:cancel() end
  end

  --- What came of an item comes in; the next one goes out, where it is for the same task.
  local function follow(item, ...)
    if is_over then return nil end
    work:ended(item, ...)
    loop:wake(work.cell) -- others may begin, too
    return goes_on and not raised and work:next(count - 1) or nil
  end

  local function start(item)
    local task, has_ended
    count = count + 1
    task = loop:spawn(function()
      while item do item = follow(item, work:call(item)) end
    end, function(ok, problem)
      has_ended, count = true, count - 1
      if task then running[task] = nil end
      if not ok and not is_over then
        raised = raised or { problem }
        stop()
      end
      loop:wake(work.cell)
    end)
    if not has_ended then running[task] = true end
  end

  while true do
    local item, time
    while not raised do
      local ok
      ok, item, time = loops.pcall(work.next, work, count)
      if not ok then
        raised, item, time = { item }, nil, nil
        stop()
      end
      if not item then break end
      start(item)
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
