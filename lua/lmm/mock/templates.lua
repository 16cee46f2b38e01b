--- The answers of a vLLM server, to the byte: values come in; JSON text goes out, field names, their order and nulls as
--- vLLM writes them.
--
-- It is written by templates, since no JSON library keeps the order of names, nor tells an empty array from an empty
-- object everywhere.
local json = require "lmm.json"

local templates = {}

-- A JSON string as servers write it: lua-cjson escapes every slash, too.
local function quote(text)
  return (json.encode(text):gsub("\\/", "/"))
end

-- Replaces $name by a string of `values`, and %name by a number or a JSON text of theirs.
local function fill(template, values)
  return (template:gsub("([$%%])(%l[%l_]*)", function(kind, name)
    local value = values[name]
    if kind == "$" then return quote(value) end
    return type(value) == "number" and string.format("%d", value) or value
  end))
end

templates.fill = fill

local USAGE = '{"prompt_tokens":%prompt,"total_tokens":%total,"completion_tokens":%completion%details}'

local MODELS = '{"object":"list","data":[{"id":$model,"object":"model","created":%created,"owned_by":$owner,'
  .. '"root":$model,"parent":null,"max_model_len":%max_model_len,"permission":[{"id":"modelperm-0","object":'
  .. '"model_permission","created":%created,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,'
  .. '"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,'
  .. '"is_blocking":false}]}]}'

local COMPLETION = '{"id":$id,"object":"chat.completion","created":%created,"model":$model,"choices":[{"index":0,'
  .. '"message":{"role":"assistant","content":%content,"refusal":null,"annotations":null,"audio":null,'
  .. '"function_call":null,%calls"reasoning":null},"logprobs":null,"finish_reason":$finish_reason,"stop_reason":null,'
  .. '"token_ids":null,"routed_experts":null}],"service_tier":null,"system_fingerprint":"lmm-mock","usage":%usage,'
  .. '"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,'
  .. '"ec_transfer_params":null,"metrics":null}'

local CHUNK = '{"id":$id,"object":"chat.completion.chunk","created":%created,"model":$model,"choices":['

-- What stands in the choices of a chunk, and behind its usage.
local CHOICES = {
  role = '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}',
  piece = '{"index":0,"delta":{"content":$text},"logprobs":null,"finish_reason":null,"token_ids":null}',
  calls = '{"index":0,"delta":{"tool_calls":[%calls]},"logprobs":null,"finish_reason":null,"token_ids":null}',
  finish = '{"index":0,"delta":{"content":$text},"logprobs":null,"finish_reason":$finish_reason,"stop_reason":null,'
    .. '"token_ids":null}',
  usage = "",
}
local TAILS = { role = ',"prompt_token_ids":null,"prompt_text":null' }

templates.DONE = "data: [DONE]\n\n"

-- The types that go with a status, where an error names none.
local TYPES = {
  [400] = "BadRequestError", [404] = "NotFoundError", [429] = "RateLimitError", [500] = "InternalServerError",
  [501] = "NotImplementedError", [503] = "Service Unavailable",
}

local ERROR = '{"error":{"message":$message,"type":$type,"param":%param,"code":%code}}'

-- In a stream another library of the server writes it, with spaces.
local ERROR_EVENT = '{"error": {"message": $message, "type": $type, "param": %param, "code": %code}}'

local function fill_error(template, problem)
  return fill(template, {
    message = problem.message, type = problem.type or TYPES[problem.status] or "Error", code = problem.status,
    param = problem.param and quote(problem.param) or "null",
  })
end

---@param problem { status: integer, message: string, type: string?, param: string? }
function templates.error(problem)
  return fill_error(ERROR, problem)
end

--- The same as an event of a stream.
function templates.error_event(problem)
  return "data: " .. fill_error(ERROR_EVENT, problem) .. "\n\n"
end

---@param values { model: string, created: integer, max_model_len: integer, owner: string }
function templates.models(values)
  return fill(MODELS, values)
end

--- A chat completion.
---@class lmm.mock.Answer
---@field id string
---@field created integer
---@field model string
---@field text string
---@field calls { id: string, name: string, arguments: string }[]?
---@field finish_reason string
---@field prompt integer       tokens
---@field completion integer   tokens
---@field form table?          what writes an answer that is no chat's (lmm.mock.forms)

local function usage(answer, completion, details)
  return fill(USAGE, {
    prompt = answer.prompt, completion = completion, total = answer.prompt + completion, details = details,
  })
end

--- The calls of a message.
local function tool_calls(answer)
  if not answer.calls then return "" end
  local list = {}
  for i, call in ipairs(answer.calls) do
    list[i] = fill('{"id":$id,"type":"function","function":{"name":$name,"arguments":$arguments}}', call)
  end
  return '"tool_calls":[' .. table.concat(list, ",") .. "],"
end

--- A piece of a call in a stream: first its id and its name, then its arguments.
local function call_delta(piece)
  local template = piece.id and '{"id":$id,"type":"function","index":%index,"function":{"name":$name,"arguments":""}}'
    or '{"index":%index,"function":{"arguments":$arguments}}'
  return fill(template, piece)
end

---@param answer lmm.mock.Answer
function templates.completion(answer)
  return fill(COMPLETION, {
    id = answer.id, created = answer.created, model = answer.model, calls = tool_calls(answer),
    content = answer.calls and "null" or quote(answer.text),
    finish_reason = answer.finish_reason,
    usage = usage(answer, answer.completion, ',"prompt_tokens_details":null,"completion_tokens_details":null'),
  })
end

--- One event of a stream.
---@param answer lmm.mock.Answer
---@param kind "role"|"piece"|"calls"|"finish"|"usage"
---@param opts? { text: string?, call: table?, tokens: integer?, is_last: boolean? }
---  text: of a piece, or of the piece with which the answer finishes; call: a piece of one; tokens: of the answer so
---  far, where each chunk holds the usage; is_last: nothing but [DONE] follows
function templates.chunk(answer, kind, opts)
  opts = opts or {}
  local usage_text
  if kind == "usage" then
    usage_text = usage(answer, answer.completion, "")
  elseif opts.tokens then
    usage_text = usage(answer, opts.tokens, ',"completion_tokens_details":null')
  end
  local template = CHUNK .. CHOICES[kind] .. "]" .. (usage_text and ',"usage":%usage' or "") .. (TAILS[kind] or "")
    .. (opts.is_last and ',"system_fingerprint":"lmm-mock"' or "") .. "}"
  return "data: " .. fill(template, {
    id = answer.id, created = answer.created, model = answer.model, text = opts.text or "",
    finish_reason = answer.finish_reason, usage = usage_text, calls = opts.call and call_delta(opts.call),
  }) .. "\n\n"
end

---@param tokens integer[]
---@param max_model_len integer
function templates.tokens(tokens, max_model_len)
  return fill('{"count":%count,"max_model_len":%max_model_len,"tokens":[%tokens],"token_strs":null}', {
    count = #tokens, max_model_len = max_model_len, tokens = table.concat(tokens, ","),
  })
end

--- A transcription, as vLLM answers it whatever `response_format` is.
function templates.transcription(text)
  return fill('{"text":$text,"usage":{"type":"duration","seconds":1}}', { text = text })
end

return templates
