-- Errors: their form, where misuse points, what options say, and what is found in the bodies that servers refuse with.

local core = require "lmm.core"
local errors = require "lmm.errors"
local options = require "lmm.options"
local hints = require "lmm.call.hints"
local server_error = require "lmm.answer.server_error"
local text = require "lmm.text"

describe("a value in a message", function()
  for _, row in ipairs {
    { "a number", 1568, "1568" }, { "a text of digits", "1568", '"1568"' }, { "a fraction", 0.5, "0.5" },
    { "true", true, "true" }, { "a table", {}, "a table" }, { "a function", print, "a function" },
    { "a text of several lines", "a\nb\27", '"a b"' }, { "nothing", nil, "nil" },
    { "a long text", ("x"):rep(1e6), '"' .. ("x"):rep(57) .. '..."' },
  } do
    it("that is " .. row[1], function() assert.equal(row[3], text.shown(row[2])) end)
  end
end)

describe("a line", function()
  for _, row in ipairs {
    { "plain", "a b", "a b" },
    { "nothing", "", "" },
    { "line ends", "a\nb\r\nc\rd", "a b c d" },
    { "white space around line ends", "a  \n\n\t b \r\n", "a b" },
    { "white space elsewhere stays", "a  b\tc", "a  b\tc" },
    { "white space around it goes", " \t\n a \n ", "a" },
    { "nothing but white space", " \n\t \n", "" },
    { "NUL", "a\0b\0", "ab" },
    { "control characters", "a\27[31mb\7\8\127c\11d\12e", "a[31mbcde" },
    { "control characters beyond ASCII", "a\194\155b\226\128\168c\194\160", "abc\194\160" },
    { "other characters", "\195\164\226\130\172\240\159\152\128", "\195\164\226\130\172\240\159\152\128" },
  } do
    it(row[1], function() assert.same({ row[3] }, { text.line(row[2]) }) end)
  end

  it("is cut between characters", function()
    for _, character in ipairs { "x", "\195\164", "\226\130\172", "\240\159\152\128" } do
      for limit = 10, 50 do
        local line = text.line(character:rep(100), limit)
        assert(#line <= limit, ("%d bytes of %d"):format(#line, limit))
        assert(#line > limit - 4, "cut too far")
        assert.is_nil(core.utf8(line), "not UTF-8")
        assert.equal(character:rep((#line - 3) / #character) .. "...", line)
      end
      local whole = character:rep(100)
      assert.equal(whole, text.line(whole, #whole))
      assert.equal(whole, text.line(whole, 1000))
      assert.equal(whole, text.line(whole .. "\n\n", #whole))
    end
    assert(#text.line(("\128"):rep(100), 50) > 43, "bytes that are no characters are cut too far")
    assert.equal("...", text.line(("\128"):rep(100), 2))
  end)

  it("long runs of anything: with quadratic work this would not end", function()
    for _, piece in ipairs { " ", "\n", "\r\n", " \n", "\t", "x ", " x\n", "\128" } do
      assert.is_true(#text.line("a" .. piece:rep(200000) .. "b", 2000) <= 2003)
      text.line(piece:rep(200000))
    end
  end)
end)

describe("error objects", function()
  it("are what they were given", function()
    local fields = { kind = "http", message = "HTTP 503\nfrom x", status = 503, code = "c", hint = "wait\na little" }
    local err = errors.new(fields)
    assert.equal("HTTP 503 from x (wait a little)", err.message)
    assert.same({ "http", 503, "c", "wait\na little", false },
      { err.kind, err.status, err.code, err.hint, err.retryable })
    assert.equal(err.message, tostring(err))
    assert.same({ "failed: " .. err.message, err.message .. "!" }, { "failed: " .. err, err .. "!" })
    assert.equal("HTTP 503\nfrom x", fields.message)
    assert.truthy(errors.is(err))
    assert.same({ false, false, false }, { errors.is(fields), errors.is "x", errors.is(nil) })
    assert.is_true(errors.new({ kind = "http", message = "m", retryable = true }).retryable)
    assert.equal("m", errors.new({ kind = "http", message = "m" }).message)
  end)

  it("the public form", function()
    local err = errors.new { kind = "http", message = "m" }
    local function public(...) return select("#", errors.public(...)), { errors.public(...) } end
    assert.same({ 3, { nil, "m", err } }, { public(nil, err) })
    assert.same({ 1, { 5 } }, { public(5) })
    assert.same({ 1, { 5 } }, { public(5, err) })
    assert.same({ 1, { false } }, { public(false, err) })
    assert.same({ 1, {} }, { public(nil) })
    local ok, message = pcall(function() return assert(errors.public(nil, err)) end)
    assert.is_false(ok)
    assert.matches("m$", message)
  end)
end)

-- ---- misuse

local function line_here()
  return debug.getinfo(2, "l").currentline
end

local function check_place(line, fn)
  local message = assert.raises("lmm: ", fn)
  assert.equal("spec/errors_spec.lua:" .. line, message:match "^(.-): ")
end

describe("misuse", function()
  it("points at the line that called the library", function()
    local line
    check_place(line_here(), function() errors.misuse "x" end)
    check_place(line_here(), function() options.check("f", {}, 5) end)
    check_place(line_here(), function() options.check("f", {}, { a = 1 }) end)
    check_place(line_here(), function() require("lmm.part").new("image") end)
    check_place(line_here(), function() require("lmm.call.retry").new { bogus = 1 } end)
    check_place(line_here(), function() require("lmm").retry { bogus = 1 } end)
    check_place(line_here(), function() require("lmm").connect { bogus = 1 } end)
    check_place(line_here(), function() require("lmm").image(5) end)
    check_place(line_here(), function() pcall(error) options.check("f", {}, 5) end)
    local function deep() options.check("f", {}, 5) end line = line_here()
    check_place(line, function() deep() end)
    check_place(line, coroutine.wrap(function() deep() end))
  end)

  --- A function that counts as the library's: its chunk has a name like the library's own files.
  local function library_function(code)
    local name = debug.getinfo(errors.new, "S").source:gsub("errors%.lua$", "made_by_the_spec.lua")
    local chunk = assert((loadstring or load)(code, name)) -- luacheck: ignore 113
    return chunk(errors)
  end

  it("passes over the library's frames, tail calls and C functions", function()
    local tail = library_function [[local e = ...
    local function f() return e.misuse 'x' end
    return function() return f() end]]
    check_place(line_here(), function() tail() end)
    local sorted = library_function [[local e = ...
    return function() table.sort({ 2, 1 }, function() e.misuse 'x' end) end]]
    check_place(line_here(), function() sorted() end)
  end)

  it("with nothing but the library below", function()
    local thread = coroutine.create(library_function "local e = ... return function() e.misuse('%d%% of it', 50) end")
    local ok, message = coroutine.resume(thread)
    assert.is_false(ok)
    assert.matches("^lmm: 50%% of it$", message)
  end)

  it("becomes a value, and nothing else does", function()
    local function raise(...) error(...) end
    assert.same({ 5 }, { errors.try(function(a) return a end, 5) })
    assert.same({ nil, "x is 5" }, { errors.try(errors.misuse, "x is %d", 5) })
    assert.same({ nil, "lmm: x" }, { errors.try(raise, "lmm: lmm: x", 0) })
    local others = { "interrupted!", "the server said\nfile:1: lmm: x", "it said lmm: x", { message = "lmm: x" } }
    for _, other in ipairs(others) do
      local ok, raised = pcall(errors.try, raise, other, 0)
      assert.same({ false, other }, { ok, raised })
    end
  end)

  it("formats", function()
    assert.matches("lmm: a%%s is 5$", assert.raises("", errors.misuse, "%s is %d", "a%s", 5))
  end)
end)

-- ---- options

local rows = { timeout = "number|table", model = "string", headers = "table", api_key = "string|function" }

describe("options", function()
  it("that are allowed", function()
    local given = { timeout = 5, model = "m", headers = {}, api_key = print }
    assert.is_true(options.check("f", rows, given) == given)
    assert.same({ timeout = {} }, options.check("f", rows, { timeout = {} }))
    assert.same({}, options.check("f", rows, nil))
    assert.same({}, options.check("f", rows, {}))
  end)

  for _, row in ipairs {
    { 5, "f: a table of options expected, got number$" },
    { false, "f: a table of options expected, got boolean$" },
    { { timeot = 1 }, "f: unknown option 'timeot' %(did you mean 'timeout'%?%)$" },
    { { Model = "m" }, "f: unknown option 'Model' %(did you mean 'model'%?%)$" },
    { { apikey = "k" }, "f: unknown option 'apikey' %(did you mean 'api_key'%?%)$" },
    { { header = {} }, "did you mean 'headers'" },
    { { temperature = 1 }, "f: unknown option 'temperature' %(there are: api_key, headers, model, timeout%)$" },
    { { "m" }, "f: unknown option '1' %(there are: api_key, headers, model, timeout%)$" },
    { { [true] = 1 }, "f: unknown option 'true' %(there are" },
    { { [{}] = 1 }, "f: unknown option 'table: " },
    { { [""] = 1 }, "f: unknown option ''" },
    { { model = 5 }, "f: option 'model' must be a string, not a number$" },
    { { timeout = "5" }, "f: option 'timeout' must be a number or table, not a string$" },
    { { api_key = true }, "f: option 'api_key' must be a string or function, not a boolean$" },
    { { headers = print }, "f: option 'headers' must be a table, not a function$" },
  } do
    it("refused: " .. row[2], function() assert.raises(row[2], options.check, "f", rows, row[1]) end)
  end

  it("the nearest name", function()
    local names = { temperature = 1, top_p = 1, top_k = 1, max_tokens = 1 }
    for given, near in pairs {
      temperatur = "temperature", tempreature = "temperature", Temperature = "temperature", temp = false,
      top_q = "top_k",
      maxtokens = "max_tokens", max_token = "max_tokens", max_new_tokens = "max_tokens", stop = false, x = false,
      seed = false, [""] = false,
    } do
      assert.equal(near, options.nearest(given, names) or false, given)
    end
    assert.is_nil(options.nearest("x", {}))
  end)
end)

-- ---- what servers refuse with

local function reply(status, body, headers, size)
  local sent = { size = size, url = "http://host/health", base_url = "http://host" }
  local fields = server_error.from_reply({ status = status, headers = headers or {} }, body)
  fields.hint, fields.location = fields.hint or hints.for_refusal(fields, sent, fields.location), nil
  return fields
end

--- The fields of a reply's error, checked as far as `expected` names them; false stands for a field that is not there.
local function check_fields(fields, expected)
  for name, value in pairs(expected) do assert.equal(value, fields[name] or false, name) end
  assert.equal("string", type(fields.message))
  errors.new(fields)
end

local bodies = { -- name, status, body, expected fields
  { "vLLM", 400,
    [[{"error":{"message":"At most 1 image(s)","type":"BadRequestError","param":"image","code":400}}]],
    { message = "At most 1 image(s)", type = "BadRequestError", param = "image", code = 400, status = 400 } },
  { "vLLM, no param", 404, [[{"error":{"message":"m","type":"NotFoundError","param":null,"code":404}}]],
    { message = "m", type = "NotFoundError", param = false, code = 404, status = 404 } },
  { "vLLM up to 0.10.0", 400, [[{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}]],
    { message = "m", type = "BadRequestError", param = false, code = 400 } },
  { "vLLM, 401", 401, [[{"error":"Unauthorized"}]],
    { message = "Unauthorized", code = false, type = false, param = false, status = 401 } },
  { "vLLM, scaling", 503, [[{"error":"The model is currently scaling. Please try again later."}]],
    { message = "The model is currently scaling. Please try again later.", status = 503 } },
  { "vLLM, body validation", 400,
    [[{"error":{"message":"1 validation error:\n  {'type': 'missing'}\n","type":"Bad Request",]]
      .. [["param":"body.messages[0]","code":400}}]],
    { type = "Bad Request", param = "body.messages[0]", code = 400 } },
  { "vLLM, wrong path", 404, [[{"detail":"Not Found"}]], { message = "Not Found", status = 404, code = false } },
  { "FastAPI, validation", 422, [[{"detail":[{"msg":"field required"},{"msg":"x"}]}]],
    { message = "[{\"msg\":\"field required\"},{\"msg\":\"x\"}]", status = 422 } },
  { "vLLM, an empty message", 500, [[{"error":{"message":"","type":"InternalServerError","param":null,"code":500}}]],
    { message = [[{"error":{"message":"","type":"InternalServerError","param":null,"code":500}}]],
      type = "InternalServerError", code = 500 } },
  { "vLLM's Rust frontend, OpenAI", 400,
    [[{"error":{"message":"m","type":"invalid_request_error","code":"invalid_value"}}]],
    { message = "m", type = "invalid_request_error", code = "invalid_value", status = 400 } },
  { "OpenAI, quota", 429,
    [[{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}]],
    { code = "insufficient_quota", type = "insufficient_quota", status = 429 } },
  { "Anthropic", 400, [[{"type":"error","error":{"type":"invalid_request_error","message":"m"}}]],
    { message = "m", type = "invalid_request_error", status = 400 } },
  { "llama-server", 500,
    [[{"error":{"code":500,"message":"Failed to load image or audio file","type":"server_error"}}]],
    { message = "Failed to load image or audio file", type = "server_error", code = 500 } },
  { "llama-server, overflow", 400,
    [[{"error":{"code":400,"message":"m","type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":8192}}]],
    { message = "m: the prompt has 9000 tokens, the context 8192", type = "exceed_context_size_error", code = 400 } },
  { "llama-server, loading", 503, [[{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}]],
    { message = "Loading model", status = 503 } },
  { "llama-server, 413", 413, "", { message = "no reason given", status = 413 } },
  { "Ollama", 404, [[{"error":{"message":"model 'x' not found","type":"api_error","param":null,"code":null}}]],
    { message = "model 'x' not found", type = "api_error", param = false, code = false, status = 404 } },
  { "SGLang", 400, [[{"object":"error","message":"m","type":"BadRequest","param":null,"code":400}]],
    { message = "m", type = "BadRequest", code = 400 } },
  { "a status other than the code", 503, [[{"error":{"message":"m","code":400}}]], { code = 400, status = 503 } },
  { "an error that is a list", 400, [[{"error":["a","b"]}]], { message = "[\"a\",\"b\"]" } },
  { "an error that is empty", 400, [[{"error":{}}]], { message = "{}" } },
  { "an error that is a number", 400, [[{"error":5}]], { message = "5" } },
  { "a message that is an object", 400, [[{"error":{"message":{"a":1}}}]], { message = "{\"a\":1}" } },
  { "a message that is a number", 400, [[{"error":{"message":5,"code":{},"type":[],"param":{}}}]],
    { code = false, type = false, param = false } },
  { "a message that JSON cannot hold again", 400,
    "{\"error\":{\"message\":[" .. ("null,"):rep(30) .. "1]}}",
    { message = "{\"error\":{\"message\":[" .. ("null,"):rep(30) .. "1]}}" } },
  { "a message of NaN", 400, "{\"error\":{\"message\":[NaN]}}", { message = "{\"error\":{\"message\":[NaN]}}" } },
  { "a null error and a detail", 400, [[{"error":null,"detail":"d"}]], { message = "d" } },
  { "a message beside", 400, [[{"message":"m"}]], { message = "{\"message\":\"m\"}" } },
  { "an object", 400, "{}", { message = "{}", status = 400 } },
  { "a list", 400, "[]", { message = "[]" } },
  { "a text", 502, "Bad Gateway\n", { message = "Bad Gateway\n", status = 502 } },
  { "a JSON text", 500, "\"x\"", { message = "\"x\"" } },
  { "null", 500, "null", { message = "null" } },
  { "nothing", 502, "", { message = "no reason given" } },
  { "white space", 502, " \r\n", { message = "no reason given" } },
  { "a page", 502, "<html><body>502 Bad Gateway</body></html>", { message = "an HTML page" },
    { ["content-type"] = "text/html; charset=utf-8" } },
  { "a page by its type", 502, "Bad Gateway", { message = "an HTML page" }, { ["content-type"] = "Text/HTML" } },
  { "a page without a type", 502, "\n<!DOCTYPE html>\n<title>x</title>", { message = "an HTML page" } },
  { "JSON in a page", 400, [[{"error":{"message":"m"}}]], { message = "m" }, { ["content-type"] = "text/html" } },
  { "a request's id", 500, "x", { request_id = "r1" }, { ["x-request-id"] = "r1" } },
  { "broken JSON", 500, "{\"error\":", { message = "{\"error\":" } },
}

describe("what servers refuse with", function()
  for _, row in ipairs(bodies) do
    it("body: " .. row[1], function()
      local fields = reply(row[2], row[3], row[5])
      check_fields(fields, row[4])
      assert.same({ "http", row[2] }, { fields.kind, fields.status, fields.location })
      assert(not errors.new(fields).message:find "[\r\n]", "several lines")
    end)
  end

  it("a decoded object", function()
    assert.is_nil(server_error.find(nil))
    assert.is_nil(server_error.find "x")
    assert.is_nil(server_error.find {})
    assert.is_nil(server_error.find { object = "chat.completion", choices = {} })
    assert.same({ message = "m", code = 503, status = 503 },
      server_error.find { object = "error", message = "m", code = 503 })
    assert.same({ message = "m", code = "x" }, server_error.find { error = { message = "m", code = "x" } })
    assert.same({ message = "m" }, server_error.find { error = "m" })
    assert.is_nil(server_error.find({ message = "m", type = "t" }))
    assert.same({ message = "m", type = "t" }, server_error.find({ message = "m", type = "t" }, true))
    assert.same({ message = "m", type = "overloaded_error" },
      server_error.find({ type = "error", error = { type = "overloaded_error", message = "m" } }, true))
    assert.is_nil(server_error.find { choices = {}, error = false })
    assert.same({ message = "m", status = 503 }, server_error.find { message = "m", status = 503 })
    assert.same({ message = "m", code = 400, status = 400 },
      server_error.find { errors = { { message = "m", code = 400 } } })
    assert.is_nil(server_error.find { choices = {}, errors = { "m" }, type = "error", message = "m", code = 500 })
    assert.same({ message = "x" }, server_error.find { error = false, detail = "x" })
    assert.is_nil(server_error.find { choices = {}, detail = "x" })
  end)

  for _, row in ipairs {
    { "3xx", 301, "", "it points to https://example.org/v1; redirects are not followed",
      { location = "https://example.org/v1" } },
    { "3xx with a password", 302, "", "it points to https://evil.example/@a?key=abc; redirects are not followed",
      { location = "https://us@er:pw@evil.example/@a?key=abc" } },
    { "3xx with a password and no scheme", 302, "", "it points to //evil.example:8000; redirects are not followed",
      { location = "//user:pw@evil.example:8000" } },
    { "3xx and an @ in a path", 302, "", "it points to /a//b@c; redirects are not followed", { location = "/a//b@c" } },
    { "3xx and a percent sign", 308, "", "it points to /a%20b; redirects are not followed", { location = "/a%20b" } },
    { "3xx without a place", 304, "", false },
    { "401", 401, [[{"error":"Unauthorized"}]], "pass api_key, or set OPENAI_API_KEY" },
    { "404 for a model", 404, [[{"error":{"message":"The model `x` does not exist.","code":404}}]],
      "client:models(), or lmm models, lists those that are served" },
    { "404 for a path", 404, [[{"detail":"Not Found"}]], "a base URL mostly ends in /v1" },
    { "405", 405, [[{"detail":"Method Not Allowed"}]], "a base URL mostly ends in /v1" },
    { "413", 413, "", "the request has 104857601 bytes, more than the server takes", {}, 104857601 },
    { "413 for no body", 413, "", false },
    { "400", 400, [[{"error":{"message":"m","code":404}}]], false },
    { "a place without a redirect", 201, "", false, { location = "/x" } },
  } do
    it("hint: " .. row[1], function()
      local fields = reply(row[2], row[3], row[5], row[6])
      assert.same({ row[4] }, { fields.hint or false, fields.location })
      if row[4] then assert(errors.new(fields).message:find("(" .. row[4] .. ")", 1, true), "not in the message") end
    end)
  end

  it("a place that goes on for ever is cut", function()
    local fields = reply(302, "", { location = "https://example.org/" .. ("\195\164"):rep(30000) })
    assert(#fields.hint < 600, "too long")
    assert.is_nil(core.utf8(fields.hint))
    assert(not reply(302, "", { location = "/a\27[2J\nb" }).hint:find "%c", "a control character")
  end)

  it("hints are found for errors in a stream", function()
    assert.equal("client:models(), or lmm models, lists those that are served",
      hints.for_refusal({ status = 404, message = "The model `x` does not exist." }, {}))
    assert.is_nil(hints.for_refusal({ status = 500, message = "m" }, {}))
    assert.is_nil(hints.for_refusal({ status = 301, message = "m" }, {}))
  end)
end)
