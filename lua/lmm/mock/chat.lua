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

-- The body has not the form that the API's schema asks for. The message has several lines, as pydantic writes it.
local function malformed(param, what)
  local place = "'body'"
  for step in (param or ""):gmatch "[^.]+" do
    place = place .. ", " .. (step:find "^%d" and step or "'" .. step .. "'")
  end
  local message = string.format("1 validation error:\n  {'loc': (%s), 'msg': '%s'}", place, what)
  refuse(400, message, { type = "Bad Request", param = param and "body." .. param or "body" })
end

local function given(value)
  if value == json.null then return nil end
  return value
end

local function is_list(value)
  return type(value) == "table" and (value[1] ~= nil or next(value) == nil)
end

-- ---- media -----------------------------------------------------------------------------------------------------

-- For each kind of part, the types of file that it may hold. Audio comes in video's containers, too.
local HOLDS = {
  image = { "^image/" },
  video = { "^video/", "^image/gif$" },
  audio = { "^audio/", "^video/" },
}

local function decode(text)
  local bytes = core.base64.decode(text)
  if bytes then return bytes end
  refuse(400, text:find "[^%w+/=]" and "Non-base64 digit found" or "Incorrect padding")
end

-- The core's view of a file's bytes, which must be of the part's kind.
local function look(kind, bytes)
  local media = bytes ~= "" and core.media { bytes = bytes }
  local info = media and media:info() or {}
  for _, pattern in ipairs(HOLDS[kind]) do
    if (info.mime or ""):find(pattern) then return info end
  end
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
    info = look("image", frames[#frames])
    seen.tokens = seen.tokens + count_tokens(info)
  end
  return describe(info, string.format("%d frames of %s", #frames, info.mime), table.concat(frames))
end

-- Each takes what follows the scheme of a URL and gives what the answer says of the medium.
local SCHEMES = {
  data = function(seen, kind, rest)
    local comma = rest:find(",", 1, true) or refuse(400, "not enough values to unpack (expected 2, got 1)")
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

local function check_detail(detail, place)
  if detail ~= nil and not DETAILS[detail] then malformed(place .. ".detail", "Input should be auto, low or high") end
end

local function text_part(field)
  return function(seen, part, place)
    if type(part[field]) ~= "string" then malformed(place .. "." .. field, "Input should be a valid string") end
    seen.words[#seen.words + 1] = part[field]
  end
end

-- A part { type = field, field = { url = ... } }. Only a part with a uuid may leave the medium to the server's cache.
local function url_part(kind, field)
  return function(seen, part, place)
    local medium = given(part[field])
    place = place .. "." .. field
    if medium == nil and given(part.uuid) then
      local index = seen.count[kind] or 0
      refuse(400, string.format("Cache miss for %s at index %d but data is not provided.", kind, index))
    end
    if type(medium) ~= "table" then malformed(place, "Input should be a valid dictionary") end
    if type(medium.url) ~= "string" then malformed(place .. ".url", "Field required") end
    check_detail(given(medium.detail), place)
    claim(seen, kind)
    add_media(seen, kind, fetch(seen, kind, medium.url))
  end
end

local PARTS = {
  text = text_part "text",
  input_text = text_part "text",
  output_text = text_part "text",
  refusal = text_part "refusal",
  thinking = text_part "thinking",
  image_url = url_part("image", "image_url"),
  video_url = url_part("video", "video_url"),
  audio_url = url_part("audio", "audio_url"),
  input_image = function(seen, part, place)
    if type(part.image_url) ~= "string" then malformed(place .. ".image_url", "Input should be a valid string") end
    if part.detail == nil then malformed(place .. ".detail", "Field required") end
    check_detail(part.detail, place)
    claim(seen, "image")
    add_media(seen, "image", fetch(seen, "image", part.image_url))
  end,
  input_audio = function(seen, part, place)
    local audio = part.input_audio
    place = place .. ".input_audio"
    if type(audio) ~= "table" then malformed(place, "Input should be a valid dictionary") end
    if type(audio.data) ~= "string" then malformed(place .. ".data", "Field required") end
    if type(audio.format) ~= "string" then malformed(place .. ".format", "Field required") end
    claim(seen, "audio")
    add_media(seen, "audio", receive(seen, "audio", decode(audio.data)))
  end,
}

local function read_part(seen, part, place)
  if type(part) == "string" then
    seen.words[#seen.words + 1] = part
    return
  end
  if type(part) ~= "table" then malformed(place, "Input should be a valid dictionary") end
  if type(part.type) ~= "string" then malformed(place .. ".type", "Field required") end
  local read = PARTS[part.type] or refuse(400, "Unknown part type: " .. part.type)
  read(seen, part, place)
end

-- ---- messages --------------------------------------------------------------------------------------------------

-- The roles, and whether a message of theirs may have no content.
local ROLES = { system = false, developer = false, user = false, assistant = true, tool = false, ["function"] = true }

local function count_words(text)
  local _, count = text:gsub("%S+", "")
  return count
end

local function read_message(seen, message, place)
  if type(message) ~= "table" then malformed(place, "Input should be a valid dictionary") end
  if type(message.role) ~= "string" then malformed(place .. ".role", "Field required") end
  if ROLES[message.role] == nil then refuse(400, "Unexpected message role.") end
  local content = given(message.content)
  seen.words = {}
  if type(content) == "string" then
    seen.words[1] = content
  elseif is_list(content) then
    for i, part in ipairs(content) do read_part(seen, part, place .. ".content." .. i - 1) end
  elseif content ~= nil or not ROLES[message.role] then
    malformed(place .. ".content", "Input should be a valid string")
  end
  local text = table.concat(seen.words, " ")
  seen.tokens = seen.tokens + count_words(text) + 4
  if message.role == "user" then seen.question, seen.turns = text, seen.turns + 1 end
end

-- ---- the request's other fields --------------------------------------------------------------------------------

local function check_fields(request)
  if given(request.stream_options) and request.stream ~= true then
    malformed("stream_options", "Value error, Stream options can only be defined when `stream=True`.")
  end
  local tools = given(request.tools)
  if is_list(tools) and #tools == 0 then
    malformed("tools", "Value error, `tools` must not be an empty array.")
  elseif tools and request.tool_choice ~= "none" then
    refuse(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
  end
  for _, name in ipairs { "max_tokens", "max_completion_tokens" } do
    local value = given(request[name])
    if value and (type(value) ~= "number" or value < 1 or value % 1 ~= 0) then
      refuse(400, string.format("%s must be at least 1, got %s.", name, tostring(value)), { param = name })
    end
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
  local ok, problem = pcall(function()
    if type(request) ~= "table" then malformed(nil, "Input should be a valid dictionary") end
    if not is_list(request.messages) then malformed("messages", "Field required") end
    check_fields(request)
    local wanted = given(request.model)
    if wanted and wanted ~= model then
      refuse(404, string.format("The model `%s` does not exist.", tostring(wanted)), { param = "model" })
    end
    if #request.messages == 0 then refuse(400, "The list of messages is empty.") end
    for i, message in ipairs(request.messages) do read_message(seen, message, "messages." .. i - 1) end
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
  local limit = given(request.max_completion_tokens) or given(request.max_tokens)
  return { text = table.concat(lines, "\n"), prompt = seen.tokens, limit = limit }
end

return M
