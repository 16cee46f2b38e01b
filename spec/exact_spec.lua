-- What came can be sent back as it came: empty lists and objects in lmm.json, raw, value, args and events. Nulls stay
-- in lmm.json and raw, and are nil elsewhere.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local encode = lmm.json.encode

local GIVEN = '{"x":[],"y":{},"z":[[],{}]}'

local function quoted(text)
  return encode(text)
end

local MESSAGE = ('{"content":%s,"tool_calls":[{"function":{"arguments":%s,"name":"f"},"id":"1","type":"function"}]}')
  :format(quoted(GIVEN), quoted(GIVEN))
local REPLY = ('{"choices":[{"extra":[],"finish_reason":"stop","index":0,"message":%s,"none":null,"some":{}}]}')
  :format(MESSAGE)

describe("what came, sent back", function()
  it("is the same from lmm.json", function()
    local text = '{"a":[],"b":{},"c":null,"d":[[],{},null],"e":1.5,"n":9007199254740991}'
    assert.equal(text, encode(lmm.json.decode(text)))
    assert.equal(lmm.null, lmm.json.decode(text).c)
    assert.equal("[]", encode(lmm.array {}))
  end)

  it("is the same from a reply's raw, value and args", function()
    local client = fake.net({ { body = REPLY } }):connect()
    local reply = assert(client:chat({ messages = {} }, { schema = { type = "object" } }))
    assert.same({ REPLY, GIVEN, GIVEN }, { encode(reply.raw), encode(reply.value), encode(reply.tool_calls[1].args) })
  end)

  local EVENT = '{"choices":[{"delta":{"content":"a"},"index":0,"l":[],"o":{}}],"x":[],"y":{}}'

  it("is the same from events", function()
    local net = fake.net { { chunks = { "data: " .. EVENT .. "\n\n", "data: [DONE]\n\n" } } }
    local seen = {}
    for event in net:connect():stream({ messages = {} }):events() do seen[#seen + 1] = encode(event) end
    for event in net:connect():events("POST", "completions", {}) do seen[#seen + 1] = encode(event) end
    assert.same({ EVENT, EVENT }, seen)
  end)

  it("is the same as a request's field, on the wire", function()
    local net = fake.net { fake.whole "a" }
    assert(net:connect():chat { messages = {}, back = lmm.json.decode(GIVEN) })
    assert.truthy(net.requests[1].text:find('"back":' .. GIVEN, 1, true))
  end)
end)
