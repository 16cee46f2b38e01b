-- A model that looks at pictures by itself:   lua5.4 examples/tools.lua ["Which picture shows water?"]
-- It lists the pictures of a folder, looks at those that it wants to, and answers. The server is $OPENAI_BASE_URL, else
-- http://127.0.0.1:8000/v1; vLLM needs --enable-auto-tool-choice --tool-call-parser NAME.
local lmm = require "lmm"

local FOLDER = os.getenv "PICTURES" or "examples"

local chat = lmm.connect():conversation { system = "Use the tools to look at pictures. Answer in one sentence." }

chat:tool({ name = "list_pictures", description = "The names of the pictures there are." }, function()
  local list = io.popen("ls '" .. FOLDER:gsub("'", "'\\''") .. "'")
  local names = lmm.array {}
  for name in list:lines() do
    if name:find "%.jpe?g$" or name:find "%.png$" then names[#names + 1] = name end
  end
  list:close()
  return names                                          -- a table goes as JSON
end)

chat:tool({
  name = "look", description = "Shows a picture.",
  parameters = { type = "object", properties = { name = { type = "string" } }, required = { "name" } },
}, function(args)
  if args.name:find "/" then return nil, "that is no name of list_pictures" end
  return lmm.image(FOLDER .. "/" .. args.name)          -- so does a picture; one that is not there is told
end)

local stream = chat:stream(arg[1] or "Which picture shows water?")
for piece, kind in stream:pieces() do
  if kind == "text" then io.write(piece) end
  if kind == "tool_call" then print(("[%s %s]"):format(piece.name, piece.arguments)) end
  if kind == "tool_result" then print(("  -> %s"):format(piece.is_error and piece.text or "ok")) end
end
print()
