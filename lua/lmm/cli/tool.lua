--- `--tool FILE.lua`: a file in Lua comes in; the tools that it returns go into a conversation.
--
--     return { name = "add", description = "Adds two numbers.", parameters = { type = "object", properties = {
--       a = { type = "number" }, b = { type = "number" } }, required = { "a", "b" } },
--       run = function(args) return args.a + args.b end }
--
-- or a list of such tables.
local console = require "lmm.cli.console"
local errors = require "lmm.errors"
local texts = require "lmm.text"

local tool = {}

local LONGEST_CALL = 200 -- bytes of a call's arguments that are shown

--- What Lua says, or what a file raised, with the line for the place.
local function place(path, raised)
  local message = console.words_of(raised)
  local line, words = message:match "^[^\n]-:(%d+): (.*)$"
  if not line then return path .. ": " .. texts.line(message) end
  return ("%s, line %s: %s"):format(path, line, texts.line(words))
end

--- What a file returns.
local function load_file(path)
  local text = console.read_file(path, "the tools")
  local chunk, message = (loadstring or load)(text, "@" .. path) -- luacheck: ignore 113
  if not chunk then console.misuse("--tool %s", place(path, message)) end
  local ok, value = pcall(chunk, path)
  if not ok then console.fail("--tool %s", place(path, value)) end
  return value
end

local function add(chat, path, given)
  local def, run = {}, nil
  if type(given) ~= "table" or type(given.run) ~= "function" then
    console.misuse("--tool %s: a tool is a table { name =, description =, parameters =, run = function(args) ... end }",
      path)
  end
  for name, value in pairs(given) do
    if name == "run" then run = value else def[name] = value end
  end
  local _, misuse = errors.try(chat.tool, chat, def, run)
  if misuse then console.misuse("--tool %s: %s", path, (misuse:gsub("^chat:tool: ", ""))) end
end

--- Gives a conversation the tools of these files.
---@param chat lmm.Conversation
---@param paths string[]
function tool.add(chat, paths)
  for _, path in ipairs(paths) do
    local value = load_file(path)
    local list = type(value) == "table" and value.run == nil and value or { value }
    if #list == 0 then console.misuse("--tool %s: the file returns no tool", path) end
    for _, given in ipairs(list) do add(chat, path, given) end
  end
end

--- Says on standard error what is called.
---@param call lmm.ToolCall
function tool.note(call)
  console.note("call: %s %s", call.name, texts.line(texts.utf8(call.arguments), LONGEST_CALL))
end

return tool
