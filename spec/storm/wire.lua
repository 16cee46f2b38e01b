--- HTTP framing: a status, headers and a body come in; the bytes on the wire go out, and where in them what begins.
local wire = {}

local REASONS = { [200] = "OK", [302] = "Found", [429] = "Too Many Requests", [503] = "Service Unavailable" }

local function chunked(r, body)
  local out, size, chunks, at = {}, 0, {}, 0
  local function add(bytes)
    out[#out + 1] = bytes
    size = size + #bytes
  end
  local longest = r:pick { 5, 40, 400, 4000 }
  while at < #body do
    local length = math.min(#body - at, r:int(1, longest))
    add((r:chance(0.5) and "%x" or "%X"):format(length) .. (r:chance(0.05) and ";a=b" or "") .. "\r\n")
    chunks[#chunks + 1] = { wire = size, body = at, length = length }
    add(body:sub(at + 1, at + length) .. "\r\n")
    at = at + length
  end
  add("0\r\n" .. (r:chance(0.05) and "X-Trailer: 1\r\n" or "") .. "\r\n")
  return table.concat(out), chunks
end

---@class lmm.storm.Wire
---@field bytes string
---@field line integer    where the status line ends
---@field head integer    the length of all heads, those of 1xx replies included
---@field framing "length"|"chunked"|"close"
---@field chunks table[]?
---@field keeps boolean   the connection may be used again

--- Frames a reply.
---@param headers string[]  lines
---@param only_once boolean?  it says that the connection ends with it
---@return lmm.storm.Wire
function wire.frame(r, status, headers, body, only_once)
  local framing = r:weighted { { "length", 40 }, { "chunked", 40 }, { "close", 20 } }
  local old = framing ~= "chunked" and r:chance(0.05)
  local lines = { ("HTTP/1.%d %d %s"):format(old and 0 or 1, status, REASONS[status] or "Whatever") }
  for _, header in ipairs(headers) do lines[#lines + 1] = header end
  if r:chance(0.1) then lines[#lines + 1] = "X-Long: " .. ("y"):rep(r:int(1, 3000)) end
  local chunks
  if framing == "length" then
    lines[#lines + 1] = r:pick { "Content-Length: ", "content-length:" } .. #body
  elseif framing == "chunked" then
    lines[#lines + 1] = "Transfer-Encoding: chunked"
    body, chunks = chunked(r, body)
  end
  local says_close = framing == "close" and r:chance(0.7) or r:chance(0.05) or only_once
  if says_close then lines[#lines + 1] = "Connection: close" end
  local before = r:chance(0.05)
    and r:pick { "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" } or ""
  local head = before .. table.concat(lines, "\r\n") .. "\r\n\r\n"
  return {
    bytes = head .. body, line = #before + #lines[1] + 2, head = #head, framing = framing, chunks = chunks,
    keeps = framing ~= "close" and not says_close and not old,
  }
end

--- How many bytes of the body are in the first `count` bytes of the wire.
function wire.body_at(frame, count)
  if not frame.chunks then return math.max(0, count - frame.head) end
  local got = 0
  for _, chunk in ipairs(frame.chunks) do
    got = math.max(got, math.min(chunk.body + chunk.length, chunk.body + count - frame.head - chunk.wire))
    if frame.head + chunk.wire + chunk.length > count then break end
  end
  return math.max(0, got)
end

--- Where the bytes are cut on their way: { to = offset, pause = milliseconds }, the last one at `count`.
function wire.delivery(r, count)
  local cuts, way = {}, r:weighted { { "burst", 50 }, { "pieces", 35 }, { "dribble", 15 } }
  if way == "pieces" then
    for i = 1, r:int(1, 8) do cuts[i] = { to = r:int(0, count), pause = r:chance(0.4) and r:int(0, 4) or nil } end
  elseif way == "dribble" then
    local from = r:int(0, count)
    for to = from, math.min(count, from + r:int(10, 300)) do
      cuts[#cuts + 1] = { to = to, pause = r:chance(0.01) and 1 or nil }
    end
  end
  table.sort(cuts, function(a, b) return a.to < b.to end)
  cuts[#cuts + 1] = { to = count }
  return cuts, way
end

return wire
