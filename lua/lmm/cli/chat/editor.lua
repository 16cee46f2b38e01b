--- The user's editor: a text comes in, and the text that was made of it goes out.
local console = require "lmm.cli.console"
local texts = require "lmm.text"
local version = require "lmm.version"

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

--- Removes a folder of ours, and what editors keep beside a file, such as its text of before.
local function remove(uv, folder)
  local scan = uv.fs_scandir(folder)
  local name = scan and uv.fs_scandir_next(scan)
  while name do
    os.remove(folder .. "/" .. name)
    name = uv.fs_scandir_next(scan)
  end
  uv.fs_rmdir(folder)
end

--- A file with a text, in a folder of our own that nobody else can read.
---@return string folder, string path
local function new_file(uv, text)
  local files = version.check "lmm.files"
  local folder, message = files.temporary(true)
  if not folder then console.fail("%s", message) end
  local path = folder .. "/question.md"
  local ok, why = files.write(path, text)
  if ok then return folder, path end
  remove(uv, folder)
  console.fail("cannot write '%s': %s", path, why)
end

---@param text string
---@return string
function editor.edit(text, uv)
  local folder, path = new_file(uv, text .. "\n")
  local ok = os.execute(editor.command() .. " " .. texts.quote(path))
  local after = io.open(path, "rb")
  local edited = after and after:read "*a"
  if after then after:close() end
  remove(uv, folder)
  if not (ok == 0 or ok == true) then
    console.fail("the editor '%s' ended with a failure: nothing is asked ($VISUAL or $EDITOR names another)",
      editor.command())
  end
  return console.chomp(edited or "")
end

return editor
