--- How a row ended comes in; a line in the form of OpenAI's batch results goes out, with the line number of its input.
--- No media bytes stand in it.
local core = require "lmm.core"
local json = require "lmm.json"
local replies = require "lmm.reply"
local texts = require "lmm.text"

local result = {}

local MOST_MESSAGE = 4000 -- bytes of an error's message

--- A copy without the bytes of media: those of data: URLs, and of sound beside its id.
---@param depth integer
local function without_media(value, depth)
  if type(value) == "string" then
    local head = #value > 64 and value:match "^data:[%w/+.;=-]*;base64,"
    return head or value
  end
  if type(value) ~= "table" or depth > json.MAX_DEPTH then return value end
  local copy = {}
  for key, item in pairs(value) do
    local is_sound = key == "audio" and type(item) == "table" and type(item.data) == "string"
    copy[key] = without_media(item, depth + 1)
    if is_sound then copy[key].data = nil end
  end
  return setmetatable(copy, getmetatable(value))
end

--- The body of a reply that came as a stream, though none was asked for: as the server would have sent it whole.
local function whole_body(reply)
  local message = { role = "assistant", content = reply.text, reasoning = reply.reasoning, refusal = reply.refusal,
    tool_calls = reply.message.tool_calls }
  local usage = {}
  for name, value in pairs(reply.usage) do usage[name] = value end
  usage.requests, usage.bytes_sent = nil, nil
  return { id = reply.id, object = "chat.completion", model = reply.model, usage = usage,
    choices = json.array { { index = 0, message = message, finish_reason = reply.finish_reason or json.null } } }
end

--- The JSON of what a row gave: a reply's own body, as it came where it can stand in a line; what client:request gave,
--- or any value.
---@return string? body, string? message
local function body_of(value)
  if not replies.is(value) then return json.text(without_media(value, 1)) end
  local has_media = value.images or value.audio
  local text = not has_media and replies.json(value)
  local line = text and core.line(text)
  if line then return line end
  local raw = value.raw
  if raw[1] ~= nil then raw = whole_body(value) end
  return json.text(has_media and without_media(raw, 1) or raw)
end

--- What is said by a value that was raised, or stands where a message should: of a table its message, or all of it.
---@return string
function result.message(value)
  if type(value) ~= "table" or (getmetatable(value) or {}).__tostring then return tostring(value) end
  return type(value.message) == "string" and value.message or json.text(value) or tostring(value)
end

--- The usage that a value tells of, as the server counted it.
---@return table?
function result.usage(value)
  if replies.is(value) then return value.usage end
  local usage = type(value) == "table" and value.usage
  return type(usage) == "table" and usage or nil
end

--- The line of a row that went well; nil and why where what it gave cannot be written.
---@param row { id: string, line: integer }
---@return string? line, string? message
function result.line(row, value)
  local body, message = body_of(value == nil and json.null or value)
  if not body then return nil, message end
  local request_id = replies.is(value) and json.name_of(value.request_id)
  return '{"id":"lmm-' .. row.line .. '","custom_id":' .. json.encode(row.id) .. ',"line":' .. row.line
    .. ',"response":{"status_code":200,"request_id":' .. (request_id and json.encode(texts.utf8(request_id)) or "null")
    .. ',"body":' .. body .. '},"error":null}\n'
end

--- The line of a row that failed.
---@param err { message: string, kind: string?, code: string|number|nil, status: integer? }
---@return string line
function result.error_line(row, err)
  local code = err.code or err.kind or "error"
  local response = err.status and ('{"status_code":%d,"request_id":%s,"body":null}'):format(err.status,
    json.name_of(err.request_id) and json.encode(texts.utf8(err.request_id)) or "null") or "null"
  return ('{"id":"lmm-%d","custom_id":%s,"line":%d,"response":%s,"error":{"code":%s,"message":%s}}\n'):format(row.line,
    json.encode(row.id), row.line, response, json.text(code),
    json.encode(texts.utf8(texts.line(tostring(err.message), MOST_MESSAGE))))
end

return result
