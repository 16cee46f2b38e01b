--- HTTP/1.1 as a client speaks it, without a socket: the head of a request goes out; the bytes of a reply come in,
--- however they are split, and its head and its body go out.
local core = require "lmm.core"

local http1 = {}

--- The head of a request. `lines` are of the form "Name: value"; "Name;" is a header without a value.
---@param request { method: string, target: string, host: string, lines: string[], size: integer? }
---@return string
function http1.request_head(request)
  local given, out = {}, { request.method .. " " .. request.target .. " HTTP/1.1" }
  for _, line in ipairs(request.lines) do given[line:match "^[^:;]+":lower()] = true end
  if not given.host then out[#out + 1] = "Host: " .. request.host end
  if not given.accept then out[#out + 1] = "Accept: */*" end
  for _, line in ipairs(request.lines) do out[#out + 1] = line:gsub("^([^:;]+);$", "%1:") end
  if request.size then out[#out + 1] = ("Content-Length: %.0f"):format(request.size) end
  return table.concat(out, "\r\n") .. "\r\n\r\n"
end

local LONGEST_CHUNK_LINE = 16 * 1024 -- bytes, a chunk's extensions included
local MOST_DIGITS = 12               -- of a chunk's size: what a double counts exactly
local RETURN = ("\r"):byte()

---@class lmm.Http1
---@field head { status: integer, headers: table<string, string> }?  once it is complete; an interim one is passed over
---@field started boolean     a byte has come
---@field done boolean        the reply is complete
---@field is_reusable boolean the connection may serve another request
local Decoder = {}
Decoder.__index = Decoder

--- Makes a decoder for one reply.
---@param opts { method: string, max_head: integer, is_tunnel: boolean? }  is_tunnel: where it is a success, what
--- follows its head is no body
---@return lmm.Http1
function http1.decoder(opts)
  return setmetatable({ opts = opts, step = "read_head", buffer = "", at = 1, searched = 1, trailers = 0, pieces = {},
    started = false, done = false, is_reusable = false }, Decoder)
end

--- Takes bytes in. What it gives is a failure, as at the seam.
---@return table? failure
function Decoder:feed(bytes)
  self.started = self.started or bytes ~= ""
  self.buffer = self.at > #self.buffer and bytes or self.buffer:sub(self.at) .. bytes
  self.searched, self.at = math.max(1, self.searched - self.at + 1), 1
  while not self.done do
    local goes_on, failure = self[self.step](self)
    if failure then return failure end
    if not goes_on then return nil end
  end
  self.is_reusable = self.is_reusable and self.at > #self.buffer -- nobody asked for more
end

--- The bytes of the body so far that were not taken yet, or nil.
function Decoder:take()
  if #self.pieces == 0 then return nil end
  local bytes = table.concat(self.pieces)
  self.pieces = {}
  return bytes
end

local function protocol(phase, reason)
  return nil, { kind = "protocol", phase = phase, reason = reason }
end

local function malformed()
  return nil, { kind = "truncated", phase = "receive", reason = "a chunk of it is malformed" }
end

local function too_long(self, phase)
  return nil, { kind = "limit", phase = phase,
    reason = ("the reply's header is longer than %d bytes (limits.header)"):format(self.opts.max_head) }
end

--- A line up to its end, taken; nil where it is not complete.
function Decoder:line()
  local stop = self.buffer:find("\n", self.at, true)
  if not stop then return nil end
  local begun, ends = self.at, self.buffer:byte(stop - 1) == RETURN and stop - 2 or stop - 1
  self.at = stop + 1
  return self.buffer:sub(begun, ends)
end

function Decoder:read_head()
  local begun = self.buffer:sub(self.at, self.at + 4)
  if begun ~= ("HTTP/"):sub(1, #begun) then return protocol("wait", "it does not speak HTTP") end
  local _, stop = self.buffer:find("\n\r?\n", self.searched)
  local length = (stop or #self.buffer) - self.at + 1
  if length > self.opts.max_head then return too_long(self, "wait") end
  if not stop then
    self.searched = math.max(self.at, #self.buffer - 2)
    return false
  end
  local text = self.buffer:sub(self.at, stop)
  self.at, self.searched = stop + 1, stop + 1
  local minor, status = text:match "^HTTP/1%.(%d) (%d%d%d)%f[%s]"
  status = tonumber(status)
  if not status then return protocol("wait", "its status line is not one of HTTP/1.1") end
  if status == 101 then return protocol("wait", "it switches to another protocol that nobody asked for") end
  if status < 200 then return true end
  return self:begin_body(status, tonumber(minor), core.headers(text))
end

--- The number in a Content-Length, which may be repeated as it is.
local function content_length(value)
  local digits = value:match "^%d+"
  for other in value:gmatch "[^,]+" do
    if other:match "^%s*(%d+)%s*$" ~= digits then return nil end
  end
  return tonumber(digits)
end

--- How long the body is: RFC 9112, section 6.3.
function Decoder:begin_body(status, minor, headers)
  local coding, length = headers["transfer-encoding"], headers["content-length"]
  local connection = (headers.connection or ""):lower()
  self.is_reusable = minor >= 1 and not connection:find "close" and not (coding and length)
  if self.opts.method == "HEAD" or status == 204 or status == 304 or self.opts.is_tunnel and status < 300 then
    self.done = true
  elseif coding and coding:lower() ~= "identity" then
    if coding:lower() ~= "chunked" then return protocol("receive", "a reply in the transfer coding " .. coding) end
    self.step = "read_chunk_size"
  elseif length then
    self.left = content_length(length)
    if not self.left then return protocol("receive", "its Content-Length is not a number") end
    self.step, self.done = "read_counted", self.left == 0
  else
    self.step, self.is_reusable = "read_to_the_end", false
  end
  self.head = { status = status, headers = headers }
  return true
end

--- Moves at most `left` bytes to the body; whether any were there.
function Decoder:move()
  local count = math.min(self.left, #self.buffer - self.at + 1) -- string.sub does not take every number
  local bytes = self.buffer:sub(self.at, self.at + count - 1)
  if bytes == "" then return false end
  self.pieces[#self.pieces + 1] = bytes
  self.at, self.left = self.at + #bytes, self.left - #bytes
  return true
end

function Decoder:read_counted()
  local moved = self:move()
  self.done = self.left == 0
  return moved
end

function Decoder:read_to_the_end()
  self.left = #self.buffer
  return self:move()
end

function Decoder:read_chunk_size()
  local line = self:line()
  if not line then
    if #self.buffer - self.at >= LONGEST_CHUNK_LINE then return malformed() end
    return false
  end
  local number, after = line:match "^(%x+)%s*(.?)"
  if not number or after ~= "" and after ~= ";" then return malformed() end
  local digits = #number > MOST_DIGITS and number:match "^0*(.*)$" or number
  if #digits > MOST_DIGITS then return malformed() end
  self.left = digits == "" and 0 or tonumber(digits, 16)
  self.step = self.left == 0 and "read_trailer" or "read_chunk"
  return true
end

function Decoder:read_chunk()
  local moved = self:move()
  if self.left == 0 then self.step = "end_chunk" end
  return moved
end

function Decoder:end_chunk()
  local line = self:line()
  local rest = line or self.buffer:sub(self.at)
  if rest ~= "" and (line or rest ~= "\r") then return malformed() end
  self.step = line and "read_chunk_size" or self.step
  return line ~= nil
end

function Decoder:read_trailer()
  local begun = self.at
  local line = self:line()
  local length = (line and self.at or #self.buffer + 1) - begun
  if self.trailers + length > self.opts.max_head then return too_long(self, "receive") end
  if line then self.trailers = self.trailers + length end
  self.done = line == ""
  return line ~= nil
end

--- The connection has ended; `reason` says how where that was not in order. Gives a failure unless the reply is whole.
---@return table? failure
function Decoder:finish(reason)
  if self.done then return nil end
  if not self.head then
    return self.started and { kind = "truncated", phase = "wait", reason = reason or "it ended within its head" }
      or { kind = "connect", phase = "wait", reason = reason or "the server closed it" }
  end
  local is_at_end = self.step == "read_to_the_end" or self.step == "read_trailer" and self.buffer:sub(self.at) == "\r"
  if is_at_end and not reason then -- as for libcurl, the very last line feed is not needed
    self.done, self.is_reusable = true, false
    return nil
  end
  local missing = self.step == "read_counted" and ("%.0f bytes are missing"):format(self.left) or "its end is missing"
  return { kind = "truncated", phase = "receive", reason = (reason and reason .. ", " or "") .. missing }
end

return http1
