--- Modules compiled beforehand: the names that `require` is asked for come in; what `make install` has made of their
--- files (.ci/compile.lua) goes out. To compile the text of the modules that an ask needs takes longer than the ask.
--
-- They stand in a folder of this file's name beside it, a file a module, with the names and lines of the plain files,
-- so that errors read the same. The plain file is used where it has another size than when it was compiled or is newer,
-- since somebody has changed it; where all this is another Lua's (LuaJIT and Lua 5.1 look into the same places); and
-- where there is no such folder, as in a tree that was not installed.

local compiled = {}

local folder = debug.getinfo(1, "S").source:match "^@(.*)%.lua$"
local core -- lmm.core, where there are modules that it can load

--- The compiled module of a name, or nil.
---@param name string
---@return function?
function compiled.find(name)
  return core and core.compiled(folder, name)
end

local searchers = package.searchers or package.loaders -- luacheck: ignore
local search_in_c = searchers[3]

--- What is not compiled is mostly in C, which is looked for at once: `require` would try ten places for a plain file.
local function search(name)
  if (name .. "."):sub(1, 4) ~= "lmm." then return nil end
  local module = compiled.find(name)
  if module then return module end
  local open, path = search_in_c(name)
  if type(open) == "function" then return open, path end
end

local is_there, module = pcall(require, "lmm.core")
if folder and is_there and module.compiled and module.compiled(folder, "lmm.version") then
  core = module
  table.insert(searchers, 2, search)
end

return compiled
