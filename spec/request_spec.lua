-- Request tables: what goes over the wire is what the caller's tables say, or an error says where they cannot be sent.

local core = require "lmm.core"
local errors = require "lmm.errors"
local fake = require "spec.support.fake"
local json = require "lmm.json"
local parts = require "lmm.part"
local request = require "lmm.request"
local shell = require "spec.support.shell"

local has_integers = math.type ~= nil

--- The JSON text of a request.
local function text_of(fields)
  local body, err = request.body(fields)
  if not body then error(err.message, 2) end
  local pieces = {}
  for piece in function() return body:read(1000) end do pieces[#pieces + 1] = piece end
  local text = table.concat(pieces)
  assert.same(body:size(), #text)
  return text
end

local function decoded(fields)
  return (assert(json.decode(text_of(fields))))
end

local function refused(pattern, fields)
  local body, err = request.body(fields)
  assert.equal(nil, body)
  assert(errors.is(err), "no error object")
  assert.equal("invalid", err.kind)
  assert.matches(pattern, err.message)
  assert(not err.message:find "[\r\n]", "several lines")
  return err
end

--- The text of the number that a request holds.
local function number_text(value)
  return (text_of { n = value }:match '^{"n":([^}]*)}$')
end

describe("a request", function()
  -- ---- plain values

  it("plain values come back as they were", function()
    local fields = {
      model = "m", stream = true, store = false, temperature = 0.5, max_tokens = 100, stop = { "a", "b" },
      messages = { { role = "user", content = "hi" }, { role = "assistant", content = { { type = "text" } } } },
    }
    assert.same(fields, decoded(fields))
  end)

  it("texts come back as they were", function()
    local all = {}
    for i = 0, 127 do all[#all + 1] = string.char(i) end
    for _, text in ipairs {
      "", table.concat(all), "\"quoted\" \\ / \n\r\t", "\195\164\226\130\172\240\159\152\128", "\226\128\168",
      "\239\191\191\244\143\191\191", ("x"):rep(100000), "null", "lmm-", "{}", "<|image|>",
    } do
      assert.same(text, decoded { t = text }.t)
      assert.same({ [text] = 1 }, decoded { [text] = 1 })
    end
  end)

  it("empty tables are objects, and arrays where they are marked", function()
    assert.equal("{}", text_of {})
    assert.equal("{\"a\":{}}", text_of { a = {} })
    assert.equal("{\"a\":[]}", text_of { a = json.array() })
    assert.equal("{\"a\":[]}", text_of { a = json.array {} })
    assert.equal("{\"a\":[[],{},[[]]]}", text_of { a = { json.array {}, {}, json.array { json.array {} } } })
    assert.equal("{\"a\":[1,2]}", text_of { a = json.array { 1, 2 } })
    assert.equal("[]", text_of(json.array {}))
  end)

  it("null", function()
    assert.equal("{\"a\":null}", text_of { a = json.null, b = nil })
    assert.equal("{\"a\":[null,1,null]}", text_of { a = { json.null, 1, json.null } })
    assert.same(json.null, require("lmm").null)
  end)

  -- ---- numbers

  it("whole numbers are written as such", function()
    local rows = {
      { 0, "0" }, { 1, "1" }, { -1, "-1" }, { 16.0, "16" }, { 1e3, "1000" },
      { 99999999999999, "99999999999999" }, { -99999999999999, "-99999999999999" },
      { 100000000000000, "100000000000000" }, { -100000000000000, "-100000000000000" },
      { 1e14, "100000000000000" }, { -1e14, "-100000000000000" }, { 1e15, "1000000000000000" },
      { 123456789012345, "123456789012345" }, { 2 ^ 53, "9007199254740992" }, { -(2 ^ 53), "-9007199254740992" },
      { 2 ^ 62, "4611686018427387904" }, { -(2 ^ 62), "-4611686018427387904" },
    }
    for _, row in ipairs(rows) do assert.same(row[2], number_text(row[1])) end
  end)

  it("integers beyond 2^53 are exact", function()
    if not has_integers then pending "no integers in this Lua" end
    for _, text in ipairs {
      "9007199254740993", "-9007199254740993", "9223372036854775807", "-9223372036854775808", "1234567890123456789",
      "100000000000001", "-100000000000001", "99999999999999",
    } do
      assert.same(text, number_text(math.tointeger(text) or math.tointeger(tonumber(text))))
    end
  end)

  it("other numbers come back as they were", function()
    local values = {
      0.1, 0.1 + 0.2, 1 / 3, -2 / 3, 3.141592653589793, 1e-7, 1e22, 1e300, 5e-324, 2.2250738585072014e-308,
      1.7976931348623157e308, -1.7976931348623157e308, 2 ^ 63, -(2 ^ 63), 2 ^ 64, 1e14 + 0.5, 123456789.123456789,
      0.30000000000000004, 1 + 2 ^ -52, 99999999999999.9,
    }
    for _, value in ipairs(values) do
      local text = number_text(value)
      assert.matches("^-?%d+%.?%d*[eE]?[+-]?%d*$", text)
      if tonumber(text) ~= value then error(text .. " is not " .. string.format("%.17g", value)) end
    end
    assert.same({ "0.3", "1e+300", "1e+22" }, { number_text(0.3), number_text(1e300), number_text(1e22) })
    assert.equal("0.30000000000000004", number_text(0.1 + 0.2))
  end)

  it("numbers in lists", function()
    assert.equal("{\"a\":[0.30000000000000004,1,9007199254740992,[],0.5]}",
      text_of { a = { 0.1 + 0.2, 1, 2 ^ 53, json.array {}, 0.5 } })
  end)

  -- ---- parts

  local jpeg, png = "spec/media/baseline.jpg", "spec/media/picture.png"

  local function ask(...)
    return { messages = { { role = "user", content = { ... } } } }
  end

  it("parts become data URLs in the typed object form", function()
    local sound = ("\0\255"):rep(5000)
    local content = decoded(ask(parts.new("image", jpeg), { type = "text", text = "and" }, parts.new("image", png),
      parts.new("image", { bytes = sound }, { mime = "image/x-a+b" }))).messages[1].content
    assert.equal(4, #content)
    for i, row in pairs {
      [1] = { "data:image/jpeg;base64,", shell.read(jpeg) }, [3] = { "data:image/png;base64,", shell.read(png) },
      [4] = { "data:image/x-a+b;base64,", sound },
    } do
      local url = content[i].image_url.url
      assert.same({ type = "image_url", image_url = { url = url } }, content[i])
      assert.same(row[1], url:sub(1, #row[1]))
      assert(core.base64.decode(url:sub(#row[1] + 1)) == row[2], "other bytes")
    end
    assert.same({ type = "text", text = "and" }, content[2])
  end)

  it("detail goes into the object, other names beside it", function()
    local part = parts.new("image", "https://example.org/a.jpg",
      { detail = "low", uuid = "u1", trust_uuid = true, cache_control = { type = "ephemeral" }, min_pixels = 2 ^ 53 })
    local content = decoded(ask(part)).messages[1].content
    assert.same({ {
      type = "image_url", image_url = { url = "https://example.org/a.jpg", detail = "low" }, uuid = "u1",
      cache_control = { type = "ephemeral" }, min_pixels = 2 ^ 53,
    } }, content)
  end)

  it("options cannot take the place of the source", function()
    for name, value in pairs { type = "x", image_url = { url = "b" } } do
      local body, err = request.body(ask(parts.new("image", "https://example.org/a.jpg", { [name] = value })))
      assert.same({ nil, "invalid", ("the option '%s' of the image is written by lmm itself"):format(name) },
        { body, err.kind, err.message })
    end
  end)

  it("parts may stand anywhere, and more than once", function()
    local part = parts.new("image", jpeg)
    local fields = { input = part, list = { part, { deep = part } } }
    local url = "data:image/jpeg;base64," .. core.base64.encode(shell.read(jpeg))
    local expected = { type = "image_url", image_url = { url = url } }
    assert.same({ input = expected, list = { expected, { deep = expected } } }, decoded(fields))
    assert.same(expected, decoded(part))
  end)

  it("a part that cannot be used is the error", function()
    local part = parts.new("image", "/none.jpg")
    local body, err = request.body(ask("x", part))
    assert.equal(nil, body)
    assert(err == part.err, "another error")
  end)

  it("the caller's tables are left as they are", function()
    local part = parts.new("image", jpeg, { detail = "low", uuid = "a", trust_uuid = true })
    local empty = json.array {}
    local fields = { seed = 2 ^ 53, tools = empty, messages = { { content = { part, "x" } } }, n = json.null }
    request.body(fields)
    assert.truthy(fields.messages[1].content[1] == part and fields.tools == empty and fields.n == json.null)
    assert.same({ detail = "low", uuid = "a" }, part.options)
    assert.equal(nil, next(empty))
    assert.same(2 ^ 53, fields.seed)
  end)

  -- ---- what cannot be sent

  local rows = {
    { "nan", { a = { b = { 1, 0 / 0 } } }, "^a%.b%[2%] is %-?nan, which JSON cannot hold$" },
    { "inf", { temperature = math.huge }, "^temperature is inf, which JSON cannot hold$" },
    { "-inf", { temperature = -math.huge }, "^temperature is %-inf" },
    { "a function", { tools = { { call = print } } }, "^tools%[1%]%.call is a function, which JSON cannot hold$" },
    { "a thread", { a = coroutine.create(function() end) }, "^a is a thread" },
    { "userdata", { a = io.stdout }, "^a is a userdata" },
    { "a media by itself", { a = core.media(jpeg) }, "^a is a userdata" },
    { "an overlong form", { a = "x\192\175" }, "^a is not UTF%-8: byte 2 is 0xC0$" },
    { "a surrogate", { a = { "ok", "\237\160\128" } }, "^a%[2%] is not UTF%-8: byte 1 is 0xED$" },
    { "a character cut short", { a = { b = "abc\226\130" } }, "^a%.b is not UTF%-8: byte 4 is 0xE2$" },
    { "bytes", { a = shell.read(jpeg) }, "^a is not UTF%-8: byte 1 is 0xFF$" },
    { "a text in a part's options", ask(parts.new("image", jpeg, { uuid = "\255", trust_uuid = true })),
      "^messages%[1%]%.content%[1%]%.uuid is not UTF%-8: byte 1 is 0xFF$" },
    { "a URL that is not UTF-8", ask(parts.new("image", "http://example.org/\255")),
      "^messages%[1%]%.content%[1%]%.image_url%.url is not UTF%-8: byte 20" },
    { "a field name that is not UTF-8", { a = { { ["b\255"] = 1 } } },
      "^a field name in a%[1%] is not UTF%-8: byte 2 is 0xFF$" },
    { "a field name at the top", { ["\128"] = print }, "^a field name in the request is not UTF%-8: byte 1 is 0x80$" },
    { "a boolean as a field name", { a = { [true] = 1 } }, "^a has a boolean as a field name" },
    { "a table as a field name", { [{}] = 1 }, "^the request has a table as a field name" },
    { "a number at the top that is none", { 0 / 0 }, "^%[1%] is %-?nan" },
    { "a list with a hole", { a = { b = { 1, nil, 3 } } }, "^a%.b%[2%] is missing: .*lmm%.null" },
    { "a list that does not begin at 1", { logit_bias = { [50256] = -100 } }, "^logit_bias%[1%] is missing: .*string" },
    { "a long list with a hole", { a = { 1, 2, 3, 4, 5, 6, 7, 8, [100] = 9 } }, "^a%[9%] is missing" },
    { "a list that begins at 0", { a = { [0] = "x", "y" } }, "^a%[0%] is no place in a list" },
    { "a fraction as an index", { a = { "x", [1.5] = "y" } }, "^a%[1%.5%] is no place in a list" },
    { "items beside fields", { messages = { { role = "user", "hello" } } },
      "^messages%[1%] has both items and named fields" },
  }

  for _, row in ipairs(rows) do
    it("refused: " .. row[1], function() refused(row[3], row[2]) end)
  end

  it("refused: tables that hold themselves", function()
    local own = {}
    own.own = own
    refused("nested more than 1000 deep: does it hold itself%?", own)
    local list = { {} }
    list[1][1] = list
    refused("nested more than 1000 deep", { a = list })
  end)

  it("a table may stand in two places", function()
    local one = { 1 }
    assert.same({ a = { 1 }, b = { { 1 }, { 1 } } }, decoded { a = one, b = { one, one } })
  end)

  it("nesting up to the limit, and beyond", function()
    local function nested(depth)
      local value = {}
      for _ = 2, depth do value = { a = value } end
      return value
    end
    for _, depth in ipairs { 10, 998, 999, 1000 } do
      assert.same(("{\"a\":"):rep(depth - 1) .. "{}" .. ("}"):rep(depth - 1), text_of(nested(depth)))
    end
    refused("nested more than 1000 deep", nested(1001))
    refused("nested more than 1000 deep", nested(20000))
  end)

  -- ---- what was written

  it("text that looks like anything else is only text", function()
    local part = parts.new("image", { bytes = "abc" }, { mime = "image/png" })
    for _, text in ipairs { "data:image/png;base64,YWJj", "\",\"x\":\"", "lmm-1-1;", "\0", "[]" } do
      local content = decoded(ask({ text = text }, part, { text = text })).messages[1].content
      assert.equal(text, content[1].text)
      assert.equal("data:image/png;base64,YWJj", content[2].image_url.url)
      assert.equal(text, content[3].text)
      assert.same({ a = text, [text] = 1 }, decoded { a = text, [text] = 1 })
    end
  end)

  it("equal tables give equal texts", function()
    local names, one, other = { "model", "a", "messages", "b", "stream", "" }, {}, {}
    for i = 1, #names do
      one[names[i]], other[names[#names + 1 - i]] = i, #names + 1 - i
    end
    assert.equal('{"":6,"a":2,"b":4,"messages":3,"model":1,"stream":5}', text_of(one))
    assert.equal(text_of(one), text_of(other))
  end)

  it("what happens to the tables afterwards does not change it", function()
    local fields = { messages = { { role = "user", content = "before" } } }
    local body = request.body(fields)
    fields.messages[1].content, fields.model = "after", "m"
    assert.equal('{"messages":[{"content":"before","role":"user"}]}', body:read(1000))
  end)

  it("a body can be read again", function()
    local body = request.body(ask(parts.new("image", jpeg), "x"))
    local first = body:read(1000000)
    body:rewind()
    assert.same(first, body:read(1000000))
  end)

  it("a body holds what it needs", function()
    local function make()
      return request.body(ask(parts.new("image", { bytes = ("abc"):rep(10000) }, { mime = "image/png" })))
    end
    local body = make()
    collectgarbage()
    collectgarbage()
    local content = json.decode(body:read(1000000)).messages[1].content
    assert(content[1].image_url.url == "data:image/png;base64," .. ("YWJj"):rep(10000), "other bytes")
  end)

  it("what a part's writing raises, other than an error of ours, is raised", function()
    local part = parts.new("image", jpeg)
    part.kind = "x"
    assert.raises("attempt to call", request.body, ask(part))
    assert.equal("{}", text_of {})
  end)

  it("is written when the stream is made, and the model that is found later goes before all else", function()
    local function list(name) return { json = { data = { { id = name } } } } end
    local net = fake.net { list "found", fake.whole "a", list "\255" }
    local message = { role = "user", content = "before" }
    local stream = net:connect { model = "" }:stream { messages = { message } }
    message.content = "after"
    assert(stream:reply())
    assert.matches('^{"stream_options":%b{},"model":"found",'
      .. '"messages":%[{"content":"before","role":"user"}%],"stream":true', net.requests[2].text)
    assert.refused("^model is not UTF%-8", net:connect({ model = "" }):chat { messages = {} })
  end)

  it("that cannot be written is told when the stream is read, and nothing is sent", function()
    local net = fake.net { fake.whole "a" }
    local stream = net:connect { model = "" }:stream { messages = { print } }
    assert.refused("^messages%[1%] is a function", stream:reply())
    assert.equal(0, #net.requests)
  end)
end)
