-- The library in a program that runs libuv's loop: its own timers and sockets go on, and nothing is left open.
local lmm = require "lmm"
local loops = require "lmm.loop"
local raw = require "spec.support.raw"
local replies = require "spec.support.replies"
local uv = require "luv"
local wire = require "spec.parity.wire"

lmm.use "luv"

local request = { messages = { { role = "user", content = "q" } } }

local function with(answers, fn)
  local server = raw.start(wire.scenarios { replies = answers })
  local client = lmm.connect { base_url = server.url, model = "m", retry = false }
  local ok, err = xpcall(function() fn(client, server) end, debug.traceback)
  client:close()
  server:stop()
  if not ok then error(err, 0) end
  uv.walk(function(handle) error("left open: " .. tostring(handle)) end)
end

describe("the library in a program of libuv", function()
  it("tasks go on in uv.run, beside the program's timers; uv.run ends when they have", function()
    local slow = replies.streamed { replies.delta "a", { pause = 0.1 }, replies.delta("b", "stop") }
    with({ slow }, function(client)
      local ticks, texts, ticks_at_end = 0, {}, nil
      local timer = uv.new_timer()
      timer:start(0, 2, function() ticks = ticks + 1 end)
      for i = 1, 3 do
        lmm.go(function() return client:stream(request):reply() end, function(_, reply)
          texts[i] = reply and reply.text
          if texts[1] and texts[2] and texts[3] then
            ticks_at_end = ticks
            timer:close()
          end
        end)
      end
      uv.run()
      assert.same({ "ab", "ab", "ab" }, texts)
      assert(ticks_at_end > 3, ticks_at_end)
    end)
  end)

  it("a task is begun from a callback", function()
    with({ replies.whole "yes" }, function(client)
      local timer, text = uv.new_timer(), nil
      timer:start(1, 0, function()
        timer:close()
        lmm.go(function() return client:chat(request) end, function(_, reply) text = reply.text end)
      end)
      uv.run()
      assert.equal("yes", text)
    end)
  end)

  it("outside of uv.run a call waits, and the program's timers go on", function()
    with({ replies.whole "yes" }, function(client)
      local timer, fired = uv.new_timer(), false
      timer:start(0, 0, function()
        fired = true
        timer:close()
      end)
      assert.equal("yes", assert(client:chat(request)).text)
      uv.run()
      assert.truthy(fired)
    end)
  end)

  --- Calls `fn` from the first timers that the next run of libuv's loop calls; a wait that goes on ends after 5 s.
  local function with_first_timer(fn, wait)
    local first, rescue, is_rescued = uv.new_timer(), uv.new_timer(), false
    first:start(0, 0, fn)
    rescue:start(5000, 0, function() is_rescued = true end)
    wait()
    first:close()
    rescue:close()
    uv.run()
    assert(not is_rescued, "it waited on")
  end

  it("a wait outside of tasks ends with a task that ends among the first timers of a run", function()
    local loop, cell = loops.current(), {}
    local task = lmm.go(function() return loop:wait(cell) end)
    with_first_timer(function() loop:wake(cell) end, function() assert.same({ true, true }, { task:wait() }) end)
  end)

  it("and with its deadline, where that is past when the first timers end", function()
    local loop = loops.current()
    local deadline = loop:now() + 0.01
    with_first_timer(function()
      repeat until loop:now() > deadline + 0.01
      uv.update_time()
    end, function() assert.same({ nil, "timeout" }, { loop:wait({}, deadline) }) end)
  end)

  it("gathers, one after the other", function()
    local answers = {}
    for i = 1, 50 do answers[i] = replies.whole "yes" end
    with(answers, function(client)
      with_first_timer(function() end, function()
        for _ = 1, 50 do
          local results, errs = lmm.gather { function() return client:chat(request) end }
          assert.same({}, errs)
          assert.equal("yes", results[1].text)
        end
      end)
    end)
  end)

  it("a call that would have to wait in a callback raises, names lmm.go, and sends nothing", function()
    with({ replies.whole "yes" }, function(client, server)
      local calls = {
        function() return client:chat(request) end,
        function() return client:request("POST", "/pay", { x = 1 }) end,
        function() return client:models() end,
      }
      collectgarbage "stop" -- what was left running would end with its handle
      local timer = uv.new_timer()
      timer:start(0, 0, function()
        for _, call in ipairs(calls) do assert.raises("lmm%.go", call) end
        timer:close()
      end)
      uv.run()
      assert.equal("yes", assert(client:chat(request)).text)
      collectgarbage "restart"
      assert.equal(1, #server:seen "accepted")
    end)
  end)

  it("a stream that cannot be read in a callback stays as it was", function()
    with({ replies.streamed { replies.delta "a", { pause = 0.1 }, replies.delta("b", "stop") } }, function(client)
      local stream, timer = client:stream(request), uv.new_timer()
      assert.equal("a", stream:next())
      timer:start(0, 0, function()
        timer:close()
        assert.raises("lmm%.go", stream.next, stream)
      end)
      uv.run()
      assert.equal("ab", assert(stream:reply()).text)
    end)
  end)

  it("what a done raises comes out of a wait outside of tasks", function()
    with({ replies.whole "yes", { hang = true } }, function(client)
      lmm.go(function() return client:chat(request) end, function() error "in done" end)
      assert.raises("in done", client.chat, client, request)
      uv.run()
    end)
  end)

  it("and so does what others raise, one after the other", function()
    local answers = {}
    for i = 1, 200 do answers[i] = replies.whole "yes" end
    with(answers, function(client)
      for i = 1, 20 do
        lmm.go(function() return client:chat(request) end, function() error("done " .. i, 0) end)
      end
      local seen = {}
      for _ = 1, 100 do
        local ok, problem = pcall(client.chat, client, request)
        if not ok then seen[problem] = true end
      end
      for i = 1, 20 do assert(seen["done " .. i], i) end
    end)
  end)

  it("cancelled from a timer: uv.run ends, and the server sees it", function()
    with({ { hang = true } }, function(client, server)
      local result
      local task = lmm.go(function() return client:chat(request) end, function(...) result = { ... } end)
      local timer = uv.new_timer()
      timer:start(0, 5, function()
        if #server:seen "request" == 0 then return end
        timer:close()
        task:cancel()
      end)
      uv.run()
      assert.same({ true, nil, "cancelled" }, { result[1], result[2], result[4].kind })
      server:wait "closed"
    end)
  end)

  it("wait_ready and retries let time pass", function()
    local busy = { status = 503, body = "" }
    with({ busy, busy, { body = "" }, { json = { data = { { id = "m" } } } } }, function(client)
      local ready
      lmm.go(function() return client:wait_ready { timeout = 30 } end, function(_, ok) ready = ok end)
      uv.run()
      assert.equal(true, ready)
    end)
  end)

  it("what `done` raises reaches the program, and the other tasks go on", function()
    local loop = require("lmm.loop.luv").new(uv)
    local log = {}
    loop.defer = function(fn)
      local ok, problem = pcall(fn)
      if not ok then log[#log + 1] = problem end
    end
    loop:spawn(function() loop:wait({}, loop:now() + 0.001) end, function() error("mine", 0) end)
    loop:spawn(function() loop:wait({}, loop:now() + 0.02) end, function() log[#log + 1] = "other" end)
    uv.run()
    assert.same({ "mine", "other" }, log)
  end)

  it("sets its timer only where something is due sooner than it fires", function()
    local starts = 0
    local counting = setmetatable({ new_timer = function()
      local timer = uv.new_timer()
      return {
        start = function(_, ...)
          starts = starts + 1
          return timer:start(...)
        end,
        close = function() timer:close() end,
      }
    end }, { __index = uv })
    local loop, cells = require("lmm.loop.luv").new(counting), {}
    for i = 1, 100 do
      cells[i] = {}
      loop:spawn(function()
        for _ = 1, 3 do loop:wait(cells[i], loop:now() + 100) end
      end)
    end
    assert.equal(1, starts)
    local prepare, rounds = uv.new_prepare(), 0
    prepare:start(function()
      rounds = rounds + 1
      for _, cell in ipairs(cells) do loop:wake(cell) end
      if rounds == 3 then prepare:close() end
    end)
    loop:run()
    assert.equal(3, rounds)
    assert(starts <= 1 + 2 * rounds, starts)
    uv.walk(function(handle) error("left open: " .. tostring(handle)) end)
  end)

  it("lmm.run runs the loop until the tasks have ended, and raises in a callback", function()
    local loop, ended, timer = loops.current(), {}, uv.new_timer()
    lmm.go(function() loop:wait({}, loop:now() + 0.02) end, function() ended[1] = "task" end)
    timer:start(0, 0, function()
      timer:close()
      assert.raises("lmm%.go", lmm.run)
      ended[2] = "timer"
    end)
    lmm.run()
    assert.same({ "task", "timer" }, ended)
    uv.walk(function(handle) error("left open: " .. tostring(handle)) end)
  end)

  it("what a task raised and nobody took is reported soon, and holds uv.run up for nothing", function()
    local loop, reports = loops.current(), {}
    loop.report = function(_, text) reports[#reports + 1] = text end
    lmm.go(function() error("lost", 0) end)
    collectgarbage "stop" -- by itself it may pass the task at any time
    uv.run()
    collectgarbage "restart"
    assert.same({}, reports)
    local timer = uv.new_timer()
    timer:start(10, 10, function()
      if #reports > 0 then timer:close() end
    end)
    uv.run()
    loop.report = nil
    assert.equal(1, #reports)
    assert.matches("nobody waited for it: lost\n", reports[1])
  end)

  it("the loop can be named again, but not changed", function()
    lmm.use "luv"
    assert.raises("in use already", lmm.use, "blocking")
    assert.raises('"luv"', lmm.use, "qt")
    assert.truthy(loops.current().uv == uv)
  end)
end)
