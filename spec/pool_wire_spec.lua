-- A pool of real servers, of which one is killed while many ask.
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
    assert.equal("connect", states[1].last_error.kind)

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
