-- A Lua state is closed while a client is in every state it knows: the process ends well and at once, without a word.
-- No server here ever lets go by itself, so where closing waits for anything, the program is ended after a minute.
local process = require "spec.support.process"
local program = require "spec.support.program"
local raw = require "spec.support.raw"

-- What each program begins with. `ask` begins a question in a task; `reach` lets time pass until it has come so far.
local PRELUDE = [[
local url, more = ...
local lmm, loops = require "lmm", require "lmm.loop"
local client = lmm.connect { base_url = url, model = "m", retry = false, tls = { verify = false },
  dialect = "generic" }
local chat = client:conversation()
local function step(seconds) loops.current():wait({}, loops.current():now() + seconds) end
local function ask(...)
  local words = { "q", ... }
  return lmm.go(function() return chat:ask((table.unpack or unpack)(words)) end)
end
local function reach(phase)
  repeat
    step(0.01)
    local stream = chat.current.stream
    local transfer = stream and stream.call and stream.call.transfer
    local now = transfer and transfer.handle:phase()
  until now == phase
  step(0.1)
  print(phase)
end
]]

-- The ends that a program can come to: of its last line, and, where the language closes the state then, of os.exit.
local ENDS = { "" }
if _VERSION ~= "Lua 5.1" then ENDS[2] = "\nos.exit(0, true)" end

--- Runs a program to each of its ends, and expects what it prints.
local function closes(text, words, expected, prefix)
  for _, ending in ipairs(ENDS) do
    local ended = program.run(PRELUDE .. text .. ending, words, prefix)
    assert.same({ 0, "", expected }, { ended.status, ended.err, (ended.out:gsub("%s+$", "")) })
  end
end

local function with(scenarios, fn)
  local server = raw.start(scenarios)
  local ok, err = xpcall(function() fn(server) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

--- Runs `fn(port)` with a listener that never accepts. Its kernel takes so many connections.
local function with_deaf(backlog, fn)
  local uv = require "luv"
  local listener = uv.new_tcp()
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(backlog, function() end))
  local port = listener:getsockname().port
  local fillers = {}
  for i = 1, backlog == 0 and 8 or 0 do
    fillers[i] = uv.new_tcp()
    fillers[i]:connect("127.0.0.1", port, function() end)
  end
  local ok, err = xpcall(function() fn(port) end, debug.traceback)
  for _, filler in ipairs(fillers) do filler:close() end
  listener:close()
  uv.run()
  if not ok then error(err, 0) end
end

local ANSWER = '{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}'
local WHOLE = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " .. #ANSWER .. "\r\n\r\n" .. ANSWER
local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local EVENT = 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'

local hold = { { await = "request" }, { hold = true } }
local begun = { { await = "request" }, { send = EVENTS .. EVENT }, { hold = true } }

