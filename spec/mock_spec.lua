-- The built-in mock tells what it received, and refuses what vLLM refuses, in its words. curl is the client.

local asking = require "spec.support.asking"
local core = require "lmm.core"
local json = require "lmm.json"
local mock = require "lmm.mock"
local shell = require "spec.support.shell"

local server, client, small

setup(function()
  server = assert(mock.start { delay = 0 })
  client = asking.new(server)
  small = asking.new(assert(mock.start { delay = 0, max_model_len = 12 })) -- has room for twelve tokens
end)

teardown(function()
  client.stop()
  small.stop()
end)

local function post(...) return client.post(...) end
local function ask(...) return client.ask(...) end

local function text_of(answer)
  assert.equal(200, answer.status, answer.body)
  return json.decode(answer.body).choices[1].message.content
end

-- A PNG that has a size and no picture; nobody decodes it.
local PNG = "\137PNG\r\n\26\n\0\0\0\13IHDR\0\0\0\32\0\0\0\16\8\2\0\0\0" .. "\0\0\0\0" .. ("x"):rep(13)
local BASE64 = core.base64.encode(PNG)

-- The mock counts four tokens for a message and one for a word; `small` has room for twelve.
local LONG = "^This model's maximum context length is 12 tokens%. However, your prompt contains at least 13 input "
  .. "tokens, which exceeds this limit even without any output tokens%. Please reduce the length of the input prompt%. "
  .. "%(parameter=input_tokens, value=13%)$"

-- The words of the question, the request's fields, and the error's param and message or else the answer's words.
local lengths = {
  { 9, {}, "input_tokens", LONG },
  { 9, { stream = true }, "input_tokens", LONG },
  { 1, { max_tokens = 13 }, "max_tokens", "^max_tokens=13 cannot be greater than max_model_len=12%. Please request "
    .. "fewer output tokens%. %(parameter=max_tokens, value=13%)$" },
  { 1, { max_tokens = 1, max_completion_tokens = 14 }, "max_completion_tokens", "^max_completion_tokens=14 cannot" },
  { 8, {}, "max_tokens", "^max_tokens must be at least 1, got 0%. %(parameter=max_tokens, value=0%)$" },
  { 7, { max_tokens = 12 }, nil, 1 },
  { 2, { max_tokens = 12 }, nil, 3 },
  { 7, { mock = { reply = "a b c" } }, nil, 3 },
}

describe("what the mock says", function()
  it("describes each image, the question and the turn", function()
    local image = { type = "image_url", image_url = { url = "data:image/jpeg;base64," .. BASE64 } }
    local body = { messages = {
      { role = "system", content = "Be brief." },
      { role = "user", content = { { type = "text", text = "First" }, image } },
      { role = "assistant", content = "Yes." },
      { role = "user", content = { "What", { type = "text", text = "now?" },
        { type = "image_url", image_url = { url = "https://example.org/a.png" } } } },
    } }
    local hex = shell.output("sha256sum < " .. shell.write(client.scratch, PNG)):match "%x+"
    assert.equal("image 1: image/png, 32 x 16 pixels, 46 bytes, sha256 " .. hex .. "\n"
      .. "image 2: by URL https://example.org/a.png\nquestion: What now?\nturn 2, after 3 messages",
      text_of(post(body)))
  end)

  it("describes audio and video", function()
    local wav = "RIFF\36\0\0\0WAVEfmt " .. ("\0"):rep(28)
    local avi = "RIFF\36\0\0\0AVI LIST" .. ("\0"):rep(28)
    assert.matches("^audio 1: audio/wav, 44 bytes, sha256 %x+\nvideo 1: video/x%-msvideo, 44 bytes, sha256 %x+\n"
      .. "video 2: 2 frames of image/png, 32 x 16 pixels, 92 bytes, sha256 %x+\nquestion: $", text_of(ask({}, {
      { type = "input_audio", input_audio = { data = core.base64.encode(wav), format = "wav" } },
      { type = "video_url", video_url = { url = "data:video/mp4;base64," .. core.base64.encode(avi) } },
      { type = "video_url", video_url = { url = "data:video/jpeg;base64," .. BASE64 .. "," .. BASE64 } },
    })))
  end)

  it("keeps to max_tokens", function()
    local answer = json.decode(ask({ max_tokens = 2 }).body)
    assert.equal("question: Hello ", answer.choices[1].message.content)
    assert.equal("length", answer.choices[1].finish_reason)
    assert.equal(2, answer.usage.completion_tokens)
  end)

  for _, row in ipairs(lengths) do
    local words, fields, param, expected = row[1], row[2], row[3], row[4]
    it("with room for 12 tokens, " .. words .. " words and " .. json.encode(fields), function()
      local answer = small.ask(fields, ("x "):rep(words))
      local body = json.decode(answer.body)
      if not param then return assert.same(expected, body.usage.completion_tokens) end
      assert.same({ 400, "BadRequestError", param }, { answer.status, body.error.type, body.error.param })
      assert.matches(expected, body.error.message)
    end)
  end
end)

