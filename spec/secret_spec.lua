-- Secrets stay where they belong: a key, a header's value, a proxy's password and a prompt, each with a mark that is
-- found wherever it turns up, go through every way in which a call can fail. Neither errors nor what is raised,
-- printed, shown in a process list or written to a file may hold a mark, or half of one.
local authorities = require "spec.support.authority"
local lmm = require "lmm"
local process = require "spec.support.process"
local raw = require "spec.support.raw"
local relay = require "spec.support.relay"

local quote = process.quote

local chance = process.shell "od -An -N8 -tx1 /dev/urandom":gsub("%s", "")
local KEY, HEADER = "sk-kEy." .. chance .. ".yek", "hEad%" .. chance .. "%daeh"
local PASSWORD, PROMPT = "pAss" .. chance .. "ssap", "pRompt " .. chance .. " tpmorp"

local marks = {}
for name, secret in pairs { key = KEY, header = HEADER, password = PASSWORD, prompt = PROMPT } do
  marks[secret:sub(1, 12)], marks[secret:sub(-12)] = name, name
end

--- The first secret in a text, or nil.
local function find_mark(text)
  for mark, name in pairs(marks) do
    if text:find(mark, 1, true) then return name end
  end
end

--- Raises where a secret is in a value or anywhere below it. What the model said is its own.
local function check(value, where, seen)
  seen = seen or {}
  if type(value) == "string" then
    local name = find_mark(value)
    if name then error(("the %s is in %s: %s"):format(name, where, value), 0) end
  elseif type(value) == "table" and not seen[value] then
    seen[value] = true
    for key, item in pairs(value) do
      check(key, "a name in " .. where, seen)
      if key ~= "partial" then check(item, where .. "." .. tostring(key), seen) end
    end
  end
end

local function with(server, fn)
  local ok, err = xpcall(function() fn(server) end, debug.traceback)
  server:stop()
  if not ok then error(err, 0) end
end

local function url_of(server)
  return server.url or "http://127.0.0.1:" .. server.port .. "/v1"
end

local messages = { { role = "user", content = PROMPT } }

local function connect(url, opts)
  local given = { base_url = url, model = "m", api_key = KEY, headers = { ["X-Tenant-Key"] = HEADER }, timeout = 60,
    retry = lmm.retry { attempts = 2, base = 0, max_wait = 0, on_retry = function(_, err) check(err, "on_retry") end } }
  for name, value in pairs(opts or {}) do given[name] = value end
  return lmm.connect(given)
end

--- What a call gave is a failure without a secret in it.
local function check_failure(where, value, message, err)
  if value ~= nil then error(where .. " succeeded", 0) end
  check(message, where)
  check(err, where)
  check(tostring(err), where)
  return err
end

--- Every way to ask, with the prompt, fails without a secret.
local function check_asks(where, client)
  local chat = client:conversation()
  check_failure(where .. ", chat", client:chat { messages = messages })
  check_failure(where .. ", stream", (client:stream { messages = messages }):reply())
  local pieces = 0
  local ok, raised = pcall(function()
    for _ in client:stream { messages = messages } do pieces = pieces + 1 end
  end)
  assert(not ok, where)
  check(raised, where .. ", raised by a loop")
  return check_failure(where .. ", ask", chat:ask(PROMPT))
end

--- Every way to use the server fails without a secret.
local function check_client(where, client)
  check_failure(where .. ", models", client:models())
  return check_asks(where, client)
end

-- ---- what a server quotes

local QUOTED = ("key %s, Bearer %s, header %s"):format(KEY, KEY, HEADER)

local function json_text(text)
  return '"' .. text:gsub('[%c"\\]', "?") .. '"'
end

local Q = json_text(QUOTED)

--- A reply; its status line and every header that might be told quote the secrets.
local function reply(status, body, headers)
  return table.concat({ "HTTP/1.1 " .. status, "Connection: close", "Content-Length: " .. #body,
    headers or "X-Nothing: 1", "", body }, "\r\n")
end

local NOISY = table.concat({
  "Location: https://other.invalid/?key=" .. KEY .. "&tenant=" .. HEADER, "X-Request-Id: " .. QUOTED,
  "WWW-Authenticate: " .. QUOTED, "Server: " .. QUOTED, "Retry-After: " .. QUOTED, "X-Should-Retry: " .. QUOTED,
}, "\r\n")

