--- A chat answer as it is sent: a list of steps played over time, so that a fault is a change to that list.
--
-- In:  an answer, and what should go wrong, which stands in a request's own field `mock`: clients pass it through as
--      they pass every field they do not know.
-- Out: what is written to the response, and when.

local uv = require "luv"
local json = require "lmm.json"
local options = require "lmm.options"
local wire = require "lmm.mock.wire"

local M = {}

local JSON = { ["content-type"] = "application/json" }
local EVENTS = { ["content-type"] = "text/event-stream; charset=utf-8" }

---@param problem { status: integer, message: string, type: string?, param: string? }
---@param headers? table<string, string|number>  besides the content's type
function M.send_error(response, problem, headers)
  local all = { ["content-type"] = "application/json" }
  for name, value in pairs(headers or {}) do all[name] = value end
  response:send(problem.status, all, wire.error(problem))
end

-- ---- faults on demand ------------------------------------------------------------------------------------------

---@alias lmm.mock.Fault table  the fields of a request's `mock`

-- The fields of a request's `mock`. Times are seconds; `cut_after`, `end_after`, `reset_after` and `error_after` count
-- pieces of a streamed answer, or bytes of one that is not streamed.
local FAULTS = {
  reply = "string",              -- the text to answer
  delay = "number",              -- between pieces
  first_delay = "number",        -- before anything is answered
  status = "number",             -- an HTTP error ...
  retry_after = "number|string", -- ... with this Retry-After
  fail_times = "number",         -- ... but for the first so many requests only,
  key = "string",                -- of those with the same key
  html = "boolean",              -- the body is an HTML page,
  empty = "boolean",             -- empty,
  not_json = "boolean",          -- or no JSON; with `status`, or with 200
  cut_after = "number",          -- the connection closes
  end_after = "number",          -- the answer ends as if it were whole, without finish_reason and [DONE]
  reset_after = "number",        -- the connection is reset
  error_after = "number",        -- an error event, then [DONE]; an error 500 where it is not streamed
}

local BODIES = {
  html = { "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>\n" },
  empty = { "application/json", "" },
  not_json = { "application/json", "upstream connect error or disconnect/reset before headers" },
}

-- How often each key has failed.
local failures = {}

-- How to send the whole HTTP response that no model would give, if this request is to be answered by one.
local function find_instead(fault)
  local key, times = fault.key or "", fault.fail_times
  if times then
    failures[key] = (failures[key] or 0) + 1
    if failures[key] > times then return nil end
  end
  local headers = { ["retry-after"] = fault.retry_after }
  for name, body in pairs(BODIES) do
    if fault[name] then
      headers["content-type"] = body[1]
      return function(response) response:send(fault.status or 200, headers, body[2]) end
    end
  end
  if not (fault.status or times) then return nil end
  local status = fault.status or 503
  local problem = { status = status, message = string.format("The mock was asked to answer %d.", status) }
  return function(response) M.send_error(response, problem, headers) end
end

local BROKEN = { status = 500, message = "The mock was asked to fail." }

-- What takes the place of the rest of an answer. `error_after` has a form of its own where nothing is streamed.
local ENDS = {
  cut_after = { function(response) response:close() end },
  end_after = { function(response) response:finish() end },
  reset_after = { function(response) response:reset() end },
  error_after = {
    function(response) response:write(wire.error_event(BROKEN)) end,
    function(response) response:write(wire.DONE) end,
    function(response) response:finish() end,
  },
}

local function find_end(fault)
  for name, steps in pairs(ENDS) do
    if fault[name] then return steps, fault[name], name end
  end
end

--- The request's `mock`, checked, so that a misspelt fault is seen.
---@return lmm.mock.Fault? fault
---@return table? problem
function M.read_fault(body)
  local fault = json.clean(type(body) == "table" and body.mock or {})
  local ok, problem = pcall(options.check, "mock", FAULTS, fault)
  if ok then return fault end
  return nil, { status = 400, message = tostring(problem), param = "mock" }
end

-- ---- playing an answer -----------------------------------------------------------------------------------------