local function url(text) return { { type = "image_url", image_url = { url = text } } } end

local encoded = require("lmm.core").base64.encode
local urls = {
  { "well formed", "data:image/png;base64," .. BASE64, 200 },
  { "another type's name", "data:text/plain;base64," .. BASE64, 200 },
  { "no type", "data:;base64," .. BASE64, 200 },
  { "capital scheme", "DATA:image/png;base64," .. BASE64, 200 },
  { "a charset", "data:image/png;charset=x;base64," .. BASE64, 200 },
  { "a space after the comma", "data:image/png;base64, " .. BASE64, 400, "Non%-base64 digit found" },
  { "line-wrapped", "data:image/png;base64," .. BASE64:sub(1, 20) .. "\n" .. BASE64:sub(21), 400, "Non%-base64 digit" },
  { "a newline at the end", "data:image/png;base64," .. BASE64 .. "\n", 400, "Non%-base64 digit found" },
  { "URL-safe alphabet", "data:image/png;base64,_-__" .. BASE64, 400, "Non%-base64 digit found" },
  { "missing padding", "data:image/png;base64," .. BASE64:gsub("=+$", ""), 400, "^Non%-base64 digit found$" },
  { "too much padding", "data:image/png;base64," .. BASE64 .. "=", 400, "^Non%-base64 digit found$" },
  { "no comma", "data:image/png;base64" .. ("A"):rep(20), 400,
    "^Invalid data URL 'data:image/png;base64AAAAAAAAAAA': missing ',' separator%.$" },
  { "nothing", "", 400,
    "^multi_modal_data%['image'%]%[0%] is empty but multi_modal_uuids%['image'%]%[0%] is missing%.$" },
  { "nothing after the comma", "data:image/png;base64,", 400, "cannot identify image file" },
  { "no image", "data:image/png;base64,aGVsbG8=", 400, "Failed to load image: cannot identify image file" },
  { "HEIC", "data:image/heic;base64," .. encoded(shell.read "spec/media/picture.heic"), 400, "cannot identify image" },
  { "SVG", "data:image/svg+xml;base64," .. encoded '<svg xmlns="http://www.w3.org/2000/svg"/>', 400,
    "cannot identify image" },
  { "a JPEG that is cut", "data:image/jpeg;base64," .. encoded(shell.read("spec/media/baseline.jpg"):sub(1, -3)), 400,
    "image file is truncated" },
  { "QOI", "data:image/qoi;base64," .. encoded "qoif\0\0\0\37\0\0\0\23\3\0", 200 },
  { "AVIF", "data:image/avif;base64," .. encoded(shell.read "spec/media/picture.avif"), 200 },
  { "no base64", "data:image/png," .. BASE64, 501, "Only base64 data URLs" },
  { "capital BASE64", "data:image/png;BASE64," .. BASE64, 501, "Only base64 data URLs" },
  { "a space before base64", "data:image/png; base64," .. BASE64, 501, "Only base64 data URLs" },
  { "bare base64", BASE64, 400, "must be either a HTTP, data or file URL" },
  { "a file", "file:///etc/passwd", 500, "allowed%-local%-media%-path" },
}

