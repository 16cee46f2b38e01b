-- What a run keeps: whole lines in locked files, whatever ends the process, and the set of ids that it has met.
local core = require("lmm.files").journal
local fake = require "spec.support.fake"
local json = require "lmm.json"
local lmm = require "lmm"
local program = require "spec.support.program"
local shell = require "spec.support.shell"

local folder = shell.folder()
local path = folder .. "/out.jsonl"

local function clean() os.execute("rm -rf " .. folder .. "/*") end

local function records(name)
  local list = {}
  for line in (shell.read(name or path) or ""):gmatch "[^\n]+" do list[#list + 1] = assert(json.decode(line)) end
  return list
end

describe("a journal", function()
  before_each(clean)

  it("adds whole lines, and drops one that was cut short", function()
    shell.write(path, "one\ntwo\nthr")
    local file, dropped = core.open(path)
    assert.same({ 3, 8 }, { dropped, file:size() })
    assert.is_true(file:add "three\nfour\n")
    assert.is_true(file:sync())
    file:close()
    assert.equal("one\ntwo\nthree\nfour\n", shell.read(path))
    assert.raises("whole lines expected", function() core.open(path):add "five" end)
    assert.raises("closed journal", file.add, file, "x\n")
  end)

  it("drops a cut line however long it is", function()
    for _, row in ipairs { { "", 0 }, { ("x"):rep(200000), 0 }, { "a\n" .. ("x"):rep(65536), 2 },
      { ("y"):rep(70000) .. "\n" .. ("x"):rep(65535), 70001 }, { "a\n", 2 } } do
      shell.write(path, row[1])
      local file, dropped = core.open(path)
      assert.same({ #row[1] - row[2], row[2] }, { dropped, file:size() })
      file:close()
      assert.equal(row[1]:sub(1, row[2]), shell.read(path))
    end
  end)

  it("is read whole however few bytes come at once", function()
    local library = program.library "disk"
    shell.write(path, "one\ntwo\nthr")
    local ended = program.run([[
      local files = require "lmm.files"
      local file, dropped = files.journal.open(...)
      print(file and file:size(), dropped)
      local ids = assert(files.journal.ids(...))
      for i = 1, 20 do assert(ids:add("row " .. i % 10, i > 10 and 2 or 1)) end
      print(ids:get "row 1", ids:get "row 10")
    ]], { path }, 'LMM_SPEC_DISK=few LD_PRELOAD="$LD_PRELOAD ' .. library .. '"')
    os.remove(library)
    assert.same({ 0, "8\t3\n3\t0\n", "" }, { ended.status, ended.out, ended.err })
    assert.equal("one\ntwo\n", shell.read(path))
  end)

  it("is one process's, and one handle's, until that is closed or the process ends", function()
    local file = core.open(path)
    local other, why, is_locked = core.open(path)
    assert.same({ false, "another process writes it", true }, { other or false, why, is_locked })
    assert.is_true(core.is_open(path))
    io.open(path):close() -- which would take a lock of POSIX away
    assert.is_true(core.is_open(path))
    local ended = program.run("print((select(2, require('lmm.files').journal.open(...))))", { path })
    assert.equal("another process writes it\n", ended.out)
    file:close()
    assert.is_false(core.is_open(path))
    program.run("kept = require('lmm.files').journal.open(...) os.exit(0)", { path })
    core.open(path):close()
  end)

  it("says what is wrong with a path", function()
    for _, row in ipairs { { folder .. "/none/x", "No such file" }, { folder, "Is a directory" },
      { "/dev/null", "it is not a file" } } do
      local file, why = core.open(row[1])
      assert.is_nil(file)
      assert.matches(row[2], why)
    end
    for _, name in ipairs { "open", "is_open", "ids" } do
      assert.raises("a path cannot hold a NUL byte", core[name], path .. "\0b")
    end
  end)

  it("leaves nothing of lines that the disk has no room for", function()
    local ended = program.run([[
      local file = require("lmm.files").journal.open(...)
      local line = ("x"):rep(999) .. "\n"
      local ok, why
      repeat ok, why = file:add(line) until not ok
      print(why, file:size() % 1000, file:size() > 0)
    ]], { path }, "trap '' XFSZ; ulimit -f 20;")
    assert.matches("^File too large\t0\ttrue\n$", ended.out)
    assert.equal(0, #shell.read(path) % 1000)
  end)

  it("adds nothing to a line that was cut short and could not be taken away", function()
    local library = program.library "disk"
    local ended = program.run([[
      local file = require("lmm.files").journal.open(...)
      for _, line in ipairs { "one\n", "two\n", "three\n" } do print(file:add(line)) end
      print(file:size())
    ]], { folder .. "/torn" }, 'LMM_SPEC_DISK=torn LD_PRELOAD="$LD_PRELOAD ' .. library .. '"')
    os.remove(library)
    assert.equal("true\nnil\tNo space left on device\ntrue\n10\n", ended.out)
    assert.equal("one\nthree\n", shell.read(folder .. "/torn"))
  end)
end)

describe("a set of ids", function()
  before_each(clean)

  it("keeps flags by text, many of them", function()
    local ids
    for _, count in ipairs { 0, 5000, 100000 } do
      ids = core.ids(path, count)
      assert.equal(0, ids:get "x")
      for i = 1, 20000 do assert.equal(0, ids:add("id" .. i, i % 15 + 1)) end
      for i = 1, 20000 do assert.equal(i % 15 + 1, ids:get("id" .. i)) end
      assert.equal(0, ids:get "id20001")
    end
    assert.same({ 2, 3, 3, 3 }, { ids:add("id1", 1), ids:get "id1", ids:add("id1", 2), ids:get "id1" })
    assert.raises("1 to 15", ids.add, ids, "x", 16)
    assert.raises("1 to 15", ids.add, ids, "x", 0)
    ids:close()
    ids:close()
    assert.raises("closed set of ids", ids.get, ids, "x")
  end)

  it("leaves no name in its folder, and takes no memory for what it holds", function()
    local ended = program.run([[
      local ids = require("lmm.files").journal.ids(...)
      local function memory() return tonumber(io.open("/proc/self/status"):read("*a"):match "VmRSS:%s+(%d+)") end
      local before
      for i = 1, 200000 do
        ids:add("row " .. i, 1)
        if i == 1000 then
          collectgarbage()
          before = memory()
        end
      end
      collectgarbage()
      collectgarbage()
      print(memory() - before)
    ]], { path })
    assert.same({ 0, "" }, { ended.status, ended.err })
    if os.getenv "LMM_TEST_WRAP" == nil then -- what looks at the memory keeps what is given back
      assert(tonumber(ended.out) <= 1024, ended.out .. " KiB")
    end
    assert.equal("", shell.output("ls -A " .. folder))
  end)

  it("says that the disk is full", function()
    local ended = program.run([[
      local ids = require("lmm.files").journal.ids(...)
      local at, why = 0, nil
      repeat
        at = at + 1
        local flags
        flags, why = ids:add("row " .. at, 1)
      until not flags
      print(why, at > 500)
    ]], { path }, "trap '' XFSZ; ulimit -f 60;")
    assert.equal(("the ids of the rows cannot be kept in a file beside '%s': File too large\ttrue\n"):format(path),
      ended.out)
    local ids, why = core.ids(folder .. "/none/x")
    assert.same({ false, ("the ids of the rows cannot be kept in a file beside '%s': No such file or directory"):format(
      folder .. "/none/x") }, { ids or false, why })
  end)
end)

describe("map with an output", function()
  before_each(clean)
  teardown(function() os.execute("rm -rf " .. folder) end)

  local function sleep(seconds) return fake.loop:wait({}, fake.loop:now() + seconds) end

  it("writes a line for each row, and goes on where it ended", function()
    local seen, has_raised = {}, false
    local function fn(item)
      seen[#seen + 1] = item.n
      sleep(item.n % 3)
      if item.n == 4 then return nil, "no four", { kind = "http", status = 400, message = "no four" } end
      if item.n == 6 and not has_raised then
        has_raised = true
        error("boom", 0)
      end
      return { answer = item.n * 2, usage = { prompt_tokens = 1, completion_tokens = 2 } }
    end
    local items = {}
    for i = 1, 8 do items[i] = { n = i } end
    assert.raises("^boom$", lmm.map, items, fn, { output = path, concurrency = 2 })
    local before = #records()
    assert(before >= 3 and before < 8)
    local summary = assert(lmm.map(items, fn, { output = path, concurrency = 2, ordered = true }))
    assert.same({ 7, 1 }, { summary.done, summary.failed })
    local list, lines = records(), {}
    for i, record in ipairs(list) do
      lines[i] = record.line
      assert.equal(record.line * 2, record.response.body.answer)
      assert.same({ 200, json.null }, { record.response.status_code, record.error })
    end
    assert.same({ 1, 2, 3, 5, 6, 7, 8 }, lines)
    local failed = records(folder .. "/out.errors.jsonl")
    assert.same({ 1, 4, 400, "no four" }, { #failed, failed[1].line, failed[1].response.status_code,
      failed[1].error.message })
    local count = #seen
    assert(lmm.map(items, fn, { output = path }))
    assert.equal(count, #seen)
  end)

  it("writes nothing of a row that a raise has cut off, and runs it the next time", function()
    local is_well = false
    local function fn(item, client)
      if is_well then return item end
      if item == 1 then
        sleep(1)
        error("boom", 0)
      end
      if item == 2 then return item end
      return client:chat { messages = { { role = "user", content = "q" } } }
    end
    local opts = { output = path, concurrency = 3, client = fake.net({ { hang = true }, { hang = true } }):connect() }
    assert.raises("^boom$", lmm.map, { 1, 2, 3 }, fn, opts)
    assert.same({ 1, 0 }, { #records(), #records(folder .. "/out.errors.jsonl") })
    is_well = true
    local summary = assert(lmm.map({ 1, 2, 3 }, fn, opts))
    assert.same({ 3, 0 }, { summary.done, summary.failed })
  end)

  it("raises what is not UTF-8 as it is, and notes it as JSON can hold it", function()
    assert.raises("^caf\233$", lmm.map, { 1 }, function() error("caf\233", 0) end, { output = path })
    local notes = records(folder .. "/out.run")
    assert.equal("caf\239\191\189", notes[#notes].ended.error)
    assert.is_false(core.is_open(folder .. "/out.run"))
  end)

  it("writes what is not UTF-8 with U+FFFD in its place", function()
    local summary = assert(lmm.map({ 1, 2 }, function(item)
      if item == 1 then return { ["k\233"] = "v\255" } end
      return nil, "no \233", { message = "no \233", code = "c\233" }
    end, { output = path }))
    assert.same({ 1, 1 }, { summary.done, summary.failed })
    assert.same({ ["k\239\191\189"] = "v\239\191\189" }, records()[1].response.body)
    local failure = records(folder .. "/out.errors.jsonl")[1].error
    assert.same({ "no \239\191\189", "c\239\191\189" }, { failure.message, failure.code })
  end)

  it("runs those that failed again, and no others", function()
    local is_well, seen = false, {}
    local function fn(item)
      seen[#seen + 1] = item
      if item % 2 == 0 and not (is_well and item ~= 4) then return nil, "even " .. #seen end
      return item
    end
    assert.same({ 3, 3 }, { lmm.map({ 1, 2, 3, 4, 5, 6 }, fn, { output = path }).done,
      #records(folder .. "/out.errors.jsonl") })
    is_well, seen = true, {}
    local summary = assert(lmm.map({ 1, 2, 3, 4, 5, 6, 7 }, fn, { output = path, retry_errors = true, force = true }))
    table.sort(seen)
    assert.same({ { 2, 4, 6 }, 5, 1 }, { seen, summary.done, summary.failed })
    local failed = records(folder .. "/out.errors.jsonl")
    assert.same({ 1, 4 }, { #failed, failed[1].line })
    assert.matches("^even %d$", failed[1].error.message)
  end)

  it("counts no error of a row that was answered in a run that was killed, and takes it away", function()
    local errors_path = folder .. "/out.errors.jsonl"
    local function run(failing, opts)
      return lmm.map({ 1, 2, 3, 4 }, function(item)
        if failing[item] then return nil, failing[item] end
        return item
      end, opts)
    end
    assert.equal(3, run({ "no", "no", "no" }, { output = path }).failed)
    local ended = program.run([[
      local path = ...
      require("lmm").map({ 1, 2, 3, 4 }, function(item)
        if item == 3 then os.execute "kill -9 $PPID" end
        if item == 2 then return nil, "still no" end
        return item
      end, { output = path, retry_errors = true, concurrency = 1 })]], { path })
    assert.same({ 137, 4 }, { ended.status, #records(errors_path) }) -- rows 1 and 2, once more 2, and 3
    local status = require("lmm.bulk").status(path)
    assert.same({ 2, 2 }, { status.done, status.failed })
    local merged = assert(require("lmm.bulk").merge({ path }, folder .. "/all.jsonl"))
    assert.same({ 2, 2, 2 }, { merged.lines, merged.missing, merged.failed })
    local summary = assert(run({}, { output = path }))
    assert.same({ 2, 2 }, { summary.done, summary.failed })
    local lines = {}
    for i, record in ipairs(records(errors_path)) do lines[i] = record.line end
    assert.same({ 2, 3 }, lines)
    assert.equal(0, assert(run({}, { output = path, retry_errors = true })).failed)
    assert.equal("", shell.read(errors_path))
  end)

  it("keeps equal rows apart, takes ids of their own, and refuses one that comes again", function()
    local summary = assert(lmm.map({ "a", "a", { custom_id = "x" }, { custom_id = "x" } }, function() return true end,
      { output = path }))
    assert.same({ 3, 1 }, { summary.done, summary.failed })
    local ids = {}
    for _, record in ipairs(records()) do ids[record.line] = record.custom_id end
    assert.matches("^line%-1%-%x+$", ids[1])
    assert.matches("^line%-2%-%x+$", ids[2])
    assert.equal("x", ids[3])
    assert.equal("line 4 repeats the custom_id 'x'", records(folder .. "/out.errors.jsonl")[1].error.message)
  end)

  it("does not end well where its files are removed meanwhile", function()
    for _, name in ipairs { path, folder .. "/out.errors.jsonl" } do
      clean()
      local summary, message, err = lmm.map({ 1, 2, 3 }, function(item)
        os.remove(name)
        if item == 2 then return nil, "no" end
        return item
      end, { output = path, ordered = true })
      assert.same({ nil, ("'%s' was removed or cut short while the run wrote it"):format(name), 2 },
        { summary, message, err.summary.done })
      assert(lmm.map({ 1, 2, 3 }, function(item) return item end, { output = path })) -- what is missing is done again
      assert.equal(name == path and 2 or 3, #records())
    end
  end)

  it("knows again in another process what JSON cannot hold, by its place", function()
    local text = [[
      local lmm, path = require "lmm", ...
      local items, count = { { 1, x = 2 }, { 1, [3] = 3 }, print, io.stdout, { part = lmm.image "x.jpg" }, 0 / 0 }, 0
      assert(lmm.map(items, function() count = count + 1 return 1 end, { output = path }))
      print(count)
    ]]
    local first, second = program.run(text, { path }), program.run(text, { path })
    assert.same({ "6\n", "0\n" }, { first.out, second.out })
  end)

  it("keeps a reply's own body, and no media bytes", function()
    local data = "data:image/png;base64," .. ("A"):rep(400)
    local drawn = { role = "assistant", content = "hi",
      images = { { type = "image_url", image_url = { url = data } } } }
    local net = fake.net { { json = { id = "r", model = "m", usage = { prompt_tokens = 3, completion_tokens = 4 },
      choices = { { index = 0, finish_reason = "stop", message = drawn } } } } }
    local summary = assert(lmm.map({ 1 }, function(_, client)
      return client:chat { messages = { { role = "user", content = "q" } } }
    end, { output = path, client = net:connect() }))
    assert.same({ 3, 4 }, { summary.prompt_tokens, summary.completion_tokens })
    local message = records()[1].response.body.choices[1].message
    assert.same({ "hi", "data:image/png;base64," }, { message.content, message.images[1].image_url.url })
  end)

  it("is refused by a file of something else, and by a run over other items", function()
    local _, message
    for _, name in ipairs { path, folder .. "/out.errors.jsonl" } do
      shell.write(name, "mine\nand no end") -- not of a run, so that this is no line that was cut short
      _, message = lmm.map({ 1 }, function() end, { output = path })
      assert.equal(("'%s' is there and no run of lmm has written it: name another output"):format(path), message)
      assert.equal("mine\nand no end", shell.read(name))
      clean()
    end
    assert(lmm.map({ 1 }, function() return 1 end, { output = path }))
    _, message = lmm.map(function() end, function() end, { output = path })
    assert.matches("belongs to another run: items was a table and is now a function; rows was 1 and is now none; ",
      message)
    assert(lmm.map(function() end, function() end, { output = path, force = true }))
    local client = lmm.connect { base_url = "http://127.0.0.1:9/v1", model = "other" }
    _, message = lmm.map(function() end, function() end, { output = path, client = client })
    assert.matches("belongs to another run: model was none and is now other: name another output", message)
  end)

  it("is refused where the list or the file has other rows, for which old answers would stand", function()
    local list, rows = { { custom_id = "a", x = 1 }, { custom_id = "b", x = 2 } }, folder .. "/rows.jsonl"
    local function fn(item) return item.x end
    assert(lmm.map(list, fn, { output = path }))
    list[2].x = 3
    local _, message = lmm.map(list, fn, { output = path })
    assert.matches("belongs to another run: the content of the input %(SHA%-256%) was %x+ and is now %x+: name another "
      .. "output", message)
    clean()
    shell.write(rows, '{"x":1}\n{"x":2}\n')
    assert(lmm.map(rows, fn, { output = path }))
    assert(lmm.map(rows, fn, { output = path }))
    shell.write(rows, '{"x":1}\n')
    _, message = lmm.map(rows, fn, { output = path })
    assert.matches("belongs to another run: rows was 2 and is now 1; the content of the input", message)
  end)

  it("ends where it cannot write, says so, and goes on later", function()
    local _, message = lmm.map({ 1 }, function() end, { output = folder .. "/none/out.jsonl" })
    assert.matches("^cannot write '.*/none/out.run': No such file or directory$", message)
    local text = [[
      local lmm, path, count = require "lmm", ...
      local i = 0
      local summary, message = lmm.map(function()
        i = i + 1
        return i <= tonumber(count) and i or nil
      end, function(item) return ("x"):rep(500) .. item end, { output = path })
      print(summary and summary.done or message)
    ]]
    local ended = program.run(text, { path, 200 }, "trap '' XFSZ; ulimit -f 40;")
    assert.matches("^cannot write '.*out.jsonl': File too large: what ended so far is kept, and the same command goes "
      .. "on from there", ended.out)
    local kept = #records()
    assert(kept > 20 and kept < 200, kept)
    assert.equal("200\n", program.run(text, { path, 200 }).out)
    local seen = {}
    for _, record in ipairs(records()) do
      assert.is_nil(seen[record.line])
      seen[record.line] = true
    end
    assert.equal(200, #seen)
  end)

  it("lasts as soon as it is told: what the run is, the names of its files, and each file that is written anew",
    function()
      local library = program.library "disk"
      local ended = program.run([[
        local lmm, path = require "lmm", ...
        lmm.map({ 1 }, function() return nil, "no" end, { output = path })
        io.stderr:write "again\n"
        lmm.map({ 1 }, function() return 1 end, { output = path, retry_errors = true, ordered = true })
      ]], { path }, 'LMM_SPEC_DISK=told LD_PRELOAD="$LD_PRELOAD ' .. library .. '"')
      os.remove(library)
      local name = folder:match "[^/]+$"
      assert.equal(table.concat({
        "sync " .. name, "sync " .. name, "sync " .. name, "sync out.run", -- before anything is run
        "sync out.jsonl", "sync out.errors.jsonl", "sync out.run", "again",
        "sync " .. name, "sync out.run",
        "sync out.jsonl.new", "rename out.jsonl.new out.jsonl", "sync " .. name,
        "sync out.jsonl (deleted)", "sync out.errors.jsonl",
        "sync " .. name, "sync out.errors.jsonl.new", "rename out.errors.jsonl.new out.errors.jsonl", "sync " .. name,
        "sync out.run", "" }, "\n"), ended.err)
    end)

  it("has its ids in $TMPDIR where nothing can be made beside its output, else says why", function()
    local text = [[
      local ids, err = require("lmm.bulk.journal").open_ids "/dev/null/out.jsonl"
      print(ids and ids:add("a", 1) or err.message)]]
    local function said(place)
      local ended = program.run(text, nil, "TMPDIR=" .. shell.quote(place))
      assert.same({ 0, "" }, { ended.status, ended.err })
      return ended.out
    end
    assert.equal("0\n", said(folder))
    assert.equal("", shell.output("ls -A " .. folder))
    assert.matches("^nothing temporary can be made in /dev/null: Not a directory", said "/dev/null")
  end)

  it("is still the run's own while its lines are sorted", function()
    local merge = require "lmm.bulk.merge"
    local sort, is_held = merge.sort, nil
    function merge.sort(...)
      is_held = core.is_open(folder .. "/out.run")
      return sort(...)
    end
    local summary = lmm.map({ 1 }, function() return 1 end, { output = path, ordered = true })
    merge.sort = sort
    assert.same({ 1, true }, { summary.done, is_held })
  end)
end)
