--- The message of an answer as it goes into a history: what servers demand to see again, and no more.
local json = require "lmm.json"

local history = {}

--- The content, with the pictures that stood in it.
local function content_of(choice, text)
  local content
  for _, entry in ipairs(choice.images or {}) do
    if entry.field == "content" then
      content = content or { text ~= "" and { type = "text", text = text } or nil }
      content[#content + 1] = entry.image
    end
  end
  return content or text
end

--- The pictures that stood beside the content.
local function images_of(choice)
  local images
  for _, entry in ipairs(choice.images or {}) do
    if entry.field == "images" then
      images = images or {}
      images[#images + 1] = entry.image
    end
  end
  return images
end

--- Some servers demand the reasoning beside tool calls, under the name that they gave it, and refuse an empty content
--- there.
local function add_calls(message, choice, finished)
  message.tool_calls = require("lmm.answer.tool_calls").for_history(choice.calls, finished.tool_calls)
  if message.content == "" then message.content = json.null end
  if choice.reasoning_name then message[choice.reasoning_name] = finished.reasoning end
end

---@param choice table  as it was gathered
---@param finished table  the same for the reply
---@return table message
function history.message(choice, finished)
  local message = { role = "assistant", content = finished.text, refusal = finished.refusal }
  if choice.images then message.content, message.images = content_of(choice, finished.text), images_of(choice) end
  if choice.audio and choice.audio.id then message.audio = { id = choice.audio.id } end
  if choice.reasoning_details then
    message.reasoning_details = require("lmm.answer.fields").reasoning_details(choice)
  end
  if choice.calls then add_calls(message, choice, finished) end
  return message
end

return history