--- How many answers are being played.
M.under_way = 0

-- Plays a list of steps: a function is done with the response, a number is waited, in seconds.
local function play(response, steps)
  local timer, at = uv.new_timer(), 0
  M.under_way = M.under_way + 1
  local function stop()
    if timer:is_closing() then return end
    timer:close()
    M.under_way = M.under_way - 1
  end
  response.on_close = stop
  local function go_on()
    while not response.closed do
      at = at + 1
      local step = steps[at]
      if not step then break end
      if type(step) == "number" then
        timer:start(math.floor(step * 1000 + 0.5), 0, go_on)
        return
      end
      step(response)
    end
    stop()
  end
  go_on()
end

--- The pieces of a text, as many as the limit allows, and why there are no more. A piece is a word with the space that
--- follows it.
---@param limit? integer
---@return string[] pieces
---@return string finish_reason
function M.split(text, limit)
  local pieces = {}
  for piece in text:gmatch "%S*%s*" do
    if piece ~= "" then pieces[#pieces + 1] = piece end
  end
  local cut = limit and limit < #pieces
  for i = #pieces, (limit or #pieces) + 1, -1 do pieces[i] = nil end
  return pieces, cut and "length" or "stop"
end

-- An answer that is cut at its limit finishes with its last piece; another one with a chunk that has no text.
local function streamed(answer, pieces, fault, tells)
  local steps = { fault.first_delay or 0, function(response) response:start(200, EVENTS) end }
  local function add(text)
    steps[#steps + 1] = function(response) response:write(text) end
  end
  local last, count = find_end(fault)
  local finishes_at = not last and answer.finish_reason == "length" and #pieces
  local function add_chunk(kind, text, tokens)
    local is_last = kind == "usage" or kind == "finish" and not tells.at_end
    add(wire.chunk(answer, kind, { text = text, tokens = tells.always and tokens or nil, is_last = is_last }))
  end

  add_chunk("role", nil, 0)
  for i = 1, math.min(#pieces, count or #pieces) do
    steps[#steps + 1] = fault.delay
    add_chunk(i == finishes_at and "finish" or "piece", pieces[i], i)
  end
  if not last then
    if not finishes_at then add_chunk("finish", nil, #pieces) end
    if tells.at_end then add_chunk "usage" end
    add(wire.DONE)
    last = ENDS.end_after
  end
  for _, step in ipairs(last) do steps[#steps + 1] = step end
  return steps
end

local function unstreamed(answer, fault)
  local body = wire.completion(answer)
  local last, count, name = find_end(fault)
  local steps = { fault.first_delay or 0 }
  if not last then
    steps[2] = function(response) response:send(200, JSON, body) end
  elseif name == "error_after" then
    steps[2] = function(response) M.send_error(response, BROKEN) end
  else
    if count > 0 then
      local whole = name == "end_after" and math.min(count, #body) or #body
      local head = { ["content-type"] = "application/json", ["content-length"] = string.format("%d", whole) }
      steps[2] = function(response) response:start(200, head) end
      steps[3] = function(response) response:write(body:sub(1, count)) end
    end
    steps[#steps + 1] = last[1]
  end
  return steps
end

--- Answers by what `fault` puts in the place of an answer, if it does, whatever else the request says.
---@return boolean answered
function M.instead(response, fault)
  local send = find_instead(fault)
  if send then play(response, { fault.first_delay or 0, send }) end
  return send ~= nil
end

---@param response lmm.mock.Response
---@param answer lmm.mock.Answer
---@param fault lmm.mock.Fault
function M.unstreamed(response, answer, fault)
  play(response, unstreamed(answer, fault))
end

---@param response lmm.mock.Response
---@param answer lmm.mock.Answer
---@param pieces string[]
---@param fault lmm.mock.Fault   with the delay between pieces
---@param tells { at_end: boolean, always: boolean }  where the stream tells its usage
function M.streamed(response, answer, pieces, fault, tells)
  play(response, streamed(answer, pieces, fault, tells))
end

return M
