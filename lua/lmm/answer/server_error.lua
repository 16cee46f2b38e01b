--- What a server says when it refuses: a status, headers and a body, or an event of a stream, come in; the fields of
--- an error object go out. The forms are those of vLLM, llama-server, Ollama, SGLang, Anthropic's API, and of the
--- gateways and clouds that are named below.
local core = require "lmm.core"
local failures = require "lmm.answer.failure"
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

--- The status that a code is, which comes in quotes, too.
local function status_of(code)
  local number = type(code) ~= "table" and tonumber(code)
  return number and number >= 400 and number <= 599 and number % 1 == 0 and number or nil
end

--- llama-server tells beside its message how long the prompt is, and the context.
local function with_numbers(message, found)
  local prompt, context = found.n_prompt_tokens, found.n_ctx
  if type(prompt) ~= "number" or type(context) ~= "number" then return message end
  if message:find(("%.0f"):format(context), 1, true) then return message end
  return ("%s: the prompt has %.0f tokens, the context %.0f"):format(message, prompt, context)
end

local SUCCESSES = { ["0"] = true, ["200"] = true, success = true, ok = true }

--- Whether a code tells of a fault.
local function is_fault(code)
  if code == nil or code == "" or type(code) == "table" or code == true or code == false then return false end
  return not SUCCESSES[(type(code) == "number" and ("%.14g"):format(code) or code):lower()]
end

--- Whether an error that stands beside an answer says nothing, or that all is well.
local function says_nothing(found)
  if type(found) ~= "table" or is_fault(found.code) then return false end
  return found.code ~= nil and found.code ~= "" or not text_of(found.message)
end

--- The error that an object without choices and without a field `error` is, or nil where it is none: as vLLM before
--- 0.10, FastAPI, Baidu (`error_code`), MiniMax (`base_resp`) and others have it.
local function unwrapped(value)
  if value.detail then return value.detail end
  local list, base = value.errors, value.base_resp
  if type(list) == "table" and next(list) ~= nil then return list[1] or list end
  if is_fault(value.error_code) then
    return { message = value.error_msg or value.error_message or value.error_description, code = value.error_code }
  elseif type(base) == "table" and is_fault(base.status_code) then
    return { message = base.status_msg, code = base.status_code }
  elseif value.success == false then
    return { message = value.msg or value.message, code = value.code }
  end
  local is_error = value.type == "error" or value.message ~= nil
    and (is_fault(value.code) or value.status == "error" or status_of(value.status))
  return is_error and value or nil
end

--- What a gateway passes on of the provider behind it, as OpenRouter does.
local function of_provider(found)
  local metadata = type(found.metadata) == "table" and found.metadata or {}
  local raw = metadata.raw
  if type(raw) == "string" then
    local value = core.decode(raw, { clean = true, lenient = true })
    local inner = type(value) == "table" and server_error.find(value, true)
    raw = inner and inner.message ~= NO_REASON and inner.message or raw
  end
  local reason, name = text_of(raw), text_of(metadata.provider_name)
  return reason and (name and name .. ": " .. reason or reason) or name
end

--- How long the server asks to wait, in seconds, as Google's RetryInfo has it.
local function retry_after(found)
  for _, detail in json.items(found.details) do
    local seconds = type(detail.retryDelay) == "string" and tonumber(detail.retryDelay:match "^([%d.]+)s$")
    if seconds and seconds > 0 then return seconds end
  end
end

--- The fields of an error that was found.
local function fields_of(found)
  if type(found) ~= "table" then found = { message = tostring(found) } end
  local code, status = scalar(found.code), scalar(found.status)
  local message = text_of(found.message) or text_of(found.detail) or found.message ~= "" and text_of(found)
  local provider = message and of_provider(found)
  return {
    message = message and with_numbers(message, found) .. (provider and " (" .. provider .. ")" or "") or NO_REASON,
    code = code,
    type = scalar(found.type),
    param = scalar(found.param),
    status = status_of(code) or status_of(status),
    retry_after = retry_after(found),
  }
end

--- The fields of an error that stands beside an answer, or nil where it is none: some servers write there that all is
--- well.
function server_error.beside_answer(found)
  if found == "" or found == nil or found == false or says_nothing(found) then return nil end
  return fields_of(found)
end

--- The fields of an error in a decoded reply, or nil where it holds none.
---@param bare boolean?  the object itself is known to be an error
function server_error.find(value, bare)
  if type(value) ~= "table" then return nil end
  if type(value[1]) == "table" and value[1].error ~= nil then value = value[1] end -- Google's is a list
  local has_answer = type(value.choices) == "table" and next(value.choices) ~= nil
  local found = value.error
  if value.choices ~= nil then
    local fields = server_error.beside_answer(found)
    if fields or has_answer then return fields end
    found = nil
  end
  if found == "" or found == false then found = nil end
  if found == nil and (bare or value.object == "error") then found = value end
  if found == nil and value.choices == nil then found = unwrapped(value) end
  return found ~= nil and fields_of(found) or nil
