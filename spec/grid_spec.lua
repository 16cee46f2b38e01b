-- `lmm grid`, run as a program of its own, with the built-in server: what is asked, what is not asked again, the files
-- that come of it, and what is wrong with a grid.
local assert = require "luassert"
local cli = require "spec.support.cli"
local json = require "lmm.json"
local mock = require "lmm.mock"
local process = require "spec.support.process"

local server = assert(mock.start { delay = 0 })
local program = cli.new { OPENAI_API_KEY = "", OPENAI_BASE_URL = server.url }
local folder, file = process.folder()
local answered, complained = cli.answered, cli.complained

local PAGE = file "page.html"
for _, name in ipairs { "a", "b" } do os.execute(("cp examples/picture.jpg %s"):format(file(name .. ".jpg"))) end
-- so that the two pictures are two
os.execute(("printf x >>%s"):format(file "b.jpg"))

--- Runs `lmm grid` with a page of its own.
local function grid(words, env)
  local all = { "grid" }
  for _, word in ipairs(words) do all[#all + 1] = word end
  all[#all + 1] = "-o"
  all[#all + 1] = PAGE
  return program.run(all, nil, env)
end

local function clean() os.execute("rm -rf " .. PAGE .. " " .. file "page.grid") end

--- The data of the page.
local function data()
  return assert(json.decode(process.read(PAGE):match '<script type="application/json" id="data">(.-)</script>'))
end

local function texts()
  local list = {}
  for i, cell in ipairs(data().cells) do list[i] = cell.text or cell.error or cell.missing end
  return list
end

teardown(function()
  server.stop()
  program.remove()
  os.execute("rm -rf " .. folder)
end)

before_each(clean)

describe("lmm grid", function()
  it("asks all combinations, and each of them once", function()
    local words = { "--prompt", "one", "--prompt", "two", "--images", file "*.jpg", "--set", "temperature=0,0.7",
      "--repeat", "2" }
    assert.matches("page.html: 16 cells, 16 asked now; %d+ KB\n", answered(grid(words)))
    local page = data()
    assert.same({ 2, 2, 1, 2, 2, 16 }, { #page.head.prompts, #page.pictures, #page.head.models, #page.head.settings,
      page.head.repeats, #page.cells })
    assert.matches("^image 1: image/jpeg, 1280 x 854 pixels, 104316 bytes.*\nquestion: one$", page.cells[1].text)
    assert.matches("104317 bytes.*\nquestion: two$", page.cells[16].text)
    assert.same({ 2, 2, 1, 2, 2 }, json.clean(page.cells[16].at))
    assert.same("temperature 0.7", page.head.settings[2].name)
    for _, cell in ipairs(page.cells) do
      assert(cell.first and cell.total >= cell.first and cell.tokens > 0 and cell.finish == "stop")
    end
    assert.matches("16 cells, 0 asked now", answered(grid(words)))
    words[2] = "three"
    assert.matches("16 cells, 8 asked now", answered(grid(words)))
    words[2] = "one"
    assert.matches("16 cells, 0 asked now", answered(grid(words))) -- what was asked for another page is there still
    words[6] = file "{*,none}.jpg"
    assert.matches("16 cells, 0 asked now", answered(grid(words)))
    words[#words + 1] = "--fresh"
    assert.matches("16 cells, 16 asked now", answered(grid(words)))
  end)

  it("knows a picture by its bytes", function()
    local words = { "--prompt", "one", "--images", file "c*.jpg" }
    os.execute(("cp %s %s"):format(file "a.jpg", file "c1.jpg"))
    assert.matches("1 cell, 1 asked now", answered(grid(words)))
    os.execute(("mv %s %s"):format(file "c1.jpg", file "c2.jpg"))
    assert.matches("1 cell, 0 asked now", answered(grid(words)))
    os.execute(("cp %s %s"):format(file "b.jpg", file "c2.jpg"))
    assert.matches("1 cell, 1 asked now", answered(grid(words)))
    os.remove(file "c2.jpg")
  end)

  it("tells videos of frames apart by what is in them", function()
    local images = file("frames.lua", [[
      local lmm, core = require "lmm", require "lmm.core"
      local function url(path)
        return "data:video/jpeg;base64," .. core.base64.encode(io.open(path, "rb"):read "*a")
      end
      local a, b = "spec/media/baseline.jpg", "spec/media/exif.jpg"
      return { prompts = { "one" }, images = {
        lmm.video { frames = { a } }, lmm.video { frames = { a, a } }, lmm.video { frames = { b } },
        lmm.video({ frames = { a } }, { max_side = 9 }), lmm.video({ frames = { a } }, { max_side = 8 }),
        lmm.video(url(b)) } }
    ]])
    assert.matches("6 cells, 5 asked now", answered(grid { images }))
    local seen = {}
    for i, text in ipairs(texts()) do
      local count, size = text:match "video 1: (%d) frames of image/jpeg, (%d+) x"
      seen[i] = count .. " " .. size
    end
    assert.same({ "1 37", "2 37", "1 23", "1 9", "1 8", "1 23" }, seen)
  end)

  it("takes a picture of a few bytes, which is none", function()
    local png = "data:image/png;base64,"
    local words = { "--prompt", "one", "--images", png .. "AAAA", "--images", png .. "AA==" }
    complained(grid(words), 1, "2 of 2 cells failed")
    assert.same({ png .. "AAAA", png .. "AA==" }, { data().pictures[1].src, data().pictures[2].src })
  end)

  it("takes a file of Lua, with functions, clients and a check", function()
    local path = file("full.lua", ([[
      local lmm = require "lmm"
      return {
        title = "All of it", system = "Be short.",
        prompts = {
          plain = "What is it?",
          made = function(row) return ("About %%s, try %%d."):format(row.image:match "[^/]*$", row.number) end,
          parts = function(row) return { "Before.", row.picture, "After." } end,
        },
        images = { %q, lmm.image %q },
        models = { "mock", lmm.connect { base_url = %q, model = "mock" } },
        settings = { { temperature = 0, name = "cold" }, { temperature = 1, top_p = 0.5 } },
        params = { max_tokens = 50 },
        check = function(reply, row)
          if row.prompt == "plain" then return 0.5, "half" end
          return tostring(reply):find "a.jpg" ~= nil and row.question:find "About" ~= nil
        end,
      }]]):format(file "a.jpg", file "b.jpg", server.url))
    local out = answered(grid { path, "--json", file "cells.json" })
    assert.matches("24 cells, 12 asked now, score 0.333 %(4 of 24 passed%)", out) -- 8 * 0.5 + 4 * 1, of 24
    local page = data()
    assert.same("All of it", page.head.title)
    assert.same({ "made", "parts", "plain" }, { page.head.prompts[1].name, page.head.prompts[2].name,
      page.head.prompts[3].name })
    assert.same({ "cold", "temperature 1, top_p 0.5" }, { page.head.settings[1].name, page.head.settings[2].name })
    assert.same("About a.jpg, try 1.", page.cells[1].asked)
    assert.matches("question: Before%. After%.$", page.cells[9].text)
    local cells = assert(json.decode(process.read(file "cells.json")))
    assert.same(24, #cells.cells)
    local cell = cells.cells[17]
    assert.same({ 0.5, "half", "What is it?" }, { cell.check, cell.why, cell.question })
  end)

  it("reckons by its prices what each model costs, however that is given", function()
    local path = file("prices.lua", ([[return { prompts = "p", prices = { mock = { input = 1, output = 2 } },
      models = { "mock", { base_url = %q, model = "mock", label = "again" } } }]]):format(server.url))
    answered(grid { path, "--json", file "cells.json" })
    local cells = assert(json.decode(process.read(file "cells.json"))).cells
    assert(cells[1].answer.cost > 0)
    assert.equal(cells[1].answer.cost, cells[2].answer.cost)
  end)

  it("takes from the log what was answered anywhere, unless it is told not to", function()
    local env = { LMM_LOG = file "log.db" }
    answered(program.run({ "ask", "-m", "mock", "-p", "temperature=0", "one" }, nil, env))
    local words = { "--prompt", "one", "-m", "mock", "--set", "temperature=0,1", "--repeat", "2" }
    assert.matches("4 cells, 3 asked now, 1 from the log;", answered(grid(words, env)))
    assert.same({ "question: one", "question: one", "question: one", "question: one" }, texts())
    assert(data().cells[1].total and data().cells[1].tokens)
    clean()
    assert.matches("4 cells, 2 asked now, 2 from the log;", answered(grid(words, env))) -- of the grid's own asking
    clean()
    words[#words + 1] = "--fresh"
    assert.matches("4 cells, 4 asked now;", answered(grid(words, env)))
    clean()
    words[#words] = "--no-log"
    assert.matches("4 cells, 4 asked now;", answered(grid(words, env)))
  end)

  it("checks anew what was answered before, and says to CI what it thinks of it", function()
    local function path(check, more)
      return file("ci.lua", ([[return { prompts = { "good", "bad" }, models = "mock", %s
        check = function(reply) %s end }]]):format(more or "", check))
    end
    local good = [[return reply.text:find "good" ~= nil, "it is <bad>"]]
    complained(grid { path(good), "--ci" }, 1, "the score 0.5 is below the threshold 1")
    assert.matches("0 asked now, score 0.5 %(1 of 2", answered(grid { path(good), "--ci", "--threshold", "0.5" }))
    assert.matches("score 0.5", answered(grid { path(good, "threshold = 0.5,"), "--ci", "--junit", file "out.xml" }))
    assert.matches("0 asked now, score 1 ", answered(grid { path "return 1", "--ci" }))
    local xml = process.read(file "out.xml")
    assert.matches('<testsuite name="ci" tests="2" failures="1" errors="0">', xml)
    assert.matches('<failure message="it is &lt;bad&gt;">question: bad</failure>', xml)
    assert.matches("score 0.5 %(2 of 2 passed%)", answered(grid { path("return 0.5", "threshold = 0.5,"), "--ci" }))
    local run = grid { path "error 'boom'", "--ci" }
    assert.same(1, run.status)
    assert.matches("ci.lua:2: boom\nlmm: the score 0 is below[^\n]*\n$", run.err)
    assert.matches("ci.lua:2: boom$", data().cells[1].why)
    assert.equal(1, grid({ path "return 'no'", "--ci" }).status)
    assert.equal("check: it gives true, false or a score from 0 to 1, not a string", data().cells[1].why)
    clean()
    complained(grid { "--prompt", "x", "--ci" }, 2, "%-%-ci: the grid has no check")
    assert.is_nil(process.read(PAGE)) -- nothing was asked for that
  end)

  it("says how many checks could not be run, and why the first", function()
    local path = file("check.lua", [[return { prompts = { "good", "bad", "none" }, models = "mock",
      check = function(reply)
        if reply.text:find "none" then return "none" end
        return reply.text:find "good" and true or reply.nothing.x
      end }]])
    local run = grid { path, "--json", file "check.json", "--markdown", file "check.md" }
    assert.equal(0, run.status)
    assert.matches("score 0.333 %(1 of 3 passed, 2 checks failed to run%)", run.out)
    assert.matches("^lmm: 2 of 3 checks failed to run, and count 0: [^\n]*check.lua:4: attempt to index [^\n]*\n$",
      run.err)
    assert.equal(2, json.decode(process.read(file "check.json")).summary.check_errors)
    assert.matches("1 of 3 cells passed, 2 checks failed to run%.", process.read(file "check.md"))
  end)

  it("asks again what failed, when it is told to", function()
    local words = { "--prompt", "one", "-m", "mock", "-m", "absent" }
    complained(grid(words), 1, "1 of 2 cells failed: the page says why %(%-%-retry%-errors asks them again%)")
    assert.matches("The model `absent` does not exist", texts()[2])
    assert.matches("0 asked now, 1 failed", complained(grid(words), 1, "1 of 2 cells"))
    words[#words + 1] = "--retry-errors"
    assert.matches("1 asked now, 1 failed", complained(grid(words), 1, "1 of 2 cells"))
  end)

  it("asks again where the last line of its answers was cut short", function()
    local words = { "--prompt", "one", "--prompt", "two" }
    answered(grid(words))
    local path = file("page.grid/" .. server.url:match "//(.-)/v1":gsub(":", "-") .. ".jsonl")
    local whole = process.read(path)
    for _, most in ipairs { #whole - 1, #whole - 30 } do
      process.write(path, whole:sub(1, most))
      assert.matches("2 cells, 1 asked now;", answered(grid(words)))
      assert.same({ "question: one", "question: two" }, texts())
    end
  end)

  it("goes on where a server is gone: its column says so", function()
    local path = file("gone.lua", ([[return { prompts = "one", models = { "mock",
      { base_url = "http://127.0.0.1:1/v1", model = "far", retry = false } } }]]))
    local out = complained(grid { path, "--server-timeout", "0.1" }, 1, "1 cell without an answer: .*cannot reach")
    assert.matches("2 cells, 1 asked now, 1 without an answer", out) -- nobody heard of the other
    assert.matches("question: one", texts()[1])
    assert.matches("cannot reach http://127.0.0.1:1/v1", texts()[2])
    path = file("gone.lua", ([[return { prompts = "one", models = { "mock",
      { base_url = "http://127.0.0.1:1/v1", retry = false } } }]]))
    complained(grid { path }, 1, "1 cell without an answer: .*cannot reach")
    assert.same("the first model at 127.0.0.1:1", data().head.models[2].name)
  end)

  it("writes tables for other programs", function()
    local words = { "--prompt", '=1+1, "so"', "--prompt", "a|b <i> [x](javascript:y)", "-m", "mock", "-m", "absent" }
    for _, name in ipairs { "csv", "markdown" } do
      words[#words + 1] = "--" .. name
      words[#words + 1] = file("out." .. name)
    end
    grid(words)
    local csv = process.read(file "out.csv")
    assert.matches("^prompt,image,model,settings,repeat,text,[^\n]*,error\r\n", csv)
    assert.matches('\r\n"\'=1%+1, ""so""",,mock,,1,"question: =1%+1, ""so""",', csv)
    assert.matches(',absent,,1,,,,,,,,,,,"HTTP 404 from [^\r]*\r\n', csv)
    local markdown = process.read(file "out.markdown")
    assert.matches("|  |  | mock | absent |\n| %-%-%- | %-%-%- | %-%-%- | %-%-%- |\n", markdown)
    assert.matches("question&#58; a&#124;b &lt;i&gt; &#91;x&#93;&#40;javascript&#58;y&#41; | %*%*error:%*%*", markdown)
    local lines = select(2, markdown:gsub("\n", ""))
    assert.same(6, lines)
    words = { "--prompt", "a\27[2J\194\1552J\127b\tc", "--csv", file "out.csv", "--markdown", file "out.markdown" }
    answered(grid(words))
    assert.matches(",question: a%[2J2Jb\tc,", process.read(file "out.csv"))
    assert.matches("question&#58; a&#91;2J2Jbc |", process.read(file "out.markdown"))
    answered(grid { "--prompt", "one", "--repeat", "2", "--markdown", file "out.markdown" })
    markdown = process.read(file "out.markdown")
    assert.matches("|  |  | repeat | mock |\n| %-%-%- | %-%-%- | %-%-%- | %-%-%- |\n"
      .. "|  | one | 1 | question&#58; one |\n|  | one | 2 | question&#58; one |\n$", markdown)
    words = { "--prompt", "one", "--csv", "-" }
    local run = grid(words)
    assert.matches("^prompt,", run.out)
    assert.matches("page.html: 1 cell", run.err)
    run = program.run { "grid", "--prompt", "one", "-o", file "100%d.html", "--csv", "-" }
    assert.matches("100%%d.html: 1 cell", run.err)
    assert.equal(0, run.status)
  end)

  it("writes into a pipe or a device as it is, and says where it cannot", function()
    local pipe, read = file "pipe", file "read"
    os.execute(("mkfifo %s && cat %s >%s &"):format(pipe, pipe, read))
    process.wait_for("the pipe", function() return os.execute("test -p " .. pipe) end)
    answered(grid { "--prompt", "one", "--csv", pipe })
    process.wait_for("the table", function() return (process.read(read) or ""):find "one.*\n$" end)
    assert.equal(0, select(3, os.execute("test -p " .. pipe)) or 0)
    complained(grid { "--prompt", "one", "--csv", "/dev/full" }, 1, "cannot write '/dev/full': No space left on device")
    local run = program.shell(("%s >/dev/full 2>$err; echo $? >$status"):format(
      program.command { "grid", "--prompt", "one", "-o", PAGE, "--csv", "-" }))
    assert.equal(1, run.status)
    assert.matches("cannot write '%-': No space left on device\n$", run.err)
  end)

  it("is ended by Ctrl-C with a page of what there is, and goes on", function()
    local words = { "--prompt", "one", "--images", file "*.jpg", "--repeat", "40",
      "--param", 'mock={"first_delay":0.1,"reply":"x"}' }
    local all = { "grid", "--concurrency", "1" } -- only until it is ended
    for _, word in ipairs(words) do all[#all + 1] = word end
    all[#all + 1] = "-o"
    all[#all + 1] = PAGE
    local run = program.shell(([[%s >$out 2>$err & pid=$!
      while ! [ -s %s ]; do sleep 0.02; done; kill -INT $pid; wait $pid; echo $? >$status]]):format(
      program.command(all), file("page.grid/" .. server.url:match "//(.-)/v1":gsub(":", "-") .. ".jsonl")))
    assert.same({ "", 130 }, { run.out, run.status })
    assert.matches("lmm: stopped: the same command goes on\n$", run.err)
    local asked = tonumber(run.err:match "(%d+) without an answer")
    assert(asked > 0 and asked < 80, run.err)
    assert.matches(("80 cells, %d asked now, %d without"):format(80 - asked, asked), run.err)
    assert.matches(("80 cells, %d asked now;"):format(asked), answered(grid(words)))
  end)

  it("asks nothing while another run holds the page", function()
    local words = { "grid", "--prompt", "one", "--repeat", "20", "--param", 'mock={"delay":30}', "-o", PAGE }
    local base = "page.grid/" .. server.url:match "//(.-)/v1":gsub(":", "-")
    local run = program.shell(([[%s >/dev/null 2>&1 & pid=$!
      while ! [ -s %s ]; do sleep 0.02; done; %s >$out 2>$err; echo $? >$status
      kill -INT $pid; kill -TERM $pid; wait $pid]]):format(program.command(words), file(base .. ".run"),
      program.command(words)))
    assert.equal(1, run.status)
    assert.matches("20 cells, 0 asked now, 20 without an answer", run.out)
  end)

  it("is cut off by a second signal, and asks again what was cut off", function()
    local words = { "grid", "--prompt", "one", "--repeat", "20", "--param", 'mock={"delay":30}', "-o", PAGE }
    local base = "page.grid/" .. server.url:match "//(.-)/v1":gsub(":", "-")
    local run = program.shell(([[%s >$out 2>$err & pid=$!
      while ! [ -s %s ]; do sleep 0.02; done; kill -INT $pid; kill -TERM $pid; wait $pid; echo $? >$status]]):format(
      program.command(words), file(base .. ".run")))
    assert.same({ "", 130 }, { run.out, run.status })
    assert.matches("20 cells, %d+ asked now, 20 without an answer; [^\n]*\nlmm: stopped: the same command goes on\n$",
      run.err)
    assert.same("", process.read(file(base .. ".errors.jsonl")))
  end)
end)

local does_hook = rawget(_G, "jit") and pending or it -- LuaJIT calls no hook in what it has compiled

describe("Ctrl-C in a grid file", function()
  local endless = {
    { "of which nothing ends", "while true do end" },
    { "whose prompts do not end", "return { prompts = function() while true do end end }" },
    { "whose check does not end", "return { prompts = 'x', check = function() while true do end end }" },
  }
  for _, row in ipairs(endless) do
    does_hook(row[1] .. " ends it", function()
      local path = file("grid.lua", (row[2]:gsub("while", 'io.stderr:write "endless\\n" while')))
      for signal, status in pairs { INT = 130, TERM = 143 } do
        local run = program.shell(([[%s >$out 2>$err & pid=$!
          while ! grep -qs endless $err; do sleep 0.02; done
          while ! grep -qs lmm: $err; do kill -%s $pid; sleep 0.05; done; wait $pid; echo $? >$status]]):format(
          program.command { "grid", path, "-o", PAGE }, signal))
        assert.same({ "", status }, { run.out, run.status })
        assert.matches("lmm: stopped: the same command goes on\n$", run.err)
      end
    end)
  end
end)

describe("a grid file", function()
  local rows = {
    { "that raises", 'return {\n  prompts = error "boom" }', "grid.lua:2: boom$" },
    { "that raises a table", "error {}", "grid.lua: a table was raised$" },
    { "that raises without a place", "error('boom', 0)", "grid.lua: boom$" },
    { "that is no Lua", "return {\n", "grid.lua:2: " },
    { "that returns nothing", "local x = 1", "grid.lua returns nothing, not a table" },
    { "that returns a number", "return 1", "grid.lua returns a number, not a table" },
    { "that misuses the library", 'local lmm = require "lmm"\nreturn { prompts = "x", lmm.connect { nodel = "x" } }',
      "grid.lua:2: lmm.connect: unknown option 'nodel' %(did you mean 'model'%?%)$" },
    { "with an unknown field", 'return { prompt = "x" }', "unknown option 'prompt' %(did you mean 'prompts'%?%)$" },
    { "with an option of its pictures that is misspelt",
      "return { prompts = 'x', images = 'examples/picture.jpg', image = { max_sde = 100 } }",
      "grid.lua: image: lmm.image: unknown option 'max_sde' %(did you mean 'max_side'%?%)$" },
    { "without prompts", "return {}", "grid.lua: there are no prompts$" },
    { "with a prompt that is none", "return { prompts = { 'a', 7 } }", "grid.lua: prompts: number 2 is no text" },
    { "with a named prompt that is none", "return { prompts = { 'a', odd = { 'b' } } }",
      "grid.lua: prompts: 'odd' is no text and no function of the row$" },
    { "with a field of a prompt that is none", "return { prompts = { 'a', { prompt = 'b', sytem = 'c' } } }",
      "grid.lua: prompts: number 2: unknown option 'sytem' %(did you mean 'system'%?%)$" },
    { "with a system message that is none", "return { prompts = { odd = { prompt = 'b', system = 7 } } }",
      "grid.lua: prompts: 'odd': [^\n]*system[^\n]*string[^\n]*number" },
    { "that matches no images", "return { prompts = 'x', images = 'none/*.jpg' }",
      "grid.lua: 'none/%*.jpg' matches no file$" },
    { "with a picture that is gone", "return { prompts = 'x', images = 'gone.jpg' }",
      "grid.lua: [^\n]*gone.jpg.*No such file" },
    { "with an image that is none", "return { prompts = 'x', images = { 7 } }",
      "grid.lua: images: number 1 is a number" },
    { "with a model that is none", "return { prompts = 'x', models = { true } }",
      "grid.lua: models: number 1 is no name" },
    { "with options of a model that are none", "return { prompts = 'x', models = { { nodel = 'x' } } }",
      "grid.lua: models: number 1: lmm.connect: unknown option 'nodel' %(did you mean 'model'%?%)$" },
    { "with prices that are none", "return { prompts = 'x', prices = { m = 1 } }",
      "grid.lua: lmm.connect prices of 'm': { input =, output = } expected, got number$" },
    { "with settings that are none", "return { prompts = 'x', settings = { 'a' } }",
      "grid.lua: settings: number 1 is no table" },
    { "with two settings of one name",
      "return { prompts = 'x', settings = { { name = 'hot', top_p = 1 }, {}, { name = 'hot', top_p = 0 } } }",
      "grid.lua: settings: numbers 1 and 3 are both called 'hot': give each a name of its own$" },
    { "with the same setting twice", "return { prompts = 'x', settings = { temperature = { 0, 1, 0 } } }",
      "grid.lua: settings: numbers 1 and 3 are both called 'temperature 0': give each a name of its own$" },
    { "with half a repeat", "return { prompts = 'x', repeats = 0.5 }", "repeats is a whole number" },
    { "with a threshold that no score reaches", "return { prompts = 'x', threshold = 2 }",
      "grid.lua: threshold is a score from 0 to 1, not 2" },
    { "with more cells than anybody looks at", "return { prompts = { 'x', 'y' }, repeats = 1e7 }",
      "grid.lua: it has 20000000 cells, more than the 100000 of one grid: for so many there is lmm batch" },
  }
  for _, row in ipairs(rows) do
    it(row[1], function()
      local run = program.run { "grid", file("grid.lua", row[2]), "-o", PAGE }
      assert.same({ "", 1 }, { run.out, run.status })
      assert.matches("^lmm: [^\n]*\n$", run.err)
      assert.matches(row[3], (run.err:gsub("\n$", "")))
      assert(not run.err:find "traceback" and not run.err:find "lmm/grid", run.err)
      assert.is_nil(process.read(PAGE))
    end)
  end

  it("with prompts in a list and by their names, each perhaps with a system message", function()
    local path = file("grid.lua", [[return { prompts = { "first", second = { prompt = "B", system = "Be brief." },
      first = "A", { name = "last", prompt = "C" } } }]])
    assert.equal(0, program.run({ "grid", path, "-o", PAGE }).status)
    local names = {}
    for i, prompt in ipairs(data().head.prompts) do names[i] = prompt.name end
    assert.same({ "first", "last", "first", "second" }, names)
  end)

  it("with a prompt function that raises: its cells say where", function()
    local path = file("grid.lua", "return { prompts = { 'good', function(row)\n  return row.nothing.x end } }")
    local run = program.run { "grid", path, "-o", PAGE }
    assert.matches("^lmm: 1 cell without an answer: [^\n]*grid.lua:2: [^\n]*\n$", run.err)
    assert.matches("question: good", texts()[1])
    assert.matches("grid.lua:2: attempt to index", texts()[2])
  end)

  it("with a prompt function of which an item is none: its cells say which", function()
    local path = file("grid.lua", [[local lmm = require "lmm"
      return { prompts = { good = function() return { "a", { type = "text", text = "b" } } end,
        number = function() return { "a", 7 } end, other = function() return { "a", {} } end } }]])
    program.run { "grid", path, "-o", PAGE }
    local told = table.concat(texts(), "\n")
    assert.matches("the function of 'number' returns a list of which item 2 is 7, no text and no part", told)
    assert.matches("the function of 'other' returns a list of which item 2 is a table, no text and no part", told)
    assert.matches("question: a.*b", told)
  end)

  it("is not written over, nor is one file by two outputs", function()
    local text = "return { prompts = 'x' }"
    local path = file("grid.lua", text)
    complained(program.run { "grid", path, "-o", folder .. "/./grid.lua" }, 2, "is the grid, and cannot be page, too")
    complained(program.run { "grid", path, "-o", PAGE, "--csv", path }, 2, "is the grid, and cannot be csv, too")
    complained(program.run { "grid", "watch", path, "-o", path }, 2, "is the grid, and cannot be page, too")
    complained(grid { "--prompt", "x", "--json", PAGE }, 2, "is page, and cannot be json, too")
    complained(grid { "--prompt", "x", "--json", "-", "--csv", "-" }, 2, "'%-' is csv, and cannot be json, too")
    assert.equal(text, process.read(path))
  end)

  it("that is not there", function()
    complained(program.run { "grid", file "none.lua" }, 1, "cannot read the grid: .*No such file")
    complained(program.run { "grid" }, 2, "give a file GRID.lua, or %-%-prompt TEXT")
    for _, values in ipairs { "0,,1", ",0", "0,", "" } do
      local run = program.run { "grid", "--prompt", "x", "--set", "temperature=" .. values, "-o", PAGE }
      assert.equal(2, run.status)
      assert.matches(values == "" and "takes name=value,value, not 'temperature='" or
        "a value of '%-%-set temperature=" .. values .. '\' is empty: "" is the empty text', run.err)
    end
    complained(program.run { "grid", "--prompt", "x", "-o", "/proc/none/x.html" }, 1, "cannot make the folder")
  end)
end)
