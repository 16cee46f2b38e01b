--- Where the command's log is, and whether it is on: the environment and files of the user's come in; a path goes out.
local version = require "lmm.version"

local places = {}

--- What $LMM_LOG may be besides a path.
local SWITCHES = { ["0"] = false, off = false, no = false, ["false"] = false, ["1"] = true, on = true, yes = true,
  ["true"] = true }

local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- The folder of what lmm keeps between runs.
---@return string? path, string? message
local function folder()
  local state = environment "XDG_STATE_HOME"
  if state and state:find "^/" then return state .. "/lmm" end -- what is relative is to be passed over
  local home = environment "HOME"
  if home then return home .. "/.local/state/lmm" end
  return nil, "there is no place for the log: neither $XDG_STATE_HOME nor $HOME is set"
end

--- See log.default_path.
---@return string? path, string? message
function places.path()
  local given = environment "LMM_LOG"
  if given and SWITCHES[given:lower()] == nil then return given end
  local path, message = folder()
  return path and path .. "/log.db", message
end

--- See log.is_installed.
---@return boolean
function places.is_installed()
  if package.loaded["luasql.sqlite3"] then return true end
  for template in package.cpath:gmatch "[^;]+" do
    local file = io.open((template:gsub("%?", "luasql/sqlite3")), "rb")
    if file then
      file:close()
      return true
    end
  end
  return false
end

local function mark()
  local path, message = folder()
  return path and path .. "/log.off", message
end

--- Whether the command is to log, and who has said that it is not.
---@return boolean is_on, string? by  "$LMM_LOG", or the path of the file that says it
function places.is_on()
  local given = environment "LMM_LOG"
  if given then
    local switch = SWITCHES[given:lower()]
    return switch ~= false, switch == false and "$LMM_LOG" or nil
  end
  local path = mark()
  local file = path and io.open(path, "rb")
  if not file then return path ~= nil end
  file:close()
  return false, path
end

--- Has the command log from now on, or not.
---@param is_on boolean
---@return true? done, string? message
function places.switch(is_on)
  local path, message = mark()
  if not path then return nil, message end
  if not is_on then return version.check("lmm.files").create(path) end
  local _, why, code = os.remove(path)
  local ENOENT = 2
  if why and code ~= ENOENT then return nil, why end
  return true
end

return places
