--- Random numbers that are the same on every Lua: a seed and a number come in, a stream of draws goes out.
--
-- L'Ecuyer's combined generator of 1988. Every product stays below 2^53, so that doubles and integers agree.

local random = {}

---@class lmm.storm.Random
local Random = {}
Random.__index = Random

--- The draws that belong to this seed and this number.
---@param seed integer    at least 0, below 2^31
---@param number integer  likewise
---@return lmm.storm.Random
function random.new(seed, number)
  seed, number = math.floor(seed), math.floor(number)
  local self = setmetatable({
    a = (seed * 69621 + number * 7 + 1) % 2147483562 + 1,
    b = (number * 48271 + seed * 3 + 1) % 2147483398 + 1,
  }, Random)
  for _ = 1, 8 do self:int(1, 2) end
  return self
end

--- A whole number from `low` to `high`, both included.
function Random:int(low, high)
  self.a = 40014 * self.a % 2147483563
  self.b = 40692 * self.b % 2147483399
  return low + (self.a - self.b) % (high - low + 1)
end

--- True so often.
---@param probability number  of 1
function Random:chance(probability)
  return self:int(0, 999999) < probability * 1000000
end

function Random:pick(list)
  return list[self:int(1, #list)]
end

--- A key of `rows`, a list of { key, weight }.
function Random:weighted(rows)
  local total = 0
  for _, row in ipairs(rows) do total = total + row[2] end
  local left = self:int(1, total)
  for _, row in ipairs(rows) do
    left = left - row[2]
    if left <= 0 then return row[1] end
  end
end

return random
