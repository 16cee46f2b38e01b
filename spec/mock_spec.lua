-- The built-in mock answers as vLLM does, byte for byte, and fails on demand. curl is the client.

local core = require "lmm.core"
local json = require "lmm.json"
local mock = require "lmm.mock"
local run_curl = require "spec.support.curl"
local test = require "spec.support.test"

local scratch = os.tmpname()

local function write_file(text)
  local file = assert(io.open(scratch, "wb"))
  file:write(text)
  file:close()
end

-- What came back: { status, headers (names in lower case), body, code (curl's) }.
local function curl(words)
  local text, code = run_curl("-i " .. words)
  local head, body = text:match "^(.-\r\n)\r\n(.*)$"
  local headers = {}
  for name, value in (head or ""):gmatch "([^\r\n:]+): ([^\r\n]*)" do headers[name:lower()] = value end
  return { status = tonumber((head or ""):match " (%d+)"), headers = headers, body = body, code = code }
end

local server = assert(mock.start { delay = 0 })

local function post(body, words)
  write_file(type(body) == "string" and body or json.encode(body))
  return curl("-H 'Content-Type: application/json' --data-binary @" .. scratch .. " " .. (words or "") .. " "
    .. server.url .. "/chat/completions")
end

local function ask(fields, content)
  local body = { messages = { { role = "user", content = content or "Hello there" } } }
  for name, value in pairs(fields or {}) do body[name] = value end
  return post(body)
end

local function text_of(answer)
  test.equal(answer.status, 200, answer.body)
  return json.decode(answer.body).choices[1].message.content
end

-- An answer with what differs from run to run made the same.
local function settled(body)
  return (body:gsub('"id":"chatcmpl%-%d+"', '"id":"ID"'):gsub('"created":%d+', '"created":0'))
end

-- A PNG that has a size and no picture; nobody decodes it.
local PNG = "\137PNG\r\n\26\n\0\0\0\13IHDR\0\0\0\32\0\0\0\16\8\2\0\0\0" .. "\0\0\0\0" .. ("x"):rep(13)
local BASE64 = core.base64.encode(PNG)

-- ---- what is there ---------------------------------------------------------------------------------------------

test.case("lists its model", function()
  local answer = curl(server.url .. "/models")
  test.equal(answer.headers["content-type"], "application/json")
  test.equal(settled(answer.body), '{"object":"list","data":[{"id":"mock","object":"model","created":0,'
    .. '"owned_by":"lmm","root":"mock","parent":null,"max_model_len":32768,"permission":[{"id":"modelperm-0","object":'
    .. '"model_permission","created":0,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,'
    .. '"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,'
    .. '"is_blocking":false}]}]}')
end)

local routes = {
  { "-X GET", "/health", 200, "" },
  { "-X GET", "/v1/nothing", 404, '{"detail":"Not Found"}' },
  { "-X GET", "/v1/chat/completions", 405, '{"detail":"Method Not Allowed"}' },
  { "-X POST", "/v1/models", 405, '{"detail":"Method Not Allowed"}' },
}

for _, row in ipairs(routes) do
  test.case(row[1] .. " " .. row[2], function()
    local answer = curl(row[1] .. " " .. server.url:gsub("/v1$", row[2]))
    test.equal({ answer.status, answer.body }, { row[3], row[4] })
  end)
end

-- ---- the form of answers ---------------------------------------------------------------------------------------

test.case("answers as vLLM does", function()
  test.equal(settled(ask({}, 'a "b" c/d').body), '{"id":"ID","object":"chat.completion","created":0,"model":"mock",'
    .. '"choices":[{"index":0,"message":{"role":"assistant","content":"question: a \\"b\\" c/d","refusal":null,'
    .. '"annotations":null,"audio":null,"function_call":null,"reasoning":null},"logprobs":null,"finish_reason":"stop",'
    .. '"stop_reason":null,"token_ids":null,"routed_experts":null}],"service_tier":null,'
    .. '"system_fingerprint":"lmm-mock","usage":{"prompt_tokens":7,"total_tokens":11,"completion_tokens":4,'
    .. '"prompt_tokens_details":null,"completion_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":null,'
    .. '"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}')
end)

local CHUNK = 'data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"mock","choices":['
local ROLE = CHUNK .. '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
  .. '"prompt_token_ids":null,"prompt_text":null}\n\n'
local FINISH = CHUNK .. '{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null,'
  .. '"token_ids":null}]}\n\n'
local USAGE = CHUNK .. '],"usage":{"prompt_tokens":6,"total_tokens":8,"completion_tokens":2}}\n\n'
local DONE = "data: [DONE]\n\n"
local BROKEN = 'data: {"error":{"message":"The mock was asked to fail.","type":"InternalServerError","param":null,'
  .. '"code":500}}\n\n'

local function piece(text)
  return CHUNK .. '{"index":0,"delta":{"content":' .. json.encode(text) .. '},"logprobs":null,"finish_reason":null,'
    .. '"token_ids":null}]}\n\n'
end

local USAGE_WANTED = { include_usage = true }
local ONE_TWO = ROLE .. piece "one " .. piece "two"

-- The request's fields, the whole stream, and how curl ends: 18 is a partial file, 56 a failure in receiving.
local streams = {
  { "a stream", {}, nil, ONE_TWO .. FINISH .. DONE, 0 },
  { "a stream with its usage", {}, USAGE_WANTED, ONE_TWO .. FINISH .. USAGE .. DONE, 0 },
  { "nothing", { reply = "" }, nil, ROLE .. FINISH .. DONE, 0 },
  { "a stream cut short", { cut_after = 1 }, nil, ROLE .. piece "one ", 18 },
  { "a stream that only ends", { end_after = 2 }, USAGE_WANTED, ONE_TWO, 0 },
  { "a stream that is reset", { reset_after = 1 }, nil, ROLE .. piece "one ", 56 },
  { "an error within a stream", { error_after = 1 }, nil, ROLE .. piece "one " .. BROKEN .. DONE, 0 },
}

for _, row in ipairs(streams) do
  local name, fault, stream_options, expected, code = row[1], row[2], row[3], row[4], row[5]
  test.case("gives " .. name, function()
    fault.reply = fault.reply or "one two"
    local answer = ask { stream = true, mock = fault, stream_options = stream_options }
    test.equal(answer.headers["content-type"], "text/event-stream; charset=utf-8")
    test.equal({ settled(answer.body), answer.code }, { expected, code })
  end)
end

test.case("streams at the pace that is asked for", function()
  write_file(json.encode { messages = { { role = "user", content = "x" } }, stream = true,
    mock = { reply = "a b c", delay = 0.1, first_delay = 0.2 } })
  local words = "-o /dev/null -w '%{time_starttransfer} %{time_total}' -H 'Content-Type: application/json'"
    .. " --data-binary @" .. scratch .. " " .. server.url .. "/chat/completions"
  local first, total = run_curl(words):match "([%d.]+) ([%d.]+)"
  test.ok(tonumber(first) >= 0.19, first)
  test.ok(tonumber(total) >= 0.49, total)
end)

-- ---- what it says ----------------------------------------------------------------------------------------------

test.case("describes each image, the question and the turn", function()
  local image = { type = "image_url", image_url = { url = "data:image/jpeg;base64," .. BASE64 } }
  local body = { messages = {
    { role = "system", content = "Be brief." },
    { role = "user", content = { { type = "text", text = "First" }, image } },
    { role = "assistant", content = "Yes." },
    { role = "user", content = { "What", { type = "text", text = "now?" },
      { type = "image_url", image_url = { url = "https://example.org/a.png" } } } },
  } }
  write_file(PNG)
  local sum = io.popen("sha256sum < " .. scratch)
  local hex = sum:read("*a"):match "%x+"
  sum:close()
  test.equal(text_of(post(body)), "image 1: image/png, 32 x 16 pixels, 46 bytes, sha256 " .. hex .. "\n"
    .. "image 2: by URL https://example.org/a.png\nquestion: What now?\nturn 2, after 3 messages")
end)

test.case("describes audio and video", function()
  local wav = "RIFF\36\0\0\0WAVEfmt " .. ("\0"):rep(28)
  local avi = "RIFF\36\0\0\0AVI LIST" .. ("\0"):rep(28)
  test.match(text_of(ask({}, {
    { type = "input_audio", input_audio = { data = core.base64.encode(wav), format = "wav" } },
    { type = "video_url", video_url = { url = "data:video/mp4;base64," .. core.base64.encode(avi) } },
    { type = "video_url", video_url = { url = "data:video/jpeg;base64," .. BASE64 .. "," .. BASE64 } },
  })), "^audio 1: audio/wav, 44 bytes, sha256 %x+\nvideo 1: video/x%-msvideo, 44 bytes, sha256 %x+\n"
    .. "video 2: 2 frames of image/png, 32 x 16 pixels, 92 bytes, sha256 %x+\nquestion: $")
end)

test.case("keeps to max_tokens", function()
  local answer = json.decode(ask({ max_tokens = 2 }).body)
  test.equal(answer.choices[1].message.content, "question: Hello ")
  test.equal(answer.choices[1].finish_reason, "length")
  test.equal(answer.usage.completion_tokens, 2)
end)

-- ---- what it refuses -------------------------------------------------------------------------------------------

local function url(text) return { { type = "image_url", image_url = { url = text } } } end

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
  { "no base64", "data:image/png," .. BASE64, 501, "Only base64 data URLs" },
  { "capital BASE64", "data:image/png;BASE64," .. BASE64, 501, "Only base64 data URLs" },
  { "a space before base64", "data:image/png; base64," .. BASE64, 501, "Only base64 data URLs" },
  { "bare base64", BASE64, 400, "must be either a HTTP, data or file URL" },
  { "a file", "file:///etc/passwd", 500, "allowed%-local%-media%-path" },
}

for _, row in ipairs(urls) do
  test.case("a data URL: " .. row[1], function()
    local answer = ask({}, url(row[2]))
    test.equal(answer.status, row[3], answer.body)
    if row[4] then test.match(json.decode(answer.body).error.message, row[4]) end
  end)
end

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
  { "tools", hello { tools = { ADD } }, 400, BAD, "",
    '^"auto" tool choice requires %-%-enable%-auto%-tool%-choice and %-%-tool%-call%-parser to be set$' },
  { "required tools", hello { tools = { ADD }, tool_choice = "required" }, 400, BAD, "",
    '^tool_choice="required" requires %-%-tool%-call%-parser to be set$' },
  { "a named tool", hello { tools = { ADD }, tool_choice = ADD }, 400, BAD, "",
    '^tool_choice=function "add" requires %-%-tool%-call%-parser to be set$' },
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
  { "no JSON", '{"messages":', 400, MALFORMED, "body", "JSON decode error" },
  { "a list", "[1]", 400, MALFORMED, "body", "'type': 'model_attributes_type', .*'input': '<list of 1 items>'}$" },
  { "null", "null", 400, MALFORMED, "body", "'msg': 'Field required', 'input': 'None'}$" },
  { "an unknown fault", '{"mock":{"cut":1},"messages":[]}', 400, BAD, "mock", "unknown option 'cut'" },
}

