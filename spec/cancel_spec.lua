-- Cancelling, in each phase of a call and in each way there is: whoever waits is told, the server sees the connection
-- close at once, no descriptor stays, and the conversation is as it was before and goes on.
local lmm = require "lmm"
local loops = require "lmm.loop"
local phases = require "spec.support.phases"
local process = require "spec.support.process"
local program = require "spec.support.program"
local raw = require "spec.support.raw"
local transports = require "spec.support.transports"

local run_until = phases.run_until

local ANSWER = '{"choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}'
local WHOLE = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#ANSWER, ANSWER)
local NEXT = { { await = "request" }, { send = WHOLE }, { await = "request" }, { send = WHOLE }, { await = "close" } }

local function with(server, fn)
  local ok, err = xpcall(function() fn(server) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

--- How many sockets and files are open. The pipe to the shell that tells may be open at both its ends, or at one.
local function descriptors()
  local list = process.shell "ls -l /proc/$PPID/fd"
  return select(2, list:gsub("%->", "")) - select(2, list:gsub("%-> pipe:", ""))
end

--- No more are open than before. Those of clients of earlier cases may have gone meanwhile.
local function check_descriptors(before)
  local now = descriptors()
  assert(now <= before, ("%d descriptors before, %d after"):format(before, now))
end

local function new_chat(phase, server, opts)
  local given = { base_url = phases.url_of(phase, server), model = "m", retry = false, dialect = "generic" }
  for name, value in pairs(opts or {}) do given[name] = value end
  return lmm.connect(given):conversation { system = "Be brief." }
end

--- The conversation is as it was, and where the server answers a further connection, goes on.
local function check_chat(chat, goes_on)
  assert.same({ { role = "system", content = "Be brief." } }, chat.messages)
  if not goes_on then return end
  assert.equal("fine", assert(chat:ask "next").text)
  assert.equal(3, #chat.messages)
end

-- ---- while somebody waits

local ways = { -- what, and what it does
  { "stream:cancel", function(_, stream) stream:cancel() end },
  { "task:cancel", function(task) task:cancel() end },
  { "chat:cancel", function(_, _, chat) chat:cancel() end },
  { "client:close", function(_, _, chat) chat.client:close() end },
}

--- Asks in a task until the phase is reached, ends it, and looks at what came of it.
local function cancel(phase, server, chat, is_asked, way)
  local before = descriptors()
  local result, stream
  local task = lmm.go(function()
    if is_asked then return chat:ask(phases.question(phase)) end
    stream = chat:stream(phases.question(phase))
    local piece, message, err = stream:next()
    if piece then return stream:next() end
    return piece, message, err
  end, function(...) result = { ... } end)
  run_until("the phase", function()
    if phase.is_reached then return phase.is_reached(server) end
    local stream_of_chat = chat.current.stream -- what has been received, the client alone knows
    local call, answer = stream_of_chat.call, stream_of_chat.answer
    return call and call.received > 0 and answer and answer:text() == phase.partial
  end)
  assert.equal(nil, result)
  way[2](task, stream, chat)
  run_until("the end of the task", function() return result end)
  assert.same({ true, nil, "the request was cancelled" }, { result[1], result[2], result[3] })
  local err = result[4]
  assert.same({ "cancelled", 1, phase.partial or "", false }, { err.kind, err.attempts, err.partial, err.retryable })
  assert.truthy(err.elapsed > 0)
  if stream then assert.same({ nil, err.message, err }, { stream:next() }) end
  if phase.ended then phase.ended(server) end
  check_descriptors(before)
end

-- ---- the look-up of a name

local LOOK_UP = [[
local lmm, loop = require "lmm", require "lmm.loop".current()
local function step() loop:wait({}, loop:now() + 0.01) end
for _, way in ipairs { "stream", "task", "chat", "client" } do
  for _, method in ipairs { "ask", "stream" } do
    if method == "stream" or way ~= "stream" then
      local client = lmm.connect { base_url = "http://host.slow/v1", model = "m" }
      local chat = client:conversation()
      local stream, result
      local task = lmm.go(function()
        if method == "ask" then return chat:ask "q" end
        stream = chat:stream "q"
        return stream:next()
      end, function(...) result = { ... } end)
      local function phase()
        local call = chat.current.stream.call
        return call and call.transfer and call.transfer.handle:phase()
      end
      repeat step() until phase() == "dns"
      local started = loop:now()
      if way == "stream" then stream:cancel() elseif way == "task" then task:cancel()
      elseif way == "chat" then chat:cancel() else client:close() end
      while not result do step() end
      local is_soon = loop:now() - started < 20 -- the look-up takes an hour
      print(way, method, result[4].kind, result[4].attempts, #chat.messages, is_soon)
    end
  end
end
os.exit(0, true)]]

transports.describe("cancelling", function(transport)
  setup(function()
    with(raw.start { NEXT }, function(server) -- what libcurl opens once and for all
      assert(new_chat(phases.wait, server):ask "q")
    end)
  end)

  teardown(phases.remove)

  for _, name in ipairs(phases.of(transport)) do
    local phase = phases[name]
    for _, way in ipairs(ways) do
      for _, is_asked in ipairs { true, false } do
        if not (is_asked and way[1] == "stream:cancel") then
          it(("%s, %s, by %s"):format(name, is_asked and "asked" or "streamed", way[1]), function()
            with(phase.start(NEXT), function(server)
              local chat = new_chat(phase, server)
              cancel(phase, server, chat, is_asked, way)
              check_chat(chat, (name == "wait" or name == "receive") and way[1] ~= "client:close")
            end)
          end)
        end
      end
    end
  end

  -- Not on the wire, but waits as well: the list of models that comes first, and the time before a retry.
  for _, way in ipairs(ways) do
    it("asking for the model, by " .. way[1], function()
      with(phases.wait.start(NEXT), function(server)
        local chat = new_chat(phases.wait, server)
        chat.client.given_model = nil
        cancel(phases.wait, server, chat, way[1] == "chat:cancel", way)
        assert.matches("^GET /v1/models ", server:received())
        assert.equal(1, #server:seen "request")
        chat.client.given_model = "m"
        check_chat(chat, way[1] ~= "client:close")
      end)
    end)

    it("asleep before a retry, by " .. way[1], function()
      local busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 100\r\nConnection: close\r\n\r\n"
      with(raw.start { { { await = "request" }, { send = busy }, { close = true } }, NEXT }, function(server)
        local asleep
        local chat = new_chat(phases.wait, server, { retry = { on_retry = function() asleep = true end } })
        cancel({ is_reached = function() return asleep end }, server, chat, false, way)
        assert.equal(1, #server:seen "request")
        check_chat(chat, way[1] ~= "client:close")
      end)
    end)
  end

  -- ---- while nobody waits: once a piece has come

  local idle = {
    { "stream:cancel", function(chat)
      local stream = chat:stream "q"
      assert.equal("a", stream:next())
      stream:cancel()
      assert.equal("a", assert.refused("cancelled", stream:next()).partial)
    end },
    { "chat:cancel", function(chat)
      local stream = chat:stream "q"
      assert.equal("a", stream:next())
      chat:cancel()
      assert.equal("a", assert.refused("cancelled", stream:reply()).partial)
    end },
    { "client:close", function(chat)
      local stream = chat:stream "q"
      assert.equal("a", stream:next())
      chat.client:close()
      assert.equal("a", assert.refused("cancelled", stream:next()).partial)
    end, is_over = true },
    { "task:cancel, the stream being read elsewhere", function(chat)
      local stream = chat:stream "q"
      assert.equal("a", stream:next())
      local task = lmm.go(function() return stream:next() end)
      task:cancel()
      local _, _, _, err = task:wait()
      assert.same({ "cancelled", "a" }, { err.kind, err.partial })
    end },
    { "break", function(chat)
      if _VERSION < "Lua 5.4" then pending "only 5.4 closes the loop's value" end
      for piece in chat:stream "q" do
        if piece == "a" then break end
      end
    end },
    { "what is raised in the loop", function(chat)
      if _VERSION < "Lua 5.4" then pending "only 5.4 closes the loop's value" end
      assert.raises("enough", function()
        for _ in chat:stream "q" do error "enough" end
      end)
    end },
    { "the collector", function(chat)
      assert.equal("a", (chat:stream "q"):next())
      collectgarbage()
      collectgarbage()
    end },
    { "the collector, of a stream whose task is over", function(chat)
      lmm.go(function() return (chat:stream "q"):next() end):wait()
      collectgarbage()
      collectgarbage()
    end },
    { "the collector, of one read by events", function(chat)
      local function read()
        local next_event = (chat:stream "q"):events()
        assert.equal("a", next_event().choices[1].delta.content)
      end
      read()
      collectgarbage()
      collectgarbage()
    end },
    { "the next question", function(chat)
      assert.equal("a", (chat:stream "q"):next())
      assert.equal("fine", assert(chat:ask "next").text)
      chat:undo()
    end },
  }

  for _, row in ipairs(idle) do
    it("receiving, with nobody waiting, by " .. row[1], function()
      with(phases.receive.start(NEXT), function(server)
        local chat = new_chat(phases.receive, server)
        row[2](chat)
        assert.equal(1, server:wait("closed")[1].connection)
        check_chat(chat, not row.is_over)
      end)
    end)
  end

  it("a stream that nobody has read sends nothing when it is cancelled or collected", function()
    with(raw.start { NEXT }, function(server)
      local chat = new_chat(phases.wait, server)
      chat:stream("q"):cancel()
      chat:stream "q"
      collectgarbage()
      check_chat(chat, true)
      assert.equal(1, #server:seen "request")
    end)
  end)

  it("while a key is fetched: nothing is sent", function()
    for _, way in ipairs { "chat", "client" } do
      with(raw.start { { { hold = true } } }, function(server)
        local loop, cell = loops.current(), {}
        local client = lmm.connect { base_url = server.url, model = "m", retry = false, api_key = function()
          loop:wait(cell)
          return "key"
        end }
        local chat = client:conversation()
        local task = lmm.go(function() return chat:ask "q" end)
        if way == "chat" then chat:cancel() else client:close() end
        loop:wake(cell)
        local _, value, message, err = task:wait()
        assert.equal("cancelled", assert.refused("cancelled", value, message, err).kind)
        assert.equal(0, #server:seen "accepted")
      end)
    end
  end)

  it("client:close closes the connections that are kept for later", function()
    with(raw.start { { { await = "request" }, { send = WHOLE }, { hold = true } } }, function(server)
      local client = lmm.connect { base_url = server.url, model = "m" }
      assert(client:conversation():ask "q")
      client:close()
      server:wait("closed", 1)
    end)
  end)

  it("with more arriving than is read", function()
    local flood = phases.EVENTS .. ('data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'):rep(2 ^ 18)
    local floods = { { await = "request" }, { send = flood }, { await = "close" } }
    with(raw.start { floods }, function(server)
      local before = descriptors()
      local chat = new_chat(phases.receive, server)
      for i, way in ipairs { "cancel", "collect" } do
        local stream = chat:stream "q"
        assert.equal("a", stream:next())
        loops.current():wait({}, loops.current():now() + 0.05)
        if way == "cancel" then stream:cancel() end
        stream = nil -- luacheck: ignore 311
        collectgarbage()
        collectgarbage()
        server:wait("closed", i)
      end
      check_descriptors(before)
      check_chat(chat)
    end)
  end)

  it("the look-up of a name, in each way; and the program ends at once", function()
    local library = program.library "slow_dns"
    local prefix = 'VALGRIND_OPTS=--show-leak-kinds=definite LD_PRELOAD="$LD_PRELOAD ' .. library .. '"'
    local ended = program.run(LOOK_UP, {}, prefix)
    os.remove(library)
    local expected = {}
    for _, way in ipairs { "stream\tstream", "task\task", "task\tstream", "chat\task", "chat\tstream", "client\task",
      "client\tstream" } do
      expected[#expected + 1] = way .. "\tcancelled\t1\t0\ttrue\n"
    end
    assert.same({ 0, "", table.concat(expected) }, { ended.status, ended.err, ended.out })
  end)
end)
