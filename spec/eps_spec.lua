-- EPS drawings, which are programs: drawn by the real Ghostscript, compared with what it makes of them by itself; and
-- those that want to do something else than draw, do not end, or say nothing of their size.
local core = require "lmm.core"
local lmm = require "lmm"
local pixels = require "spec.support.pixels"
local program = require "spec.support.program"
local programs = require "lmm.prepare.programs"
local shell = require "spec.support.shell"

local folder = pixels.folder()
local path, prepared = folder.path, folder.prepared

pixels.run_bare()

local HEAD = "%!PS-Adobe-3.0 EPSF-3.0\n"
local DRAWING = [[
100 200 moveto 340 200 lineto 340 280 lineto 100 280 lineto closepath 0 0 1 setrgbcolor fill
1 0 0 setrgbcolor 6 setlinewidth 100 280 moveto 340 360 lineto stroke
/Times-Roman findfont 20 scalefont setfont 150 300 moveto (Hello) show
]]

local function eps(box, text) return HEAD .. "%%BoundingBox: " .. box .. "\n%%EndComments\n" .. text end

local WHOLE = eps("100 200 340 360", DRAWING .. "showpage\n%%EOF\n")

local function message_of(bytes) return folder.message_of(lmm.image { bytes = bytes }) end

local function size_of(sent)
  return folder.header(sent, "width") .. " x " .. folder.header(sent, "height")
end

--- What Ghostscript itself makes of an EPS.
local function drawn(bytes, name)
  local from, to = shell.write(path "drawn.eps", bytes), path(name or "drawn.png")
  shell.run(pixels.BARE .. "gs -q -dSAFER -dNOPAUSE -dBATCH -dEPSCrop -r150 -sDEVICE=png16m -dTextAlphaBits=4 "
    .. "-dGraphicsAlphaBits=4 -sOutputFile=%s %s", to, from)
  return to
end

--- Has what is no drawing be none in each of these ways.
local function each_is(expected, rows)
  for _, text in ipairs(rows) do assert.equal(expected, message_of(eps("0 0 20 10", text .. "\nshowpage\n"))) end
end

teardown(folder.remove)

