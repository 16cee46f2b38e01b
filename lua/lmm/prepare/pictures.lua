--- Pictures, by lmm.vips: turned upright, shrunk, in a format and colours that every server takes, without metadata.
local core = require "lmm.core"
local errors = require "lmm.errors"
local failures = require "lmm.prepare.failures"
local shown = require "lmm.text".shown
local version = require "lmm.version"
local whole = require "lmm.options".whole

local pictures = {}

pictures.LIMIT = 60 -- seconds for one picture, or one page

--- What libvips decodes of what no server does, or not every one.
pictures.decodes = {
  ["image/heic"] = true, ["image/heif"] = true, ["image/avif"] = true, ["image/jxl"] = true, ["image/svg+xml"] = true,
  ["image/tiff"] = true, ["image/webp"] = true, ["image/gif"] = true, ["image/jp2"] = true, ["image/jpeg"] = true,
  ["image/png"] = true, ["image/x-eps"] = true, -- by Ghostscript
}

--- What a type becomes where nothing is said: it stays where it is one of the three, drawings stay sharp, and photos
--- stay small.
local becomes = {
  ["image/jpeg"] = "jpeg", ["image/png"] = "png", ["image/webp"] = "webp", ["image/gif"] = "png",
  ["image/svg+xml"] = "png", ["application/pdf"] = "png", ["image/x-eps"] = "png",
}

local animations = { ["image/gif"] = true, ["image/webp"] = true }

local function flag(value)
  return type(value) ~= "boolean" and ("true or false, not %s"):format(shown(value))
end

--- The options, and what is wrong with a value.
pictures.rows = {
  max_side = whole(1, 100000),
  max_pixels = whole(1, 100000000),
  quality = whole(1, 100),
  orient = flag,
  animated = flag,
  convert = function(value)
    local is_known = value == "jpeg" or value == "png" or value == "webp"
    return not is_known and ("\"jpeg\", \"png\" or \"webp\", not %s"):format(shown(value))
  end,
}

--- Refuses options that contradict each other.
function pictures.check(wanted, where)
  if wanted.animated and (wanted.convert or "webp") ~= "webp" then
    errors.misuse("%s: animated pictures become WebP, not %s: leave convert out", where, wanted.convert)
  end
end

--- Fills a plan, and what the part will be.
---@param plan lmm.Plan
---@param part lmm.Part
function pictures.plan(plan, part)
  local wanted = plan.options
  plan.start = plan.from == "image/x-eps" and pictures.draw or pictures.start
  plan.page, plan.is_decoded = wanted.page, pictures.decodes[plan.from]
  plan.animated = wanted.animated and animations[plan.from]
  plan.format = wanted.convert or plan.animated and "webp" or becomes[plan.from] or "jpeg"
  part.mime = "image/" .. plan.format
  local width, height = part.width, part.height
  if not width or not height or plan.page then
    part.width, part.height = nil, nil
    return
  end
  local is_heif = plan.from:find "^image/hei" or plan.from == "image/avif" -- which is turned as it is decoded
  if wanted.orient == false and not is_heif and (part.orientation or 1) >= 5 then width, height = height, width end
  part.width, part.height = core.fit(width, height, wanted.max_side or 0, wanted.max_pixels or 0)
end

--- lmm.vips, or why it is not there.
local function load_vips()
  local found, problem = pcall(require, "lmm.vips")
  if found then return version.check "lmm.vips" end
  return nil, problem
end

local Job = {}
Job.__index = Job

---@param plan lmm.Plan
---@return table? job, lmm.Error? err
function pictures.start(plan)
  local vips, problem = load_vips()
  if not vips then return nil, failures.no_vips(plan, problem) end
  local wanted = plan.options
  local handle, message = vips.start {
    path = plan.source.path, bytes = plan.source.bytes, format = plan.format, quality = wanted.quality,
    max_side = wanted.max_side, max_pixels = wanted.max_pixels, orient = wanted.orient, animated = plan.animated,
    lenient = plan.lenient, page = plan.page, dpi = wanted.dpi, password = wanted.password, seconds = pictures.LIMIT,
  }
  if not handle then return nil, errors.new { kind = "invalid", message = message } end
  return setmetatable({ handle = handle, plan = plan }, Job)
end

function Job:result()
  local bytes, width, height, w, h, frames = self.handle:result()
  if bytes == false then return false end
  if not bytes then
    local failure = { word = width, detail = height, width = w, height = h, frames = frames, limit = pictures.LIMIT }
    return nil, failures.of_picture(self.plan, failure)
  end
  return type(bytes) == "number" and bytes or { bytes = bytes, width = width, height = height }
end

local Drawing = {}
Drawing.__index = Drawing

--- Has Ghostscript draw an EPS. What it makes has the size that is wanted, and goes as it is where a PNG is: lmm.vips
--- makes another format of that, and is needed for nothing else.
---@param plan lmm.Plan
---@return table? job, lmm.Error? err
function pictures.draw(plan)
  local drawing, err = require("lmm.prepare.ghostscript").start(plan)
  return drawing and setmetatable({ drawing = drawing, plan = plan }, Drawing), err
end

function Drawing:result()
  if self.picture then return self.picture:result() end
  local plan, result, err = self.plan, self.drawing:result()
  if not result or plan.format == "png" then return result, err end
  self.picture, err = pictures.start { name = plan.name, from = "image/png", made = { mime = "image/png" },
    source = { bytes = result.bytes }, format = plan.format, options = { quality = plan.options.quality } }
  if not self.picture then return nil, err end
  return false
end

return pictures
