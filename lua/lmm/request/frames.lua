--- Videos of frames for servers that take pictures alone: a request comes in; the same one goes out with the frames, as
--- pictures, in the place of each such video.
local parts = require "lmm.part"

local frames = {}

local function copy(list)
  local out = {}
  for key, value in pairs(list) do out[key] = value end
  return setmetatable(out, getmetatable(list))
end

--- One frame as a part of its own; `film` is what is to be prepared for it.
local function picture_of(film, frame)
  if parts.is(frame) then return frame end
  return setmetatable({ kind = "image", mime = "image/jpeg", media = frame.media, options = {}, film = film },
    parts.metatable)
end

--- A message's content with the frames in it; nil where there are none.
local function expanded(content)
  local out
  for i, item in ipairs(content) do
    local has_frames = parts.is(item) and item.frames
    if has_frames and not out then
      out = setmetatable({}, getmetatable(content))
      for k = 1, i - 1 do out[k] = content[k] end
    end
    if has_frames then
      for _, frame in ipairs(item.frames) do out[#out + 1] = picture_of(item, frame) end
    elseif out then
      out[#out + 1] = item
    end
  end
  return out
end

--- The request for a server; the caller's tables stay as they are.
---@param given table
---@param dialect lmm.Dialect?
---@return table
function frames.expand(given, dialect)
  local form = dialect and dialect.forms and dialect.forms.video
  if form == nil or form == "video_url" or type(given.messages) ~= "table" then return given end
  local messages
  for i, message in ipairs(given.messages) do
    local content = type(message) == "table" and not parts.is(message) and type(message.content) == "table"
      and expanded(message.content)
    if content then
      messages = messages or copy(given.messages)
      messages[i] = copy(message)
      messages[i].content = content
    end
  end
  if not messages then return given end
  local out = copy(given)
  out.messages = messages
  return out
end

return frames
