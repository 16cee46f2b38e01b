-- Media and parts: what a source is, and why it cannot be sent where it cannot.

local core = require "lmm.core"
local errors = require "lmm.errors"
local parts = require "lmm.part"
local shell = require "spec.support.shell"
local test = require "spec.support.test"

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
  test.ok(parts.is(part), "no part")
  local err = part.err
  test.ok(errors.is(err), "no error object")
  test.equal(err.kind, "invalid")
  test.equal(err.retryable, false)
  test.match(err.message, pattern)
  test.ok(not err.message:find "%c", "a control character in the message")
  return err
end

local function usable(part)
  test.ok(parts.is(part), "no part")
  if part.err then error(part.err.message) end
  return part
end

-- ---- files

test.case("an image file", function()
  local part = usable(image(jpeg))
  test.equal({ part.kind, part.mime, part.width, part.height, part.size },
    { "image", "image/jpeg", 37, 23, #shell.read(jpeg) })
  test.equal(part.options, {})
  test.equal(part.media:info(),
    { mime = "image/jpeg", width = 37, height = 23, size = #shell.read(jpeg), first = shell.read(jpeg):sub(1, 16) })
end)

test.case("sources that are no file", function()
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
      test.equal(media, nil)
      test.equal(type(message), "string")
      local err = unusable(image(row[1]), row[2])
      test.equal(core.utf8(err.message), nil, "not UTF-8")
    end
  end)
end)

test.case("a symbolic link to a file", function()
  with_folder(function(folder)
    shell.run("cp %s '%s/to.jpg' && ln -s to.jpg '%s/link'", jpeg, folder, folder)
    test.equal(usable(image(folder .. "/link")).mime, "image/jpeg")
  end)
end)

test.case("names with spaces, quotes and bytes that are not UTF-8", function()
  with_folder(function(folder)
    for _, name in ipairs { "a b.jpg", "a'b\".jpg", "%s%d.jpg", "-x", "\255.jpg", "\195\164.jpg", "a\nb.jpg" } do
      usable(image(shell.write(folder .. "/" .. name, shell.read(jpeg))))
      unusable(image(shell.write(folder .. "/" .. name, "text")), "is of no known type")
    end
  end)
end)

test.case("a file that may not be read", function()
  with_folder(function(folder)
    local path = shell.write(folder .. "/secret.jpg", shell.read(jpeg))
    shell.run("chmod 755 '%s' && chmod 000 '%s'", folder, path)
    if not shell.read(path) then -- root may read everything
      unusable(image(path), "cannot read '" .. path .. "': Permission denied")
      return
    end
    local child = ("LUA_PATH=%q LUA_CPATH=%q setpriv --reuid=65534 --regid=65534 --clear-groups %s -e %q 2>&1"):format(
      package.path, package.cpath, arg[-1],
      ("local ok, parts = pcall(require, 'lmm.part') print(ok and parts.new('image', '%s').err.message)"):format(path))
    local said = shell.output(child)
    if not said:find "cannot read" then test.skip("no process without rights: " .. said:gsub("%s+", " ")) end
    test.equal(said, "cannot read '" .. path .. "': Permission denied\n")
  end)
end)

-- ---- bytes and types

test.case("an image in memory", function()
  local part = usable(image { bytes = shell.read(jpeg) })
  test.equal({ part.mime, part.width, part.height, part.size }, { "image/jpeg", 37, 23, #shell.read(jpeg) })
end)

local types = {
  { "empty bytes", { bytes = "" }, "the data in bytes is empty" },
  { "bytes of no known type", { bytes = "\1\2\254" },
    "^the data in bytes is of no known type: it begins with 01 02 fe %(pass { mime = \"image/...\" } as options if" },
  { "text", { bytes = "Dear all,\nthe picture follows." },
    "^the data in bytes is of no known type, it seems to be text: it begins with \"Dear all, the pi\" %(pass { mime" },
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
  { "an audio file", "spec/media/sound.wav", "^'spec/media/sound%.wav' is audio/wav, not image %(pass { mime" },
  { "a video file", "spec/media/clip.mp4", "is video/mp4, not image" },
  { "a document", "spec/media/document.pdf", "is application/pdf, not image" },
  { "a document in memory", { bytes = "%PDF-1.4\n" }, "^the data in bytes is application/pdf, not image" },
}

for _, row in ipairs(types) do
  test.case("type: " .. row[1], function() unusable(image(row[2]), row[3]) end)
end

test.case("a fifo is not opened: whoever writes to it still waits for its reader", function()
  with_folder(function(folder)
    local out = shell.output(([[cd '%s'; mkfifo fifo; { echo written >fifo; } & pid=$!
      until grep -q ") S" /proc/$pid/stat; do :; done
      %s; timeout 9 cat fifo; kill $pid 2>/dev/null]]):format(folder,
      ([[cd '%s' && '%s' -e 'print(require("lmm.part").new("image", "%s/fifo").err)'; cd '%s']]):format(
        shell.output "pwd":gsub("%s+$", ""), arg[-1], folder, folder)))
    test.match(out, "is a fifo, not a file.*\nwritten\n$")
  end)
end)

test.case("a text named .jpg", function()
  with_folder(function(folder)
    local path = shell.write(folder .. "/text.jpg", "<!DOCTYPE html><html>")
    local err = unusable(image(path), "text%.jpg' is of no known type, it seems to be text: it begins with \"<!DOCTYPE")
    test.match(err.message, "pass { mime = \"image/%.%.%.\" }")
  end)
end)

test.case("an image with a wrong name", function()
  with_folder(function(folder)
    test.equal(usable(image(shell.write(folder .. "/picture.txt", shell.read(jpeg)))).mime, "image/jpeg")
  end)
end)

test.case("the type that the caller names wins", function()
  for _, source in ipairs { jpeg, "spec/media/sound.wav", { bytes = "\1\2" }, { bytes = "text" } } do
    local part = usable(image(source, { mime = "image/x-new" }))
    test.equal(part.mime, "image/x-new")
    test.equal(part.options, {})
  end
  local part = usable(image(jpeg, { mime = "image/png" }))
  test.equal({ part.width, part.height, part.size }, { 37, 23, #shell.read(jpeg) })
  unusable(image({ bytes = "" }, { mime = "image/png" }), "empty")
  unusable(image("/none.png", { mime = "image/png" }), "No such file")
end)

test.case("a type that is none raises", function()
  for _, mime in ipairs { "", "png", "image/", "/png", "image/png;q=1", "image/p ng", "image/png\n", 5, {}, false } do
    test.raises("lmm%.image: mime is a type like \"image/png\"", image, jpeg, { mime = mime })
  end
end)

-- ---- URLs

for _, url in ipairs {
  "http://example.org/a.jpg", "https://example.org/a.jpg?x=1&y=%20#f", "file:///data/a.jpg", "file:data/a.jpg",
  "HTTPS://example.org/a.jpg",
} do
  test.case("a URL is passed on: " .. url, function()
    local part = usable(image(url, { detail = "low" }))
    test.equal({ part.url, part.media, part.size }, { url })
    test.equal(part.options, { detail = "low" })
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
  test.case(("a URL cannot be used: %q"):format(row[1]), function() unusable(image(row[1]), row[2]) end)
end

test.case("what no server fetches has to be bytes; the URL, which may hold a key, is not told", function()
  local url, rest = "https://example.org/a?key=secret", ": read it and pass { bytes = ... }"
  test.equal(parts.new("file", url).err.message, "no server fetches a file part" .. rest)
  test.equal(parts.new("audio", url, { format = "wav" }).err.message,
    "no server fetches audio that has a format" .. rest)
  test.equal(parts.new("audio", url).err, nil)
end)

local encoded = core.base64.encode(shell.read(jpeg))

test.case("a data: URL is decoded: its bytes say what it is", function()
  local part = usable(image("data:image/jpeg;base64," .. encoded, { uuid = "a" }))
  test.equal({ part.url, part.mime, part.width, part.height, part.size },
    { nil, "image/jpeg", 37, 23, #shell.read(jpeg) })
  test.equal(part.options, { uuid = "a" })
  for _, head in ipairs { "data:image/png;base64,", "DATA:image/jpeg;charset=x;base64,", "data:;base64," } do
    test.equal(usable(image(head .. encoded)).mime, "image/jpeg")
  end
  test.equal(usable(image "data:image/svg+xml;base64,AA==").mime, "image/svg+xml")
  test.equal(usable(image("data:image/jpeg;base64," .. encoded, { mime = "image/x-new" })).mime, "image/x-new")
  test.equal(usable(parts.new("file", "data:text/csv;base64,YSxi")).mime, "text/csv")
end)

test.case("a data: URL of a video that is said to be sound", function()
  for name, mime in pairs { ["clip.webm"] = "audio/webm", ["clip.mp4"] = "audio/mp4" } do
    local url = "data:" .. mime .. ";codecs=opus;base64," .. core.base64.encode(shell.read("spec/media/" .. name))
    test.equal(usable(parts.new("audio", url)).mime, mime)
    unusable(parts.new("audio", (url:gsub("audio", "text", 1))), "the data: URL is video/")
  end
end)

test.case("a long data: URL without a comma: with quadratic work this would not end", function()
  unusable(image("data:" .. ("A"):rep(1000000)), "does not begin with")
  unusable(image("data:" .. (";base64"):rep(200000) .. ","), "is empty")
end)

test.case("a data: URL of something else", function()
  local sound = core.base64.encode(shell.read "spec/media/sound.wav")
  unusable(image("data:image/png;base64," .. sound), "^the data: URL is audio/wav, not image %(pass { mime")
  unusable(image "data:application/pdf;base64,AAAA", "^the data: URL is application/pdf, not image")
  unusable(image "data:;base64,AAAA", "^the data: URL is of no known type: it begins with 00 00 00 ")
  unusable(image "data:image/png\r\n;base64,AAAA", "^the data: URL is of no known type")
  unusable(image "data:video/jpeg;base64,AAAA,AAAA", "not base64 at character 28")
end)

test.case("a data: URL of a video's frames goes as it is", function()
  local function video(url) return parts.new("video", url) end
  local part = usable(video("Data:video/jpeg;base64," .. encoded .. "," .. encoded))
  test.equal({ part.url, part.mime }, { "data:video/jpeg;base64," .. encoded .. "," .. encoded, "video/jpeg" })
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
  test.case("a data: URL with " .. row[1], function() unusable(image(row[2]), row[3]) end)
end

test.case("the message does not hold the data: URL", function()
  local err = unusable(image("data:image/png;base64," .. ("A"):rep(100001)), "at character")
  test.ok(#err.message < 200, "too long")
end)

-- ---- options and misuse

test.case("options are copied, and the caller's tables stay", function()
  local nested = { a = 1 }
  local opts = { mime = "image/png", detail = "high", uuid = "u1", cache_control = nested, [1] = "x" }
  local part = usable(image(jpeg, opts))
  test.equal(part.options, { detail = "high", uuid = "u1", cache_control = { a = 1 }, [1] = "x" })
  test.equal(opts, { mime = "image/png", detail = "high", uuid = "u1", cache_control = { a = 1 }, [1] = "x" })
  opts.detail = "low"
  test.equal(part.options.detail, "high")
  local source = { bytes = shell.read(jpeg) }
  image(source)
  test.equal(source, { bytes = shell.read(jpeg) })
end)

test.case("base64 or bytes in the place of a path are not told", function()
  local err = unusable(image(encoded:rep(10)), "^cannot read '/9j/4AAQSkZJRgAB...': .*pass { bytes = ... }%)$")
  test.ok(#err.message < 150, err.message)
  unusable(image(shell.read(jpeg)), "NUL byte %(if these are the bytes themselves, pass { bytes = ... }%)$")
end)

test.case("misuse raises and points at the caller", function()
  test.raises("'mime' beside bytes: the options are the second argument", image, { bytes = "a", mime = "image/png" })
  test.raises("mime is not for what the server is to fetch", image, "https://host/a", { mime = "image/png" })
  for _, source in ipairs { 5, true, {}, { bytes = 5 }, { path = jpeg }, io.stdout, print } do
    local message = test.raises("lmm%.image: a path, a URL or { bytes = string } expected, got ", function()
      image(source)
    end)
    test.match(message, "^[^:]*media_spec%.lua:%d+: lmm")
  end
  test.raises("bytes = string } expected, got a nil", image)
  test.raises("lmm%.image: the options are a table, not a string", image, jpeg, "low")
  test.raises("lmm%.image: the options are a table, not a boolean", image, jpeg, false)
end)

test.case("lmm.image makes a part", function()
  local part = usable(require("lmm").image(jpeg, { detail = "low" }))
  test.equal({ part.mime, part.options }, { "image/jpeg", { detail = "low" } })
  local message = test.raises("lmm%.image", function() return (require("lmm").image()) end)
  test.match(message, "^[^:]*media_spec%.lua:%d+: lmm")
end)

test.case("misuse of core.media raises", function()
  test.raises("table expected", core.media)
  test.raises("table expected", core.media, 5)
  test.raises("bytes = string", core.media, {})
  test.raises("bytes = string", core.media, { bytes = 5 })
  test.raises("NUL", core.media, "a\0b")
  local media = assert(core.media(jpeg))
  test.raises("lmm%.media", media.info, {})
  test.raises("lmm%.media", media.info, core.body "")
end)

test.case("the first bytes are told as far as there are any", function()
  for size = 1, 20 do
    local bytes = ("\200\0x"):rep(7):sub(1, size)
    test.equal(assert(core.media { bytes = bytes }):info(), { size = size, first = bytes:sub(1, 16) })
  end
end)
