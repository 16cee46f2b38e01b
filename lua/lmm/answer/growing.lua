--- An answer that is JSON, while it comes: a function that reads the next piece of its text comes in; iterators over
--- its value as far as it came, and over the items of a list in it, go out. Their time is linear in the text: see
--- core.grow.
local structured = require "lmm.answer.structured"

local growing = {}

--- Reads the next piece into a grower, a new one where another answer has begun; whether that has changed the value,
--- and whether the text goes on.
local function grow(grower, read, limits, names)
  local piece, is_new = read()
  if is_new then grower = structured.grower(limits, names) end
  if piece then return grower, grower:feed(piece), true end
  return grower, grower:finish(), false
end

--- The value each time it has changed: a list or an object is the same table each time.
---@param limits { reply: integer, depth: integer }
---@param read fun(): string?, boolean?  the next piece of the text, nil at its end, and whether it is another text's
--- first one; raises where it fails
---@param text string          what came before
---@return fun(): any
function growing.values(limits, read, text)
  local grower = structured.grower(limits)
  local has_changed, goes_on, value = grower:feed(text), true, nil
  return function()
    while true do
      if has_changed and type(value) ~= "table" then value = grower:value() end
      if has_changed and value ~= nil then
        has_changed = false
        return value
      end
      if not goes_on then return nil end
      local before = grower
      grower, has_changed, goes_on = grow(grower, read, limits)
      if grower ~= before then value = nil end
    end
  end
end

--- The items of a list, each once it is whole. Nulls are passed over.
---@param path string  names that lead to the list, with dots between them
---@return fun(): any
function growing.elements(limits, path, read, text)
  local names = {}
  for name in path:gmatch "[^.]+" do names[#names + 1] = name end
  local grower = structured.grower(limits, names)
  grower:feed(text)
  local list, given, goes_on = nil, 0, true
  return function()
    while true do
      local now, finished = grower:list()
      if now ~= list then list, given = now, 0 end
      while given < finished do
        given = given + 1
        if list[given] ~= nil then return list[given] end
      end
      if not goes_on then return nil end
      local _
      grower, _, goes_on = grow(grower, read, limits, names)
    end
  end
end

return growing
