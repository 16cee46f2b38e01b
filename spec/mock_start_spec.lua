-- The built-in server as it stands in for another: how it starts, vLLM's way of calling it, and limits for each prompt.
local cli = require "spec.support.cli"
local core = require "lmm.core"
local lmm = require "lmm"
local mock = require "lmm.mock"

local program = cli.new {}
local server, client

setup(function()
  server = assert(mock.start { delay = 0, limit_image = 2, limit_video = 1, limit_audio = 0, max_model_len = 4096 })
  client = lmm.connect { base_url = server.url, retry = false }
end)

teardown(function()
  server.stop()
  program.remove()
end)

local PICTURE = { type = "image_url", image_url = { url = "https://example.org/a.png" } }
local VIDEO = { type = "video_url", video_url = { url = "https://example.org/a.mp4" } }
local WAV = core.base64.encode("RIFF\36\0\0\0WAVEfmt " .. ("\0"):rep(28))
local AUDIO = { type = "input_audio", input_audio = { data = WAV, format = "wav" } }
local INPUT_IMAGE = { type = "input_image", image_url = "https://example.org/a.png", detail = "auto" }

local function ask(...)
  local messages = {}
  for i, content in ipairs { ... } do messages[i] = { role = "user", content = content } end
  return client:chat { messages = messages }
end

local allowed = {
  { "two pictures", { PICTURE, PICTURE } },
  { "two pictures and a video", { PICTURE, VIDEO, INPUT_IMAGE } },
}

local refused = {
  { "a third picture", "image", 2, { { PICTURE, PICTURE, PICTURE } } },
  { "a third picture in another form", "image", 2, { { PICTURE, PICTURE, INPUT_IMAGE } } },
  { "a third picture in a later turn", "image", 2, { { PICTURE, PICTURE }, { PICTURE } } },
  { "a second video", "video", 1, { { VIDEO, VIDEO } } },
  { "any audio", "audio", 0, { { AUDIO } } },
}

describe("the mock's limits", function()
  for _, row in ipairs(allowed) do
    it("takes " .. row[1], function() assert(ask(row[2])) end)
  end

  for _, row in ipairs(refused) do
    local kind, limit = row[2], row[3]
    it("refuses " .. row[1] .. " in vLLM's words", function()
      local err = assert.refused("^HTTP 400", ask((table.unpack or unpack)(row[4]))) -- luacheck: ignore
      local words = ("At most %d %s(s) may be provided in one prompt. (parameter=%s)"):format(limit, kind, kind)
      assert(err.message:find(words, 1, true), err.message)
      assert.same({ 400, "BadRequestError", kind }, { err.status, err.type, err.param })
      assert.matches(limit == 0 and "takes no " .. kind or "%-%-limit%-mm%-per%-prompt%." .. kind, err.hint)
    end)
  end

  it("lists the length it is given", function()
    assert.equal(4096, assert(client:models())[1].max_model_len)
  end)

  it("has no limit unless it is given one", function()
    local free = assert(mock.start { delay = 0 })
    local pictures = {}
    for i = 1, 50 do pictures[i] = PICTURE end
    assert(lmm.connect(free.url):chat { messages = { { role = "user", content = pictures } } })
    free.stop()
  end)

  it("takes numbers only", function()
    for _, kind in ipairs { "image", "video", "audio" } do
      assert.raises("limit_" .. kind .. ".* number", mock.start, { ["limit_" .. kind] = "2" })
    end
  end)
end)

-- Runs `lmm mock` with these words until `ready`, a shell command that reads $out, is true; gives what it wrote.
local function serve(words, ready)
  return program.shell(program.command(words) .. [[ >$out 2>$err & pid=$!
    tries=0
    until ]] .. ready .. [[ || [ $tries -gt 600 ]; do sleep 0.05; tries=$((tries + 1)); done
    kill -TERM $pid
    wait $pid
    echo $? >$status]])
end

local LINES = "INFO lmm mock: loading shard 1 of 3\nINFO lmm mock: loading shard 2 of 3\n"
  .. "INFO lmm mock: loading shard 3 of 3\n"

