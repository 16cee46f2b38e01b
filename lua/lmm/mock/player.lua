--- A server that answers from a recording: a request comes in; what was answered to the same one, or to the one that is
--- closest to it, goes out.
local core = require "lmm.core"
local json = require "lmm.json"
local recording = require "lmm.mock.recording"
local respond = require "lmm.mock.respond"
local texts = require "lmm.text"
local uv = require "luv"

---@class lmm.mock.Player
---@field path string
---@field entries lmm.mock.Recorded[]
---@field torn integer  how many lines of the file were not written to their end
---@field by_key table<string, lmm.mock.Recorded[]>
---@field turns table<string, integer>  how often each was asked for
---@field media table<string, table>
---@field is_closest boolean  what was not recorded gets the answer to what is most like it
---@field has_timing boolean  answers take the time that they took
local Player = {}
Player.__index = Player

local player = {}

---@param path string
---@param opts { closest: boolean?, timing: boolean? }
---@return lmm.mock.Player? self, string? message
function player.new(path, opts)
  local entries, more = recording.load(path)
  if not entries then return nil, more end
  local by_key = {}
  for _, entry in ipairs(entries) do
    by_key[entry.key] = by_key[entry.key] or {}
    table.insert(by_key[entry.key], entry)
  end
  return setmetatable({ path = path, entries = entries, torn = more, by_key = by_key, turns = {}, media = {},
    is_closest = opts.closest or false, has_timing = opts.timing or false }, Player)
end

-- ---- which answer

--- How often each word is in a text.
local function words_of(value)
  local words, count = {}, 0
  for word in (json.text(value) or ""):gmatch "[%w\128-\255_.]+" do
    words[word], count = (words[word] or 0) + 1, count + 1
  end
  return words, count
end

--- The recorded request that is most like this one, of the same method and path.
---@return lmm.mock.Recorded? nearest
local function nearest(self, asked)
  local words, count = words_of(asked.body)
  local best, most
  for _, entry in ipairs(self.entries) do
    if entry.request.method == asked.method and entry.request.path == asked.path then
      local others, other_count = words_of(entry.request.body)
      local common = 0
      for word, times in pairs(words) do common = common + math.min(times, others[word] or 0) end
      local likeness = 2 * common / math.max(count + other_count, 1)
      if not most or likeness > most then best, most = entry, likeness end
    end
  end
  return best
end

local function shown(value)
  if value == nil then return "nothing" end
  return texts.line(json.text(value) or "", 100)
end

--- Where two values differ first, and how.
---@return string?
local function difference(a, b, place)
  if type(a) ~= "table" or type(b) ~= "table" or a == json.null or b == json.null then
    local is_same = a == b
    return not is_same and ("%s is %s, and was %s"):format(place, shown(a), shown(b)) or nil
  end
  local names = {}
  for name in pairs(a) do names[#names + 1] = name end
  for name in pairs(b) do
    if a[name] == nil then names[#names + 1] = name end
  end
  table.sort(names, function(x, y) return tostring(x) < tostring(y) end)
  for _, name in ipairs(names) do
    local found = difference(a[name], b[name], type(name) == "number" and ("%s[%d]"):format(place, name - 1)
      or place == "" and name or place .. "." .. name)
    if found then return found end
  end
end

--- The next recorded answer to what has this key; the last one is given again and again.
local function next_of(self, key)
  local list = self.by_key[key]
  if not list then return nil end
  self.turns[key] = math.min((self.turns[key] or 0) + 1, #list)
  return list[self.turns[key]]
end

--- What a server says of itself, where that was not recorded.
local function of_itself(self, asked)
  if asked.method ~= "GET" then return nil end
  if asked.path == "/health" then return "" end
  if asked.path ~= "/v1/models" then return nil end
  local list, seen = {}, {}
  for _, entry in ipairs(self.entries) do
    local model = type(entry.request.body) == "table" and entry.request.body.model
    if type(model) == "string" and not seen[model] then
      seen[model] = true
      list[#list + 1] = { id = model, object = "model" }
    end
  end
  return json.encode { object = "list", data = json.array(list) }
end

local function refuse(self, asked, response)
  local near = nearest(self, asked)
  local reason = near and "the nearest that is has another body: " .. (difference(asked.body, near.request.body, "")
    or "its bytes differ") or ("there is none for %s %s"):format(asked.method, asked.path)
  respond.error(response, { status = 404, type = "NotRecorded",
    message = ("lmm mock: this request is not in the recording '%s': %s"):format(self.path, reason) })
end

-- ---- how it is sent

--- Sends the pieces, each at its time or all at once.
local function play(self, recorded, response)
  local body = recorded.body or core.base64.decode(recorded.base64) or ""
  local timer, at, start = uv.new_timer(), 0, 0
  local function stop()
    if not timer:is_closing() then timer:close() end
  end
  response.on_close = stop
  local first, last_time = recorded.first or 0, 0
  local function step()
    at = at + 1
    local piece = recorded.pieces[at]
    if response.closed then return stop() end
    if piece then
      response:write(body:sub(start + 1, piece[1]))
      start = piece[1]
      local following = recorded.pieces[at + 1]
      if not self.has_timing or not following then return step() end
      last_time = piece[2]
      timer:start(math.floor((following[2] - last_time) * 1000 + 0.5), 0, step)
      return
    end
    stop()
    if recorded.broken then response:close() else response:finish() end
  end
  local function begin()
    if response.closed then return stop() end
    response:start(recorded.status, recorded.headers)
    step()
  end
  if not self.has_timing then return begin() end
  timer:start(math.floor(first * 1000 + 0.5), 0, begin)
end

--- Answers a request.
---@param request lmm.mock.Request
---@param response lmm.mock.Response
function Player:answer(request, response)
  response.head = ""
  local asked, is_missing = recording.request(request, self.media)
  if is_missing then -- in the words of a server that has lost a medium: its client sends it whole then
    return respond.error(response, { status = 400, message = "lmm mock: this medium was left out, and has not come yet "
      .. "under its uuid" })
  end
  local entry = next_of(self, recording.key(asked))
  local own = not entry and of_itself(self, asked)
  if own then return response:send(200, { ["content-type"] = "application/json" }, own) end
  if not entry and self.is_closest then entry = nearest(self, asked) end
  if not entry then return refuse(self, asked, response) end
  play(self, entry.response, response)
end

function Player:describe()
  return ("replays %d answers of %s%s"):format(#self.entries, self.path, self.torn > 0
    and ("; %d not written to its end"):format(self.torn) or "")
end

function Player.close() end

return player
