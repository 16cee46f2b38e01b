-- A small HTTP front in a program that runs libuv's loop:   lua5.4 examples/luv_server.lua [PORT]
-- POST a picture to it; the description comes as plain text, piece by piece. Whoever hangs up ends the model's work.
--
--     curl --data-binary @picture.jpg http://127.0.0.1:8080/
local lmm = require "lmm"
local uv = require "luv"

lmm.use "luv"
local client = lmm.connect() -- $OPENAI_BASE_URL

local LARGEST = 32 * 1024 * 1024 -- bytes of a request

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
    if message then return send(socket, "502 Bad Gateway", message .. "\n") end
    send(socket, "200 OK", "")
    while piece do
      socket:write(piece)
      piece, message = stream:next()
    end
    socket:write(message and "\n[" .. message .. "]\n" or "\n")
  end, function() finish(socket) end)
  return function() task:cancel() end
end

local function serve(socket)
  local received, hang_up = "", nil
  socket:read_start(function(_, bytes)
    if not bytes then
      if hang_up then hang_up() end
      return finish(socket)
    end
    if hang_up or #received > LARGEST then return end
    received = received .. bytes
    local _, stop = received:find("\r\n\r\n", 1, true)
    local length = stop and tonumber(received:sub(1, stop):lower():match "content%-length: *(%d+)" or 0)
    if not stop or #received < stop + length then return end
    hang_up = describe(socket, received:sub(stop + 1, stop + length))
  end)
end

local server = assert(uv.new_tcp())
assert(server:bind("127.0.0.1", tonumber(arg[1]) or 8080))
assert(server:listen(128, function()
  local socket = uv.new_tcp()
  server:accept(socket)
  serve(socket)
end))
print("listening on http://127.0.0.1:" .. server:getsockname().port)
io.stdout:flush()
uv.run()
