--- Small files of many kinds, built byte by byte: what is asked for comes in, a file's bytes go out. Pictures are 37
--- pixels wide and 23 high, as they are stored.
local media = {}

local char, rep = string.char, string.rep

function media.be(value, width)
  local out = ""
  for _ = 1, width do
    out = char(value % 256) .. out
    value = math.floor(value / 256)
  end
  return out
end

function media.le(value, width)
  return (media.be(value, width):reverse())
end

local be, le = media.be, media.le

-- ---- boxes

function media.box(name, data, size)
  return be(size or 8 + #data, 4) .. name .. data
end

local box = media.box

function media.ftyp(major, ...)
  return box("ftyp", major .. be(0, 4) .. table.concat({ ... }))
end

function media.ispe(width, height)
  return box("ispe", be(0, 4) .. be(width, 4) .. be(height, 4))
end

--- A track of "soun", "vide" or "pict".
function media.track(kind, width, height)
  local matrix = be(0x10000, 4) .. rep("\0", 12) .. be(0x10000, 4) .. rep("\0", 12) .. be(0x40000000, 4)
  local tkhd = box("tkhd", rep("\0", 40) .. matrix .. be(width or 0, 2) .. "\0\0" .. be(height or 0, 2) .. "\0\0")
  return box("trak", tkhd .. box("mdia", box("hdlr", rep("\0", 8) .. kind .. rep("\0", 12))))
end

--- A picture whose one item has `properties`, all of them by their numbers in `listed`.
function media.heif(brand, properties, listed, before, is_open)
  local ipma = box("ipma", be(0, 4) .. be(1, 4) .. be(1, 2) .. char(#listed) .. listed)
  local iprp = box("iprp", box("ipco", properties) .. ipma)
  local meta = be(0, 4) .. box("pitm", be(0, 4) .. be(1, 2)) .. iprp
  return media.ftyp(brand, brand) .. (before or "") .. box("meta", meta, is_open and 0 or nil)
end

-- ---- EBML

local function element(identifier, data) return identifier .. "\8" .. be(#data, 4) .. data end

function media.ebml_head(doctype)
  local fields = "\66\130" .. char(128 + #doctype) .. doctype
  return "\26\69\223\163" .. char(128 + #fields) .. fields
end

--- A file with one track, of which `kind` is the type; `is_live`: of unknown length, as a recorder writes it.
function media.ebml(doctype, kind, is_live)
  local tracks = element("\22\84\174\107", element("\174", "\215\129\1" .. "\131\129" .. char(kind)))
  local info = element("\21\73\169\102", rep("\236\128", 4))
  local body = info .. tracks .. (is_live and "\31\67\182\117\1" .. rep("\255", 7) .. rep("x", 40) or "")
  return media.ebml_head(doctype) .. "\24\83\128\103" .. (is_live and "\1" .. rep("\255", 7) or "\8" .. be(#body, 4))
    .. body
end

-- ---- directories

local function directory(opts, fields)
  local number = opts.big_endian and be or le
  local big = opts.bigtiff
  local out = number(#fields, big and 8 or 2)
  for _, field in ipairs(fields) do
    local tag, kind, count, value = field[1], field[2], field[3], field[4]
    if type(value) == "number" then value = number(value, kind == 3 and 2 or 4) end
    out = out .. number(tag, 2) .. number(kind, 2) .. number(count, big and 8 or 4) .. value
      .. rep("\0", (big and 8 or 4) - #value)
  end
  return out .. rep("\0", big and 8 or 4)
end

local function head(opts, offset)
  local number = opts.big_endian and be or le
  local mark = opts.big_endian and "MM" or "II"
  if opts.bigtiff then return mark .. number(43, 2) .. number(8, 2) .. "\0\0" .. number(offset, 8) end
  return mark .. number(42, 2) .. number(offset, 4)
end

--- opts: orientation, big_endian, behind (bytes before the directory), bigtiff.
function media.tiff(opts)
  local fields = { { 256, 3, 1, 37 }, { 257, 4, 1, 23 } }
  if opts.orientation then fields[#fields + 1] = { 274, 3, 1, opts.orientation } end
  local length, behind = opts.bigtiff and 16 or 8, opts.behind or 0
  return head(opts, length + behind) .. rep("\0", behind) .. directory(opts, fields)
end

function media.bigtiff(opts)
  return media.tiff { bigtiff = true, orientation = opts.orientation, big_endian = opts.big_endian,
    behind = opts.behind }
end

--- A camera's raw picture, which begins with a thumbnail. opts: dng, or the `make` of a camera; behind.
function media.raw(opts)
  local make = (opts.make or "Someone") .. "\0"
  local behind = opts.behind or 0
  local child = directory(opts, { { 262, 3, 1, 32803 } })
  local base = 8 + behind
  local fields = { { 256, 4, 1, 8 }, { 257, 4, 1, 8 }, { 271, 2, #make, le(base + #child, 4) }, { 330, 4, 1, base } }
  if opts.dng then fields[#fields + 1] = { 50706, 1, 4, "\1\4\0\0" } end
  return head(opts, base + #child + #make) .. rep("\0", behind) .. child .. make .. directory(opts, fields)
end

local function exif(orientation)
  return "II*\0" .. le(8, 4) .. directory({}, { { 274, 3, 1, orientation } })
end

-- ---- pictures

local function segment(marker, data) return marker .. be(2 + #data, 2) .. data end

--- opts: orientation, thumbnail, before (full segments before the frame), frame (its marker), scan (bytes of the
--- picture).
function media.jpeg(opts)
  local out = "\255\216"
  if opts.orientation then
    out = out .. segment("\255\225", "Exif\0\0" .. exif(opts.orientation)
      .. (opts.thumbnail and "\255\216\255\217" or ""))
  end
  out = out .. rep(segment("\255\226", rep("x", 65533)), opts.before or 0)
  return out .. segment(opts.frame or "\255\192", "\8" .. be(23, 2) .. be(37, 2) .. "\1\1\17\0")
    .. segment("\255\218", "\1\1\0\0\63\0") .. rep("\85", opts.scan or 50) .. "\255\217"
end

local function chunk(name, data) return be(#data, 4) .. name .. data .. "\0\0\0\0" end

--- opts: orientation, last (its EXIF data comes last), data (bytes of the picture).
function media.png(opts)
  local turned = opts.orientation and chunk("eXIf", exif(opts.orientation)) or ""
  return "\137PNG\r\n\26\n" .. chunk("IHDR", be(37, 4) .. be(23, 4) .. "\8\2\0\0\0") .. (opts.last and "" or turned)
    .. chunk("IDAT", rep("x", opts.data or 20)) .. (opts.last and turned or "") .. chunk("IEND", "")
end

function media.riff(kind, count, first)
  local data = kind .. (first or "fmt ") .. rep("\0", count)
  return "RIFF" .. le(#data - (first and 0 or 4), 4) .. (first and data or kind .. rep("\0", count))
end

--- opts: orientation.
function media.webp(opts)
  local turned = opts.orientation and exif(opts.orientation) or ""
  local chunks = "VP8X" .. le(10, 4) .. (opts.orientation and "\8" or "\0") .. "\0\0\0" .. le(36, 3) .. le(22, 3)
    .. "VP8 "
    .. le(10, 4) .. rep("\0", 10) .. (opts.orientation and "EXIF" .. le(#turned, 4) .. turned or "")
  return "RIFF" .. le(4 + #chunks, 4) .. "WEBP" .. chunks
end

return media
