--- What a log forgets: exchanges, and then the messages, fields, media and kept files that no other one needs.
local errors = require "lmm.errors"
local options = require "lmm.options"
local words = require "lmm.log.words"

local pruning = {}

local BATCH = 1000 -- exchanges in one transaction, so that others who write wait for a short time only

--- Takes out the words of exchanges, as they were put in.
local function remove_words(db, rows)
  for _, row in ipairs(rows) do
    words.remove(db, row.id, words.of_message(row.question), words.of_answer(row.answer, row.details))
  end
end

local SELECT = [[SELECT exchange.id, details, question.json AS question, answer.json AS answer FROM exchange
  JOIN message AS question ON question.id = exchange.question
  LEFT JOIN message AS answer ON answer.id = exchange.answer WHERE ]]

--- Forgets a batch; gives how many there were.
local function remove_batch(db, condition, value)
  local rows = db:rows(SELECT .. condition .. " ORDER BY exchange.id LIMIT " .. BATCH, value)
  remove_words(db, rows)
  local ids = {}
  for i, row in ipairs(rows) do ids[i] = ("%d"):format(row.id) end
  db:run("DELETE FROM exchange WHERE id IN (" .. table.concat(ids, ",") .. ")")
  return #rows
end

--- Messages at the end of a branch that no exchange needs, again and again, up to where one is needed.
local UNUSED = [[DELETE FROM message WHERE id NOT IN (WITH RECURSIVE used (id) AS (
  SELECT question FROM exchange UNION SELECT answer FROM exchange WHERE answer IS NOT NULL UNION
  SELECT parent FROM message JOIN used USING (id) WHERE parent IS NOT NULL) SELECT id FROM used)]]

--- Forgets what is needed no more; gives the paths of the kept media that nothing names any more.
local function sweep(db)
  db:run(UNUSED)
  db:run "DELETE FROM fields WHERE id NOT IN (SELECT fields FROM exchange)"
  db:run "DELETE FROM message_medium WHERE message NOT IN (SELECT id FROM message)"
  local gone = db:rows "SELECT path FROM medium WHERE is_kept = 1 AND id NOT IN (SELECT medium FROM message_medium)"
  db:run "DELETE FROM medium WHERE id NOT IN (SELECT medium FROM message_medium)"
  return gone
end

local ROWS = { older = "number", id = "number", all = "boolean" }

--- The condition of what is to go, and its value.
local function condition_of(opts)
  local count = 0
  for _ in pairs(opts) do count = count + 1 end
  if count ~= 1 or opts.all == false then errors.misuse "log:prune takes one of older, id and all = true" end
  if opts.older and not (opts.older >= 0) then errors.misuse "log:prune: older is a number of seconds" end
  if opts.older then return "time < ?", os.time() - opts.older end
  if opts.id then return "exchange.id = ?", opts.id end
  return "1"
end

--- Takes what is forgotten out of the files; gives why it cannot.
---@return string? why
local function clean(db)
  db:run "INSERT INTO words (words) VALUES ('optimize')"
  local _, err = db:guard(db.run, db, "VACUUM")
  if err then return err.message end
  local state = db:row "PRAGMA wal_checkpoint(TRUNCATE)"
  return state.busy ~= 0 and "another program reads the log, and they go when it ends" or nil
end

--- See Log:prune.
---@return integer? count, lmm.Error? err, string? why
function pruning.prune(log, opts)
  local db = log.database
  local condition, value = condition_of(options.check("log:prune", ROWS, opts))
  local why
  local pruned, err = db:guard(function()
    local count = 0
    repeat
      local batch = db:transaction(function() return remove_batch(db, condition, value) end)
      count = count + batch
    until batch < BATCH
    local gone = db:transaction(function() return sweep(db) end)
    for _, row in ipairs(gone) do os.remove(row.path) end
    local has_remains = db:value "SELECT freelist_count AS value FROM pragma_freelist_count" > 0
    if count > 0 or has_remains then why = clean(db) end
    return count
  end)
  return pruned, err, why
end

return pruning
