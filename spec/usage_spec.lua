-- What a client's calls use, added up, and what an answer costs.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local REQUEST = { messages = { { role = "user", content = "q" } } }

local function reply(usage, model)
  local whole = fake.whole "a"
  whole.json.usage, whole.json.model = usage, model or "m"
  return whole
end

describe("chat.usage", function()
  it("counts as client.usage does, whatever the server calls its counts", function()
    local replies = {}
    for i, usage in ipairs { { input_tokens = 3, output_tokens = 2 }, { prompt_tokens = 10, completion_tokens = 1 },
      { prompt_tokens = -1, completion_tokens = "5" }, { total_tokens = 7 } } do
      replies[i] = fake.whole "a"
      replies[i].json.usage = usage
    end
    local client = fake.net(replies):connect()
    local chat = client:conversation()
    for _ = 1, #replies do assert(chat:ask "q") end
    assert.same({ requests = 4, bytes_sent = client.usage.bytes_sent, prompt_tokens = 20, completion_tokens = 3,
      total_tokens = 23 }, chat.usage)
    assert.same(client.usage, chat.usage)
  end)

  it("counts each attempt, and what is sent again for a medium that was lost", function()
    local miss = { status = 400, json = { error = { code = 400, message = "Cache miss for image at index 0" } } }
    local net = fake.net { { status = 503 }, { status = 503 }, fake.whole "a", miss, fake.whole "b" }
    local client = net:connect { dialect = "vllm", retry = { base = 0.1 } }
    local chat = client:conversation()
    assert.equal(3, assert(chat:ask("q", lmm.image "spec/media/picture.png")).usage.requests)
    assert.equal(2, assert(chat:ask "q").usage.requests)
    assert.equal(5, chat.usage.requests)
    assert.same(client.usage, chat.usage)
  end)
end)

describe("client.usage", function()
  it("adds up the requests, their bytes and the tokens of all answers", function()
    local net = fake.net { reply { prompt_tokens = 5, completion_tokens = 2, total_tokens = 7 },
      reply { prompt_tokens = 10, completion_tokens = 1, total_tokens = 11 } }
    local client = net:connect()
    assert.same({ requests = 0, bytes_sent = 0, prompt_tokens = 0, completion_tokens = 0, total_tokens = 0 },
      client.usage)
    assert(client:chat(REQUEST))
    assert(client:conversation():ask "q")
    assert.same({ requests = 2, bytes_sent = #net.requests[1].text + #net.requests[2].text, prompt_tokens = 15,
      completion_tokens = 3, total_tokens = 18 }, client.usage)
    assert.equal("18", tostring(client.usage.total_tokens))
  end)

  it("counts what is tried again, a list of models and a stream, too", function()
    local streamed = fake.answer "a"
    table.insert(streamed.chunks, 3, fake.event { choices = {}, usage = { prompt_tokens = 4, completion_tokens = 1 } })
    local net = fake.net { { json = { data = { { id = "m" } } } }, { status = 503 }, streamed }
    local client = net:connect { model = "", retry = { base = 0.1 } }
    for _ in client:stream(REQUEST) do end -- luacheck: ignore
    assert.same({ 3, 5, 4, 1 }, { client.usage.requests, client.usage.total_tokens, client.usage.prompt_tokens,
      client.usage.completion_tokens })
    assert.equal(#net.requests[2].text + #net.requests[3].text, client.usage.bytes_sent)
  end)

  it("knows the names that other endpoints have for tokens, and counts raw requests", function()
    local net = fake.net { { json = { usage = { input_tokens = 3, output_tokens = 4 } } },
      { json = { usage = { total_tokens = 9 } } } }
    local client = net:connect()
    assert(client:request("POST", "responses", {}))
    assert(client:request("POST", "rerank", {}))
    assert.same({ 12, 4, 16 }, { client.usage.prompt_tokens, client.usage.completion_tokens,
      client.usage.total_tokens })
  end)

  it("passes over what is no count", function()
    for _, usage in ipairs { { prompt_tokens = "5", completion_tokens = -1, total_tokens = {} }, { 5 }, {} } do
      local client = fake.net({ reply(usage) }):connect()
      assert(client:chat(REQUEST))
      assert.same({ 0, 0, 0 }, { client.usage.prompt_tokens, client.usage.completion_tokens,
        client.usage.total_tokens })
    end
  end)

  it("counts an answer whose structured value is no JSON, for it was made", function()
    local client = fake.net({ fake.whole "no JSON" }):connect()
    assert.is_nil((client:chat(REQUEST, { schema = {} })))
    assert.equal(7, client.usage.total_tokens)
  end)
end)

describe("reply.cost", function()
  local USED = { prompt_tokens = 1000000, completion_tokens = 500000, total_tokens = 1500000 }

  local function cost(prices, usage, model, served)
    local client = fake.net({ reply(usage or USED, served) }):connect { prices = prices, model = model }
    return assert(client:chat(REQUEST)).cost
  end

  it("is by the prices of the model that was asked, else of the one that answers", function()
    assert.equal(3, cost { m = { input = 2, output = 2 } })
    assert.equal(4.5, cost({ m = { input = 2, output = 5 }, ["m-2"] = { input = 9, output = 9 } }, nil, nil, "m-2"))
    assert.equal(9, cost({ ["m-2"] = { input = 6, output = 6 } }, nil, nil, "m-2"))
    assert.equal(1, cost({ m = { input = 1 } }, { prompt_tokens = 1000000, total_tokens = 1000000 }))
    assert.equal(0, cost { m = { input = 0, output = 0 } })
  end)

  it("is nil where no price is known, or nothing of the tokens", function()
    assert.is_nil(cost(nil))
    assert.is_nil(cost { other = { input = 1, output = 1 } })
    assert.is_nil(cost { m = { input = 1 } })
    assert.is_nil(cost { m = { output = 1 } })
    assert.is_nil(cost({ m = { input = 1, output = 1 } }, {}))
  end)

  it("is of a stream's reply, too", function()
    local streamed = fake.answer "a"
    table.insert(streamed.chunks, 3, fake.event { choices = {}, usage = USED })
    local stream = fake.net({ streamed }):connect({ prices = { m = { input = 2, output = 2 } } }):stream(REQUEST)
    assert.equal(3, assert(stream:reply()).cost)
  end)

  it("prices are checked", function()
    for _, row in ipairs {
      { { prices = 5 }, "option 'prices' must be a table, not a number" },
      { { prices = { { input = 1 } } }, "a model's name is a string, not a number" },
      { { prices = { m = 5 } }, "prices of 'm': { input =, output = } expected, got number" },
      { { prices = { m = { inptu = 1 } } }, "prices of 'm': unknown option 'inptu' %(did you mean 'input'" },
      { { prices = { m = { input = -1 } } }, "prices of 'm': 'input' must be 0 or more, not %-1" },
      { { prices = { m = { input = 0 / 0 } } }, "'input' must be 0 or more" },
    } do
      assert.raises(row[2], lmm.connect, row[1])
    end
  end)

  it("prices may change in the caller's table without a change here", function()
    local prices = { m = { input = 1, output = 1 } }
    local client = fake.net({ reply(USED) }):connect { prices = prices }
    prices.m.input = 100
    assert.equal(1.5, assert(client:chat(REQUEST)).cost)
  end)
end)
