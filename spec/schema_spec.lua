-- JSON Schema: which values fit, what is said of those that do not, and what is no schema.
local json = require "lmm.json"
local schema = require "lmm.schema"

local null, array = json.null, json.array

local function object(properties, more)
  local given = { type = "object", properties = properties }
  for name, value in pairs(more or {}) do given[name] = value end
  return given
end

local receipt = object({
  shop = { type = "string" },
  items = { type = "array", items = object({ price = { type = "number" } }, { required = { "price" } }) },
  paid = { type = { "boolean", "null" } },
}, { required = { "shop", "paid" } })

describe("lmm.schema.check:", function()
  for _, row in ipairs {
    { '"a"', { type = "string" } }, { "1", { type = "integer" } }, { "1.0", { type = "integer" } },
    { "1", { type = "number" } }, { "1.5", { type = "number" } }, { "true", { type = "boolean" } },
    { "null", { type = "null" } }, { "[]", { type = "array" } }, { "{}", { type = "object" } },
    { "[null,1]", { type = "array" } }, { "null", { type = { "string", "null" } } }, { "1", {} },
    { '"x"', { foo = 1 } },
    { '"b"', { enum = { "a", "b" } } }, { "2", { enum = { 1, 2.0 } } }, { "null", { enum = { null } } },
    { '{"a":[1,{}]}', { enum = { 1, { a = { 1, {} } } } } }, { '{"a":1}', { const = { a = 1 } } },
    { '{"a":1,"b":2}', object { a = { type = "integer" } } },
    { '{"shop":"x","paid":null}', receipt }, { '{"shop":"x","paid":true,"items":[{"price":1}]}', receipt },
    { "[1,2]", { items = { type = "integer" } } }, { '[1,"a"]', { items = { { type = "string" } } } },
    { '{"a":1}', object({ a = true }, { additionalProperties = false }) }, { "[]", { items = false } },
    { '{"shop":"x","paid":null,"items":null}', receipt }, -- as if it were missing
  } do
    it(("%s fits"):format(row[1]), function()
      assert.is_nil(schema.problem(row[2]))
      assert.same({ true }, { schema.check(json.decode(row[1]), row[2]) })
      assert.same({ true }, { schema.check(json.clean(json.decode(row[1])), row[2]) }) -- as replies hold it
    end)
  end

  for _, row in ipairs {
    { '"a"', { type = "integer" }, 'the value must be an integer, not "a"' },
    { "1.5", { type = "integer" }, "the value must be an integer, not 1.5" },
    { "1", { type = "string" }, "the value must be a string, not 1" },
    { '"true"', { type = "boolean" }, 'the value must be a boolean, not "true"' },
    { "[]", { type = "object" }, "the value must be an object, not an array" },
    { "{}", { type = "array" }, "the value must be an array, not an object" },
    { "null", { type = { "string", "integer" } }, "the value must be a string or an integer, not null" },
    { '"c"', { enum = { "a", 1, null } }, 'the value must be one of "a", 1, null, not "c"' },
    { '{"a":2}', { const = { a = 1 } }, 'the value must be {"a":1}, not an object' },
    { '{"a":1,"b":1}', { enum = { { a = 1 } } }, 'the value must be one of {"a":1}, not an object' },
    { '{"paid":true}', receipt, "shop is missing" }, { '{"shop":null,"paid":true}', receipt,
      "shop must be a string, not null", "shop is missing" },
    { "[null,1]", { items = { type = "integer" } }, "[0] must be an integer, not null" },
    { '{"shop":"x","paid":1}', receipt, "paid must be a boolean or null, not 1" },
    { '{"shop":"x","paid":true,"items":[{"price":1},{"price":"12"}]}', receipt,
      'items[1].price must be a number, not "12"' },
    { '{"shop":"x","paid":true,"items":[{}]}', receipt, "items[0].price is missing" },
    { '{"c":{"d":1,"b":1},"b":{"z":1,"y":1},"x":1}', object({ c = object({}, { additionalProperties = false }),
      b = object({}, { additionalProperties = false }) }, { additionalProperties = false }),
      "b.y is not among the properties there are" },
    { '{"a b":1}', object { ["a b"] = { type = "string" } }, '["a b"] must be a string, not 1' },
    { '{"a":1,"b":2}', object({ a = true }, { additionalProperties = false }),
      "b is not among the properties there are" },
    { '{"a":1}', object { a = false }, "a must not be there" }, { "[[1]]", { items = { items = false } },
      "[0][0] must not be there" },
  } do
    it(("%s does not fit: %s"):format(row[1], row[3]), function()
      assert.is_nil(schema.problem(row[2]))
      assert.same({ nil, row[3] }, { schema.check(json.decode(row[1]), row[2]) })
      assert.same({ nil, row[4] or row[3] }, { schema.check(json.clean(json.decode(row[1])), row[2]) })
    end)
  end

  it("what a stranger wrote is quoted on one line, and not in full", function()
    local _, problem = schema.check(("x\n\27[31m"):rep(1000000), { type = "integer" })
    assert.truthy(#problem < 200, problem)
    assert.is_nil(problem:find "%c")
    _, problem = schema.check({ [("k\n"):rep(100000)] = 1 }, object({}, { additionalProperties = false }))
    assert.truthy(#problem < 200, problem)
    local many = {}
    for i = 1, 10000 do many[i] = "choice " .. i end
    _, problem = schema.check("x", { enum = many })
    assert.truthy(#problem < 5000)
    assert.matches(', %.%.%., not "x"$', problem)
  end)

  it("a value that JSON does not have is told", function()
    for _, value in ipairs { 0 / 0, math.huge, print } do
      assert.matches("JSON does not have", select(2, schema.check(value, {})))
    end
  end)

  it("the same value gives the same message", function()
    local given, messages = object({}, { additionalProperties = false }), {}
    for i = 1, 20 do
      local value = {}
      for j = 1, 20 do value["k" .. (i * j) % 23] = j end
      value.a = 1
      messages[select(2, schema.check(value, given))] = true
    end
    assert.same({ ["a is not among the properties there are"] = true }, messages)
  end)
end)

describe("lmm.schema.problem:", function()
  local cycle = { type = "object" }
  cycle.properties = { self = cycle }
  for _, row in ipairs {
    { "x", "a schema is a table, not a string" }, { nil, "a schema is a table, not a nil" },
    { true, "a schema is a table, not a boolean" }, { { "string" }, "a schema is an object, not a list" },
    { { type = "text" }, "there is no type 'text': there are array, " },
    { { type = array {} }, "'type' is an empty list" },
    { { type = { "string", "text" } }, "there is no type 'text'" }, { { type = 1 }, "a type is a name, not 1" },
    { { required = "a" }, "'required' must be a list of names" },
    { { required = { 1 } }, "'required' must be a list of" },
    { { required = {} }, "'required' is an empty table" }, { { required = { a = true } }, "'required' must be a list" },
    { { enum = "a" }, "'enum' must be a list of values" }, { { enum = array {} }, "'enum' is an empty list" },
    { { properties = { "a" } }, "'properties' must be schemas by their names" },
    { { properties = 1 }, "'properties' must be schemas by their names" },
    { { properties = { a = "string" } }, "at a: a schema is a table, not a string" },
    { { type = null }, "a type is a name, not null" }, { { type = { null } }, "a type is a name, not null" },
    { { type = ("x"):rep(9999) }, "there is no type '" .. ("x"):rep(57) .. "...'" },
    { object { a = object { b = { type = "x" } } }, "at a.b: there is no type 'x'" },
    { { items = 5 }, "at []: a schema is a table, not a number" },
    { object { a = { items = { required = 1 } } }, "at a[]: 'required' must be" },
    { { additionalProperties = "no" }, "'additionalProperties' must be true, false or a schema" },
    { cycle, "it is nested more than 100 deep: does it hold itself?" },
  } do
    it(row[2], function()
      local problem = schema.problem(row[1])
      assert.equal(row[2], problem and problem:sub(1, #row[2]))
    end)
  end

  it("there are at most so many", function()
    local properties = {}
    for i = 1, schema.MAX_SIZE do properties["p" .. i] = {} end
    assert.equal("it holds more than 10000 schemas", schema.problem(object(properties)))
    properties.p1 = nil
    assert.is_nil(schema.problem(object(properties)))
  end)

  it("what is none of the checked words is no problem", function()
    assert.is_nil(schema.problem { anyOf = "x", ["$ref"] = 1, minimum = "many", required = array {}, title = {} })
  end)
end)
