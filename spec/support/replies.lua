-- What servers answer, in the form of spec/support/fake: tables that say what a reply is, not how it travels.
local json = require "lmm.json"

local replies = {}

local sse_headers = { ["content-type"] = "text/event-stream; charset=utf-8" }

--- JSON as a careless server writes it: bytes that are not UTF-8 stay as they are.
function replies.encode(value)
  local function hide(item)
    if type(item) == "string" then
      return (item:gsub("[\127-\255]", function(byte) return ("\127%02x"):format(byte:byte()) end))
    end
    if type(item) ~= "table" then return item end
    local copy = setmetatable({}, getmetatable(item))
    for key, inner in pairs(item) do copy[key] = hide(inner) end
    return copy
  end
  return (json.encode(hide(value)):gsub("\127(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- The text of one event.
function replies.event(value)
  return "data: " .. (type(value) == "string" and value or replies.encode(value)) .. "\n\n"
end

--- An event with a delta of the first choice.
function replies.delta(delta, finish_reason)
  if type(delta) == "string" then delta = { content = delta } end
  local choice = { index = 0, delta = delta, finish_reason = finish_reason }
  return replies.event { id = "c1", model = "m", choices = { choice } }
end

--- A streamed reply of these chunks; strings are sent as they are.
function replies.streamed(chunks, reply)
  reply = reply or {}
  reply.chunks, reply.headers = chunks, sse_headers
  return reply
end

--- A whole streamed answer in pieces.
function replies.answer(...)
  local chunks = { replies.delta { role = "assistant", content = "" } }
  for _, piece in ipairs { ... } do chunks[#chunks + 1] = replies.delta(piece) end
  chunks[#chunks + 1] = replies.delta({}, "stop")
  chunks[#chunks + 1] = replies.event "[DONE]"
  return replies.streamed(chunks)
end

--- A whole unstreamed answer.
function replies.whole(text, more)
  local message = { role = "assistant", content = text }
  for name, value in pairs(more or {}) do message[name] = value end
  return { headers = { ["content-type"] = "application/json" }, json = { id = "c1", object = "chat.completion",
    model = "m", choices = { { index = 0, message = message, finish_reason = "stop" } },
    usage = { prompt_tokens = 5, completion_tokens = 2, total_tokens = 7 } } }
end

return replies
