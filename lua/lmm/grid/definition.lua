--- What a grid is: a file of Lua, or a table, comes in; a checked table goes out. See doc/grid.md.
local errors = require "lmm.errors"
local options = require "lmm.options"
local texts = require "lmm.text"

local definition = {}

---@alias lmm.GridPrompt string|fun(row: lmm.GridRow): string|table

---@alias lmm.GridNamedPrompt { name: string?, prompt: lmm.GridPrompt, system: string? }

---@class lmm.Grid
---@field title string?
---@field system string?     the system message of every cell
---@field prompts lmm.GridPrompt|table<integer|string, lmm.GridPrompt|lmm.GridNamedPrompt>  a list, or by their names
---@field images (string|lmm.Part)[]|string|nil  paths, patterns of the shell's, URLs, parts
---@field image table?       how lmm.image is to make each of them, such as { max_side = 1024 }
---@field models (string|lmm.Client|table)[]|string|nil  names, clients, or options of lmm.connect
---@field settings table?    a list of tables of request fields, or of each field a list of values: all combinations
---@field params table?      request fields of every cell
---@field repeats integer?   how often each is asked (1); a grid has at most 100,000 cells
---@field check (fun(reply: lmm.GridReply, row: lmm.GridRow): boolean|number|nil, string?)?  true: the answer is right;
--- false or nil: it is not; or a score from 0 to 1. And why
---@field threshold number?  the score from which on an answer is right, and the mean score below which --ci fails (1)
---@field prices table?      for lmm.connect
---@field timeout number?    seconds for one answer

---@class lmm.GridRow  what a cell is about
---@field prompt string   its name
---@field image string?   its path or URL
---@field picture lmm.Part?
---@field model string
---@field settings table
---@field number integer  of the repeats, from 1
---@field question string?  the text that was asked, for `check`

local FIELDS = {
  title = "string", system = "string", prompts = "string|table|function", images = "string|table", image = "table",
  models = "string|table", settings = "table", params = "table", repeats = "number", check = "function",
  threshold = "number", prices = "table", timeout = "number",
}

local NAME = "=(grid file)" -- in messages, so that a place in the file is told from one in what it requires

--- What Lua says, or what the file raised, with the path of it, and the line where that is known.
---@param path string?  nil where the table comes from no file
---@return string
function definition.place(path, raised)
  local is_told, message = pcall(tostring, errors.is(raised) and raised.message or raised)
  if not is_told or type(raised) == "table" and message:find "^table: " then message = "a table was raised" end
  message = message:gsub("%(grid file%):(%d+):", (path or "?"):gsub("%%", "%%%%") .. ":%1:")
  message = message:gsub("^lmm: ", ""):gsub(": lmm: ", ": ")
  return path and not message:find(path, 1, true) and path .. ": " .. message or message
end

--- Calls a function of a grid's file, as pcall does; but Ctrl-C goes on to whoever runs the grid.
---@return boolean ok, any ...
function definition.call(fn, ...)
  local ok, first, second = pcall(fn, ...)
  if not ok and type(first) == "string" and first:find "interrupted!$" then error(first, 0) end
  return ok, first, second
end

local function fail(format, ...)
  return nil, errors.new { kind = "invalid", message = format:format(...) }
end

--- Why a definition cannot be one; nil where it can.
local function problem_of(given)
  local prompts = given.prompts
  if prompts == nil or type(prompts) == "table" and next(prompts) == nil then return "there are no prompts" end
  local repeats = given.repeats or 1
  if not (repeats >= 1 and repeats % 1 == 0 and repeats < math.huge) then
    return ("repeats is a whole number, at least 1, not %s"):format(texts.shown(given.repeats))
  end
  if type(given.images) == "table" and given.images[1] == nil and next(given.images) ~= nil then
    return "images is a list of paths, patterns, URLs and parts"
  end
  if type(given.models) == "table" and given.models[1] == nil and next(given.models) ~= nil then
    return "models is a list of names, clients and tables for lmm.connect"
  end
  if given.threshold and not (given.threshold >= 0 and given.threshold <= 1) then
    return ("threshold is a score from 0 to 1, not %s"):format(texts.shown(given.threshold))
  end
  if given.timeout and not (given.timeout > 0) then return "timeout is more than 0 seconds" end
end

--- Checks a definition.
---@param given lmm.Grid
---@param where string  for messages
---@return lmm.Grid? grid, lmm.Error? err
function definition.check(given, where)
  local _, misuse = errors.try(options.check, where, FIELDS, given)
  if misuse then return fail("%s", misuse) end
  local problem = problem_of(given)
  if problem then return fail("%s: %s", where, problem) end
  return given
end

--- Reads a file of Lua that returns the table.
---@param path string
---@return lmm.Grid? grid, lmm.Error? err
function definition.load(path)
  local file, message = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  if not text then return fail("cannot read the grid: %s", message or path .. " is no file") end
  local chunk
  chunk, message = (loadstring or load)((text:gsub("^#[^\n]*", "")), NAME) -- luacheck: ignore 113
  if not chunk then return fail("%s", definition.place(path, message)) end
  local ok, given = definition.call(chunk, path)
  if not ok then return fail("%s", definition.place(path, given)) end
  if type(given) ~= "table" then
    return fail("%s returns %s, not a table { prompts = { ... }, images = ..., models = ... }", path,
      given == nil and "nothing" or "a " .. type(given))
  end
  return definition.check(given, path)
end

return definition
