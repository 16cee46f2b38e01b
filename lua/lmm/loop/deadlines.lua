--- The deadlines of tasks come in; the earliest goes out, and each task whose deadline has come.
--
-- A binary heap in two arrays: times[i] is not later than times[2 * i] and times[2 * i + 1]; items[i] is whose it is.
-- An item is a table with two fields for this: `deadline`, and `slot`, its place in the heap.
--
-- An item has one entry at most. A deadline that is put off stays where it is until the earlier time comes, and an item
-- that is removed leaves its time behind, so that the usual cases, a stream that is read on and a task that ends, cost
-- the same however many others there are.

local Deadlines = {}
Deadlines.__index = Deadlines

local deadlines = {}

function deadlines.new()
  return setmetatable({ times = {}, items = {}, size = 0, removed = 0 }, Deadlines)
end

local function place(self, slot, time, item)
  self.times[slot], self.items[slot] = time, item
  if item then item.slot = slot end
end

--- Puts an entry at a free slot, or above it where it is due earlier.
local function place_upwards(self, slot, time, item)
  local times = self.times
  while slot > 1 do
    local parent = math.floor(slot / 2)
    if times[parent] <= time then break end
    place(self, slot, times[parent], self.items[parent])
    slot = parent
  end
  place(self, slot, time, item)
end

--- Puts an entry at a free slot, or below it where it is due later.
local function place_downwards(self, slot, time, item)
  local times, size = self.times, self.size
  while true do
    local child = 2 * slot
    if child > size then break end
    if child < size and times[child + 1] < times[child] then child = child + 1 end
    if times[child] >= time then break end
    place(self, slot, times[child], self.items[child])
    slot = child
  end
  place(self, slot, time, item)
end

local function remove_first(self)
  local item, size = self.items[1], self.size
  local last_time, last_item = self.times[size], self.items[size]
  self.times[size], self.items[size], self.size = nil, nil, size - 1
  if size > 1 then place_downwards(self, 1, last_time, last_item) end
  if item then item.slot = nil else self.removed = self.removed - 1 end
end

--- Takes out what removed items have left.
local function compact(self)
  local times, items, size = self.times, self.items, 0
  for slot = 1, self.size do
    local time, item = times[slot], items[slot]
    times[slot], items[slot] = nil, nil
    if item then
      size = size + 1
      place(self, size, time, item)
    end
  end
  self.size, self.removed = size, 0
  for slot = math.floor(size / 2), 1, -1 do place_downwards(self, slot, times[slot], items[slot]) end
end

--- Gives an item another deadline; math.huge for none.
function Deadlines:set(item, deadline)
  item.deadline = deadline
  local slot = item.slot
  if slot then
    if deadline < self.times[slot] then place_upwards(self, slot, deadline, item) end
  elseif deadline < math.huge then
    slot = self.size + 1
    self.times[slot], self.items[slot] = deadline, item -- where this wants memory that is not there, nothing is changed
    self.size = slot
    place_upwards(self, slot, deadline, item)
  end
end

--- Forgets an item.
function Deadlines:remove(item)
  local slot = item.slot
  if not slot then return end
  self.items[slot], item.slot = false, nil
  self.removed = self.removed + 1
  if 2 * self.removed > self.size then compact(self) end
end

--- A time before which no deadline comes; math.huge where there is none.
function Deadlines:first()
  while self.size > 0 do
    local item = self.items[1]
    if item and item.deadline < math.huge then return self.times[1] end
    remove_first(self)
  end
  return math.huge
end

--- Takes out one item whose deadline has come; nil where there is none.
function Deadlines:take(now)
  while self.size > 0 and self.times[1] <= now do
    local item = self.items[1]
    local deadline = item and item.deadline or math.huge
    if now < deadline and deadline < math.huge then
      place_downwards(self, 1, deadline, item)
    else
      remove_first(self)
      if deadline <= now then return item end
    end
  end
end

return deadlines
