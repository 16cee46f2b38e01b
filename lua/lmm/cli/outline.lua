--- The commands and their options as data: a parser of argparse comes in; what completions and manual pages are made of
--- goes out. Nothing else looks into a parser. A command may set `words` of an option or an argument that takes one of
--- some words, and `is_open` of an argument where these are not all; or `names_command` of one that takes the name of a
--- command.

---@class lmm.cli.Outline
---@field name string       "lmm", or "lmm ask"
---@field word string       "ask"
---@field summary string    one line
---@field description string
---@field epilog string
---@field usage string      without "Usage:"
---@field options lmm.cli.OptionOutline[]
---@field arguments lmm.cli.ArgumentOutline[]
---@field commands lmm.cli.Outline[]

---@class lmm.cli.OptionOutline
---@field names string[]  "-m", "--model"
---@field value string?   what its value is called in the help; nil where it takes none
---@field text string
---@field kind lmm.cli.ValueKind?

---@class lmm.cli.ArgumentOutline
---@field name string
---@field text string
---@field words string[]?   what may stand there
---@field is_open boolean   or anything else, such as a path

---@alias lmm.cli.ValueKind "file"|"models"|"servers"|"templates"|string[]  what a value may be: a path, a name of the
--- user's configuration, or one of some words; nil: nobody knows

--- The options whose values have names, by their own.
local named = { ["--model"] = "models", ["--server"] = "servers", ["--template"] = "templates" }

--- Those whose values are some words that the parser need not check.
local listed = {
  ["--dialect"] = function() return require("lmm.request").dialects.names() end,
  ["--like"] = function() return require("lmm.mock").likenesses() end,
}

--- What a value is that the help calls so.
local function is_file(value)
  return value:find "FILE" or value:find "SOURCE" or value:find "PATH" or value:find "GLOB" or value:find "%.%l+$"
end

local function kind_of(option, value)
  for _, name in ipairs(option._aliases) do
    if named[name] then return named[name] end
    if listed[name] then return listed[name]() end
  end
  return option._choices or option.words or is_file(value) and "file" or nil
end

local function outline_of_option(option)
  local value
  if option._maxargs > 0 then
    value = option._argname or option._name:gsub("^%-+", ""):upper()
    if type(value) == "table" then value = table.concat(value, " ") end
  end
  return { names = option._aliases, value = value, text = option._description or "",
    kind = value and kind_of(option, value) or nil }
end

local function outline_of_argument(argument, siblings)
  local words = argument._choices or argument.names_command and siblings or argument.words
  return { name = argument._name:upper(), text = argument._description or "", words = words,
    is_open = not words or argument.is_open == true }
end

--- The outline of a parser or a command.
---@param parser table
---@param name string?
---@param siblings string[]?  the names of the commands that it is one of
---@return lmm.cli.Outline
local function outline(parser, name, siblings)
  name = name or parser._name
  local description = (parser._description or ""):gsub("\n", " ")
  local self = { name = name, word = name:match "%S+$", summary = parser._summary or description:match "^.-%.%f[%s%z]"
    or description, description = description, epilog = parser._epilog or "", options = {}, arguments = {},
    commands = {}, usage = parser:get_usage():gsub("^Usage:%s*", "") }
  for i, option in ipairs(parser._options) do self.options[i] = outline_of_option(option) end
  for i, argument in ipairs(parser._arguments) do
    self.arguments[i] = outline_of_argument(argument, siblings)
  end
  local names = {}
  for i, command in ipairs(parser._commands) do names[i] = command._name end
  for i, command in ipairs(parser._commands) do
    self.commands[i] = outline(command, name .. " " .. command._name, names)
  end
  return self
end

return outline
