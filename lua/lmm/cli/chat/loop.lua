--- The loop of a chat: entries come in from a reader, one after another; each is a command, a path that may be meant to
--- be attached, or a question.
local attachments = require "lmm.cli.chat.attachments"
local commands = require "lmm.cli.chat.commands"
local console = require "lmm.cli.console"
local entries = require "lmm.cli.chat.entry"

local loop = {}

--- Says what was raised, and goes on: a chat is not lost over a command. What ends the program goes on to its end.
local function guarded(session, fn, ...)
  local ok, raised = pcall(fn, ...)
  if ok then return end
  if type(raised) == "table" and raised.status and not raised.message then error(raised, 0) end
  session.has_failed = true
  local message = type(raised) == "table" and raised.message or console.words_of(raised):gsub("^.-lmm: ", "", 1)
  session.screen:fail(require("lmm.cli.chat.advice").of(message))
end

--- Whether paths or URLs that stand alone were meant to be attached, and are, or were dropped.
local function is_attached(session, text)
  local found = session.reader.is_interactive and attachments.alone(text)
  if not found then return false end
  local agrees = session:confirm(("attach %s?"):format(table.concat(found, ", ")), true)
  if agrees then guarded(session, commands.find "attach".run, session, text) end
  return agrees ~= false
end

local function refuse(session)
  session.has_failed = true
  session.screen:fail(entries.NO_TEXT)
end

--- Does what an entry says.
---@param session lmm.chat.Session
---@param text string
---@param is_quoted boolean?  it is a question, whatever it begins with
function loop.take(session, text, is_quoted)
  if not entries.is_text(text) then
    if not session.reader.is_interactive then console.fail("%s", entries.NO_TEXT) end
    if session.reader.input then session.reader.input:drain() end
    return refuse(session)
  end
  if not text:find "%S" then return end
  session.reader:remember(text)
  local command, words = nil, nil
  if not is_quoted then command, words = commands.parse(text) end
  if command then return guarded(session, command.run, session, words) end
  if not is_quoted and is_attached(session, text) then return end
  if words and not attachments.alone(text) then
    session.has_failed = true
    return session.screen:fail(words)
  end
  guarded(session, session.ask, session, text)
end

--- Runs a chat until it is over.
---@param session lmm.chat.Session
---@param reader lmm.chat.Reader
---@return string? signal  that ended it
function loop.run(session, reader)
  session.reader = reader
  while not session.is_over do
    local text, why, is_quoted = entries.read(reader, session:prompt())
    if text then
      loop.take(session, text, is_quoted)
    elseif why == "sigint" and reader.is_interactive then
      session.screen:note "[Ctrl-D or /quit ends the chat]"
    elseif why == "pasted" then
      refuse(session)
    else
      return why
    end
    if session.ended_by then return session.ended_by end
  end
end

return loop
