--- How a model server starts, which takes a while, says much, and may fail: a plan comes in; lines on standard output
--- and, in the end, a call go out. Until then nobody listens, as with vLLM.

local uv = require "luv"

local M = {}

local FAILURE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
  .. "8.00 GiB of which 1.50 GiB is free."

---@class lmm.mock.Start
---@field delay number?     seconds
---@field lines integer?    of a log, spread over that time
---@field fails boolean?    in the end, for want of memory

--- Plays the start while the loop runs. What is left to do at once is done in the loop's first round.
---@param start lmm.mock.Start
---@param done fun(problem: string?)
---@return { close: fun() }  ends it
function M.play(start, done)
  local timer, said, lines = uv.new_timer(), 0, start.lines or 0
  local function close()
    if not timer:is_closing() then timer:close() end
  end
  local function step()
    if said < lines then
      said = said + 1
      print(string.format("INFO lmm mock: loading shard %d of %d", said, lines))
      io.flush()
      return
    end
    close()
    done(start.fails and FAILURE or nil)
  end
  local interval = math.floor((start.delay or 0) * 1000 / (lines + 1))
  timer:start(interval, math.max(interval, 1), step)
  return { close = close }
end

return M
