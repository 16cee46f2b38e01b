-- Advice for what people meet most, each in the real words of the server that says it: asked for whole and streamed,
-- with the status it has, or as an event under HTTP 200.
local fake = require "spec.support.fake"
local json = require "lmm.json"
local lmm = require "lmm"

local null = lmm.null

--- An error object as vLLM writes it now, and what it wrote up to 0.10.0.
local function vllm(status, message, type_of, param)
  local fields = { message = message, type = type_of or "BadRequestError", param = param or null, code = status }
  return { status = status, json = { error = fields } }, { status = status, json = { object = "error",
    message = message, type = fields.type, param = fields.param, code = status } }
end

local function llama(status, message, type_of, more)
  local fields = { message = message, type = type_of or "server_error", code = status }
  for name, value in pairs(more or {}) do fields[name] = value end
  return { status = status, json = { error = fields } }
end

local TOO_LONG = "shorten the prompt, send smaller pictures, or lower max_tokens"
local TEXT_ONLY = "ask a model that takes more than text"
local PARSER = "start vLLM with --enable-auto-tool-choice --tool-call-parser NAME"
local LOCAL_FILES = "start vLLM with --allowed-local-media-path DIR, or pass a path, which sends the file itself"
local MMPROJ = TEXT_ONLY .. ", or start llama-server with its --mmproj FILE"

