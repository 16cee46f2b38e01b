--- What a server says comes in; the same without what it quotes of ours goes out: keys, headers, a proxy's password,
--- the bytes of media, and the texts of a request.
local parts = require "lmm.part"

local redact = {}

--- Without keys, the proxy's password, and the values of the caller's headers. To be called before anything is cut off.
---@param given string
---@param client { headers: table<string, string>, proxy: string? }
---@param key string?  that of the request
---@param keeps_headers boolean?  for the model's own words, which may well hold a harmless header's
function redact.secrets(given, client, key, keeps_headers)
  local function remove(secret)
    if secret and #secret >= 4 then given = given:gsub(secret:gsub("%p", "%%%0"), "[redacted]") end
  end
  remove(key)
  for name, value in pairs(client.headers) do
    local is_key = name:lower():find "authorization$"
    if is_key or not keeps_headers then remove(value) end
    remove(is_key and value:match "^%a+ +(%S+)$") -- as in "Bearer KEY"
  end
  remove(client.proxy and client.proxy:match "^[^@]*:([^:@]*)@")
  return given
end

--- So long is no word, no path and no digest: a run of base64 is then a file's.
local LONGEST_WORD = 128

--- A run of base64, also where JSON writes `\/` for `/`.
local RUN = "[%w+/\\]+=*"
local LONG_RUN = "%f[%w+/\\]" .. ("[%w+/\\]"):rep(32) .. "+=*" -- looked for only where a run begins

--- The backslashes that a run ends with.
local function backslashes(run)
  local last = #run
  while run:byte(last) == 92 do last = last - 1 end
  return run:sub(last + 1)
end

--- Without media: what follows `;base64,`, and runs of base64 elsewhere. JSON stays JSON: a last backslash belongs to
--- what is behind it.
function redact.media(given)
  given = given:gsub("(;base64,%s*)(" .. RUN .. ")", function(before, run)
    return (not before:find "%s$" or #run >= 16) and before .. "..." .. backslashes(run) or nil
  end)
  return (given:gsub(LONG_RUN, function(run) return #run > LONGEST_WORD and "..." .. backslashes(run) or nil end))
end

--- The fields of a request that hold texts, wherever they stand.
local holds_text = {
  content = true, text = true, arguments = true, reasoning = true, reasoning_content = true, refusal = true,
  thinking = true, system = true, prompt = true, input = true, query = true, documents = true,
}

--- The texts in a request: what people wrote, not the names and numbers beside it.
---@param fields any
---@return string[]
function redact.texts_of(fields)
  local found = {}
  local function collect(value, is_text)
    if type(value) == "string" then
      if is_text then found[#found + 1] = value end
    elseif type(value) == "table" and not parts.is(value) then
      for name, item in pairs(value) do collect(item, holds_text[name] or is_text and type(name) == "number") end
    end
  end
  collect(fields, type(fields) == "string")
  return found
end

local LEAST = 16 -- bytes; less is found everywhere

--- Of the other texts, which may be long, one short stretch in so many bytes is looked up: each of LEAST has one in it.
local STEP = 8
local KEY = LEAST - STEP + 1

--- The places at which each stretch of LEAST bytes begins, and the stretches of KEY bytes that there are.
local function stretches(given)
  local places, keys = {}, {}
  for i = 1, #given - LEAST + 1 do
    local stretch = given:sub(i, i + LEAST - 1)
    places[stretch] = places[stretch] or {}
    table.insert(places[stretch], i)
  end
  for i = 1, #given - KEY + 1 do keys[given:sub(i, i + KEY - 1)] = true end
  return places, keys
end

--- Whether the byte at this place goes on with a character; three bytes at most do.
local function goes_on(given, at)
  return given:find("^[\128-\191]", at) ~= nil
end

--- The text with `[...]` for the stretches that begin at `starts`, sorted, and for characters that they would cut.
local function without(given, starts)
  local pieces, told, i = {}, 0, 1
  while i <= #starts do
    local first, last = starts[i], starts[i] + LEAST - 1
    while starts[i + 1] and starts[i + 1] <= last + 1 do
      i = i + 1
      last = starts[i] + LEAST - 1
    end
    for _ = 1, 3 do
      if goes_on(given, first) and first > told + 1 then first = first - 1 end
      if goes_on(given, last + 1) then last = last + 1 end
    end
    pieces[#pieces + 1] = given:sub(told + 1, first - 1) .. "[...]"
    told, i = last, i + 1
  end
  return table.concat(pieces) .. given:sub(told + 1)
end

--- With `[...]` for whatever stands in one of the other texts, too, over 16 bytes or more. The time is linear in all.
---@param given string
---@param others string[]
function redact.quoted(given, others)
  if #given < LEAST or #others == 0 then return given end
  local places, keys = stretches(given)
  local starts = {}
  for _, other in ipairs(others) do
    for key = STEP, #other - KEY + 1, STEP do
      local last = keys[other:sub(key, key + KEY - 1)] and math.min(key, #other - LEAST + 1) or 0
      for i = key - STEP + 1, last do
        local stretch = other:sub(i, i + LEAST - 1)
        for _, start in ipairs(places[stretch] or {}) do starts[#starts + 1] = start end
        places[stretch] = nil
      end
    end
  end
  table.sort(starts)
  return without(given, starts)
end

return redact
