--- usage: LUA .ci/compile.lua INTO LUADIR <PATHS      from the project's folder, by `make install`
---
--- Compiles the modules whose paths are read from standard input, for lmm.compiled, and argparse, which is most of what
--- the command loads. LUADIR is where the plain files will stand.
local into, installed = arg[1], arg[2]

--- Writes a module in the form that lmm.compiled reads; `plain` is where it finds the plain file.
local function compile(name, path, plain, source)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  file = assert(io.open(into .. "/" .. name .. ".luac", "wb"))
  assert(file:write(("%s %d\n"):format(plain, #text), text, string.dump(assert((loadstring or load)(text, source))))) -- luacheck: ignore
  assert(file:close())
end

for path in io.lines() do
  local inside = path:gsub("^lua/", "")
  compile(inside:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."), path, inside:gsub("^lmm/", ""),
    "@" .. installed .. "/" .. inside)
end

local has_argparse, argparse = pcall(require, "argparse")
local source = has_argparse and debug.getinfo(getmetatable(argparse).__call, "S").source
if source and source:find "^@/" then compile("argparse", source:sub(2), source:sub(2), source) end
