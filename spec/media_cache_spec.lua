-- Media that a server keeps: sent whole once, by their uuid later, and whole again where the server has lost them.
local core = require "lmm.core"
local fake = require "spec.support.fake"
local lmm = require "lmm"
local mock = require "lmm.mock"
local pixels = require "spec.support.pixels"
local shell = require "spec.support.shell"

pixels.run_bare()

local PNG, JPEG = "spec/media/picture.png", "spec/media/baseline.jpg"

local MISS = { status = 400, json = { error = { code = 400, type = "BadRequestError",
  message = "Cache miss for image at index 0 but data is not provided." } } }

local function connect(net, opts)
  opts = opts or {}
  opts.dialect = opts.dialect or "vllm"
  return net:connect(opts)
end

--- What a request holds of media: for each part "whole" or "null", and its uuid.
local function media_in(request)
  local found, uuids = {}, {}
  for _, message in ipairs(request.body.messages) do
    for _, part in ipairs(type(message.content) == "table" and message.content or {}) do
      if part.type ~= "text" then
        local value = part[part.type]
        found[#found + 1] = type(value) == "table" and "whole" or value == lmm.null and "null" or "missing"
        uuids[#uuids + 1] = part.uuid
      end
    end
  end
  return table.concat(found, " "), uuids
end

local function sent(net)
  local out = {}
  for i, request in ipairs(net.requests) do out[i] = media_in(request) end
  return out
end

describe("a medium", function()
  it("goes whole once, and by its uuid in later turns", function()
    local net = fake.net { fake.whole "a" }
    local chat = connect(net):conversation()
    local picture = lmm.image(PNG)
    for _ = 1, 3 do assert(chat:ask "q" and true) end
    assert(chat:ask("see", picture))
    for _ = 1, 3 do assert(chat:ask "more") end
    assert.same({ "", "", "", "whole", "null", "null", "null" }, sent(net))
    local _, uuids = media_in(net.requests[4])
    for i = 5, 7 do
      local _, later = media_in(net.requests[i])
      assert.same(uuids, later)
    end
    assert.matches("^%x+$", uuids[1])
    assert.equal(64, #uuids[1])
    assert.equal(shell.output("sha256sum " .. PNG):match "^%x+", picture.digest)
    assert.not_equal(picture.digest, uuids[1])
  end)

  it("may be a film or a sound", function()
    local net = fake.net { fake.whole "a" }
    local chat = connect(net):conversation()
    assert(chat:ask("q", lmm.video "spec/media/clip.mp4", lmm.audio "spec/media/sound.wav",
      lmm.audio("spec/media/sound.wav", { format = "wav" })))
    assert(chat:ask "q")
    assert.same({ "whole whole whole", "null null whole" }, sent(net)) -- vLLM takes no input_audio without its data
    local _, uuids = media_in(net.requests[2])
    assert.equal(2, #uuids)
  end)

  it("may be a video of frames, which are one medium", function()
    local net = fake.net { fake.whole "a" }
    local client = connect(net)
    local chat = client:conversation()
    local film = lmm.video { frames = { JPEG, "spec/media/progressive.jpg" } }
    local other = lmm.video { frames = { "spec/media/progressive.jpg", JPEG } }
    assert(chat:ask("q", film, lmm.image(JPEG), other))
    assert(chat:ask "q")
    assert.same({ "whole whole whole", "null null null" }, sent(net))
    local _, uuids = media_in(net.requests[1])
    local _, later = media_in(net.requests[2])
    assert.same(uuids, later)
    assert.is_true(uuids[1] ~= uuids[2] and uuids[2] ~= uuids[3] and uuids[1] ~= uuids[3])
    assert(client:conversation():ask("q", lmm.video { frames = { JPEG, "spec/media/progressive.jpg" } }))
    local _, again = media_in(net.requests[3])
    assert.equal(uuids[1], again[1])
    local encode = core.base64.encode
    local one, two = encode(shell.read(JPEG)), encode(shell.read "spec/media/progressive.jpg")
    assert(client:conversation():ask("q", lmm.video("data:video/jpeg;base64," .. one .. "," .. two)))
    _, again = media_in(net.requests[4])
    assert.equal(uuids[1], again[1])
  end)

  it("may be frames that are taken out of a film when it is first sent", function()
    local net = fake.net { fake.whole "a" }
    local chat = connect(net):conversation()
    assert(chat:ask("q", lmm.video("spec/media/clip.mkv", { frames = 2 })))
    assert(chat:ask "q")
    assert.same({ "whole", "null" }, sent(net))
  end)

  it("is known by its bytes, whatever part they come in, and another client has another uuid for it", function()
    local net = fake.net { fake.whole "a" }
    local client = connect(net)
    assert(client:conversation():ask(lmm.image(PNG)))
    assert(client:conversation():ask(lmm.image { bytes = shell.read(PNG) }))
    assert(client:conversation():ask(lmm.image(PNG), lmm.image(JPEG), lmm.image(PNG)))
    assert(connect(net):conversation():ask(lmm.image(PNG)))
    -- That the bytes are the same is known once they were hashed: these two are parts of their own.
    assert.same({ "whole", "whole", "whole whole whole", "whole" }, sent(net))
    local uuids = {}
    for i = 1, 4 do
      local _, found = media_in(net.requests[i])
      uuids[i] = found[1]
    end
    assert.same({ uuids[1], uuids[1] }, { uuids[2], uuids[3] })
    assert.not_equal(uuids[1], uuids[4])
  end)

  it("has another uuid where the server is to process it otherwise", function()
    local net = fake.net { fake.whole "a" }
    local chat = connect(net):conversation()
    assert(chat:ask(lmm.image(PNG)))
    assert(chat:ask("q", { mm_processor_kwargs = { min_pixels = 4 } }))
    assert(chat:ask("q", { mm_processor_kwargs = { min_pixels = 4 } }))
    assert.same({ "whole", "whole", "null" }, sent(net))
  end)

  it("is resent whole where the server has lost it, once and unseen", function()
    local net = fake.net { fake.whole "a", MISS, fake.whole "b", fake.whole "c" }
    local chat = connect(net, { retry = false }):conversation()
    assert(chat:ask("q", lmm.image(PNG)))
    local reply = assert(chat:ask "q")
    assert.same({ "b", 1 }, { reply.text, reply.attempts })
    assert(chat:ask "q")
    assert.same({ "whole", "null", "whole", "null" }, sent(net))
  end)

  it("is resent whole whatever a server says that does not have it, in the end at once", function()
    local refusal = { status = 400, json = { error = { code = 400, message = "Failed to apply Processor on None" } } }
    local replies = { fake.whole "a" }
    for _ = 1, 8 do
      replies[#replies + 1] = refusal
      replies[#replies + 1] = fake.whole "b"
    end
    replies[#replies + 1] = fake.whole "c"
    local net = fake.net(replies)
    local chat = connect(net, { retry = false }):conversation()
    assert(chat:ask("q", lmm.image(PNG)))
    for _ = 1, 9 do assert(chat:ask "q") end
    assert.same("whole" .. (" null whole"):rep(8) .. " whole", table.concat(sent(net), " "))
  end)

  it("keeps the refusal of a request that is refused whole, too", function()
    local refusal = { status = 400, json = { error = { code = 400, message = "too long" } } }
    local net = fake.net { fake.whole "a", refusal, refusal, fake.whole "b" }
    local chat = connect(net, { retry = false }):conversation()
    assert(chat:ask("q", lmm.image(PNG)))
    local _, message, err = chat:ask "q"
    assert.matches("too long", message)
    assert.equal(1, err.attempts)
    assert(chat:ask "q")
    assert.same({ "whole", "null", "whole", "null" }, sent(net)) -- whether it was lost, that does not tell
  end)

  it("is not resent where another field is refused", function()
    for _, param in ipairs { "temperature", "input_tokens", "image" } do
      local refusal = { status = 400, json = { error = { code = 400, message = "no", param = param } } }
      local net = fake.net { fake.whole "a", refusal, fake.whole "b" }
      local chat = connect(net, { retry = false }):conversation()
      assert(chat:ask("q", lmm.image(PNG)))
      assert.is_nil((chat:ask "q"))
      assert(chat:ask "q")
      assert.same({ "whole", "null", "null" }, sent(net))
    end
  end)

  it("is resent where the refusal is of a part", function()
    for _, param in ipairs { "type", "image_url", "body.messages.0.content.1", "messages[0].content[1].image_url" } do
      local refusal = { status = 400, json = { error = { code = 400, message = "no", param = param } } }
      local net = fake.net { fake.whole "a", refusal, fake.whole "b" }
      local chat = connect(net, { retry = false }):conversation()
      assert(chat:ask("q", lmm.image(PNG)))
      assert(chat:ask "q")
      assert.same({ "whole", "null", "whole" }, sent(net))
    end
  end)

  it("is resent where a stream tells of the loss, and is not taken for held before", function()
    local miss = fake.streamed { fake.delta { role = "assistant", content = "" }, fake.event(MISS.json) }
    local net = fake.net { miss, fake.answer "a", miss, fake.answer "b", fake.answer "c" }
    local chat = connect(net, { retry = false }):conversation()
    assert.is_nil((chat:stream("q", lmm.image(PNG)):reply()))
    for _, text in ipairs { "a", "b", "c" } do
      assert.equal(text, assert(chat:stream("q", text == "a" and lmm.image(PNG) or nil):reply()).text)
    end
    assert.same({ "whole", "whole", "null", "whole", "null" }, sent(net))
  end)

  it("is told as lost where it was sent whole", function()
    local net = fake.net { MISS }
    local _, message = connect(net, { retry = false }):conversation():ask("q", lmm.image(PNG))
    assert.matches("Cache miss for image", message)
    assert.equal(1, #net.requests)
  end)

  it("that was lost is resent in a stream, too, before stream_options are given up", function()
    local refusal = { status = 400, json = { error = { code = 400, message = "stream_options: no" } } }
    local net = fake.net { fake.answer "a", MISS, refusal, fake.answer "b" }
    local chat = connect(net, { retry = false }):conversation()
    assert(chat:stream("q", lmm.image(PNG)):reply())
    assert.equal("b", assert(chat:stream "q":reply()).text)
    assert.same({ "whole", "null", "whole", "whole" }, sent(net))
    assert.is_nil(net.requests[4].body.stream_options)
  end)

  it("goes whole again where it was not taken", function()
    local net = fake.net { { status = 400, json = { error = { message = "too long", code = 400 } } }, fake.whole "a" }
    local chat, picture = connect(net):conversation(), lmm.image(PNG)
    chat:ask("q", picture)
    assert(chat:ask("q", picture))
    assert.same({ "whole", "whole" }, sent(net))
  end)

  it("goes whole always without a cache: where the caller wants none, and for other servers", function()
    for _, opts in ipairs { { media_cache = false }, { dialect = "generic" }, { dialect = "llama.cpp" } } do
      local net = fake.net { fake.whole "a" }
      local chat = connect(net, opts):conversation()
      assert(chat:ask("q", lmm.image(PNG)))
      assert(chat:ask "q")
      local _, uuids = media_in(net.requests[2])
      assert.same({ { "whole", "whole" }, {} }, { sent(net), uuids })
    end
  end)

  it("keeps the uuid of a caller who vouches for it, and no other", function()
    local net = fake.net { fake.whole "a" }
    local chat = connect(net):conversation()
    assert.raises("servers show the medium that they know by a uuid", lmm.image, PNG, { uuid = "mine" })
    assert.raises("trust_uuid is true or false", lmm.image, PNG, { trust_uuid = 1 })
    for _, wrong in ipairs { 5, "" } do
      assert.raises("uuid is a text", lmm.image, PNG, { uuid = wrong, trust_uuid = true })
    end
    assert(chat:ask("q", lmm.image(PNG, { uuid = "mine", trust_uuid = true })))
    assert(chat:ask "q")
    local _, uuids = media_in(net.requests[2])
    assert.same({ { "whole", "whole" }, { "mine" } }, { sent(net), uuids })
  end)

  it("of a file that changed is an error, not the old picture", function()
    local path = os.tmpname()
    local function write(bytes)
      local file = assert(io.open(path, "wb"))
      file:write(bytes)
      file:close()
    end
    write(shell.read(PNG))
    local net = fake.net { fake.whole "a" }
    local chat = connect(net):conversation()
    assert(chat:ask("q", lmm.image(path)))
    write(shell.read(JPEG))
    assert(chat:ask("now", lmm.image(path)))
    assert.same({ "whole", "null whole" }, sent(net))
    local _, uuids = media_in(net.requests[2])
    assert.not_equal(uuids[1], uuids[2])
    os.remove(path)
  end)

  it("costs its bytes once in many turns", function()
    local net = fake.net { fake.whole "a" }
    local chat = connect(net):conversation()
    local bytes = shell.read(PNG) .. ("\0"):rep(100000)
    assert(chat:ask("q", lmm.image({ bytes = bytes }, { check = false })))
    for _ = 1, 19 do assert(chat:ask "q") end
    local sum, told = 0, 0
    for _, request in ipairs(net.requests) do sum = sum + #request.text end
    for _ = 1, 3 do told = told + assert(chat:ask "q").usage.bytes_sent end
    local last = 0
    for i = 21, 23 do last = last + #net.requests[i].text end
    assert.equal(last, told)
    assert.truthy(sum < 1.2 * #core.base64.encode(bytes))
  end)
end)

describe("over many turns with a server that keeps few media", function()
  --- A PNG whose bytes are its own.
  local function picture(i)
    return { bytes = shell.read(PNG) .. ("%04d"):format(i) .. ("\0"):rep(5000) }
  end

  --- What the mock says of a picture.
  local function sum_of(source)
    return require("lmm.digest").new():update(source.bytes):finish():hex()
  end

  it("each picture is the one that was asked about, whatever was evicted or lost", function()
    local server = assert(mock.start { delay = 0, media_cache = 6 })
    local client = lmm.connect { base_url = server.url, model = "mock", retry = false }
    local sources, parts = {}, {}
    for i = 1, 8 do
      sources[i] = picture(i)
      parts[i] = lmm.image(sources[i], { check = false })
    end
    local seed = 7
    local function random(count)
      seed = (seed * 1103515245 + 12345) % 2147483648
      return math.floor(seed / 65536) % count + 1
    end
    local briefly = 0
    for turn = 1, 150 do
      if turn == 75 then -- the server starts again, and knows nothing
        local port = server.port
        server.stop()
        server = assert(mock.start { delay = 0, media_cache = 6, port = port })
      end
      local chat, asked = client:conversation(), {}
      for i = 1, random(3) do asked[i] = random(#parts) end
      local given = {}
      for i, number in ipairs(asked) do given[i] = parts[number] end
      local reply = assert(chat:ask("What?", (unpack or table.unpack)(given))) -- luacheck: ignore
      local text = reply.text
      for i, number in ipairs(asked) do
        assert.truthy(text:find("image " .. i .. ": [^\n]*sha256 " .. sum_of(sources[number])), text)
      end
      if reply.usage.bytes_sent < 5000 then briefly = briefly + 1 end
    end
    assert.truthy(briefly > 10, briefly)
    client:close()
    server.stop()
  end)
end)
