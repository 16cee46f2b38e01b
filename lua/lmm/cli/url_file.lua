--- The file by which other programs find a server: its URL and its key come in and go out. Only its owner can read it,
--- and it is whole whenever it is looked at. A shell can take it in, too (set -a; . FILE):
---
---     OPENAI_BASE_URL='http://node7:21345/v1'
---     OPENAI_API_KEY='5d41402abc4b2a76b9719d911017c592'
local texts = require "lmm.text"

local url_file = {}

local MOST = 65536 -- bytes

---@class lmm.cli.Where
---@field url string?   none yet where the server is still starting
---@field key string?
---@field note string?  who writes the file
---@field text string   all of it

local function unquote(word)
  return (word:gsub("^'(.*)'$", "%1"):gsub("'\\''", "'"))
end

local function files()
  return require("lmm.version").check "lmm.files"
end

--- What a file's text tells; nil where it is none of these files.
---@return lmm.cli.Where?
local function parse(text)
  local where = { text = text, note = text:match "^# ([^\n]+)" }
  for name, value in ("\n" .. text):gmatch "\n([%u_]+)=([^\r\n]*)" do
    if name == "OPENAI_BASE_URL" then where.url = unquote(value) end
    if name == "OPENAI_API_KEY" then where.key = unquote(value) end
  end
  return (where.url or where.note) and where or nil
end

--- Writes the file in the place of an earlier one.
---@param where { url: string?, key: string?, note: string? }
---@return string? text, string? message
function url_file.write(path, where)
  local before = files().read(path, MOST)
  if before and before ~= "" and not parse(before) then
    return nil, ("'%s' is there, and names no server: name another file"):format(path)
  end
  local lines = { where.note and "# " .. where.note or nil }
  if where.url then lines[#lines + 1] = "OPENAI_BASE_URL=" .. texts.quote(where.url) end
  if where.key then lines[#lines + 1] = "OPENAI_API_KEY=" .. texts.quote(where.key) end
  local text = table.concat(lines, "\n") .. "\n"
  local ok, message = files().write(path, text)
  if ok then return text end
  return nil, ("cannot write '%s': %s"):format(path, message)
end

--- Whether the file's mode lets the group or others write.
local function is_open_to_others(path)
  local stat = require "luv".fs_stat(path)
  return stat and (math.floor(stat.mode / 16) % 2 == 1 or math.floor(stat.mode / 2) % 2 == 1)
end

--- Reads it.
---@return lmm.cli.Where? where, string? message, boolean? is_unread  the file is not there, or cannot be read now
function url_file.read(path)
  local text, message = files().read(path, MOST)
  if not text then return nil, ("cannot read '%s': %s"):format(path, message), true end
  if is_open_to_others(path) then
    return nil, ("others can write '%s', and name another server: chmod go-w makes it yours"):format(path)
  end
  local where = parse(text)
  if where then return where end
  return nil, ("'%s' names no server: no line of it begins with OPENAI_BASE_URL="):format(path)
end

--- Removes it, unless somebody has written another one since.
function url_file.remove(path, text)
  if files().read(path, MOST) == text then os.remove(path) end
end

return url_file
