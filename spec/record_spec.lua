-- A server that is recorded, and the recording that answers in its place.
local cli = require "spec.support.cli"
local core = require "lmm.core"
local lmm = require "lmm"
local mock = require "lmm.mock"
local shell = require "spec.support.shell"

local PNG, SOUND = "spec/media/picture.png", "spec/media/sound.wav"

local folder = shell.output "mktemp -d":match "%S+"
local path = folder .. "/answers.jsonl"
local real

setup(function() real = assert(mock.start { delay = 0.05, api_key = "sk-not-to-be-recorded" }) end)

before_each(function() shell.run("rm -rf %s && mkdir %s", folder, folder) end)

teardown(function()
  real.stop()
  os.execute("rm -rf " .. folder)
end)

local function user(...) return { role = "user", content = select("#", ...) == 1 and (...) or { ... } } end

--- Runs `fn` with a client of a server with these options.
local function with(opts, fn, more)
  local server = assert(mock.start(opts))
  local given = { base_url = server.url, api_key = "sk-not-to-be-recorded", retry = false }
  for name, value in pairs(more or {}) do given[name] = value end
  local client = lmm.connect(given)
  local ok, raised = pcall(fn, client, server)
  client:close()
  server.stop()
  if not ok then error(raised, 0) end
end

local function record(fn, more) with({ record = path, upstream = real.url }, fn, more) end

local function replay(fn, opts, more)
  local given = { replay = path }
  for name, value in pairs(opts or {}) do given[name] = value end
  with(given, fn, more)
end

