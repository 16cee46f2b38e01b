-- Media and parts: what a source is, and why it cannot be sent where it cannot.

local core = require "lmm.core"
local errors = require "lmm.errors"
local parts = require "lmm.part"
local shell = require "spec.support.shell"

local jpeg = "spec/media/baseline.jpg"

local function image(source, opts)
  return (parts.new("image", source, opts)) -- no tail call: an error shall point here
end

--- Runs `fn(folder)` with a folder of its own.
local function with_folder(fn)
  local folder = os.tmpname()
  os.remove(folder)
  shell.run("mkdir '%s'", folder)
  local ok, err = pcall(fn, folder)
  shell.run("chmod -R u+rwX '%s' && rm -r '%s'", folder, folder)
  if not ok then error(err, 0) end
end

--- The part cannot be sent, and its error says so in one line.
local function unusable(part, pattern)
  assert(parts.is(part), "no part")
  local err = part.err
  assert(errors.is(err), "no error object")
  assert.equal("invalid", err.kind)
  assert.equal(false, err.retryable)
  assert.matches(pattern, err.message)
  assert(not err.message:find "%c", "a control character in the message")
  return err
end

local function usable(part)
  assert(parts.is(part), "no part")
  if part.err then error(part.err.message) end
  return part
end

describe("media and parts", function()
  -- ---- files

  it("an image file", function()
    local part = usable(image(jpeg))
    assert.same({ "image", "image/jpeg", 37, 23, #shell.read(jpeg) },
      { part.kind, part.mime, part.width, part.height, part.size })
    assert.same({}, part.options)
    local bytes = shell.read(jpeg)
    local info = part.media:info()
    assert.truthy(math.abs(tonumber(shell.output("stat -c %.6Y " .. jpeg):match "[%d.]+") - info.mtime) < 1e-5)
    info.mtime = nil
    assert.same({ mime = "image/jpeg", width = 37, height = 23, size = #bytes, first = bytes:sub(1, 16) }, info)
  end)

  it("sources that are no file", function()
    with_folder(function(folder)
      local rows = {
        { folder .. "/none.jpg", "cannot read '" .. folder .. "/none%.jpg': No such file or directory" },
        { folder, "'" .. folder .. "' is a directory" },
        { folder .. "/", "is a directory" },
        { "", "cannot read ''" },
        { shell.write(folder .. "/empty.jpg", ""), "empty%.jpg' is empty" },
        { shell.write(folder .. "/file", "x") .. "/below.jpg", "Not a directory" },
        { "/dev/null", "'/dev/null' is a device, not a file: read it and pass { bytes = ... }, or '%-' to lmm ask" },
        { "/dev/zero", "is a device" },
        { folder .. "/fifo", "is a fifo, not a file: read it and pass { bytes = ... }, or '%-' to lmm ask" },
        { folder .. "/a\nb.jpg", "a b%.jpg'" },
        { folder .. "/" .. ("n"):rep(300) .. ".jpg", "File name too long" },
        { folder .. "/" .. ("\195\164"):rep(1500) .. ".jpg", "File name too long %(if this is the picture" },
        { folder .. "/" .. ("x\195\164"):rep(1500) .. ".jpg", "File name too long %(if this is the picture" },
        { folder .. "/loop.jpg", "symbolic links" },
      }
      shell.run("mkfifo '%s/fifo' && ln -s loop.jpg '%s/loop.jpg'", folder, folder)
      for _, row in ipairs(rows) do
        local media, message = core.media(row[1])
        assert.equal(nil, media)
        assert.equal("string", type(message))
        local err = unusable(image(row[1]), row[2])
        assert.equal(nil, core.utf8(err.message), "not UTF-8")
      end
    end)
  end)

  it("a symbolic link to a file", function()
    with_folder(function(folder)
      shell.run("cp %s '%s/to.jpg' && ln -s to.jpg '%s/link'", jpeg, folder, folder)
      assert.equal("image/jpeg", usable(image(folder .. "/link")).mime)
    end)
  end)

  it("names with spaces, quotes and bytes that are not UTF-8", function()
    with_folder(function(folder)
      for _, name in ipairs { "a b.jpg", "a'b\".jpg", "%s%d.jpg", "-x", "\255.jpg", "\195\164.jpg", "a\nb.jpg" } do
        usable(image(shell.write(folder .. "/" .. name, shell.read(jpeg))))
        unusable(image(shell.write(folder .. "/" .. name, "text")), "is of no known type")
      end
    end)
  end)

  it("a file that may not be read", function()
    with_folder(function(folder)
      local path = shell.write(folder .. "/secret.jpg", shell.read(jpeg))
      shell.run("chmod 755 '%s' && chmod 000 '%s'", folder, path)
      if not shell.read(path) then -- root may read everything
        unusable(image(path), "cannot read '" .. path .. "': Permission denied")
        return
      end
      local user = "setpriv --reuid=65534 --regid=65534 --clear-groups"
      local child = ("LUA_PATH=%q LUA_CPATH=%q " .. user .. " %s -e %q 2>&1"):format(
        package.path, package.cpath, arg[-1],
        ("local ok, parts = pcall(require, 'lmm.part') print(ok and parts.new('image', '%s').err.message)")
          :format(path))
      local said = shell.output(child)
      if not said:find "cannot read" then pending("no process without rights: " .. said:gsub("%s+", " ")) end
      assert.same("cannot read '" .. path .. "': Permission denied\n", said)
    end)
  end)

  -- ---- bytes and types

  it("an image in memory", function()
    local part = usable(image { bytes = shell.read(jpeg) })
    assert.same({ "image/jpeg", 37, 23, #shell.read(jpeg) }, { part.mime, part.width, part.height, part.size })
  end)

  local types = {
    { "empty bytes", { bytes = "" }, "the data in bytes is empty" },
    { "bytes of no known type", { bytes = "\1\2\254" },
      "^the data in bytes is of no known type: it begins with 01 02 fe %(pass { mime = \"image/...\" } as options if" },
    { "text", { bytes = "Dear all,\nthe picture follows." },
      "^the data in bytes is of no known type, it seems to be text: it begins with \"Dear all, the pi\" %(pass { m" },
    { "a single letter", { bytes = "x" }, "seems to be text: it begins with \"x\"" },
    { "text with letters beyond ASCII", { bytes = "Gr\195\182\195\159e\n" },
      "text: it begins with \"Gr\195\182\195\159e\" " },
    { "text cut within a letter", { bytes = "123456789012345\195\182" }, "text: it begins with \"123456789012345\" " },
    { "text that ends within a letter", { bytes = "12345\195" }, "type: it begins with 31 32 33 34 35 c3" },
    { "text and a lone last byte", { bytes = "123456789012345\255" }, "type: it begins with 31" },
    { "text that ends as no letter does", { bytes = "12345678901234\195(" }, "type: it begins with 31" },
    { "almost text", { bytes = "abc\195(" }, "type: it begins with 61 62 63 c3 28" },
    { "text and a control character", { bytes = "abc\27[2J" }, "type: it begins with 61 62 63 1b 5b 32 4a" },
    { "text and NUL", { bytes = "abc\0" }, "type: it begins with 61 62 63 00" },
    { "white space", { bytes = "  \n \t" }, "type: it begins with 20 20 0a 20 09" },
    { "quotes", { bytes = "say \"a\\b\"" }, "text: it begins with" },
    { "an audio file", "spec/media/sound.wav",
      "^'spec/media/sound%.wav' is audio/wav, not image: lmm%.audio takes it %(pass { mime" },
    { "a video file", "spec/media/clip.mp4", "is video/mp4, not image" },
    { "a document", "spec/media/document.pdf", "is application/pdf, not image" },
    { "a document in memory", { bytes = "%PDF-1.4\n" }, "^the data in bytes is application/pdf, not image" },
  }

  for _, row in ipairs(types) do
    it("type: " .. row[1], function() unusable(image(row[2]), row[3]) end)
  end

  it("a fifo is not opened: whoever writes to it still waits for its reader", function()
    with_folder(function(folder)
      local out = shell.output(([[cd '%s'; mkfifo fifo; { echo written >fifo; } & pid=$!
        until grep -q ") S" /proc/$pid/stat; do :; done
        %s; timeout 9 cat fifo; kill $pid 2>/dev/null]]):format(folder,
        ([[cd '%s' && '%s' -e 'print(require("lmm.part").new("image", "%s/fifo").err)'; cd '%s']]):format(
          shell.output "pwd":gsub("%s+$", ""), arg[-1], folder, folder)))
      assert.matches("is a fifo, not a file.*\nwritten\n$", out)
    end)
  end)

  it("a text named .jpg", function()
    with_folder(function(folder)
      local path = shell.write(folder .. "/text.jpg", "<!DOCTYPE html><html>")
      local err = unusable(image(path),
        "text%.jpg' is of no known type, it seems to be text: it begins with \"<!DOCTYPE")
      assert.matches("pass { mime = \"image/%.%.%.\" }", err.message)
    end)
  end)

  it("an image with a wrong name", function()
    with_folder(function(folder)
      assert.equal("image/jpeg", usable(image(shell.write(folder .. "/picture.txt", shell.read(jpeg)))).mime)
    end)
  end)

  it("the type that the caller names wins", function()
    for _, source in ipairs { jpeg, "spec/media/sound.wav", { bytes = "\1\2" }, { bytes = "text" } } do
      local part = usable(image(source, { mime = "image/x-new" }))
      assert.equal("image/x-new", part.mime)
      assert.same({}, part.options)
    end
    local part = usable(image(jpeg, { mime = "image/png" }))
    assert.same({ 37, 23, #shell.read(jpeg) }, { part.width, part.height, part.size })
    unusable(image({ bytes = "" }, { mime = "image/png" }), "empty")
    unusable(image("/none.png", { mime = "image/png" }), "No such file")
  end)

  it("a type that is none raises", function()
    for _, mime in ipairs { "", "png", "image/", "/png", "image/png;q=1", "image/p ng", "image/png\n", 5, {}, false } do
      assert.raises("lmm%.image: mime is a type like \"image/png\"", image, jpeg, { mime = mime })
    end
  end)

  -- ---- URLs

  for _, url in ipairs {
    "http://example.org/a.jpg", "https://example.org/a.jpg?x=1&y=%20#f", "file:///data/a.jpg", "file:data/a.jpg",
    "HTTPS://example.org/a.jpg",
  } do
    it("a URL is passed on: " .. url, function()
      local part = usable(image(url, { detail = "low" }))
      assert.same({ url }, { part.url, part.media, part.size })
      assert.same({ detail = "low" }, part.options)
    end)
  end

  local urls = {
    { "ftp://example.org/a.jpg", "a ftp: URL cannot be used: http, https, data and file can" },
    { "s3://bucket/a.jpg", "a s3: URL cannot be used" },
    { "javascript://x", "a javascript: URL cannot be used" },
    { "http://example.org/a b.jpg", "the URL holds a space or a control character" },
    { "http://example.org/a\nb.jpg", "a space or a control character" },
    { "http://example.org/a\r\nHost: b", "a space or a control character" },
    { "http://example.org/a\127", "a space or a control character" },
    { "http://example.org/a ", "a space or a control character" },
    { "file:///a\tb", "a space or a control character" },
    { "http://example.org/a\0b", "NUL" },
    { "a\0b.jpg", "NUL" },
    { "data:image/png;base64,AA\0A", "NUL" },
    { "http://", "the URL names no host" },
    { "https:///a.jpg", "the URL names no host" },
    { "https://@", "the URL names no host" },
    { "https://user:word@:80/", "the URL names no host" },
    { "file:", "the URL names no file" },
    { "FILE:///", "the URL names no file" },
  }

  for _, row in ipairs(urls) do
    it(("a URL cannot be used: %q"):format(row[1]), function() unusable(image(row[1]), row[2]) end)
  end

  it("what no server fetches has to be bytes; the URL, which may hold a key, is not told", function()
    local url, rest = "https://example.org/a?key=secret", ": read it and pass { bytes = ... }"
    assert.same("no server fetches a file part" .. rest, parts.new("file", url).err.message)
    assert.equal("no server fetches audio that has a format" .. rest,
      parts.new("audio", url, { format = "wav" }).err.message)
    assert.equal(nil, parts.new("audio", url).err)
  end)

  local encoded = core.base64.encode(shell.read(jpeg))

  it("a data: URL is decoded: its bytes say what it is", function()
    local part = usable(image("data:image/jpeg;base64," .. encoded, { uuid = "a", trust_uuid = true }))
    assert.same({ nil, "image/jpeg", 37, 23, #shell.read(jpeg) },
      { part.url, part.mime, part.width, part.height, part.size })
    assert.same({ uuid = "a" }, part.options)
    for _, head in ipairs { "data:image/png;base64,", "DATA:image/jpeg;charset=x;base64,", "data:;base64," } do
      assert.equal("image/jpeg", usable(image(head .. encoded)).mime)
    end
    assert.equal("image/svg+xml", usable(image "data:image/svg+xml;base64,AA==").mime)
    assert.equal("image/x-new", usable(image("data:image/jpeg;base64," .. encoded, { mime = "image/x-new" })).mime)
    assert.equal("text/csv", usable(parts.new("file", "data:text/csv;base64,YSxi")).mime)
  end)

  it("a data: URL of a video that is said to be sound", function()
    for name, mime in pairs { ["clip.webm"] = "audio/webm", ["clip.mp4"] = "audio/mp4" } do
      local url = "data:" .. mime .. ";codecs=opus;base64," .. core.base64.encode(shell.read("spec/media/" .. name))
      assert.same(mime, usable(parts.new("audio", url)).mime)
      unusable(parts.new("audio", (url:gsub("audio", "text", 1))), "the data: URL is video/")
    end
  end)

  it("a long data: URL without a comma: with quadratic work this would not end", function()
    unusable(image("data:" .. ("A"):rep(1000000)), "does not begin with")
    unusable(image("data:" .. (";base64"):rep(200000) .. ","), "is empty")
  end)

  it("a data: URL of something else", function()
    local sound = core.base64.encode(shell.read "spec/media/sound.wav")
    unusable(image("data:image/png;base64," .. sound),
      "^the data: URL is audio/wav, not image: lmm%.audio takes it %(pass { mime")
    unusable(image "data:application/pdf;base64,AAAA", "^the data: URL is application/pdf, not image")
    unusable(image "data:;base64,AAAA", "^the data: URL is of no known type: it begins with 00 00 00 ")
    unusable(image "data:image/png\r\n;base64,AAAA", "^the data: URL is of no known type")
    unusable(image "data:video/jpeg;base64,AAAA,AAAA", "not base64 at character 28")
  end)

  it("a data: URL of a video's frames is a video of frames", function()
    local function video(url, opts) return parts.new("video", url, opts) end
    local part = usable(video("Data:video/jpeg;base64," .. encoded .. ",AAAA"))
    assert.same({ "video/jpeg", 2, part.frames[1].size + 3, part.frames[1].width }, { part.mime, #part.frames,
      part.size, part.width })
    assert.raises("lmm.video: frames is for a film, and the data: URL is a video of frames already", video,
      "data:video/jpeg;base64,AAAA", { frames = 2 })
    unusable(video "data:video/jpeg;base64,", "the data: URL is empty")
    unusable(video "data:VIDEO/JPEG;base64,AAAA,", "an empty frame at character 29")
    unusable(video "data:video/jpeg;base64,AAAA,,AAAA", "an empty frame at character 29")
    unusable(video "data:video/jpeg;base64,AAAA,AA A", "not base64 at character 31")
  end)

  local data_urls = {
    { "a space after the comma", "data:image/png;base64, AAAA", "at character 23: no spaces or line breaks" },
    { "a space at the end", "data:image/png;base64,AAAA ", "at character 27" },
    { "wrapped lines", "data:image/png;base64,AAAA\nAAAA", "at character 27" },
    { "a line break at the end", "data:image/png;base64,AAAA\n", "at character 27" },
    { "no padding", "data:image/png;base64,AAAAAA", "base64 at character 29: .*padded with '='" },
    { "half the padding", "data:image/png;base64,AAAAAA=", "at character 30" },
    { "too much padding", "data:image/png;base64,AAAA=", "at character 27" },
    { "the alphabet for URLs", "data:image/png;base64,AA-_", "at character 25" },
    { "no base64", "data:image/png,AAAA", "does not begin with 'data:type;base64,'" },
    { "base64 in capitals", "data:image/png;BASE64,AAAA", "does not begin" },
    { "a space before base64", "data:image/png; base64,AAAA", "does not begin" },
    { "no comma", "data:image/png;base64", "does not begin" },
    { "base64 behind the comma", "data:image/png,;base64,AAAA", "does not begin" },
    { "nothing in it", "data:image/png;base64,", "is empty" },
    { "nothing at all", "data:", "does not begin" },
  }

  for _, row in ipairs(data_urls) do
    it("a data: URL with " .. row[1], function() unusable(image(row[2]), row[3]) end)
  end

  it("the message does not hold the data: URL", function()
    local err = unusable(image("data:image/png;base64," .. ("A"):rep(100001)), "at character")
    assert(#err.message < 200, "too long")
  end)

  -- ---- options and misuse

  it("options are copied, and the caller's tables stay", function()
    local nested = { a = 1 }
    local opts = { mime = "image/png", detail = "high", uuid = "u1", trust_uuid = true, cache_control = nested,
      [1] = "x" }
    local part = usable(image(jpeg, opts))
    assert.same({ detail = "high", uuid = "u1", cache_control = { a = 1 }, [1] = "x" }, part.options)
    assert.same({ mime = "image/png", detail = "high", uuid = "u1", trust_uuid = true, cache_control = { a = 1 },
      [1] = "x" }, opts)
    opts.detail = "low"
    assert.equal("high", part.options.detail)
    local source = { bytes = shell.read(jpeg) }
    image(source)
    assert.same({ bytes = shell.read(jpeg) }, source)
  end)

  it("base64 or bytes in the place of a path are not told", function()
    local err = unusable(image(encoded:rep(10)), "^cannot read '/9j/4AAQSkZJRgAB...': .*pass { bytes = ... }%)$")
    assert(#err.message < 150, err.message)
    unusable(image(shell.read(jpeg)), "NUL byte %(if these are the bytes themselves, pass { bytes = ... }%)$")
  end)

  it("a long text with a slash in the place of a path: with quadratic work this would not end", function()
    unusable(image(("a"):rep(1000000) .. "/b"), "^cannot read 'aaaaaaaaaaaaaaaa...': ")
  end)

  it("misuse raises and points at the caller", function()
    assert.raises("'mime' beside bytes: the options are the second argument", image,
      { bytes = "a", mime = "image/png" })
    assert.raises("mime is not for what the server is to fetch", image, "https://host/a", { mime = "image/png" })
    for _, source in ipairs { 5, true, {}, { bytes = 5 }, { path = jpeg }, io.stdout, print } do
      local message = assert.raises("lmm%.image: a path, a URL or { bytes = string } expected, got ", function()
        image(source)
      end)
      assert.matches("^[^:]*media_spec%.lua:%d+: lmm", message)
    end
    assert.raises("bytes = string } expected, got a nil", image)
    assert.raises("lmm%.image: the options are a table, not a string", image, jpeg, "low")
    assert.raises("lmm%.image: the options are a table, not a boolean", image, jpeg, false)
  end)

  it("lmm.image makes a part", function()
    local part = usable(require("lmm").image(jpeg, { detail = "low" }))
    assert.same({ "image/jpeg", { detail = "low" } }, { part.mime, part.options })
    local message = assert.raises("lmm%.image", function() return (require("lmm").image()) end)
    assert.matches("^[^:]*media_spec%.lua:%d+: lmm", message)
  end)

  it("misuse of core.media raises", function()
    assert.raises("table expected", core.media)
    assert.raises("table expected", core.media, 5)
    assert.raises("bytes = string", core.media, {})
    assert.raises("bytes = string", core.media, { bytes = 5 })
    assert.raises("NUL", core.media, "a\0b")
    local media = assert(core.media(jpeg))
    assert.raises("lmm%.media", media.info, {})
    assert.raises("lmm%.media", media.info, core.body "")
  end)

  it("the first bytes are told as far as there are any", function()
    for size = 1, 20 do
      local bytes = ("\200\0x"):rep(7):sub(1, size)
      assert.same({ size = size, first = bytes:sub(1, 16) }, assert(core.media { bytes = bytes }):info())
    end
  end)
end)
