--- Installing as a user would: in a folder of its own, without this tree's paths in the environment.
--
-- In:  shell scripts, prefixes.
-- Out: what a script prints, with its exit code behind.

local shell = require "spec.support.shell"

local installing = {}

installing.here = shell.output "pwd":match "^[^\n]+"
installing.interpreter = arg[-1]
installing.version = _VERSION:match "%d%.%d"

--- `make` for a Lua.
function installing.make_for(lua)
  return "make --no-print-directory -C " .. installing.here .. " LUA=" .. lua .. " "
end

--- What makes a Lua of this version look into a prefix.
function installing.paths_of(prefix, abi)
  return (([[export LUA_PATH="PREFIX/share/lua/ABI/?.lua;PREFIX/share/lua/ABI/?/init.lua;;"
    export LUA_CPATH="PREFIX/lib/lua/ABI/?.so;;"; ]]):gsub("ABI", abi):gsub("PREFIX", (prefix:gsub("%%", "%%%%"))))
end

--- A scratch folder, a function that runs a script in it, and one that removes it.
---@return string scratch, fun(script: string): string run, fun() remove
function installing.folder()
  local scratch = os.tmpname()
  os.remove(scratch)
  local function run(script)
    return shell.output("unset LUA_PATH LUA_CPATH MAKEFLAGS MAKELEVEL LD_PRELOAD VARIANT OPTIMISE LDFLAGS; mkdir -p "
      .. scratch .. " && cd " .. scratch .. " && { " .. script .. "\n} 2>&1; echo \"exit $?\"")
  end
  return scratch, run, function() os.execute("rm -rf '" .. scratch .. "'") end
end

return installing
