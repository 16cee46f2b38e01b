-- A process forks while a client is in use: in the child the parent's client cannot be used, a new one can, and nothing
-- that happens to the child's copy of the state is felt by the parent or its server.
local program = require "spec.support.program"
local raw = require "spec.support.raw"
local transports = require "spec.support.transports"

-- What each program begins with. `forked(fn)` runs `fn` in a child, which then ends as every program does, its state
-- closed; it gives what `fn` printed, once the child is gone.
local PRELUDE = [[
local library, transport, url = ...
require("lmm.loop").current().transport = transport ~= "curl" and transport or nil
local lmm, process = require "lmm", require "spec.support.process"
local fork = assert(package.loadlib(library, "lmm_spec_fork"))
local client = lmm.connect { base_url = url, model = "m", retry = false }
local notes = os.tmpname()
local function forked(fn)
  io.stdout:flush()
  local pid = fork()
  if pid == 0 then
    local file = io.open(notes, "w")
    local function note(...)
      for i = 1, select("#", ...) do file:write(tostring((select(i, ...))), "\n") end
      file:flush()
    end
    local ok, err = pcall(fn, note)
    note(ok and "done" or err)
    file:close()
    return true
  end
  process.wait_for("the child's end", function() return not process.runs(pid) end)
  io.write((process.read(notes)))
end
local function main(fn)
  if not fn() then os.remove(notes) end
end
]]

local library, transport

-- The child forgets what is the parent's, as it must, so who looks for leaks is not asked about it.
local PREFIX = "ASAN_OPTIONS=detect_leaks=0 VALGRIND_OPTS=--child-silent-after-fork=yes"

local function run(text, ...)
  local ended = program.run(PRELUDE .. text, { library, transport, ... }, PREFIX)
  assert.same({ 0, "" }, { ended.status, ended.err })
  return ended.out
end

local ANSWER = '{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"A"},"finish_reason":"stop"}]}'
local WHOLE = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " .. #ANSWER .. "\r\n\r\n" .. ANSWER
local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local EVENT = 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
local LAST = 'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

-- The stream goes on when there have been so many requests in all.
local function server_of(count)
  return raw.start {
    { { await = "request" }, { send = EVENTS .. EVENT }, { await_all = count }, { send = EVENT .. LAST },
      { hold = true } },
    { { await = "request" }, { send = WHOLE }, { await = "request" }, { send = WHOLE }, { hold = true } },
  }
end

--- Runs a program with a stream under way at the fork, and expects what it prints, and that the stream's connection
--- was still open when the parent asked again, after the child had ended.
local function survives(count, text, expected)
  local server = server_of(count)
  local ok, err = xpcall(function()
    local out = run([[
      main(function()
        local stream = client:conversation():stream "q"
        io.write(stream:next(), "\n")
        ]] .. text .. [[
        io.write(tostring(client:conversation():ask "q"), "\n")
        io.write(stream:next(), "\n", tostring(stream:next()), "\n", tostring(stream.err), "\n")
      end)
    ]], server.url)
    assert.matches("^a\n" .. expected .. "A\na\nnil\nnil\n$", out)
    for _, event in ipairs(server:events()) do
      if event.event == "request" and event.connection == #server:seen "accepted" then break end
      assert.truthy(event.event ~= "closed" or event.connection ~= 1, "the stream's connection was closed")
    end
  end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

transports.describe("a forked process", function(name)
  setup(function() transport = name end)
  setup(function() library = program.library "fork" end)
  teardown(function() os.remove(library) end)

  it("in the child the parent's client and its stream raise, and say why", function()
    survives(2, [[
      if forked(function(note)
        note(select(2, pcall(function() return client:conversation():ask "q" end)))
        note(select(2, pcall(function() return stream:next() end)))
      end) then return true end
    ]], "[^\n]*this client was made before a fork: connect again in the child\n"
      .. "[^\n]*this request was started before a fork: it is the parent's\ndone\n")
  end)

  it("the child's collector, and the end of its state, leave the parent's stream alone", function()
    survives(2, [[
      if forked(function()
        stream, client = nil, nil
        for _ = 1, 3 do collectgarbage() end
      end) then return true end
    ]], "done\n")
  end)

  it("so does what the child does to them by hand", function()
    survives(2, [[
      if forked(function()
        stream:cancel()
        client:close()
        for _ = 1, 3 do collectgarbage() end
      end) then return true end
    ]], "done\n")
  end)

  it("a new client in the child works, also after the parent's was collected there", function()
    survives(4, [[
      if forked(function(note)
        note(lmm.connect { base_url = url, model = "m" }:conversation():ask "q")
        stream, client = nil, nil
        for _ = 1, 3 do collectgarbage() end
        note(lmm.connect { base_url = url, model = "m" }:conversation():ask "q")
      end) then return true end
    ]], "A\nA\ndone\n")
  end)

  it("a task that the parent has under way is not run on in the child", function()
    survives(4, [[
      local finished
      local task = lmm.go(function() return client:conversation():ask "q" end, function() finished = true end)
      if forked(function(note)
        lmm.connect { base_url = url, model = "m" }:conversation():ask "q"
        note(finished)
      end) then return true end
      task:wait()
    ]], "nil\ndone\n")
  end)

  it("nor where the child only waits for some time", function()
    survives(3, [[
      local finished
      local task = lmm.go(function() return client:conversation():ask "q" end, function() finished = true end)
      if forked(function(note)
        local loop = require("lmm.loop").current()
        loop:wait({}, loop:now() + 0.3)
        note(finished)
      end) then return true end
      task:wait()
    ]], "nil\ndone\n")
  end)

  it("a server that the parent has started outlives the child", function()
    local out = run [[
      main(function()
        local server = assert(lmm.mock { delay = 0 })
        if forked(function() server = nil for _ = 1, 3 do collectgarbage() end end) then return true end
        if forked(function() end) then return true end
        io.write(tostring(lmm.connect(server.url):models()[1].id), "\n")
      end)
    ]]
    assert.equal("done\ndone\nmock\n", out)
  end)
end)
