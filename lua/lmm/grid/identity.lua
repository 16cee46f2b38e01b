--- What makes two cells the same question: a request in which parts may stand comes in; a name of 32 hex digits goes
--- out, which another run finds the answer by. Bytes of media stand in it by their digest, wherever the file is.
local parts = require "lmm.part"

local identity = {}

local function new_digest()
  return require("lmm.version").check("lmm.digest").new()
end

local write

--- A table, its names in order.
local function write_table(out, value, digests)
  local names = {}
  for name in pairs(value) do names[#names + 1] = name end
  table.sort(names, function(a, b)
    if type(a) == type(b) then return a < b end
    return type(a) == "number"
  end)
  out[#out + 1] = "{"
  for _, name in ipairs(names) do
    write(out, name, digests)
    write(out, value[name], digests)
  end
  out[#out + 1] = "}"
end

function write(out, value, digests)
  local kind = type(value)
  if kind == "number" then
    out[#out + 1] = ("n%.17g;"):format(value)
  elseif parts.is(value) then
    local frames = not value.plan and value.frames or nil -- those of a film are taken out of it when it is sent
    out[#out + 1] = "m" .. value.kind .. " " .. (frames and #frames or digests(value)) .. ";"
    write_table(out, value.options, digests)
    write_table(out, value.plan and value.plan.options or {}, digests)
    for _, frame in ipairs(frames or {}) do write(out, frame, digests) end
  elseif kind == "table" then
    write_table(out, value, digests)
  else
    local text = tostring(value)
    out[#out + 1] = ("%s%d:%s"):format(kind:sub(1, 1), #text, text)
  end
end

--- The name of a request.
---@param request table
---@param digests fun(part: lmm.Part): string  what names the bytes of a part
---@return string
function identity.of(request, digests)
  local out = {}
  write(out, request, digests)
  return new_digest():update(table.concat(out)):finish():hex():sub(1, 32)
end

return identity
