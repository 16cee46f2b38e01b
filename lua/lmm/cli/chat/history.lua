--- The file of what was entered, for its owner alone: an entry a line, in which \n stands for a line end. Several chats
--- may add to it at once.

---@class lmm.chat.History
local History = {}
History.__index = History

local history = {}

local MOST, KEPT = 2000, 1000 -- entries: with more than the first, the file is cut down to the second
local OWNER_ALONE = 384 -- 0600
local FOLDER_MODE = 448 -- 0700

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

--- Makes the folders that lead to a path.
local function make_folders(uv, path)
  for folder in path:gmatch "()/" do
    if folder > 1 then uv.fs_mkdir(path:sub(1, folder - 1), FOLDER_MODE) end
  end
end

local function read_lines(path)
  local file, lines = io.open(path, "rb"), {}
  if not file then return lines end
  for line in (file:read "*a" or ""):gmatch "[^\n]+" do lines[#lines + 1] = line end
  file:close()
  return lines
end

--- Opens it, and makes it where it is not there.
---@param path string?
---@return lmm.chat.History history, string? problem  where nothing can be kept
function history.open(uv, path)
  local self = setmetatable({ uv = uv, lines = {}, fd = nil }, History)
  if not path then return self, "there is no home directory" end
  make_folders(uv, path)
  self.lines = read_lines(path)
  local message
  if #self.lines > MOST then
    local kept = {}
    for i = #self.lines - KEPT + 1, #self.lines do kept[#kept + 1] = self.lines[i] end
    self.lines = kept
    require("lmm.files").write(path, table.concat(kept, "\n") .. "\n")
  end
  self.fd, message = uv.fs_open(path, "a", OWNER_ALONE)
  if self.fd then uv.fs_fchmod(self.fd, OWNER_ALONE) end
  return self, not self.fd and ("'%s' cannot be written: %s"):format(path, tostring(message):match "^%u+: ([^:]+)"
    or tostring(message)) or nil
end

--- What was entered before, the oldest first.
---@return string[]
function History:entries()
  local out = {}
  for i, line in ipairs(self.lines) do out[i] = decode(line) end
  return out
end

--- A password in a URL is not kept, nor what begins with a space.
local function is_private(entry)
  return entry:find "^%s" ~= nil or entry:find "://[^/%s]*@" ~= nil
end

---@param entry string
function History:add(entry)
  local line = encode(entry)
  if is_private(entry) or line == self.lines[#self.lines] then return end
  self.lines[#self.lines + 1] = line
  if self.fd then self.uv.fs_write(self.fd, line .. "\n", -1) end
end

function History:close()
  if self.fd then self.uv.fs_close(self.fd) end
  self.fd = nil
end

return history