local rows = { -- what, the hint, the replies
  { "too many pictures", "vLLM sets this limit by --limit-mm-per-prompt.image N",
    vllm(400, "At most 2 image(s) may be provided in one prompt. (parameter=image)", nil, "image") },
  { "too many videos, in older words", "vLLM sets this limit by --limit-mm-per-prompt.video N",
    vllm(400, "At most 1 video(s) may be provided in one request.") },
  { "a kind of media that is not taken", "the model takes no audio, or vLLM's limit for it is 0",
    vllm(400, "At most 0 audio(s) may be provided in one prompt. (parameter=audio)", nil, "audio") },
  { "tools without a parser", PARSER,
    vllm(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set') },
  { "a tool that must be called, without a parser", PARSER,
    vllm(400, 'tool_choice="required" requires --tool-call-parser to be set') },
  { "a named tool without a parser", PARSER,
    vllm(400, 'tool_choice=function "add" requires --tool-call-parser to be set') },
  { "a picture for a model of text", TEXT_ONLY, vllm(400, "tiny/text is not a multimodal model") },
  { "a picture for llama-server without a projector", MMPROJ, llama(500,
    "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj") },
  { "audio for the same", MMPROJ, llama(500,
    "audio input is not supported - hint: if this is unexpected, you may need to provide the mmproj") },
  { "a prompt that is too long", TOO_LONG,
    vllm(400, "This model's maximum context length is 2048 tokens. However, "
    .. "your prompt contains at least 2049 input tokens, which exceeds this limit even without any "
      .. "output tokens. Please "
    .. "reduce the length of the input prompt. (parameter=input_tokens, value=2049)", nil, "input_tokens"),
    says = "2048 tokens.*2049 input tokens" },
  { "one, with what was asked for", TOO_LONG,
    vllm(400, "This model's maximum context length is 8192 tokens. However, "
    .. "you requested 9000 tokens (8000 in the messages, 1000 in the completion). Please reduce the "
      .. "length of the messages "
    .. "or completion."), says = "8192 tokens.*9000 tokens" },
  { "one, of older vLLM", TOO_LONG,
    vllm(400, "The decoder prompt (length 9000) is longer than the maximum model "
    .. "length of 8192. Make sure that `max_model_len` is no smaller than the number of text tokens plus "
      .. "multimodal tokens."),
    says = "9000.*8192" },
  { "one, of SGLang", TOO_LONG, { status = 400, json = { object = "error", code = 400, type = "BadRequestError",
    message = "The input (9000 tokens) is longer than the model's context length (8192 tokens)." } },
    says = "9000.*8192" },
  { "one, of llama-server", TOO_LONG, llama(400, "the request exceeds the available context size. try increasing the "
    .. "context size or enable context shift", "exceed_context_size_error", { n_prompt_tokens = 14429, n_ctx = 8192 }),
    llama(400, "request (14429 tokens) exceeds the available context size (8192 tokens), try increasing it",
      "exceed_context_size_error", { n_prompt_tokens = 14429, n_ctx = 8192 }), says = "14429 tokens.*8192" },
  { "an answer that may be too long", "lower max_tokens", vllm(400, "max_tokens=4096 cannot be greater than "
    .. "max_model_len=2048. Please request fewer output tokens. (parameter=max_tokens, value=4096)", nil,
    "max_tokens"), says = "4096.*2048" },
  { "a file: URL, without the option", LOCAL_FILES,
    vllm(400, "Cannot load local files without `--allowed-local-media-path`.") },
  { "the same, since it is a 500", LOCAL_FILES,
    vllm(500, "Cannot load local files without `--allowed-local-media-path`.", "InternalServerError") },
  { "a file: URL outside of the folder", LOCAL_FILES, vllm(400, "The file path /etc/passwd must be a subpath of "
    .. "`--allowed-local-media-path /data`.") },
  { "a space in a data: URL of a raw request", "nothing but base64 may follow 'base64,': no space, no line break",
    vllm(400, "Non-base64 digit found"), vllm(400, "Failed to load image: Non-base64 digit found") },
  { "a key that is not taken", "the server does not take the key that was sent",
    { status = 401, json = { error = "Unauthorized" } }, key = "sk-other", event = false },
  { "no tools", "an empty table is sent as {}: lmm.array {} is an empty list",
    vllm(400, "Input should be a valid list", "Bad Request", "body.tools") },
  { "no key", "pass api_key, or set OPENAI_API_KEY", { status = 401, json = { error = "Unauthorized" } },
    llama(401, "Invalid API Key", "authentication_error"), event = false },
  { "too large", "the request has %d+ bytes, more than the server takes", { status = 413, body = "" },
    { status = 413, body = "<html>413 Request Entity Too Large</html>" }, event = false, is_pattern = true },
}

local REQUEST = { messages = { { role = "user", content = "q" } } }

describe("hints", function()
  for _, row in ipairs(rows) do
    it(row[1], function()
      for i = 3, #row do
        local reply = row[i]
        local event = row.event ~= false and fake.streamed { fake.event(reply.json.error and reply.json
          or { error = reply.json }), fake.event "[DONE]" } or nil
        for _, given in ipairs { reply, event } do
          for _, method in ipairs { "chat", "stream" } do
            local client = fake.net({ given }):connect { retry = false, api_key = row.key }
            local value, message, err = client[method](client, REQUEST)
            if method == "stream" then value, message, err = value:reply() end
            assert.refused(row.says or "", value, message, err)
            assert.matches(row.is_pattern and "^" .. row[2] .. "$" or "^" .. row[2]:gsub("%p", "%%%0") .. "$", err.hint)
            assert.equal(" (" .. err.hint .. ")", message:sub(-#err.hint - 3))
            assert.same({ "http", reply.status }, { err.kind, err.status })
          end
        end
      end
    end)
  end

  for _, row in ipairs {
    { "a picture whose type is not decoded", lmm.image "spec/media/picture.heic",
      "Failed to load image: cannot identify image file <_io.BytesIO object at 0x7f>",
        "'picture.heic' is image/heic, which" },
    { "a picture for llama-server", lmm.image "spec/media/lossy.webp", "Failed to load image or audio file",
      "'lossy.webp' is image/webp, which" },
    { "a video for llama-server", lmm.video "spec/media/clip.mp4", "Failed to load image or audio file",
      "this server may not decode video (llama-server needs ffmpeg for it): send some frames as pictures" },
    { "a video beside a picture", lmm.video "spec/media/clip.mp4", "Failed to load image: cannot identify image file" },
    { "a picture in bytes", lmm.image({ bytes = "x" }, { mime = "image/x-other" }), "cannot identify image file",
      "a picture is image/x-other, which" },
    { "a picture that is taken everywhere", lmm.image "spec/media/picture.png", "cannot identify image file" },
    { "a file", lmm.file "spec/media/document.pdf", "Unknown part type: file", "may take no files: send text as text" },
    { "a file for vLLM", lmm.file "spec/media/document.pdf", "Unsupported chat content part type: 'file'. Supported",
      "may take no files" },
    { "audio for llama-server", lmm.audio "spec/media/sound.wav", "unsupported content[].type",
      "as input_audio: pass" },
    { "input_audio for a router", lmm.audio("spec/media/sound.wav", { format = "wav" }),
      "Failed to deserialize: unknown variant `input_audio`, expected `text` or `image_url`",
        "may know no input_audio" },
    { "a picture, where something else is refused", lmm.image "spec/media/lossy.webp", "temperature is too high" },
  } do
    it("what was sent: " .. row[1], function()
      local client = fake.net({ { status = 400, json = { error = { message = row[3], code = 400 } } } }):connect()
      local _, _, err = client:chat { messages = { { role = "user", content = { row[2] } } } }
      if not row[4] then return assert.is_nil(err.hint) end
      assert.matches(row[4]:gsub("%p", "%%%0"), err.hint)
    end)
  end

  it("a JPEG without its end is named where it is refused", function()
    local bytes = require("spec.support.shell").read("spec/media/baseline.jpg"):sub(1, -3)
    local client = fake.net({ { status = 400, body = "image file is truncated (3 bytes not processed)" } }):connect()
    local _, _, err = client:chat { messages = { { role = "user", content = { lmm.image { bytes = bytes } } } } }
    assert.matches("a picture is a JPEG without its end", err.hint)
  end)

  it("a base URL without /v1, in the words of each server", function()
    for _, reply in ipairs {
      { status = 404, json = { detail = "Not Found" } }, -- vLLM, SGLang
      { status = 405, json = { detail = "Method Not Allowed" } },
      -- llama.cpp
      { status = 404, json = { error = { code = 404, message = "File Not Found", type = "not_found_error" } } },
      { status = 404, body = "404 page not found" }, -- Ollama
      { status = 404, headers = { ["content-type"] = "text/html" }, body = "<html><title>404</title></html>" },
    } do
      for base, is_advised in pairs { ["http://h"] = true, ["http://h/api"] = true, ["http://h/v1"] = false } do
        local err = assert.refused("HTTP 40", fake.net({ reply }):connect({ base_url = base }):models())
        assert.equal(is_advised and "a base URL mostly ends in /v1" or nil, err.hint, base)
        err = assert.refused("HTTP 40", fake.net({ reply }):connect({ base_url = base }):request("GET", "/nope"))
        assert.equal(is_advised and "a base URL mostly ends in /v1" or nil, err.hint, base)
      end
    end
  end)

  it("a base URL that goes too far", function()
    local reply = { status = 404, json = { detail = "Not Found" } }
    local client = fake.net({ reply }):connect { base_url = "http://h/v1/chat/completions", model = "m" }
    local err = assert.refused("HTTP 404", client:chat { messages = { { role = "user", content = "q" } } })
    assert.equal("the base URL ends before /chat/completions", err.hint)
    err = assert.refused("HTTP 404", client:models())
    assert.equal("the base URL ends before /chat/completions", err.hint)
  end)

  it("a stream is known by its first bytes, whatever its Content-Type says", function()
    local events = { fake.delta "a", fake.delta({}, "stop"), fake.event "[DONE]" }
    for _, given in ipairs { "text/plain", "application/json", "application/octet-stream", "", "none" } do
      local headers = { ["content-type"] = given ~= "none" and given or nil }
      for _, method in ipairs { "chat", "stream" } do
        local client = fake.net({ { headers = headers, body = table.concat(events) } }):connect { retry = false }
        local value, message = client[method](client, REQUEST)
        if method == "stream" then value, message = value:reply() end
        assert.equal("a", assert(value, message).text, given)
      end
    end
  end)

  it("advice is looked for where a message begins", function()
    local function hint_of(message)
      return assert.refused("HTTP 400", fake.net({ vllm(400, message) }):connect():chat(REQUEST)).hint
    end
    assert.equal(TOO_LONG, hint_of(("x "):rep(1900) .. "maximum context length"))
    assert.is_nil(hint_of(("x "):rep(3000) .. "maximum context length"))
  end)

  it("what is no refusal of that kind has no advice", function()
    for _, reply in ipairs { vllm(400, "temperature must be non-negative, got -1."), vllm(500, "Internal server error"),
      llama(500, "Chunk not found"), vllm(503, "Service Unavailable") } do
      local err = assert.refused("HTTP", fake.net({ reply }):connect({ retry = false }):chat(REQUEST))
      assert.is_nil(err.hint)
    end
  end)

  it("long runs of anything: with quadratic work this would not end", function()
    local hints = require "lmm.call.hints"
    local server_error = require "lmm.answer.server_error"
    for _, piece in ipairs { "a", "requires", "At most 1 ", "HTTP code 1", "--tool-call-parser", " ", "<" } do
      local text = piece:rep(math.floor(2 ^ 20 / #piece))
      local fields = server_error.from_reply({ status = 400, headers = {} }, text)
      assert.is_nil(fields.hint or hints.for_refusal(fields, {}))
      assert.truthy(server_error.not_json(text).reason)
    end
  end)

  it("numbers that are none, and huge ones, are left out or told as they are", function()
    local function message_of(more)
      local reply = llama(400, "too long", "exceed_context_size_error", more)
      reply.json = json.encode(reply.json)
      reply.body, reply.json = reply.json:gsub('"HUGE"', "1e30"), nil
      return assert.refused("too long", fake.net({ reply }):connect():chat(REQUEST)).message
    end
    assert.matches("too long: the prompt has 7 tokens, the context 5$", message_of { n_prompt_tokens = 7, n_ctx = 5 })
    assert.matches("too long$", message_of { n_prompt_tokens = "7", n_ctx = 5 })
    assert.matches("too long$", message_of { n_prompt_tokens = 7 })
    assert.matches("too long: the prompt has 1%d+ tokens, the context 5$",
      message_of { n_prompt_tokens = "HUGE", n_ctx = 5 })
  end)
end)
