-- The log of exchanges: what goes in comes out, once, by id, words, picture, chat and key, whatever is in it, while
-- others write, and with a sentence where it cannot be used.
local core = require "lmm.core"
local errors = require "lmm.errors"
local json = require "lmm.json"
local lmm = require "lmm"
local logs = require "lmm.log"
local program = require "spec.support.program"
local shell = require "spec.support.shell"

local folder = shell.output "mktemp -d":match "%S+"
local path = folder .. "/log.db"
local PNG, JPEG = "spec/media/picture.png", "spec/media/baseline.jpg"
local SERVER = "http://gpu:8000/v1"

local log

before_each(function()
  shell.run("rm -rf %s && mkdir %s", folder, folder)
  log = assert(logs.open(path))
end)

after_each(function() log:close() end)

teardown(function() os.execute("rm -rf " .. folder) end)

local function sum_of(file) return shell.output("sha256sum " .. file):match "%x+" end

local function user(...) return { role = "user", content = select("#", ...) == 1 and (...) or { ... } } end

local function says(text) return { role = "assistant", content = text } end

local function text(words) return { type = "text", text = words } end

--- Adds an exchange with these messages, which is answered.
local function add(messages, answer, more)
  local exchange = { request = { messages = messages }, server = SERVER, model = "m",
    reply = answer and { message = says(answer), text = answer, finish_reason = "stop", model = "m" } }
  for name, value in pairs(more or {}) do exchange[name] = value end
  return assert(log:add(exchange))
end

