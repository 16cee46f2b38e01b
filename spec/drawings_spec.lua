-- Drawings and other pictures that no server decodes: made into what all of them do without being asked, reading
-- neither files nor the network, within bounds; and those of which nothing can be made here.
local failures = require "lmm.prepare.failures"
local lmm = require "lmm"
local pixels = require "spec.support.pixels"
local program = require "spec.support.program"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"

local folder = pixels.folder()
local path, prepared = folder.path, folder.prepared

local SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '

local function message_of(svg, opts) return folder.message_of(lmm.image({ bytes = svg }, opts)) end

--- A white picture.
local function sheet(name)
  folder.vips("black %s 240 160 --bands 3", "black.v")
  return folder.vips("invert %s %s", "black.v", name)
end

local function alike(expected, sent)
  folder.vips("flatten %s %s", sent, "flat.png")
  assert.same({ 0, 0 }, { folder.difference(expected, "flat.png") })
end

describe("an SVG", function()
  it("is drawn as PNG for any server, and the part says so", function()
    for _, dialect in ipairs { "vllm", "openai", "llama.cpp", "generic" } do
      local mock = assert(lmm.mock {})
      local part = lmm.image { bytes = SVG .. 'width="37" height="23"/>' }
      assert.same({ "image/png", "image/svg+xml" }, { part.mime, part.converted })
      local reply, message = lmm.connect { base_url = mock.url, dialect = dialect }:conversation():ask("what?", part)
      mock.stop()
      assert.matches("image 1: image/png, 37 x 23 pixels", assert(reply, message).text)
    end
  end)

  it("shows what is in it", function()
    local part = lmm.image { bytes = SVG .. 'width="240" height="160"><rect width="240" height="160" fill="white"/>'
      .. '<rect width="240" height="80" fill="black"/></svg>' }
    sheet "white.v"
    folder.vips("black %s 240 80 --bands 3", "upper.v")
    folder.vips("crop %s %s 0 0 240 80", "white.v", "lower.v")
    folder.vips("join %s %s %s vertical", "upper.v", "lower.v", "half.png")
    alike("half.png", assert(prepared(part)))
  end)

  it("reads neither files nor the network", function()
    local server = raw.start { {} }
    local picture = folder.photo "photo.png"
    local white = sheet "white.png"
    local url = ("http://127.0.0.1:%d/"):format(server.port)
    local inside = [[<rect width="240" height="160" fill="white"/>%s</svg>]]
    local image = '<image width="240" height="160" %s"/>'
    for _, row in ipairs {
      { image:format('xlink:href="' .. picture) }, { image:format('href="file://' .. picture) },
      { image:format 'href="photo.png' }, { image:format('href="' .. url .. "x.png") },
      { image:format('xlink:href="' .. url .. "x.svg#a") }, { '<use href="' .. url .. 'x.svg#a"/>' },
      { '<use href="file://' .. picture .. '#a"/>' },
      { '<style>@import url("' .. url .. 'x.css"); @font-face { font-family: f; src: url("' .. url
        .. 'x.ttf"); }</style>' },
      { '<foreignObject><img src="' .. url .. 'x.png"/></foreignObject>' },
      { '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="' .. url .. 'x.svg"/>' },
      { "<desc>&x;</desc>", '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/hostname">]>' },
      { "<desc>&x;</desc>", '<!DOCTYPE svg [<!ENTITY x SYSTEM "' .. url .. 'x">]>' },
      { "", '<!DOCTYPE svg SYSTEM "' .. url .. 'svg.dtd">' },
      { "", '<?xml version="1.0"?><?xml-stylesheet href="' .. url .. 'x.css"?>' },
    } do
      local source = shell.write(path "drawing.svg", (row[2] or "") .. SVG .. 'width="240" height="160">'
        .. inside:format(row[1]))
      local sent, message = prepared(lmm.image(source))
      if sent then alike(white, sent) else assert.matches("is damaged or cut short", message) end
    end
    assert.equal(0, #server:seen "accepted")
    server:stop()
  end)

  it("is drawn as large as is wanted, whatever it says, and no larger than the bound", function()
    assert.equal("the data in bytes has 5,001 x 5,000 pixels, and no more than 25 million are drawn: pass a smaller "
      .. "max_side", message_of(SVG .. 'width="5001" height="5000"/>'))
    assert.equal("the data in bytes has 20,000,000 x 5 pixels, and is drawn no smaller than a thousandth: pass a "
      .. "larger max_side, or write a smaller size into it", message_of(SVG .. 'width="20000000" height="5"/>'))
    for _, size in ipairs { { 1, 5 }, { 5000, 1 }, { 1, 1 } } do
      local sent = assert(prepared(lmm.image { bytes = SVG .. ('width="%d" height="%d"/>'):format(size[1], size[2]) }))
      assert.same({ tostring(size[1]), tostring(size[2]) }, { folder.header(sent, "width"),
        folder.header(sent, "height") })
    end
    assert.matches("^the data in bytes has 1,000,000 x 1,000,000 pixels, and no more than 25 million",
      message_of(SVG .. 'viewBox="0 0 1000000 1000000"/>'))
    assert.equal("the data in bytes has 100,000 x 50,000 pixels, and is drawn no smaller than a thousandth: pass a "
      .. "larger max_side, or write a smaller size into it", message_of(SVG .. 'width="100000" height="50000"/>',
      { max_side = 60 }))
    local part = lmm.image({ bytes = SVG .. 'width="50000" height="25000"/>' }, { max_side = 60 })
    assert.equal("60", folder.header(assert(prepared(part)), "width"))
    assert.equal(30, part.height)
  end)

  it("that grows as it is read, or has no size, is told", function()
    local entities = { '<!DOCTYPE svg [<!ENTITY a0 "lolololo">' }
    for i = 1, 20 do entities[#entities + 1] = ('<!ENTITY a%d "&a%d;&a%d;&a%d;">'):format(i, i - 1, i - 1, i - 1) end
    local bomb = table.concat(entities) .. "]>" .. SVG .. 'width="9" height="9"><text>&a20;</text></svg>'
    local ended = program.run([[
      local lmm, prepare, core = require "lmm", require "lmm.prepare", require "lmm.core"
      local part = lmm.image({ bytes = ... })
      print(select(2, prepare.all({ part }, function() core.sleep(0.002) end)).message)
    ]], { bomb }, "ASAN_OPTIONS=detect_leaks=0") -- libxml2 leaks what it has of them
    assert.matches("^the data in bytes is damaged or cut short, and cannot be prepared", ended.out)
    assert.equal("the data in bytes says nothing of its size: give it a width and a height, or a viewBox",
      message_of(SVG .. "/>"))
  end)
end)

describe("what takes too long", function()
  for _, row in ipairs {
    { "a photo", { from = "image/jpeg" }, "shrink it first" },
    { "a drawing", { from = "image/svg+xml" }, "pass a smaller max_side" },
    { "a page", { from = "application/pdf", page = 1 }, "draw it with a smaller dpi" },
  } do
    it("is " .. row[1], function()
      row[2].name = "it"
      assert.equal("it took more than 60 seconds to prepare, and was given up: " .. row[3],
        failures.of_picture(row[2], { word = "slow", limit = 60 }).message)
    end)
  end
end)

describe("what no server decodes", function()
  teardown(folder.remove)

  it("is a JPEG XL, which becomes a JPEG", function()
    folder.photo "photo.png"
    local part = lmm.image((folder.vips("copy %s %s", "photo.png", "photo.jxl[lossless]")))
    assert.same({ "image/jpeg", "image/jxl" }, { part.mime, part.converted })
    assert(folder.difference("photo.png", assert(prepared(part))) < 2)
  end)

  it("goes as it is where the caller knows better", function()
    assert.is_nil(lmm.image({ bytes = SVG .. "/>" }, { check = false }).plan)
    assert.is_nil(lmm.image({ bytes = SVG .. "/>" }, { mime = "image/svg+xml" }).plan)
  end)

  it("cannot be decoded here either where libvips has no loader for it", function()
    local plan = { name = "the data in bytes", from = "image/jxl", is_decoded = true,
      made = { mime = "image/jxl" } }
    local message = failures.of_picture(plan, { word = "decoder", detail = "" }).message
    assert.equal("the data in bytes is a JPEG XL picture (image/jxl), and there is no decoder for it: install a "
      .. "libvips with JPEG XL, as libvips42", message)
  end)
end)
