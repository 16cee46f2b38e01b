--- A server that stands before a real one: requests come in and are passed on; answers go back as they come, and into a
--- file (see lmm.mock.recording).
local core = require "lmm.core"
local errors = require "lmm.errors"
local loops = require "lmm.loop"
local recording = require "lmm.mock.recording"
local respond = require "lmm.mock.respond"
local texts = require "lmm.text"

---@class lmm.mock.Recorder
---@field client lmm.Client  of the real server
---@field file lmm.mock.RecordingFile
---@field media table<string, table>
---@field say fun(line: string)
local Recorder = {}
Recorder.__index = Recorder

local recorder = {}

local TIMEOUT = 600 -- seconds that the server may be silent

--- Headers that belong to one connection, or that are no matter of the other side.
local own = {}
for name in ([[host connection keep-alive proxy-connection te trailer transfer-encoding content-length upgrade expect
  accept-encoding]]):gmatch "%S+" do own[name] = true end

--- Headers of an answer that are not recorded besides those.
local not_recorded = { ["set-cookie"] = true, date = true }

--- Makes a recorder.
---@param upstream string  the base URL of the server
---@param path string      of the file
---@param say fun(line: string)  tells what went wrong
---@return lmm.mock.Recorder? self, string? message
function recorder.new(upstream, path, say)
  loops.use "luv"
  local client, misuse = errors.try(require("lmm.client").new, { base_url = upstream, api_key = "", retry = false,
    media_cache = false, dialect = "generic" })
  if not client then return nil, misuse end
  local file, message = recording.open(path, texts.without_user(client.base_url))
  if not file then return nil, message end
  return setmetatable({ client = client, file = file, media = {}, say = say }, Recorder)
end

--- Where a request goes: below the server's base URL, or beside it.
local function url_of(client, request)
  local below = request.path:match "^/v1/(.*)$"
  local url = below and client:url(below) or client:url(request.path)
  return request.query ~= "" and url .. (url:find("?", 1, true) and "&" or "?") .. request.query or url
end

local function lines_of(headers)
  local lines = {}
  for name, value in pairs(headers) do
    if not own[name] then lines[#lines + 1] = value == "" and name .. ";" or name .. ": " .. value end
  end
  return lines
end

--- The headers to pass back, and those to record.
local function headers_of(head)
  local passed, recorded = {}, {}
  for name, value in pairs(head.headers) do
    if not own[name] then passed[name] = value end
    if not own[name] and not not_recorded[name] then recorded[name] = value end
  end
  return passed, recorded
end

--- Passes the body on as it comes; gives it whole with the place and the time of each piece, and how it broke off.
local function relay(self, transfer, response)
  local loop, pieces, times, size = self.client.loop, {}, {}, 0
  local begun = loop:now()
  while not response.closed do
    local bytes, failure = transfer:read(loop:now() + TIMEOUT)
    if response.closed then break end
    if not bytes then return table.concat(pieces), times, failure end
    size = size + #bytes
    pieces[#pieces + 1], times[#times + 1] = bytes, { size, math.floor((loop:now() - begun) * 1000 + 0.5) / 1000 }
    response:write(bytes)
  end
end

local function forward(self, request, response)
  local asked = recording.request(request, self.media)
  local loop = self.client.loop
  local begun = loop:now()
  local transfer, failure = self.client:get_transport():start {
    method = request.method, url = url_of(self.client, request), headers = lines_of(request.headers),
    body = request.body ~= "" and core.body(request.body) or nil, connect_timeout = 10,
    max_head = self.client.limits.header,
  }
  response.on_close = function()
    if transfer then transfer:close() end
  end
  local head
  if transfer then head, failure = transfer:head(loop:now() + TIMEOUT) end
  if not head then
    if transfer then transfer:close() end
    if response.closed then return end
    return respond.error(response, { status = 502, message = ("lmm mock: the server %s cannot be asked: %s"):format(
      self.client.base_url, failure.reason or failure.kind) })
  end
  local passed, recorded = headers_of(head)
  response:start(head.status, passed)
  local first = loop:now() - begun
  local body, pieces, broken = relay(self, transfer, response)
  transfer:close()
  if not body then return end -- whoever asked has gone: this is no answer
  body = recording.without_key(body, request)
  local is_text = not core.utf8(body)
  local ok, message = self.file:add { request = asked, response = { status = head.status, headers = recorded,
    body = is_text and body or nil, base64 = not is_text and core.base64.encode(body) or nil,
    first = math.floor(first * 1000 + 0.5) / 1000, pieces = require("lmm.json").array(pieces),
    broken = broken ~= nil or nil } }
  if not ok then self.say("lmm mock: " .. message) end
  if broken then response:reset() else response:finish() end
end

--- Answers a request.
---@param request lmm.http.Request
---@param response lmm.http.Response
function Recorder:answer(request, response)
  response.head = ""
  loops.go(function() forward(self, request, response) end)
end

function Recorder:describe()
  return ("records %s in %s"):format(self.client.base_url, self.file.path)
end

function Recorder:close()
  self.client:close()
  self.file:close()
end

return recorder
