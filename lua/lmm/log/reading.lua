--- Exchanges on their way out of the database: an id, a key or what they are to have in common comes in; exchanges, and
--- chats to go on with, go out.
local answers = require "lmm.log.answer"
local core = require "lmm.core"
local errors = require "lmm.errors"
local json = require "lmm.json"
local media = require "lmm.log.media"
local options = require "lmm.options"
local requests = require "lmm.log.request"
local texts = require "lmm.text"
local version = require "lmm.version"
local words = require "lmm.log.words"

local reading = {}

local function decode(text)
  return (core.decode(text, { depth = json.MAX_DEPTH, lenient = true }))
end

local COLUMNS = [[exchange.id, chat, kind, time, server, model, first_token, total, prompt_tokens, completion_tokens,
  cost, finish_reason, error, is_cached, key, details, fields, exchange.question AS question_id,
  exchange.answer AS answer_id, question.json AS question_json, answer.json AS answer_json FROM exchange
  JOIN message AS question ON question.id = exchange.question
  LEFT JOIN message AS answer ON answer.id = exchange.answer]]

--- What every exchange that is read has, from a row of the database.
---@return lmm.LoggedExchange
local function exchange_of(row)
  local answer = row.answer_json and words.of_message(row.answer_json)
  if not answer and row.error then answer = (decode(row.details).err or {}).partial end
  local _, media_count = row.question_json:gsub('"lmm%.medium":', "")
  return {
    id = row.id, chat = row.chat, kind = row.kind, time = row.time, server = row.server, model = row.model,
    question = words.of_message(row.question_json), media_count = media_count > 0 and media_count or nil,
    answer = answer or "", first_token = row.first_token, total = row.total, prompt_tokens = row.prompt_tokens,
    completion_tokens = row.completion_tokens, cost = row.cost, finish_reason = row.finish_reason, error = row.error,
    key = row.key, cached = row.is_cached == 1 or nil,
  }
end

--- The messages up to one, the first first, as they are stored.
---@return table[]
local function messages_to(log, id)
  local rows = log.database:rows([[WITH RECURSIVE up (id, depth) AS (SELECT ?, 0 UNION ALL
    SELECT parent, depth + 1 FROM message JOIN up USING (id) WHERE parent IS NOT NULL)
    SELECT json FROM up JOIN message USING (id) ORDER BY depth DESC]], id)
  for i, row in ipairs(rows) do rows[i] = decode(row.json) end
  return rows
end

--- The fields of a request and the options of lmm's that go with them.
local function fields_of(log, id)
  local fields = decode(log.database:value("SELECT json AS value FROM fields WHERE id = ?", id))
  local own = fields[requests.OPTIONS]
  fields[requests.OPTIONS] = nil
  return fields, own
end

--- The calls of a message as a reply has them.
---@return lmm.ToolCall[]?
local function calls_of(message)
  local calls
  for _, call in json.items(message.tool_calls) do
    local fn = type(call["function"]) == "table" and call["function"] or {}
    calls = calls or {}
    calls[#calls + 1] = { id = call.id, name = fn.name, arguments = fn.arguments,
      args = type(fn.arguments) == "string" and json.decode(json.arguments(fn.arguments)) or nil }
  end
  return calls
end

--- The whole of an exchange, without parts.
local function whole(log, row)
  local exchange = exchange_of(row)
  local request, own = fields_of(log, row.fields)
  local messages = messages_to(log, row.question_id)
  if messages[1].role ~= nil then
    request.messages = messages
  else
    request = messages[1]
  end
  local details = decode(row.details)
  exchange.err, details.err = details.err, nil
  if row.answer_json then
    local message = decode(row.answer_json)
    details.message, details.finish_reason = message, row.finish_reason
    details.text, details.tool_calls = words.of_message(row.answer_json), calls_of(message)
  end
  exchange.request, exchange.options, exchange.reply = request, own, next(details) and details or nil
  exchange.media = media.of(log, row.answer_id or row.question_id)
  return exchange
end

--- The same with parts.
local function restored(log, row)
  if not row then return nil end
  local exchange = whole(log, row)
  for _, name in ipairs { "request", "options", "reply" } do
    exchange[name] = media.restore(log, exchange[name])
  end
  if exchange.request.messages then exchange.request.model = exchange.model end
  return exchange
end

local function row_of(log, id)
  return log.database:row("SELECT " .. COLUMNS .. " WHERE exchange.id = ?", id)
end

local function check_id(where, id)
  if type(id) == "number" and id % 1 == 0 then return end
  errors.misuse("%s: an id is a whole number, not %s", where, texts.shown(id))
end

--- See Log:get.
function reading.get(log, id)
  check_id("log:get", id)
  return log.database:snapshot(function() return restored(log, row_of(log, id)) end)
end

--- See Log:find.
function reading.find(log, key)
  if type(key) ~= "string" then errors.misuse("log:find takes a key, not a %s", type(key)) end
  return log.database:snapshot(function()
    return restored(log, log.database:row("SELECT " .. COLUMNS
      .. " WHERE key = ? AND error IS NULL ORDER BY exchange.id DESC LIMIT 1", key))
  end)
