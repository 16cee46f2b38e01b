--- The events of any endpoint that streams: what makes a call comes in; its events go out one by one, decoded. Retries,
--- time limits and cancelling are those of a stream, which reads them.
local answers = require "lmm.answer"
local errors = require "lmm.errors"
local streams = require "lmm.stream"

--- The events of client:events; a `for` loop over them gives each with its name.
---@class lmm.Events
---@field err lmm.Error?  why they broke off
---@overload fun(): any, string?
local Events = {}
Events.__index = Events
Events.__name = "lmm.Events"

local events = {}

--- Makes them. The request is sent when they are first read.
---@param prepare fun(): lmm.Call?, lmm.Error?
---@param limits table
---@return lmm.Events
function events.new(prepare, limits)
  return setmetatable({
    stream = streams.new { limits = limits, choices = 1, streamed = true, answer = answers.events, prepare = prepare },
    err = nil,
  }, Events)
end

--- The next event, decoded, without nulls, and its name, "" where it has none.
---@return any event, string? name_or_message, lmm.Error? err  nil alone at the end; nil, a message and an error where
--- they broke off
function Events:next()
  local stream = self.stream
  if stream:advance() then return stream.answer:event() end
  self.err = stream.err
  return errors.public(nil, stream.err)
end

--- The same for a `for` loop, which has no place for an error: it raises the message, as io.lines does.
function Events:__call()
  local event, name = self:next()
  if event == nil and self.err then error(name, 0) end
  return event, name
end

--- Ends them at once; the server sees the connection close. Whoever waits for them gets a `cancelled` error.
function Events:cancel()
  self.stream:cancel()
  self.err = self.stream.err
end

errors.check_self(Events, "events", "cancel")

--- Leaving a `for` loop over them by `break` cancels (Lua 5.4).
Events.__close = Events.cancel

return events
