--- The phases of a call, each held by a server that does not let it go on: connecting, the TLS handshake, sending,
--- waiting, receiving.
--
--     local phases = require "spec.support.phases"
--     local phase = phases.wait
--     local server = phase.start()
--     local client = lmm.connect { base_url = phases.url_of(phase, server), ... }

local assert = require "luassert"
local lmm = require "lmm"
local loops = require "lmm.loop"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local relay = require "spec.support.relay"

local phases = { names = { "connect", "tls", "send", "wait", "receive" } }

--- Those that calls by a transport have.
function phases.of(transport)
  local names = {}
  for _, name in ipairs(phases.names) do
    if transport ~= "tcp" or name ~= "tls" then names[#names + 1] = name end
  end
  return names
end

local LIMIT = 60 -- seconds: only ever reached by a failure

local large -- a file, once it is needed
local LARGEST = 60000000 -- bytes: more than has been sent when the server stops reading, less than there is

phases.EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local PIECE = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'

--- Lets tasks run until `fn` gives a true value.
function phases.run_until(what, fn)
  local loop = loops.current()
  local deadline = loop:now() + LIMIT
  while not fn() do
    if loop:now() > deadline then error("waited in vain for " .. what, 2) end
    loop:wait({}, loop:now() + 0.01)
  end
end

function phases.url_of(phase, server)
  local url = server.url or "http://127.0.0.1:" .. server.port .. "/v1"
  return (url:gsub("^http", phase.scheme or "http"))
end

--- What to ask.
function phases.question(phase)
  if phase.question then return phase.question() end
  return "q"
end

local function large_file()
  if not large then
    large = os.tmpname()
    os.execute("head -c 50000000 /dev/zero >" .. large)
  end
  return large
end

--- Removes what they have left.
function phases.remove()
  if large then os.remove(large) end
  large = nil
end

local function wait_closed(server) server:wait "closed" end

---@class lmm.spec.Phase
---@field start fun(next: table?): table     a server that keeps a call in it; steps for the connection after that one
---@field limits string[]                    the limits that may end it
---@field is_reached nil|fun(server): boolean  whether the server sees that the call is in it
---@field ended fun(server)                  waits until the server sees that the call is over
---@field partial string?                    the text that has arrived

phases.connect = {
  start = function() return assert(relay.start { mode = "full" }) end,
  limits = { "connect", "first", "total" },
  is_reached = function(server) return server:is_knocked_at() end,
  ended = function(server)
    process.wait_for("the end of knocking", function() return not server:is_knocked_at() end)
  end,
}

phases.tls = {
  start = function() return raw.start { { { hold = true } } } end,
  scheme = "https",
  limits = { "connect", "first", "total" },
  is_reached = function(server) return #server:seen "accepted" > 0 and server:received() ~= "" end,
  ended = wait_closed,
}

phases.send = {
  start = function() return assert(relay.start { mode = "stall" }) end,
  question = function() return "What is in it?", lmm.file(large_file()) end,
  limits = { "first", "total" },
  is_reached = function(server) return server:events()[2] == "stalled 1" end,
  ended = function(server)
    server:go_on() -- what is on its way comes before the end
    server:wait "closed 1"
    assert.truthy(#server:received() < LARGEST, "everything was sent")
  end,
}

phases.wait = {
  start = function(after) return raw.start { { { await = "request" }, { hold = true } }, after } end,
  limits = { "first", "total" },
  is_reached = function(server) return #server:seen "request" > 0 end,
  ended = wait_closed,
}

phases.receive = {
  start = function(after)
    return raw.start { { { await = "request" }, { send = phases.EVENTS .. PIECE }, { hold = true } }, after }
  end,
  limits = { "idle", "total" },
  partial = "a",
  ended = wait_closed,
}

return phases
