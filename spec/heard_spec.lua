-- What comes with an answer beside its text: pieces and their kinds, the bytes as they came, pictures and sound, and
-- the message that goes into a history; and when an answer has ended.
local core = require "lmm.core"
local cut_up = require "spec.support.cut_up"
local fake = require "spec.support.fake"
local json = require "lmm.json"
local lmm = require "lmm"

local delta, event, streamed = fake.delta, fake.event, fake.streamed
local done = event "[DONE]"
local REQUEST = { messages = { { role = "user", content = "q" } } }
local PNG = core.base64.decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
  .. "RU5ErkJggg==")
local URL = "data:image/png;base64," .. core.base64.encode(PNG)

local function open(reply, opts, request)
  local net = fake.net(reply[1] and reply or { reply })
  return net:connect(opts or { retry = false }):stream(request or REQUEST), net
end

local function ask(message, more)
  local choice = { index = 0, message = message, finish_reason = "stop" }
  for name, value in pairs(more or {}) do choice[name] = value end
  return assert(fake.net({ { json = { choices = { choice } } } }):connect({ retry = false }):chat(REQUEST))
end

local function collect(iterator)
  local list = {}
  for piece, kind in iterator do
    list[#list + 1] = (kind or "?") .. ": " .. (type(piece) == "table" and json.encode(piece) or piece)
  end
  return list
end

local audio = { delta { audio = { id = "a1", data = "UklG" } }, delta { audio = { transcript = "Hel" } },
  delta { audio = { data = "Rg==", transcript = "lo" } } }

describe("pieces", function()
  local chunks = { delta { role = "assistant", content = "" }, delta { reasoning = "hm" }, delta { content = "a" },
    delta { content = "b", reasoning_content = "so" }, delta { refusal = "no" },
    delta { function_call = { name = "f", arguments = "{}" } }, audio[1],
    delta { content = { { type = "thinking", thinking = "deep" }, { type = "text", text = "c" } } },
    delta { reasoning_details = { { type = "reasoning.text", text = "d" } } }, delta { anything = 5 },
    delta({}, "stop"), done }
  local expected = { "reasoning: hm", "text: a", "reasoning: so", "text: b", "refusal: no",
    'tool_calls: {"function":{"arguments":"{}","name":"f"}}', 'audio: {"data":"UklG","id":"a1"}', "reasoning: deep",
    "text: c", 'reasoning_details: [{"text":"d","type":"reasoning.text"}]', "anything: 5" }

  local function normal(list) -- the order of fields in a table is not told
    for i, text in ipairs(list) do
      local kind, value = text:match "^(%w+): (%b{})$"
      if kind then
        local fields = json.decode(value)
        local names = {}
        for name in pairs(fields) do names[#names + 1] = name end
        table.sort(names)
        list[i] = kind .. ": " .. table.concat(names, " ")
      end
    end
    return list
  end

  it("come with their kinds, whatever they are, and when they come", function()
    for _, pieces in ipairs { chunks, cut_up(table.concat(chunks)) } do
      local stream = open(streamed(pieces))
      local found = normal(collect(stream:pieces()))
      local wanted = {}
      for i, text in ipairs(expected) do wanted[i] = text end
      found[10], wanted[10] = nil, nil -- a list of a table
      assert.same(normal(wanted), found)
      assert.equal("abc", assert(stream:reply()).text)
    end
  end)

  it("of half a character are that character", function()
    local stream = open(streamed { delta "x", 'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n',
      'data: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\n', delta({}, "stop") })
    assert.same({ "text: x", "text: \240\159\152\128" }, collect(stream:pieces()))
  end)

  it("come once, behind the role, too", function()
    assert.same({ "text: a", "text: b" }, collect(open(fake.answer("a", "b")):pieces()))
  end)

  it("go on from where next() was, and next() from where they were", function()
    local stream = open(fake.answer("a", "b", "c"))
    assert.equal("a", stream:next())
    assert.same({ "b", "text" }, { stream:pieces()() })
    assert.equal("c", stream:next())
    local events = open(fake.answer("a", "b"))
    events:events()() -- the role
    assert.same({ "text: a", "text: b" }, collect(events:pieces()))
  end)

  it("of a whole reply are all of it", function()
    local stream = open(fake.whole("a", { reasoning = "hm" }))
    assert.same({ "reasoning: hm", "text: a" }, collect(stream:pieces()))
  end)

  it("raise where the stream breaks", function()
    local stream = open(streamed { delta "a" })
    local pieces = stream:pieces()
    assert.equal("a", pieces())
    assert.raises("finish_reason", pieces)
    assert.equal("truncated", stream.err.kind)
  end)

  it("of any kind count for the time limits", function()
    for _, chunk in ipairs { audio[1], delta { function_call = { name = "f" } },
      delta { reasoning_details = { { text = "x" } } }, delta { content = { { type = "thinking", thinking = "x" } } },
      delta { images = { { image_url = { url = URL } } } }, delta { whatever = "x" } } do
      local start = fake.loop:now()
      local stream = open(streamed { { pause = 40 }, chunk, { pause = 40 }, delta({}, "stop"), done },
        { retry = false, timeout = { first = 50, idle = 50 } })
      assert(stream:reply())
      assert.equal(80, fake.loop:now() - start)
    end
  end)
end)

describe("raw", function()
  it("is the bytes as they came, and the reply is there still", function()
    local chunks = { ": hello\n\n", delta { role = "assistant", content = "" }, delta "a", ": ping\n\n", delta "b",
      delta({}, "stop"), done }
    for _, pieces in ipairs { chunks, cut_up(table.concat(chunks)), { table.concat(chunks) } } do
      local stream = open(streamed(pieces))
      local bytes = {}
      for piece in stream:raw() do bytes[#bytes + 1] = piece end
      assert.equal(table.concat(chunks), table.concat(bytes))
      assert.equal("ab", assert(stream:reply()).text)
    end
  end)

  it("comes when it comes, comments too", function()
    local stream = open(streamed { delta "a", { pause = 5 }, ": ping\n\n", { pause = 5 }, "data: {", { pause = 5 },
      '"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n', done })
    local start, times = fake.loop:now(), {}
    for piece in stream:raw() do times[#times + 1] = { fake.loop:now() - start, piece:sub(1, 6) } end
    assert.same({ { 0, "data: " }, { 5, ": ping" }, { 10, "data: " }, { 15, '"choic' }, { 15, "data: " } }, times)
  end)

  it("of a whole reply is its JSON", function()
    local body = '{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}'
    local stream = open { body = body }
    assert.equal(body, stream:raw()())
    assert.equal("a", assert(stream:reply()).text)
  end)

  it("raises where the stream breaks, behind what came", function()
    local raw = open(streamed { delta "a", { pause = 1 }, ": x\n" }):raw()
    assert.equal(delta "a", raw())
    assert.equal(": x\n", raw())
    assert.raises("finish_reason", raw)
  end)
end)

describe("an answer that has ended", function()
  it("waits two seconds for what may follow, however long the limit between pieces is", function()
    local start = fake.loop:now()
    local reply = assert(open(streamed { delta "a", delta({}, "stop"), { pause = 1000 } }):reply())
    assert.same({ "a", "stop", 2 }, { reply.text, reply.finish_reason, fake.loop:now() - start })
    start = fake.loop:now()
    local usage = event { choices = lmm.array {}, usage = { total_tokens = 7 } }
    reply = assert(open(streamed { delta("a", "stop"), { pause = 1.5 }, ": ping\n\n", { pause = 0.25 }, usage,
      { pause = 1000 } }):reply())
    assert.same({ "a", 7, 2 }, { reply.text, reply.usage.total_tokens, fake.loop:now() - start })
  end)

  it("is not one while another choice has not", function()
    local start = fake.loop:now()
    local second = event { choices = { { index = 1, delta = { content = "b" }, finish_reason = "stop" } } }
    local reply = assert(open(streamed { delta("a", "stop"), { pause = 60 }, second, { pause = 1000 } }, nil,
      { messages = REQUEST.messages, n = 2 }):reply())
    assert.same({ "b", 62 }, { reply.choices[2].text, fake.loop:now() - start })
  end)
end)

describe("before anything was handed out", function()
  local policy = { random = function() return 0 end }
  local role = delta { role = "assistant", content = "" }
  local gone = { fail = { kind = "truncated", phase = "receive", reason = "gone" } }
  for name, chunks in pairs {
    ["a stream that breaks behind its head"] = { gone }, ["a stream that breaks behind the role"] = { role, gone },
    ["a stream that ends behind the role"] = { role }, ["[DONE] after nothing"] = { role, done },
    ["an error event of 429"] = { role, event { error = { message = "m", code = 429 } } },
    ["an error event of 529, in quotes"] = { role, event { error = { message = "m", code = "529" } } },
    ["an overloaded server"] = { event { type = "error", error = { type = "overloaded_error", message = "m" } } },
    ["a server's error by its type"] = { role, event { error = { message = "m", type = "server_error" } } },
    ["a pretty-printed error of 503"] = { role, '{\n  "error": {"message": "m", "code": 503}\n}\n' },
  } do
    it(name .. " is tried again", function()
      local stream, net = open({ streamed(chunks), fake.answer "a" }, { retry = policy })
      local reply = assert(stream:reply())
      assert.same({ "a", 2, 2 }, { reply.text, reply.attempts, #net.requests })
    end)
  end

  it("an unstreamed reply that breaks is tried again", function()
    local net = fake.net { { chunks = { '{"choices":[', gone } }, fake.whole "a" }
    assert.same({ "a", 2 }, { assert(net:connect({ retry = policy }):chat(REQUEST)).text, #net.requests })
  end)

  it("but nothing is that broke behind a piece", function()
    local stream, net = open({ streamed { delta "a", gone }, fake.answer "b" }, { retry = policy })
    assert.equal("a", stream:next())
    assert.refused("gone", stream:next())
    assert.equal(1, #net.requests)
  end)

  it("Google's RetryInfo is waited for", function()
    local start = fake.loop:now()
    local busy = { status = 429, body = [==[[{"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED",
      "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.07s"}]}}]]==] }
    assert(open({ busy, fake.answer "a" }, { retry = policy }):reply())
    assert.near(34.07, fake.loop:now() - start, 1e-6)
  end)
end)

describe("pictures in an answer", function()
  local item = { type = "image_url", index = 0, image_url = { url = URL } }

  local function check(reply, count)
    assert.equal(count or 1, #reply.images)
    local image = reply.images[1]
    assert.same({ "image", "image/png", 1, 1, PNG }, { image.kind, image.mime, image.width, image.height, image.bytes })
    assert.is_nil(image.err)
  end

  it("are parts, wherever they stand", function()
    check(ask { content = "Here:", images = { item } })
    check(ask { content = "Here:", images = { { image_url = URL } } })
    check(ask { content = lmm.null, images = { { b64_json = core.base64.encode(PNG) }, item } }, 2)
    check(ask { content = { { type = "text", text = "Here:" }, item } })
    check(assert(open(streamed { delta "Here:", delta { images = { item } }, delta({}, "stop"), done }):reply()))
    local twice = { delta { images = { item } }, delta { images = { item } }, delta({}, "stop") }
    check(assert(open(streamed(twice)):reply()), 2)
    assert.equal("Here:", ask({ content = { { type = "text", text = "Here:" }, item } }).text)
  end)

  it("that the server keeps are links", function()
    local reply = ask { content = "", images = { { image_url = { url = "https://x/y.png" } } } }
    assert.same({ "https://x/y.png" }, { reply.images[1].url })
    assert.refused("it holds no bytes", reply.images[1]:save "/nowhere")
  end)

  it("are saved as they came", function()
    local path = os.tmpname()
    assert(ask({ images = { item } }).images[1]:save(path))
    local file = assert(io.open(path, "rb"))
    assert.equal(PNG, file:read "*a")
    file:close()
    os.remove(path)
    local image = ask({ images = { item } }).images[1]
    local err = assert.refused("cannot save the image: .*/nowhere/x", image:save "/nowhere/x")
    assert.equal("invalid", err.kind)
  end)

  it("that are none have an error, and their bytes", function()
    local reply = ask { content = "x", images = { { image_url = { url = "data:image/png;base64,AAAA" } },
      { image_url = { url = "data:image/png;base64,*" } }, { image_url = 5 }, {} } }
    assert.same({ "\0\0\0", "image/png" }, { reply.images[1].bytes, reply.images[1].mime })
    for i = 2, 4 do assert.is_table(reply.images[i].err) end
  end)
end)

describe("sound in an answer", function()
  it("is a part with its words", function()
    local wav = "RIFF\36\0\0\0WAVEfmt \16\0\0\0\1\0\1\0\64\31\0\0\128\62\0\0\2\0\16\0data\0\0\0\0"
    local sound = { id = "a1", data = core.base64.encode(wav), transcript = "Hello", expires_at = 5 }
    local reply = ask { content = lmm.null, audio = sound }
    assert.same({ "audio", wav, "Hello", "a1", "" }, { reply.audio.kind, reply.audio.bytes, reply.audio.transcript,
      reply.audio.id, reply.text })
    assert.matches("^audio/", reply.audio.mime)
  end)

  it("comes in pieces, each with an end of its own", function()
    local reply = assert(open(streamed { audio[1], audio[2], audio[3], delta({}, "stop"), done }):reply())
    assert.same({ "RIFF", "Hello", "audio/pcm" }, { reply.audio.bytes, reply.audio.transcript, reply.audio.mime })
    local again = { delta { audio = { data = "QQ==" } }, delta { audio = { data = "Qg==" } }, delta({}, "stop"), done }
    assert.equal("AB", assert(open(streamed(again)):reply()).audio.bytes)
  end)
end)

describe("the history", function()
  local call = { id = "t", type = "function", index = 0, ["function"] = { name = "f", arguments = "" },
    extra_content = { google = { thought_signature = "xyz" } } }
  local function history(reply)
    local client = fake.net({ reply, fake.whole "b" })
    local chat = client:connect({ retry = false }):conversation()
    for _, called in ipairs(assert(chat:ask "q").tool_calls or {}) do chat:result(called, "x") end
    assert(chat:ask "r")
    return client.requests[2].body.messages[2]
  end
  local function whole(message) return { json = { choices = { { message = message, finish_reason = "stop" } } } } end

  it("has each field of a tool call, arguments that are never empty, and no empty content beside them", function()
    local given = history(whole { content = "", tool_calls = { call } })
    assert.same({ role = "assistant", content = lmm.null, tool_calls = { { id = "t", type = "function",
      extra_content = call.extra_content, ["function"] = { name = "f", arguments = "{}" } } } }, given)
    given = history(streamed { delta { tool_calls = { call } }, delta({}, "tool_calls"), done })
    assert.same({ lmm.null, "xyz", "{}" }, { given.content, given.tool_calls[1].extra_content.google.thought_signature,
      given.tool_calls[1]["function"].arguments })
  end)

  it("has the reasoning beside tool calls, under its name, and else not", function()
    for _, name in ipairs { "reasoning", "reasoning_content" } do
      local message = { content = "x", tool_calls = { call }, [name] = "because" }
      assert.equal("because", history(whole(message))[name])
      assert.equal("because", history(streamed { delta { role = "assistant" }, delta { [name] = "be" },
        delta { [name] = "cause" }, delta { tool_calls = { call } }, delta({}, "tool_calls") })[name])
      assert.is_nil(history(whole { content = "x", [name] = "because" })[name])
    end
  end)

  it("has the details of reasoning, in pieces or whole", function()
    local details = { { type = "reasoning.text", index = 0, text = "because", signature = "s", format = "x" },
      { type = "reasoning.encrypted", index = 1, data = "abc" } }
    assert.same(details, history(whole { content = "x", reasoning_details = details }).reasoning_details)
    local pieces = { { details[1].type, "be" }, { details[1].type, "cause", "s" } }
    local chunks = {}
    for i, piece in ipairs(pieces) do
      chunks[i] = delta { content = "", reasoning_details = { { type = piece[1], index = 0, text = piece[2],
        signature = piece[3], format = "x" } } }
    end
    chunks[3] = delta { content = "x", reasoning_details = { details[2] } }
    chunks[4] = delta({}, "stop")
    assert.same(details, history(streamed(chunks)).reasoning_details)
  end)

  it("has pictures where they stood, and sound by its id", function()
    local item = { type = "image_url", image_url = { url = URL } }
    assert.same({ { type = "text", text = "x" }, item }, history(whole { content = { { type = "text", text = "x" },
      item } }).content)
    local given = history(whole { content = "x", images = { item } })
    assert.same({ "x", item }, { given.content, given.images[1] })
    assert.same({ id = "a1" }, history(whole { content = lmm.null, audio = { id = "a1", data = "AAAA" } }).audio)
  end)

  it("has nothing in it that cannot be sent", function()
    local body = '{"choices":[{"message":{"content":"a\255","tool_calls":[{"id":"t","x":["\255"],'
      .. '"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}'
    local given = history { body = body }
    assert.same({ "a\239\191\189", { "\239\191\189" } }, { given.content, given.tool_calls[1].x })
  end)

  it("is the reply's own message", function()
    assert.same({ role = "assistant", content = "x" }, ask({ content = "x" }).message)
  end)
end)

it("the request's id is told", function()
  local net = fake.net { { headers = { ["request-id"] = "r2" }, json = fake.whole("a").json } }
  assert.equal("r2", assert(net:connect():chat(REQUEST)).request_id)
end)

describe("a hostile server", function()
  it("makes nobody read a file of this machine", function()
    for _, url in ipairs { "spec/media/picture.png", "/etc/passwd", "file:///etc/passwd", "~/x", "ftp://x/y.png" } do
      local image = ask({ content = "x", images = { { image_url = { url = url } } } }).images[1]
      assert.same({ "", nil, nil }, { image.bytes, image.media, image.url }, url)
      assert.is_table(image.err)
      assert(not image.err.message:find "root", image.err.message)
    end
    assert.equal(PNG, ask({ images = { { image_url = "DATA" .. URL:sub(5) } } }).images[1].bytes)
  end)

  it("makes nothing raise by what is no text", function()
    for _, value in ipairs { 5, true, { {} }, { a = 1 } } do
      for _, name in ipairs { "data", "transcript", "id" } do
        assert.is_table(ask({ content = "x", audio = { [name] = value } }).audio)
        assert(open(streamed { delta { audio = { [name] = value } }, delta { audio = { data = "QQ==" } },
          delta({}, "stop") }):reply())
      end
      for _, name in ipairs { "text", "summary", "data", "signature" } do
        assert.equal("x", ask({ content = "x", reasoning_details = { { [name] = value } } }).message.content)
      end
    end
  end)

  it("costs linear time by white space in the place of an event", function()
    local stream = open(streamed { delta "a", "x" .. (" "):rep(2 ^ 20) .. "y" }) -- else this would not end
    assert.refused('but with "x', stream:reply())
  end)

  it("gets nothing relayed of an answer that never began", function()
    local raw = open({ streamed { event { choices = lmm.array {} } } }, { retry = { attempts = 2, base = 0 } }):raw()
    assert.raises("broke off", raw)
  end)

  it("says the reasoning under the name that held it, and a late text not twice", function()
    local message = { content = "x", reasoning = "", reasoning_content = "abc", tool_calls = { { id = "t",
      ["function"] = { name = "f", arguments = "{}" } } } }
    assert.same({ nil, "abc" }, { ask(message).message.reasoning, ask(message).message.reasoning_content })
    local late = event { choices = { { message = { content = "ab" }, text = "ab", finish_reason = "stop" } } }
    assert.equal("ab", assert(open(streamed { delta "ab", late }):reply()).text)
  end)
end)

it("parts may stand in the body of any request", function()
  local net = fake.net { { body = "{}" }, streamed { event { a = 1 }, done } }
  local client, body = net:connect(), { x = lmm.image { bytes = PNG } }
  assert(client:request("POST", "tokenize", body))
  for _ in client:events("POST", "responses", body) do end -- luacheck: ignore
  for i = 1, 2 do assert.equal(URL, net.requests[i].body.x.image_url.url) end
end)
