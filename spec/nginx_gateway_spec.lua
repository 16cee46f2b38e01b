-- The example of a gateway, with clients of several kinds before it and the built-in server, or a scripted one, behind.
local gateway = require "spec.support.gateway"
local json = require "lmm.json"
local lmm = require "lmm"
local mock = require "lmm.mock"
local process = require "spec.support.process"
local raw = require "spec.support.raw"

local KEY = gateway.KEY
local PATH = "/v1/chat/completions"
local quote = process.quote
local folder = process.shell "mktemp -d":match "%S+"

local one, other, server

setup(function()
  one, other = assert(mock.start { delay = 0 }), assert(mock.start { delay = 0 })
  server = gateway.start(one.url .. " " .. other.url, function(text)
    return (text:gsub("rate=10r/s", "rate=10000r/s"))
  end)
end)

teardown(function()
  server:stop { "too large" }
  one.stop()
  other.stop()
  os.execute("rm -rf " .. quote(folder))
end)

local written = 0

--- The words for curl that post a request.
local function post(request)
  written = written + 1
  local text = type(request) == "string" and request or json.encode(request)
  local path = process.write(("%s/request.%d"):format(folder, written), text)
  return KEY .. "-w ' %{http_code} %{content_type}' -H 'Content-Type: application/json' --data-binary @" .. path
end

local function asks(question, more)
  local request = { model = "mock", messages = { { role = "user", content = question } } }
  for name, value in pairs(more or {}) do request[name] = value end
  return request
end

local HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n"

