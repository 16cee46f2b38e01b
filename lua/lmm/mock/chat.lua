--- What a chat request says, checked as vLLM checks it, and the answer that tells what arrived.
--
-- In:  the decoded body of POST /v1/chat/completions.
-- Out: the answer's text with its token counts, or the error that vLLM would give: { status, message, type?, param? }.

local core = require "lmm.core"
local json = require "lmm.json"
local digest = require "openssl.digest"

local M = {}

local function refuse(status, message, fields)
  local problem = fields or {}
  problem.status, problem.message = status, message
  error(problem, 0)
end

local function given(value)
  if value == json.null then return nil end
  return value
end

local function is_list(value)
  return type(value) == "table" and (value[1] ~= nil or next(value) == nil)
end

-- What was found in the place of something else, as the messages show it.
local function show(value)
  if type(value) == "table" then
    local count = 0
    for _ in pairs(value) do count = count + 1 end
    return string.format("<%s of %d items>", value[1] ~= nil and "list" or "dict", count)
  end
  if type(value) == "boolean" then return value and "True" or "False" end
  if type(value) == "number" then return string.format("%.14g", value) end
  return given(value) or "None"
end

-- Text in quotes as Python writes it.
local function quote(text)
  if text:find("'", 1, true) and not text:find('"', 1, true) then return '"' .. text .. '"' end
  return "'" .. text:gsub("'", "\\'") .. "'"
end

-- The body has not the form that the API's schema asks for. The message has several lines, as pydantic writes it; where
-- pydantic lists all that would have been allowed, only the first stands here.
local function malformed(param, kind, what, found)
  local place = param and "body." .. param or "body"
  local message = string.format("1 validation error:\n  {'type': '%s', 'loc': '%s', 'msg': %s, 'input': %s}", kind,
    place, quote(what), quote(show(found)))
  refuse(400, message, { type = "Bad Request", param = place })
end

-- A part has not that form. vLLM finds out later, when it looks at the parts, and says it in another way.
local function malformed_part(type_name, place, kind, what)
  refuse(400, string.format("1 validation error for %s\n%s\n  %s [type=%s]\n    For further information visit "
    .. "https://errors.pydantic.dev/2.14/v/%s", type_name, place, what, kind, kind))
end

-- A value that the model's own checks refuse; `value` is shown where vLLM shows it.
local function refuse_field(name, message, value)
  local shown = value ~= nil and ", value=" .. value or ""
  refuse(400, string.format("%s (parameter=%s%s)", message, name, shown), { param = name })
end

-- ---- media -----------------------------------------------------------------------------------------------------

-- For each kind of part, the types of file that it may hold. Audio comes in video's containers, too.
local HOLDS = {
  image = { "^image/" },
  video = { "^video/", "^image/gif$" },
  audio = { "^audio/", "^video/" },
}

local function decode(text)
  return core.base64.decode(text) or refuse(400, "Non-base64 digit found") -- whatever is wrong with it
end

-- The core's view of a file's bytes, which must be of the part's kind.
local function look(kind, bytes)
  local media = bytes ~= "" and core.media { bytes = bytes }
  local info = media and media:info() or {}
  for _, pattern in ipairs(HOLDS[kind]) do
    if (info.mime or ""):find(pattern) then return info end
  end
  if kind == "video" then refuse(400, "Could not open video stream") end
  refuse(400, string.format("Failed to load %s: cannot identify %s file <_io.BytesIO object>", kind, kind))
end

