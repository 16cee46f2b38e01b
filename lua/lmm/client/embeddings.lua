--- Embeddings: texts and media come in; their vectors go out, in the same order (POST /embeddings).
local calls = require "lmm.call"
local core = require "lmm.core"
local endpoint = require "lmm.client.endpoint"
local errors = require "lmm.errors"
local floats = require "lmm.client.floats"
local parts = require "lmm.part"

local embeddings = {}

---@class lmm.Embeddings : lmm.EndpointReply
---@field vectors number[][]  one for each item, in the order in which they were given

local OWN = { input = true, messages = true }

--- Whether a value stands for one item and is no text.
local function is_part(value)
  return parts.is(value) or type(value) == "table" and value.type ~= nil
end

--- The content of the message that stands for an item which is no text.
local function content_of(item, place)
  local content = {}
  for i, piece in ipairs(is_part(item) and { item } or item) do
    if type(piece) ~= "string" and not is_part(piece) then
      errors.misuse("client:embed: item %d holds a %s: it is a string, a part, or a list of these", place, type(piece))
    end
    content[i] = type(piece) == "string" and { type = "text", text = piece } or piece
  end
  if #content == 0 then errors.misuse("client:embed: item %d is an empty table", place) end
  return content
end

--- The requests for some items: one for all texts, and one for each other item, since a server takes one message at a
--- time.
---@return { fields: table, places: integer[] }[]
local function plan(items, fields)
  local texts, places, list = {}, {}, {}
  local function add(name, value, at)
    local copy = { [name] = value }
    for field, given in pairs(fields) do copy[field] = given end
    list[#list + 1] = { fields = copy, places = at }
  end
  for i, item in ipairs(items) do
    if type(item) == "string" then
      texts[#texts + 1], places[#places + 1] = item, i
    elseif type(item) == "table" then
      add("messages", { { role = "user", content = content_of(item, i) } }, { i })
    else
      errors.misuse("client:embed: item %d is a %s: a string, a part, or a list of these expected", i, type(item))
    end
  end
  if #texts > 0 then add("input", #texts == 1 and texts[1] or texts, places) end
  return list
end

--- A vector as the server sent it: a list of numbers, or the base64 of floats.
---@return number[]? vector, table? failure
local function read_vector(given)
  local vector = given
  if type(given) == "string" then
    local bytes = core.base64.decode(given)
    vector = bytes and floats.unpack(bytes)
    if not vector then return nil, endpoint.failure "a vector that is no base64 of 32-bit floats" end
  end
  if type(vector) ~= "table" or #vector == 0 then return nil, endpoint.failure "an embedding without a vector" end
  for i = 1, #vector do
    if type(vector[i]) ~= "number" then
      return nil, endpoint.failure(("a vector whose element %d is no number"):format(i))
    end
  end
  return vector
end

local NULL = "[%[,]%s*null%s*[%],]" -- in a list, where a server writes it for what is no number

--- The vectors of a reply, in order. In what is decoded nulls are left out, so they are looked for in its text.
---@return { vectors: number[][] }? reply, table? failure
local function read(value, text, count)
  if text:find(NULL) then return nil, endpoint.failure "a vector with a null in it" end
  local items, failure = endpoint.by_index(value.data, count, "embeddings")
  if not items then return nil, failure end
  local vectors = {}
  for i, item in ipairs(items) do
    vectors[i], failure = read_vector(item.embedding)
    if failure then return nil, failure end
  end
  return { vectors = vectors }
end

--- Adds the usage of one more request, as far as both are numbers.
local function add_usage(sum, given)
  if not sum or not given then return sum or given end
  local out = {}
  for name, value in pairs(sum) do
    local more = given[name]
    out[name] = type(value) == "number" and type(more) == "number" and value + more or value
  end
  return out
end

--- The reply to the requests so far, with that to one more.
---@param all lmm.Embeddings?
---@param reply table      its `vectors` are those of this request
---@param places integer[] where they belong
---@return lmm.Embeddings
local function merge(all, reply, places)
  local vectors = all and all.vectors or {}
  for i, place in ipairs(places) do vectors[place] = reply.vectors[i] end
  reply.vectors = vectors
  if not all then return reply end
  reply.usage, reply.attempts = add_usage(all.usage, reply.usage), all.attempts + reply.attempts
  reply.cost = all.cost and reply.cost and all.cost + reply.cost
  return reply
end

--- The vectors of texts, of media, or of both: a string, a part, or a list of these, in which a list of strings and
--- parts is one item, too ({ "Represent the image.", lmm.image "a.jpg" }). All texts go in one request; each item with
--- a part goes in one of its own, one after the other, as a message, the form in which vLLM takes media. They are all
--- written before the first is sent, and one that fails ends the call.
---@param self lmm.Client
---@param given lmm.Input
---@param opts lmm.EmbedOptions?
---@return lmm.Embeddings? reply  of several requests, `usage`, `cost` and `attempts` are the sums
---@return string? message
---@return lmm.Error? err
function embeddings.embed(self, given, opts)
  local ours, fields = endpoint.split(self, "client:embed", opts, OWN)
  if type(given) == "string" or is_part(given) then given = { given } end
  if type(given) ~= "table" or next(given) == nil then
    errors.misuse("client:embed takes a string, a part, or a list of these, not %s",
      type(given) == "table" and "an empty table" or "a " .. type(given))
  end
  local list = plan(given, fields)
  if #list == 0 then errors.misuse "client:embed: the items stand in a list, not under names" end
  local call_opts = calls.options(self, ours)
  for _, one in ipairs(list) do
    local err
    one.written, err = endpoint.write(self, one.fields)
    if not one.written then return errors.public(nil, err) end
  end
  local all
  for _, one in ipairs(list) do
    local function read_all(value, text) return read(value, text, #one.places) end
    local reply, err = endpoint.send(self, "embeddings", one.written, call_opts, endpoint.reader(self, read_all))
    if not reply then return errors.public(nil, err) end
    all = merge(all, reply, one.places)
  end
  return all
end

return embeddings
