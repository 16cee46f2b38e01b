--- What of doc is made from the sources: doc/reference, the second half of doc/lmm.txt, and the tables of
--- doc/servers.md.
---
---     lua doc/script/make.lua [FOLDER]    from the project's folder; writes into FOLDER in its place
package.path = "doc/script/?.lua;" .. package.path

local annotations = require "annotations"
local dialects = require "dialects"
local help = require "help"
local pages_of = require "pages"
local reference = require "reference"

local target = arg[1] or "."

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(target .. "/" .. path, "w"))
  assert(file:write(text))
  assert(file:close())
end

--- A text with a new one from what `first` finds, or behind it, to before what `last` finds.
local function put(text, first, is_kept, last, new)
  local from, behind = text:find(first)
  local to = from and text:find(last, behind)
  assert(to, "there is no place for what is made: " .. first)
  return text:sub(1, is_kept and behind or from - 1) .. new .. text:sub(to)
end

local paths = {}
for path in io.popen "find lua/lmm -name '*.lua' | LC_ALL=C sort":lines() do paths[#paths + 1] = path end
local pages, page_of = pages_of.arrange(annotations.read(paths))

assert(os.execute(("rm -rf '%s/doc/reference' && mkdir -p '%s/doc/reference'"):format(target, target)))
for name, text in pairs(reference.files(pages, page_of)) do write("doc/reference/" .. name, text) end
write("doc/lmm.txt", put(read "doc/lmm.txt", "\n=+\nFUNCTIONS", false, "\n vim:", "\n" .. help.text(pages, page_of)))
write("doc/servers.md", put(read "doc/servers.md", "<!%-%- Written by `make docs`[^\n]*\n\n", true,
  "\n<!%-%- Up to here", dialects.text()))