end

--- What a text is that should have been a JSON object, as the fields of a failure: `{quote}` in the reason stands for
--- the beginning of `quote`.
---@param body string
---@param fault string?  what the JSON decoder says of it
---@param is_said boolean?  a model wrote it
---@return { kind: "protocol", reason: string, quote: string? }
function server_error.not_json(body, fault, is_said)
  local reason
  if not body:find "%S" then
    reason = "an empty reply"
  elseif not is_said and body:find "^%s*<[!%a]" then
    local title = body:match "<[tT][iI][tT][lL][eE]>%s*([^<]+)"
    if title then return { kind = "protocol", phase = "receive", reason = "an HTML page, {quote}", quote = title } end
    reason = "an HTML page, not JSON"
  elseif fault and (body:find "^%s*[{%[]" or body:find "^%s*```%a*%s*[{%[]") then
    reason = "JSON with a fault, " .. fault .. ": {quote}"
  else
    reason = "not a JSON object but {quote}"
  end
  return { kind = "protocol", phase = "receive", reason = reason, quote = body }
end

--- The failure of JSON that cannot be decoded, by what core.decode says of it.
---@param limits { reply: integer, depth: integer }
---@param message string
---@param why "syntax"|"cut"|"limit"
---@param is_said boolean?  a model wrote it
function server_error.of_decode(text, limits, message, why, is_said)
  if why ~= "limit" then return server_error.not_json(text, message, is_said) end
  local reason = ("the reply is longer than %d bytes (limits.reply)"):format(limits.reply)
  if message:find "nested" then
    reason = ("the reply is nested more than %d deep (limits.depth)"):format(limits.depth)
  elseif message:find "lists and objects" then
    reason = message .. " (limits.reply)"
  end
  return failures.new("limit", reason)
end

local LOOKED_AT = 64 * 1024 -- bytes at the end of a stream

--- The fields of an error that stands as plain JSON between the events of a stream, on one line or on several; nil
--- where there is none.
---@param bytes string  all that came
function server_error.among_events(bytes)
  local tail = "\n" .. bytes:sub(-LOOKED_AT)
  local text = tail:match "[\r\n][ \t]*({.*)"
  if not text then return nil end
  local value, _, byte = core.decode(text, { clean = true, lenient = true })
  if value == nil and byte and byte > 1 then -- events follow it
    value = core.decode(text:sub(1, byte - 1), { clean = true, lenient = true })
  end
  return server_error.find(value)
end

local LONGEST_WORDS = 1000 -- bytes of them that are looked at

--- What stands behind the last event of a stream, where it is neither half an event nor a comment.
---@return string?
function server_error.words_in(rest)
  local words = rest:match "^%s*(.*)$":sub(1, LONGEST_WORDS):gsub("%s+$", "")
  local is_field = words:find "^:" or ("data:"):find(words, 1, true) == 1
  for _, name in ipairs { "data", "event", "id", "retry" } do is_field = is_field or words:find("^" .. name .. ":") end
  return words ~= "" and not is_field and words or nil
end

local function is_page(head, body)
  return (head.headers["content-type"] or ""):lower():find("html", 1, true) or body:find "^%s*<[!%a]"
end

--- What servers with TLS answer to a request without it: nginx, Go, Apache.
local function wants_tls(body)
  return body:find("plain HTTP request was sent to HTTPS port", 1, true)
    or body:find("HTTP request to an HTTPS server", 1, true) or body:find("plain HTTP to an SSL", 1, true)
end

--- The JSON of a refusal, which may be framed as an event.
local function json_of(body)
  return body:match "^%s*data:([^\r\n]*)" or body:match "^%s*event:[^\r\n]*\r?\n%s*data:([^\r\n]*)" or body
end

--- The fields of an error for a reply with an HTTP status that is no success.
---@param head { status: integer, headers: table<string, string> }
---@param body string
---@param encoding string?  in which the body comes, and cannot be read
---@return table failure  kind, phase, status, message, and what else the server says; a hint where only the body
--- gives one
function server_error.from_reply(head, body, encoding)
  local value = core.decode(json_of(body), { clean = true, lenient = true })
  local fields = server_error.find(value, body:find "^%s*event: *error") or {}
  if fields.message == NO_REASON then fields.message = nil end
  fields.status = head.status
  failures.of_server(fields)
  fields.request_id, fields.location = head.headers["x-request-id"], head.headers.location
  fields.hint = head.status == 400 and wants_tls(body) and "does the server speak https?" or nil
  if encoding then
    fields.message = ("its reason is encoded (%s)"):format(encoding)
  elseif not fields.message then
    fields.message = not body:find "%S" and NO_REASON or is_page(head, body) and "an HTML page" or body
  end
  return fields
end

return server_error
