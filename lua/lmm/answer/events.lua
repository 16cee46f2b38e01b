--- The events of any endpoint: the bytes of one reply come in, however they are split; its events go out, one by one
--- and decoded. To a stream (lmm.stream) it is what an answer is, without knowing what the events mean.
local core = require "lmm.core"
local failures = require "lmm.answer.failure"
local server_error = require "lmm.answer.server_error"

---@class lmm.EventReader
---@field reader userdata  core.answer
---@field current table?   the event given last, and
---@field name string?     its name, "" where it has none
local Events = {}
Events.__index = Events

local events = {}

--- Makes one of the reply that begins with this head.
---@param head { status: integer, headers: table<string, string> }
---@param opts { limits: table }
---@return lmm.EventReader
function events.new(head, opts)
  return setmetatable({
    reader = core.answer(opts.limits),
    limits = opts.limits,
    status = head.status,
    is_over = false, is_done = false, has_given = false,
  }, Events)
end

--- Whether an object among other events may be an error: not every one with a message is.
local function may_be_error(event, name)
  return name == "error" or event.error ~= nil or event.type == "error" or event.object == "error"
end

function Events:give(kind, name)
  local event, message, _, why = self.reader:value()
  name = kind == "event" and name or ""
  if message then
    if why == "limit" then return nil, failures.new("limit", message) end
    return nil, server_error.not_json(self.reader:data(), message)
  end
  local is_named = name:lower() == "error"
  if type(event) == "table" and (kind == "whole" or may_be_error(event, name:lower())) then
    local failure = server_error.find(event, is_named or event.type == "error")
    if failure then return nil, failures.of_server(failure, self.status) end
  end
  self.current, self.name, self.has_given = event, name, true
  return "content"
end

--- The next event: "content", false where more bytes are needed, nil at the end, or nil and a failure.
function Events:next()
  local kind, piece, which = self.reader:next(true)
  if kind == "done" then
    self.is_done = true
    return nil
  elseif kind == nil then
    return nil, failures.limit(self.limits, which)
  elseif kind then
    return self:give(kind, piece)
  elseif not self.is_over then
    return false
  end
  local rest = self.reader:rest()
  if self.reader:kind() == "events" and (rest == "" or not rest:find "data:") then return nil end
  if self.has_given and self.reader:kind() == "json" then return nil end
  if self.reader:kind() == "events" then return nil, failures.new("truncated", "it ended within an event") end
  return nil, server_error.not_json(self.reader:bytes())
end

--- The event given last, and its name.
---@return any event, string name
function Events:event()
  return self.current, self.name
end

function Events:finish(err)
  self.is_over = true
  if err then return nil, err end
  self.reader:finish()
  return true
end

function Events.reply() return {} end

function Events.text() return "" end

function Events.is_finished() return false end

function Events.note_pieces() return false end

return events
