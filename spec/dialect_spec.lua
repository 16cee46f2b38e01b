-- Dialects: how a server is known, what parts become for it, and what is refused before anything is sent.
local calling = require "spec.support.calling"
local dialects = require("lmm.request").dialects
local fake = require "spec.support.fake"
local lmm = require "lmm"
local shell = require "spec.support.shell"

local PNG, WAV = "spec/media/picture.png", "spec/media/sound.wav"
local MP4, PDF = "spec/media/clip.mp4", "spec/media/document.pdf"

--- A reply with a list of models of this owner.
local function listing(owner, headers)
  return { headers = headers, json = { object = "list", data = { { id = "m", owned_by = owner } } } }
end

--- The client that has asked once, having asked for the list first.
local function known_by(owner, headers)
  local net = fake.net { listing(owner, headers), fake.whole "a" }
  local client = net:connect { model = "", dialect = "" }
  assert(client:chat { messages = { { role = "user", content = "q" } } })
  return client
end

describe("a dialect is known", function()
  for owner, name in pairs { vllm = "vllm", sglang = "sglang", llamacpp = "llama.cpp", library = "ollama",
    organization_owner = "lmstudio", ["openai"] = "generic" } do
    it("by whose the models are: " .. owner, function()
      assert.equal(name, known_by(owner):known_dialect().name)
    end)
  end

  it("by a header that only it sends", function()
    assert.equal("litellm", known_by("openai", { ["x-litellm-version"] = "1" }):known_dialect().name)
  end)

  for url, name in pairs {
    ["https://api.openai.com/v1"] = "openai",
    ["https://x.openai.azure.com/openai/deployments/d?api-version=1"] = "azure",
    ["https://api.mistral.ai/v1"] = "mistral",
    ["https://generativelanguage.googleapis.com/v1beta/openai"] = "gemini",
    ["https://openrouter.ai/api/v1"] = "openrouter",
  } do
    it("by the URL: " .. url, function()
      assert.equal(name, lmm.connect { base_url = url, transport = {} }:known_dialect().name)
    end)
  end

  it("by the caller", function()
    assert.equal("ollama", fake.net({}):connect { dialect = "ollama" }:known_dialect().name)
    local own = { name = "mine", forms = { video = false } }
    local _, message = fake.net({}):connect { dialect = own }:conversation():ask("q", lmm.video(MP4))
    assert.equal("'clip.mp4' cannot be sent: mine takes no video (send some of its frames as pictures)", message)
    assert.raises("there is no dialect 'olama' %(there are: azure, gemini", lmm.connect, { dialect = "olama" })
    assert.raises("a dialect has a name", lmm.connect, { dialect = {} })
    for problem, wrong in pairs {
      ["unknown option 'form' %(did you mean 'forms'"] = { form = {} },
      ["'fetches' must be a boolean, not a string"] = { fetches = "no" },
      ["movie_url is no form of a part, in 'video'"] = { forms = { video = "movie_url" } },
      ["true is no form of a part, in 'file'"] = { forms = { file = true } },
      ["unknown option 'film'"] = { forms = { film = false } },
      ["'schema' must be a table, not a string"] = { structured = { schema = "response_format" } },
      ["'regex' is a list of names"] = { structured = { regex = {} } },
      ["tool_media is \"tool\" or \"user\", not 'nobody'"] = { tool_media = "nobody" },
    } do
      wrong.name = "x"
      assert.raises(problem, lmm.connect, { dialect = wrong })
    end
    for _, name in ipairs(dialects.names()) do -- which says, too, that the tables of data are right
      assert.equal(name, fake.net({}):connect({ dialect = dialects.named(name) }):known_dialect().name)
    end
  end)

  it("by its list of models, where a medium needs it and nobody has asked for the list, once", function()
    local net = fake.net { listing "llamacpp", fake.whole "a", fake.whole "b" }
    local client = net:connect { dialect = "" }
    assert(client:conversation():ask("q", lmm.audio(WAV)))
    assert(client:conversation():ask("q", lmm.audio(WAV)))
    assert.same({ "GET", "POST", "POST" }, { net.requests[1].method, net.requests[2].method, net.requests[3].method })
    assert.same({ "input_audio", "wav" }, { net.requests[2].body.messages[1].content[2].type,
      net.requests[2].body.messages[1].content[2].input_audio.format })
  end)

  it("as far as it can be: a list that fails leaves the usual forms, and is not asked for again", function()
    local net = fake.net { { status = 404, body = "no" }, fake.whole "a", fake.whole "b" }
    local chat = net:connect { dialect = "" }:conversation()
    assert(chat:ask("q", lmm.audio(WAV)))
    assert(chat:ask "q")
    assert.equal("audio_url", net.requests[2].body.messages[1].content[2].type)
    assert.equal(3, #net.requests)
  end)

  --- The requests of a client that sends a sound in each of its asks, by their methods.
  local function methods(replies, asks, between)
    local net = fake.net(replies)
    local client = net:connect { dialect = "" }
    for _ = 1, asks do
      assert(client:conversation():ask("q", lmm.audio(WAV)))
      if between then fake.loop:wait({}, fake.loop:now() + between) end
    end
    local list = {}
    for i, request in ipairs(net.requests) do list[i] = request.method end
    return table.concat(list, " "), client:known_dialect()
  end

  it("by a later list, where the server was not ready to give one", function()
    local order, dialect = methods({ { status = 503, body = "" }, fake.whole "a", listing "llamacpp", fake.whole "b" },
      2)
    assert.same({ "GET POST GET POST", "llama.cpp" }, { order, dialect.name })
  end)

  it("by a list that does not come: not waited for again and again", function()
    local order, dialect = methods({ { hang = true }, fake.whole "a", fake.whole "b" }, 3)
    assert.same({ "GET POST POST POST", nil }, { order, dialect })
    order, dialect = methods({ { hang = true }, fake.whole "a", listing "llamacpp", fake.whole "b" }, 2, 100)
    assert.same({ "GET POST GET POST", "llama.cpp" }, { order, dialect.name })
  end)

  it("no sooner than it is needed: text is sent at once, a medium of any kind once it is known", function()
    for _, picture in ipairs { lmm.image(PNG), lmm.image "http://h/a.png" } do
      local net = fake.net { fake.whole "a", listing "litellm", fake.whole "b" }
      local client = net:connect { dialect = "" }
      assert(client:conversation():ask "q")
      for _ = 1, 2 do assert(client:chat { messages = { { role = "user", content = { picture } } } }) end
      local order = {}
      for i, request in ipairs(net.requests) do order[i] = request.method end
      assert.same({ "POST", "GET", "POST", "POST" }, order)
    end
  end)

  it("before anything is sent that it would refuse", function()
    for _, model in ipairs { "m", "" } do
      local net = fake.net { listing "library", fake.whole "a" }
      local client = net:connect { dialect = "", model = model }
      assert.refused("Ollama fetches nothing", client:conversation():ask("q", lmm.image "http://h/a.png"))
      assert.same({ "GET" }, { net.requests[1].method, net.requests[2] })
    end
  end)

  it("before a picture that a tool gave is put where it takes none", function()
    local litellm = listing("openai", { ["x-litellm-version"] = "1" })
    local net = fake.net { calling.whole { "look" }, litellm, fake.whole "a" }
    local chat = net:connect { dialect = "", media_cache = false }:conversation()
    chat:tool({ name = "look" }, function() return lmm.image "http://h/a.png" end)
    assert(chat:ask "q")
    local messages = net.requests[3].body.messages
    assert.same({ "tool", "string", "user" }, { messages[3].role, type(messages[3].content), messages[4].role })
  end)

  it("and its files are tables that say the same name", function()
    for _, name in ipairs(dialects.names()) do
      local dialect = dialects.named(name)
      assert.equal(name, dialect.name)
      assert.equal("string", type(dialect.title))
    end
  end)
end)

describe("a part for a dialect", function()
  --- What is sent of a part, or the message.
  local function sent(dialect, part)
    local net = fake.net { fake.whole "a" }
    local client = net:connect { dialect = dialect }
    local reply, message = client:chat { messages = { { role = "user", content = { part } } } }
    return reply and net.requests[1].body.messages[1].content[1] or message
  end

  for _, row in ipairs {
    { "vllm", "audio", WAV, "audio_url" }, { "llama.cpp", "audio", WAV, "input_audio" },
    { "openai", "audio", WAV, "input_audio" }, { "llama.cpp", "video", MP4, "input_video" },
    { "sglang", "video", MP4, "video_url" }, { "openai", "file", PDF, "file" }, { "ollama", "image", PNG, "image_url" },
  } do
    it(("%s has the form of %s"):format(row[2], row[1]), function()
      assert.equal(row[4], sent(row[1], lmm[row[2]](row[3])).type)
    end)
  end

  it("has the form that the caller named, unless the dialect has another", function()
    for name, form in pairs { vllm = "input_audio", generic = "input_audio", openai = "input_audio",
      sglang = "audio_url" } do
      local part = sent(name, lmm.audio(WAV, { format = "wav" }))
      assert.equal(form, part.type)
      assert.is_nil(part.format)
      assert.equal(form == "input_audio" and "wav" or nil, part[form].format)
    end
  end)

  for name, row in pairs {
    ["a file for vLLM"] = { "vllm", lmm.file(PDF),
      "'document.pdf' cannot be sent: vLLM takes no files (send text as text, and the pages of a PDF as pictures, by "
        .. "lmm.pages)" },
    ["video for Ollama"] = { "ollama", lmm.video(MP4),
      "'clip.mp4' cannot be sent: Ollama takes no video (send some of its frames as pictures)" },
    ["a URL for Ollama"] = { "ollama", lmm.image "http://h/a.png",
      "the image cannot be sent: Ollama fetches nothing: read it and pass { bytes = ... }" },
    ["a BMP for OpenAI"] = { "openai", lmm.image "spec/media/picture.bmp", "'picture.bmp' is image/bmp, which "
      .. "OpenAI does not decode: PNG and JPEG are taken everywhere (check = false sends it as it is)" },
    ["a film by its URL for llama-server"] = { "llama.cpp", lmm.video "http://h/a.mp4",
      "the video cannot be sent: llama-server fetches no video by its URL: read it and pass { bytes = ... }" },
    ["a uuid for llama-server"] = { "llama.cpp", lmm.image(nil, { uuid = "u" }),
      "llama-server keeps no media under a uuid: pass the image itself" },
  } do
    it(name .. " is refused before anything is sent", function()
      assert.equal(row[3], sent(row[1], row[2]))
    end)
  end

  it("is sent as pictures where it is a video of frames and the server takes none", function()
    local jpeg = "spec/media/baseline.jpg"
    for _, name in ipairs { "ollama", "llama.cpp", "openai" } do
      local net = fake.net { fake.whole "a", fake.whole "b" }
      local chat = net:connect { dialect = name }:conversation()
      local film = lmm.video("spec/media/clip.mkv", { frames = 2 })
      assert(chat:ask("one", lmm.video { frames = { jpeg, jpeg, jpeg } }, "two", film))
      local content = net.requests[1].body.messages[1].content
      local types = {}
      for i, part in ipairs(content) do types[i] = part.type end
      assert.same({ "text", "image_url", "image_url", "image_url", "text", "image_url", "image_url" }, types)
      assert.equal(content[2].image_url.url, content[4].image_url.url)
      local base64 = content[7].image_url.url:match "^data:image/jpeg;base64,(.*)$"
      local bytes = assert(require("lmm.core").base64.decode(base64))
      assert.equal("image/jpeg", lmm.image({ bytes = bytes }).mime)
      assert.equal("video/jpeg", film.mime)
      assert(chat:ask "again") -- the history keeps the video
      assert.same({ "one", 4 }, { chat.messages[1].content[1].text, #chat.messages[1].content })
    end
    assert.equal("video_url", sent("vllm", lmm.video { frames = { jpeg } }).type)
  end)

  it("is converted where the server does not decode it, and the part says so", function()
    for dialect, path in pairs { ["llama.cpp"] = "spec/media/big.tiff", vllm = "spec/media/picture.heic" } do
      local part = lmm.image(path)
      local content = sent(dialect, part)
      assert.equal("data:image/jpeg;base64,", content.image_url.url:sub(1, 23))
      assert.same({ part.mime, "image/" .. path:match "[^.]+$" }, { part.converted, part.mime })
    end
    local webp = sent("llama.cpp", lmm.image "spec/media/lossy.webp")
    assert.matches("^data:image/jpeg;base64,", webp.image_url.url)
    assert.matches("^data:image/tiff;", sent("vllm", lmm.image "spec/media/big.tiff").image_url.url)
    local cut = lmm.image({ bytes = shell.read "spec/media/big.tiff":sub(1, 300) })
    assert.equal("the image, which llama-server does not decode, is damaged or cut short, and cannot be prepared: "
      .. "check = false takes what there is of it", (sent("llama.cpp", cut):gsub(" %(libvips says: .*", "")))
  end)

  it("goes as it is where the caller knows better", function()
    assert.equal("image_url", sent("llama.cpp", lmm.image("spec/media/big.tiff", { check = false })).type)
    assert.equal("image_url", sent("llama.cpp", lmm.image("spec/media/big.tiff", { mime = "image/tiff" })).type)
  end)

  it("has no stream_options where they are refused", function()
    local net = fake.net { fake.answer "a" }
    assert(net:connect { dialect = "mistral" }:conversation():stream "q":reply())
    assert.is_nil(net.requests[1].body.stream_options)
  end)
end)
