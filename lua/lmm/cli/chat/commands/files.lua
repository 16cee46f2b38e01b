--- Commands: files that are written and read.
local attachments = require "lmm.cli.chat.attachments"
local console = require "lmm.cli.console"

local function save(session, text)
  local path = text ~= "" and attachments.path(text) or session.saved
  if not path then console.misuse "/save takes the path of a file" end
  local ok, message = session:chat():save(path)
  if not ok then console.fail("%s", message) end
  session.saved = path
  session.screen:note("saved in %s", path)
end

--- A name for the conversation in a file that no other one has.
local function name_for(session, path)
  local base = path:match "([^/]*)$":gsub("%.%w+$", ""):gsub("[^%w_.-]", "-")
  local name, n = base ~= "" and base or "loaded", 1
  while session.chats[name] do
    n = n + 1
    name = base .. "-" .. n
  end
  return name
end

local function load(session, text)
  if text == "" then console.misuse "/load takes the path of a file that /save or lmm ask --save has written" end
  local path = attachments.path(text)
  local chat, message = session.client:load(path)
  if not chat then console.fail("%s", message) end
  session.saved = path
  session:use(chat, name_for(session, path))
  session.screen:note("'%s' goes on here; /switch takes you back", session.name)
end

--- Writes a text at a path, where nothing is that should stay.
local function write(session, path, text)
  local files = require "lmm.files"
  local _, _, is_missing = files.read(path, 0)
  if not is_missing then
    if not session:confirm(("%s is there: replace it?"):format(path)) then
      console.fail("%s is there, and was left as it is", path)
    end
  end
  local ok, why = files.write(path, text)
  if not ok then console.fail("cannot write to %s: %s", path, why) end
  session.screen:note("written to %s", path)
end

local function export(session, text)
  local path = text ~= "" and attachments.path(text)
  local is_json = path and path:find "%.json$"
  local value, message = session:chat():export(is_json and "openai" or "markdown")
  if not value then console.fail("%s", message) end
  if is_json then value = require "lmm.json".encode(value) .. "\n" end
  if not path then return session.screen:print(console.chomp(value)) end
  write(session, path, value)
end

local function output(session, text)
  if text == "" then console.misuse "/output takes the path of a file" end
  if not session.last then console.misuse "there is no answer yet" end
  local path = attachments.file(text)
  require("lmm.cli.answer").check_output(path)
  local ok, message = require("lmm.cli.answer").save(session.last, path)
  if not ok then console.fail("%s", message) end
  session.screen:note("saved in %s", path)
end

return {
  { name = "save", args = "[FILE]", complete = "path", run = save, help = "Save the conversation; alone, where it was "
    .. "saved or loaded before." },
  { name = "load", args = "FILE", complete = "path", run = load, help = "Go on with a saved conversation, beside this "
    .. "one." },
  { name = "export", args = "[FILE]", complete = "path", run = export, help = "Write the conversation as Markdown, or "
    .. "where FILE ends in .json as the messages that servers take; alone, show it." },
  { name = "output", args = "FILE", complete = "path", run = output, help = "Save the pictures and the sound of the "
    .. "last answer." },
}
