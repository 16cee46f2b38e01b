--- curl as the client of a mock.
--
-- In:  the server.
-- Out: what curl got, byte for byte: { status, headers (names in lower case), body, code (curl's) }.

local json = require "lmm.json"
local run_curl = require "spec.support.curl"
local shell = require "spec.support.shell"

local asking = {}

local function curl(words)
  local text, code = run_curl("-i " .. words)
  local head, body = text:match "^(.-\r\n)\r\n(.*)$"
  local headers = {}
  for name, value in (head or ""):gmatch "([^\r\n:]+): ([^\r\n]*)" do headers[name:lower()] = value end
  return { status = tonumber((head or ""):match " (%d+)"), headers = headers, body = body, code = code }
end

---@param server lmm.MockServer
function asking.new(server)
  local client = { curl = curl, scratch = os.tmpname() }

  --- The words for curl that post a body.
  ---@param body string|table
  ---@param path string?  chat completions unless given
  function client.words(body, path)
    shell.write(client.scratch, type(body) == "string" and body or json.encode(body))
    return "-H 'Content-Type: application/json' --data-binary @" .. client.scratch .. " "
      .. server.url:gsub("/v1$", path or "/v1/chat/completions")
  end

  function client.post(body, path) return curl(client.words(body, path)) end

  --- Asks one question, with these fields of the request.
  function client.ask(fields, content, words)
    local body = { messages = { { role = "user", content = content or "Hello there" } } }
    for name, value in pairs(fields or {}) do body[name] = value end
    return curl((words or "") .. " " .. client.words(body))
  end

  function client.stop()
    server.stop()
    os.remove(client.scratch)
  end

  return client
end

return asking
