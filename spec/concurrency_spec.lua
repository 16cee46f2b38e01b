-- The concurrency that finds itself, judged in virtual time on many models of servers (lmm.mock.capacity), with rows
-- that are alike and rows that differ. spec/map_spec.lua judges it within a run.
local capacity = require "lmm.mock.capacity"
local concurrency = require "lmm.bulk.concurrency"
local seeded = require "spec.support.seeded"

--- What happens when: a heap of { seconds, function }.
local function new_events()
  local heap, count = {}, 0
  local events = { now = 0 }

  function events.after(seconds, fn)
    local entry, at = { events.now + seconds, fn }, count + 1
    count = at
    while at > 1 and heap[math.floor(at / 2)][1] > entry[1] do
      heap[at] = heap[math.floor(at / 2)]
      at = math.floor(at / 2)
    end
    heap[at] = entry
  end

  --- The next one happens.
  function events.pass()
    local top, last, at = heap[1], heap[count], 1
    heap[count], count = nil, count - 1
    while 2 * at <= count do
      local child = 2 * at
      if child < count and heap[child + 1][1] < heap[child][1] then child = child + 1 end
      if heap[child][1] >= last[1] then break end
      heap[at], at = heap[child], child
    end
    if count > 0 then heap[at] = last end
    events.now = top[1]
    top[2]()
  end

  return events
end

--- Runs so many rows; gives the seconds they took, and those of the first twentieth.
local function judge(text, count, opts)
  local events = new_events()
  local model = assert(capacity.new(text, { seconds = opts.seconds or 1, noise = opts.noise,
    random = seeded(opts.seed or 1), after = events.after }))
  local control = concurrency.new(opts.fixed, nil, opts.timeout)
  local begun, running, done, again, early, most, longest = 0, 0, 0, {}, nil, 0, 0

  local function begin(row)
    running = running + 1
    control:start(row, running, events.now)
    local is_taken = model:take(function()
      running, done = running - 1, done + 1
      longest = math.max(longest, events.now - row.started)
      control:succeed(row, events.now)
      if done == count / 20 then early = events.now end
    end)
    if is_taken then return end
    running, again[#again + 1] = running - 1, row
    control:refuse(row, events.now)
    events.after(control.held_until - events.now, function() end)
  end

  repeat
    while running < control.limit and events.now >= control.held_until and begun - #again < count do
      if #again == 0 and begun == count then break end
      if #again > 0 then
        begin(table.remove(again))
      else
        begun = begun + 1
        begin {}
      end
    end
    most = math.max(most, running)
    if done < count then events.pass() end
  until done == count
  return events.now, early, most, longest
end

describe("the concurrency that finds itself", function()
  -- The models, their best concurrency, and how many rows.
  local models = {
    { "batching", { 16, 64, 256 }, 10000 }, { "slots", { 1, 4 }, 10000 }, { "reject", { 8, 32 }, 10000 },
    { "collapse", { 16, 32, 64 }, 10000 },
    { "batching", { 512 }, 40000 }, -- 10,000 rows take it half a minute: four seconds of growing are too much for them
  }
  for _, row in ipairs(models) do
    for _, best in ipairs(row[2]) do
      local text, count = row[1] .. ":" .. best, row[3]

      --- How much of the best's time it takes with one seed and the others, on average, at most, and at the end.
      local function compare(noise, seeds)
        local sum, most, later = 0, 0, 0
        for seed = 1, seeds do
          local ideal = judge(text, count, { fixed = best, seed = seed, noise = noise })
          local seconds, early = judge(text, count, { seed = seed, noise = noise })
          sum, most = sum + seconds / ideal, math.max(most, seconds / ideal)
          later = later + (seconds - early) / (0.95 * ideal)
        end
        return sum / seeds, most, later / seeds
      end

      it(("comes to 0.95 of the best for %s, and stays there after a twentieth of the rows"):format(text), function()
        for noise, seeds in pairs { [0] = 1, [0.3] = 4 } do
          local mean, most, later = compare(noise, seeds)
          assert(1 / mean >= 0.95 and most <= 1.1 and 1 / later >= 0.95,
            ("%g of it, %g times its time at most, %g in the end"):format(1 / mean, most, 1 / later))
        end
      end)

      it(("takes at most 1.1 times as long for %s where rows differ by their half and more"):format(text), function()
        local mean = compare(0.6, 8)
        assert(mean <= 1.1, mean .. " times as long")
      end)
    end
  end

  it("lets no row wait too long where rows take long, or time is short", function()
    local _, _, most, longest = judge("slots:1", 400, { seconds = 30 })
    assert(most <= 16 and longest < 600, ("%d at a time, %g s"):format(most, longest))
    _, _, most, longest = judge("slots:1", 400, { seconds = 2, timeout = 60 })
    assert(most <= 16 and longest < 60, ("%d at a time, %g s"):format(most, longest))
    _, _, most = judge("batching:64", 2000, { seconds = 30 })
    assert(most >= 64, ("%d at a time"):format(most))
  end)

  it("stays at what is fixed, and within the room that there is", function()
    assert.equal(700, concurrency.new(700).limit)
    assert.equal(5, concurrency.new(700, 5).limit)
    assert.equal(5, concurrency.new(nil, 5).limit)
    local _, _, most = judge("batching:64", 500, { fixed = 3 })
    assert.equal(3, most)
  end)
end)
