--- Modules compiled beforehand: the names that `require` is asked for come in; what `make install` has made of their
--- files (.ci/compile.lua) goes out. To compile the text of the modules that an ask needs takes longer than the ask.
--
-- They stand in a folder of this file's name beside it, a file a module, with the names and lines of the plain files in
-- them, so that errors read the same. Where there is no such folder, as in a tree that was not installed, or where they
-- are another Lua's (LuaJIT and Lua 5.1 look into the same places), the plain files are used.

local compiled = {}

local load = loadstring or load -- luacheck: ignore
local folder = debug.getinfo(1, "S").source:match "^@(.*)%.lua$"

--- The compiled module of a name, or nil.
---@param name string
---@return function?
function compiled.find(name)
  local file = folder and io.open(folder .. "/" .. name .. ".luac", "rb")
  if not file then return nil end
  local bytes = file:read "*a"
  file:close()
  return (load(bytes, name)) -- loadfile would open the file twice, since it is binary
end

local function search(name)
  return (name .. "."):sub(1, 4) == "lmm." and compiled.find(name) or nil
end

local first = folder and io.open(folder .. "/lmm.luac")
if first then
  first:close()
  table.insert(package.searchers or package.loaders, 2, search) -- luacheck: ignore
end

return compiled
