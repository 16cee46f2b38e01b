--- What an exchange brought: a reply or an error comes in; the JSON that the log stores goes out; and back: the body in
--- which a server would have sent it.
local json = require "lmm.json"
local plain = require "lmm.log.plain"

local answer = {}

--- What is kept of a reply beside its message, and of an error.
local OF_REPLY = { "id", "model", "request_id", "reasoning", "refusal", "usage", "attempts", "logprobs", "citations",
  "value", "choices", "duration", "language", "results", "json" }
local OF_ERROR = { "kind", "message", "status", "code", "type", "param", "hint", "phase", "limit", "request_id",
  "attempts", "elapsed", "partial", "retryable" }

---@class lmm.log.Brought
---@field message string?  JSON, as it goes into a history
---@field details string   JSON
---@field media lmm.log.Medium[]

--- The message of a reply; one is made of the text of what has none.
local function message_of(reply)
  if reply.message then return reply.message end
  return reply.text and { role = "assistant", content = reply.text } or nil
end

local function pick(from, names)
  local out = {}
  for _, name in ipairs(names) do out[name] = from[name] end
  return out
end

--- Further choices; the first is the message.
local function further(choices)
  local out = {}
  for i = 2, #(choices or {}) do
    out[i - 1] = pick(choices[i], { "index", "text", "reasoning", "refusal", "tool_calls", "finish_reason" })
  end
  return out[1] and out or nil
end

--- Reads what came.
---@param exchange lmm.Exchange
---@return lmm.log.Brought
function answer.read(exchange)
  local reply, err = exchange.reply, exchange.err
  local details = reply and pick(reply, OF_REPLY) or {}
  details.choices = reply and further(reply.choices) or nil
  details.cost, details.err = nil, err and pick(err, OF_ERROR) or nil
  local message, media = reply and message_of(reply) or nil, {}
  if message then message, media = plain.of(message) end
  if reply and (reply.images or reply.audio) then
    details.made = { images = reply.images, audio = reply.audio }
  end
  local plain_details, more = plain.of(details)
  for _, medium in ipairs(more) do media[#media + 1] = medium end
  return { message = message and json.text(message), details = json.text(plain_details) or "{}",
    media = media }
end

--- The body of a reply like the one that was logged, as a server would send it whole.
---@param reply table  of lmm.LoggedExchange
---@param model string?
---@return string? body  nil where it cannot be said again, since it had media
function answer.body(reply, model)
  if reply.made or not reply.message then return nil end
  local message = {}
  for name, value in pairs(reply.message) do message[name] = value end
  if reply.reasoning and message.reasoning == nil and message.reasoning_content == nil then
    message.reasoning = reply.reasoning
  end
  local choices = { { index = 0, message = message, finish_reason = reply.finish_reason, logprobs = reply.logprobs } }
  return json.text { id = reply.id, object = "chat.completion", model = reply.model or model, choices = choices,
    usage = reply.usage }
end

return answer
