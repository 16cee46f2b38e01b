-- lmm.digest: the SHA-256 of bytes, and their name; and what core.write does with a digest that sees a media.
local core = require "lmm.core"
local digest = require "lmm.digest"
local shell = require "spec.support.shell"

--- All that a body gives when it is read in pieces of so many bytes.
local function read(body, capacity)
  local pieces = {}
  repeat
    local piece, message = body:read(capacity)
    assert.is_nil(message)
    pieces[#pieces + 1] = piece
  until not piece
  return table.concat(pieces)
end

describe("a digest", function()
  it("is the SHA-256 of its texts (FIPS 180-4's examples)", function()
    for text, hex in pairs {
      [""] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      [("a"):rep(1000000)] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    } do
      assert.equal(hex, digest.new():update(text:sub(1, 7)):update(text:sub(8)):finish():hex())
    end
  end)

  it("says nothing before its end, and takes nothing behind it", function()
    local d = digest.new():update "a"
    assert.is_nil(d:hex())
    assert.is_nil(d:name())
    d:finish()
    assert.raises("this digest is at its end", d.update, d, "b")
    local other = digest.new("s", "p", d:hex()):update "b"
    assert.raises("these are not the bytes of the SHA%-256 given", other.finish, other)
  end)

  it("of a file is what sha256sum says; what cannot be read is told", function()
    assert.equal(shell.output "sha256sum spec/media/picture.png":match "^%x+", digest.file "spec/media/picture.png")
    assert.same({ nil, "cannot read 'gone': No such file or directory" }, { digest.file "gone" })
    assert.same({ nil, "cannot read 'spec': it is not a file" }, { digest.file "spec" })
    assert.same({ nil, "cannot read 'x" .. ("\195\164"):rep(149) .. "': File name too long" },
      { digest.file("x" .. ("\195\164"):rep(200)) })
    assert.raises("a path cannot hold a NUL byte", digest.file, "spec/media/picture.png\0.jpg")
  end)

  it("of what is no file is not waited for", function()
    local path = os.tmpname()
    os.remove(path)
    shell.run("mkfifo '%s'", path)
    for _, name in ipairs { path, "/dev/zero" } do
      assert.same({ nil, ("cannot read '%s': it is not a file"):format(name) }, { digest.file(name) })
    end
    os.remove(path)
  end)

  it("has a name for each secret and purpose, the same for a known SHA-256", function()
    local function name(secret, purpose, text) return digest.new(secret, purpose):update(text):finish():name() end
    local one = name("s", "p", "abc")
    assert.matches("^%x+$", one)
    assert.equal(64, #one)
    assert.equal(one, name("s", "p", "abc"))
    assert.equal(one, digest.new("s", "p", digest.new():update "abc":finish():hex()):name())
    for _, other in ipairs { { "t", "p", "abc" }, { "s", "q", "abc" }, { "s", "p", "abd" }, { "", "", "abc" } } do
      assert.not_equal(one, name(other[1], other[2], other[3]))
    end
    assert.raises("a SHA%-256 in hex expected", digest.new, "s", "p", "abc")
  end)

  it("has secrets that differ", function()
    assert.equal(32, #digest.random())
    assert.not_equal(digest.random(), digest.random())
  end)
end)

describe("a body with a digest", function()
  local bytes = ("\1\2\3\255"):rep(250) .. "x"
  local hex = digest.new():update(bytes):finish():hex()
  local base64 = core.base64.encode(bytes)

  local function write(tap)
    local source = assert(core.media { bytes = bytes })
    return assert(core.write { image_url = core.known { url = core.embed("data:,", source, tap) },
      type = "image_url", uuid = core.name(tap) })
  end

  it("names the media behind it, in pieces of any size and when it is read again", function()
    local tap = digest.new("s", "p")
    local body = write(tap)
    local expected = ('{"image_url":{"url":"data:,%s"},"type":"image_url","uuid":"%s"}'):format(base64,
      digest.new("s", "p", hex):name())
    assert.equal(#expected, body:size())
    for _, capacity in ipairs { 4, 5, 7, 64, 100, 65536 } do
      assert.equal(expected, read(body, capacity))
      assert.equal(hex, tap:hex())
      body:rewind()
      body:read(capacity)
      body:rewind()
    end
  end)

  it("sees a list of media as one, and where each of them ends", function()
    local function name(pieces)
      local tap, list = digest.new("s", "p"), {}
      for i, piece in ipairs(pieces) do list[i] = core.media { bytes = piece } end
      local body = core.write { core.embed("", list, tap), core.name(tap) }
      local names = {}
      for i, capacity in ipairs { 4, 7, 65536 } do
        names[i] = read(body, capacity):match '"(%x+)"%]$'
        body:rewind()
      end
      assert.same({ names[1], names[1] }, { names[2], names[3] })
      return names[1]
    end
    local seen = {}
    for _, pieces in ipairs { { "abc", "de" }, { "abc", "d" },
      { "ab", "cde" }, { "abcde" }, { "de", "abc" }, { "xbc", "de" } } do
      local one = name(pieces)
      assert.is_nil(seen[one])
      seen[one] = true
    end
    assert.is_true(seen[digest.new("s", "p", digest.new():update "abcde":finish():hex()):name()])
  end)

  it("that says what the media is: it is named before it is read, and another one is not given whole", function()
    local expected = digest.new("s", "p", hex):name()
    local body = write(digest.new("s", "p", hex))
    assert.equal(('{"image_url":null,"type":"image_url","uuid":"%s"}'):format(expected), read(body:brief(), 64))
    assert.equal(('{"image_url":{"url":"data:,%s"},"type":"image_url","uuid":"%s"}'):format(base64, expected),
      read(body, 64))
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write((bytes:gsub("x$", "y")))
    file:close()
    local other = core.embed("", core.media(path), digest.new("s", "p", hex))
    local given, piece, message = 0, other:read(64)
    while piece do
      given = given + #piece
      piece, message = other:read(64)
    end
    assert.equal("'" .. path .. "' has changed since the part was made: make the part again", message)
    assert.truthy(given < other:size())
    os.remove(path)
  end)

  it("can be read briefly, without what the server may have", function()
    local body = write(digest.new())
    local brief = body:brief()
    local known = core.write { { a = core.known { 1, 2 }, b = core.known "x" }, core.known {} }
    assert.equal('[{"a":[1,2],"b":"x"},{}]', read(known, 4))
    for _, capacity in ipairs { 4, 5, 100 } do
      local short = known:brief()
      assert.equal('[{"a":null,"b":null},null]', read(short, capacity))
      assert.equal(#'[{"a":null,"b":null},null]', short:size())
    end
    assert.equal('{"m":1,"a":null}', read(core.write { a = core.known "x" }:with("m", 1):brief(), 4))
    assert.is_nil(core.write { 1 }:brief())
    assert.equal('{"image_url":null,"type":"image_url","uuid":"', brief:read(65536))
    assert.same({ nil, "a media's name stands before its bytes" }, { brief:read(65536) })
  end)

  it("refuses what is no digest, and a known value within another", function()
    local source = assert(core.media { bytes = bytes })
    assert.raises("a digest of this build's lmm.digest expected", core.embed, "", source, source)
    assert.raises("a digest of this build's lmm.digest expected", core.name, "x")
    assert.raises("a known value stands in it", core.known, { core.known { 1 } })
  end)
end)
