-- The built-in mock answers as vLLM does, byte for byte, and fails on demand. curl is the client.

local asking = require "spec.support.asking"
local json = require "lmm.json"
local mock = require "lmm.mock"
local run_curl = require "spec.support.curl"
local shell = require "spec.support.shell"

local server, client

setup(function()
  server = assert(mock.start { delay = 0 })
  client = asking.new(server)
end)

teardown(function() client.stop() end)

local function curl(...) return client.curl(...) end
local function ask(...) return client.ask(...) end

-- An answer with what differs from run to run made the same.
local function settled(body)
  return (body:gsub('"id":"chatcmpl%-%d+"', '"id":"ID"'):gsub('"created":%d+', '"created":0'))
end

local NOT_ALLOWED = '{"detail":"Method Not Allowed"}'

-- Method, path, status, body, and the header `allow`.
local routes = {
  { "GET", "/health", 200, "" },
  { "GET", "/ping", 200, "" },
  { "POST", "/ping", 200, "" },
  { "GET", "/version", 200, '{"version":"0.32.0"}' },
  { "GET", "/load", 200, '{"server_load":0}' },
  { "GET", "/v1/nothing", 404, '{"detail":"Not Found"}' },
  { "GET", "/v1/chat/completions", 405, NOT_ALLOWED, "POST" },
  { "OPTIONS", "/v1/chat/completions", 405, NOT_ALLOWED, "POST" },
  { "POST", "/v1/models", 405, NOT_ALLOWED, "GET" },
  { "POST", "/health", 405, NOT_ALLOWED, "GET" },
  { "PUT", "/ping", 405, NOT_ALLOWED, "GET, POST" },
}

-- Bytes are tokens; 257 begins a turn, 258 ends it, and 259 and 260 hold an image.
local IMAGE = { type = "image_url", image_url = { url = "https://example.org/a.png" } }
local VIDEO = { type = "video_url", video_url = { url = "https://example.org/a.mp4" } }
local USER, END, ASSISTANT = "257,117,115,101,114,10,", "258,10", ",257,97,115,115,105,115,116,97,110,116,10"

local prompts = {
  { "a prompt", { prompt = "abc" }, 3, "97,98,99" },
  { "an empty prompt", { prompt = "" }, 0, "" },
  { "bytes of one character", { prompt = "\195\164" }, 2, "195,164" },
  { "a message", { messages = { { role = "user", content = "x" } } }, 20, USER .. "120," .. END .. ASSISTANT },
  { "a message alone", { messages = { { role = "user", content = "x" } }, add_generation_prompt = false }, 9,
    USER .. "120," .. END },
  { "an image", { messages = { { role = "user", content = { IMAGE, { type = "text", text = "x" } } } } }, 26,
    USER .. "259,262,262,262,262,260,120," .. END .. ASSISTANT },
  { "a video", { messages = { { role = "user", content = { "x", VIDEO } } } }, 26,
    USER .. "120,259,263,263,263,263,260," .. END .. ASSISTANT },
}

local no_prompts = {
  { "nothing", "{}", "2 validation errors:\\n  {'type': 'missing', 'loc': 'body.prompt', 'msg': 'Field required', "
    .. "'input': '<dict of 0 items>'}\\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', "
    .. "'input': '<dict of 0 items>'}\",\"type\":\"Bad Request\",\"param\":\"body.prompt\",\"code\":400}}" },
  { "another model", '{"model":"x","prompt":"a"}', "The model `x` does not exist. Valid aliases: mock." },
  { "no messages", '{"messages":[]}', "Cannot apply chat template" },
  { "a number", "5", "model_attributes_type" },
  { "no JSON", "x", "json_invalid" },
}

