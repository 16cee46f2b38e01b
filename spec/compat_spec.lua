-- A library built for another Lua says so, in whichever Lua it is loaded.
local shell = require "spec.support.shell"

local here = shell.output "pwd":match "^[^\n]+"
local version = _VERSION:match "%d%.%d"

--- Builds the modules for another Lua; gives their folder, or nil where that Lua's headers are not here.
local function build(other)
  local said = shell.output(("unset MAKEFLAGS MAKELEVEL LD_PRELOAD VARIANT OPTIMISE LDFLAGS LUA_ABI LUA_INCDIR; "
    .. "[ -e /usr/include/lua%s/lua.h ] && make -s LUA=lua%s all 2>&1; echo \"exit $?\""):format(other, other))
  return said:find "exit 0\n$" and here .. "/build/lua" .. other or nil
end

local function check_other(other)
  local folder, expected

  setup(function()
    folder = build(other)
    expected = ("was built for Lua %s, and this is Lua %s: %s/"):format(other, version, folder or "")
      :gsub("[%p]", "%%%0")
  end)

  for _, name in ipairs { "core", "curl", "digest", "files", "vips" } do
    it("lmm." .. name, function()
      if not folder then pending("the headers of Lua " .. other .. " are not here") end
      local path = folder .. "/lmm/" .. name .. ".so"
      local open = assert(package.loadlib(path, "luaopen_lmm_" .. name))
      assert.raises("^lmm%." .. name .. " " .. expected, open, "lmm." .. name, path)
      assert.raises("^lmm " .. expected, open) -- by an embedding program, perhaps
    end)
  end

  it("a path that leads to it", function()
    if not folder then pending("the headers of Lua " .. other .. " are not here") end
    local program = shell.quote 'require("lmm").image { bytes = "x" }'
    local said = shell.output(("LUA_CPATH='%s/?.so;;' %s -e %s 2>&1; echo \"exit $?\""):format(folder,
      shell.quote(arg[-1]), program))
    assert.matches("lmm%.core " .. expected, said)
    assert.matches("LUA_CPATH.*exit 1\n$", said)
  end)
end

for _, other in ipairs { "5.1", "5.2", "5.3", "5.4" } do
  if other ~= version then describe("built for Lua " .. other .. ":", function() check_other(other) end) end
end
