--- What of doc is made from the sources: doc/reference, the second half of doc/lmm.txt, and the tables of
--- doc/servers.md.
---
---     lua doc/script/make.lua [FOLDER]    from the project's folder, which it writes into unless FOLDER is given
local annotations = require "doc.script.annotations"
local dialects = require "doc.script.dialects"
local help = require "doc.script.help"
local pages_of = require "doc.script.pages"
local reference = require "doc.script.reference"

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

local pages, page_of = pages_of.arrange(annotations.library())

assert(os.execute(("rm -rf '%s/doc/reference' && mkdir -p '%s/doc/reference'"):format(target, target)))
for name, text in pairs(reference.files(pages, page_of)) do write("doc/reference/" .. name, text) end
write("doc/lmm.txt", put(read "doc/lmm.txt", "\n=+\nFUNCTIONS", false, "\n vim:", "\n" .. help.text(pages, page_of)))
write("doc/servers.md", put(read "doc/servers.md", "<!%-%- Written by `make docs`[^\n]*\n\n", true,
  "\n<!%-%- Up to here", dialects.text()))