describe("what the mock serves", function()
  it("lists its model", function()
    local answer = curl(server.url .. "/models")
    assert.equal("application/json", answer.headers["content-type"])
    assert.equal('{"object":"list","data":[{"id":"mock","object":"model","created":0,'
      .. '"owned_by":"vllm","root":"mock","parent":null,"max_model_len":32768,"permission":[{"id":"modelperm-0",'
      .. '"object":"model_permission","created":0,"allow_create_engine":false,"allow_sampling":true,'
      .. '"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,'
      .. '"allow_fine_tuning":false,"organization":"*","group":null,'
      .. '"is_blocking":false}]}]}', settled(answer.body))
  end)

  for _, row in ipairs(routes) do
    it(row[1] .. " " .. row[2], function()
      local answer = curl("-X " .. row[1] .. " " .. server.url:gsub("/v1$", row[2]))
      assert.same({ row[3], row[4], row[5] }, { answer.status, answer.body, answer.headers.allow })
      assert.equal("uvicorn", answer.headers.server)
    end)
  end

  it("/load counts the requests that are under way", function()
    local words = client.words { messages = { { role = "user", content = "x" } }, mock = { first_delay = 600 } }
    local script = ("curl -s --noproxy '*' -m 600 %s & one=$!; curl -s --noproxy '*' -m 600 %s & two=$!\n")
      :format(words, words) .. [[
    load() { tries=0; until curl -s --noproxy '*' "$url" | grep -q "^{\"server_load\":$1}$" || [ $tries -gt 200 ]
      do sleep 0.05; tries=$((tries + 1)); done; [ $tries -le 200 ] && echo $1; }
    load 2; kill $one; load 1; kill $two; load 0; wait]]
    local url = server.url:gsub("/v1$", "/load")
    assert.equal("2\n1\n0\n", shell.output("unset LD_PRELOAD; url=" .. url .. "\n" .. script))
  end)

  for _, row in ipairs(prompts) do
    it("/tokenize counts " .. row[1], function()
      assert.equal(('{"count":%d,"max_model_len":32768,"tokens":[%s],'
        .. '"token_strs":null}'):format(row[3], row[4]), client.post(row[2], "/tokenize").body)
    end)
  end

  for _, row in ipairs(no_prompts) do
    it("/tokenize refuses " .. row[1], function()
      local answer = client.post(row[2], "/tokenize")
      assert(answer.status >= 400 and answer.body:find(row[3], 1, true), answer.body)
    end)
  end
end)

local CHUNK = 'data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"mock","choices":['
local ROLE = CHUNK .. '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
  .. '"prompt_token_ids":null,"prompt_text":null}\n\n'
local FINISH = CHUNK .. '{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null,'
  .. '"token_ids":null}]'
local LAST = ',"system_fingerprint":"lmm-mock"}\n\n'
local USAGE = CHUNK .. '],"usage":{"prompt_tokens":6,"total_tokens":8,"completion_tokens":2}' .. LAST
local DONE = "data: [DONE]\n\n"
local BROKEN = 'data: {"error": {"message": "The mock was asked to fail.", "type": "InternalServerError", '
  .. '"param": null, "code": 500}}\n\n'

local function chunk(text)
  return CHUNK .. '{"index":0,"delta":{"content":' .. json.encode(text) .. '},"logprobs":null,"finish_reason":null,'
    .. '"token_ids":null}]'
end

local function piece(text) return chunk(text) .. "}\n\n" end

-- The last piece of an answer that was cut at its limit.
local function cut(text)
  return (chunk(text):gsub('"finish_reason":null,', '"finish_reason":"length","stop_reason":null,'))
end

-- What each chunk tells with continuous_usage_stats, after this many tokens of the answer.
local function so_far(count)
  return (',"usage":{"prompt_tokens":6,"total_tokens":%d,"completion_tokens":%d,"completion_tokens_details":null}')
    :format(6 + count, count)
end

local USAGE_WANTED = { include_usage = true }
local ALL_USAGE_WANTED = { include_usage = true, continuous_usage_stats = true }
local TOLD = CHUNK .. '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
  .. so_far(0) .. ',"prompt_token_ids":null,"prompt_text":null}\n\n' .. chunk "one " .. so_far(1) .. "}\n\n"
local ONE_TWO = ROLE .. piece "one " .. piece "two"

