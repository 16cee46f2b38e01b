--- How a part is written for a server: a part and the server's dialect come in; the typed object form goes out, the
--- only one that every server takes. A part that the server cannot take is refused here, before anything is sent.
local core = require "lmm.core"
local errors = require "lmm.errors"
local types = require "lmm.types"

local content = {}

local function refuse(format, ...)
  error(errors.new { kind = "invalid", message = format:format(...) }, 0)
end

---@param tap userdata?  that is to see the bytes, see lmm.digest
local function data_url(part, tap)
  if part.frames then
    local frames = {}
    for i, frame in ipairs(part.frames) do frames[i] = frame.media end
    return core.embed("data:" .. part.mime .. ";base64,", frames, tap)
  end
  return part.url or core.embed("data:" .. part.mime .. ";base64,", part.media, tap)
end

--- The object within a part that holds a URL; a null where the server knows the medium by its uuid, which stands
--- beside. The options of `used` do not go beside it, and those that are true there go inside.
local function by_url(used)
  return function(part, tap)
    if not part.url and not part.media and not part.frames then return core.null, used end
    local value = { url = data_url(part, tap) }
    for name, is_inside in pairs(used) do value[name] = is_inside and part.options[name] or nil end
    return value, used
  end
end

--- The object within a part that holds base64.
local function by_data(inside, more)
  return function(part, tap)
    local value = { data = core.embed("", part.media, tap) }
    if more then more(value, part) end
    return value, inside
  end
end

--- The forms of parts, by their `type`: each gives what stands in the part under that name, and the names of the part's
--- options that are used there. The others stand beside it.
local writers = {
  image_url = by_url { detail = true },
  video_url = by_url {},
  audio_url = by_url { format = false }, -- which the bytes tell
  input_audio = by_data({ format = true }, function(value, part)
    value.format = part.options.format or types.format(part.mime)
  end),
  input_video = by_data {},
  file = function(part, tap)
    return { filename = part.options.filename or part.filename, file_data = data_url(part, tap) }, { filename = true }
  end,
}

--- Whether parts have a form of this name.
---@param form any
---@return boolean
function content.is_form(form)
  return writers[form] ~= nil
end

--- The forms where the dialect says nothing else.
local usual = { image = "image_url", video = "video_url", audio = "audio_url", file = "file" }

local names = { image = "pictures", video = "video", audio = "audio", file = "files" }

local advice = {
  image = "ask a model server that does", video = "send some of its frames as pictures",
  audio = "transcribe it first, see client:transcribe",
  file = "send text as text, and the pages of a PDF as pictures, by lmm.pages",
}

--- What the part is called in a message.
local function name_of(part)
  return part.filename and "'" .. part.filename .. "'" or "the " .. part.kind
end

--- Refuses what the server is known not to decode.
local function check_type(part, dialect)
  if part.kind ~= "image" or not part.media or part.is_unchecked or dialect.decodes[part.mime] then return end
  refuse("%s is %s, which %s does not decode: PNG and JPEG are taken everywhere (check = false sends it as it is)",
    name_of(part), types.describe(part.mime), dialect.title)
end

--- The form that a part takes, its `type`. What the caller named the format of goes as input_audio, unless the
--- dialect has another form for audio.
---@param part lmm.Part
---@param dialect lmm.Dialect?
---@return string
function content.form(part, dialect)
  local form = usual[part.kind]
  local own = dialect and dialect.forms and dialect.forms[part.kind]
  if own == false then
    refuse("%s cannot be sent: %s takes no %s (%s)", name_of(part), dialect.title, names[part.kind], advice[part.kind])
  end
  if part.kind == "audio" and part.options.format and not own then return "input_audio" end
  if part.frames and own and own ~= form then
    refuse("%s cannot be sent: %s takes no video of frames: send them as pictures", name_of(part), dialect.title)
  end
  if part.url and own and own:find "^input_" then
    refuse("%s cannot be sent: %s fetches no %s by its URL: read it and pass { bytes = ... }", name_of(part),
      dialect.title, names[part.kind])
  end
  return own or form
end

--- Refuses what this server would not find.
local function check_source(part, dialect)
  local has_source = part.url or part.media or part.frames
  if not has_source and not dialect.caches and dialect.name ~= "generic" then
    refuse("%s keeps no media under a uuid: pass the %s itself", dialect.title, part.kind)
  end
  if dialect.fetches == false and part.kind == "image" and part.url then
    refuse("%s cannot be sent: %s fetches nothing: read it and pass { bytes = ... }", name_of(part), dialect.title)
  end
end

--- The content part for `part`, a table for core.write.
---@param part lmm.Part
---@param dialect lmm.Dialect?
---@param tap userdata?  that is to see the part's bytes
---@return table
function content.of(part, dialect, tap)
  local form = content.form(part, dialect)
  if dialect then check_source(part, dialect) end
  if dialect and dialect.decodes then check_type(part, dialect) end
  local value, used = writers[form](part, tap)
  local out = { type = form, [form] = value }
  for name, option in pairs(part.options) do
    if used[name] == nil then
      if out[name] ~= nil then refuse("the option '%s' of the %s is written by lmm itself", name, part.kind) end
      out[name] = option
    end
  end
  return out
end

return content
