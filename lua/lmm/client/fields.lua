--- The fields of a request: what a caller gives for one request comes in; what goes to the server, and the options
--- that are ours, go out.
local errors = require "lmm.errors"
local options = require "lmm.options"
local settings = require("lmm.call").settings

local fields = {}

--- Names that are ours; every other name in a request is the server's.
local ours = { timeout = true, retry = true, schema = true }

--- Names that vLLM took once and would now ignore without a word.
local removed = { guided_json = "schema", guided_regex = "structured_outputs", guided_choice = "structured_outputs",
  guided_grammar = "structured_outputs" }

--- The fields that requests mostly have, which need no closer look.
local usual = {}
for name in ([[messages model stream_options temperature top_p top_k min_p max_tokens max_completion_tokens stop seed n
  logprobs top_logprobs response_format tools tool_choice parallel_tool_calls frequency_penalty presence_penalty
  repetition_penalty logit_bias user metadata reasoning_effort chat_template_kwargs mm_processor_kwargs
  structured_outputs]]):gmatch "%S+" do
  usual[name] = true
end

--- Refuses a name that no server takes: one of the client's own options, or one of ours misspelt.
local function check_name(name)
  if removed[name] then errors.misuse("'%s' is no longer heeded by servers: use '%s'", name, removed[name]) end
  if settings.is_option(name) then errors.misuse("'%s' is an option of lmm.connect, not of a request", name) end
  local near = type(name) == "string" and options.nearest(name, ours)
  if near then errors.misuse("unknown option '%s' (did you mean '%s'?)", name, near) end
end

local function check_values(sent, opts)
  if opts.schema ~= nil and type(opts.schema) ~= "table" then
    errors.misuse("schema must be a table (a JSON schema), not a %s", type(opts.schema))
  end
  if sent.stream ~= nil then errors.misuse "'stream' is what client:stream and client:chat are for: leave it out" end
  if sent.model ~= nil then
    if type(sent.model) ~= "string" then errors.misuse("model must be a string, not a %s", type(sent.model)) end
    settings.model(sent.model)
  end
  if opts.schema and sent.response_format then
    errors.misuse "schema and response_format are two ways to say the same: give one"
  end
end

--- The fields to send, and the options that stay here.
---@param given table
---@param streamed boolean
---@return table sent, { timeout: any, retry: any, schema: table? } opts
function fields.split(given, streamed)
  if type(given) ~= "table" then errors.misuse("a request must be a table, not a %s", type(given)) end
  local sent, opts = {}, {}
  for name, value in pairs(given) do
    if ours[name] then
      opts[name] = value
    else
      if not usual[name] then check_name(name) end
      sent[name] = value
    end
  end
  check_values(sent, opts)
  if streamed then
    sent.stream = true
    sent.stream_options = sent.stream_options or { include_usage = true }
  else
    sent.stream_options = nil -- a conversation has it for both
  end
  if opts.schema then
    sent.response_format = { type = "json_schema", json_schema = { name = "answer", schema = opts.schema } }
  end
  return sent, opts
end

return fields
