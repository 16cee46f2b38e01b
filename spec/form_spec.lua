-- Forms: what lmm.form takes and refuses, and what of it is sent.
local fake = require "spec.support.fake"
local lmm = require "lmm"
local shell = require "spec.support.shell"

local WAV = shell.read "spec/media/sound.wav"

--- The body that a form becomes, with BOUNDARY in the place of its boundary, and that boundary.
local function sent(form, opts)
  local net = fake.net { { json = {} } }
  assert(net:connect(opts):request("POST", "audio/transcriptions", form))
  local request = net.requests[1]
  local boundary
  for _, line in ipairs(request.headers) do
    if line:lower():find "^content%-type:" then
      assert.falsy(boundary)
      boundary = line:match "^Content%-Type: multipart/form%-data; boundary=(lmm%-%x+)$" or error(line)
    end
  end
  return (request.text:gsub(boundary:gsub("%-", "%%-"), "BOUNDARY")), boundary
end

local function field(name, value)
  return ('--BOUNDARY\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'):format(name, value)
end

local function file(name, filename, mime, bytes)
  return ('--BOUNDARY\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: %s\r\n\r\n')
    :format(name, filename, mime) .. bytes .. "\r\n" -- on 5.1, what is formatted ends at a NUL
end

local END = "--BOUNDARY--\r\n"