for _, row in ipairs(refusals) do
  test.case("refuses " .. row[1], function()
    local answer = post(row[2])
    test.equal(answer.status, row[3], answer.body)
    local problem = json.decode(answer.body).error
    local param = problem.param == json.null and "" or problem.param
    test.equal({ problem.code, problem.type, param }, { row[3], row[4], row[5] })
    test.match(problem.message, row[6])
  end)
end

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

for _, row in ipairs(taken) do
  test.case("takes " .. row[1], function()
    local answer = post(row[2])
    test.equal(answer.status, 200, answer.body)
  end)
end

test.case("refuses another Content-Type, and what is not UTF-8", function()
  local answer = curl("-H 'Content-Type: text/plain' -d '{}' " .. server.url .. "/chat/completions")
  test.equal(answer.status, 400)
  test.match(answer.body, "Unsupported Media Type")
  test.equal(post('{"messages":"\255"}').body, '{"detail":"There was an error parsing the body"}')
end)

-- ---- faults ----------------------------------------------------------------------------------------------------

local faults = {
  { "an error", { status = 503 }, 503, '"type":"Service Unavailable","param":null,"code":503' },
  { "a 429 with Retry-After", { status = 429, retry_after = 2 }, 429, '"code":429' },
  { "a page", { html = true, status = 502 }, 502, "^<html>" },
  { "an empty answer", { empty = true }, 200, "^$" },
  { "what is no JSON", { not_json = true }, 200, "^upstream" },
  { "an error for error_after", { error_after = 0 }, 500, '"code":500' },
  { "half an answer", { cut_after = 10 }, 200, '^{"id":"cha$', 18 },
  { "what ends early", { end_after = 10 }, 200, '^{"id":"cha$', 0 },
  { "nothing, and closes", { cut_after = 0 }, nil, nil, 52 },
  { "a reset", { reset_after = 0 }, nil, nil, 56 },
}

