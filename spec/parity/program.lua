-- usage: LUA spec/parity/program.lua blocking|luv [tcp]      the cases in a program of its own; which: $LMM_PARITY
--        nvim --headless -u NONE -c "luafile spec/parity/program.lua"
--
-- Where $LMM_PARITY is "tasks", spec/parity/tasks.lua instead.
-- luacheck: globals vim
local host = require "spec.parity.host"
local lmm = require "lmm"

local loop = rawget(_G, "vim") and "nvim" or arg[1]
local list = os.getenv "LMM_PARITY"

local function out(line)
  io.stdout:write(line, "\n")
  io.stdout:flush()
end

if loop == "nvim" and list == "tasks" then
  vim.notify = function(message, level) out("vim.notify " .. level .. " " .. message) end
  require "spec.parity.tasks"(out)
  return vim.cmd "qall!"
end
if loop == "nvim" then return host.run(list, out, function() vim.cmd "qall!" end) end

local is_done
lmm.use(loop)
require("lmm.loop").current().transport = arg[2]
if list == "tasks" then return require "spec.parity.tasks"(out) end
host.run(list, out, function() is_done = true end)
if loop == "luv" then
  local uv = require "luv"
  uv.run()
  uv.walk(function(handle) error("left open: " .. tostring(handle)) end)
else
  local current = require("lmm.loop").current()
  while not is_done do current:wait({}, current:now() + 0.05) end
end
assert(is_done, "the loop ended before the cases did")
