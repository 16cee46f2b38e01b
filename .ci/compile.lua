--- usage: LUA .ci/compile.lua INTO LUADIR <PATHS      from the project's folder, by `make install`
---
--- Compiles the modules whose paths are read from standard input, for lmm.compiled, and argparse, which is most of what
--- the command loads. LUADIR is where the plain files will stand.
local into, installed = arg[1], arg[2]

local index = {}

--- What a text of Lua, of that source, is compiled to.
local function dump(text, source)
  return string.dump(assert((loadstring or load)(text, source))) -- luacheck: ignore
end

local function write(name, bytes)
  local file = assert(io.open(into .. "/" .. name, "wb"))
  assert(file:write(bytes))
  assert(file:close())
end

--- Writes a module as lmm.compiled reads it; `plain` is where that finds the plain file.
local function compile(name, path, plain, source)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  local bytes = dump(text, source)
  write(name .. ".luac", bytes)
  index[#index + 1] = ("[%q] = %q"):format(name, ("%d %d %s"):format(#bytes, #text, plain))
end

for path in io.lines() do
  local inside = path:gsub("^lua/", "")
  compile(inside:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."), path, inside:gsub("^lmm/", ""),
    "@" .. installed .. "/" .. inside)
end

local has_argparse, argparse = pcall(require, "argparse")
local source = has_argparse and debug.getinfo(getmetatable(argparse).__call, "S").source
if source and source:find "^@/" then compile("argparse", source:sub(2), source:sub(2), source) end

write("index", dump("return { " .. table.concat(index, ",\n") .. " }", "=index"))
