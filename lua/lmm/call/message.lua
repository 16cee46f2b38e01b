--- What an error says: a call and how it failed come in; the error object with its sentence goes out.
local errors = require "lmm.errors"
local hints = require "lmm.call.hints"
local redact = require "lmm.call.redact"
local retry = require "lmm.call.retry"
local text = require "lmm.text"

local message = {}

local time_limits = {
  connect = "could not connect to %s within %g s",
  first = "no answer from %s within %g s",
  idle = "the answer from %s stopped for %g s",
  total = "no complete answer from %s within %g s",
}

local sentences = {
  connect = "cannot reach %s: %s",
  protocol = "%s does not answer as it should: %s",
  truncated = "the reply from %s broke off: %s",
}

--- Where a call goes, for a message: a proxy's user name and password are nobody's business.
local function target(call)
  local client = call.client
  return call.url:gsub("%?.*$", ""):gsub("/chat/completions$", "") -- a query may hold a key
    .. (client.proxy and " through " .. text.without_user(client.proxy) or "")
    .. (client.proxy_variable and " (" .. client.proxy_variable .. ")" or "")
    .. (client.unix_socket and " at " .. client.unix_socket or "")
end

--- The sentence for a failure, without its hint.
local function sentence(call, failure, reason)
  local where = target(call)
  if failure.kind == "timeout" then
    return time_limits[failure.limit]:format(where, call.timeout[failure.limit] or 0)
  elseif failure.kind == "cancelled" then
    return "the request was cancelled"
  elseif failure.kind == "http" then
    return ("%s from %s: %s"):format(failure.status < 300 and "an error" or "HTTP " .. failure.status, where, reason)
  elseif failure.kind == "connect" and (failure.phase == "send" or failure.phase == "wait") then
    return ("the connection to %s ended before an answer: %s"):format(where, reason)
  end
  local format = sentences[failure.kind]
  return format and format:format(where, reason) or reason
end

local function hint_for(call, failure)
  if failure.hint then return failure.hint end
  if failure.kind == "timeout" then return "timeout." .. failure.limit .. " sets this limit" end
  if failure.kind == "http" then return hints.for_refusal(failure, call:request_facts(), failure.location) end
  if failure.kind == "connect" or failure.kind == "protocol" then
    return hints.for_connection(failure, call.url, call.client)
  end
end

--- Kinds of failures in which the server's own words stand, and the fields that may hold them.
local is_from_server = { http = true, protocol = true }
local words = { message = true, reason = true, code = true, type = true, param = true, request_id = true,
  location = true, quote = true, hint = true }

local LONGEST_BODY = 1024 * 1024 -- bytes of a refusal's body that an error carries

local QUOTED = 60 -- bytes of a text that is no JSON

--- The error object for a failure.
---@param call lmm.Call
---@param failure table  { kind, phase?, reason? or message?, ... }: the transport's, the answer's, or the call's own;
--- `{quote}` in a reason stands for the beginning of its `quote`
---@return lmm.Error
function message.error(call, failure)
  local secrets, limit = redact.secrets(call.client, call.key, call.sent_headers), call.client.limits.error
  local clean = is_from_server[failure.kind] and redact.clean or redact.without_secrets
  local fields = {}
  for name, value in pairs(failure) do
    fields[name] = words[name] and type(value) == "string" and clean(value, secrets) or value
  end
  if fields.kind == "timeout" then fields.limit = fields.limit or "connect" end
  local body = failure.body
  fields.body = body and #body <= LONGEST_BODY and not redact.may_hold(body, secrets) and body or nil
  local reason = fields.message or fields.reason or ""
  if call.client.unix_socket then -- even then libcurl tells of the host and port of the URL
    reason = reason:gsub("^Failed to connect to .- after %d+ ms: ", "")
  end
  if fields.quote then
    local beginning = ("%q"):format(text.line(fields.quote, QUOTED))
    reason = reason:gsub("{quote}", function() return beginning end)
  end
  fields.message = reason
  fields.hint = hint_for(call, fields)
  fields.message = sentence(call, fields, reason)
  fields.retry_after = call.headers and retry.requested(call.headers, call.policy, fields) or fields.retry_after
  if fields.retry_after and failure.kind == "http" and not fields.hint then
    fields.hint = ("the server asks to wait %g s"):format(fields.retry_after)
  end
  fields.reason, fields.location, fields.quote = nil, nil, nil
  for _, name in ipairs { "message", "hint", "code", "type", "param", "request_id" } do
    if type(fields[name]) == "string" then fields[name] = text.line(fields[name], limit) end
  end
  fields.attempts, fields.elapsed = call.attempts, call.loop:now() - call.started
  fields.retryable = retry.is_retryable(fields, call.headers)
  return errors.new(fields)
end

return message
