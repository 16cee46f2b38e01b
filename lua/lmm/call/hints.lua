--- One line of advice for what people meet most: an error's fields and the request come in, a hint or nil goes out.
local text = require "lmm.text"

local hints = {}

--- By status, and by what the message says where that is needed. Captures of `match`, which takes linear time, fill the
--- hint.
local text_only = "ask a model that takes more than text"
local too_long = "shorten the prompt, send smaller pictures, or lower max_tokens"
local local_files = "start vLLM with --allowed-local-media-path DIR, or pass a path, which sends the file itself"
local empty_list = "an empty table is sent as {}: lmm.array {} is an empty list"
local refusals = {
  { status = 401, has_key = true, hint = "the server does not take the key that was sent" },
  { status = 401, hint = "pass api_key, or set OPENAI_API_KEY" },
  { status = 404, match = "model", hint = "client:models(), or lmm models, lists those that are served" },
  { status = 404, url = "/chat/completions/chat/completions$", hint = "the base URL ends before /chat/completions" },
  { status = 404, url = "/chat/completions/models$", hint = "the base URL ends before /chat/completions" },
  { status = 404, no_version = true, hint = "a base URL mostly ends in /v1" },
  { status = 405, no_version = true, hint = "a base URL mostly ends in /v1" },
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
  { match = "should be a valid list", hint = empty_list },    -- vLLM and SGLang, in the words of pydantic
  { match = "expected an array", hint = empty_list },         -- OpenAI
  { match = "must be an array", hint = empty_list },          -- llama-server
  { match = "allowed%-local%-media%-path", hint = local_files },
  { match = "Cannot load local files", hint = local_files },
}

local LOOKED_AT = 4000 -- bytes of a message, in which advice is looked for

--- A redirect's target without a user name and a password; further on an @ may well stand.
local function location_without_user(location)
  local before, authority, rest = location:match "^([^/?#]*//)([^/?#]*)(.*)$"
  return before and before .. authority:gsub("^.*@", "") .. rest or location
end

--- Advice for an answer that refuses the request.
---@param err { status: integer, message: string }
---@param request { url: string?, base_url: string?, size: integer?, has_key: boolean?, parts: lmm.Part[]? }  size: of
--- its body, in bytes
---@param location string?  where a redirect points
---@return string?
function hints.for_refusal(err, request, location)
  if err.status >= 300 and err.status < 400 then
    local place = location and text.line(location_without_user(location), 500)
    return place and "it points to " .. place .. "; redirects are not followed"
  end
  if err.status == 413 then
    return request.size and ("the request has %d bytes, more than the server takes"):format(request.size) or nil
  end
  local message = err.message:sub(1, LOOKED_AT)
  local about_media = request.parts and require("lmm.call.media_hints").find(message, request.parts)
  if about_media then return about_media end
  for _, row in ipairs(refusals) do
    local found = not row.match or message:match(row.match)
    if row.status and row.status ~= err.status then found = nil end
    if row.url and not (request.url and request.url:find(row.url)) then found = nil end
    if row.has_key and not request.has_key then found = nil end
    if row.no_version and (request.base_url or "/v1"):find "/v%d+$" then found = nil end
    if found then return row.hint:format(found) end
  end
end

local by_phase = {
  connect = "is a server running there?",
  dns = "is the host's name right?",
}

--- For TLS, by the words of OpenSSL and libcurl.
local trust = "tls.ca: name the file of the authority's certificate"
local own_key = "tls.key: name the file of the certificate's own key, PEM and without a pass phrase"
local tls = {
  { "self-signed certificate", trust },
  { "self signed certificate", trust }, -- before OpenSSL 3
  { "unable to get local issuer certificate", trust },
  { "alert certificate required", "the server asks for a client certificate: tls.cert and tls.key" },
  { "unable to set private key file", own_key },
}

--- The status by which a proxy has refused a tunnel, in the words of older and newer libcurls.
local function proxy_status(reason)
  return tonumber(reason:match "HTTP code (%d+) from proxy" or reason:match "CONNECT tunnel failed, response (%d+)")
end

--- Advice where there was no connection, or nothing that can be understood came through it.
---@param failure { kind: string, phase: string?, reason: string?, permanent: boolean? }
---@param url string
---@param client lmm.Client
---@return string?
function hints.for_connection(failure, url, client)
  local reason = failure.reason or ""
  local refusal = proxy_status(reason)
  if refusal then
    return refusal == 407 and hints.for_refusal({ status = 407, message = reason }, {}) or "the proxy refused"
  end
  if reason:find "[Tt]oo many open files" then return "raise ulimit -n, or let fewer calls run at once" end
  if url:find "^https" then
    for _, row in ipairs(tls) do
      if reason:find(row[1], 1, true) then return row[2] end
    end
    local is_plain = not failure.permanent or reason:find "wrong version number" or reason:find "unexpected TLS packet"
    if failure.phase == "tls" and is_plain then return "does the server speak http?" end
  elseif not client.has_answered then
    local is_dropped = failure.kind == "connect" and failure.phase == "wait"
    if is_dropped or reason:find "not speak HTTP" then return "does the server speak https?" end
  end
  if client.unix_socket and failure.phase == "connect" then return "is a server listening at that path?" end
  return failure.kind == "connect" and by_phase[failure.phase] or nil
end

return hints