local function describe(info, mime, bytes)
  local out = { mime }
  if info.width then out[2] = string.format("%d x %d pixels", info.width, info.height) end
  out[#out + 1] = string.format("%d bytes", #bytes)
  local sum = digest.new("sha256"):final(bytes)
  out[#out + 1] = "sha256 " .. sum:gsub(".", function(byte) return string.format("%02x", byte:byte()) end)
  return table.concat(out, ", ")
end

-- Tokens as a model with patches of 28 x 28 pixels would count them; a flat rate for what has no size.
local function count_tokens(info)
  if not info.width then return 64 end
  return math.ceil(info.width / 28) * math.ceil(info.height / 28)
end

local function receive(seen, kind, bytes)
  local info = look(kind, bytes)
  seen.tokens = seen.tokens + count_tokens(info)
  return describe(info, info.mime, bytes)
end

-- vLLM's own form of a video: its frames as JPEG files, separated by commas.
local function receive_frames(seen, payload)
  local frames, info = {}, nil
  for frame in (payload .. ","):gmatch "([^,]*)," do
    frames[#frames + 1] = decode(frame)
    local next_info = look("image", frames[#frames])
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
  http = function(_, _, _, url) return "by URL " .. url end,
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

-- Counts a medium before it is looked at, as vLLM does: over the whole conversation, whatever the turn.
local function claim(seen, kind)
  local count, limit = (seen.count[kind] or 0) + 1, seen.limits[kind]
  if limit and count > limit then
    refuse(400, string.format("At most %d %s(s) may be provided in one prompt. Set `--limit-mm-per-prompt` to increase "
      .. "this limit. (parameter=%s)", limit, kind, kind), { param = kind })
  end
  seen.count[kind] = count
end

local function add_media(seen, kind, line)
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

local function is_well_formed(part)
  if type(part) ~= "table" then return false end
  local check = WELL_FORMED[part.type]
  if check then return check(part) end
  return part.type == nil and (type(part.image_url) == "string" or given(part.uuid) ~= nil)
end

local function text_part(field)
  return function(seen, part) seen.words[#seen.words + 1] = part[field] end
end

-- A part { type = field, field = { url = ... } }. With a uuid the medium may be left to the server's cache, or be the
-- URL itself.
local function url_part(kind, field, type_name)
  return function(seen, part)
    local medium = given(part[field])
    local uuid = given(part.uuid)
    if uuid and part[field] == nil then refuse_field("type", "Missing 'type' field in multimodal part.") end
    claim(seen, kind)
    if uuid and (medium == nil or type(medium) == "table" and medium.url == nil) then
      refuse(400, string.format("Cache miss for %s at index %d but data is not provided.", kind, seen.count[kind] - 1))
    end
    local url = type(medium) == "table" and medium.url or uuid and medium
    if type(url) ~= "string" then
      malformed_part(type_name, field, "dict_type", "Input should be a valid dictionary")
    end
    add_media(seen, kind, fetch(seen, kind, url))
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

local SUPPORTED = "audio_embeds, audio_url, image_embeds, image_pil, image_url, input_audio, input_image, input_text, "
  .. "output_text, prompt_embeds, refusal, text, thinking, tool_reference, video_embeds, video_url"

local function read_part(seen, part)
  if type(part) == "string" then
    seen.words[#seen.words + 1] = part
    return
  end
  if type(part) ~= "table" then
    malformed_part("ValidatorIterator", "0", "dict_type", "Input should be a valid dictionary")
  end
  if part.type == nil and type(part.image_url) == "string" then
    claim(seen, "image")
    add_media(seen, "image", fetch(seen, "image", part.image_url))
    return
  end
  if type(part.type) ~= "string" then refuse_field("type", "Missing 'type' field in multimodal part.") end
  local read = PARTS[part.type] or refuse_field("type", string.format(
    "Unsupported chat content part type: '%s'. Supported types: %s.", part.type, SUPPORTED), part.type)
  read(seen, part)
end

-- Says of a list without one well-formed part what is wrong with the first.
local function refuse_parts(part)
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

local function read_parts(seen, list)
  local usable = #list == 0
  for _, part in ipairs(list) do usable = usable or is_well_formed(part) end
  if not usable then refuse_parts(list[1]) end
  for _, part in ipairs(list) do read_part(seen, part) end
end

-- ---- messages --------------------------------------------------------------------------------------------------

local function count_words(text)
  local _, count = text:gsub("%S+", "")
  return count
end

local function read_message(seen, message, place)
  place = place .. ".ChatCompletionDeveloperMessageParam" -- the first of the forms that a message may have
  if type(message) ~= "table" then malformed(place, "dict_type", "Input should be a valid dictionary", message) end
  if message.role == nil then malformed(place .. ".role", "missing", "Field required", message) end
  if type(message.role) ~= "string" then
    malformed(place .. ".role", "literal_error", "Input should be 'developer'", message.role)
  end
  local content = message.content
  seen.words = {}
  if type(content) == "string" then
    seen.words[1] = content
  elseif is_list(content) then
    read_parts(seen, content)
  elseif type(content) == "table" then
    refuse_parts(next(content))
  elseif content ~= nil and not (content == json.null and message.role == "assistant") then
    malformed(place .. ".content", "string_type", "Input should be a valid string", content)
  end
  local text = table.concat(seen.words, " ")
  seen.tokens = seen.tokens + count_words(text) + 4
  if message.role == "user" then seen.question, seen.turns = text, seen.turns + 1 end
end

-- ---- the request's other fields --------------------------------------------------------------------------------

local DICTIONARY = "Input should be a valid dictionary or object to extract fields from"

-- A field that is a number, or a text of one.
local function number(request, name)
  local value = given(request[name])
  if value == nil or type(value) == "boolean" then return value and 1 end
  local found = type(value) ~= "table" and tonumber(value)
  if not found then
    malformed(name, "float_parsing", "Input should be a valid number, unable to parse string as a number", value)
  end
  return found
end

local function integer(request, name)
  local value = given(request[name])
  if type(value) == "string" and not value:find "^%s*[-+]?%d+%s*$" then
    malformed(name, "int_parsing", "Input should be a valid integer, unable to parse string as an integer", value)
  end
  local found = number(request, name)
  if found and found % 1 ~= 0 then
    malformed(name, "int_from_float", "Input should be a valid integer, got a number with a fractional part", found)
  end
  return found
end

local function check_stream_options(request)
  local stream_options = given(request.stream_options)
  if stream_options == nil then return end
  if type(stream_options) ~= "table" then
    malformed("stream_options", "model_attributes_type", DICTIONARY, stream_options)
  end
  if next(stream_options) ~= nil and request.stream ~= true then
    refuse_field("stream_options", "Stream options can only be defined when `stream=True`.")
  end
end

local function check_tool(tool, place)
  if type(tool) ~= "table" then malformed(place, "model_attributes_type", DICTIONARY, tool) end
  local fn = tool["function"]
  place = place .. ".function"
  if fn == nil then malformed(place, "missing", "Field required", tool) end
  if type(fn) ~= "table" then malformed(place, "model_attributes_type", DICTIONARY, fn) end
  if type(fn.name) ~= "string" then malformed(place .. ".name", "missing", "Field required", fn) end
end

-- Tools are as without a parser for them.
local function check_tools(request)
  local tools, choice = given(request.tools), given(request.tool_choice)
  if tools == nil then
    if choice ~= nil and choice ~= "none" then
      refuse_field("tool_choice", "When using `tool_choice`, `tools` must be set.")
    end
    return
  end
  if not is_list(tools) then malformed("tools", "list_type", "Input should be a valid list", tools) end
  if #tools == 0 then
    refuse_field("tools",
      "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.")
  end
  for i, tool in ipairs(tools) do check_tool(tool, "tools." .. i - 1) end
  if choice == "none" or request.tool_choice == json.null then return end
  if choice == nil or choice == "auto" then
    refuse(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
  elseif choice == "required" then
    refuse(400, 'tool_choice="required" requires --tool-call-parser to be set')
  elseif type(choice) ~= "table" then
    refuse_field("tool_choice", "Invalid value for `tool_choice`: " .. show(choice)
      .. '! Only named tools, "none", "auto" or "required" are supported.')
  end
  local wanted = type(choice["function"]) == "table" and choice["function"].name
  for _, tool in ipairs(tools) do
    if tool["function"].name == wanted then
      refuse(400, string.format('tool_choice=function "%s" requires --tool-call-parser to be set', wanted))
    end
  end
  refuse_field("tool_choice", "The tool specified in `tool_choice` does not match any of the specified `tools`")
end

local function refuse_number(name, wanted, value)
  local shown = value % 1 == 0 and string.format("%.1f", value) or string.format("%.14g", value)
  refuse_field(name, string.format("%s must be %s, got %s.", name, wanted, shown), shown)
end

-- How the answer is to be drawn. Gives the limit of its tokens.
local function check_sampling(request)
  local temperature, top_p, n = number(request, "temperature"), number(request, "top_p"), integer(request, "n")
  local limit = integer(request, "max_tokens")
  limit = integer(request, "max_completion_tokens") or limit
  if n and n < 1 then refuse(400, string.format("n must be at least 1, got %d.", n)) end
  if temperature and temperature < 0 then refuse_number("temperature", "non-negative", temperature) end
  if temperature and temperature > 2 then refuse_number("temperature", "in [0, 2]", temperature) end
  if top_p and not (top_p > 0 and top_p <= 1) then refuse_number("top_p", "in (0, 1]", top_p) end
  if limit and limit < 1 then
    local shown = string.format("%d", limit) -- under this name, whichever the request has
    refuse_field("max_tokens", "max_tokens must be at least 1, got " .. shown .. ".", shown)
  end
  if n and n > 1 and temperature == 0 then
    refuse(400, string.format("n must be 1 when using greedy sampling, got %d.", n))
  end
  return limit
end

local function check_response_format(request)
  local format = given(request.response_format)
  if type(format) == "table" and format.type == "json_schema" and given(format.json_schema) == nil then
    refuse_field("response_format",
      "When response_format type is 'json_schema', the 'json_schema' field must be provided.")
  end
end

local function check_model(request, model)
  local wanted = given(request.model)
  if wanted ~= nil and type(wanted) ~= "string" then
    malformed("model", "string_type", "Input should be a valid string", wanted)
  end
  if wanted and wanted ~= "" and wanted ~= model then
    refuse(404, string.format("The model `%s` does not exist. Valid aliases: %s.", wanted, model), { param = "model" })
  end
end

-- ---- what comes out --------------------------------------------------------------------------------------------

--- Checks a request and composes the answer: a line for each medium of the conversation, the question, and which turn
--- of the conversation it is.
---@param request table  the decoded body, nulls included
---@param model string   the only one there is
---@param limits table<string, integer>?  how many of each kind of media a prompt may hold; no limit where none is given
---@return { text: string, prompt: integer, limit: integer? }? answer  prompt: tokens; limit: of the answer's tokens
---@return table? problem
function M.read(request, model, limits)
  local seen = { limits = limits or {}, lines = {}, count = {}, tokens = 0, turns = 0, question = "" }
  local limit
  local ok, problem = pcall(function()
    if given(request) == nil then malformed(nil, "missing", "Field required", request) end
    if type(request) ~= "table" or request[1] ~= nil then
      malformed(nil, "model_attributes_type", DICTIONARY, request)
    end
    local messages = request.messages
    if messages == nil then malformed("messages", "missing", "Field required", request) end
    if messages == json.null then refuse(400, "'NoneType' object is not iterable") end
    if not is_list(messages) then malformed("messages", "list_type", "Input should be a valid list", messages) end
    check_stream_options(request)
    check_tools(request)
    check_response_format(request)
    check_model(request, model)
    if #messages == 0 then
      refuse(400, "Cannot apply chat template to an empty conversation. Provide at least one message.")
    end
    for i, message in ipairs(messages) do read_message(seen, message, "messages." .. i - 1) end
    limit = check_sampling(request)
  end)
  if not ok then
    if type(problem) == "table" then return nil, problem end
    error(problem, 0)
  end

  local lines = seen.lines
  lines[#lines + 1] = "question: " .. seen.question
  if seen.turns > 1 then
    lines[#lines + 1] = string.format("turn %d, after %d messages", seen.turns, #request.messages - 1)
  end
  return { text = table.concat(lines, "\n"), prompt = seen.tokens, limit = limit }
end

return M
