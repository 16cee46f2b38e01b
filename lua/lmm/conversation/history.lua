--- The messages of a conversation, in the order in which servers take them. Forking and undoing take the same time
--- whatever the length: two histories share their lists until one of them grows. A message is written as JSON once, and
--- its text is kept, for as long as nobody else holds the list and may change it.
local calls = require "lmm.conversation.calls"
local request = require "lmm.request"

---@class lmm.History
---@field list table[]      the messages; behind `count` there may be others
---@field count integer     how many of them are this history's
---@field written (userdata|table)[]  of the first of them what core.write takes: the text, or the message
---@field is_shared boolean? both lists belong to another history, too
---@field has_shared boolean? the messages in it belong to another history, too
---@field is_exposed boolean? the caller holds the list, and may have changed it
local History = {}
History.__index = History

local history = {}

--- Makes a history of messages that nobody else holds.
---@param list table[]
---@return lmm.History
function history.new(list)
  return setmetatable({ list = list, count = #list, written = {} }, History)
end

--- How many messages there are.
function History:size()
  if self.is_exposed then self.count = #self.list end
  return self.count
end

--- The message at a place, which is not to be changed; nil where there is none.
---@param i integer  from 1; from the end where it is negative
---@return table?
function History:at(i)
  local size = self:size()
  if i < 0 then i = size + 1 + i end
  return i <= size and self.list[i] or nil
end

--- Whose message it is.
---@return string? role
function History:role(i)
  local message = self:at(i)
  return type(message) == "table" and message.role or nil
end

local function copy(list, count)
  local out = {}
  for i = 1, math.min(count, #list) do out[i] = list[i] end
  return out
end

local function cut(list, count)
  for i = #list, count + 1, -1 do list[i] = nil end
end

--- Sees to it that the lists are this history's alone, and end with it.
local function own(self)
  if self.is_exposed then return end
  if self.is_shared then
    self.list, self.written, self.is_shared = copy(self.list, self.count), copy(self.written, self.count), nil
  else
    cut(self.list, self.count)
    cut(self.written, self.count)
  end
end

--- What is written for a message: its text, unless its form depends on the server, as that of media does.
local function write(message)
  message = calls.sent(message)
  if type(message) ~= "table" or type(message.content) ~= "string" or message.role == "tool" then return message end
  local body, _, found = request.body(message)
  return body and not found and body or message
end

---@param messages table[]  which nobody changes from now on
function History:append(messages)
  own(self)
  local size = self:size()
  for i, message in ipairs(messages) do self.list[size + i] = message end
  self.count = size + #messages
end

--- Forgets the messages behind the first `count`.
---@param count integer
function History:truncate(count)
  local size = self:size()
  self.count = math.min(size, count)
  for i = self.is_exposed and size or 0, count + 1, -1 do self.list[i] = nil end
end

--- Has these messages in the place of all that there are.
---@param messages table[]  of a list that nobody else holds
function History:replace(messages)
  if self.is_exposed then
    for i = 1, math.max(#self.list, #messages) do self.list[i] = messages[i] end
  else
    self.list, self.written, self.is_shared = messages, {}, nil
  end
  self.count = #messages
end

--- All messages with more of them behind, as core.write takes them, to be written at once: these do not stay.
---@param messages table[]
---@return (userdata|table)[]
function History:with(messages)
  own(self)
  local size, list = self:size(), self.written
  if self.is_exposed then list = copy(self.list, size) end
  for i = #list + 1, size do list[i] = write(self.list[i]) end
  for i, message in ipairs(messages) do list[size + i] = calls.sent(message) end
  return list
end

--- Another history with the same messages.
---@return lmm.History
function History:fork()
  if self.is_exposed then return history.new(request.copy(self.list)) end
  self.is_shared, self.has_shared = true, true
  return setmetatable({ list = self.list, count = self.count, written = self.written, is_shared = true,
    has_shared = true }, History)
end

--- The list itself, which the caller may read and change.
---@return table[]
function History:expose()
  own(self)
  if self.has_shared then self.list, self.has_shared = request.copy(self.list), nil end
  self.is_exposed, self.written = true, {}
  return self.list
end

return history
