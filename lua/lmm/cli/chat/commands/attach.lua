--- Commands: what goes along with the next question.
local attachments = require "lmm.cli.chat.attachments"
local console = require "lmm.cli.console"

local function attach(session, text)
  if text ~= "" then
    for _, source in ipairs(attachments.sources(text)) do
      for _, part in ipairs(session.attached:add(source)) do session.pictures:show(part) end
    end
  end
  session.screen:note("%s", session.attached:listing())
end

local function detach(session, text)
  local count = #session.attached.parts
  if text == "all" then
    session.attached:clear()
    return session.screen:note("%d detached", count)
  end
  if count == 0 then console.misuse "nothing is attached" end
  local n = text == "" and count == 1 and 1 or text:find "^%d+$" and tonumber(text)
  local part = n and session.attached:remove(n)
  if not part then
    console.misuse("/detach takes a number from 1 to %d, or all", count)
  end
  session.screen:note("detached %s", attachments.describe(part))
end

return {
  { name = "attach", args = "[PATH|URL]...", complete = "path", run = attach,
    help = "Attach a picture, a video, a sound, a PDF or a text file to the next question; alone, list what is "
      .. "attached." },
  { name = "detach", args = "N|all", run = detach, help = "Take one of them away, or all." },
}
