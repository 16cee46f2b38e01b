--- The user's editor: a text comes in, and the text that was made of it goes out.
local console = require "lmm.cli.console"

local editor = {}

--- What a shell runs: it may hold options, as in "code --wait".
---@return string
function editor.command()
  for _, name in ipairs { "VISUAL", "EDITOR" } do
    local words = os.getenv(name)
    if words and words:find "%S" then return words end
  end
  return "vi"
end

--- A file of our own that nobody else can read.
local function new_file(uv)
  local folder = assert(uv.fs_mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/lmm-XXXXXX"))
  return folder, folder .. "/question.md"
end

---@param text string
---@return string
function editor.edit(text, uv)
  local folder, path = new_file(uv)
  local file = assert(io.open(path, "wb"))
  file:write(text, "\n")
  file:close()
  local ok = os.execute(editor.command() .. " '" .. path:gsub("'", "'\\''") .. "'")
  local after = io.open(path, "rb")
  local edited = after and after:read "*a"
  if after then after:close() end
  os.remove(path)
  uv.fs_rmdir(folder)
  if not (ok == 0 or ok == true) then
    console.fail("the editor '%s' ended with a failure: nothing is asked ($VISUAL or $EDITOR names another)",
      editor.command())
  end
  return console.chomp(edited or "")
end

return editor
