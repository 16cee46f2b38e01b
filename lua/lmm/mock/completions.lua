--- A completion request, checked as vLLM checks it: the decoded body of POST /v1/completions comes in; what goes on
--- from each prompt, or the error that vLLM would give, goes out. The text says what the prompt was.
local chat = require "lmm.mock.chat"
local respond = require "lmm.mock.respond"
local tokens = require "lmm.mock.tokens"
local validation = require "lmm.mock.validation"

local completions = {}

local refuse, given, is_list = validation.refuse, validation.given, validation.is_list

local MAX_TOKENS = 16 -- unless the request says otherwise, as in vLLM

local function prompts_of(request)
  local prompt = given(request.prompt)
  local list = is_list(prompt) and type(prompt[1]) ~= "number" and prompt or { prompt }
  if #list == 0 or list[1] == "" then
    refuse(400, "Either prompt or prompt_embeds must be provided and non-empty.", { param = "prompt" })
  end
  local prompts = {}
  for i, item in ipairs(list) do
    if type(item) ~= "string" and not is_list(item) then
      validation.malformed("prompt", "string_type", "Input should be a valid string", item)
    end
    prompts[i] = type(item) == "string" and item or tokens.text(item)
  end
  return prompts
end

local function read(request, settings, reply)
  chat.check(request, settings)
  if given(request.suffix) then refuse(400, "suffix is not currently supported") end
  local stream_options = given(request.stream_options)
  if stream_options and request.stream ~= true then
    validation.refuse_field("stream_options", "Stream options can only be defined when `stream=True`.")
  end
  local limit = given(request.max_tokens) or MAX_TOKENS
  if type(limit) ~= "number" or limit % 1 ~= 0 then
    validation.malformed("max_tokens", "int_type", "Input should be a valid integer", limit)
  elseif limit < 1 then
    local shown = ("%d"):format(limit)
    validation.refuse_field("max_tokens", "max_tokens must be at least 1, got " .. shown .. ".", shown)
  end
  local choices, prompt_tokens, completion = {}, 0, 0
  for i, prompt in ipairs(prompts_of(request)) do
    local pieces, finish_reason = respond.split(reply or "completion of: " .. prompt, limit)
    prompt_tokens, completion = prompt_tokens + #prompt, completion + #pieces
    if request.echo == true then table.insert(pieces, 1, prompt) end
    choices[i] = { text = table.concat(pieces), pieces = pieces, finish_reason = finish_reason }
  end
  if request.stream == true and #choices > 1 then refuse(400, "The mock streams one prompt at a time.") end
  return { choices = choices, prompt = prompt_tokens, completion = completion }
end

---@param request table  the decoded body
---@param settings lmm.mock.Settings
---@param reply string?  what goes on from each prompt
---@return table? answer  { choices = { text, pieces, finish_reason }[], prompt = tokens, completion = tokens }
---@return table? problem
function completions.read(request, settings, reply)
  return validation.try(function() return read(request, settings, reply) end)
end

return completions
