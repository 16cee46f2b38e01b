-- Kinds of files as people have them, each built here: what it is, its size as it is shown, and what shows that its
-- end is missing. From bytes and from a file alike, also where what tells lies far behind the beginning.
local build = require "spec.support.media"
local core = require "lmm.core"
local shell = require "spec.support.shell"

local be, le, box, char, rep = build.be, build.le, build.box, string.char, string.rep
local HEAD = 256 * 1024 -- bytes of a file that are read at once

local path = os.tmpname()

teardown(function() os.remove(path) end)

--- What the bytes are, which must not depend on whether they are a file.
local function sniff(bytes)
  local info = assert(core.media({ bytes = bytes })):info()
  local of_file = assert(core.media(shell.write(path, bytes))):info()
  of_file.mtime = nil
  assert.same(info, of_file)
  return info
end

local function check_rows(rows)
  for _, row in ipairs(rows) do
    it(row[1], function()
      local info = sniff(row[2])
      assert.same({ row[3], row[4], row[5], row[6] }, { info.mime, info.width, info.height, info.orientation })
    end)
  end
end

-- ---- sound and films

local function movie(...)
  local tracks = {}
  for i, kind in ipairs { ... } do tracks[i] = build.track(kind) end
  return box("moov", box("mvhd", rep("\0", 100)) .. table.concat(tracks))
end

local function mp4(brand, ...) return build.ftyp(brand, brand) .. box("mdat", rep("x", 50)) .. movie(...) end

local function far(brand, ...)
  return build.ftyp(brand, brand) .. box("mdat", rep("x", HEAD + 999)) .. movie(...)
end

local function quicktime(first, ...) return box(first, rep("x", 20)) .. movie(...) end

local mp3 = "\255\251\144\0" .. rep("\0", 413)
local adts = "\255\241\124\128\3\127\252" .. rep("\0", 20)
local asf_stream = "\145\7\220\183\183\169\207\17\142\230\0\192\12 Se"
local asf_end = "M[\207\17\168\253\0\128_\\D+"

