--- The run over all rows: a source of rows and a function come in; each row is run once, some at a time, until all have
--- ended or something ends the run; what came of it goes out. It holds as many rows as run at a time, and no others.
---
--- What goes wrong with a row is that row's error. What goes wrong with the server is not: a row that was refused for
--- load or did not reach the server is run again, all wait, and where that goes on for long the run ends. So does one
--- whose key is refused. Nothing is written of a row that the run's end has cut off.
local concurrency = require "lmm.bulk.concurrency"
local errors = require "lmm.errors"
local loops = require "lmm.loop"
local pace = require "lmm.bulk.pace"
local result = require "lmm.bulk.result"
local suspects = require "lmm.bulk.suspects"
local texts = require "lmm.text"

local SKIPPED_AT_ONCE = 500 -- rows that are passed over before others get their turn
local SYNC_INTERVAL, TICK = 5, 1 -- seconds
local FIRST_LOSS, LONGEST_LOSS = 0.5, 5 -- seconds between two looks for a server that is gone
local SERVER_TIMEOUT, LOAD_FACTOR = 60, 10 -- seconds; a server that refuses for load gets so many times more

---@class lmm.Row
---@field line integer  from 1
---@field id string
---@field item any

---@class lmm.RowSource
---@field next fun(self): lmm.Row?, lmm.Error?, boolean?  nil at the end; with an error where it is none: of the row
--- whose line comes along, or else of the whole source. `is_known` tells that the row is none of this run's

---@class lmm.Progress
---@field total integer?     rows, where that is known
---@field done integer       that went well, by earlier runs, too
---@field failed integer
---@field running integer
---@field concurrency integer
---@field seconds number     since this run began
---@field per_second number  rows, lately
---@field prompt_tokens integer
---@field completion_tokens integer
---@field waits_for string?  why nothing goes on: what the server said last

---@class lmm.Run
local Run = {}
Run.__index = Run

local run = {}

local MOST_LOSSES = 5 -- connections of one row that break while those of others do not
local KEPT_FREE, EACH = 16, 2 -- descriptors: for all else, and of a row, which has a socket and may have a medium

--- How many rows can run at a time without running out of files that the process may have open.
local function most_rows()
  return math.max(1, math.floor((require("lmm.version").check("lmm.files").room() - KEPT_FREE) / EACH))
end

--- Seconds after which a call of a client's fails for good.
local function timeout_of(client)
  local timeout = client and client.timeout or {}
  return math.min(timeout.first or math.huge, timeout.total or math.huge)
end

--- Makes a run.
---@param opts { source: lmm.RowSource, fn: fun(item: any, client: lmm.Client): any, client: lmm.Client?,
--- journal: lmm.Journal?, concurrency: integer?, rate: number?, max_tokens_per_minute: number?, max_errors: integer?,
--- on_progress: function?, server_timeout: number?, total: integer? }
---@return lmm.Run
function run.new(opts)
  local loop = loops.current()
  local now = loop:now()
  return setmetatable({
    loop = loop, source = opts.source, fn = opts.fn, client = opts.client, journal = opts.journal, total = opts.total,
    concurrency = concurrency.new(opts.concurrency, most_rows(), timeout_of(opts.client)),
    max_errors = opts.max_errors or math.huge,
    rate = opts.rate and pace.new(opts.rate, now),
    tokens = opts.max_tokens_per_minute and pace.new(opts.max_tokens_per_minute / 60, now),
    on_progress = opts.on_progress, server_timeout = opts.server_timeout or SERVER_TIMEOUT,
    began = now, tick_at = now + TICK, sync_at = now + SYNC_INTERVAL,
    again = {}, again_count = 0, running = 0, done = 0, failed = 0, prompt_tokens = 0, completion_tokens = 0,
    results = not opts.journal and {} or nil, failures = not opts.journal and {} or nil,
    stopped = nil,     -- the error that ends the run, or true
    lost_since = nil,  -- since when the server cannot be reached
    lost_last = nil,   -- the row that did not reach it last
    suspects = suspects.new(), -- that the run's own server may die of
    ended_count = 0,   -- rows of which something has come
    refused_since = nil,
    loss = FIRST_LOSS, last_count = 0, last_time = now, per_second = 0,
  }, Run)
