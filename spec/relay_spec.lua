-- What passes a request on needs: a body that goes as it came, the head of the reply, and a refusal as the server wrote
-- it.
local fake = require "spec.support.fake"
local lmm = require "lmm"

local TEXT = '{ "stream": true,\t"model":"x", "seed": 9007199254740993, "messages": [], "a": 1.0, "a": [ ] }'
local PLAIN = '{"messages":[{"role":"user","content":"q"}]}'

describe("a request that is JSON already", function()
  it("goes byte for byte, by stream and by chat", function()
    local net = fake.net { fake.answer("one ", "two") }
    local client = net:connect { model = "own" }
    assert.equal("one two", client:stream(TEXT):reply().text)
    assert.equal("one two", assert(client:chat(TEXT)).text)
    assert.same({ TEXT, TEXT }, { net.requests[1].text, net.requests[2].text })
  end)

  it("without a model goes without one, and asks for no list", function()
    local net = fake.net { fake.whole "a" }
    assert.equal("a", net:connect({ model = "", dialect = "" }):stream(PLAIN):reply().text)
    assert.same({ 1, PLAIN }, { #net.requests, net.requests[1].text })
  end)

  it("goes again as it is", function()
    local net = fake.net { { status = 503, body = "" }, fake.whole "a" }
    assert.equal("a", assert(net:connect():chat(PLAIN)).text)
    assert.equal(PLAIN, net.requests[2].text)
  end)

  it("has as many choices as it asks for", function()
    local function piece(index, text)
      return fake.event { choices = { { index = index, delta = { content = text } } } }
    end
    local net = fake.net { fake.streamed { piece(0, "a"), piece(1, "b"), fake.event "[DONE]" } }
    assert.equal("a", assert(net:connect():chat '{"messages":[],"n":2,"stream":true}').text)
  end)

  it("goes to the server of a pool that has its model", function()
    local nets = { a = fake.net { { json = { data = { { id = "m" } } } } },
      b = fake.net { { json = { data = { { id = "x" } } } }, fake.answer "b" } }
    local client = lmm.connect { base_url = { "http://a/v1", "http://b/v1" }, transport = { start = function(_, request)
      return nets[request.url:match "//(%w+)"]:start(request)
    end } }
    assert.equal("b", client:stream(TEXT):reply().text)
    assert.equal(TEXT, nets.b.requests[2].text)
  end)

  it("that is none is told, and nothing is sent", function()
    local net = fake.net { fake.whole "a" }
    local rows = { { "", "it is empty" }, { "hello", "byte 1" }, { "[1]", "it is a list" }, { "[]", "it is a list" },
      { "5", "it is a value" }, { '{"a":', "" }, { ('{"a":'):rep(2000), "nested" },
      { '{"a":[' .. ("[],"):rep(200000) .. "[]]}", "more than 100000 lists" } }
    for _, row in ipairs(rows) do
      local _, message, err = net:connect():stream(row[1]):reply()
      assert.equal("invalid", err.kind)
      assert.matches("^the request is not a JSON object: .*" .. row[2], message)
    end
    assert.equal(0, #net.requests)
  end)
end)

describe("the head of a stream", function()
  it("comes once the answer begins, and takes nothing of it", function()
    local busy, answer = { status = 503, body = "" }, fake.answer("one ", "two")
    answer.headers = { ["content-type"] = "text/event-stream", ["x-request-id"] = "7" }
    local stream = fake.net({ busy, answer }):connect():stream(PLAIN)
    for _ = 1, 2 do
      local head = assert(stream:head())
      assert.same({ 200, "text/event-stream", "7" }, { head.status, head.headers["content-type"],
        head.headers["x-request-id"] })
    end
    assert.equal("one ", stream:next())
    assert.equal("two", stream:next())
    assert.equal("7", stream:reply().request_id)
    assert.equal(200, stream:head().status)
  end)

  it("leaves all bytes for raw", function()
    local answer = fake.answer("one ", "two")
    local stream = fake.net({ answer }):connect():stream(PLAIN)
    assert(stream:head())
    local bytes = {}
    for piece in stream:raw() do bytes[#bytes + 1] = piece end
    assert.equal(table.concat(answer.chunks), table.concat(bytes))
  end)

  it("is an error where there is no answer, and after a cancel", function()
    local stream = fake.net({ { status = 400, body = "no" } }):connect():stream(PLAIN)
    local head, message, err = stream:head()
    assert.same({ nil, 400, err.message }, { head, err.status, message })
    stream = fake.net({ fake.answer "a" }):connect():stream(PLAIN)
    stream:cancel()
    assert.equal("cancelled", select(3, stream:head()).kind)
  end)
end)

describe("the body of a refusal", function()
  local KEY = "sk-1234567890"

  local function refused(reply, opts)
    opts = opts or {}
    opts.retry, opts.api_key = false, KEY
    return select(3, fake.net({ reply }):connect(opts):chat(PLAIN))
  end

  it("is what the server sent", function()
    local body = '{ "error": { "message": "Wrong\\nnumber.", "code": 400, "more": [ ] } }'
    local err = refused { status = 400, body = body, headers = { ["content-type"] = "application/json; charset=x" } }
    assert.same({ body, "application/json; charset=x" }, { err.body, err.content_type })
  end)

  it("is the event's where a stream refuses", function()
    local err = refused(fake.streamed { 'data: {"error": {"message":"full", "code":503}}\n\n' })
    assert.same({ 503, '{"error": {"message":"full", "code":503}}', "application/json" },
      { err.status, err.body, err.content_type })
  end)

  it("is left out where it is long, or may hold the key", function()
    assert.is_nil(refused({ status = 400, body = ("x"):rep(2 ^ 20 + 1) }).body)
    assert.equal(2 ^ 20, #refused({ status = 400, body = ("x"):rep(2 ^ 20) }).body)
    for _, quoted in ipairs { KEY, KEY:upper(), "sk-12345\\u0036\\n7890", "sk%2D1234567890", "sk-12345 67890" } do
      assert.is_nil(refused({ status = 401, body = '{"detail":"not ' .. quoted .. '"}' }).body)
    end
    assert.is_nil(refused({ status = 200, body = "", headers = { ["content-encoding"] = "gzip" } }).body)
    assert.is_nil(refused({ fail = { kind = "connect", phase = "connect" } }).body)
  end)
end)
