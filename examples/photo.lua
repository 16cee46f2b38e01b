-- A phone's photo, in whatever format it is (HEIC, AVIF, TIFF, 16 bit, on its side), made into what every server takes:
--   lua5.4 examples/photo.lua photo.heic [QUESTION]
-- It goes upright, no side longer than 1568 pixels, as sRGB, and without the place where it was taken. Needs lmm.vips.
local lmm = require "lmm"

local photo = lmm.image(arg[1] or "examples/picture.jpg", { max_side = 1568, quality = 85 })
local reply, message = lmm.connect():conversation():ask(arg[2] or "What is shown in the picture?", photo)
if not reply then
  io.stderr:write(message, "\n")
  os.exit(1)
end
io.stderr:write(("sent as %s, %d x %d pixels, %d bytes%s\n"):format(photo.mime, photo.width, photo.height, photo.size,
  photo.converted and ", made of " .. photo.converted or ""))
print(reply)
