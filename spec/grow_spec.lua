-- core.grow: a value that grows with its text is at the end what core.decode makes of the whole text, however the text
-- is cut; on the way it never takes anything back; and its time is linear.
local core = require "lmm.core"
local cut_up = require "spec.support.cut_up"

local decode, null = core.decode, core.null
local LENIENT = { lenient = true, clean = true }

--- A grower that got these pieces, and all that it gave on the way.
local function grown(pieces, opts)
  local grower, values = core.grow(opts), {}
  for _, piece in ipairs(pieces) do
    if grower:feed(piece) then values[#values + 1] = grower:value() end
  end
  if grower:finish() then values[#values + 1] = grower:value() end
  return grower, values
end

--- Whether two values are the same, metatables, kinds of numbers and NaN included.
local function same(a, b)
  if type(a) ~= type(b) or getmetatable(a) ~= getmetatable(b) then return false end
  if type(a) ~= "table" then
    local is_nan = a ~= a and b ~= b
    return is_nan or a == b and (not math.type or math.type(a) == math.type(b)) -- luacheck: ignore 143
  end
  for key, item in pairs(a) do
    if not same(item, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local documents = {
  '{"a":1,"b":[true,false,null,[],{}],"c":{"d":"e"}}',
  '  [1, -2.5e3, 12345678901234567, 0.1, {"x" : [ ] } , [[[]]]]\n',
  '{"a":"x","a":null,"b":{"c":1},"b":[2]}',
  '{"text":"h\\u00e4 \\ud83d\\ude00 \\\\ud83d \\"q\\" w\195\164lt \240\159\152\128 \\udc00 \\ud83d","\\u0061":""}',
  '"a text \\n of its own"', "12", " -0 ", "1e400", "true", "null", '""', "NaN", "[Infinity,-Infinity]", "{}", "[]",
  '\239\187\191{"bom":1}',
  '["\237\160\128", "\255\254"]', -- not UTF-8, as some servers send
  ("["):rep(200) .. ("]"):rep(200),
}

local refused = {
  "", "  ", "{", '{"a', '{"a"', '{"a":', '{"a":1', '{"a":1,', "[1,]", "[1 2]", '{"a" 1}', "{1:2}", '{"a":tru', "tru",
  '"abc', '"ab\\', '"ab\\u12', '"\\q"', '"\1"', "[1] 2", "{}}", "01", "-", "1.", "Sorry, I cannot do that.",
  ("["):rep(1001),
}

describe("a growing value", function()
  for _, opts in ipairs { {}, LENIENT } do
    local name = opts.clean and "clean and lenient" or "exact"
    it("is what decode gives, cut at every byte and into pieces of every size: " .. name, function()
      for _, text in ipairs(documents) do
        local expected, message, byte, why = decode(text, opts)
        for size = 1, #text do
          local grower = grown(cut_up(text, size), opts)
          assert.same({ message, byte, why }, { grower:failure() })
          assert.is_true(message and true or same(expected, grower:value()), text)
        end
        for at = 0, #text do
          local grower = grown({ text:sub(1, at), text:sub(at + 1) }, opts)
          assert.is_true(message and true or same(expected, grower:value()), text)
        end
      end
    end)
  end

  it("fails where decode does, with the same words", function()
    for _, text in ipairs(refused) do
      local _, message, byte, why = decode(text)
      for _, size in ipairs { 1, 3, math.max(#text, 1) } do
        assert.same({ message, byte, why }, { grown(cut_up(text, size)):failure() })
      end
    end
  end)

  it("is the same table from its first byte on, and tells when it has changed", function()
    local _, values = grown(cut_up '{"a":[1,"two"],"b":{}}')
    local first = values[1]
    for _, value in ipairs(values) do assert.equal(first, value) end
    local grower, seen = core.grow(), {}
    for _, piece in ipairs(cut_up '{"a":[1,"two"],"b":{}}') do
      if grower:feed(piece) then seen[#seen + 1] = core.encode(grower:value()) end
    end
    local whole = '{"a":[1,"two"]}'
    assert.same({ "{}", '{"a":[]}', '{"a":[1]}', '{"a":[1,"t"]}', '{"a":[1,"tw"]}', whole, whole, seen[8] }, seen)
    assert.same({ a = { 1, "two" }, b = {} }, decode(seen[8]))
  end)

  it("shows no name before it is whole, and no number that may go on", function()
    local grower = core.grow()
    grower:feed '{"na'
    assert.same({}, grower:value())
    grower:feed 'me": 12'
    assert.same({}, grower:value())
    grower:feed '3,'
    assert.same({ name = 123 }, grower:value())
    grower = core.grow()
    assert.is_false(grower:feed "42")
    assert.is_nil(grower:value())
    assert.is_true(grower:finish())
    assert.equal(42, grower:value())
  end)

  it("shows a string as it comes, without half characters, and never takes anything back", function()
    local text = '"\\u00e4b\195\164\\ud83d\\ude00c\240\159\152\128 \\\\u \\n end"'
    local whole = decode(text)
    for size = 1, 7 do
      local last = ""
      for _, value in ipairs(select(2, grown(cut_up(text, size)))) do
        assert.equal(value, whole:sub(1, #value))
        assert.is_nil(core.utf8(value))
        assert.is_true(#value >= #last)
        last = value
      end
      assert.equal(whole, last)
    end
  end)

  it("copies a long string a few times only", function()
    local grower, copies = core.grow(), 0
    grower:feed '["'
    for _ = 1, 20000 do
      if grower:feed "0123456789" then copies = copies + #grower:value()[1] end
    end
    grower:feed '"]'
    assert.equal(200000, #grower:value()[1])
    assert.is_true(copies > 200000 and copies <= 5 * 200000, copies)
  end)

  it("keeps an empty list a list, and a list with items without a mark", function()
    local grower = core.grow()
    grower:feed '{"list":['
    assert.equal('{"list":[]}', core.encode(grower:value()))
    grower:feed "1]}"
    assert.is_nil(getmetatable(grower:value().list))
  end)

  describe("in a fence", function()
    local inside = '{"a": ["```", 1]}'
    local fenced = {
      "```json\n" .. inside .. "\n```", "```\n" .. inside .. "\n```\n \n", "\n ```JSON " .. inside .. "```",
      "```json\n" .. inside,
      "````json\r\n" .. inside .. "\r\n````", "\239\187\191```json\n" .. inside .. "\n```",
    }
    it("is what stands in it, cut at every byte", function()
      for _, text in ipairs(fenced) do
        for size = 1, #text do
          local grower = grown(cut_up(text, size))
          assert.is_nil(grower:failure())
          assert.same({ a = { "```", 1 } }, grower:value())
        end
      end
      assert.equal(7, (grown(cut_up "```json\n7\n```")):value())
    end)

    for text, expected in pairs {
      ["```json\n{}\n```\nI hope this helps."] = "^the end expected at byte 16 of the JSON, not I$",
      ["```json\n{}\n``"] = "^the end expected at byte 12 of the JSON, not `$",
      ["```json\n{}\n``x"] = "^the end expected at byte 12 of the JSON, not `$",
      ["```json\n{} x\n```"] = "^the end expected at byte 12 of the JSON, not x$",
      ["```json\n{\n```"] = "^a name in quotes or } expected at byte 11 of the JSON, not `$",
      ["```json\n"] = "^the JSON ended before it began",
      ["``{}``"] = "^a value expected at byte 1 of the JSON, not `$",
      ["```" .. ("x"):rep(17) .. "\n{}\n```"] = "^a value expected at byte 1 ",
      ["Here:\n```json\n{}\n```"] = "^a value expected at byte 1 of the JSON, not H$",
      ["{}\n```"] = "^the end expected at byte 4 of the JSON, not `$",
    } do
      it(("fails as %q"):format(text:sub(1, 30)), function()
        for size = 1, #text do assert.matches(expected, (grown(cut_up(text, size)):failure())) end
      end)
    end

    it("takes linear time before and behind it, too", function()
      local grower = core.grow { bytes = 1e6 }
      for _ = 1, 1000 do grower:feed((" "):rep(100)) end
      grower:feed "```json\n1\n```"
      for _ = 1, 1000 do grower:feed((" "):rep(100)) end
      grower:finish()
      assert.is_nil(grower:failure())
      assert.equal(1, grower:value())
    end)
  end)

  describe("counts the items of a list that are whole", function()
    local function counts(text, path)
      local grower, seen, last = core.grow { path = path }, {}, nil
      for _, piece in ipairs(cut_up(text)) do
        grower:feed(piece)
        local list, count = grower:list()
        if list and count ~= last then seen[#seen + 1] = ("%d:%s"):format(count, core.encode(list)) end
        last = list and count
      end
      return seen
    end

    it("at a path, which the outermost list needs none for", function()
      assert.same({ "0:[]", "1:[1]", '2:[1,{"a":[2]}]', '3:[1,{"a":[2]},"x"]' }, counts '[1,{"a":[2]},"x"]')
      assert.same({ "0:[]", "1:[[2,3]]", "2:[[2,3],4]" },
        counts('{"x":[9],"a":{"x":[8],"b":[[2,3],4]},"b":[7]}', { "a", "b" }))
      assert.same({}, counts('{"a":{"b":{}},"b":[1]}', { "a", "b" }))
      assert.same({}, counts('[{"a":[1]}]', { "a" }))
      assert.same({}, counts('{"a":{"c":1},"z":{"b":[1]}}', { "a", "b" }))
      assert.same({}, counts('{"a":[1]}'))
    end)

    it("anew where the name comes again", function()
      assert.same({ "0:[]", "1:[1]", "0:[]", "1:[2]" }, counts('{"a":[1],"a":[2]}', { "a" }))
    end)

    it("nulls among them", function()
      local grower = grown({ "[null,1,null]" }, { clean = true })
      local list, count = grower:list()
      assert.same({ 1, 3 }, { list[2], count })
    end)
  end)

  it("is bounded in depth, size and lists", function()
    local function failure(text, opts) return { (grown(cut_up(text, 7), opts):failure()) } end
    assert.matches("nested more than 3 deep", failure("[[[[1]]]]", { depth = 3 })[1])
    local grower = grown({ "[1,", "2,3,4,5]" }, { bytes = 8 })
    assert.same({ "the JSON is longer than 8 bytes", 3, "limit" }, { grower:failure() })
    assert.is_false(grower:feed "x")
    assert.is_false(grower:finish())
    local many = "[" .. ("[],"):rep(40) .. "[]]"
    assert.matches("more than 5 lists and objects", failure(many, { bytes = 150 })[1])
    assert.is_nil(failure(many, { bytes = 1500 })[1])
  end)

  it("refuses what is no text and no option", function()
    assert.raises("table expected", core.grow, 1)
    assert.raises("path: a list of names expected", core.grow, { path = "a" })
    assert.raises("depth: a positive number expected", core.grow, { depth = 0 })
    assert.raises("string expected", core.grow().feed, core.grow(), {})
    assert.raises("lmm.grower expected", core.grow().feed, 1, "x")
  end)

  it("gives nulls as lmm.null, unless they are to be left out", function()
    assert.same({ a = null }, (grown { '{"a":null}' }):value())
    assert.equal(null, (grown { "null" }):value())
    assert.same({}, (grown({ '{"a":null}' }, { clean = true })):value())
  end)

  it("takes nothing any more once it is closed", function()
    for _, text in ipairs { "", '[1,"a', '```json\n{"a":[1', "```json\n1\n``" } do
      local grower = core.grow()
      grower:feed(text)
      getmetatable(grower).__gc(grower)
      assert.same({ false, false }, { grower:finish(), grower:feed "2" })
      assert.is_nil(grower:failure())
    end
  end)

  it("leaves the collector its way", function()
    for _ = 1, 50 do
      local grower = core.grow { path = { "a" } }
      grower:feed '{"a":["x'
      collectgarbage()
      grower:feed 'y", {"z":'
      collectgarbage()
      grower:feed "1}]}"
      assert.same({ a = { "xy", { z = 1 } } }, grower:value())
    end
  end)
end)