local function json_answer(text, status)
  return ("HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(
    status or "200 OK", #text, text)
end

--- Runs the gateway before a scripted server.
local function before(scenarios, fn)
  local model = raw.start(scenarios)
  local gate = gateway.start(model.url)
  local ok, problem = pcall(fn, gate, model)
  gate:stop { "broke off", "broken off" }
  model:stop()
  if not ok then error(problem, 0) end
end

describe("the gateway", function()
  it("has 40 lines of Lua at most", function()
    local _, count = process.read "examples/nginx/gateway/gateway.lua":gsub("\n", "")
    assert(count <= 40, count .. " lines")
  end)

  it("passes on a request and its answer byte for byte, and keeps its key", function()
    local request = '{ "seed":9007199254740993,"a":1.0, "a":[ ],\t"messages":[{"role":"user","content":"\\u00e4"}] }\n'
    local events = ': hello\r\n\r\ndata:{"id" : "x", "choices":[{"delta":{"content":"a","extra":[ ]}}]}\n\n'
      .. 'event: y\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n: bye\n\n'
    before({ { { await = "request" }, { send = HEAD .. events } } }, function(gate, model)
      local text = gate:get(PATH, post(request))
      assert.equal(events .. " 200 text/event-stream; charset=utf-8", text)
      local received = model:received(1)
      assert.equal(request, received:match "\r\n\r\n(.*)$")
      assert.matches("\r\nAuthorization: Bearer the%-servers%-key\r\n", received)
      assert.is_nil(received:find("alice", 1, true))
    end)
  end)

  it("passes on pieces as they come, and ends what a client leaves", function()
    local piece = 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    before({ { { await = "request" }, { send = HEAD .. piece }, { hold = true } } }, function(gate, model)
      local out = folder .. "/out"
      process.write(out, "")
      local command = ("echo $$; exec env -u LD_PRELOAD curl -sN --noproxy '*' --unix-socket %s/socket %s "
        .. "http://localhost%s >%s"):format(gate.folder, post '{"messages":[],"stream":true}', PATH, out)
      local client = io.popen(command)
      local pid = client:read "*l"
      process.wait_for("the first piece", function() return process.read(out):find(piece, 1, true) end)
      os.execute("kill " .. pid)
      client:close()
      model:wait "closed"
    end)
  end)

  it("passes on pictures", function()
    local picture = lmm.image "examples/picture.jpg"
    local client = lmm.connect { base_url = server.url, api_key = "alices-key" }
    local reply = assert(client:conversation():ask("What is it?", picture))
    assert.matches("1280 x 854 pixels, 104316 bytes", reply.text)
    assert.equal("mock", assert(client:models())[1].id)
  end)

  it("lets 100 ask at once, each of whom gets the own answer", function()
    local script = ([[seq 100 | env -u LD_PRELOAD xargs -P 100 -I@ curl -s --unix-socket %s/socket %s -d ]]
      .. [['{"model":"mock","stream":true,"messages":[{"role":"user","content":"No. @."}]}' http://localhost%s]])
      :format(server.folder, KEY, PATH)
    local text = process.shell(script)
    local _, ends = text:gsub("data: %[DONE%]", "")
    assert.equal(100, ends)
    local seen = {}
    for number in text:gmatch '"content":"(%d+)%. ?"' do seen[number] = true end
    local count = 0
    for _ in pairs(seen) do count = count + 1 end
    assert.equal(100, count)
  end)

  it("goes to the next server where one is dead, and names each in the log where all are", function()
    local gate = gateway.start("http://127.0.0.1:1/v1 " .. one.url)
    for _ = 1, 3 do assert.matches("question: Why.* 200 application/json$", (gate:get(PATH, post(asks "Why")))) end
    gate:stop()
    gate = gateway.start "http://127.0.0.1:1/v1 http://127.0.0.1:2/v1"
    local text = gate:get(PATH, post(asks "Why"))
    assert.matches("no server answers: .*:1/v1.*; .*:2/v1", gate:log())
    gate:stop { "no server answers" }
    local body = json.decode(text:match "^(.*) 502 application/json$")
    assert.same({ message = "no answer", type = "connect", code = 502 }, body.error)
  end)

  it("tells a server that is killed in mid-stream as it is", function()
    local victim = assert(mock.start { delay = 0.2 })
    local gate = gateway.start(victim.url)
    local out = folder .. "/out"
    process.write(out, "")
    local question = ("word "):rep(200)
    local client = io.popen(("env -u LD_PRELOAD curl -sN --noproxy '*' --unix-socket %s/socket %s "
      .. "http://localhost%s >%s; echo $?"):format(gate.folder, post(asks(question, { stream = true })), PATH, out))
    process.wait_for("some pieces", function() return process.read(out):find "word .*word " end)
    os.execute("kill -9 " .. victim.pid)
    assert.equal("18", client:read "*l") -- a transfer that is not complete
    client:close()
    assert.is_nil(process.read(out):find("[DONE]", 1, true))
    gate:stop { "the reply from .* broke off" }
    victim.stop()
  end)

  it("gives errors as the server wrote them", function()
    local body = '{ "error" : {"message":"Wrong.","type":"X","param":null, "code":422 } }\n'
    local event = 'data: {"error":{"message":"too long", "code":400}}\n\ndata: [DONE]\n\n'
    before({ { { await = "request" }, { send = json_answer(body, "422 No") } },
      { { await = "request" }, { send = HEAD .. event } } }, function(gate)
      assert.equal(body .. " 422 application/json", (gate:get(PATH, post '{"messages":[]}')))
      assert.equal('{"error":{"message":"too long", "code":400}} 400 application/json',
        (gate:get(PATH, post '{"messages":[],"stream":true}')))
    end)
  end)

  it("refuses what is no request", function()
    local rows = {
      { post "", "it is empty.* 400 application/json$" },
      { post "hello", "not a JSON object.* 400 application/json$" },
      { post "[]", "it is a list.* 400 " },
      { post(("["):rep(100000)), "nested.* 400 " },
      { KEY .. "-w ' %{http_code}'", '"POST a request".* 405$' },
      { "-d '{}' -w ' %{http_code}'", '"no such key".* 401$' },
      { "-H 'Authorization: Bearer other' -d '{}' -w ' %{http_code}'", '"no such key".* 401$' },
      { "-H 'Authorization: Bearer ALICES-KEY' -d '{}' -w ' %{http_code}'", '"no such key".* 401$' },
    }
    for _, row in ipairs(rows) do assert.matches(row[2], (server:get(PATH, row[1]))) end
    assert.matches('"no such path".* 404 application/json$', (server:get("/v1/embeddings", post "{}")))
  end)

  it("knows no model that no server has, and tells nobody but the log where these are", function()
    local gate = gateway.start(one.url .. " " .. other.url)
    local text = gate:get(PATH, post(asks("Why", { model = "none" })))
    local log = gate:log()
    gate:stop { 'no server has the model "none"' }
    local body = json.decode(text:match "^(.*) 404 application/json$")
    assert.same({ message = "no such model", type = "invalid", code = "model_not_found" }, body.error)
    for _, model in ipairs { one, other } do assert(log:find(model.url, 1, true), log) end
  end)

  it("takes no more than 32 MB, however they are sent", function()
    local words = KEY .. "-w ' %{http_code}' "
    assert.matches('"32 MB at most".* 413$', (server:get(PATH, words .. "-H 'Content-Length: 1073741824' -d x")))
    local command = ("head -c 1073741824 /dev/zero | env -u LD_PRELOAD curl -s --unix-socket %s/socket %s -X POST -T - "
      .. "http://localhost%s 2>&1"):format(server.folder, words, PATH)
    assert.matches(" 413$", process.shell(command))
  end)

  it("lets nobody ask more often than the limit says", function()
    local gate = gateway.start(one.url)
    local command = ("seq %d | env -u LD_PRELOAD xargs -P 8 -I@ curl -s --unix-socket %s/socket %s -o /dev/null "
      .. "-w '%%{http_code}\n' -d '%s' http://localhost%s"):format(60, gate.folder, KEY, json.encode(asks "Why"), PATH)
    local _, taken = process.shell(command):gsub("200\n", "")
    local text = ""
    for _ = 1, 60 do
      text = gate:get(PATH, post(asks "Why"))
      if text:find "429" then break end
    end
    gate:stop { "limiting requests" }
    assert(taken >= 21 and taken < 60, taken)
    assert.matches('"too many requests".* 429 application/json$', text)
  end)

  it("logs who asked, the model, the time to the first token, and the tokens", function()
    local gate = gateway.start(one.url)
    gate:get(PATH, post(asks("Why", { stream = true, stream_options = { include_usage = true } })))
    gate:get(PATH, "-H 'Authorization: Bearer bobs-key' -d '" .. json.encode(asks "Why") .. "'")
    gate:get(PATH, "-d '{}'")
    local log = process.wait_for("three lines", function() -- which come after what the client gets
      return process.read(gate.folder .. "/access.log"):match "^[^\n]+\n[^\n]+\n[^\n]+\n$"
    end)
    gate:stop()
    local lines = {}
    for line in log:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.matches("^%S+ alice 200 mock 0%.%d%d%d %d+%.%d+ %d+%+%d+ %d+ %d+$", lines[1])
    assert.matches("^%S+ bob 200 mock 0%.%d%d%d %d+%.%d+ %d+%+%d+ %d+ %d+$", lines[2])
    assert.matches("^%S+ %- 401 %- %- ", lines[3])
  end)
end)

-- ---- the clients that people have

local CHUNK = 'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
  .. '"delta":%s,"finish_reason":%s}]}\n\n'
local TOOL_EVENTS = CHUNK:format('{"role":"assistant","tool_calls":[{"index":0,"id":"t1","type":"function","function":'
  .. '{"name":"weather","arguments":""}}]}', "null")
  .. CHUNK:format('{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":"}}]}', "null")
  .. CHUNK:format('{"tool_calls":[{"index":0,"function":{"arguments":" \\"Rome\\"}"}}]}', "null")
  .. CHUNK:format("{}", '"tool_calls"') .. "data: [DONE]\n\n"

-- Each asks about a picture, unstreamed and streamed, for a model that is not there, and, of another gateway, with a
-- tool; and prints what it got.
local PYTHON = [[
import base64, openai, os, sys
client = openai.OpenAI(max_retries=0)
url = "data:image/jpeg;base64," + base64.b64encode(open("examples/picture.jpg", "rb").read()).decode()
messages = [{"role": "user", "content": [{"type": "text", "text": "Why?"},
  {"type": "image_url", "image_url": {"url": url}}]}]
print(client.models.list().data[0].id)
print(client.chat.completions.create(model="mock", messages=messages).choices[0].message.content)
pieces = client.chat.completions.create(model="mock", messages=messages, stream=True,
  stream_options={"include_usage": True})
text, usage = "", None
for piece in pieces:
  usage = piece.usage or usage
  if piece.choices: text += piece.choices[0].delta.content or ""
print(text)
print(usage.total_tokens > 0)
try: client.chat.completions.create(model="mock", messages=messages, extra_body={"mock": {"status": 409}})
except openai.APIStatusError as problem: print(problem.status_code, problem.body["message"])
try:
  for piece in client.chat.completions.create(model="mock", messages=messages, stream=True,
    extra_body={"mock": {"reset_after": 1}}): pass
  print("whole")
except Exception as problem: print("broken")
client = openai.OpenAI(base_url=os.environ["TOOLS_URL"])
tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
calls = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], tools=[tool],
  stream=True)
name, arguments = None, ""
for piece in calls:
  for call in piece.choices[0].delta.tool_calls or []:
    name = name or call.function.name
    arguments += call.function.arguments
print(name, arguments)
]]

local NODE = [[
const { OpenAI } = require("openai")
const { readFileSync } = require("fs")
async function main() {
  let client = new OpenAI({ maxRetries: 0 })
  const url = "data:image/jpeg;base64," + readFileSync("examples/picture.jpg").toString("base64")
  const messages = [{ role: "user", content: [{ type: "text", text: "Why?" },
    { type: "image_url", image_url: { url } }] }]
  console.log((await client.models.list()).data[0].id)
  console.log((await client.chat.completions.create({ model: "mock", messages })).choices[0].message.content)
  const pieces = await client.chat.completions.create({ model: "mock", messages, stream: true,
    stream_options: { include_usage: true } })
  let text = "", usage = null
  for await (const piece of pieces) {
    usage = piece.usage || usage
    if (piece.choices.length) text += piece.choices[0].delta.content || ""
  }
  console.log(text)
  console.log(usage.total_tokens > 0 ? "True" : "False")
  try { await client.chat.completions.create({ model: "mock", messages, mock: { status: 409 } }) }
  catch (problem) { console.log(problem.status, problem.error.message) }
  try {
    const broken = await client.chat.completions.create({ model: "mock", messages, stream: true,
      mock: { reset_after: 1 } })
    for await (const piece of broken) {}
    console.log("whole")
  } catch (problem) { console.log("broken") }
  client = new OpenAI({ baseURL: process.env.TOOLS_URL })
  const calls = await client.chat.completions.create({ model: "m", messages: [{ role: "user", content: "?" }],
    tools: [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }], stream: true })
  let name = null, args = ""
  for await (const piece of calls) for (const call of piece.choices[0].delta.tool_calls || []) {
    name = name || call.function.name
    args += call.function.arguments
  }
  console.log(name, args)
}
main()
]]

--- Where spec/clients/install.sh has put them, as `make test` has it do.
local CLIENTS = (os.getenv "XDG_CACHE_HOME" or os.getenv "HOME" .. "/.cache") .. "/lmm/clients"
local NODE_PROGRAM = ("env NODE_PATH=%s %s"):format(quote(CLIENTS .. "/node_modules"), quote(CLIENTS .. "/node"))

local clients = {
  { "openai-python", quote(CLIENTS .. "/venv/bin/python"), PYTHON, "-c 'import openai'" },
  { "openai-node", NODE_PROGRAM, NODE, [[-e 'require("openai")']] },
}

for _, row in ipairs(clients) do
  it(row[1] .. " streams through the gateway", function()
    local name, program, text, probe = row[1], row[2], row[3], row[4]
    if process.shell(("env -u LD_PRELOAD %s %s >/dev/null 2>&1 && echo here"):format(program, probe)) == "" then
      return pending(name .. " is not installed: spec/clients/install.sh " .. CLIENTS)
    end
    local model = raw.start { { { await = "request" }, { send = json_answer '{"data":[{"id":"m"}]}' } },
      { { await = "request" }, { send = HEAD .. TOOL_EVENTS } } }
    local tools = gateway.start(model.url)
    local gate = gateway.start(one.url)
    local path = process.write(folder .. "/program", text)
    local said = process.shell(("env -u LD_PRELOAD OPENAI_BASE_URL=%s OPENAI_API_KEY=alices-key TOOLS_URL=%s "
      .. "no_proxy='*' timeout 60 %s %s 2>&1"):format(gate.url, tools.url, program, path))
    gate:stop { "broke off", "recv%(%) failed" }
    tools:stop()
    model:stop()
    local sum = process.shell "sha256sum examples/picture.jpg":match "%x+"
    local answer = "image 1: image/jpeg, 1280 x 854 pixels, 104316 bytes, sha256 " .. sum .. "\nquestion: Why?\n"
    assert.equal("mock\n" .. answer .. answer .. "True\n409 The mock was asked to answer 409.\nbroken\n"
      .. 'weather {"city": "Rome"}\n', said)
  end)
end
