-- client:transcribe and client:translate on the fake transport: the form they send, and the forms that a text comes in.
local fake = require "spec.support.fake"
local lmm = require "lmm"
local shell = require "spec.support.shell"

local SOUND = "spec/media/sound.wav"

--- The fields of a form that was sent, by name; a list where there are several of one name.
local function fields_of(request)
  local boundary = table.concat(request.headers, "\n"):match "Content%-Type: multipart/form%-data; boundary=(%S+)"
  local fields = {}
  for name, value in request.text:gmatch('name="([^"]*)"\r\n\r\n(.-)\r\n%-%-' .. boundary:gsub("%-", "%%-")) do
    fields[name] = fields[name] and fields[name] .. "," .. value or value
  end
  return fields
end

local function transcribed(json)
  return { json = json or { text = "Hello.", usage = { type = "duration", seconds = 3 } } }
end

describe("client:transcribe", function()
  it("sends the file and the fields as a form, and gives the text", function()
    local net = fake.net { transcribed() }
    local reply = assert(net:connect():transcribe(SOUND, { language = "en", prompt = "A talk.", temperature = 0,
      timestamp_granularities = { "word", "segment" }, timeout = 60 }))
    assert.same({ "Hello.", "Hello.", 3, 1 }, { reply.text, tostring(reply), reply.usage.seconds, reply.attempts })
    local sent = net.requests[1]
    assert.equal("POST http://fake/v1/audio/transcriptions", sent.method .. " " .. sent.url)
    assert.same({ model = "m", language = "en", prompt = "A talk.", temperature = "0",
      ["timestamp_granularities[]"] = "word,segment" }, fields_of(sent))
    assert.truthy(sent.text:find('name="file"; filename="sound.wav"\r\nContent-Type: audio/wav\r\n\r\n'
      .. shell.read(SOUND) .. "\r\n", 1, true))
  end)

  it("takes parts of any kind", function()
    for _, part in ipairs { lmm.audio(SOUND), lmm.video "spec/media/clip.mp4",
      lmm.file({ bytes = "x" }, { filename = "a.wav" }) } do
      local net = fake.net { transcribed() }
      assert(net:connect():transcribe(part))
      assert.matches('name="file"; filename="[%w.]+"', net.requests[1].text)
    end
  end)

  it("gives all that the server tells", function()
    local json = { task = "transcribe", text = "Hi.", language = "en", duration = "1.5", words = { { word = "Hi" } },
      segments = { { id = 0, start = 0, ["end"] = 1.5, text = "Hi." } }, model = "w", x = lmm.null }
    local reply = assert(fake.net({ transcribed(json) }):connect():transcribe(SOUND, {
      response_format = "verbose_json" }))
    assert.same({ "Hi.", "en", 1.5, "w", 1.5, "Hi" }, { reply.text, reply.language, reply.duration, reply.model,
      reply.segments[1]["end"], reply.words[1].word })
    assert.is_nil(reply.x)
  end)

  it("counts tokens where the server tells of them", function()
    local client = fake.net({ transcribed { text = "a", usage = { type = "tokens", input_tokens = 7,
      output_tokens = 2 } } }):connect { prices = { m = { input = 1, output = 1 } } }
    assert.equal(9e-6, assert(client:transcribe(SOUND)).cost)
    assert.equal(9, client.usage.total_tokens)
  end)

  local SRT = "1\n00:00:00,000 --> 00:00:01,500\nHi.\n\n"
  for _, row in ipairs {
    { "text", "Hi.\n", "Hi.\n" }, { "text", '{"text":"Hi.","usage":{"seconds":1}}', "Hi." }, { "text", "\n", "\n" },
    { "srt", SRT, SRT }, { "srt", '{"text":"1\\n00:"}', "1\n00:" }, { "vtt", "WEBVTT\n\n", "WEBVTT\n\n" },
    { "text", "{curly} he said", "{curly} he said" }, { "text", " <laughs> yes", " <laughs> yes" },
  } do
    it(("as %s is %q"):format(row[1], row[2]:sub(1, 20)), function()
      local net = fake.net { { body = row[2], headers = { ["content-type"] = "text/plain" } } }
      assert.equal(row[3], assert(net:connect():transcribe(SOUND, { response_format = row[1] })).text)
      assert.equal(row[1], fields_of(net.requests[1]).response_format)
    end)
  end

  local function chunk(text, reason)
    return fake.event { object = "transcription.chunk", model = "m", choices = { { delta = { content = text },
      finish_reason = reason or lmm.null } } }
  end
  local streams = {
    { "vLLM's", { chunk "Hel", chunk "lo.", chunk("", "stop"),
      fake.event { choices = {}, usage = { prompt_tokens = 1, total_tokens = 3 } }, fake.event "[DONE]" }, 3 },
    { "vLLM's without [DONE]", { chunk "Hel", chunk("lo.", "stop") } },
    { "OpenAI's", { fake.event { type = "transcript.text.delta", delta = "Hel" },
      fake.event { type = "transcript.text.delta", delta = "lo." }, fake.event { type = "transcript.text.done",
      text = "Hello.", usage = { input_tokens = 3, output_tokens = 1 } } }, 4 },
    { "comments first", { ": keep-alive\n\n", chunk("Hello.", "stop") } },
  }
  for _, row in ipairs(streams) do
    it("a stream gives its whole text: " .. row[1], function()
      local net = fake.net { fake.streamed(row[2]) }
      local client = net:connect()
      assert.equal("Hello.", assert(client:transcribe(SOUND, { stream = true })).text)
      assert.equal("true", fields_of(net.requests[1]).stream)
      assert.equal(row[3] or 0, client.usage.total_tokens)
    end)
  end

  it("a stream that breaks off, or ends in an error, says so with what had come", function()
    local client = fake.net({ fake.streamed { chunk "Hel" } }):connect { retry = false }
    local err = assert.refused("broke off", client:transcribe(SOUND, { stream = true }))
    assert.same({ "truncated", "Hel" }, { err.kind, err.partial })
    client = fake.net({ fake.streamed { fake.event "[DONE]" } }):connect { retry = false }
    assert.refused("broke off", client:transcribe(SOUND, { stream = true }))
    client = fake.net({ fake.streamed { chunk "Hel", fake.event { error = { message = "No.", code = 500 } } } })
      :connect { retry = false }
    err = assert.refused("No%.", client:transcribe(SOUND, { stream = true }))
    assert.same({ "http", 500, "Hel" }, { err.kind, err.status, err.partial })
  end)

  it("tells of what is no transcription", function()
    for _, row in ipairs {
      { { json = { usage = {} } }, {}, "a transcription without a text" },
      { { json = { text = {} } }, { response_format = "text" }, "a transcription without a text" },
      { { body = "" }, { response_format = "text" }, "an empty reply" },
      { { body = "Hello." }, {}, "not a JSON object but \"Hello%.\"" },
      { { body = "<html>Log in", headers = { ["content-type"] = "text/html" } }, { response_format = "text" },
        "an HTML page" },
      { { json = { error = { message = "No.", code = 400 } } }, { response_format = "srt" }, "No%." },
      { { status = 400, json = { error = { message = "Maximum file size exceeded" } } }, {},
        "HTTP 400 from http://fake/v1/audio/transcriptions: Maximum" },
    } do
      assert.refused(row[3], fake.net({ row[1] }):connect({ retry = false }):transcribe(SOUND, row[2]))
    end
  end)

  it("sends nothing of what cannot be sent, and asks for no model", function()
    local net = fake.net { transcribed() }
    local client = net:connect { model = "" }
    assert.refused("cannot read 'gone.wav'", client:transcribe "gone.wav")
    assert.refused("the field 'file' of the form cannot be sent: the audio is a URL",
      client:transcribe(lmm.audio "https://example.org/a.wav"))
    assert.refused("^'https://host/a.wav' is a URL, which no server fetches here: download it and pass its path$",
      client:transcribe "https://host/a.wav")
    assert.equal(0, #net.requests)
  end)

  it("asks for the first model where none is named", function()
    local net = fake.net { { json = { data = { { id = "whisper" } } } }, transcribed() }
    assert(net:connect({ model = "" }):transcribe(SOUND))
    assert.equal("GET", net.requests[1].method)
    assert.falsy(table.concat(net.requests[1].headers, "\n"):find "Content%-Type")
    assert.equal("whisper", fields_of(net.requests[2]).model)
  end)

  it("is tried again from the file's beginning", function()
    local net = fake.net { { status = 503 }, transcribed() }
    assert(net:connect({ retry = { base = 0.1 } }):transcribe(SOUND))
    assert.equal(net.requests[1].text, net.requests[2].text)
  end)

  it("misuse raises", function()
    local client = fake.net({ transcribed() }):connect()
    assert.raises("client:transcribe takes a path or a part, not a number", client.transcribe, client, 5)
    assert.raises("client:transcribe takes a path or a part, not a table", client.transcribe, client, {})
    assert.raises("client:transcribe sets 'file' itself", client.transcribe, client, SOUND, { file = "x" })
    assert.raises("lmm.form: 'chunking' is a table", client.transcribe, client, SOUND, { chunking = { type = "x" } })
  end)
end)

describe("client:translate", function()
  it("is the same at another address", function()
    local net = fake.net { transcribed() }
    assert.equal("Hello.", assert(net:connect():translate(SOUND, { prompt = "p" })).text)
    assert.equal("http://fake/v1/audio/translations", net.requests[1].url)
    assert.same({ model = "m", prompt = "p" }, fields_of(net.requests[1]))
    assert.raises("client:translate takes a path", net.connect(net).translate, net:connect())
  end)
end)
