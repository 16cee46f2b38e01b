--- Text that goes on from a prompt, without a chat's template (POST /completions): a prompt comes in; a reply or a
--- stream goes out, those of client:chat and client:stream.
local endpoint = require "lmm.client.endpoint"
local errors = require "lmm.errors"
local fields_of = require "lmm.client.fields"
local parts = require "lmm.part"

local completions = {}

local OWN = { prompt = true, stream = true }

--- How many prompts there are in one: a text, a list of texts, a list of tokens, or a list of these.
local function count(prompt, where)
  if type(prompt) == "string" then return 1 end
  if type(prompt) ~= "table" or parts.is(prompt) or prompt.type ~= nil or #prompt == 0 then
    errors.misuse("%s takes a text, tokens, or a list of these, not %s: client:chat takes media", where,
      parts.is(prompt) and "a part" or type(prompt) == "table" and "such a table" or "a " .. type(prompt))
  end
  return type(prompt[1]) == "number" and 1 or #prompt
end

local function open(self, where, prompt, opts, streamed)
  local ours, fields = endpoint.split(self, where, opts, OWN, fields_of.rows)
  local prompts = count(prompt, where)
  fields.prompt = prompt
  return self:open_stream(where, fields, ours, streamed, false, self:url "completions", prompts)
end

--- Lets a model go on from a prompt. The reply is that of client:chat; several prompts, and `n`, give as many
--- `choices`. vLLM ends after 16 tokens unless `max_tokens` says otherwise.
---@param self lmm.Client
---@param prompt lmm.Prompt
---@param opts lmm.CompletionOptions?
---@return lmm.Reply? reply, string? message, lmm.Error? err
function completions.complete(self, prompt, opts)
  return open(self, "client:complete", prompt, opts, false):reply()
end

--- The same, streamed. Gives the stream in the form that a `for` loop closes on Lua 5.4.
---@param self lmm.Client
---@param prompt lmm.Prompt
---@param opts lmm.CompletionOptions?
---@return lmm.Stream stream, nil, nil, lmm.Stream
function completions.stream_completion(self, prompt, opts)
  local stream = open(self, "client:stream_completion", prompt, opts, true)
  return stream, nil, nil, stream
end

return completions
