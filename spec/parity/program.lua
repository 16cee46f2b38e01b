-- usage: LUA spec/parity/program.lua blocking|luv LIST RESULT      the cases in a program of its own
local host = require "spec.parity.host"
local lmm = require "lmm"

local loop, list, result = arg[1], arg[2], arg[3]
lmm.use(loop)
local is_done
host.run(list, result, function() is_done = true end)
if loop == "luv" then
  local uv = require "luv"
  uv.run()
  uv.walk(function(handle) error("left open: " .. tostring(handle)) end)
else
  local current = require("lmm.loop").current()
  while not is_done do current:wait({}, current:now() + 0.05) end
end
assert(is_done, "the loop ended before the cases did")
