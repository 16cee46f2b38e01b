-- Forms on real sockets: their length, that they are sent again, and that a server which reads them gets each byte.
local digest = require "openssl.digest"
local lmm = require "lmm"
local mock = require "lmm.mock"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"

local WAV = shell.read "spec/media/sound.wav"

local function hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

local function sha256(bytes)
  return hex(digest.new("sha256"):final(bytes))
end

describe("a form on the wire", function()
  it("has the right length, and is sent again whole", function()
    local busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    local good = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    local server = raw.start { { { await = "request" }, { send = busy }, { await = "request" }, { send = good } } }
    local client = lmm.connect { base_url = server.url, retry = { base = 0.001 } }
    local form = lmm.form { file = lmm.file "spec/media/sound.wav", model = "m" }
    assert(client:request("POST", "audio/transcriptions", form))
    local seen = server:wait("request", 2)
    assert.same({ seen[2].sha256, seen[2].bytes }, { seen[1].sha256, seen[1].bytes })
    local head, body = server:received():match "^(.-\r\n\r\n)(.*)$"
    assert.matches("Content%-Length: " .. seen[1].bytes .. "\r\n", head)
    assert.truthy(body:find(WAV, 1, true))
    client:close()
    server:stop()
  end)

  it("arrives whole at a server that reads it", function()
    local server = assert(mock.start {})
    local client = lmm.connect(server.url)
    local big = os.tmpname()
    shell.write(big, WAV .. ("0123456789abcdef\r\n--"):rep(512 * 1024))
    for _, path in ipairs { "spec/media/sound.wav", big } do
      local reply = assert(client:request("POST", "audio/transcriptions",
        lmm.form { file = lmm.file(path, { filename = "s.wav" }), model = "mock", language = "en" }))
      local bytes = shell.read(path)
      assert.equal(("file: s.wav, audio/wav, audio/wav, %d bytes, sha256 %s\nlanguage: en\nmodel: mock")
        :format(#bytes, sha256(bytes)), reply.json.text)
    end
    os.remove(big)
    for _, row in ipairs {
      { { model = "mock" }, 400, "Field required" },
      { { file = lmm.file { bytes = "x" }, model = "other" }, 404, "`other` does not exist" },
    } do
      local _, message, err = client:request("POST", "audio/transcriptions", lmm.form(row[1]))
      assert.equal(row[2], err.status)
      assert.matches(row[3], message)
    end
    local _, _, err = client:request("POST", "audio/transcriptions", { model = "mock" })
    assert.equal(400, err.status)
    client:close()
    server.stop()
  end)
end)
