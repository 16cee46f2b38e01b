--- A transcription without a model: the fields of a form come in; the text that says what was received, or the error
--- that vLLM would give, goes out.
local content_parts = require "lmm.mock.content_parts"
local multipart = require "lmm.mock.multipart"
local validation = require "lmm.mock.validation"

local transcription = {}

local MAX_FILE = 25 * 1024 * 1024 -- bytes, as vLLM has it

local function read(request, settings)
  local file, lines = nil, {}
  for _, field in ipairs(multipart.read(request.body, request.headers["content-type"] or "")) do
    if field.name == "file" then file = field.filename and field or nil end
    if field.name == "model" and field.value ~= settings.model then
      validation.refuse(404, ("The model `%s` does not exist."):format(field.value), { param = "model" })
    end
    if field.filename == nil then
      lines[#lines + 1] = field.name .. ": " .. field.value
    elseif field.name == "file" and #field.value > MAX_FILE then
      validation.refuse(400, "Maximum file size exceeded")
    else
      lines[#lines + 1] = ("%s: %s, %s, %s"):format(field.name, field.filename, field.type,
        content_parts.describe(field.value))
    end
  end
  if not file then validation.malformed("file", "missing", "Field required") end
  return table.concat(lines, "\n")
end

--- What a form holds: a line for each field, and of a file its name, the type that the form says, the bytes' own, how
--- many they are, and their digest.
---@param request lmm.mock.Request
---@param settings lmm.mock.Settings
---@return string? text
---@return table? problem
function transcription.read(request, settings)
  return validation.try(function() return read(request, settings) end)
end

return transcription
