-- usage: LUA bench/gateway.lua ROOT      from the project's folder
--
-- The gateway of examples/nginx beside a plain `proxy_pass`, in one nginx with one worker: prints for each of them the
-- seconds to the first byte (the median of many) from a server that answers at once and from one that takes 20 ms, and
-- the worker's CPU seconds for a stream of 200 events that come at once, and for one of 300 that come one by one. ROOT
-- is the server of bench/server.c.
local gateway = require "spec.support.gateway"
local json = require "lmm.json"
local mock = require "lmm.mock"
local process = require "spec.support.process"

local root = arg[1]
local ROUNDS, AT_ONCE = 3, 20

local PLAIN = [[
    location = /plain {
      proxy_pass %s/chat/completions;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer the-servers-key";
      proxy_set_header Content-Type application/json;
      proxy_buffering off;
    }
]]

--- Starts both before a model server.
local function start(url)
  local plain = PLAIN:format("http://model" .. url:match "//[^/]+(.*)$")
  return gateway.start(url, function(text)
    text = text:gsub("worker_processes 2", "worker_processes 1"):gsub("rate=10r/s", "rate=100000r/s")
      :gsub("access_log [^\n]*\n", "access_log off;\n", 1)
      :gsub("\n  server {", "\n  upstream model { server " .. url:match "//([^/]+)" .. "; keepalive 64; }%0", 1)
    return (text:gsub("    location = /ping", function(found) return plain .. found end))
  end)
end

local PATHS = { "/v1/chat/completions", "/plain" }

--- The worker's CPU seconds so far.
local function cpu(server)
  local text = process.read(("/proc/%d/stat"):format(server:workers()[1])):gsub("^.*%) ", "")
  local words = {}
  for word in text:gmatch "%S+" do words[#words + 1] = word end
  return (words[12] + words[13]) / 100
end

local function curl(server, path, words, body)
  return ("curl -sN --unix-socket %s/socket %s -o /dev/null -d '%s' %s 'http://localhost%s"):format(server.folder,
    gateway.KEY, body, words, path)
end

--- Calls `fn` for both in turn; gives the least of each.
local function interleaved(fn)
  local best = {}
  for _ = 1, ROUNDS do
    for i, path in ipairs(PATHS) do best[i] = math.min(best[i] or math.huge, fn(path)) end
  end
  return best
end

local function first_byte(server, body, asks)
  return interleaved(function(path)
    local times = {}
    local text = process.shell(curl(server, path, "-w '%{time_starttransfer}\\n'", body) .. "?[1-" .. asks .. "]'")
    for number in text:gmatch "[%d.]+" do times[#times + 1] = tonumber(number) end
    table.sort(times)
    return times[math.ceil(#times / 2)]
  end)
end

local function of_streams(server, body, each)
  return interleaved(function(path)
    local script = process.write(server.folder .. "/script", ("%s?[1-%d]'\n"):format(curl(server, path, "", body),
      each))
    local before = cpu(server)
    process.shell(("seq %d | xargs -P %d -I@ sh %s"):format(AT_ONCE, AT_ONCE, script))
    return (cpu(server) - before) / (each * AT_ONCE)
  end)
end

local body = '{"messages":[],"stream":true}'
local fast = start(root .. "/stream/200/280/v1")
local first, at_once = first_byte(fast, body, 500), of_streams(fast, body, 100)
fast:stop()
local model = assert(mock.start { delay = 0.005 })
local paced = start(model.url)
local question = { messages = { { role = "user", content = ("word "):rep(300) } }, stream = true }
local one_by_one = of_streams(paced, json.encode(question), 4)
question.messages[1].content, question.mock = "word", { first_delay = 0.02, delay = 0 }
local later = first_byte(paced, json.encode(question), 50)
paced:stop()
model.stop()
for i = 1, 2 do print(("%.7f %.7f %.7f %.7f"):format(first[i], later[i], at_once[i], one_by_one[i])) end
