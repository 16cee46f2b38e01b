-- `lmm batch`, run as a program of its own, with the built-in server.
local assert = require "luassert"
local cli = require "spec.support.cli"
local json = require "lmm.json"
local mock = require "lmm.mock"
local process = require "spec.support.process"
local raw = require "spec.support.raw"

local server = assert(mock.start { delay = 0 })
local program = cli.new { OPENAI_API_KEY = "", OPENAI_BASE_URL = server.url }
local folder, file = process.folder()
local answered, complained = cli.answered, cli.complained

local OUT = file "out.jsonl"

local function clean() os.execute("rm -rf " .. folder .. "/*") end

--- Runs `lmm batch` with these words, and OUT unless they name an output.
local function batch(words, env)
  local all, has_output = { "batch" }, false
  for _, word in ipairs(words) do
    all[#all + 1] = word
    has_output = has_output or word == "-o" or word == "status"
  end
  if not has_output then
    all[#all + 1] = "-o"
    all[#all + 1] = OUT
  end
  return program.run(all, nil, env)
end

local function records(path)
  local list = {}
  for line in (process.read(path or OUT) or ""):gmatch "[^\n]+" do list[#list + 1] = assert(json.decode(line)) end
  table.sort(list, function(a, b) return a.line < b.line end)
  return list
end

local function failed() return records(file "out.errors.jsonl") end

local function text_of(record) return record.response.body.choices[1].message.content end

local function line(id, question, more)
  local record = { custom_id = id, method = "POST", url = "/v1/chat/completions",
    body = { messages = { { role = "user", content = question } } } }
  for name, value in pairs(more or {}) do record[name] = value end
  return json.encode(record) .. "\n"
end

local function rows(count)
  local list = {}
  for i = 1, count do list[i] = line("r" .. i, "q" .. i) end
  return table.concat(list)
end

teardown(function()
  server.stop()
  program.remove()
  os.execute("rm -rf " .. folder)
end)

local PICTURE = process.shell "pwd":match "[^\n]+" .. "/examples/picture.jpg"
local DIGEST = process.shell("sha256sum " .. PICTURE):match "%x+"

describe("lmm batch", function()
  before_each(clean)

  it("answers the lines of OpenAI's batch format, and a second time does nothing", function()
    local input = file("in.jsonl", rows(12))
    local summary = json.decode(answered(batch { input, "--summary", "--ordered" }))
    assert.same({ 12, 0 }, { summary.done, summary.failed })
    for i, record in ipairs(records()) do
      assert.same({ "r" .. i, i, json.null }, { record.custom_id, record.line, record.error })
      assert.equal("question: q" .. i, text_of(record))
    end
    local before = process.read(OUT)
    answered(batch { input })
    assert.equal(before, process.read(OUT))
    assert.equal("", process.read(file "out.errors.jsonl"))
    assert.matches("out.jsonl: 12 done, 0 failed of 12; nobody runs it\n$", answered(batch { "status", OUT }))
    answered(batch { file("moved.jsonl", rows(12)) }) -- the same rows, wherever they are
    assert.equal(before, process.read(OUT))
  end)

  it("reads pictures of this machine as it sends them, and writes none of their bytes", function()
    local function asks(url)
      return { body = { messages = { { role = "user", content = { { type = "text", text = "What?" },
        { type = "image_url", image_url = { url = url } } } } } } }
    end
    os.execute(("cp %s '%s'"):format(PICTURE, file "a b.jpg"))
    local input = file("in.jsonl", line("file", nil, asks("file://" .. file "a%20b.jpg"))
      .. line("bare", nil, asks(file "a b.jpg")) .. line("gone", nil, asks "/no/such.jpg"))
    complained(batch { input }, 1, "1 of 3 rows failed: .*out.errors.jsonl says why")
    local list = records()
    assert.same({ 2, 1 }, { #list, #failed() })
    for _, record in ipairs(list) do assert.matches(DIGEST, text_of(record)) end
    assert.same({ "gone", 3 }, { failed()[1].custom_id, failed()[1].line })
    assert.matches("'/no/such.jpg'.*No such file", failed()[1].error.message)
    assert(#process.read(OUT) < 4000)
  end)

  it("makes requests of a prompt and pictures, a list or a table", function()
    os.execute(("cp %s %s; cp %s '%s'"):format(PICTURE, file "b.jpg", PICTURE, file "a 1.jpg"))
    answered(batch { "--prompt", "What is {image}?", "--images", file "*.jpg" })
    local list = records()
    assert.equal(2, #list)
    assert.matches(DIGEST .. "\nquestion: What is .*/a 1.jpg%?$", text_of(list[1]))
    clean()
    answered(batch { "--prompt", "What?", "--image-list", file("list.txt",
      "\239\187\191" .. PICTURE .. "\r\n\n") })
    assert.matches(DIGEST .. "\nquestion: What%?$", text_of(records()[1]))
    clean()
    local table_ = file("t.csv", '\239\187\191name,"the city",image\r\n"Ann ""A""","Ulm,\r\nGermany",\r\nBob,Bonn,'
      .. PICTURE .. "\r\n\r\n")
    answered(batch { "--prompt", "Is {name} in {the city}? {x", "--csv", table_ })
    list = records()
    assert.same({ 'question: Is Ann "A" in Ulm,\nGermany? {x', 2, 4 }, { text_of(list[1]), list[1].line, list[2].line })
    assert.matches(DIGEST .. "\nquestion: Is Bob in Bonn%? {x$", text_of(list[2]))
  end)

  it("fills in columns of any name, and values that are no text as JSON", function()
    answered(batch { "--prompt", "{näme}, {prix (€)}, {\"a\": 1} {x + y}", "--csv",
      file("t.csv", "näme,prix (€)\nÄ,5\n") })
    assert.equal('question: Ä, 5, {"a": 1} {x + y}', text_of(records()[1]))
    clean()
    answered(batch { "--prompt", "{x}", "--ordered", file("in.jsonl",
      '{"x":null}\n{"x":[]}\n{"x":0.1}\n{"x":1234567890123456}\n{"x":true}\n{"x":"{x}"}\n') })
    local texts = {}
    for i, record in ipairs(records()) do texts[i] = text_of(record):sub(#"question: " + 1) end
    assert.same({ "null", "[]", "0.1", "1234567890123456", "true", "{x}" }, texts)
  end)

  it("makes requests by a function, with the fields of -p", function()
    local maker = file("r.lua", [[
      local lmm = require "lmm"
      return function(row)
        if row.n == 2 then return nil, "two is left out" end
        if row.n == 3 then error("three", 0) end
        if row.n == 4 then error({ message = "four" }) end
        if row.n == 5 then error({ code = 5 }) end
        return { messages = { { role = "user", content = { { type = "text", text = "n " .. row.n },
          lmm.image(row.image) } } } }
      end]])
    local input = file("in.jsonl", '{"n":1,"image":"' .. PICTURE .. '"}\n{"n":2}\n{"n":3}\n{"n":4}\n{"n":5}\n')
    complained(batch { input, "--request", maker, "-p", "max_tokens=3" }, 1, "4 of 5 rows failed")
    assert.equal("length", records()[1].response.body.choices[1].finish_reason)
    for i, why in ipairs { "two is left out", "three", "four", '{"code":5}' } do
      assert.equal("the request cannot be made: " .. why, failed()[i].error.message)
    end
  end)

  it("takes each file that a pattern matches as a file, whatever it is called", function()
    local names = { "data:x.jpg", "file:x.jpg", "http:x.jpg", "-x.jpg", "a b'\".jpg", "%41.jpg", "new\nline.jpg",
      "[x].jpg" }
    for _, name in ipairs(names) do os.execute(("cp %s %s"):format(PICTURE, process.quote(file(name)))) end
    local command = program.command { "batch", "--prompt", "What?", "--images", "*.jpg", "-o", "out.jsonl" }
    local run = program.shell(("here=$PWD; cd %s; %s >$out 2>$err; echo $? >$status"):format(folder,
      (command:gsub("bin/lmm", '"$here"/%0'))))
    answered(run)
    assert.equal(#names, #records())
    for _, record in ipairs(records()) do assert.matches(DIGEST, text_of(record)) end
  end)

  it("expands ~ and braces of a pattern in quotes as a shell would have without them", function()
    for _, name in ipairs { "b.png", "a.jpg", "d{1,2}.jpg", "e.gif" } do
      os.execute(("cp %s '%s'"):format(PICTURE, file(name)))
    end
    for pattern, names in pairs {
      ["~/*.{png,gif,webp,jp{e,}g}"] = "b.png e.gif a.jpg d{1,2}.jpg", [file "{a,e}.*"] = "a.jpg e.gif",
      [file "d{1,2}.*"] = "d{1,2}.jpg", [file "{b}.png"] = false, [file "x.{png,gif}"] = false,
    } do
      os.execute("rm -f " .. file "out.*")
      local run = batch({ "--prompt", "{image}", "--images", pattern }, { HOME = folder })
      if names then
        answered(run)
        local found = {}
        for i, record in ipairs(records()) do found[i] = text_of(record):match "question: .*/(.*)$" end
        assert.equal(names, table.concat(found, " "))
      else
        complained(run, 1, "matches no file")
      end
    end
  end)

  it("takes names of files in whatever bytes, and refuses only a row that would send what is not UTF-8", function()
    local latin = file("\228.jsonl", '{"n":"1"}\n')
    for _ = 1, 2 do answered(batch { latin, "--prompt", "{n}" }) end
    clean()
    answered(batch { "--csv", file("t.csv", "n\228me,b\n\228,2\n"), "--prompt", "{b}" })
    assert.equal("question: 2", text_of(records()[1]))
    clean()
    complained(batch { "--csv", file("t.csv", "a\n2\n"), "--prompt", "\228{a}" }, 1, "1 of 1 row failed")
    assert.matches("text is not UTF%-8: byte 1 is 0xE4", failed()[1].error.message)
    clean()
    local ids = { "--csv", file("t.csv", "custom_id,b\n\228,2\nc,3\n"), "--prompt", "{b}" }
    complained(batch(ids), 1, "line 2 has a custom_id that is not UTF%-8")
    ids[#ids + 1] = "--skip-bad"
    complained(batch(ids), 1, "1 of 2 rows failed")
  end)

  it("tells the server's own words of a refusal, and runs those rows again when asked to", function()
    local function body(fault)
      return { body = { messages = { { role = "user", content = "q" } }, mock = fault } }
    end
    local bad = body { status = 400, fail_times = 1, key = folder }
    local input = file("in.jsonl", line("bad", nil, bad) .. line("ok", "q"))
    complained(batch { input }, 1, "1 of 2 rows failed")
    local row = failed()[1]
    assert.same({ "bad", 1, 400 }, { row.custom_id, row.line, row.response.status_code })
    assert.matches("The mock was asked to answer 400", row.error.message)
    complained(batch { input }, 1, "1 of 2 rows failed")
    answered(batch { input, "--retry-errors" })
    assert.same({ 2, "" }, { #records(), process.read(file "out.errors.jsonl") })
  end)

  it("says what is missing where only the rows that failed were run again", function()
    local bad = { body = { messages = { { role = "user", content = "q" } }, mock = { status = 400 } } }
    local input = file("in.jsonl", line("a", nil, bad) .. line("b", nil, bad) .. rows(5))
    complained(batch { input, "--max-errors", "0", "--concurrency", "1" }, 1, "1 row failed, more than the 0")
    complained(batch { input, "--retry-errors" }, 1, "^lmm: 1 of 7 rows failed: .*out.errors.jsonl says why "
      .. "%(%-%-retry%-errors runs them again%); 6 rows not run yet, which the same command without "
      .. "%-%-retry%-errors runs\n$")
    complained(batch { input }, 1, "^lmm: 2 of 7 rows failed")
  end)

  it("does the others where a row in a hundred is bad, and says of each why", function()
    local lines, bad = {}, { [50] = "{no json\n", [150] = line("gone", { { type = "image_url",
      image_url = { url = file "gone.jpg" } } }), [250] = line("refused", "q", { body = { mock = { status = 400 },
      messages = { { role = "user", content = "q" } } } }) }
    for i = 1, 300 do lines[i] = bad[i] or line("r" .. i, "q" .. i) end
    complained(batch { file("in.jsonl", table.concat(lines)), "--skip-bad" }, 1, "3 of 300 rows failed")
    assert.same({ 297, 3 }, { #records(), #failed() })
    local said = {}
    for i, record in ipairs(failed()) do said[i] = record.line .. ": " .. record.error.message end
    assert.matches("^50: line 50 of '.*' is no JSON", said[1])
    assert.matches("^150: cannot read '.*gone.jpg': No such file", said[2])
    assert.matches("^250: .*The mock was asked to answer 400", said[3])
  end)

  it("asks for vectors and completions, too", function()
    local vector = { url = "/v1/embeddings", body = { input = "a cat", model = "mock" } }
    local completion = { url = "/v1/completions", body = { prompt = "Once", max_tokens = 3 } }
    local input = file("in.jsonl", line("v", nil, vector) .. line("c", nil, completion))
    answered(batch { input, "-m", "mock" })
    local list = records()
    assert.equal("number", type(list[1].response.body.data[1].embedding[1]))
    assert.equal("text_completion", list[2].response.body.object)
  end)

  it("takes a null as nothing, and asks for no stream", function()
    local more = { method = json.null, body = { model = json.null, prompt = "q", messages = { { role = "user",
      content = "q" } }, stream = true, stream_options = { include_usage = true } } }
    local input = file("in.jsonl", line("chat", "q", more))
    more.url = "/v1/completions"
    process.write(input, process.read(input) .. line("text", "q", more))
    answered(batch { input })
    assert.equal("question: q", text_of(records()[1]))
    assert.equal("text_completion", records()[2].response.body.object)
  end)

  it("finds how many rows the server takes at a time", function()
    local tight = assert(mock.start { delay = 0, capacity = "reject:3" })
    local input = file("in.jsonl", rows(30))
    local summary = json.decode(answered(batch { input, "--url", tight.url, "--summary" }))
    tight.stop()
    assert.same({ 30, 0, true }, { summary.done, summary.failed, summary.concurrency <= 3 })
    local _, message = mock.start { capacity = "reject:0" }
    assert.matches("'reject:0' is no capacity: there are batching:64, slots:1, reject:8 and collapse:32", message)
  end)

  it("runs no more rows at a time than the process may have files open", function()
    local pictures = {}
    for i = 1, 60 do pictures[i] = PICTURE end
    local list = file("list.txt", table.concat(pictures, "\n"))
    for _, more in ipairs { {}, { "--concurrency", "50" } } do
      clean()
      file("list.txt", table.concat(pictures, "\n"))
      local words = { "batch", "--prompt", "q", "--image-list", list, "-o", OUT, "-p", "mock={\"first_delay\":0.05}" }
      for _, word in ipairs(more) do words[#words + 1] = word end
      local run = program.shell("ulimit -n 40; " .. program.command(words) .. " >$out 2>$err; echo $? >$status")
      assert.equal(0, run.status)
      assert.matches(more[1] and "^lmm: %d+ rows at a time, not 50: the process may have no more files open "
        .. "%(ulimit %-n%)\n$" or "^$", run.err)
      assert.equal(60, #records())
    end
    for _, most in ipairs { 10, 12, 20 } do
      clean()
      local run = program.shell(("(ulimit -n %d; %s) >$out 2>$err; echo $? >$status"):format(most, program.command {
        "batch", "--prompt", "q", "--image-list", file("list.txt", PICTURE), "-o", OUT }))
      complained(run, 1, "^lmm: the process may have %d+ more files open, and lmm batch needs 24: raise the limit "
        .. "%(ulimit %-n 64%), and the same command goes on\n$")
    end
    local none_left = [[table.insert(package.searchers or package.loaders, 1,
      function(name)
        local file = name == 'lmm.bulk'
        while file do file = io.open '/dev/null' kept = { kept, file } end
      end)]]
    complained(batch({ list }, { LUA_INIT = none_left }), 1,
      "^lmm: the Lua module 'lmm.bulk' cannot be loaded: Too many open files\n$")
  end)

  it("holds back for a busy server, and loses no row", function()
    local busy = { body = { messages = { { role = "user", content = "q" } },
      mock = { status = 503, fail_times = 2, key = folder .. "busy", retry_after = 1 } } }
    answered(batch { file("in.jsonl", line("busy", nil, busy) .. rows(5)) })
    assert.equal(6, #records())
  end)

  it("ends with one sentence where no server is, or the key is refused", function()
    local input = file("in.jsonl", rows(30))
    complained(batch { input, "--url", "http://127.0.0.1:9/v1", "--server-timeout", "0.5", "-m", "m" }, 1,
      "^lmm: no row has gone well for %d s, so the run ends: cannot reach http://127.0.0.1:9/v1")
    assert.same({ "", "" }, { process.read(OUT), process.read(file "out.errors.jsonl") })
    local strict = assert(mock.start { delay = 0, api_key = "right-key-123" })
    complained(batch { input, "--url", strict.url, "-m", "m" , "--force" }, 1, "401")
    assert.same({ 0, 0 }, { #records(), #failed() })
    answered(batch({ input, "--url", strict.url, "--force" }, { OPENAI_API_KEY = "right-key-123" }))
    strict.stop()
    assert.equal(30, #records())
  end)

  it("finds the model where one of the servers takes connections and says nothing", function()
    local silent = raw.start { { { hold = true } } }
    local run = batch { file("in.jsonl", rows(30)), "--url", silent.url, "--url", server.url }
    silent:stop()
    assert.same({ run.status, #records(), #failed() }, { 0, 30, 0 }, run.err)
  end)

  it("leaves a server out that refuses the key, and says so once, as long as another takes it", function()
    local input = file("in.jsonl", rows(30))
    local strict = assert(mock.start { delay = 0, api_key = "right-key-123" })
    local run = batch { input, "--url", strict.url, "--url", server.url, "-m", "mock" }
    assert.same({ 0, 30, 0 }, { run.status, #records(), #failed() })
    assert.matches("^lmm: [^\n]* 401 from " .. strict.url:gsub("%p", "%%%0")
      .. "[^\n]*: it is left out while others answer\n$", run.err)
    clean()
    complained(batch { file("in.jsonl", rows(30)), "--url", strict.url, "--url", strict.url, "-m", "mock" }, 1,
      "^lmm: no server answers: [^\n]* 401 [^\n;]*; [^\n]* 401 [^\n]*\n$")
    strict.stop()
    assert.same({ 0, 0 }, { #records(), #failed() })
  end)

  it("ends when more rows failed than --max-errors", function()
    local lines = {}
    for i = 1, 40 do
      lines[i] = line("r" .. i, nil,
        { body = { messages = { { role = "user", content = "q" } }, mock = { status = 400 } } })
    end
    complained(batch { file("in.jsonl", table.concat(lines)), "--max-errors", "3", "--concurrency", "1" }, 1,
      "4 rows failed, more than the 3 that max_errors lets go, the last one, of line 4")
    assert.equal(4, #failed())
  end)

  it("shares the rows among shards, merges them in order, and says what is missing", function()
    local input = file("in.jsonl", rows(50))
    local outs, total = {}, 0
    for i = 1, 3 do
      outs[i] = file(("part.%d.jsonl"):format(i))
      answered(batch { input, "-o", outs[i], "--shard", i .. "/3" })
      total = total + #records(outs[i])
      assert(#records(outs[i]) > 5)
    end
    assert.equal(50, total)
    assert.equal('{"failed":0,"first_missing":[],"lines":50,"missing":0}\n',
      answered(batch { "merge", outs[2], file "part.2.errors.jsonl", outs[1], outs[3], "--summary" }))
    local at = 0
    for text in process.read(OUT):gmatch "[^\n]+" do
      at = at + 1
      assert.equal("r" .. at, json.decode(text).custom_id)
    end
    assert.equal(50, at)
    complained(batch { "merge", outs[1], outs[2] }, 1, "shard 3 of 3 is missing")
    local one = process.read(outs[1])
    complained(batch { "merge", outs[1], outs[2], outs[3], "-o", folder .. "/./part.1.jsonl" }, 1,
      "'.*/./part.1.jsonl' is the output of a run, which may go on: name another file")
    assert.equal(one, process.read(outs[1]))
    complained(batch { "merge", outs[1], outs[2], outs[3], "-o", input }, 1, "'.*in.jsonl' holds something else than "
      .. "results, and would be overwritten: name another file")
    assert.equal(rows(50), process.read(input))
    answered(batch { "merge", outs[1], outs[2], outs[3] }) -- over what a merge has written
    local status = answered(batch { "status", file "part.2.errors.jsonl", outs[2], outs[1], outs[3] })
    local told = 0
    for done, rows_, shard in status:gmatch "part%.%d%.jsonl: (%d+) done, 0 failed of (%d+), shard (%d)/3; nobody" do
      told = told + 1
      assert.same({ #records(outs[tonumber(shard)]), done }, { tonumber(done), rows_ })
    end
    assert.equal(3, told)
    complained(batch { "merge", outs[1], outs[1] }, 1, "are both shard 1 of 3")
    complained(batch { "merge", outs[1], "-o", outs[1] }, 1, "'.*part.1.jsonl' is one of the outputs that are to be "
      .. "merged: name another file for what comes of them")
    assert.equal(one, process.read(outs[1]))
    complained(batch { "merge", OUT }, 1, "'.*out.jsonl' is the file to write, and no other one is named to merge")
    complained(batch { "merge", outs[1], file "none.jsonl" }, 1, "no run has written '.*none.jsonl'")
    os.rename(outs[2], file "aside")
    complained(batch { "merge", outs[1], outs[2], outs[3] }, 1, "shard 2 of 3 is missing: there is no '.*part.2.jsonl'")
    os.execute("mkdir " .. outs[2])
    local unreadable = "cannot read the results: .*part.2.jsonl: Is a directory"
    complained(batch { "merge", outs[1], outs[2], outs[3] }, 1, unreadable)
    complained(batch { "status", outs[2] }, 1, unreadable)
    os.remove(outs[2])
    os.rename(file "aside", outs[2])
    local text = process.read(outs[2])
    local first = json.decode(text:match "[^\n]+").line
    process.write(outs[2], (text:gsub("^[^\n]+\n", "")))
    complained(batch { "merge", outs[1], outs[2], outs[3] }, 1,
      ("1 row missing in .*out.jsonl, 0 of which failed: lines %d$"):format(first):gsub("%$", "\n$"))
    complained(batch { input, "-o", outs[2], "--shard", "1/3" }, 1, "shard was 2/3 and is now 1/3")
    complained(batch { input, "-o", outs[2], "--shard", "2/4" }, 1, "shard was 2/3 and is now 2/4")
  end)

  it("keeps each result where rows have moved, and merges none that are twice", function()
    local input = file("in.jsonl", rows(3))
    answered(batch { input })
    process.write(input, line("new", "q") .. rows(3))
    answered(batch { input, "--force", "--ordered" })
    local ids = {}
    for text in process.read(OUT):gmatch "[^\n]+" do ids[#ids + 1] = json.decode(text).custom_id end
    assert.same({ "r1", "new", "r2", "r3" }, ids) -- by the lines that they stood in when they were asked
    complained(batch { "merge", OUT, "-o", file "all.jsonl" }, 1,
      "'.*out.jsonl' has two results of line 1 of the input")
    local both = { file "a.jsonl", file "b.jsonl" }
    for i, path in ipairs(both) do answered(batch { input, "-o", path, "--shard", i .. "/2" }) end
    process.write(both[2], process.read(both[1]))
    complained(batch { "merge", both[1], both[2], "-o", file "all.jsonl" }, 1,
      "'.*a.jsonl' and '.*b.jsonl' both have a result of line %d of the input")
    assert.is_nil(process.read(file "all.jsonl"))
  end)

  it("takes the shard of a job array's task, as it was at first", function()
    local input = file("in.jsonl", rows(30))
    local function slurm(id, count, first)
      return { SLURM_ARRAY_TASK_ID = tostring(id), SLURM_ARRAY_TASK_COUNT = tostring(count),
        SLURM_ARRAY_TASK_MIN = tostring(first) }
    end
    answered(batch({ input, "--shard", "auto" }, slurm(7, 4, 5)))
    local before = #records()
    assert(before > 0 and before < 30)
    assert.matches("shard 3/4; nobody", answered(batch { "status", OUT }))
    process.write(OUT, (process.read(OUT):gsub("^[^\n]+\n", "")))
    answered(batch({ input, "--shard", "auto" }, slurm(7, 1, 7))) -- run again by --array=7
    assert.equal(before, #records())
    complained(batch({ input, "--shard", "auto" }, slurm(8, 4, 5)), 1,
      "the output is that of task 7, which has shard 3/4: task 8 needs another one")
    local fresh = { input, "--shard", "auto", "-o", file "fresh.jsonl" }
    complained(batch(fresh, slurm(8, 1, 8)), 1, "the job array has 1 task, which may be some of a larger one")
    local some = slurm(6, 2, 6)
    some.SLURM_ARRAY_TASK_MAX = "9"
    complained(batch(fresh, some), 1, "the job array has 2 tasks that are no row, .*: name the shard, as in 3/10")
    complained(batch(fresh, slurm(8, 2, 7)), 1,
      "task 8 would have shard 2/2, but '.*/out.run' beside it is shard 3/4 of the same run: "
        .. "name the shard, 1/4 to 4/4\n$")
    complained(batch(fresh, slurm(2, 4, 0)), 1, "task 2 has shard 3/4, which task 7 has, too: see '.*/out.run'")
    assert.is_nil(process.read(file "fresh.jsonl"))
    answered(batch(fresh, slurm(8, 4, 5)))
    clean()
    input = file("in.jsonl", rows(30))
    answered(batch({ input, "--shard", "auto" }, { JOB_COMPLETION_INDEX = "2", JOB_COMPLETIONS = "4" }))
    assert.equal(before, #records())
    clean()
    input = file("in.jsonl", rows(30))
    complained(batch({ input, "--shard", "auto" }, { JOB_COMPLETION_INDEX = "2" }), 1, "set JOB_COMPLETIONS")
    complained(batch { input, "--shard", "auto" }, 1, "no job array is found")
  end)

  it("writes UTF-8 whatever a server answers", function()
    local function reply(status, body)
      local head = "HTTP/1.1 %s\r\nContent-Type: application/json\r\nX-Request-Id: r\233\r\n"
      return { send = head:format(status) .. ("Content-Length: %d\r\n\r\n"):format(#body) .. body }
    end
    local bad = raw.start { {
      { await = "request" }, reply("200 OK", '{"id":"\255","choices":[{"index":0,"finish_reason":"stop",'
        .. '"message":{"content":"caf\233 \\ud800"}}],"k\233":"\237\160\128"}'),
      { await = "request" }, reply("200 OK", '{"data":[],"note":"\192\175"}'),
      { await = "request" }, reply("400 Bad Request", '{"error":{"message":"caf\233"}}') } }
    local vector = line("b", nil, { url = "/v1/embeddings", body = { input = "q" } })
    complained(batch { file("in.jsonl", line("a", "q") .. vector .. line("c", "q")), "--concurrency", "1", "-m", "m",
      "--url", bad.url }, 1, "1 of 3 rows failed")
    bad:stop()
    for _, path in ipairs { OUT, file "out.errors.jsonl" } do
      local written = process.read(path)
      assert.equal(require("lmm.text").utf8(written), written)
      assert.matches('"request_id":"r\239\191\189"', written)
    end
    assert.equal("caf\239\191\189 \239\191\189", text_of(records()[1]))
    assert.matches("caf\239\191\189$", failed()[1].error.message)
  end)

  it("leaves a row as it was read, for it may run again", function()
    local asked = {}
    local client = { default_model = function() return "m" .. #asked end }
    function client.open_stream(_, _, request)
      asked[#asked + 1] = request
      return { reply = function() return true end }
    end
    local journal = { keep_model = function() return true end }
    local image = { type = "image_url", image_url = { url = "examples/picture.jpg" } }
    local record = { url = "/v1/chat/completions", body = { messages = { { role = "user", content = { image } } } } }
    local run = require "lmm.bulk.ask".of_batch()
    assert.is_true(run(record, client, journal) and run(record, client, journal))
    assert.same({ "m0", "m1" }, { asked[1].model, asked[2].model })
    assert.are_not.equal(asked[1].messages[1].content[1], asked[2].messages[1].content[1])
    assert.same({ messages = { { role = "user", content = { image } } } }, record.body)
  end)

  it("keeps an answer as the server spelled it, in a line", function()
    local function body(more) -- with fields in an order and numbers in a form of their own
      return '{"usage": {"total_tokens":3.0} , "big":12345678901234567890, "choices":[{"message":{"content":"\\u00e4"},'
        .. '"index":0,"logprobs":null,"finish_reason":"stop"}]' .. more .. "}"
    end
    local function reply(text)
      local head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
      return { send = head:format(#text) .. text }
    end
    local server_of_texts = raw.start { {
      { await = "request" }, reply("\n " .. body ',"n":1e2' .. "\r\n"),
      { await = "request" }, reply(body ',\n"n":[ ]') } }
    answered(batch { file("in.jsonl", line("a", "q") .. line("b", "q")), "--concurrency", "1", "-m", "m", "--url",
      server_of_texts.url })
    server_of_texts:stop()
    local lines = {}
    for text in process.read(OUT):gmatch "[^\n]+" do lines[#lines + 1] = text end
    assert.equal('{"id":"lmm-1","custom_id":"a","line":1,"response":{"status_code":200,"request_id":null,"body":'
      .. body ',"n":1e2' .. '},"error":null}', lines[1])
    assert.equal('{"id":"lmm-2","custom_id":"b","line":2,"response":{"status_code":200,"request_id":null,"body":'
      .. body ', "n":[ ]' .. '},"error":null}', lines[2])
    assert.equal(2, #lines)
  end)

  it("sends a picture without a name by which the server would keep it, since mostly a row has its own", function()
    local function reply(body)
      local head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
      return { send = head:format(#body) .. body }
    end
    local answer = reply '{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}'
    local vllm = raw.start { { { await = "request" }, reply '{"data":[{"id":"m","owned_by":"vllm"}]}',
      { await = "request" }, answer, { await = "request" }, answer } }
    local picture = { { type = "image_url", image_url = { url = "examples/picture.jpg" } } }
    batch { file("in.jsonl", line("a", picture) .. line("b", picture)), "--concurrency", "1", "--url", vllm.url }
    local seen = vllm:received(1)
    vllm:stop()
    assert.same({ 2, 0 }, { select(2, seen:gsub('"type":"image_url"', "")), select(2, seen:gsub('"uuid"', "")) })
  end)
end)

describe("lmm batch refuses", function()
  before_each(clean)

  local function refuses(words, status, pattern) complained(batch(words), status, pattern) end

  it("lines that are no rows, by their line, before anything is sent; --skip-bad goes on", function()
    local good = rows(3)
    for _, row in ipairs {
      { "{no json", "line 4 of '.*' is no JSON" },
      { "[1]", "line 4: it is no JSON object" },
      { line("r2", "q"):sub(1, -2), "line 4 repeats the custom_id 'r2'" },
      { line(7, "q"):sub(1, -2), "line 4 has a custom_id that is no text" },
      { line("u", "q", { url = "/v1/other" }):sub(1, -2), "line 4: the url '/v1/other' is unknown" },
      { line("u", "q", { url = json.null }):sub(1, -2), "line 4: it has no url: there are /v1/chat/completions" },
      { line("u", "q", { method = "GET" }):sub(1, -2), "line 4: the method 'GET' is not POST" },
      { line("u", "q", { body = 1 }):sub(1, -2), "line 4: its body is no JSON object" },
      { line("u", "q", { body = { x = 1 } }):sub(1, -2), "line 4: its body has no messages" },
    } do
      clean()
      local input = file("in.jsonl", good .. row[1] .. "\n" .. line("last", "q"))
      refuses({ input }, 1, row[2] .. ".*nothing was sent; %-%-skip%-bad goes on without such lines")
      assert.is_nil(process.read(OUT))
      complained(batch { input, "--skip-bad" }, 1, "1 of 5 rows failed")
      assert.same({ 4, 1, 4 }, { #records(), #failed(), failed()[1].line })
      assert.matches(row[2], failed()[1].error.message)
      local before = process.read(file "out.errors.jsonl")
      complained(batch { input, "--skip-bad" }, 1, "1 of 5 rows failed")
      assert.equal(before, process.read(file "out.errors.jsonl"))
    end
  end)

  it("inputs that are none, and tables that are not whole", function()
    refuses({ file "none.jsonl" }, 1, "cannot read the rows: .*No such file")
    refuses({ folder }, 1, "cannot read the rows: .*Is a directory")
    complained(program.shell("cat /dev/null | " .. program.command { "batch", "/dev/stdin", "-o", OUT }
      .. " >$out 2>$err; echo $? >$status"), 2, "/dev/stdin is a pipe, and rows are read twice: write them to a file")
    for _, words in ipairs { { "-" }, { "--prompt", "q", "--image-list", "-" }, { "--prompt", "q", "--csv", "-" } } do
      refuses(words, 2, "the standard input can be read once, and rows are read whenever the run goes on: write them "
        .. "to a file %(./%- is one called %-%)")
    end
    refuses({ file("empty.jsonl", "\n\n") }, 1, "there are no rows in")
    refuses({ "--prompt", "x", "--images", file "*.none" }, 1, "'.*%*.none' matches no file")
    refuses({ "--prompt", "x", "--images", "http://127.0.0.1/x.jpg" }, 1, "'http.*x.jpg' matches no file")
    refuses({ "--prompt", "x", "--image-list", file "none" }, 1, "cannot read the list of pictures")
    refuses({ "--prompt", "{age}", "--csv", file("t.csv", "name,city\na,b\n") }, 1,
      "the prompt names {age}, and the table has no such column %(there are: name, city%)")
    refuses({ "--prompt", "{âge}", "--csv", file("t.csv", "name\na\n") }, 1, "the prompt names {âge}, and the")
    local some = { "--prompt", "{a} {b}", file("in.jsonl", '{"a":1,"b":2}\n{"b":1}\n[1]\n') }
    refuses(some, 1, "line 2: it has no field 'a', which the prompt names %(nothing was sent")
    some[#some + 1] = "--skip-bad"
    complained(batch(some), 1, "2 of 3 rows failed")
    assert.matches("line 3: it is no JSON object", failed()[2].error.message)
    clean()
    for _, row in ipairs { { "a,b\n1\n", "line 2 of '.*' has 1 field, its first line names 2 columns" },
      { 'a,b\n1,"2\n3,4\n', "line 2 of '.*': a quote is left open" }, { "", "names no columns: it is empty" },
      { "a,b\r1,2\r", "its lines end in CR alone: they are to end in LF or CRLF" },
      { "\255\254a\0,\0b\0\n\0", "it has NUL bytes, as UTF%-16 has: write it in UTF%-8" },
      { "a,a\n", "two columns are called 'a'" }, { "a,\n", "column 2 has no name" },
      { 'a,b\n"1"x,2\n', "line 2 of '.*': something follows a quoted field" } } do
      refuses({ "--prompt", "{a}", "--csv", file("t.csv", row[1]) }, 1, row[2])
    end
    refuses({ file("in.jsonl", rows(1)), "--request", file("r.lua", "return 1") }, 1,
      "does not return a function of the row: it returns number")
  end)

  it("to write a file beyond its limit, and goes on where there is room again", function()
    local input = file("in.jsonl", rows(120))
    local command = program.command { "batch", input, "-o", OUT }
    complained(program.shell("ulimit -f 128; " .. command .. " >$out 2>$err; echo $? >$status"), 1,
      "cannot write '.*out.jsonl': File too large: what ended so far is kept, and")
    assert(#records() > 30)
    answered(batch { input })
    assert.equal(120, #records())
  end)

  it("outputs that are another run's, are in use, or cannot be written", function()
    local input = file("in.jsonl", rows(3))
    answered(batch { input, "-m", "mock" })
    refuses({ input, "-m", "other" }, 1, "belongs to another run: model was mock and is now other: name another "
      .. "output, or pass force %(%-%-force%)")
    process.write(input, (rows(3):gsub("q2", "changed")))
    refuses({ input, "-m", "mock" }, 1, "belongs to another run: the content of the input %(SHA%-256%) was "
      .. ("%x"):rep(12) .. " and is now " .. ("%x"):rep(12) .. ": name")
    local maker = { input, "--request", file("r.lua", "return function() end"), "-o", file "made.jsonl" }
    complained(batch(maker), 1, "3 of 3 rows failed")
    file("r.lua", "return function() end -- changed")
    refuses(maker, 1, "another run: the content of the file of %-%-request %(SHA%-256%) was %x+ and is now %x+: name")
    answered(batch { input, "-m", "mock", "--force" })
    local swapped = { "--prompt", "{a} or {b}?", "--csv", file("t.csv", "a,b\n1,2\n"), "-o", file "swapped.jsonl" }
    answered(batch(swapped))
    process.write(file "t.csv", "b,a\n1,2\n")
    refuses(swapped, 1, "belongs to another run: columns was a,b and is now b,a: name")
    refuses({ input, "-o", file "none/out.jsonl" }, 1, "cannot write '.*none/out.run': No such file")
    refuses({ input, "-o", file "x.errors.jsonl" }, 1, "'.*x.errors.jsonl' is the name of a file of errors: name "
      .. "another output")
    refuses({ input, "-o", file "o" }, 1, -- o.run would be that of o.jsonl, too
      "the name of an output ends in .jsonl: '.*/o%.jsonl', not '.*/o'")
    refuses({ "merge", OUT, "-o", file "o" }, 1, "the name of an output ends in .jsonl: '.*/o%.jsonl'")
    refuses({ "status", file "out" }, 1, "the name of an output ends in .jsonl: '.*/out%.jsonl'")
    os.execute("mkdir " .. file "folder")
    refuses({ input, "-o", file "folder" }, 1, "cannot write '.*folder': it is a directory, not a file")
    os.execute(("echo x >%s; mkdir %s"):format(file "own.jsonl", file "own.run"))
    refuses({ input, "-o", file "own.jsonl" }, 1, "cannot write '.*own.run': it is a directory, not a file")
    refuses({ "status", file "own.jsonl" }, 1, "cannot read '.*own.run': it is a directory, not a file")
    assert.is_nil(process.read(file "folder.run"))
    local held = assert(require("lmm.files").journal.open(file "out.run"))
    refuses({ input, "-m", "mock", "--force" }, 1,
      "another run writes '.*out.jsonl': process %d+ on %S+, begun %d+%-%d+%-%d+T")
    assert.matches("process %d+ on %S+ runs it since", answered(batch { "status", OUT }))
    held:close()
    refuses({ "status", file "none.jsonl" }, 1, "no run has written")
  end)

  it("a file of something else, and leaves no files of a run beside it", function()
    local input = file("in.jsonl", rows(3))
    refuses({ input, "-o", input }, 1, "'.*in.jsonl' is there and no run of lmm has written it: name another output")
    assert.same({ "in.jsonl\n", rows(3) }, { process.shell("ls -A " .. folder), process.read(input) })
  end)

  it("what is no file for an output, without waiting for it or putting a file in its place", function()
    local input, fifo = file("in.jsonl", rows(3)), file "fifo"
    os.execute("mkfifo " .. fifo)
    refuses({ input, "-o", fifo }, 1, "cannot write '.*fifo': it is a fifo, not a file")
    refuses({ input, "-o", "/dev/null" }, 1, "cannot write '/dev/null': it is a device, not a file")
    refuses({ input, "-o", "-" }, 2, "%-o takes the name of a file, which is gone on with: %./%- is one called %-")
    answered(batch { input })
    refuses({ "merge", OUT, "-o", fifo }, 1, "cannot write '.*fifo': it is a fifo, not a file")
    refuses({ "merge", OUT, "-o", "-" }, 2, "%-o takes the name of a file")
    os.execute("ln -s /dev/full " .. file "full")
    refuses({ "merge", OUT, "-o", file "full" }, 1, "cannot write '.*full': it is a device, not a file")
    refuses({ "merge", OUT, "-o", file "out2.errors.jsonl" }, 1, "'.*' is the name of a file of errors: name another")
  end)

  it("to sort where there is no room for a second file, and says that nothing is lost", function()
    local input = file("in.jsonl", rows(3))
    os.execute("mkdir -p " .. file "out.jsonl.new/full")
    refuses({ input, "--ordered" }, 1, "the results are kept in '.*out.jsonl', but not in order: cannot write "
      .. "'.*out.jsonl': .*out.jsonl.new: Is a directory")
    assert.equal(3, #records())
    os.execute("rm -r " .. file "out.jsonl.new")
    answered(batch { input, "--ordered" })
  end)

  it("nothing that a link names: what is sorted or merged stands where that leads to", function()
    local input = file("in.jsonl", rows(40))
    os.execute(("mkdir %s && ln -s there/kept.jsonl %s"):format(file "there", OUT))
    answered(batch { input, "--ordered" })
    assert.equal(process.read(file "there/kept.jsonl"), process.read(OUT))
    os.execute(("ln -s there/all.jsonl %s && : >%s"):format(file "all.jsonl", file "there/all.jsonl"))
    answered(batch { "merge", OUT, "-o", file "all.jsonl" })
    assert.equal(process.read(OUT), process.read(file "there/all.jsonl"))
    assert.equal("all.jsonl\nkept.jsonl\n", process.shell("ls " .. file "there"))
  end)

  it("an output of which its own file does not tell the run any more, and says which file and what to do", function()
    local input = file("in.jsonl", rows(3))
    answered(batch { input })
    local whole = process.read(file "out.run")
    for _, cut in ipairs { "", "\n" .. whole:match "\n(.*)$" } do
      process.write(file "out.run", whole:sub(1, 40) .. cut)
      local told = "'[^']*out.run' does not tell any more what the run of '[^']*out.jsonl' is, since its first line is "
        .. "not whole"
      refuses({ input }, 1, told .. ": pass force %(%-%-force%) to go on with this one, or name another output")
      refuses({ "status", OUT }, 1, told)
      refuses({ "merge", OUT, "-o", file "all.jsonl" }, 1, told)
    end
    answered(batch { input, "--force" })
    assert.equal(3, #records())
    local kept = process.read(file "out.run")
    process.write(file "out.run", kept .. '{"start":7,"asked":{}}\n{"start":{"rows":"x"}}\n')
    assert.equal(OUT .. ": 3 done, 0 failed of 3; nobody runs it\n", answered(batch { "status", OUT }))
    process.write(file "out.run", kept:sub(1, -10))
    local run = batch { input }
    assert.same({ 0, ("lmm: the last line of '%s' was cut short, and is dropped\n"):format(file "out.run") },
      { run.status, run.err })
  end)

  it("a long prompt that has changed near its end, and shows where", function()
    local input, long = file("in.jsonl", '{"n":1}\n'), ("long "):rep(2000)
    answered(batch { input, "--prompt", long .. "one" })
    answered(batch { input, "--prompt", long .. "one" })
    refuses({ input, "--prompt", long .. "two" }, 1, "belongs to another run: prompt was %.%.%.[long ]+one and is now "
      .. "%.%.%.[long ]+two: name")
  end)

  it("answers of another model, the first that the server lists, before any row asks it", function()
    local input = file("in.jsonl", rows(3))
    local more = file("more.jsonl", rows(2) .. line("named", "q", { body = { model = "mock",
      messages = { { role = "user", content = "q" } } } }))
    answered(batch { input })
    assert.equal("mock", records()[1].response.body.model)
    local other = assert(mock.start { delay = 0, model = "other" })
    process.write(input, rows(3))
    os.execute("sed -i 2d " .. OUT)
    for _, words in ipairs { { input, "--url", other.url }, { input, "--url", other.url, "--url", other.url } } do
      refuses(words, 1, "'.*out.jsonl' belongs to another run: the model was mock and is now other: name another")
      assert.equal(2, #records())
    end
    answered(batch { input, "--url", other.url, "--force" })
    local asked = {}
    for _, record in ipairs(records()) do
      local model = record.response.body.model
      asked[model] = (asked[model] or 0) + 1
    end
    assert.same({ mock = 2, other = 1 }, asked)
    answered(batch { more, "--url", server.url, "--url", server.url, "-o", file "both.jsonl" })
    process.write(input, rows(9))
    answered(batch { input, "--shard", "1/2", "-o", file "part.1.jsonl" })
    answered(batch { input, "--shard", "2/2", "-o", file "part.2.jsonl", "--url", other.url })
    complained(program.run { "batch", "merge", file "part.1.jsonl", file "part.2.jsonl", "-o", file "all.jsonl" }, 1,
      "are parts of different runs: one asked mock, the other other")
    other.stop()
  end)

  it("a server that lists no model, by one sentence", function()
    local body = '{"object":"list","data":[]}'
    local none = raw.start { { { await = "head" }, { send = ("HTTP/1.1 200 OK\r\nConnection: close\r\n"
      .. "Content-Length: %d\r\n\r\n%s"):format(#body, body) }, { close = true } } }
    refuses({ file("in.jsonl", rows(9)), "--url", none.url }, 1, "no model is named, and .* lists none .name the model")
    none:stop()
    assert.same({ "", "" }, { process.read(OUT), process.read(file "out.errors.jsonl") })
  end)

  it("words that make no sense", function()
    local input = file("in.jsonl", rows(1))
    for _, row in ipairs {
      { { input, "-o", OUT, "--shard", "5/4" }, 1, "'5/4' is no shard: of 4 there are 1/4 to 4/4" },
      { { input, "--shard", "x" }, 1, "'x' is no shard: 3/10 is the third of ten" },
      { { input, "--shard", "0/4" }, 1, "'0/4' is no shard: of 4 there are 1/4 to 4/4" },
      { { input, "--shard", "0/0" }, 1, "'0/0' is no shard: 3/10 is the third of ten" },
      { { "--prompt", "x", "--images", "a", "--images", "b" }, 2, "option '%-%-images' must be used at most 1 time" },
      { { "--prompt", "x", "--prompt", "y", input }, 2, "option '%-%-prompt' must be used at most 1 time" },
      { { "status", OUT, "--retry-errors" }, 2, "%-%-retry%-errors is nothing for lmm batch status" },
      { { "merge", OUT, "--url", "x" }, 2, "%-%-url is nothing for lmm batch merge %(see lmm batch %-%-help%)" },
      { { input, input }, 2, "one file of rows is taken, not 2" },
      { {}, 2, "there are no rows: give one of IN.jsonl" },
      { { input, "--csv", "x", "--prompt", "x" }, 2, "IN.jsonl and %-%-csv: give one of" },
      { { "--csv", "x" }, 2, "%-%-csv goes with %-%-prompt or %-%-request" },
      { { input, "--prompt", "x", "--request", "y" }, 2, "both make the request" },
      { { input, "-p", "a=1" }, 2, "%-p goes with" },
      { { input, "--concurrency", "0" }, 2, "'0' is not a whole number from 1 on" },
      { { input, "--rate", "0" }, 2, "'0' is not a number of rows above 0" },
      { { input, "--max-tokens-per-minute", "0" }, 2, "'0' is not a whole number from 1 on" },
      { { input, "--request", "/none.lua" }, 1, "cannot read the function: cannot open /none.lua" },
    } do refuses(row[1], row[2], row[3]) end
    complained(program.run { "batch", input }, 2, "name the file of the answers: %-o")
  end)
end)
