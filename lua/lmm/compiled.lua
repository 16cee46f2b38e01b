--- Modules compiled beforehand: the names that `require` is asked for come in; what `make install` has made of their
--- files (.ci/compile.lua) goes out. To compile the text of the modules that an ask needs takes longer than the ask.
--
-- They stand in a folder of this file's name beside it, a file a module: the path of the plain file and how long it is,
-- its text, and the function, with its names and lines, so that errors read the same. Where the plain file is not that
-- text any more, since somebody has changed it, where the function is another Lua's (LuaJIT and Lua 5.1 look into the
-- same places), or where there is no such folder, as in a tree that was not installed, the plain file is used.

local compiled = {}

local load = loadstring or load -- luacheck: ignore
local folder = debug.getinfo(1, "S").source:match "^@(.*)%.lua$"

--- Whether a file is there and is this text.
local function is_text(path, text)
  local file = io.open(path, "rb")
  local found = file and file:read(#text + 1) or ""
  if file then file:close() end
  return found == text
end

--- The compiled module of a name, or nil.
---@param name string
---@return function?
function compiled.find(name)
  local file = folder and io.open(folder .. "/" .. name .. ".luac", "rb")
  if not file then return nil end
  local path, size = (file:read "*l" or ""):match "^(.*) (%d+)$"
  local text = path and file:read(tonumber(size)) or ""
  local bytes = file:read "*a"
  file:close()
  if not path or not is_text(path:find "^/" and path or folder .. "/../" .. path, text) then return nil end
  return (load(bytes, name))
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
