--- The words of exchanges, by which they are found: texts come in; an index of SQLite (FTS5) has them.
local core = require "lmm.core"
local json = require "lmm.json"

local words = {}

local LONGEST = 256 * 1024 -- bytes of a text whose words are in the index

--- What a content, a text or a list of parts, has of words; what stands in the place of media apart.
local function texts_in(content, out)
  if type(content) == "string" then
    out[#out + 1] = content
  elseif type(content) == "table" then
    if type(content.text) == "string" then out[#out + 1] = content.text end
    for _, item in ipairs(content) do texts_in(item, out) end
  end
  return out
end

--- The words of a message, a line for each of its texts; of a request without messages, those of its input.
---@param text string  its JSON
---@return string
function words.of_message(text)
  local message = core.decode(text, { depth = json.MAX_DEPTH, clean = true, lenient = true })
  if type(message) ~= "table" then return "" end
  local out = texts_in(message.content, {})
  for _, name in ipairs { "input", "prompt", "query", "text_1", "text_2", "documents" } do
    if not message.role then texts_in(message[name], out) end
  end
  return table.concat(out, "\n")
end

--- The words of what came: of the answer and of the reasoning before it, or of the part of it that came.
---@param message string?  JSON
---@param details string   JSON
---@return string
function words.of_answer(message, details)
  local more = core.decode(details, { depth = json.MAX_DEPTH, clean = true, lenient = true }) or {}
  local out = { message and words.of_message(message) or more.err and more.err.partial or "" }
  if type(more.reasoning) == "string" then out[2] = more.reasoning end
  return table.concat(out, "\n")
end

--- As much of a text as is in the index.
local function indexed(text)
  return #text > LONGEST and text:sub(1, LONGEST) or text
end

---@param db lmm.log.Database
---@param id integer  of the exchange
function words.add(db, id, question, answer)
  db:run("INSERT INTO words (rowid, question, answer) VALUES (?, ?, ?)", id, indexed(question), indexed(answer))
end

--- Takes them out again, which FTS5 needs the same texts for.
function words.remove(db, id, question, answer)
  db:run("INSERT INTO words (words, rowid, question, answer) VALUES ('delete', ?, ?, ?)", id, indexed(question),
    indexed(answer))
end

--- What FTS5 looks for: exchanges that have each of these words, or words that begin with them; nil where there is no
--- word.
---@param text string
---@return string?
function words.pattern(text)
  local out = {}
  for word in text:gmatch "[^%s%z]+" do
    if word:find "[%w\128-\255]" then out[#out + 1] = '"' .. word:gsub('"', '""') .. '"*' end
  end
  return out[1] and table.concat(out, " ")
end

return words