end

--- Begins no more rows; those that run are finished.
---@param why lmm.Error?  what the run ends with
function Run:stop(why)
  self.stopped = self.stopped or why or errors.new { kind = "cancelled", message = "the run was stopped" }
  if self.cell then self.loop:wake(self.cell) end
end

--- Begins no row until `resume`; those that run go on.
---@param why string  what it waits for
function Run:hold(why)
  self.is_held, self.waits_for = true, why
end

--- Goes on, with a client of a server that is new: what the one before has lost or refused counts no more.
---@param client lmm.Client
function Run:resume(client)
  self.is_held, self.waits_for, self.lost_since, self.refused_since = nil, nil, nil, nil
  self.client, self.loss, self.concurrency.held_until = client, FIRST_LOSS, -math.huge
  self.suspects:start()
  if self.cell then self.loop:wake(self.cell) end
end

--- The run's own server has died. Whether it died of a row, which is an error then. See lmm.bulk.suspects.
---@param err lmm.Error  what the server died with
---@return boolean
function Run:blame(err)
  local last = self.again[self.again_count]
  local are_all_suspects = self.is_read and (not last or suspects.is(last)) and self:state().done > 0
  return self.suspects:blame(are_all_suspects, err)
end

--- How far it is.
---@return lmm.Progress
function Run:state()
  local journal, seconds = self.journal, self.loop:now() - self.began
  local is_early = self.last_time == self.began and seconds > 0
  return {
    total = self.total, done = journal and journal.done or self.done,
    failed = journal and journal.failed or self.failed,
    running = self.running, concurrency = self.concurrency.limit, seconds = seconds,
    per_second = is_early and (self.done + self.failed) / seconds or self.per_second,
    prompt_tokens = self.prompt_tokens, completion_tokens = self.completion_tokens,
    waits_for = self.waits_for,
  }
end

--- What is done once in a while.
function Run:tick(now)
  if now < self.tick_at then return end
  local count = self.done + self.failed
  local lately = (count - self.last_count) / (now - self.last_time)
  self.per_second = self.last_count == 0 and lately or 0.8 * self.per_second + 0.2 * lately
  self.last_count, self.last_time, self.tick_at = count, now, now + TICK
  if self.journal and now >= self.sync_at then
    self.sync_at = now + SYNC_INTERVAL
    local ok, err = self.journal:sync()
    if not ok then self:stop(err) end
  end
  if self.on_progress and self.on_progress(self:state()) == false then self:stop() end
end

-- ---- what comes next ---------------------------------------------------------------------------------------------

--- The next row of the source that is to be run; nil at the end, and true where there may be more.
---@return lmm.Row? row, true? more
function Run:read_row()
  for _ = 1, SKIPPED_AT_ONCE do
    if self.is_read then return nil end
    local row, err, is_known = self.source:next()
    if not row then
      self.is_read = true
      if err then self:stop(err) end
      return nil
    end
    local what, why = "run", nil
    if is_known then
      what = "skip"
    elseif self.journal then
      what, why = self.journal:meet(row.id)
    end
    if what == "again" then -- its error has an id of its own
      err = errors.new { kind = "invalid", message = ("line %d repeats the custom_id '%s'"):format(row.line, row.id) }
      row.id = ("%s, again on line %d"):format(row.id, row.line)
      what, why = self.journal:meet(row.id)
    end
    if not what then
      self:stop(errors.new { kind = "limit", message = why })
      return nil
    end
    if err and what ~= "skip" then
      self:fail(row, err)
      if self.stopped then return nil end
    elseif what == "run" then
      return row
    end
  end
  return nil, true
