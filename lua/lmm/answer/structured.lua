--- Structured answers: the text of an answer and what was asked for come in; the value, or why it is not what was asked
--- for, goes out. JSON may stand in a fence of Markdown; no other text around it is passed over.
local core = require "lmm.core"
local failures = require "lmm.answer.failure"
local schemas = require "lmm.schema"
local server_error = require "lmm.answer.server_error"

local structured = {}

--- Makes what reads the JSON of an answer while it comes.
---@param limits { reply: integer, depth: integer }
---@param path string[]?  names that lead to the list whose items are counted
---@param has_nulls boolean?  whether the value has lmm.null where the JSON has a null, and not nil
---@return userdata grower  see core.grow
function structured.grower(limits, path, has_nulls)
  return core.grow { bytes = limits.reply, depth = limits.depth, clean = not has_nulls, lenient = true, path = path }
end

local function decode(text, limits, has_nulls)
  local grower = structured.grower(limits, nil, has_nulls)
  grower:feed(text)
  grower:finish()
  local message, _, why = grower:failure()
  if message then return nil, server_error.of_decode(text, limits, message, why, true) end
  return grower:value()
end

--- What an answer that the most tokens have cut would have been, for the message.
local whole = { json = "the JSON", schema = "the JSON that the schema asks for", choice = "one of the choices",
  regex = "what the regex asks for", grammar = "what the grammar asks for" }

--- Why an answer may have ended before it was whole.
local ends_early = { length = true, content_filter = true, repetition = true }

local function is_cut(result)
  return ends_early[result.finish_reason] == true
end

local function cut_by_length(result, kind)
  local failure = failures.new("protocol", ("the answer was cut at the most tokens, before %s was whole"):format(
    whole[kind]))
  failure.hint, failure.usage = "raise max_tokens", result.usage
  return failure
end

--- The same failure, of an answer that was cut by its length or refused by the model told as that.
local function explain(result, kind, failure)
  if failure.kind == "limit" then return failure end
  if result.finish_reason == "length" then return cut_by_length(result, kind) end
  if result.refusal then
    failure.reason, failure.quote = "the model refuses to answer: {quote}", result.refusal
    return failure
  end
  failure.reason = ("%s, and ended with finish_reason %s"):format(failure.reason, tostring(result.finish_reason))
  return failure
end

--- What is told where an answer that was cut might have been what was asked for.
local function cut(result, kind)
  return explain(result, kind, failures.new("protocol", ("the answer was cut before %s was whole"):format(whole[kind])))
end

local function json_value(result, kind, limits)
  local value, failure = decode(result.text, limits)
  if not failure then
    local may_go_on = type(value) == "number" and result.text:find "%w$" -- with more digits
    if may_go_on and is_cut(result) then return nil, cut(result, kind) end
    return value
  end
  if failure.kind ~= "limit" then
    failure.reason = ("the answer is not %s, %s"):format(whole[kind], failure.reason)
  end
  return nil, explain(result, kind, failure)
end

-- ---- choices

local SHOWN = 10 -- choices in a message

local function trim(text)
  local first = text:find "%S"
  return first and text:sub(first):match "^.*%S" or ""
end

--- The choice that a text is, as it stands or as JSON: in quotes, or as the field `choice` of an object.
local function find_choice(text, choices, limits)
  local trimmed, value = trim(text), nil
  for _, choice in ipairs(choices) do
    if text == choice or trimmed == choice then return choice end
  end
  if trimmed:find '^["{`]' then value = decode(trimmed, limits) end
  if type(value) == "table" then value = value.choice end
  for _, choice in ipairs(choices) do
    if value == choice then return choice, true end
  end
end

--- Whether another choice begins with this one.
local function may_go_on(found, choices)
  for _, choice in ipairs(choices) do
    if choice ~= found and choice:sub(1, #found) == found then return true end
  end
end

local function choice_value(result, choices, limits)
  local found, is_json = find_choice(result.text, choices, limits)
  if found and (is_json or not is_cut(result) or not may_go_on(found, choices)) then return found end
  local names = table.concat(choices, ", ", 1, math.min(#choices, SHOWN)) .. (#choices > SHOWN and ", ..." or "")
  local failure = failures.new("protocol", "the answer {quote} is none of the choices")
  failure.quote, failure.hint = result.text, "they are: " .. names
  failure = explain(result, "choice", failure)
  return nil, failure
end

-- ---- all kinds

--- The value of an answer. An answer that calls tools in the place of text has none yet.
---@param result lmm.Reply
---@param asked { kind: "json"|"schema"|"choice"|"regex"|"grammar", value: any }  of a regex and a grammar nothing is
--- checked but that the answer was neither cut nor refused: the value is the text
---@param limits { reply: integer, depth: integer }
---@return any value, table? failure
function structured.value(result, asked, limits)
  local kind = asked.kind
  if result.text == "" and result.tool_calls then return nil end
  if kind == "choice" then return choice_value(result, asked.value, limits) end
  if kind == "regex" or kind == "grammar" then
    if is_cut(result) or result.refusal then return nil, cut(result, kind) end
    return result.text
  end
  local value, failure = json_value(result, kind, limits)
  if failure or kind == "json" then return value, failure end
  local fits, problem = schemas.check(decode(result.text, limits, true), asked.value)
  if fits then return value end
  return nil, explain(result, kind, failures.new("protocol", "the answer does not follow the schema: " .. problem))
end

return structured
