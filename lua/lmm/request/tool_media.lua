--- The media that tools gave, for servers that take none in a tool's message: messages come in; the same, with these
--- media in a user's message behind the results, go out.
local parts = require "lmm.part"

local tool_media = {}

local function is_text(item)
  return type(item) == "table" and not parts.is(item) and item.type == "text"
end

--- A tool's message without its media, which are put at the end of `media`.
local function without_media(message, media)
  local words = {}
  for _, item in ipairs(message.content) do
    if is_text(item) then
      words[#words + 1] = tostring(item.text)
    else
      local about = "What the call " .. tostring(message.tool_call_id) .. " gave:"
      media[#media + 1] = { type = "text", text = about }
      media[#media + 1] = item
    end
  end
  words[#words + 1] = "(media: see the user's message below)"
  local copy = {}
  for name, value in pairs(message) do copy[name] = value end
  copy.content = table.concat(words, "\n")
  return copy
end

local function has_media(message)
  if type(message) ~= "table" or message.role ~= "tool" or type(message.content) ~= "table" then return false end
  for _, item in ipairs(message.content) do
    if not is_text(item) then return true end
  end
  return false
end

--- Messages for a server that takes no media in a tool's message: they stand in a user's message behind the results.
---@param messages table[]
---@return table[]
function tool_media.moved(messages)
  local list, media = {}, {}
  for _, message in ipairs(messages) do
    local is_tool = type(message) == "table" and message.role == "tool"
    if not is_tool and #media > 0 then
      list[#list + 1] = { role = "user", content = media }
      media = {}
    end
    list[#list + 1] = has_media(message) and without_media(message, media) or message
  end
  if #media > 0 then list[#list + 1] = { role = "user", content = media } end
  return list
end

return tool_media