-- What vLLM decodes of each kind, and what it refuses: a picture that it cannot identify, or that is cut short.
local build = require "spec.support.media"
local be, le, box = build.be, build.le, build.box
local function mp4(...)
  local tracks = {}
  for i, kind in ipairs { ... } do tracks[i] = build.track(kind) end
  return build.ftyp("mp42", "isom") .. box("moov", table.concat(tracks))
end
local UNIDENTIFIED, TRUNCATED = "cannot identify image file", "image file is truncated"
local adts = "\255\241\124\128\3\127\252" .. ("\0"):rep(20)
local decoded = {
  { "a JPEG", "image", build.jpeg {} },
  { "a JPEG 2000", "image", "\0\0\0\12jP  \r\n\135\n" .. build.ftyp("jp2 ", "jp2 ") },
  { "a pixmap", "image", "P6\n1 1\n255\nabc" },
  { "a QOI", "image", "qoif" .. be(1, 4) .. be(1, 4) .. "\3\0" },
  { "a BigTIFF", "image", build.bigtiff {} },
  { "an AVIF", "image", build.heif("avif", build.ispe(37, 23), "\1") },
  { "a HEIC", "image", build.heif("heic", build.ispe(37, 23), "\1"), UNIDENTIFIED },
  { "a DNG", "image", build.raw { dng = true }, UNIDENTIFIED },
  { "a NEF", "image", build.raw { make = "NIKON" }, UNIDENTIFIED },
  { "a JPEG-LS", "image", build.jpeg { frame = "\255\247" }, UNIDENTIFIED },
  { "a JPEG XL", "image", "\255\10\1\2", UNIDENTIFIED },
  { "an SVG", "image", "<svg/>", UNIDENTIFIED },
  { "an EPS", "image", "%!PS-Adobe-3.0 EPSF-3.0\n", UNIDENTIFIED },
  { "a PDF", "image", "%PDF-1.4\n", UNIDENTIFIED },
  { "a JPEG cut short", "image", build.jpeg {}:sub(1, -3), TRUNCATED },
  { "AAC", "audio", adts .. adts },
  { "AMR", "audio", "#!AMR\n\4" },
  { "WavPack", "audio", "wvpk" .. le(40, 4) },
  { "sound in an MP4", "audio", mp4 "soun" },
  { "a film for its sound", "audio", mp4("vide", "soun") },
  { "sound in WebM", "audio", build.ebml("webm", 2) },
  { "a film without sound", "audio", mp4 "vide", "cannot identify audio file" },
  { "an AIFF", "audio", "FORM" .. be(20, 4) .. "AIFF", "cannot identify audio file" },
  { "a picture as sound", "audio", build.png {}, "cannot identify audio file" },
  { "a film", "video", mp4 "vide" },
  { "QuickTime without ftyp", "video", box("moov", build.track "vide") },
  { "MPEG-TS", "video", ("G" .. ("\255"):rep(187)):rep(4) },
  { "FLV", "video", "FLV\1\5\0\0\0\9" },
  { "sound as a film", "video", mp4 "soun", "Could not open video stream" },
  { "FLV with sound alone as a film", "video", "FLV\1\4\0\0\0\9", "Could not open video stream" },
}

local function with(message) return { messages = { message } } end

local function parts(...) return with { role = "user", content = { ... } } end
local function hello(fields)
  fields.messages = fields.messages or { { role = "user", content = "x" } }
  return fields
end
local TEXT = { type = "text", text = "x" }
local ADD = { type = "function", ["function"] = { name = "add" } }

