--- The parts of a message and the media in them, checked as vLLM checks them: a list of parts comes in; their texts, a
--- line for each medium and the tokens are added to what was seen of the conversation, or an error is raised.
local core = require "lmm.core"
local dialects = require("lmm.request").dialects
local digest = require "openssl.digest"
local validation = require "lmm.mock.validation"

local content_parts = {}

local refuse, refuse_field, malformed_part = validation.refuse, validation.refuse_field, validation.malformed_part
local given = validation.given

-- ---- media -----------------------------------------------------------------------------------------------------

local function set(list)
  local out = {}
  for name in list:gmatch "%S+" do out[name] = true end
  return out
end

-- For each kind of part, the types of file that vLLM 0.32 decodes by FFmpeg; for pictures the dialects say what servers
-- decode, and of one that hands requests on, vLLM's does.
local HOLDS = {
  image = dialects.named("vllm").decodes,
  video = set [[video/mp4 video/quicktime video/webm video/x-matroska video/x-msvideo video/ogg video/3gpp video/3gpp2
    video/mp2t video/mpeg video/x-flv video/x-ms-wmv image/gif]],
  audio = set [[audio/wav audio/mpeg audio/flac audio/ogg audio/mp4 audio/aac audio/amr audio/amr-wb audio/x-wavpack
    audio/webm audio/x-matroska audio/quicktime audio/3gpp audio/3gpp2 audio/x-ms-wma audio/x-flv]],
}

local function decode(text)
  return core.base64.decode(text) or refuse(400, "Non-base64 digit found") -- whatever is wrong with it
end

-- A film is taken for its sound, unless its tracks are known and are pictures alone.
local function is_taken(dialect, kind, info)
  local holds = kind == "image" and dialect.decodes or HOLDS[kind]
  if holds[info.mime] then return true end
  return kind == "audio" and HOLDS.video[info.mime] and info.mime ~= "image/gif"
    and (info.has_sound or not info.has_pictures)
end

-- What the core finds in a file's bytes, which must be of the part's kind, and a picture whole.
local function inspect(seen, kind, bytes)
  local media = bytes ~= "" and core.media { bytes = bytes }
  local info = media and media:info() or {}
  if not is_taken(seen.like.dialect, kind, info) then
    if kind == "video" then refuse(400, "Could not open video stream") end
    refuse(400, string.format("Failed to load %s: cannot identify %s file <_io.BytesIO object>", kind, kind))
  end
  if kind == "image" and info.has_no_end and not bytes:find("\255\217", 1, true) then -- something may stand behind it
    refuse(400, "Failed to load image: image file is truncated (0 bytes not processed)")
  end
  return info
end

