--- What a server says comes in; the same without secrets and without media goes out. It is for the fields of an error,
--- decoded and on one line; a model's answer is never touched.
local core = require "lmm.core"
local text = require "lmm.text"

local redact = {}

--- A key shorter than this, or one of these words, is a placeholder that servers without keys are given: removing it
--- would only garble what they say.
local SHORTEST_SECRET = 8 -- bytes
local placeholders = {}
for word in ([[anything changeme dummy-key lm-studio llama-cpp no-key-required not-needed not-required placeholder
  sk-no-key-required undefined]]):gmatch "%S+" do
  placeholders[word] = true
end

local LOOKED_AT = 1024 * 1024 -- bytes of a text that are looked at
local LONGEST_SECRET = 64 * 1024 -- bytes; servers take no longer header

--- What makes a name that of a secret, wherever it stands in it.
local secret_words = { "auth", "cookie", "credential", "key", "passphrase", "passwd", "password", "secret", "token" }

--- Words that hold one of those, and do not count where they stand alone between other signs than letters; and the
--- field by which a server finds like prompts.
local harmless_words = { author = true, authors = true, keyboard = true, keyframe = true, keyframes = true,
  keyword = true, keywords = true, tokenizer = true }
local harmless_names = { prompt_cache_key = true }

--- Whether what has this name, a header or a field, is a secret.
---@param name string
---@return boolean
function redact.is_secret_name(name)
  name = name:lower()
  if harmless_names[name] then return false end
  name = name:gsub("%a+", function(word) return harmless_words[word] and "" end)
  for _, word in ipairs(secret_words) do
    if name:find(word, 1, true) then return true end
  end
  return false
end

--- The secrets of a call: its key, the values of secret headers and of secrets in its URL, and the password of its
--- proxy.
---@param client { headers: table<string, string>, query: string?, proxy: string? }
---@param key string?  the key that was sent
---@param headers table<string, string>?  of the call, where they are not the client's
---@return string[]
function redact.secrets(client, key, headers)
  local found = {}
  local function add(secret)
    if secret and #secret >= SHORTEST_SECRET and not placeholders[secret:lower()] then found[#found + 1] = secret end
  end
  add(key)
  for name, value in pairs(headers or client.headers) do
    if redact.is_secret_name(name) then
      add(value)
      add(value:match "^%a+ +(%S+)$") -- as in "Bearer KEY"
      for crumb in value:gmatch "=%s*([^;]+)" do add(crumb) end -- of a cookie
    end
  end
  for name, value in (client.query or ""):gmatch "([^?&=]+)=([^&]*)" do
    if redact.is_secret_name(name) or name == "code" or name == "sig" then add(value) end
  end
  local user = client.proxy and client.proxy:gsub("^%a[%w+.-]*://", ""):match "^(.*)@"
  if user then
    local plain = user:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
    add(user:match ":(.*)$")
    add(plain:match ":(.*)$")
    add(core.base64.encode(plain)) -- as in "Proxy-Authorization: Basic ..."
  end
  return found
end

--- A text with `[redacted]` in the place of secrets.
---@param given string
---@param secrets string[]
---@return string
function redact.without_secrets(given, secrets)
  for _, secret in ipairs(secrets) do given = given:gsub(secret:gsub("%p", "%%%0"), "[redacted]") end
  return given
end

--- The letters and digits of a text, however the others are escaped.
local function essence(given)
  local function byte(digits) return string.char(tonumber(digits, 16)) end
  return (given:gsub("\\u00(%x%x)", byte):gsub("%%(%x%x)", byte):gsub("\\[bfnrt]", ""):gsub("%W+", ""):lower())
end

--- Whether a text of any form may hold a secret, in some spelling.
---@param given string
---@param secrets string[]
---@return boolean
function redact.may_hold(given, secrets)
  local text_essence = secrets[1] and essence(given)
  for _, secret in ipairs(secrets) do
    if text_essence:find(essence(secret), 1, true) then return true end
  end
  return false
end

local LONGEST_WORD = 128 -- bytes: a longer run of base64 is no word, path or digest
local LONG_RUN = "%f[%w+/]" .. ("[%w+/]"):rep(32) .. "+=*" -- the frontier keeps the search linear

--- Two lines of base64 that was wrapped, now parted by a space.
local WRAPPED = "(" .. ("[%w+/]"):rep(40) .. ") (" .. ("[%w+/]"):rep(16) .. ")"

--- Without what follows `;base64,`, and without long runs of base64 elsewhere.
local function without_media(given)
  given = given:gsub("\\+/", "/"):gsub(WRAPPED, "%1%2") -- as JSON within a text, and lines, have it
  given = given:gsub("(;base64,%s*)([%w+/]+=*)", function(before, run)
    return (not before:find "%s$" or #run >= 16) and before .. "..." or nil
  end)
  return (given:gsub(LONG_RUN, function(run) return #run > LONGEST_WORD and "..." or nil end))
end

--- A text of a server as one line, `[redacted]` in the place of secrets and `...` in that of media. Of a text beyond
--- 1 MiB it is the beginning, without its last bytes, which may be half a secret. To be called before a text is cut.
---@param given string
---@param secrets string[]
---@return string
function redact.clean(given, secrets)
  local is_cut = #given > LOOKED_AT
  given = text.line(is_cut and given:sub(1, LOOKED_AT) or given) -- first: a secret may be split by what is dropped here
  given = redact.without_secrets(given, secrets)
  return without_media(is_cut and given:sub(1, -LONGEST_SECRET - 1) or given)
end

return redact
