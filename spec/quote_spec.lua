-- What servers quote of a request, in their real words: of media no byte and of a prompt no stretch stands in an error,
-- while the server's own words, and the values that it complains about, stay.
local core = require "lmm.core"
local fake = require "spec.support.fake"
local json = require "lmm.json"
local lmm = require "lmm"
local redact = require "lmm.call.redact"

-- ---- the parts of it

local BYTES = ("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"):rep(40)

describe("the parts of it", function()
  for _, row in ipairs {
    { "a data URL", "bad URL data:image/png;base64,iVBORw0KGgo= here", "bad URL data:image/png;base64,... here" },
    { "one in quotes", "'url': 'data:image/png;base64,QUJD'}", "'url': 'data:image/png;base64,...'}" },
    { "one in JSON", '{"url":"data:a/b;base64,QUJD\\"}"}', '{"url":"data:a/b;base64,...\\"}"}' },
    { "one with a space", "data:image/png;base64, " .. BYTES .. "==!", "data:image/png;base64, ...!" },
    { "one with slashes as cjson writes them", "base64 data:a/b;base64,QU\\/JD and " .. BYTES:gsub("/", "\\/"),
      "base64 data:a/b;base64,... and ..." },
    { "frames", "data:video/jpeg;base64," .. BYTES .. "," .. BYTES .. "=", "data:video/jpeg;base64,...,..." },
    { "base64 alone", "'data': '" .. BYTES .. "=='", "'data': '...'" },
    { "what a URL is like", "it begins with data:image/jpeg;base64, followed by", false },
    { "our own advice", "nothing but base64 may follow 'base64,': no space, no line break", false },
    { "a digest", "sha512 " .. ("0123456789abcdef"):rep(8), false },
    { "a path", "/home/me/.cache/huggingface/hub/models--Qwen--Qwen2.5-VL-72B-Instruct/snapshots/0123456789abc",
    false },
    { "nothing", "", false },
  } do
    it("media: " .. row[1], function() assert.same(row[3] or row[2], redact.media(row[2])) end)
  end

  local SAID = "The quick brown fox jumps over the lazy dog."

  for _, row in ipairs {
    { "all of it", "input: " .. SAID .. " end", { SAID }, "input: [...] end" },
    { "its beginning", "input: The quick brown fox jumps... end", { SAID }, "input: [...]... end" },
    { "16 bytes", "'The quick brown '", { SAID }, "'[...]'" },
    { "15 bytes", "'The quick brown'", { SAID }, "'The quick brown'" },
    { "from its middle", "<n fox jumps over the la>", { SAID }, "<[...]>" },
    { "twice", SAID .. SAID .. ", " .. SAID, { SAID }, "[...], [...]" },
    { "of several", "a " .. SAID .. " b Sphinx of black quartz c", { "Sphinx of black quartz", SAID },
      "a [...] b [...] c" },
    { "a text that overlaps itself", "b" .. ("a"):rep(50) .. "c", { ("a"):rep(20) }, "b[...]c" },
    { "lines that a repr joins", "'The quick brown fox\\njumps over the lazy dog'",
      { "The quick brown fox\njumps over the lazy dog" }, "'[...]\\n[...]'" },
    { "part of a character", "x\195\164" .. ("a"):rep(20) .. "\195\164y", { "\164" .. ("a"):rep(20) .. "\195" },
      "x[...]y" },
    { "nothing", "abc", { SAID }, "abc" },
    { "nothing of an empty text", "a message of some length", { "", "short" }, "a message of some length" },
  } do
    it("quoted: " .. row[1], function() assert.same(row[4], redact.quoted(row[2], row[3])) end)
  end

  it("quoted: long texts of one kind: with quadratic work this would not end", function()
    for _, piece in ipairs { "a", "ab", "0123456789abcdef" } do
      local text = piece:rep(300000 / #piece)
      assert.equal("<[...]>", redact.quoted("<" .. text:sub(1, 32000) .. ">", { text, text }))
      redact.media(text .. "-" .. text)
    end
    assert.equal("...", redact.media(("\\"):rep(2 ^ 20) .. "a"))
    assert.equal(";base64,...", redact.media(";base64," .. ("\\"):rep(2 ^ 20) .. "a"))
    assert.equal("..." .. ("\\"):rep(200), redact.media(("\\"):rep(200)))
  end)

  it("quoted: each stretch is found, wherever it stands in either text", function()
    for before = 0, 17 do
      for after = 0, 17 do
        local other = ("<"):rep(before) .. SAID:sub(1, 16) .. (">"):rep(after)
        assert.equal(("-"):rep(after) .. "[...]+", redact.quoted(("-"):rep(after) .. SAID:sub(1, 16) .. "+", { other }))
        assert.equal(SAID:sub(1, 15) .. "+", redact.quoted(SAID:sub(1, 15) .. "+", { other }))
      end
    end
  end)

  it("quoted: of a long text that is not quoted one stretch in eight bytes is looked at", function()
    local numbers = {}
    for i = 1, 10000 do numbers[i] = ("%010d"):format(i) end
    local methods, count = getmetatable("").__index, 0
    local sub = methods.sub
    methods.sub = function(...)
      count = count + 1
      return sub(...)
    end
    local ok, said = pcall(redact.quoted, SAID, { table.concat(numbers) })
    methods.sub = sub
    assert.same({ true, SAID }, { ok, said })
    assert(count < 100000 / 8 + 1000, count .. " stretches")
  end)

  it("the texts of a request", function()
    local fields = { model = "model", prompt = "1", input = { "2", { "3" } }, messages = {
      { role = "user", content = "4" },
      { role = "user", content = { "5", { type = "text", text = "6" }, lmm.image "gone.jpg",
        { type = "image_url", image_url = { url = "url" } } } },
      { role = "assistant", tool_calls = { { id = "id", ["function"] = { name = "name", arguments = "7" } } } } } }
    local found = redact.texts_of(fields)
    table.sort(found)
    assert.same({ "1", "2", "3", "4", "5", "6", "7" }, found)
    assert.same({ "body" }, redact.texts_of "body")
    assert.same({}, redact.texts_of(nil))
  end)
end)

-- ---- what servers really say

local PROMPT = "My grandmother's diary says: gr\195\188n war die Heide.\nWhat does it mean?"
local PICTURE = "data:image/png;base64," .. BYTES

--- Text in quotes as Python writes it.
local function repr(text)
  local quote = text:find "'" and '"' or "'"
  return quote .. text:gsub("\\", "\\\\"):gsub("\n", "\\n") .. quote
end

local function python_body()
  return ("{'model': 'm', 'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': %s}, {'type': 'image_url',"
    .. " 'image_url': {'url': %s}}]}], 'temperature': 'hot'}"):format(repr(PROMPT), repr(PICTURE))
end

local function vllm(message)
  return { error = { message = message, type = "BadRequestError", param = lmm.null, code = 400 } }
end

local answers = { -- who, what the error still says, and the reply
  { "vLLM, of several years: pydantic's list", "'msg': 'Input should be a valid number'.*'input': 'hot'",
    { status = 400, json = vllm("[{'type': 'float_parsing', 'loc': ('body', 'temperature'), 'msg': 'Input should be a "
      .. "valid number', 'input': 'hot', 'body': " .. python_body() .. "}]") } },
  { "vLLM 0.32: a text where a list belongs", "'msg': 'Input should be a valid list', 'input': \"%[%.%.%.%]",
    { status = 400, json = vllm("1 validation error:\n  {'type': 'list_type', 'loc': 'body.messages', 'msg': 'Input "
      .. "should be a valid list', 'input': " .. repr(PROMPT) .. "}") } },
  { "FastAPI", "Field required", { status = 422, json = { detail = { { type = "missing", loc = { "body", "x" },
    msg = "Field required", input = { messages = { { content = PROMPT } }, url = PICTURE } } } } } },
  { "a server that quotes the URL", "Invalid image URL: data:image/png;base64,%.%.%. %(at 0%)",
    { status = 400, json = vllm("Invalid image URL: " .. PICTURE .. " (at 0)") } },
  { "a server that quotes base64 alone", "cannot decode '%.%.%.'",
    { status = 400, json = { error = "cannot decode '" .. BYTES .. "'" } } },
  { "a template", "unexpected 'x' in %[%.%.%.%]", { status = 500, json = vllm("unexpected 'x' in " .. PROMPT) } },
  { "a proxy's page of text", "^HTTP 502 .*: cannot hand on: ", { status = 502, echo = "cannot hand on: %s" } },
  { "an echo", "not a JSON object but ", { echo = "%s" } },
  { "an echo that is JSON", "a reply without choices", { echo = "%s", status = 200, keeps = true } },
  { "an error in an event", "boom %[%.%.%.%]",
    fake.streamed { fake.event(vllm("boom " .. PROMPT)), fake.event "[DONE]" } },
  { "an event that is no JSON", "not a JSON object but ",
    fake.streamed { "data: " .. PROMPT:gsub("\n", " ") .. "\n\n" } },
}

--- Raises where the error holds 16 bytes of the prompt, or of the picture.
local function check(err, where)
  for name, value in pairs(err) do
    if type(value) == "string" then
      for _, secret in ipairs { PROMPT, BYTES:sub(1, 200) } do
        for i = 1, #secret - 15 do
          if value:find(secret:sub(i, i + 15), 1, true) then error(where .. ": " .. name .. " quotes: " .. value, 0) end
        end
      end
      assert.is_nil(core.utf8(value), where)
    end
  end
end

describe("what servers really say", function()
  for _, row in ipairs(answers) do
    it(row[1], function()
      local content = { { type = "text", text = PROMPT }, { type = "image_url", image_url = { url = PICTURE } } }
      local request = { model = "m", messages = { { role = "user", content = content } } }
      local reply = row[3]
      if reply.echo then
        local body = json.encode(request)
        reply = { status = reply.status, body = reply.echo:format(reply.keeps and body or body:sub(2)) }
      end
      local calls = {
        function(client) return client:chat(request) end,
        function(client) return client:stream(request):reply() end,
        function(client) return client:conversation():ask(PROMPT, lmm.image(PICTURE)) end,
        function(client) return client:conversation():ask(PROMPT, lmm.image({ bytes = core.base64.decode(BYTES) },
          { mime = "image/png" })) end,
      }
      for i, call in ipairs(calls) do
        local err = assert.refused(row[2], call(fake.net({ reply }):connect { retry = false }))
        check(err, row[1] .. " " .. i)
      end
    end)
  end

  it("other requests: by field, and as a text", function()
    local refusal = { status = 400, json = { error = "cannot take " .. PROMPT .. " of model-with-a-long-name" } }
    for _, body in ipairs { { prompt = PROMPT }, { input = { PROMPT } }, json.encode { anything = PROMPT }, PROMPT } do
      local client = fake.net({ refusal }):connect { retry = false }
      local err = assert.refused("cannot take .* of model%-with%-a%-long%-name",
        client:request("POST", "/tokenize", body))
      check(err, "request")
    end
  end)

  it("our own words, and the names that a server gives, stay, whatever the prompt says", function()
    local prompt = "no answer from http://fake/v1 within 7 s (timeout.first sets this limit) insufficient_quota_error"
    local client = fake.net({ { hang = true } }):connect { retry = false, timeout = { first = 7 } }
    assert.refused("^no answer from http://fake/v1 within 7 s %(timeout%.first sets this limit%)$",
      client:conversation():ask(prompt))
    local refusal = { status = 429, json = { error = { message = "m", code = "insufficient_quota" } } }
    local net = fake.net { refusal }
    local err = assert.refused("HTTP 429 from http://fake/v1: m", net:connect():conversation():ask(prompt))
    assert.same({ "insufficient_quota", 1 }, { err.code, #net.requests })
  end)

  it("what had arrived of an answer is not touched, whatever it repeats", function()
    local text = PROMPT .. " " .. BYTES .. BYTES
    local net = fake.net { fake.streamed { fake.delta(text) } }
    assert.same(text, assert.refused("broke off", net:connect():conversation():stream(PROMPT):reply()).partial)
  end)

  it("a message that is longer than limits.error is cut, and what it quotes beyond is not told either", function()
    for length = 40, 50 do
      local refusal = { status = 400, body = ("x "):rep(length) .. PROMPT .. (" y"):rep(100) }
      local err = assert.refused("^HTTP 400", fake.net({ refusal }):connect { limits = { error = 150 } }:conversation()
        :ask(PROMPT))
      assert(#err.message <= 150, err.message)
      check(err, length)
    end
  end)

  it("a refusal that quotes a request of any size is decoded", function()
    local bytes = ("\0\1\2"):rep(2 ^ 19)
    local url = "data:image/png;base64," .. core.base64.encode(bytes)
    local net = fake.net { { status = 400, json = vllm("no number: 'hot', body: '" .. url .. "', input: '" .. url
      .. "' so") } }
    local err = assert.refused("400 from http://fake/v1: no number: 'hot', body: 'data:image/png;base64,%.%.%.', .* "
      .. "so$",
      net:connect { retry = false }:conversation():ask(PROMPT, lmm.image(url)))
    assert.equal("BadRequestError", err.type)
  end)

  it("of a refusal without an end no more is read than can matter", function()
    local chunks = {}
    for i = 1, 100 do chunks[i] = ("x "):rep(2 ^ 15) end
    local net = fake.net { { status = 400, chunks = chunks } }
    assert.refused("HTTP 400 .*: x x x", net:connect { retry = false }:conversation():ask(PROMPT))
    local transfer = net.transfers[1]
    assert.truthy(transfer.closed and not transfer.ended)
  end)

  it("no half of a key is told where a refusal is cut", function()
    local key = ("kEy."):rep(10)
    for before = 2 ^ 20 - 45, 2 ^ 20 + 5, 5 do
      local body = "data:image/png;base64," .. ("A"):rep(before - 23) .. " " .. key .. (" x"):rep(2 ^ 16)
      local event = "data: " .. json.encode { error = { message = body } } .. "\n\n"
      for _, reply in ipairs { { status = 400, body = body }, fake.streamed { event } } do
        local client = fake.net({ reply }):connect { retry = false, api_key = key }
        local err = assert.refused("base64,%.%.%.", client:stream({ messages = {} }):reply())
        assert(not err.message:find "kEy", err.message:sub(1, 200))
      end
    end
  end)
end)
