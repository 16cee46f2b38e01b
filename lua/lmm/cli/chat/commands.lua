--- The commands of the chat, from which its help, its completion and its pages of the manual come. A line that begins
--- with / comes in; its command and what follows the name go out.
local screen = require "lmm.cli.chat.screen"

--- Raise { status, message } where they cannot be done, as the commands of the program do.
---@class lmm.chat.Command
---@field name string
---@field args string?     as it stands in the help
---@field help string
---@field complete string? what its argument is: "path", or a name of lmm.cli.chat.completion
---@field run fun(session: lmm.chat.Session, text: string)

local commands = {}

local GROUPS = { "attach", "turns", "settings", "tools", "files", "use", "session" }

local list

--- All of them, in the order of the help.
---@return lmm.chat.Command[]
function commands.list()
  if list then return list end
  list = {}
  for _, group in ipairs(GROUPS) do
    for _, command in ipairs(require("lmm.cli.chat.commands." .. group)) do list[#list + 1] = command end
  end
  return list
end

---@param name string
---@return lmm.chat.Command?
function commands.find(name)
  for _, command in ipairs(commands.list()) do
    if command.name == name then return command end
  end
end

--- The command of a line, and what follows its name; nil and a message where there is none of this name; nil alone
--- where the line is no command: a path, say, or more than one line.
---@param line string
---@return lmm.chat.Command? command, string? text_or_message
function commands.parse(line)
  local name, text = line:match "^/(%a[%w-]*)(.*)$"
  if not name or text:find "\n" or text:find "^%S" then return nil end
  local command = commands.find(name)
  if command and not command.args and text:find "%S" then
    return nil, ("/%s takes nothing behind it; a question may begin with a space"):format(name)
  end
  if command then return command, text:match "^%s*(.-)%s*$" end
  local near
  for _, other in ipairs(commands.list()) do
    if other.name:sub(1, #name) == name then near = near or other.name end
  end
  return nil, ("there is no command /%s: %s"):format(name, near and "did you mean /" .. near .. "?"
    or "/help lists them; a question may begin with a space")
end

--- What the commands are, as lines of at most `width` bytes.
---@param width integer
---@return string
function commands.help(width)
  local rows = {}
  for i, command in ipairs(commands.list()) do
    rows[i] = { "/" .. command.name .. (command.args and " " .. command.args or ""), command.help }
  end
  return screen.rows(rows, width)
end

return commands
