--- The content of a message or of a delta in whatever form it comes: a text, a number, a part, a list of any of these.
--- What it says goes out: text, reasoning, a refusal, and the pictures in it.
local core = require "lmm.core"

local content = {}

---@class lmm.Said
---@field text string[]
---@field reasoning string[]
---@field refusal string[]
---@field images table[]  the parts of pictures, as they came

local DEEPEST = 8 -- how deep parts may stand in parts

--- The fields in which a part may hold what it says, and what that is; false: what is said around it.
local fields = { { "thinking", "reasoning" }, { "refusal", "refusal" }, { "text", false }, { "content", false } }

local function is_image(part)
  return part.image_url ~= nil or part.b64_json ~= nil or part.type == "image" or part.type == "output_image"
end

local add

local function add_list(said, list, kind, text, depth)
  local texts = core.slices(text)
  for place = 1, #texts do -- nulls have left holes
    if list[place] ~= nil then add(said, list[place], kind, texts[place], depth) end
  end
end

--- Adds a part, or what is none, as it is spelled.
local function add_table(said, part, kind, text, depth)
  if is_image(part) then
    said.images[#said.images + 1] = part
    return
  end
  if part.type == "reasoning" then kind = "reasoning" end
  for _, row in ipairs(fields) do
    local name, means = row[1], row[2] or kind
    if part[name] ~= nil then return add(said, part[name], means, core.slice(text, name), depth) end
  end
  if part.type == nil and next(part) ~= nil then table.insert(said[kind], text) end
end

---@param text string  the value's JSON
function add(said, value, kind, text, depth)
  if type(value) == "string" then
    table.insert(said[kind], value)
  elseif type(value) ~= "table" or depth > DEEPEST then
    table.insert(said[kind], text)
  elseif type(next(value)) == "number" then
    add_list(said, value, kind, text, depth + 1)
  else
    add_table(said, value, kind, text, depth + 1)
  end
end

--- What a content says that is more than a text. Numbers are told as they are spelled, and so is an object that is no
--- part.
---@param value any  not nil
---@param kind "text"|"reasoning"|"refusal"  what it is, unless its parts say otherwise
---@param text string  its JSON
---@return lmm.Said
function content.read(value, kind, text)
  local said = { text = {}, reasoning = {}, refusal = {}, images = {} }
  add(said, value, kind, text, 1)
  return said
end

return content
