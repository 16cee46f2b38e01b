--- What a server says when it refuses: a status, headers and a body, or an event of a stream, come in; the fields of an
--- error object go out. The forms are those of vLLM, llama-server, Ollama, SGLang and Anthropic's API.
local json = require "lmm.json"
local text = require "lmm.text"

local server_error = {}

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
  local code, status = json.clean(scalar(found.code)), json.clean(scalar(found.status))
  local message = text_of(found.message) or text_of(found.detail) or found.message ~= "" and text_of(found)
  return {
    message = message and with_numbers(message, found) or "no reason given",
    code = code,
    type = scalar(found.type),
    param = scalar(found.param),
    status = is_status(code) and code or is_status(status) and status or nil,
  }
end

--- One line of advice for what people meet most: by status, and by what the message says where that is needed. Captures
--- of `match`, which takes linear time, fill the hint.
local text_only = "ask a model that takes more than text"
local too_long = "shorten the prompt, send smaller pictures, or lower max_tokens"
local local_files = "start vLLM with --allowed-local-media-path DIR, or pass a path, which sends the file itself"
local hints = {
  { status = 401, hint = "pass api_key, or set OPENAI_API_KEY" },
  { status = 404, match = "model", hint = "client:models(), or lmm models, lists those that are served" },
  { status = 404, within = "/chat/completions/chat/completions$", hint = "the base URL ends before /chat/completions" },
  { status = 404, within = "/chat/completions/models$", hint = "the base URL ends before /chat/completions" },
  { status = 404, versionless = true, hint = "a base URL mostly ends in /v1" },
  { status = 405, versionless = true, hint = "a base URL mostly ends in /v1" },
  { status = 407, hint = "the proxy asks who you are: proxy = \"http://user:password@host:port\"" },
  { match = "At most 0 (%a+)", hint = "the model takes no %s, or vLLM's limit for it is 0" },
  { match = "At most %d+ (%a+)%(?s?%)? may be provided",
    hint = "vLLM sets this limit by --limit-mm-per-prompt.%s N" },
  { match = " %-%-tool%-call%-parser to be set", -- however the tools are chosen
    hint = "start vLLM with --enable-auto-tool-choice --tool-call-parser NAME" },
  { match = "is not a multimodal model", hint = text_only },
  { match = "%a input is not supported", hint = text_only .. ", or start llama-server with its --mmproj FILE" },
  { match = "maximum context length", hint = too_long },               -- vLLM, SGLang, OpenAI
  { match = "longer than the maximum model length", hint = too_long }, -- vLLM up to 0.11
  { match = "longer than the model's context length", hint = too_long }, -- SGLang
  { match = "exceeds the available context size", hint = too_long },   -- llama-server
  { match = "cannot be greater than max_model_len", hint = "lower max_tokens" },
  { match = "Non%-base64 digit", hint = "nothing but base64 may follow 'base64,': no space, no line break" },
  { match = "allowed%-local%-media%-path", hint = local_files },
  { match = "Cannot load local files", hint = local_files },
}

local LOOKED_AT = 4000 -- bytes of a message, in which advice is looked for

--- A place without a user name and a password; further on an @ may well stand.
local function without_user(location)
  local before, authority, rest = location:match "^([^/?#]*//)([^/?#]*)(.*)$"
  return before and before .. authority:gsub("^.*@", "") .. rest or location
end

--- The advice for an error, or nil.
---@param sent { url: string?, base_url: string?, size: integer? }  the request; the size of its body in bytes
---@param location string?  where a redirect points
function server_error.hint(err, sent, location)
  if err.status >= 300 and err.status < 400 then
    local place = location and text.line(without_user(location), 500)
    return place and "it points to " .. place .. "; redirects are not followed"
  end
  if err.status == 413 then
    return sent.size and ("the request has %d bytes, more than the server takes"):format(sent.size) or nil
  end
  local message = err.message:sub(1, LOOKED_AT)
  for _, row in ipairs(hints) do
    local found = not row.match or message:match(row.match)
    if row.status and row.status ~= err.status then found = nil end
    if row.within and not (sent.url and sent.url:find(row.within)) then found = nil end
    if row.versionless and (sent.base_url or "/v1"):find "/v%d+$" then found = nil end
    if found then return row.hint:format(found) end
  end
end

--- What a body is that should have been JSON, with its beginning.
---@param fault string?  what json.decode says of it
---@param content_type string?  what its head says of it
function server_error.describe(body, fault, content_type)
  if not body:find "%S" then return "an empty reply" end
  if body:find "^%s*<[!%a]" then return "an HTML page, not JSON" end
  if body:find "^data:" and content_type then
    return "the events of a stream, but their Content-Type is "
      .. (content_type == "" and "missing" or "'" .. text.line(content_type, 100) .. "'")
  end
  local beginning = string.format("%q", text.line(body, 60))
  if fault and body:find "^%s*[{%[]" then return ("JSON with a fault, %s: %s"):format(fault, beginning) end
  return "not a JSON object but " .. beginning
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
---@param sent { url: string?, size: integer? }  see server_error.hint
function server_error.from_reply(head, body, sent)
  local fields = server_error.find(json.clean((json.decode(body)))) or {}
  fields.kind, fields.phase = "http", "receive"
  fields.status = head.status
  fields.request_id = head.headers["x-request-id"]
  if not fields.message then
    fields.message = not body:find "%S" and "no reason given" or is_page(head, body) and "an HTML page" or body
  end
  fields.hint = head.status == 400 and wants_tls(body) and "does the server speak https?"
    or server_error.hint(fields, sent, head.headers.location)
  return fields
end

return server_error
