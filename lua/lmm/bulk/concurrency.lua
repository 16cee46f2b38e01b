--- How many rows run at a time: when rows start and how they end come in; the limit goes out, and the time before which
--- none may start.
---
--- The rule. A server like vLLM refuses nothing: it queues. So nothing but its throughput tells whether more rows at a
--- time do any good, and nothing but their latency tells what they cost.
---
--- 1. By Little's law, n rows at a time of L seconds each are a throughput of n / L. So each row that ends tells it: by
---    how long it took, and how many ran when it began. A measure is the mean of some dozen such rows, of those that
---    began when nearly as many ran as may; its standard error is known with it. It tells sooner than counting what
---    comes out, and it holds for rows that queue and for those that run at once.
--- 2. Growing: the limit begins at 16, goes to 64, and doubles from there as long as that gains 15 % of throughput;
---    else it goes back to the best so far. Four times as much is to gain more, or twice as much is tried. A dozen rows
---    are measured each time: the steps are so large that noise matters little. No step is taken by which a row would
---    wait longer than two fifths of its time limit if it gained nothing: with the limit of ten minutes a slot that
---    takes a minute for each row gets no 64 of them.
--- 3. Steady: the limit is measured, then a limit a quarter above or below it, in turn, each until its standard error
---    is 4 %, or twelve times as long as it takes at least. Up is taken where throughput gains 3 % and more than twice
---    the standard error. Down is taken where it loses 5 % at most, the standard error counted against it: of two
---    limits with the same throughput the lower has the shorter latency, so that is the brake against queues that only
---    grow. What was taken is tried further in the same direction, by half; what was not doubles the rows until the
---    next try in that direction: a run that has found its place is left alone, one whose rows change is not.
--- 4. A try ends as soon as it is plain that it will not be taken: when what it has measured so far is worse by more
---    than twice the standard error, or has lost a third of the throughput. A server that collapses is not asked to the
---    end.
--- 5. A refusal for load (429, 503, 529) says what rows cannot: the limit becomes one less than ran when the refused
---    row began, and is not tried above that for some time, which doubles. Where nothing went well in between it takes
---    a third off, and the limit grows again as at first once something does. All rows are held back for as long as the
---    server asks, or for a delay from 0.1 s that doubles up to 8.

local MOST = 512 -- rows at a time, which nothing goes beyond: each has a socket

local INITIAL, STEEP = 16, 32 -- below the second the limit grows by 4
local GAIN, STEEP_GAIN = 1.15, 2.2 -- of a step by 2, and of one by 4
local TIMEOUT, LONGEST_WAIT = 600, 0.4 -- seconds that a row may take, unless told; the part of them that it may queue
local STEP_GAIN, STEP_LOSS, COLLAPSE = 0.03, 0.05, 1.5
local NEAR = 0.75 -- of the limit: a row that begins when more run is measured
local GROWING_ROWS = 12 -- that a measure takes at most, while growing
local ROWS, LONGER = 24, 12 -- that one has at least in the steady phase, and how many times as many at most
local PRECISION = 0.04 -- standard error at which it is enough
local FEW = 8 -- that tell at the earliest that a try has failed
local FIRST_REST, LONGEST_REST = 4, 64 -- measures between two tries in a direction
local FIRST_HOLD, LONGEST_HOLD = 0.1, 8 -- seconds

---@class lmm.Concurrency
---@field limit integer     rows at a time
---@field held_until number no row starts before this
local Concurrency = {}
Concurrency.__index = Concurrency

local concurrency = {}

