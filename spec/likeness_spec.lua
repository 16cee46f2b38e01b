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
          -- The mock keeps no files: that is vLLM's, and so its refusal.
          if form == false then assert.equal("invalid", err.kind) end
          if form and form ~= "file" then assert(reply, message) end
        end
        assert.equal(name, client:known_dialect().name)
        client:close()
        server.stop()
      end)
    end
  end

  it("says which servers it can be like", function()
    local _, message = mock.start { like = "lama" }
    assert.matches("there is no server 'lama' to be like %(there are: azure, gemini, ", message)
  end)
end)
