--- What a server says when it refuses: a status, headers and a body, or an event of a stream, come in; the fields of an
--- error object go out. The forms are those of vLLM, llama-server, Ollama, SGLang and Anthropic's API.
local core = require "lmm.core"
local json = require "lmm.json"

local NO_REASON = "no reason given"

local server_error = { NO_REASON = NO_REASON }

local function text_of(value)
  if type(value) == "string" then return value ~= "" and value or nil end
  if type(value) ~= "table" then return nil end
  return (json.text(value)) -- a list that lost its nulls may have none
end

local function scalar(value)
  return type(value) ~= "table" and value or nil
end

local function is_status(code)
  return type(code) == "number" and code >= 100 and code <= 599 and code % 1 == 0
end

--- llama-server tells beside its message how long the prompt is, and the context.
local function with_numbers(message, found)
  local prompt, context = found.n_prompt_tokens, found.n_ctx
  if type(prompt) ~= "number" or type(context) ~= "number" then return message end
  if message:find(("%.0f"):format(context), 1, true) then return message end
  return ("%s: the prompt has %.0f tokens, the context %.0f"):format(message, prompt, context)
end

local function is_fault(code)
  local number = tonumber(code)
  return number and number >= 400 or not number and type(code) == "string" and code ~= ""
end

--- The error that an object without choices and without a field `error` is, or nil where it is none.
local function unwrapped(value)
  if value.detail then return value.detail end
  local list = value.errors
  if type(list) == "table" and next(list) ~= nil then return list[1] or list end
  local is_error = value.type == "error" or value.message ~= nil
    and (is_fault(value.code) or value.status == "error" or tonumber(value.status) and is_fault(value.status))
  return is_error and value or nil
end

--- The fields of an error in a decoded reply, or nil where it holds none.
---@param bare boolean?  the object itself is known to be an error
function server_error.find(value, bare)
  if type(value) ~= "table" then return nil end
  local found = value.error ~= "" and value.error or nil
  if found == nil and (bare or value.object == "error") then found = value end
  if not found and value.choices == nil then found = unwrapped(value) end
  if not found then return nil end
  if type(found) ~= "table" then found = { message = tostring(found) } end
  local code, status = scalar(found.code), scalar(found.status)
  local message = text_of(found.message) or text_of(found.detail) or found.message ~= "" and text_of(found)
  return {
    message = message and with_numbers(message, found) or NO_REASON,
    code = code,
    type = scalar(found.type),
    param = scalar(found.param),
    status = is_status(code) and code or is_status(status) and status or nil,
  }
end

--- What a text is that should have been a JSON object, as the fields of a failure: `{quote}` in the reason stands for
--- the beginning of `quote`.
---@param body string
---@param fault string?  what the JSON decoder says of it
---@return { kind: "protocol", reason: string, quote: string? }
function server_error.not_json(body, fault)
  local reason
  if not body:find "%S" then
    reason = "an empty reply"
  elseif body:find "^%s*<[!%a]" then
    reason = "an HTML page, not JSON"
  elseif fault and body:find "^%s*[{%[]" then
    reason = "JSON with a fault, " .. fault .. ": {quote}"
  else
    reason = "not a JSON object but {quote}"
  end
  return { kind = "protocol", phase = "receive", reason = reason, quote = body }
end

local function is_page(head, body)
  return (head.headers["content-type"] or ""):lower():find("html", 1, true) or body:find "^%s*<[!%a]"
end

--- What servers with TLS answer to a request without it: nginx, Go, Apache.
local function wants_tls(body)
  return body:find("plain HTTP request was sent to HTTPS port", 1, true)
    or body:find("HTTP request to an HTTPS server", 1, true) or body:find("plain HTTP to an SSL", 1, true)
end

--- The fields of an error for a reply with an HTTP status that is no success.
---@param head { status: integer, headers: table<string, string> }
---@param body string
---@return table failure  kind, phase, status, message, and what else the server says; a hint where only the body
--- gives one
function server_error.from_reply(head, body)
  local value = core.decode(body, { clean = true, lenient = true })
  local fields = server_error.find(value) or {}
  if fields.message == NO_REASON then fields.message = nil end
  fields.kind, fields.phase, fields.status = "http", "receive", head.status
  fields.request_id, fields.location = head.headers["x-request-id"], head.headers.location
  fields.hint = head.status == 400 and wants_tls(body) and "does the server speak https?" or nil
  if not fields.message then
    fields.message = not body:find "%S" and NO_REASON or is_page(head, body) and "an HTML page" or body
  end
  return fields
end

return server_error
