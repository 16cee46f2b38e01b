--- Vectors and scores without a model: the decoded bodies of POST /v1/embeddings, /score and /rerank come in; the JSON
--- of the answers, in vLLM's form, or the errors that vLLM would give, go out. Equal inputs have equal vectors, made of
--- their digests; a score is the share of words that two inputs have in common.
local chat = require "lmm.mock.chat"
local core = require "lmm.core"
local digest = require "openssl.digest"
local forms = require "lmm.mock.forms"
local validation = require "lmm.mock.validation"

local pooling = {}

local refuse, given, is_list = validation.refuse, validation.given, validation.is_list

local DIMENSIONS, MOST_DIMENSIONS = 16, 4096

--- What a text is to a model that describes what it was sent, and how many tokens it has; raises what is wrong.
---@return string text, integer tokens
local function of_text(text, request, settings)
  local tokens, problem = chat.tokenize({ model = request.model, prompt = text }, settings)
  if problem then error(problem, 0) end
  return text, #tokens
end

--- The same of messages, of which media are described by their types, sizes and digests.
local function of_messages(messages, request, settings)
  local read, problem = chat.read({ model = request.model, messages = messages }, settings)
  if problem then error(problem, 0) end
  return read.text, read.prompt
end

-- ---- vectors

--- So many numbers, each exact in 32 bits.
local function vector_of(text, count)
  local vector, bytes = {}, ""
  for i = 1, count do
    local at = (i - 1) % 32 + 1
    if at == 1 then bytes = digest.new("sha256"):final(text .. (i > 1 and "\0" .. i or "")) end
    vector[i] = (2 * bytes:byte(at) - 255) / 256
  end
  return vector
end

--- The bytes of a number between -1 and 1 that is not 0, as a 32-bit float, the least first.
local function pack(number)
  local exponent, fraction = 127, math.abs(number)
  while fraction < 1 do exponent, fraction = exponent - 1, fraction * 2 end
  local word = (number < 0 and 2 ^ 31 or 0) + exponent * 2 ^ 23 + (fraction - 1) * 2 ^ 23
  local bytes = {}
  for i = 1, 4 do
    bytes[i] = string.char(math.floor(word % 256))
    word = math.floor(word / 256)
  end
  return table.concat(bytes)
end

--- A vector as JSON: a list, or the base64 of its floats.
local function written(vector, format)
  local out = {}
  for i, number in ipairs(vector) do out[i] = format == "base64" and pack(number) or ("%.10g"):format(number) end
  if format ~= "base64" then return "[" .. table.concat(out, ",") .. "]" end
  return '"' .. core.base64.encode(table.concat(out)) .. '"'
end

