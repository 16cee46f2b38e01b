--- The file of what was entered, for its owner alone: an entry a line, in which \n stands for a line end. Several chats
--- may add to it at once.

---@class lmm.chat.History
local History = {}
History.__index = History

local history = {}

local MOST, KEPT = 2000, 1000 -- entries: with more than the first, the file is cut down to the second

--- Where it is; nil where there is no home directory.
---@return string?
function history.path()
  local state, home = os.getenv "XDG_STATE_HOME", os.getenv "HOME"
  if state and state:find "^/" then return state .. "/lmm/history" end
  return home and home ~= "" and home .. "/.local/state/lmm/history" or nil
end

local function encode(entry)
  return (entry:gsub("[\\\n\r]", { ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r" }))
end

local function decode(line)
  return (line:gsub("\\(.)", { ["\\"] = "\\", n = "\n", r = "\r" }))
end

local function read_lines(path)
  local file, lines = io.open(path, "rb"), {}
  if not file then return lines end
  for line in (file:read "*a" or ""):gmatch "[^\n]+" do lines[#lines + 1] = line end
  file:close()
  return lines
end

--- The last lines of a file that has become long, which then has no others.
local function cut(path, lines)
  local kept = {}
  for i = #lines - KEPT + 1, #lines do kept[#kept + 1] = lines[i] end
  require("lmm.files").write(path, table.concat(kept, "\n") .. "\n")
  return kept
end

--- Adds to the file that is there now, which another chat may have cut down.
local function append(path, text)
  local file, why = io.open(path, "ab")
  if not file then return nil, why end
  file:write(text)
  return file:close()
end

--- Opens it, and makes it where it is not there, of mode 0600.
---@param path string?
---@return lmm.chat.History history, string? problem  where nothing can be kept
function history.open(path)
  local self = setmetatable({ lines = {}, path = nil }, History)
  if not path then return self, "there is no home directory" end
  local ok, why = require("lmm.files").create(path)
  if ok then
    self.lines = read_lines(path)
    if #self.lines > MOST then self.lines = cut(path, self.lines) end
    ok, why = append(path, "")
  end
  if not ok then return self, ("'%s' cannot be written: %s"):format(path, (why:gsub("^.*: ", ""))) end
  self.path = path
  return self
end

--- What was entered before, the oldest first.
---@return string[]
function History:entries()
  local out = {}
  for i, line in ipairs(self.lines) do out[i] = decode(line) end
  return out
end

local LONGEST = 65536 -- bytes of an entry: nobody goes back through a pasted file

--- A password in a URL is not kept, nor what begins with a space.
local function is_left_out(entry)
  return #entry > LONGEST or entry:find "^%s" ~= nil or entry:find "://[^/%s]*@" ~= nil
end

---@param entry string
function History:add(entry)
  local line = encode(entry)
  if is_left_out(entry) or line == self.lines[#self.lines] then return end
  self.lines[#self.lines + 1] = line
  if self.path then append(self.path, line .. "\n") end
end

return history
