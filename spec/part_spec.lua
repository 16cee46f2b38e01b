-- Parts of files as people have them: which function takes what, by which name what none takes is refused, and what is
-- advised. Each file is built here.
local build = require "spec.support.media"
local core = require "lmm.core"
local json = require "lmm.json"
local lmm = require "lmm"
local request = require "lmm.request"
local shell = require "spec.support.shell"

local be, box, rep = build.be, build.box, string.rep

local function mp4(...)
  local tracks = {}
  for i, kind in ipairs { ... } do tracks[i] = build.track(kind) end
  return build.ftyp("mp42", "isom") .. box("moov", table.concat(tracks))
end

local wav = build.riff("WAVE", 40)
local raw = build.raw { make = "NIKON" }
local functions = { image = lmm.image, video = lmm.video, audio = lmm.audio, file = lmm.file }

--- Each kind of part of the same bytes: usable with this type, or the beginning of its error.
local takes = {
  { "sound in an MP4", mp4 "soun", audio = "audio/mp4", image = "is audio/mp4, not image: lmm.audio takes it",
    video = "is audio/mp4, not video: lmm.audio takes it", file = "audio/mp4" },
  { "a film with sound", mp4("vide", "soun"), video = "video/mp4",
    image = "is video/mp4, not image: lmm.video takes it",
    audio = "is video/mp4, not audio: lmm.video takes it (mime = \"audio/mp4\" sends it for its sound)" },
  { "a film without sound", mp4 "vide", audio = "is video/mp4, not audio: lmm.video takes it (pass { mime" },
  { "sound in WebM", build.ebml("webm", 2), audio = "audio/webm",
    video = "is audio/webm, not video: lmm.audio takes it" },
  { "a WAV", wav, audio = "audio/wav",
    image = "is audio/wav, not image: lmm.audio takes it (pass { mime = \"image/..." },
  { "a PDF", "%PDF-1.4\n", file = "application/pdf",
    image = "is application/pdf, not image: lmm.pages draws its pages, lmm.file takes it (pass { mime",
    audio = "is application/pdf, not audio: lmm.file takes it (pass { mime" },
  { "a JPEG", build.jpeg {}, image = "image/jpeg", audio = "is image/jpeg, not audio: lmm.image takes it" },
  { "a JPEG without its end", build.jpeg {}:sub(1, -3), image = "image/jpeg" },
  { "a ZIP", "PK\3\4\20\0", image = "is a ZIP archive (application/zip), not image: lmm.file takes it",
    file = "application/zip" },
  { "a raw picture", raw,
    image = "is a camera's raw picture, NEF (image/x-nikon-nef), which no server is known to decode: "
    .. "develop it to JPEG or TIFF first", video = "is a camera's raw picture, NEF (image/x-nikon-nef), which no",
    file = "image/x-nikon-nef" },
  { "an SVG, which is drawn", "<svg/>", image = "image/png",
    video = "is an SVG drawing (image/svg+xml), which no server",
    file = "image/svg+xml" },
  { "a JPEG XL, which is converted", "\255\10\1\2", image = "image/jpeg" },
  { "a JPEG-LS", build.jpeg { frame = "\255\247" }, image = "is a JPEG-LS picture (image/jls), which no server" },
  { "an EPS, which is drawn", "%!PS-Adobe-3.0 EPSF-3.0\n", image = "image/png",
    video = "is an EPS drawing (image/x-eps), which no server", file = "image/x-eps" },
  { "a PostScript document", "%!PS-Adobe-3.0\n",
    image = "is a PostScript document (application/postscript), which no server is known to decode: make a PDF of it, "
      .. "as with ps2pdf, and pages of that with lmm.pages", file = "application/postscript" },
  { "an AIFF", "FORM" .. be(20, 4) .. "AIFF",
    audio = "is an AIFF sound (audio/aiff), which no server is known to decode: "
    .. "pass { convert = \"wav\" } to lmm.audio (mime or check = false sends it as it is)",
    image = "is an AIFF sound (audio/aiff), which no server is known to decode: "
    .. "pass { convert = \"wav\" } to lmm.audio (mime or" },
  { "a PNG cut short", build.png {}:sub(1, -13), image = "is cut short: it has no IEND, with which a PNG ends (check = "
    .. "false sends it as it is)", file = "image/png" },
  { "a WAV cut short", wav:sub(1, -10), audio = "is cut short: its RIFF header tells of 52 bytes, and 43 are there" },
  { "an MP4 cut short", mp4 "vide" .. box("mdat", "x", 99),
    video = "is cut short: its box 'mdat' has 99 bytes, and 9 are" },
  { "a graymap", "P5\n37 23\n255\n" .. rep("\200", 851), image = "image/x-portable-graymap",
    file = "image/x-portable-graymap" },
  { "bytes that begin with text", "a name of sixteen letters\0\0\1", file = "application/octet-stream" },
  { "text whose NUL comes late", rep("text ", 9999) .. "\0", file = "application/octet-stream" },
  { "text beyond ASCII, cut within a letter by what is looked at", "x" .. rep("\195\164", 200000),
    file = "text/plain" },
}

