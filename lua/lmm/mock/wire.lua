--- The answers of a vLLM server, to the byte: field names, their order, and where null stands.
--
-- Written by templates, since no JSON library keeps the order of names, nor tells an empty array from an empty object
-- everywhere.

local json = require "lmm.json"

local M = {}

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

local USAGE = '{"prompt_tokens":%prompt,"total_tokens":%total,"completion_tokens":%completion%details}'

local MODELS = '{"object":"list","data":[{"id":$model,"object":"model","created":%created,"owned_by":"lmm",'
  .. '"root":$model,"parent":null,"max_model_len":%max_model_len,"permission":[{"id":"modelperm-0","object":'
  .. '"model_permission","created":%created,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,'
  .. '"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,'
  .. '"is_blocking":false}]}]}'

local COMPLETION = '{"id":$id,"object":"chat.completion","created":%created,"model":$model,"choices":[{"index":0,'
  .. '"message":{"role":"assistant","content":$text,"refusal":null,"annotations":null,"audio":null,'
  .. '"function_call":null,"reasoning":null},"logprobs":null,"finish_reason":$finish_reason,"stop_reason":null,'
  .. '"token_ids":null,"routed_experts":null}],"service_tier":null,"system_fingerprint":"lmm-mock","usage":%usage,'
  .. '"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,'
  .. '"ec_transfer_params":null,"metrics":null}'

local CHUNK = '{"id":$id,"object":"chat.completion.chunk","created":%created,"model":$model,"choices":['

local CHUNKS = {
  role = '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
    .. '"prompt_token_ids":null,"prompt_text":null}',
  piece = '{"index":0,"delta":{"content":$text},"logprobs":null,"finish_reason":null,"token_ids":null}]}',
  finish = '{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":$finish_reason,"stop_reason":null,'
    .. '"token_ids":null}]}',
  usage = '],"usage":%usage}',
}

M.DONE = "data: [DONE]\n\n"

-- The types that go with a status, where an error names none.
local TYPES = {
  [400] = "BadRequestError", [404] = "NotFoundError", [429] = "RateLimitError", [500] = "InternalServerError",
  [501] = "NotImplementedError", [503] = "Service Unavailable",
}

---@param problem { status: integer, message: string, type: string?, param: string? }
function M.error(problem)
  return fill('{"error":{"message":$message,"type":$type,"param":%param,"code":%code}}', {
    message = problem.message, type = problem.type or TYPES[problem.status] or "Error", code = problem.status,
    param = problem.param and quote(problem.param) or "null",
  })
end

---@param values { model: string, created: integer, max_model_len: integer }
function M.models(values)
  return fill(MODELS, values)
end

--- What an answer says of itself.
---@class lmm.mock.Answer
---@field id string
---@field created integer
---@field model string
---@field text string
---@field finish_reason string
---@field prompt integer       tokens
---@field completion integer   tokens

local function usage(answer, details)
  return fill(USAGE, {
    prompt = answer.prompt, completion = answer.completion, total = answer.prompt + answer.completion,
    details = details,
  })
end

---@param answer lmm.mock.Answer
function M.completion(answer)
  return fill(COMPLETION, {
    id = answer.id, created = answer.created, model = answer.model, text = answer.text,
    finish_reason = answer.finish_reason,
    usage = usage(answer, ',"prompt_tokens_details":null,"completion_tokens_details":null'),
  })
end

--- One event of a stream.
---@param answer lmm.mock.Answer
---@param kind "role"|"piece"|"finish"|"usage"
---@param text? string  of a piece
function M.chunk(answer, kind, text)
  return "data: " .. fill(CHUNK .. CHUNKS[kind], {
    id = answer.id, created = answer.created, model = answer.model, text = text,
    finish_reason = answer.finish_reason, usage = usage(answer, ""),
  }) .. "\n\n"
end

return M
