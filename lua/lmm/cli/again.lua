--- `lmm ask --again ID`: an exchange of the log comes in; its server, model, fields, history and question go out.
local console = require "lmm.cli.console"
local parts = require "lmm.part"

local again = {}

---@class lmm.cli.Again
---@field server string
---@field model string?
---@field fields table    of the conversation: those of the request, `messages` before the question, and `schema` ...
---@field question (string|table|lmm.Part)[]  nothing where the history ends in a tool's result

--- What a message's content is made of, without its texts where another question takes their place.
local function content_of(content, question)
  if type(content) ~= "table" then return { question or content } end
  local out = { question }
  for _, item in ipairs(content) do
    local is_text = type(item) == "string" or type(item) == "table" and not parts.is(item) and item.type == "text"
    if not (question and is_text) then out[#out + 1] = item end
  end
  return out
end

--- Reads an exchange.
---@param id integer
---@param question string?  in the place of its own
---@return lmm.cli.Again
function again.read(id, question)
  local logs = require "lmm.log"
  local path, message = logs.default_path()
  if not path then console.fail("%s", message) end
  local log, err = logs.open(path, { create = false })
  local exchange
  if log then exchange, err = log:get(id) end
  if err then console.fail("%s", err.message) end
  if not exchange then console.fail("there is no exchange %d in the log (lmm log lists them)", id) end
  log:close()
  if exchange.kind ~= "chat/completions" then
    console.fail("exchange %d is of the endpoint %s, and only chats can be asked again", id, exchange.kind)
  end
  local fields, messages = exchange.request, exchange.request.messages
  for name, value in pairs(exchange.options or {}) do fields[name] = value end
  fields.model = nil
  local last = messages[#messages]
  local asked = {}
  if last.role == "user" then
    asked = content_of(last.content, question)
    messages[#messages] = nil
  elseif question then
    asked = { question }
  end
  return { server = exchange.server, model = exchange.model, fields = fields, question = asked }
end

return again
