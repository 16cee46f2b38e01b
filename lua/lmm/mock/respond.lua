--- How an answer is sent: a chat answer and a fault come in; a list of steps, which are run over time, goes out to the
--- response. A fault changes that list.
local uv = require "luv"
local faults = require "lmm.mock.faults"
local templates = require "lmm.mock.templates"

local respond = {}

local JSON = { ["content-type"] = "application/json" }
local EVENTS = { ["content-type"] = "text/event-stream; charset=utf-8" }

--- How many answers are under way.
respond.active = 0

--- Sends an error as the whole response.
---@param response lmm.http.Response
---@param problem { status: integer, message: string, type: string?, param: string? }
function respond.error(response, problem)
  response:send(problem.status, JSON, templates.error(problem))
end

--- The same where a stream has begun before the fault was found: an event, then [DONE].
---@param response lmm.http.Response
---@param problem { status: integer, message: string, type: string?, param: string? }
function respond.late_error(response, problem)
  response:start(200, EVENTS)
  response:write(templates.error_event(problem))
  response:write(templates.DONE)
  response:finish()
end

-- Runs a list of steps: a function is called with the response, a number is waited, in seconds.
local function run_steps(response, steps)
  local timer, at = uv.new_timer(), 0
  respond.active = respond.active + 1
  local function stop()
    if timer:is_closing() then return end
    timer:close()
    respond.active = respond.active - 1
  end
  response.on_close = stop
  local function run()
    while not response.closed do
      at = at + 1
      local step = steps[at]
      if not step then break end
      if type(step) == "number" then
        timer:start(math.floor(step * 1000 + 0.5), 0, run)
        return
      end
      step(response)
    end
    stop()
  end
  run()
end

--- As many pieces as the limit allows, and why there are no more.
---@param pieces any[]
---@param limit? integer
---@return any[] pieces
---@return "length"|"stop" finish_reason
function respond.cut(pieces, limit)
  local is_cut = limit and limit < #pieces
  for i = #pieces, (limit or #pieces) + 1, -1 do pieces[i] = nil end
  return pieces, is_cut and "length" or "stop"
end

--- The same of a text. A piece is a word with the space that follows it.
---@param limit? integer
---@return string[] pieces
---@return "length"|"stop" finish_reason
function respond.split(text, limit)
  local pieces = {}
  for piece in text:gmatch "%S*%s*" do
    if piece ~= "" then pieces[#pieces + 1] = piece end
  end
  return respond.cut(pieces, limit)
end

-- An answer that is cut at its limit finishes with its last piece; another one with a chunk that has no text.
local function stream_steps(answer, pieces, fault, usage)
  local steps = { fault.first_delay or 0, function(response) response:start(200, EVENTS) end }
  local function add(text)
    steps[#steps + 1] = function(response) response:write(text) end
  end
  local form, last, count = answer.form or templates, faults.find_end(fault)
  local finishes_at = not last and answer.finish_reason == "length" and not answer.calls and #pieces
  local function add_chunk(kind, piece, tokens)
    local is_last = kind == "usage" or kind == "finish" and not usage.at_end
    local is_call = type(piece) == "table"
    add(form.chunk(answer, is_call and "calls" or kind, { text = not is_call and piece or nil,
      call = is_call and piece or nil, tokens = usage.always and tokens or nil, is_last = is_last }))
  end

  add_chunk("role", nil, 0)
  for i = 1, math.min(#pieces, count or #pieces) do
    steps[#steps + 1] = fault.delay
    add_chunk(i == finishes_at and "finish" or "piece", pieces[i], i)
  end
  if not last then
    if not finishes_at then add_chunk("finish", nil, #pieces) end
    if usage.at_end then add_chunk "usage" end
    add(templates.DONE)
    last = { function(response) response:finish() end }
  end
  for _, step in ipairs(last) do steps[#steps + 1] = step end
  return steps
end

local function whole_steps(answer, fault)
  local body = (answer.form or templates).completion(answer)
  local last, count, name = faults.find_end(fault)
  local steps = { fault.first_delay or 0 }
  if not last then
    steps[2] = function(response) response:send(200, JSON, body) end
  elseif name == "error_after" then
    steps[2] = function(response) respond.error(response, faults.ERROR) end
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

--- Sends the response that `fault` puts in the place of an answer, if it does.
---@param response lmm.http.Response
---@param fault lmm.mock.Fault
---@return boolean is_sent
function respond.with_fault(response, fault)
  local other = faults.find_response(fault)
  if not other then return false end
  run_steps(response, { fault.first_delay or 0, function() response:send(other.status, other.headers, other.body) end })
  return true
end

--- Sends an answer at once.
---@param response lmm.http.Response
---@param answer lmm.mock.Answer
---@param fault lmm.mock.Fault
function respond.whole(response, answer, fault)
  run_steps(response, whole_steps(answer, fault))
end

--- Sends an answer as a stream of events.
---@param response lmm.http.Response
---@param answer lmm.mock.Answer
---@param pieces (string|table)[]  of text, or of calls
---@param fault lmm.mock.Fault  with the delay between pieces
---@param usage { at_end: boolean, always: boolean }  where the stream holds its usage
function respond.stream(response, answer, pieces, fault, usage)
  run_steps(response, stream_steps(answer, pieces, fault, usage))
end

return respond