describe("a Lua state that is closed", function()
  it("a client that was never used, and one that is closed", function()
    closes("", { "http://127.0.0.1:9/v1" }, "")
    closes("client:close()", { "http://127.0.0.1:9/v1" }, "")
  end)

  it("idle, with a connection that stands", function()
    with({ { { await = "request" }, { send = WHOLE }, { hold = true } } }, function(server)
      closes("print(assert(chat:ask 'q'))", { server.url }, "a")
    end)
  end)

  it("in a finalizer that asks once more", function()
    with({ { { await = "request" }, { send = WHOLE }, { hold = true } } }, function(server)
      local text = [[
        local client
        local function ask() print(client:chat { messages = {} }) end
        local guard = newproxy and newproxy(true) or setmetatable({}, { __gc = ask }) -- older than all of lmm
        if newproxy then getmetatable(guard).__gc = ask end
        local url = ...
        client = require("lmm").connect { base_url = url, model = "m", retry = false }
        print(assert(client:chat { messages = {} }))]]
      local ended = program.run(text, { server.url })
      assert.same({ 0, "", "a\n" }, { ended.status, ended.err, ended.out }) -- what is raised there, Lua drops
    end)
  end)

  it("looking up a name, and cancelled while it does", function()
    local library = program.library "slow_dns"
    -- The thread that looks it up runs to the very end, which valgrind would call a possible leak.
    local prefix = 'VALGRIND_OPTS=--show-leak-kinds=definite LD_PRELOAD="$LD_PRELOAD ' .. library .. '"'
    local ok, err = pcall(function()
      closes("ask() reach 'dns'", { "http://host.slow/v1" }, "dns", prefix)
      closes("ask() reach 'dns' chat:cancel()", { "http://host.slow/v1" }, "dns", prefix)
    end)
    os.remove(library)
    if not ok then error(err, 0) end
  end)

  it("connecting to a host that does not answer", function()
    with_deaf(0, function(port)
      closes("ask() reach 'connect'", { ("http://127.0.0.1:%d/v1"):format(port) }, "connect")
    end)
  end)

  it("in a TLS handshake that does not go on", function()
    with({ { { hold = true } } }, function(server)
      closes("ask() reach 'tls'", { (server.url:gsub("http:", "https:")) }, "tls")
    end)
  end)

  it("uploading to a server that does not read, from memory and from a file", function()
    with_deaf(64, function(port)
      local url = ("http://127.0.0.1:%d/v1"):format(port)
      closes("ask(lmm.image({ bytes = ('x'):rep(32 * 2 ^ 20) }, { mime = 'image/png' })) reach 'send'", { url }, "send")
      local path = process.write(os.tmpname(), ("x"):rep(32 * 2 ^ 20))
      local ok, err = pcall(closes, "ask(lmm.image(more, { mime = 'image/png' })) reach 'send'", { url, path }, "send")
      os.remove(path)
      if not ok then error(err, 0) end
    end)
  end)

  it("waiting for the first byte", function()
    with({ hold }, function(server)
      closes("ask() reach 'wait'", { server.url }, "wait")
    end)
  end)

  it("streaming, in the main program and in a task, and two of them in a gather", function()
    with({ begun }, function(server)
      closes("stream = chat:stream 'q' print(stream:next())", { server.url }, "a")
      closes("lmm.go(function() local s = chat:stream 'q' repeat print(s:next()) until s.err end) reach 'receive'",
        { server.url }, "a\nreceive")
      closes([[
        local function read()
          local stream = client:conversation():stream "q"
          print(stream:next())
          chat.current.stream = stream
          stream:next()
        end
        lmm.go(function() lmm.gather { read, read } end)
        reach "receive"
      ]], { server.url }, "a\na\nreceive")
    end)
  end)

  it("paused, with more than is taken in", function()
    with({ { { await = "request" }, { send = EVENTS .. EVENT:rep(2 ^ 14) }, { hold = true } } }, function(server)
      closes([[
        local stream = chat:stream "q"
        print(stream:next())
        for _ = 1, 50 do step(0.01) end
        print(stream.call.transfer.handle:phase())
      ]], { server.url }, "a\nreceive")
    end)
  end)

  it("cancelled while it streams, and while it uploads", function()
    with({ begun }, function(server)
      closes("stream = chat:stream 'q' print(stream:next()) stream:cancel()", { server.url }, "a")
      closes("task = lmm.go(function() chat:stream('q'):reply() end) reach 'receive' task:cancel()", { server.url },
        "receive")
    end)
    with_deaf(64, function(port)
      closes("ask(lmm.image({ bytes = ('x'):rep(32 * 2 ^ 20) }, { mime = 'image/png' })) reach 'send' chat:cancel()",
        { ("http://127.0.0.1:%d/v1"):format(port) }, "send")
    end)
  end)

  it("asleep before a retry", function()
    with({ { { await = "request" }, { close = true } } }, function(server)
      closes([[
        local asleep
        client = lmm.connect { base_url = url, model = "m", retry = function() asleep = true return 3600 end }
        chat = client:conversation()
        ask()
        repeat step(0.01) until asleep
        print "asleep"
      ]], { server.url }, "asleep")
    end)
  end)

  it("from within a task", function()
    if _VERSION == "Lua 5.1" then pending "os.exit does not close the state" end
    with({ begun }, function(server)
      local ended = program.run(PRELUDE .. [[
        ask()
        lmm.go(function()
          local stream = client:conversation():stream "q"
          print(stream:next())
          os.exit(0, true)
        end)
        step(3600)
      ]], { server.url })
      assert.same({ 0, "", "a\n" }, { ended.status, ended.err, ended.out })
    end)
  end)

  it("from a function that the library calls", function()
    if _VERSION == "Lua 5.1" then pending "os.exit does not close the state" end
    with({ { { await = "request" }, { close = true } } }, function(server)
      local ended = program.run(PRELUDE .. [[
        client = lmm.connect { base_url = url, model = "m", retry = function() os.exit(0, true) end }
        client:conversation():ask "q"
      ]], { server.url })
      assert.same({ 0, "", "" }, { ended.status, ended.err, ended.out })
    end)
  end)

  it("with a mock that it started, in the middle of its answer: the mock ends as well", function()
    for _, ending in ipairs(ENDS) do
      local ended = program.run([[
        local lmm = require "lmm"
        local server = assert(lmm.mock())
        stream = lmm.connect(server.url):conversation():stream("q", { mock = { reply = ("word "):rep(20000) } })
        assert(stream:next())
        print(server.pid)
      ]] .. ending)
      assert.same({ 0, "" }, { ended.status, ended.err })
      process.wait_gone(tonumber(ended.out))
    end
  end)
end)
