-- A model server with a flaw: `lua spec/support/model_server.lua FLAW --port N [FILE]`.
local http = require "lmm.http"
local uv = require "luv"

local MODELS = '{"object":"list","data":[{"id":"tiny","object":"model"}]}'
local JSON = { ["content-type"] = "application/json" }

local ANSWER = '{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"yes"}}]}'

local requests, chats = 0, 0

--- Answers two questions, then is ill, as vLLM is when its engine dies: it refuses all with 500, says that it is not
--- well, and ends a second later. Once it has done so, which a file tells, it is well.
local function dying(path)
  local marked = io.open(arg[4], "rb")
  if marked and chats <= 2 then
    marked:close()
    return path:find "chat" and 200 or nil, ANSWER
  end
  if path:find "chat" then chats = chats + 1 end
  if chats <= 2 then return path:find "chat" and 200 or nil, ANSWER end
  if not marked then
    io.open(arg[4], "wb"):close()
    uv.new_timer():start(1500, 0, function() os.exit(1) end)
  end
  return path == "/health" and 503 or 500, '{"error":{"message":"EngineCore encountered an issue"}}'
end

--- Dies of one question, as a server does whose engine cannot take what one row sends: at once, or ill first.
local is_ill = false
local function poisoned(path, body)
  if body:find("slow poison", 1, true) and not is_ill then
    is_ill = true
    uv.new_timer():start(1500, 0, function() os.exit(7) end)
  elseif not is_ill and body:find("poison", 1, true) then
    os.exit(7)
  end
  if is_ill then return path == "/health" and 503 or 500, '{"error":{"message":"EngineCore encountered an issue"}}' end
  return path:find "chat" and 200 or nil, ANSWER
end

-- What each flaw answers to a path and a body, in place of what is right.
local flaws = {
  loading = function() -- as llama-server does while it loads
    requests = requests + 1
    if requests <= 3 then return 503, '{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}' end
  end,
  no_health = function(path) if path == "/health" then return 404, '{"detail":"Not Found"}' end end,
  page = function() return 200, "<html>It works!</html>" end,
  no_list = function(path) if path == "/v1/models" then return 200, '{"hello":"world"}' end end,
  guarded = function(path) if path ~= "/health" then return 401, '{"error":"Unauthorized"}' end end,
  noise = function() end,
  stubborn = function() end,
  dying = dying,
  poisoned = poisoned,
}

local flaw, port = arg[1], tonumber(arg[3])
local find_flaw = assert(flaws[flaw], "there is no such flaw")

if flaw == "stubborn" then
  uv.new_signal():start("sigterm", function() end)
  -- In the same group, and as stubborn.
  local script = "trap '' TERM; while :; do sleep 0.2; done"
  uv.spawn("/bin/sh", { args = { "-c", script }, stdio = { nil, 1, 2 } }, function() end)
end

if flaw == "noise" then
  local listener = uv.new_tcp()
  assert(listener:bind("127.0.0.1", port))
  assert(listener:listen(8, function()
    local peer = uv.new_tcp()
    listener:accept(peer)
    peer:write("220 this is no web server\r\n", function() peer:close() end)
  end))
else
  assert(http.serve { port = port, on_request = function(request, response)
    local status, body = find_flaw(request.path, request.body)
    if not status then status, body = 200, request.path == "/v1/models" and MODELS or "" end
    response:send(status, JSON, body)
  end })
end
print "ready"
io.flush()
uv.run()
