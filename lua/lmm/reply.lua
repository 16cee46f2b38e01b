--- A reply: the whole answer of a model, with what came along with it.

---@class lmm.ToolCall
---@field id string
---@field name string
---@field arguments string  as text
---@field args any          decoded; nil where the text is no JSON

---@class lmm.Reply
---@field text string
---@field reasoning string?
---@field refusal string?
---@field tool_calls lmm.ToolCall[]?
---@field finish_reason string?
---@field logprobs table?
---@field choices table[]    all of them; the fields above are those of the first
---@field usage table?
---@field model string?
---@field id string?
---@field value any          structured output, decoded
---@field timing { first_token: number?, total: number }  seconds
---@field attempts integer
---@field raw table          what the server sent: its object, or the list of a stream's events; nulls are `lmm.null`
local Reply = {}
Reply.__name = "lmm.Reply"
Reply.__tostring = function(self) return self.text end
Reply.__concat = function(a, b) return tostring(a) .. tostring(b) end

local reply = {}

--- Makes a reply of its fields.
---@return lmm.Reply
function reply.new(fields)
  return setmetatable(fields, Reply)
end

return reply
