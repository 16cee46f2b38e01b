--- A page of a grid, served: its path comes in; a server for a browser of this machine goes out, which keeps stars and
--- notes in PAGE.grid/notes.json and shows pictures in full.
--
-- Other users of the machine, and pages of other sites that the browser shows, can reach the port, too. So each
-- request names this server as its host (against DNS that leads a stranger's name here), comes from no other origin,
-- and has the token of the URL.
local errors = require "lmm.errors"
local folders = require "lmm.grid.folder"
local http = require "lmm.http"
local json = require "lmm.json"
local parts = require "lmm.part"
local version = require "lmm.version"

local serve = {}

local MOST_NOTES = 16 * 1024 * 1024 -- bytes of notes.json
local MOST_NOTE = 65536

local HEAD = table.concat({ "x-content-type-options: nosniff", "referrer-policy: no-referrer", "x-frame-options: DENY",
  "cross-origin-resource-policy: same-origin", "cache-control: no-store", "" }, "\r\n")

local TEXT = { ["content-type"] = "text/plain; charset=utf-8" }
local JSON = { ["content-type"] = "application/json" }

---@class lmm.GridServer
---@field url string  with the token
---@field port integer
---@field close fun()
local Server = {}
Server.__index = Server

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local bytes = file:read "*a"
  file:close()
  return bytes
end

-- ---- who may ask -------------------------------------------------------------------------------------------------

--- Compares in a time that does not tell how much of it is right.
local function is_same(a, b)
  local difference = #a == #b and 0 or 1
  for i = 1, #b do
    if a:byte(i) ~= b:byte(i) then difference = difference + 1 end
  end
  return difference == 0
end

--- Why a request is refused; nil where it is not.
---@return integer? status, string? why
function Server:refusal(request)
  local host, origin = request.headers.host or "", request.headers.origin
  if host ~= "127.0.0.1:" .. self.port and host ~= "localhost:" .. self.port then
    return 403, "This server is asked as 127.0.0.1 alone."
  end
  if origin and origin ~= "http://" .. host then return 403, "Another origin has no access." end
  local site = request.headers["sec-fetch-site"]
  if site and site ~= "same-origin" and site ~= "none" then return 403, "Another site has no access." end
  local token = ("&" .. request.query):match "&token=([^&]*)" or ""
  if not is_same(token, self.token) then return 403, "The token of the URL is missing or wrong." end
end

-- ---- what it gives -----------------------------------------------------------------------------------------------

local function send_page(self, _, response)
  local bytes = read(self.path)
  if not bytes then return response:send(404, TEXT, "The page is gone.") end
  response:send(200, { ["content-type"] = "text/html; charset=utf-8" }, bytes)
end

--- What a browser asks again and again, to see whether the page was made anew.
local function send_version(self, _, response)
  local status = require("luv").fs_stat(self.path)
  local text = status and ("%d.%d %d"):format(status.mtime.sec, status.mtime.nsec, status.size) or ""
  response:send(200, JSON, json.encode { version = text })
end

local function send_notes(self, _, response)
  local notes, err = self.folder:read_notes()
  if not notes then return response:send(500, TEXT, err.message) end
  response:send(200, JSON, json.text(notes))
end

--- { key: "...", star: true, note: "..." }: what stands at one cell.
local function take_note(self, request, response)
  local given = #request.body <= 2 * MOST_NOTE and json.clean((json.decode(request.body)))
  local key = type(given) == "table" and given.key
  if type(key) ~= "string" or not key:find "^%x+$" or #key > 64 or type(given.note or "") ~= "string"
    or #(given.note or "") > MOST_NOTE then
    return response:send(400, TEXT, "A note is { key, star, note }.")
  end
  local notes, err = self.folder:read_notes()
  if not notes then return response:send(500, TEXT, err.message) end
  local entry = { star = given.star == true or nil, note = given.note ~= "" and given.note or nil }
  notes[key] = next(entry) and entry or nil
  local text = json.text(notes)
  if #text > MOST_NOTES then return response:send(413, TEXT, "There are too many notes.") end
  local written, message = version.check("lmm.files").write(self.folder:notes(), text)
  if not written then return response:send(500, TEXT, "The notes cannot be written: " .. tostring(message)) end
  response:send(200, JSON, "{}")
end

--- The path of a picture of the page by its digest: no other file is read.
local function path_of(self, digest)
  local file = io.open(self.folder:pictures(), "rb")
  if not file then return nil end
  local found
  for line in file:lines() do
    local picture = line:find(digest, 1, true) and json.clean((json.decode(line)))
    if picture and picture.digest == digest then
      found = picture.path
      break
    end
  end
  file:close()
  return found
end

local function send_picture(self, request, response)
  local path = path_of(self, request.path:match "^/picture/(%x+)$")
  local bytes = path and read(path)
  local mime = bytes and parts.new("file", path).mime
  if not bytes or not mime or not mime:find "^image/[%w.-]+$" then
    return response:send(404, TEXT, "There is no such picture any more.")
  end
  response:send(200, { ["content-type"] = mime, ["content-security-policy"] = "default-src 'none'; sandbox" }, bytes)
end

local ROUTES = {
  ["GET /"] = send_page, ["GET /version"] = send_version, ["GET /notes"] = send_notes, ["POST /notes"] = take_note,
}

local function handle(self, request, response)
  response.head = HEAD
  local status, why = self:refusal(request)
  if status then return response:send(status, TEXT, why) end
  local route = ROUTES[request.method .. " " .. request.path]
  if not route and request.method == "GET" and request.path:find "^/picture/%x+$" then route = send_picture end
  if not route then return response:send(404, TEXT, "There is nothing here.") end
  route(self, request, response)
end

--- Starts it; it answers while luv's loop runs.
---@param path string  of the page
---@param opts { port: integer? }?
---@return lmm.GridServer? server, lmm.Error? err
function serve.start(path, opts)
  local function fail(format, ...)
    return nil, errors.new { kind = "invalid", message = format:format(...) }
  end
  local bytes = read(path)
  if not bytes then return fail("there is no page '%s': lmm grid makes it", path) end
  if not bytes:find('<script type="application/json" id="data">', 1, true) then
    return fail("'%s' is no page of lmm grid", path)
  end
  local folder = folders.of(path)
  local ok, err = folder:make()
  if ok then ok, err = folder:read_notes() end
  if not ok then return nil, err end
  local token = version.check("lmm.digest").random():gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  local self = setmetatable({ path = path, folder = folder, token = token:sub(1, 32) }, Server)
  local server, message = http.serve { port = opts and opts.port or 0,
    on_request = function(request, response) handle(self, request, response) end }
  if not server then return fail("%s", message) end
  self.port, self.close = server.port, server.close
  self.url = ("http://127.0.0.1:%d/?token=%s"):format(self.port, self.token)
  return self
end

return serve
