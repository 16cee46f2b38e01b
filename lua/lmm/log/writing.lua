--- Exchanges on their way into the database: one comes in; its rows go out, those that are there already apart.
local answers = require "lmm.log.answer"
local errors = require "lmm.errors"
local media = require "lmm.log.media"
local options = require "lmm.options"
local requests = require "lmm.log.request"
local words = require "lmm.log.words"

local writing = {}

local ROWS = { kind = "string", request = "table", server = "string", model = "string", reply = "table", err = "table",
  time = "number",
  first_token = "number", total = "number", cost = "number", key = "string", options = "table", cached = "boolean" }

--- The ids of the messages from the root on, of which those that are missing are added.
---@param log lmm.Log
---@param asked lmm.log.Asked
---@return table<integer, integer> ids  of the last one, and of some before it
local function add_messages(log, asked)
  local db, digests, ids = log.database, asked.digests, {}
  local known = #asked.messages
  while known > 0 do
    ids[known] = db:value("SELECT id AS value FROM message WHERE digest = ?", digests[known])
    if ids[known] then break end
    known = known - 1
  end
  for i = known + 1, #digests do
    ids[i] = db:insert("INSERT INTO message (parent, digest, json) VALUES (?, ?, ?)", ids[i - 1], digests[i],
      requests.text(asked.messages[i]))
    media.link(log, ids[i], asked.media[i])
  end
  return ids
end

--- The id of a message behind another one.
local function add_answer(log, question, digest, brought)
  if not brought.message then return nil end
  local db, own = log.database, requests.digest(digest, brought.message)
  local id = db:value("SELECT id AS value FROM message WHERE digest = ?", own)
  if id then return id end
  id = db:insert("INSERT INTO message (parent, digest, json) VALUES (?, ?, ?)", question, own, brought.message)
  media.link(log, id, brought.media)
  return id
end

local function add_fields(db, text)
  local digest = requests.digest(text)
  return db:value("SELECT id AS value FROM fields WHERE digest = ?", digest)
    or db:insert("INSERT INTO fields (digest, json) VALUES (?, ?)", digest, text)
end

--- The conversation that a request goes on with: that of the exchange whose answer is the last one in it.
local function chat_of(db, asked, ids)
  local at = asked.last_answer
  if not at then return nil end
  local id = ids[at] or db:value("SELECT id AS value FROM message WHERE digest = ?", asked.digests[at])
  return id and db:value("SELECT chat AS value FROM exchange WHERE answer = ? ORDER BY id DESC LIMIT 1", id)
end

local function token_count(reply, name, other)
  local usage = type(reply.usage) == "table" and reply.usage or type(reply.json) == "table" and reply.json.usage
  if type(usage) ~= "table" then return nil end
  local count = usage[name] or usage[other]
  return type(count) == "number" and count >= 0 and count < 2 ^ 53 and count % 1 == 0
    and count or nil
end

local function add_exchange(log, exchange, asked, brought)
  local db, reply = log.database, exchange.reply or {}
  local ids, last = add_messages(log, asked), #asked.messages
  local answer = add_answer(log, ids[last], asked.digests[last], brought)
  local chat = chat_of(db, asked, ids)
  local id = db:insert([[INSERT INTO exchange (chat, kind, time, server, model, fields, question, answer, first_token,
    total, prompt_tokens, completion_tokens, cost, finish_reason, error, is_cached, key, details)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)]], chat, asked.kind, exchange.time or os.time(),
    exchange.server, asked.model or reply.model, add_fields(db, asked.fields), ids[last], answer,
    exchange.first_token, exchange.total, token_count(reply, "prompt_tokens", "input_tokens"),
    token_count(reply, "completion_tokens", "output_tokens"), exchange.cost or reply.cost, reply.finish_reason,
    exchange.err and exchange.err.message, exchange.cached or false,
    exchange.key or requests.key(asked, exchange.server), brought.details)
  if not chat then db:run("UPDATE exchange SET chat = id WHERE id = ?", id) end
  words.add(db, id, words.of_message(requests.text(asked.messages[last])),
    words.of_answer(brought.message, brought.details))
  return id
end

local function add(log, exchange)
  local asked = requests.read(exchange.request, { kind = exchange.kind, model = exchange.model,
    options = exchange.options, known = media.known_by(log) })
  local brought = answers.read(exchange)
  if log.keeps_media then
    for _, list in pairs(asked.media) do media.keep(log, list) end
    media.keep(log, brought.media)
  end
  return log.database:transaction(function() return add_exchange(log, exchange, asked, brought) end)
end

--- See Log:add.
---@param log lmm.Log
---@param exchange lmm.Exchange
---@return integer? id, lmm.Error? err
function writing.add(log, exchange)
  options.check("log:add", ROWS, exchange)
  if not exchange.request then errors.misuse "log:add: there is no request" end
  if not exchange.server then errors.misuse "log:add: there is no server: its base URL" end
  return log.database:guard(add, log, exchange)
end

return writing
