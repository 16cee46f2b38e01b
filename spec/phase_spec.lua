-- Time limits and cancelling in each phase of a call, on real sockets: the look-up of the name, connecting, the TLS
-- handshake, sending, waiting, and receiving.
local lmm = require "lmm"
local loops = require "lmm.loop"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local relay = require "spec.support.relay"
local test = require "spec.support.test"

local PATIENCE = 60 -- seconds: only ever reached by a failure

local function with(server, fn)
  local ok, err = xpcall(function() fn(server) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

--- Lets tasks run until `fn` gives a true value.
local function run_until(what, fn)
  local loop = loops.current()
  local deadline = loop:now() + PATIENCE
  while not fn() do
    if loop:now() > deadline then error("waited in vain for " .. what, 2) end
    loop:wait({}, loop:now() + 0.01)
  end
end

-- ---- the phases

local large = os.tmpname()
os.execute("head -c 50000000 /dev/zero >" .. large)
local LARGEST = 60000000 -- bytes: more than has been sent when the server stops reading, less than there is

local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local PIECE = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
local ROLE = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'

local function url_of(server)
  return server.url or "http://127.0.0.1:" .. server.port .. "/v1"
end

---@class lmm.spec.Phase
---@field start fun(): table                 a server that keeps a call in it
---@field limits table<string, boolean>      the limits that may end it
---@field is_reached fun(server): boolean    whether the server sees that the call is in it
---@field ended fun(server)                  waits until the server sees that the call is over

local function wait_closed(server) server:wait "closed" end

local phases = {
  connect = {
    start = function() return assert(relay.start { mode = "full" }) end,
    limits = { "connect", "first", "total" },
    is_reached = function(server) return server:is_knocked_at() end,
    ended = function(server)
      process.wait_for("the end of knocking", function() return not server:is_knocked_at() end)
    end,
  },
  tls = {
    start = function() return raw.start { { { hold = true } } } end,
    scheme = "https",
    limits = { "connect", "first", "total" },
    is_reached = function(server) return #server:seen "accepted" > 0 and server:received() ~= "" end,
    ended = wait_closed,
  },
  send = {
    start = function() return assert(relay.start { mode = "stall" }) end,
    question = function() return "What is in it?", lmm.file(large) end,
    limits = { "first", "total" },
    is_reached = function(server) return server:events()[2] == "stalled 1" end,
    ended = function(server)
      server:go_on() -- what is on its way comes before the end
      server:wait "closed 1"
      test.ok(#server:received() < LARGEST, "everything was sent")
    end,
  },
  wait = {
    start = function() return raw.start { { { await = "request" }, { hold = true } } } end,
    limits = { "first", "total" },
    is_reached = function(server) return #server:seen "request" > 0 end,
    ended = wait_closed,
  },
  receive = {
    start = function() return raw.start { { { await = "request" }, { send = EVENTS .. PIECE }, { hold = true } } } end,
    limits = { "idle", "total" },
    partial = "a",
    ended = wait_closed,
  },
}

local texts = {
  connect = "^could not connect to %s within 0%%.3 s %%(timeout%%.connect sets this limit%%)$",
  first = "^no answer from %s within 0%%.3 s %%(timeout%%.first sets this limit%%)$",
  idle = "^the answer from %s stopped for 0%%.3 s %%(timeout%%.idle sets this limit%%)$",
  total = "^no complete answer from %s within 0%%.3 s %%(timeout%%.total sets this limit%%)$",
}

local function new_chat(phase, server, timeout)
  local url = url_of(server):gsub("^http", phase.scheme or "http")
  local client = lmm.connect { base_url = url, model = "m", retry = false, timeout = timeout }
  return client:conversation { system = "Be brief." }, url
end

local function question(phase)
  if phase.question then return phase.question() end
  return "q"
end

for _, name in ipairs { "connect", "tls", "send", "wait", "receive" } do
  local phase = phases[name]
  for _, limit in ipairs(phase.limits) do
    test.case(("timeout.%s in the phase %s"):format(limit, name), function()
      with(phase.start(), function(server)
        local chat, url = new_chat(phase, server, { [limit] = 0.3 })
        local pattern = texts[limit]:format((url:gsub("%p", "%%%0")))
        local err = test.refused(pattern, (chat:stream(question(phase))):reply())
        test.equal({ err.kind, err.phase, err.limit, err.attempts, err.partial },
          { "timeout", name, limit, 1, phase.partial or "" })
        test.equal(err.retryable, limit ~= "total" and name ~= "receive")
        test.equal(#chat.messages, 1)
      end)
    end)
  end

  test.case("cancelling in the phase " .. name, function()
    with(phase.start(), function(server)
      local chat = new_chat(phase, server)
      local result, is_receiving
      lmm.go(function()
        local stream = chat:stream(question(phase))
        local piece, message, err = stream:next()
        is_receiving = piece ~= nil
        if piece then return stream:next() end
        return piece, message, err
      end, function(...) result = { ... } end)
      run_until("the phase " .. name, function()
        if phase.is_reached then return phase.is_reached(server) end
        return is_receiving
      end)
      test.equal(result, nil)
      chat:cancel()
      run_until("the end of the call", function() return result end)
      test.equal({ result[1], result[2], result[3], result[4].kind, result[4].partial },
        { true, nil, "the request was cancelled", "cancelled", phase.partial or "" })
      phase.ended(server)
      test.equal(#chat.messages, 1)
      test.equal(chat.messages[1].content, "Be brief.")
    end)
  end)
end

test.case("bytes without content do not hold off timeout.first", function()
  with(raw.start { { { await = "request" }, { send = EVENTS .. ROLE }, { hold = true } } }, function(server)
    local chat = new_chat({}, server, { first = 0.3 })
    local err = test.refused("^no answer from ", (chat:stream "q"):reply())
    test.equal({ err.kind, err.phase, err.limit, err.retryable }, { "timeout", "receive", "first", false })
  end)
end)

os.remove(large)

-- ---- the look-up of a name

-- Runs with an /etc/resolv.conf of its own, whose name server never answers. Tells what it saw, a line each.
local PROGRAM = [[
local queries, server = ...
local lmm = require "lmm"
local loop = require "lmm.loop".current()
local URL = "http://server.invalid/v1"

local function asked()
  local file = io.open(queries)
  local count = select(2, file:read "*a":gsub("query", ""))
  file:close()
  return count
end

local function tell(_, message, err)
  print(err.kind, err.phase or "-", err.limit or "-", err.attempts or "-", message)
end

for _, limit in ipairs { "connect", "first", "total" } do
  local client = lmm.connect { base_url = URL, model = "m", retry = false, timeout = { [limit] = 0.3 } }
  tell(client:chat { messages = {} })
end

local before, result = asked(), nil
local chat = lmm.connect({ base_url = URL:gsub("server", "other"), model = "m" }):conversation()
lmm.go(function() return chat:ask "q" end, function(_, ...) result = { ... } end)
while asked() == before do loop:wait({}, loop:now() + 0.01) end
chat:cancel()
while not result do loop:wait({}, loop:now() + 0.01) end
tell(result[1], result[2], result[3])
print(#chat.messages)
print(lmm.connect({ base_url = server }):models()[1].id) -- meanwhile others are answered
chat:ask("q", { timeout = 0.1 })                          -- a look-up under way when the program ends
]]

test.case("a name server that never answers: limits, cancelling, and an end without waiting", function()
  local resolver, why = relay.start { mode = "swallow", listen = "127.83.83.83" }
  if not resolver then test.skip("no name server can be played here: " .. why) end
  with(resolver, function()
    -- The look-ups would take minutes: longer than this case has.
    local config = process.write(resolver.prefix .. ".conf",
      "nameserver 127.83.83.83\noptions timeout:30 attempts:5\n")
    local program = process.write(resolver.prefix .. ".lua", PROGRAM)
    local mounted = ("mount --bind %s /etc/resolv.conf"):format(config)
    local said = process.shell(("unshare -m sh -c %s 2>&1; echo $?"):format(process.quote(mounted)))
    local answer = '{"data":[{"id":"tiny"}]}'
    local models = raw.start { { { await = "request" }, { send = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s")
      :format(#answer, answer) } } }
    local ok, err = xpcall(function()
      if said ~= "0\n" then test.skip("no mount namespace can be had here: " .. said:gsub("%s+", " ")) end
      local command = ("%s && exec timeout %d %s %s %s %s"):format(mounted, PATIENCE, process.quote(arg[-1]), program,
        resolver.prefix, models.url)
      local lines = {}
      for line in process.shell(("unshare -m sh -c %s 2>&1; echo $?"):format(process.quote(command)))
        :gmatch "[^\n]+" do lines[#lines + 1] = line end
      local where = "http://server.invalid/v1 within 0.3 s (timeout."
      test.equal(lines, {
        "timeout\tdns\tconnect\t1\tcould not connect to " .. where .. "connect sets this limit)",
        "timeout\tdns\tfirst\t1\tno answer from " .. where .. "first sets this limit)",
        "timeout\tdns\ttotal\t1\tno complete answer from " .. where .. "total sets this limit)",
        "cancelled\t-\t-\t-\tthe request was cancelled",
        "0", "tiny", "0",
      })
    end, function(e) return type(e) == "table" and e or debug.traceback(e, 2) end)
    models:stop()
    os.remove(config)
    os.remove(program)
    if not ok then error(err, 0) end
  end)
end)
