--- The reference as a Neovim help: pages of classes come in; the half of doc/lmm.txt that describes functions goes out.
local pages_of = require "doc.script.pages"
local text = require "doc.script.text"

local M = {}

local WIDTH = 78
local INDENT = "\t\t"
local INNER = WIDTH - 16

--- What is no tag and no link in a help, but for names that have a tag and stand in no code.
---@param tags table<string, string>  the tags of classes and functions, by their names
local function plain(line, tags)
  local out, is_code = {}, false
  for piece in (line .. "`"):gmatch "([^`]*)`" do
    out[#out + 1] = is_code and piece or piece:gsub("%f[%w]lmm%.[%w_]*%w", function(name)
      return tags[name] and "|" .. tags[name] .. "|"
    end)
    is_code = not is_code
  end
  return (table.concat(out):gsub("%*(%S)", "* %1"))
end

--- A heading with its tag at the right.
local function heading(title, tag)
  tag = "*" .. tag .. "*"
  if #title + 1 + #tag > WIDTH then return (" "):rep(WIDTH - #tag) .. tag .. "\n" .. title end
  return title .. (" "):rep(WIDTH - #title - #tag) .. tag
end

local function indented(out, words, tags, more)
  for line in (text.wrap((words:gsub("|", " or ")), INNER, more) .. "\n"):gmatch "(.-)\n" do
    out[#out + 1] = INDENT .. plain(line, tags)
  end
end

--- A line for each item, with its type.
local function items(out, list, tags, braces)
  for _, item in ipairs(list) do
    local name = item.name and (braces and "{" .. item.name .. "}" or item.name) .. "  " or ""
    indented(out, ("- %s(%s)%s"):format(name, item.type, item.words ~= "" and ": " .. item.words or ""), tags, "  ")
  end
end

local function paragraphs(out, words, tags)
  for _, paragraph in ipairs(text.paragraphs(words)) do indented(out, paragraph, tags) end
end

local function describe_function(out, fn, tags)
  local names = {}
  for i, param in ipairs(fn.params) do names[i] = param.name == "..." and "..." or "{" .. param.name .. "}" end
  local is_plugin = fn.class == "lmm.nvim"
  local called = is_plugin and fn.name or pages_of.owner(fn) .. fn.name
  out[#out + 1] = heading(("%s(%s)"):format(called, table.concat(names, ", ")), M.tag(fn))
  paragraphs(out, fn.words, tags)
  if #fn.params > 0 then items(out, fn.params, tags, true) end
  if #fn.returns > 0 then
    out[#out + 1] = INDENT .. "Gives:"
    items(out, pages_of.returns(fn), tags)
  end
  out[#out + 1] = ""
end

--- The tag of a function.
---@param fn Function
---@return string
function M.tag(fn)
  if fn.class == "lmm.nvim" then return ("lmm.nvim.%s()"):format(fn.name) end
  return ("%s%s%s()"):format(fn.class, fn.is_method and ":" or ".", fn.name)
end

local function describe_class(out, class, tags)
  if class.name ~= "lmm" and class.name ~= "lmm.nvim" then
    out[#out + 1] = heading(class.name, class.name)
    paragraphs(out, class.words, tags)
    if class.type then indented(out, "Is " .. class.type, tags) end
    if #class.parents > 0 then
      indented(out, "Has the fields of " .. table.concat(class.parents, ", ") .. " as well.", tags)
    end
  end
  items(out, pages_of.fields(class), tags)
  out[#out + 1] = ""
  for _, fn in ipairs(pages_of.functions(class)) do describe_function(out, fn, tags) end
end

--- The text.
---@param pages { name: string, title: string, classes: Class[] }[]
---@param page_of table<string, string>
---@return string
function M.text(pages, page_of)
  local out, rule, tags = {}, ("="):rep(WIDTH), {}
  for name in pairs(page_of) do tags[name] = name:find "^lmm%.%l" and name .. "()" or name end
  local plugin = pages[#pages]
  out[#out + 1] = rule .. "\n" .. heading("FUNCTIONS", "lmm-functions")
  out[#out + 1] = "\nFor mappings and plugins, of `require \"lmm.nvim\"`.  They raise where the library\n"
    .. "does not load or the settings make no sense.\n"
  for _, class in ipairs(plugin.classes) do describe_class(out, class, tags) end
  for i = 1, #pages - 1 do
    local page = pages[i]
    out[#out + 1] = rule .. "\n" .. heading(page.title:upper(), "lmm-api-" .. page.name) .. "\n"
    for _, class in ipairs(page.classes) do describe_class(out, class, tags) end
  end
  return (table.concat(out, "\n"):gsub("[ \t]+\n", "\n"):gsub("\n\n\n+", "\n\n"):gsub("\n+$", "")) .. "\n"
end

return M
