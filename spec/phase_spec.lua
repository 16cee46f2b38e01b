-- Time limits in each phase of a call, on real sockets: the look-up of the name, connecting, the TLS handshake,
-- sending, waiting, and receiving. For cancelling see cancel_spec.lua.
local core = require "lmm.core"
local lmm = require "lmm"
local phases = require "spec.support.phases"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local relay = require "spec.support.relay"
local transports = require "spec.support.transports"

local LIMIT = 60 -- seconds: only ever reached by a failure

local function with(server, fn)
  local ok, err = xpcall(function() fn(server) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

local ROLE = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'

local texts = {
  connect = "^could not connect to %s within 0%%.3 s %%(timeout%%.connect sets this limit%%)$",
  first = "^no answer from %s within 0%%.3 s %%(timeout%%.first sets this limit%%)$",
  idle = "^the answer from %s stopped for 0%%.3 s %%(timeout%%.idle sets this limit%%)$",
  total = "^no complete answer from %s within 0%%.3 s %%(timeout%%.total sets this limit%%)$",
}

local function new_chat(phase, server, timeout)
  local url = phases.url_of(phase, server)
  local client = lmm.connect { base_url = url, model = "m", retry = false, timeout = timeout, dialect = "generic" }
  return client:conversation { system = "Be brief." }, url
end

transports.describe("a time limit", function(transport)
  teardown(phases.remove)

  for _, name in ipairs(phases.of(transport)) do
    local phase = phases[name]
    for _, limit in ipairs(phase.limits) do
      it(("timeout.%s in the phase %s"):format(limit, name), function()
        with(phase.start(), function(server)
          local chat, url = new_chat(phase, server, { [limit] = 0.3 })
          local pattern = texts[limit]:format((url:gsub("%p", "%%%0")))
          local err = assert.refused(pattern, (chat:stream(phases.question(phase))):reply())
          assert.same({ "timeout", name, limit, 1, phase.partial or "" },
            { err.kind, err.phase, err.limit, err.attempts, err.partial })
          assert.equal(limit ~= "total" and name ~= "receive", err.retryable)
          assert.equal(1, #chat.messages)
        end)
      end)
    end
  end

  it("an answer that came while the program was busy with something else is not too late", function()
    local body = '{"choices":[{"index":0,"message":{"content":"fine"},"finish_reason":"stop"}]}'
    local answer = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)
    for _, limit in ipairs { "first", "total" } do
      local late = { { await = "request" }, { pause = 0.1 }, { send = answer }, { hold = true } }
      with(raw.start { late }, function(server)
        local chat = new_chat(phases.wait, server, { [limit] = 0.3 })
        local task = lmm.go(function() return chat:ask "q" end)
        phases.run_until("the request", function() return server:seen "request"[1] end)
        local busy_until = core.now() + 0.5
        repeat until core.now() > busy_until
        local ok, reply, message = task:wait()
        assert.same({ true, "fine" }, { ok, reply and reply.text, message })
      end)
    end
  end)

  it("bytes without content do not hold off timeout.first", function()
    with(raw.start { { { await = "request" }, { send = phases.EVENTS .. ROLE }, { hold = true } } }, function(server)
      local chat = new_chat({}, server, { first = 0.3 })
      local err = assert.refused("^no answer from ", (chat:stream "q"):reply())
      assert.same({ "timeout", "receive", "first", false }, { err.kind, err.phase, err.limit, err.retryable })
    end)
  end)
end)

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
  local client = lmm.connect { base_url = URL, model = "m", retry = false, timeout = { [limit] = 0.3 },
  dialect = "generic" }
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

describe("the look-up of a name", function()
  it("a name server that never answers: limits, cancelling, and an end without waiting", function()
    local resolver, why = relay.start { mode = "swallow", listen = "127.83.83.83" }
    if not resolver then pending("no name server can be played here: " .. why) end
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
        if said ~= "0\n" then pending("no mount namespace can be had here: " .. said:gsub("%s+", " ")) end
        local command = ("%s && exec timeout %d %s %s %s %s"):format(mounted, LIMIT, process.quote(arg[-1]), program,
          resolver.prefix, models.url)
        local lines = {}
        for line in process.shell(("unshare -m sh -c %s 2>&1; echo $?"):format(process.quote(command)))
          :gmatch "[^\n]+" do lines[#lines + 1] = line end
        local where = "http://server.invalid/v1 within 0.3 s (timeout."
        assert.same({
          "timeout\tdns\tconnect\t1\tcould not connect to " .. where .. "connect sets this limit)",
          "timeout\tdns\tfirst\t1\tno answer from " .. where .. "first sets this limit)",
          "timeout\tdns\ttotal\t1\tno complete answer from " .. where .. "total sets this limit)",
          "cancelled\t-\t-\t1\tthe request was cancelled",
          "0", "tiny", "0",
        }, lines)
      end, function(e) return type(e) == "table" and e or debug.traceback(e, 2) end)
      models:stop()
      os.remove(config)
      os.remove(program)
      if not ok then error(err, 0) end
    end)
  end)
end)
