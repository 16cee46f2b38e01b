-- core.write and core.encode: Lua values as JSON, with lua-cjson as the judge of what was written.
local cjson = require "cjson"
local core = require "lmm.core"
local json = require "lmm.json"
local shell = require "spec.support.shell"

local has_integers = math.type ~= nil

--- The minimal standard generator of Park and Miller, whose products are exact in a double.
local state = 1
local function random(limit)
  state = state * 16807 % 2147483647
  return state % limit
end

local function encode(value, options)
  local text, message = core.encode(value, options)
  if not text then error(message, 2) end
  return text
end

local function array(items)
  return setmetatable(items, core.array_mt)
end

describe("text", function()
  it("is escaped where JSON asks for it, and else as it is", function()
    for byte = 0, 127 do
      local char = string.char(byte)
      local text = encode(char)
      assert.equal(char, cjson.decode("[" .. text .. "]")[1])
      if byte >= 32 and char ~= '"' and char ~= "\\" then assert.equal('"' .. char .. '"', text) end
    end
    assert.equal([["\"\\/\b\f\n\r\t\u0000\u001f"]], encode "\"\\/\b\f\n\r\t\0\31")
    assert.equal('"\127\194\128\226\128\168\244\143\191\191"', encode "\127\194\128\226\128\168\244\143\191\191")
  end)

  it("is right whatever its length, and wherever an escape or a character beyond ASCII stands", function()
    for length = 0, 70 do
      local plain = ("abcdefghij"):rep(7):sub(1, length)
      assert.equal('"' .. plain .. '"', encode(plain))
      for at = 1, length do
        local before, behind = plain:sub(1, at - 1), plain:sub(at + 1)
        assert.equal('"' .. before .. '\\n' .. behind .. '"', encode(before .. "\n" .. behind))
        assert.equal('"' .. before .. '\\"' .. behind .. '"', encode(before .. '"' .. behind))
        assert.equal('"' .. before .. '\226\130\172' .. behind .. '"', encode(before .. "\226\130\172" .. behind))
      end
    end
  end)

  it("is right where all of it is escaped", function()
    for _, length in ipairs { 1, 15, 16, 17, 1000, 100000 } do
      assert.equal('"' .. ("\\u0001"):rep(length) .. '"', encode(("\1"):rep(length)))
      assert.equal('"' .. ('\\"\195\164'):rep(length) .. '"', encode(('"\195\164'):rep(length)))
    end
  end)

  it("of random characters comes back", function()
    local characters = { "a", "\n", '"', "\\", "\195\164", "\226\130\172", "\240\159\152\128", "\0", " ", "/", "\127" }
    for length = 1, 300 do
      local pieces = {}
      for i = 1, length do pieces[i] = characters[1 + random(#characters)] end
      local text = table.concat(pieces)
      assert.equal(text, cjson.decode("[" .. encode(text) .. "]")[1])
    end
  end)

  -- Each at the beginning, at the end, and behind as much as a step of the check takes.
  local broken = { "\128", "\191", "\192\128", "\193\191", "\194", "\194a", "\224\159\191", "\224\160", "\237\160\128",
    "\239\191", "\240\143\191\191", "\240\144\128", "\244\144\128\128", "\245\128\128\128", "\255", "\254\128" }
  for _, bytes in ipairs(broken) do
    it(("is refused where it is not UTF-8: %q"):format(bytes), function()
      for _, before in ipairs { "", "x", ("x"):rep(15), ("x"):rep(16), ("\195\164"):rep(20), ("x"):rep(100) .. "\n" } do
        for _, behind in ipairs { "", "y", ("y"):rep(40) } do
          local expected = ("the value is not UTF-8: byte %d is 0x%02X"):format(#before + 1, bytes:byte())
          assert.same({ nil, expected }, { core.encode(before .. bytes .. behind) })
        end
      end
    end)
  end

  it("has U+FFFD for a broken character, where that is asked for", function()
    local options = { replace = true }
    assert.equal('"\239\191\189"', encode("\255", options))
    assert.equal('"a\239\191\189b\239\191\189\\n\239\191\189"', encode("a\226\130b\192\128\n\244", options))
    assert.equal('{"\239\191\189":["\239\191\189"]}', encode({ ["\255"] = { "\237\160\128" } }, options))
    assert.equal('"' .. ("\239\191\189"):rep(1000) .. '"', encode(("\255"):rep(1000), options))
  end)
end)

describe("numbers", function()
  local whole = {
    { 0, "0" }, { 1, "1" }, { -1, "-1" }, { 16.0, "16" }, { 1e3, "1000" }, { 1e14, "100000000000000" },
    { 1e15, "1000000000000000" }, { 2 ^ 53, "9007199254740992" }, { -2 ^ 53, "-9007199254740992" },
    { 2 ^ 62, "4611686018427387904" }, { -2 ^ 63, "-9223372036854775808" }, { 2 ^ 63 - 1024, "9223372036854774784" },
  }
  for _, row in ipairs(whole) do
    it("without a point: " .. row[2], function() assert.equal(row[2], encode(row[1])) end)
  end

  it("are exact beyond 2^53 where Lua has integers", function()
    if not has_integers then return pending "no integers in this Lua" end
    assert.equal("9223372036854775807", encode(math.maxinteger))
    assert.equal("-9223372036854775808", encode(math.mininteger))
    assert.equal("9007199254740993", encode(math.tointeger(2 ^ 53) + 1))
  end)

  local others = {
    { 0.1, "0.1" }, { 0.5, "0.5" }, { -0.5, "-0.5" }, { 0.1 + 0.2, "0.30000000000000004" },
    { 1 / 3, "0.3333333333333333" },
    { 123456.789, "123456.789" }, { 99999999999999.9, "99999999999999.9" }, { 1e14 + 0.5, "100000000000000.5" },
    { 0.0001, "0.0001" }, { 0.00012345, "0.00012345" }, { 1e-5, "1e-5" }, { 1.5e-7, "1.5e-7" },
    { 5e-324, "5e-324" }, { 1e-320, "1e-320" }, { 2.2250738585072014e-308, "2.2250738585072014e-308" },
    { 2.225073858507201e-308, "2.225073858507201e-308" }, { 1.7976931348623157e308, "1.7976931348623157e+308" },
    { 2 ^ 63, "9.223372036854776e+18" }, { 1e22, "1e+22" }, { 1e23, "1e+23" }, { 1e300, "1e+300" },
    { 2 ^ -44, "5.684341886080802e-14" }, { (2 ^ 53 - 1) / 2 ^ 20, "8589934591.999999" }, { -1e-310, "-1e-310" },
    { 4.35, "4.35" }, { 2.675, "2.675" }, { 1.005, "1.005" }, { 0.7, "0.7" }, { 1e21, "1e+21" },
  }
  for _, row in ipairs(others) do
    it("in the shortest form: " .. row[2], function()
      assert.equal(row[2], encode(row[1]))
      assert.equal(row[1], tonumber(row[2]))
    end)
  end

  it("keep the sign of zero", function()
    local text = encode(-0.0)
    assert.equal("-0", text)
    assert.equal(-math.huge, 1 / cjson.decode("[" .. text .. ".0]")[1])
  end)

  --- How many digits a text has, zeros at either end aside.
  local function digits_of(text)
    return #text:gsub("[eE].*", ""):gsub("[-.]", ""):gsub("^0+", ""):gsub("0+$", "")
  end

  it("of any size are read back as they were, and no shorter digits are", function()
    for _ = 1, 20000 do
      local value = (random(2147483647) * 2147483647 + random(2147483647)) * 2 ^ (random(2000) - 1050)
      if value < math.huge and (value % 1 ~= 0 or value >= 2 ^ 63) then
        local text = encode(value)
        if tonumber(text) ~= value then error(text .. " is not " .. ("%.17g"):format(value)) end
        local shorter = ("%%.%dg"):format(math.max(digits_of(text) - 1, 1)):format(value)
        if digits_of(text) > 1 and tonumber(shorter) == value then error(text .. " is also " .. shorter) end
      end
    end
  end)

  it("of few places are written with these", function()
    for _ = 1, 20000 do
      local places = 1 + random(6)
      local text = ("%d.%0" .. places .. "d"):format(random(100000), random(10 ^ places))
      local expected = text:gsub("0+$", ""):gsub("%.$", "")
      if tonumber(text) >= 1e-4 or tonumber(text) == 0 then assert.equal(expected, encode(tonumber(text))) end
    end
  end)

  it("do not depend on the locale", function()
    local said = shell.output(([[folder=$(mktemp -d); localedef -i de_DE -f UTF-8 $folder/de_DE.UTF-8 2>/dev/null
      LOCPATH=$folder LUA_PATH=%s LUA_CPATH=%s %s -e %s 2>&1; rm -r $folder]]):format(shell.quote(package.path),
      shell.quote(package.cpath), shell.quote(arg[-1]), shell.quote [[
        if not os.setlocale "de_DE.UTF-8" then return print "no such locale" end
        print(require("lmm.core").encode { 0.5, 0.1 + 0.2, 1.5e-7, 5e-324 })]]))
    if said:find "no such locale" then return pending "the locale de_DE cannot be made here" end
    assert.equal("[0.5,0.30000000000000004,1.5e-7,5e-324]\n", said)
  end)
end)

describe("lists and objects", function()
  it("are written as they are", function()
    assert.equal('{"a":[1,"x",true,false,null,{"b":[]}]}',
      encode { a = { 1, "x", true, false, core.null, { b = array {} } } })
    assert.equal('[[],{},[[],[1]]]', encode { array {}, {}, { array {}, array { 1 } } })
    assert.equal('{"x":1}', encode(array { x = 1 }))
  end)

  it("have their fields in the order of the names", function()
    assert.equal('{"":0,"B":1,"a":2,"a\\u0000":3,"aa":4,"b":5,"\195\164":6}',
      encode { b = 5, aa = 4, ["a\0"] = 3, a = 2, B = 1, [""] = 0, ["\195\164"] = 6 })
    local object, expected = {}, {}
    for i = 64, 1, -1 do object[("k%02d"):format(i)] = i end
    for i = 1, 64 do expected[i] = ('"k%02d":%d'):format(i, i) end
    assert.equal("{" .. table.concat(expected, ",") .. "}", encode(object))
  end)

  it("have all their fields where these are many", function()
    for _, count in ipairs { 65, 66, 1000 } do
      local object = {}
      for i = 1, count do object["k" .. i] = { i, tostring(i) } end
      assert.same(object, cjson.decode(encode(object)))
    end
  end)

  it("have their items in the order of the places, however the table came to be", function()
    for count = 1, 40 do
      local backward, mixed = {}, {}
      for i = count, 1, -1 do backward[i] = i end
      for i = 1, count, 2 do mixed[i] = i end
      for i = 2, count, 2 do mixed[i] = i end
      local expected = {}
      for i = 1, count do expected[i] = i end
      local text = "[" .. table.concat(expected, ",") .. "]"
      assert.equal(text, encode(backward))
      assert.equal(text, encode(mixed))
    end
  end)

  it("nested and out of order cost no more than in order", function()
    local value, calls = "x", 0
    local kind = {}
    for _ = 1, 60 do
      local list = {}
      list[3], list[2], list[1] = value, setmetatable({}, kind), 1
      value = list
    end
    encode(value, { hooks = { [kind] = function()
      calls = calls + 1
      return 2
    end } })
    assert.equal(60, calls)
  end)

  it("may be 1000 deep, whatever stands beside", function()
    local root = {}
    local value = root
    for _ = 2, 1000 do
      for i = 1, 20 do value["k" .. i] = i end
      value.z = {}
      value = value.z
    end
    local _, depth = encode(root):gsub("{", "{")
    assert.equal(1000, depth)
    value.z = {}
    local message = "the value is nested more than 1000 deep: does it hold itself?"
    assert.same({ nil, message }, { core.encode(root) })
    value.z = root
    assert.same({ nil, message }, { core.encode(root) })
  end)

  it("at random are for lua-cjson what they were", function()
    local make
    local function make_scalar()
      local kind = random(4)
      return kind == 0 and random(1000) / 8 or kind == 1 and ("x\n\195\164"):rep(random(5)) or kind == 2
    end
    function make(depth)
      if depth == 0 or random(3) == 0 then return make_scalar() end
      local out, is_list = {}, random(2) == 0
      for i = 1, 1 + random(6) do out[is_list and i or "k" .. random(100)] = make(depth - 1) end
      return out
    end
    for _ = 1, 300 do
      local value = { make(5) }
      assert.same(value, cjson.decode(encode(value)))
    end
  end)
end)

describe("what stands for null or for nothing", function()
  it("is lua-cjson's null and ours", function()
    assert.equal("[null,null]", encode { cjson.null, core.null })
    assert.equal("null", encode(core.null))
  end)

  it("is what was named so", function()
    local nothing, list, object = io.stderr, {}, {}
    core.mark(nothing, "null")
    core.mark(list, "array")
    core.mark(object, "object")
    assert.equal('[null,[],{},{},{"a":1},[1]]', encode { nothing, setmetatable({}, list), setmetatable({}, object), {},
      setmetatable({ a = 1 }, list), setmetatable({ 1 }, object) })
    core.mark(nothing, "array")
    assert.equal("[]", encode(nothing))
    assert.raises("invalid option 'x'", core.mark, {}, "x")
    assert.raises("a userdata or a metatable expected", core.mark, "x", "null")
  end)

  it("is Neovim's vim.NIL and vim.empty_dict()", function()
    local said = shell.output(("LUA_PATH=%s LUA_CPATH=%s %s -e %s 2>&1"):format(shell.quote(package.path),
      shell.quote(package.cpath), shell.quote(arg[-1]), shell.quote [[
        local object = {}
        vim = { NIL = io.stdout, empty_dict = function() return setmetatable({}, object) end }
        print(require("lmm.json").encode { vim.NIL, vim.empty_dict(), {} })]]))
    assert.equal("[null,{},{}]\n", said)
  end)

  it("is learned from libraries when they are there", function()
    local list = {}
    local before = package.loaded["cjson.safe"]
    package.loaded["cjson.safe"] = { null = cjson.null, empty_array_mt = list, array_mt = {}, empty_array = io.stdout }
    local text = json.encode { setmetatable({}, list), io.stdout }
    package.loaded["cjson.safe"] = before
    assert.equal("[[],[]]", text)
  end)
end)

describe("what JSON cannot hold", function()
  local NO_HOLES = ": a list has no holes (lmm.null stands for a null; the keys of an object are strings)"
  local rows = {
    { "nan", { a = { b = { 1, 0 / 0 } } }, "a.b[2] is nan, which JSON cannot hold" },
    { "inf", { t = math.huge }, "t is inf, which JSON cannot hold" },
    { "-inf", { t = -math.huge }, "t is -inf, which JSON cannot hold" },
    { "a function", { tools = { { call = print } } }, "tools[1].call is a function, which JSON cannot hold" },
    { "a function by itself", print, "the value is a function, which JSON cannot hold" },
    { "a thread", { a = coroutine.create(function() end) }, "a is a thread, which JSON cannot hold" },
    { "userdata", { a = io.stdin }, "a is a userdata, which JSON cannot hold" },
    { "media", { a = core.media { bytes = "x" } }, "a is a userdata, which JSON cannot hold" },
    { "a boolean as a field name", { a = { [true] = 1 } }, "a has a boolean as a field name, which JSON cannot hold" },
    { "the same beside others", { [print] = 1, a = 1, b = 2 },
      "the value has a function as a field name, which JSON cannot hold" },
    { "a field name that is not UTF-8", { a = { { ["b\255"] = 1 } } },
      "a field name in a[1] is not UTF-8: byte 2 is 0xFF" },
    { "a field name at the top", { ["\128"] = 1 }, "a field name in the value is not UTF-8: byte 1 is 0x80" },
    { "an item at the top", { 1, 0 / 0 }, "[2] is nan, which JSON cannot hold" },
    { "a hole", { a = { 1, nil, 3 } }, "a[2] is missing" .. NO_HOLES },
    { "a hole at the beginning", { [2] = 1 }, "[1] is missing" .. NO_HOLES },
    { "place 0", { a = { [0] = 1, 2 } }, "a[0] is no place in a list (the keys of an object are strings)" },
    { "a negative place", { [-1] = 2 }, "[-1] is no place in a list (the keys of an object are strings)" },
    { "half a place", { "x", [1.5] = 2 }, "[1.5] is no place in a list (the keys of an object are strings)" },
    { "an endless place", { [math.huge] = 2 }, "[inf] is no place in a list (the keys of an object are strings)" },
    { "items beside fields", { m = { { r = 1, 2 } } },
      "m[1] has both items and named fields, which JSON cannot hold" },
    { "many items beside one field", { 1, 2, 3, 4, 5, 6, x = 7 },
      "the value has both items and named fields, which JSON cannot hold" },
    { "a proxy", setmetatable({}, { __pairs = pairs }),
      "the value has a metamethod __pairs, which is not called: pass a plain table" },
  }
  for _, row in ipairs(rows) do
    it("is refused with its path: " .. row[1], function()
      assert.same({ nil, row[3] }, { core.encode(row[2]) })
      assert.same({ nil, row[3] }, { core.write(row[2]) })
      assert.equal('["as before"]', encode { "as before" })
    end)
  end

  it("has the name that is given", function()
    assert.same({ nil, "the request is nan, which JSON cannot hold" }, { core.write(0 / 0, { name = "the request" }) })
  end)

  it("is told with its whole path, however deep", function()
    local value, expected = { 0 / 0 }, {}
    for i = 1, 900 do value = i % 2 == 0 and { k = value } or { 1, value } end
    for i = 900, 1, -1 do expected[#expected + 1] = i % 2 == 0 and ".k" or "[2]" end
    assert.same({ nil, table.concat(expected):sub(2) .. "[1] is nan, which JSON cannot hold" }, { core.encode(value) })
  end)
end)

describe("hooks", function()
  local kind = {}

  local function hooked(hook)
    return { hooks = { [kind] = hook } }
  end

  it("give what is written in the place of a table", function()
    local given = {}
    local part = setmetatable({ n = 1 }, kind)
    local options = hooked(function(value)
      given[#given + 1] = value
      return { type = "x", n = value.n }
    end)
    assert.equal('[{"n":1,"type":"x"},{"a":{"n":1,"type":"x"}}]', encode({ part, { a = part } }, options))
    assert(given[1] == part and given[2] == part)
    assert.equal('{"n":1,"type":"x"}', encode(part, options))
    assert.equal('[{"n":1}]', encode { part })
  end)

  it("may give any value", function()
    for text, value in pairs { ["1"] = 1, ['"x"'] = "x", ["null"] = core.null, ["[]"] = array {}, ["{}"] = {} } do
      assert.equal(text, encode(setmetatable({}, kind), hooked(function() return value end)))
    end
    local body = core.embed("data:", core.media { bytes = "abc" })
    assert.equal('["data:YWJj"]', encode({ setmetatable({}, kind) }, hooked(function() return body end)))
  end)

  it("are refused what JSON cannot hold, with the path", function()
    local value = { a = { setmetatable({}, kind) } }
    assert.same({ nil, "a[1].b is nan, which JSON cannot hold" },
      { core.encode(value, hooked(function() return { b = 0 / 0 } end)) })
    assert.same({ nil, "a[1] is a nil, which JSON cannot hold" }, { core.encode(value, hooked(function() end)) })
    assert.same({ nil, "the value is nested more than 1000 deep: does it hold itself?" },
      { core.encode(value, hooked(function(part) return part end)) })
  end)

  it("may raise, and what comes then is as before", function()
    local problem = {}
    for _ = 1, 10 do
      local ok, raised = pcall(core.write, { ("x"):rep(100000), setmetatable({}, kind) },
        hooked(function() error(problem) end))
      assert(not ok and raised == problem)
      assert.equal("[1]", encode { 1 })
    end
  end)

  it("may write themselves", function()
    local value = { 1, setmetatable({}, kind), 2 }
    assert.equal('[1,"[3]",2]', encode(value, hooked(function() return encode { 3 } end)))
    assert.equal("[1,[3],2]", encode(value, hooked(function() return core.write { 3 } end)))
  end)
end)

it("leaves the tables as they were", function()
  local meta = {}
  local value = { a = setmetatable({}, meta), b = array {}, c = { 1, { 2 } } }
  encode(value)
  assert.same({ a = {}, b = {}, c = { 1, { 2 } } }, value)
  assert(getmetatable(value.a) == meta and getmetatable(value.b) == core.array_mt)
end)

it("raises where it is called wrongly", function()
  assert.raises("value expected", core.write)
  assert.raises("value expected", core.encode)
  assert.raises("table expected", core.write, {}, "x")
end)
