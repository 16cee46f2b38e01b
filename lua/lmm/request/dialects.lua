--- How a part is written for the server: the content parts of the OpenAI API as vLLM takes them. A part comes in, the
--- typed object form goes out, the only one that every server takes.
local core = require "lmm.core"
local errors = require "lmm.errors"

local dialect = {}

local function data_url(part)
  return part.url or core.embed("data:" .. part.mime .. ";base64,", part.media)
end

--- { type, [type] = { url, ...names } }, the names among the part's options that belong inside.
local function by_url(kind, inside)
  return function(part)
    local is_known = not part.url and not part.media -- by its uuid, which stands beside
    local content = { type = kind, [kind] = is_known and core.null or { url = data_url(part) } }
    if is_known then return content, inside end
    for _, name in ipairs(inside) do content[kind][name] = part.options[name] end
    return content, inside
  end
end

local audio_url = by_url("audio_url", {})

local writers = {
  image = by_url("image_url", { "detail" }),
  video = by_url("video_url", {}),
  --- Named by its `format`, audio goes as OpenAI itself and llama-server take it.
  audio = function(part)
    if not part.options.format then return audio_url(part) end
    local input = { data = core.embed("", part.media), format = part.options.format }
    return { type = "input_audio", input_audio = input }, { "format" }
  end,
  file = function(part)
    local name = part.options.filename or part.filename
    return { type = "file", file = { filename = name, file_data = data_url(part) } }, { "filename" }
  end,
}

--- The content part for `part`, a table for core.write. The part's options that do not belong inside stand beside it.
function dialect.content(part)
  local content, inside = writers[part.kind](part)
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
