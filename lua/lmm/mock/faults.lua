--- Faults on demand: the field `mock` of a request comes in; what takes the place of the answer, or of its end, goes
--- out. Clients pass the field through as they pass every field they do not know.
local json = require "lmm.json"
local options = require "lmm.options"
local templates = require "lmm.mock.templates"

local faults = {}

---@alias lmm.mock.Fault table  the fields of a request's `mock`

-- The fields of a request's `mock`. Times are seconds; `cut_after`, `end_after`, `reset_after` and `error_after` count
-- pieces of a streamed answer, or bytes of one that is not streamed.
local FIELDS = {
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

--- The field `mock` of a request's body, checked, so that a misspelt fault is noticed.
---@param body any  decoded JSON
---@return lmm.mock.Fault? fault
---@return table? problem  { status, message, param }
function faults.read(body)
  local fault = json.clean(type(body) == "table" and body.mock or {})
  local ok, problem = pcall(options.check, "mock", FIELDS, fault)
  if ok then return fault end
  return nil, { status = 400, message = tostring(problem), param = "mock" }
end

local BODIES = {
  html = { "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>\n" },
  empty = { "application/json", "" },
  not_json = { "application/json", "upstream connect error or disconnect/reset before headers" },
}

-- How often each key has failed.
local failures = {}

local function find_body(fault)
  for name, body in pairs(BODIES) do
    if fault[name] then return body end
  end
end

--- The whole HTTP response that takes the place of a model's answer, or nil where this request is to be answered.
---@param fault lmm.mock.Fault
---@return { status: integer, headers: table<string, string|number>, body: string }?
function faults.find_response(fault)
  local key, times = fault.key or "", fault.fail_times
  if times then
    failures[key] = (failures[key] or 0) + 1
    if failures[key] > times then return nil end
  end
  local body = find_body(fault)
  if body then
    local headers = { ["retry-after"] = fault.retry_after, ["content-type"] = body[1] }
    return { status = fault.status or 200, headers = headers, body = body[2] }
  end
  if not (fault.status or times) then return nil end
  local status = fault.status or 503
  return {
    status = status, headers = { ["retry-after"] = fault.retry_after, ["content-type"] = "application/json" },
    body = templates.error { status = status, message = ("The mock was asked to answer %d."):format(status) },
  }
end

--- The error that stands for `error_after`.
faults.ERROR = { status = 500, message = "The mock was asked to fail." }

-- How a streamed answer ends that does not go on, as functions of the response.
local ENDS = {
  cut_after = { function(response) response:close() end },
  end_after = { function(response) response:finish() end },
  reset_after = { function(response) response:reset() end },
  error_after = {
    function(response) response:write(templates.error_event(faults.ERROR)) end,
    function(response) response:write(templates.DONE) end,
    function(response) response:finish() end,
  },
}

--- What takes the place of the rest of an answer, if anything does.
---@param fault lmm.mock.Fault
---@return (fun(response: lmm.http.Response))[]? steps
---@return integer? count  after so many pieces of a stream, or bytes of an answer that is not streamed
---@return string? name    of the fault
function faults.find_end(fault)
  for name, steps in pairs(ENDS) do
    if fault[name] then return steps, fault[name], name end
  end
end

return faults
