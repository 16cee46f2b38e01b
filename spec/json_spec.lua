-- JSON in and out: nulls are gone where they shall be, whole numbers print as such, and garbage is no error raised.

local json = require "lmm.json"

local has_integers = math.type ~= nil

describe("lmm.json:", function()
  it("decode gives what stands there", function()
    assert.same({ a = { 1, true, "x", {} } }, json.decode "{\"a\":[1,true,\"x\",{}]}")
    assert.same({ 1 }, json.decode " \n[1]\t")
    assert.same({ "x" }, { json.decode "\"x\"" })
    assert.same({ false }, { json.decode "false" })
    assert.equal(json.null, json.decode "null")
    assert.same({ a = json.null }, json.decode "{\"a\":null}")
    assert.same({ json.null, 1 }, json.decode "[null,1]")
    assert.equal("\195\164\240\159\152\128\n", json.decode "\"\\u00e4\\ud83d\\ude00\\n\"")
  end)

  for _, text in ipairs {
    "", " ", "{", "{]", "[1,", "nul", "{\"a\":}", "{a:1}", "'x'", "\"x", "1 2", "[1]x", "<html>", "data: {}", "\0",
    "{\0}", "\"\\ud8\"", "{\"a\":1,}",
  } do
    it(("garbage gives nil and why: %q"):format(text), function()
      local value, message = json.decode(text)
      assert.is_nil(value)
      assert.equal("string", type(message))
      assert.truthy(#message > 5, "no message")
    end)
  end

  it("what is no text is misuse", function()
    for _, value in ipairs { {}, true, print, 5 } do
      assert.raises("json_spec.lua:%d+: lmm: lmm.json.decode: a text expected, got", function() json.decode(value) end)
    end
    assert.raises("a text expected, got nil", json.decode)
    assert.raises("the depth is a number, not a table", json.decode, "[1]", {})
  end)

  it("nesting has a limit", function()
    local function nested(depth) return ("["):rep(depth) .. ("]"):rep(depth) end
    local function depth_of(value)
      local depth = 0
      while value do depth, value = depth + 1, value[1] end
      return depth
    end
    assert.equal(1000, depth_of(json.decode(nested(1000))))
    assert.equal(1000, depth_of(json.clean(json.decode(nested(1000)))))
    for _, text in ipairs { nested(1001), nested(1000000), ("["):rep(1000000), ("{\"a\":"):rep(1001) } do
      local value, message = json.decode(text)
      assert.is_nil(value)
      assert.matches("nested", message)
    end
  end)

  it("clean drops nulls, also from lists", function()
    local null = json.null
    assert.same({}, { json.clean(null) })
    assert.same({ b = { d = 1 } }, json.clean { a = null, b = { c = null, d = 1 } })
    local list = json.clean { null, 1, { null }, null, "x" }
    assert.same({ nil, 1, {}, nil, "x" }, { list[1], list[2], list[3], list[4], list[5] })
    assert.same({ false, "null", { false } }, { json.clean(false), json.clean "null", json.clean { false } })
  end)

  it("clean makes a copy", function()
    local value = { a = { b = json.null }, c = { 1.0 } }
    local copy = json.clean(value)
    assert.truthy(copy ~= value and copy.c ~= value.c, "not a copy")
    assert.same({ a = { b = json.null }, c = { 1 } }, value)
  end)

  it("whole numbers print as such after clean", function()
    for text, printed in pairs {
      ["16"] = "16", ["-3"] = "-3", ["0"] = "0", ["1696004797"] = "1696004797", ["2.0"] = "2", ["1e3"] = "1000",
      ["0.5"] = "0.5", ["-9999.25"] = "-9999.25",
    } do
      assert.equal(printed, tostring(json.clean(json.decode(text))))
      assert.equal(printed, tostring(json.clean(json.decode("{\"usage\":{\"n\":[" .. text .. "]}}")).usage.n[1]))
    end
    if has_integers then
      assert.equal("9007199254740992", tostring(json.clean(json.decode "9007199254740992")))
      assert.equal("integer", math.type(json.clean(json.decode "[1]")[1]))
      assert.equal("float", math.type(json.clean(json.decode "[1.5]")[1]))
    end
  end)

  it("big numbers stay numbers", function()
    for _, text in ipairs { "1e22", "1e300", "-1e300", "9223372036854775808", "1.7976931348623157e308", "5e-324" } do
      assert.equal(tonumber(text), json.clean(json.decode(text)))
    end
    assert.equal(math.huge, json.clean(json.decode "1e999"))
    assert.equal(-math.huge, json.clean(json.decode "[-1e999]")[1])
  end)

  it("lists that are marked", function()
    local items = { 1 }
    assert.truthy(json.array(items) == items, "another table")
    assert.equal(true, json.is_empty_array(json.array()))
    assert.equal(true, json.is_empty_array(json.array {}))
    assert.equal(false, json.is_empty_array(json.array { 1 }))
    assert.equal(false, json.is_empty_array(json.array { a = 1 }))
    assert.same({ false, false, false }, { json.is_empty_array {}, json.is_empty_array "x", json.is_empty_array(nil) })
  end)

  it("encode", function()
    assert.equal("{\"a\":[1,\"x\",true,null]}", json.encode { a = { 1, "x", true, json.null } })
    assert.raises("function", json.encode, { print })
    assert.raises("%[1%] is missing", json.encode, { [100] = 1 })
    assert.raises("%[1%] is nan", json.encode, { 0 / 0 })
    assert.raises("is not UTF%-8", json.encode, { "\255" })
  end)

  it("an empty table is an object, unless it is marked as a list", function()
    assert.same({ "{}", "[{\"a\":{}}]" }, { json.encode {}, json.encode { { a = {} } } })
    local value = { a = {} }
    json.encode(value)
    assert.is_nil(getmetatable(value.a))
  end)

  it("what a depth of less refuses, it refuses for that reason", function()
    assert.same({ { 1 } }, json.decode("[[1]]", 2))
    for _, text in ipairs { "[[[1]]]", "{\"a\":{\"b\":[]}}" } do
      local value, message = json.decode(text, 2)
      assert.is_nil(value)
      assert.matches("nested more than 2 deep", message)
    end
    assert.same({ { { 1 } } }, json.decode("[[[1]]]", 3))
  end)

  it("NaN is no number", function()
    for _, text in ipairs { "NaN", "[1,NaN]", "{\"a\":[NaN]}" } do
      local value, message = json.decode(text)
      assert.is_nil(value)
      assert.equal("string", type(message))
    end
  end)

  it("settings that others make of lua-cjson do not reach it", function()
    local found, cjson = pcall(require, "cjson")
    if not found then pending "there is no cjson here" end
    cjson.decode_max_depth(5)
    cjson.encode_max_depth(5)
    local ok = json.decode "[[[[[[[[1]]]]]]]]" and pcall(json.encode, { { { { { { { 1 } } } } } } })
    cjson.decode_max_depth(1000)
    cjson.encode_max_depth(1000)
    assert.truthy(ok)
  end)

  it("what is decoded can be sent back as it was", function()
    local text = '{"list":[[],{},null,9007199254740991,0.5,true]}'
    assert.equal(text, json.encode(json.decode(text)))
    local face = require("lmm").json
    assert.equal(text, face.encode(face.decode(text)))
    assert.same({ json.null, json.null }, { face.null, require("lmm").null })
  end)
end)