for _, row in ipairs(faults) do
  test.case("on demand, gives " .. row[1], function()
    local answer = ask { mock = row[2] }
    test.equal({ answer.status, answer.code }, { row[3], row[5] or 0 })
    if row[4] then test.match(answer.body, row[4]) end
    test.equal(answer.headers["retry-after"], row[2].retry_after and tostring(row[2].retry_after))
  end)
end

test.case("fails the first requests with a key", function()
  local seen = {}
  for i, key in ipairs { "a", "b", "a", "a", "b" } do
    seen[i] = ask({ mock = { fail_times = key == "a" and 2 or 1, key = key, status = 500 } }).status
  end
  test.equal(seen, { 500, 500, 500, 200, 200 })
end)

-- ---- HTTP ------------------------------------------------------------------------------------------------------

test.case("keeps a connection, and takes a chunked body and Expect", function()
  write_file '{"messages":[{"role":"user","content":"x"}]}'
  local post_it = " -H 'Content-Type: application/json' --data-binary @" .. scratch .. " " .. server.url
    .. "/chat/completions"
  test.equal(run_curl("-w '%{num_connects} ' -o /dev/null -H 'Transfer-Encoding: chunked'" .. post_it
    .. " --next -s -w '%{num_connects} %{http_code}' -o /dev/null -H 'Expect: 100-continue'" .. post_it), "1 0 200")
end)

