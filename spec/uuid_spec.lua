-- Media that a server has kept, by their uuid.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local function sent(part)
  local net = fake.net { fake.whole "seen" }
  assert(net:connect():conversation():ask("What?", part))
  return net.requests[1].text
end

describe("a part without a source", function()
  for kind, expected in pairs {
    image = '{"image_url":null,"type":"image_url","uuid":"u-1"}',
    video = '{"type":"video_url","uuid":"u-1","video_url":null}',
    audio = '{"audio_url":null,"type":"audio_url","uuid":"u-1"}',
  } do
    it("is null with its uuid: " .. kind, function()
      local part = lmm[kind](nil, { uuid = "u-1" })
      assert.falsy(part.err)
      assert.truthy(sent(part):find(expected, 1, true), expected)
    end)
  end

  it("has nothing else to say of it, and needs a uuid", function()
    assert.raises("'detail' says something of a source", lmm.image, nil, { uuid = "u", detail = "low" })
    assert.raises("'mime' says something of a source", lmm.image, nil, { uuid = "u", mime = "image/png" })
    assert.raises("'format' says something of a source", lmm.audio, nil, { uuid = "u", format = "wav" })
    assert.raises("uuid is a text", lmm.image, nil, { uuid = 5 })
    assert.raises("uuid is a text", lmm.image, nil, { uuid = "" })
    assert.raises("no server knows a file by its uuid", lmm.file, nil, { uuid = "u" })
    assert.raises("a path, a URL or { bytes = string } expected, got a nil", lmm.image)
    assert.raises("expected, got a nil", lmm.image, nil, {})
  end)

  it("cannot go into a form", function()
    local net = fake.net { { json = {} } }
    local _, message = net:connect():request("POST", "x", lmm.form { f = lmm.image(nil, { uuid = "u" }) })
    assert.matches("the field 'f' of the form cannot be sent: the image has no source", message)
  end)
end)
