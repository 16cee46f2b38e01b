-- The whole against a real vLLM that serves a tiny model on the CPU. `make test-vllm` installs it, and runs this.
--
-- In:  $LMM_VLLM, the folder that spec/vllm/install.sh has filled; $LMM_VLLM_LOG, a file for the server's log, where it
--      is to be kept.
-- The model's answers make no sense, but are the same for the same prompt and differ for different pictures.

local core = require "lmm.core"
local lmm = require "lmm"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"

local FOLDER = assert(os.getenv "LMM_VLLM", "LMM_VLLM names the folder that spec/vllm/install.sh has filled")
local CONTEXT = 2048 -- tokens
local READY = 300    -- seconds; it takes about 30 alone on two cores

-- ---- files

local function run(command)
  local text = shell.output(command .. " && echo done")
  return assert(text:match "^(.*)done\n$", command .. " failed")
end

local scratch -- the folder of what this spec makes

local function write_file(name, bytes) return shell.write(scratch .. "/" .. name, bytes) end

local function little_endian(number, size)
  local bytes = {}
  for i = 1, size do
    bytes[i] = string.char(number % 256)
    number = math.floor(number / 256)
  end
  return table.concat(bytes)
end

-- A picture in BMP form, of vertical stripes in a colour and white; its width is a multiple of 4.
local function picture(width, height, blue, green, red)
  local stripe = string.char(blue, green, red):rep(width / 4) .. ("\255"):rep(3 * width / 4)
  local pixels = stripe:rep(2):rep(height)
  return "BM" .. little_endian(54 + #pixels, 4) .. little_endian(0, 4) .. little_endian(54, 4) .. little_endian(40, 4)
    .. little_endian(width, 4) .. little_endian(height, 4) .. little_endian(1, 2) .. little_endian(24, 2)
    .. little_endian(0, 4) .. little_endian(#pixels, 4) .. little_endian(0, 16) .. pixels
end

local RED, BLUE = picture(56, 56, 0, 0, 200), picture(56, 56, 220, 40, 0)
local red, blue -- their files
local IMAGE_TOKENS = 4 -- of 56 x 56 pixels

-- ---- the server

local model, server, client

--- Serves the model, with more words for vLLM's command line.
---@param port integer?  a free one unless given
local function serve(log, port, ...)
  local command = {
    FOLDER .. "/venv/bin/vllm", "serve", model, "--served-model-name", "tiny", "--host", "127.0.0.1",
    "--port", "{port}", "--dtype", "float32", "--enforce-eager", "--max-model-len", tostring(CONTEXT),
    "--max-num-seqs", "8",
    "--limit-mm-per-prompt.image", "2", "--limit-mm-per-prompt.video", "1", "--allowed-local-media-path", scratch,
    "--enable-server-load-tracking", "--no-use-tqdm-on-load",
  }
  for _, word in ipairs { ... } do command[#command + 1] = word end
  return assert(lmm.serve {
    command = command,
    env = {
      HF_HUB_OFFLINE = "1", TRANSFORMERS_OFFLINE = "1", VLLM_NO_USAGE_STATS = "1", DO_NOT_TRACK = "1",
      VLLM_SERVER_DEV_MODE = "1", -- for /reset_mm_cache
      VLLM_CPU_KVCACHE_SPACE = "1", VLLM_CPU_OMP_THREADS_BIND = "nobind", no_proxy = "127.0.0.1",
    },
    log = log,
    port = port,
    ready_timeout = READY,
  })
end

setup(function()
  scratch = run "mktemp -d":match "^%S+"
  red, blue = write_file("red.bmp", RED), write_file("blue.bmp", BLUE)

  model = scratch .. "/model"
  run("'" .. FOLDER .. "/venv/bin/python' spec/vllm/make_tiny_model.py " .. model)

  server = serve(os.getenv "LMM_VLLM_LOG" or scratch .. "/server.log", nil)
  client = server.client
end)

teardown(function()
  if server then server:stop() end
  run("rm -rf " .. scratch)
end)

local conversation_options = { temperature = 0, max_tokens = 16 }

local function ask(...)
  return client:conversation(conversation_options):ask(...)
end

-- What the message says is printed, too, where somebody looks.
local function refused(pattern, value, message, err)
  if os.getenv "LMM_TEST_VERBOSE" then print("  " .. tostring(message)) end
  return assert.refused(pattern, value, message, err)
end

-- Calls `fn` until it gives something true; raises after 10 s.
local function eventually(what, fn)
  for _ = 1, 200 do
    local value = fn()
    if value then return value end
    os.execute "sleep 0.05"
  end
  error("after 10 s still not: " .. what, 2)
end

describe("what there is", function()
  it("is healthy, and lists its model", function()
    assert.is_true(client:health())
    local models = assert(client:models())
    assert.same({ 1, "tiny", CONTEXT }, { #models, models[1].id, models[1].max_model_len })
  end)

  it("answers text, and goes on with the conversation", function()
    local chat = client:conversation { system = "Be brief.", temperature = 0, max_tokens = 8 }
    local reply = assert(chat:ask "Hello there")
    assert.is_true(#reply.text > 0)
    assert.same({ "length", 8, "tiny" }, { reply.finish_reason, reply.usage.completion_tokens, reply.model })
    local before = reply.usage.prompt_tokens
    reply = assert(chat:ask "And again?")
    assert(reply.usage.prompt_tokens > before + 8, reply.usage.prompt_tokens)
    assert.equal(5, #chat.messages)
  end)
end)

-- ---- media

local seen_red

describe("media", function()
  it("sees an image sent as base64, and which one", function()
    seen_red = assert(ask("What is it?", lmm.image(red)))
    local seen_blue = assert(ask("What is it?", lmm.image(blue)))
    assert(seen_red.text ~= seen_blue.text, "the same answer for two pictures: " .. seen_red.text)
    local without = assert(ask "What is it?")
    assert.equal(IMAGE_TOKENS + 2, seen_red.usage.prompt_tokens - without.usage.prompt_tokens) -- with its begin and end
    assert.same(seen_red.text, assert(ask("What is it?", lmm.image { bytes = RED })).text)
  end)

  it("fetches an image by its URL", function()
    local head = "HTTP/1.1 200 OK\r\nContent-Type: image/bmp\r\nConnection: close\r\nContent-Length: " .. #RED
      .. "\r\n\r\n"
    local web = raw.start { { { await = "request" }, { send = head .. RED }, { await = "close" } } }
    local reply, message = ask("What is it?", lmm.image(web.url .. "/red.bmp"))
    local fetched = web:received()
    web:stop()
    assert.same(seen_red.text, assert(reply, message).text)
    assert.matches("^GET /v1/red%.bmp HTTP", fetched)
  end)

  it("reads an image by a file: URL, where it is allowed to", function()
    assert.same(seen_red.text, assert(ask("What is it?", lmm.image("file://" .. red))).text)
    local err = refused("must be a subpath", ask("What is it?", lmm.image "file:///etc/hostname"))
    assert.equal(400, err.status)
  end)

  it("sees two images, in their order", function()
    local two = assert(ask("What differs?", lmm.image(red), lmm.image(blue)))
    local other = assert(ask("What differs?", lmm.image(blue), lmm.image(red)))
    assert(two.text ~= other.text, two.text)
  end)

  it("refuses three images, and says where the limit is set", function()
    local err = refused("At most 2 image.*%-%-limit%-mm%-per%-prompt",
      ask("What differs?", lmm.image(red), lmm.image(blue), lmm.image(red)))
    assert.same({ "http", 400, "image", 1 }, { err.kind, err.status, err.param, err.attempts })
    assert.matches("%-%-limit%-mm%-per%-prompt", err.hint)
  end)

  it("sees a video, as a file and as frames", function()
    local clip = assert(ask("What moves?", lmm.video "spec/media/clip.mp4"))
    local frame = core.base64.encode(shell.read "spec/media/baseline.jpg")
    local frames = assert(ask("What moves?", lmm.video("data:video/jpeg;base64," .. frame .. "," .. frame)))
    assert.is_true(clip.usage.prompt_tokens > frames.usage.prompt_tokens - 100)
    assert(clip.text ~= frames.text, clip.text)
  end)

  it("says so where the model takes no such part", function()
    local err = refused("At most 0 audio.*the model takes no audio",
      ask("What is heard?", lmm.audio "spec/media/sound.wav"))
    assert.same({ 400, "audio", 1 }, { err.status, err.param, err.attempts })
  end)

  it("sees a picture of 20 MB, sent from its file", function()
    local large = write_file("large.bmp", picture(2600, 2600, 10, 200, 30))
    local part = lmm.image(large)
    assert(part.size > 20e6, part.size)
    local reply = assert(ask("What is it?", part))
    assert.equal(16 * 16 - IMAGE_TOKENS, reply.usage.prompt_tokens - seen_red.usage.prompt_tokens) -- made 448 x 448
    os.remove(large)
  end)

  it("refuses an image that breaks off in the middle", function()
    local bytes = shell.read "examples/picture.jpg"
    local err = refused("Failed to load image: image file is truncated",
      ask("What is it?", lmm.image { bytes = bytes:sub(1, #bytes / 2) }))
    assert.same({ 400, "BadRequestError", 1 }, { err.status, err.type, err.attempts })
  end)

  it("refuses a space after the comma, and says what is wrong", function()
    local function request(url)
      return client:request("POST", "chat/completions", { model = "tiny", max_tokens = 16, temperature = 0, messages = {
        { role = "user", content = {
          { type = "text", text = "What is it?" }, { type = "image_url", image_url = { url = url } },
        } },
      } })
    end
    local good = assert(request("data:image/bmp;base64," .. core.base64.encode(RED)))
    assert.same({ 200, seen_red.text }, { good.status, good.json.choices[1].message.content })
    local err = refused("Non%-base64 digit found.*space",
      request("data:image/bmp;base64, " .. core.base64.encode(RED)))
    assert.same({ "http", 400, 1 }, { err.kind, err.status, err.attempts })
  end)

  it("refuses the same from lmm.image before anything is sent", function()
    local err = refused("not base64 at character 23", ask("What?", lmm.image("data:image/bmp;base64, " .. "QUJD")))
    assert.equal("invalid", err.kind)
  end)

  it("counts an image's tokens", function()
    local function count(content)
      local reply = assert(client:request("POST", "/tokenize", { model = "tiny", messages = {
        { role = "user", content = content } } }))
      return reply.json.count
    end
    local text = { type = "text", text = "What is it?" }
    assert.equal(IMAGE_TOKENS + 2, count { text, lmm.image(red) } - count { text })
  end)
end)

describe("streams", function()
  it("streams the answer that it gives unstreamed", function()
    local chat = client:conversation { temperature = 0, max_tokens = 40 }
    local whole = assert(chat:fork():ask("Describe it.", lmm.image(red)))
    local pieces = {}
    local stream = chat:stream("Describe it.", lmm.image(red))
    for piece in stream do pieces[#pieces + 1] = piece end
    local reply = assert(stream:reply())
    assert(#pieces > 1, #pieces)
    assert.same(whole.text, table.concat(pieces))
    assert.same({ whole.text, whole.finish_reason }, { reply.text, reply.finish_reason })
    assert.same(whole.usage.completion_tokens, reply.usage.completion_tokens)
    assert.truthy(reply.timing.first_token > 0 and reply.timing.first_token <= reply.timing.total)
  end)

  it("streams several choices", function()
    local reply = assert(client:conversation { n = 2, seed = 1, max_tokens = 8 }:stream "Hello":reply())
    assert.equal(2, #reply.choices)
    for _, choice in ipairs(reply.choices) do assert.equal("length", choice.finish_reason) end
  end)
end)

-- ---- what is refused

local HELLO = { { role = "user", content = "Hello" } }
local ADD = { type = "function", ["function"] = { name = "add", parameters = { type = "object" } } }

local refusals = {
  { "an unknown model", { model = "nothing" }, 404,
    'The model `nothing` does not exist.*the server has "tiny"', "model" },
  { "a prompt that is too long", { messages = { { role = "user", content = ("x"):rep(2 * CONTEXT) } } }, 400,
    "maximum context length is 2048 tokens.*shorten the prompt", "input_tokens" },
  { "tools, without a parser for them", { tools = { ADD } }, 400,
    "%-%-enable%-auto%-tool%-choice.*start vLLM with %-%-enable%-auto%-tool%-choice" },
  { "a tool that must be called, without a parser", { tools = { ADD }, tool_choice = "required" }, 400,
    "tool_choice=\"required\" requires %-%-tool%-call%-parser to be set.*start vLLM with" },
  { "too many tokens asked for", { max_tokens = 2 * CONTEXT }, 400, "max_tokens=4096 cannot be greater", "max_tokens" },
}

describe("what is refused", function()
  for _, row in ipairs(refusals) do
    for _, way in ipairs { "chat", "stream" } do
      it("refuses " .. row[1] .. ", by " .. way, function()
        local request = { model = "tiny", messages = HELLO, max_tokens = 4 }
        for name, value in pairs(row[2]) do request[name] = value end
        local err
        if way == "chat" then
          err = refused(row[4], client:chat(request))
        else
          err = refused(row[4], client:stream(request):next())
        end
        assert.same({ "http", row[3], row[5], 1 }, { err.kind, err.status, err.param, err.attempts })
        assert.same(row[3], err.code)
      end)
    end
  end

  it("a failed ask leaves the conversation as it was", function()
    local chat = client:conversation(conversation_options)
    assert(chat:ask "Hello")
    refused("maximum context length", chat:ask(("x"):rep(2 * CONTEXT)))
    assert.equal(2, #chat.messages)
    assert(chat:ask "Hello again")
  end)
end)

-- ---- structured output

local ANIMAL = {
  type = "object", required = { "animal", "many" }, additionalProperties = false,
  properties = { animal = { enum = { "cat", "dog" } }, many = { type = "boolean" } },
}

describe("structured output", function()
  it("answers by a JSON schema", function()
    for _, way in ipairs { "ask", "stream" } do
      local chat = client:conversation { temperature = 0, max_tokens = 500, schema = ANIMAL }
      local reply, message
      if way == "ask" then
        reply, message = chat:ask("What is it?", lmm.image(red))
      else
        reply, message = chat:stream("What is it?", lmm.image(red)):reply()
      end
      local value = assert(reply, message).value
      assert(value.animal == "cat" or value.animal == "dog", reply.text)
      assert.equal("boolean", type(value.many))
    end
  end)

  it("answers by choice, regex and grammar, and with values that grow", function()
    local chat = client:conversation { temperature = 0, max_tokens = 500 }
    for opts, pattern in pairs {
      [{ choice = { "cat", "dog" } }] = "^%a+$",
      [{ regex = "(cat|dog)s" }] = "^%a+s$",
      [{ grammar = 'root ::= "cat" | "dog"' }] = "^%a+$",
    } do
      local reply = assert(chat:ask("Which one?", opts))
      assert.matches(pattern, reply.value)
      assert.matches(pattern, assert(chat:stream("Which one?", opts):reply()).value)
    end
    local stream, last = chat:stream("Which one?", { schema = ANIMAL }), nil
    for value in stream:values() do last = value end
    assert.same(last, assert(stream:reply()).value)
  end)

  it("refuses a grammar that is none, also inside a stream that began well", function()
    local chat = client:conversation { grammar = "root ::= (", max_tokens = 8 }
    assert.equal(400, refused("[Gg]rammar", chat:ask "What?").status)
    assert.equal(400, refused("[Gg]rammar", chat:stream "What?":reply()).status)
  end)
end)

-- ---- tools, and the rest of the API

describe("tools", function()
  local own

  setup(function()
    own = serve(scratch .. "/tools.log", nil, "--enable-auto-tool-choice", "--tool-call-parser", "hermes")
  end)

  teardown(function()
    if own then own:stop() end
  end)

  it("are called, and answered from what they gave", function()
    for _, way in ipairs { "ask", "stream" } do
      local chat, seen = own.client:conversation { temperature = 0, max_tokens = 500 }, {}
      chat:tool({ name = "look", description = "Looks somewhere.", strict = true,
        parameters = { type = "object", properties = { where = { enum = { "left", "right" } } }, required = { "where" },
          additionalProperties = false } },
        function(args)
          seen[#seen + 1] = args.where
          return "a cat is there"
        end)
      local opts = { tool_choice = { type = "function", ["function"] = { name = "look" } } }
      local reply, message
      if way == "ask" then
        reply, message = chat:ask("Where is the cat?", opts)
      else
        reply, message = chat:stream("Where is the cat?", opts):reply()
      end
      assert(reply, message)
      assert(seen[1] == "left" or seen[1] == "right", tostring(seen[1]))
      assert.equal("look", reply.steps[1].calls[1].name)
      local roles = {}
      for at, said in ipairs(chat.messages) do roles[at] = said.role end
      assert.equal("user assistant tool assistant", table.concat(roles, " "))
    end
  end)
end)

describe("the rest of the API", function()
  it("counts tokens and gives their text again, a byte each", function()
    local tokens = assert(client:tokenize "abc")
    assert.same({ 3, CONTEXT }, { tokens.count, tokens.max_model_len })
    assert.equal("abc", assert(client:detokenize(tokens.tokens)))
    local chat = client:conversation()
    local counted = assert(client:tokenize { { role = "user", content = { { type = "text", text = "abc" },
      lmm.image(red) } } })
    assert(counted.count > 3 + IMAGE_TOKENS, counted.count)
    assert.equal(0, #chat.messages)
  end)

  it("completes a prompt, whole and streamed", function()
    local opts = { temperature = 0, max_tokens = 8 }
    local whole = assert(client:complete("abc", opts))
    assert.equal(whole.text, assert(client:stream_completion("abc", opts):reply()).text)
    assert.equal(8, #whole.text)
  end)
end)

-- ---- media that it keeps

describe("media that it keeps", function()
  --- The same questions about the same pictures, all of it sent each time.
  local function answers_of(keeps, between)
    local own = lmm.connect { base_url = client.base_url, media_cache = keeps }
    local chat, texts, bytes = own:conversation(conversation_options), {}, {}
    for i, question in ipairs {
      { "What is it?", lmm.image(red) }, { "And now?", lmm.image(blue) }, { "Which was first?" }, { "Sure?" },
    } do
      if i == 4 and between then between(own) end
      local reply = assert(chat:ask(question[1], question[2]))
      texts[i], bytes[i] = reply.text, reply.usage.bytes_sent
    end
    own:close()
    return texts, bytes
  end

  it("are sent once, and are the same pictures in every turn", function()
    local texts, bytes = answers_of(true)
    assert.same(answers_of(false), texts)
    assert(bytes[2] < 1.5 * bytes[1] and bytes[3] < bytes[1] / 4, table.concat(bytes, " "))
  end)

  it("are sent again where it has lost them, unseen", function()
    local texts, bytes = answers_of(true, function(own)
      assert(own:request("POST", "/reset_mm_cache"))
      assert(own:request("POST", "/reset_prefix_cache"))
    end)
    assert.same(answers_of(false), texts)
    assert(bytes[4] > bytes[1], table.concat(bytes, " "))
  end)

  it("are sent again where it has started again, and keeps none any more", function()
    local first = serve(scratch .. "/first.log", nil)
    local own, second = lmm.connect { base_url = first.url, retry = false }, nil
    local chat, told = own:conversation(conversation_options), {}
    told[1] = assert(chat:ask("What is it?", lmm.image(red)))
    told[2] = assert(chat:ask("And now?", lmm.image(blue)))
    first:stop()
    local ok, problem = pcall(function()
      second = serve(scratch .. "/second.log", first.port, "--mm-processor-cache-gb", "0")
      told[3] = assert(chat:ask "Which was first?")
      told[4] = assert(chat:ask "Sure?")
    end)
    own:close()
    if second then second:stop() end
    assert(ok, problem)
    local texts = {}
    for i, reply in ipairs(told) do
      texts[i] = reply.text
      assert.equal(1, reply.attempts)
      if i > 2 then assert(reply.usage.bytes_sent > told[2].usage.bytes_sent) end
    end
    assert.same(answers_of(false), texts)
  end)
end)

-- ---- many, and ends

local LONG = { max_tokens = CONTEXT - 100, min_tokens = CONTEXT - 100, ignore_eos = true }

describe("many, and ends", function()
  it("answers 32 asks, 8 at a time", function()
    local fns = {}
    for i = 1, 32 do
      local image = picture(56, 56, i * 7, 255 - i * 7, i % 4 * 60)
      fns[i] = function() return ask("Number " .. i .. "?", lmm.image { bytes = image }) end
    end
    local results, errors = lmm.gather(fns, { limit = 8 })
    local different = {}
    for i = 1, 32 do
      assert.is_nil(errors[i])
      assert.equal(16, results[i].usage.completion_tokens)
      different[results[i].text] = true
    end
    local count = 0
    for _ in pairs(different) do count = count + 1 end
    assert(count > 16, count .. " different answers")
  end)

  --- Rows a second of a map with pictures that begins rows for so many seconds.
  local function speed(seconds, limit)
    local began, at = core.now(), 0
    local summary = assert(lmm.map(function()
      at = at + 1
      return core.now() - began < seconds and at or nil
    end, function(item)
      return ask("Number " .. item .. "?", lmm.image { bytes = item % 2 == 0 and RED or BLUE })
    end, { client = client, concurrency = limit }))
    assert.equal(0, summary.failed)
    return summary.done / (core.now() - began), summary.concurrency
  end

  it("does a bulk of rows at 0.9 of the speed of the best fixed concurrency, which it finds itself", function()
    local best, of = 0, nil
    speed(3, 8) -- so that all of it has run once
    for _, limit in ipairs { 1, 4, 8, 16, 32 } do
      local found = speed(5, limit)
      if found > best then best, of = found, limit end
    end
    local found, limit = 0, nil
    best = 0
    for _ = 1, 3 do -- in turn, since the machine may have other things to do
      local fixed = speed(15, of)
      local own, ended = speed(15)
      limit = ended
      best, found = best + fixed / 3, found + own / 3
    end
    print(("  %.1f rows a second, ending with %d at a time; %.1f with the best, %d"):format(found, limit, best, of))
    assert(found >= 0.9 * best)
  end)

  local function load_now()
    return assert(client:request("GET", "/load")).json.server_load
  end

  -- How many tokens the server has made so far.
  local function generated()
    local metrics = assert(client:request("GET", "/metrics")).body
    return tonumber(metrics:match "\nvllm:generation_tokens_total{[^\n]*} ([%d.e+]+)")
  end

  it("stops when a stream is cancelled in its middle", function()
    eventually("the server has nothing to do", function() return load_now() == 0 end)
    local before = generated()
    local stream = client:conversation(LONG):stream "Tell me all."
    for _ = 1, 5 do assert.truthy(stream:next()) end
    assert.equal(1, load_now())
    stream:cancel()
    assert.equal("cancelled", refused("cancelled", stream:next()).kind)
    eventually("the server has nothing to do", function() return load_now() == 0 end)
    local now = generated()
    os.execute "sleep 0.5"
    assert.same(now, generated(), "tokens made after the cancel")
    assert(now - before < LONG.max_tokens, now - before .. " tokens")
    assert(ask "Hello")
  end)

  it("stops when an ask is cancelled", function()
    local chat = client:conversation(LONG)
    local before, result = generated(), nil
    local task = lmm.go(function() return chat:ask "Tell me all." end, function(_, ...) result = { ... } end)
    eventually("the server works", function() return load_now() == 1 end)
    task:cancel()
    task:wait()
    assert.equal("cancelled", refused("cancelled", result[1], result[2], result[3]).kind)
    eventually("the server has nothing to do", function() return load_now() == 0 end)
    assert.is_true(generated() - before < LONG.max_tokens)
  end)
end)

-- ---- the end

-- A process: its parent, and whether it runs. A zombie does not: it has only not been waited for.
local function process(pid)
  local state, parent = (shell.read("/proc/" .. pid .. "/stat") or ""):match ".*%) (%a) (%d+)"
  if not state then return nil end
  return tonumber(parent), state ~= "Z"
end

-- A process and all that descend from it, now.
local function family(root)
  local parents = {}
  for pid in run "ls /proc":gmatch "%f[%d]%d+%f[\n]" do parents[tonumber(pid)] = process(pid) end
  local members = { root }
  for _, member in ipairs(members) do
    for pid, parent in pairs(parents) do
      if parent == member then members[#members + 1] = pid end
    end
  end
  return members
end

describe("the end", function()
  it("a server that is killed in mid-stream is never a success, and stop leaves no process", function()
    local members = family(server.pid)
    assert(#members >= 2, #members .. " processes")
    local chat = client:conversation(LONG)
    local stream = chat:stream "Tell me all."
    for _ = 1, 5 do assert.truthy(stream:next()) end
    os.execute("kill -9 " .. server.pid)

    local piece, message, err
    repeat piece, message, err = stream:next() until not piece
    refused("%S", piece, message, err)
    assert(err.kind == "truncated" or err.kind == "connect", err.kind .. ": " .. message)
    assert.is_true(#err.partial > 0)
    assert.equal(0, #chat.messages)
    assert.equal("connect", refused("%S", client:conversation { retry = false, timeout = 10 }:ask "Still there?").kind)

    server:stop()
    for _, pid in ipairs(members) do
      local _, runs = process(pid)
      assert(not runs, "process " .. pid .. " is left")
    end
  end)

  it("examples/slurm/serve_and_ask.lua, from a folder of the hub's cache", function()
    local snapshot = scratch .. "/hub/models--org--tiny-vlm/snapshots/0123abc"
    run("mkdir -p " .. snapshot .. " && cp " .. model .. "/* " .. snapshot)
    -- Stands where `vllm serve` would, and adds what a machine without a GPU needs.
    local command = write_file("serve", ([[
    export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
    export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind
    exec '%s/venv/bin/vllm' serve "$@" --dtype float32 --enforce-eager --max-num-seqs 8 --max-model-len %d
]]):format(FOLDER, CONTEXT))
    local log = os.getenv "LMM_VLLM_LOG" or scratch .. "/example"
    local text = run(("SLURM_GPUS_ON_NODE=1 '%s' examples/slurm/serve_and_ask.lua %s sh %s 2>%s.example")
      :format(arg[-1], snapshot, command, log))
    -- The answer about the file's picture is 200 tokens of one character each; the other one cannot be fetched here.
    local served, answer, rest = text:match "^model: ([^\n]*)\n([^\n]+)\n(.+)\n$"
    assert.same({ "org/tiny-vlm", 200 }, { served, #answer }, text)
    assert.matches("HTTP %d+ from", rest)
    assert.equal("", shell.output("pgrep -f '[/]" .. snapshot:sub(2) .. "'")) -- the brackets keep it from itself
  end)
end)
