--- An OpenAI-compatible server that needs no model: it answers with what it received, in the form vLLM answers in.
--
-- In:  requests to /v1/models, /health and /v1/chat/completions; what should go wrong stands in a request's own field
--      `mock`, which clients pass through as they pass every field they do not know.
-- Out: the answers. A chat answer is played from a list of steps, so that a fault is a change to that list.

local uv = require "luv"
local chat = require "lmm.mock.chat"
local child = require "lmm.child"
local core = require "lmm.core"
local http = require "lmm.mock.http"
local json = require "lmm.json"
local options = require "lmm.options"
local starting = require "lmm.mock.start"
local wire = require "lmm.mock.wire"

local M = {}

--- The options and their types. The same names are words on a command line: `--name=value`.
M.options = {
  port = "number", delay = "number", api_key = "string", model = "string", max_model_len = "number",
  limit_image = "number", limit_video = "number", limit_audio = "number",
}

local DEFAULTS = { port = 0, delay = 0.02, model = "mock", max_model_len = 32768 }

local JSON = { ["content-type"] = "application/json" }
local EVENTS = { ["content-type"] = "text/event-stream; charset=utf-8" }

local function send_error(response, problem, headers)
  local all = { ["content-type"] = "application/json" }
  for name, value in pairs(headers or {}) do all[name] = value end
  response:send(problem.status, all, wire.error(problem))
end

local function send_detail(response, status, text)
  response:send(status, JSON, '{"detail":"' .. text .. '"}')
end

-- ---- faults on demand ------------------------------------------------------------------------------------------

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

-- Whether this request is answered by a whole HTTP response that no model would give; then gives how to send it.
local function instead(fault)
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
  return function(response) send_error(response, problem, headers) end
end

local BROKEN = { status = 500, message = "The mock was asked to fail." }

-- What takes the place of the rest of an answer. `error_after` has a form of its own where nothing is streamed.
local ENDS = {
  cut_after = { function(response) response:close() end },
  end_after = { function(response) response:finish() end },
  reset_after = { function(response) response:reset() end },
  error_after = {
    function(response) response:write("data: " .. wire.error(BROKEN) .. "\n\n") end,
    function(response) response:write(wire.DONE) end,
    function(response) response:finish() end,
  },
}

local function find_end(fault)
  for name, steps in pairs(ENDS) do
    if fault[name] then return steps, fault[name], name end
  end
end

-- ---- playing an answer -----------------------------------------------------------------------------------------

-- Plays a list of steps: a function is done with the response, a number is waited, in seconds.
local function play(response, steps)
  local timer, at = uv.new_timer(), 0
  local function stop()
    if not timer:is_closing() then timer:close() end
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