describe("which function takes", function()
  for _, row in ipairs(takes) do
    it(row[1], function()
      for kind, make in pairs(functions) do
        local part, expected = make { bytes = row[2] }, row[kind]
        if expected and not expected:find "^%l+/%S+$" then
          expected = "the data in bytes " .. expected
          assert.equal(expected, tostring(part.err):sub(1, #expected), kind)
        elseif expected then
          assert.same({ expected, nil }, { part.mime, part.err }, kind)
        end
      end
    end)
  end

  it("what is refused for its bytes is sent where that is wanted", function()
    local broken = build.png {}:sub(1, -13)
    for _, bytes in ipairs { broken, "<svg/>", raw, wav } do
      local checked = lmm.image({ bytes = bytes })
      assert.truthy(checked.err or checked.plan)
      for _, opts in ipairs { { mime = "image/png" }, { check = false } } do
        local part = lmm.image({ bytes = bytes }, opts)
        assert.equal(nil, part.err)
        assert.same({}, part.options)
      end
    end
    assert.equal(nil, lmm.image({ bytes = broken }, { check = true }).options.check)
    assert.raises("lmm%.image: check is true or false, not a string", lmm.image, { bytes = broken }, { check = "no" })
    assert.matches("of no known type", tostring(lmm.image({ bytes = "\1\2" }, { check = false }).err))
  end)

  it("a size as it is shown, and how it was turned", function()
    local part = lmm.image { bytes = build.jpeg { orientation = 6 } }
    assert.same({ 23, 37, 6 }, { part.width, part.height, part.orientation })
    part = lmm.image { bytes = build.jpeg {} }
    assert.same({ 37, 23 }, { part.width, part.height, part.orientation })
  end)
end)

local function decoded(part)
  local body = assert(request.body { part })
  return json.decode(body:read(100000))[1]
end

describe("an option that is misspelt by a letter", function()
  local jpeg = { bytes = build.jpeg {} }

  for _, row in ipairs {
    { "image", "max_sde", "max_side" }, { "image", "max_pixel", "max_pixels" }, { "image", "qualtiy", "quality" },
    { "image", "trust_uid", "trust_uuid" }, { "video", "frame", "frames" }, { "video", "maxside", "max_side" },
    { "audio", "fromat", "format" }, { "audio", "convrt", "convert" }, { "file", "chekc", "check" },
    { "pages", "pasword", "password" }, { "pages", "max_sde", "max_side" },
  } do
    it(("is no field for the server: %s of lmm.%s"):format(row[2], row[1]), function()
      assert.raises(("lmm: lmm.%s: unknown option '%s' %%(did you mean '%s'%%?%%)$"):format(row[1], row[2], row[3]),
        lmm[row[1]], jpeg, { [row[2]] = 5 })
    end)
  end

  it("is none among those of a list of frames either", function()
    assert.raises("lmm.video: unknown option 'max_sie' %(did you mean 'max_side'%?%)", lmm.video,
      { frames = { jpeg } }, { max_sie = 5 })
  end)

  it("is not one that servers have, nor one of another kind of part", function()
    local fields = { detail = "low", min_pixels = 4, total_pixels = 5, resized_height = 6, max_frames = 7, time = 8,
      cache_control = { type = "ephemeral" }, fps = 2 }
    assert.same(fields, lmm.image(jpeg, fields).options)
    fields.nframes, fields.qualities, fields.converts = 9, 10, 11
    assert.same(fields, lmm.video({ bytes = mp4 "vide" }, fields).options)
    assert.same({ fromat = 1, frame = 2 }, lmm.image(jpeg, { fromat = 1, frame = 2 }).options)
  end)

  it("goes to the server where it comes from a file, as a saved conversation's", function()
    local part = require("lmm.part").new("image", jpeg, { max_sde = 5 })
    assert.same({ max_sde = 5 }, part.options)
  end)
end)

describe("types", function()
  for given, mime in pairs {
    ["image/jpg"] = "image/jpeg", ["IMAGE/PNG"] = "image/png", ["image/pjpeg"] = "image/jpeg",
      ["audio/mp3"] = "audio/mpeg",
    ["audio/x-wav"] = "audio/wav", ["image/x-new"] = "image/x-new",
  } do
    it(given .. " is sent as " .. mime, function()
      assert.equal(mime, lmm.image({ bytes = "x" }, { mime = given }).mime)
    end)
  end

  it("a file part always has a name", function()
    local rows = { { "%PDF-1.4\n", "file.pdf" }, { "text", "file.txt" }, { "\1\2", "file.bin" },
      { build.jpeg {}, "file.jpg" },
      { wav, "file.wav" } }
    for _, row in ipairs(rows) do
      assert.equal(row[2], lmm.file({ bytes = row[1] }).filename)
      assert.equal(row[2], decoded(lmm.file { bytes = row[1] }).file.filename)
    end
    assert.equal("file.csv", lmm.file("data:text/csv;base64,YSxi").filename)
    assert.equal("a.b", decoded(lmm.file({ bytes = "x" }, { filename = "a.b" })).file.filename)
    assert.equal("part_spec.lua", lmm.file("spec/part_spec.lua").filename)
  end)
end)

describe("the format of audio", function()
  local mp3 = "\255\251\144\0" .. rep("\0", 413)
  local rows = { -- the bytes, what is given, what is sent or the error
    { wav, true, "wav" }, { wav, "wav", "wav" }, { wav, "WAV", "wav" }, { wav, "audio/wav", "wav" },
    { wav, "audio/x-wav", "wav" }, { wav, ".wav", "wav" }, { mp3 .. mp3, true, "mp3" },
    { mp3 .. mp3, "audio/mpeg", "mp3" },
    { mp4 "soun", true, "m4a" }, { mp4 "soun", "mp4", "mp4" }, { build.ebml("webm", 2), "opus", "opus" },
    { "#!AMR\n\4", true, "amr" },
    { wav, "mp3", nil, "is audio/wav, but its format is said to be 'mp3': pass format = \"wav\", or true" },
    { mp3 .. mp3, "wav", nil, "is audio/mpeg, but its format is said to be 'wav': pass format = \"mp3\", or true" },
    { mp3 .. mp3, "audio/wav", nil, "is audio/mpeg, but its format is said to be 'wav'" },
  }
  for _, row in ipairs(rows) do
    it(("%q for %s bytes"):format(tostring(row[2]), #row[1]), function()
      local part = lmm.audio({ bytes = row[1] }, { format = row[2] })
      if row[4] then return assert.equal("the data in bytes " .. row[4], tostring(part.err):sub(1, 18 + #row[4])) end
      assert.equal(row[3], decoded(part).input_audio.format)
    end)
  end

  it("is not checked where the type is named, or nothing is to be checked", function()
    assert.equal("mp3", decoded(lmm.audio({ bytes = wav }, { format = "mp3", check = false })).input_audio.format)
    assert.equal("pcm16",
      decoded(lmm.audio({ bytes = wav }, { format = "pcm16", mime = "audio/pcm" })).input_audio.format)
    assert.equal("mp3", decoded(lmm.audio({ bytes = "\1" }, { format = true, mime = "audio/mp3" })).input_audio.format)
    local err = lmm.audio({ bytes = "\1" }, { format = true, mime = "audio/pcm" }).err
    assert.matches("audio/pcm, for which no format is known: name it", tostring(err))
    for _, format in ipairs { "", 5, false, {} } do
      assert.raises("lmm%.audio: format is a text", lmm.audio, { bytes = wav }, { format = format })
    end
  end)
end)

describe("what may have been meant", function()
  local folder = os.tmpname()

  setup(function()
    os.remove(folder)
    shell.run("mkdir '%s'", folder)
    shell.write(folder .. "/at 3.45.12\226\128\175PM.png", build.png {})
    shell.write(folder .. "/plain name.png", build.png {})
  end)

  teardown(function() shell.run("rm -r '%s'", folder) end)

  for _, row in ipairs {
    { "~/x.jpg", "the shell alone expands ~: write the home directory in full" },
    { "'x.jpg'", "the quotes are a part of the path: leave them out" },
    { '"my picture.jpg"', "the quotes are a part of the path: leave them out" },
    { "my\\ picture.jpg", "the backslash before a space is a part of the path: leave it out" },
    { "www.example.org/a.jpg", "a URL begins with https://" },
    { "https:/example.org/a.jpg", "a URL begins with https:// or http://" },
    { "x.jpg\n", "the path ends in white space" },
    { "my%20picture.jpg", "what is percent-encoded in a URL is not so in a path" },
    { "my\226\128\175picture.jpg", "the path holds a no-break space" },
    { "/plain\226\128\175name.png", "the path holds a no-break space: with a plain one there is such a file", true },
    { "/at 3.45.12 PM.png", "there is such a file with a narrow no-break space, U+202F, before AM or PM", true },
    { "x.jpg", nil },
  } do
    it(("by %q"):format(row[1]), function()
      local err = lmm.image((row[3] and folder or "") .. row[1]).err
      assert.matches("No such file or directory", err.message)
      assert.equal(row[2], err.hint)
    end)
  end

  it("by base64 that is percent-encoded", function()
    local err = lmm.image("data:image/png;base64,AAA%2BAAA%3D").err
    assert.equal("the base64 of the data: URL is percent-encoded, as at character 26: decode that first", err.message)
    assert.matches("is not base64 at character 26", lmm.image("data:image/png;base64,AAA%ZZZZ").err.message)
  end)
end)

describe("a data: URL", function()
  it("is looked at like a file", function()
    local url = "data:image/jpg;base64," .. core.base64.encode(build.jpeg { orientation = 8 })
    local part = lmm.image(url)
    assert.same({ "image/jpeg", 23, 37, 8 }, { part.mime, part.width, part.height, part.orientation })
    assert.equal("audio/mp4", lmm.audio("data:video/mp4;base64," .. core.base64.encode(mp4 "soun")).mime)
    assert.matches("the data: URL is cut short", lmm.image("data:image/png;base64,"
      .. core.base64.encode(build.png {}:sub(1, -13))).err.message)
    assert.equal("image/bmp", lmm.image("data:image/x-ms-bmp;base64," .. core.base64.encode "\1\2\3").mime)
  end)
end)
