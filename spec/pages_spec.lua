-- The pages of a PDF as pictures: drawn when they are sent, and compared with what the command vips draws; and PDFs
-- that cannot be drawn.
local core = require "lmm.core"
local lmm = require "lmm"
local pixels = require "spec.support.pixels"
local prepare = require "lmm.prepare"
local shell = require "spec.support.shell"

local folder = pixels.folder()
local path = folder.path

--- A PDF of so many pages, 144 x 72 points each, every one with a bar as long as its number.
local function pdf(name, count)
  local kids, objects = {}, {}
  for i = 1, count do
    local text = ("1 0 0 rg 0 0 %d 36 re f"):format(i * 8)
    kids[i] = ("%d 0 R"):format(2 * i + 1)
    objects[#objects + 1] = ("%d 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 144 72]/Contents %d 0 R>>endobj\n"):format(
      2 * i + 1, 2 * i + 2)
    objects[#objects + 1] = ("%d 0 obj<</Length %d>>stream\n%s\nendstream endobj\n"):format(2 * i + 2, #text, text)
  end
  return shell.write(path(name), ("%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    .. "2 0 obj<</Type/Pages/Count %d/Kids[%s]>>endobj\n%strailer<</Root 1 0 R>>\n"):format(count,
    table.concat(kids, " "), table.concat(objects)))
end

local function drawn(part, name) return assert(folder.prepared(part, name or "drawn.png")) end

local function failed(...)
  local pages, message, err = lmm.pages(...)
  assert(not pages, "it was opened")
  assert.same({ "invalid", message }, { err.kind, err.message })
  return message
end

describe("the pages of a PDF", function()
  teardown(folder.remove)

  it("are what vips draws", function()
    local file = pdf("three.pdf", 3)
    local pages = assert(lmm.pages(file))
    assert.equal(3, #pages)
    for i, page in ipairs(pages) do
      assert.same({ "image", "image/png", "application/pdf", true }, { page.kind, page.mime, page.converted,
        prepare.is_pending(page) })
      drawn(page)
      assert.same({ 300, 150 }, { page.width, page.height })
      folder.vips(("pdfload %%s %%s --dpi 150 --page %d"):format(i - 1), file, "expected.png")
      local average, most = folder.difference("expected.png", "drawn.png")
      assert.same({ 0, 0 }, { average, most })
    end
  end)

  it("are drawn as they are asked for", function()
    local file = pdf("five.pdf", 5)
    local pages = assert(lmm.pages(file, { first = 2, last = 3, dpi = 72, convert = "jpeg", detail = "low" }))
    assert.same({ 2, "image/jpeg", "low" }, { #pages, pages[1].mime, pages[2].options.detail })
    drawn(pages[2])
    assert.same({ 144, 72 }, { pages[2].width, pages[2].height })
    folder.vips("pdfload %s %s --dpi 72 --page 2", file, "expected.png")
    assert(folder.difference("expected.png", "drawn.png") < 2)
    assert.equal(1, #assert(lmm.pages(file, { first = 5 })))
    assert.equal(2, #assert(lmm.pages(file, { last = 2 })))

    local small = assert(lmm.pages({ bytes = shell.read(file) }, { max_side = 60, first = 5 }))[1]
    drawn(small)
    assert.same({ 60, 30 }, { small.width, small.height })
  end)

  it("go to the server, in order", function()
    local mock = assert(lmm.mock {})
    local pages = assert(lmm.pages(pdf("three.pdf", 3), { dpi = 72 }))
    local reply, message = lmm.connect(mock.url):conversation():ask("what?", (table.unpack or unpack)(pages)) -- luacheck: ignore
    mock.stop()
    local sums = {}
    local line = "image (%d): image/png, 144 x 72 pixels, %d+ bytes, sha256 (%x+)"
    for number, sum in assert(reply, message).text:gmatch(line) do
      sums[#sums + 1] = sum
      assert.equal(tostring(#sums), number)
    end
    assert.equal(3, #sums)
    assert(sums[1] ~= sums[2] and sums[2] ~= sums[3])
  end)

  it("are opened in a task without holding up others", function()
    local file, count = pdf("three.pdf", 3), nil
    lmm.go(function() count = #assert(lmm.pages(file)) end):wait()
    assert.equal(3, count)
    local kind
    local count_pages = prepare.count_pages
    prepare.count_pages = function() return { result = function() return false end } end -- a job that takes its time
    local task = lmm.go(function()
      local _, _, err = lmm.pages(file)
      kind = err and err.kind
    end)
    prepare.count_pages = count_pages
    task:cancel()
    task:wait()
    assert.equal("cancelled", kind)
  end)
end)

describe("a PDF that cannot be drawn", function()
  setup(function() folder = pixels.folder() path = folder.path end)
  teardown(function() folder.remove() end)

  it("is told by its own failure, whatever failed before", function()
    local vips = require "lmm.vips"
    local function failure(file)
      local job = vips.start { path = file, format = "count", page = 1 }
      local word
      repeat word = select(2, job:result()) or core.sleep(0.001) until word
      return word
    end
    local cut = shell.write(path "cut.pdf", "%PDF-1.4\n")
    for _ = 1, 3 do assert.same({ "unreadable", "damaged" }, { failure(path "gone.pdf"), failure(cut) }) end
  end)

  it("has a password, or another one", function()
    shell.run(pixels.BARE .. "qpdf --encrypt secret owner 128 --use-aes=y -- %s %s 2>/dev/null || true",
      pdf("open.pdf", 2), path "locked.pdf")
    assert.equal("'" .. path "locked.pdf" .. "' has a password: pass { password = \"...\" }", failed(path "locked.pdf"))
    assert.equal("the password for '" .. path "locked.pdf" .. "' is wrong", failed(path "locked.pdf",
      { password = "x" }))
    local pages = assert(lmm.pages(path "locked.pdf", { password = "secret", dpi = 72 }))
    drawn(pages[2])
    folder.vips("pdfload %s %s --dpi 72 --page 1", path "open.pdf", "expected.png")
    assert.same({ 0, 0 }, { folder.difference("expected.png", "drawn.png") })
  end)

  it("is damaged, no PDF, or not there", function()
    local file = pdf("three.pdf", 3)
    local cut = shell.write(path "cut.pdf", shell.read(file):sub(1, 100))
    assert.matches("^'.*/cut%.pdf' is damaged or cut short, and cannot be prepared %(libvips says: PDF document is "
      .. "damaged%)$", failed(cut))
    assert.equal("'spec/media/picture.png' is image/png, not a PDF", failed "spec/media/picture.png")
    assert.equal("'README.md' is of no known type, not a PDF", failed "README.md")
    assert.equal("cannot read 'gone.pdf': No such file or directory", failed "gone.pdf")
    assert.equal("cannot read '~/gone.pdf': No such file or directory (the shell alone expands ~: write the home "
      .. "directory in full)", failed "~/gone.pdf")
    assert.matches("not a URL: fetch it and pass", failed "https://example.org/a.pdf")
  end)

  it("has not so many pages", function()
    local none = pdf("none.pdf", 0)
    assert.equal("'" .. none .. "' has no pages", failed(none))
    local file = pdf("one.pdf", 1)
    assert.equal("'" .. file .. "' has 1 page, and no page 2", failed(file, { first = 2 }))
    assert.equal("'" .. file .. "' has 1 page, and no page 9", failed(file, { last = 9 }))
  end)

  it("has more than 1,000 pages, of which none is named", function()
    local file = pdf("long.pdf", 1001)
    assert.equal("'" .. file .. "' has 1001 pages, and more than 1000 are taken only where they are named: pass { "
      .. "first =, last = }", failed(file))
    assert.equal(1001, #assert(lmm.pages(file, { first = 1 })))
  end)

  it("is too large at this dpi, or gone when it is drawn", function()
    local file = pdf("three.pdf", 3):gsub("%%", "%%%%")
    local huge = shell.write(path "huge.pdf", (shell.read(file):gsub("144 72%]", "14400 14400]")))
    local page = assert(lmm.pages(huge, { dpi = 144 }))[2]
    assert.equal("page 2 of '" .. huge .. "' has 28,800 x 28,800 pixels, and no more than 100 million are decoded: "
      .. "draw it with a smaller dpi", folder.message_of(page))
    for name, most in pairs { max_side = 300, max_pixels = 90000 } do -- is drawn smaller
      local small = assert(lmm.pages(huge, { dpi = 144, [name] = most }))[2]
      drawn(small)
      assert.same({ 300, 300 }, { small.width, small.height })
    end
    page = assert(lmm.pages(huge, { dpi = 144, max_side = 20000 }))[2]
    assert.matches("has 28,800 x 28,800 pixels", folder.message_of(page))
    local vast = shell.write(path "vast.pdf", (shell.read(file):gsub("144 72%]", "10000000 10000000]")))
    page = assert(lmm.pages(vast, { dpi = 144 }))[2]
    assert.equal("page 2 of '" .. vast .. "' has 20,000,000 x 20,000,000 pixels, and no more than 100 million are "
      .. "decoded: draw it with a smaller dpi", folder.message_of(page))
    page = assert(lmm.pages(file))[1]
    os.remove(file)
    assert.equal("cannot read page 1 of '" .. file .. "': it is no longer there", folder.message_of(page))
  end)

  it("is asked for in a way that cannot be", function()
    assert.raises("lmm.pages: dpi is a number from 1 to 1200, not 0", lmm.pages, "a.pdf", { dpi = 0 })
    assert.raises("lmm.pages: dpi is a number from 1 to 1200, not \"150\"", lmm.pages, "a.pdf", { dpi = "150" })
    assert.raises("lmm.pages: first is a whole number from 1 to 100000, not 1.5", lmm.pages, "a.pdf", { first = 1.5 })
    assert.raises("lmm.pages: there is no option 'page': first = 3, last = 3 draws one page", lmm.pages, "a.pdf",
      { page = 3 })
    assert.raises("lmm.pages: first is 3, behind last, 2", lmm.pages, "a.pdf", { first = 3, last = 2 })
    assert.raises("lmm.pages: max_side is a whole number from 1 to 100000, not 0", lmm.pages, "a.pdf", { max_side = 0 })
    assert.raises("lmm.pages: animated pictures become WebP", lmm.pages, "a.pdf", { animated = true, convert = "png" })
    for name, value in pairs { uuid = "u", trust_uuid = true, mime = "image/png", check = false } do
      assert.raises("lmm.pages: " .. name .. " is for one file that goes as it is, not for pages", lmm.pages, "a.pdf",
        { [name] = value })
    end
    assert.raises("lmm.pages: password is a text, not a number", lmm.pages, "a.pdf", { password = 1 })
    assert.raises("lmm.pages: a path or { bytes = string } expected, got a number", lmm.pages, 5)
    assert.raises("lmm.pages: the options are a table, not a string", lmm.pages, "a.pdf", "x")
  end)
end)
