--- What tasks raised and nobody took comes in; the loop is told to report it, once.
--
-- Whoever holds a task may still wait for it, and takes then what it raised. So it is reported when the task is
-- collected, or at the end of the program; the collector is made to look soon.

local unhandled = {}

local STEP = 500 -- KiB that the collector goes through at a time: some milliseconds
local CYCLES = 2 -- of the collector, since the one under way may have passed the task already

local Failure = {}
Failure.__index = Failure

local waiting = 0 -- failures that have been neither taken nor reported
local cycles = 0  -- of the collector, that are still to be run

function Failure:__gc()
  if not self.text then return end
  waiting = waiting - 1
  pcall(self.loop.report, self.loop, self.text) -- a collector has nobody to raise to
end

local function collect_soon(loop)
  local is_begun = loop.later and loop:later(function()
    if collectgarbage("step", STEP) then cycles = cycles - 1 end
    if waiting == 0 then cycles = 0 end
    if cycles > 0 then collect_soon(loop) end
  end)
  if not is_begun then cycles = 0 end
end

--- Keeps what a task raised until it is taken or reported. To be held by the task alone.
---@param loop table     has `report(text)`; and where it can `later(fn)`, which calls a function soon
---@param problem any    what was raised
---@param place string|thread  where: a traceback, or the coroutine that has it
function unhandled.new(loop, problem, place)
  local is_text, text = pcall(tostring, problem)
  text = ("lmm: a task failed, and nobody waited for it: %s\n%s"):format(is_text and text or type(problem),
    type(place) == "thread" and debug.traceback(place) or place)
  local failure = setmetatable({ loop = loop, text = text }, Failure)
  local newproxy = rawget(_G, "newproxy")
  if newproxy then -- Lua 5.1 has finalizers for userdata alone
    failure.proxy = newproxy(true)
    getmetatable(failure.proxy).__gc = function() failure:__gc() end
  end
  waiting = waiting + 1
  local is_collecting = cycles > 0
  cycles = CYCLES
  if not is_collecting then collect_soon(loop) end
  return failure
end

--- Somebody has been given what the task raised.
function Failure:take()
  if self.text then waiting = waiting - 1 end
  self.text = nil
end

return unhandled
