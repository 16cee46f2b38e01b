--- Tokens: a text or messages come in; their tokens go out, and back (POST /tokenize and /detokenize, at the server's
--- root). Of each field both names go along, vLLM's and llama-server's, since each of the two passes over the other's.
local calls = require "lmm.call"
local endpoint = require "lmm.client.endpoint"
local errors = require "lmm.errors"
local parts = require "lmm.part"

local tokens = {}

---@class lmm.Tokens : lmm.EndpointReply
---@field count integer
---@field tokens integer[]
---@field max_model_len integer?  how many a prompt and its answer may have, where the server tells

local OWN = { prompt = true, content = true, messages = true, tokens = true }

--- The tokens in a reply. llama-server answers with an empty list where it does not know what was asked for.
---@param given string|table[]  what was to be counted
local function read(value, given)
  local list, count = value.tokens, value.count
  local has_count = type(count) == "number" and count >= 0 and count % 1 == 0
  if type(list) ~= "table" or not has_count and list[1] == nil and given ~= "" then
    local failure = endpoint.failure "a reply without tokens"
    failure.hint = type(given) == "table" and "does the server count messages? vLLM does, llama-server does not" or nil
    return nil, failure
  end
  if not has_count then count = #list end
  local most = value.max_model_len
  return { count = count, tokens = list, max_model_len = type(most) == "number" and most or nil }
end

--- The messages to count.
local function check_messages(given)
  local one = parts.is(given) and "a part: put it in a message's content"
    or given.role ~= nil and "one message: put it in a list"
  if one then errors.misuse("client:tokenize takes a text or a list of messages, not %s", one) end
  return given
end

--- How many tokens a text or a list of messages has, and which. Messages are written as the model's template has it,
--- and media in them counted as they are in a chat; llama-server knows texts only.
---@param self lmm.Client
---@param given string|table[]
---@param opts lmm.TokenizeOptions?
---@return lmm.Tokens? reply, string? message, lmm.Error? err
function tokens.tokenize(self, given, opts)
  local ours, fields = endpoint.split(self, "client:tokenize", opts, OWN)
  if type(given) == "string" then
    fields.prompt, fields.content = given, given
  elseif type(given) == "table" then
    fields.messages = check_messages(given)
  else
    errors.misuse("client:tokenize takes a text or a list of messages, not a %s", type(given))
  end
  local function read_all(value) return read(value, given) end
  return errors.public(endpoint.post(self, "/tokenize", fields, calls.options(self, ours),
    endpoint.reader(self, read_all)))
end

local function read_text(value)
  local text = type(value.prompt) == "string" and value.prompt or value.content
  if type(text) ~= "string" then return nil, endpoint.failure "a reply without the text of the tokens" end
  return { text = text }
end

--- The text that tokens stand for.
---@param self lmm.Client
---@param list integer[]
---@param opts lmm.EndpointOptions?
---@return string? text, string? message, lmm.Error? err
function tokens.detokenize(self, list, opts)
  local ours, fields = endpoint.split(self, "client:detokenize", opts, OWN)
  if type(list) ~= "table" then errors.misuse("client:detokenize takes a list of tokens, not a %s", type(list)) end
  for i, token in ipairs(list) do
    if type(token) ~= "number" then errors.misuse("client:detokenize: item %d is a %s, no token", i, type(token)) end
  end
  fields.tokens = #list == 0 and require("lmm.json").array {} or list
  local reply, err = endpoint.post(self, "/detokenize", fields, calls.options(self, ours),
    endpoint.reader(self, read_text))
  return errors.public(reply and reply.text, err)
end

return tokens
