--- The reference as Markdown: pages of classes come in; the text of each file of doc/reference goes out.
local pages_of = require "doc.script.pages"
local text = require "doc.script.text"

local M = {}

local WIDTH = 120
local NOTE = "<!-- Written by `make docs` from the annotations in lua/lmm: change them, not this file. -->\n"

--- The anchor of a heading, as GitHub makes it.
local function anchor(heading)
  return (heading:lower():gsub("[^%w%-_ ]", ""):gsub(" ", "-"))
end

--- A link to what has a name, a class or a function; the name alone where there is none.
local function link(name, page_of, here)
  local page = page_of[name]
  if not page then return name end
  return ("[%s](%s#%s)"):format(name, page == here and "" or page .. ".md", anchor(name))
end

--- A type with links to the classes in it, for a cell of a table.
local function linked(of, page_of, here)
  return (of:gsub("[<>|*_`]", "\\%0"):gsub("%f[%w]lmm%.%w+", function(name) return link(name, page_of, here) end))
end

--- Words with links, but for what stands in backquotes.
local function with_links(words, page_of, here)
  local out, is_code = {}, false
  for piece in (words .. "`"):gmatch "([^`]*)`" do
    out[#out + 1] = is_code and piece
      or piece:gsub("%f[%w]lmm%.[%w_]*%w", function(name) return link(name, page_of, here) end)
    is_code = not is_code
  end
  return table.concat(out, "`")
end

local function cell(words)
  return (words:gsub("|", "\\|"))
end

--- A table with a row for each item.
local function rows(out, head, items, page_of, here)
  out[#out + 1] = ("| %s | type | |"):format(head)
  out[#out + 1] = "|---|---|---|"
  for _, item in ipairs(items) do
    local name = item.name and "`" .. item.name .. "`" or ""
    local words = cell(with_links(item.words, page_of, here))
    out[#out + 1] = ("| %s | %s | %s |"):format(name, linked(item.type, page_of, here), words)
  end
  out[#out + 1] = ""
end

local function paragraphs(out, words, page_of, here)
  for _, paragraph in ipairs(text.paragraphs(words)) do
    out[#out + 1] = text.wrap(with_links(paragraph, page_of, here), WIDTH)
    out[#out + 1] = ""
  end
end

--- Whether nothing need be given.
local function is_optional(param)
  return param.type:find "%?$" or param.type:find "|nil$"
end

--- How a function is called.
---@param fn Function
---@return string
function M.signature(fn)
  local names = {}
  for i, param in ipairs(fn.params) do
    names[i] = param.name .. (param.name ~= "..." and is_optional(param) and "?" or "")
  end
  return ("%s%s(%s)"):format(pages_of.owner(fn), fn.name, table.concat(names, ", "))
end

local function describe_function(out, fn, page_of, here)
  out[#out + 1] = ("### %s%s\n"):format(pages_of.owner(fn), fn.name)
  out[#out + 1] = "```\n" .. M.signature(fn) .. "\n```\n"
  paragraphs(out, fn.words, page_of, here)
  if #fn.params > 0 then rows(out, "takes", fn.params, page_of, here) end
  if #fn.returns > 0 then rows(out, "gives", pages_of.returns(fn), page_of, here) end
end

local function describe_class(out, class, page_of, here)
  if class.name ~= "lmm" and class.name ~= "lmm.nvim" then out[#out + 1] = ("## %s\n"):format(class.name) end
  paragraphs(out, class.words, page_of, here)
  if class.type then out[#out + 1] = "It is " .. linked(class.type, page_of, here) .. ".\n" end
  if #class.parents > 0 then
    local names = {}
    for i, name in ipairs(class.parents) do names[i] = linked(name, page_of, here) end
    out[#out + 1] = ("Has the fields of %s as well.\n"):format(table.concat(names, ", "))
  end
  local fields = pages_of.fields(class)
  if #fields > 0 then rows(out, "field", fields, page_of, here) end
  for _, fn in ipairs(pages_of.functions(class)) do describe_function(out, fn, page_of, here) end
end

--- The files, by their names.
---@param pages { name: string, title: string, classes: Class[] }[]
---@param page_of table<string, string>
---@return table<string, string>
function M.files(pages, page_of)
  local files = {}
  local index = { "# Reference\n", NOTE, "What each function takes and gives, and each option. What to do with them is"
    .. " in the guides, to which\n[README.md](../../README.md) leads.\n", "| | |", "|---|---|" }
  for _, page in ipairs(pages) do
    local out, names = { ("# %s\n"):format(page.title), NOTE }, {}
    for _, class in ipairs(page.classes) do
      describe_class(out, class, page_of, page.name)
      names[#names + 1] = linked(class.name, page_of, "README")
    end
    files[page.name .. ".md"] = table.concat(out, "\n"):gsub("\n+$", "") .. "\n"
    if page.name == "lmm" or page.name == "neovim" then table.remove(names, 1) end
    index[#index + 1] = ("| [%s](%s.md) | %s |"):format(page.title, page.name, table.concat(names, ", "))
  end
  files["README.md"] = table.concat(index, "\n") .. "\n"
  return files
end

return M
