--- usage: LUA .ci/compile.lua INTO LUADIR <PATHS      from the project's folder, by `make install`
---
--- Compiles the modules whose paths are read from standard input, for lmm.compiled, and argparse, which is most of what
--- the command loads. LUADIR is where the plain files will stand.
local into, installed = arg[1], arg[2]

--- Writes a module as lmm.core.compiled reads it; `plain` is where the plain file will be, seen from INTO.
local function compile(name, path, plain, source)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  local bytes = string.dump(assert((loadstring or load)(text, source))) -- luacheck: ignore
  file = assert(io.open(into .. "/" .. name .. ".luac", "wb"))
  assert(file:write(#text, " ", plain, "\n", bytes))
  assert(file:close())
end

for path in io.lines() do
  local inside = path:gsub("^lua/", "")
  compile(inside:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."), path,
    "../" .. inside:gsub("^lmm/", ""), "@" .. installed .. "/" .. inside)
end

local has_argparse, argparse = pcall(require, "argparse")
local source = has_argparse and debug.getinfo(getmetatable(argparse).__call, "S").source
if source and source:find "^@/" then compile("argparse", source:sub(2), source:sub(2), source) end
