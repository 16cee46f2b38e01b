--- An OpenAI-compatible server that needs no model: requests to /v1/models, /v1/chat/completions, /v1/completions,
--- /v1/embeddings, /score, /rerank, /v1/audio, /tokenize, /detokenize and what describes the server itself come in;
--- answers go out, in the form vLLM answers in, which describe what was received.
local uv = require "luv"
local capacity = require "lmm.mock.capacity"
local chat = require "lmm.mock.chat"
local completions = require "lmm.mock.completions"
local core = require "lmm.core"
local faults = require "lmm.mock.faults"
local forms = require "lmm.mock.forms"
local http = require "lmm.http"
local json = require "lmm.json"
local likeness = require "lmm.mock.likeness"
local media_cache = require "lmm.mock.media_cache"
local options = require "lmm.options"
local pooling = require "lmm.mock.pooling"
local respond = require "lmm.mock.respond"
local startup = require "lmm.mock.startup"
local templates = require "lmm.mock.templates"
local tokens = require "lmm.mock.tokens"
local tools = require "lmm.mock.tools"
local transcription = require "lmm.mock.transcription"
local validation = require "lmm.mock.validation"

local mock_server = {}

--- The options and their types. The same names are words on a command line: `--name=value`.
mock_server.options = {
  port = "number", delay = "number", api_key = "string", model = "string", max_model_len = "number",
  limit_image = "number", limit_video = "number", limit_audio = "number", like = "string", media_cache = "number",
  tools = "boolean", capacity = "string", record = "string", upstream = "string", replay = "string",
  closest = "boolean", timing = "boolean",
}

local DEFAULTS = { port = 0, delay = 0.02, model = "mock", max_model_len = 32768, like = "vllm", media_cache = 256 }

local JSON = { ["content-type"] = "application/json" }

local function send_detail(response, status, text, allowed)
  response:send(status, { ["content-type"] = "application/json", allow = allowed }, '{"detail":"' .. text .. '"}')
end

-- ---- the routes ------------------------------------------------------------------------------------------------

local answers = 0

-- Whether there is a body that is JSON, and its value. Where there is none, the error is sent.
local function read_body(request, response)
  local media_type = (request.headers["content-type"] or ""):match "^[^;]*"
  if media_type:lower() ~= "application/json" then
    local message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
    respond.error(response, { status = 400, message = message, type = "Bad Request" })
    return false
  end
  if core.utf8(request.body) then
    send_detail(response, 400, "There was an error parsing the body")
    return false
  end
  local body, problem = validation.try(function() return validation.read_body(request.body) end)
  if problem then respond.error(response, problem) end
  return not problem, body
end

-- The body of a request that is to be answered, and the fault that it asks for; nil where the answer is sent already.
local function read_request(request, response)
  local ok, body = read_body(request, response)
  if not ok then return nil end
  local fault, problem = faults.read(body)
  if problem then return respond.error(response, problem) end
  if respond.with_fault(response, fault) then return nil end
  return body, fault
end

-- Which usage a stream is to hold.
local function usage_of(body)
  local stream_options = type(body.stream_options) == "table" and body.stream_options or {}
  local at_end = stream_options.include_usage == true
  return { at_end = at_end, always = at_end and stream_options.continuous_usage_stats == true }
end

local function post_chat(settings, request, response)
  local body, fault = read_request(request, response)
  if not fault then return end
  local read, problem = chat.read(body, settings)
  if problem and problem.is_late and body.stream == true then return respond.late_error(response, problem) end
  if problem then return respond.error(response, problem) end

  answers = answers + 1
  local calls = not fault.reply and read.calls or nil
  local all = calls and tools.pieces(calls) or respond.split(fault.reply or read.text)
  local pieces, finish_reason = respond.cut(all, read.limit)
  if calls and finish_reason == "stop" then finish_reason = tools.finish_reason(body) end
  local answer = {
    id = "chatcmpl-" .. (request.headers["x-request-id"] or answers), created = os.time(), model = settings.model,
    text = calls and "" or table.concat(pieces), calls = calls and tools.whole(pieces),
    finish_reason = finish_reason, prompt = read.prompt, completion = #pieces,
  }
  local function send()
    if body.stream ~= true then return respond.whole(response, answer, fault) end
    fault.delay = fault.delay or settings.delay
    respond.stream(response, answer, pieces, fault, usage_of(body))
  end
  if not settings.load then return send() end
  local is_taken = settings.load:take(send)
  if not is_taken then respond.error(response, { status = 503, message = "Service Unavailable" }) end
end

local function post_completion(settings, request, response)
  local body, fault = read_request(request, response)
  if not fault then return end
  local answer, problem = completions.read(body, settings, fault.reply)
  if problem then return respond.error(response, problem) end
  answer.id, answer.created, answer.model, answer.form = forms.id "cmpl", os.time(), settings.model, forms.text
  if body.stream ~= true then return respond.whole(response, answer, fault) end
  local choice = answer.choices[1]
  answer.finish_reason, fault.delay = choice.finish_reason, fault.delay or settings.delay
  respond.stream(response, answer, choice.pieces, fault, usage_of(body))
