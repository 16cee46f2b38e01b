-- Pictures as people have them, made into what a server takes: compared pixel by pixel with what the command vips, and
-- libheif's own, make of them. And what cannot be prepared, each with its own sentence.
local build = require "spec.support.media"
local core = require "lmm.core"
local lmm = require "lmm"
local pixels = require "spec.support.pixels"
local prepare = require "lmm.prepare"
local program = require "spec.support.program"
local shell = require "spec.support.shell"

local folder = pixels.folder()
local path = folder.path
folder.photo "photo.png"

--- What is sent of a picture, as a file, and its part.
local function prepared(source, opts)
  local part = lmm.image(source, opts)
  return assert(folder.prepared(part)), part
end

local function failed(source, opts) return folder.message_of(lmm.image(source, opts)) end

--- Near enough for what an encoder that loses something does to a smooth picture.
local function alike(expected, sent, average, most)
  local a, m = folder.difference(expected, sent)
  assert(a <= average and m <= most, ("they differ by %g on the average and %g at most"):format(a, m))
end

describe("a prepared picture", function()
  for _, row in ipairs {
    { "JPEG", "photo.jpg[Q=95]", 2, 16, "image/jpeg" },
    { "WebP", "photo.webp[lossless]", 2, 10, "image/webp" },
    { "TIFF", "photo.tif", 1, 12, "image/jpeg", "image/tiff" },
    { "TIFF in tiles, compressed", "tiled.tif[tile,compression=deflate]", 1, 12, "image/jpeg", "image/tiff" },
    { "GIF", "photo.gif[dither=0]", 6, 40, "image/png", "image/gif" },
    { "JPEG XL", "photo.jxl[lossless]", 1, 12, "image/jpeg", "image/jxl" },
    { "JPEG 2000", "photo.jp2[lossless]", 1, 12, "image/jpeg", "image/jp2" },
  } do
    it("is what vips makes of a " .. row[1], function()
      local source = folder.vips("copy %s %s", "photo.png", row[2])
      local part = lmm.image(source, { orient = true })
      assert.equal(row[6], part.converted)
      local sent, done = prepared(source, { orient = true })
      assert.same({ row[5], 240, 160 }, { done.mime, done.width, done.height })
      alike("photo.png", sent, row[3], row[4])
      sent = prepared(source, { convert = "png" })
      alike(source, sent, 0.5, 8) -- of what is in the file, nothing is lost
    end)
  end

  for _, codec in ipairs { "heic", "avif" } do
    it("is what libheif makes of a " .. codec:upper(), function()
      local source = path("photo." .. codec)
      shell.run(pixels.BARE .. "heif-enc -q 90 %s -o %s %s >/dev/null 2>&1", codec == "avif" and "-A" or "", source,
        path "photo.png")
      local sent, part = prepared(source, { convert = "png" })
      assert.same({ "image/png", "image/" .. codec, 240, 160 }, { part.mime, part.converted, part.width, part.height })
      shell.run(pixels.BARE .. "heif-convert %s %s >/dev/null 2>&1", source, path "heif.png")
      alike("heif.png", sent, 1, 4)
      sent, part = prepared(source, { max_side = 120 })
      assert.same({ "image/jpeg", 120, 80 }, { part.mime, part.width, part.height })
      assert.equal("120", folder.header(sent, "width"))
    end)
  end

  it("of grey in 16 bit is grey, not white", function()
    folder.vips("colourspace %s %s grey16", "photo.png", "grey16.png")
    folder.vips("colourspace %s %s grey16", "photo.png", "grey16.tif")
    folder.vips("colourspace %s %s b-w", "photo.png", "grey8.png")
    for _, name in ipairs { "grey16.png", "grey16.tif" } do
      assert.equal("ushort", folder.header(path(name), "format"))
      local sent = prepared(path(name), { convert = "png" })
      assert.equal("uchar", folder.header(sent, "format"))
      alike("grey8.png", sent, 1, 2)
    end
  end)

  it("of colours in 16 bit has 8", function()
    folder.vips("colourspace %s %s rgb16", "photo.png", "rgb16.png")
    local sent = prepared(path "rgb16.png", { orient = true })
    assert.equal("uchar", folder.header(sent, "format"))
    alike("photo.png", sent, 0.5, 1)
  end)

  for _, row in ipairs {
    { "colours", "srgb", "photo.png" }, { "grey", "b-w", "grey8.png" },
  } do
    it("of " .. row[1] .. " in 32 bit has 8", function()
      folder.vips("colourspace %s %s b-w", "photo.png", "grey8.png")
      folder.vips("cast %s %s uint", row[3], "uint.v")
      folder.vips("copy %s %s --interpretation " .. row[2], "uint.v", "uint.tif")
      assert.equal("uint", folder.header(path "uint.tif", "format"))
      local sent = prepared(path "uint.tif", { convert = "png" })
      assert.equal("uchar", folder.header(sent, "format"))
      alike(row[3], sent, 0, 0)
    end)
  end

  it("of CMYK is sRGB", function()
    folder.vips("icc_export %s %s --output-profile cmyk", "photo.png", "cmyk.jpg[Q=95]")
    assert.equal("cmyk", folder.header(path "cmyk.jpg", "interpretation"))
    folder.vips("colourspace %s %s srgb", "cmyk.jpg", "expected.png")
    assert.equal("image/jpeg", lmm.image(path "cmyk.jpg", { orient = true }).mime)
    local sent = prepared(path "cmyk.jpg", { convert = "png" })
    assert.same({ "srgb", "3" }, { folder.header(sent, "interpretation"), folder.header(sent, "bands") })
    alike("expected.png", sent, 0, 0)
  end)

  it("of colours that a profile defines is sRGB, and the profile is gone", function()
    folder.vips("icc_transform %s %s p3", "photo.png", "p3.png")
    local sent = prepared(path "p3.png", { orient = true })
    assert.is_nil(folder.header(sent, "icc-profile-data"))
    alike("photo.png", sent, 2, 20)
  end)

  --- What turns the upright picture into one that is stored so, by EXIF's number.
  local turns = { {}, { "flip %s %s horizontal" }, { "rot %s %s d180" }, { "flip %s %s vertical" },
    { "rot %s %s d90", "flip %s %s horizontal" }, { "rot %s %s d270" }, { "rot %s %s d90", "flip %s %s vertical" },
    { "rot %s %s d90" } }

  local function stored(number)
    local turned = path "photo.png"
    for i, words in ipairs(turns[number]) do turned = folder.vips(words, turned, "turned" .. i .. ".png") end
    return turned
  end

  for number = 1, 8 do
    it("is upright where EXIF says " .. number, function()
      local turned = stored(number)
      local jpeg = shell.read(folder.vips("copy %s %s", turned, "plain.jpg[Q=95]"))
      local head = build.jpeg { orientation = number }
      local exif = head:sub(3, 4 + head:byte(5) * 256 + head:byte(6)) -- the segment behind the first marker
      local source = shell.write(path "exif.jpg", jpeg:sub(1, 2) .. exif .. jpeg:sub(3))
      local sent, part = prepared(source, { orient = true })
      assert.same({ 240, 160 }, { part.width, part.height })
      alike("photo.png", sent, 3, 30)
      assert.falsy(shell.read(sent):find("Exif", 1, true))
      sent, part = prepared(source, { max_side = 60 })
      assert.same({ 60, 40 }, { part.width, part.height })
      assert.same({ "60", "40" }, { folder.header(sent, "width"), folder.header(sent, "height") })

      sent, part = prepared(source, { orient = false })
      alike(turned, sent, 3, 30)
      assert.same({ folder.header(turned, "width"), folder.header(turned, "height") },
        { tostring(part.width), tostring(part.height) })
    end)
  end

  describe("without what its source says beside the pixels", function()
    local function segment(marker, data) return "\255" .. marker .. build.be(2 + #data, 2) .. data end

    local function entry(tag, kind, count, value)
      return build.le(tag, 2) .. build.le(kind, 2) .. build.le(count, 4) .. value
    end

    --- EXIF that says who made it, that it lies on its side, and where it was taken, behind its directory.
    local EXIF = "Exif\0\0II*\0" .. build.le(8, 4) .. build.le(3, 2) .. entry(271, 2, 4, "ABC\0")
      .. entry(274, 3, 1, build.le(6, 4)) .. entry(34853, 4, 1, build.le(50, 4)) .. build.le(0, 4)
      .. build.le(1, 2) .. entry(1, 2, 2, "N\0\0\0") .. build.le(0, 4)
    local XMP = "http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'>SOMEPLACE</x:xmpmeta>"
    local IPTC = "Photoshop 3.0\0008BIM" .. build.be(1028, 2) .. "\0\0" .. build.be(14, 4) .. "\28\2\90\0\9SOMEPLACE"

    setup(function()
      folder.vips("icc_transform %s %s p3", "photo.png", "p3.jpg[Q=95]")
      local jpeg = shell.read(path "p3.jpg")
      shell.write(path "said.jpg", jpeg:sub(1, 2) .. segment("\225", EXIF) .. segment("\225", XMP)
        .. segment("\237", IPTC) .. jpeg:sub(3))
      for _, name in ipairs { "said.png", "said.webp[lossless]", "said.tif" } do
        folder.vips("copy %s %s", "said.jpg", name)
      end
    end)

    for _, ending in ipairs { "jpg", "png", "webp", "tif" } do
      for _, format in ipairs { "jpeg", "png", "webp" } do
        it(("goes as %s of a %s"):format(format, ending), function()
          local source = path("said." .. ending)
          for _, field in ipairs { "icc-profile-data", "orientation: 6\n" } do
            assert.truthy(folder.says(source, field))
          end
          for _, orient in ipairs { true, false } do
            local sent, part = prepared(source, { convert = format, orient = orient })
            assert.equal(orient and 160 or 240, part.width)
            for _, field in ipairs { "exif-ifd0-Make", "exif-ifd3-", "xmp-data", "iptc-data", "photoshop-data",
              "icc-profile-data", "orientation: 6\n", "exif-ifd0-Orientation: 6" } do
              assert(not folder.says(sent, field), field)
            end
            assert.falsy(shell.read(sent):find("SOMEPLACE", 1, true))
          end
        end)
      end
    end
  end)

  it("has the size that the part has said", function()
    for _, row in ipairs {
      { { max_side = 100 }, 100, 67 }, { { max_side = 1 }, 1, 1 }, { { max_side = 1568 }, 240, 160 },
      { { max_pixels = 6000 }, 95, 63 }, { { max_pixels = 1 }, 1, 1 }, { { max_pixels = 38400 }, 240, 160 },
      { { max_pixels = 38399 }, 239, 159 }, { { max_side = 90, max_pixels = 6000 }, 90, 60 },
    } do
      local part = lmm.image(path "photo.png", row[1])
      assert.same({ row[2], row[3] }, { part.width, part.height })
      assert.is_nil(part.size)
      local sent
      sent, part = prepared(path "photo.png", row[1])
      assert.same({ row[2], row[3] }, { part.width, part.height })
      assert.same({ tostring(row[2]), tostring(row[3]) },
        { folder.header(sent, "width"), folder.header(sent, "height") })
    end
  end)

  it("is shrunk as vipsthumbnail does it", function()
    folder.vips("copy %s %s", "photo.png", "photo.jpg[Q=95]")
    shell.run(pixels.BARE .. "vipsthumbnail -s 60x60 -o %s[Q=95] %s", path "small.jpg", path "photo.jpg")
    alike("small.jpg", prepared(path "photo.jpg", { max_side = 60, quality = 95 }), 1, 12)
  end)

  it("has all its frames only where that is asked for", function()
    folder.vips("invert %s %s", "photo.png", "second.png")
    folder.vips("join %s %s %s vertical", "photo.png", "second.png", "both.v")
    for _, ending in ipairs { "gif", "webp" } do
      local source = folder.vips("copy %s %s", "both.v", "animated." .. ending .. "[page_height=160]")
      assert.equal("2", folder.header(source, "n-pages"))
      local sent, part = prepared(source, { convert = "png" })
      assert.same({ 240, 160 }, { part.width, part.height })
      alike("photo.png", sent, 6, 60)
      sent, part = prepared(source, { animated = true, max_side = 120 })
      assert.same({ "image/webp", 120, 80 }, { part.mime, part.width, part.height })
      assert.same({ "2", "120", "80" }, { folder.header(sent, "n-pages"), folder.header(sent, "width"),
        folder.header(sent, "height") })
    end
  end)

  it("is white where it was transparent and becomes JPEG", function()
    folder.vips("black %s 240 160 --bands 4", "clear.png")
    folder.vips("black %s 240 160 --bands 3", "black.v")
    folder.vips("invert %s %s", "black.v", "white.png")
    alike("white.png", prepared(path "clear.png", { convert = "jpeg" }), 0, 0)
    local sent = prepared(path "clear.png", { orient = true })
    assert.equal("4", folder.header(sent, "bands"))
  end)

  it("comes from bytes and from a data: URL as from a file", function()
    local bytes = shell.read(path "photo.png")
    local url = "data:image/png;base64," .. core.base64.encode(bytes)
    local expected = shell.read((prepared(path "photo.png", { max_side = 50 })))
    assert(expected == shell.read((prepared({ bytes = bytes }, { max_side = 50 }))), "other bytes")
    assert(expected == shell.read((prepared(url, { max_side = 50 }))), "other bytes")
  end)

  it("is smaller with less quality", function()
    local good = prepared(path "photo.png", { convert = "jpeg", quality = 95 })
    local size = #shell.read(good)
    assert(#shell.read((prepared(path "photo.png", { convert = "jpeg", quality = 20 }))) < size)
  end)
end)

describe("what cannot be prepared", function()
  it("has too many pixels, before they are decoded", function()
    folder.vips("black %s 16 16 --bands 3", "small.png")
    local small = shell.read(path "small.png")
    local header = "IHDR" .. build.be(60000, 4) .. build.be(60000, 4) .. small:sub(25, 29)
    local bomb = small:sub(1, 12) .. header .. build.be(pixels.crc32(header), 4) .. small:sub(34)
    assert.equal("the data in bytes has 60,000 x 60,000 pixels, and no more than 100 million are decoded: shrink it "
      .. "first", failed({ bytes = bomb }, { max_side = 100 }))
    -- Large GIFs are written slowly: one says in its two headers how large it is, the other has its frame five times.
    local gif, size = shell.read(folder.vips("copy %s %s", "small.png", "small.gif")), build.le(10001, 2)
      .. build.le(10000, 2)
    local at = gif:find(",\0\0\0\0" .. build.le(16, 2), 1, true)
    local large = shell.write(path "large.gif", gif:sub(1, 6) .. size .. gif:sub(11, at + 4) .. size .. gif:sub(at + 9))
    assert.matches("^'.*/large%.gif' has 10,001 x 10,000 pixels, and no more", failed(large, { max_side = 10 }))
    folder.vips("black %s 5000 5000", "frame.v")
    local frame = shell.read(folder.vips("copy %s %s", "frame.v", "frame.gif")):sub(1, -2)
    local picture = frame:sub((frame:find("!\249\4", 1, true)))
    local frames = shell.write(path "frames.gif", frame .. picture:rep(4) .. ";")
    assert.matches("frames%.gif' has 5,000 x 5,000 pixels in each of its 5 frames, and no more than 100 million are",
      failed(frames, { animated = true }))
    assert.truthy(prepared(frames, { max_side = 10 }))
  end)

  it("is cut short, unless that is allowed", function()
    folder.vips("copy %s %s", "photo.png", "photo.jpg")
    for _, name in ipairs { "photo.jpg", "photo.png" } do
      local bytes = shell.read(path(name))
      local cut = shell.write(path("cut." .. name:match "%w+$"), bytes:sub(1, math.floor(#bytes / 2)))
      local message = failed(cut, { max_side = 100, mime = "image/" .. (name == "photo.jpg" and "jpeg" or "png") })
      assert.matches("^'.*/cut%.%w+' is damaged or cut short, and cannot be prepared: check = false takes what "
        .. "there is of it %(libvips says: "
        .. (name == "photo.jpg" and "Premature end of input file" or "libpng read error") .. "%)$", message)
    end
    assert.truthy(prepared(path "cut.jpg", { max_side = 100, check = false }))
    shell.run(pixels.BARE .. "heif-enc -q 90 -o %s %s >/dev/null 2>&1", path "photo.heic", path "photo.png")
    local heic = shell.read(path "photo.heic")
    assert.matches("%(libvips says: .*[Uu]nexpected end of file", failed({ bytes = heic:sub(1, #heic - 100) },
      { max_side = 100, mime = "image/heic" }))
  end)

  it("has no decoder", function()
    local heic = shell.read "spec/media/picture.heic":gsub("hvc1", "vvc1")
    assert.equal("the data in bytes is image/heic, and there is no decoder for it: install libheif1 and libde265-0, "
      .. "from Debian 13 on libheif-plugin-libde265", failed({ bytes = heic }, { max_side = 10, mime = "image/heic" }))
    shell.run(pixels.BARE .. "heif-enc -q 90 -o %s %s >/dev/null 2>&1", path "photo.heic", path "photo.png")
    heic = shell.read(path "photo.heic"):gsub("hvc1", "vvc1"):gsub("hvcC", "vvcC") -- whose size is known
    assert.matches("is image/heic, and there is no decoder for it", failed({ bytes = heic }, { max_side = 10 }))
    assert.equal("'spec/media/picture.bmp' is image/bmp, which libvips reads by ImageMagick only, and that is not "
      .. "used on pictures that may come from anywhere: convert it to PNG first",
      failed("spec/media/picture.bmp", { max_side = 10 }))
  end)

  it("is nothing that is known, whatever it is called", function()
    local why = " is said to be image/png, but its bytes are of no known type, and cannot be prepared"
    assert.equal("the data in bytes" .. why, failed({ bytes = "nothing that is known" }, { max_side = 10,
      mime = "image/png" }))
    assert.equal("the data: URL" .. why, failed("data:image/png;base64,bm90aGluZyB0aGF0IGlzIGtub3du",
      { max_side = 10 }))
  end)

  for name, why in pairs {
    ["photo.v"] = "is said to be image/png, but its bytes are of no known type, and cannot be prepared",
    ["photo.ppm"] = "is image/x%-portable%-pixmap, which libvips reads by ImageMagick only",
    ["photo.hdr"] = "is a Radiance picture %(image/vnd.radiance%), and there is no decoder for it: convert it to PNG",
  } do
    it("is what vips does not trust, whatever it is called, as " .. name, function()
      folder.vips("copy %s %s", "photo.png", "photo.v")
      local source = folder.vips("copy %s %s", "photo.png", name)
      assert.matches(why, failed(source, { max_side = 10, mime = "image/png" }))
    end)
  end

  it("has changed since the part was made", function()
    local source = shell.write(path "changing.png", shell.read(path "photo.png"))
    local part = lmm.image(source, { max_side = 10 })
    shell.write(source, shell.read(path "photo.png") .. "x")
    assert.equal("'" .. source .. "' has changed since the part was made: make the part again",
      folder.message_of(part))
    part = lmm.image(source, { max_side = 10 })
    os.remove(source)
    assert.equal("cannot read '" .. source .. "': No such file or directory", folder.message_of(part))
  end)

  it("is for the server to fetch, or to know already", function()
    for _, source in ipairs { "https://example.org/a.png", "file:///a.png" } do
      assert.raises("lmm.image: max_side is not for what the server is to fetch", lmm.image, source, { max_side = 1 })
    end
    assert.raises("lmm.image: 'max_side' says something of a source, and there is none", lmm.image, nil,
      { uuid = "u", max_side = 1 })
  end)

  for _, row in ipairs {
    { "max_side", 0, "a whole number from 1 to 100000, not 0" },
    { "max_side", 1.5, "a whole number from 1 to 100000, not 1.5" },
    { "max_side", "9", "a whole number from 1 to 100000, not \"9\"" }, { "max_pixels", -1, "a whole number from 1 to" },
    { "quality", 101, "a whole number from 1 to 100, not 101" },
    { "convert", "gif", '"jpeg", "png" or "webp", not "gif"' },
    { "convert", true, '"jpeg", "png" or "webp", not true' }, { "orient", 1, "true or false, not 1" },
    { "animated", "yes", 'true or false, not "yes"' },
  } do
    it(("is asked for by %s = %s"):format(row[1], tostring(row[2])), function()
      assert.raises("lmm.image: " .. row[1] .. " is " .. row[3], lmm.image, path "photo.png", { [row[1]] = row[2] })
    end)
  end

  it("is animated and no WebP", function()
    assert.raises("animated pictures become WebP, not png: leave convert out", lmm.image, path "photo.png",
      { animated = true, convert = "png" })
  end)
end)

describe("pictures that are prepared", function()
  it("leave no memory behind that held their files", function()
    local large = path "large.jpg"
    shell.run("cp examples/picture.jpg %s && head -c 16777216 /dev/zero >>%s", large, large)
    local ended = program.run([[
      local core, lmm, prepare = require "lmm.core", require "lmm", require "lmm.prepare"
      local function memory()
        return tonumber(io.open("/proc/self/status"):read("*a"):match "VmRSS:%s*(%d+)") / 1024
      end
      local before
      for _ = 1, 3 do
        local part = lmm.image(..., { max_side = 64 })
        assert(prepare.all({ part }, function() core.sleep(0.002) end))
        before = before or memory()
      end
      print(memory() - before)
    ]], { large })
    assert.same({ 0, "" }, { ended.status, ended.err })
    -- MiB: 16 where the C library keeps them for the next file.
    if os.getenv "LMM_TEST_WRAP" == nil then assert.truthy(tonumber(ended.out) < 8, ended.out) end
  end)
end)

describe("a type that the server does not decode", function()
  local dialect = { title = "Some server", decodes = { ["image/jpeg"] = true, ["image/png"] = true } }

  it("is converted, once, and the part says so", function()
    local part = lmm.image "spec/media/picture.heic"
    local sent = prepare.needs(part, dialect)
    assert.equal(sent, prepare.needs(part, dialect))
    assert.same({ "image/heic", "image/heic", 522 }, { part.mime, part.converted, part.size })
    assert.same({ "image/jpeg", "image/heic", 37, 23 }, { sent.mime, sent.converted, sent.width, sent.height })
    assert.truthy(prepare.is_pending(sent))
    assert.falsy(prepare.is_pending(part))
    assert(prepare.all({ sent }, function() core.sleep(0.002) end))
    assert.equal("image/jpeg", sent.media:info().mime)
    assert.equal("image/heic", part.media:info().mime)
  end)

  it("goes as it is where the server decodes it, or nobody knows", function()
    local heic, png = lmm.image "spec/media/picture.heic", lmm.image "spec/media/picture.png"
    local bmp, sound = lmm.image "spec/media/picture.bmp", lmm.audio "spec/media/sound.wav"
    local url = lmm.image "https://example.org/a.heic"
    assert.same({ heic, heic, png, bmp, sound, url }, { prepare.needs(heic), prepare.needs(heic, {}),
      prepare.needs(png, dialect), prepare.needs(bmp, dialect), prepare.needs(sound, dialect),
        prepare.needs(url, dialect) })
  end)

  teardown(folder.remove)
end)