--- All bytes of the database.
local function bytes()
  local all = {}
  for file in shell.output("ls " .. path .. "*"):gmatch "[^\n]+" do all[#all + 1] = shell.read(file) end
  return table.concat(all)
end

local function ids(opts)
  local out = {}
  for i, row in ipairs(assert(log:list(opts))) do out[i] = row.id end
  return out
end

describe("a log", function()
  it("is left as it is by a program that ends, and closed where much is still to be taken in", function()
    local other = assert(logs.open(folder .. "/other.db"))
    add({ user "a" }, "b")
    assert(other:add { request = { messages = { user(("x"):rep(300000)) } }, server = SERVER })
    logs.leave_all()
    assert.equal("log.db\nlog.db-shm\nlog.db-wal\nother.db\n", shell.output("ls " .. folder))
    assert.raises("this log is closed", other.list, other)
    local next_one = assert(logs.open(path))
    assert.equal("a", next_one:list()[1].question)
    next_one:close()
  end)

  it("keeps its locks when the same process opens it once more", function()
    local function questions() -- as another process sees them, which takes in what it can when it is the last one
      local ended = program.run(([[
        local log = assert(require("lmm.log").open(%q))
        for _, row in ipairs(log:list()) do io.write(row.question, " ") end
        log:close()]]):format(path))
      assert.same({ 0, "" }, { ended.status, ended.err })
      return ended.out
    end
    add({ user "one" }, "a")
    local other = assert(logs.open(path))
    assert.equal("one ", questions())
    add({ user "two" }, "a")
    assert.equal("two one ", questions())
    other:close()
    assert.equal("two one ", questions())
    add({ user "three" }, "a")
    assert.equal("three two one ", questions())
  end)

  it("is its owner's alone, also behind a link to what is not there yet, or with a name that SQLite takes for a URI",
  function()
    assert.same({ nil, "unopened" }, { (logs.open ":memory:"), select(2, logs.open ":memory:").code })
    shell.run("ln -s %s/target.db %s/link.db", folder, folder)
    for name, file in pairs { ["link.db"] = "target.db", ["file:odd.db"] = "file:odd.db" } do
      local ended = program.run(([[
        local log = assert(require("lmm.log").open(%q))
        print(log:add { server = "s", request = { messages = { { role = "user", content = "q" } } } })
        log:close()]]):format(name), nil, "umask 022; cd " .. folder .. ";")
      assert.same({ 0, "1\n", "" }, { ended.status, ended.out, ended.err })
      assert.equal("600\n", shell.output(("stat -c %%a '%s/%s'"):format(folder, file)))
      local kept = assert(logs.open(folder .. "/" .. file))
      assert.equal(1, #kept:list())
      kept:close()
    end
    assert.equal("", shell.output(("ls %s | grep -v -x -e log.db -e log.db-shm -e log.db-wal -e target.db -e link.db "
      .. "-e file:odd.db || true"):format(folder)))
  end)

  it("gives an exchange back as it was", function()
    local id = assert(log:add {
      kind = "chat/completions", server = SERVER, model = "m", time = 1000, first_token = 0.25, total = 1.5,
      request = { model = "m", stream = true, temperature = 0, stop = lmm.array {}, logit_bias = { a = lmm.null },
        messages = { { role = "system", content = "Be brief." }, user "What?" } },
      options = { schema = { type = "object" } },
      reply = { message = says "A cat.", text = "A cat.", reasoning = "hm", finish_reason = "stop", id = "c-1",
        usage = { prompt_tokens = 3, completion_tokens = 2, total_tokens = 5 }, cost = 0.5, model = "m-7",
        attempts = 2 },
    })
    local got = assert(log:get(id))
    assert.same({ id, id, "chat/completions", SERVER, "m", 1000, 0.25, 1.5, 3, 2, 0.5, "stop" }, { got.id, got.chat,
      got.kind, got.server, got.model, got.time, got.first_token, got.total, got.prompt_tokens, got.completion_tokens,
      got.cost, got.finish_reason })
    assert.same({ "What?", "A cat." }, { got.question, got.answer })
    assert.equal('{"logit_bias":{"a":null},"messages":[{"content":"Be brief.","role":"system"},{"content":"What?",'
      .. '"role":"user"}],"model":"m","stop":[],"temperature":0}', json.encode(got.request))
    assert.same({ schema = { type = "object" } }, got.options)
    assert.same({ "A cat.", "hm", "c-1", "m-7", 2, 5 }, { got.reply.text, got.reply.reasoning, got.reply.id,
      got.reply.model, got.reply.attempts, got.reply.usage.total_tokens })
    assert.same(says "A cat.", got.reply.message)
  end)

  it("gives an error back, with what had come", function()
    local err = errors.new { kind = "http", message = "HTTP 503", status = 503, hint = "wait", attempts = 3 }
    err.partial = "half an"
    local got = assert(log:get(add({ user "x" }, nil, { err = err })))
    assert.same({ "HTTP 503 (wait)", "half an" }, { got.error, got.answer })
    assert.same({ "http", 503, 3, "half an" }, { got.err.kind, got.err.status, got.err.attempts, got.err.partial })
    assert.is_nil(got.reply)
  end)

  it("is a file of its owner's, in folders of his", function()
    local other = assert(logs.open(folder .. "/a/b/log.db"))
    assert.equal("600 700 700\n", shell.output(("echo $(stat -c %%a %s/a/b/log.db %s/a/b %s/a)"):format(folder, folder,
      folder)))
    other:close()
  end)

  it("takes whatever a stranger writes", function()
    for _, words in ipairs { "it's", "\0nul\0", "\255\254broken", ("x"):rep(3000000), '"; DROP TABLE exchange; --', "",
      "?", "line\nline", "\226\128\168", "'\0'?" } do
      local id = add({ user(words) }, words)
      local got = assert(log:get(id))
      local expected = words == "\255\254broken" and "\239\191\189\239\191\189broken" or words
      assert.equal(expected, got.answer)
      assert.equal(expected, got.request.messages[1].content)
    end
    assert.equal(10, #assert(log:list()))
    assert.equal(10, assert(log:prune { all = true }))
  end)

  it("never takes a stranger's table for a medium", function()
    local id = add({ user "x" }, "y", { reply = { message = { role = "assistant", content = { { ["lmm.medium"] = {
      kind = "image", sha256 = sum_of(PNG) } } } }, text = "" } })
    assert.same({ ["lmm.medium"] = { kind = "image", sha256 = sum_of(PNG) } },
      log:get(id).reply.message.content[1])
  end)

  it("keeps requests to other endpoints, too", function()
    local id = assert(log:add { kind = "embeddings", server = SERVER, model = "e", reply = { usage = {
      prompt_tokens = 7 } }, request = { input = { "one", "two" }, dimensions = 3 } })
    local got = log:get(id)
    assert.same({ "embeddings", "one\ntwo", 7 }, { got.kind, got.question, got.prompt_tokens })
    assert.same({ input = { "one", "two" }, dimensions = 3 }, got.request)
    assert.same({ id }, ids { search = "two" })
    assert.is_nil(log:chat(id))
  end)

  it("gives nil for what it does not have, and raises for misuse", function()
    assert.is_nil(log:get(1))
    assert.is_nil(log:find "x")
    assert.is_nil(log:last_chat())
    assert.same({}, log:list { search = "x" })
    assert.raises("log:list: unknown option 'serch' %(did you mean 'search'%?%)", log.list, log, { serch = "x" })
    assert.raises("log:add: there is no server", log.add, log, { request = {} })
    assert.raises("log:get: an id is a whole number, not \"1\"", log.get, log, "1")
    assert.raises("write log:get%(...%)", log.get, 1)
    assert.raises("log:prune takes one of", log.prune, log, {})
    local closed = assert(logs.open(path))
    closed:close()
    assert.raises("this log is closed", closed.get, closed, 1)
  end)
end)

describe("a log's lists", function()
  it("are by words, model, chat, place, time and failure", function()
    local first = add({ user "Which telescope took it?" }, "The Hubble Space Telescope.", { time = 1000 })
    local second = add({ user "Und das Gemälde?" }, "Ein Öl auf Leinwand", { model = "other" })
    local third = add({ user "x" }, nil, { err = errors.new { kind = "http", message = "no", status = 500 } })
    assert.same({ third, second, first }, ids())
    assert.same({ third, second }, ids { limit = 2 })
    for words, expected in pairs { telescope = first, TELE = first, ["hubble which"] = first, gemalde = second,
      ["öl"] = second, ['took "it"'] = first } do
      assert.same({ expected }, ids { search = words }, words)
    end
    for _, words in ipairs { "nothing", "hubble gemälde", '"', "AND", "", "elescope" } do
      assert.same({}, ids { search = words }, words)
    end
    assert.same({ second }, ids { model = "other" })
    assert.same({ third }, ids { failed = true })
    assert.same({ second, first }, ids { failed = false })
    assert.same({ first }, ids { older = 2000 })
    assert.same({ first }, ids { before = second })
  end)

  it("tell which exchanges belong together, across forks and tools", function()
    local question, calls = user "a", { role = "assistant", content = lmm.null, tool_calls = { { id = "c",
      type = "function", ["function"] = { name = "f", arguments = "{}" } } } }
    local result = { role = "tool", tool_call_id = "c", content = "1" }
    local first = add({ question }, nil, { reply = { message = calls, text = "" } })
    local second = add({ question, calls, result }, "A")
    local third = add({ question, calls, result, says "A", user "b" }, "B")
    local fork = add({ question, calls, result, says "A", user "c" }, "C")
    local other = add({ user "b" }, "B")
    assert.same({ fork, third, second, first }, ids { chat = third })
    assert.same({ other }, ids { chat = other })
    assert.equal(first, log:get(fork).chat)
  end)

  it("are by picture, whatever the path, in all that was asked about it", function()
    local part = lmm.image(PNG)
    local first = add({ user(text "What?", part) }, "A cat.")
    local second = add({ user(text "What?", part), says "A cat.", user "Which?" }, "Grey.")
    add({ user(text "What?", lmm.image(JPEG)) }, "A dog.")
    shell.run("cp %s %s/other.png", PNG, folder)
    for _, image in ipairs { PNG, folder .. "/other.png", sum_of(PNG) } do
      assert.same({ second, first }, ids { image = image })
    end
    local rows, err = log:list { image = folder .. "/gone.png" }
    assert.is_nil(rows)
    assert.matches("gone.png", err.message)
  end)

  it("are exported as JSON, media by their digest", function()
    add({ user(text "What?", lmm.image(PNG)) }, "A cat.")
    local lines = {}
    assert.equal(1, log:export(function(line) lines[#lines + 1] = line end))
    local value = assert(json.decode(lines[1]))
    assert.equal(sum_of(PNG), value.request.messages[1].content[2]["lmm.medium"].sha256)
    assert.equal(sum_of(PNG), value.media[1].sha256)
    assert.equal("A cat.", value.reply.text)
  end)

  it("are exported all, however many", function()
    for i = 1, 450 do add({ user("q" .. i) }, "a") end
    local ended = {}
    assert.equal(450, log:export(function(line) ended[#ended + 1] = json.decode(line).id end))
    for i = 1, 450 do assert.equal(i, ended[i]) end
    assert.equal(0, log:export(error, { search = "nothing" }))
  end)
end)

describe("a log's media", function()
  it("are never base64 in the database, in whatever form they came", function()
    local data = core.base64.encode(shell.read(JPEG))
    local url = "data:image/jpeg;base64," .. data
    add({ user(text "part", lmm.image { bytes = shell.read(JPEG) }) }, "a")
    add({ user(text "raw", { type = "image_url", image_url = { url = url } }) }, "b")
    add({ user(text "sound", { type = "input_audio", input_audio = { data = data, format = "wav" } }) }, "c")
    add({ user "draw" }, nil, { reply = { message = { role = "assistant", content = "", images = { { image_url = {
      url = url } } } }, text = "" } })
    local all = bytes()
    for i = 1, #data - 60, 997 do assert.is_nil(all:find(data:sub(i, i + 60), 1, true)) end
    assert.equal(3, #assert(log:list { image = JPEG })) -- of what was asked; the fourth was made
    assert.equal("image/jpeg", log:get(1).media[1].mime)
  end)

  it("are the files that they were, to be sent again", function()
    local id = add({ user(text "What?", lmm.image(PNG, { detail = "low" })) }, "A cat.")
    local part = log:get(id).request.messages[1].content[2]
    local body = assert(require("lmm.request").body { part })
    local same = assert(require("lmm.request").body { lmm.image(PNG, { detail = "low" }) })
    assert.equal(same:read(1000000), body:read(1000000))
  end)

  it("say why they cannot be sent again", function()
    shell.run("cp %s %s/a.png; cp %s %s/b.png", PNG, folder, PNG, folder)
    local a = add({ user(lmm.image(folder .. "/a.png")) }, "A")
    local b = add({ user(lmm.image { bytes = shell.read(JPEG) }) }, "B")
    shell.run("cp %s %s/a.png", JPEG, folder)
    for id, pattern in pairs { [a] = "a%.png' is not the file", [b] = "the bytes of the image are not in the log" } do
      local body, err = require("lmm.request").body { log:get(id).request.messages[1].content }
      assert.is_nil(body)
      assert.matches(pattern, err.message)
    end
  end)

  it("are named where they are gone, and found again where they were asked about since", function()
    shell.run("cp %s %s/a.png", PNG, folder)
    local id = add({ user(lmm.image(folder .. "/a.png")) }, "A")
    shell.run("mv %s/a.png %s/b.png", folder, folder)
    local _, err = require("lmm.request").body { log:get(id).request.messages[1].content }
    assert.matches("a%.png'.* %(the log names it: put that file back, or, where it was moved, ask about it there once",
      err.message)
    add({ user(text "where now?", lmm.image(folder .. "/b.png")) }, "A")
    assert(require("lmm.request").body { log:get(id).request.messages[1].content })
  end)

  it("are kept as files although the disk was full before", function()
    local keeper = assert(logs.open(path, { media = true }))
    local sum = shell.output("sha256sum " .. PNG):match "%x+"
    shell.run("mkdir %s.media && touch %s.media/%s.png", path, path, sum)
    local id = assert(keeper:add { request = { messages = { user(text "q", lmm.image(PNG)) } }, server = SERVER })
    assert.equal(#shell.read(PNG), keeper:get(id).media[1].size)
    assert.equal(shell.read(PNG), shell.read(keeper:get(id).media[1].path))
    keeper:close()
  end)

  it("that cannot be read any more when they are logged say so", function()
    local part = lmm.image(PNG)
    part.source = folder .. "/gone.png"
    local id = add({ user(text "q", part) }, "A")
    assert.equal("'" .. folder .. "/gone.png' could not be read any more when it was logged",
      log:get(id).request.messages[1].content[2].err.message)
  end)

  for _, keeps in ipairs { false, true } do
    local name = "that are gone when they are logged again are those that were logged"
    it(name .. (keeps and ", and kept" or ""), function()
      local file, keeper = folder .. "/a.png", assert(logs.open(path, { media = keeps }))
      shell.run("cp %s %s", PNG, file)
      local part = lmm.image(file)
      local function add_turn(words)
        return assert(keeper:add { request = { messages = { user(text "q", part), says "A", user(words) } },
          server = SERVER })
      end
      add_turn "And?"
      os.remove(file)
      local body, err = require("lmm.request").body { keeper:get(add_turn "And more?").request.messages[1].content }
      keeper:close()
      if keeps then return assert(body, err and err.message) end
      assert.matches("^cannot read '[^']*/a.png': .*the log names it: put that file back", err.message)
    end)
  end

  for what, opts in pairs { sent = {}, ["made smaller and sent"] = { max_side = 16 } } do
    it("whose files were written anew once they were " .. what .. " are not taken for those", function()
      local file = folder .. "/latest"
      shell.run("cp %s %s", PNG, file)
      local part = lmm.image(file, opts)
      assert(require("lmm.request").body { part })
      shell.run("cp %s %s", JPEG, file)
      local id = add({ user(text "q", part) }, "A")
      assert.same({}, assert(log:get(id)).media)
      assert.same({}, ids { image = file })
    end)
  end

  it("that are not ours come back as they were", function()
    local raw = { type = "image_url", image_url = { url = "data:image/png;base64," .. core.base64.encode(
      shell.read(PNG)) } }
    local keeper = assert(logs.open(path, { media = true }))
    local id = assert(keeper:add { request = { messages = { user(text "q", raw) } }, server = SERVER })
    local got = keeper:get(id).request.messages[1].content[2]
    assert.equal(json.encode(raw), json.encode(got))
    keeper:close()
    local other = add({ user(text "lost", { type = "image_url", image_url = { url = "data:image/png;base64,AAAA" } }) },
      "x")
    local body, err = require("lmm.request").body(log:get(other).request)
    assert.is_nil(body)
    assert.matches("not in the log", err.message)
  end)

  it("of a server to fetch, or that it knows, stay what they are", function()
    local id = add({ user(lmm.image "http://x/a.png", lmm.image(nil, { uuid = "u-1" })) }, "A")
    local content = log:get(id).request.messages[1].content
    assert.same({ "http://x/a.png", "u-1" }, { content[1].url, content[2].options.uuid })
  end)

  it("are kept as files where that is asked for, each once, until nobody needs them", function()
    local keeper = assert(logs.open(path, { media = true }))
    for i = 1, 3 do
      assert(keeper:add { request = { messages = { user(text("q" .. i), lmm.image { bytes = shell.read(JPEG) }) } },
        server = SERVER, model = "m" })
    end
    local kept = path .. ".media/" .. sum_of(JPEG) .. ".jpg"
    assert.equal(shell.read(JPEG), shell.read(kept))
    assert.equal("1\n", shell.output(("ls %s.media | wc -l"):format(path)))
    local body = assert(require("lmm.request").body { keeper:get(2).request.messages[1].content })
    assert.is_truthy(body:read(1000000):find(core.base64.encode(shell.read(JPEG)), 1, true))
    assert(keeper:prune { id = 1 })
    assert.is_truthy(shell.read(kept))
    assert(keeper:prune { all = true })
    assert.is_nil(shell.read(kept))
    keeper:close()
  end)

  it("do not have their files read again while these have not changed", function()
    shell.run("cp %s %s/a.png", PNG, folder)
    add({ user(lmm.image(folder .. "/a.png")) }, "A")
    local digest, count = require "lmm.digest", 0
    local file = digest.file
    digest.file = function(...)
      count = count + 1
      return file(...)
    end
    add({ user(lmm.image(folder .. "/a.png")) }, "B")
    local request = { messages = { user(lmm.image(folder .. "/a.png")) } }
    local key = assert(log:key(request, { server = SERVER, model = "m" }))
    assert.equal(2, log:find(key).id)
    digest.file = file
    assert.equal(0, count)
    assert.same({ 2, 1 }, ids { image = PNG })
  end)
end)

describe("a log's chats", function()
  it("are what it takes to go on", function()
    local part = lmm.image(PNG)
    add({ { role = "system", content = "Be brief." }, user(text "What?", part) }, "A cat.", { request = {
      temperature = 0.5, messages = { { role = "system", content = "Be brief." }, user(text "What?", part) } } })
    add({ user "failed" }, nil, { err = errors.new { kind = "http", message = "no" } })
    local chat = assert(log:last_chat())
    assert.same({ 1, 1, "m", SERVER, 0.5 }, { chat.id, chat.chat, chat.model, chat.server, chat.fields.temperature })
    assert.same({ "system", "user", "assistant" }, { chat.messages[1].role, chat.messages[2].role,
      chat.messages[3].role })
    assert.equal("A cat.", chat.messages[3].content)
    assert.is_true(require("lmm.part").is(chat.messages[2].content[2]))
    local fake = require "spec.support.fake"
    local net = fake.net { fake.whole "Grey." }
    assert(net:connect { retry = false }:conversation { messages = chat.messages }:ask "Which?")
    local sent = net.requests[1].body.messages
    assert.equal(4, #sent)
    assert.equal(core.base64.encode(shell.read(PNG)), sent[2].content[2].image_url.url:match ",(.*)")
  end)

  it("go on with a video of frames, as long as these are what they were", function()
    local bytes_of_a = shell.read(JPEG) .. "x" -- which no other file has
    shell.write(folder .. "/a.jpg", bytes_of_a)
    local vouched = { uuid = "u", trust_uuid = true, fps = 2 }
    local shrunk = lmm.image(PNG, { uuid = "u", trust_uuid = true, max_side = 9 })
    add({ user(text "What?", lmm.video({ frames = { folder .. "/a.jpg", JPEG } }, vouched), shrunk) }, "A cat.")
    local content = assert(log:last_chat()).messages[1].content
    local film = content[2]
    assert.same({ { fps = 2 }, {} }, { film.options, content[3].options })
    assert.same({ "video", "video/jpeg", 37, 2 }, { film.kind, film.mime, film.width, #film.frames }, film.err)
    local sent = json.decode(require("lmm.request").body({ film }):read(2 ^ 20))
    assert.equal("data:video/jpeg;base64," .. core.base64.encode(bytes_of_a) .. ","
      .. core.base64.encode(shell.read(JPEG)), sent[1].video_url.url)
    shell.write(folder .. "/a.jpg", shell.read "spec/media/exif.jpg")
    film = assert(log:last_chat()).messages[1].content[2]
    assert.matches("'.*/a.jpg' is not the file that was logged", film.err.message)
  end)

  it("are also what an answer that was stopped leaves to go on with", function()
    add({ user "one" }, "A")
    local function stopped(partial, kind)
      return add({ user "one", { role = "assistant", content = "A" }, user "two" }, nil, { err = errors.new {
        kind = kind or "cancelled", message = "no", partial = partial } })
    end
    local id = stopped 'half of "it'
    stopped ""
    stopped(nil)
    stopped('"kind":"cancelled"', "truncated")
    local chat = assert(log:last_chat())
    assert.same({ id, 4 }, { chat.id, #chat.messages })
    assert.same({ role = "assistant", content = 'half of "it' }, chat.messages[4])
  end)

  it("take at most 2 KB for a hundredth question about a picture, and no more for a later one", function()
    local messages, sizes = { user(text "What is shown in this image?", lmm.image(PNG)) }, {}
    local function size()
      log.database:pragma "wal_checkpoint(TRUNCATE)"
      return #shell.read(path)
    end
    for i = 1, 200 do
      if i == 100 or i == 200 then sizes[#sizes + 1] = size() end
      if i == 101 or i == 199 then sizes[#sizes + 1] = size() end
      local copy = {}
      for k, message in ipairs(messages) do copy[k] = message end
      add(copy, "answer " .. i)
      messages[#messages + 1], messages[#messages + 2] = says("answer " .. i), user("question " .. i)
    end
    assert(sizes[4] - sizes[2] <= 100 * 2048, "98 questions took " .. sizes[4] - sizes[2] .. " bytes")
    assert(sizes[2] - sizes[1] <= 3 * 4096, "a question took " .. sizes[2] - sizes[1] .. " bytes") -- whole pages
  end)
end)

describe("a log's keys", function()
  local function key(request, opts)
    local given = { server = SERVER, model = "m" }
    for name, value in pairs(opts or {}) do given[name] = value end
    return assert(logs.key(request, given))
  end

  it("are the same for the same question, however its media come and its answer goes", function()
    shell.run("cp %s %s/a.png", PNG, folder)
    local function request(image, more)
      local out = { temperature = 0, messages = { user(text "What?", lmm.image(image)) } }
      for name, value in pairs(more or {}) do out[name] = value end
      return out
    end
    shell.run("cp %s %s/picture.png", PNG, folder)
    local own = key(request(PNG))
    assert.equal(own, key(request(folder .. "/picture.png")))
    assert.equal(own, key(request(PNG, { stream = true, stream_options = { include_usage = true }, model = "m" })))
    local id = add(request(PNG).messages, "A cat.", { request = request(PNG) })
    assert.equal(id, log:find(own).id)
    for what, other in pairs {
      picture = key(request(JPEG)), field = key(request(PNG, { temperature = 1 })),
      server = key(request(PNG), { server = "http://other/v1" }), model = key(request(PNG, { model = "n" })),
      salt = key(request(PNG), { salt = "2" }), options = key(request(PNG), { options = { choice = { "a" } } }),
    } do
      assert.not_equal(own, other, what)
    end
  end)

  it("find the last answer, and no failure", function()
    local request = { messages = { user "x" } }
    add(request.messages, "old")
    add(request.messages, "new")
    add(request.messages, nil, { err = errors.new { kind = "http", message = "no" } })
    assert.equal("new", log:find(key(request)).answer)
    add(request.messages, "salted", { key = "mine" })
    assert.equal("salted", log:find("mine").answer)
    assert.equal("new", log:find(key(request)).answer)
  end)

  it("say which medium cannot be read", function()
    local part = lmm.image { bytes = shell.read(PNG) }
    part.source = folder .. "/gone.png"
    local found, err = logs.key({ messages = { user(part) } }, { server = SERVER })
    assert.is_nil(found)
    assert.matches("gone.png", err.message)
  end)
end)

describe("a log that is pruned", function()
  it("forgets what nobody needs, words and all, and nothing else", function()
    local question = user(text "What is secretly shown?", lmm.image(PNG))
    local first = add({ question }, "A hidden cat.", { time = 1000,
      request = { top_p = 0.25, messages = { question } } })
    local second = add({ question, says "A hidden cat.", user "Which?" }, "Grey.")
    add({ user "unrelated words" }, "other", { time = 1000 })
    assert.equal(2, log:prune { older = 86400 })
    assert.same({ second }, ids())
    assert.equal("A hidden cat.", log:get(second).request.messages[2].content) -- a part of the second's
    assert.same({}, ids { search = "unrelated" })
    assert.is_nil(bytes():find("unrelated", 1, true))
    assert.is_nil(bytes():find("top_p", 1, true))
    assert.equal(1, log:prune { id = second })
    for _, words in ipairs { "hidden", "secretly", "Grey" } do assert.is_nil(bytes():find(words, 1, true)) end
    assert.is_nil(bytes():find(sum_of(PNG), 1, true))
    assert.is_true(add({ user "new" }, "x") > first + 2) -- ids are not given again
  end)

  it("says that the words stay for now where another program reads it", function()
    add({ user "wombat" }, "b")
    local reader = assert(logs.open(path))
    assert(reader.database:snapshot(function()
      reader.database:rows "SELECT id FROM exchange"
      log.database:pragma "busy_timeout = 1"
      assert.same({ 1, nil, "another program reads the log, and they go when it ends" }, { log:prune { all = true } })
      return true
    end))
    assert.is_truthy(bytes():find("wombat", 1, true))
    assert.same({ 0 }, { log:prune { all = true } })
    reader:close()
    log:close()
    assert.is_nil(bytes():find("wombat", 1, true))
  end)
end)

describe("a log of many processes", function()
  --- What eight processes that run a file of Lua at the same time print.
  local function eight(file)
    local commands = {}
    for i = 1, 8 do
      commands[i] = ("LUA_PATH=%s LUA_CPATH=%s %s %s %d &"):format(shell.quote(package.path),
        shell.quote(package.cpath), shell.quote(arg[-1]), file, i)
    end
    return shell.output(("( %s wait ) 2>&1"):format(table.concat(commands, " ")))
  end

  it("is made by eight of them at once", function()
    local opener = shell.write(folder .. "/opener.lua",
      ('assert(require("lmm.log").open(%q)) print "done"'):format(path))
    for _ = 1, 30 do
      shell.run("rm -f %s*", path)
      assert.equal(("done\n"):rep(8), eight(opener))
    end
  end)

  it("has all that eight of them write at once", function()
    shell.run("rm -f %s*", path)
    local writer = shell.write(folder .. "/writer.lua", ([[
      local log = assert(require("lmm.log").open(%q))
      for i = 1, 100 do
        assert(log:add { request = { messages = { { role = "user", content = arg[1] .. " " .. i } } }, server = "s",
          model = "m", reply = { message = { role = "assistant", content = "a" }, text = "a" } })
      end
      print "done"
    ]]):format(path))
    assert.equal(("done\n"):rep(8), eight(writer))
    log:close()
    log = assert(logs.open(path))
    assert.equal(800, #log:list())
    assert.equal("ok", log.database:value "SELECT integrity_check AS value FROM pragma_integrity_check")
  end)
end)

describe("a log that cannot be used", function()
  local function refusal(at, opts)
    local opened, err = logs.open(at or path, opts)
    assert.is_nil(opened)
    assert.equal("invalid", err.kind)
    assert.is_truthy(err.message:find(("the log '%s' cannot be used: "):format(at or path), 1, true), err.message)
    return err.message:match "cannot be used: (.*)", err.code
  end

  it("says why", function()
    assert.same({ "there is none: nothing has been logged yet", "missing" }, { refusal(folder .. "/none",
      { create = false }) })
    assert.same({ "it is a directory, not a file", "unopened" }, { refusal(folder) })
    assert.same({ "Not a directory", "unopened" }, { refusal(path .. "/x") })
    shell.write(folder .. "/text", ("no database "):rep(1000))
    assert.same({ "it is no SQLite database, or a damaged one", "damaged" }, { refusal(folder .. "/text") })
    log.database:run "PRAGMA user_version = 99"
    assert.same({ "a newer lmm has written it (version 99, and this one knows 1): update lmm", "newer" }, { refusal() })
    os.execute(("lua5.4 -e 'require(%q).sqlite3():connect(%q):execute(%q)'"):format("luasql.sqlite3",
      folder .. "/other.db", "CREATE TABLE songs (a)"))
    assert.same({ "it is the database of another program, with a table 'songs'", "other" },
      { refusal(folder .. "/other.db") })
  end)

  it("waits for another that writes, and then says so", function()
    add({ user "x" }, "y")
    local other = assert(logs.open(path, { wait = 0.05 }))
    log.database:run "BEGIN IMMEDIATE"
    local id, err = other:add { request = { messages = { user "x" } }, server = SERVER }
    log.database:run "COMMIT"
    assert.is_nil(id)
    assert.same({ "locked", ("the log '%s' cannot be used: another program keeps it locked"):format(path) },
      { err.code, err.message })
    assert.is_truthy(other:add { request = { messages = { user "x" } }, server = SERVER })
    other:close()
  end)

  it("waits for a part of a millisecond, or without end", function()
    for _, wait in ipairs { 0, 0.0123, 1e9, math.huge } do
      local other = assert(logs.open(path, { wait = wait }))
      assert.same({}, assert(other:list()))
      other:close()
    end
  end)

  it("does not depend on the locale", function()
    shell.output(("localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 2>/dev/null"):format(folder))
    local ended = program.run(([[
      if not os.setlocale "de_DE.UTF-8" then return print "no such locale" end
      local log = assert(require("lmm.log").open(%q))
      local id, err = log:add { request = { messages = { { role = "user", content = "z" } } }, server = "s",
        time = 1.5, total = 0.125, cost = 1e-7, reply = { text = "a" } }
      if err then return print(err) end
      local got = log:get(id)
      print(got.time == 1.5, got.total == 0.125, got.cost == 1e-7)
    ]]):format(path), {}, "LOCPATH=" .. folder)
    if ended.out:find "no such locale" then return pending "the locale de_DE cannot be made here" end
    assert.equal("true\ttrue\ttrue\n", ended.out .. ended.err)
  end)

  it("tells damage that is found later", function()
    for i = 1, 200 do add({ user(("word%d "):format(i):rep(50)) }, "y") end
    log:close()
    local whole = shell.read(path)
    shell.write(path, whole:sub(1, 4096 * 4) .. ("\255"):rep(#whole - 4096 * 4))
    log = assert(logs.open(path))
    local id, err = log:add { request = { messages = { user "x" } }, server = SERVER }
    assert.is_nil(id)
    assert.same({ "damaged", "it is damaged: move it away, with its -wal and -shm, and a new one is begun" },
      { err.code, (err.message:match "cannot be used: (.*)") })
  end)

  for mode, row in pairs { log = { "full", "the disk is full" }, readonly = { "readonly", "it cannot be written" } } do
    it("says that " .. row[2], function()
      add({ user "x" }, "y")
      log:close()
      local disk = program.library "disk"
      local ended = program.run(([[
        local log, err = require("lmm.log").open(%q)
        local id
        local request = { messages = { { role = "user", content = "z" } } }
        if log then id, err = log:add { request = request, server = "s" } end
        print(err.code, err.message)
      ]]):format(path), {}, ('LMM_SPEC_DISK=%s LD_PRELOAD="$LD_PRELOAD %s"'):format(mode, disk))
      os.remove(disk)
      assert.equal(("%s\tthe log '%s' cannot be used: %s\n"):format(row[1], path, row[2]), ended.out .. ended.err)
      log = assert(logs.open(path))
      assert.equal(1, #log:list())
    end)
  end

  it("names the package that is missing", function()
    local ended = program.run(([[
      package.preload["luasql.sqlite3"] = nil
      package.cpath = package.cpath:gsub("[^;]+", function(at) return at:find "^/usr" and "" or at end)
      print(require("lmm.log").is_installed())
      print(select(2, require("lmm.log").open(%q)).message)
    ]]):format(path), {})
    assert.equal(("false\nthe log '%s' cannot be used: the Lua module 'luasql.sqlite3' is not installed (on Debian: "
      .. "apt install lua-sql-sqlite3)\n"):format(path), ended.out .. ended.err)
  end)
end)
