-- A small HTTP front in a program that runs libuv's loop:   lua5.4 examples/luv_server.lua [PORT]
-- POST a picture to it; the description comes as plain text, piece by piece. Whoever hangs up ends the model's work.
--
--     curl --data-binary @examples/picture.jpg http://127.0.0.1:8080/
local lmm = require "lmm"
local uv = require "luv"

local port = tonumber((arg[1] or "8080"):match "^%d+$")
if not port or port > 65535 or arg[2] then
  io.stderr:write "usage: luv_server.lua [PORT]\n"
  os.exit(2)
end

lmm.use "luv"
local client = lmm.connect() -- $OPENAI_BASE_URL

local LARGEST_HEAD, LARGEST = 64 * 1024, 32 * 1024 * 1024 -- bytes of a request's head, and of its body

local function send(socket, status, text)
  socket:write(("HTTP/1.1 %s\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%s"):format(status, text))
end

local function finish(socket)
  if not socket:is_closing() then socket:shutdown(function() if not socket:is_closing() then socket:close() end end) end
end

--- Answers a request as a task, beside all others.
local function describe(socket, picture)
  local stream = client:conversation():stream("What is shown in the image?", lmm.image { bytes = picture })
  local task = lmm.go(function()
    local piece, message = stream:next()
    if message then
      local status = stream.err.kind == "invalid" and "400 Bad Request" or "502 Bad Gateway"
      return send(socket, status, message .. "\n")
    end
    send(socket, "200 OK", "")
    while piece do
      socket:write(piece)
      piece, message = stream:next()
    end
    socket:write(message and "\n[" .. message .. "]\n" or "\n")
  end, function() finish(socket) end)
  return function() task:cancel() end
end

local function refuse(socket, status)
  send(socket, status, status .. "\n")
  finish(socket)
end

--- The number of bytes that follow a head; nil, status where they are not taken.
local function length_of(head)
  if not head:find "^POST " then return nil, "405 Method Not Allowed" end
  local lines = head:lower()
  local length = tonumber(lines:match "\r\ncontent%-length: *(%d+)")
  if not length or lines:find("\r\ntransfer-encoding:", 1, true) then return nil, "411 Length Required" end
  if length > LARGEST then return nil, "413 Content Too Large" end
  return length
end

--- Collects a request, however it is split: `head` until its end is found, then the body's pieces.
local function serve(socket)
  local head, pieces, left = "", {}, nil
  local hang_up, why
  socket:read_start(function(_, bytes)
    if not bytes then
      if hang_up then hang_up() end
      return finish(socket)
    end
    if hang_up or why then return end
    if not left then
      head = head .. bytes
      local _, stop = head:find("\r\n\r\n", 1, true)
      local is_large = (stop or #head) > LARGEST_HEAD
      if not stop and not is_large then return end
      if is_large then why = "431 Request Header Fields Too Large" else left, why = length_of(head:sub(1, stop)) end
      if why then return refuse(socket, why) end
      bytes = head:sub(stop + 1)
      if head:lower():find("100-continue", 1, true) then socket:write "HTTP/1.1 100 Continue\r\n\r\n" end
    end
    pieces[#pieces + 1] = bytes
    left = left - #bytes
    if left <= 0 then hang_up = describe(socket, table.concat(pieces)) end
  end)
end

local server = assert(uv.new_tcp())
local ok, problem = server:bind("127.0.0.1", port)
if ok then
  ok, problem = server:listen(128, function()
    local socket = uv.new_tcp()
    server:accept(socket)
    serve(socket)
  end)
end
if not ok then
  io.stderr:write("cannot listen on port ", port, ": ", problem, "\n")
  os.exit(1)
end
print("listening on http://127.0.0.1:" .. server:getsockname().port)
io.stdout:flush()
uv.run()