describe("the mock's start", function()
  it("--log-lines are said before it listens", function()
    local run = serve({ "mock", "--port", "0", "--log-lines", "3", "--start-delay", "0.1" }, "grep -q listening $out")
    assert.matches("^" .. LINES .. 'lmm mock: listening on [^ ]+ %(model "mock"%)\n$', run.out)
    assert.same({ "", 0 }, { run.err, run.status })
  end)

  it("--start-delay: until then nobody listens, and it can be ended", function()
    -- The port is one that another server of this spec has just given back.
    local other = assert(mock.start())
    local port = tostring(other.port)
    other.stop()
    local words = { "mock", "--port", port, "--log-lines", "1", "--start-delay", "600" }
    local run = serve(words, "sleep 0.3; ! env -u LD_PRELOAD curl -s http://127.0.0.1:" .. port .. "/health")
    assert(not run.out:find "listening", run.out)
    assert.same({ "", 0 }, { run.err, run.status })
  end)

  it("--fail-start ends with an error instead", function()
    local run = program.run { "mock", "--log-lines", "3", "--fail-start" }
    assert.same(LINES, run.out)
    assert.matches("^lmm: torch%.OutOfMemoryError: CUDA out of memory%. [^\n]*\n$", run.err)
    assert.equal(1, run.status)
  end)

  it("a taken port is an error after the start, too", function()
    local run = program.run { "mock", "--port", tostring(server.port), "--start-delay", "0.05" }
    assert.matches("^lmm: cannot listen on 127%.0%.0%.1:%d+: EADDRINUSE", run.err)
    assert.equal(1, run.status)
  end)
end)

local ways = {
  { "a model", { "org/name" }, "org/name" },
  { "a served name", { "/cache/x", "--served-model-name", "org/name" }, "org/name" },
  { "our own name for it", { "org/name", "--model", "mine" }, "mine" },
  { "its options", { "org/name", "--tensor-parallel-size", "4", "--limit-mm-per-prompt.image", "2",
    "--limit-mm-per-prompt.video=1", "--max-model-len", "100", "--gpu-memory-utilization", "0.9", "--host", "0.0.0.0",
    "--allowed-local-media-path", "/tmp", "--no-use-tqdm-on-load", "--enable-auto-tool-choice", "--tool-call-parser",
    "hermes", "--trust-remote-code", "--dtype", "auto" }, "org/name" },
  { "limits as JSON", { "org/name", "--limit-mm-per-prompt", '{"image": 2, "video": {"count": 1}}' }, "org/name" },
}

local misuses = {
  { { "org/name", "--tensor-parallel-sise", "2" }, "unknown option '%-%-tensor%-parallel%-sise': did you mean" },
  { { "one", "two" }, "too many arguments" },
  { { "--limit-mm-per-prompt.image", "two" }, "'two' is not a number" },
  { { "--limit-mm-per-prompt", "image=2" }, "'image=2' is not a JSON object" },
  { { "--limit-mm-per-prompt", '{"smell":1}' }, "is not a JSON object like" },
  { { "--start-delay", "soon" }, "'soon' is not a number of seconds" },
  { { "--log-lines", "many" }, "'many' is not a number" },
}

describe("vLLM's way of being called", function()
  for _, row in ipairs(ways) do
    it("takes vLLM's way of being called: " .. row[1], function()
      local words = { "mock", "--port", "0" }
      for _, word in ipairs(row[2]) do words[#words + 1] = word end
      local run = serve(words, "grep -q listening $out")
      assert.same({ "", 0 }, { run.err, run.status })
      assert.same(row[3], run.out:match '%(model "(.-)"%)')
    end)
  end

  it("numbers that make no sense", function()
    for name, value in pairs { delay = 0 / 0, limit_image = -1, limit_video = 1.5, max_model_len = math.huge } do
      assert.raises("mock: option '" .. name .. "' must be a .*number, at least 0, not ", mock.start,
        { [name] = value })
    end
  end)

  for _, row in ipairs(misuses) do
    it("refuses " .. table.concat(row[1], " "), function()
      local words = { "mock" }
      for _, word in ipairs(row[1]) do words[#words + 1] = word end
      local run = program.run(words)
      assert.matches("^lmm: [^\n]*" .. row[2], run.err)
      assert.same({ "", 2 }, { run.out, run.status })
    end)
  end
end)
