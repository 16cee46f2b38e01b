-- lmm.map on a clock that moves only when somebody waits: what runs, how many at a time, and how a run ends.
local capacity = require "lmm.mock.capacity"
local errors = require "lmm.errors"
local fake = require "spec.support.fake"
local lmm = require "lmm"
local loops = require "lmm.loop"
local runs = require "lmm.bulk.run"
local seeded = require "spec.support.seeded"

local function sleep(seconds) return fake.loop:wait({}, fake.loop:now() + seconds) end

--- An iterator over 1 to `count`.
local function numbers(count)
  local i = 0
  return function()
    i = i + 1
    return i <= count and i or nil
  end
end

describe("map", function()
  it("gives results and errors by the items' places", function()
    local summary = assert(lmm.map({ "a", "b", "c", "d" }, function(item)
      sleep(item == "a" and 3 or 1)
      if item == "b" then return nil, "no b", { kind = "http", status = 400, message = "no b" } end
      if item == "c" then return nil, "no c" end
      return item:upper()
    end))
    assert.same({ "A", [4] = "D" }, summary.results)
    assert.same({ "no b", "no c" }, { summary.errors[2].message, summary.errors[3].message })
    assert.same({ 2, 2, 3 }, { summary.done, summary.failed, summary.seconds })
  end)

  it("takes what Lua's own functions give in the place of an error object", function()
    local summary = assert(lmm.map({ "a", "b", "c" }, function(item)
      if item == "a" then return io.open "/nowhere/at/all" end -- nil, a message and a number
      if item == "b" then return nil, "no b", "why" end
      return item
    end))
    assert.same({ "/nowhere/at/all: No such file or directory", "no b" },
      { summary.errors[1].message, summary.errors[2].message })
    assert.same({ 1, 2 }, { summary.done, summary.failed })
  end)

  it("says what is in a table that stands where a message should", function()
    local summary = assert(lmm.map({ "a", "b", "c" }, function(item)
      if item == "a" then return nil, { message = "no a" } end
      if item == "b" then return nil, { code = 5, list = { 1 } } end
      return nil, { print }
    end))
    assert.same({ "no a", '{"code":5,"list":[1]}' }, { summary.errors[1].message, summary.errors[2].message })
    assert.matches("^table: ", summary.errors[3].message)
  end)

  it("takes an iterator, asks it for no more than run, and keeps nothing of what gives nothing", function()
    local running, most, given, ahead = 0, 0, 0, 0
    local next_number = numbers(50)
    local summary = assert(lmm.map(function()
      given = given + 1
      return next_number()
    end, function(item)
      running = running + 1
      most, ahead = math.max(most, running), math.max(ahead, given - item)
      sleep(1)
      running = running - 1
    end, { concurrency = 5 }))
    assert.same({ 5, 50, {} }, { most, summary.done, summary.results })
    assert(ahead <= 5, ahead)
  end)

  it("takes an iterator that waits itself, by the caller and for one item at a time", function()
    local caller, is_asked = coroutine.running(), false
    local function waits(count)
      local next_number = numbers(count)
      return function()
        assert.is_false(is_asked)
        is_asked = true
        sleep(2)
        is_asked = false
        return next_number()
      end
    end
    local waiting = waits(12)
    local function work(item)
      sleep(item % 3)
      return item
    end
    assert.equal(12, assert(lmm.map(function()
      assert.equal(caller, coroutine.running())
      return waiting()
    end, work)).done)
    assert.equal(12, assert(lmm.map(coroutine.wrap(function()
      for item in waits(12) do coroutine.yield(item) end
    end), work)).done)
  end)

  it("holds nobody up by an item that waits in a pcall, where PUC 5.1 cannot", function()
    local lists = fake.net { { json = { data = lmm.array { { id = "m" } } } } }
    local answers = fake.net { fake.whole "a" }
    local client = fake.net({}):connect { model = "", timeout = 5, transport = { start = function(_, request)
      return (request.url:find "/models$" and lists or answers):start(request)
    end } }
    local question = { messages = { { role = "user", content = "q" } } }
    local summary = assert(lmm.map({ pcall, loops.pcall, loops.pcall }, function(call)
      local _, reply, message, err = call(client.chat, client, question)
      if type(reply) == "string" then return reply end
      return reply and reply.text, message, err
    end, { concurrency = 1 }))
    assert.same({ "a", "a" }, { summary.results[2], summary.results[3] })
  end)

  it("begins no more rows in a second than rate", function()
    local began = fake.loop:now()
    assert(lmm.map(numbers(21), function() end, { rate = 4 }))
    assert.equal(5, fake.loop:now() - began) -- 20 of them wait for their turn
  end)

  it("uses no more tokens in a minute than max_tokens_per_minute, of whatever size the rows are", function()
    local began, used, most_ahead, most_running, running = fake.loop:now(), 0, 0, 0, 0
    local summary = assert(lmm.map(numbers(100), function(item)
      running = running + 1
      most_running = math.max(most_running, running)
      assert(item > 1 or running == 1)
      sleep(item % 4 * 5 + 1)
      running = running - 1
      local tokens = item <= 50 and 100 or 400
      used = used + tokens
      most_ahead = math.max(most_ahead, used - 20 * (fake.loop:now() - began))
      return { usage = { prompt_tokens = tokens - 10, completion_tokens = 10 } }
    end, { max_tokens_per_minute = 1200, concurrency = 16 }))
    local seconds = summary.seconds
    assert.same({ 100, 25000 }, { summary.done, summary.prompt_tokens + summary.completion_tokens })
    assert(seconds > 25000 / 20 - 60 and seconds < 25000 / 20 + 30, seconds)
    assert(most_ahead <= 1200, most_ahead)
    assert(most_running > 1 and most_running <= 16, most_running)
  end)

  it("takes none from the tokens for a row that failed", function()
    local summary = assert(lmm.map(numbers(100), function(item)
      sleep(1)
      if item > 1 then return nil, "no" end
      return { usage = { prompt_tokens = 10, completion_tokens = 10 } }
    end, { max_tokens_per_minute = 60, concurrency = 1 }))
    assert.same({ 1, 99 }, { summary.done, summary.failed })
    assert(summary.seconds < 130, summary.seconds)
  end)

  it("ends with its last row, and waits no more for the time at which another one could begin", function()
    local function fn()
      sleep(1)
      return { usage = { prompt_tokens = 100, completion_tokens = 0 } }
    end
    assert.equal(5, assert(lmm.map({ 1, 2 }, fn, { rate = 1 / 4 })).seconds) -- 4 s between the two
    assert.equal(1, assert(lmm.map({ 1 }, fn, { max_tokens_per_minute = 10 })).seconds)
    assert.equal(1, assert(lmm.map(numbers(1), fn, { rate = 1 / 4 })).seconds)
  end)

  it("a raise cancels the others and is raised again", function()
    local cancelled
    assert.raises("^boom$", lmm.map, { 1, 2 }, function(item)
      if item == 1 then
        cancelled = select(2, sleep(50))
        return
      end
      sleep(1)
      error("boom", 0)
    end)
    assert.equal("cancelled", cancelled)
  end)

  it("raises what an iterator or on_progress raises, once what runs has ended", function()
    local cancelled = 0
    local function fn()
      local _, why = sleep(50)
      if why == "cancelled" then cancelled = cancelled + 1 end
    end
    local i = 0
    assert.raises("^no more$", lmm.map, function()
      i = i + 1
      if i == 3 then error("no more", 0) end
      return i
    end, fn)
    assert.raises("^seen$", lmm.map, { 1, 2 }, fn, { on_progress = function() error("seen", 0) end })
    assert.equal(4, cancelled)
  end)

  it("ends where too many rows failed, and says so", function()
    local seen = 0
    local summary, message, err = lmm.map(numbers(100), function(item)
      seen = seen + 1
      sleep(1)
      return nil, "bad " .. item
    end, { concurrency = 1, max_errors = 2 })
    assert.is_nil(summary)
    assert.equal("3 rows failed, more than the 2 that max_errors lets go, the last one, of line 3: bad 3", message)
    assert.same({ 3, 3, 0 }, { seen, err.summary.failed, err.summary.done })
  end)

  it("runs a row again whose server was not there, one at a time meanwhile, and loses none", function()
    local until_time, most, running = fake.loop:now() + 20, 0, 0
    local is_lost
    local summary = assert(lmm.map(numbers(40), function(item)
      running = running + 1
      if is_lost then most = math.max(most, running) end
      sleep(0.1)
      running = running - 1
      if item > 10 and fake.loop:now() < until_time then
        if running == 0 then is_lost = true end
        return nil, "refused", { kind = "connect", retryable = true, message = "refused" }
      end
      is_lost = false
      return item
    end, { concurrency = 8 }))
    assert.same({ 40, 0, 1 }, { summary.done, summary.failed, most })
    for i = 1, 40 do assert.equal(i, summary.results[i]) end
  end)

  it("fails a row whose connections alone break, be it the last, and runs all others", function()
    for _, bad in ipairs { 1, 50, 100 } do
      for _, limit in ipairs { 1, 8 } do
        local summary = assert(lmm.map(numbers(100), function(item)
          sleep(0.1)
          if item ~= bad then return item end
          return nil, "reset", { kind = "connect", retryable = true, message = "reset" }
        end, { concurrency = limit, server_timeout = 10 }))
        assert.same({ 99, 1, "reset" }, { summary.done, summary.failed, summary.errors[bad].message })
      end
    end
  end)

  it("ends with one sentence where a server stays away, and where the key is refused", function()
    local began = fake.loop:now()
    local _, message, err = lmm.map(numbers(1000), function()
      return nil, "refused", { kind = "connect", retryable = true, message = "no server at x" }
    end, { server_timeout = 10 })
    assert.equal("no row has gone well for 12 s, so the run ends: no server at x", message)
    assert.same({ "connect", 0, 0 }, { err.kind, err.summary.done, err.summary.failed })
    assert(fake.loop:now() - began < 17)
    local count = 0
    _, message = lmm.map(numbers(1000), function()
      count = count + 1
      sleep(1)
      return nil, "key", { kind = "http", status = 401, message = "the key is refused" }
    end)
    assert.same({ "the key is refused", 16 }, { message, count })
  end)

  it("looks for a server soon after many rows at once have lost it", function()
    local began = fake.loop:now()
    local times = {}
    local _, message = lmm.map(numbers(1000), function()
      times[#times + 1] = fake.loop:now() - began
      sleep(1 / 64)
      return nil, "refused", { kind = "connect", retryable = true, message = "no server at x" }
    end, { server_timeout = 1 })
    assert.equal("no row has gone well for 1 s, so the run ends: no server at x", message)
    assert.same({ 0, 0.5 + 1 / 64, 1.5 + 2 / 64 }, { times[16], times[17], times[18] })
  end)

  it("holds all rows back for as long as a refusal asks", function()
    local times, refused = {}, nil
    assert(lmm.map(numbers(9), function()
      times[#times + 1] = fake.loop:now()
      sleep(1)
      if #times == 4 and not refused then
        refused = fake.loop:now()
        return nil, "busy", { kind = "http", status = 429, retryable = true, retry_after = 30, message = "busy" }
      end
    end, { concurrency = 2 }))
    for _, time in ipairs(times) do assert(not refused or time < refused or time >= refused + 30) end
    assert.equal(10, #times)
  end)

  it("stops where on_progress says so, and finishes what runs", function()
    local calls, ended = 0, 0
    local _, message = lmm.map(numbers(1000), function()
      sleep(1.5)
      ended = ended + 1
    end, { concurrency = 3, on_progress = function(progress)
      calls = calls + 1
      if progress.done >= 6 and progress.running > 0 then return false end
    end })
    assert.equal("the run was stopped", message)
    assert.same({ 9, 0 }, { ended, ended % 3 })
    assert(calls >= 4)
  end)

  it("is cancelled with its task", function()
    local inner
    local task = lmm.go(function()
      return select(3, lmm.map({ 1 }, function() inner = select(2, sleep(50)) end)).kind
    end)
    sleep(1)
    task:cancel()
    local _, kind = task:wait()
    assert.equal("cancelled", kind)
    sleep(1)
    assert.equal("cancelled", inner)
  end)

  it("refuses what it cannot do", function()
    local function fn() end
    assert.raises("a list, a function or the path", lmm.map, 1, fn)
    assert.raises("a function expected, got nil", lmm.map, {})
    for _, holed in ipairs { { 1, nil, 3 }, { 1, [3] = 3 } } do -- whose `#` differ
      assert.raises("lmm.map: item 2 of 3 is nil: a list has no holes", lmm.map, holed, fn)
    end
    assert.raises("lmm.map: a list expected, got a table without an item 1", lmm.map, { place = "Ulm" }, fn)
    for _, limit in ipairs { 0, 1.5, -1, 0 / 0, math.huge } do
      assert.raises("concurrency is a whole number, at least 1, not", lmm.map, {}, fn, { concurrency = limit })
    end
    assert.raises("rate is a number of rows", lmm.map, {}, fn, { rate = 0 })
    assert.raises("max_tokens_per_minute is a number of tokens above 0, not 0", lmm.map, {}, fn,
      { max_tokens_per_minute = 0 })
    assert.raises("ordered goes with output", lmm.map, {}, fn, { ordered = true })
    assert.raises("did you mean 'concurrency'", lmm.map, {}, fn, { concurency = 3 })
    local client = lmm.connect "http://127.0.0.1:9/v1"
    assert.raises("client and url are two ways", lmm.map, {}, fn, { client = client, url = "x" })
  end)
end)

--- Runs rows against a model of a server; gives the seconds they took, and when the concurrency was what it was.
---@param is_out (fun(seconds: number): boolean)?  whether it refuses all, after so many seconds
local function judge(text, count, seed, limit, is_out)
  local model = assert(capacity.new(text, { seconds = 1, after = fake.after, random = seeded(seed) }))
  local began, limits = fake.loop:now(), {}
  local summary = assert(lmm.map(numbers(count), function()
    local cell = {}
    local refuses = is_out and is_out(fake.loop:now() - began)
    if refuses or not model:take(function() fake.loop:wake(cell) end) then
      return nil, "busy", { kind = "http", status = 503, retryable = true, message = "busy" }
    end
    fake.loop:wait(cell)
  end, { concurrency = limit, on_progress = function(progress)
    limits[#limits + 1] = { done = progress.done, limit = progress.concurrency }
  end }))
  assert.equal(count, summary.done)
  return fake.loop:now() - began, limits
end

describe("the concurrency that finds itself", function()
  for _, row in ipairs { { "batching:64", 64 }, { "slots:1", 1 }, { "reject:8", 8 }, { "collapse:32", 32 } } do
    it(("comes to 0.95 of the best for %s"):format(row[1]), function() -- more of them: spec/concurrency_spec.lua
      local best, found = judge(row[1], 10000, 1, row[2]), judge(row[1], 10000, 1)
      assert(best / found >= 0.95, ("%g of the best"):format(best / found))
    end)
  end

  it("grows again as at first after a server refused everything for some time", function()
    local function is_out(seconds) return seconds < 20 or seconds > 100 and seconds < 160 end
    local _, limits = judge("batching:64", 5000, 3, nil, is_out)
    assert(limits[18].limit < 4 and limits[158].limit < 8, "the limit stays as high while all is refused")
    local done, back = limits[159].done, nil
    for _, at in ipairs(limits) do
      if not back and at.done > done and at.limit >= 60 then back = at.done - done end
    end
    assert(back and back < 400, ("%s rows until the limit is what it was"):format(tostring(back)))
  end)
end)

describe("a run whose own server dies", function()
  local run

  --- Runs rows; the first one is answered, and `fn(item, life)` is what comes of the others, a second later.
  local function run_rows(items, fn)
    local asked = 0
    run = runs.new { client = {}, source = { next = function()
      asked = asked + 1
      return items[asked] and { line = asked, id = items[asked], item = items[asked] }
    end }, fn = function(item)
      if item == items[1] then return true end
      local life = run.suspects.life
      sleep(1)
      return fn(item, life)
    end }
    run:resume {}
    assert(run:run())
  end

  local function lost()
    return nil, "lost", { kind = "connect", retryable = true, is_death = true, message = "lost" }
  end

  --- The server dies, which is seen after some seconds; then it is started again.
  local function die(seconds)
    fake.after(seconds, function()
      run:blame(errors.new { kind = "connect", message = "killed" })
      fake.after(0.1, function() run:resume {} end)
    end)
    return lost()
  end

  it("begins a row that it may have died of alone, wherever that stands", function()
    run = runs.new { client = {}, source = { next = function() end }, fn = function(item) return item end }
    run:resume {}
    local rows = { { item = "a", deaths = 1 }, { item = "b", deaths = 1 }, { item = "c", deaths = 2 } }
    run.again, run.again_count, run.lost_last, run.is_read = { rows[1], rows[2], rows[3] }, 3, rows[2], true
    assert.equal(rows[1], (run:next(0)()))
    assert.is_nil((run:next(1))) -- c is next, since b was lost last
    assert.same({ 2, nil }, { run.again_count, run.suspects.alone })
    assert.equal(rows[3], (run:next(0)()))
    assert.equal(rows[3], run.suspects.alone)
    assert.is_nil((run:next(1)))
  end)

  it("takes no row that was refused for the one that its server died of", function()
    local deaths, alone, spared = 0, 0, nil
    run_rows({ "first", "b", "c", "d", "e" }, function(item, life)
      if life <= 2 and deaths == life then return lost() end -- beside another one
      if life > 2 then
        alone = alone + 1
        spared = spared or alone == 2 and item
        if item == spared and alone == 2 then
          return nil, "busy", { kind = "http", status = 503, retryable = true, message = "busy" }
        end
      end
      if item == spared then return true end
      deaths = deaths + 1
      return die(0.1)
    end)
    local failed = 0
    for line, item in ipairs { "first", "b", "c", "d", "e" } do
      local err = run.failures[line]
      assert.equal(item == "first" or item == spared, run.results[line] or false)
      if err then
        assert.matches("^the server died each time that this row ran", err.message)
        failed = failed + 1
      end
    end
    assert.equal(3, failed)
  end)

  it("takes no row for it that runs while it dies, whatever is heard of its death before", function()
    local deaths = 0
    run_rows({ "first", "b", "c", "late" }, function(item, life)
      if life > 2 then return true end
      if item == "late" then
        sleep(1.4) -- which is when the next one has died, too
        return lost()
      end
      if deaths == life then return lost() end
      deaths = deaths + 1
      return die(life == 1 and 0.1 or 3)
    end)
    assert.same({ true, true, true, true }, run.results)
  end)
end)
