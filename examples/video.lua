-- Some pictures of a film, spread evenly over it, in the place of all of it:
--   lua5.4 examples/video.lua clip.mp4 [HOW-MANY [QUESTION]]
-- They go as one video of frames, which vLLM takes. Needs the program ffmpeg.
local lmm = require "lmm"

local path, count = arg[1], tonumber(arg[2]) or 8
if not path then
  io.stderr:write "usage: lua examples/video.lua clip.mp4 [HOW-MANY [QUESTION]]\n"
  os.exit(1)
end

local film = lmm.video(path, { frames = count, max_side = 768 })
local reply, message = lmm.connect():conversation():ask(arg[3] or "What happens in the video?", film)
if not reply then
  io.stderr:write(message, "\n")
  os.exit(1)
end
io.stderr:write(("sent %d frames of %d x %d pixels, %d bytes\n"):format(#film.frames, film.width, film.height,
  film.size))
print(reply)
