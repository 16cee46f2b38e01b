--- A server that does to a client exactly what a spec says, byte by byte, and tells what the client did.
--
--     local server = raw.start {
--       { { await = "request" }, { send = "HTTP/1.1 200 OK\r\n" }, { pause = 0.1 }, { reset = true } },
--       { { await = "request" }, { send = answer }, { await = "close" } },
--     }
--
-- There is a list of steps for each connection, in the order in which they are accepted; the last one serves all that
-- follow. The steps:
--
--     { send = bytes }                     and wait until the kernel has them
--     { dribble = bytes, every = seconds } one byte at a time
--     { pause = seconds }
--     { await = "head" }                   the next request's head has come (each such step awaits a further one)
--     { await = "request" }                the next request has come, as far as its Content-Length goes
--     { await_all = count }                so many requests have come on all connections together
--     { await = "close" }                  the client has closed the connection
--     { deaf = true }                      what comes from now on is not read
--     { shut = true }                      from now on nobody can connect any more: the system lets them wait
--     { close = true }                     as at the end of the steps
--     { reset = true }                     with a RST
--     { hold = true }                      nothing more, until the client closes
--
-- What the client sends is read and recorded all the time, unless the server is deaf.

local child = require "lmm.server.child"
local shell = require "spec.support.shell"

local raw = {}

local DEADLINE = 60 -- seconds, generous to slow machines: it is only ever reached by a failure

local function literal(value)
  if type(value) ~= "table" then return type(value) == "string" and string.format("%q", value) or tostring(value) end
  local fields = {}
  for key, item in pairs(value) do fields[#fields + 1] = "[" .. literal(key) .. "]=" .. literal(item) end
  return "{" .. table.concat(fields, ",") .. "}"
end

---@class lmm.spec.Raw
---@field url string   "http://HOST:PORT/v1"
---@field port integer
local Raw = {}
Raw.__index = Raw

--- What has happened so far, in order: { event = "accepted"|"head"|"request"|"closed", connection = 1, ... }. A request
--- has `bytes` and `sha256` of its body; accepted has the client's `port`; closed has `how`: "EOF" or the error's name.
---@return table[]
function Raw:events()
  local events = {}
  for line in shell.read(self.prefix .. ".events"):gmatch "([^\n]*)\n" do
    local event, connection, first, second = line:match "^(%S+) (%d+) ?(%S*) ?(%S*)$"
    events[#events + 1] = {
      event = event, connection = tonumber(connection),
      bytes = event == "request" and tonumber(first) or nil, sha256 = event == "request" and second or nil,
      port = event == "accepted" and tonumber(first) or nil, how = event == "closed" and first or nil,
    }
  end
  return events
end

--- The events of one name.
---@param event string
---@return table[]
function Raw:seen(event)
  local found = {}
  for _, entry in ipairs(self:events()) do
    if entry.event == event then found[#found + 1] = entry end
  end
  return found
end

--- Waits until there are so many events of that name, and gives them; raises after a minute.
---@param event string
---@param count? integer  1 unless given
---@return table[]
function Raw:wait(event, count)
  local deadline = os.time() + DEADLINE
  repeat
    local found = self:seen(event)
    if #found >= (count or 1) then return found end
    os.execute "sleep 0.01"
  until os.time() > deadline
  local names = {}
  for i, entry in ipairs(self:events()) do names[i] = entry.event .. " " .. entry.connection end
  error(string.format("no %s after %d s; seen: %s", event, DEADLINE, table.concat(names, ", ")), 2)
end

--- All bytes that a connection has brought so far.
---@param connection? integer  the first unless given
function Raw:received(connection)
  return shell.read(self.prefix .. ".received." .. (connection or 1))
end

--- Ends the server and removes its record.
function Raw:stop()
  self.child.stop()
  local accepted = #self:seen "accepted"
  for i = 1, accepted do os.remove(self.prefix .. ".received." .. i) end
  for _, suffix in ipairs { "", ".scenarios", ".events" } do os.remove(self.prefix .. suffix) end
end

--- Starts a server on a free port of 127.0.0.1, or on the address given.
---@param scenarios table[][]
---@param host string?
---@param port integer?
---@return lmm.spec.Raw
function raw.start(scenarios, host, port)
  local prefix = os.tmpname()
  shell.write(prefix .. ".scenarios", "return " .. literal(scenarios))
  shell.write(prefix .. ".events", "")

  local handle = assert(child.start("spec.support.raw_server", { prefix, host or "127.0.0.1", tostring(port or 0) }))
  local server = setmetatable({ prefix = prefix, child = handle }, Raw)
  server.port = tonumber(handle.line:match ":(%d+)$")
  server.url = string.format("http://%s:%d/v1", host or "127.0.0.1", server.port)
  return server
end

return raw
