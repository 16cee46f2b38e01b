-- usage: nvim ... --cmd 'luafile spec/nvim/specs.lua' -- SPEC_FILE      from the project's folder
--
-- Runs a spec file with busted in the editor, where no cjson is found; ends with `counts: PASSED FAILED SKIPPED`, as
-- spec/support/output.lua prints it. Busted is Debian's, for Lua 5.1.
-- luacheck: globals vim arg print
package.path = "./?.lua;" .. package.path .. ";/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua"
package.cpath = package.cpath .. ";/usr/lib/x86_64-linux-gnu/lua/5.1/?.so"
package.preload.cjson = function() error("hidden", 0) end

function print(...)
  io.stdout:write(table.concat(vim.tbl_map(tostring, { ... }), "\t"), "\n")
end

-- What is busted's to read; specs that start a program of Lua take the one that runs them from it.
arg = { [0] = "spec/run.lua", [-1] = "luajit", vim.v.argv[#vim.v.argv] }

-- Where a case failed, busted raises nil.
local _, problem = pcall(function()
  require "busted.runner" { standalone = false, output = "spec/support/output.lua" }
end)
if problem then print(problem) end
io.stdout:flush()
vim.cmd "qa!"
