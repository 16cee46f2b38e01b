--- Commands: the chat itself.
local console = require "lmm.cli.console"

local function copy(session, text)
  if not session.last then console.misuse "there is no answer yet" end
  local words = session.last.text
  if text == "code" then
    for block in ("\n" .. words):gmatch "\n```[^\n]*\n(.-)\n```" do words = block end
    if words == session.last.text then console.misuse "the last answer holds no block of code" end
  elseif text ~= "" then
    console.misuse "/copy takes nothing, or the word code"
  end
  require("lmm.cli.chat.clipboard").copy(session, words)
end

local function help(session, text)
  local commands = require "lmm.cli.chat.commands"
  local width = session.screen:width()
  if text == "" then return session.screen:print(commands.help(width)) end
  local command = commands.find((text:gsub("^/", "")))
  if not command then console.misuse("there is no command /%s", (text:gsub("^/", ""))) end
  session.screen:print(("/%s %s\n"):format(command.name, command.args or "") .. command.help)
end

local function quit(session)
  session.is_over = true
end

return {
  { name = "copy", args = "[code]", run = copy, help = "Copy the last answer, or the last block of code in it, to the "
    .. "clipboard, by the terminal (OSC 52)." },
  { name = "help", args = "[COMMAND]", complete = "command", run = help, help = "Show the commands." },
  { name = "quit", run = quit, help = "End the chat. So does Ctrl-D." },
}
