--- Numbers in bytes: 32-bit floats, the least byte first, come in (IEEE 754, binary32); a list of numbers goes out.
local floats = {}

local SIGN, EXPONENT, FRACTION = 2 ^ 31, 2 ^ 23, 2 ^ 23 -- of the whole word; of what is left of it

--- The number that a word stands for. (string.unpack is only there since Lua 5.3.)
local function number_of(word)
  local sign = 1
  if word >= SIGN then sign, word = -1, word - SIGN end
  local fraction = word % FRACTION
  local exponent = (word - fraction) / EXPONENT
  if exponent == 255 then return fraction == 0 and sign * math.huge or 0 / 0 end
  if exponent == 0 then return sign * fraction * 2 ^ -149 end
  return sign * (1 + fraction / FRACTION) * 2 ^ (exponent - 127)
end

---@param bytes string
---@return number[]? numbers  nil where the bytes are no whole number of floats
function floats.unpack(bytes)
  if #bytes % 4 ~= 0 then return nil end
  local numbers = {}
  for at = 1, #bytes, 4 do
    local first, second, third, fourth = bytes:byte(at, at + 3)
    numbers[#numbers + 1] = number_of(first + second * 2 ^ 8 + third * 2 ^ 16 + fourth * 2 ^ 24)
  end
  return numbers
end

return floats
