--- A program between a client and a server, or one that only seems to be there, on a real socket.
--
-- In:  { mode =, listen =, to = }. `listen` is "127.0.0.1" (the default), "::1", or the path of a Unix socket; `to` is
--      the port of 127.0.0.1 that is behind it. The modes:
--        pass     hands all bytes on, in both directions
--        connect  is an HTTP proxy: answers CONNECT, then hands on
--        stall    reads a little of what comes and then no more, until `go_on` is called; answers nothing
--        full     lets nobody in: what the system accepts by itself is taken up already
--        swallow  takes UDP on port 53 of the address, as a name server that never answers
-- Out: a handle; what came, and what happened, in order: "accepted N", "stalled N", "closed N", "query",
--      "full".

local child = require "lmm.server.child"
local process = require "spec.support.process"

local relay = {}

---@class lmm.spec.Relay
---@field port integer?
local Relay = {}
Relay.__index = Relay

--- What has happened so far.
---@return string[]
function Relay:events()
  local events = {}
  for line in process.read(self.prefix):gmatch "[^\n]+" do events[#events + 1] = line end
  return events
end

--- Waits until an event has happened.
function Relay:wait(event)
  process.wait_for(event, function()
    for _, seen in ipairs(self:events()) do
      if seen == event then return true end
    end
  end)
end

--- All bytes that the clients have sent.
function Relay:received()
  return process.read(self.prefix .. ".received")
end

--- In the mode `stall`: reads again.
function Relay:go_on()
  os.execute("kill -USR1 " .. self.child.pid)
end

function Relay:stop()
  self.child.stop()
  os.remove(self.prefix)
  os.remove(self.prefix .. ".received")
end

local LISTENING, KNOCKING = "0A", "02" -- the states of a TCP socket, in the kernel's numbers

--- The sockets of this machine, as the kernel tells: their ports, states, how much waits to be taken, and inodes.
local function sockets()
  local found = {}
  for line in (process.read "/proc/net/tcp" or ""):gmatch "[^\n]+" do
    local own, other, state, waiting, inode =
      line:match "^ *%d+: %x+:(%x+) %x+:(%x+) (%x%x) %x+:(%x+) %S+ %S+ +%d+ +%d+ (%d+)"
    if own then
      found[#found + 1] = { own = tonumber(own, 16), other = tonumber(other, 16), state = state,
        waiting = tonumber(waiting, 16), inode = inode }
    end
  end
  return found
end

--- In the mode `full`: whether this process, or one of those with these numbers, knocks, and is not let in.
---@param pids integer[]?
function Relay:is_knocked_at(pids)
  local folders = pids and "/proc/" .. table.concat(pids, "/fd /proc/") .. "/fd" or "/proc/$PPID/fd"
  local descriptors = process.shell("ls -l " .. folders)
  for _, socket in ipairs(sockets()) do
    if socket.other == self.port and socket.state == KNOCKING
      and descriptors:find("socket:[" .. socket.inode .. "]", 1, true) then return true end
  end
  return false
end

--- Whether more than the backlog wait to be accepted: from then on the kernel lets nobody in.
function Relay:is_full()
  for _, socket in ipairs(sockets()) do
    if socket.own == self.port and socket.state == LISTENING then return socket.waiting > 1 end
  end
  return false
end

---@param opts { mode: string, listen: string?, to: integer? }
---@return lmm.spec.Relay? relay
---@return string? message  where it cannot listen
function relay.start(opts)
  local prefix = os.tmpname()
  process.write(prefix .. ".received", "")
  local words = { prefix, opts.mode, opts.listen or "127.0.0.1", tostring(opts.to or 0) }
  local handle, message = child.start("spec.support.relay_server", words)
  if not handle then
    os.remove(prefix .. ".received")
    os.remove(prefix)
    return nil, message
  end
  local server = setmetatable({ prefix = prefix, child = handle, port = tonumber(handle.line) }, Relay)
  if opts.mode == "full" then
    server:wait "full"
    process.wait_for("a full backlog", function() return server:is_full() end)
  end
  return server
end

return relay
