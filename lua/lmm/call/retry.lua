--- How often to try and how long to wait: failures come in, a delay in seconds or nil goes out. A policy is data.
local errors = require "lmm.errors"
local options = require "lmm.options"
local texts = require "lmm.text"

local retry = {}

---@alias lmm.Retry lmm.RetryOptions|(fun(attempt: integer, err: lmm.Error): number?)|boolean

---@class lmm.RetryOptions
---@field attempts integer?  tries in all, the first included (3)
---@field base number?       seconds before the second try (0.5)
---@field cap number?        seconds that the doubling delay stops at (8)
---@field max_wait number?   the longest wait a server may ask for; beyond it the call is not retried (120)
---@field clock (fun(): number)?   seconds since 1970, for Retry-After as a date (os.time)
---@field random (fun(): number)?  from [0, 1), takes up to a quarter off a delay (math.random)
---@field on_retry (fun(attempt: integer, err: lmm.Error, delay: number))?  called before each wait: which attempt
--- failed, with what, and the seconds until the next; what it raises ends the call and reaches its caller
local rows = {
  attempts = "number", base = "number", cap = "number", max_wait = "number", clock = "function", random = "function",
  on_retry = "function",
}

local defaults = { attempts = 3, base = 0.5, cap = 8, max_wait = 120, clock = os.time, random = math.random }

--- Makes a policy from what differs from the defaults; from a function `(attempt, err) -> delay | nil`, itself; from
--- false, one that never tries again; from true, the default.
function retry.new(opts)
  if type(opts) == "function" then return opts end
  if opts == true then opts = nil end
  if opts == false then opts = { attempts = 1 } end
  opts = options.check("lmm.retry", rows, opts)
  local policy = { on_retry = opts.on_retry }
  for name, value in pairs(defaults) do
    policy[name] = opts[name] == nil and value or opts[name]
    if type(value) == "number" and name ~= "attempts" and not (policy[name] >= 0) then
      errors.misuse("lmm.retry: '%s' is at least 0, not %s", name, tostring(policy[name]))
    end
  end
  if not (policy.attempts >= 1) then
    errors.misuse("lmm.retry: 'attempts' is at least 1, not %s: the first try counts", tostring(policy.attempts))
  elseif policy.attempts ~= math.huge and policy.attempts % 1 ~= 0 then
    errors.misuse("lmm.retry: 'attempts' is a whole number, not %s", tostring(policy.attempts))
  end
  return policy
end

--- 520 to 524 are Cloudflare's, 529 is Anthropic's.
local transient = {}
for _, status in ipairs { 408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529 } do
  transient[status] = true
end

local quota_codes = { insufficient_quota = true, billing_hard_limit_reached = true }

--- Whether an error that came with a success's status tells, by its type, of a fault that passes.
local function is_transient_type(err)
  local kind = tostring(err.type or ""):lower() .. " " .. tostring(err.code or ""):lower()
  return kind:find "overloaded" or kind:find "server_error" or kind:find "rate_limit" or kind:find "unavailable"
end

--- Whether the same request may succeed later. `headers` are those of the reply, if there was one.
function retry.is_retryable(err, headers)
  local advice = headers and headers["x-should-retry"]
  if err.kind == "http" and (advice == "true" or advice == "false") then return advice == "true" end
  if err.kind == "connect" then return not err.permanent end
  if err.kind == "timeout" then return err.limit ~= "total" and err.phase ~= "receive" end
  if err.kind == "truncated" then return true end
  if err.kind ~= "http" or quota_codes[err.code] or quota_codes[err.type] then return false end
  return transient[err.status] or err.status < 300 and is_transient_type(err) ~= nil or false
end

--- The seconds that the server asks to wait, or nil. Loaded when it is needed.
---@param headers table<string, string>
---@param policy table|function
---@param err { status: integer? }
---@return number?
function retry.requested(headers, policy, err)
  local clock = type(policy) == "table" and policy.clock or os.time
  return require("lmm.call.retry_after").seconds(headers, clock, err.status)
end

--- The delay before the next try, or nil to stop. `failures` are the errors of this call so far, the last one last;
--- `headers` those of the last reply.
---@param goes_elsewhere boolean?  the next try is another server's, for which no wait is needed
function retry.delay(policy, failures, headers, goes_elsewhere)
  local attempt, err = #failures, failures[#failures]
  if type(policy) == "function" then
    local delay = policy(attempt, err)
    if delay == nil or delay == false then return nil end
    if type(delay) == "number" and delay >= 0 then return goes_elsewhere and 0 or delay end
    errors.misuse("retry: the function must give seconds or nil, not %s", texts.shown(delay))
  end
  if attempt >= policy.attempts or not retry.is_retryable(err, headers) then return nil end

  local internal = 0
  for _, failure in ipairs(failures) do
    if failure.status == 500 then internal = internal + 1 end -- vLLM uses it for passing and for permanent faults
  end
  if internal > 1 and not (headers and headers["x-should-retry"] == "true") then return nil end

  if goes_elsewhere then return 0 end
  local asked = headers and retry.requested(headers, policy, err) or err.retry_after
  if asked then return asked <= policy.max_wait and asked or nil end
  return math.min(policy.cap, policy.base * 2 ^ (attempt - 1)) * (1 - 0.25 * policy.random())
end

return retry
