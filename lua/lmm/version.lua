--- The version of these files, and the check that a C module is of the same one. An editor or a package manager may
--- bring new Lua files without building the C modules again, or leave an older module where it is found first.

local version = { number = "0.1.0" }

--- Loads a C module, and raises where it is of another version.
---@param name "lmm.core"|"lmm.curl"
---@return table module
function version.check(name)
  local module = require(name)
  if module.version == version.number then return module end
  error(("lmm: the C module %s is of version %s, but the Lua files are of version %s: build or install lmm again")
    :format(name, tostring(module.version or "0.0"), version.number), 0)
end

return version