describe("an EPS", function()
  it("is drawn as PNG for any server, and the part says so", function()
    for _, dialect in ipairs { "vllm", "openai", "llama.cpp", "generic" } do
      local mock = assert(lmm.mock {})
      local part = lmm.image { bytes = WHOLE }
      assert.same({ "image/png", "image/x-eps" }, { part.mime, part.converted })
      local reply, message = lmm.connect { base_url = mock.url, dialect = dialect }:conversation():ask("what?", part)
      mock.stop()
      assert.matches("image 1: image/png, 500 x 334 pixels", assert(reply, message).text)
      assert.same({ 500, 334 }, { part.width, part.height })
    end
  end)

  it("shows what is in it, from a file, bytes, a relative path and one with odd characters", function()
    local box = eps("96 198 336 342", DRAWING .. "showpage\n") -- 500 x 300 pixels
    drawn(box)
    local odd = shell.write(path "-a 'drawing' $(date).eps", box)
    for _, source in ipairs { odd, { bytes = box } } do
      assert(folder.difference("drawn.png", assert(prepared(lmm.image(source)))) < 0.2)
    end
    shell.write("build/drawing.eps", box)
    local sent, message = prepared(lmm.image "build/drawing.eps")
    os.remove "build/drawing.eps"
    assert(folder.difference("drawn.png", assert(sent, message)) < 0.2)
  end)

  it("is drawn in the size that is wanted, and in the format", function()
    for _, row in ipairs {
      { { max_side = 120 }, "120 x 80", "png" }, { { max_pixels = 2400 }, "60 x 40", "png" },
      { { max_side = 1000 }, "500 x 334", "png" }, { { quality = 50 }, "500 x 334", "png" },
      { { convert = "jpeg", max_side = 150, quality = 90 }, "150 x 100", "jpeg" },
      { { convert = "webp" }, "500 x 334", "webp" }, { { max_side = 1 }, "1 x 1", "png" },
    } do
      local part = lmm.image({ bytes = WHOLE }, row[1])
      local sent = assert(prepared(part))
      assert.same({ row[2], "image/" .. row[3] }, { size_of(sent), core.media(sent):info().mime })
      assert.equal(row[2], part.width .. " x " .. part.height)
    end
    local small = assert(prepared(lmm.image({ bytes = WHOLE }, { max_side = 125, convert = "jpeg", quality = 95 })))
    local kept = shell.write(path "small.jpg", shell.read(small))
    folder.vips("resize %s %s 4", kept, "large.png")
    drawn(eps("100 200 340 361", DRAWING))
    folder.vips("thumbnail %s %s 500 --height " .. folder.header("drawn.png", "height") .. " --size force",
      "large.png", "fitted.png")
    assert(folder.difference("drawn.png", "fitted.png") < 6)
  end)

  it("needs no libvips where it goes as PNG", function()
    local ended = program.run([[
      package.preload["lmm.vips"] = function() error "module 'lmm.vips' not found" end
      local core, lmm, prepare = require "lmm.core", require "lmm", require "lmm.prepare"
      for _, format in ipairs { "png", "jpeg" } do
        local part = lmm.image({ bytes = ... }, { convert = format, max_side = 60 })
        local ok, err = prepare.all({ part }, function() core.sleep(0.002) end)
        print(ok and part.width or err.message)
      end
    ]], { WHOLE })
    assert.matches("^60\nthe data in bytes cannot be prepared: this lmm was built without libvips", ended.out)
  end)

  it("has a DOS header with a preview", function()
    local function le(number) return string.char(number % 256, math.floor(number / 256) % 256, 0, 0) end
    local preview = ("(II*\0"):rep(20)
    local dos = "\197\208\211\198" .. le(30 + #preview) .. le(#WHOLE) .. ("\0"):rep(8) .. le(30) .. le(#preview)
      .. "\255\255" .. preview .. WHOLE
    assert.equal("500 x 334", size_of(assert(prepared(lmm.image { bytes = dos .. "(behind it" }))))
    assert.equal(("the data in bytes is cut short: its header tells of %d bytes, and %d are there"):format(#dos,
      #dos - 9), message_of(dos:sub(1, -10)))
    assert.equal("the data in bytes is cut short: its header tells of 12 bytes, and 9 are there",
      message_of(dos:sub(1, 9)))
  end)

  it("tells of its size at its end, with other line ends, or not in whole points", function()
    for _, row in ipairs {
      { HEAD .. "%%BoundingBox: (atend)\n" .. DRAWING .. "showpage\n%%Trailer\n%%BoundingBox: 0 0 48 24\n%%EOF\n" },
      { HEAD .. "%%BoundingBox:0 0 48 24\n%%BeginDocument: x\n%%BoundingBox: 0 0 9 9\n" },
      { (HEAD .. "%%BoundingBox: 0 0 48 24\n0 0 moveto\n"):gsub("\n", "\r") },
      { (HEAD .. "%%BoundingBox: 0 0 48 24\n0 0 moveto\n"):gsub("\n", "\r\n") },
      { HEAD .. "%%BoundingBox: -10.5  -2 36.2 21.1\n" },
    } do
      assert.equal("100 x 50", size_of(assert(prepared(lmm.image { bytes = row[1] }))))
    end
  end)

  it("says nothing of its size", function()
    for _, text in ipairs { "", "%%BoundingBox: (atend)\n" .. ("x"):rep(70000), "(%%BoundingBox: 0 0 9 9) pop\n" } do
      assert.equal("the data in bytes says nothing of its size: give it a comment %%BoundingBox: 0 0 WIDTH HEIGHT",
        message_of(HEAD .. text))
    end
    for _, box in ipairs { "0 0 0 0", "10 10 10 20", "9 9 0 0", "1 2 3", "a b c d", "0 0 1e9 9", "0 0 99999999999 9",
      ("0 0 %s 9"):format(("9"):rep(400)), "0 0 1.2.3 9", "(atend)", "" } do
      assert.matches('^the data in bytes says nothing of its size: its %%%%BoundingBox is ".*", and not left, '
        .. "bottom, right and top, four numbers$", message_of(eps(box, "")))
    end
  end)

  it("is larger than what is drawn", function()
    assert.equal("the data in bytes has 60,000 x 60,000 pixels, and no more than 100 million are drawn: pass a smaller "
      .. "max_side", message_of(eps("0 0 28800 28800", "")))
    assert.equal("60 x 60", size_of(assert(prepared(lmm.image({ bytes = eps("0 0 28800 28800", "") },
      { max_side = 60 })))))
  end)

  it("may be drawn by another size than it says, or by none", function()
    for _, text in ipairs {
      "<< /PageSize [60000 60000] >> setpagedevice", "<< /HWResolution [7200 7200] >> setpagedevice",
      "<< /PageSize [60000 60000] /HWResolution [7200 7200] >> systemdict /setpagedevice get exec",
      "%%BoundingBox: 0 0 60000 60000\n%%HiResBoundingBox: 0 0 60000 60000", "", "showpage showpage showpage",
      "3 { systemdict /showpage get exec } repeat", "a4", "clear 1 2 3 save", "quit",
    } do
      local sent, message = prepared(lmm.image { bytes = eps("0 0 48 24", text) })
      assert.equal("100 x 50", size_of(assert(sent, message)))
      assert.falsy(shell.read(sent):find("IEND.*IEND"))
    end
    each_is("the data in bytes is no drawing: Ghostscript made no picture of it",
      { "nulldevice", "systemdict /quit get exec" })
  end)

  it("is drawn as a whole, where it belongs, though it chooses paper or shows a page on its way", function()
    local lines = { DRAWING:match "^([^\n]+\n)(.*)$" }
    local expected = shell.write(path "expected.png", shell.read(assert(prepared(lmm.image { bytes = WHOLE }))))
    for _, text in ipairs { "<< /PageSize [612 792] >> setpagedevice\n" .. DRAWING,
      lines[1] .. "showpage\n" .. lines[2], DRAWING .. "showpage quit\n" } do
      local sent = assert(prepared(lmm.image { bytes = eps("100 200 340 360", text) }))
      assert.same({ 0, 0 }, { folder.difference(expected, sent) })
    end
  end)

  it("is damaged, or ends in the middle", function()
    local function says(what)
      return "the data in bytes is damaged or cut short, and cannot be drawn (Ghostscript says: " .. what .. ")"
    end
    assert.equal(says "undefined in lin", message_of(eps("0 0 9 9", "1 1 moveto 3 4 lin")))
    for _, text in ipairs { "/draw { 1 1 moveto", "(Hello", "<0011" } do
      assert.equal(says "syntaxerror", message_of(eps("0 0 9 9", text)))
    end
    each_is(says "stackunderflow in --moveto--", { "moveto" })
  end)

  it("reads and writes no files, and runs no programs", function()
    local secret, made = shell.write(path "secret", "secret"), path "made"
    local tool = "%pipe%touch " .. made
    each_is("the data in bytes wants to use a file or to run a program, which a drawing may not: convert it to PNG "
      .. "first, if you trust it", {
      "(/etc/hostname) (r) file", "(" .. secret .. ") (r) file", "(" .. secret .. ") run", "(source) (r) file",
      "(../" .. secret .. ") (r) file", "(/proc/self/environ) (r) file", "(err) (r) file", "(%os%" .. secret
      .. ") (r) file",
      "(" .. made .. ") (w) file (x) writestring", "(" .. secret .. ") (a) file", "(made) (w) file",
      "(" .. secret .. ") deletefile", "(" .. secret .. ") (" .. made .. ") renamefile",
      "(" .. tool .. ") (r) file", "(" .. tool .. ") (w) file", "(" .. tool .. ") run",
      "() (w) .tempfile", "(/tmp/made) (w) .tempfile",
      "<< /OutputFile (" .. made .. ") >> systemdict /setpagedevice get exec systemdict /showpage get exec",
      "<< /OutputFile (" .. tool .. ") >> systemdict /setpagedevice get exec systemdict /showpage get exec",
    })
    assert.same({ "secret", false }, { shell.read(secret), shell.read(made) or false })
    local blank = shell.read(assert(prepared(lmm.image { bytes = eps("0 0 48 24", "") })))
    shell.write(path "blank.png", blank)
    for _, text in ipairs { -- those that heed no error
      "{ (" .. secret .. ") (r) file 99 string readstring pop } stopped { clear (none) } if ",
      "(/etc/*) { } 99 string filenameforall (none)",
    } do
      local expected = prepared(lmm.image { bytes = eps("0 0 48 24",
        "/Helvetica findfont 9 scalefont setfont 1 1 moveto (none) show") })
      shell.write(path "expected.png", shell.read(expected))
      local sent = assert(prepared(lmm.image { bytes = eps("0 0 48 24",
        text .. " /Helvetica findfont 9 scalefont setfont 1 1 moveto show") }))
      assert.same({ 0, 0 }, { folder.difference("expected.png", sent) })
      assert(folder.difference("blank.png", sent) > 0)
    end
  end)

  it("gets nothing of the environment, nor of what that tells Ghostscript", function()
    local secret = shell.write(path "secret", "secret")
    local ended = program.run([[
      local core, lmm, prepare = require "lmm.core", require "lmm", require "lmm.prepare"
      for i = 1, 2 do
        local part = lmm.image { bytes = select(i, ...) }
        local ok, err = prepare.all({ part }, function() core.sleep(0.002) end)
        print(ok and "drawn" or err.message)
      end
    ]], {
      eps("0 0 9 9", "(OPENAI_API_KEY) { getenv } stopped not { { } { nulldevice } ifelse } { nulldevice } ifelse"),
      eps("0 0 9 9", "(" .. secret .. ") (r) file"),
    }, "OPENAI_API_KEY=sk-secret GS_OPTIONS='-dNOSAFER --permit-file-read=/'")
    assert.equal("the data in bytes is no drawing: Ghostscript made no picture of it\n"
      .. "the data in bytes wants to use a file or to run a program, which a drawing may not: convert it to PNG "
      .. "first, if you trust it\n", ended.out)
  end)
end)

describe("a PostScript document", function()
  it("is no EPS", function()
    assert.equal("the data in bytes is a PostScript document (application/postscript), which no server is known to "
      .. "decode: make a PDF of it, as with ps2pdf, and pages of that with lmm.pages (mime or check = false sends it "
      .. "as it is)", message_of "%!PS-Adobe-3.0\n%%Title: EPSF-3.0\nshowpage\n")
  end)

  it("goes as it is where the caller knows better, as an EPS does", function()
    for _, bytes in ipairs { "%!PS\nshowpage\n", WHOLE } do
      assert.is_nil(lmm.image({ bytes = bytes }, { check = false }).plan)
      assert.equal("image/eps-plain", lmm.image({ bytes = bytes }, { mime = "image/eps-plain" }).mime)
    end
  end)
end)

describe("the program Ghostscript", function()
  local limit, most, start = programs.LIMIT, programs.MOST, programs.start

  after_each(function() programs.LIMIT, programs.MOST, programs.start = limit, most, start end)

  --- Has the script begin otherwise.
  local function begin(words)
    programs.start = function(script) return start(words .. "\n" .. script) end
  end

  it("is told with its package where it is missing", function()
    begin "PATH=/nowhere"
    assert.equal("the data in bytes cannot be prepared: the program Ghostscript, gs, is not installed (on Debian: apt "
      .. "install ghostscript)", message_of(WHOLE))
  end)

  it("is none of those whose sandbox has holes", function()
    shell.run("mkdir -p %s", path "bin")
    begin("PATH=" .. path "bin" .. ":$PATH")
    for _, version in ipairs { "9.27", "9.49.1", "9.06", "8.71" } do
      shell.write(path "bin/gs", "#!/bin/sh\necho " .. version .. "\n")
      shell.run("chmod 755 %s", path "bin/gs")
      assert.equal('the data in bytes cannot be prepared: Ghostscript is of version ' .. version .. ", and keeps "
        .. "drawings from files only from 9.50 on: install a newer one", message_of(WHOLE))
    end
    for _, text in ipairs { "", "GPL" } do
      shell.write(path "bin/gs", "#!/bin/sh\necho " .. text .. "\n")
      assert.equal('the data in bytes cannot be prepared: the program Ghostscript, gs, does not run here, it told "'
        .. text .. '" in place of its version', message_of(WHOLE))
    end
    for _, version in ipairs { "9.50", "9.56.1", "10.00.0" } do
      shell.write(path "bin/gs", "#!/bin/sh\necho " .. version .. "\n")
      assert.equal("the data in bytes is no drawing: Ghostscript made no picture of it", message_of(WHOLE))
    end
  end)

  it("is ended with what draws for ever", function()
    programs.LIMIT = 1
    each_is("Ghostscript took more than 1 seconds with the data in bytes, and was ended: pass a smaller max_side, or "
      .. "convert it to PNG first", { "{ } loop", "/f { 1 pop f } def f" })
  end)

  it("makes no more than so many bytes, nor takes more memory than it may", function()
    programs.MOST = 1000
    assert.equal("the data in bytes makes more than the 1000 bytes of PNG that are sent: pass a smaller max_side",
      message_of(WHOLE))
    each_is("the data in bytes makes more than the 1000 bytes of output that are sent: convert it to PNG first",
      { "{ (0123456789012345678901234567890123456789) print } loop" })
    programs.MOST = most
    local memory = programs.MEMORY
    programs.MEMORY = 200 * 2 ^ 20
    local message = message_of(eps("0 0 9 9", "[ 10000 { 60000 string } repeat ] pop showpage"))
    programs.MEMORY = memory
    assert.equal("Ghostscript needs more than the 200 MiB of memory that it may have for the data in bytes: convert "
      .. "it to PNG first", message)
  end)
end)
