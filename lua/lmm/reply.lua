--- A reply: the whole answer of a model, with what came along with it.

---@class lmm.ToolCall
---@field id string
---@field name string
---@field arguments string  as text
---@field args any          decoded; nil where the text is no JSON

--- A whole answer. `tostring` and `..` take its text.
---@class lmm.Reply
---@field text string
---@field reasoning string?
---@field refusal string?
---@field tool_calls lmm.ToolCall[]?
---@field steps lmm.ToolStep[]?  of a conversation with tools: the rounds before this reply whose tools were run
---@field finish_reason string?
---@field logprobs table?
---@field choices table[]    all of them; the fields above are those of the first
---@field message table     as it goes into a history; made when it is first looked at
---@field images lmm.Part[]?  pictures that the model made, with their `bytes`, as far as they came along; `:save(path)`
---@field audio lmm.Part?   sound that the model made, with its `bytes`, its `transcript` and its `id`
---@field citations table?  what the server says that it used, as it sent it: links, search results or annotations
---@field request_id string?  the server's, of its header X-Request-Id
---@field usage table     what the server counted, with `requests`, all attempts, and `bytes_sent`, of their bodies
---@field cost number?       what it cost, all rounds of it, where lmm.connect was told the model's prices
---@field model string?
---@field id string?
---@field value any          of a structured answer: its JSON decoded, without nulls; the choice; or the text that was
--- to follow a regex or a grammar
---@field timing { first_token: number?, total: number }  seconds, of all rounds
---@field attempts integer  of its own round
---@field cached boolean?  the answer came from the log, see `cache` of lmm.connect
---@field raw table          what the server sent: its object, or the list of a stream's events; nulls are `lmm.null`.
--- It is decoded when it is first looked at, from the bytes that are kept until then
local Reply = {}
Reply.__name = "lmm.Reply"
Reply.__tostring = function(self) return self.text end
Reply.__concat = function(a, b) return tostring(a) .. tostring(b) end

--- What came for each reply, of which `raw` and `message` are made.
local sources = setmetatable({}, { __mode = "k" })

local is_made_late = { raw = true, message = true }

function Reply:__index(name)
  local source = is_made_late[name] and sources[self]
  if not source then return nil end
  local value = source[name](source)
  rawset(self, name, value)
  if rawget(self, "raw") and rawget(self, "message") then sources[self] = nil end
  return value
end

local reply = {}

--- Makes a reply of its fields.
---@param fields table
---@param source { raw: fun(self): table, message: fun(self): table, json: fun(self): string? }  what came
---@return lmm.Reply
function reply.new(fields, source)
  local self = setmetatable(fields, Reply)
  sources[self] = source
  return self
end

--- What the server sent, where that is one JSON text and nobody has looked at `raw`, who may have changed it.
---@param self lmm.Reply
---@return string?
function reply.json(self)
  local source = sources[self]
  return source and rawget(self, "raw") == nil and source:json() or nil
end

--- Whether a value is a reply.
---@return boolean
function reply.is(value)
  return getmetatable(value) == Reply
end

return reply