end

-- ---- lists

local LIST = { limit = "number", search = "string", image = "string", model = "string", chat = "number",
  before = "number", failed = "boolean", older = "number" }

--- The SHA-256 that is meant: itself, or that of a file.
local function sum_of(image)
  if #image == 64 and not image:find "[^%x]" then return image:lower() end
  local sum, message = version.check("lmm.digest").file(image)
  if not sum then error(errors.new { kind = "invalid", code = "media", message = message }, 0) end
  return sum
end

--- Each gives a condition and its value.
local CONDITIONS = {
  search = function(_, text)
    local pattern = words.pattern(text)
    if not pattern then return "0" end
    return "exchange.id IN (SELECT rowid FROM words WHERE words MATCH ?)", pattern
  end,
  image = function(_, image)
    return [[exchange.question IN (WITH RECURSIVE down (id) AS (
      SELECT message FROM message_medium JOIN medium ON medium.id = medium WHERE sha256 = ? UNION
      SELECT message.id FROM message JOIN down ON parent = down.id) SELECT id FROM down)]], sum_of(image)
  end,
  model = function(_, model) return "model = ?", model end,
  chat = function(_, id) return "chat = (SELECT chat FROM exchange WHERE id = ?)", id end,
  before = function(_, id) return "exchange.id < ?", id end,
  after = function(_, id) return "exchange.id > ?", id end,
  older = function(_, time) return "time < ?", time end,
  failed = function(_, failed) return failed and "error IS NOT NULL" or "error IS NULL" end,
}

--- The rows for the options of `list`.
local function rows_for(log, opts, order)
  local where, values = {}, {}
  for name, make in pairs(CONDITIONS) do
    if opts[name] ~= nil then
      local condition, value = make(log, opts[name])
      where[#where + 1], values[#values + 1] = condition, value
    end
  end
  local sql = "SELECT " .. COLUMNS .. (where[1] and " WHERE " .. table.concat(where, " AND ") or "")
    .. " ORDER BY exchange.id " .. order .. (opts.limit and (" LIMIT %d"):format(opts.limit) or "")
  return log.database:rows(sql, (table.unpack or unpack)(values)) -- luacheck: ignore
end

--- See Log:list.
function reading.list(log, opts)
  opts = options.check("log:list", LIST, opts)
  return log.database:snapshot(function()
    local rows = rows_for(log, opts, "DESC")
    for i, row in ipairs(rows) do rows[i] = exchange_of(row) end
    return rows
  end)
end

local PAGE = 200 -- exchanges that are in memory at a time

--- The id before that of the first exchange to export: of so many, the last ones are.
local function start_of(log, opts)
  local rows = opts.limit and rows_for(log, opts, "DESC") or {}
  return rows[1] and rows[#rows].id - 1 or 0
end

--- See Log:export.
function reading.export(log, write, opts)
  local given, count = {}, 0
  for name, value in pairs(options.check("log:export", LIST, opts)) do given[name] = value end
  local last, err = log.database:snapshot(function() return start_of(log, given) end)
  given.limit = PAGE
  while last do
    given.after = last
    local lines
    lines, err = log.database:snapshot(function()
      local rows = rows_for(log, given, "ASC")
      for i, row in ipairs(rows) do rows[i], last = json.encode(whole(log, row)), row.id end
      return rows
    end)
    if not lines then break end
    for _, line in ipairs(lines) do write(line) end
    count = count + #lines
    if #lines < PAGE then return count end
  end
  return nil, err
end

-- ---- chats

local function chat_of(log, row)
  if not row then return nil end
  local fields, own = fields_of(log, row.fields)
  local messages = messages_to(log, row.answer_id or row.question_id)
  if not row.answer_id then
    messages[#messages + 1] = { role = "assistant", content = decode(row.details).err.partial }
  end
  return { id = row.id, chat = row.chat, messages = media.restore(log, messages),
    fields = media.restore(log, fields), options = media.restore(log, own or {}), model = row.model,
    server = row.server }
end

--- An answer that was stopped is one, too: what had come of it stays in a chat. (JSON has no such names within texts,
--- where quotes have backslashes.)
local ANSWERED = "SELECT " .. COLUMNS .. [[
  WHERE kind = 'chat/completions' AND (exchange.answer IS NOT NULL AND error IS NULL OR exchange.answer IS NULL
  AND details LIKE '%"kind":"cancelled"%' AND details LIKE '%"partial":"%' AND details NOT LIKE '%"partial":""%')]]

--- See Log:chat.
function reading.chat(log, id)
  check_id("log:chat", id)
  return log.database:snapshot(function()
    return chat_of(log, log.database:row(ANSWERED .. " AND exchange.id = ?", id))
  end)
end

--- See Log:last_chat.
function reading.last_chat(log)
  return log.database:snapshot(function()
    return chat_of(log, log.database:row(ANSWERED .. " ORDER BY exchange.id DESC LIMIT 1"))
  end)
end

--- The body that says a logged reply again. See lmm.log.answer.
reading.body = answers.body

return reading