end

--- Those that were put back come first, the one that has waited longest; but where it is the only one, and was lost
--- last, another row shows whether the server is there; of a suspect, whether it answers any.
function Run:take_row()
  local row = self.again[1]
  local is_doubtful = row == self.lost_last
  if suspects.is(row) then is_doubtful = row.lost_at == self.ended_count and not self.suspects.has_answered end
  if not row or is_doubtful and not self.is_read then
    local new, more = self:read_row()
    if new or more or not row then return new, more end
  end
  row = table.remove(self.again, is_doubtful and self.again_count or 1)
  self.again_count = self.again_count - 1
  if not row.blame then return row end
  self:fail(row, row.blame)
  return nil, true
end

--- A row that was taken and cannot begin yet is the next one.
function Run:keep_row(row)
  self.again_count = self.again_count + 1
  table.insert(self.again, 1, row)
end

--- Whether a row is left to be run; it is read, and kept.
function Run:has_row()
  local row, more
  repeat
    row, more = self:take_row()
    if more then self.loop:wait({}, self.loop:now()) end -- others get their turn
  until not more or self.stopped
  if row then self:keep_row(row) end
  return row ~= nil
end

--- A row that begins costs as many tokens as others did on average, until it tells.
function Run:charge_mean(row, now)
  row.tokens = (self.prompt_tokens + self.completion_tokens) / math.max(1, self.done)
  self.tokens:charge(row.tokens, now)
end

function Run:next(running)
  self.running = running
  local now = self.loop:now()
  self:tick(now)
  if self.stopped then return nil, running > 0 and self.tick_at or nil end
  local control = self.concurrency
  local is_unknown = self.tokens and self.ended_count == 0 -- how many tokens a row takes
  local is_alone = self.lost_since or is_unknown or self.suspects.alone or suspects.is(self.again[1])
  local most = is_alone and 1 or control.limit
  if running >= most then return nil, self.tick_at end
  local begin = self.is_held and math.huge or math.max(control.held_until, self.rate and self.rate.next_time or now,
    self.tokens and self.tokens.next_time or now)
  local row, more = self:take_row()
  if not row then
    if more then return nil, now end
    return nil, running > 0 and not self.stopped and self.tick_at or nil
  end
  if suspects.is(row) and running > 0 then begin = math.huge end -- until it is alone
  if begin > now then -- for this row: the run's end waits for no time
    self:keep_row(row)
    return nil, math.min(begin, self.tick_at)
  end
  if self.rate then self.rate:charge(1, now) end
  if self.tokens then self:charge_mean(row, now) end
  self.suspects:begin(row)
  self.running = running + 1
  control:start(row, running + 1, now)
  return function() return row, self.fn(row.item, self.client) end
end

-- ---- what came of a row ------------------------------------------------------------------------------------------

local is_load = { [429] = true, [503] = true, [529] = true }
local is_quota = { insufficient_quota = true, billing_hard_limit_reached = true }

--- It is run again later; a suspect is before the others. The rows that are kept so have run, so there are no more of
--- them than run at a time.
function Run:put_back(row, now, since, patience, err)
  self.again_count = self.again_count + 1
  table.insert(self.again, suspects.is(row) and 1 or self.again_count, row)
  self.waits_for = err.message
  if now - since < patience then return end
  self:stop(errors.new { kind = err.kind, status = err.status, retryable = true,
    message = ("no row has gone well for %d s, so the run ends: %s"):format(math.floor(now - since), err.message) })
end

--- Whether a row is itself what breaks its connections: others have ended between, again and again; or it is the only
--- one that is left, and the server was there for others.
local function breaks(self, row, now)
  if row.lost_at ~= self.ended_count then row.lost_at, row.losses = self.ended_count, (row.losses or 0) + 1 end
  local is_last = self.is_read and self.again_count == 0 and self.ended_count > 0
  return row.losses >= MOST_LOSSES or is_last and now - self.lost_since >= self.server_timeout
