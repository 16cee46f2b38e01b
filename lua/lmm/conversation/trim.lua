--- Shortening a conversation: how much is to stay comes in; whole turns go, the oldest first. What the system says
--- stays, and a call is never parted from its result.
local calls = require "lmm.conversation.calls"
local errors = require "lmm.errors"
local json = require "lmm.json"
local options = require "lmm.options"
local parts = require "lmm.part"
local turns = require "lmm.conversation.turns"

local trim = {}

local KEPT = { system = true, developer = true }

local BYTES_A_TOKEN = 4 -- of a text, for the estimate

--- The messages that stay where those before `place` go.
---@param list table[]
local function kept_from(list, place)
  local kept = {}
  for i, message in ipairs(list) do
    if i >= place or KEPT[message.role] then kept[#kept + 1] = message end
  end
  return kept
end

-- ---- counting tokens

--- Whether what has this name in a message is a medium: `url`, `image_url`, `data`, `file_data`.
local function is_medium(name)
  return type(name) == "string" and (name:find "%f[%a]url$" or name:find "%f[%a]data$") ~= nil
end

--- The bytes of the texts in a value. Parts, and what stands for a medium in those of servers, have none.
local function text_bytes(value, depth)
  if type(value) == "string" then return #value end
  if type(value) ~= "table" or parts.is(value) or depth > json.MAX_DEPTH then return 0 end
  local sum = 0
  for name, item in next, value do
    if type(item) == "table" or not is_medium(name) then sum = sum + text_bytes(item, depth + 1) end
  end
  return sum
end

local function estimate(list)
  local sum = 0
  for _, message in ipairs(list) do sum = sum + text_bytes(message, 1) end
  return math.ceil(sum / BYTES_A_TOKEN)
end

--- What a server answers that has no /tokenize, or one that counts no messages.
local NONE = { [400] = true, [403] = true, [404] = true, [405] = true, [422] = true, [501] = true }

--- How many tokens a request with these messages has, as the server counts; false where it does not.
---@return integer|false|nil count, lmm.Error? err
local function count_by_server(chat, list)
  local client, messages = chat.client, json.array()
  for i, message in ipairs(list) do messages[i] = calls.sent(message) end
  local body = { messages = messages, model = chat.fields.model or client.given_model or client.listed_model,
    tools = chat.tools and chat.tools:sent(chat.fields.tools) or chat.fields.tools,
    chat_template_kwargs = chat.fields.chat_template_kwargs }
  local opts = { timeout = chat.opts.timeout, retry = chat.opts.retry, headers = chat.opts.headers }
  local reply, _, err = client:request("POST", "/tokenize", body, opts)
  if err then
    if NONE[err.status] then return false end
    return nil, err
  end
  local count = type(reply.json) == "table" and reply.json.count
  return type(count) == "number" and count or false
end

--- The first question from which on the messages have so few tokens; the last one where none has. All of them stay
--- where it is the first. They are counted by the server as long as it does that, else by their bytes.
---@param list table[]
---@param places integer[]  of the questions
---@return integer? found, lmm.Error|{ tokens: integer, is_estimate: boolean } err_or_details
local function fitting(chat, list, places, most)
  local counts, is_estimate = {}, false
  local function fits(i)
    local kept = i == 1 and list or kept_from(list, places[i])
    local count, err = false, nil
    if not is_estimate then count, err = count_by_server(chat, kept) end
    if err then return nil, err end
    is_estimate = count == false
    counts[i] = count or estimate(kept)
    return counts[i] <= most
  end
  local low, high, middle = 1, #places, 1 -- it is between them; mostly it is the first
  while low <= high do
    local is_enough, err = fits(middle)
    if err then return nil, err end
    if is_enough then high = middle - 1 else low = middle + 1 end
    middle = math.floor((low + high) / 2)
  end
  local found = math.min(low, #places)
  return found, { tokens = counts[found], is_estimate = is_estimate }
end

-- ---- the door

local rows = { turns = "number", tokens = "number" }

local function check(opts)
  opts = options.check("chat:trim", rows, opts)
  if (opts.turns == nil) == (opts.tokens == nil) then
    errors.misuse "chat:trim takes one of { turns = n } and { tokens = n }"
  end
  local name = opts.turns and "turns" or "tokens"
  local n = opts[name]
  if n < 1 or n % 1 ~= 0 then
    errors.misuse("chat:trim: %s is a whole number from 1 on, not %s: the last turn always stays", name, tostring(n))
  end
  return opts
end

--- See Conversation:trim.
---@param chat lmm.Conversation
---@param opts { turns: integer?, tokens: integer? }
---@return integer? dropped, table|lmm.Error|nil details_or_err
function trim.trim(chat, opts)
  opts = check(opts)
  chat:settle()
  local history, list = chat.history, {}
  for i = 1, history:size() do list[i] = history:at(i) end
  local places = turns.places(history)
  local first, details = #places - (opts.turns or 0) + 1, nil
  if opts.tokens and #places > 0 then
    first, details = fitting(chat, list, places, opts.tokens)
    if not first then return nil, details end
  end
  if first <= 1 or #places == 0 then return 0, details end
  local place, is_known = places[first], history == chat.history
  if not is_known or history:at(place) ~= list[place] then
    errors.misuse "chat:trim: the conversation was changed by another task while its tokens were counted"
  end
  local kept = kept_from(list, place)
  local dropped = #list - #kept
  for i = #list + 1, history:size() do kept[#kept + 1] = history:at(i) end -- of another task
  history:replace(kept)
  return dropped, details
end

return trim
