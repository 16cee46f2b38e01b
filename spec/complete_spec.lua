-- client:complete and client:stream_completion on the fake transport.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local function choice(text, reason, index)
  return { index = index or 0, text = text, finish_reason = reason, logprobs = lmm.null }
end

local function whole(...)
  return { json = { id = "cmpl-1", object = "text_completion", model = "m", choices = { ... },
    usage = { prompt_tokens = 2, completion_tokens = 3, total_tokens = 5 } } }
end

local function chunk(...)
  return fake.event { id = "cmpl-1", object = "text_completion", model = "m", choices = { ... } }
end

describe("client:complete", function()
  it("gives the reply of a chat", function()
    local net = fake.net { whole(choice("c d", "length")) }
    local client = net:connect { prices = { m = { input = 1, output = 1 } } }
    local reply = assert(client:complete("a b", { max_tokens = 2, timeout = 5 }))
    assert.same({ "c d", "length", "cmpl-1", "m", 5, 1, 5e-6 }, { reply.text, reply.finish_reason, reply.id,
      reply.model, reply.usage.total_tokens, reply.attempts, reply.cost })
    assert.equal("c d", tostring(reply))
    assert.equal("POST http://fake/v1/completions", net.requests[1].method .. " " .. net.requests[1].url)
    assert.same({ model = "m", prompt = "a b", max_tokens = 2, stream = false }, net.requests[1].body)
    assert.equal(5, client.usage.total_tokens)
  end)

  it("gives a choice for each prompt, and for each of n", function()
    local net = fake.net { whole(choice("a", "stop", 0), choice("b", "stop", 1), choice("c", "stop", 2)) }
    local texts = {}
    for i, one in ipairs(assert(net:connect():complete { "1", "2", "3" }).choices) do texts[i] = one.text end
    assert.same({ "a", "b", "c" }, texts)
    assert.equal(3, #assert(net:connect():complete("1", { n = 3 })).choices)
    assert.equal(3, #assert(net:connect():complete({ { 1 }, { 2, 3 }, { 4 } })).choices)
    assert.equal(1, #assert(net:connect():complete({ 1, 2, 3 })).choices)
  end)

  it("a structured answer is decoded", function()
    local net = fake.net { whole(choice('{"a":1}', "stop")) }
    assert.same({ a = 1 }, assert(net:connect():complete("a", { schema = {} })).value)
    assert.equal("json_schema", net.requests[1].body.response_format.type)
  end)

  it("tells of a refusal by its own address", function()
    local refusal = { status = 400, json = { error = { message = "suffix is not currently supported", code = 400 } } }
    assert.refused("^HTTP 400 from http://fake/v1/completions: suffix is not", fake.net({ refusal }):connect()
      :complete("a", { suffix = "b" }))
  end)

  it("misuse raises", function()
    local client = fake.net({ whole(choice("a", "stop")) }):connect()
    for _, row in ipairs {
      { nil, nil, "client:complete takes a text, tokens, or a list of these, not a nil" },
      { {}, nil, "not such a table" },
      { lmm.image "https://example.org/a.png", nil, "not a part: client:chat takes media" },
      { "a", { stream = true }, "client:complete sets 'stream' itself" },
      { "a", { headres = {} }, "did you mean 'headers'" },
      { "a", { guided_json = {} }, "'guided_json' is no longer heeded" },
    } do
      assert.raises(row[3], client.complete, client, row[1], row[2])
    end
    assert.raises("client:stream_completion sets 'prompt' itself", client.stream_completion, client, "a",
      { prompt = "b" })
  end)
end)

describe("client:stream_completion", function()
  it("gives the pieces, and then the reply", function()
    local net = fake.net { fake.streamed { chunk(choice "a "), chunk(choice "b"), chunk(choice("", "stop")),
      fake.event { choices = {}, usage = { prompt_tokens = 1, completion_tokens = 2, total_tokens = 3 } },
      fake.event "[DONE]" } }
    local stream, _, _, closes = net:connect():stream_completion("q", { max_tokens = 5 })
    assert.equal(stream, closes)
    local pieces = {}
    for piece in stream do pieces[#pieces + 1] = piece end
    assert.same({ "a ", "b" }, pieces)
    local reply = assert(stream:reply())
    assert.same({ "a b", "stop", 3 }, { reply.text, reply.finish_reason, reply.usage.total_tokens })
    assert.same({ model = "m", prompt = "q", max_tokens = 5, stream = true, stream_options = { include_usage = true } },
      net.requests[1].body)
  end)

  it("one that breaks off says so, with what had come", function()
    local stream = fake.net({ fake.streamed { chunk(choice "a ") } }):connect({ retry = false }):stream_completion "q"
    local err = assert.refused("broke off", stream:reply())
    assert.same({ "truncated", "a " }, { err.kind, err.partial })
  end)
end)
