--- A pace: what rows cost comes in, one each or their tokens; when the next one may begin goes out.
---@class lmm.Pace
---@field per_second number
---@field next_time number  by the loop's clock
local Pace = {}
Pace.__index = Pace

local pace = {}

---@param per_second number
---@param now number
---@return lmm.Pace
function pace.new(per_second, now)
  return setmetatable({ per_second = per_second, next_time = now }, Pace)
end

--- Something costs so much; less than nothing where it cost less than was thought.
function Pace:charge(cost, now)
  self.next_time = math.max(now, self.next_time) + cost / self.per_second
end

return pace
