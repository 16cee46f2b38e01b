-- What a file's first bytes make it: type and size in pixels, whatever is cut off or lies.

local build = require "spec.support.media"
local core = require "lmm.core"
local shell = require "spec.support.shell"

local folder = "spec/media/"

local files = {
  { "baseline.jpg", "image/jpeg", 37, 23 },
  { "progressive.jpg", "image/jpeg", 37, 23 },
  { "exif.jpg", "image/jpeg", 23, 37 }, -- stored on its side
  { "picture.png", "image/png", 37, 23 },
  { "picture.gif", "image/gif", 37, 23 },
  { "lossy.webp", "image/webp", 37, 23 },
  { "lossless.webp", "image/webp", 37, 23 },
  { "extended.webp", "image/webp", 37, 23 },
  { "picture.bmp", "image/bmp", 37, 23 },
  { "little.tiff", "image/tiff", 37, 23 },
  { "big.tiff", "image/tiff", 37, 23 },
  { "picture.avif", "image/avif", 37, 23 },
  { "picture.heic", "image/heic", 37, 23 },
  { "clip.mp4", "video/mp4" },
  { "clip.mov", "video/quicktime" },
  { "clip.webm", "video/webm" },
  { "clip.mkv", "video/x-matroska" },
  { "clip.avi", "video/x-msvideo" },
  { "clip.ogv", "video/ogg" },
  { "sound.wav", "audio/wav" },
  { "plain.mp3", "audio/mpeg" },
  { "tagged.mp3", "audio/mpeg" },
  { "sound.flac", "audio/flac" },
  { "sound.ogg", "audio/ogg" },
  { "sound.m4a", "audio/mp4" },
  { "document.pdf", "application/pdf" },
}

local function read(name) return shell.read(folder .. name) end

local function sniff(bytes)
  return assert(core.media({ bytes = bytes })):info()
end

local function check(bytes, mime, width, height, what)
  local info = sniff(bytes)
  assert.same({ mime, width, height }, { info.mime, info.width, info.height }, what)
end

-- ---- writers of bytes

local char, rep = string.char, string.rep

local be, le = build.be, build.le

