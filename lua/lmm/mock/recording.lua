--- Recordings of a server: requests come in; what names each, whoever sends it and however its media come, goes out;
--- and the file of what was answered to them, lines of JSON:
---
---     { "format": "lmm.recording", "version": 1, "server": "http://gpu:8000/v1" }
---     { "request": { "method": "POST", "path": "/v1/chat/completions", "body": {...} },
---       "response": { "status": 200, "headers": {...}, "body": "...", "pieces": [[bytes, seconds], ...] } }
---
--- In a body { "lmm.medium": {...} } stands for a medium, by its SHA-256. No header of a request is in it, and no key.
local calls = require "lmm.call"
local core = require "lmm.core"
local json = require "lmm.json"
local log = require "lmm.log"
local version = require "lmm.version"

local recording = {}

local FORMAT, VERSION = "lmm.recording", 1
local SHORTEST_KEY = 8 -- bytes: what is shorter stands for none
local MOST = 1024 * 1024 * 1024 -- bytes of a file

---@class lmm.mock.Recorded
---@field request { method: string, path: string, body: any, sha256: string?, bytes: integer? }
---@field response { status: integer, headers: table<string, string>, body: string?, base64: string?,
--- first: number?, pieces: number[][], broken: boolean? }  first: seconds to the head; pieces: where each ended, and
--- the seconds from the head to it; broken: the connection broke then
---@field key string  of the request

-- ---- requests

local function digest(text)
  return version.check("lmm.digest").new():update(text):finish():hex()
end

--- Takes the uuids out of content parts, and puts media that a server keeps in the places where they are left out.
---@param media table<string, table>  what has come under each uuid
---@return boolean is_missing  whether one has never come
local function resolve(value, media)
  local is_missing = false
  if type(value) ~= "table" then return false end
  if type(value.uuid) == "string" and type(value.type) == "string" then
    local inside = value[value.type]
    local is_left_out = inside == nil or inside == json.null or type(inside) == "table" and inside.url == json.null
    if not is_left_out then
      media[value.uuid] = inside
    elseif media[value.uuid] then
      value[value.type] = media[value.uuid]
    else
      is_missing = true
    end
    if not is_missing then value.uuid = nil end
  end
  for _, item in pairs(value) do is_missing = resolve(item, media) or is_missing end
  return is_missing
end

--- A text without the keys that came in the headers of a request, in as many bytes.
---@return string
function recording.without_key(text, request)
  for name, value in pairs(request.headers) do
    local key = calls.is_secret_name(name) and (value:match "^%a+ +(%S+)$" or value)
    if key and #key >= SHORTEST_KEY then
      text = text:gsub(key:gsub("%p", "%%%0"), function() return ("*"):rep(#key) end)
    end
  end
  return text
end

--- What a request asks, without what differs from run to run.
---@param request lmm.http.Request
---@param media table<string, table>  what has come under each uuid so far; grows
---@return { method: string, path: string, body: any, sha256: string?, bytes: integer? } asked, boolean is_missing
function recording.request(request, media)
  local asked = { method = request.method, path = request.path }
  if request.body == "" then return asked, false end
  local content_type = request.headers["content-type"] or ""
  local value, message = core.decode(recording.without_key(request.body, request), { depth = json.MAX_DEPTH })
  if message or content_type:find "^multipart/" then
    local boundary = content_type:match 'boundary="?([^";]+)'
    local body = boundary and request.body:gsub(boundary:gsub("%p", "%%%0"), "boundary") or request.body
    asked.sha256, asked.bytes = digest(body), #body
    return asked, false
  end
  local body = log.plain(value)
  if type(body) == "table" then body.stream_options = nil end -- some clients find out what a server takes of it
  local is_missing = resolve(body, media)
  asked.body = body
  return asked, is_missing
end

--- What names a request.
---@return string
function recording.key(asked)
  return digest(json.text(asked) or "")
end

-- ---- the file

local function problem(path, format, ...)
  return nil, ("the recording '%s' cannot be used: %s"):format(path, format:format(...))
end

local function check_head(path, head)
  if type(head) ~= "table" or head.format ~= FORMAT then
    return problem(path, "it is no recording: lmm mock --record URL FILE makes one")
  end
  if type(head.version) ~= "number" or head.version > VERSION then
    return problem(path, "a newer lmm has made it (version %s, and this one knows %d)", tostring(head.version), VERSION)
  end
  return head
end

local function check_entry(entry)
  local request, response = type(entry) == "table" and entry.request, type(entry) == "table" and entry.response
  return type(request) == "table" and type(request.method) == "string" and type(request.path) == "string"
    and type(response) == "table" and type(response.status) == "number" and type(response.headers) == "table"
    and type(response.body or response.base64) == "string" and type(response.pieces) == "table"
end

--- Whether this is said of a line that was not written to its end: the disk was full, or the process was killed.
local function is_torn(message)
  return message ~= nil and message:find "^the JSON ended" ~= nil
end

--- Reads a recording. Lines that were not written to their end are left out.
---@param path string
---@return lmm.mock.Recorded[]? entries, string|integer message  or how many lines are left out
function recording.load(path)
  local text, why = version.check("lmm.files").read(path, MOST)
  if not text then return problem(path, "%s", why) end
  local entries, number, torn = {}, 0, 0
  for line in text:gmatch "[^\n]+" do
    number = number + 1
    local value, message = core.decode(line, { depth = json.MAX_DEPTH })
    if number == 1 then
      local head
      head, message = check_head(path, value)
      if not head then return nil, message end
    elseif is_torn(message) then
      torn = torn + 1
    elseif message or not check_entry(value) then
      return problem(path, "line %d is %s", number, message and "no JSON: " .. message or "no recorded answer")
    else
      value.key = recording.key(value.request)
      entries[#entries + 1] = value
    end
  end
  if number == 0 then return problem(path, "it is empty") end
  return entries, torn
end

---@class lmm.mock.RecordingFile
---@field file file*
---@field path string
---@field is_torn boolean  its last line has no end
local File = {}
File.__index = File

local function has_torn_end(path)
  local file = io.open(path, "rb")
  local is_torn_there = file and file:seek("end", -1) and file:read(1) ~= "\n"
  if file then file:close() end
  return is_torn_there or false
end

--- Opens a recording to add to it; what is there stays, as long as it is one.
---@param server string
---@return lmm.mock.RecordingFile? file, string? message
function recording.open(path, server)
  local text, _, is_missing = version.check("lmm.files").read(path, 4096)
  local is_new = is_missing or text == ""
  if not is_new then
    local head, message = check_head(path, text and (core.decode(text:match "^[^\n]*", { depth = json.MAX_DEPTH })))
    if not head then return nil, message end
  end
  local file, message = io.open(path, "ab")
  if not file then return nil, ("the recording cannot be written: %s"):format(message) end
  file:setvbuf "no" -- nothing stays behind of what could not be written
  local self = setmetatable({ file = file, path = path, is_torn = has_torn_end(path) }, File)
  if is_new then
    local ok, why = self:add { format = FORMAT, version = VERSION, server = server }
    if not ok then return nil, why end
  end
  return self
end

--- Adds a line.
---@return true? added, string? message
function File:add(value)
  local ok, message = self.file:write((self.is_torn and "\n" or "") .. json.encode(value) .. "\n")
  self.is_torn = not ok
  if ok then return true end
  return nil, ("the recording cannot be written: %s: %s"):format(self.path, message)
end

function File:close()
  self.file:close()
end

return recording
