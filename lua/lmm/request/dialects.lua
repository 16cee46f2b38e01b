--- How a part is written for the server: the content parts of the OpenAI API as vLLM takes them. A part comes in, the
--- typed object form goes out, the only one that every server takes.
local errors = require "lmm.errors"

local dialect = {}

local function data_url(part, embed)
  return part.url or "data:" .. part.mime .. ";base64," .. embed(part.media)
end

--- { type, [type] = { url, ...names } }, the names among the part's options that belong inside.
local function by_url(kind, inside)
  return function(part, embed)
    local content = { type = kind, [kind] = { url = data_url(part, embed) } }
    for _, name in ipairs(inside) do content[kind][name] = part.options[name] end
    return content, inside
  end
end

local audio_url = by_url("audio_url", {})

local writers = {
  image = by_url("image_url", { "detail" }),
  video = by_url("video_url", {}),
  --- Named by its `format`, audio goes as OpenAI itself and llama-server take it.
  audio = function(part, embed)
    if not part.options.format then return audio_url(part, embed) end
    local input = { data = embed(part.media), format = part.options.format }
    return { type = "input_audio", input_audio = input }, { "format" }
  end,
  file = function(part, embed)
    local name = part.options.filename or part.filename
    return { type = "file", file = { filename = name, file_data = data_url(part, embed) } }, { "filename" }
  end,
}

--- The content part for `part`. `embed(media)` gives what stands for the media's base64 until the body is built. The
--- part's options that do not belong inside stand beside it.
function dialect.content(part, embed)
  local content, inside = writers[part.kind](part, embed)
  local used = {}
  for _, name in ipairs(inside) do used[name] = true end
  for name, value in pairs(part.options) do
    if not used[name] then
      if content[name] ~= nil then
        local message = ("the option '%s' of the %s is written by lmm itself"):format(name, part.kind)
        error(errors.new { kind = "invalid", message = message }, 0)
      end
      content[name] = value
    end
  end
  return content
end

return dialect
