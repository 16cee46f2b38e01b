--- What may come of an exchange: its attempts come in; the set of outcomes that are right goes out. An outcome is named
--- KIND@ATTEMPTS, as "ok@1" or "http 503@3".
local wire = require "spec.storm.wire"

local expect = {}

local PASSING = {}
for _, status in ipairs { 408, 409, 425, 429, 500, 502, 503, 504, 520, 529 } do PASSING[status] = true end

--- Whether a refusal is tried again; a wait that is asked for and too long ends it.
local function is_passing(status, attempt)
  local again = PASSING[status]
  if attempt.should_retry ~= nil then again = attempt.should_retry end
  return again and not attempt.too_long
end

local function refusal(status, attempt, text)
  return { kind = "http " .. status, status = status, again = is_passing(status, attempt), text = text,
    insists = attempt.should_retry }
end

--- Of a stream, of which the first `got` bytes have come.
local function of_stream(attempt, got, whole, ending)
  local last = { text = "", content = false, finished = false }
  for _, mark in ipairs(attempt.marks) do
    local at = whole and mark.data_at or mark.at -- at an end that is in order, the last event needs no line ends
    if at > got or mark.needs_end and not whole then break end
    if mark.status then
      local found = refusal(mark.status, attempt, last.text)
      found.again = found.again and not last.content
      return found
    elseif mark.broken then
      return { kind = "protocol", text = last.text }
    end
    last = mark
    if mark.done then break end
  end
  if last.finished then return { kind = "ok" } end
  if ending == "hold" and not whole then return { kind = "timeout", text = last.text } end
  -- An end that is in order, after some of the choices: the server may not know how to give several.
  if last.some and whole then return { kind = "ok", choices = last.some } end
  return { kind = "truncated", text = last.text, again = not last.content }
end

local function of_object(attempt, got, whole, ending)
  if not whole then
    return { kind = ending == "hold" and "timeout" or "truncated", again = ending ~= "hold", text = "" }
  end
  if not attempt.complete or got < attempt.complete then
    -- Where its JSON alone tells the end, an object that breaks off before it is whole or wrong is cut.
    local frame = attempt.frame
    local is_cut = frame.framing == "close" and got < (attempt.complete or attempt.wrong_at or 0)
      and frame.bytes:find("^%s*{", frame.head + 1) and frame.bytes:find("{", frame.head + 1, true) <= frame.head + got
    return { kind = is_cut and "truncated" or "protocol", again = is_cut, text = "" }
  end
  if attempt.status_inside then return refusal(attempt.status_inside, attempt, "") end
  return { kind = "ok" }
end

--- What comes of an attempt whose bytes end after `count`.
local function at_end(attempt, count, ending)
  local frame = attempt.frame
  local closes = ending ~= "hold"
  if count < frame.head then
    if not closes then return { { kind = "timeout", again = true, text = "" } } end
    if count == 0 then return { { kind = "connect", again = true, text = "" } } end
    local found = { { kind = "truncated", again = true, text = "" } }
    if count < frame.line then -- a line that is not complete counts as nothing, or as something that is not HTTP
      found[2] = { kind = "connect", again = true, text = "" }
      found[3] = { kind = "protocol", text = "" }
    end
    return found
  end
  if attempt.status then return { refusal(attempt.status, attempt, "") } end
  if attempt.encoded then return { { kind = "protocol", text = "" } } end
  local got = wire.body_at(frame, count)
  local whole = count >= #frame.bytes
  if frame.framing == "chunked" and closes then whole = count >= #frame.bytes - 1 end -- libcurl needs no last LF
  if frame.framing == "close" then whole = closes end -- the end of the connection is all that tells
  return { (attempt.marks and of_stream or of_object)(attempt, got, whole, ending) }
end

local function of_attempt(attempt, late)
  local count, fault = attempt.count, attempt.fault
  if not attempt.frame then return { { kind = "protocol", text = "" } } end -- not HTTP at all
  if fault == "reset" then
    -- A reset may take back what the client has not read yet.
    local found = at_end(attempt, count, "close")
    found[#found + 1] = { kind = "connect", again = true }
    found[#found + 1] = { kind = "truncated" }
    found[#found + 1] = { kind = "truncated", again = true }
    for _, outcome in ipairs(found) do outcome.text = nil end
    return found
  end
  local found = at_end(attempt, count, fault == "stall" and "hold" or "close")
  if late then -- and where it may be too late, it may be so before the head or behind it
    for _, outcome in ipairs(found) do outcome.text = nil end
    found[#found + 1] = { kind = "timeout", again = true }
    found[#found + 1] = { kind = "timeout" }
  end
  return found
end

--- The outcomes that are right, each with `text`, the first choice's text that has come, where that is known for sure.
---@param late boolean?  the time limit is so short that on a busy machine any attempt may reach it
---@return table<string, { text: string?, choices: integer? }>  choices: how many, where not all of them
function expect.outcomes(plan, late)
  local outcomes = {}
  local function go(number, failures)
    local attempt = plan.attempts[number]
    for _, outcome in ipairs(of_attempt(attempt, late)) do
      local internal = failures + (outcome.status == 500 and 1 or 0)
      local again = outcome.again and number < #plan.attempts and (internal <= 1 or outcome.insists == true)
      if again then
        go(number + 1, internal)
      else
        local name = outcome.kind .. "@" .. number
        local seen = outcomes[name]
        outcomes[name] = { text = not (seen and seen.text ~= outcome.text) and outcome.text or nil,
          choices = outcome.choices }
      end
    end
  end
  go(1, 0)
  return outcomes
end

return expect