local heads = {
  { "a long header", "-H 'X: " .. ("x"):rep(70000) .. "'", 431 },
  { "two lengths", "-H 'Content-Length: 5' -H 'Transfer-Encoding: chunked' -d hello", 400 },
  { "a length that is no number", "-H 'Content-Length: five' -d hello", 400 },
  { "a length beyond all limits", "-H 'Content-Length: 536870913' -d hello", 413 },
  { "no Host", "-H Host:", 400 },
}

for _, row in ipairs(heads) do
  test.case("refuses " .. row[1], function()
    test.equal(curl(row[2] .. " " .. server.url .. "/models").status, row[3])
  end)
end

-- ---- the process -----------------------------------------------------------------------------------------------

test.case("asks for its key, by any spelling of Bearer", function()
  local guarded = assert(mock.start { api_key = "open sesame", model = "m" })
  local models = guarded.url .. "/models"
  test.equal(curl(models).body, '{"error":"Unauthorized"}')
  test.equal(curl("-H 'Authorization: Bearer wrong' " .. models).status, 401)
  test.match(curl("-H 'Authorization: bearer open sesame' " .. models).body, '"id":"m"')
  test.equal(curl(guarded.url:gsub("/v1", "/health")).status, 200)
  guarded.stop()
end)

test.case("takes the port it is given, and says so where it is taken", function()
  test.refused("cannot listen on 127%.0%.0%.1:" .. server.port .. ": EADDRINUSE", mock.start { port = server.port })
  test.refused("port 70000 is not between", mock.start { port = 70000 })
end)

test.case("raises on an unknown option", function()
  test.raises("unknown option 'prot' %(did you mean 'port'%?%)", mock.start, { prot = 1 })
end)

test.case("runs in the foreground until it is told to end", function()
  for _, signal in ipairs { "INT", "TERM" } do
    local script = "print(require('lmm.mock.server').run { model = 'm' })"
    local pipe = io.popen("echo $$; exec " .. arg[-1] .. " -e \"" .. script .. "\"")
    local pid = pipe:read "*l"
    test.match(pipe:read "*l", '^lmm mock: listening on http://127%.0%.0%.1:%d+/v1 %(model "m"%)$')
    os.execute("kill -" .. signal .. " " .. pid)
    test.equal(pipe:read "*l", "true")
    pipe:close()
  end
end)

test.case("is gone when it is stopped", function()
  server.stop()
  test.equal(io.open("/proc/" .. server.pid .. "/stat"), nil)
end)

os.remove(scratch)
