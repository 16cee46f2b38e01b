--- Modules compiled beforehand: the names that `require` is asked for come in; what `make install` has made of their
--- files (.ci/compile.lua) goes out. To compile the text of the modules that an ask needs takes longer than the ask.
--
-- They stand in a folder of this file's name beside it, a file a module, with the names and lines of the plain files,
-- so that errors read the same. The file "index", compiled too, gives a table: by name, how many bytes the module and
-- its plain file have, and the path of that. The plain file is used where it has another size or is newer than the
-- index, since somebody has changed it; where all this is another Lua's (LuaJIT and Lua 5.1 look into the same places);
-- and where there is no such folder, as in a tree that was not installed.

local compiled = {}

local load = loadstring or load -- luacheck: ignore
local folder, root = debug.getinfo(1, "S").source:match "^@((.*/)[^/]*)%.lua$"
local core, index, made -- lmm.core, what the index gives, and when it was made

--- So many bytes of a file, read at once, or nil where it has fewer.
local function read(path, size)
  local file = io.open(path, "rb")
  if not file then return nil end
  file:setvbuf "no"
  local bytes = file:read(size)
  file:close()
  return bytes and #bytes == size and bytes or nil
end

--- The compiled module of a name, or nil.
---@param name string
---@return function?
function compiled.find(name)
  if not (index and index[name]) then return nil end
  local size, plain_size, plain = index[name]:match "^(%d+) (%d+) (.*)$"
  local size_now, changed = core.stat(plain:find "^/" and plain or root .. plain)
  if size_now ~= tonumber(plain_size) or changed > made then return nil end
  local bytes = read(folder .. "/" .. name .. ".luac", tonumber(size))
  return bytes and load(bytes, name) or nil
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

local list = folder and io.open(folder .. "/index", "rb")
if list then
  table.insert(searchers, 2, search)
  local is_there, module = pcall(require, "lmm.core")
  if is_there and module.stat then
    local give = load(list:read "*a", "index")
    core, index, made = module, give and give(), select(2, module.stat(folder .. "/index"))
  end
  list:close()
end

return compiled
