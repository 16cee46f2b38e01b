--- The child's side of spec.support.relay.
--
-- In:  a prefix of file names, the mode, the address to listen on, the port to hand on to.
-- Out: PREFIX with a line for each event; PREFIX.received with all that the clients have sent.

local uv = require "luv"
local child = require "lmm.server.child"

local M = {}

local BACKLOG, GUESTS = 1, 12 -- a kernel lets in one or two more than the backlog
local STALL = 100 * 1000      -- bytes

local events, received

local function note(...)
  events:write(table.concat({ ... }, " "), "\n")
  events:flush()
end

local function record(bytes)
  received:write(bytes or "")
  received:flush()
end

local function close(...)
  for _, socket in ipairs { ... } do
    if not socket:is_closing() then socket:close() end
  end
end

--- Hands on what comes from one socket to another.
local function pump(from, to, watch)
  from:read_start(function(_, bytes)
    if watch then watch(bytes) end
    if bytes then return to:is_closing() or to:write(bytes) end
    close(from, to)
  end)
end

local function pass(client, port, first, watch)
  local server = uv.new_tcp()
  server:connect("127.0.0.1", port, function(err)
    if err then return close(client, server) end
    if first ~= "" then server:write(first) end
    pump(client, server, watch)
    pump(server, client)
  end)
end

local modes = {}

function modes.pass(client, number, port)
  pass(client, port, "", function(bytes)
    record(bytes)
    if not bytes then note("closed", number) end
  end)
end

function modes.connect(client, number, port)
  local head = ""
  client:read_start(function(_, bytes)
    if not bytes then
      note("closed", number)
      return close(client)
    end
    record(bytes)
    head = head .. bytes
    local _, stop = head:find("\r\n\r\n", 1, true)
    if not stop then return end
    client:read_stop()
    if not head:find "^CONNECT " then return close(client) end
    client:write "HTTP/1.1 200 Connection established\r\n\r\n"
    pass(client, port, head:sub(stop + 1), record)
  end)
end

function modes.stall(client, number)
  local count, resumed = 0, false
  local function read(_, bytes)
    if not bytes then
      note("closed", number)
      return close(client)
    end
    record(bytes)
    count = count + #bytes
    if count < STALL or resumed then return end
    client:read_stop()
    note("stalled", number)
  end
  client:read_start(read)
  uv.new_signal():start("sigusr1", function()
    resumed = true
    if not client:is_closing() then client:read_start(read) end
  end)
end

--- Takes questions, and answers none.
local function swallow(address)
  local socket = uv.new_udp()
  assert(socket:bind(address, 53))
  socket:recv_start(function(_, bytes)
    if bytes then note "query" end
  end)
  return socket
end

local function listen(address, backlog, fn)
  local is_path = address:find "/"
  local listener = is_path and uv.new_pipe(false) or uv.new_tcp()
  if is_path then assert(listener:bind(address)) else assert(listener:bind(address, 0)) end
  assert(listener:listen(backlog, fn))
  return listener, not is_path and listener:getsockname().port or 0, is_path
end

--- The program of the child process.
---@param words string[]
function M.main(words)
  local prefix, mode, address, port = words[1], words[2], words[3], tonumber(words[4])
  events, received = assert(io.open(prefix, "a")), assert(io.open(prefix .. ".received", "ab"))
  if mode == "swallow" then
    local socket = swallow(address)
    child.ready(uv, "53")
    uv.run()
    return socket
  end
  local guests, accepted = {}, 0
  local listener, own, is_path
  local function knock(count)
    for _ = 1, count do
      local guest = uv.new_tcp()
      guest:connect("127.0.0.1", own, function() end)
      guests[#guests + 1] = guest
    end
  end
  listener, own, is_path = listen(address, mode == "full" and BACKLOG or 128, function()
    if mode == "full" then -- luv holds the first, and takes no other before it is accepted
      knock(GUESTS)
      return note "full"
    end
    accepted = accepted + 1
    local client = is_path and uv.new_pipe(false) or uv.new_tcp()
    assert(listener:accept(client))
    note("accepted", accepted)
    modes[mode](client, accepted, port)
  end)
  if mode == "full" then knock(1) end
  child.ready(uv, tostring(own))
  uv.run()
end

return M
