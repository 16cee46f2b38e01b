--- How a part is written for the server: the field names of the OpenAI API as vLLM takes them.
local dialect = {}

local fields = { image = "image_url" }

--- The content part for `part` in the typed object form, the only one that every server takes. `embed(media)` gives
--- what stands for the media's base64 until the body is built.
function dialect.content(part, embed)
  local field = fields[part.kind]
  local content = {}
  for name, value in pairs(part.options) do content[name] = value end
  content.type, content.detail = field, nil
  content[field] = {
    url = part.url or "data:" .. part.mime .. ";base64," .. embed(part.media),
    detail = part.options.detail,
  }
  return content
end

return dialect