local function asf(kind)
  local stream = asf_stream .. le(24 + 16, 8) .. kind .. asf_end
  return "0&\178u\142f\207\17\166\217\0\170\0b\206l" .. le(30 + #stream, 8) .. le(1, 4) .. "\1\2" .. stream
end

describe("sound alone and films", function()
  check_rows {
    { "sound in an MP4", mp4("mp42", "soun"), "audio/mp4" },
    { "sound in an MP4 of another brand", mp4("isom", "soun"), "audio/mp4" },
    { "sound in an MP4 of an unknown brand", mp4("what", "soun"), "audio/mp4" },
    { "a film of an unknown brand", mp4("what", "vide", "soun"), "video/mp4" },
    { "an MP4 with pictures and sound", mp4("mp42", "soun", "vide"), "video/mp4" },
    { "the brand M4A with a NUL", mp4("M4A\0", "soun"), "audio/mp4" },
    { "an audio book with pictures", mp4("M4B ", "soun", "vide"), "audio/mp4" },
    { "sound whose index lies far behind", far("isom", "soun"), "audio/mp4" },
    { "a film whose index lies far behind", far("isom", "vide"), "video/mp4" },
    { "3GP", mp4("3gp5", "vide", "soun"), "video/3gpp" },
    { "3GP with sound alone", mp4("3gp4", "soun"), "audio/3gpp" },
    { "3G2", mp4("3g2a", "vide"), "video/3gpp2" },
    { "QuickTime with sound alone", mp4("qt  ", "soun"), "audio/quicktime" },
    { "QuickTime without ftyp, moov first", movie "vide", "video/quicktime" },
    { "QuickTime without ftyp, mdat first", quicktime("mdat", "vide"), "video/quicktime" },
    { "QuickTime without ftyp, wide first", quicktime("wide", "vide", "soun"), "video/quicktime" },
    { "QuickTime without ftyp, free first", quicktime("free", "vide"), "video/quicktime" },
    { "QuickTime without ftyp, skip first", quicktime("skip", "vide"), "video/quicktime" },
    { "QuickTime whose index lies far behind", box("mdat", rep("x", HEAD)) .. movie "vide", "video/quicktime" },
    { "sound in WebM", build.ebml("webm", 2), "audio/webm" },
    { "sound in WebM, as a browser records it", build.ebml("webm", 2, true), "audio/webm" },
    { "pictures in WebM", build.ebml("webm", 1), "video/webm" },
    { "sound in Matroska", build.ebml("matroska", 2), "audio/x-matroska" },
    { "FLAC with one block", "fLaC\128\0\0\34" .. rep("\0", 34), "audio/flac" },
    { "MP3 behind zeros", rep("\0", 700) .. mp3 .. mp3, "audio/mpeg" },
    { "AAC", adts .. adts, "audio/aac" },
    { "AAC behind zeros", rep("\0", 9) .. adts .. adts, "audio/aac" },
    { "AMR", "#!AMR\n\4R", "audio/amr" },
    { "AMR for wide bands", "#!AMR-WB\n\4R", "audio/amr-wb" },
    { "WavPack", "wvpk" .. le(40, 4), "audio/x-wavpack" },
    { "AIFF", "FORM" .. be(20, 4) .. "AIFFCOMM", "audio/aiff" },
    { "MPEG-TS", rep("G" .. rep("\255", 187), 4), "video/mp2t" },
    { "MPEG-TS as discs have it", rep("\0\0\0\1G" .. rep("\255", 187), 4), "video/mp2t" },
    { "MPEG-PS", "\0\0\1\186\68\0\4\0", "video/mpeg" },
    { "FLV", "FLV\1\5\0\0\0\9", "video/x-flv" },
    { "FLV with sound alone", "FLV\1\4\0\0\0\9", "audio/x-flv" },
    { "WMV", asf "\192\239\25\188", "video/x-ms-wmv" },
    { "WMA", asf "@\158i\248", "audio/x-ms-wma" },
  }
end)

-- ---- pictures

local bilevel = "P4\n# by hand\n37 23\n" .. rep("\0", 115)

local function tga(kind, depth)
  return "\0" .. char(kind == 1 and 1 or 0) .. char(kind) .. (kind == 1 and "\0\0\2\0\24" or "\0\0\0\0\0") .. "\0\0\0\0"
    .. le(37, 2) .. le(23, 2) .. char(depth) .. "\0" .. rep("\1", 37 * 23 * 4 + 6)
end

local pcx = "\10\5\1\8" .. le(1, 2) .. le(2, 2) .. le(37, 2) .. le(24, 2) .. rep("\0", 53) .. "\3" .. rep("\0", 62)
local psd = "8BPS\0\1" .. rep("\0", 6) .. be(3, 2) .. be(23, 4) .. be(37, 4) .. be(8, 2) .. be(3, 2)
local codestream = "\255\79\255\81" .. be(41, 2) .. be(0, 2) .. be(40, 4) .. be(25, 4) .. be(3, 4) .. be(2, 4)

local function card(text) return text .. rep(" ", 80 - #text) end

local fits = card "SIMPLE  =                    T" .. card "NAXIS   =                    2"
  .. card "NAXIS1  =                   37" .. card "NAXIS2  =                   23" .. card "END"

local function icon(kind, ...)
  local out, entries = "\0\0" .. char(kind) .. "\0" .. le(select("#", ...), 2), { ... }
  for _, entry in ipairs(entries) do
    out = out .. char(entry[1], entry[2], 0, 0) .. le(1, 2) .. le(32, 2) .. le(40, 4) .. le(6 + 16 * #entries, 4)
  end
  return out .. rep("\0", 40)
end

local function bmp(planes)
  return "BM" .. le(99, 4) .. le(0, 4) .. le(54, 4) .. le(40, 4) .. le(37, 4) .. le(23, 4) .. le(planes, 2)
    .. "\24\0\0\0\0\0"
end

local function gif(screen_width, screen_height, extension)
  return "GIF89a" .. le(screen_width, 2) .. le(screen_height, 2) .. "\240\0\0" .. rep("\0", 6) .. (extension or "")
    .. "," .. le(2, 2) .. le(3, 2) .. le(35, 2) .. le(20, 2) .. "\0\2\1\0\0;"
end

local function orient(kind, ...) return { kind, box(kind == "irot" and "irot" or "imir", char(...)) } end

local function heic(...)
  local properties, listed = build.ispe(37, 23), "\1"
  for i, property in ipairs { ... } do
    properties, listed = properties .. property[2], listed .. char(128 + i + 1)
  end
  return build.heif("heic", properties, listed)
end

local hidden = box("mdat", rep("x", HEAD + 12345))
-- 2, 9 and 2 bits, orientation, large, sizes
local mini = be(0x0c98 * 2 ^ 16 + 0x8024, 4) .. be(0x2c, 2) .. rep("\0", 9)
local jpeg = build.jpeg

describe("pictures and their sizes", function()
  check_rows {
    { "a JPEG on its side", jpeg { orientation = 6 }, "image/jpeg", 23, 37, 6 },
    { "a JPEG upside down", jpeg { orientation = 3 }, "image/jpeg", 37, 23, 3 },
    { "a JPEG that is told to be upright", jpeg { orientation = 1 }, "image/jpeg", 37, 23, 1 },
    { "a JPEG with an orientation that there is not", jpeg { orientation = 9 }, "image/jpeg", 37, 23 },
    { "a JPEG whose frame lies far behind", jpeg { before = 12 }, "image/jpeg", 37, 23 },
    { "the same on its side", jpeg { before = 12, orientation = 8 }, "image/jpeg", 23, 37, 8 },
    { "JPEG-LS", jpeg { frame = "\255\247" }, "image/jls", 37, 23 },
    { "a PNG on its side", build.png { orientation = 5 }, "image/png", 23, 37, 5 },
    { "a PNG whose EXIF data comes last", build.png { orientation = 5, last = true }, "image/png", 23, 37, 5 },
    { "a WebP on its side", build.webp { orientation = 6 }, "image/webp", 23, 37, 6 },
    { "a TIFF on its side", build.tiff { orientation = 6 }, "image/tiff", 23, 37, 6 },
    { "a TIFF whose directory comes last", build.tiff { behind = HEAD + 777 }, "image/tiff", 37, 23 },
    { "a TIFF of the other order", build.tiff { big_endian = true }, "image/tiff", 37, 23 },
    { "a BigTIFF", build.bigtiff {}, "image/tiff", 37, 23 },
    { "a BigTIFF of the other order", build.bigtiff { big_endian = true }, "image/tiff", 37, 23 },
    { "a BigTIFF whose directory comes last", build.bigtiff { behind = HEAD + 777 }, "image/tiff", 37, 23 },
    { "a HEIC", heic(), "image/heic", 37, 23 },
    { "a HEIC turned to the left", heic(orient("irot", 1)), "image/heic", 23, 37, 8 },
    { "a HEIC turned to the right", heic(orient("irot", 3)), "image/heic", 23, 37, 6 },
    { "a HEIC upside down", heic(orient("irot", 2)), "image/heic", 37, 23, 3 },
    { "a HEIC in a mirror", heic(orient("imir", 1)), "image/heic", 37, 23, 2 },
    { "a HEIC turned, and then in a mirror", heic(orient("irot", 1), orient("imir", 0)), "image/heic", 23, 37, 5 },
    { "a HEIC whose properties come last", build.heif("heic", build.ispe(37, 23), "\1", hidden), "image/heic", 37, 23 },
    { "an AVIF whose properties reach to the end", build.heif("avif", build.ispe(37, 23), "\1", "", true), "image/avif",
      37, 23 },
    { "an AVIF of tracks", build.ftyp("avis", "avis") .. box("moov", build.track("pict", 37, 23)), "image/avif",
      37, 23 },
    { "a minimized AVIF", box("ftyp", "mif3avif") .. box("mini", mini), "image/avif", 37, 23 },
    { "a GIF", gif(40, 30), "image/gif", 40, 30 },
    { "a GIF whose frame is larger than its screen", gif(10, 10), "image/gif", 37, 23 },
    { "a GIF whose frame is wider than its screen", gif(10, 99, "!\249\4\0\0\0\0\0!\254\3abc\0"), "image/gif", 37, 99 },
    { "an icon", icon(1, { 16, 16 }, { 37, 23 }, { 8, 8 }), "image/x-icon", 37, 23 },
    { "a large icon", icon(1, { 16, 16 }, { 0, 0 }), "image/x-icon", 256, 256 },
    { "a cursor", icon(2, { 37, 23 }), "image/x-win-bitmap", 37, 23 },
    { "a TGA", tga(2, 24), "image/x-tga", 37, 23 },
    { "a grey TGA", tga(3, 8), "image/x-tga", 37, 23 },
    { "a TGA with a map", tga(1, 8), "image/x-tga", 37, 23 },
    { "a TGA in runs", tga(10, 32), "image/x-tga", 37, 23 },
    { "a bitmap of Netpbm", bilevel, "image/x-portable-bitmap", 37, 23 },
    { "a graymap", "P5\n37 23\n255\n" .. rep("\200", 851), "image/x-portable-graymap", 37, 23 },
    { "a pixmap in text", "P3\n37\t23\n255\n1 2 3", "image/x-portable-pixmap", 37, 23 },
    { "a PCX", pcx, "image/x-pcx", 37, 23 },
    { "a JPEG 2000", "\0\0\0\12jP  \r\n\135\n" .. build.ftyp("jp2 ", "jp2 ") .. box("jp2h", box("ihdr", be(23, 4)
      .. be(37, 4) .. "\0\3\7\7\0\0")) .. box("jp2c", "x", 0), "image/jp2", 37, 23 },
    { "a JPEG 2000 without boxes", codestream, "image/x-jp2-codestream", 37, 23 },
    { "a PSD", psd, "image/vnd.adobe.photoshop", 37, 23 },
    { "a QOI", "qoif" .. be(37, 4) .. be(23, 4) .. "\3\0", "image/qoi", 37, 23 },
    { "a FITS", fits, "image/fits", 37, 23 },
    { "an ICNS", "icns" .. be(16, 4) .. "ic07" .. be(8, 4), "image/icns" },
    { "a BMP without planes", bmp(0), "image/bmp", 37, 23 },
    { "a BMP with any number of planes", bmp(30000), "image/bmp", 37, 23 },
  }
end)

describe("what is refused by its name", function()
  check_rows {
    { "a DNG", build.raw { dng = true }, "image/x-adobe-dng" },
    { "a DNG whose directory comes last", build.raw { dng = true, behind = HEAD + 5 }, "image/x-adobe-dng" },
    { "a NEF, whose picture is in a further directory", build.raw { make = "NIKON CORPORATION" }, "image/x-nikon-nef" },
    { "an ARW", build.raw { make = "SONY" }, "image/x-sony-arw" },
    { "a PEF", build.raw { make = "PENTAX Corporation" }, "image/x-pentax-pef" },
    { "another maker's", build.raw { make = "Someone" }, "image/x-raw" },
    { "a CR2", "II*\0\16\0\0\0CR\2\0" .. rep("\0", 20), "image/x-canon-cr2" },
    { "a RAF", "FUJIFILMCCD-RAW 0201", "image/x-fuji-raf" },
    { "an ORF", "IIRO\8\0\0\0", "image/x-olympus-orf" },
    { "an SVG", "<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml" },
    { "an SVG behind its prologue", "<?xml version='1.0'?>\n<!-- by hand -->\n<svg/>", "image/svg+xml" },
    { "a JPEG XL", "\255\10\250\255", "image/jxl" },
    { "a JPEG XL in boxes", "\0\0\0\12JXL \r\n\135\n", "image/jxl" },
    { "an EPS", "%!PS-Adobe-3.0 EPSF-3.0\n", "image/x-eps" },
    { "an old EPS", "%!PS-Adobe-2.0 EPSF-1.2\r", "image/x-eps" },
    { "an EPS with a preview", "\197\208\211\198\0\0", "image/x-eps" },
    { "a PostScript document", "%!PS-Adobe-3.0\n%%Title: EPSF-3.0\n", "application/postscript" },
    { "a PostScript program", "%!PS\n", "application/postscript" },
    { "a ZIP", "PK\3\4\20\0", "application/zip" },
    { "a tar", rep("a", 100) .. rep("\0", 157) .. "ustar\0", "application/x-tar" },
  }
end)

describe("a PDF", function()
  local object = "\n1 0 obj\n<<>>\nendobj\n"
  check_rows {
    { "behind other bytes", "Some junk before\n%PDF-1.1" .. object, "application/pdf" },
    { "at the last place where it may begin", rep("x", 1023) .. "\n%PDF-1.7" .. object, "application/pdf" },
    { "further behind", rep("x", 1025) .. "%PDF-1.7" .. object, nil },
    { "of which a text speaks", "What begins with %PDF-1.4 is a PDF.", nil },
  }
end)

-- ---- the end

local riff = build.riff

describe("what is cut short", function()
  local rows = {
    { "a PNG without its end", build.png {}:sub(1, -13), "it has no IEND, with which a PNG ends" },
    { "a PNG with half of it", build.png {}:sub(1, -4), "it has no IEND, with which a PNG ends" },
    { "a long PNG", build.png { data = HEAD * 2 }:sub(1, -13), "it has no IEND, with which a PNG ends" },
    { "a WAV", riff("WAVE", 100):sub(1, 70), "its RIFF header tells of 112 bytes, and 70 are there" },
    { "a WebP", build.webp {}:sub(1, -20), "its RIFF header tells of %d+ bytes, and %d+ are there" },
    { "an AVI", riff("AVI ", 100, "LIST"):sub(1, 50), "its RIFF header tells of 116 bytes, and 50 are there" },
    { "an MP4", mp4("isom", "vide"):sub(1, 60), "its box 'mdat' has 58 bytes, and 40 are there" },
    { "an MP4 within its index", mp4("isom", "vide"):sub(1, -9), "its box 'moov' has %d+ bytes, and %d+ are there" },
    { "a HEIC", (build.ftyp("heic", "heic") .. hidden):sub(1, HEAD + 99), "its box 'mdat' has %d+ bytes" },
    { "QuickTime without ftyp", box("mdat", "", 999) .. "x", "its box 'mdat' has 999 bytes, and 9 are there" },
  }
  for _, row in ipairs(rows) do
    it(row[1], function() assert.matches("^" .. row[3], sniff(row[2]).cut or "nothing") end)
  end

  local whole = {
    { "a PNG with something behind its end", build.png {} .. "junk" },
    { "a long PNG", build.png { data = HEAD * 2 } },
    { "a WAV that was written into a pipe", "RIFF\255\255\255\255WAVEfmt " .. rep("\0", 40) },
    { "a WAV of another program's pipe", "RIFF" .. le(0x7ffff024, 4) .. "WAVEfmt " .. rep("\0", 40) },
    { "a WAV without a size", "RIFF\0\0\0\0WAVEfmt " .. rep("\0", 40) },
    { "a WAV that counts its own header", "RIFF" .. le(60, 4) .. "WAVE" .. rep("\0", 48) },
    { "a WAV with a byte of padding left out", riff("WAVE", 100):sub(1, -2) },
    { "an MP4 with other things behind it", mp4("isom", "vide") .. rep("\255", 50) },
    { "an MP4 whose last box has no size", build.ftyp("isom") .. movie "vide" .. box("mdat", "xxx", 0) },
  }
  for _, row in ipairs(whole) do
    it("is not " .. row[1], function() assert.equal(nil, sniff(row[2]).cut) end)
  end

  it("a JPEG's end is told to be missing", function()
    for _, opts in ipairs { {}, { scan = 100000 }, { scan = HEAD * 2 } } do
      local bytes = jpeg(opts)
      assert.equal(nil, sniff(bytes).has_no_end)
      assert.equal(nil, sniff(bytes .. rep("\0", 4096)).has_no_end)
      assert.equal(true, sniff(bytes:sub(1, -3)).has_no_end)
      assert.equal(nil, sniff(bytes:sub(1, -3)).cut)
    end
    assert.equal(true, sniff(jpeg { orientation = 1, thumbnail = true }:sub(1, -3)).has_no_end)
  end)
end)

describe("what only much of the head tells", function()
  local rows = {
    { "a text that is none", rep("text ", 9999) .. "\0", nil, nil },
    { "a text behind white space", rep(" ", 50000) .. "text", nil, true },
    { "an SVG that is no text", "<svg>" .. rep(" ", 50000) .. "\0", "image/svg+xml", nil },
    { "an SVG", "<svg>" .. rep(" ", 50000), "image/svg+xml", true },
    { "a PNG of small pieces", build.png {}:sub(1, -13) .. rep(be(0, 4) .. "IDAT" .. be(0, 4), 9999)
      .. build.png {}:sub(-12), "image/png", nil },
  }
  for _, row in ipairs(rows) do
    it(row[1], function()
      local info = sniff(row[2])
      assert.same({ row[3], row[4] }, { info.mime, info.is_text })
      assert.equal(nil, info.cut)
    end)
  end
end)

describe("hostile files", function()
  it("end after a bounded number of reads", function()
    local rows = {
      "II+\0\8\0\0\0" .. le(16, 8) .. rep("\255", 8) .. rep("\0\1\3\0", 400000),
      build.ftyp("avif", "avif") .. rep(box("free", ""), 200000),
      build.ftyp("isom", "isom") .. box("moov", rep(box("trak", ""), 200000)),
      "\255\216" .. rep("x", 2000000), "\255\216" .. rep("\255\225\0\2", 500000),
      "\137PNG\r\n\26\n" .. rep("\0\0\0\0IDAT\0\0\0\0", 200000),
      "GIF89a" .. rep("\0", 7) .. "!\254" .. rep("\1x", 1000000), "GIF89a" .. rep("\0", 7) .. rep("!\254\0", 600000),
      build.ebml_head "webm" .. "\24\83\128\103\1" .. rep("\255", 7) .. rep("\236\128", 800000),
      "RIFF" .. le(2000000, 4) .. "WEBPVP8X" .. le(10, 4) .. "\8" .. rep("\0", 9) .. rep("abcd\0\0\0\0", 250000),
      "0&\178u\142f\207\17\166\217\0\170\0b\206l" .. le(2000000, 8) .. rep("\0", 6) .. rep(rep("x", 16) .. le(24, 8),
        80000),
      rep("\0", 2000000), rep("<!--", 500000), rep("%PDF-1", 300000), "P5\n" .. rep("#\n", 900000),
    }
    for i, bytes in ipairs(rows) do
      local started = os.clock()
      sniff(bytes)
      assert(os.clock() - started < 1, "row " .. i .. " takes long")
    end
  end)
end)
