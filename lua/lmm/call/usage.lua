--- What calls use: what a server says of the tokens of one answer comes in; their sums, of a client or of a
--- conversation, and the answer's cost go out.
local errors = require "lmm.errors"
local options = require "lmm.options"

local usage = {}

---@class lmm.Usage
---@field requests integer           that were sent, each attempt of a call
---@field bytes_sent integer         of their bodies
---@field prompt_tokens integer      as far as servers tell
---@field completion_tokens integer
---@field total_tokens integer

---@return lmm.Usage
function usage.new()
  return { requests = 0, bytes_sent = 0, prompt_tokens = 0, completion_tokens = 0, total_tokens = 0 }
end

local PRICE = { input = "number", output = "number" }

--- Checks the option `prices`: for each model's name, what a million tokens cost.
---@param given table<string, { input: number?, output: number? }>
---@return table<string, { input: number?, output: number? }>  a copy
function usage.prices(given)
  local prices = {}
  for model, price in pairs(given) do
    if type(model) ~= "string" then
      errors.misuse("lmm.connect prices: a model's name is a string, not a %s", type(model))
    end
    local where = ("lmm.connect prices of '%s'"):format(model)
    if type(price) ~= "table" then errors.misuse("%s: { input =, output = } expected, got %s", where, type(price)) end
    for name, value in pairs(options.check(where, PRICE, price)) do
      if not (value >= 0 and value < math.huge) then
        errors.misuse("%s: '%s' must be 0 or more, not %s", where, name, tostring(value))
      end
    end
    prices[model] = { input = price.input, output = price.output }
  end
  return prices
end

local MILLION = 1000000 -- tokens that a price is for

--- What tokens cost; nil where a price that is needed is not known.
local function cost(price, prompt, completion)
  if not price or prompt + completion == 0 then return nil end
  if prompt > 0 and not price.input or completion > 0 and not price.output then return nil end
  return (prompt * (price.input or 0) + completion * (price.output or 0)) / MILLION
end

local MOST = 2 ^ 53 -- tokens of one answer; more is no count

local function count(value)
  return type(value) == "number" and value >= 0 and value <= MOST and value or nil
end

--- The counts in a stranger's table in which some are missing, are none, or have other names.
---@return number prompt, number completion, number total
local function read(given)
  local prompt = count(given.prompt_tokens) or count(given.input_tokens)
  local completion = count(given.completion_tokens) or count(given.output_tokens)
  local total = count(given.total_tokens)
  if not prompt and not completion then prompt = total end -- as of what is no text
  prompt, completion = prompt or 0, completion or 0
  return prompt, completion, total or prompt + completion
end

--- Adds the tokens of one answer to a sum. Most answers have all three counts: for them it takes few steps.
---@param sum lmm.Usage
---@param given table  what the server says
---@return number prompt, number completion
function usage.add_tokens(sum, given)
  local prompt, completion, total = given.prompt_tokens, given.completion_tokens, given.total_tokens
  if not (type(prompt) == "number" and type(completion) == "number" and type(total) == "number"
    and prompt >= 0 and completion >= 0 and prompt <= total and completion <= total and total <= MOST) then
    prompt, completion, total = read(given)
  end
  sum.prompt_tokens = sum.prompt_tokens + prompt
  sum.completion_tokens = sum.completion_tokens + completion
  sum.total_tokens = sum.total_tokens + total
  return prompt, completion
end

--- Adds the tokens of one answer to those of the client, and sets the reply's `cost` where a price is known.
---@param call lmm.Call
---@param reply { usage: table?, model: string? }  model: that it names
function usage.add(call, reply)
  if call.canned then reply.cached = true end
  if call.canned or not reply.usage then return end
  local prices = call.client.prices
  local prompt, completion = usage.add_tokens(call.client.usage, reply.usage)
  if prices then reply.cost = cost(prices[call.model] or prices[reply.model], prompt, completion) end
end

return usage