-- What is sent, the status, and the error's type, param ("" for null) and message. What vLLM 0.32 says to the same,
-- but that pydantic goes on to list every other form that a message or part might have had.
local BAD, MALFORMED = "BadRequestError", "Bad Request"
local DEVELOPER = "messages.0.ChatCompletionDeveloperMessageParam"
local refusals = {
  { "no messages", '{"model":"mock"}', 400, MALFORMED, "body.messages", "^1 validation error:\n  {'type': 'missing', "
    .. "'loc': 'body%.messages', 'msg': 'Field required', 'input': '<dict of 1 items>'}$" },
  { "messages that are no list", '{"messages":"Hi"}', 400, MALFORMED, "body.messages", "'type': 'list_type', "
    .. "'loc': 'body%.messages', 'msg': 'Input should be a valid list', 'input': 'Hi'}$" },
  { "null as messages", '{"messages":null}', 400, BAD, "", "^'NoneType' object is not iterable$" },
  { "empty messages", '{"messages":[]}', 400, BAD, "",
    "^Cannot apply chat template to an empty conversation%. Provide at least one message%.$" },
  { "a message that is none", '{"messages":["x"]}', 400, MALFORMED, "body." .. DEVELOPER, "'type': 'dict_type'" },
  { "no role", with { content = "x" }, 400, MALFORMED, "body." .. DEVELOPER .. ".role", "'msg': 'Field required'" },
  { "a role that is a number", with { role = 3, content = "x" }, 400, MALFORMED, "body." .. DEVELOPER .. ".role",
    "'msg': \"Input should be 'developer'\", 'input': '3'}$" },
  { "a number as content", with { role = "user", content = 5 }, 400, MALFORMED, "body." .. DEVELOPER .. ".content",
    "'type': 'string_type', .*'input': '5'}$" },
  { "null as content", with { role = "user", content = json.null }, 400, MALFORMED, "body." .. DEVELOPER .. ".content",
    "'input': 'None'}$" },
  { "a string as image_url", parts { type = "image_url", image_url = "data:," }, 400, BAD, "",
    "^1 validation error for ChatCompletionContentPartImageParam\nimage_url\n  Input should be a valid dictionary" },
  { "no image_url", parts { type = "image_url" }, 400, BAD, "", "^1 validation error for ValidatorIterator\n0" },
  { "no type", parts { text = "x" }, 400, BAD, "", "ValidatorIterator\n0%.type\n  Field required" },
  { "no type beside text", parts(TEXT, { text = "x" }), 400, BAD, "type",
    "^Missing 'type' field in multimodal part%. %(parameter=type%)$" },
  { "a string alone", parts "x", 400, BAD, "", "ValidatorIterator\n0\n  Input should be a valid dictionary" },
  { "input_text alone", parts { type = "input_text", text = "x" }, 400, BAD, "", "Input should be 'text'" },
  { "an unknown type alone", parts { type = "smell" }, 400, BAD, "", "Input should be 'text'" },
  { "an unknown type", parts(TEXT, { type = "smell" }), 400, BAD, "type", "^Unsupported chat content part type: "
    .. "'smell'%. Supported types: audio_embeds, .*, video_url%. %(parameter=type, value=smell%)$" },
  { "a number beside text", parts(TEXT, 5), 400, BAD, "", "Input should be a valid dictionary" },
  { "a file", parts { type = "file", file = { file_id = "x" } }, 400, BAD, "type", "content part type: 'file'" },
  { "an unknown detail", parts { type = "image_url", image_url = { url = "data:,", detail = "huge" } }, 400, BAD, "",
    "image_url%.detail\n  Input should be 'auto', 'low', 'high' or 'original'" },
  { "null as detail", parts { type = "image_url", image_url = { url = "data:,", detail = json.null } }, 400, BAD, "",
    "image_url%.detail" },
  { "input_image without detail", parts { type = "input_image", image_url = "data:," }, 400, BAD, "",
    "^1 validation error for ResponseInputImageParam\ndetail\n  Field required" },
  { "a uuid alone", parts { type = "image_url", image_url = json.null, uuid = "u" }, 400, BAD, "",
    "^Cache miss for image at index 0 but data is not provided%.$" },
  { "a uuid and no URL", parts { type = "image_url", image_url = {}, uuid = "u" }, 400, BAD, "", "^Cache miss" },
  { "a uuid without the key", parts { type = "image_url", uuid = "u" }, 400, BAD, "type", "^Missing 'type' field" },
  { "another model", hello { model = "x" }, 404, "NotFoundError", "model",
    "^The model `x` does not exist%. Valid aliases: mock%.$" },
  { "a number as model", hello { model = 5 }, 400, MALFORMED, "body.model", "'type': 'string_type'.*'input': '5'}$" },
  { "stream_options alone", hello { stream_options = { include_usage = true } }, 400, BAD, "stream_options",
    "^Stream options can only be defined when `stream=True`%. %(parameter=stream_options%)$" },
  { "stream_options that are none", hello { stream = true, stream_options = 5 }, 400, MALFORMED, "body.stream_options",
    "valid dictionary or object to extract fields from" },
  { "empty tools", hello { tools = json.array() }, 400, BAD, "tools", "^`tools` must not be an empty array%. Either "
    .. "provide at least one tool or omit the field entirely%. %(parameter=tools%)$" },
  { "a tool that is none", hello { tools = { { x = 1 } } }, 400, MALFORMED, "body.tools.0.function", "'missing'" },
  { "a tool that is not there", hello { tools = { ADD }, tool_choice = { ["function"] = { name = "x" } } }, 400, BAD,
    "tool_choice", "^The tool specified in `tool_choice` does not match any of the specified `tools`" },
  { "a choice and no tools", hello { tool_choice = "auto" }, 400, BAD, "tool_choice",
    "^When using `tool_choice`, `tools` must be set%. %(parameter=tool_choice%)$" },
  { "no tokens", hello { max_tokens = 0 }, 400, BAD, "max_tokens",
    "^max_tokens must be at least 1, got 0%. %(parameter=max_tokens, value=0%)$" },
  { "no tokens by the newer name", hello { max_completion_tokens = -1 }, 400, BAD, "max_tokens", "got %-1%." },
  { "half a token", hello { max_tokens = 1.5 }, 400, MALFORMED, "body.max_tokens", "'type': 'int_from_float'" },
  { "a word for a number", hello { max_tokens = "x" }, 400, MALFORMED, "body.max_tokens", "'type': 'int_parsing'" },
  { "too much heat", hello { temperature = 3 }, 400, BAD, "temperature",
    "^temperature must be in %[0, 2%], got 3%.0%. %(parameter=temperature, value=3%.0%)$" },
  { "cold", hello { temperature = -1 }, 400, BAD, "temperature", "^temperature must be non%-negative, got %-1%.0%." },
  { "top_p beyond 1", hello { top_p = 2 }, 400, BAD, "top_p", "^top_p must be in %(0, 1%], got 2%.0%." },
  { "two of one answer", hello { n = 2, temperature = 0 }, 400, BAD, "",
    "^n must be 1 when using greedy sampling, got 2%.$" },
  { "a schema that is missing", hello { response_format = { type = "json_schema" } }, 400, BAD, "response_format",
    "the 'json_schema' field must be provided%. %(parameter=response_format%)$" },
  { "no JSON", '{"messages":', 400, MALFORMED, "body.12", "^1 validation error:\n  {'type': 'json_invalid', 'loc': "
    .. "'body%.12', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}$" },
  { "no JSON at all", "nope", 400, MALFORMED, "body.0", "{'error': 'Expecting value'}}$" },
  { "JSON and more", "{} x", 400, MALFORMED, "body.3", "{'error': 'Extra data'}}$" },
  { "other quotes", "{'a':1}", 400, MALFORMED, "body.1",
    "{'error': 'Expecting property name enclosed in double quotes'}}$" },
  { "a comma too many", '{"model":"tiny",}', 400, MALFORMED, "body.16", "'Expecting property name" },
  { "no colon", '{"a" 1}', 400, MALFORMED, "body.5", "{'error': \"Expecting ':' delimiter\"}}$" },
  { "no comma, after two characters of two bytes", '["\195\164\195\182" 1]', 400, MALFORMED, "body.6",
    "{'error': \"Expecting ',' delimiter\"}}$" },
  { "an unknown escape", '["a\\q"]', 400, MALFORMED, "body.3", "{'error': 'Invalid \\\\escape'}}$" },
  { "half a string", '"abc', 400, MALFORMED, "body.4", "'Unterminated string starting at'" },
  { "no body", "", 400, MALFORMED, "body",
    "^1 validation error:\n  {'type': 'missing', 'loc': 'body', 'msg': 'Field required', 'input': 'None'}$" },
  { "a list", "[1]", 400, MALFORMED, "body", "'type': 'model_attributes_type', .*'input': '<list of 1 items>'}$" },
  { "null", "null", 400, MALFORMED, "body", "'msg': 'Field required', 'input': 'None'}$" },
  { "an unknown fault", '{"mock":{"cut":1},"messages":[]}', 400, BAD, "mock", "unknown option 'cut'" },
}

