-- usage: LUA bench/nginx.lua WHAT URL ARGUMENT...      from the project's folder
--
-- The same as bench/measure.lua, but inside a real nginx, which is started for it: prints the same numbers.
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"

local words = {}
for i, word in ipairs(arg) do words[i] = ("%q"):format(word) end

local server = nginx.start {}
local output = server:run([[
  local lines = {}
  local globals = { arg = { $words }, print = function(line) lines[#lines + 1] = line end }
  setfenv(assert(loadfile "$root/bench/measure.lua"), setmetatable(globals, { __index = _G }))()
  return table.concat(lines, "\n")]],
  { words = table.concat(words, ", "), root = process.shell "pwd":match "^[^\n]+" })
server:stop()
print(output)