--- The inputs of a request: texts, or tokens, one of them or a list.
local function inputs_of(request, settings)
  local input = request.input
  if input == nil and request.messages == nil then validation.missing({ "input", "messages" }, request) end
  if input == nil then return { { of_messages(request.messages, request, settings) } } end
  local list = is_list(input) and type(input[1]) ~= "number" and input or { input }
  if #list == 0 then refuse(400, "input must not be empty") end
  local inputs = {}
  for i, item in ipairs(list) do
    if is_list(item) then
      inputs[i] = { table.concat(item, " "), #item }
    elseif type(item) == "string" then
      inputs[i] = { of_text(item, request, settings) }
    else
      validation.malformed("input", "string_type", "Input should be a valid string", item)
    end
  end
  return inputs
end

local function check_format(format)
  if format == nil or format == "float" or format == "base64" then return end
  validation.malformed("encoding_format", "literal_error", "Input should be 'float' or 'base64'", format)
end

local function count_dimensions(request)
  local count = given(request.dimensions)
  if count == nil then return DIMENSIONS end
  if type(count) ~= "number" or count % 1 ~= 0 then
    validation.malformed("dimensions", "int_type", "Input should be a valid integer", count)
  end
  if count < 1 or count > MOST_DIMENSIONS then
    refuse(400, ("Dimensions must be between 1 and %d, got %d."):format(MOST_DIMENSIONS, count))
  end
  return count
end

local function embeddings(request, settings)
  chat.check(request, settings)
  local format, count = given(request.encoding_format), count_dimensions(request)
  check_format(format)
  local data, tokens = {}, 0
  for i, input in ipairs(inputs_of(request, settings)) do
    data[i] = ('{"index":%d,"object":"embedding","embedding":%s}'):format(i - 1,
      written(vector_of(input[1], count), format))
    tokens = tokens + input[2]
  end
  return forms.list("embd", settings.model, data, tokens)
end

---@param request table  the decoded body
---@param settings lmm.mock.Settings
---@return string? json, table? problem
function pooling.embeddings(request, settings)
  return validation.try(function() return embeddings(request, settings) end)
end

-- ---- scores

--- The words of an input: a text, or { content = parts }.
---@return { words: table<string, true>, count: integer, tokens: integer, text: string }
local function read_input(input, request, settings)
  local text, tokens
  if type(input) == "string" then
    text, tokens = of_text(input, request, settings)
  elseif type(input) == "table" and is_list(input.content) then
    text, tokens = of_messages({ { role = "user", content = input.content } }, request, settings)
  else
    validation.malformed("text_1", "string_type", "Input should be a valid string", input)
  end
  local words, count = {}, 0
  for word in text:lower():gmatch "%w+" do
    if not words[word] then words[word], count = true, count + 1 end
  end
  return { words = words, count = count, tokens = tokens, text = text }
end

local function read_inputs(value, request, settings)
  local list = is_list(value) and value or { value }
  if #list == 0 then refuse(400, "At least one text element must be given") end
  local inputs = {}
  for i, item in ipairs(list) do inputs[i] = read_input(item, request, settings) end
  return inputs
end

local function compare(a, b)
  local shared = 0
  for word in pairs(a.words) do shared = shared + (b.words[word] and 1 or 0) end
  local all = a.count + b.count - shared
  return all == 0 and 0 or shared / all
end

local NAMES = { { "queries", "documents" }, { "queries", "items" }, { "data_1", "data_2" }, { "text_1", "text_2" } }

local function score(request, settings)
  chat.check(request, settings)
  local first, second
  for _, names in ipairs(NAMES) do
    if request[names[1]] ~= nil and request[names[2]] ~= nil and not first then
      first, second = request[names[1]], request[names[2]]
    end
  end
  if first == nil then validation.missing({ "text_1", "text_2" }, request) end
  first, second = read_inputs(first, request, settings), read_inputs(second, request, settings)
  if #first > 1 and #first ~= #second then refuse(400, "Input lengths must be either 1:1, 1:N or N:N") end
  local data, tokens = {}, 0
  for i, b in ipairs(second) do
    local a = first[i] or first[1]
    data[i] = ('{"index":%d,"object":"score","score":%.10g}'):format(i - 1, compare(a, b))
    tokens = tokens + a.tokens + b.tokens
  end
  return forms.list("score", settings.model, data, tokens)
end

---@param request table  the decoded body
---@param settings lmm.mock.Settings
---@return string? json, table? problem
function pooling.score(request, settings)
  return validation.try(function() return score(request, settings) end)
end

local function rerank(request, settings)
  chat.check(request, settings)
  if request.query == nil then validation.malformed("query", "missing", "Field required", request) end
  if request.documents == nil then validation.malformed("documents", "missing", "Field required", request) end
  local query = read_input(request.query, request, settings)
  local documents, results, tokens = read_inputs(request.documents, request, settings), {}, 0
  for i, document in ipairs(documents) do
    results[i] = { index = i - 1, score = compare(query, document), text = document.text }
    tokens = tokens + query.tokens + document.tokens
  end
  table.sort(results, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return a.index < b.index
  end)
  local most = given(request.top_n)
  local top = type(most) == "number" and most > 0 and math.min(most, #results) or #results
  return forms.ranking(settings.model, results, top, tokens)
end

---@param request table  the decoded body
---@param settings lmm.mock.Settings
---@return string? json, table? problem
function pooling.rerank(request, settings)
  return validation.try(function() return rerank(request, settings) end)
end

return pooling
