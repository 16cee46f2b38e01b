-- A transport and a loop without sockets and without time: what the server answers is a script, and the clock moves
-- only when somebody waits.
--
--     local net = fake.net { { status = 200, json = {...} }, { fail = { kind = "connect", phase = "connect" } } }
--     local client = net:connect { retry = false }
--     net.requests[1].body      -- what was sent, decoded
--
-- A reply: `status` (200), `headers`, then either `json` (a value), `body` (a string) or `chunks` (a list of strings,
-- { fail = ... } and { pause = seconds }); `delay` seconds before the head; `fail` instead of a head; `hang = true`
-- for no answer at all. The last reply of the list repeats.

local blocking = require "lmm.loop.blocking"
local json = require "lmm.json"
local loops = require "lmm.loop"
local known = require "spec.support.replies"

local fake = {}

local clock = blocking.new()
clock.time, clock.events = 1000, {}

function clock:now()
  return self.time
end

local function at(time, fn)
  local events, i = clock.events, #clock.events + 1
  while i > 1 and events[i - 1].time > time do i = i - 1 end
  table.insert(events, i, { time = time, fn = fn })
end

clock:poller { poll = function(seconds)
  local event = clock.events[1]
  local target = clock.time + seconds
  if event and event.time <= target then
    table.remove(clock.events, 1)
    clock.time = math.max(clock.time, event.time)
    event.fn()
  else
    clock.time = target
  end
  return #clock.events > 0
end }

loops.use(clock)
fake.loop = clock

--- Runs `fn` when the clock has moved on by `seconds`.
function fake.after(seconds, fn)
  at(clock.time + seconds, fn)
end

local Transfer = {}
Transfer.__index = Transfer

function Transfer:await(field, deadline)
  while true do
    if self.closed then return nil, { kind = "cancelled" } end
    local value = self[field](self)
    if value ~= nil then return value end
    if self.failure then return nil, self.failure end
    if self.ended then return nil end
    local ok, why = clock:wait(self.cell, deadline)
    if not ok then return nil, { kind = why, phase = self.got_head and "receive" or "wait" } end
  end
end

function Transfer:head(deadline)
  return self:await("take_head", deadline)
end

function Transfer:read(deadline)
  return self:await("take_bytes", deadline)
end

function Transfer:take_head()
  return self.got_head
end

function Transfer:take_bytes()
  return table.remove(self.bytes, 1)
end

function Transfer:close()
  if self.closed then return end
  self.closed = true
  clock:wake(self.cell)
end

--- Plays a reply on a transfer, step by step as the clock moves.
local function play(transfer, reply)
  local time = clock.time + (reply.delay or 0)
  local function step(fn)
    at(time, function()
      fn()
      clock:wake(transfer.cell)
    end)
  end
  if reply.hang then return end
  if reply.fail then return step(function() transfer.failure = reply.fail end) end
  step(function() transfer.got_head = { status = reply.status or 200, headers = reply.headers or {} } end)
  for _, chunk in ipairs(reply.chunks or { reply.json and known.encode(reply.json) or reply.body }) do
    if type(chunk) == "string" then
      step(function() table.insert(transfer.bytes, chunk) end)
    elseif chunk.pause then
      time = time + chunk.pause
    else
      return step(function() transfer.failure = chunk.fail end)
    end
  end
  step(function() transfer.ended = true end)
end

local Net = {}
Net.__index = Net

--- A network that answers each request with the next of `replies`.
function fake.net(replies)
  return setmetatable({ replies = replies, requests = {}, transfers = {} }, Net)
end

local function read_all(body)
  local pieces = {}
  body:rewind()
  for piece in function() return body:read(65536) end do pieces[#pieces + 1] = piece end
  return table.concat(pieces)
end

function Net:start(request)
  local text = request.body and read_all(request.body)
  local seen = { method = request.method, url = request.url, headers = request.headers, text = text, time = clock.time,
    connect_timeout = request.connect_timeout, body = text and json.decode(text) }
  self.requests[#self.requests + 1] = seen
  local transfer = setmetatable({ cell = {}, bytes = {} }, Transfer)
  self.transfers[#self.transfers + 1] = transfer
  play(transfer, self.replies[math.min(#self.requests, #self.replies)])
  return transfer
end

--- A client of this network, with a model and a dialect of its own unless `opts` has "" for them.
function Net:connect(opts)
  local given = { base_url = "http://fake/v1", model = "m", dialect = "generic", transport = self }
  for name, value in pairs(opts or {}) do given[name] = value end
  if given.model == "" then given.model = nil end
  if given.dialect == "" then given.dialect = nil end
  return require("lmm").connect(given)
end

--- What servers answer, as replies of such a network: fake.event, delta, streamed, answer, whole.
for name, fn in pairs(known) do fake[name] = fn end

return fake
