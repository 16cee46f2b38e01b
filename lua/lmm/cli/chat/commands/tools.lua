--- Commands: the form of the answers, and what the model may call.
local attachments = require "lmm.cli.chat.attachments"
local console = require "lmm.cli.console"

local function schema(session, text)
  local chat = session:chat()
  if text == "" then
    chat:set("schema", nil)
    return session.screen:note "answers are free"
  end
  chat:set("schema", require("lmm.cli.schema_file").read(attachments.file(text)))
end

local function tool(session, text)
  if text == "" then console.misuse "/tool takes a file in Lua that returns a tool, as `lmm ask --tool` does" end
  local ok, raised = pcall(require("lmm.cli.tool").add, session:chat(), { attachments.file(text) })
  if ok then return session.screen:note "the model may call it from now on" end
  if type(raised) == "table" and raised.message then
    raised = { status = raised.status, message = raised.message:gsub("^%-%-tool ", "") }
  end
  error(raised, 0)
end

return {
  { name = "schema", args = "[FILE]", complete = "path", run = schema, help = "Have answers follow the JSON schema in "
    .. "a file; alone, have them free again." },
  { name = "tool", args = "FILE", complete = "path", run = tool, help = "Give the model the tools that a file in Lua "
    .. "returns (see lmm ask --help)." },
}
