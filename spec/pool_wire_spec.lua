-- A pool of real servers: one is killed while many ask; of those in whose dialects a request cannot be said, none is
-- sent it.
local lmm = require "lmm"
local mock = require "lmm.mock"

describe("a pool of two servers", function()
  it("answers all, though one is killed in the middle, and takes it back", function()
    local one, other = assert(mock.start { delay = 0.002 }), assert(mock.start { delay = 0.002 })
    local client = lmm.connect { base_url = { one.url, other.url }, model = "mock" }
    local asks, answered = {}, 0
    for i = 1, 60 do
      asks[i] = function()
        local reply, _, err = client:conversation():ask("No. " .. i)
        answered = answered + 1
        if answered == 10 then os.execute("kill -9 " .. one.pid) end
        return reply, nil, err
      end
    end
    local replies, errors = lmm.gather(asks, { limit = 8 })
    assert.same({}, errors)
    for i = 1, 60 do assert.equal("question: No. " .. i, replies[i].text) end
    local states = client:servers()
    assert.same({ false, true, 0, 0 }, { states[1].alive, states[2].alive, states[1].running, states[2].running })
    local last = states[1].last_error -- what of this came last is chance
    assert(last.kind == "connect" or last.kind == "truncated", last.kind)
    assert.matches(one.url, last.message, 1, true)

    local again = assert(mock.start { delay = 0, port = one.port })
    client.loop:wait({}, client.loop:now() + states[1].retry_in)
    assert(client:chat { messages = { { role = "user", content = "q" } } })
    assert.is_true(client:servers()[1].alive)
    client:close()
    again.stop()
    one.stop()
    other.stop()
  end)
end)

describe("a pool of unlike servers", function()
  local film, PATH = nil, "spec/media/clip.mp4"
  local one, other

  setup(function()
    film = lmm.video(PATH)
    one, other = assert(mock.start { delay = 0 }), assert(mock.start { delay = 0 })
  end)
  teardown(function()
    one.stop()
    other.stop()
  end)

  local function connect(first, second)
    return lmm.connect { model = "mock", base_url = { { url = one.url, dialect = first },
      { url = other.url, dialect = second } } }
  end

  it("sends a part to one that takes it, whichever comes first", function()
    for _, row in ipairs { { "openai", "vllm", "other" }, { "vllm", "openai", "one" } } do
      local client = connect(row[1], row[2])
      for _ = 1, 4 do assert.matches("video 1: video/mp4", assert(client:conversation():ask("What?", film)).text) end
      local chat = client:conversation()
      for _ = 1, 4 do assert(chat:ask("Which?")) end
      assert.matches("video 1: video/mp4", assert(chat:ask("What?", film)).text)
      for _, state in ipairs(client:servers()) do assert.same({ 0, true, 0 },
        { state.running, state.alive, state.failures }) end
    end
  end)

  it("says of each why it does not, where none does", function()
    local client = connect("openai", "ollama")
    local _, message, err = client:conversation():ask("What?", film)
    local refusal = "%s: 'clip.mp4' cannot be sent: %s takes no video (send some of its frames as pictures)"
    assert.equal("no server takes the request: " .. refusal:format(one.url, "OpenAI") .. "; "
      .. refusal:format(other.url, "Ollama"), message)
    assert.same({ "invalid", false }, { err.kind, err.retryable })
  end)

  it("says so, too, where the one that would take it is dead", function()
    local client = lmm.connect { model = "mock", retry = false, base_url = { { url = one.url, dialect = "openai" },
      { url = "http://127.0.0.1:1/v1", dialect = "vllm", models = { "mock" } } } }
    local _, message, err = client:conversation():ask("What?", film)
    assert.matches("OpenAI takes no video.*127%.0%.0%.1:1", message)
    assert.equal("connect", err.kind)
  end)
end)
