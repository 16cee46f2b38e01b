-- The rest of the API over real sockets: the client against the mock, which answers in vLLM's forms.
local digest = require "openssl.digest"
local lmm = require "lmm"
local mock = require "lmm.mock"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"

local SOUND = "spec/media/sound.wav"

local server, client

setup(function()
  server = assert(mock.start { delay = 0 })
  client = lmm.connect { base_url = server.url, retry = false, prices = { mock = { input = 1, output = 2 } } }
end)

teardown(function()
  client:close()
  server.stop()
end)

local function hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

--- What the mock makes of a text: a number for each byte of its digest.
local function vector_of(text, count)
  local vector, bytes = {}, digest.new("sha256"):final(text)
  for i = 1, count do vector[i] = (2 * bytes:byte(i) - 255) / 256 end
  return vector
end

describe("embeddings", function()
  it("are those of the texts, in order, as numbers and as bytes", function()
    for _, format in ipairs { "float", "base64" } do
      local texts = {}
      for i = 1, 50 do texts[i] = "text " .. i end
      local reply = assert(client:embed(texts, { encoding_format = format, dimensions = 32 }))
      for i = 1, 50 do assert.same(vector_of(texts[i], 32), reply.vectors[i]) end
      assert.same({ "mock", 1, #table.concat(texts) }, { reply.model, reply.attempts, reply.usage.total_tokens })
    end
  end)

  it("of pictures depend on their bytes, and stand where they were given", function()
    local png, jpeg = lmm.image "spec/media/picture.png", lmm.image "spec/media/baseline.jpg"
    local vectors = assert(client:embed({ jpeg, "a", png, { "What?", png } })).vectors
    assert.same(vector_of("a", 16), vectors[2])
    assert.same(vectors[3], assert(client:embed(png, { encoding_format = "base64" })).vectors[1])
    assert.not_same(vectors[1], vectors[3])
    assert.not_same(vectors[3], vectors[4])
  end)

  it("what the server refuses is told in its words", function()
    local err = assert.refused("HTTP 404 from .*/v1/embeddings: .*the server has \"mock\"",
      client:embed("a", { model = "entirely different" }))
    assert.equal(404, err.status)
    err = assert.refused("Dimensions must be between", client:embed("a", { dimensions = 0 }))
    assert.equal("BadRequestError", err.type)
  end)
end)

describe("tokens", function()
  it("of a text go there and back", function()
    local reply = assert(client:tokenize "a \195\164")
    assert.same({ 4, { 97, 32, 195, 164 }, 32768 }, { reply.count, reply.tokens, reply.max_model_len })
    assert.equal("a \195\164", assert(client:detokenize(reply.tokens)))
  end)

  it("of messages have a picture in them", function()
    local reply = assert(client:tokenize({ { role = "user", content = { "x", lmm.image "spec/media/picture.png" } } },
      { add_generation_prompt = false }))
    assert.equal("<|im_start|>user\nx<|vision_start|>" .. ("<|image_pad|>"):rep(4) .. "<|vision_end|><|im_end|>\n",
      assert(client:detokenize(reply.tokens)))
    assert.equal(#reply.tokens, reply.count)
  end)
end)

describe("a transcription", function()
  local sum = hex(digest.new("sha256"):final(shell.read(SOUND)))
  local FILE = "file: sound.wav, audio/wav, audio/wav, %d+ bytes, sha256 " .. sum

  it("says what arrived, in every form", function()
    for _, row in ipairs { { {} }, { { response_format = "text" } }, { { stream = true } },
      { { stream = true, stream_include_usage = true } }, { { response_format = "verbose_json" } } } do
      for _, method in ipairs { "transcribe", "translate" } do
        local reply = assert(client[method](client, SOUND, row[1]))
        assert.matches("^" .. FILE .. "\nmodel: mock", reply.text)
        assert.equal(row[1].response_format == "verbose_json" and 1 or nil, reply.duration)
        assert.equal(reply.duration and reply.text, reply.segments and reply.segments[1].text)
        assert.equal(row[1].stream_include_usage and 1 or nil, reply.usage and reply.usage.prompt_tokens)
      end
    end
  end)

  it("has the fields that were given", function()
    local reply = assert(client:transcribe(lmm.audio(SOUND), { language = "de", temperature = 0.2,
      timestamp_granularities = { "word", "segment" } }))
    assert.matches("\nlanguage: de\nmodel: mock\ntemperature: 0.2\ntimestamp_granularities%[%]: word\n"
      .. "timestamp_granularities%[%]: segment$", reply.text)
  end)

  it("is refused in the server's words", function()
    assert.refused("Currently only support response_format", client:transcribe(SOUND, { response_format = "srt" }))
    assert.refused("model `x` does not exist", client:transcribe(SOUND, { model = "x" }))
  end)

  it("of a large file is streamed from disk", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(shell.read(SOUND))
    for _ = 1, 10 do file:write(("0123456789abcdef"):rep(65536)) end
    file:close()
    assert.matches("%d%d%d%d%d%d%d%d bytes", assert(client:transcribe(path)).text)
    os.remove(path)
  end)

  it("that comes as a text alone is that text", function()
    local body = "WEBVTT\n\n00:00.000 --> 00:01.000\nHi.\n"
    local other = raw.start { { { await = "request" }, { send = "HTTP/1.1 200 OK\r\nContent-Type: text/vtt\r\n"
      .. "Content-Length: " .. #body .. "\r\n\r\n" .. body } } }
    assert.equal(body, assert(lmm.connect({ base_url = other.url, model = "m" }):transcribe(SOUND,
      { response_format = "vtt" })).text)
    other:stop()
  end)
end)

describe("a completion", function()
  it("comes whole and streamed", function()
    local whole = assert(client:complete("a b", { max_tokens = 100 }))
    assert.same({ "completion of: a b", "stop", 3, 4 }, { whole.text, whole.finish_reason, whole.usage.prompt_tokens,
      whole.usage.completion_tokens })
    assert.equal((3 * 1 + 4 * 2) / 1e6, whole.cost)
    local stream, pieces = client:stream_completion("a b", { max_tokens = 100 }), {}
    for piece in stream do pieces[#pieces + 1] = piece end
    assert.same({ "completion ", "of: ", "a ", "b" }, pieces)
    local reply = assert(stream:reply())
    assert.same({ whole.text, 7, whole.cost }, { reply.text, reply.usage.total_tokens, reply.cost })
  end)

  it("of several prompts has as many choices", function()
    local reply = assert(client:complete({ "a", "b", "c" }, { max_tokens = 1 }))
    assert.same({ 3, "length" }, { #reply.choices, reply.choices[3].finish_reason })
  end)

  it("that breaks off says so", function()
    local stream = client:stream_completion("a b c", { mock = { cut_after = 2 } })
    local err = assert.refused("broke off", stream:reply())
    assert.same({ "truncated", "completion of: " }, { err.kind, err.partial })
    assert.refused("HTTP 503", client:complete("a", { mock = { status = 503 } }))
  end)
end)

describe("a ranking", function()
  it("has the best document first", function()
    local documents = { "a dog", "a small cat", lmm.image "spec/media/picture.png", "a cat" }
    local reply = assert(client:rerank("a cat", documents))
    assert.same({ 4, 2, 1, 3 }, { reply.results[1].index, reply.results[2].index, reply.results[3].index,
      reply.results[4].index })
    assert.equal(documents[3], reply.results[4].document)
    assert.same({ 1, "a cat" }, { reply.results[1].score, reply.results[1].document })
    assert.equal(1, #assert(client:rerank("a cat", documents, { top_n = 1 })).results)
  end)

  it("by scores is in the order that was given", function()
    assert.same({ 0.5, 1 }, assert(client:score("a", { "a b", "a" })).scores)
    assert.same({ 1, 0 }, assert(client:score({ "a", "b" }, { "a", "c" })).scores)
    local image = lmm.image "spec/media/picture.png"
    assert.same({ 1 }, assert(client:score(image, image)).scores)
    assert.refused("HTTP 400 from .*/v1/score", client:score("a", "b", { mock = { status = 400 } }))
  end)
end)

describe("client.usage", function()
  it("counts all of it", function()
    local one = lmm.connect(server.url)
    assert(one:embed "abc")
    assert(one:complete("ab", { max_tokens = 1 }))
    assert(one:score("a", "b"))
    assert.same({ 4, 7, 1, 8 }, { one.usage.requests, one.usage.prompt_tokens, one.usage.completion_tokens,
      one.usage.total_tokens })
    one:close()
  end)
end)