-- The field `mock`, stream_options, the whole stream, how curl ends (18 is a partial file, 56 a failure in receiving),
-- and max_tokens.
local streams = {
  { "a stream", {}, nil, ONE_TWO .. FINISH .. LAST .. DONE, 0 },
  { "a stream with its usage", {}, USAGE_WANTED, ONE_TWO .. FINISH .. "}\n\n" .. USAGE .. DONE, 0 },
  { "a stream with its usage in every chunk", {}, ALL_USAGE_WANTED, TOLD .. chunk "two" .. so_far(2) .. "}\n\n"
    .. FINISH .. so_far(2) .. "}\n\n" .. USAGE .. DONE, 0 },
  { "usage only if there is one at the end", {}, { continuous_usage_stats = true }, ONE_TWO .. FINISH .. LAST .. DONE,
    0 },
  { "nothing", { reply = "" }, nil, ROLE .. FINISH .. LAST .. DONE, 0 },
  { "a stream with a limit", { reply = "one two three" }, nil, ROLE .. piece "one " .. cut "two " .. LAST .. DONE, 0,
    2 },
  { "a stream with a limit of one", {}, nil, ROLE .. cut "one " .. LAST .. DONE, 0, 1 },
  { "a stream with a limit that is not reached", {}, nil, ONE_TWO .. FINISH .. LAST .. DONE, 0, 2 },
  { "a stream with a limit and its usage", { reply = "one two three" }, USAGE_WANTED, ROLE .. piece "one " .. cut "two "
    .. "}\n\n" .. USAGE .. DONE, 0, 2 },
  { "a stream with a limit and its usage in every chunk", { reply = "one two three" }, ALL_USAGE_WANTED, TOLD
    .. cut "two " .. so_far(2) .. "}\n\n" .. USAGE .. DONE, 0, 2 },
  { "a stream with a limit that only ends", { reply = "one two three", end_after = 2 }, nil, ROLE .. piece "one "
    .. piece "two ", 0, 2 },
  { "a stream cut short", { cut_after = 1 }, nil, ROLE .. piece "one ", 18 },
  { "a stream that only ends", { end_after = 2 }, USAGE_WANTED, ONE_TWO, 0 },
  { "a stream that is reset", { reset_after = 1 }, nil, ROLE .. piece "one ", 56 },
  { "an error within a stream", { error_after = 1 }, nil, ROLE .. piece "one " .. BROKEN .. DONE, 0 },
}

describe("the form of the mock's answers", function()
  it("answers as vLLM does", function()
    assert.equal('{"id":"ID","object":"chat.completion","created":0,"model":"mock",'
      .. '"choices":[{"index":0,"message":{"role":"assistant","content":"question: a \\"b\\" c/d","refusal":null,'
      .. '"annotations":null,"audio":null,"function_call":null,"reasoning":null},"logprobs":null,'
      .. '"finish_reason":"stop","stop_reason":null,"token_ids":null,"routed_experts":null}],"service_tier":null,'
      .. '"system_fingerprint":"lmm-mock","usage":{"prompt_tokens":7,"total_tokens":11,"completion_tokens":4,'
      .. '"prompt_tokens_details":null,"completion_tokens_details":null},"prompt_logprobs":null,'
      .. '"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,'
      .. '"metrics":null}', settled(ask({}, 'a "b" c/d').body))
  end)

  for _, row in ipairs(streams) do
    local name, fault, stream_options, expected, code = row[1], row[2], row[3], row[4], row[5]
    it("gives " .. name, function()
      fault.reply = fault.reply or "one two"
      local answer = ask { stream = true, mock = fault, stream_options = stream_options, max_tokens = row[6] }
      assert.equal("text/event-stream; charset=utf-8", answer.headers["content-type"])
      assert.same({ expected, code }, { settled(answer.body), answer.code })
    end)
  end

  it("takes its id from X-Request-Id, and counts without one", function()
    for _, stream in ipairs { false, true } do
      assert.matches('{"id":"chatcmpl%-abc","object"', ask({ stream = stream }, "x", "-H 'X-Request-Id: abc'").body)
      local first = tonumber(ask({ stream = stream }).body:match '{"id":"chatcmpl%-(%d+)",')
      assert.matches('{"id":"chatcmpl%-' .. first + 1 .. '",', ask({ stream = stream }).body)
    end
  end)

  it("streams at the pace that is asked for", function()
    local words = "-o /dev/null -w '%{time_starttransfer} %{time_total}' " .. client.words {
      messages = { { role = "user", content = "x" } }, stream = true,
      mock = { reply = "a b c", delay = 0.1, first_delay = 0.2 } }
    local first, total = run_curl(words):match "([%d.]+) ([%d.]+)"
    assert(tonumber(first) >= 0.19, first)
    assert(tonumber(total) >= 0.49, total)
  end)
end)

