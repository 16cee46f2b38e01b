--- A simulated start of a model server, which takes a while, writes a log, and may fail: a plan comes in; lines on
--- standard output and, in the end, a call go out. Until then nobody listens, as with vLLM.
local uv = require "luv"

local startup = {}

local FAILURE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
  .. "8.00 GiB of which 1.50 GiB is free."

---@class lmm.mock.Startup
---@field delay number?     seconds
---@field lines integer?    of a log, spread over that time
---@field fails boolean?    at the end, as if memory ran out

--- Runs the start while libuv's loop runs.
---@param plan lmm.mock.Startup
---@param done fun(problem: string?)
---@return { close: fun() }  ends it
function startup.run(plan, done)
  local timer, printed, lines = uv.new_timer(), 0, plan.lines or 0
  local function close()
    if not timer:is_closing() then timer:close() end
  end
  local function step()
    if printed < lines then
      printed = printed + 1
      print(string.format("INFO lmm mock: loading shard %d of %d", printed, lines))
      io.flush()
      return
    end
    close()
    done(plan.fails and FAILURE or nil)
  end
  local interval = math.floor((plan.delay or 0) * 1000 / (lines + 1))
  timer:start(interval, math.max(interval, 1), step)
  return { close = close }
end

return startup
