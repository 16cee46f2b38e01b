-- Tasks, cells and deadlines of the blocking loop, and gather, on a clock that moves only when somebody waits.
local fake = require "spec.support.fake"
local lmm = require "lmm"
local test = require "spec.support.test"

local loop = fake.loop

local function sleep(seconds)
  return loop:wait({}, loop:now() + seconds)
end

test.case("wait: a set cell at once, a deadline, a wake from elsewhere", function()
  local cell = {}
  loop:wake(cell)
  test.equal(loop:wait(cell), true)
  local before = loop:now()
  test.equal({ loop:wait(cell, before + 3) }, { nil, "timeout" })
  test.equal(loop:now() - before, 3)
  fake.after(2, function() loop:wake(cell) end)
  test.equal(loop:wait(cell, before + 100), true)
  test.equal(loop:now() - before, 5)
end)

test.case("go begins at once up to the first wait; done gets what pcall would give", function()
  local log = {}
  lmm.go(function()
    log[#log + 1] = "begun"
    sleep(1)
    log[#log + 1] = "woken"
    return "x", nil, "z"
  end, function(...) log[#log + 1] = { n = select("#", ...), ... } end)
  test.equal(log, { "begun" })
  sleep(2)
  test.equal(log, { "begun", "woken", { n = 4, true, "x", nil, "z" } })
  local seen
  lmm.go(function() error("boom", 0) end, function(...) seen = { ... } end)
  test.equal(seen, { false, "boom" })
end)

test.case("tasks that have ended are collected", function()
  local function run()
    local function wait_a_moment() sleep(0.001) end
    for _ = 1, 300 do lmm.go(wait_a_moment):wait() end
    collectgarbage()
    collectgarbage()
    return collectgarbage "count"
  end
  run()
  local before = run()
  test.ok(run() - before < 16, "KiB")
end)

test.case("task:wait gives what pcall would, before and after the end, in tasks and outside", function()
  local task = lmm.go(function()
    sleep(3)
    return 7
  end)
  local other
  lmm.go(function() return task:wait() end, function(...) other = { ... } end)
  test.equal({ task:wait() }, { true, 7 })
  test.equal({ task:wait() }, { true, 7 })
  sleep(0.001)
  test.equal(other, { true, true, 7 })
  local failed = lmm.go(function() error({ code = 1 }) end)
  test.equal({ failed:wait() }, { false, { code = 1 } })
end)

test.case("cancel makes the current and every later wait give 'cancelled'", function()
  local seen = {}
  local task = lmm.go(function()
    seen[1] = select(2, sleep(100))
    seen[2] = select(2, sleep(100))
    return "ended"
  end)
  local before = loop:now()
  task:cancel()
  test.equal({ task:wait() }, { true, "ended" })
  test.equal(seen, { "cancelled", "cancelled" })
  test.equal(loop:now(), before)
  task:cancel() -- harmless after the end
end)

test.case("a task that dies where it cannot wait is told of once, and never resumed", function()
  local seen, cell = {}, {}
  lmm.go(function()
    table.sort({ 1, 2 }, function() return loop:wait(cell, loop:now() + 1) end)
  end, function(...) seen[#seen + 1] = { ... } end)
  test.equal({ #seen, seen[1][1] }, { 1, false })
  test.match(seen[1][2], "yield across")
  loop:wake(cell)
  sleep(2)
  test.equal(#seen, 1)
end)

test.case("wake never resumes in the caller's stack", function()
  local cell, log = {}, {}
  lmm.go(function()
    loop:wait(cell)
    log[#log + 1] = "resumed"
  end)
  loop:wake(cell)
  test.equal(log, {})
  sleep(0.001)
  test.equal(log, { "resumed" })
end)

test.case("a wait inside somebody's own coroutine inside a task runs the loop instead of yielding", function()
  local order = {}
  lmm.go(function()
    sleep(1)
    order[#order + 1] = "other"
  end)
  lmm.go(function()
    coroutine.wrap(function() sleep(2) end)()
    order[#order + 1] = "inner"
  end)
  test.equal(order, { "other", "inner" })
end)

test.case("a wait in done runs the tasks that were to follow", function()
  local log = {}
  lmm.go(function() sleep(1) end, function()
    sleep(1)
    log[#log + 1] = "done"
  end)
  lmm.go(function()
    sleep(1)
    log[#log + 1] = "second"
  end)
  sleep(3)
  test.equal(log, { "second", "done" })
end)

test.case("gather: results and errors by index, holes where there are none", function()
  local results, errors = lmm.gather({
    function()
      sleep(2)
      return "a"
    end,
    function() return nil, "message", { kind = "http" } end,
    function() return nil, "only a message" end,
    function() end,
    function() return false end,
  })
  test.equal(results, { "a", [5] = false })
  test.equal(errors, { [2] = { kind = "http" }, [3] = "only a message" })
  test.equal(lmm.gather({}), {})
end)

test.case("gather: at most `limit` at a time, all in the end", function()
  local running, most, fns = 0, 0, {}
  for i = 1, 20 do
    fns[i] = function()
      running = running + 1
      most = math.max(most, running)
      sleep(i % 3 + 1)
      running = running - 1
      return i
    end
  end
  local results = lmm.gather(fns, { limit = 4 })
  test.equal({ most, #results }, { 4, 20 })
end)

test.case("gather: a raise cancels the others and is raised again", function()
  local cancelled
  test.raises("^boom$", lmm.gather, {
    function() cancelled = select(2, sleep(50)) end,
    function()
      sleep(1)
      error("boom", 0)
    end,
    function() error "never begun, or cancelled" end,
  }, { limit = 2 })
  test.equal(cancelled, "cancelled")
end)

test.case("gather in a task that is cancelled ends, and so do its own", function()
  local inner
  local task = lmm.go(function()
    return lmm.gather { function() inner = select(2, sleep(50)) end }
  end)
  task:cancel()
  local _, value, _, err = task:wait()
  test.equal({ value, err.kind }, { nil, "cancelled" })
  sleep(0.001)
  test.equal(inner, "cancelled")
end)

test.case("gathered asks: each its own reply or error", function()
  local net = fake.net { fake.whole "a", { status = 400 }, fake.whole "c" }
  local client = net:connect()
  local fns = {}
  for i = 1, 3 do
    fns[i] = function() return client:chat { messages = { { role = "user", content = "q" .. i } } } end
  end
  local results, errors = lmm.gather(fns)
  test.equal({ results[1].text, results[3].text, errors[2].status }, { "a", "c", 400 })
end)

test.case("a gather in whose wait something raises cancels its tasks", function()
  local seen
  lmm.go(function() sleep(1) end, function() error("in done", 0) end)
  test.raises("^in done$", lmm.gather, { function() seen = select(2, sleep(50)) end })
  sleep(0.001)
  test.equal(seen, "cancelled")
end)

test.case("waits that nothing can end raise instead of hanging", function()
  local one, other
  one = lmm.go(function()
    sleep(1)
    return other:wait()
  end)
  other = lmm.go(function()
    sleep(1)
    return one:wait()
  end)
  test.raises("nothing can bring about", one.wait, one)
  test.raises("nothing can bring about", loop.wait, loop, {})
  local own
  own = lmm.go(function()
    sleep(1)
    return own:wait()
  end)
  test.match(select(2, own:wait()), "cannot wait for itself")
end)

test.case("a task that yields by itself has failed", function()
  local ok, message = lmm.go(function() coroutine.yield() end):wait()
  test.equal(ok, false)
  test.match(message, "must not yield")
end)

test.case("misuse raises", function()
  test.raises("a function expected", lmm.go, 1)
  test.raises("done is a number", lmm.go, function() end, 1)
  test.raises("a list of functions", lmm.gather, 1)
  test.raises("entry 2 is a string", lmm.gather, { function() end, "x" })
  for _, limit in ipairs { 0, -math.huge, 0 / 0, 1.5 } do
    test.raises("limit is at least 1, and whole, not ", lmm.gather, { function() end }, { limit = limit })
  end
  test.equal(lmm.gather({ function() return 1 end }, { limit = math.huge }), { 1 })
  test.raises("did you mean 'limit'", lmm.gather, { function() end }, { limt = 1 })
  test.raises("in use already", lmm.use, "blocking")
end)
