-- client:embed on the fake transport: what it sends for texts and media, what it makes of replies, what it refuses.
local core = require "lmm.core"
local fake = require "spec.support.fake"
local floats = require "lmm.client.floats"
local lmm = require "lmm"

--- A reply with these vectors, by their places from 0 unless they name others.
local function embedded(vectors, more)
  local data = {}
  for i, vector in ipairs(vectors) do data[i] = { index = i - 1, object = "embedding", embedding = vector } end
  local json = { id = "e1", model = "m", data = data, usage = { prompt_tokens = 3, total_tokens = 3 } }
  for name, value in pairs(more or {}) do json[name] = value end
  return { json = json, headers = { ["x-request-id"] = "r1" } }
end

local function bytes_of(...) return core.base64.encode(string.char(...)) end

describe("client:embed", function()
  it("sends texts in one request, and gives their vectors with what else is known", function()
    local net = fake.net { embedded { { 1, 0.5 }, { -2, 0 } } }
    local client = net:connect { prices = { m = { input = 2 } } }
    local reply = assert(client:embed({ "a", "b" }, { dimensions = 2, headers = { ["X-A"] = "1" } }))
    assert.same({ { 1, 0.5 }, { -2, 0 } }, reply.vectors)
    assert.same({ "m", "e1", "r1", 3, 1, 6e-6 }, { reply.model, reply.id, reply.request_id, reply.usage.total_tokens,
      reply.attempts, reply.cost })
    assert.truthy(reply.timing.total)
    local sent = net.requests[1]
    assert.equal("POST http://fake/v1/embeddings", sent.method .. " " .. sent.url)
    assert.same({ input = { "a", "b" }, model = "m", dimensions = 2 }, sent.body)
    assert.matches("X%-A: 1", table.concat(sent.headers, "\n"))
    assert.equal(3, client.usage.prompt_tokens)
  end)

  it("sends one text as it is", function()
    local net = fake.net { embedded { { 1 } } }
    assert.same({ { 1 } }, assert(net:connect():embed "a").vectors)
    assert.same({ input = "a", model = "m" }, net.requests[1].body)
    assert(net:connect():embed { "a" })
    assert.equal("a", net.requests[2].body.input)
  end)

  it("asks for the server's first model where none is named", function()
    local net = fake.net { { json = { data = { { id = "listed" } } } }, embedded { { 1 } } }
    assert(net:connect({ model = "" }):embed "a")
    assert.equal("http://fake/v1/models", net.requests[1].url)
    assert.equal("listed", net.requests[2].body.model)
    assert.equal("other", (function()
      assert(net:connect():embed("a", { model = "other" }))
      return net.requests[3].body.model
    end)())
  end)

  it("sends each item with a part as a message of its own, and keeps the order", function()
    local image = lmm.image "https://example.org/a.png"
    local net = fake.net { embedded { { 1 } }, embedded { { 2 } }, embedded({ { 3 }, { 4 } }, { id = "e3" }) }
    local reply = assert(net:connect({ prices = { m = { input = 2 } } }):embed({ "a", image, { "See:", image }, "b" },
      { encoding_format = "float" }))
    assert.same({ { 3 }, { 1 }, { 2 }, { 4 } }, reply.vectors)
    assert.same({ 9, 9, 3, "e3" }, { reply.usage.prompt_tokens, reply.usage.total_tokens, reply.attempts, reply.id })
    assert.truthy(math.abs(reply.cost - 18e-6) < 1e-12)
    local part = { type = "image_url", image_url = { url = "https://example.org/a.png" } }
    assert.same({ model = "m", encoding_format = "float", messages = { { role = "user", content = { part } } } },
      net.requests[1].body)
    assert.same({ { type = "text", text = "See:" }, part }, net.requests[2].body.messages[1].content)
    assert.same({ "a", "b" }, net.requests[3].body.input)
  end)

  it("takes a part, also a raw one, alone", function()
    for _, part in ipairs { lmm.image "https://example.org/a.png",
      { type = "image_url", image_url = { url = "https://example.org/a.png" } } } do
      local net = fake.net { embedded { { 1 } } }
      assert.same({ { 1 } }, assert(net:connect():embed(part)).vectors)
      assert.equal("image_url", net.requests[1].body.messages[1].content[1].type)
    end
  end)

  it("sends nothing where one part cannot be sent", function()
    local net = fake.net { embedded { { 1 } } }
    assert.refused("cannot read 'gone.jpg'", net:connect():embed { "a", lmm.image "gone.jpg" })
    assert.equal(0, #net.requests)
  end)

  it("reads vectors that come as base64", function()
    local net = fake.net { embedded { bytes_of(0, 0, 128, 63, 0, 0, 32, 192), bytes_of(0, 0, 0, 0) } }
    local reply = assert(net:connect():embed({ "a", "b" }, { encoding_format = "base64" }))
    assert.equal("base64", net.requests[1].body.encoding_format)
    assert.same({ { 1, -2.5 }, { 0 } }, reply.vectors)
  end)

  it("puts vectors in order by their index, or by their places where that tells nothing", function()
    for _, row in ipairs { { 1, 0, 2, 1 }, { 0, 1, 1, 2 }, { nil, nil, 1, 2 }, { 0, 0, 1, 2 }, { 5, 7, 1, 2 },
      { "x", {}, 1, 2 }, { 0.5, -1, 1, 2 }, { 1, nil, 1, 2 } } do
      local reply = embedded { { 1 }, { 2 } }
      reply.json.data[1].index, reply.json.data[2].index = row[1], row[2]
      local vectors = assert(fake.net({ reply }):connect():embed { "a", "b" }).vectors
      assert.same({ { row[3] }, { row[4] } }, vectors)
    end
  end)

  local faults = {
    { "a vector too few", { vectors = { { 1 } } }, "the number of embeddings is 1, not 2" },
    { "a vector too many", { vectors = { { 1 }, { 2 }, { 3 } } }, "the number of embeddings is 3, not 2" },
    { "no list", { more = { data = "x" } }, "the number of embeddings is 0, not 2" },
    { "an empty vector", { vectors = { { 1 }, lmm.array {} } }, "an embedding without a vector" },
    { "a null in a vector", { vectors = { { 1 }, { 1, lmm.null, 3 } } }, "a vector with a null in it" },
    { "a null at its end", { vectors = { { 1, lmm.null }, { 1, 2 } } }, "a vector with a null in it" },
    { "words in a vector", { vectors = { { 1 }, { "1" } } }, "element 1 is no number" },
    { "base64 with a fault", { vectors = { { 1 }, "AAA" } }, "no base64 of 32%-bit floats" },
    { "half a float", { vectors = { { 1 }, "AAAA" } }, "no base64 of 32%-bit floats" },
    { "an empty text for a vector", { vectors = { { 1 }, "" } }, "an embedding without a vector" },
    { "an error under 200", { more = { error = { message = "No.", code = 400 } } }, "from http.*: No%.", "http" },
    { "no JSON", { body = "<html><title>Login</title>" }, "an HTML page, \"Login\"" },
    { "nothing", { body = "" }, "an empty reply" },
  }
  for _, row in ipairs(faults) do
    it("tells of " .. row[1], function()
      local reply = row[2].body and { body = row[2].body } or embedded(row[2].vectors or {}, row[2].more)
      local client = fake.net({ reply }):connect { retry = false }
      local err = assert.refused(row[3], client:embed { "a", "b" })
      assert.equal(row[4] or "protocol", err.kind)
    end)
  end

  it("tries again what passes, an error under 200 among it", function()
    local busy = { json = { error = { message = "Busy.", code = 503 } } }
    local net = fake.net { { status = 503 }, busy, embedded { { 1 } } }
    assert.equal(3, assert(net:connect({ retry = { base = 0.1 } }):embed "a").attempts)
  end)

  it("a model that is not there is told with those that are", function()
    local net = fake.net { { status = 404, json = { error = { message = "The model `bert` does not exist." } } },
      { json = { data = { { id = "berta" } } } } }
    assert.refused('HTTP 404 from http://fake/v1/embeddings: .*did you mean "berta"%?',
      net:connect({ retry = false }):embed("a", { model = "bert" }))
  end)

  it("is ended by its time limit and by its task's cancel", function()
    local client = fake.net({ { hang = true } }):connect()
    assert.equal("timeout", assert.refused("no complete answer", client:embed("a", { timeout = 3 })).kind)
    local task
    task = lmm.go(function() return client:embed "a" end)
    task:cancel()
    local _, value, message, err = task:wait()
    assert.equal("cancelled", assert.refused("cancelled", value, message, err).kind)
  end)

  it("misuse raises", function()
    local client = fake.net({ embedded { { 1 } } }):connect()
    for _, row in ipairs {
      { { nil }, "takes a string, a part, or a list of these, not a nil" },
      { { 5 }, "not a number" },
      { { {} }, "not an empty table" },
      { { { text = "a" } }, "the items stand in a list" },
      { { { "a", 5 } }, "item 2 is a number" },
      { { { "a", {} } }, "item 2 is an empty table" },
      { { { "a", { "b", 5 } } }, "item 2 holds a number" },
      { { "a", "x" }, "client:embed: a table of options expected, got string" },
      { { "a", { input = "b" } }, "client:embed sets 'input' itself" },
      { { "a", { timeot = 1 } }, "unknown option 'timeot' %(did you mean 'timeout'" },
      { { "a", { timeout = "1" } }, "option 'timeout' must be a number or table" },
      { { "a", { model = 5 } }, "model must be a string" },
      { { "a", { 5 } }, "an option has a name, not 1" },
    } do
      assert.raises(row[2], client.embed, client, row[1][1], row[1][2])
    end
    assert.raises("write client:embed%(%.%.%.%), with a colon", client.embed, "a")
    client:close()
    assert.raises("this client is closed", client.embed, client, "a")
  end)

  it("is loaded with its first use", function()
    local program = require("spec.support.program")
    local ended = program.run [[
      local lmm = require "lmm"
      local client = lmm.connect { base_url = "http://127.0.0.1:9/v1", model = "m", retry = false }
      client:chat { messages = {} }
      for _, name in ipairs { "embeddings", "endpoint", "tokens", "audio", "completions", "ranking", "floats" } do
        if package.loaded["lmm.client." .. name] then print(name) end
      end
      client:embed "a"
      print(package.loaded["lmm.client.embeddings"] and "loaded")
    ]]
    assert.same({ "", "loaded\n" }, { ended.err, ended.out })
  end)
end)

describe("floats", function()
  for _, row in ipairs {
    { "1", { 0, 0, 128, 63 }, 1 }, { "-2.5", { 0, 0, 32, 192 }, -2.5 }, { "0", { 0, 0, 0, 0 }, 0 },
    { "the least of all", { 1, 0, 0, 0 }, 2 ^ -149 }, { "the least normal one", { 0, 0, 128, 0 }, 2 ^ -126 },
    { "the largest", { 255, 255, 127, 127 }, (2 - 2 ^ -23) * 2 ^ 127 },
    { "0.1, as near as it gets", { 205, 204, 204, 61 }, 13421773 / 2 ^ 27 },
    { "infinity", { 0, 0, 128, 127 }, math.huge }, { "minus infinity", { 0, 0, 128, 255 }, -math.huge },
  } do
    it("reads " .. row[1], function()
      local bytes = string.char(row[2][1], row[2][2], row[2][3], row[2][4])
      assert.same({ row[3], row[3] }, floats.unpack(bytes .. bytes))
      local unpack = rawget(string, "unpack") -- since Lua 5.3
      if unpack then assert.equal(row[3], (unpack("<f", bytes))) end
    end)
  end

  it("reads what is no number", function()
    local number = floats.unpack("\0\0\192\127")[1]
    assert.truthy(number ~= number)
  end)

  it("takes whole floats alone", function()
    assert.same({}, floats.unpack "")
    for size = 1, 3 do assert.is_nil(floats.unpack(("x"):rep(size))) end
  end)
end)
