--- A conversation for other programs and for people: its history comes in; a text in Markdown, or the messages as the
--- server gets them, go out.
local calls = require "lmm.conversation.calls"
local errors = require "lmm.errors"
local json = require "lmm.json"
local messages = require "lmm.conversation.messages"
local options = require "lmm.options"
local parts = require "lmm.part"
local prepare = require "lmm.prepare"
local request = require "lmm.request"
local texts = require "lmm.text"
local types = require "lmm.types"

local export = {}

-- ---- media

--- What stands for a medium where its bytes do not: "image: picture.jpg".
local function placeholder(part)
  local size = part.size and (", %d bytes"):format(part.size) or "" -- which is known once it is prepared
  return ("%s: %s"):format(part.kind, part.path or part.url or part.mime and types.describe(part.mime) .. size
    or part.options.uuid and "uuid " .. tostring(part.options.uuid) or "it cannot be sent")
end

-- ---- openai

--- A copy of messages in which a text stands for each medium.
local function without_media(value, depth)
  if parts.is(value) then return { type = "text", text = "[" .. placeholder(value) .. "]" } end
  if type(value) ~= "table" or depth > json.MAX_DEPTH then return value end
  local copy = {}
  for key, item in next, value do copy[key] = without_media(item, depth + 1) end
  return setmetatable(copy, getmetatable(value))
end

--- All that a body holds.
local function read_all(body)
  local pieces = {}
  while true do
    local piece, message = body:read(1024 * 1024)
    if message then return nil, errors.new { kind = "invalid", message = message } end
    if not piece then return table.concat(pieces) end
    pieces[#pieces + 1] = piece
  end
end

--- The messages as they are sent, media as base64; nulls are `lmm.null`.
local function to_openai(list, has_media)
  if not has_media then list = without_media(list, 0) end
  local sent = json.array()
  for i, message in ipairs(list) do sent[i] = calls.sent(message) end
  local body, err, found = request.body { messages = sent }
  if not body then return nil, err end
  for _, part in ipairs(found and found.parts or {}) do
    if prepare.is_pending(part) then
      return nil, errors.new { kind = "invalid",
        message = ("the %s was not sent yet, and is not prepared: it cannot be exported"):format(part.kind) }
    end
  end
  local text
  text, err = read_all(body)
  body:close()
  if not text then return nil, err end
  return json.decode(text).messages
end

-- ---- markdown

--- A text that stays as it is, whatever is in it.
local function fenced(text, language)
  local longest = 2
  for run in text:gmatch "`+" do longest = math.max(longest, #run) end
  local fence = ("`"):rep(longest + 1)
  return ("%s%s\n%s\n%s"):format(fence, language or "", text, fence)
end

--- A path or a URL as the target of a link.
local function target(text)
  return "<" .. text:gsub("[<>\r\n]", function(c) return ("%%%02X"):format(c:byte()) end) .. ">"
end

local function part_text(part)
  local where = part.path or part.url
  if not where then return "[" .. placeholder(part) .. "]" end
  local name = (part.filename or part.kind):gsub("[%[%]\r\n\\]", " ")
  return ("%s[%s](%s)"):format(part.kind == "image" and "!" or "", name, target(where))
end

--- What a part of a content says; a raw one that is no text is named by its type.
---@param show nil|fun(text: string): string  how texts are written, where not as they are
local function content_text(content, show)
  if type(content) == "string" then return content ~= "" and show and show(content) or content end
  if parts.is(content) then return part_text(content) end
  if type(content) ~= "table" then return "" end
  if type(content.text) == "string" then return content_text(content.text, show) end
  if content.type ~= nil then return "[" .. tostring(content.type) .. "]" end
  local pieces = {}
  for _, item in ipairs(content) do pieces[#pieces + 1] = content_text(item, show) end
  return table.concat(pieces, "\n\n")
end

local function call_text(call)
  local called = type(call) == "table" and call["function"]
  called = type(called) == "table" and called or {}
  return ("Call of `%s`:\n\n%s"):format(tostring(called.name):gsub("`", ""), fenced(tostring(called.arguments), "json"))
end

local TITLES = { system = "System", developer = "System", user = "User", assistant = "Assistant" }

local function message_text(message)
  local role = tostring(message.role)
  local text = content_text(message.content, role == "tool" and fenced or nil)
  local pieces = { "## " .. (TITLES[role] or role == "tool" and "Result" or role) }
  if text ~= "" then pieces[2] = text end
  if type(message.refusal) == "string" and message.refusal ~= "" then pieces[#pieces + 1] = message.refusal end
  for _, call in ipairs(type(message.tool_calls) == "table" and message.tool_calls or {}) do
    pieces[#pieces + 1] = call_text(call)
  end
  return table.concat(pieces, "\n\n")
end

local function to_markdown(list)
  local pieces = {}
  for i, message in ipairs(list) do pieces[i] = message_text(message) end
  return table.concat(pieces, "\n\n") .. "\n"
end

-- ---- the door

local rows = { media = "boolean" }

--- See Conversation:export.
---@param chat lmm.Conversation
---@param format "markdown"|"openai"
---@param opts { media: boolean? }?
---@return string|table|nil exported, lmm.Error? err
function export.export(chat, format, opts)
  opts = options.check("chat:export", rows, opts)
  if format ~= "markdown" and format ~= "openai" then
    errors.misuse("chat:export writes \"markdown\" and \"openai\", not %s", texts.shown(format))
  end
  local list, history = {}, chat.history
  for i = 1, history:size() do list[i] = history:at(i) end
  local problem = messages.problem(list)
  if problem then
    return nil, errors.new { kind = "invalid", message = "the conversation cannot be exported: " .. problem }
  end
  if format == "openai" then return to_openai(list, opts.media ~= false) end
  if opts.media ~= nil then errors.misuse "chat:export: media is an option of \"openai\"; Markdown links to files" end
  return to_markdown(list)
end

return export