local SSE = "Content-Type: text/event-stream"
local KEY_PIECE = 'data: {"choices":[{"index":0,"delta":{"content":' .. json_text("your key is " .. KEY) .. "}}]}\n\n"

local function streamed(...)
  return "HTTP/1.1 200 OK\r\n" .. SSE .. "\r\nConnection: close\r\n\r\n" .. table.concat { ... }
end

local replies = {
  redirect = reply("302 " .. QUOTED, "", NOISY),
  ["a long redirect"] = reply("302 Found", "", "Location: http://other.invalid/" .. ("x"):rep(465) .. "/" .. KEY),
  ["an encoded reply"] = reply("200 OK", "x", "Content-Encoding: " .. KEY),
  ["a length that is none"] = "HTTP/1.1 200 OK\r\nContent-Length: " .. KEY .. "\r\n\r\n",
  ["a transfer encoding that is none"] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: " .. KEY .. "\r\n\r\n",
  ["a chunk that is none"] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. KEY .. "\r\n",
  ["a version that is none"] = "HTTP/" .. KEY .. " 200 OK\r\n\r\n",
  ["a status that is none"] = "HTTP/1.1 " .. KEY .. "\r\n\r\n",
  ["a header that is none"] = "HTTP/1.1 200 OK\r\n" .. KEY .. "\r\n\r\n",
  ["no HTTP"] = KEY .. " " .. HEADER .. "\r\n",
  ["half a head"] = "HTTP/1.1 200 OK\r\nX-Quoted: " .. QUOTED,
  ["a head too long"] = "HTTP/1.1 200 OK\r\n" .. ("X-Quoted: " .. QUOTED .. "\r\n"):rep(2000) .. "\r\n",
  ["a long list"] = reply("200 OK", "[" .. Q .. "]"),
  ["nothing that is JSON"] = reply("200 OK", QUOTED),
  ["JSON without an answer"] = reply("200 OK", '{"id":' .. Q .. "}"),
  ["an error under 200"] = reply("200 OK", '{"error":' .. Q .. "}"),
  ["half a reply"] = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" .. '{"id":' .. Q,
  ["an error event"] = streamed('data: {"error":{"message":' .. Q .. ',"code":' .. Q .. "}}\n\n"),
  ["an event: error"] = streamed("event: error\ndata: {\"message\":" .. Q .. "}\n\n"),
  ["an event that is no JSON"] = streamed("data: " .. QUOTED .. "\n\n"),
  ["an answer cut short"] = streamed(KEY_PIECE),
  ["an answer cut short, by an error"] = streamed(KEY_PIECE, "data: {\"error\":" .. Q .. "}\n\n"),
}

local bodies = {
  object = '{"error":{"message":' .. Q .. ',"type":' .. Q .. ',"param":' .. Q .. ',"code":' .. Q .. "}}",
  ["object of objects"] = '{"error":{"message":{"a":[' .. Q .. ']},"type":{"a":' .. Q .. "}}}",
  ["other fields"] = '{"error":{"reason":' .. Q .. "," .. Q .. ":1}}",
  flat = '{"object":"error","message":' .. Q .. ',"type":' .. Q .. ',"param":' .. Q .. "}",
  text = '{"error":' .. Q .. "}",
  detail = '{"detail":[{"loc":["header","authorization"],"input":' .. Q .. "}]}",
  escaped = '{"error":{"message":"' .. KEY:gsub(".", function(c) return ("\\u%04x"):format(c:byte()) end) .. '"}}',
  spaced = '{"error":{"message":"' .. KEY:sub(1, 6) .. "\\u0000" .. KEY:sub(7) .. '"}}',
  words = QUOTED,
  page = "<html><title>" .. QUOTED .. "</title></html>",
  ["a list"] = "[" .. Q .. "]",
}
for name, body in pairs(bodies) do
  for _, status in ipairs { "400", "401", "404", "407", "413", "429", "500", "503" } do
    replies[status .. ", " .. name] = reply(status .. " " .. QUOTED, body, NOISY)
  end
