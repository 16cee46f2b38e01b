--- The annotations of the library (LuaCATS): Lua files come in; classes and functions with their words go out.

local M = {}

---@class Item          a parameter, a return value or a field
---@field name string?
---@field type string
---@field words string
---@field scope string?  of a field: "private", "package" or "protected"

---@class Function
---@field name string      without its class
---@field class string?    whose method or function it is
---@field is_method boolean
---@field words string
---@field params Item[]    in the order of the annotations
---@field returns Item[]
---@field names string[]   of the parameters, as the code has them
---@field scope string?
---@field place string     FILE:LINE

---@class Class
---@field name string
---@field parents string[]
---@field words string
---@field fields Item[]
---@field type string?     of an alias: what it stands for
---@field functions Function[]
---@field place string

local OPENING, CLOSING = { ["("] = true, ["["] = true, ["{"] = true, ["<"] = true }, { [")"] = true, ["]"] = true,
  ["}"] = true, [">"] = true }

--- Splits a text behind the type that it begins with. A type ends at a space, unless that stands in brackets, beside a
--- `|`, or among the results of a fun().
---@param text string
---@return string type, string rest
function M.split_type(text)
  local depth, has_results, i = 0, false, 1
  while i <= #text do
    local c = text:sub(i, i)
    if c == '"' then
      i = text:find('"', i + 1, true) or #text
    elseif OPENING[c] then
      depth = depth + 1
    elseif CLOSING[c] then
      depth = depth - 1
    elseif depth == 0 and c == ":" then
      has_results = true
    elseif depth == 0 and c == "," and not has_results then
      break
    elseif depth == 0 and c == " " then
      local before, after = text:sub(1, i - 1), text:sub(i):match "^ +(.?)"
      if not (before:find "[|:,]$" or after == "|") then break end
    end
    i = i + 1
  end
  return text:sub(1, i - 1), text:sub(i)
end

--- The name, type and words of a @param or a @field.
local function read_named(text)
  local name, rest = text:match "^(%b[])%s+(.*)$"
  if not name then name, rest = text:match "^(%S+)%s*(.*)$" end
  local of, words = M.split_type(rest)
  if name:find "%?$" then name, of = name:sub(1, -2), of .. "?" end
  return { name = name, type = of, words = words:gsub("^%s+", "") }
end

--- The values of a @return, the words being those of the last.
local function read_returns(text)
  local list = {}
  while true do
    local item = {}
    item.type, text = M.split_type(text)
    local name, rest = text:match "^ ([%w_]+)(.*)$"
    if name and (rest == "" or rest:find "^,") or name and rest:find "^  " then item.name, text = name, rest end
    item.words = ""
    list[#list + 1] = item
    rest = text:match "^,%s*(.*)$"
    if not rest then
      item.words = text:gsub("^%s+", "")
      return list
    end
    text = rest
  end
end

--- What one tag says becomes part of what is read so far.
local readers = {}

function readers.class(state, text)
  local name, rest = text:match "^([%w_.]+)%s*(.*)$"
  local class = state.classes[name]
  if not class then
    class = { name = name, parents = {}, words = "", fields = {}, functions = {}, place = state.place }
    state.classes[name] = class
  end
  if rest:find "^:" then
    repeat
      local parent
      parent, rest = rest:match "^[:,]%s*([%w_.]+)%s*(.*)$"
      class.parents[#class.parents + 1] = parent
    until not rest:find "^,"
  end
  class.words = (class.words .. " " .. state.words .. " " .. rest):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
  state.class, state.words, state.last = class, "", { class, "words" }
end

function readers.alias(state, text)
  readers.class(state, text:match "^%S+")
  local of, words = M.split_type(text:match "^%S+%s+(.*)$")
  state.class.type, state.class.words = of, (state.class.words .. " " .. words):gsub("^%s+", "")
end

function readers.field(state, text)
  local scope, rest = text:match "^(%l+) (.*)$"
  if scope == "private" or scope == "package" or scope == "protected" then text = rest else scope = nil end
  local field = read_named(text)
  field.scope = scope
  table.insert(state.class.fields, field)
  state.last = { field, "words" }
end

function readers.param(state, text)
  local param = read_named(text)
  state.params[#state.params + 1], state.last = param, { param, "words" }
end

readers["return"] = function(state, text)
  for _, item in ipairs(read_returns(text)) do
    state.returns[#state.returns + 1], state.last = item, { item, "words" }
  end
end

for _, scope in ipairs { "private", "package", "protected" } do
  readers[scope] = function(state) state.scope = scope end
end

--- Reads one line of a block of comments.
local function read_line(state, line)
  local tag, text = line:match "^@(%l+)%s*(.*)$"
  if tag then
    state.last = nil
    if readers[tag] then readers[tag](state, text) end
  elseif state.last then
    local of, key = state.last[1], state.last[2]
    of[key] = (of[key] .. " " .. line):gsub("^%s+", "")
  else
    state.words = state.words .. "\n" .. line
  end
end

--- What stands behind a block: a function, or the variable that holds a class.
local function read_code(state, line)
  local variable = line:match "^%s*local ([%a_][%w_]*) ="
  if variable and state.class then state.vars[variable] = state.class.name end
  local owner, mark, name, names = line:match "^function ([%a_][%w_]*)([.:])([%a_][%w_]*)(%b())"
  if not name then return end
  local fn = { name = name, class = state.vars[owner], is_method = mark == ":", words = state.words,
    params = state.params, returns = state.returns, scope = state.scope, place = state.place, names = {} }
  for param in names:gmatch "[%w_.]+" do fn.names[#fn.names + 1] = param end
  local first = fn.params[1]
  if not fn.class and first and first.name == "self" and fn.names[1] == "self" then -- a method that is loaded late
    fn.class, fn.is_method, fn.is_late = first.type, true, true
    table.remove(fn.params, 1)
    table.remove(fn.names, 1)
  end
  if fn.class then state.functions[#state.functions + 1] = fn end
end

--- Reads one file.
local function read_file(path, classes, functions)
  local vars, number, state = {}, 0, nil
  local function new_state()
    return { classes = classes, functions = functions, vars = vars, words = "", params = {}, returns = {},
      place = path .. ":" .. number }
  end
  for line in io.lines(path) do
    number = number + 1
    local comment = line:match "^%s*%-%-%-(.*)$"
    if comment and not comment:find "^%-" then
      state = state or new_state()
      read_line(state, (comment:gsub("^ ", "")))
    elseif state or line:find "^function " then
      read_code(state or new_state(), line)
      state = nil
    end
  end
end

--- Reads files.
---@param paths string[]
---@return table<string, Class> classes
function M.read(paths)
  local classes, functions = {}, {}
  for _, path in ipairs(paths) do read_file(path, classes, functions) end
  for _, fn in ipairs(functions) do
    local class = classes[fn.class]
    -- A late function of a class is a method only where the class has a field of its name.
    local is_public = not fn.is_late
    for _, field in ipairs(class and class.fields or {}) do is_public = is_public or field.name == fn.name end
    if class and is_public then class.functions[#class.functions + 1] = fn end
  end
  return classes
end

--- The classes of the library.
---@return table<string, Class>
function M.library()
  local paths, pipe = {}, io.popen "find lua/lmm -name '*.lua' | LC_ALL=C sort"
  for path in pipe:lines() do paths[#paths + 1] = path end
  pipe:close()
  return M.read(paths)
end

return M
