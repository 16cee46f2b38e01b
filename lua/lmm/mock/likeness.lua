--- Which server the mock is like, beside vLLM: a name comes in; whose its models are, whether it keeps media, which
--- parts it refuses in which words, and in which fields it is told what an answer is to be, go out.
local validation = require "lmm.mock.validation"

local likeness = {}

---@class lmm.mock.Likeness
---@field owner string   `owned_by` of its model
---@field keeps boolean  media under their uuid
---@field check fun(part: table)  refuses a part that the server does not know
---@field by_data table<string, string>  types of parts that it takes beside vLLM's, each
--- { type = t, [t] = { data = base64 } }, and the kind of their media
---@field constraints table<string, string>?  its fields that say what an answer is to be, beside `response_format`,
--- and of which kind each is; nil: vLLM's `structured_outputs`

--- What a server refuses: parts of these types, in one sentence.
local function refusing(types, status, sentence)
  return function(part)
    if types[part.type] then validation.refuse(status, sentence) end
  end
end

local kinds = {
  ["vllm"] = { owner = "vllm", keeps = true, by_data = {}, check = function() end },
  ["sglang"] = { owner = "sglang", keeps = false, by_data = {}, constraints = { regex = "regex", ebnf = "grammar" },
    check = refusing({ input_audio = true }, 400, "Input tag 'input_audio' found using 'type' does not match") },
  ["llama.cpp"] = { owner = "llamacpp", keeps = false, by_data = { input_video = "video" },
    constraints = { grammar = "grammar", json_schema = "json" },
    check = refusing({ audio_url = true, file = true }, 400, "unsupported content[].type") },
  ["ollama"] = { owner = "library", keeps = false, by_data = {}, constraints = {},
    check = refusing({ audio_url = true, video_url = true, file = true }, 400, "invalid message format") },
}

--- The names there are.
---@return string[]
function likeness.names()
  local names = {}
  for name in pairs(kinds) do names[#names + 1] = name end
  table.sort(names)
  return names
end

---@param name string
---@return lmm.mock.Likeness?
function likeness.named(name)
  return kinds[name]
end

return likeness
