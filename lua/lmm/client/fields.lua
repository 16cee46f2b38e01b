--- The fields of a request: what a caller gives for one request comes in; what goes to the server goes out. No field
--- steers the library, so that a request may come from anybody.
local calls = require "lmm.call"
local errors = require "lmm.errors"
local structured = require("lmm.request").structured

local fields = {}

--- The options of one request that are ours.
fields.rows = {}
for _, rows in ipairs { calls.rows, structured.rows } do
  for name, types in pairs(rows) do fields.rows[name] = types end
end

--- Those of the options of a request that say what the answer is to be.
---@param ours table?
---@return table?
function fields.answer_options(ours)
  local out
  for name in pairs(structured.rows) do
    if ours and ours[name] ~= nil then
      out = out or {}
      out[name] = ours[name]
    end
  end
  return out
end

--- Names that vLLM took once and would now ignore without a word.
local removed = { guided_json = "schema", guided_regex = "regex", guided_choice = "choice", guided_grammar = "grammar" }

--- Refuses what cannot be a request.
function fields.check(given)
  if type(given) ~= "table" then errors.misuse("a request must be a table, not a %s", type(given)) end
  if given.model ~= nil then
    if type(given.model) ~= "string" then errors.misuse("model must be a string, not a %s", type(given.model)) end
    calls.settings.model(given.model)
  end
end

--- A body that asks for a stream, where it is an object that does not say whether it does.
---@param body any
function fields.streamed(body)
  if type(body) ~= "table" or getmetatable(body) or body[1] ~= nil then return body end
  local sent = { stream = true }
  for name, value in pairs(body) do sent[name] = value end
  return sent
end

--- What a stream asks for unless the request has `stream_options` of its own, or false.
fields.STREAM_OPTIONS = { include_usage = true }

--- The fields to send.
---@param given table  a request, which stays as it is
---@param streamed boolean
---@return table sent, boolean wants_usage  whether STREAM_OPTIONS are to go along, which some servers refuse
function fields.sent(given, streamed)
  local sent = { messages = nil, model = nil, stream = nil, stream_options = nil } -- made large enough at once
  for name, value in pairs(given) do
    if removed[name] then
      errors.misuse("'%s' is no longer heeded by servers: use the option '%s'", name, removed[name])
    end
    sent[name] = value
  end
  sent.stream = streamed
  if not streamed or sent.stream_options == false then sent.stream_options = nil end -- servers take it of streams alone
  return sent, streamed and given.stream_options == nil
end

return fields
