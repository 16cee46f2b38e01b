--- What servers understand beyond what all of them do: a server's URL, what it answers, or a name come in; its dialect
--- goes out, a table of data that stands in the file of its name beside this one.
---
--- To add one: write lua/lmm/request/dialects/NAME.lua, a table of the fields below, and its name into `names`.

---@class lmm.Dialect
---@field name string
---@field title string  what it is called in a message
---@field hosts string[]?  Lua patterns of the hosts where it is
---@field headers string[]?  names of headers that it alone sends, in small letters
---@field owners string[]?  what its models have as `owned_by`
---@field forms table<"image"|"video"|"audio"|"file", string|false>?  the `type` of a part of each kind, where it is not
--- image_url, video_url, audio_url or file; false: it takes none
---@field fetches boolean?  false: it fetches no URL
---@field decodes table<string, true>?  the types of pictures that it decodes; nil: not known
---@field caches boolean?  it keeps media under their `uuid`, and takes a null in their place later
---@field stream_options boolean?  false: it refuses `stream_options`
---@field tool_media "tool"|"user"|nil  whose message may hold the media that a tool gives ("tool")
---@field structured lmm.StructuredDialect?  how a server is told what an answer is to be; nil: as one that is not known

local dialects = {}

local names = { "azure", "gemini", "generic", "litellm", "llama.cpp", "lmstudio", "mistral", "ollama", "openai",
  "openrouter", "sglang", "vllm" }

--- The names of all dialects.
---@return string[]
function dialects.names()
  local out = {}
  for i, name in ipairs(names) do out[i] = name end
  return out
end

--- The dialect of a name, or nil.
---@param name string
---@return lmm.Dialect?
function dialects.named(name)
  for _, known in ipairs(names) do
    if known == name then return require("lmm.request.dialects." .. name:gsub("%.", "_")) end
  end
end

--- The first dialect for which `matches(dialect)`.
local function find(matches)
  for _, name in ipairs(names) do
    local dialect = dialects.named(name)
    if matches(dialect) then return dialect end
  end
end

--- The dialect that is spoken at a host, where its name tells.
---@param base_url string
---@return lmm.Dialect?
function dialects.of_url(base_url)
  local host = base_url:match "^%a+://([^/:]*)":lower()
  return find(function(dialect)
    for _, pattern in ipairs(dialect.hosts or {}) do
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
  return find(function(dialect)
    for _, name in ipairs(dialect.headers or {}) do
      if headers[name] then return true end
    end
  end) or find(function(dialect)
    for _, name in ipairs(dialect.owners or {}) do
      if name == owner then return true end
    end
  end) or dialects.named "generic"
end

return dialects