end

-- An endpoint whose answer is one JSON text: `read` gives it, or nil and a problem.
local function answers_json(read)
  return { POST = function(settings, request, response)
    local body, fault = read_request(request, response)
    if not fault then return end
    local text, problem = read(body, settings)
    if problem then return respond.error(response, problem) end
    response:send(200, JSON, text)
  end }
end

local function tokenize(body, settings)
  local list, problem = chat.tokenize(body, settings)
  return list and templates.tokens(list, settings.max_model_len), problem
end

local function detokenize(body, settings)
  local text, problem = tokens.detokenize(body, settings)
  return text and '{"prompt":' .. json.encode(text) .. "}", problem
end

-- An endpoint that takes a form with a sound.
local function answers_sound(form)
  return { POST = function(settings, request, response)
    local read, problem = transcription.read(request, settings)
    if problem then return respond.error(response, problem) end
    if not read.is_streamed then
      return response:send(200, JSON, forms.transcription(read.text, read.is_verbose))
    end
    local pieces, finish_reason = respond.split(read.text)
    respond.stream(response, { id = forms.id "trsc", created = os.time(), model = settings.model, form = form,
      finish_reason = finish_reason, prompt = 1, completion = #pieces }, pieces, { delay = settings.delay },
      { at_end = read.has_usage })
  end }
end

local function send_empty(_, _, response) response:send(200, {}, "") end

local ROUTES = {
  ["/health"] = { GET = send_empty },
  ["/ping"] = { GET = send_empty, POST = send_empty },
  -- The version of vLLM whose answers these are.
  ["/version"] = { GET = function(_, _, response) response:send(200, JSON, '{"version":"0.32.0"}') end },
  ["/load"] = {
    GET = function(_, _, response) response:send(200, JSON, string.format('{"server_load":%d}', respond.active)) end,
  },
  ["/v1/models"] = {
    GET = function(settings, _, response)
      response:send(200, JSON, templates.models {
        model = settings.model, created = settings.created, max_model_len = settings.max_model_len,
        owner = settings.like.owner,
      })
    end,
  },
  ["/v1/chat/completions"] = { POST = post_chat },
  ["/v1/completions"] = { POST = post_completion },
  ["/v1/embeddings"] = answers_json(pooling.embeddings),
  ["/v1/audio/transcriptions"] = answers_sound(forms.transcriptions),
  ["/v1/audio/translations"] = answers_sound(forms.translations),
  ["/tokenize"] = answers_json(tokenize),
  ["/detokenize"] = answers_json(detokenize),
}
for path, read in pairs { score = pooling.score, rerank = pooling.rerank } do
  ROUTES["/" .. path] = answers_json(read)
  ROUTES["/v1/" .. path] = ROUTES["/" .. path]
end
ROUTES["/v2/rerank"] = ROUTES["/rerank"]

local function is_allowed(settings, request)
  if not settings.api_key or request.path:sub(1, 4) ~= "/v1/" then return true end
  local scheme, key = (request.headers.authorization or ""):match "^(%S+) +(.*)$"
  return scheme and scheme:lower() == "bearer" and key == settings.api_key
end

local function list_methods(route)
  local methods = {}
  for method in pairs(route) do methods[#methods + 1] = method end
  table.sort(methods)
  return table.concat(methods, ", ")
end

local function answer_request(settings, request, response)
  if not is_allowed(settings, request) then return response:send(401, JSON, '{"error":"Unauthorized"}') end
  local route = ROUTES[request.path]
  if not route then return send_detail(response, 404, "Not Found") end
  local handle = route[request.method]
  if not handle then return send_detail(response, 405, "Method Not Allowed", list_methods(route)) end
  handle(settings, request, response)
end

local UVICORN = "server: uvicorn\r\n" -- by which vLLM and many others are served
-- Bytes of a body that are not left to the collector, since several copies of it were made.
local LARGE = 1024 * 1024

-- ---- starting --------------------------------------------------------------------------------------------------

local ROW_SECONDS = 0.1 -- that an answer takes where there is a capacity

--- The model of what the server can do at a time; nil where that is anything.
---@return lmm.mock.Capacity? load, string? message
local function new_load(text)
  if not text then return nil end
  return capacity.new(text, { seconds = ROW_SECONDS, after = function(seconds, fn)
    local timer = uv.new_timer()
    timer:start(math.ceil(seconds * 1000), 0, function()
      timer:close()
      fn()
    end)
  end })
end

--- What answers in the mock's place: a recorder, a player, or nothing.
---@return lmm.mock.Recorder|lmm.mock.Player|nil stand_in, string? message
local function new_stand_in(settings)
  if settings.record and settings.replay then return nil, "it either records or replays, not both" end
  if settings.record and not settings.upstream then return nil, "the server to record is not named" end
  if settings.record then
    return require("lmm.mock.recorder").new(settings.upstream, settings.record, function(line)
      io.stderr:write(line, "\n")
    end)
  end
  if settings.replay then return require("lmm.mock.player").new(settings.replay, settings) end
end

--- Serves on 127.0.0.1 while the loop runs.
---@param opts? { port: integer?, delay: number?, api_key: string?, model: string?, max_model_len: integer?,
--- limit_image: integer?, limit_video: integer?, limit_audio: integer?, like: string?, media_cache: integer?,
--- tools: boolean?, capacity: string?, record: string?, upstream: string?, replay: string?, closest: boolean?,
--- timing: boolean? }
---  port: a free one unless given; delay: seconds between the pieces of a streamed answer, 0.02 unless given; api_key:
---  asked of every request below /v1; model: "mock" unless given; max_model_len: tokens of a prompt, or 32768;
---  limit_...: how many of a kind a prompt may hold; like: the server that it is like, "vllm" unless given;
---  media_cache: how many media it keeps under their uuids, 256 unless given; tools: false refuses them, as vLLM
---  does without a parser; capacity: what it can do at a time, see lmm/mock/capacity.lua, an answer alone takes 0.1 s;
---  record and upstream: a file, and the base URL of a server to which requests are passed on; replay: a file to
---  answer from; closest: also what was not recorded; timing: in the time that it took
---@param log nil|fun(line: string)  gets each request and the status that it is answered with
---@return lmm.http.Server? server
---@return string? message
function mock_server.serve(opts, log)
  local given = options.check("mock", mock_server.options, opts)
  local settings = { created = os.time() }
  for name, value in pairs(DEFAULTS) do settings[name] = value end
  for name, value in pairs(given) do settings[name] = value end
  settings.limits = { image = settings.limit_image, video = settings.limit_video, audio = settings.limit_audio }
  local like = likeness.named(settings.like)
  if not like then
    return nil, ("there is no server '%s' to be like (there are: %s)"):format(settings.like,
      table.concat(likeness.names(), ", "))
  end
  settings.like, settings.cache = like, media_cache.new(like.keeps and settings.media_cache or 0)
  local problem
  settings.load, problem = new_load(settings.capacity)
  if problem then return nil, problem end
  settings.stand_in, problem = new_stand_in(settings)
  if problem then return nil, problem end
  if settings.port % 1 ~= 0 or settings.port < 0 or settings.port > 65535 then
    return nil, string.format("port %s is not between 0 and 65535", settings.port)
  end
  local server
  server, problem = http.serve {
    port = settings.port,
    on_request = function(request, response)
      response.head = like.head or UVICORN
      response.on_start = log and function(status) log(("%s %s %d"):format(request.method, request.path, status)) end
      if settings.stand_in then
        settings.stand_in:answer(request, response)
      else
        answer_request(settings, request, response)
      end
      if #(request.body or "") > LARGE then collectgarbage() end
    end,
  }
  if not server then return nil, problem end
  local close = server.close
  function server.close()
    close()
    if settings.stand_in then settings.stand_in:close() end
  end
  server.description = settings.stand_in and settings.stand_in:describe() or ('model "%s"'):format(settings.model)
  return server
end

--- Serves in this process until SIGINT or SIGTERM.
---@param opts? table  as for `serve`
---@param plan? lmm.mock.Startup  how long it takes to start, what it logs meanwhile, and whether it fails
---@return true? ended
---@return string? message
function mock_server.run(opts, plan)
  local server, failure, start
  local signals = {}
  local function stop(why)
    if server then server.close() end
    start.close()
    failure = why
    for _, signal in ipairs(signals) do
      if not signal:is_closing() then signal:close() end
    end
  end
  for i, name in ipairs { "sigint", "sigterm" } do
    signals[i] = uv.new_signal()
    signals[i]:start(name, function() stop() end)
  end
  start = startup.run(plan or {}, function(problem)
    if problem then return stop(problem) end
    server, problem = mock_server.serve(opts, function(line) io.stderr:write(line, "\n") end)
    if not server then return stop(problem) end
    print(string.format("lmm mock: listening on http://127.0.0.1:%d/v1 (%s)", server.port, server.description))
    io.flush()
  end)
  uv.run()
  if failure then return nil, failure end
  return true
end

--- The program of a child process (see lmm/server/child.lua).
---@param words string[]  "--name=value"
function mock_server.main(words)
  local opts = {}
  for _, word in ipairs(words) do
    local name, value = word:match "^%-%-([%w_]+)=(.*)$"
    local kind = mock_server.options[name]
    if kind == "boolean" then value = value == "true" end
    opts[name] = kind == "number" and tonumber(value) or value
  end
  local server, message = mock_server.serve(opts)
  if not server then error(message, 0) end
  require("lmm.server").child.ready(uv, string.format("listening 127.0.0.1:%d", server.port))
  uv.run()
end

return mock_server
