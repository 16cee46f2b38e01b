--- The plan of one exchange: a seed and its number come in; what is asked, what the server does at each attempt, how
--- the client reads or leaves, and which outcomes are right go out. Client and server draw it alike.
local expect = require "spec.storm.expect"
local random = require "spec.storm.random"
local reply = require "spec.storm.reply"
local wire = require "spec.storm.wire"

local plan = {}

local FAULTS = {
  { "none", 40 }, { "cut", 14 }, { "reset", 10 }, { "stall", 6 }, { "noise", 5 }, { "excess", 3 }, { "dies", 6 },
}

local KINDS = {
  { "reply", 62 }, { "status", 16 }, { "error_inside", 8 }, { "broken_json", 3 }, { "html", 3 }, { "empty", 3 },
  { "encoded", 2 }, { "not_http", 2 }, { "redirect", 1 },
}

local STATUSES = { 400, 401, 403, 404, 408, 409, 413, 422, 429, 429, 500, 500, 502, 503, 503, 504, 425,
  520, 529 }

local HTML = "<!DOCTYPE html>\n<html><body><h1>It works!</h1></body></html>\n"

--- The forms in which servers refuse.
local function error_body(r, status)
  local message = reply.quote(r, "No " .. r:int(0, 999) .. ".\nAnd \226\130\172")
  return r:pick {
    ('{"error":{"message":%s,"type":"BadRequestError","param":null,"code":%d}}'):format(message, status),
    ('{"object":"error","message":%s,"type":"x","param":null,"code":%d}'):format(message, status),
    '{"error":"Unauthorized"}', '{"detail":"Not Found"}', "", HTML, "Service Unavailable\r\n", "null", "[]", "{",
  }
end

local function error_object(r, status)
  return ('{"error":{"message":%s,"type":"InternalServerError","param":null,"code":%d}}'):format(
    reply.quote(r, "It broke."), status)
end

local make = {}

--- A whole answer; `broken` stands in its middle.
local function answer(r, self, attempt, broken)
  local streamed = self.streamed ~= r:chance(0.03)
  local body
  if streamed then
    body, attempt.marks = reply.streamed(r, self.meant, broken)
  else
    body, attempt.complete = reply.whole(r, self.meant)
  end
  local kind = streamed and r:pick { "text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream" }
    or "application/json"
  return 200, { "Content-Type: " .. kind, r:pick { "Server: uvicorn", "content-encoding: identity" } }, body
end

make.reply = answer

