--- The server of a storm: requests come in, each naming its exchange by seed and number; what the plan of that exchange
--- says goes out. It keeps count of what the client must not do.
--
--     POST /v1/chat/completions   an exchange; "Authorization: Bearer ATTEMPT" tells which attempt it is
--     GET /v1/models              one model
--     GET /storm/sleep?MS         answers after so many milliseconds
--     GET /storm/rest             closes the connections that nobody uses, waits until no exchange is under way, and
--                                 answers { busy, open, closed, requests, replays, complaints }
local child = require "lmm.server.child"
local cjson = require "cjson"
local plan = require "spec.storm.plan"
local uv = require "luv"

local M = {}

local PATIENCE = 5000 -- milliseconds for the client's closing to be seen here
local WATCH = 120     -- seconds without a request after which the client hangs

local records = {}      -- exchange -> what is known of it
local connections = {}  -- connection -> true
local complaints, requests, replays, last_request = {}, 0, 0, 0

local Connection = {}
Connection.__index = Connection

local function complain(format, ...)
  complaints[#complaints + 1] = format:format(...)
end

-- ---- what goes out -----------------------------------------------------------------------------------------------

function Connection:close(how)
  if self.socket:is_closing() then return end
  self.busy, self.exchange = false, nil
  self.timer:close()
  self.socket[how or "close"](self.socket)
  connections[self] = nil
end

function Connection:after(milliseconds, fn)
  if not self.socket:is_closing() then self.timer:start(milliseconds, 0, fn) end
end

--- The reply is out.
function Connection:ended(attempt)
  local ending = attempt.ending
  if ending == "hold" then return end
  if ending == "reset" then return self:close "close_reset" end
  if ending == "close" then return self:close() end
  self.busy, self.exchange, self.served = false, nil, true
  if ending == "die" then
    self:after(attempt.dies_after, function() if not self.busy then self:close() end end)
  end
  self:take ""
end

--- Sends the attempt's bytes from its cut number `index` on.
function Connection:deliver(attempt, index, from)
  local cut = attempt.cuts[index]
  if self.socket:is_closing() then return end
  if not cut then return self:ended(attempt) end
  local function go_on(err)
    if err then return self:close() end
    if not cut.pause then return self:deliver(attempt, index + 1, cut.to) end
    self:after(cut.pause, function() self:deliver(attempt, index + 1, cut.to) end)
  end
  if cut.to <= from then return go_on() end
  self.socket:write(attempt.bytes:sub(from + 1, cut.to), go_on)
end

function Connection:answer(status, value)
  local body = cjson.encode(value)
  local head = ("HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"):format(status, #body)
  local bytes = head .. body
  self:deliver({ bytes = bytes, cuts = { { to = #bytes } }, ending = "keep" }, 1, 0)
end

-- ---- what comes in -----------------------------------------------------------------------------------------------

--- Looks whether a request is one that the plan allows; gives the attempt to play.
function Connection:check(number, record, index, body, request)
  local drawn = record.plan
  local attempt = drawn.attempts[index]
  if not attempt then
    complain("exchange %d: attempt %d of %d allowed", number, index, #drawn.attempts)
    return drawn.attempts[#drawn.attempts]
  end
  local seen = record.seen[index]
  if not seen then
    record.seen[index] = { replay = false }
  elseif seen.replay then -- its connection, used before, died under it
    seen.replay = false
    replays = replays + 1
  else
    complain("exchange %d: attempt %d was sent again", number, index)
  end
  if self.served and attempt.fault ~= "none" and attempt.count < (attempt.frame and attempt.frame.line or 99)
    or self.served and attempt.fault == "noise" or self.served and attempt.fault == "reset" then
    record.seen[index].replay = true
  end
  record.body = record.body or body
  if record.body ~= body then complain("exchange %d: attempt %d brought another body", number, index) end
  local messages = request.messages
  if messages[#messages].content ~= drawn.question then complain("exchange %d: another question came", number) end
  if (request.stream == true) ~= drawn.streamed then
    complain("exchange %d: 'stream' came as %s", number, tostring(request.stream))
  end
  return attempt
end

function Connection:exchange_request(head, body)
  local ok, request = pcall(cjson.decode, body)
  if not ok then return complain("a body is no JSON: %s", body:sub(1, 200)) end
  local number = request.storm.number
  local record = records[number]
  if not record then
    record = { plan = plan.draw(request.storm.seed, number), seen = {} }
    records[number] = record
  end
  self.exchange = number
  local attempt = self:check(number, record, tonumber(head:match "[Aa]uthorization: Bearer (%d+)" or 1), body, request)
  if not attempt.delay then return self:deliver(attempt, 1, 0) end
  self:after(attempt.delay, function() self:deliver(attempt, 1, 0) end)
end

--- Closes what nobody uses; answers when no exchange is under way any more, or after a while.
function Connection:rest()
  local closed, deadline = 0, uv.now() + PATIENCE
  local function look()
    local busy, open = {}, 0
    for other in pairs(connections) do
      if other == self then
        open = open + 1
      elseif other.busy then
        open = open + 1
        busy[#busy + 1] = other.exchange or 0
      else
        other:close()
        closed = closed + 1
      end
    end
    if #busy > 0 and uv.now() < deadline then return self:after(20, look) end
    table.sort(busy)
    for _, number in ipairs(busy) do complain("exchange %d: its connection is still open", number) end
    local report = { busy = #busy, open = open, closed = closed, requests = requests, replays = replays,
      complaints = table.concat(complaints, "\n") }
    records, complaints, requests, replays = {}, {}, 0, 0
    self:answer(200, report)
  end
  look()
end

function Connection:request(head, body)
  requests, last_request = requests + 1, uv.now()
  self.busy = true
  local path = head:match "^%u+ (%S+)"
  if path == "/v1/chat/completions" then return self:exchange_request(head, body) end
  if path == "/v1/models" then return self:answer(200, { data = { { id = "storm" } } }) end
  if path == "/storm/rest" then return self:rest() end
  local delay = tonumber(path:match "^/storm/sleep%?(%d+)$")
  if not delay then return complain("an unknown path: %s", path) end
  self:after(delay, function() self:answer(200, { slept = delay }) end)
end

function Connection:take(bytes)
  self.input[#self.input + 1] = bytes
  self.length = self.length + #bytes
  if self.busy or self.length < (self.need or 1) then return end
  local input = table.concat(self.input)
  self.input = { input }
  local _, stop = input:find("\r\n\r\n", 1, true)
  if not stop then return end
  self.need = stop + (tonumber(input:sub(1, stop):lower():match "\r\ncontent%-length: *(%d+)") or 0)
  if #input < self.need then return end
  local head, body, rest = input:sub(1, stop), input:sub(stop + 1, self.need), input:sub(self.need + 1)
  if rest ~= "" then complain("exchange %s: more came than one request", tostring(self.exchange)) end
  self.input, self.length, self.need = { rest }, #rest, nil
  self:request(head, body)
end

-- ---- the process -------------------------------------------------------------------------------------------------

--- Ends a client that hangs: it could not tell by itself.
local function watch()
  if uv.now() - last_request < WATCH * 1000 then return end
  local busy = {}
  for connection in pairs(connections) do
    if connection.exchange then busy[#busy + 1] = connection.exchange end
  end
  table.sort(busy)
  io.stderr:write(("storm: no request for %d s: the client hangs; under way: %s\n"):format(WATCH,
    table.concat(busy, " ")))
  if child.owner then uv.kill(child.owner, "sigkill") end
  os.exit(1)
end

--- The program of the child process.
function M.main()
  uv.new_signal():start("sigpipe", function() end) -- else a write to a client that is gone would end this process
  local listener = uv.new_tcp()
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(128, function()
    local connection = setmetatable({ socket = uv.new_tcp(), timer = uv.new_timer(), input = {}, length = 0 },
      Connection)
    assert(listener:accept(connection.socket))
    connection.socket:nodelay(true)
    connections[connection] = true
    connection.socket:read_start(function(_, bytes)
      if bytes then connection:take(bytes) else connection:close() end
    end)
  end))
  last_request = uv.now()
  uv.new_timer():start(1000, 1000, watch)
  child.ready(uv, ("listening 127.0.0.1:%d"):format(listener:getsockname().port))
  uv.run()
end

return M
