--- Films and sounds, by the program ffmpeg: some pictures of a film, spread evenly over it, and sounds as WAV, FLAC
--- or MP3.
local core = require "lmm.core"
local errors = require "lmm.errors"
local failures = require "lmm.prepare.failures"
local jobs = require "lmm.prepare.jobs"
local programs = require "lmm.prepare.programs"
local texts = require "lmm.text"
local whole = require "lmm.options".whole

local ffmpeg = { film = {}, sound = {} }

local MOST_FRAMES = 1000

local BEGIN = "command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null || exit 127\n"
  .. "source=file:$source\n"

-- Only files are opened, whatever a film says that belongs to it. Its pictures have no more pixels than what lmm.vips
-- decodes.
local READ = "-v error -protocol_whitelist file -max_pixels 100000000"

-- Each thread holds pictures of its own, and there may be as many threads as processors.
local DECODE = READ .. " -nostdin -threads 2"

-- ---- pictures of a film

local NOT_OF_FILMS = { "max_pixels", "convert", "quality", "orient", "animated" }

ffmpeg.film.decodes = {}
ffmpeg.film.rows = { frames = whole(1, MOST_FRAMES), max_side = whole(1, 100000) }

function ffmpeg.film.check(wanted, where, options)
  if not wanted.frames then errors.misuse("%s: max_side goes with frames, the number of pictures", where) end
  for _, name in ipairs(NOT_OF_FILMS) do
    if options[name] ~= nil then
      errors.misuse("%s: %s is for pictures: of a film, max_side shrinks the frames", where, name)
    end
  end
end

-- The picture in the middle of each share is taken; where there are fewer than shares, the last one is repeated.
local FRAMES = BEGIN .. [[
count=$(ffprobe %s -select_streams v:0 -count_packets -show_entries stream=nb_read_packets -of csv=p=0 "$source") \
  || exit 1
count=${count%%%%[!0-9]*}
[ "${count:-0}" -gt 0 ] || exit 3
ffmpeg %s -i "$source" -map 0:v:0 -map_metadata -1 -fps_mode passthrough \
  -vf "select='gt(floor((n+1)*%d/$count+0.5),floor(n*%d/$count+0.5))',%stpad=stop=-1:stop_mode=clone" \
  -frames:v %d -threads 1 -pix_fmt yuvj420p -q:v 3 -f image2 %%04d.jpg]]

local SCALE = "scale='min(%d,iw)':'min(%d,ih)':force_original_aspect_ratio=decrease,"

function ffmpeg.film.start(plan)
  local count, side = plan.options.frames, plan.options.max_side
  local scale = side and SCALE:format(side, side) or ""
  return jobs.new("ffmpeg", plan, FRAMES:format(READ, DECODE, count, count, scale, count), function(job)
    local frames, left = {}, programs.MOST
    for i = 1, count do
      frames[i] = job:take(("%04d.jpg"):format(i), left + 1)
      if (frames[i] or "") == "" then return nil, failures.invalid("ffmpeg made no picture %d of %s", i, plan.name) end
      left = left - #frames[i]
      if left < 0 then
        return nil, failures.too_much(plan, programs.MOST, "pictures",
          "ask for fewer frames, or pass a smaller max_side")
      end
    end
    return { frames = frames }
  end)
end

--- Makes the part one of frames, whose bytes are still to come.
function ffmpeg.film.plan(plan, part)
  plan.start, plan.take = ffmpeg.film.start, ffmpeg.film.take
  part.mime, part.frames = "video/jpeg", {}
  for i = 1, plan.options.frames do part.frames[i] = { media = core.media { bytes = "\0" } } end
end

function ffmpeg.film.take(part, result)
  part.size = 0
  for i, bytes in ipairs(result.frames) do
    part.frames[i].media:replace(bytes)
    part.size = part.size + #bytes
  end
  local info = part.frames[1].media:info()
  part.width, part.height, part.orientation = info.width, info.height, nil
end

-- ---- sounds

--- What no server takes and ffmpeg does.
ffmpeg.sound.decodes = { ["audio/aiff"] = true, ["audio/x-caf"] = true, ["audio/basic"] = true }
ffmpeg.sound.from_films = true

local codecs = { wav = "-c:a pcm_s16le", flac = "-c:a flac", mp3 = "-c:a libmp3lame -q:a 2" }
local mimes = { wav = "audio/wav", flac = "audio/flac", mp3 = "audio/mpeg" }

ffmpeg.sound.rows = {
  convert = function(value)
    return not codecs[value] and ("\"wav\", \"flac\" or \"mp3\", not %s"):format(texts.shown(value))
  end,
}

local SOUND = BEGIN .. [[
ffmpeg %s -i "$source" -map 0:a:0 -map_metadata -1 %s -f %s -fs %d sound]]

function ffmpeg.sound.start(plan)
  local format = plan.options.convert
  return jobs.new("ffmpeg", plan, SOUND:format(DECODE, codecs[format], format, programs.MOST + 1), function(job)
    local bytes = job:take("sound", programs.MOST)
    if (bytes or "") == "" then return nil, failures.invalid("ffmpeg made no sound of %s", plan.name) end
    if #bytes == programs.MOST then return nil, failures.too_much(plan, programs.MOST, format, "cut it first") end
    return { bytes = bytes }
  end)
end

function ffmpeg.sound.plan(plan, part)
  plan.start = ffmpeg.sound.start
  part.mime = mimes[plan.options.convert]
end

return ffmpeg
