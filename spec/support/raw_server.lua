--- The child's side of spec.support.raw: plays a scenario on raw sockets and records what it sees.
--
-- In:  a prefix of file names, and where to listen; PREFIX.scenarios returns the scenarios, one for each accepted
--      connection.
-- Out: PREFIX.events with one line per event, in the order in which they happened, and PREFIX.received.N with all bytes
--      that connection N brought. Every line and byte is there before the server acts on it.

local uv = require "luv"
local child = require "lmm.server.child"
local digest = require "openssl.digest"

local M = {}

local Connection = {}
Connection.__index = Connection

local function hex(bytes)
  return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

function Connection:note(...)
  self.events:write(table.concat({ ... }, " "), "\n")
  self.events:flush()
end

-- Counts an event, notes it, and goes on with the scenarios that await it.
function Connection:happened(event, ...)
  self.seen[event] = self.seen[event] + 1
  self.totals[event] = (self.totals[event] or 0) + 1
  self:note(event, self.number, ...)
  for _, other in ipairs(self.all) do other:go_on "awaiting" end
end

-- ---- what comes in ---------------------------------------------------------------------------------------------

-- The end of a head, or of a body of known length, is found however the bytes are split.
function Connection:take(bytes)
  while bytes ~= "" do
    if not self.body then
      self.head = self.head .. bytes
      local _, stop = self.head:find("\r\n\r\n", 1, true)
      if not stop then return end
      bytes = self.head:sub(stop + 1)
      local length = self.head:sub(1, stop):lower():match "\r\ncontent%-length: *(%d+)"
      self.head, self.left = "", tonumber(length or 0)
      self.body, self.length = digest.new "sha256", length or "0"
      self:happened "head"
    end
    local piece = bytes:sub(1, self.left)
    bytes = bytes:sub(#piece + 1)
    self.left = self.left - #piece
    self.body:update(piece)
    if self.left > 0 then return end
    local sum = hex(self.body:final())
    self.body = nil
    self:happened("request", self.length, sum)
  end
end

function Connection:read()
  self.socket:read_start(function(err, bytes)
    if bytes then
      self.received:write(bytes)
      self.received:flush()
      self:take(bytes)
    else
      self:happened("closed", err or "EOF")
      self:close()
    end
  end)
end

-- ---- what the scenario does --------------------------------------------------------------------------------------

function Connection:close(how)
  if self.socket:is_closing() then return end
  self.socket[how or "close"](self.socket)
  self.timer:close()
  self.received:close()
end

-- Waits until the bytes are on their way, so that closing does not take them back.
function Connection:send(bytes)
  if self.socket:is_closing() then return end
  self.socket:write(bytes, function() self:go_on "sending" end)
  coroutine.yield "sending"
end

function Connection:sleep(seconds)
  if self.socket:is_closing() then return end
  self.timer:start(math.floor(seconds * 1000 + 0.5), 0, function() self:go_on "sleeping" end)
  coroutine.yield "sleeping"
end

-- Each step is named by the field that it must have.
local STEPS = {
  send = function(self, step) self:send(step.send) end,
  dribble = function(self, step)
    for byte in step.dribble:gmatch "." do
      self:send(byte)
      self:sleep(step.every)
    end
  end,
  pause = function(self, step) self:sleep(step.pause) end,
  await = function(self, step)
    local event = step.await == "close" and "closed" or step.await
    self.awaited[event] = self.awaited[event] + 1
    while self.seen[event] < self.awaited[event] do coroutine.yield "awaiting" end
  end,
  await_all = function(self, step)
    while self.totals.request < step.await_all do coroutine.yield "awaiting" end
  end,
  deaf = function(self) self.socket:read_stop() end,
  shut = function(self)
    self.server:shut()
    coroutine.yield "shutting"
  end,
  close = function(self) self:close() end,
  reset = function(self) self:close "close_reset" end,
  hold = function() coroutine.yield "holding" end,
}

local function find_step(step)
  for name in pairs(step) do
    if STEPS[name] then return STEPS[name] end
  end
  error("a step without a name", 0)
end

function Connection:play(scenario)
  for _, step in ipairs(scenario) do find_step(step)(self, step) end
  self:close()
end

-- Goes on with a scenario that stands in this state.
function Connection:go_on(state)
  if self.state ~= state then return end
  local ok, next_state = coroutine.resume(self.player)
  if not ok then error(next_state, 0) end
  self.state = next_state
end

-- ---- who is let in -----------------------------------------------------------------------------------------------

local Server = {}
Server.__index = Server

local BACKLOG, GUESTS = 1, 12 -- a kernel lets in one or two more than the backlog

function Server:knock(count)
  local own = self.listener:getsockname()
  for _ = 1, count do
    local guest = uv.new_tcp()
    guest:connect(own.ip, own.port, function() end)
    self.guests[#self.guests + 1] = guest
  end
end

-- luv holds the first guest, and takes no other before that is accepted.
function Server:shut()
  self.guests = {}
  assert(self.listener:listen(BACKLOG, function() self:fill() end))
  self:knock(1)
end

function Server:fill()
  self:knock(GUESTS)
  for _, connection in ipairs(self.all) do connection:go_on "shutting" end
end

-- ---- starting --------------------------------------------------------------------------------------------------

--- The program of the child process.
---@param words string[]  the prefix, the host, the port
function M.main(words)
  local prefix = words[1]
  local scenarios = dofile(prefix .. ".scenarios")
  local events = assert(io.open(prefix .. ".events", "a"))
  local accepted, all, totals = 0, {}, { request = 0 }

  local listener = uv.new_tcp()
  local server = setmetatable({ listener = listener, all = all }, Server)
  assert(listener:bind(words[2], tonumber(words[3])))
  assert(listener:listen(128, function()
    if server.guests then return server:fill() end
    accepted = accepted + 1
    local scenario = scenarios[math.min(accepted, #scenarios)]
    local connection = setmetatable({
      number = accepted, socket = uv.new_tcp(), timer = uv.new_timer(), events = events, head = "",
      received = assert(io.open(prefix .. ".received." .. accepted, "wb")), state = "new",
      seen = { head = 0, request = 0, closed = 0 }, awaited = { head = 0, request = 0, closed = 0 },
      server = server, all = all, totals = totals,
    }, Connection)
    all[accepted] = connection
    assert(listener:accept(connection.socket))
    connection.socket:nodelay(true)
    connection:note("accepted", accepted, connection.socket:getpeername().port)
    connection.player = coroutine.create(function() connection:play(scenario) end)
    connection:read()
    connection:go_on "new"
  end))
  child.ready(uv, string.format("listening %s:%d", words[2], listener:getsockname().port))
  uv.run()
end

return M
