--- The version of these files, and the check that a C module goes with them. An editor or a package manager may bring
--- new Lua files without building the C modules again, or leave an older module where it is found first.
local version = {
  number = "0.1.0",
  interface = 25, -- of the C modules towards these files: LMM_INTERFACE in src/lmm.h
}

--- Loads a C module, and raises where it is of another version.
---@param name "lmm.core"|"lmm.curl"|"lmm.digest"|"lmm.files"|"lmm.tcp"|"lmm.vips"
---@return table module
function version.check(name)
  local module, expected = require(name), ("%s-%d"):format(version.number, version.interface)
  if module.version == expected then return module end
  error(("lmm: the C module %s is of version %s, but the Lua files are of version %s: build or install lmm again")
    :format(name, tostring(module.version or "0.0"), expected), 0)
end

return version
