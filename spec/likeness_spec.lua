-- The built-in server in the place of others: each dialect's client is understood by a server that is like it.
local dialects = require("lmm.request").dialects
local lmm = require "lmm"

local PNG, WAV = "spec/media/picture.png", "spec/media/sound.wav"
local MP4, PDF = "spec/media/clip.mp4", "spec/media/document.pdf"

describe("the built-in server", function()
  local mock = require "lmm.mock"

  --- Servers that say of themselves what they are.
  local tells = { litellm = true, ["llama.cpp"] = true, lmstudio = true, ollama = true, sglang = true, vllm = true }

  for _, name in ipairs(dialects.names()) do
    if name ~= "generic" then
      it("can be like " .. name .. ", and takes what is sent to it", function()
        local server = assert(mock.start { delay = 0, like = name })
        local client = lmm.connect { base_url = server.url, model = "mock",
          dialect = not tells[name] and name or nil }
        assert(client:conversation():stream("q", lmm.image(PNG)):reply())
        for kind, path in pairs { audio = WAV, video = MP4, file = PDF } do
          local form = (dialects.named(name).forms or {})[kind]
          local reply, message, err = client:conversation():ask("q", lmm[kind](path))
          if form == false then assert.equal("invalid", err.kind) else assert(reply, message) end
        end
        assert.equal(name, client:known_dialect().name)
        client:close()
        server.stop()
      end)
    end
  end

  --- Whether a server that is like `name` takes a picture, whatever its dialect says.
  local function takes(client, picture, role)
    local content = { { type = "text", text = "q" }, picture }
    local call = { id = "c", type = "function", ["function"] = { name = "look", arguments = "{}" } }
    local messages = role == "tool" and { { role = "user", content = "q" },
      { role = "assistant", content = "", tool_calls = { call } },
      { role = "tool", tool_call_id = "c", content = content },
    } or { { role = "user", content = content } }
    local reply, _, err = client:chat { messages = messages }
    assert(reply or err.status == 400, err)
    return reply ~= nil
  end

  for _, name in ipairs(dialects.names()) do
    if name ~= "generic" then
      it("takes the pictures that " .. name .. " is known to take, and no others", function()
        local server, dialect = assert(mock.start { delay = 0, like = name }), dialects.named(name)
        local client = lmm.connect { base_url = server.url, model = "mock", dialect = "generic" }
        for mime, file in pairs { ["image/png"] = "picture.png", ["image/bmp"] = "picture.bmp",
          ["image/webp"] = "lossy.webp", ["image/tiff"] = "big.tiff", ["image/heic"] = "picture.heic" } do
          local expected = (dialect.decodes or dialects.named("vllm").decodes)[mime] == true
          assert.equal(expected, takes(client, lmm.image("spec/media/" .. file, { check = false })), mime)
        end
        assert.equal(dialect.tool_media ~= "user", takes(client, lmm.image(PNG), "tool"))
        assert.equal(dialect.fetches ~= false, takes(client, lmm.image "http://host/a.png"))
        client:close()
        server.stop()
      end)
    end
  end

  it("counts the tokens of a medium that it has kept, and keeps it for its kind alone", function()
    local server = assert(mock.start { delay = 0 })
    local client = lmm.connect { base_url = server.url, model = "mock", dialect = "vllm" }
    local function ask(part)
      return client:chat { messages = { { role = "user", content = { { type = "text", text = "q" }, part } } } }
    end
    local whole = assert(ask(lmm.image(PNG, { uuid = "u", trust_uuid = true })))
    local brief = assert(ask(lmm.image(nil, { uuid = "u" })))
    assert.same({ whole.usage.prompt_tokens, whole.text }, { brief.usage.prompt_tokens, brief.text })
    assert.refused("Cache miss for video at index 0", ask(lmm.video(nil, { uuid = "u" })))
    client:close()
    server.stop()
  end)

  it("says which servers it can be like", function()
    local _, message = mock.start { like = "lama" }
    assert.matches("there is no server 'lama' to be like %(there are: azure, gemini, ", message)
  end)
end)
