--- Pictures come in; a video part made of them goes out: vLLM's video/jpeg, one data: URL of JPEGs with commas between.
local errors = require "lmm.errors"
local parts = require "lmm.part"
local prepare = require "lmm.prepare"
local texts = require "lmm.text"

local frames = {}

local MOST_FRAMES = 1000
local NOT_OF_FRAMES = { "mime", "check" }
local OWN = { trust_uuid = true }

local function invalid(format, ...)
  return errors.new { kind = "invalid", message = format:format(...) }
end

--- The image part of one frame, prepared as is wanted; what is no JPEG becomes one.
local function frame_of(source, i, wanted)
  local part = source
  if not parts.is(source) then
    part = parts.new("image", source, wanted)
    if not wanted and not part.err and part.media and part.mime ~= "image/jpeg" then
      part = parts.new("image", source, { convert = "jpeg" })
    end
  end
  local err = parts.check(part)
  if err then return nil, err end
  if part.kind ~= "image" or not part.media then
    return nil, invalid("frame %d is %s: a frame is a picture whose bytes are sent", i,
      part.kind == "image" and "a picture that the server is to fetch" or "of the kind " .. part.kind)
  elseif part.mime ~= "image/jpeg" then
    return nil, invalid("frame %d is %s, and frames go as JPEG: pass lmm.image(f, { convert = \"jpeg\" })", i,
      part.mime)
  end
  return part
end

--- Why the frames do not go together, or nil.
local function check(list)
  local first = list[1]
  for i, part in ipairs(list) do
    local is_known = first.width and part.width
    if is_known and (part.width ~= first.width or part.height ~= first.height) then
      return invalid("frame %d has %d x %d pixels, and the first has %d x %d: all are of one size", i, part.width,
        part.height, first.width, first.height)
    end
  end
end

--- See lmm.video.
---@param source { frames: table, fps: number? }
---@param opts table?
---@return lmm.Part
function frames.new(source, opts)
  if opts ~= nil and type(opts) ~= "table" then
    errors.misuse("lmm.video: the options are a table, not a %s", type(opts))
  end
  for name in pairs(source) do
    if name ~= "frames" and name ~= "fps" then
      errors.misuse("lmm.video: '%s' beside frames: the options are the second argument", tostring(name))
    end
  end
  local given, fps = source.frames, source.fps
  local count = 0
  for _ in pairs(type(given) == "table" and given or {}) do count = count + 1 end
  if count == 0 or count ~= #given then errors.misuse "lmm.video: frames is a list of pictures" end
  if fps ~= nil and not (type(fps) == "number" and fps > 0 and fps < math.huge) then
    errors.misuse("lmm.video: fps is a number above 0, not %s", texts.shown(fps))
  end
  local options = { fps = fps }
  for name, value in pairs(opts or {}) do options[name] = value end
  if options.uuid ~= nil then parts.check_uuid("lmm.video", options.uuid, options.trust_uuid) end
  options.trust_uuid = nil
  local wanted = prepare.take_of_pictures("lmm.video", "frames", options, NOT_OF_FRAMES)
  if wanted then wanted.convert = wanted.convert or "jpeg" end
  local self = setmetatable({ kind = "video", mime = "video/jpeg", options = options, frames = {} }, parts.metatable)
  if #given > MOST_FRAMES then
    self.err = invalid("a video of frames has at most %d, not %d", MOST_FRAMES, #given)
    return self
  end
  for i, item in ipairs(given) do
    self.frames[i], self.err = frame_of(item, i, wanted)
    if self.err then return self end
  end
  self.err = check(self.frames)
  self.width, self.height = self.frames[1].width, self.frames[1].height
  prepare.size_up(self)
  return self
end

--- The same for somebody who writes the options, and may misspell one.
---@return lmm.Part
function frames.make(source, opts)
  prepare.check_names("lmm.video", "image", opts, OWN)
  return (frames.new(source, opts))
end

return frames
