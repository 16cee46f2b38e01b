--- A file's lines, one at a time: a path comes in; lines with their numbers and offsets go out, in bounded memory and
--- linear time.
local lines = {}

local BLOCK = 65536
local MOST = 256 * 1024 * 1024 -- bytes of a line
local ENOENT = 2
local RETURN = 13 -- the byte

---@class lmm.Lines
---@field number integer  of the line that was given last
---@field offset integer  where it begins
---@field is_cut boolean  its end is missing: it is the last one
local Lines = {}
Lines.__index = Lines

---@return lmm.Lines? reader, string? why, boolean? is_missing
function lines.open(path)
  local file, why, code = io.open(path, "rb")
  if not file then return nil, why, code == ENOENT end
  local ok, problem = file:read(0)
  if not ok and problem then -- a directory
    file:close()
    return nil, path .. ": " .. problem
  end
  return setmetatable({ file = file, block = "", at = 1, number = 0, offset = 0, next_offset = 0 }, Lines)
end

--- The rest of the block, and what follows it up to the end of the line.
local function read_on(self)
  local pieces, size = {}, 0
  while true do
    local stop = self.block:find("\n", self.at, true)
    local piece = self.block:sub(self.at, stop and stop - 1 or -1)
    size = size + #piece
    if size > MOST then return nil, ("line %d has more than %d bytes"):format(self.number + 1, MOST) end
    pieces[#pieces + 1] = piece
    if stop then
      self.at = stop + 1
      break
    end
    local block, why = self.file:read(BLOCK)
    if not block and why then return nil, why end
    if not block and size == 0 then return nil end
    self.block, self.at = block or "", 1
    if not block then
      self.is_cut = true
      break
    end
  end
  return table.concat(pieces)
end

--- The next line, without its end (LF or CRLF) and, of the first one, a byte order mark; nil at the end, and why where
--- that is not the file's.
---@return string? line, string? why
function Lines:next()
  local stop = self.block:find("\n", self.at, true)
  local line, why
  if stop then
    line, self.at = self.block:sub(self.at, stop - 1), stop + 1
  else
    line, why = read_on(self)
    if not line then return nil, why end
  end
  self.number, self.offset, self.next_offset = self.number + 1, self.next_offset, self.next_offset + #line + 1
  if self.number == 1 then line = line:gsub("^\239\187\191", "") end
  return line:byte(-1) == RETURN and line:sub(1, -2) or line
end

function Lines:close()
  self.file:close()
end

return lines
