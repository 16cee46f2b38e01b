--- How many rows run at a time: when rows start and how they end come in; the limit goes out, and the time before which
--- none may start.
---
--- The rule. A server like vLLM refuses nothing: it queues. So nothing but its throughput tells whether more rows at a
--- time do any good, and nothing but their latency tells what they cost.
---
--- 1. A measure is taken of rows that start while the limit is reached, so that the limit is what bounds the run. By
---    Little's law `n` rows at a time of `L` seconds each are a throughput of n / L; the mean of some dozen latencies
---    says it sooner and with less noise than counting what comes out, and its standard error is known with it.
--- 2. Growing: the limit begins at 4 and doubles as long as that gains 15 % of throughput; else it goes back to the
---    best so far. Half of a limit's rows are measured each time: that is quick, and the step is so large that noise
---    matters little.
--- 3. Steady: the limit is measured, then a limit a quarter above or below it, in turn, each with twice its rows. Up is
---    taken where throughput gains 3 % and more than twice the standard error. Down is taken where it loses less than
---    2 %: of two limits with the same throughput the lower has the shorter latency, so that is the brake against
---    queues that only grow. What was taken is tried further in the same direction; what was not doubles the rows until
---    the next try in that direction: a run that has found its place is left alone, one whose rows change is not.
--- 4. A try ends as soon as it is plain that it will not be taken: when what it has measured so far is worse by more
---    than twice the standard error, or has lost a third of the throughput. A server that collapses is not asked to the
---    end.
--- 5. A refusal for load (429, 503, 529) says what rows cannot: the limit becomes one less than ran when the refused
---    row began, and is not tried above that for some time, which doubles. Where nothing went well in between it takes
---    a third off, and the limit grows again as at first once something does. All rows are held back for as long as the
---    server asks, or for a delay from 0.1 s that doubles up to 8.

local MOST = 512 -- rows at a time, which nothing goes beyond: each has a socket

local INITIAL = 4
local GAIN, STEP_GAIN, STEP_LOSS, COLLAPSE = 1.15, 0.03, 0.02, 1.5
local ROWS = 24 -- that a measure has at least, in the steady phase
local FEW = 8 -- that tell at the earliest that a try has failed
local FIRST_REST, LONGEST_REST = 2, 64 -- measures between two tries in a direction
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
---@return lmm.Concurrency
function concurrency.new(fixed, room)
  local most = math.min(room or MOST, MOST)
  fixed = fixed and math.min(fixed, room or fixed)
  local self = setmetatable({
    fixed = fixed, most = most, limit = fixed or math.min(INITIAL, most), epoch = 0, held_until = -math.huge,
    hold = FIRST_HOLD, ceiling = most, ceiling_rest = FIRST_REST, decreased_at = -math.huge,
    best = nil,    -- growing: the measure of the best limit so far
    steady = nil,  -- the measure of the limit from which another one is tried
    trial = nil,   -- +1 or -1 while another limit is tried
    direction = 1, -- that is tried first
    measures = 0, rests = nil, due = nil, -- by direction: measures between two tries, and at which the next one is
    ceiling_left = 0,
  }, Concurrency)
  self:set_limit(self.limit)
  return self
end

--- Begins a measure of a limit.
function Concurrency:set_limit(limit)
  if limit ~= self.limit then self.epoch = self.epoch + 1 end
  self.limit = limit
  self.count, self.sum, self.squares = 0, 0, 0
  self.need = self.is_steady and math.max(ROWS, 2 * limit) or math.max(3, math.ceil(limit / 2))
end

--- A row starts: notes on it what its end is to be judged by.
---@param row table
---@param running integer  rows that run, with this one
function Concurrency:start(row, running, now)
  row.started, row.running, row.epoch = now, running, self.epoch
  row.is_measured = not self.fixed and running >= self.limit
end

--- What the rows measured so far say.
local function measure(self)
  local mean = self.sum / self.count
  local variance = math.max(0, self.squares / self.count - mean * mean)
  return { limit = self.limit, throughput = self.limit / mean,
    error = math.sqrt(variance / math.max(1, self.count - 1)) / mean } -- relative to it
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
  local found = measure(self)
  local best = self.best
  if best and found.throughput < GAIN * best.throughput then
    return settle(self, found.throughput > best.throughput and found.limit or best.limit)
  end
  self.best = found
  local limit = math.min(2 * self.limit, self.ceiling)
  if limit <= self.limit then return settle(self, self.limit) end
  self:set_limit(limit)
end

--- The limit to try next in a direction; nil where there is none.
local function neighbour(self, direction)
  local limit = self.limit + direction * math.max(1, math.floor(self.limit / 4))
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
    if not direction and self.due[way] <= self.measures and neighbour(self, way) then direction = way end
  end
  if not direction then return self:set_limit(self.limit) end
  self.trial = direction
  self:set_limit(neighbour(self, direction))
end

--- Whether the limit that is tried is to be taken; nil: that cannot be told yet.
local function verdict(self)
  local found, steady, direction = measure(self), self.steady, self.trial
  local noise = 2 * math.sqrt(found.error ^ 2 + steady.error ^ 2)
  local gain = found.throughput / steady.throughput - 1
  local least = direction > 0 and STEP_GAIN or -STEP_LOSS
  if self.count >= self.need then return gain > math.max(least, direction > 0 and noise or least) end
  if self.count >= FEW and self.count >= self.limit / 4 and gain + noise < least then return false end
end

local function end_trial(self, is_taken)
  local way = self.trial
  if is_taken then
    try_soon(self)
    self.steady, self.direction = measure(self), way
    local further = neighbour(self, way)
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
  return self.limit / (self.sum / self.count) < before.throughput / COLLAPSE
end

--- Refusals whose reason was no concurrency, such as a server that loads its model, are over.
local function grow_again(self)
  self.was_out, self.is_steady, self.best, self.trial, self.ceiling = nil, nil, nil, nil, self.most
  self:set_limit(self.limit)
end

--- A row ended well.
function Concurrency:succeed(row, now)
  if row.started > self.decreased_at then
    self.hold, self.went_well = FIRST_HOLD, true
    if self.was_out then grow_again(self) end
  end
  if not row.is_measured or row.epoch ~= self.epoch then return end
  local latency = math.max(now - row.started, 1e-6)
  self.count, self.sum, self.squares = self.count + 1, self.sum + latency, self.squares + latency * latency
  local is_full, collapses = self.count >= self.need, is_collapsing(self)
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
