-- client:events: the events of any endpoint, decoded, and how they end.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local function events(chunks, more, opts)
  local net = fake.net { { chunks = chunks } }
  return net:connect(opts):events("POST", "responses", { input = "q" }, more), net
end

--- Every event as "NAME JSON", and how it ended.
local function all(found)
  local out = {}
  local event, name, err = found:next()
  while event ~= nil do
    out[#out + 1] = name .. " " .. lmm.json.encode(event)
    event, name, err = found:next()
  end
  return out, err
end

local FIRST = 'event: response.created\ndata: {"type":"response.created","tools":[],"error":null,"n":3}\n\n'
local SECOND = 'data: {"choices":[{"text":"a"}]}\n\n'

describe("client:events", function()
  for _, row in ipairs {
    { "with names, without [DONE]", FIRST .. SECOND,
      { 'response.created {"n":3,"tools":[],"type":"response.created"}', ' {"choices":[{"text":"a"}]}' } },
    { "as deltas of a chat", 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
      { ' {"choices":[{"delta":{"content":"a"},"index":0}]}' } },
    { "up to [DONE]", SECOND .. "data: [DONE]\n\n" .. SECOND, { ' {"choices":[{"text":"a"}]}' } },
    { "among keep-alives", ": hello\n\ndata: null\n\n" .. SECOND, { ' {"choices":[{"text":"a"}]}' } },
    { "as one JSON object", '{"a":[]}', { ' {"a":[]}' } },
    { "that are none", "data: [DONE]\n\n", {} },
    { "with messages that are no errors", 'event: message_start\ndata: {"message":{"id":"m"},"detail":"x"}\n\n',
      { 'message_start {"detail":"x","message":{"id":"m"}}' } },
  } do
    it("gives them " .. row[1], function()
      for cut = 0, #row[2] do
        local found = events { row[2]:sub(1, cut), row[2]:sub(cut + 1) }
        local seen, err = all(found)
        assert.same({ row[3], nil }, { seen, err })
      end
    end)
  end

  for _, row in ipairs {
    { 'event: error\ndata: {"message":"It broke.","code":503}\n\n', "http", 503, "It broke" },
    { 'data: {"error":{"message":"It broke.","code":500}}\n\n', "http", 500, "It broke" },
    { 'data: {"type":"error","message":"It broke."}\n\n', "http", 200, "It broke" },
    { '{"error":{"message":"It broke.","code":429}}', "http", 429, "It broke" },
    { "data: {nonsense\n\n", "protocol", nil, "" },
    { 'data: {"a":', "truncated", nil, "" },
    { "<html>", "protocol", nil, "HTML" },
    { "", "protocol", nil, "empty" },
  } do
    it("tells what is no event: " .. row[1]:gsub("%c", " "), function()
      local _, err = all((events({ row[1] }, nil, { retry = false })))
      assert.same({ row[2], row[3] }, { err and err.kind, err and err.status })
      assert.matches(row[4], err.message)
    end)
  end

  it("asks for a stream, and leaves what the caller says of it", function()
    local given = { input = "q" }
    local net = fake.net { { chunks = { SECOND } } }
    local client = net:connect()
    all((client:events("POST", "responses", given)))
    all((client:events("POST", "/v2/x", { stream = false }, { headers = { ["X-A"] = "b" } })))
    all((client:events("GET", "y")))
    assert.same({ input = "q" }, given)
    assert.same({ '{"input":"q","stream":true}', '{"stream":false}' }, { net.requests[1].text, net.requests[2].text })
    assert.same({ "http://fake/v1/responses", "http://fake/v2/x", "http://fake/v1/y" },
      { net.requests[1].url, net.requests[2].url, net.requests[3].url })
    assert.matches("X%-A: b", table.concat(net.requests[2].headers, "\n"))
  end)

  it("keeps the query of the base URL, as requests do", function()
    local net = fake.net { { chunks = { SECOND } } }
    local client = net:connect { base_url = "http://fake/v1?api-version=1" }
    all((client:events("POST", "responses", {})))
    assert(client:request("POST", "audio/transcriptions", lmm.form { a = 1 }))
    assert.same({ "http://fake/v1/responses?api-version=1", "http://fake/v1/audio/transcriptions?api-version=1" },
      { net.requests[1].url, net.requests[2].url })
  end)

  it("tries again what fails before the first event, and nothing behind it", function()
    local busy = { chunks = { 'data: {"error":{"message":"busy","code":503}}\n\n' } }
    local broken = { chunks = { SECOND, { fail = { kind = "truncated" } } } }
    local net = fake.net { { status = 503, body = "" }, busy, broken }
    local found = net:connect({ retry = { base = 0.01 } }):events("POST", "completions", {})
    assert.equal("a", found:next().choices[1].text)
    local event, message, err = found:next()
    assert.same({ nil, "truncated", 3 }, { event, err.kind, #net.requests })
    assert.equal(message, found.err.message)
    assert.equal(nil, (found:next()))
  end)

  it("is a loop that raises, and can be cancelled", function()
    local seen = {}
    for event, name in events { FIRST } do seen[#seen + 1] = name .. event.n end
    assert.same({ "response.created3" }, seen)
    assert.raises("It broke", function()
      for _ in events { SECOND, 'data: {"error":"It broke."}\n\n' } do end
    end)
    local found, net = events { SECOND, { pause = 60 }, SECOND }
    found:next()
    found:cancel()
    assert.same({ true, "cancelled" }, { net.transfers[1].closed, found.err.kind })
  end)

  it("keeps the limits of time and of size", function()
    local _, err = all((events({ SECOND, { pause = 60 }, SECOND }, { timeout = { idle = 1 } })))
    assert.equal("timeout", err.kind)
    _, err = all((events({ SECOND }, nil, { limits = { event = 10 } })))
    assert.equal("limit", err.kind)
  end)

  it("refuses misuse", function()
    local client = fake.net({}):connect()
    assert.raises("client:events: no method", client.events, client, "get", "x")
    assert.raises("client:events: no path", client.events, client, "GET", "a b")
    assert.raises("unknown option", client.events, client, "GET", "x", nil, { timeuot = 1 })
    local _, message = client:events("POST", "x", { lmm.image "gone.jpg" }):next()
    assert.matches("gone.jpg", message)
  end)
end)
