-- JSON in and out: nulls are gone where they shall be, whole numbers print as such, and garbage is no error raised.

local json = require "lmm.json"
local test = require "spec.support.test"

local has_integers = math.type ~= nil

test.case("decode gives what stands there", function()
  test.equal(json.decode "{\"a\":[1,true,\"x\",{}]}", { a = { 1, true, "x", {} } })
  test.equal(json.decode " \n[1]\t", { 1 })
  test.equal({ json.decode "\"x\"" }, { "x" })
  test.equal({ json.decode "false" }, { false })
  test.equal(json.decode "null", json.null)
  test.equal(json.decode "{\"a\":null}", { a = json.null })
  test.equal(json.decode "[null,1]", { json.null, 1 })
  test.equal(json.decode "\"\\u00e4\\ud83d\\ude00\\n\"", "\195\164\240\159\152\128\n")
end)

for _, text in ipairs {
  "", " ", "{", "{]", "[1,", "nul", "{\"a\":}", "{a:1}", "'x'", "\"x", "1 2", "[1]x", "<html>", "data: {}", "\0",
  "{\0}", "\"\\ud800\"", "{\"a\":1,}", "\239\187\191{}",
} do
  test.case(("garbage gives nil and why: %q"):format(text), function()
    local value, message = json.decode(text)
    test.equal(value, nil)
    test.equal(type(message), "string")
    test.ok(#message > 5, "no message")
  end)
end

test.case("what is no text gives nil and why", function()
  for _, value in ipairs { {}, true, print } do
    local decoded, message = json.decode(value)
    test.equal(decoded, nil)
    test.equal(type(message), "string")
  end
  test.equal((json.decode()), nil)
end)

test.case("nesting has a limit", function()
  local function nested(depth) return ("["):rep(depth) .. ("]"):rep(depth) end
  local function depth_of(value)
    local depth = 0
    while value do depth, value = depth + 1, value[1] end
    return depth
  end
  test.equal(depth_of(json.decode(nested(1000))), 1000)
  test.equal(depth_of(json.clean(json.decode(nested(1000)))), 1000)
  for _, text in ipairs { nested(1001), nested(1000000), ("["):rep(1000000), ("{\"a\":"):rep(1001) } do
    local value, message = json.decode(text)
    test.equal(value, nil)
    test.match(message, "nested")
  end
end)

test.case("clean drops nulls, also from lists", function()
  local null = json.null
  test.equal({ json.clean(null) }, {})
  test.equal(json.clean { a = null, b = { c = null, d = 1 } }, { b = { d = 1 } })
  local list = json.clean { null, 1, { null }, null, "x" }
  test.equal({ list[1], list[2], list[3], list[4], list[5] }, { nil, 1, {}, nil, "x" })
  test.equal({ json.clean(false), json.clean "null", json.clean { false } }, { false, "null", { false } })
end)

test.case("clean makes a copy", function()
  local value = { a = { b = json.null }, c = { 1.0 } }
  local copy = json.clean(value)
  test.ok(copy ~= value and copy.c ~= value.c, "not a copy")
  test.equal(value, { a = { b = json.null }, c = { 1 } })
end)

test.case("whole numbers print as such after clean", function()
  for text, printed in pairs {
    ["16"] = "16", ["-3"] = "-3", ["0"] = "0", ["1696004797"] = "1696004797", ["2.0"] = "2", ["1e3"] = "1000",
    ["0.5"] = "0.5", ["-9999.25"] = "-9999.25",
  } do
    test.equal(tostring(json.clean(json.decode(text))), printed)
    test.equal(tostring(json.clean(json.decode("{\"usage\":{\"n\":[" .. text .. "]}}")).usage.n[1]), printed)
  end
  if has_integers then
    test.equal(tostring(json.clean(json.decode "9007199254740992")), "9007199254740992")
    test.equal(math.type(json.clean(json.decode "[1]")[1]), "integer")
    test.equal(math.type(json.clean(json.decode "[1.5]")[1]), "float")
  end
end)

test.case("big numbers stay numbers", function()
  for _, text in ipairs { "1e22", "1e300", "-1e300", "9223372036854775808", "1.7976931348623157e308", "5e-324" } do
    test.equal(json.clean(json.decode(text)), tonumber(text))
  end
  test.equal(json.clean(json.decode "1e999"), math.huge)
  test.equal(json.clean(json.decode "[-1e999]")[1], -math.huge)
end)

test.case("lists that are marked", function()
  local items = { 1 }
  test.ok(json.array(items) == items, "another table")
  test.equal(json.is_empty_array(json.array()), true)
  test.equal(json.is_empty_array(json.array {}), true)
  test.equal(json.is_empty_array(json.array { 1 }), false)
  test.equal(json.is_empty_array(json.array { a = 1 }), false)
  test.equal({ json.is_empty_array {}, json.is_empty_array "x", json.is_empty_array(nil) }, { false, false, false })
end)

test.case("encode", function()
  test.equal(json.encode { a = { 1, "x", true, json.null } }, "{\"a\":[1,\"x\",true,null]}")
  test.raises("function", json.encode, { print })
  test.raises("sparse", json.encode, { [100] = 1 })
  test.raises("NaN", json.encode, { 0 / 0 })
end)

test.case("an empty table is an object, unless it is marked as a list", function()
  test.equal({ json.encode {}, json.encode { { a = {} } } }, { "{}", "[{\"a\":{}}]" })
  local value = { a = {} }
  json.encode(value)
  test.equal(getmetatable(value.a), nil)
end)

test.case("what a depth of less refuses, it refuses for that reason", function()
  test.equal(json.decode("[[1]]", 2), { { 1 } })
  for _, text in ipairs { "[[[1]]]", "{\"a\":{\"b\":[]}}" } do
    local value, message = json.decode(text, 2)
    test.equal(value, nil)
    test.match(message, "too many nested")
  end
  test.equal(json.decode("[[[1]]]", 3), { { { 1 } } })
end)

test.case("NaN is no number", function()
  for _, text in ipairs { "NaN", "[1,NaN]", "{\"a\":[NaN]}" } do
    local value, message = json.decode(text)
    test.equal(value, nil)
    test.equal(type(message), "string")
  end
end)

test.case("the codec is our own", function()
  local found, cjson = pcall(require, "cjson")
  if not found then test.skip "there is no cjson here: the codec is Neovim's" end
  cjson.decode_max_depth(5)
  cjson.encode_max_depth(5)
  local ok = json.decode "[[[[[[[[1]]]]]]]]" and pcall(json.encode, { { { { { { { 1 } } } } } } })
  cjson.decode_max_depth(1000)
  cjson.encode_max_depth(1000)
  test.ok(ok, "settings of others reach it")
end)
