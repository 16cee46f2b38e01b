--- Pictures on the terminal: a part comes in; where the terminal can show it, it does. Nothing is said where it cannot:
--- the line that lists the part stands there in any case.
local core = require "lmm.core"
local loops = require "lmm.loop"
local parts = require "lmm.part"
local prepare = require "lmm.prepare"
local quote = require "lmm.text".quote
local version = require "lmm.version"

---@class lmm.chat.Pictures
---@field protocol "kitty"|"iterm"|"sixel"|nil
---@field screen lmm.chat.Screen
local Pictures = {}
Pictures.__index = Pictures

local pictures = {}

local COLUMNS, ROWS = 40, 15 -- at most
local CELL = 2               -- a cell of a terminal is about twice as high as wide
local SIDE = 640             -- pixels: what is larger is shrunk first
local MOST = 2 * 1024 * 1024 -- bytes that go to the terminal where it cannot be shrunk
local CHUNK = 4096           -- bytes of base64 in one command of kitty's

-- ---- what the terminal can ----------------------------------------------------------------------------------------

--- Terminals that know sixel, by the beginning of $TERM or by $TERM_PROGRAM. To ask the terminal itself (DA1) would
--- take what was typed ahead, which nobody can give back, and an answer that came late would be taken for typed.
local SIXEL_TERMS = { "foot", "mlterm", "contour", "yaft" }
local SIXEL_PROGRAMS = { mintty = true, mlterm = true, contour = true }
local SIXEL_KONSOLE = 220400 -- the first version of Konsole that does

local function has_chafa()
  local ok = os.execute "command -v chafa >/dev/null 2>&1"
  return ok == 0 or ok == true
end

local function has_sixel(env, term, program)
  for _, name in ipairs(SIXEL_TERMS) do
    if term:sub(1, #name) == name then return true end
  end
  return SIXEL_PROGRAMS[program] or (tonumber(env "KONSOLE_VERSION") or 0) >= SIXEL_KONSOLE
end

--- How this terminal shows pictures, by what it says of itself in the environment. Within tmux and screen the terminal
--- outside is out of reach.
---@param env fun(name: string): string?
---@return "kitty"|"iterm"|"sixel"|nil
function pictures.protocol(env)
  local term, program = env "TERM" or "", env "TERM_PROGRAM" or ""
  if term == "dumb" then return nil end
  local is_inside = (env "TMUX" or "") ~= "" or term:find "^screen" or term:find "^tmux"
  if is_inside then return nil end
  if term:find "kitty" or term:find "ghostty" or env "KITTY_WINDOW_ID" or program == "ghostty" then return "kitty" end
  if program == "iTerm.app" or program == "WezTerm" or env "LC_TERMINAL" == "iTerm2" then return "iterm" end
  return has_sixel(env, term, program) and has_chafa() and "sixel" or nil
end

---@param screen lmm.chat.Screen
---@param wait fun(fn: function): any, any  runs what waits, so that a signal ends it
---@param given string?  "kitty", "iterm", "sixel" or "none", where that is not to be found out
---@return lmm.chat.Pictures
function pictures.new(screen, wait, given)
  return setmetatable({ screen = screen, wait = wait, given = given }, Pictures)
end

--- Finds out once, when the first picture is to be shown.
function Pictures:find_protocol()
  if not self.screen.is_terminal then return nil end
  if self.given == nil then self.given = pictures.protocol(os.getenv) or "none" end
  return self.given ~= "none" and self.given or nil
end

-- ---- the picture --------------------------------------------------------------------------------------------------

local function read_all(media)
  local body, pieces = core.concat { media }, {}
  while true do
    local piece, message = body:read(MOST)
    if not piece then
      body:close()
      return not message and table.concat(pieces) or nil
    end
    pieces[#pieces + 1] = piece
  end
end

--- Made small, as PNG, by libvips; nil where that is not there or cannot.
local function shrunk(self, source)
  local part = parts.new("image", source, { max_side = SIDE, convert = "png" })
  local loop, cell = loops.current(), {}
  local ok = self.wait(function()
    return prepare.all({ part }, function(elapsed)
      local _, why = loop:wait(cell, loop:now() + prepare.interval(elapsed))
      return why == "cancelled" and { kind = "cancelled" } or nil
    end)
  end)
  return ok and read_all(part.media) or nil
end

--- The bytes to show: small ones where they can be made, else those of the picture where the protocol takes them.
local function bytes_of(self, part, protocol)
  local source = part.path or part.bytes and { bytes = part.bytes } or part.source
  if not source then return nil end
  local ok, bytes = pcall(shrunk, self, source)
  if ok and bytes then return bytes end
  if protocol == "kitty" and part.mime ~= "image/png" then return nil end
  if part.bytes then return #part.bytes <= MOST and part.bytes or nil end
  return part.media and part.size and part.size <= MOST and read_all(part.media) or nil
end

--- How many columns and rows it is to have.
local function cells(self, part)
  local most = math.max(1, math.min(COLUMNS, self.screen:width() - 2))
  if not (part.width and part.height and part.width > 0 and part.height > 0) then return most, ROWS end
  local columns = math.min(most, math.floor(ROWS * CELL * part.width / part.height + 0.5))
  columns = math.max(1, columns)
  return columns, math.max(1, math.min(ROWS, math.ceil(columns * part.height / part.width / CELL)))
end

local draw = {}

--- https://sw.kovidgoyal.net/kitty/graphics-protocol: q=2 has the terminal answer nothing.
function draw.kitty(self, bytes, columns, rows)
  local base64 = core.base64.encode(bytes)
  for at = 1, #base64, CHUNK do
    local keys = at == 1 and ("a=T,f=100,q=2,c=%d,r=%d,"):format(columns, rows) or ""
    local more = at + CHUNK <= #base64 and 1 or 0
    self.screen.write(("\27_G%sm=%d;%s\27\\"):format(keys, more, base64:sub(at, at + CHUNK - 1)))
  end
  self.screen.write "\n"
end

--- https://iterm2.com/documentation-images.html
function draw.iterm(self, bytes, columns, rows)
  self.screen.write(("\27]1337;File=inline=1;size=%d;width=%d;height=%d;preserveAspectRatio=1:%s\a\n"):format(#bytes,
    columns, rows, core.base64.encode(bytes)))
end

--- chafa draws from a file.
function draw.sixel(self, bytes, columns, rows)
  local path = version.check("lmm.files").temporary()
  local file = path and io.open(path, "wb")
  if file then
    file:write(bytes)
    file:close()
    local pipe = io.popen(("chafa -f sixel -s %dx%d %s </dev/null 2>/dev/null"):format(columns, rows, quote(path)))
    self.screen.write(pipe:read "*a")
    pipe:close()
  end
  if path then os.remove(path) end
end

--- Shows a picture, where that can be done.
---@param part lmm.Part
function Pictures:show(part)
  local protocol = part.kind == "image" and self:find_protocol()
  local bytes = protocol and bytes_of(self, part, protocol)
  if bytes then draw[protocol](self, bytes, cells(self, part)) end
end

return pictures