--- Makes it. With `fixed` the limit stays; refusals hold back all the same.
---@param fixed integer?
---@param room integer?  that neither goes beyond
---@param timeout number?  seconds after which a call fails (600)
---@return lmm.Concurrency
function concurrency.new(fixed, room, timeout)
  local most = math.min(room or MOST, MOST)
  fixed = fixed and math.min(fixed, room or fixed)
  local self = setmetatable({
    fixed = fixed, most = most, limit = fixed or math.min(INITIAL, most), epoch = 0, above = 0,
    held_until = -math.huge, hold = FIRST_HOLD, ceiling = most, ceiling_rest = FIRST_REST, decreased_at = -math.huge,
    best = nil,    -- growing: the measure of the best limit so far
    furthest = nil, -- growing: the limit that it is not to go beyond, since four times as much was too much
    steady = nil,  -- the measure of the limit from which another one is tried
    trial = nil,   -- +1 or -1 while another limit is tried
    direction = 1, -- that is tried first
    measures = 0, rests = nil, due = nil, -- by direction: measures between two tries, and at which the next one is
    ceiling_left = 0,
  }, Concurrency)
  self.above = math.floor(self.limit / 2)
  self.longest_wait = LONGEST_WAIT * math.min(timeout or TIMEOUT, TIMEOUT)
  self:set_limit(self.limit)
  return self
end

--- Begins a measure of a limit.
function Concurrency:set_limit(limit)
  if limit ~= self.limit then
    -- Rows that began when no more ran than before tell of the limit before.
    self.above = math.min(limit - 1, math.max(self.limit, math.floor(NEAR * limit)))
    self.epoch = self.epoch + 1
  end
  self.limit = limit
  self.count, self.sum, self.squares = 0, 0, 0
  self.need = self.is_steady and math.max(ROWS, 2 * limit) or math.max(3, math.min(limit / 4, GROWING_ROWS))
end

--- A row starts: notes on it what its end is to be judged by.
---@param row table
---@param running integer  rows that run, with this one
function Concurrency:start(row, running, now)
  row.started, row.running, row.epoch = now, running, self.epoch
  row.is_measured = not self.fixed and running > self.above
end

--- What the rows measured so far say; each counts as the seconds that the server took for it alone.
local function measure(self)
  local mean = self.sum / self.count
  local variance = math.max(0, self.squares / self.count - mean * mean)
  return { limit = self.limit, throughput = 1 / mean,
    error = math.sqrt(variance / math.max(1, self.count - 1)) / mean } -- relative to it
end

--- Whether there are enough of them.
local function is_enough(self)
  if self.count < self.need then return false end
  return not self.is_steady or self.count >= LONGER * self.need or measure(self).error <= PRECISION
end

--- Both directions are to be tried soon.
local function try_soon(self)
  self.rests, self.due = { [1] = FIRST_REST, [-1] = FIRST_REST }, { [1] = 0, [-1] = 0 }
end

local function settle(self, limit)
  if not self.is_steady then
    try_soon(self)
    self.direction = -1
  end
  self.is_steady, self.trial, self.steady = true, nil, nil
  self:set_limit(limit)
end

local function grow(self)
  local found, best = measure(self), self.best
  local is_steep = best and found.limit > 2 * best.limit
  if best and found.throughput < (is_steep and STEEP_GAIN or GAIN) * best.throughput then
    if not is_steep then return settle(self, best.limit) end
    self.furthest = 2 * best.limit
    return self:set_limit(self.furthest)
  end
  self.best = found
  local limit = (self.limit < STEEP and 4 or 2) * self.limit
  limit = math.min(limit, self.ceiling, self.furthest or limit, math.floor(found.throughput * self.longest_wait))
  if limit <= self.limit then return settle(self, self.limit) end
  self:set_limit(limit)
end

--- The limit to try next in a direction, a part of it away; nil where there is none.
local function neighbour(self, direction, part)
  local limit = self.limit + direction * math.max(1, math.floor(self.limit * part))
  limit = math.min(limit, self.ceiling)
  if limit < 1 or limit == self.limit then return nil end
  return limit
end

--- The limit has been measured: another one is tried, unless it is time to rest.
local function begin_trial(self)
  self.steady = measure(self)
  if self.ceiling_left > 0 then
    self.ceiling_left = self.ceiling_left - 1
    if self.ceiling_left == 0 then self.ceiling = self.most end
  end
  self.measures = self.measures + 1
  local direction
  for _, way in ipairs { self.direction, -self.direction } do
    if not direction and self.due[way] <= self.measures and neighbour(self, way, 1 / 4) then direction = way end
  end
  if not direction then return self:set_limit(self.limit) end
  self.trial = direction
  self:set_limit(neighbour(self, direction, 1 / 4))