local function describe(info, mime, bytes)
  local out = { mime }
  if info.width then out[2] = string.format("%d x %d pixels", info.width, info.height) end
  out[#out + 1] = string.format("%d bytes", #bytes)
  local sum = digest.new("sha256"):final(bytes)
  out[#out + 1] = "sha256 " .. sum:gsub(".", function(byte) return string.format("%02x", byte:byte()) end)
  return table.concat(out, ", ")
end

--- What a file is, by its bytes.
function content_parts.describe(bytes)
  local info = bytes ~= "" and core.media({ bytes = bytes }):info() or {}
  return describe(info, info.mime or "of no known type", bytes)
end

local MAX_TOKENS = 16384 -- of one picture; larger ones would be made smaller

-- Tokens as a model with patches of 28 x 28 pixels would count them; a flat rate for what has no size.
local function count_tokens(info)
  if not info.width then return 64 end
  return math.min(math.ceil(info.width / 28) * math.ceil(info.height / 28), MAX_TOKENS)
end

local function receive(seen, kind, bytes)
  local info = inspect(seen, kind, bytes)
  seen.tokens = seen.tokens + count_tokens(info)
  return describe(info, info.mime, bytes)
end

-- vLLM's own form of a video: its frames as JPEG files, separated by commas.
local function receive_frames(seen, payload)
  local frames, info = {}, nil
  for frame in (payload .. ","):gmatch "([^,]*)," do
    frames[#frames + 1] = decode(frame)
    local next_info = inspect(seen, "image", frames[#frames])
    info = info or next_info
    if next_info.width ~= info.width or next_info.height ~= info.height then
      refuse(400, "all input arrays must have the same shape")
    end
    seen.tokens = seen.tokens + count_tokens(info)
  end
  return describe(info, string.format("%d frames of %s", #frames, info.mime), table.concat(frames))
end

-- Each takes what follows the scheme of a URL and gives what the answer says of the medium.
local SCHEMES = {
  data = function(seen, kind, rest)
    local comma = rest:find(",", 1, true)
      or refuse(400, string.format("Invalid data URL 'data:%s': missing ',' separator.", rest:sub(1, 27)))
    local spec, payload = rest:sub(1, comma - 1), rest:sub(comma + 1)
    if spec:match ";([^;]*)$" ~= "base64" then refuse(501, "Only base64 data URLs are supported for now.") end
    if kind == "video" and spec:find "^video/jpeg;" then return receive_frames(seen, payload) end
    return receive(seen, kind, decode(payload))
  end,
  http = function(seen, _, _, url)
    if seen.like.dialect.fetches == false then -- in Ollama's words
      refuse(400, "image URLs are not currently supported, please use base64 encoded data instead")
    end
    return "by URL " .. url
  end,
  file = function() refuse(500, "Cannot load local files without `--allowed-local-media-path`.") end,
}
SCHEMES.https = SCHEMES.http

local function fetch(seen, kind, url)
  if url == "" then
    local name = "['" .. kind .. "'][0]"
    refuse(400, "multi_modal_data" .. name .. " is empty but multi_modal_uuids" .. name .. " is missing.")
  end
  local scheme, rest = url:match "^(%a[%w+.-]*):()"
  local take = scheme and SCHEMES[scheme:lower()]
  if not take then refuse(400, "The URL must be either a HTTP, data or file URL.") end
  return take(seen, kind, url:sub(rest), url)
end

-- Counts a medium before it is inspected, as vLLM does: over the whole conversation, whatever the turn. In a tool's
-- message not every server takes one.
local function claim(seen, kind)
  if seen.role == "tool" and seen.like.dialect.tool_media == "user" then -- in OpenAI's words
    refuse(400, "Image URLs are only allowed for messages with role 'user', but this message with role 'tool' contains "
      .. "an image URL.")
  end
  local count, limit = (seen.count[kind] or 0) + 1, seen.limits[kind]
  if limit and count > limit then
    refuse(400, string.format("At most %d %s(s) may be provided in one prompt. (parameter=%s)", limit, kind, kind),
      { param = kind })
  end
  seen.count[kind] = count
end

-- What stands for a medium in a prompt, as in Qwen2-VL's vocabulary if that began with the bytes: it starts, four
-- pads, it ends.
local START, END = 259, 260
local PADS = { image = 262, video = 263, audio = 261, file = 261 }

local function add_media(seen, kind, line)
  local pad = PADS[kind]
  for _, id in ipairs { START, pad, pad, pad, pad, END } do seen.ids[#seen.ids + 1] = id end
  seen.lines[#seen.lines + 1] = string.format("%s %d: %s", kind, seen.count[kind], line)
end

-- ---- content parts ---------------------------------------------------------------------------------------------

local DETAILS = { auto = true, low = true, high = true, original = true }
local DETAIL_WANTED = "Input should be 'auto', 'low', 'high' or 'original'"

-- What a part must be for vLLM to look at a list at all: one such part is enough. Bare strings, input_text and
-- output_text are taken beside one, and refused alone.
local function is_medium(field)
  return function(part)
    local medium = part[field]
    if medium == nil then return given(part.uuid) ~= nil end
    if type(medium) ~= "table" then return true end
    local detail = medium.detail
    if type(medium.url) ~= "string" then return given(part.uuid) ~= nil end
    return detail == nil or DETAILS[detail] == true
  end
end

local function has_text(field)
  return function(part) return type(part[field]) == "string" end
end

local WELL_FORMED = {
  text = has_text "text",
  refusal = has_text "refusal",
  thinking = has_text "thinking",
  image_url = is_medium "image_url",
  video_url = is_medium "video_url",
  audio_url = is_medium "audio_url",
  input_image = has_text "image_url",
  input_audio = function(part)
    local audio = part.input_audio
    return type(audio) == "table" and type(audio.data) == "string" and type(audio.format) == "string"
  end,
  file = function(part) return type(part.file) == "table" end,
}

--- Whether a part is { type = t, [t] = { data = base64 } }.
local function has_data(part)
  local medium = part[part.type]
  return type(medium) == "table" and type(medium.data) == "string"
end

local function is_well_formed(seen, part)
  if type(part) ~= "table" then return false end
  local check = WELL_FORMED[part.type] or seen.like.by_data[part.type] and has_data
  if check then return check(part) end
  return part.type == nil and (type(part.image_url) == "string" or given(part.uuid) ~= nil)
end

--- Takes a text of this message.
function content_parts.add_text(seen, text)
  seen.words[#seen.words + 1] = text
  seen.ids[#seen.ids + 1] = text
end

local function text_part(field)
  return function(seen, part) content_parts.add_text(seen, part[field]) end
end

-- A part { type = field, field = { url = ... } }. With a uuid the medium may be left to the server's cache, or be the
-- URL itself; what the cache has wins over what came.
local function url_part(kind, field, type_name)
  return function(seen, part)
    local medium = given(part[field])
    local uuid = given(part.uuid)
    if uuid and part[field] == nil then refuse_field("type", "Missing 'type' field in multimodal part.") end
    claim(seen, kind)
    local key = uuid and kind .. " " .. uuid
    local kept = key and seen.cache:get(key)
    if uuid and not kept and (medium == nil or type(medium) == "table" and medium.url == nil) then
      refuse(400, string.format("Cache miss for %s at index %d but data is not provided.", kind, seen.count[kind] - 1))
    end
    local url = type(medium) == "table" and medium.url or uuid and medium
    if not kept and type(url) ~= "string" then
      malformed_part(type_name, field, "dict_type", "Input should be a valid dictionary")
    end
    local before = seen.tokens
    local line = kept and kept.line or fetch(seen, kind, url)
    if kept then seen.tokens = seen.tokens + kept.tokens end
    if key then seen.cache:put(key, { line = line, tokens = seen.tokens - before }) end
    add_media(seen, kind, line)
  end
end

local PARTS = {
  text = text_part "text",
  input_text = text_part "text",
  output_text = text_part "text",
  refusal = text_part "refusal",
  thinking = text_part "thinking",
  image_url = url_part("image", "image_url", "ChatCompletionContentPartImageParam"),
  video_url = url_part("video", "video_url", "ChatCompletionContentPartVideoParam"),
  audio_url = url_part("audio", "audio_url", "ChatCompletionContentPartAudioParam"),
  input_image = function(seen, part)
    if part.detail == nil then malformed_part("ResponseInputImageParam", "detail", "missing", "Field required") end
    if type(part.image_url) ~= "string" then
      malformed_part("ResponseInputImageParam", "image_url", "string_type", "Input should be a valid string")
    end
    if not DETAILS[part.detail] then
      malformed_part("ResponseInputImageParam", "detail", "literal_error", DETAIL_WANTED)
    end
    claim(seen, "image")
    add_media(seen, "image", fetch(seen, "image", part.image_url))
  end,
  input_audio = function(seen, part)
    if not WELL_FORMED.input_audio(part) then
      malformed_part("ChatCompletionContentPartInputAudioParam", "input_audio", "missing", "Field required")
    end
    claim(seen, "audio")
    add_media(seen, "audio", receive(seen, "audio", decode(part.input_audio.data)))
  end,
}

--- OpenAI's form of a file, which is of any type.
local function read_file(seen, part)
  local url = part.file.file_data
  local base64 = type(url) == "string" and url:match "^data:[^,]*;base64,(.*)$"
  if not base64 then refuse(400, "Invalid file data: 'file_id' or 'file_data' with base64 is needed.") end
  claim(seen, "file")
  seen.tokens = seen.tokens + count_tokens {}
  add_media(seen, "file", content_parts.describe(decode(base64)))
end

--- A part of a type that servers other than vLLM take.
local function read_by_data(seen, part)
  if not has_data(part) then refuse(400, part.type .. " is needed with its data, in base64") end
  local kind = seen.like.by_data[part.type]
  claim(seen, kind)
  add_media(seen, kind, receive(seen, kind, decode(part[part.type].data)))
end

local SUPPORTED = "audio_embeds, audio_url, image_embeds, image_pil, image_url, input_audio, input_image, input_text, "
  .. "output_text, prompt_embeds, refusal, text, thinking, tool_reference, video_embeds, video_url"

local function read_part(seen, part)
  if type(part) == "string" then return content_parts.add_text(seen, part) end
  if type(part) ~= "table" then
    malformed_part("ValidatorIterator", "0", "dict_type", "Input should be a valid dictionary")
  end
  if part.type == nil and type(part.image_url) == "string" then
    claim(seen, "image")
    add_media(seen, "image", fetch(seen, "image", part.image_url))
    return
  end
  if type(part.type) ~= "string" then refuse_field("type", "Missing 'type' field in multimodal part.") end
  seen.like.check(part)
  local read = PARTS[part.type] or part.type == "file" and seen.like.takes_files and read_file
    or seen.like.by_data[part.type] and read_by_data or refuse_field("type", string.format(
    "Unsupported chat content part type: '%s'. Supported types: %s.", part.type, SUPPORTED), part.type)
  read(seen, part)
end

--- Says of a list without one well-formed part what is wrong with the first.
function content_parts.refuse(part)
  local function wrong(place, kind, what) malformed_part("ValidatorIterator", "0" .. place, kind, what) end
  if type(part) ~= "table" then wrong("", "dict_type", "Input should be a valid dictionary") end
  if part.type == nil then wrong(".type", "missing", "Field required") end
  if not WELL_FORMED[part.type] then wrong(".type", "literal_error", "Input should be 'text'") end
  local field = part[part.type] ~= nil and part.type or part.type == "input_image" and "image_url" or part.type
  local medium = part[field]
  if medium == nil then wrong("." .. field, "missing", "Field required") end
  if type(medium) ~= "table" then wrong("." .. field, "string_type", "Input should be a valid string") end
  if medium.detail ~= nil then wrong("." .. field .. ".detail", "literal_error", DETAIL_WANTED) end
  wrong("." .. field .. (part.type == "input_audio" and "" or ".url"), "missing", "Field required")
end

--- Reads the list of parts that a message holds.
---@param seen lmm.mock.Seen
function content_parts.read(seen, list)
  local usable = #list == 0
  for _, part in ipairs(list) do usable = usable or is_well_formed(seen, part) end
  if not usable then content_parts.refuse(list[1]) end
  for _, part in ipairs(list) do read_part(seen, part) end
end

return content_parts
