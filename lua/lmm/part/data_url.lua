--- A data: URL: its text comes in; the type that it claims and its bytes go out, or what is wrong with it. It is as
--- strict about base64 as a server.
local core = require "lmm.core"

local data_url = {}

--- The type that it claims, in small letters, and where its base64 begins.
---@param url string
---@return string? claimed, integer|string start_or_problem
function data_url.split(url)
  local head, start = url:match "^([^,]*),()"
  local claimed = head and head:find ";base64$" and head:match "^%a+:([^;]*)":lower()
  if not claimed then return nil, "the data: URL does not begin with 'data:type;base64,'" end
  if start > #url then return nil, "the data: URL is empty: there is nothing to send" end
  return claimed, start
end

--- The bytes of base64 in it.
---@param base64 string
---@param start integer  where that stands in the URL
---@return string? bytes, string? problem
function data_url.bytes(base64, start)
  local bytes, offset = core.base64.decode(base64)
  if bytes then return bytes end
  local problem = "the data: URL is not base64 at character %d: no spaces or line breaks, and padded with '='"
  if base64:find("^%%%x%x", offset + 1) then
    problem = "the base64 of the data: URL is percent-encoded, as at character %d: decode that first"
  end
  return nil, problem:format(start + offset)
end

--- The bytes of each frame of a video: of a list in base64 with commas between.
---@param base64 string
---@param start integer
---@return string[]? frames, string? problem
function data_url.frames(base64, start)
  local frames = {}
  for at, text in (base64 .. ","):gmatch "()([^,]*)," do
    local place = start + at - 1
    if text == "" then return nil, ("the data: URL has an empty frame at character %d"):format(place) end
    local bytes, problem = data_url.bytes(text, place)
    if not bytes then return nil, problem end
    frames[#frames + 1] = bytes
  end
  return frames
end

return data_url
