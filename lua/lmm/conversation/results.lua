--- What tools give: the values that a function returned, or what it raised, come in; results and the messages with them
--- go out.
local errors = require "lmm.errors"
local json = require "lmm.json"
local parts = require "lmm.part"
local replies = require "lmm.reply"
local texts = require "lmm.text"

---@class lmm.ToolResult
---@field call lmm.ToolCall
---@field text string        as the model gets it; of a result with media, its texts
---@field content table[]?   of a result with media: its parts
---@field is_error boolean?  the text says what went wrong

local results = {}

local LONGEST_ERROR = 2000 -- bytes of what a tool raised

--- The result of a call that went wrong.
---@param call lmm.ToolCall
---@return lmm.ToolResult
function results.failed(call, format, ...)
  return { call = call, text = "error: " .. texts.line(texts.utf8(format:format(...))), is_error = true }
end

--- What was raised, on one line, without the place in the program, which is nobody's business.
local function words_of(raised)
  local is_text, text = pcall(tostring, raised)
  if raised == nil or not is_text or type(raised) == "table" and text:find "^table: " then return "it failed" end
  text = text:gsub("^[^\n]-%.lua:%d+: ", ""):gsub("^%[string \".-\"%]:%d+: ", "")
  return texts.line(text, LONGEST_ERROR)
end

--- The result of a call whose tool raised.
---@param call lmm.ToolCall
---@param raised any
---@return lmm.ToolResult
function results.raised(call, raised)
  return results.failed(call, "%s", words_of(raised))
end

--- Whether a table is a list in which a part stands; the others in it are texts and raw parts.
local function is_content(value)
  local has_part
  for _, item in ipairs(value) do
    if parts.is(item) then
      has_part = true
    elseif type(item) ~= "string" and not (type(item) == "table" and item.type ~= nil) then
      return false
    end
  end
  return has_part
end

--- Whether a part stands somewhere in a value; what is nested too deep is refused where it is written.
local function holds_part(value, depth, seen)
  if type(value) ~= "table" or seen[value] or depth > json.MAX_DEPTH then return false end
  if parts.is(value) then return true end
  seen[value] = true
  for _, item in next, value do
    if holds_part(item, depth + 1, seen) then return true end
  end
  return false
end

local function of_parts(call, list)
  local content, words = {}, {}
  for i, item in ipairs(list) do
    if parts.is(item) and item.err then return results.failed(call, "%s", item.err.message) end
    if type(item) == "string" then item = { type = "text", text = texts.utf8(item) } end
    if type(item.text) == "string" then words[#words + 1] = item.text end
    content[i] = item
  end
  return { call = call, text = table.concat(words, "\n"), content = content }
end

--- The text of a reply, and the pictures that the model made.
local function of_reply(call, reply)
  if not reply.images then return { call = call, text = texts.utf8(reply.text) } end
  local list = { reply.text ~= "" and reply.text or nil }
  for _, image in ipairs(reply.images) do list[#list + 1] = image end
  return of_parts(call, list)
end

--- The result of a call, of what its tool returned: a text, a part or a list with parts, the reply of a model, nothing,
--- or a value that goes as JSON; nil and a message say that it could not.
---@param call lmm.ToolCall
---@param value any
---@param message any
---@return lmm.ToolResult
function results.returned(call, value, message)
  if value == nil and message ~= nil then return results.raised(call, message) end
  if value == nil then return { call = call, text = "" } end
  if type(value) == "string" then return { call = call, text = texts.utf8(value) } end
  if parts.is(value) then return of_parts(call, { value }) end
  if replies.is(value) and type(value.text) == "string" then return of_reply(call, value) end
  if type(value) == "table" and is_content(value) then return of_parts(call, value) end
  local text, problem = nil, "a part stands alone or in a list of parts and texts"
  if not holds_part(value, 1, {}) then text, problem = json.text(value) end
  if text then return { call = call, text = text } end
  return results.failed(call, "the result cannot be written as JSON: %s", problem)
end

--- A result as it goes into the history.
---@param result lmm.ToolResult
---@return table message
function results.message(result)
  return { role = "tool", tool_call_id = result.call.id, content = result.content or result.text }
end

--- The error for a call that has to be answered first.
---@param call lmm.ToolCall
---@param advice string
---@return lmm.Error
function results.unanswered(call, advice)
  return errors.new { kind = "invalid", message = ("the call of '%s' (%s) is unanswered: %s"):format(
    texts.line(call.name, 100), texts.line(tostring(call.id), 100), advice) }
end

return results
