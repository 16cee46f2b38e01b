--- A chat request, checked as vLLM checks it: the decoded body of POST /v1/chat/completions comes in; the answer's text
--- with its token counts, or the error that vLLM would give, { status, message, type?, param? }, goes out. The text
--- describes what arrived.
local content_parts = require "lmm.mock.content_parts"
local json = require "lmm.json"
local structured = require "lmm.mock.structured"
local tools = require "lmm.mock.tools"
local validation = require "lmm.mock.validation"

local chat = {}

local refuse, refuse_field, malformed = validation.refuse, validation.refuse_field, validation.malformed
local given, is_list, DICTIONARY = validation.given, validation.is_list, validation.DICTIONARY

-- ---- messages --------------------------------------------------------------------------------------------------

local function count_words(text)
  local _, count = text:gsub("%S+", "")
  return count
end

-- The tokens around a message, in the manner of Qwen's template.
local TURN, TURN_END = 257, 258

local function read_message(seen, message, place)
  place = place .. ".ChatCompletionDeveloperMessageParam" -- the first of the forms that a message may have
  if type(message) ~= "table" then malformed(place, "dict_type", "Input should be a valid dictionary", message) end
  if message.role == nil then malformed(place .. ".role", "missing", "Field required", message) end
  if type(message.role) ~= "string" then
    malformed(place .. ".role", "literal_error", "Input should be 'developer'", message.role)
  end
  local content, ids = message.content, seen.ids
  seen.words, seen.role = {}, message.role
  ids[#ids + 1] = TURN
  ids[#ids + 1] = message.role .. "\n"
  if type(content) == "string" then
    content_parts.add_text(seen, content)
  elseif is_list(content) then
    content_parts.read(seen, content)
  elseif type(content) == "table" then
    content_parts.refuse(next(content))
  elseif content ~= nil and not (content == json.null and message.role == "assistant") then
    malformed(place .. ".content", "string_type", "Input should be a valid string", content)
  end
  ids[#ids + 1] = TURN_END
  ids[#ids + 1] = "\n"
  local text = table.concat(seen.words, " ")
  seen.tokens = seen.tokens + count_words(text) + 4
  if message.role == "user" then seen.question, seen.turns = text, seen.turns + 1 end
  tools.note(seen, message, text)
end

-- ---- the request's other fields --------------------------------------------------------------------------------

-- A field that is a number, or a text of one.
local function number(request, name)
  local value = given(request[name])
  if value == nil or type(value) == "boolean" then return value and 1 end
  local found = type(value) ~= "table" and tonumber(value)
  if not found then
    malformed(name, "float_parsing", "Input should be a valid number, unable to parse string as a number", value)
  end
  return found
end

local function integer(request, name)
  local value = given(request[name])
  if type(value) == "string" and not value:find "^%s*[-+]?%d+%s*$" then
    malformed(name, "int_parsing", "Input should be a valid integer, unable to parse string as an integer", value)
  end
  local found = number(request, name)
  if found and found % 1 ~= 0 then
    malformed(name, "int_from_float", "Input should be a valid integer, got a number with a fractional part", found)
  end
  return found
end

local function check_stream_options(request)
  local stream_options = given(request.stream_options)
  if stream_options == nil then return end
  if type(stream_options) ~= "table" then
    malformed("stream_options", "model_attributes_type", DICTIONARY, stream_options)
  end
  if next(stream_options) ~= nil and request.stream ~= true then
    refuse_field("stream_options", "Stream options can only be defined when `stream=True`.")
  end
end

local function refuse_number(name, wanted, value)
  local shown = value % 1 == 0 and string.format("%.1f", value) or string.format("%.14g", value)
  refuse_field(name, string.format("%s must be %s, got %s.", name, wanted, shown), shown)
end

-- How many tokens the answer may have, if the request says.
local function read_limit(request, max_model_len)
  local name, limit = "max_tokens", integer(request, "max_tokens")
  local newer = integer(request, "max_completion_tokens")
  if newer then name, limit = "max_completion_tokens", newer end
  if limit and limit > max_model_len then
    refuse_field(name, string.format("%s=%d cannot be greater than max_model_len=%d. Please request fewer output "
      .. "tokens.", name, limit, max_model_len), string.format("%d", limit))
  end
  return limit
end

-- The same as far as the prompt leaves room. An answer without a limit is given whole, unless there is no room at all.
local function fit(limit, prompt, max_model_len)
  if prompt > max_model_len then
    local least = string.format("%d", max_model_len + 1) -- the rest of the prompt is not counted
    refuse_field("input_tokens", string.format("This model's maximum context length is %d tokens. However, your prompt "
      .. "contains at least %s input tokens, which exceeds this limit even without any output tokens. Please reduce "
      .. "the length of the input prompt.", max_model_len, least), least)
  end
  local room = max_model_len - prompt
  if not limit then return room == 0 and 0 or nil end
  return math.min(limit, room)
end

-- How the answer is to be drawn. Gives the limit of its tokens.
local function check_sampling(request, limit)
  local temperature, top_p, n = number(request, "temperature"), number(request, "top_p"), integer(request, "n")
  if n and n < 1 then refuse(400, string.format("n must be at least 1, got %d.", n)) end
  if temperature and temperature < 0 then refuse_number("temperature", "non-negative", temperature) end
  if temperature and temperature > 2 then refuse_number("temperature", "in [0, 2]", temperature) end
  if top_p and not (top_p > 0 and top_p <= 1) then refuse_number("top_p", "in (0, 1]", top_p) end
  if limit and limit < 1 then
    local shown = string.format("%d", limit) -- under this name, whichever the request has
    refuse_field("max_tokens", "max_tokens must be at least 1, got " .. shown .. ".", shown)
  end
  if n and n > 1 and temperature == 0 then
    refuse(400, string.format("n must be 1 when using greedy sampling, got %d.", n))
  end
  return limit
end

local function check_model(request, model)
  local wanted = given(request.model)
  if wanted ~= nil and type(wanted) ~= "string" then
    malformed("model", "string_type", "Input should be a valid string", wanted)
  end
  if wanted and wanted ~= "" and wanted ~= model then
    refuse(404, string.format("The model `%s` does not exist. Valid aliases: %s.", wanted, model), { param = "model" })
  end
end

-- ---- what comes out --------------------------------------------------------------------------------------------

---@class lmm.mock.Settings
---@field model string
---@field limits table<string, integer>  how many of each kind of media a prompt may hold; no limit where none is given
---@field max_model_len integer          tokens, of a prompt and its answer
---@field tools boolean?                 false: tools are refused, as without a parser for them

--- What was seen of a conversation so far.
---@class lmm.mock.Seen
---@field limits table<string, integer>
---@field lines string[]                 one for each medium
---@field count table<string, integer>   how many media of each kind
---@field tokens integer
---@field ids (integer|string)[]         the prompt: tokens, and texts whose bytes are tokens
---@field words string[]                 the texts of this message
---@field role string                    whose it is
---@field turns integer
---@field question string
---@field names table<string, string>    of tools, by the ids of their calls
---@field results table[]                what tools have given since the question, each { name, text }
---@field latest string[]                the texts that came last: the question, or tools' results

local function check_body(request)
  if given(request) == nil then malformed(nil, "missing", "Field required", request) end
  if type(request) ~= "table" or request[1] ~= nil then
    malformed(nil, "model_attributes_type", DICTIONARY, request)
  end
end

local function read_messages(messages, settings)
  local seen = { limits = settings.limits, cache = settings.cache, like = settings.like, lines = {}, count = {},
    tokens = 0, ids = {}, turns = 0, question = "", names = {}, results = {}, latest = {} }
  if #messages == 0 then
    refuse(400, "Cannot apply chat template to an empty conversation. Provide at least one message.")
  end
  for i, message in ipairs(messages) do read_message(seen, message, "messages." .. i - 1) end
  return seen
end

local function check_messages(request)
  local messages = request.messages
  if messages == nil then malformed("messages", "missing", "Field required", request) end
  if messages == json.null then refuse(400, "'NoneType' object is not iterable") end
  if not is_list(messages) then malformed("messages", "list_type", "Input should be a valid list", messages) end
end

local function answer(request, settings)
  check_body(request)
  check_messages(request)
  if settings.like.check_fields then settings.like.check_fields(request) end
  check_stream_options(request)
  tools.check(request, settings.tools ~= false)
  check_model(request, settings.model)
  local limit = read_limit(request, settings.max_model_len)
  local seen = read_messages(request.messages, settings)
  limit = check_sampling(request, fit(limit, seen.tokens, settings.max_model_len))

  local called = tools.calls(request, seen)
  local text = structured.answer(request, seen.question, settings.like.constraints)
  if text and not called then return { text = text, prompt = seen.tokens, limit = limit } end
  local lines = seen.lines
  for _, result in ipairs(seen.results) do lines[#lines + 1] = ("tool %s: %s"):format(result.name, result.text) end
  lines[#lines + 1] = "question: " .. seen.question
  if seen.turns > 1 then
    lines[#lines + 1] = string.format("turn %d, after %d messages", seen.turns, #request.messages - 1)
  end
  return { text = table.concat(lines, "\n"), prompt = seen.tokens, limit = limit, calls = called }
end

--- Raises where a body is no object, or asks for another model.
---@param request any  the decoded body
---@param settings lmm.mock.Settings
function chat.check(request, settings)
  check_body(request)
  check_model(request, settings.model)
end

--- Checks a request and composes the answer: a line for each medium of the conversation, for what each tool gave, the
--- question, and which turn of the conversation it is; or a text that is what the request says that the answer is to
--- be; and the calls that are to be made in its place.
---@param request table  the decoded body, nulls included
---@param settings lmm.mock.Settings
---@return { text: string, prompt: integer, limit: integer?, calls: table[]? }? answer  prompt: tokens; limit: of the
--- answer's tokens; calls: see lmm.mock.tools
---@return table? problem
function chat.read(request, settings)
  return validation.try(function() return answer(request, settings) end)
end

local function tokenize(request, settings)
  chat.check(request, settings)
  local prompt = request.prompt
  if type(prompt) == "string" then return { prompt } end
  if request.messages == nil then validation.missing({ "prompt", "messages" }, request) end
  check_messages(request)
  local ids = read_messages(request.messages, settings).ids
  if request.add_generation_prompt ~= false then
    for _, id in ipairs { TURN, "assistant\n" } do ids[#ids + 1] = id end
  end
  return ids
end

--- The tokens of a prompt or a conversation: each byte is one, and four stand for a medium.
---@param request table  the decoded body of POST /tokenize
---@param settings lmm.mock.Settings
---@return integer[]? tokens
---@return table? problem
function chat.tokenize(request, settings)
  local pieces, problem = validation.try(function() return tokenize(request, settings) end)
  if problem then return nil, problem end
  local tokens = {}
  for _, piece in ipairs(pieces) do
    if type(piece) == "number" then
      tokens[#tokens + 1] = piece
    else
      for i = 1, #piece do tokens[#tokens + 1] = piece:byte(i) end
    end
  end
  return tokens
end

return chat
