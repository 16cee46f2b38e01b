-- Some pictures of a film, spread evenly over it, in the place of all of it:
--   lua5.4 examples/video.lua clip.mp4 [HOW-MANY [QUESTION]]
-- They go as one video of frames, which vLLM takes. Needs the program ffmpeg.
local lmm = require "lmm"

local function give_up(message)
  io.stderr:write(message, "\n")
  os.exit(1)
end

local path, count = arg[1], tonumber(arg[2]) or arg[2] or 8
if not path then give_up "usage: lua examples/video.lua clip.mp4 [HOW-MANY [QUESTION]]" end

local is_made, film = pcall(lmm.video, path, { frames = count, max_side = 768 })
if not is_made then give_up((film:gsub("^.-: lmm: ", ""))) end -- no such number
local reply, message = lmm.connect():conversation():ask(arg[3] or "What happens in the video?", film)
if not reply then give_up(message) end
io.stderr:write(("sent %d frames of %d x %d pixels, %d bytes\n"):format(#film.frames, film.width, film.height,
  film.size))
print(reply)
