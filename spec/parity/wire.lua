-- Replies as spec/support/replies makes them come in; what a raw server does for them goes out.
local json = require "lmm.json"

local wire = {}

local function head(reply, length)
  local lines = { ("HTTP/1.1 %d Reply"):format(reply.status or 200) }
  for name, value in pairs(reply.headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  lines[#lines + 1] = length
  return table.concat(lines, "\r\n")
end

local function add_chunks(steps, reply)
  for _, chunk in ipairs(reply.chunks) do
    if type(chunk) == "string" then
      steps[#steps + 1] = { send = ("%x\r\n%s\r\n"):format(#chunk, chunk) }
    elseif chunk.pause then
      steps[#steps + 1] = { pause = chunk.pause }
    else
      steps[#steps + 1] = { reset = true }
      return
    end
  end
  steps[#steps + 1] = { send = "0\r\n\r\n" }
end

--- Adds the steps that await a request and give one reply.
local function add_reply(steps, reply, keeps)
  local closing = keeps and "" or "\r\nConnection: close"
  steps[#steps + 1] = { await = "request" }
  if reply.delay then steps[#steps + 1] = { pause = reply.delay } end
  if reply.hang then
    steps[#steps + 1] = { hold = true }
  elseif reply.chunks then
    steps[#steps + 1] = { send = head(reply, "Transfer-Encoding: chunked") .. closing .. "\r\n\r\n" }
    add_chunks(steps, reply)
  else
    local body = reply.json and json.encode(reply.json) or reply.body
    local length = reply.is_open and "Connection: close" or "Content-Length: " .. #body
    steps[#steps + 1] = { send = head(reply, length) .. closing .. "\r\n\r\n" .. body }
  end
end

--- The scenarios of a case, one for each connection.
function wire.scenarios(case)
  local scenarios = {}
  local steps
  for i, reply in ipairs(case.replies) do
    if case.dies_before == i then
      steps[#steps + 1] = { await = "request" }
      steps[#steps + 1] = { close = true }
    end
    if not steps or not case.keeps then
      steps = {}
      scenarios[#scenarios + 1] = steps
    end
    add_reply(steps, reply, case.keeps or case.dies_before and case.dies_before > i)
  end
  if #scenarios == 0 then scenarios[1] = { { close = true } } end
  return scenarios
end

return wire
