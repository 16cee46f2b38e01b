--- A transcription without a model: the fields of a form come in; the text that says what was received and how it is to
--- be answered, or the error that vLLM would give, goes out.
local content_parts = require "lmm.mock.content_parts"
local multipart = require "lmm.mock.multipart"
local validation = require "lmm.mock.validation"

local transcription = {}

local MAX_FILE = 25 * 1024 * 1024 -- bytes, as vLLM has it

local FORMATS = { text = true, json = true, verbose_json = true }

-- How the fields of a form ask for the answer; raises where it cannot be so.
local function form_of(fields)
  local format, is_streamed = fields.response_format or "json", fields.stream == "true"
  if not FORMATS[format] then
    validation.refuse(400, "Currently only support response_format: `text`, `json` or `verbose_json`")
  elseif is_streamed and format == "verbose_json" then
    validation.refuse(400, "verbose_json format doesn't support streaming case")
  end
  return { is_verbose = format == "verbose_json", is_streamed = is_streamed,
    has_usage = fields.stream_include_usage == "true" }
end

local function read(request, settings)
  local file, lines, values = nil, {}, {}
  for _, field in ipairs(multipart.read(request.body, request.headers["content-type"] or "")) do
    if field.name == "file" then file = field.filename and field or nil end
    if field.name == "model" and field.value ~= settings.model then
      validation.refuse(404, ("The model `%s` does not exist."):format(field.value), { param = "model" })
    end
    if field.filename == nil then
      values[field.name] = field.value
      lines[#lines + 1] = field.name .. ": " .. field.value
    elseif field.name == "file" and #field.value > MAX_FILE then
      validation.refuse(400, "Maximum file size exceeded")
    else
      lines[#lines + 1] = ("%s: %s, %s, %s"):format(field.name, field.filename, field.type,
        content_parts.describe(field.value))
    end
  end
  if not file then validation.malformed("file", "missing", "Field required") end
  local form = form_of(values)
  form.text = table.concat(lines, "\n")
  return form
end

--- What a form holds: a line for each field, and of a file its name, the type that the form says, the bytes' own, how
--- many they are, and their digest.
---@param request lmm.http.Request
---@param settings lmm.mock.Settings
---@return { text: string, is_verbose: boolean, is_streamed: boolean, has_usage: boolean }?
---@return table? problem
function transcription.read(request, settings)
  return validation.try(function() return read(request, settings) end)
end

return transcription
