-- The example of nginx runs as it stands, but for the place where it listens.
local guides = require "spec.support.guides"
local json = require "lmm.json"
local mock = require "lmm.mock"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local raw = require "spec.support.raw"

--- Starts the example for a model server; `edit` may change more of its configuration.
local function start(url, edit)
  return nginx.start {
    prefix = "examples/nginx",
    config = function(folder)
      local text = process.read "examples/nginx/nginx.conf"
      text = text:gsub("listen [^;]+", "listen unix:" .. folder .. "/socket")
        :gsub("pid [^;]+", "pid " .. folder .. "/nginx.pid")
        :gsub("error_log [^;]+", "error_log " .. folder .. "/error.log")
        :gsub("/tmp/lmm%-nginx", folder .. "/body")
      return edit and edit(text) or text
    end,
    env = "OPENAI_BASE_URL=" .. url,
  }
end

describe("nginx's example", function()
  local upstream, server, large
  local small = os.tmpname()

  setup(function()
    upstream = assert(mock.start { delay = 0 })
    server = start(upstream.url)
    large = process.write(os.tmpname(), process.read "examples/picture.jpg" .. ("\0"):rep(2000000))
    -- Head and body together are what curl writes at once, and nginx has all of it as it reads the body.
    process.write(small, process.read "examples/picture.jpg":sub(1, 50000))
  end)

  teardown(function()
    server:stop()
    upstream.stop()
    os.remove(large)
    os.remove(small)
  end)

  local sum = process.shell "sha256sum examples/picture.jpg":match "%x+"
  local PICTURE = "image 1: image/jpeg, 1280 x 854 pixels, 104316 bytes, sha256 " .. sum .. "\n"
  local DESCRIPTION = PICTURE .. "question: What is shown in the image?"

  local ways = {
    { "raw", "--data-binary @examples/picture.jpg" },
    { "in a form", "-F other=x -F file=@examples/picture.jpg" },
  }

  for _, row in ipairs(ways) do
    it("describe, a picture " .. row[1], function()
      assert.equal(DESCRIPTION .. "\n", (server:get("/describe", row[2])))
    end)

    it("describe as events, a picture " .. row[1], function()
      local text = server:get("/describe", row[2] .. " -i -H 'Accept: text/event-stream'")
      assert.matches("\r\nContent%-Type: text/event%-stream\r\n", text)
      local pieces = {}
      for line in text:gmatch "data: ([^\n]+)\n\n" do
        pieces[#pieces + 1] = line == "[DONE]" and line or json.decode(line).text
      end
      assert(#pieces > 2, "it came at once")
      assert.equal(DESCRIPTION .. "[DONE]", table.concat(pieces))
    end)
  end

  it("describe, a picture that nginx has put into a file", function()
    for _, words in ipairs { "--data-binary @" .. large, "-F file=@" .. large } do
      local digest = process.shell("sha256sum " .. large):match "%x+"
      assert.matches("2104316 bytes, sha256 " .. digest, (server:get("/describe", words)))
    end
  end)

  it("describe, a form that is too large to be read", function()
    local huge = process.write(os.tmpname(), process.read(large) .. ("\0"):rep(10 * 1024 * 1024))
    local said = server:get("/describe", "-F file=@" .. huge .. " -w ' %{http_code}'")
    assert.matches("^a form .*data%-binary.*\n 413$", said)
    assert.matches("^image 1: image/jpeg, .* 12590076 bytes", (server:get("/describe", "--data-binary @" .. huge)))
    os.remove(huge)
  end)

  it("describe, no picture", function()
    local text = process.write(os.tmpname(), ("hello "):rep(300000))
    for _, words in ipairs { "-d hello", "--data-binary @" .. text, "-F file=@" .. text } do
      assert.matches('^the picture sent is of no known type, it seems to be text: it begins with "hello[%a ]*"\n 400$',
        (server:get("/describe", words .. " -w ' %{http_code}'")))
    end
    os.remove(text)
    for _, words in ipairs { "-d ''", "-X POST", "-F a=b", "-F file=@/dev/null" } do
      local said = server:get("/describe", words .. " -w ' %{http_code}'")
      assert.matches("^send a picture: .*%-F file=@%S+ %S+\n 400$", said)
    end
  end)

  it("describe as events, to a client of HTTP/1.0", function()
    local text = server:get("/describe", ways[1][2] .. " --http1.0 -H 'Accept: text/event-stream'")
    assert.matches("data: %[DONE%]\n\n$", text)
  end)

  -- ---- clients that leave

  local TIMES = 10
  local MODELS = '{"data":[{"id":"a"},{"id":"b"}]}'

  local function json_answer(body)
    return ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)
  end

  local PIECE = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
  local EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" .. PIECE

  --- Has a client ask and leave, ten times, each time as soon as the model server has its `calls` (1 unless given) and
  --- the client has `printed` that. The model server first lists its models, unless the request `names` them, then does
  --- the steps on each connection, and has to see all of those close. `checks` is what lua_check_client_abort is (on).
  ---@param opts { request: string, steps: table[], printed: string?, calls: integer?, names: boolean?,
  --- checks: string? }
  local function leave(opts)
    local listing = { { await = "request" }, { send = json_answer(MODELS) } }
    local model = raw.start(opts.names and { opts.steps } or { listing, opts.steps })
    local example = start(model.url, function(text)
      return (text:gsub("worker_processes 2", "worker_processes 1")
        :gsub("lua_check_client_abort on", "lua_check_client_abort " .. (opts.checks or "on")))
    end)
    local out = os.tmpname()
    local command = ("echo $$; exec env -u LD_PRELOAD curl -sN --unix-socket %s/socket http://localhost%s >%s"):format(
      example.folder, opts.request, out)
    local ok, problem = pcall(function()
      for i = 1, TIMES do
        local calls = i * (opts.calls or 1)
        process.write(out, "")
        local client = io.popen(command)
        local pid = client:read "*l"
        process.wait_for("the model's begin", function()
          return #model:seen "request" == calls + (opts.names and 0 or 1)
            and process.read(out):find(opts.printed or "", 1, true)
        end)
        os.execute("kill " .. pid)
        client:close()
        model:wait("closed", calls)
      end
    end)
    os.remove(out)
    example:stop()
    model:stop()
    if not ok then error(problem, 0) end
  end

  local DESCRIBE = "/describe --data-binary @" .. small
  local AS_EVENTS = DESCRIBE .. " -H 'Accept: text/event-stream'"

  it("a client that leaves its events is noticed at the next one, should nginx not look for it", function()
    local steps = { { await = "request" }, { send = EVENTS } }
    for _ = 1, 20 do
      steps[#steps + 1] = { pause = 0.05 }
      steps[#steps + 1] = { send = PIECE }
    end
    steps[#steps + 1] = { hold = true }
    leave { request = AS_EVENTS, steps = steps, printed = "data: ", checks = "off" }
  end)

  local SILENT = { { await = "request" }, { hold = true } }

  local leaving = {
    { "describe, as events", { request = AS_EVENTS,
      steps = { { await = "request" }, { send = EVENTS }, { hold = true } },
      printed = "data: " } },
    { "describe", { request = DESCRIBE, steps = SILENT } },
    { "ask", { request = "/ask?q=Why", steps = SILENT } },
    { "compare", { request = "/compare?q=Why'&'model=a'&'model=b", steps = SILENT, calls = 2, names = true } },
  }

  for _, row in ipairs(leaving) do
    it("a client that leaves is noticed at once: " .. row[1], function() leave(row[2]) end)
  end

  it("ask", function()
    assert.equal("question: Why so?\n", (server:get "/ask?q=Why%20so%3F"))
  end)

  for _, path in ipairs { "/ask", "/compare" } do
    it(path .. " without one question", function()
      for _, arguments in ipairs { "", "?q", "?q=", "?q=%20", "?q=Why'&'q=How" } do
        assert.matches("one question[^\n]*\n 400$", (server:get(path .. arguments, "-w ' %{http_code}'")))
      end
    end)
  end

  it("compare", function()
    local answers = json.decode((server:get "/compare?q=Why"))
    assert.equal(2, #answers)
    for _, answer in ipairs(answers) do assert.same({ "mock", "question: Why" }, { answer.model, answer.text }) end
    answers = json.decode((server:get "/compare?q=Why'&'model=mock'&'model=other"))
    assert.equal("question: Why", answers[1].text)
    assert.matches("^HTTP 404 from .*other.*", answers[2].error)
  end)

  it("compare asks all that are named, and says where none has answered", function()
    local rows = {
      { "model=mock'&'model=other'&'model=mock", "200", { "mock", "other", "mock" } },
      { "model=one'&'model=one", "502", { "one", "one" } },
    }
    for _, row in ipairs(rows) do
      local text, status = server:get("/compare?q=Why'&'" .. row[1], "-w '%{http_code}'"):match "^(.*)(%d%d%d)$"
      local names = {}
      for i, answer in ipairs(json.decode(text)) do
        names[i] = answer.model
        if answer.model ~= "mock" then assert.matches("^HTTP 404 from ", answer.error) end
      end
      assert.same({ row[2], row[3] }, { status, names })
    end
    assert.matches("UTF%-8.*\n 400$", (server:get("/compare?q=%FF", "-w ' %{http_code}'")))
  end)

  it("compare, by what the list of models holds", function()
    local answer = json_answer '{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
    local one = '{"data":[{"id":"a"}]}'
    local rows = {
      { MODELS, answer, '^%[{.*"model":"a".*},{.*"model":"b".*}%]\n 200$' },
      { one, answer, '^%[{.*"model":"a".*},{.*"model":"a".*}%]\n 200$' },
      { one, "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n",
        '^%[{.*"HTTP 400 from .*},{.*"HTTP 400 from .*}%]\n 502$' },
      { '{"data":[]}', answer, "lists no model: [^\n]+\n 502$" },
    }
    for _, row in ipairs(rows) do
      local model = raw.start { { { await = "request" }, { send = json_answer(row[1]) } },
        { { await = "request" }, { send = row[2] } } }
      local example = start(model.url)
      local text = example:get("/compare?q=Why", "-w ' %{http_code}'")
      example:stop()
      model:stop()
      assert.matches(row[3], text)
    end
  end)

  it("compare, a model without a name", function()
    for _, arguments in ipairs { "model", "model=", "model=mock'&'model=", "model=a%0Ab" } do
      assert.matches("name[^\n]*\n 400$", (server:get("/compare?q=Why'&'" .. arguments, "-w ' %{http_code}'")))
    end
  end)

  it("the guide's lines", function()
    local block = guides.code("doc/nginx.md", "nginx")[1]
    local readme = start(upstream.url, function(example)
      local head, paths = example:match "^(.-)http {", example:match "\n[^\n]*lua_package_path[^\n]*\n[^\n]*\n"
      block = block:gsub("http {", "%0\n  access_log off;" .. paths:gsub("%%", "%%%%"), 1)
      return head:gsub("\nenv [^\n]*", "") .. block:gsub("listen 8080;", example:match "listen [^;]+;"
        .. " location = /ping { return 200 pong; }")
    end)
    assert.equal("question: Why not", (readme:get("/ask?q=Why%20not")))
    readme:stop()
  end)

  it("a model server that is gone", function()
    local model = raw.start { {} }
    local gone = start(model.url)
    model:stop()
    for _, path in ipairs { "/ask?q=Why", "/compare?q=Why" } do
      assert.matches("cannot reach .* 502$", (gone:get(path, "-w ' %{http_code}'")))
    end
    gone:stop()
  end)
end)
