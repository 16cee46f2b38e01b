--- The clipboard of who sits at the terminal: a text comes in; the terminal gets it by OSC 52, also over ssh.
local core = require "lmm.core"
local console = require "lmm.cli.console"

local clipboard = {}

local MOST = 74994 -- bytes: terminals take 100,000 of base64

--- tmux passes OSC 52 on only where it is told to (set-clipboard on). What is loaded into its own buffer with -w, which
--- tmux has since 3.2, it passes on by itself. Where it ends without reading, cat reads: the pipe must not break.
local function tell_tmux(text)
  local pipe = io.popen("{ tmux load-buffer -w - || cat; } >/dev/null 2>&1", "w")
  if not pipe then return end
  pipe:write(text)
  pipe:close()
end

---@param session lmm.chat.Session
---@param text string
function clipboard.copy(session, text)
  if not session.screen.is_terminal then console.fail "there is no terminal, and so no clipboard" end
  if #text > MOST then console.fail("the answer has %d bytes, and terminals copy %d at most", #text, MOST) end
  session.screen.write("\27]52;c;" .. core.base64.encode(text) .. "\27\\")
  if (os.getenv "TMUX" or "") ~= "" then tell_tmux(text) end
  session.screen:note("copied: %d bytes", #text)
end

return clipboard
