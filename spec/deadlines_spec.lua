-- The heap of deadlines, held against a list of all of them.
local deadlines = require "lmm.loop.deadlines"

local function take_all(heap, now)
  local taken = {}
  for item in function() return heap:take(now) end do taken[#taken + 1] = item end
  return taken
end

describe("deadlines", function()
  it("are taken in order, once they have come", function()
    local heap, items = deadlines.new(), {}
    for i, time in ipairs { 5, 3, 9, 1, 7, 3 } do
      items[i] = {}
      heap:set(items[i], time)
    end
    assert.equal(1, heap:first())
    assert.is_nil(heap:take(0.5))
    local times = {}
    for i, item in ipairs(take_all(heap, 7)) do times[i] = item.deadline end
    assert.same({ 1, 3, 3, 5, 7 }, times)
    assert.equal(9, heap:first())
  end)

  it("can be put off, put forward, and taken away", function()
    local heap, a, b, c = deadlines.new(), {}, {}, {}
    heap:set(a, 1)
    heap:set(b, 5)
    heap:set(c, 3)
    heap:set(a, 10)
    heap:set(b, 2)
    heap:set(c, math.huge)
    assert.same({ b }, take_all(heap, 9))
    assert.same({ a }, take_all(heap, 10))
    assert.same({ math.huge, 0 }, { heap:first(), heap.size })
  end)

  it("that are given to none take no place", function()
    local heap, item = deadlines.new(), {}
    heap:set(item, math.huge)
    heap:remove(item)
    assert.same({ math.huge, 0 }, { heap:first(), heap.size })
  end)

  it("are the same as those of a list, whatever is done to them", function()
    math.randomseed(7)
    local heap, items, now = deadlines.new(), {}, 0
    for i = 1, 50 do items[i] = { deadline = math.huge } end
    for _ = 1, 20000 do
      local item, what = items[math.random(#items)], math.random(10)
      if what <= 6 then
        heap:set(item, math.random(10) == 1 and math.huge or now + math.random(100))
      elseif what == 7 then
        heap:remove(item)
        item.deadline = math.huge
      else
        now = now + math.random(5)
        local expected, taken = {}, {}
        for _, other in ipairs(items) do
          if other.deadline <= now then expected[other] = true end
        end
        for _, other in ipairs(take_all(heap, now)) do
          assert(not taken[other], "taken twice")
          taken[other] = true
          other.deadline = math.huge
        end
        assert.same(expected, taken)
      end
      local earliest = math.huge
      for _, other in ipairs(items) do earliest = math.min(earliest, other.deadline) end
      assert(heap:first() <= earliest and (earliest < math.huge or heap:first() == math.huge))
      assert(heap.size <= 2 * #items, "grows")
    end
  end)

  it("that were taken away leave no item behind, and no time but for a while", function()
    local heap, items = deadlines.new(), {}
    local seen = setmetatable({}, { __mode = "k" })
    for i = 1, 1000 do
      items[i] = {}
      seen[items[i]] = true
      heap:set(items[i], i % 7)
    end
    for i = 1, 900 do heap:remove(table.remove(items, i % #items + 1)) end
    assert(heap.size <= 200, heap.size)
    collectgarbage()
    collectgarbage()
    local count = 0
    for _ in pairs(seen) do count = count + 1 end
    assert.equal(100, count)
    for _, item in ipairs(items) do heap:remove(item) end
    assert.equal(0, heap.size)
  end)
end)