--- The lines of the recording.
local function lines()
  local out = {}
  for line in shell.read(path):gmatch "[^\n]+" do out[#out + 1] = assert(lmm.json.decode(line)) end
  return out
end

local function answers_one_and_two(client)
  for _, word in ipairs { "two", "one" } do
    assert.equal("question: " .. word, assert(client:chat { model = "mock", messages = { user(word) } }).text)
  end
end

describe("a recording", function()
  it("answers as the server did, whatever is asked", function()
    local function ask_all(client)
      local out = {}
      local function note(value) out[#out + 1] = tostring(value) end
      local chat = client:conversation { system = "s" }
      note(assert(chat:ask("What?", lmm.image(PNG))))
      for piece in chat:stream "And then?" do note(piece) end
      note(#assert(client:embed { "a", lmm.image(PNG) }).vectors)
      note(assert(client:transcribe(SOUND)).text)
      note(select(2, client:chat { messages = { user "x" }, mock = { status = 503 } }):match ": .*")
      note(client:stream({ messages = { user "long words here" }, mock = { cut_after = 2 } }):reply() == nil)
      note(assert(client:request("POST", "/tokenize", { prompt = "a b" })).json.count)
      note(client:models()[1].id)
      return out
    end
    local first, second
    record(function(client) first = ask_all(client) end)
    replay(function(client) second = ask_all(client) end)
    assert.same(first, second)
    assert.matches("image 1: image/png", first[1])
  end)

  it("holds no key, and media by their digest alone", function()
    record(function(client)
      assert(client:conversation():ask("What?", lmm.image(PNG)))
      assert(client:chat { messages = { user "x" }, mock = { reply = "you sent sk-not-to-be-recorded" } })
      assert(client:chat({ messages = { user "x" }, mock = { reply = "or other-secret" } },
        { headers = { ["api-key"] = "other-secret" } }))
    end)
    local text = shell.read(path)
    assert.is_nil(text:find("sk-not-to", 1, true))
    assert.is_nil(text:find("other-secret", 1, true))
    assert.is_nil(text:find(core.base64.encode(shell.read(PNG)):sub(100, 160), 1, true))
    assert.is_truthy(text:find(shell.output("sha256sum " .. PNG):match "%x+", 1, true))
    assert.is_nil(text:lower():find("authorization", 1, true))
  end)

  it("knows media that come under a uuid, from another client, at another path", function()
    local function two_turns(client, file)
      local chat = client:conversation()
      assert(chat:ask("What?", lmm.image(file)))
      return assert(chat:ask "Again?").text
    end
    shell.run("cp %s %s/other.png", PNG, folder)
    local recorded, replayed
    record(function(client) recorded = two_turns(client, PNG) end)
    assert.is_nil(shell.read(path):find('"uuid"', 1, true))
    replay(function(client) replayed = two_turns(client, folder .. "/other.png") end)
    assert.equal(recorded, replayed)
  end)

  it("gives the same request its answers in turn, and then the last one again", function()
    local function statuses(client)
      local out = {}
      for i = 1, 3 do
        local fault = { fail_times = 1, key = folder, status = 503 }
        local reply, _, err = client:chat { model = "mock", messages = { user "x" }, mock = fault }
        out[i] = reply and 200 or err.status
      end
      return out
    end
    for _, run in ipairs { record, replay } do
      run(function(client) assert.same({ 503, 200, 200 }, statuses(client)) end)
    end
  end)

  it("takes up further answers", function()
    record(function(client) assert(client:chat { model = "mock", messages = { user "one" } }) end)
    record(function(client) assert(client:chat { model = "mock", messages = { user "two" } }) end)
    assert.equal(3, #lines())
    replay(answers_one_and_two)
  end)

  it("goes on behind a line that was not written to its end", function()
    record(function(client) assert(client:chat { model = "mock", messages = { user "one" } }) end)
    shell.write(path, shell.read(path) .. shell.read(path):match "\n([^\n]+)\n$":sub(1, 200))
    record(function(client) assert(client:chat { model = "mock", messages = { user "two" } }) end)
    local program = cli.new {}
    local run = program.shell(program.command { "mock", "--replay", path } .. [[ >$out 2>$err & pid=$!
      until grep -q listening $out; do sleep 0.02; done; kill -INT $pid; wait $pid; echo $? >$status]])
    program.remove()
    assert.matches("replays 2 answers of [^;]*; 1 not written to its end%)\n", run.out)
    replay(answers_one_and_two)
  end)

  it("refuses what is not in it, and says how it differs", function()
    record(function(client) assert(client:chat { model = "mock", messages = { user "one" } }) end)
    replay(function(client)
      for pattern, request in pairs {
        ['messages%[0%]%.content is "two", and was "one"'] = { messages = { user "two" } },
        ['temperature is 1, and was nothing'] = { messages = { user "one" }, temperature = 1 },
        ['model is "other", and was "mock"'] = { messages = { user "one" }, model = "other" },
      } do
        request.model = request.model or "mock"
        assert.refused("HTTP 404 .* is not in the recording '" .. path:gsub("%p", "%%%0") .. "': .*" .. pattern,
          client:chat(request))
      end
      assert.refused("there is none for POST /v1/embeddings", client:embed("a", { model = "mock" }))
      assert.equal("mock", assert(client:models())[1].id) -- which the requests name
      assert(client:health())
    end)
  end)

  it("answers as the closest request was answered, where that is asked for", function()
    record(function(client)
      for _, words in ipairs { "What is shown in the picture?", "Write a poem about the sea." } do
        assert(client:chat { model = "mock", messages = { user(words) } })
      end
    end)
    replay(function(client)
      assert.equal("question: Write a poem about the sea.",
        assert(client:chat { model = "mock", messages = { user "Please write a long poem about a sea" } }).text)
      assert.refused("there is none", client:embed("a", { model = "mock" }))
    end, { closest = true })
  end)

  it("streams in the pieces that came, in their time where that is asked for", function()
    local words = "one two three four five six"
    record(function(client)
      assert(client:stream({ model = "mock", messages = { user(words) } }):reply())
    end)
    local pieces = lines()[2].response.pieces
    assert(#pieces > 3)
    for i = 2, #pieces do assert(pieces[i][1] > pieces[i - 1][1] and pieces[i][2] >= pieces[i - 1][2]) end
    for _, has_timing in ipairs { false, true } do
      replay(function(client)
        local stream = client:stream { model = "mock", messages = { user(words) } }
        local begun = core.now()
        assert.equal("question: " .. words, assert(stream:reply()).text)
        if has_timing then assert(core.now() - begun >= 0.9 * pieces[#pieces][2]) end
      end, { timing = has_timing })
    end
  end)

  it("is written at once, and a client that goes away leaves no half answer", function()
    record(function(client)
      local stream = client:stream { model = "mock", messages = { user(("word "):rep(100)) } }
      assert(stream:next())
      stream:cancel()
      assert(client:chat { model = "mock", messages = { user "whole" } })
      assert.equal(2, #lines())
    end)
  end)

  it("tells that the server cannot be asked", function()
    with({ record = path, upstream = "http://127.0.0.1:9/v1" }, function(client)
      assert.refused("HTTP 502 .* the server http://127.0.0.1:9/v1 cannot be asked", client:chat { model = "m",
        messages = { user "x" } })
    end)
    assert.equal(1, #lines())
  end)
end)

describe("lmm mock", function()
  it("says what is wrong with a recording", function()
    local program = cli.new {}
    shell.write(folder .. "/text", "text\n")
    shell.write(folder .. "/empty", "")
    shell.write(folder .. "/newer", '{"format":"lmm.recording","version":2}\n')
    shell.write(folder .. "/bad", '{"format":"lmm.recording","version":1}\n{"request":{}}\n')
    for pattern, words in pairs {
      ["cannot be used: No such file"] = { "--replay", folder .. "/none" },
      ["it is no recording"] = { "--replay", folder .. "/text" },
      ["it is empty"] = { "--replay", folder .. "/empty" },
      ["a newer lmm has made it %(version 2"] = { "--replay", folder .. "/newer" },
      ["line 2 is no recorded answer"] = { "--replay", folder .. "/bad" },
      ["/text' cannot be used: it is no recording"] = { "--record", "http://x/v1", folder .. "/text" },
      ["only http and https"] = { "--record", "ftp://x", path },
      ["either records or replays"] = { "--record", "http://x", path, "--replay", path },
    } do
      cli.complained(program.run { "mock", (table.unpack or unpack)(words) }, 1, pattern) -- luacheck: ignore
    end
    cli.complained(program.run { "mock", "--closest" }, 2, "%-%-closest goes with %-%-replay FILE")
    program.remove()
  end)

  it("records and replays from the command line", function()
    local program = cli.new { OPENAI_API_KEY = "sk-not-to-be-recorded" }
    local server = assert(lmm.serve { command = { arg[-1], "bin/lmm", "mock", "--record", real.url, path },
      client = { api_key = "sk-not-to-be-recorded" } })
    assert(server.client:conversation():ask "hello")
    server:stop()
    local player = assert(lmm.serve { command = { arg[-1], "bin/lmm", "mock", "--replay", path } })
    assert.equal("question: hello", assert(player.client:conversation():ask "hello").text)
    player:stop()
    program.remove()
  end)
end)