end

--- Whether it is the server, and not the row, that something was wrong with.
---@return boolean
function Run:is_servers(row, err, now)
  if type(err) ~= "table" then return false end
  if err.kind == "connect" and err.retryable then
    self.lost_since, self.lost_last = self.lost_since or now, row
    if err.is_death then self.suspects:lose(row) end
    if breaks(self, row, now) then return false end
    if now >= self.concurrency.held_until then -- those that ran beside it are of the same loss
      self.concurrency:lose(now, self.loss)
      self.loss = math.min(2 * self.loss, LONGEST_LOSS)
    end
    self:put_back(row, now, self.lost_since, self.server_timeout, err)
  elseif err.kind == "http" and (is_quota[err.code] or is_quota[err.type] or err.status == 401) then
    self:stop(err)
  elseif err.ends_run then
    self:stop(err)
  elseif err.kind == "http" and is_load[err.status] then
    self.lost_since, self.refused_since = nil, self.refused_since or now
    self.concurrency:refuse(row, now, err.retry_after)
    self:put_back(row, now, self.refused_since, LOAD_FACTOR * self.server_timeout, err)
  else
    return (self.stopped or self.is_cancelled) and err.kind == "cancelled" or false
  end
  return true
end

function Run:fail(row, err)
  self.failed = self.failed + 1
  if self.journal then
    local ok, problem = self.journal:fail(row, err)
    if not ok then return self:stop(problem) end
  else
    self.failures[row.line] = err
  end
  local failed = self.journal and self.journal.failed or self.failed
  if failed <= self.max_errors then return end
  self:stop(errors.new { kind = "limit", message = ("%s failed, more than the %d that max_errors lets go, the "
    .. "last one, of line %d: %s"):format(texts.count(failed, "row"), self.max_errors, row.line,
    tostring(err.message or err)) })
end

--- The tokens of a prompt and its answer; none where a value does not tell.
local function tokens_of(value)
  local usage = result.usage(value) or {}
  return tonumber(usage.prompt_tokens) or 0, tonumber(usage.completion_tokens) or 0
end

function Run:succeed(row, value)
  local prompt, completion = tokens_of(value)
  self.prompt_tokens, self.completion_tokens = self.prompt_tokens + prompt, self.completion_tokens + completion
  if not self.journal then
    self.done, self.results[row.line] = self.done + 1, value
    return
  end
  local failed = self.journal.failed
  local ok, err = self.journal:succeed(row, value)
  if not ok then return self:stop(err) end
  if self.journal.failed > failed then self.failed = self.failed + 1 else self.done = self.done + 1 end
end

function Run:ended(row, value, message, err)
  local now = self.loop:now()
  local is_failure = value == nil and message ~= nil
  if self.tokens then
    local prompt, completion = tokens_of(value)
    self.tokens:charge(prompt + completion - row.tokens, now)
  end
  if is_failure and self:is_servers(row, err, now) then return end
  self.lost_since, self.refused_since, self.waits_for, self.loss = nil, nil, nil, FIRST_LOSS
  self.lost_last, self.ended_count = nil, self.ended_count + 1
  self.suspects:answer()
  if is_failure then
    return self:fail(row, type(err) == "table" and err or { message = result.message(message) })
  end
  self.concurrency:succeed(row, now)
  self:succeed(row, value)
end

--- Runs all rows. Raises what `fn` raises, once what ran has ended.
---@return true? done, lmm.Error? err  why it ended early
function Run:run()
  if loops.bounded(self) then
    if self.on_progress then self.on_progress(self:state()) end
    if self.stopped then return nil, self.stopped end
    return true
  end
  self:stop(errors.new { kind = "cancelled", message = "the run was cancelled" })
  return nil, self.stopped
end

return run