local faults = {
  { "an error", { status = 503 }, 503, '"type":"Service Unavailable","param":null,"code":503' },
  { "a 429 with Retry-After", { status = 429, retry_after = 2 }, 429, '"code":429' },
  { "a page", { html = true, status = 502 }, 502, "^<html>" },
  { "an empty answer", { empty = true }, 200, "^$" },
  { "what is no JSON", { not_json = true }, 200, "^upstream" },
  { "an error for error_after", { error_after = 0 }, 500, '"code":500' },
  { "half an answer", { cut_after = 10 }, 200, '^{"id":"cha$', 18 },
  { "what ends early", { end_after = 10 }, 200, '^{"id":"cha$', 0 },
  { "nothing, and closes", { cut_after = 0 }, nil, nil, 52 },
  { "a reset", { reset_after = 0 }, nil, nil, 56 },
}

describe("the mock's faults", function()
  for _, row in ipairs(faults) do
    it("on demand, gives " .. row[1], function()
      local answer = ask { mock = row[2] }
      assert.same({ row[3], row[5] or 0 }, { answer.status, answer.code })
      if row[4] then assert.matches(row[4], answer.body) end
      assert.same(row[2].retry_after and tostring(row[2].retry_after), answer.headers["retry-after"])
    end)
  end

  it("fails the first requests with a key", function()
    local seen = {}
    for i, key in ipairs { "a", "b", "a", "a", "b" } do
      seen[i] = ask({ mock = { fail_times = key == "a" and 2 or 1, key = key, status = 500 } }).status
    end
    assert.same({ 500, 500, 500, 200, 200 }, seen)
  end)
end)

local heads = {
  { "a long header", "-H 'X: " .. ("x"):rep(70000) .. "'", 431 },
  { "two lengths", "-H 'Content-Length: 5' -H 'Transfer-Encoding: chunked' -d hello", 400 },
  { "a length that is no number", "-H 'Content-Length: five' -d hello", 400 },
  { "a length beyond all limits", "-H 'Content-Length: 536870913' -d hello", 413 },
  { "no Host", "-H Host:", 400 },
}

describe("the mock's HTTP", function()
  it("keeps a connection, and takes a chunked body and Expect", function()
    local post_it = " " .. client.words '{"messages":[{"role":"user","content":"x"}]}'
    assert.equal("1 0 200", run_curl("-w '%{num_connects} ' -o /dev/null -H 'Transfer-Encoding: chunked'" .. post_it
      .. " --next -s -w '%{num_connects} %{http_code}' -o /dev/null -H 'Expect: 100-continue'" .. post_it))
  end)

  for _, row in ipairs(heads) do
    it("refuses " .. row[1], function()
      assert.same(row[3], curl(row[2] .. " " .. server.url .. "/models").status)
    end)
  end
end)

describe("the mock's process", function()
  it("asks for its key, by any spelling of Bearer", function()
    local guarded = assert(mock.start { api_key = "open sesame", model = "m" })
    local models = guarded.url .. "/models"
    assert.equal('{"error":"Unauthorized"}', curl(models).body)
    assert.equal(401, curl("-H 'Authorization: Bearer wrong' " .. models).status)
    assert.matches('"id":"m"', (curl("-H 'Authorization: bearer open sesame' " .. models).body))
    assert.equal(200, curl(guarded.url:gsub("/v1", "/health")).status)
    guarded.stop()
  end)

  it("takes the port it is given, and says so where it is taken", function()
    assert.refused("cannot listen on 127%.0%.0%.1:" .. server.port .. ": EADDRINUSE", mock.start { port = server.port })
    assert.refused("port 70000 is not between", mock.start { port = 70000 })
  end)

  it("raises on an unknown option", function()
    assert.raises("unknown option 'prot' %(did you mean 'port'%?%)", mock.start, { prot = 1 })
  end)

  it("runs in the foreground until it is told to end", function()
    for _, signal in ipairs { "INT", "TERM" } do
      local script = "print(require('lmm.mock.server').run { model = 'm' })"
      local pipe = io.popen("echo $$; exec " .. arg[-1] .. " -e \"" .. script .. "\"")
      local pid = pipe:read "*l"
      assert.matches('^lmm mock: listening on http://127%.0%.0%.1:%d+/v1 %(model "m"%)$', pipe:read "*l")
      os.execute("kill -" .. signal .. " " .. pid)
      assert.equal("true", pipe:read "*l")
      pipe:close()
    end
  end)

  it("is gone when it is stopped", function()
    client.stop()
    assert.equal(nil, io.open("/proc/" .. server.pid .. "/stat"))
  end)
end)
