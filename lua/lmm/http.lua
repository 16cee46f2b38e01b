--- The server side of HTTP/1.1 (RFC 9112), small and strict, over luv: the bytes of a connection come in, however they
--- are split; a call of `on_request(request, response)` goes out for each request. Requests may follow each other
--- without waiting; the next one is handled when the response is finished.
--
-- Each connection is read by a coroutine that yields where it needs more bytes, so that the grammar reads from top to
-- bottom.
local uv = require "luv"

local http = {}

local MAX_HEAD = 64 * 1024          -- bytes of a request line and its header lines
local MAX_BODY = 512 * 1024 * 1024  -- bytes
local MAX_PIPELINED = 1024 * 1024   -- bytes kept of requests that come during a response; then reading pauses
local LINGER = 1000                 -- milliseconds that a closing connection waits for the client to close

local TOKEN = "[%w!#$%%&'*+.^_`|~-]+"

local REASONS = {
  [200] = "OK", [204] = "No Content", [301] = "Moved Permanently", [302] = "Found", [400] = "Bad Request",
  [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found", [405] = "Method Not Allowed",
  [408] = "Request Timeout", [409] = "Conflict", [413] = "Content Too Large", [422] = "Unprocessable Content",
  [429] = "Too Many Requests", [431] = "Request Header Fields Too Large", [500] = "Internal Server Error",
  [501] = "Not Implemented", [502] = "Bad Gateway", [503] = "Service Unavailable", [504] = "Gateway Timeout",
}

-- Ends the coroutine that reads the connection: the client gets this status.
local function refuse(status, why)
  error({ status = status, why = why }, 0)
end

-- ---- what comes in ---------------------------------------------------------------------------------------------

---@class lmm.http.Input
local Input = {}
Input.__index = Input

function Input:fill()
  local pipelined = table.concat(self.pipelined)
  for i = #self.pipelined, 1, -1 do self.pipelined[i] = nil end
  self.buffer = self.buffer:sub(self.at) .. (pipelined ~= "" and pipelined or coroutine.yield "bytes")
  self.at = 1
end

function Input:is_empty()
  return self.at > #self.buffer and #self.pipelined == 0
end

-- The next line without its CRLF. Its bytes are taken off `budget`, the bytes that are left of MAX_HEAD.
function Input:line()
  local seen = 0
  while true do
    local stop = self.buffer:find("\n", self.at + seen, true)
    seen = (stop or #self.buffer) - self.at + 1
    if seen > self.budget then refuse(431, "The header is too large.") end
    if stop then
      local line = self.buffer:sub(self.at, stop - 1)
      if line:sub(-1) ~= "\r" then refuse(400, "A line does not end with CRLF.") end
      self.at, self.budget = stop + 1, self.budget - seen
      return line:sub(1, -2)
    end
    self:fill()
  end
end

-- Appends the next `count` bytes to the list `out`, without joining them.
function Input:read_bytes(count, out)
  while count > 0 do
    if self.at > #self.buffer then self:fill() end
    local piece = self.buffer:sub(self.at, self.at + count - 1)
    self.at = self.at + #piece
    count = count - #piece
    out[#out + 1] = piece
  end
end

local function read_headers(input)
  local headers = {}
  while true do
    local line = input:line()
    if line == "" then return headers end
    local name, value = line:match("^(" .. TOKEN .. "):[ \t]*(.-)[ \t]*$")
    if not name or value:find "[%z\r]" then refuse(400, "A header line is malformed.") end
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
end

local function read_chunks(input, out)
  local total = 0
  repeat
    input.budget = MAX_HEAD
    local digits, rest = input:line():match "^(%x+)[ \t]*(.?)"
    if not digits or rest ~= "" and rest ~= ";" then refuse(400, "A chunk's size is malformed.") end
    local size = #digits <= 8 and tonumber(digits, 16) or MAX_BODY + 1
    total = total + size
    if total > MAX_BODY then refuse(413, "The body is too large.") end
    input:read_bytes(size, out)
    if size > 0 and input:line() ~= "" then refuse(400, "A chunk is longer than its size.") end
  until size == 0
  read_headers(input)
end

local function read_body(input, headers, send_continue)
  local coding, length = headers["transfer-encoding"], headers["content-length"]
  if coding and (length or coding:lower() ~= "chunked") then refuse(400, "The body's framing is ambiguous.") end
  if length and not length:find "^%d+$" then refuse(400, "Content-Length is malformed.") end
  if length and tonumber(length) > MAX_BODY then refuse(413, "The body is too large.") end
  if (headers.expect or ""):lower() == "100-continue" and input:is_empty() then send_continue() end

  local pieces = {}
  if coding then read_chunks(input, pieces) else input:read_bytes(tonumber(length or 0), pieces) end
  return table.concat(pieces)
end

---@class lmm.http.Request
---@field method string
---@field path string                    without the query
---@field query string                   "" without one
---@field minor string                   of the HTTP version: "0" or "1"
---@field headers table<string, string>  names in lower case; repeated ones joined by ", "
---@field body string

local function read_request(input, send_continue)
  input.budget = MAX_HEAD
  local line
  repeat line = input:line() until line ~= ""
  local method, target, minor = line:match("^(" .. TOKEN .. ") ([^%s%c]+) HTTP/1%.([01])$")
  if not method then refuse(400, "The request line is malformed.") end
  local path, query = target:gsub("^%a+://[^/?]*", ""):match "^([^?#]*)%??([^#]*)"

  local headers = read_headers(input)
  if minor == "1" and not headers.host then refuse(400, "The Host header is missing.") end
  return {
    method = method, path = path, query = query, minor = minor, headers = headers,
    body = read_body(input, headers, send_continue),
  }
end

-- ---- what goes out ---------------------------------------------------------------------------------------------

---@class lmm.http.Response
---@field head string         lines of the head of every response, each with its CRLF
---@field closed boolean     the connection is gone; whatever is written is dropped
---@field on_start? fun(status: integer)  called as the head is sent
---@field on_close? fun()    called when the connection goes before the response is finished
local Response = {}
Response.__index = Response
Response.head = "" -- lines of every response

--- Sends the head. The body follows in chunks, or as it is where `headers` tell its content-length.
---@param status integer
---@param headers table<string, string|number>
function Response:start(status, headers)
  if self.on_start then self.on_start(status) end
  local lines = { string.format("HTTP/1.1 %d %s\r\n", status, REASONS[status] or "Status"), self.head }
  for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value .. "\r\n" end
  local bodiless = status == 204 or self.head_only
  if not headers["content-length"] and not bodiless then
    self.chunked = self.minor == "1"
    if self.chunked then lines[#lines + 1] = "transfer-encoding: chunked\r\n" end
    self.keep_alive = self.keep_alive and self.chunked
  end
  if not self.keep_alive then lines[#lines + 1] = "connection: close\r\n" end
  lines[#lines + 1] = "\r\n"
  self.bodiless = bodiless
  self.connection:write(lines)
end

--- Sends a piece of the body, as a chunk of its own.
function Response:write(bytes)
  if self.bodiless or bytes == "" then return end
  self.connection:write(self.chunked and { string.format("%x\r\n", #bytes), bytes, "\r\n" } or { bytes })
end

--- Ends the body as it should be.
function Response:finish()
  if self.chunked then self.connection:write { "0\r\n\r\n" } end
  self.finished = true
  self.connection:resume("response")
end

--- The whole response at once.
function Response:send(status, headers, body)
  local all = { ["content-length"] = string.format("%d", #body) }
  for name, value in pairs(headers) do all[name] = value end
  self:start(status, all)
  self:write(body)
  self:finish()
end

--- Ends the connection in the middle of the response, in order (FIN).
function Response:close()
  self.connection:linger()
end

--- Ends the connection in the middle of the response, abruptly (RST).
function Response:reset()
  if not self.connection.linger_timer then self.connection:close "close_reset" end
end

-- ---- the connection --------------------------------------------------------------------------------------------

local Connection = {}
Connection.__index = Connection

function Connection:write(pieces)
  if self.closed then return end
  self.socket:write(pieces, function(err)
    if err then self:close() end
  end)
end

function Connection:close(how)
  if self.closed then return end
  self.closed = true
  self.all[self] = nil
  if self.linger_timer then self.linger_timer:close() end
  self.socket[how or "close"](self.socket)
  local response = self.response
  if response and not response.finished then
    response.closed = true
    if response.on_close then response.on_close() end
  end
end

-- Sends FIN and waits for the client to close, for a while: closing at once, with bytes from the client still unread,
-- would send RST, and the client could lose the response.
function Connection:linger()
  if self.closed or self.linger_timer then return end
  self.linger_timer = uv.new_timer()
  self.linger_timer:start(LINGER, 0, function() self:close() end)
  self.socket:shutdown()
  self:set_reading(true)
end

-- Reads from the socket, or stops reading. What comes while a response is under way is kept for later, up to a
-- limit; the client's end of the connection is noticed only while it is read.
function Connection:set_reading(on)
  if self.closed or self.is_reading == on then return end
  self.is_reading = on
  if not on then return self.socket:read_stop() end
  self.socket:read_start(function(err, bytes)
    if err or not bytes then return self:close() end
    if self.linger_timer then return end
    if self.waiting_for == "bytes" then return self:resume("bytes", bytes) end
    local pipelined = self.pipelined
    pipelined[#pipelined + 1] = bytes
    pipelined.size = (#pipelined > 1 and pipelined.size or 0) + #bytes
    if pipelined.size > MAX_PIPELINED then self:set_reading(false) end
  end)
end

-- Resumes the coroutine where it waits for `what` ("bytes" or "response").
function Connection:resume(what, ...)
  if self.closed or self.linger_timer or self.waiting_for ~= what then return end
  self.waiting_for = "nothing"
  local ok, wanted = coroutine.resume(self.reader, ...)
  if self.closed or self.linger_timer then return end
  if ok then
    self.waiting_for = wanted
    return
  end
  if type(wanted) ~= "table" then error(wanted, 0) end
  self:respond("1", false):send(wanted.status, { ["content-type"] = "text/plain; charset=utf-8" }, wanted.why)
  self:linger()
end

function Connection:respond(minor, keep_alive)
  self.response = setmetatable({ connection = self, minor = minor, keep_alive = keep_alive, closed = false }, Response)
  return self.response
end

function Connection:read(on_request)
  local input = setmetatable({ buffer = "", at = 1, pipelined = self.pipelined }, Input)
  local function send_continue() self:write { "HTTP/1.1 100 Continue\r\n\r\n" } end
  repeat
    local request = read_request(input, send_continue)
    local asked = (request.headers.connection or ""):lower()
    local response = self:respond(request.minor, request.minor == "1" and not asked:find("close", 1, true))
    response.head_only = request.method == "HEAD"
    local ok, problem = pcall(on_request, request, response)
    if not ok then
      io.stderr:write("lmm: ", tostring(problem), "\n")
      response:send(500, { ["content-type"] = "text/plain; charset=utf-8" }, "Internal Server Error")
    end
    if not response.finished then coroutine.yield "response" end
    self:set_reading(true)
  until not response.keep_alive
  self:linger()
end

---@class lmm.http.Server
---@field host string
---@field port integer
---@field close fun(self)  stops listening and ends every connection; the loop must run once more

--- Listens, and serves while the loop runs.
---@param opts { host: string?, port: integer?, on_request: fun(request: table, response: table) }
---  host: an IP address, 127.0.0.1 unless given; port: 0, the default, takes a free one
---  on_request: gets a lmm.http.Request and a lmm.http.Response, and must not yield
---@return lmm.http.Server? server
---@return string? message
function http.serve(opts)
  local host, port = opts.host or "127.0.0.1", opts.port or 0
  local listener, all = uv.new_tcp(), {}

  local function accept()
    local connection = setmetatable({ socket = uv.new_tcp(), pipelined = {}, all = all, closed = false }, Connection)
    if not listener:accept(connection.socket) then return connection.socket:close() end
    all[connection] = true
    connection.socket:nodelay(true)
    connection.reader = coroutine.create(function() return connection:read(opts.on_request) end)
    connection.waiting_for = "start"
    connection:resume "start"
    connection:set_reading(true)
  end

  local ok, problem = listener:bind(host, port)
  if ok then ok, problem = listener:listen(128, accept) end
  if not ok then
    listener:close()
    -- As in lmm.loop.luv: a program that leaves before the closing is done would crash.
    if not uv.loop_mode() then uv.run "nowait" end
    return nil, string.format("cannot listen on %s:%d: %s", host, port, problem)
  end
  -- A client that leaves while it is written to must not end the process, as the signal would.
  local broken_pipe = uv.new_signal()
  broken_pipe:start("sigpipe", function() end)
  broken_pipe:unref()
  return {
    host = host,
    port = listener:getsockname().port,
    close = function()
      if listener:is_closing() then return end
      listener:close()
      broken_pipe:close()
      for connection in pairs(all) do connection:close() end
    end,
  }
end

return http