-- A piece is a word with the space that follows it.
local function split(text, limit)
  local pieces = {}
  for piece in text:gmatch "%S*%s*" do
    if piece ~= "" then pieces[#pieces + 1] = piece end
  end
  local cut = limit and limit < #pieces
  for i = #pieces, (limit or #pieces) + 1, -1 do pieces[i] = nil end
  return pieces, cut and "length" or "stop"
end

local function streamed(answer, pieces, fault, include_usage)
  local steps = { fault.first_delay or 0, function(response) response:start(200, EVENTS) end }
  local function add(text)
    steps[#steps + 1] = function(response) response:write(text) end
  end
  local last, count = find_end(fault)
  add(wire.chunk(answer, "role"))
  for i = 1, math.min(#pieces, count or #pieces) do
    steps[#steps + 1] = fault.delay
    add(wire.chunk(answer, "piece", pieces[i]))
  end
  if not last then
    add(wire.chunk(answer, "finish"))
    if include_usage then add(wire.chunk(answer, "usage")) end
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
    steps[2] = function(response) send_error(response, BROKEN) end
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

-- ---- the routes ------------------------------------------------------------------------------------------------

local answers = 0

-- The request's `mock`, checked, so that a misspelt fault is seen.
local function read_fault(body)
  local fault = json.clean(type(body) == "table" and body.mock or {})
  local ok, problem = pcall(options.check, "mock", FAULTS, fault)
  if ok then return fault end
  return nil, { status = 400, message = tostring(problem), param = "mock" }
end

local function post_chat(server, request, response)
  if not (request.headers["content-type"] or ""):lower():find "^application/json%f[^%w]" then
    local message = "Unsupported Media Type: Only 'application/json' is allowed"
    return send_error(response, { status = 400, message = message })
  end
  if core.utf8(request.body) then return send_detail(response, 400, "There was an error parsing the body") end
  local body, problem = json.decode(request.body)
  if problem then
    local message = "1 validation error:\n  {'loc': ('body'), 'msg': 'JSON decode error: " .. problem .. "'}"
    return send_error(response, { status = 400, message = message, type = "Bad Request", param = "body" })
  end

  local fault, read
  fault, problem = read_fault(body)
  if fault then
    local other = instead(fault)
    if other then return play(response, { fault.first_delay or 0, other }) end
    read, problem = chat.read(body, server.model, server.limits)
  end
  if problem then return send_error(response, problem) end

  answers = answers + 1
  local pieces, finish_reason = split(fault.reply or read.text, read.limit)
  local answer = {
    id = string.format("chatcmpl-%d", answers), created = os.time(), model = server.model,
    text = table.concat(pieces), finish_reason = finish_reason, prompt = read.prompt, completion = #pieces,
  }
  if body.stream ~= true then return play(response, unstreamed(answer, fault)) end
  fault.delay = fault.delay or server.delay
  local stream_options = type(body.stream_options) == "table" and body.stream_options or {}
  play(response, streamed(answer, pieces, fault, stream_options.include_usage == true))
end

local ROUTES = {
  ["/health"] = { GET = function(_, _, response) response:send(200, {}, "") end },
  ["/v1/models"] = {
    GET = function(server, _, response)
      response:send(200, JSON, wire.models {
        model = server.model, created = server.created, max_model_len = server.max_model_len,
      })
    end,
  },
  ["/v1/chat/completions"] = { POST = post_chat },
}

local function is_allowed(server, request)
  if not server.api_key or request.path:sub(1, 4) ~= "/v1/" then return true end
  local scheme, key = (request.headers.authorization or ""):match "^(%S+) +(.*)$"
  return scheme and scheme:lower() == "bearer" and key == server.api_key
end

local function answer_request(server, request, response)
  if not is_allowed(server, request) then return response:send(401, JSON, '{"error":"Unauthorized"}') end
  local route = ROUTES[request.path]
  if not route then return send_detail(response, 404, "Not Found") end
  local handle = route[request.method]
  if not handle then return send_detail(response, 405, "Method Not Allowed") end
  handle(server, request, response)
end

-- ---- starting --------------------------------------------------------------------------------------------------

--- Serves on 127.0.0.1 while the loop runs.
---@param opts? { port: integer?, delay: number?, api_key: string?, model: string?, max_model_len: integer?,
--- limit_image: integer?, limit_video: integer?, limit_audio: integer? }
---  port: a free one unless given; delay: seconds between the pieces of a streamed answer, 0.02 unless given; api_key:
---  asked of every request below /v1; model: "mock" unless given; max_model_len: as listed, 32768 unless given;
---  limit_...: how many of a kind a prompt may hold
---@return lmm.mock.Http? server
---@return string? message
function M.serve(opts)
  local given = options.check("mock", M.options, opts)
  local server = { created = os.time() }
  for name, value in pairs(DEFAULTS) do server[name] = value end
  for name, value in pairs(given) do server[name] = value end
  server.limits = { image = server.limit_image, video = server.limit_video, audio = server.limit_audio }
  if server.port % 1 ~= 0 or server.port < 0 or server.port > 65535 then
    return nil, string.format("port %s is not between 0 and 65535", server.port)
  end
  return http.serve {
    port = server.port,
    on_request = function(request, response) answer_request(server, request, response) end,
  }
end

--- Serves in this process until SIGINT or SIGTERM.
---@param opts? table  as for `serve`
---@param start? lmm.mock.Start  how long it takes to start, what it says meanwhile, and whether it fails
---@return true? ended
---@return string? message
function M.run(opts, start)
  local server, failure, rehearsal
  local signals = {}
  local function stop(why)
    if server then server.close() end
    rehearsal.close()
    failure = why
    for _, signal in ipairs(signals) do
      if not signal:is_closing() then signal:close() end
    end
  end
  for i, name in ipairs { "sigint", "sigterm" } do
    signals[i] = uv.new_signal()
    signals[i]:start(name, function() stop() end)
  end
  rehearsal = starting.play(start or {}, function(problem)
    if problem then return stop(problem) end
    server, problem = M.serve(opts)
    if not server then return stop(problem) end
    local model = opts and opts.model or DEFAULTS.model
    print(string.format('lmm mock: listening on http://127.0.0.1:%d/v1 (model "%s")', server.port, model))
    io.flush()
  end)
  uv.run()
  if failure then return nil, failure end
  return true
end

--- The program of a child process (see lmm.child).
---@param words string[]  "--name=value"
function M.main(words)
  local opts = {}
  for _, word in ipairs(words) do
    local name, value = word:match "^%-%-([%w_]+)=(.*)$"
    opts[name] = M.options[name] == "number" and tonumber(value) or value
  end
  local server, message = M.serve(opts)
  if not server then error(message, 0) end
  child.ready(uv, string.format("listening 127.0.0.1:%d", server.port))
  uv.run()
end

return M
