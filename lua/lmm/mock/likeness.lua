--- Which server the mock is like, beside vLLM: a name comes in; whose its models are, whether it keeps media, which
--- parts it refuses in which words, and in which fields it is told what an answer is to be, go out. What it decodes,
--- fetches and keeps its dialect says.
local dialects = require("lmm.request").dialects
local options = require "lmm.options"
local validation = require "lmm.mock.validation"

local likeness = {}

---@class lmm.mock.Likeness
---@field owner string   `owned_by` of its model
---@field dialect lmm.Dialect
---@field keeps boolean  media under their uuid
---@field takes_files boolean  OpenAI's parts of type `file`
---@field check fun(part: table)  refuses a part that the server does not know
---@field by_data table<string, string>  types of parts that it takes beside vLLM's, each
--- { type = t, [t] = { data = base64 } }, and the kind of their media
---@field check_fields nil|fun(request: table)  refuses fields that the server does not take
---@field head string?   the lines of a reply's head by which it is known
---@field constraints table<string, string>?  its fields that say what an answer is to be, beside `response_format`,
--- and of which kind each is; nil: vLLM's `structured_outputs`

--- What a server refuses: parts of these types, in one sentence.
local function refusing(types, status, sentence)
  return function(part)
    if types[part.type] then validation.refuse(status, sentence) end
  end
end

--- OpenAI's own words for a part that it does not know.
local function check_openai(part)
  if part.type ~= "audio_url" and part.type ~= "video_url" then return end
  validation.refuse(400, ("Invalid value: '%s'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', "
    .. "'audio', and 'file'."):format(part.type))
end

local function nothing() end

local kinds = {
  ["vllm"] = { owner = "vllm", check = nothing },
  ["sglang"] = { owner = "sglang", constraints = { regex = "regex", ebnf = "grammar" },
    check = refusing({ input_audio = true }, 400, "Input tag 'input_audio' found using 'type' does not match") },
  ["llama.cpp"] = { owner = "llamacpp", by_data = { input_video = "video" }, head = "Server: llama.cpp\r\n",
    constraints = { grammar = "grammar", json_schema = "json" },
    check = refusing({ audio_url = true, file = true }, 400, "unsupported content[].type") },
  ["ollama"] = { owner = "library", constraints = {},
    check = refusing({ audio_url = true, video_url = true, file = true }, 400, "invalid message format") },
  ["lmstudio"] = { owner = "organization_owner", constraints = {},
    check = refusing({ audio_url = true, input_audio = true, video_url = true, file = true }, 400, "Invalid 'content': "
      .. "'content' objects must have a 'type' field that is either 'text' or 'image_url'.") },
  ["litellm"] = { owner = "openai", check = nothing,
    head = "server: uvicorn\r\nx-litellm-version: 1.105.7\r\n" },
  ["openai"] = { owner = "system", constraints = {}, check = check_openai },
  ["azure"] = { owner = "system", constraints = {}, check = check_openai },
  ["gemini"] = { owner = "google", constraints = {}, check = check_openai },
  ["openrouter"] = { owner = "openrouter", constraints = {}, check = refusing({ audio_url = true }, 400,
    "Invalid content part type") },
  ["mistral"] = { owner = "mistralai", constraints = {},
    check = refusing({ audio_url = true, video_url = true, file = true }, 422, "Input tag found using 'type' does not "
      .. "match any of the expected tags: 'text', 'image_url', 'document_url', 'input_audio'"),
    check_fields = function(request)
      if request.stream_options == nil then return end
      validation.refuse(422, "Extra inputs are not permitted: stream_options", { param = "stream_options" })
    end },
}
for name, like in pairs(kinds) do
  like.dialect, like.by_data = dialects.named(name), like.by_data or {}
  like.keeps, like.takes_files = like.dialect.caches == true, (like.dialect.forms or {}).file ~= false
end

--- The names there are.
---@return string[]
function likeness.names()
  return options.names(kinds)
end

---@param name string
---@return lmm.mock.Likeness?
function likeness.named(name)
  return kinds[name]
end

return likeness