end
for _, length in ipairs { 30, 40, 45, 50, 55, 58 } do -- cut in the middle
  replies["cut after " .. length] = reply("200 OK", ("x"):rep(length) .. KEY .. HEADER .. ("y"):rep(100))
end
for _, length in ipairs { 1900, 1960, 1980, 1990 } do
  local text = ("x "):rep(math.floor(length / 2))
  replies["an error cut after " .. length] = reply("400 Bad", text .. KEY .. ("y"):rep(3000))
end

local names = {}
for name in pairs(replies) do names[#names + 1] = name end
table.sort(names)

describe("what a server quotes", function()
  for _, name in ipairs(names) do
    it(name, function()
      with(raw.start { { { await = "request" }, { send = replies[name] }, { close = true } } }, function(server)
        check_client(name, connect(server.url))
        if not name:find "^%d" then return end
        check_failure("health", connect(server.url):health())
        check_failure("request", connect(server.url):request("POST", "tokenize", { prompt = PROMPT }))
      end)
    end)
  end

  it("without the scheme of a header of the caller's own", function()
    local body = '{"error":{"message":"wrong key ' .. KEY .. '"}}'
    with(raw.start { { { await = "request" }, { send = reply("401 No", body) }, { close = true } } }, function(server)
      local headers = { authorization = "Bearer " .. KEY }
      check_client("an Authorization of the caller's own", connect(server.url, { api_key = "", headers = headers }))
      headers = { ["proxy-authorization"] = "Basic " .. KEY }
      check_client("a Proxy-Authorization", connect(server.url, { api_key = "", headers = headers }))
    end)
  end)

  it("a key that a function gives, another each time", function()
    local count = 0
    with(raw.start { { { await = "request" }, { send = replies["503, object"] }, { close = true } } }, function(server)
      check_client("a key from a function", connect(server.url, { api_key = function()
        count = count + 1
        return KEY
      end }))
      assert(count >= 10, "asked for " .. count .. " times")
    end)
  end)

  it("in the list of models, and in what a schema asked for", function()
    local list = reply("200 OK", '{"data":[{"id":' .. json_text(KEY) .. "}]}")
    local refusal = reply("404 No", '{"error":{"message":"no such model"}}')
    with(raw.start { { { await = "request" }, { send = refusal }, { close = true } },
      { { await = "request" }, { send = list }, { close = true } } }, function(server)
      local err = check_failure("a list of models", connect(server.url):chat { messages = messages })
      assert.matches("the server has", err.message)
    end)
    local content = reply("200 OK", '{"choices":[{"message":{"content":' .. json_text(KEY) .. "}}]}")
    with(raw.start { { { await = "request" }, { send = content }, { close = true } } }, function(server)
      check_failure("a schema", connect(server.url):chat({ messages = messages }, { schema = { type = "object" } }))
    end)
  end)
end)

-- ---- what needs no server's help

local ok_reply = reply("200 OK", '{"choices":[{"message":{"content":"a"},"finish_reason":"stop"},'
  .. '{"index":1,"message":{"content":"b"},"finish_reason":"stop"}]}')

describe("what needs no server's help", function()
  it("each kind of failure, in each phase", function()
    local hold = { { await = "request" }, { hold = true } }
    local kinds = {}
    local function note(where, err) kinds[err.kind .. " " .. (err.phase or "") .. " " .. where] = true end
    local function run(where, scenario, opts)
      local server = type(scenario) == "function" and scenario() or raw.start { scenario }
      with(server, function()
        local url = (opts.base_url or "%s"):format((url_of(server):gsub("^http", opts.scheme or "http")))
        opts.scheme, opts.base_url = nil, nil
        note(where, check_client(where, connect(url, opts)))
      end)
    end
    run("first", hold, { timeout = { first = 0.1 } })
    run("total", hold, { timeout = 0.1 })
    run("tls", { { hold = true } }, { timeout = { connect = 0.1 }, scheme = "https" })
    run("no tls", { { close = true } }, { scheme = "https" })
    run("connect", function() return assert(relay.start { mode = "full" }) end, { timeout = { connect = 0.1 } })
    run("idle", { { await = "request" }, { send = streamed(KEY_PIECE) }, { hold = true } },
      { timeout = { idle = 0.1, first = 1 } })
    run("dropped", { { await = "request" }, { close = true } }, {})
    run("reset", { { await = "request" }, { reset = true } }, {})
    run("reply", { { await = "request" }, { send = reply("200 OK", ("x"):rep(200)) } }, { limits = { reply = 100 } })
    run("event", { { await = "request" }, { send = streamed("data: " .. ("x"):rep(200) .. "\n\n") } },
      { limits = { event = 100 } })
    run("no name", { { hold = true } }, { base_url = "http://server.invalid/v1" })
    run("no socket", { { hold = true } }, { unix_socket = "/no/such/socket" })
    run("no authority", { { hold = true } }, { scheme = "https", tls = { ca = "/dev/null" } })
    local count = 0
    for _ in pairs(kinds) do count = count + 1 end
    assert.equal(13, count)
    with(raw.start { { { await = "request" }, { send = ok_reply }, { close = true } } }, function(server)
      local client = connect(server.url, { limits = { choices = 1 } })
      local err = check_failure("choices", client:chat { messages = messages })
      assert.equal("limit", err.kind)
    end)
  end)

  it("cancelled", function()
    with(raw.start { { { await = "request" }, { send = streamed(KEY_PIECE) }, { hold = true } } }, function(server)
      local client = connect(server.url)
      local stream = client:stream { messages = messages }
      assert.truthy(stream:next())
      stream:cancel()
      check_failure("a cancelled stream", stream:next())
      check(stream.err, "stream.err")
      client:close()
      check_failure("a closed client", stream:reply())
      check(select(2, pcall(client.chat, client, { messages = messages })), "misuse of a closed client")
    end)
  end)

  it("a proxy: its password, and what it quotes", function()
    local refusal = reply("407 " .. QUOTED, PASSWORD .. QUOTED, "Proxy-Authenticate: " .. PASSWORD)
    local proxies = { "http://user:%s@127.0.0.1:%d", "user:%s@127.0.0.1:%d" }
    for _, form in ipairs(proxies) do
      with(raw.start { { { await = "request" }, { send = refusal }, { close = true } } }, function(server)
        local proxy = form:format(PASSWORD, server.port)
        for _, url in ipairs { "http://server.invalid/v1", "https://server.invalid/v1" } do
          check_client(url, connect(url, { proxy = proxy }))
        end
        assert(server:received():find "Proxy%-Authorization", "the proxy was not told")
      end)
    end
    for _, given in ipairs { "http://user:%s@127.0.0.1:9", "http://user:%s@proxy.invalid:9",
      "socks5://user:%s@127.0.0.1:9" } do
      check_client(given, connect("http://server.invalid/v1", { proxy = given:format(PASSWORD) }))
    end
  end)

  it("TLS: nothing is told to whom the client does not trust", function()
    local authority = authorities.new()
    authority:vouch("alone", "IP:127.0.0.1")
    local server = authority:serve "alone"
    local all = { stop = function()
      server.stop()
      authority:remove()
    end }
    with(all, function()
      check_client("a stranger", connect(server.url))
      assert.equal(0, server.requests())
    end)
  end)

  it("a redirect: the other host is told nothing", function()
    with(raw.start { { { await = "request" }, { send = ok_reply }, { close = true } } }, function(other)
      local there = ("Location: http://127.0.0.1:%d/v1/chat/completions"):format(other.port)
      for _, status in ipairs { 301, 302, 303, 307, 308 } do
        local redirect = reply(status .. " There", "", there)
        with(raw.start { { { await = "request" }, { send = redirect }, { close = true } } }, function(server)
          check_client(tostring(status), connect(server.url))
        end)
      end
      assert.equal(0, #other:events())
    end)
  end)
end)

describe("misuse, and what cannot be sent", function()
  it("requests that cannot be sent", function()
    local client = connect "http://127.0.0.1:9/v1"
    local circle = { PROMPT }
    circle[2] = circle
    local chat = client:conversation()
    local contents = {
      { { type = "text", text = PROMPT }, lmm.image "no/such.jpg" }, { lmm.image { bytes = ("x"):rep(64) .. PROMPT } },
      { lmm.image("data:image/png;base64, " .. KEY) }, { lmm.image { bytes = "" } }, PROMPT .. "\255",
      { [PROMPT] = circle }, circle, { PROMPT, nil, PROMPT }, { [1] = PROMPT, [5] = PROMPT, x = PROMPT },
      { PROMPT, print }, { n = 0 / 0, PROMPT },
      { type = PROMPT, { lmm.audio("https://server.invalid/" .. PROMPT, { format = "wav" }) } },
    }
    for i, content in ipairs(contents) do
      for _, fn in ipairs {
        function() return client:chat { messages = { { role = "user", content = content } } } end,
        function() return chat:ask(content) end,
        function() return chat:ask(PROMPT, content, { metadata = content }) end,
        function() return client:request("POST", "tokenize", { content }) end,
      } do
        local ok, value, message, err = pcall(fn)
        assert(not ok or value == nil, "contents " .. i .. " were sent")
        check(not ok and value or message, "contents " .. i)
        check(err, "contents " .. i)
      end
    end
  end)

  it("misuse of lmm.connect, and of a client", function()
    local cases = {
      { api_key = KEY .. "\n" }, { api_key = { KEY } }, { apikey = KEY }, { key = KEY }, { KEY },
      { headers = { ["X-Key"] = KEY .. "\r\nX: y" } }, { headers = { ["X-Key"] = { KEY } } }, { headers = { KEY, 1 } },
      { headers = { ["Content-Length"] = KEY } }, { headers = KEY },
      { proxy = "ftp://user:" .. PASSWORD .. "@host" }, { proxy = "http://user:" .. PASSWORD .. "@host\n" },
      { base_url = "http://user:" .. PASSWORD .. "@host/v1" }, { base_url = "user:" .. PASSWORD .. "@host/v1" },
      { base_url = "ftp://user:" .. PASSWORD .. "@host/v1" },
      { base_url = "http://host/v1#" .. KEY }, { base_url = "host/v1?key=" .. KEY },
      { model = KEY .. "\n" }, { unix_socket = KEY .. "\0" }, { tls = { password = PASSWORD } }, { timeout = KEY },
      { retry = { KEY } }, { limits = { [KEY:sub(1, 3)] = 1 } },
    }
    for i, opts in ipairs(cases) do
      local ok, raised = pcall(lmm.connect, opts)
      assert(not ok, "case " .. i .. " was taken")
      check(raised, "case " .. i)
    end
    local client = connect "http://127.0.0.1:9/v1"
    check(tostring(client), "tostring(client)")
    check(tostring(client:conversation()), "tostring(conversation)")
    for i, given in ipairs { { PROMPT }, { { messages = messages, guided_json = PROMPT } },
      { { messages = messages }, { schema = PROMPT } }, { { messages = messages, model = PROMPT .. "\n" } },
      { { messages = messages }, { headers = { x = { KEY } } } }, { { messages = messages }, { headers = { KEY } } },
      { { messages = messages }, { timeout = PROMPT } }, { { messages = messages }, { api_key = KEY } } } do
      local ok, raised, message = pcall(client.chat, client, given[1], given[2])
      if ok and raised == nil then ok, raised = false, message end -- a text may come from anybody
      assert(not ok, "request " .. i .. " was taken")
      check(raised, "request " .. i)
    end
    for _, key in ipairs { KEY .. "\n", 5 } do
      check_client("a key that is none", connect("http://127.0.0.1:9/v1", { api_key = function() return key end }))
    end
  end)
end)

-- ---- processes, what they print, and files

local folder -- of these processes, and of what they print

--- Runs a shell script with the key in its environment and the prompt in a file, while `meanwhile` looks on; gives all
--- that it printed. Nothing of it stands in a command line.
local function run(script, meanwhile)
  local name = folder .. "/run.sh"
  process.write(folder .. "/prompt", PROMPT)
  process.write(name, ("export OPENAI_API_KEY=%s TMPDIR=%s/tmp\n{ %s\n} >%s/out 2>&1; echo >%s/ended\n"):format(
    quote(KEY), folder, script, folder, folder))
  os.remove(folder .. "/ended")
  os.execute("sh " .. name .. (meanwhile and " &" or ""))
  if meanwhile then
    local ok, err = pcall(meanwhile)
    process.wait_for("the program's end", function() return process.read(folder .. "/ended") end)
    if not ok then error(err, 0) end
  end
  return process.read(folder .. "/out")
end

local LMM = quote(arg[-1]) .. " bin/lmm "

local function check_processes()
  local list = process.shell "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; echo; done 2>/dev/null"
  assert.matches("spec/secret_spec%.lua", list)
  for line in list:gmatch "[^\n]+" do check(line, "a command line") end
end

--- Files that have come since run.sh was written, those of the scripted server left out, hold no secret.
local function check_files(server)
  local list = process.shell(("find %s/tmp -type f; find /tmp -maxdepth 1 -type f -newer %s/run.sh 2>/dev/null"):format(
    folder, folder))
  for path in list:gmatch "[^\n]+" do
    if path:sub(1, #server.prefix) ~= server.prefix then check(process.read(path), path) end
  end
end

describe("processes, what they print, and files", function()
  setup(function()
    folder = process.shell "mktemp -d":match "^[^\n]+"
    os.execute(("mkdir %s/tmp"):format(folder))
  end)

  teardown(function() os.execute("rm -rf " .. quote(folder)) end)

  it("the command, whatever the server answers", function()
    for _, name in ipairs { "401, object", "401, words", "503, text", "redirect", "no HTTP", "nothing that is JSON",
      "an error event", "an event that is no JSON", "half a reply", "cut after 45", "an error cut after 1990",
      "a head too long" } do
      with(raw.start { { { await = "request" }, { send = replies[name] }, { close = true } } }, function(server)
        for _, words in ipairs { "ask -v -m m", "ask -v -m m --no-stream", "ask -v -m m --json", "models -v" } do
          local input = words:find "ask" and "@" .. folder .. "/prompt" or ""
          local said = run(("%s %s --url %s %s"):format(LMM, words, server.url, input))
          assert.matches("lmm: ", (said:gsub("%[redacted%]", "")))
          -- The header is none of the command's own, so that nobody there can know it.
          local found = find_mark(said:gsub("hEad[^ ]*", ""))
          if found then error(("the %s is in what %s prints for %s: %s"):format(found, words, name, said), 0) end
        end
        check_files(server)
      end)
    end
  end)

  it("the command while it waits: command lines and files; then its end", function()
    for _, words in ipairs { "ask -v -m m - <$TMPDIR/../prompt", "ask -m m -i - 'q' <examples/picture.jpg",
      "models -v" } do
      local hold = { { await = "request" }, { hold = true } }
      with(raw.start { hold }, function(server)
        local said = run(("%s %s & pid=$!; echo $pid >%s/pid; wait $pid"):format(
          "OPENAI_BASE_URL=" .. server.url .. " timeout -s INT 60 " .. LMM, words, folder), function()
          server:wait "request"
          check_processes()
          check_files(server)
          os.execute(("kill -TERM $(cat %s/pid)"):format(folder))
        end)
        check(said, words)
        assert(server:received():find(KEY, 1, true), "the key was not sent")
      end)
    end
  end)

  it("a server that is started: command lines, files and messages", function()
    local serve = [[
    local lmm = require "lmm"
    local key = os.getenv "OPENAI_API_KEY"
    local server, message, err = lmm.serve { command = { %q, "spec/support/model_server.lua", %q }, ready_timeout = %s,
      env = { VLLM_API_KEY = key }, client = { api_key = key, headers = { ["X-Tenant-Key"] = key } } }
    print(message, err and err.message, err and err.log)
    io.open(%q, "w"):close()
    while server and not io.open(%q) do require "lmm.core".sleep(0.02) end
    if server then server:stop() end]]
    for flaw, timeout in pairs { no_health = 60, guarded = 60, noise = 0.5 } do
      local up, go_on = folder .. "/up", folder .. "/go_on"
      os.remove(up)
      os.remove(go_on)
      local program = process.write(folder .. "/serve.lua", serve:format(arg[-1], flaw, timeout, up, go_on))
      with(raw.start { {} }, function(record)
        local said = run(quote(arg[-1]) .. " " .. program, function()
          process.wait_for("the server", function() return process.read(up) end)
          check_processes()
          check_files(record)
          process.write(go_on, "")
        end)
        check(said, "serve, " .. flaw)
      end)
    end
  end)
end)
