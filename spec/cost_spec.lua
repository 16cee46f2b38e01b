-- What a request over libcurl costs in calls of the system beside libcurl's own, however many connections there are.
local program = require "spec.support.program"
local raw = require "spec.support.raw"

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

-- What each program begins with. `ask(count, rounds)` sends requests, so many at once, so often in a row, on fresh
-- connections at first; `counted(fn, ...)` gives how often each function was called meanwhile.
local PRELUDE = [[
local library, url = ...
local loop, core = require("lmm.loop").current(), require "lmm.core"
local transport = require("lmm.transport.curl").new(loop, {})
local calls = assert(package.loadlib(library, "lmm_spec_calls"))
local NAMES = { "getsockname", "getpeername", "getpid", "epoll_ctl", "epoll_wait" }
local function request()
  local transfer = transport:start { method = "POST", url = url, headers = {}, body = core.body "q", max_head = 65536 }
  assert(transfer:head(loop:now() + 60))
  while transfer:read(loop:now() + 60) do end
  transfer:close()
end
local function ask(count, rounds)
  local tasks = {}
  transport.close()
  for i = 1, count do
    tasks[i] = loop:spawn(function() for _ = 1, rounds do request() end end)
  end
  for i = 1, count do assert(tasks[i]:wait()) end
end
local function counted(fn, ...)
  local before, count = {}, {}
  for _, name in ipairs(NAMES) do before[name] = calls(name) end
  fn(...)
  for _, name in ipairs(NAMES) do count[name] = calls(name) - before[name] end
  return count
end
]]

describe("a request over libcurl", function()
  local library

  setup(function() library = program.library "calls" end)
  teardown(function() os.remove(library) end)

  --- What a program prints, with a server of this scenario.
  local function run(text, scenario)
    local server = raw.start { scenario }
    local ended = program.run(PRELUDE .. text, { library, server.url },
      'LD_PRELOAD="$LD_PRELOAD ' .. library .. '"')
    server:stop()
    assert.same({ 0, "" }, { ended.status, ended.err })
    return ended.out
  end

  it("on a kept connection asks for no address and no process, and hardly changes what is watched", function()
    local serves = {} -- for one connection, which may get nearly all of the 96 requests
    for i = 1, 200, 2 do serves[i], serves[i + 1] = { await = "request" }, { send = OK } end
    serves[#serves + 1] = { await = "close" }
    local out = run([[
      for _, count in ipairs { 1, 8 } do
        local few, many = counted(ask, count, 2), counted(ask, count, 12)
        for _, name in ipairs { "getsockname", "getpeername", "getpid" } do
          if few[name] ~= many[name] then print(count, name, few[name], many[name]) end
        end
        if many.epoll_ctl > 8 * count then print(count, "epoll_ctl", few.epoll_ctl, many.epoll_ctl) end
      end
    ]], serves)
    assert.equal("", out)
  end)

  it("leaves a connection that does not wake anybody when its server closes it", function()
    local out = run([[
      ask(1, 2)
      local cost = counted(function() loop:wait({}, loop:now() + 0.5) end)
      print(cost.epoll_wait < 20, cost.epoll_ctl <= 1)
    ]], { { await = "request" }, { send = OK }, { await = "request" }, { send = OK }, { pause = 0.1 },
      { close = true } })
    assert.equal("true\ttrue\n", out)
  end)
end)
