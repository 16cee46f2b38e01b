--- How well texts and media go together: two inputs, or a query and documents, come in; scores, or the documents from
--- the best on, go out (POST /score and /rerank).
local calls = require "lmm.call"
local endpoint = require "lmm.client.endpoint"
local errors = require "lmm.errors"
local parts = require "lmm.part"

local ranking = {}

---@class lmm.Scores : lmm.EndpointReply
---@field scores number[]  one for each pair

---@class lmm.Ranked
---@field index integer   which of the documents it is, from 1
---@field score number
---@field document string|lmm.Part|table  as it was given

---@class lmm.Ranking : lmm.EndpointReply
---@field results lmm.Ranked[]  the best first

--- Whether a value stands for one input, as vLLM has them: a text, a part, or { content = { parts } }.
local function is_input(value)
  return type(value) == "string" or parts.is(value)
    or type(value) == "table" and (value.type ~= nil or value.content ~= nil)
end

--- An input in vLLM's form: a text as it is, a part as the content of something like a message.
local function written(value)
  if type(value) == "string" or not parts.is(value) and value.content ~= nil then return value end
  return { content = { value } }
end

--- Inputs in vLLM's form, and how many there are.
---@return any sent, integer count
local function inputs(given, what)
  if is_input(given) then return written(given), 1 end
  if type(given) ~= "table" or #given == 0 then
    errors.misuse("%s is a text, a part, or a list of these, not %s", what,
      type(given) == "table" and "an empty table" or "a " .. type(given))
  end
  local list = {}
  for i, value in ipairs(given) do
    if not is_input(value) then errors.misuse("%s: item %d is a %s, no text and no part", what, i, type(value)) end
    list[i] = written(value)
  end
  return list, #list
end

local function number(value)
  return type(value) == "number" and value == value and value or nil
end

local SCORED = { text_1 = true, text_2 = true }

--- How well two inputs go together; where one of them is a list, each of it with the other; where both are lists of
--- one length, the first with the first, and so on.
---@param self lmm.Client
---@param first lmm.Input
---@param second lmm.Input
---@param opts lmm.EndpointOptions?
---@return lmm.Scores? reply, string? message, lmm.Error? err
function ranking.score(self, first, second, opts)
  local ours, fields = endpoint.split(self, "client:score", opts, SCORED)
  local count, other
  fields.text_1, count = inputs(first, "the first input of client:score")
  fields.text_2, other = inputs(second, "the second input of client:score")
  if count > 1 and other > 1 and count ~= other then
    errors.misuse("client:score: %d inputs cannot be paired with %d: one with all, or as many", count, other)
  end
  local function read(value)
    local items, failure = endpoint.by_index(value.data, math.max(count, other), "scores")
    if not items then return nil, failure end
    local scores = {}
    for i, item in ipairs(items) do
      scores[i] = number(item.score)
      if not scores[i] then return nil, endpoint.failure "a score that is no number" end
    end
    return { scores = scores }
  end
  return errors.public(endpoint.post(self, "score", fields, calls.options(self, ours), endpoint.reader(self, read)))
end

local function is_better(a, b)
  if a.score ~= b.score then return a.score > b.score end
  return a.index < b.index
end

--- The documents that a reply names, each once; a server that was asked for the best few gives no more.
local function results_in(value, documents)
  local list = value.results or value.data or value[1] and value
  if type(list) ~= "table" then return nil, endpoint.failure "no list of results" end
  local results, seen = {}, {}
  for _, item in pairs(list) do
    local index = type(item) == "table" and number(item.index)
    local score = index and number(item.relevance_score or item.score)
    local document = index and documents[index + 1]
    if not score or document == nil or seen[index] then
      return nil, endpoint.failure "a result without a score, or of no document that was sent"
    end
    seen[index] = true
    results[#results + 1] = { index = index + 1, score = score, document = document }
  end
  if #results == 0 then return nil, endpoint.failure "a list without results" end
  table.sort(results, is_better)
  return { results = results }
end

local RANKED = { query = true, documents = true }

--- Ranks documents by how well they answer a query.
---@param self lmm.Client
---@param query lmm.Input
---@param documents lmm.Input[]
---@param opts lmm.RerankOptions?
---@return lmm.Ranking? reply, string? message, lmm.Error? err
function ranking.rerank(self, query, documents, opts)
  local ours, fields = endpoint.split(self, "client:rerank", opts, RANKED)
  if not is_input(query) then errors.misuse("client:rerank: the query is a text or a part, not a %s", type(query)) end
  if is_input(documents) then errors.misuse "client:rerank: the documents stand in a list" end
  fields.query, fields.documents = written(query), (inputs(documents, "the second argument of client:rerank"))
  local given = {}
  for i, document in ipairs(documents) do given[i] = document end
  local function read(value) return results_in(value, given) end
  return errors.public(endpoint.post(self, "rerank", fields, calls.options(self, ours), endpoint.reader(self, read)))
end

return ranking
