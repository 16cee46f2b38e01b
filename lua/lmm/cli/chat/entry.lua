--- Lines come in; an entry goes out: a line, or several of them. A line that ends in \ goes on in the next one; what
--- stands between """ and """ is one entry; and so is what was pasted, which a reader gives as one line.
local core = require "lmm.core"

local entry = {}

local MORE = "... "
local QUOTES = '"""'

--- Reads on until a line has `"""` at its end, or the input ends.
local function read_block(reader, first)
  local lines, line = {}, first
  while line do
    local last = line:match '^(.-)"""%s*$'
    lines[#lines + 1] = last or line
    if last then break end
    local why
    line, why = reader:read(MORE)
    if why then return nil, why end
  end
  if lines[1] == "" then table.remove(lines, 1) end
  if lines[#lines] == "" then lines[#lines] = nil end
  return table.concat(lines, "\n")
end

local function read_continued(reader, line)
  local lines = {}
  while line and line:find "\\$" and not line:find "\\\\$" do
    lines[#lines + 1] = line:sub(1, -2)
    local why
    line, why = reader:read(MORE)
    if why then return nil, why end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

--- The next entry.
---@param reader lmm.chat.Reader
---@param prompt string
---@return string? entry, string? why  nil alone at the end; nil and the name of a signal, which drops what was begun
---@return boolean? is_quoted  it stood between quotes, so that it is no command
function entry.read(reader, prompt)
  local line, why = reader:read(prompt)
  if not line then return nil, why end
  if line:find('^%s*' .. QUOTES) then
    local text
    text, why = read_block(reader, line:match '^%s*"""(.*)$')
    return text, why, true
  end
  if line:find "\n" then return (line:gsub("%s+$", "")), nil end
  return read_continued(reader, line)
end

entry.NO_TEXT = "what was entered holds bytes that are no text, and is not asked: /attach PATH sends a file"

--- Whether an entry is text, as it has to be. Escape sequences are: they come with what is copied from a terminal.
---@param text string
---@return boolean
function entry.is_text(text)
  return not core.utf8(text) and not text:find "[%z\1-\8\14-\26\28-\31\127]"
end

return entry
