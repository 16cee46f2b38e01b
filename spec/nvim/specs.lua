-- usage: nvim ... --cmd 'luafile spec/nvim/specs.lua' -- NAME...      from the project's folder
--
-- Runs specs in the editor, where no cjson is found; ends with how many passed, and whose JSON it was.
-- luacheck: globals vim arg print
package.preload.cjson = function() error("hidden", 0) end
package.path = "./?.lua;" .. package.path

function print(...)
  io.stdout:write(table.concat(vim.tbl_map(tostring, { ... }), "\t"), "\n")
end

-- Specs that start a program of Lua name the one that runs them.
arg = { [0] = "spec/run.lua", [-1] = "luajit" }

local names, is_name = {}, false
for _, word in ipairs(vim.v.argv) do
  if is_name then names[#names + 1] = word end
  is_name = is_name or word == "--"
end

local test = require "spec.support.test"
for _, name in ipairs(names) do
  print(name)
  test.case(name .. " runs to its end", function() dofile("spec/" .. name .. "_spec.lua") end)
end
local codec = require("lmm.json").null == vim.NIL and "vim.json" or "cjson"
print(("%d passed, %d failed, %s"):format(test.passed, test.failed, codec))
io.stdout:flush()
vim.cmd "qa!"
