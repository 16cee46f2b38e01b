--- Media that a tool gave, before they are sent: its result comes in; the same one goes out, or one that tells the
--- model why the server cannot get them.
local core = require "lmm.core"
local errors = require "lmm.errors"
local loops = require "lmm.loop"
local prepare = require "lmm.prepare"
local request = require "lmm.request"
local results = require "lmm.conversation.results"

local media = {}

--- What is wrong with parts as this server would get them, as far as it is known; and the parts that it would get.
--- Nothing is sent, so that the server keeps none of them.
---@param client lmm.Client
---@param content table[]
---@return lmm.Error? err, lmm.Part[] parts
local function problem_of(client, content)
  local writer = { known_dialect = function() return client:known_dialect() end, get_media_cache = function() end }
  local body, err, found = request.body({ messages = { { role = "tool", content = content } } }, writer)
  if body then body:close() end
  return err, found and found.parts or {}
end

local function pause(elapsed)
  local loop = loops.current()
  local _, why = loop:wait({}, loop:now() + prepare.interval(elapsed))
  if why == "cancelled" then return errors.new { kind = "cancelled", message = "the request was cancelled" } end
end

--- What is wrong with the bytes of parts, which are prepared now.
---@return lmm.Error?
local function problem_of_bytes(list)
  local ready, err = prepare.all(list, pause)
  if not ready then return err end
  for _, part in ipairs(list) do
    local body = part.media and core.concat { part.media }
    local _, message
    if body then
      _, message = body:read(4) -- which opens its file
      body:close()
    end
    if message then return errors.new { kind = "invalid", message = message } end
  end
end

--- The result, where its media can be sent. What is known of the server counts; with the options of a question it is
--- asked what it is, where it has not said so, and the media are prepared and looked at, which may wait.
---@param result lmm.ToolResult
---@param client lmm.Client
---@param ours table?  the options of the question
---@return lmm.ToolResult
function media.checked(result, client, ours)
  if not result.content then return result end
  if ours then client:learn_dialect(ours) end
  local err, parts = problem_of(client, result.content)
  if ours and not err then err = problem_of_bytes(parts) end
  return err and results.failed(result.call, "%s", err.message) or result
end

return media
