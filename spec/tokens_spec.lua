-- client:tokenize and client:detokenize on the fake transport, with vLLM's replies and llama-server's.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local VLLM = { json = { count = 3, max_model_len = 4096, tokens = { 1, 2, 3 }, token_strs = lmm.null } }

describe("client:tokenize", function()
  it("counts the tokens of a text", function()
    local net = fake.net { VLLM }
    local reply = assert(net:connect():tokenize("a b", { add_special_tokens = false }))
    assert.same({ 3, { 1, 2, 3 }, 4096, 1 }, { reply.count, reply.tokens, reply.max_model_len, reply.attempts })
    assert.equal("http://fake/tokenize", net.requests[1].url)
    assert.same({ model = "m", prompt = "a b", content = "a b", add_special_tokens = false }, net.requests[1].body)
  end)

  it("counts those of messages, with the parts in them", function()
    local net = fake.net { VLLM }
    local messages = { { role = "user", content = { lmm.image "https://example.org/a.png" } } }
    assert.equal(3, assert(net:connect():tokenize(messages)).count)
    assert.equal("image_url", net.requests[1].body.messages[1].content[1].type)
    assert.is_nil(net.requests[1].body.prompt)
    assert.refused("cannot read 'gone.jpg'",
      net:connect():tokenize { { role = "user", content = { lmm.image "gone.jpg" } } })
  end)

  it("counts by itself what llama-server gives", function()
    local reply = assert(fake.net({ { json = { tokens = { 7, 8 } } } }):connect():tokenize "a")
    assert.same({ 2, { 7, 8 } }, { reply.count, reply.tokens })
    assert.is_nil(reply.max_model_len)
    assert.equal(0, assert(fake.net({ { body = '{"tokens":[]}' } }):connect():tokenize "").count)
  end)

  it("takes an empty text's count of nothing", function()
    assert.equal(0, assert(fake.net({ { body = '{"count":0,"tokens":[]}' } }):connect():tokenize "a").count)
  end)

  it("tells where a server knows no messages, and gives an empty list", function()
    for _, body in ipairs { '{"tokens":[]}', "{}", '{"count":3}', '{"count":"3","tokens":5}' } do
      local client = fake.net({ { body = body } }):connect()
      local err = assert.refused("a reply without tokens %(does the server count messages%?",
        client:tokenize { { role = "user", content = "q" } })
      assert.equal("protocol", err.kind)
    end
  end)

  it("goes to the server's root, below a prefix, too", function()
    local net = fake.net { VLLM }
    assert(net:connect({ base_url = "http://fake/llm/v1?api-version=1" }):tokenize "a")
    assert.equal("http://fake/llm/tokenize?api-version=1", net.requests[1].url)
  end)

  it("misuse raises", function()
    local client = fake.net({ VLLM }):connect()
    assert.raises("client:tokenize takes a text or a list of messages, not a number", client.tokenize, client, 5)
    assert.raises("not one message: put it in a list", client.tokenize, client, { role = "user", content = "a" })
    assert.raises("takes a text or a list of messages, not a part: put it in a message's content", client.tokenize,
      client, lmm.image "spec/media/picture.png")
    assert.raises("client:tokenize sets 'prompt' itself", client.tokenize, client, "a", { prompt = "b" })
    assert.raises("client:detokenize takes a list of tokens, not a string", client.detokenize, client, "a")
    assert.raises("client:detokenize: item 2 is a string, no token", client.detokenize, client, { 1, "2" })
  end)
end)

describe("client:detokenize", function()
  it("gives the text of tokens, under either name", function()
    for _, name in ipairs { "prompt", "content" } do
      local net = fake.net { { json = { [name] = "a b" } } }
      assert.equal("a b", assert(net:connect():detokenize { 1, 2 }))
      assert.equal("http://fake/detokenize", net.requests[1].url)
      assert.same({ model = "m", tokens = { 1, 2 } }, net.requests[1].body)
    end
  end)

  it("sends no tokens as a list", function()
    local net = fake.net { { json = { prompt = "" } } }
    assert.equal("", assert(net:connect():detokenize {}))
    assert.equal('{"model":"m","tokens":[]}', net.requests[1].text)
  end)

  it("tells of a reply without a text", function()
    assert.refused("a reply without the text", fake.net({ { json = { prompt = 5 } } }):connect():detokenize { 1 })
    assert.refused("HTTP 404", fake.net({ { status = 404, body = "" } }):connect():detokenize { 1 })
  end)
end)
