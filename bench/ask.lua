-- usage: LUA bench/ask.lua URL FILE...      asks URL about each file in turn; prints for each the seconds that it took,
-- the bytes of the file, and the most memory that the process has had so far, in KiB
local core = require "lmm.core"
local lmm = require "lmm"

local client = lmm.connect { base_url = arg[1], model = "m", retry = false }
for i = 2, #arg do
  local part = lmm.image(arg[i], { mime = "image/jpeg" })
  local before = core.now()
  assert(client:conversation():ask("What is this?", part))
  local seconds = core.now() - before
  local status = assert(io.open "/proc/self/status")
  local peak = status:read "*a":match "VmHWM:%s*(%d+)"
  status:close()
  print(string.format("%.6f %d %s", seconds, part.size, peak))
end