local function box(name, data, size)
  return be(size or 8 + #data, 4) .. name .. data
end

local function ftyp(major, ...)
  return box("ftyp", major .. be(0, 4) .. table.concat({ ... }))
end

describe("the type of a file", function()
  -- ---- whole files

  for _, row in ipairs(files) do
    local name, mime, width, height = row[1], row[2], row[3], row[4]
    it(name .. " is " .. mime, function()
      local info = assert(core.media(folder .. name)):info()
      assert.same({ mime, width, height }, { info.mime, info.width, info.height })
      assert.same(#read(name), info.size)
      check(read(name), mime, width, height, "from bytes")
    end)
  end

  it("bytes behind what is looked at change nothing", function()
    for _, row in ipairs(files) do
      check(read(row[1]) .. rep("\255\216tail", 60000), row[2], row[3], row[4], row[1])
    end
  end)

  -- ---- cut short: at every length the right answer or none, and the right type once 128 bytes are there

  for _, row in ipairs(files) do
    it(row[1] .. " cut short is never another type", function()
      local bytes = read(row[1])
      for length = 1, math.min(#bytes, 600) do
        local info = sniff(bytes:sub(1, length))
        local what = row[1] .. " cut to " .. length .. ": " .. tostring(info.mime)
        assert(info.mime == row[2] or (info.mime == nil and length < 128), what)
        assert(info.width == nil or (info.width == row[3] and info.height == row[4]), what .. ", size")
        assert((info.width == nil) == (info.height == nil), what .. ", half a size")
      end
    end)
  end

  -- ---- what no fixture shows

  local soi, sof = "\255\216", "\255\192" .. be(17, 2) .. "\8" .. be(23, 2) .. be(37, 2)
  local long = "\255\226" .. be(65535, 2) .. rep("\255\192", 32766) .. "\0"
  local bmp12 = "BM" .. le(99, 4) .. le(0, 4) .. le(26, 4) .. le(12, 4) .. le(37, 2) .. le(23, 2) .. le(1, 2)
    .. le(24, 2)

  local function bmp40(width, height)
    return "BM" .. le(99, 4) .. le(0, 4) .. le(54, 4) .. le(40, 4) .. width .. height .. le(1, 2) .. le(24, 2)
      .. le(0, 4)
  end

  -- An AVIF whose one item has `properties`, all of them by their numbers in `listed`.
  local function avif(properties, listed)
    local ipma = box("ipma", be(0, 4) .. be(1, 4) .. be(1, 2) .. char(#listed) .. listed)
    local iprp = box("iprp", box("ipco", properties) .. ipma)
    return ftyp("avif", "avif") .. box("meta", be(0, 4) .. box("pitm", be(0, 4) .. be(1, 2)) .. iprp)
  end

  local function ispe(width, height)
    return box("ispe", be(0, 4) .. be(width, 4) .. be(height, 4))
  end

  local clap = box("clap", be(37, 4) .. be(1, 4) .. be(23, 4) .. be(1, 4) .. rep("\0", 16))

  local function tiff(kind, again)
    local function entry(tag, value)
      return le(tag, 2) .. le(kind, 2) .. le(1, 4) .. le(value, 4)
    end
    local entries = entry(256, 37) .. entry(257, 23)
    if again then entries = entries .. entry(256, again) .. entry(257, again) end
    return "II*\0" .. le(8, 4) .. le(#entries / 12, 2) .. entries
  end

  local function ebml(doctype)
    local element = "\66\130" .. char(128 + #doctype) .. doctype
    return "\26\69\223\163" .. char(128 + #element) .. element
  end

  local mp3 = "\255\251\144\0" .. rep("\0", 413) -- MPEG 1, layer III, 128 kbit/s at 44100 Hz: frames of 417 bytes

  local function ogg(flags, data)
    return "OggS\0" .. char(flags) .. rep("\0", 20) .. "\1" .. char(#data) .. data
  end

  local made = {
    { "a JPEG's size behind two full segments", soi .. long .. long .. sof, "image/jpeg", 37, 23 },
    { "a JPEG with fill bytes and a restart marker", soi .. "\255\255\255\208\255\255" .. sof, "image/jpeg", 37, 23 },
    { "a JPEG's tables are not its frame", soi .. "\255\196" .. be(4, 2) .. "\1\2" .. sof, "image/jpeg", 37, 23 },
    { "a BMP of OS/2", bmp12, "image/bmp", 37, 23 },
    { "a BMP with rows from the top", bmp40(le(37, 4), "\233\255\255\255"), "image/bmp", 37, 23 },
    { "a TIFF with SHORT fields", tiff(3), "image/tiff", 37, 23 },
    { "a TIFF with LONG fields", tiff(4), "image/tiff", 37, 23 },
    { "a TIFF with fields twice: the first count", tiff(3, 99), "image/tiff", 37, 23 },
    { "a BigTIFF", "II+\0\8\0\0\0" .. le(16, 8), "image/tiff" },
    { "the primary item's size, not the largest", avif(ispe(64, 64) .. ispe(37, 23), "\2"), "image/avif", 37, 23 },
    { "a clean aperture cuts the padding off", avif(ispe(64, 64) .. clap, "\1\130"), "image/avif", 37, 23 },
    { "a HEIF of another brand", ftyp("mif1", "mif1", "heic"), "image/heic" },
    { "an AVIF by its compatible brand", ftyp("mif1", "mif1", "avif"), "image/avif" },
    { "an AVIF that is also a HEIF", ftyp("avif", "mif1", "miaf"), "image/avif" },
    { "an MP4 for streaming", ftyp("iso6", "dash"), "video/mp4" },
    { "an MP4 by its compatible brand", ftyp("XAVC", "XAVC", "mp42"), "video/mp4" },
    { "a video that may hold only sound", ftyp("M4V ", "M4A ", "mp42"), "video/mp4" },
    { "an audio book", ftyp("M4B ", "M4A ", "mp42"), "audio/mp4" },
    { "a raw picture that claims to be an MP4", ftyp("crx ", "crx ", "isom"), "image/x-canon-cr3" },
    { "an unknown brand", ftyp("what", "what") },
    { "WebM with a padded DocType", ebml "webm\0\0", "video/webm" },
    { "another EBML document", ebml "webmx" },
    { "a long WAV", "RF64\255\255\255\255WAVEds64", "audio/wav" },
    { "another RIFF", "RIFF\16\0\0\0ACONanih" },
    { "MPEG frames", mp3 .. mp3, "audio/mpeg" },
    { "one frame and other bytes", mp3 .. rep("\0", 417) },
    { "a tag before FLAC", "ID3\4\0\0\0\0\0\4tag.fLaC\0\0\0\34", "audio/flac" },
    { "a tag before AAC", "ID3\4\0\0\0\0\0\4tag.\255\241\80\128", "audio/aac" },
    { "a tag longer than the file", "ID3\3\0\0\127\127\127\127", "audio/mpeg" },
    { "Ogg with sound first, then Theora", ogg(2, "OpusHead") .. ogg(2, "\128theora") .. ogg(0, "x"), "video/ogg" },
    { "Ogg whose streams have not all been seen", ogg(2, "OpusHead") },
    { "Ogg with a stream nobody knows", ogg(2, "Mystery.") .. ogg(0, "x") },
  }

  for _, row in ipairs(made) do
    it(row[1], function() check(row[2], row[3], row[4], row[5]) end)
  end

  -- ---- lies: no crash, no size made up

  local png = "\137PNG\r\n\26\n"
  local huge = "\255\255\255\255"
  local bomb = rep(box("free", ""), 30000)

  local lies = {
    { "a JPEG segment of length 0", soi .. "\255\224\0\0" .. sof, "image/jpeg" },
    { "a JPEG segment of length 1", soi .. "\255\224\0\1" .. sof, "image/jpeg" },
    { "a JPEG segment beyond the end", soi .. "\255\224" .. huge .. sof, "image/jpeg" },
    { "a JPEG whose height comes later", soi .. "\255\192\0\17\8\0\0\0\37", "image/jpeg" },
    { "a JPEG frame header cut off", soi .. sof:sub(1, -2), "image/jpeg" },
    { "a JPEG of markers only", rep("\255\216", 100000), "image/jpeg" },
    { "a PNG header cut off", png .. be(13, 4) .. "IHDR" .. be(37, 4) .. "\0\0\0", "image/png" },
    { "a PNG with another chunk first", png .. be(4, 4) .. "CgBI" .. be(37, 4) .. be(23, 4), "image/png" },
    { "a WebP with the wrong start code", "RIFF\40\0\0\0WEBPVP8 \10\0\0\0\0\0\0\1\2\3\37\0\23\0", "image/webp" },
    { "a BMP with 23 bits for a pixel", bmp40(le(37, 4), le(23, 4)):sub(1, 26) .. "\1\0\23\0\0\0\0\0", nil },
    { "a BMP with a negative width", bmp40(huge, le(23, 4)), "image/bmp" },
    { "a TIFF directory beyond the end", "II*\0" .. huge, "image/tiff" },
    { "a TIFF directory over its own header", "MM\0*" .. be(0, 4), "image/tiff" },
    { "a TIFF directory of which the second field is cut off", tiff(3):sub(1, -2), "image/tiff" },
    { "a TIFF directory with too many fields", "II*\0" .. le(8, 4) .. "\255\255" .. rep("\0", 24), "image/tiff" },
    { "an ftyp of size 0", be(0, 4) .. "ftypavif" .. be(0, 4) .. "avif", nil },
    { "an ftyp of size 1", be(1, 4) .. "ftyp" .. be(20, 8) .. "avif", nil },
    { "an ftyp beyond the end", huge .. "ftypavif" .. be(0, 4) .. "avif", nil },
    { "a box of size 0", ftyp("avif", "avif") .. box("meta", be(0, 4) .. box("iprp", "", 0), 0), "image/avif" },
    { "a box of size 7", ftyp("avif", "avif") .. box("free", "", 7) .. box("meta", ""), "image/avif" },
    { "a box of 64 bits", ftyp("avif", "avif") .. box("free", rep("\255", 8), 1) .. box("meta", ""), "image/avif" },
    { "boxes without end", avif(bomb, rep("\127", 255)), "image/avif" },
    { "sizes that nobody has", avif(ispe(37, 23), ""), "image/avif" },
    { "a property that is not there", avif(ispe(37, 23), "\2"), "image/avif" },
    { "an EBML header of unknown length", "\26\69\223\163\255", nil },
    { "an EBML header longer than any file", "\26\69\223\163\1" .. rep("\255", 7) .. "\66\130\132web", nil },
    { "an EBML number of 9 bytes", "\26\69\223\163\0" .. rep("\255", 8), nil },
    { "an EBML element beyond its header", "\26\69\223\163\132\66\130\132webm", nil },
    { "an Ogg page beyond the end", "OggS\0\2" .. rep("\0", 20) .. rep("\255", 200), nil },
  }

  for _, row in ipairs(lies) do
    it(row[1], function() check(row[2], row[3], nil, nil) end)
  end

  -- ---- what comes late may change what came before: no size is told until all that decides it is there

  for _, row in ipairs {
    { "an AVIF with a clean aperture", avif(ispe(64, 64) .. clap, "\1\130"), 37, 23 },
    { "an AVIF whose second size counts", avif(ispe(64, 64) .. ispe(37, 23), "\1\2"), 37, 23 },
    { "a TIFF with fields twice", tiff(4, 99), 37, 23 },
  } do
    it(row[1] .. ", cut short, has its own size or none", function()
      for length = 1, #row[2] do
        local info = sniff(row[2]:sub(1, length))
        assert(info.width == nil or info.width == row[3] and info.height == row[4], "cut to " .. length)
      end
    end)
  end

  -- ---- what is none of the known types

  local unknown = {
    "a plain text", "BM", "BMW builds cars, and this is a text about them, of some length.", "ID3", "RIFF",
    "RIFF alone",
    "ID3 tags stand at the beginning of MP3 files", "RIFFs are short phrases in music, WAVE is not", "the ftyp box",
    "%PDF-lines begin a document", "fLaC is a codec", "OggS begins a page", "II*", "MM", "GIF", "\137PN", "\255\216",
    "{\"type\": \"image/png\"}", "<!DOCTYPE html><html></html>", "<?xml version=\"1.0\"?><feed/>",
    "\255\254T\0e\0x\0t\0 \0i\0n\0 \0U\0T\0F\0-\0001\0006\0", "\239\187\191text with a byte order mark", "\0",
    rep("\0", 5000), rep("\255", 5000), rep("\255\251", 5000), rep("\255\254", 5000), "PK", "\127EL",
      "P5 is a paper size", "P6", "\10text", "the free software",
    "the skip of a ship", "Go to the GG and GGG",
  }

  it("other bytes are unknown", function()
    for _, bytes in ipairs(unknown) do check(bytes, nil, nil, nil, ("%q"):format(bytes:sub(1, 40))) end
  end)

  it("random bytes are unknown, also behind a frame's sync", function()
    local state = 1
    local function random()
      state = (state * 16807) % 2147483647
      return char(math.floor(state / 1024) % 256)
    end
    for _ = 1, 300 do
      local out = {}
      for i = 1, 2000 do out[i] = random() end
      local bytes = table.concat(out)
      check(bytes, nil, nil, nil)
      check("\255\251" .. bytes, nil, nil, nil)
    end
  end)
end)
