--- What servers understand beyond what all of them do: a server's URL, what it answers, or a name come in; its dialect
--- goes out, a table of data that stands in the file of its name beside this one.
---
--- To add one: write lua/lmm/request/dialects/NAME.lua, a table of the fields below, and what it is known by into
--- `marks`.

---@class lmm.Dialect
---@field name string
---@field title string  what it is called in a message
---@field forms table<"image"|"video"|"audio"|"file", string|false>?  the `type` of a part of each kind, where it is not
--- image_url, video_url, audio_url (which gives way to input_audio where the caller names a format, unless it is said
--- here) or file; false: it takes none
---@field fetches boolean?  false: it fetches no URL
---@field decodes table<string, true>?  the types of pictures that it decodes; nil: not known
---@field caches boolean?  it keeps media under their `uuid`, and takes a null in their place later
---@field stream_options boolean?  false: it refuses `stream_options`
---@field tool_media "tool"|"user"|nil  whose message may hold the media that a tool gives ("tool")
---@field structured lmm.StructuredDialect?  how a server is told what an answer is to be; nil: as one that is not known

local dialects = {}

--- What a server is known by, beside each other so that no other dialect's table is loaded for it.
---@class lmm.DialectMarks
---@field hosts string[]?  Lua patterns of the hosts where it is
---@field headers string[]?  names of headers that it alone sends, in small letters
---@field owner string?  what its models have as `owned_by`

---@type table<string, lmm.DialectMarks>
local marks = {
  azure = { hosts = { "%.openai%.azure%.com$", "%.cognitiveservices%.azure%.com$", "%.services%.ai%.azure%.com$" } },
  gemini = { hosts = { "^generativelanguage%.googleapis%.com$" } },
  generic = {},
  litellm = { headers = { "x-litellm-version", "x-litellm-model-id", "x-litellm-call-id" } },
  ["llama.cpp"] = { owner = "llamacpp" },
  lmstudio = { owner = "organization_owner" },
  mistral = { hosts = { "^api%.mistral%.ai$" } },
  ollama = { owner = "library" },
  openai = { hosts = { "^api%.openai%.com$", "%.api%.openai%.com$" } },
  openrouter = { hosts = { "^openrouter%.ai$" } },
  sglang = { owner = "sglang" },
  vllm = { owner = "vllm" },
}

--- The names of all dialects, in order.
---@return string[]
function dialects.names()
  return require("lmm.options").names(marks)
end

--- The dialect of a name, or nil.
---@param name string
---@return lmm.Dialect?
function dialects.named(name)
  return marks[name] and require("lmm.request.dialects." .. name:gsub("%.", "_")) or nil
end

--- A dialect that a caller describes; raises where the table says something else.
---@param given table
---@return lmm.Dialect
function dialects.described(given)
  local checked = require "lmm.request.dialects.check"(given)
  local out = { title = checked.name }
  for name, value in pairs(checked) do out[name] = value end
  return out
end

--- What a dialect's servers are known by.
---@param name string
---@return lmm.DialectMarks
function dialects.marks(name)
  return marks[name]
end

--- The dialect whose marks match. No mark is of two.
local function find(matches)
  for name, known in pairs(marks) do
    if matches(known) then return dialects.named(name) end
  end
end

--- The dialect that is spoken at a host, where its name tells.
---@param base_url string
---@return lmm.Dialect?
function dialects.of_url(base_url)
  local host = base_url:match "^%a+://([^/:]*)":lower()
  return find(function(known)
    for _, pattern in ipairs(known.hosts or {}) do
      if host:find(pattern) then return true end
    end
  end)
end

--- The dialect of a server by its list of models and the headers that came with it; the generic one where they do not
--- tell.
---@param list table[]
---@param headers table<string, string>
---@return lmm.Dialect
function dialects.of_models(list, headers)
  local owner = list[1] and list[1].owned_by
  return find(function(known)
    for _, name in ipairs(known.headers or {}) do
      if headers[name] then return true end
    end
  end) or owner and find(function(known) return known.owner == owner end) or dialects.named "generic"
end

return dialects