local taken = {
  { "any role", with { role = "robot", content = "x" } },
  { "no content", { messages = { { role = "system" }, { role = "user", content = "x" } } } },
  { "null as an assistant's content", { messages = { { role = "user", content = "x" },
    { role = "assistant", content = json.null }, { role = "user", content = "x" } } } },
  { "a string beside text", parts("a", TEXT) },
  { "input_text beside text", parts(TEXT, { type = "input_text", text = "x" }) },
  { "a string as image_url without a type", parts { image_url = "data:image/png;base64," .. BASE64 } },
  { "a string as image_url with a uuid", parts { type = "image_url", image_url = "data:image/png;base64," .. BASE64,
    uuid = "u" } },
  { "an empty model", hello { model = "" } },
  { "tools that are not to be called", hello { tools = { ADD }, tool_choice = "none" } },
  { "empty stream_options", '{"stream_options":{},"messages":[{"role":"user","content":"x"}]}' },
  { "a number as text", hello { max_tokens = "3" } },
}

local types = {
  { "text/plain" }, { "" }, { "application/jsonx" }, { "application/vnd.api+json" },
  { "application/x-www-form-urlencoded" }, { "application/json", true }, { "Application/JSON", true },
  { "application/json; charset=utf-8", true }, { "application/json;x", true },
}

