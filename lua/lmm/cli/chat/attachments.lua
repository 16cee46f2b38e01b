--- What goes along with the next question: paths and URLs as people type them come in; parts go out, and lines that say
--- what they are.
local console = require "lmm.cli.console"
local parts = require "lmm.part"
local sources = require "lmm.cli.sources"
local texts = require "lmm.text"

---@class lmm.chat.Attachments
---@field parts lmm.Part[]
local Attachments = {}
Attachments.__index = Attachments

local attachments = {}

---@return lmm.chat.Attachments
function attachments.new()
  return setmetatable({ parts = {} }, Attachments)
end

local function is_there(path)
  return parts.new("file", path).err == nil
end

--- A path as the system knows it: ~ is the home directory, and quotes and backslashes of a shell go, as in what a
--- terminal types for a file that is dropped on it.
---@param text string
---@return string
function attachments.path(text)
  text = text:match "^%s*(.-)%s*$"
  if text == "-" then text = "./-" end -- it is not the standard input
  if is_there(text) then return text end
  local quoted = text:match "^'(.*)'$" or text:match '^"(.*)"$'
  text = quoted or (text:gsub("\\(.)", "%1"))
  local home = os.getenv "HOME"
  if home and not quoted then text = text:gsub("^~/", function() return home .. "/" end) end
  return text
end

--- Refuses a fifo: while nobody writes into it, the wait for it cannot be ended.
local function check_fifo(path)
  if not console.is_fifo(path) then return end
  console.misuse("'%s' is a fifo: save what comes out of it in a file, and name that", path)
end

--- The path of a file that is to be read now, as people type it.
---@param text string
---@return string
function attachments.file(text)
  local path = attachments.path(text)
  check_fifo(path)
  return path
end

--- The words of a line as a shell would part them: at spaces outside of quotes, without a backslash before them.
local function words_of(text)
  local words, word, at = {}, nil, 1
  while at <= #text do
    local quoted, after = text:match("^'([^']*)'()", at)
    if not quoted then quoted, after = text:match('^"([^"]*)"()', at) end
    if not quoted then quoted, after = text:match("^\\(.)()", at) end
    if quoted then
      word, at = (word or "") .. quoted, after
    elseif text:find("^%s", at) then
      words[#words + 1], word, at = word, nil, at + 1
    else
      word, at = (word or "") .. text:sub(at, at), at + 1
    end
  end
  words[#words + 1] = word
  return words
end

local function is_url(text)
  return text:find "^%a[%w+.-]*:/" ~= nil
end

--- The paths and URLs of a line: one, in which there may be spaces, or several where all of them are there. Where some
--- are, it is the first that is not.
---@param text string
---@return string[]
function attachments.sources(text)
  if is_url(text) and not text:find "%s" then return { text } end
  local whole = attachments.path(text)
  if is_there(whole) then return { whole } end
  local words, found, missing = words_of(text), {}, {}
  for i, word in ipairs(words) do
    found[i] = is_url(word) and word or attachments.path(word)
    if not (is_url(word) or is_there(found[i])) then missing[#missing + 1] = found[i] end
  end
  if #words < 2 or #missing == #words then return { whole } end
  return missing[1] and { missing[1] } or found
end

--- Whether a word is a URL by which a medium can be sent, or the path of a file that is there.
local function is_medium(word)
  if word:find "^https?://[^%s/]+/%S+$" or word:find "^file:/%S+$" then return true end
  return not is_url(word) and is_there(word)
end

--- The URLs and the paths of a line that is nothing else, as of files that are dropped on a terminal.
---@param line string
---@return string[]? sources
function attachments.alone(line)
  if line:find "\n" or not line:find "[./]" then return nil end
  local found = attachments.sources(line)
  for _, source in ipairs(found) do
    if not is_medium(source) then return nil end
  end
  return found
end

--- Digits in groups of three.
local function grouped(number)
  local text = ("%d"):format(number)
  local head = #text % 3
  return (text:sub(1, head) .. text:sub(head + 1):gsub("%d%d%d", ",%0")):gsub("^,", "")
end

--- What a part is: "picture.jpg: image/jpeg, 640 x 480 pixels, 12,345 bytes".
---@param part lmm.Part
---@return string
function attachments.describe(part)
  local facts = { part.mime or part.kind }
  if part.width then facts[#facts + 1] = ("%d x %d pixels"):format(part.width, part.height) end
  if part.size then facts[#facts + 1] = grouped(part.size) .. " bytes" end
  if part.url and not part.media then facts[#facts + 1] = "fetched by the server" end
  return texts.line(part.path or part.url or part.filename or part.kind, 200) .. ": " .. table.concat(facts, ", ")
end

--- Adds what is at a path or a URL. It raises where that cannot be sent.
---@param source string
---@return lmm.Part[] added
function Attachments:add(source)
  check_fifo(source)
  return self:add_given(source)
end

--- The same for what the command line names, where a fifo is what `<(command)` stands for.
---@param source string
---@param kind "image"|nil  told by its bytes unless given
---@return lmm.Part[] added
function Attachments:add_given(source, kind)
  local is_picture = source:find "^https?://" and not parts.kind_of(source) -- mostly, where its name does not tell
  local added = sources.parts { { source = source, kind = kind or is_picture and "image" or nil } }
  for _, part in ipairs(added) do
    if part.err then error({ status = 1, message = part.err.message }, 0) end
  end
  for _, part in ipairs(added) do table.insert(self.parts, part) end
  return added
end

--- What is attached, in words.
---@return string
function Attachments:listing()
  if #self.parts == 0 then return "nothing is attached" end
  local lines = { "attached to the next question:" }
  for i, part in ipairs(self.parts) do lines[i + 1] = ("  %d  %s"):format(i, attachments.describe(part)) end
  return table.concat(lines, "\n")
end

--- Takes one away.
---@param n integer
---@return lmm.Part? part  nil where there is no such one
function Attachments:remove(n)
  return table.remove(self.parts, self.parts[n] and n or #self.parts + 1)
end

function Attachments:clear()
  self.parts = {}
end

return attachments