function make.status(r, _, attempt)
  local status = r:pick(STATUSES)
  local headers, body = { "Content-Type: application/json" }, error_body(r, status)
  attempt.status = status
  if r:chance(0.3) then
    local header = r:pick { "Retry-After-Ms: 20", "Retry-After: 0", "Retry-After: soon", "Retry-After: 3600",
      "retry-after: -1" }
    attempt.too_long = header:find "3600" ~= nil
    headers[2] = header
  end
  if r:chance(0.1) then
    attempt.should_retry = r:chance(0.5)
    headers[#headers + 1] = "X-Should-Retry: " .. tostring(attempt.should_retry)
  end
  return status, headers, body
end

function make.redirect(_, _, attempt)
  attempt.status = 302
  return 302, { "Location: http://127.0.0.1:9/elsewhere" }, ""
end

function make.error_inside(r, self, attempt)
  local status = r:pick { 400, 429, 500, 503 }
  if self.streamed then
    local at = r:chance(0.4) and 0 or r:int(0, 99) / 100
    return answer(r, self, attempt, { at = at, data = error_object(r, status), mark = { status = status,
      name = r:pick { "error", false, false } } })
  end
  local body = error_object(r, status)
  attempt.status_inside, attempt.complete = status, #body
  return 200, { "Content-Type: application/json" }, body
end

function make.broken_json(r, self, attempt)
  local data = r:pick { '{"choices":[{"index":0,', "oops", '{"choices":[}', '"text"', "{]" }
  if self.streamed then
    return answer(r, self, attempt, { at = r:int(0, 99) / 100, data = data, mark = { broken = true } })
  end
  attempt.wrong_at = data == '{"choices":[{"index":0,' and #data + 1 or #data
  return 200, { "Content-Type: application/json" }, data
end

function make.html(r)
  return 200, { "Content-Type: text/html" .. r:pick { "", "; charset=utf-8" } }, HTML
end

function make.empty(r, self, attempt)
  if not self.streamed then return 200, { "Content-Type: application/json" }, r:pick { "", "\n" } end
  attempt.marks = {}
  return 200, { "Content-Type: text/event-stream" }, r:pick { "", "\n", ": bye\n\n", "\239\187\191", "data:\n\n" }
end

function make.encoded(_, _, attempt)
  attempt.encoded = true
  return 200, { "Content-Type: application/json", "Content-Encoding: gzip" }, "\31\139\8\0\0\0\0\0\0\3"
end

function make.not_http() end

local function garble(r, bytes)
  for _ = 1, r:int(1, 4) do
    local at = r:int(1, #bytes)
    local way = r:int(1, 3)
    bytes = bytes:sub(1, at - 1) .. (way == 1 and "" or string.char(r:int(0, 255)))
      .. (way == 3 and bytes:sub(at) or bytes:sub(at + 1))
  end
  return bytes
end

local EXCESS = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

--- What the server does when the request comes.
local function draw_attempt(r, self)
  local attempt = { kind = r:weighted(KINDS), fault = r:weighted(FAULTS) }
  local status, headers, body = make[attempt.kind](r, self, attempt)
  if not status then
    attempt.bytes, attempt.fault = r:pick { "SSH-2.0-OpenSSH_9.2\r\n", "220 mail ready\r\n", "\21\3\1\0\2\2\22" }, "cut"
    attempt.ending = "close"
  else
    local frame = wire.frame(r, status, headers, body, attempt.fault == "noise")
    attempt.frame, attempt.bytes = frame, frame.bytes
    attempt.ending = frame.keeps and "keep" or "close"
  end
  local fault = attempt.fault
  attempt.count = #attempt.bytes
  if attempt.frame and (fault == "cut" or fault == "reset" or fault == "stall") then
    -- Often near the end, where the reply is all but whole.
    local last = attempt.count - 1
    attempt.count = r:chance(0.1) and 0 or r:int(r:chance(0.3) and math.max(0, last - 60) or 0, last)
    attempt.ending = ({ cut = "close", reset = "reset", stall = "hold" })[fault]
  elseif fault == "noise" then
    attempt.bytes, attempt.ending = garble(r, attempt.bytes), r:pick { "close", "close", "reset" }
    attempt.count = #attempt.bytes
  elseif fault == "excess" and attempt.ending == "keep" then
    attempt.bytes = attempt.bytes .. r:pick { EXCESS, "\r\n", "x" }
    attempt.sticks = attempt.count -- what is too much comes with the reply's last byte
    attempt.count = #attempt.bytes
  elseif fault == "dies" and attempt.ending == "keep" then
    attempt.ending, attempt.dies_after = "die", r:pick { 0, 0, 1, 5, 30, 100 }
  elseif attempt.frame then
    attempt.fault = "none"
  end
  attempt.delay = r:chance(0.2) and r:int(0, 20) or nil
  attempt.cuts, attempt.way = wire.delivery(r, attempt.sticks and attempt.sticks - 1 or attempt.count)
  attempt.cuts[#attempt.cuts].to = attempt.count
  return attempt
end

local function draw_question(r)
  local words = {}
  for i = 1, r:int(1, 20) do words[i] = r:pick { "what", "is", "\195\169", "\240\159\140\153", "\"", "\\", "\n" } end
  local question = table.concat(words, " ")
  return r:chance(0.04) and question .. (" and"):rep(r:int(16000, 60000)) or question
end

local SHORT, FULL = 0.3, 1 -- seconds: where nothing but a time limit can come of it, and where something else may
local PLENTY = 60

--- Draws the plan of an exchange.
---@param seed integer
---@param number integer
---@param slowness number?  what the short time limits are multiplied by; the server need not know
function plan.draw(seed, number, slowness)
  local r = random.new(seed, number)
  local self = { seed = seed, number = number, streamed = r:chance(0.6), meant = nil, attempts = {} }
  self.meant = reply.draw(r)
  self.question = draw_question(r)
  self.retry = r:chance(0.4)
  local stalls, noisy = false, false
  for i = 1, self.retry and 3 or 1 do
    self.attempts[i] = draw_attempt(r, self)
    stalls = stalls or self.attempts[i].ending == "hold"
    noisy = noisy or self.attempts[i].fault == "noise"
  end
  self.leave = r:chance(0.15) and r:pick { "stream", "elsewhere", "task", "chat", "client", "drop" } or nil
  if self.leave and not self.streamed and self.leave ~= "chat" and self.leave ~= "client" then self.leave = "task" end
  self.leave_after = r:int(0, 25) -- milliseconds, or pieces
  self.talks = r:chance(0.4) or self.leave == "chat" -- through a conversation
  self.asks_model = r:chance(0.05)
  self.reader = r:pick { "next", "for", "events", "reply" }
  self.inner_task = r:chance(0.3)
  self.outcomes = not noisy and expect.outcomes(self) or nil
  local hopeful = not self.outcomes
  for name in pairs(self.outcomes or {}) do hopeful = hopeful or not name:find "^timeout" end
  self.limit = not stalls and PLENTY or (hopeful and FULL or SHORT) * (slowness or 1)
  if stalls and self.outcomes then self.outcomes = expect.outcomes(self, true) end
  return self
end

return plan
