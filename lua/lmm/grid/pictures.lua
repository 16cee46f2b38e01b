--- The pictures of a page: those of a plan come in; the file PAGE.grid/pictures.jsonl goes out, a line for each in
--- their order, with what the page shows of it: drawn small by libvips, else the file's own bytes, where they are few,
--- which the browser draws small, or else nothing but where the file stands.
--
-- The file is the cache of the next time, too: what has the same path, size and time is not read again.
local core = require "lmm.core"
local errors = require "lmm.errors"
local json = require "lmm.json"
local loops = require "lmm.loop"
local parts = require "lmm.part"
local prepare = require "lmm.prepare"
local version = require "lmm.version"

local pictures = {}

local BUDGET = 4500000      -- bytes of all pictures of a page, which base64 makes a third more of
local BYTES_PER_PIXEL = 0.17 -- of WebP at this quality, where there is much in a picture
local QUALITY, LARGEST, SMALLEST = 75, 512, 96 -- pixels; where it can be reached the browser shows the file in full

---@class lmm.GridPictures
---@field plan lmm.GridPlan
---@field path string
---@field known table<string, { digest: string, offset: integer, side: integer, drawn: boolean }>
local Pictures = {}
Pictures.__index = Pictures

--- What a file is known again by.
local function name_of(image)
  local info = image.path and image.part.media and image.part.media:info()
  if not info then return nil end
  return ("%s\0%d\0%.17g"):format(image.path, info.size or 0, info.mtime or 0)
end

--- Opens the pictures of the last time.
---@param plan lmm.GridPlan
---@param path string
---@return lmm.GridPictures
function pictures.open(plan, path)
  local self = setmetatable({ plan = plan, path = path, known = {} }, Pictures)
  self.file = io.open(path, "rb")
  local offset = 0
  for line in (self.file and self.file:lines() or function() end) do
    local value = json.decode(line)
    if type(value) == "table" and type(value.known_by) == "string" then
      self.known[value.known_by] = { digest = value.digest, offset = offset, side = value.side, drawn = value.drawn }
    end
    offset = offset + #line + 1
  end
  return self
end

local function digest_of(part)
  local digest = version.check "lmm.digest"
  if part.url then return "url " .. part.url end
  if part.path then return digest.file(part.path) end
  local media = {}
  for i, one in ipairs(part.media and { part } or part.frames or {}) do media[i] = one.media end
  local body = core.concat(media)
  local sum, piece = digest.new(), body:read(262144)
  while piece and #piece > 0 do
    sum:update(piece)
    piece = body:read(262144)
  end
  body:close()
  return sum:finish():hex()
end

--- Finds the digest of each picture's bytes.
---@return true? found, lmm.Error? err
function Pictures:identify()
  for _, image in ipairs(self.plan.images) do
    local name = name_of(image)
    local known = name and self.known[name]
    local message
    image.digest = known and known.digest
    if not image.digest then image.digest, message = digest_of(image.part) end
    if not image.digest then return nil, errors.new { kind = "invalid", message = tostring(message) } end
  end
  return true
end

--- For lmm.grid.identity.
---@return fun(part: lmm.Part): string
function Pictures:digests()
  local known = {}
  for _, image in ipairs(self.plan.images) do known[image.part] = image.digest end
  return function(part)
    known[part] = known[part] or digest_of(part) or tostring(part.err)
    return known[part]
  end
end

-- ---- what the page shows -----------------------------------------------------------------------------------------

local PIECE = 65536 -- bytes of a read

--- The bytes of a part, once it is prepared.
local function bytes_of(part)
  local body, pieces = core.concat { part.media }, {}
  repeat
    local piece = body:read(PIECE)
    pieces[#pieces + 1] = piece
  until not piece or piece == ""
  body:close()
  return table.concat(pieces)
end

--- A picture with no side longer than `side`, as WebP; nil where libvips is not there or cannot read it.
local function draw(image, side)
  local source = image.path or image.part.source
  if not source or image.part.kind ~= "image" then return nil end
  local small = parts.new("image", source, { max_side = side, convert = "webp", quality = QUALITY, check = false })
  if small.err then return nil end
  local loop, cell = loops.current(), {}
  local ready = prepare.all({ small }, function(elapsed)
    loop:wait(cell, loop:now() + prepare.interval(elapsed))
  end)
  return ready and bytes_of(small) or nil
end

local function whole_side(budget)
  return math.max(SMALLEST, math.min(LARGEST, math.floor(math.sqrt(budget / BYTES_PER_PIXEL))))
end

--- What the page shows of a picture: bytes within the budget, or none.
local function shown(image, budget, side)
  local bytes = draw(image, side)
  if bytes and #bytes > 2 * budget then bytes = draw(image, math.max(SMALLEST, math.floor(side / 2))) end
  if bytes then return bytes, "image/webp", true end
  local part = image.part
  if part.media and part.kind == "image" and not part.plan and part.size and part.size <= budget then
    return bytes_of(part), part.mime
  end
end

--- A URL of a file, for a page in `folder`.
local function link(path, page)
  local encoded = path:gsub("[^%w/._~-]", function(c) return ("%%%02X"):format(c:byte()) end)
  if path:sub(1, 1) == "/" then return "file://" .. encoded end
  if not page:find "/" then return encoded end
  local absolute = version.check("lmm.files").absolute(path)
  return absolute and link(absolute, page) or encoded
end

local function line_of(image, page, budget, side)
  local bytes, mime, drawn = shown(image, budget, side)
  local part = image.part
  local fields = {
    name = image.name, path = image.path, url = image.url, digest = image.digest, kind = part.kind, mime = part.mime,
    width = part.width, height = part.height, size = part.media and part.media:info().size,
    href = image.url or image.path and link(image.path, page) or nil,
    src = bytes and ("data:%s;base64,%s"):format(mime, core.base64.encode(bytes)) or nil,
    known_by = name_of(image), side = side, drawn = drawn or false,
  }
  return json.text(fields) .. "\n"
end

--- The line of the last time, where the picture and its size on the page are the same.
local function line_before(self, image, side, has_vips)
  local name = name_of(image)
  local known = name and self.known[name]
  if not known or known.side ~= side or known.drawn ~= has_vips then return nil end
  self.file:seek("set", known.offset)
  return self.file:read "*l" .. "\n"
end

--- Writes the file.
---@param page string  the path of the page
---@param on_progress (fun(done: integer, total: integer): boolean?)?
---@return true? done, lmm.Error? err
function Pictures:write(page, on_progress)
  local list = self.plan.images
  local budget = math.floor(BUDGET / math.max(1, #list))
  local side, has_vips = whole_side(budget), pcall(require, "lmm.vips")
  local temporary = self.path .. ".new"
  local out, message = io.open(temporary, "wb")
  local ok = out ~= nil
  collectgarbage()
  core.give_back() -- of the requests, before libvips takes its own
  for i, image in ipairs(list) do
    if not ok then break end
    ok, message = out:write(line_before(self, image, side, has_vips) or line_of(image, page, budget, side))
    collectgarbage() -- several copies of its bytes were made
    if on_progress then on_progress(i, #list) end
  end
  if out then
    local closed, why = out:close()
    if ok and not closed then ok, message = nil, why end
  end
  if ok then ok, message = version.check("lmm.files").replace(temporary, self.path) end
  if ok then return true end
  os.remove(temporary)
  return nil, errors.new { kind = "invalid", message = ("cannot write '%s': %s"):format(self.path, tostring(message)) }
end

function Pictures:close()
  if self.file then self.file:close() end
  self.file = nil
end

return pictures