end

--- Whether the limit that is tried is to be taken; nil: that cannot be told yet.
local function verdict(self)
  local found, steady, is_up = measure(self), self.steady, self.trial > 0
  local gain = found.throughput / steady.throughput - 1
  local least, noise = is_up and STEP_GAIN or -STEP_LOSS, math.sqrt(found.error ^ 2 + steady.error ^ 2)
  if self.count >= FEW and self.count >= self.limit / 4 and gain + 2 * noise < least then return false end
  if not is_enough(self) then return nil end
  if is_up then return gain > math.max(least, 2 * noise) end
  return gain - noise > least
end

local function end_trial(self, is_taken)
  local way = self.trial
  if is_taken then
    try_soon(self)
    self.steady, self.direction = measure(self), way
    local further = neighbour(self, way, 1 / 2)
    self.trial = further and way or nil
    return self:set_limit(further or self.limit)
  end
  self.direction, self.trial = -way, nil
  self.rests[way] = math.min(2 * self.rests[way], LONGEST_REST)
  self.due[way] = self.measures + self.rests[way]
  self:set_limit(self.steady.limit)
end

--- Whether this limit is known already to be far worse than the one before.
local function is_collapsing(self)
  local before = self.trial and self.steady or not self.is_steady and self.best
  if not before or self.count < 3 or self.count < self.limit / 8 then return false end
  return self.count / self.sum < before.throughput / COLLAPSE
end

--- Refusals whose reason was no concurrency, such as a server that loads its model, are over.
local function grow_again(self)
  self.was_out, self.is_steady, self.best, self.furthest, self.trial, self.ceiling = nil, nil, nil, nil, nil, self.most
  self:set_limit(self.limit)
end

--- A row ended well.
function Concurrency:succeed(row, now)
  if row.started > self.decreased_at then
    self.hold, self.went_well = FIRST_HOLD, true
    if self.was_out then grow_again(self) end
  end
  if not row.is_measured or row.epoch ~= self.epoch then return end
  local seconds = math.max(now - row.started, 1e-6) / row.running
  self.count, self.sum, self.squares = self.count + 1, self.sum + seconds, self.squares + seconds * seconds
  local is_full, collapses = is_enough(self), is_collapsing(self)
  if self.trial then
    local is_taken = not collapses and verdict(self)
    if is_taken ~= nil then end_trial(self, is_taken) end
  elseif is_full or collapses then
    if self.is_steady then begin_trial(self) else grow(self) end
  end
end

--- A row was refused for load: all are held back.
---@param retry_after number?  seconds that the server asks for
function Concurrency:refuse(row, now, retry_after)
  local is_first = row.started > self.decreased_at
  if is_first or retry_after then
    self.held_until = math.max(self.held_until, now + (retry_after or self.hold))
  end
  if is_first then self.hold = math.min(2 * self.hold, LONGEST_HOLD) end
  if self.fixed then
    if is_first then self.decreased_at = now end
    return
  end
  local limit = math.min(self.limit, row.running - 1)
  if is_first then
    if not self.went_well then
      limit, self.was_out = math.min(limit, math.floor(self.limit * 2 / 3)), true
    end
    self.went_well, self.decreased_at = false, now
    self.ceiling_rest = math.min(2 * self.ceiling_rest, LONGEST_REST)
  elseif row.epoch ~= self.refused_epoch then
    return -- of rows from before the limit that has been lowered already
  end
  self.refused_epoch = row.epoch
  self.ceiling, self.ceiling_left = math.max(1, limit), self.ceiling_rest
  settle(self, self.ceiling)
end

--- The server cannot be reached: all are held back, and one row at a time finds out when it is there again.
function Concurrency:lose(now, seconds)
  self.held_until = math.max(self.held_until, now + seconds)
end

return concurrency