describe("a form", function()
  it("sends its fields in the order of their names, a list's items one after the other", function()
    local form = lmm.form { model = "m", temperature = 0.25, n = 3, stream = false, prompt = "a\nb\255",
      ["timestamp_granularities[]"] = { "word", "segment" }, none = {} }
    assert.equal(field("model", "m") .. field("n", "3") .. field("prompt", "a\nb\255") .. field("stream", "false")
      .. field("temperature", "0.25") .. field("timestamp_granularities[]", "word")
      .. field("timestamp_granularities[]", "segment") .. END, (sent(form)))
  end)

  it("that is a list keeps its order", function()
    local form = lmm.form { { "b", 1 }, { "a", "x" }, { "b", { 2, true } } }
    assert.equal(field("b", "1") .. field("a", "x") .. field("b", "2") .. field("b", "true") .. END, (sent(form)))
  end)

  it("sends parts of any kind as they are, with their names and types", function()
    for _, row in ipairs {
      { lmm.audio "spec/media/sound.wav", "sound.wav", "audio/wav", WAV },
      { lmm.file "spec/media/sound.wav", "sound.wav", "audio/wav", WAV },
      { lmm.file("spec/media/sound.wav", { filename = "other", mime = "x/y" }), "other", "x/y", WAV },
      { lmm.audio { bytes = WAV }, "audio.wav", "audio/wav", WAV },
      { lmm.audio "spec/media/plain.mp3", "plain.mp3", "audio/mpeg", shell.read "spec/media/plain.mp3" },
      { lmm.audio { bytes = shell.read "spec/media/plain.mp3" }, "audio.mp3", "audio/mpeg",
        shell.read "spec/media/plain.mp3" },
      { lmm.image "examples/picture.jpg", "picture.jpg", "image/jpeg", shell.read "examples/picture.jpg" },
      { lmm.image("data:image/png;base64," .. require("lmm.core").base64.encode(shell.read "spec/media/picture.png")),
        "image.png", "image/png", shell.read "spec/media/picture.png" },
      { lmm.video "spec/media/clip.mp4", "clip.mp4", "video/mp4", shell.read "spec/media/clip.mp4" },
      { lmm.file { bytes = "\0\1" }, "file.bin", "application/octet-stream", "\0\1" },
    } do
      assert.equal(file("file", row[2], row[3], row[4]) .. END, (sent(lmm.form { file = row[1] })))
    end
  end)

  it("sends several files of one name", function()
    local a, b = lmm.file { bytes = "aaaa" }, lmm.file { bytes = "bb" }
    assert.equal(file("f[]", "file.txt", "text/plain", "aaaa") .. file("f[]", "file.txt", "text/plain", "bb") .. END,
      (sent(lmm.form { ["f[]"] = { a, b } })))
  end)

  it("escapes names and filenames as browsers do", function()
    local part = lmm.file({ bytes = "x" }, { filename = 'a"b\r\nc\nd\\\195\164%22' })
    assert.equal(field("a%22%0D%0Ab%0D%0Ac%0D%0A\\", "v")
      .. file("f", "a%22b%0D%0Ac%0Ad\\\195\164%22", "text/plain", "x")
      .. END, (sent(lmm.form { { 'a"\nb\rc\r\n\\', "v" }, { "f", part } })))
  end)

  it("has a boundary of its own each time", function()
    local seen, form = {}, lmm.form { a = 1 }
    for _ = 1, 50 do
      local _, boundary = sent(form)
      assert.equal(44, #boundary)
      assert.falsy(seen[boundary])
      seen[boundary] = true
    end
  end)

  it("is not sent under another type", function()
    assert.equal(field("a", "1") .. END, (sent(lmm.form { a = 1 }, { headers = { ["content-type"] = "text/x" } })))
    assert.equal(field("a", "1") .. END,
      (sent(lmm.form { a = 1 }, { api_key = function() return "k" end, headers = { ["CONTENT-TYPE"] = "text/x" } })))
  end)

  it("takes no later change of the caller's table", function()
    local given = { a = "1" }
    local form = lmm.form(given)
    given.a, given.b = "2", "3"
    assert.equal(field("a", "1") .. END, (sent(form)))
  end)

  for _, row in ipairs {
    { "x", "a table of fields, not a string" },
    { lmm.file { bytes = "x" }, "a table of fields, not a part" },
    { {}, "has no fields" },
    { { a = {} }, "has no fields" },
    { { [""] = 1 }, "not an empty one" },
    { { { 1, 2 } }, "the name of a field is a text, not a number" },
    { { { "a" } }, "item 1 is no { name, value }" },
    { { "a" }, "item 1 is no { name, value }" },
    { { { "a", 1 }, b = 2 }, "'b' beside a list" },
    { { { "a", 1 }, [3] = { "b", 1 } }, "3 is neither a name nor a place" },
    { { [true] = 1 }, "true is neither a name nor a place" },
    { { a = print }, "'a' is a function" },
    { { a = { b = 1 } }, "'a' is a table" },
    { { a = { 1, b = 1 } }, "'a' is a list with holes or with names" },
    { { a = { { 1 } } }, "'a' is a table" },
    { { a = 0 / 0 }, "'a' is %-?nan" },
    { { a = math.huge }, "'a' is inf" },
    { { a = lmm.null }, "'a' is a userdata" },
  } do
    it("is refused: " .. row[2], function()
      assert.raises(row[2], lmm.form, row[1])
    end)
  end

  it("says which part it cannot send, before anything is sent", function()
    for _, row in ipairs {
      { lmm.audio "gone.wav", "gone%.wav" },
      { lmm.image "http://host/a.jpg", "the field 'f' of the form cannot be sent: the image is a URL, .* pass {" },
      { lmm.image "file:///a.jpg", "the image is a URL" },
    } do
      local net = fake.net { { json = {} } }
      local reply, message, err = net:connect():request("POST", "x", lmm.form { f = row[1] })
      assert.same({ nil, "invalid", 0 }, { reply, err.kind, #net.requests })
      assert.matches(row[2], message)
    end
  end)

  it("cannot stand in JSON", function()
    local net = fake.net { { json = {} } }
    local _, message, err = net:connect():request("POST", "x", { a = lmm.form { b = 1 } })
    assert.same({ "invalid", 0 }, { err.kind, #net.requests })
    assert.matches("a form is a body of its own", message)
  end)
end)
