--- The answers of a vLLM server to what is no chat, to the byte: values come in; JSON text goes out. It is what
--- lmm.mock.templates is to a chat.
local json = require "lmm.json"
local templates = require "lmm.mock.templates"

local forms = {}

local fill = templates.fill

local count = 0

--- A new id, such as "embd-1".
function forms.id(prefix)
  count = count + 1
  return ("%s-%d"):format(prefix, count)
end

local LIST = '{"id":$id,"object":"list","created":%created,"model":$model,"data":[%data],"usage":'
  .. '{"prompt_tokens":%tokens,"total_tokens":%tokens,"completion_tokens":0,"prompt_tokens_details":null}}'

--- Embeddings or scores.
---@param prefix string   of the id
---@param data string[]   JSON
---@param tokens integer
function forms.list(prefix, model, data, tokens)
  return fill(LIST, { id = forms.id(prefix), created = os.time(), model = model, data = table.concat(data, ","),
    tokens = tokens })
end

--- Documents from the best on, as many as `top`.
---@param results { index: integer, score: number, text: string }[]
function forms.ranking(model, results, top, tokens)
  local list = {}
  for i = 1, top do
    list[i] = fill('{"index":%index,"document":{"text":$text,"multi_modal":null},"relevance_score":%score}', {
      index = results[i].index, text = results[i].text, score = ("%.10g"):format(results[i].score) })
  end
  return fill('{"id":$id,"model":$model,"usage":{"prompt_tokens":%tokens,"total_tokens":%tokens},"results":[%list]}', {
    id = forms.id "rerank", model = model, tokens = tokens, list = table.concat(list, ",") })
end

--- A transcription; vLLM answers "text" with the same JSON as "json".
---@param text string
---@param is_verbose boolean  with its only segment
function forms.transcription(text, is_verbose)
  if not is_verbose then return templates.transcription(text) end
  return fill('{"duration":"1.0","language":"en","text":$text,"segments":[{"id":0,"avg_logprob":0.0,'
    .. '"compression_ratio":1.0,"end":1.0,"no_speech_prob":null,"seek":0,"start":0.0,"temperature":0.0,"text":$text,'
    .. '"tokens":[]}],"words":null}', { text = text })
end

-- ---- what respond.lua sends in the place of a chat's answer

local USAGE = '{"prompt_tokens":%prompt,"total_tokens":%total,"completion_tokens":%completion%details}'

local function usage(answer, completion, details)
  return fill(USAGE, { prompt = answer.prompt, total = answer.prompt + completion, completion = completion,
    details = details or "" })
end

forms.text = {}

local CHOICE = '{"index":%index,"text":$text,"logprobs":null,"finish_reason":%reason,"stop_reason":null,'
  .. '"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null}'

--- A completion with a choice for each prompt.
---@param answer lmm.mock.Answer  its `choices` are { text, finish_reason }
function forms.text.completion(answer)
  local list = {}
  for i, choice in ipairs(answer.choices) do
    list[i] = fill(CHOICE, { index = i - 1, text = choice.text, reason = json.encode(choice.finish_reason) })
  end
  return fill('{"id":$id,"object":"text_completion","created":%created,"model":$model,"choices":[%list],'
    .. '"service_tier":null,"system_fingerprint":"lmm-mock","usage":%usage,"kv_transfer_params":null}', {
    id = answer.id, created = answer.created, model = answer.model, list = table.concat(list, ","),
    usage = usage(answer, answer.completion, ',"prompt_tokens_details":null') })
end

--- What stands in the choices of an event: nothing but the usage, the end, or a piece.
local function choices_of(answer, kind, text, template)
  if kind == "usage" then return "" end
  local reason = kind == "finish" and json.encode(answer.finish_reason) or "null"
  return fill(template, { text = text or "", reason = reason })
end

local CHUNK = '{"id":$id,"object":$object,"created":%created,"model":$model,"choices":[%choices]%usage}'

--- Makes a stream's events, which have no role.
local function chunks(object, template)
  return function(answer, kind, opts)
    if kind == "role" then return "" end
    local tokens = kind == "usage" and answer.completion or opts.tokens
    return "data: " .. fill(CHUNK, {
      id = answer.id, object = object, created = answer.created, model = answer.model,
      choices = choices_of(answer, kind, opts.text, template),
      usage = tokens and ',"usage":' .. usage(answer, tokens) or "" }) .. "\n\n"
  end
end

forms.text.chunk = chunks("text_completion", '{"index":0,"text":$text,"logprobs":null,"finish_reason":%reason,'
  .. '"stop_reason":null,"prompt_token_ids":null,"token_ids":null}')

local SPOKEN = '{"delta":{"content":$text},"finish_reason":%reason,"stop_reason":null}'

forms.transcriptions = { chunk = chunks("transcription.chunk", SPOKEN) }
forms.translations = { chunk = chunks("translation.chunk", SPOKEN) }

return forms
