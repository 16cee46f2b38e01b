-- What is logged of calls to a real server, and that a log which fails takes nothing from the answers.
local lmm = require "lmm"
local logs = require "lmm.log"
local program = require "spec.support.program"
local read_log = require "spec.support.logged"
local shell = require "spec.support.shell"

local PNG = "spec/media/picture.png"

local folder = shell.output "mktemp -d":match "%S+"
local path = folder .. "/log.db"
local server

setup(function() server = assert(lmm.mock { delay = 0 }) end)

before_each(function() shell.run("rm -rf %s && mkdir %s", folder, folder) end)

teardown(function()
  server.stop()
  os.execute("rm -rf " .. folder)
end)

local function user(words) return { role = "user", content = words } end

local function logged() return read_log(path) end

describe("a client with a log", function()
  it("logs the other endpoints, each with its name", function()
    local client = lmm.connect { base_url = server.url, log = path, model = "mock" }
    assert(client:embed { "one", lmm.image(PNG) })
    assert(client:complete("once", { max_tokens = 3 }))
    assert(client:transcribe("spec/media/sound.wav"))
    assert(client:rerank("query", { "a", "b" }))
    assert(client:request("POST", "chat/completions", { model = "mock", messages = { user "raw" } }))
    for _ in client:events("POST", "completions", { model = "mock", prompt = "events" }) do end -- luacheck: ignore
    assert(client:chat '{"model":"mock","messages":[{"role":"user","content":"as text"}]}')
    assert(client:models())
    assert(client:tokenize "not logged")
    local kinds, questions = {}, {}
    for i, row in ipairs(logged()) do kinds[i], questions[i] = row.kind, row.question end
    assert.same({ "embeddings", "embeddings", "completions", "audio/transcriptions", "rerank", "chat/completions",
      "completions", "chat/completions" }, kinds)
    assert.same({ "", "one", "once", "", "query\na\nb", "raw", "events", "as text" }, questions)
    assert.equal("audio/wav", logged()[4].media[1].mime)
    assert.is_truthy(logged()[6].prompt_tokens)
    client:close()
  end)

  it("logs which server of a pool has answered", function()
    local client = lmm.connect { base_url = { server.url }, log = path, model = "mock" }
    assert(client:conversation():ask "q")
    assert.equal(server.url, logged()[1].server)
    client:close()
  end)

  it("never logs a key or a header", function()
    local client = lmm.connect { base_url = server.url, log = path, api_key = "sk-a-secret-key", model = "mock",
      headers = { ["X-Team"] = "team-secret" } }
    assert(client:conversation():ask("q", { headers = { Authorization = "Bearer another-secret" } }))
    assert.is_nil((client:chat { messages = { user "x" }, mock = { status = 401 } }))
    assert(client:chat { messages = { user "y" }, api_key = "body-secret", extra_headers = { a = "secret" } })
    assert(client:chat { messages = { user "y" }, api_keys = { "a secret" }, plugins = { { id = "x",
      headers = { A = "secret" }, password = "secret" } } })
    client:close()
    assert.equal("", shell.output(("grep -l secret %s*"):format(path)))
  end)
end)

