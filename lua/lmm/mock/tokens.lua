--- The text of the mock's tokens: each byte is one, and what stands around messages and media has names as in Qwen's
--- vocabulary. The decoded body of POST /detokenize comes in; its text, or the error that vLLM would give, goes out.
local chat = require "lmm.mock.chat"
local texts = require "lmm.text"
local validation = require "lmm.mock.validation"

local tokens = {}

local NAMES = { [257] = "<|im_start|>", [258] = "<|im_end|>", [259] = "<|vision_start|>", [260] = "<|vision_end|>",
  [261] = "<|audio_pad|>", [262] = "<|image_pad|>", [263] = "<|video_pad|>" }

--- The text of a list of tokens; raises where one is none.
---@param list any[]
---@return string
function tokens.text(list)
  local pieces = {}
  for i, token in ipairs(list) do
    local is_byte = type(token) == "number" and token % 1 == 0 and token >= 0 and token < 256
    pieces[i] = is_byte and string.char(token) or NAMES[token]
      or validation.refuse(400, ("Token id %s is out of vocabulary"):format(validation.show(token)))
  end
  return texts.utf8(table.concat(pieces))
end

---@param request table  the decoded body
---@param settings lmm.mock.Settings
---@return string? text, table? problem
function tokens.detokenize(request, settings)
  return validation.try(function()
    chat.check(request, settings)
    local list = request.tokens
    if list == nil then validation.malformed("tokens", "missing", "Field required", request) end
    if not validation.is_list(list) then
      validation.malformed("tokens", "list_type", "Input should be a valid list", list)
    end
    return tokens.text(list)
  end)
end

return tokens