describe("what the mock refuses", function()
  for _, row in ipairs(urls) do
    it("a data URL: " .. row[1], function()
      local answer = ask({}, url(row[2]))
      assert.same(row[3], answer.status, answer.body)
      if row[4] then assert.matches(row[4], json.decode(answer.body).error.message) end
    end)
  end

  for _, row in ipairs(decoded) do
    it((row[4] and "refuses " or "takes ") .. row[1], function()
      local field = row[2] .. "_url"
      local answer = ask({}, { { type = field, [field] = { url = "data:x/y;base64," .. core.base64.encode(row[3]) } } })
      assert.equal(row[4] and 400 or 200, answer.status, answer.body)
      if row[4] then assert.matches(row[4], json.decode(answer.body).error.message) end
    end)
  end

  for _, row in ipairs(refusals) do
    it("refuses " .. row[1], function()
      local answer = post(row[2])
      assert.same(row[3], answer.status, answer.body)
      local problem = json.decode(answer.body).error
      local param = problem.param == json.null and "" or problem.param
      assert.same({ row[3], row[4], row[5] }, { problem.code, problem.type, param })
      assert.matches(row[6], problem.message)
    end)
  end

  for _, row in ipairs(taken) do
    it("takes " .. row[1], function()
      local answer = post(row[2])
      assert.equal(200, answer.status, answer.body)
    end)
  end

  it("refuses what is not UTF-8", function()
    local answer = post '{"messages":"\255"}'
    assert.same({ 400, '{"detail":"There was an error parsing the body"}' }, { answer.status, answer.body })
  end)

  for _, row in ipairs(types) do
    it((row[2] and "takes" or "refuses") .. " the Content-Type '" .. row[1] .. "'", function()
      local answer = client.curl("-H 'Content-Type: " .. row[1] .. "' -d '[1]' " .. server.url .. "/chat/completions")
      assert.equal(400, answer.status)
      if row[2] then return assert.matches("model_attributes_type", answer.body) end
      assert.equal('{"error":{"message":"1 validation error:\\n  Unsupported Media Type: Only '
        .. "'application/json' is allowed\",\"type\":\"Bad Request\",\"param\":null,\"code\":400}}", answer.body)
    end)
  end
end)
