--- What a run is: its input, model and options come in; a table that stands in OUT.run, and what differs between two of
--- them, go out.
local texts = require "lmm.text"

local description = {}

local SHOWN = 200 -- bytes of a value in a message
local DIGITS = 12 -- of a digest

--- What the digests are of.
local digests = { rows_digest = "the content of the input", request = "the content of the file of --request" }

--- As JSON can hold it: names of files may have any bytes.
---@param values table<string, string|number|boolean>
---@return table<string, string|number|boolean>
function description.new(values)
  local out = {}
  for name, value in pairs(values) do out[name] = type(value) == "string" and texts.utf8(value) or value end
  return out
end

--- Where two texts begin to differ.
local function first_difference(a, b)
  local at = 1
  while at <= #a and a:byte(at) == b:byte(at) do at = at + 1 end
  return at
end

--- A text in a message; of a long one what stands around the byte `at`.
local function show(text, at)
  if #text <= SHOWN then return text end
  local first = math.max(1, at - SHOWN / 2)
  local last = first + SHOWN - 1
  return (first > 1 and "..." or "") .. texts.utf8(text:sub(first, last)) .. (last < #text and "..." or "")
end

--- What a value of a description is called.
function description.label(name)
  return digests[name] and digests[name] .. " (SHA-256)" or (name:gsub("_", " "))
end

--- What differs between two descriptions of a run, as a sentence's end; nil where nothing does. The same rows may stand
--- in another place.
---@return string?
function description.difference(before, now)
  local names, seen, said = {}, {}, {}
  for _, values in ipairs { before, now } do
    for name in pairs(values) do
      if not seen[name] then names[#names + 1], seen[name] = name, true end
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local is_moved = name == "input" and before.rows_digest == now.rows_digest
    if before[name] ~= now[name] and not is_moved then
      local a, b = tostring(before[name] or "none"), tostring(now[name] or "none")
      local at = first_difference(a, b)
      if digests[name] then a, b = a:sub(1, DIGITS), b:sub(1, DIGITS) end
      said[#said + 1] = ("%s was %s and is now %s"):format(description.label(name), show(a, at), show(b, at))
    end
  end
  return #said > 0 and table.concat(said, "; ") or nil
end

return description
