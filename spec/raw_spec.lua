-- The scripted raw server does what its scenario says, as curl sees it, and records what came.

local curl = require "spec.support.curl"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"

local function names(events)
  local out = {}
  for i, event in ipairs(events) do out[i] = event.event .. " " .. event.connection end
  return table.concat(out, ", ")
end

local ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

-- curl's exit codes: 18 partial file, 52 empty reply, 56 failure in receiving.
local endings = {
  { "an answer", { { await = "request" }, { send = ANSWER } }, "hello", 0 },
  { "an answer, byte by byte", { { await = "head" }, { dribble = ANSWER, every = 0.001 } }, "hello", 0 },
  { "an answer cut short", { { await = "request" }, { send = ANSWER:sub(1, -3) }, { close = true } }, "hel", 18 },
  { "no answer", { { await = "request" }, { close = true } }, "", 52 },
  { "a reset", { { await = "request" }, { send = ANSWER:sub(1, -3) }, { reset = true } }, "hel", 56 },
  { "an answer late", { { await = "request" }, { pause = 0.05 }, { send = ANSWER }, { hold = true } }, "hello", 0 },
}

describe("the raw server", function()
  for _, row in ipairs(endings) do
    local name, scenario, body, code = row[1], row[2], row[3], row[4]
    it("gives " .. name, function()
      local server = raw.start { scenario }
      local got, ended = curl(server.url .. "/models")
      assert.same({ body, code }, { got, ended })
      assert.equal(0, server:wait("request")[1].bytes)
      server:stop()
    end)
  end

  it("records what came, and in which order", function()
    local server = raw.start {
      { { await = "request" }, { send = ANSWER }, { await = "request" }, { send = ANSWER }, { await = "close" } },
    }
    local url = server.url .. "/chat"
    assert.equal("hellohello", curl("-d abc " .. url .. " --next -s -d defg " .. url))
    assert.equal("EOF", server:wait("closed")[1].how)
    local events = server:events()
    assert.equal("accepted 1, head 1, request 1, head 1, request 1, closed 1", names(events))
    assert.same({ 3, 4 }, { events[3].bytes, events[5].bytes })
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", events[3].sha256)
    assert.matches("^POST /v1/chat HTTP/1.1\r\n.*\r\n\r\nabcPOST .*\r\n\r\ndefg$", server:received())
    server:stop()
  end)

  it("serves connection after connection, the last scenario again and again", function()
    local server = raw.start {
      { { await = "request" }, { close = true } },
      { { await = "request" }, { send = ANSWER } },
    }
    local codes = {}
    for i = 1, 3 do
      local _, code = curl(server.url)
      codes[i] = code
    end
    assert.same({ 52, 0, 0 }, codes)
    assert.equal(3, #server:wait("accepted", 3))
    server:stop()
  end)

  it("notices a client that goes away", function()
    local server = raw.start { { { await = "request" }, { hold = true } } }
    local _, code = curl("--max-time 0.2 " .. server.url)
    assert.equal(28, code)
    assert.equal(1, server:wait("closed")[1].connection)
    server:stop()
  end)

  it("takes a large answer and a large body", function()
    local big = ("0123456789abcdef"):rep(256 * 1024)
    local server = raw.start {
      { { await = "request" }, { send = "HTTP/1.1 200 OK\r\nContent-Length: " .. #big .. "\r\n\r\n" .. big } },
    }
    local name = shell.write(os.tmpname(), big)
    assert.truthy(curl("-H Expect: --data-binary @" .. name .. " " .. server.url) == big)
    assert.equal(#big, server:wait("request")[1].bytes)
    assert.truthy(server:received():sub(-#big) == big)
    os.remove(name)
    server:stop()
  end)

  it("removes its record when it is stopped", function()
    local server = raw.start { { { await = "request" }, { send = ANSWER } } }
    curl(server.url)
    server:wait "request"
    server:stop()
    assert.matches("No such file", shell.output("ls " .. server.prefix .. "* 2>&1"))
  end)
end)