describe("a log that fails,", function()
  --- A log with one exchange in it.
  local function make()
    local log = assert(logs.open(path))
    assert(log:add { request = { messages = { user "x" } }, server = "s" })
    return log
  end

  for name, row in pairs {
    ["is no database"] = { function() shell.write(path, ("no database "):rep(1000)) end, "or a damaged one" },
    ["is a folder"] = { function() shell.run("mkdir %s", path) end, "it is a directory" },
    ["is of a newer lmm"] = { function()
      local log = make()
      log.database:pragma "user_version = 99"
      log:close()
    end, "a newer lmm has written it" },
    ["is on a full disk"] = { function() make():close() end, "the disk is full", "log" },
    ["cannot be written"] = { function() make():close() end, "it cannot be written", "readonly" },
  } do
    it("since it " .. name .. " takes nothing from the answers, and is told once in a process", function()
      row[1]()
      local disk = row[3] and program.library "disk"
      local ended = program.run(([[
        local lmm = require "lmm"
        for _ = 1, 2 do
          local client = lmm.connect { base_url = %q, log = %q, cache = true, model = "mock" }
          for i = 1, 3 do print(assert(client:conversation { temperature = 0 }:ask("q" .. i))) end
        end
      ]]):format(server.url, path), {}, disk and ('LMM_SPEC_DISK=%s LD_PRELOAD="$LD_PRELOAD %s"'):format(row[3], disk))
      if disk then os.remove(disk) end
      assert.equal(("question: q1\nquestion: q2\nquestion: q3\n"):rep(2), ended.out)
      assert.matches("^lmm: the log '[^\n]* cannot be used: [^\n]*%(the answers are not affected[^\n]*%)\n$", ended.err)
      assert.matches(row[2], ended.err)
      assert.equal(0, ended.status)
    end)
  end

  it("does not keep Ctrl-C from who waits for it", function()
    make():close()
    local ended = program.run(([[
      local lmm = require "lmm"
      local client = lmm.connect { base_url = %q, log = %q, model = "mock" }
      assert(client:conversation():ask "zero")
      local log = client.log:open()
      function log.add(...)
        log.add = nil
        debug.sethook(function() debug.sethook(); error("interrupted!", 0) end, "", 100) -- as lua.c does
        return log.add(...)
      end
      local chat = client:conversation()
      print(pcall(chat.ask, chat, "one"))
      print(chat:ask "two")
      print(#log:list())
      client:close()
      local under_way
      for _, is_under_way in pairs(client.calls) do under_way = under_way or is_under_way or nil end
      print(under_way)
    ]]):format(server.url, path), {})
    assert.equal("", ended.err)
    assert.equal("false\tinterrupted!\nquestion: two\nturn 2, after 2 messages\n3\nnil\n", ended.out)
  end)

  it("is waited for once by who asks often", function()
    local holder = make()
    holder.database:run "BEGIN IMMEDIATE"
    local client = lmm.connect { base_url = server.url, log = path, model = "mock" }
    local waits, open = {}, client.log.open_log
    client.log.loop = { report = function() end }
    function client.log.open_log(at, opts)
      waits[#waits + 1] = opts.wait
      return open(at, { wait = 0 })
    end
    for i = 1, 3 do assert(client:conversation():ask("q" .. i)) end
    holder.database:run "COMMIT"
    client:close()
    assert.same({ 5, 0.05, 0.05, 0.05 }, waits)
    assert.equal(4, #assert(holder:list()))
    assert.is_nil(client.log.log)
    holder:close()
  end)

  it("because another process writes, is written later, where the thread has other things to do", function()
    local ended = program.run(([[
      local uv = require "luv"
      local lmm = require "lmm"
      lmm.use "luv"
      local holder = assert(require("lmm.log").open(%q))
      local client = lmm.connect { base_url = %q, log = %q, model = "mock" }
      lmm.go(function()
        assert(client:conversation():ask "one")
        holder.database:run "BEGIN IMMEDIATE"
        assert(client:conversation():ask "two")
        assert(client:conversation():ask "three")
        holder.database:run "COMMIT"
        assert(client:conversation():ask "four")
        client:close()
        for _, row in ipairs(holder:list()) do print(row.question) end
      end)
      uv.run()
    ]]):format(path, server.url, path))
    assert.equal("four\nthree\ntwo\none\n", ended.out)
    assert.matches("^lmm: [^\n]* another program keeps it locked [^\n]*\n$", ended.err)
  end)

  it("is not loaded where nobody asks for one", function()
    local ended = program.run(([[
      local lmm = require "lmm"
      assert(lmm.connect(%q):conversation():ask "q")
      print(package.loaded["lmm.log"], package.loaded["luasql.sqlite3"])
    ]]):format(server.url))
    assert.equal("nil\tnil\n", ended.out .. ended.err)
  end)
end)
