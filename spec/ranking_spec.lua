-- client:score and client:rerank on the fake transport.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local function scored(...)
  local data = {}
  for i, score in ipairs { ... } do data[i] = { index = i - 1, object = "score", score = score } end
  return { json = { id = "s1", model = "m", data = data, usage = { prompt_tokens = 4, total_tokens = 4 } } }
end

local PICTURE = "https://example.org/a.png"
local CONTENT = { content = { { type = "image_url", image_url = { url = PICTURE } } } }

describe("client:score", function()
  it("pairs one with one, one with all, and the first with the first", function()
    for _, row in ipairs {
      { "a", "b", { 0.5 } }, { "a", { "b", "c" }, { 0.5, 0.25 } }, { { "a", "b" }, "c", { 0.5, 0.25 } },
      { { "a", "b" }, { "c", "d" }, { 0.5, 0.25 } }, { { "a" }, { "b" }, { 0.5 } },
    } do
      local net = fake.net { scored(row[3][1], row[3][2]) }
      local reply = assert(net:connect():score(row[1], row[2], { truncate_prompt_tokens = 100 }))
      assert.same({ row[3], "m", 4 }, { reply.scores, reply.model, reply.usage.total_tokens })
      assert.equal("http://fake/v1/score", net.requests[1].url)
      assert.same({ model = "m", text_1 = row[1], text_2 = row[2], truncate_prompt_tokens = 100 }, net.requests[1].body)
    end
  end)

  it("takes parts, and vLLM's own form of them", function()
    local net = fake.net { scored(1, 2) }
    assert(net:connect():score("a", { lmm.image(PICTURE), { content = { { type = "text", text = "b" } } } }))
    assert.same({ CONTENT, { content = { { type = "text", text = "b" } } } }, net.requests[1].body.text_2)
    assert.refused("cannot read 'gone.jpg'", net:connect():score("a", lmm.image "gone.jpg"))
  end)

  it("tells of scores that are missing or none", function()
    assert.refused("the number of scores is 1, not 2", fake.net({ scored(1) }):connect():score("a", { "b", "c" }))
    assert.refused("a score that is no number", fake.net({ scored "1" }):connect():score("a", "b"))
  end)

  it("misuse raises", function()
    local client = fake.net({ scored(1) }):connect()
    for _, row in ipairs {
      { { 5, "b" }, "the first input of client:score is a text, a part, or a list of these, not a number" },
      { { "a", {} }, "the second input of client:score is a text, .*, not an empty table" },
      { { "a", { "b", 5 } }, "the second input of client:score: item 2 is a number" },
      { { { "a", "b" }, { "c", "d", "e" } }, "2 inputs cannot be paired with 3" },
      { { "a", "b", { text_1 = "c" } }, "client:score sets 'text_1' itself" },
    } do
      assert.raises(row[2], client.score, client, row[1][1], row[1][2], row[1][3])
    end
  end)
end)

describe("client:rerank", function()
  local function ranked(results, more)
    local json = { id = "r1", model = "m", results = results, usage = { total_tokens = 9 } }
    for name, value in pairs(more or {}) do json[name] = value end
    return { json = json }
  end

  it("gives the documents from the best on, as they were given, with their places in Lua's counting", function()
    local net = fake.net { ranked { { index = 0, relevance_score = 0.1, document = { text = "x" } },
      { index = 2, relevance_score = 0.9 }, { index = 1, relevance_score = 0.9 } } }
    local client, image = net:connect { prices = { m = { input = 1 } } }, lmm.image(PICTURE)
    local reply = assert(client:rerank("q", { "a", "b", image }, { top_n = 3 }))
    assert.same({ { index = 2, score = 0.9, document = "b" }, { index = 3, score = 0.9, document = image },
      { index = 1, score = 0.1, document = "a" } }, reply.results)
    assert.equal(image, reply.results[2].document)
    assert.same({ 9, 9e-6 }, { client.usage.total_tokens, reply.cost })
    assert.equal("http://fake/v1/rerank", net.requests[1].url)
    assert.same({ model = "m", query = "q", documents = { "a", "b", CONTENT }, top_n = 3 }, net.requests[1].body)
  end)

  it("reads the forms of other servers", function()
    for _, json in ipairs { { results = { { index = 0, score = 2 } } },
      { data = { { index = 0, relevance_score = 2 } } }, { { index = 0, score = 2 } } } do
      local reply = assert(fake.net({ { json = json } }):connect():rerank("q", { "a", "b" }))
      assert.same({ { index = 1, score = 2, document = "a" } }, reply.results)
    end
  end)

  it("tells of results that cannot be told apart, or are none", function()
    for _, results in ipairs {
      { { index = 2, score = 1 } }, { { index = -1, score = 1 } }, { { index = 0.5, score = 1 } }, { { score = 1 } },
      { { index = 0, score = 1 }, { index = 0, score = 2 } }, { { index = 0 } }, { { index = 0, score = "1" } },
      { "a" },
    } do
      assert.refused("a result without a score, or of no document that was sent",
        fake.net({ ranked(results) }):connect():rerank("q", { "a", "b" }))
    end
    assert.refused("no list of results", fake.net({ { json = { model = "m" } } }):connect():rerank("q", { "a" }))
    assert.refused("a list without results", fake.net({ { body = '{"results":[]}' } }):connect():rerank("q", { "a" }))
  end)

  it("misuse raises", function()
    local client = fake.net({ ranked {} }):connect()
    for _, row in ipairs {
      { { 5, { "a" } }, "the query is a text or a part, not a number" },
      { { "q", "a" }, "the documents stand in a list" },
      { { "q", {} }, "the second argument of client:rerank is .*, not an empty table" },
      { { "q", { 5 } }, "item 1 is a number" },
      { { "q", { "a" }, { query = "x" } }, "client:rerank sets 'query' itself" },
    } do
      assert.raises(row[2], client.rerank, client, row[1][1], row[1][2], row[1][3])
    end
  end)
end)
