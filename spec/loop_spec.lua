-- Tasks, cells and deadlines of the blocking loop, and gather, on a clock that moves only when somebody waits.
local blocking = require "lmm.loop.blocking"
local fake = require "spec.support.fake"
local lmm = require "lmm"
local program = require "spec.support.program"

local loop = fake.loop

local function sleep(seconds)
  return loop:wait({}, loop:now() + seconds)
end

describe("tasks", function()
  it("wait: a set cell at once, a deadline, a wake from elsewhere", function()
    local cell = {}
    loop:wake(cell)
    assert.equal(true, loop:wait(cell))
    local before = loop:now()
    assert.same({ nil, "timeout" }, { loop:wait(cell, before + 3) })
    assert.equal(3, loop:now() - before)
    fake.after(2, function() loop:wake(cell) end)
    assert.equal(true, loop:wait(cell, before + 100))
    assert.equal(5, loop:now() - before)
  end)

  it("go begins at once up to the first wait; done gets what pcall would give", function()
    local log = {}
    lmm.go(function()
      log[#log + 1] = "begun"
      sleep(1)
      log[#log + 1] = "woken"
      return "x", nil, "z"
    end, function(...) log[#log + 1] = { n = select("#", ...), ... } end)
    assert.same({ "begun" }, log)
    sleep(2)
    assert.same({ "begun", "woken", { n = 4, true, "x", nil, "z" } }, log)
    local seen
    lmm.go(function() error("boom", 0) end, function(...) seen = { ... } end)
    assert.same({ false, "boom" }, seen)
  end)

  it("tasks that have ended are collected", function()
    local function run()
      local function wait_a_moment() sleep(0.001) end
      for _ = 1, 300 do lmm.go(wait_a_moment):wait() end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    run()
    local before = run()
    assert(run() - before < 16, "KiB")
  end)

  it("task:wait gives what pcall would, before and after the end, in tasks and outside", function()
    local task = lmm.go(function()
      sleep(3)
      return 7
    end)
    local other
    lmm.go(function() return task:wait() end, function(...) other = { ... } end)
    assert.same({ true, 7 }, { task:wait() })
    assert.same({ true, 7 }, { task:wait() })
    sleep(0.001)
    assert.same({ true, true, 7 }, other)
    local failed = lmm.go(function() error({ code = 1 }) end)
    assert.same({ false, { code = 1 } }, { failed:wait() })
  end)

  it("cancel makes the current and every later wait give 'cancelled'", function()
    local seen = {}
    local task = lmm.go(function()
      seen[1] = select(2, sleep(100))
      seen[2] = select(2, sleep(100))
      return "ended"
    end)
    local before = loop:now()
    task:cancel()
    assert.same({ true, "ended" }, { task:wait() })
    assert.same({ "cancelled", "cancelled" }, seen)
    assert.equal(before, loop:now())
    task:cancel() -- harmless after the end
  end)

  it("a task that dies where it cannot wait is told of once, and never resumed", function()
    local seen, cell = {}, {}
    lmm.go(function()
      table.sort({ 1, 2 }, function() return loop:wait(cell, loop:now() + 1) end)
    end, function(...) seen[#seen + 1] = { ... } end)
    assert.same({ 1, false }, { #seen, seen[1][1] })
    assert.matches("yield across", seen[1][2])
    loop:wake(cell)
    sleep(2)
    assert.equal(1, #seen)
  end)

  it("wake never resumes in the caller's stack", function()
    local cell, log = {}, {}
    lmm.go(function()
      loop:wait(cell)
      log[#log + 1] = "resumed"
    end)
    loop:wake(cell)
    assert.same({}, log)
    sleep(0.001)
    assert.same({ "resumed" }, log)
  end)

  it("a wait inside somebody's own coroutine inside a task runs the loop instead of yielding", function()
    local order = {}
    lmm.go(function()
      sleep(1)
      order[#order + 1] = "other"
    end)
    lmm.go(function()
      coroutine.wrap(function() sleep(2) end)()
      order[#order + 1] = "inner"
    end)
    assert.same({ "other", "inner" }, order)
  end)

  it("a wait in done runs the tasks that were to follow", function()
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
    assert.same({ "second", "done" }, log)
  end)

  it("waits that nothing can end raise instead of hanging", function()
    local one, other
    one = lmm.go(function()
      sleep(1)
      return other:wait()
    end)
    other = lmm.go(function()
      sleep(1)
      return one:wait()
    end)
    assert.raises("nothing can bring about", one.wait, one)
    one:cancel()
    other:cancel()
    assert.raises("nothing can bring about", loop.wait, loop, {})
    local own
    own = lmm.go(function()
      sleep(1)
      return own:wait()
    end)
    assert.matches("cannot wait for itself", select(2, own:wait()))
  end)

  it("a task that yields by itself has failed", function()
    local ok, message = lmm.go(function() coroutine.yield() end):wait()
    assert.equal(false, ok)
    assert.matches("must not yield", message)
  end)
end)

describe("the blocking loop", function()
  it("looks at the cell again before it says that nothing can set it", function()
    local own, cell = blocking.new(), {}
    own:poller { poll = function()
      own:wake(cell)
      return false
    end }
    assert.is_true(own:wait(cell))
  end)

  it("does not poll on for a cell that the first poll has set", function()
    local own, cell, longest = blocking.new(), {}, 0
    own:poller { poll = function(seconds)
      longest = math.max(longest, seconds)
      own:wake(cell)
      return true
    end }
    assert.is_true(own:wait(cell))
    assert.equal(0, longest)
  end)

  it("takes calls without any time limit", function()
    local client = fake.net({ fake.whole "a" }):connect { timeout = { first = math.huge, idle = math.huge } }
    assert.equal("a", assert(client:conversation():ask "q").text)
  end)

  it("goes on while its tasks keep waking each other", function()
    local cells, stop, count = { {}, {} }, false, 0
    for i = 1, 2 do
      lmm.go(function()
        while not stop do
          loop:wait(cells[i])
          count = count + 1
          loop:wake(cells[3 - i])
        end
      end)
    end
    loop:wake(cells[1])
    local own = {}
    fake.after(0, function() loop:wake(own) end)
    loop:wait(own)
    stop = true
    loop:wake(cells[1])
    lmm.run()
    assert(count < 10, count)
  end)
end)

--- How many instructions of Lua the main coroutine takes for what `fn` does.
local function instructions(fn)
  local jit, count = rawget(_G, "jit"), 0
  if jit then
    jit.off()
    jit.flush() -- what is compiled already calls no hook
  end
  debug.sethook(function() count = count + 1 end, "", 1)
  fn()
  debug.sethook()
  if jit then jit.on() end
  return count
end

--- What it costs that a poll wakes a task, beside others that wait, with deadlines or without.
local function cost_beside(others, deadline)
  local own, waiting, cell, back, stop = blocking.new(), {}, {}, {}, false
  own:poller { poll = function()
    own:wake(cell)
    return true
  end }
  local function later(seconds) return deadline and own:now() + seconds or nil end
  for i = 1, others do
    waiting[i] = own:spawn(function() own:wait({}, later(1000 + i)) end)
  end
  own:spawn(function()
    while not stop do
      own:wait(cell, later(2000))
      own:wake(back)
    end
  end)
  local function wait_often()
    for _ = 1, 20 do own:wait(back) end
  end
  wait_often()
  local count = math.huge
  for _ = 1, 3 do count = math.min(count, instructions(wait_often)) end -- times left behind are cleared now and then
  stop = true
  for _, task in ipairs(waiting) do task:cancel() end
  own:run()
  assert.same({ 0, false, nil }, { own.deadlines.size, own.first_ready, (next(own.tasks)) })
  return count
end

--- What it costs to wake one of many tasks that are woken at once, and to have it end.
local function cost_of_waking(count, deadline)
  local own, cells = blocking.new(), {}
  own:poller { poll = function() return true end }
  for i = 1, count do
    cells[i] = {}
    own:spawn(function() own:wait(cells[i], deadline and own:now() + 1000 + i or nil) end)
  end
  return instructions(function()
    for _, cell in ipairs(cells) do own:wake(cell) end
    own:run()
  end) / count
end

describe("a crowd", function()
  for what, deadline in pairs { ["with deadlines"] = true, ["without deadlines"] = false } do
    it("that waits " .. what .. " makes no event dearer", function()
      local few, many = cost_beside(10, deadline), cost_beside(2000, deadline)
      assert(many <= 1.1 * few, ("%d instructions beside 10, %d beside 2000"):format(few, many))
    end)

    it("woken at once, waiting " .. what .. ", costs the same each", function()
      local few, many = cost_of_waking(100, deadline), cost_of_waking(3200, deadline)
      assert(many <= 1.1 * few, ("%.1f instructions each of 100, %.1f each of 3200"):format(few, many))
    end)
  end

  it("is resumed in the order in which it was woken", function()
    local cells, order = {}, {}
    for i = 1, 5 do
      cells[i] = {}
      lmm.go(function()
        loop:wait(cells[i], i == 2 and loop:now() + 1 or nil)
        order[#order + 1] = i
      end)
    end
    for _, i in ipairs { 3, 1, 5, 3, 2, 4 } do loop:wake(cells[i]) end
    lmm.run()
    assert.same({ 3, 1, 5, 2, 4 }, order)
  end)
end)

describe("lmm.run", function()
  it("waits for all tasks, those that are begun meanwhile too", function()
    local ended = {}
    lmm.go(function()
      sleep(1)
      lmm.go(function() sleep(5) end, function() ended[#ended + 1] = "inner" end)
    end, function() ended[#ended + 1] = "outer" end)
    lmm.run()
    assert.same({ "outer", "inner" }, ended)
    lmm.run()
  end)

  it("raises in a task, however deep", function()
    assert.matches("a task would wait for itself", select(2, lmm.go(lmm.run):wait()))
    assert.matches("a task would wait for itself", select(2, lmm.go(function() coroutine.wrap(lmm.run)() end):wait()))
  end)

  it("may be called where a task has ended", function()
    local log = {}
    lmm.go(function() sleep(1) end, function()
      lmm.run()
      log[#log + 1] = "done"
    end)
    lmm.go(function()
      sleep(2)
      log[#log + 1] = "other"
    end)
    lmm.run()
    assert.same({ "other", "done" }, log)
  end)

  it("raises what a `done` raises, and what nothing can bring about", function()
    lmm.go(function() sleep(1) end, function() error("in done", 0) end)
    assert.raises("^in done$", lmm.run)
    local cell = {}
    lmm.go(function() loop:wait(cell) end)
    assert.raises("nothing can bring about", lmm.run)
    loop:wake(cell)
    lmm.run()
  end)
end)

describe("what a task raised", function()
  local reports

  before_each(function()
    reports = {}
    loop.report = function(_, text) reports[#reports + 1] = text end
  end)

  after_each(function() loop.report = nil end)

  local function collect()
    for _ = 1, 3 do collectgarbage() end
    return reports
  end

  local function fail(done)
    return lmm.go(function()
      sleep(1)
      error("lost", 0)
    end, done)
  end

  it("is reported once, with its place, where nobody can take it any more", function()
    fail()
    lmm.run()
    assert.equal(1, #collect())
    assert.matches("^lmm: a task failed, and nobody waited for it: lost\nstack traceback:\n.*loop_spec", reports[1])
    assert.equal(1, #collect())
  end)

  it("is not reported while somebody holds the task, and not where somebody took it", function()
    local task = fail()
    lmm.run()
    assert.same({}, collect())
    assert.same({ false, "lost" }, { task:wait() })
    task = nil -- luacheck: ignore 311
    assert.same({}, collect())
  end)

  it("is not reported where a `done` or another task took it, or where it was cancelled", function()
    fail(function() end)
    local task = fail()
    lmm.go(function() task:wait() end)
    fail():cancel()
    lmm.run()
    task = nil -- luacheck: ignore 311
    assert.same({}, collect())
  end)

  it("is reported where whoever waited was cancelled", function()
    local function begin()
      local task = fail()
      return lmm.go(function() return task:wait() end)
    end
    begin():cancel()
    lmm.run()
    assert.equal(1, #collect())
  end)

  it("is reported whatever it is", function()
    lmm.go(function() error(setmetatable({}, { __tostring = function() error "no text" end })) end)
    lmm.go(function() error(setmetatable({}, { __tostring = function() return "an object" end })) end)
    lmm.go(function() error() end)
    lmm.go(function() coroutine.yield() end)
    collect()
    table.sort(reports)
    for i, expected in ipairs { "lmm: a task waits", "an object", "nil", "table" } do
      local found = false
      for _, text in ipairs(reports) do found = found or text:find("for it: " .. expected, 1, true) ~= nil end
      assert(found, i)
    end
  end)

  it("goes to stderr, at the latest as the program ends", function()
    local ended = program.run [[
      local lmm = require "lmm"
      kept = lmm.go(function() error "kept" end)
      taken = lmm.go(function() error "taken" end)
      taken:wait()
      lmm.run()]]
    assert.same({ 0, "", 1 }, { ended.status, ended.out, select(2, ended.err:gsub("lmm: a task failed", "")) })
    assert.matches("kept\nstack traceback:", ended.err)
  end)
end)

describe("gather", function()
  it("gives results and errors by index, holes where there are none", function()
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
    assert.same({ "a", [5] = false }, results)
    assert.same({ [2] = { kind = "http" }, [3] = "only a message" }, errors)
    assert.same({}, lmm.gather({}))
  end)

  it("runs at most `limit` at a time, all in the end", function()
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
    assert.same({ 4, 20 }, { most, #results })
  end)

  it("a raise cancels the others and is raised again", function()
    local cancelled
    assert.raises("^boom$", lmm.gather, {
      function() cancelled = select(2, sleep(50)) end,
      function()
        sleep(1)
        error("boom", 0)
      end,
      function() error "never begun, or cancelled" end,
    }, { limit = 2 })
    assert.equal("cancelled", cancelled)
  end)

  it("in a task that is cancelled ends, and so do its own", function()
    local inner
    local task = lmm.go(function()
      return lmm.gather { function() inner = select(2, sleep(50)) end }
    end)
    task:cancel()
    local _, value, _, err = task:wait()
    assert.same({ nil, "cancelled" }, { value, err.kind })
    sleep(0.001)
    assert.equal("cancelled", inner)
  end)

  it("of asks: each its own reply or error", function()
    local net = fake.net { fake.whole "a", { status = 400 }, fake.whole "c" }
    local client = net:connect()
    local fns = {}
    for i = 1, 3 do
      fns[i] = function() return client:chat { messages = { { role = "user", content = "q" .. i } } } end
    end
    local results, errors = lmm.gather(fns)
    assert.same({ "a", "c", 400 }, { results[1].text, results[3].text, errors[2].status })
  end)

  it("in whose wait something raises cancels its tasks", function()
    local seen
    lmm.go(function() sleep(1) end, function() error("in done", 0) end)
    assert.raises("^in done$", lmm.gather, { function() seen = select(2, sleep(50)) end })
    sleep(0.001)
    assert.equal("cancelled", seen)
  end)
end)

it("misuse raises", function()
  assert.raises("a function expected", lmm.go, 1)
  assert.raises("done is a number", lmm.go, function() end, 1)
  assert.raises("a list of functions", lmm.gather, 1)
  assert.raises("entry 2 is a string", lmm.gather, { function() end, "x" })
  for _, limit in ipairs { 0, -math.huge, 0 / 0, 1.5 } do
    assert.raises("limit is at least 1, and whole, not ", lmm.gather, { function() end }, { limit = limit })
  end
  assert.same({ 1 }, lmm.gather({ function() return 1 end }, { limit = math.huge }))
  assert.raises("did you mean 'limit'", lmm.gather, { function() end }, { limt = 1 })
  assert.raises("in use already", lmm.use, "blocking")
end)
