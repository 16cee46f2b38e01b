--- What the mock answers, by path: requests to /v1/models, /v1/chat/completions, /v1/completions, /v1/embeddings,
--- /score, /rerank, /v1/audio, /tokenize, /detokenize and what describes the server itself come in; answers go out, in
--- the form vLLM answers in, which describe what was received.
local chat = require "lmm.mock.chat"
local completions = require "lmm.mock.completions"
local core = require "lmm.core"
local faults = require "lmm.mock.faults"
local forms = require "lmm.mock.forms"
local json = require "lmm.json"
local options = require "lmm.options"
local pooling = require "lmm.mock.pooling"
local respond = require "lmm.mock.respond"
local templates = require "lmm.mock.templates"
local tokens = require "lmm.mock.tokens"
local tools = require "lmm.mock.tools"
local transcription = require "lmm.mock.transcription"
local validation = require "lmm.mock.validation"

local routes = {}

local JSON = { ["content-type"] = "application/json" }

local function send_detail(response, status, text, allowed)
  response:send(status, { ["content-type"] = "application/json", allow = allowed }, '{"detail":"' .. text .. '"}')
end

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

--- Answers a request.
---@param settings table  of the server
---@param request lmm.http.Request
---@param response lmm.http.Response
function routes.answer(settings, request, response)
  if not is_allowed(settings, request) then return response:send(401, JSON, '{"error":"Unauthorized"}') end
  local route = ROUTES[request.path]
  if not route then return send_detail(response, 404, "Not Found") end
  local handle = route[request.method]
  local methods = table.concat(options.names(route), ", ")
  if not handle then return send_detail(response, 405, "Method Not Allowed", methods) end
  handle(settings, request, response)
end

return routes
