--- A progress line on a terminal: seconds and a text come in; a line that is overwritten each time goes to standard
--- error. Where that is no terminal, nothing is written.
local texts = require "lmm.text"

local progress = {}

local Progress = {}
Progress.__index = Progress

local shown -- the line that stands there now

local WIDTH = 80 -- of a terminal whose width is not known

local function duration(seconds)
  seconds = math.floor(seconds)
  if seconds < 60 then return ("%d s"):format(seconds) end
  return ("%d min %02d s"):format(math.floor(seconds / 60), seconds % 60)
end

--- Writes over the line. The text may be a stranger's: nothing in it steers the terminal.
function Progress:show(seconds, text)
  if not self.width then return end
  text = text:gsub("\27%[[%d;]*%a", ""):gsub("\t", " ")
  local line = texts.line(duration(seconds) .. (text:find "%S" and "  " .. text or ""), self.width - 1)
  if line == self.shown then return end
  self.shown, shown = line, self
  io.stderr:write("\r\27[K", line)
  io.stderr:flush()
end

--- Takes the line away.
function Progress:clear()
  if not self.shown then return end
  self.shown = nil
  io.stderr:write "\r\27[K"
  io.stderr:flush()
end

--- Takes away whatever line stands there.
function progress.clear()
  if shown then shown:clear() end
end

function progress.new()
  if not require "lmm.cli.console".is_terminal(2) then return setmetatable({}, Progress) end
  local pipe = io.popen "stty size <&2 2>/dev/null"
  local width = tonumber(pipe:read "*a":match "%d+ (%d+)")
  pipe:close()
  return setmetatable({ width = width and width > 0 and width or WIDTH }, Progress)
end

--- Says on a terminal that another attempt is waited for; `clear` takes that away.
---@return fun(attempt: integer, err: lmm.Error, delay: number) on_retry, fun() clear
function progress.retries()
  local line
  return function(_, err, delay)
    line = line or progress.new()
    line:show(math.ceil(delay), "until the next attempt: " .. err.message)
  end, function()
    if line then line:clear() end
  end
end

return progress
