-- A library built for another Lua says so, in whichever Lua it is loaded.
local shell = require "spec.support.shell"
local test = require "spec.support.test"

local here = shell.output "pwd":match "^[^\n]+"
local version = _VERSION:match "%d%.%d"

--- Builds the modules for another Lua; gives their folder, or nil where that Lua's headers are not here.
local function build(other)
  local said = shell.output(("unset MAKEFLAGS MAKELEVEL LD_PRELOAD VARIANT OPTIMISE LDFLAGS LUA_ABI LUA_INCDIR; "
    .. "[ -e /usr/include/lua%s/lua.h ] && make -s LUA=lua%s all 2>&1; echo \"exit $?\""):format(other, other))
  return said:find "exit 0\n$" and here .. "/build/lua" .. other or nil
end

for _, other in ipairs { "5.1", "5.2", "5.3", "5.4" } do
  if other ~= version then
    local folder = build(other)
    local expected = ("was built for Lua %s, and this is Lua %s: %s/"):format(other, version, folder or "")
      :gsub("[%p]", "%%%0")

    for _, name in ipairs { "core", "curl" } do
      test.case("lmm." .. name .. " built for Lua " .. other, function()
        if not folder then test.skip("the headers of Lua " .. other .. " are not here") end
        local path = folder .. "/lmm/" .. name .. ".so"
        local open = assert(package.loadlib(path, "luaopen_lmm_" .. name))
        test.raises("^lmm%." .. name .. " " .. expected, open, "lmm." .. name, path)
        test.raises("^lmm " .. expected, open) -- by an embedding program, perhaps
      end)
    end

    test.case("a path that leads to the library of Lua " .. other, function()
      if not folder then test.skip("the headers of Lua " .. other .. " are not here") end
      local program = shell.quote 'require("lmm").image { bytes = "x" }'
      local said = shell.output(("LUA_CPATH='%s/?.so;;' %s -e %s 2>&1; echo \"exit $?\""):format(folder,
        shell.quote(arg[-1]), program))
      test.match(said, "lmm%.core " .. expected)
      test.match(said, "LUA_CPATH.*exit 1\n$")
    end)
  end
end
