--- The forms that a batch's rows have: the options that name one come in; a reader of its records (lmm.RecordReader),
--- and what is made of a record, go out.
local ask = require "lmm.bulk.ask"
local csv = require "lmm.bulk.csv"
local errors = require "lmm.errors"
local lines = require "lmm.bulk.lines"
local results = require "lmm.bulk.result"
local sources = require "lmm.bulk.sources"
local texts = require "lmm.text"

local inputs = {}

local function invalid(format, ...)
  return errors.new { kind = "invalid", message = format:format(...) }
end

-- ---- lists of pictures -------------------------------------------------------------------------------------------

local List = {}
List.__index = List

--- Each line is the path or the URL of a picture; empty lines are passed over.
function List:next()
  local text, why
  repeat text, why = self.reader:next() until not text or text ~= ""
  if text then return { image = text }, text, self.reader.number end
  if why then return nil, nil, nil, invalid("cannot read '%s': %s", self.path, why) end
end

function List:close()
  self.reader:close()
end

local function open_list(path)
  local reader, why = lines.open(path)
  if not reader then return nil, invalid("cannot read the list of pictures: %s", why) end
  return setmetatable({ path = path, reader = reader }, List)
end

local Glob = {}
Glob.__index = Glob

local BLOCK = 65536
local MOST_NAME = 1024 * 1024 -- bytes of a path

--- The path of a file, however much its name looks like a URL.
local function as_file(path)
  return path:find "^%a[%w+.-]*:" and "./" .. path or path
end

--- The shell gives the paths one by one, each with a NUL byte at its end.
function Glob:next()
  local stop = self.block:find("%z", self.at)
  while not stop do
    local more = self.pipe:read(BLOCK)
    local rest = self.block:sub(self.at)
    if not more or #rest > MOST_NAME then return nil end
    self.block, self.at = rest .. more, 1
    stop = self.block:find("%z", #rest + 1)
  end
  local path = self.block:sub(self.at, stop - 1)
  self.at, self.count = stop + 1, self.count + 1
  path = as_file(path)
  return { image = path }, path, self.count
end

function Glob:close()
  self.pipe:close()
end

--- Adds the patterns that one with braces stands for, as in "*.{jpg,png}", each once.
---@param list table  of patterns, which are its keys, too
local function add_patterns(list, pattern)
  local before, words, after = pattern:match "^(.-){([^{}]*,[^{}]*)}(.*)$"
  for word in (before and words .. "," or ""):gmatch "([^,]*)," do add_patterns(list, before .. word .. after) end
  if before or list[pattern] then return list end
  list[pattern], list[#list + 1] = true, pattern
  return list
end

--- Has the shell give the files that patterns match, each one's in the order of their names' bytes. They stand where it
--- expands nothing but * ? [...]; what it gives back as it was is a file, or nothing.
local GLOB = [[exec env LC_ALL=C sh -c 'IFS=; for p; do set -- $p; if [ "$1" != "$p" ] || [ -e "$1" ]; then
  printf "%s\0" "$@"; fi; done' sh]]

local function open_patterns(patterns)
  local words = { GLOB }
  for _, pattern in ipairs(patterns) do words[#words + 1] = texts.quote(pattern) end
  local pipe = assert(io.popen(table.concat(words, " "), "r"))
  return setmetatable({ pipe = pipe, block = "", at = 1, count = 0 }, Glob)
end

--- The files that a pattern of the shell's matches. In quotes the shell has expanded nothing of it, so ~ and braces are
--- expanded here, but for braces that are a file's own.
local function open_glob(pattern)
  local path = pattern:gsub("^~%f[/%z]", { ["~"] = os.getenv "HOME" })
  for _, patterns in ipairs { { path }, add_patterns({}, path) } do
    local first = open_patterns(patterns)
    local is_there = first:next()
    first:close()
    if is_there then return open_patterns(patterns) end
  end
  return nil, invalid("'%s' matches no file", pattern)
end

--- The paths that a pattern matches.
---@return string[]? paths, lmm.Error? err
function inputs.glob(pattern)
  local reader, err = open_glob(pattern)
  if not reader then return nil, err end
  local paths = {}
  for record in function() return reader:next() end do paths[#paths + 1] = record.image end
  reader:close()
  return paths
end

-- ---- the forms ---------------------------------------------------------------------------------------------------

--- A function of a file of Lua.
local function load_builder(path)
  local chunk, why = loadfile(path)
  if not chunk then return nil, invalid("cannot read the function: %s", why) end
  local ok, builder = pcall(chunk)
  if ok and type(builder) == "function" then return builder end
  return nil, invalid("'%s' does not return a function of the row: %s", path,
    ok and "it returns " .. type(builder) or results.message(builder))
end

local function check_columns(prompt, columns, what)
  local known = {}
  for _, name in ipairs(columns) do known[name] = true end
  for _, name in ipairs(ask.columns(prompt)) do
    if not known[name] then
      return invalid("the prompt names {%s}, and %s has no such column (there are: %s)", name, what,
        table.concat(columns, ", "))
    end
  end
end

---@class lmm.BatchInput
---@field open fun(): lmm.RecordReader?, lmm.Error?  from the beginning, each time
---@field fn fun(record: any, client: lmm.Client, journal: lmm.Journal): any
---@field check (fun(record: any): string?)?
---@field name string  for who runs it again
---@field columns string?  of a table, which its rows do not tell

--- Finds the form of the rows.
---@param opts { input: string?, images: string?, image_list: string?, csv: string?, prompt: string?, request: string?,
--- system: string?, fields: table?, model: string?, call: function? }
---@return lmm.BatchInput? input, lmm.Error? err
function inputs.find(opts)
  local fields, input = {}, {}
  for name, value in pairs(opts.fields or {}) do fields[name] = value end
  fields.model = fields.model or opts.model
  local open = opts.input and sources.json_lines or opts.csv and csv.open or opts.images and open_glob or open_list
  local path = opts.input or opts.csv or opts.images or opts.image_list
  function input.open() return open(path) end
  input.name = path
  local reader, err = input.open()
  if not reader then return nil, err end
  local columns = opts.csv and reader.columns or not opts.input and { "image" } or nil
  input.columns = opts.csv and table.concat(columns, ",") or nil
  reader:close()
  if opts.request then
    local builder
    builder, err = load_builder(opts.request)
    if not builder then return nil, err end
    input.fn = ask.of_builder(builder, fields, opts.call or pcall)
  elseif opts.prompt then
    err = columns and check_columns(opts.prompt, columns, opts.csv and "the table" or "a list of pictures")
    if err then return nil, err end
    input.fn = ask.of_builder(ask.prompter(opts.prompt, opts.system), fields, pcall)
    local named = ask.columns(opts.prompt)
    input.check = function(record) return ask.misfit(named, record) end
  else
    input.check, input.fn = ask.problem, ask.of_batch()
  end
  return input
end

return inputs
