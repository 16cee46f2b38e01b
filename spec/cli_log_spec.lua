-- lmm log, and what lmm ask, embed and transcribe leave in it, run as programs of their own against the mock.
local cli = require "spec.support.cli"
local lmm_library = require "lmm"
local mock = require "lmm.mock"
local shell = require "spec.support.shell"

local PNG = "spec/media/picture.png"

local folder = shell.output "mktemp -d":match "%S+"
local server, program

setup(function()
  server = assert(mock.start { delay = 0 })
  program = cli.new { OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "", XDG_STATE_HOME = folder, LMM_LOG = "" }
end)

before_each(function() shell.run("rm -rf %s && mkdir %s", folder, folder) end)

teardown(function()
  server.stop()
  program.remove()
  os.execute("rm -rf " .. folder)
end)

local answered, complained = cli.answered, cli.complained

local function lmm(...) return program.run(...) end

--- What `lmm log` prints for these words, without the times.
local function log(...)
  return (answered(lmm { "log", ... }):gsub("%d%d%d%d%-%d%d%-%d%d %d%d:%d%d", "TIME"))
end

--- The ids that it lists.
local function ids(...)
  local out = {}
  for id in log(...):gmatch "\n? *(%d+)  TIME" do out[#out + 1] = tonumber(id) end
  return out
end

describe("lmm ask", function()
  it("logs what it asks, in a folder of its owner's", function()
    answered(lmm { "ask", "Hello you" })
    answered(lmm { "ask", "-i", PNG, "What is it?" })
    assert.equal(folder .. "/lmm/log.db\n", log "path")
    assert.equal("700 600\n", shell.output(("echo $(stat -c %%a %s/lmm %s/lmm/log.db)"):format(folder, folder)))
    local one, two = log():match "^([^\n]*)\n([^\n]*)\n$"
    assert.equal("    1  TIME  mock                Hello you                                 question: Hello you", one)
    assert.matches("^    2  TIME  mock                %[1%] What is it%?  +image 1: image/png", two)
  end)

  it("leaves what has not been taken into the database for the next one, which is not much", function()
    local sizes = {}
    for i = 1, 12 do
      lmm(i % 3 == 0 and { "embed", "c" } or { "ask", "-p", i % 3 == 1 and [[mock={"status":400}]] or "n=1", "b" })
      sizes[i] = #(shell.output(("cat %s/lmm/log.db-wal 2>/dev/null; true"):format(folder)))
    end
    assert(sizes[1] > 0, "nothing is left")
    table.sort(sizes)
    assert.equal(0, sizes[1]) -- it has been taken in once
    assert(sizes[12] < 300000, sizes[12])
    assert.equal(12, #ids())
    assert.equal("log.db\n", shell.output(("ls %s/lmm"):format(folder)))
  end)

  it("is shown so that it steers no terminal, in columns", function()
    answered(lmm { "ask", "-p", [[mock={"reply":"a\u001b]0;X\u0007b"}]], "Où?" })
    assert.matches("assistant:\na^%[%]0;X^Gb\n", log("show", "1"))
    assert.equal("    1  TIME  mock                Où?" .. (" "):rep(39) .. "a]0;Xb\n", log())
  end)

  it("logs what fails, too", function()
    complained(lmm { "ask", "-p", "retry=false", "--url", "http://127.0.0.1:9/v1", "Anybody?" }, 1, "cannot reach")
    assert.matches("    1  TIME  chat/completions    Anybody%?  +failed: cannot reach", log())
    assert.same({ 1 }, ids "--failed")
  end)

  it("does not log where it is told not to", function()
    answered(lmm { "ask", "--no-log", "a" })
    answered(lmm({ "ask", "a" }, nil, { LMM_LOG = "off" }))
    answered(lmm { "log", "off" })
    answered(lmm { "ask", "a" })
    complained(lmm { "log" }, 1, "nothing has been logged yet")
    answered(lmm { "log", "on" })
    answered(lmm { "ask", "b" })
    assert.same({ 1 }, ids())
    answered(lmm({ "ask", "a" }, nil, { LMM_LOG = folder .. "/mine.db" }))
    assert.same({ 1 }, ids())
    complained(lmm { "ask", "--no-log", "--cache", "a" }, 2, "--no%-log is given")
  end)

  it("works all the same where it cannot log", function()
    shell.run("mkdir -p %s/lmm/log.db", folder)
    local run = lmm { "ask", "Hello" }
    assert.same({ "question: Hello\n", 0 }, { run.out, run.status })
    assert.matches("^lmm: the log '[^\n]*/lmm/log.db' cannot be used: it is a directory[^\n]*\n$", run.err)
  end)

  it("asks again what is in the log, of another model, with another question", function()
    answered(lmm { "ask", "-i", PNG, "-s", "Be brief.", "-p", "temperature=0", "What is it?" })
    local whole = answered(lmm { "ask", "--again", "1", "--no-log" })
    assert.matches("image 1: image/png.*question: What is it%?", whole)
    local other = answered(lmm { "ask", "--again", "1", "And the colour?" })
    assert.matches("image 1: image/png.*question: And the colour%?", other)
    assert.matches("%{\"temperature\":0%}\n\nsystem:\nBe brief%.\n", answered(lmm { "log", "show", "2" }))
    local missing = lmm { "ask", "--again", "1", "-m", "other", "-p", "retry=false" }
    complained(missing, 1, "The model `other` does not exist")
    complained(lmm { "ask", "--again", "9" }, 1, "there is no exchange 9 in the log")
    complained(lmm { "ask", "--again", "x" }, 2, "takes a whole number")
    complained(lmm { "ask", "--again", "1", "-s", "x" }, 2, "and %-s something else")
    answered(lmm { "embed", "a" })
    complained(lmm { "ask", "--again", tostring(#ids() > 3 and 4 or 3) }, 1, "only chats can be asked again")
  end)

  it("asks the server that was asked, where no other one is named", function()
    answered(lmm { "ask", "Hello" })
    assert.equal("question: Hello\n", answered(lmm({ "ask", "--again", "1" }, nil, { OPENAI_BASE_URL = "" })))
  end)

  it("says which file of it is gone", function()
    shell.run("cp %s %s/a.png", PNG, folder)
    answered(lmm { "ask", "-i", folder .. "/a.png", "What?" })
    os.remove(folder .. "/a.png")
    complained(lmm { "ask", "--again", "1" }, 1, "a.png")
  end)

  it("answers from the log with --cache, and says so with -v", function()
    for i = 1, 2 do
      local run = lmm { "ask", "--cache", "-p", "temperature=0", "-v", "Why?" }
      assert.equal("question: Why?\n", run.out)
      assert.equal(i == 2, run.err:find("the answer is from the log", 1, true) ~= nil)
    end
    local value = assert(lmm_library.json.decode(answered(lmm { "ask", "--cache", "-p", "temperature=0", "--json",
      "Why?" })))
    assert.equal("question: Why?", value.choices[1].message.content)
  end)
end)

describe("lmm log", function()
  it("finds by words, picture, model and chat", function()
    answered(lmm { "ask", "Which telescope?" })
    answered(lmm { "ask", "-i", PNG, "What is it?" })
    answered(lmm { "ask", "--save", folder .. "/chat.json", "First" })
    answered(lmm { "ask", "--continue", folder .. "/chat.json", "Second" })
    assert.same({ 1 }, ids("--search", "tele"))
    assert.same({ 2 }, ids("--image", PNG))
    assert.same({ 3, 4 }, ids("--chat", "4"))
    assert.same({ 3, 4 }, ids("-n", "2"))
    assert.same({}, ids("-m", "other"))
    complained(lmm { "log", "--image", folder .. "/none.png" }, 1, "none.png")
  end)

  it("shows all of one exchange", function()
    answered(lmm { "ask", "-i", PNG, "-p", "top_p=0.5", "What is it?" })
    local shown = answered(lmm { "log", "show", "1" })
    assert.equal(shown, answered(lmm { "log", "1" }))
    assert.matches("^1: %d+%-%d+%-%d+ [%d:]+, mock at http://127[^\n]*prompt tokens[^\n]*\n{\"top_p\":0.5}\n\n"
      .. "user:\nWhat is it%?\n%[image: image/png, /[^\n]*picture%.png%]\n\nassistant:\nimage 1:", shown)
  end)

  it("exports lines of JSON, and prints them with --json", function()
    for i = 1, 3 do answered(lmm { "ask", "q" .. i }) end
    local lines = answered(lmm { "log", "export" })
    local questions = {}
    for line in lines:gmatch "[^\n]+" do questions[#questions + 1] = lmm_library.json.decode(line).question end
    assert.same({ "q1", "q2", "q3" }, questions)
    assert.equal(lines:match "^[^\n]*\n", answered(lmm { "log", "--json", "-s", "q1" }))
    assert.equal(lines:match "^[^\n]*\n(.*)", answered(lmm { "log", "--json", "-n", "2" }))
  end)

  it("forgets", function()
    for i = 1, 3 do answered(lmm { "ask", "q" .. i }) end
    assert.equal("0 exchanges forgotten\n", log("prune", "--older", "1h"))
    assert.equal("1 exchange forgotten\n", log("prune", "2"))
    assert.same({ 1, 3 }, ids())
    assert.equal("2 exchanges forgotten\n", log("prune", "--all"))
    assert.equal("", log())
  end)

  it("says what is wrong", function()
    for pattern, words in pairs {
      ["there is no lmm log shw: did you mean show%?"] = { "shw" }, ["'x' is too much"] = { "show", "1", "x" },
      ["'3x' is no age: write 30d"] = { "--older", "3x" }, ["prune takes one of"] = { "prune" },
      ["%-%-model is nothing for lmm log prune"] = { "prune", "--older", "1d", "--model", "x" },
      ["%-%-all is nothing for lmm log %(see"] = { "--all" },
      ["%-%-json is nothing for lmm log show"] = { "1", "--json" },
      ["%-%-older is nothing for lmm log off"] = { "off", "--older", "1d" },
      ["show takes the ID of an exchange"] = { "show" },
      ["an ID is a number"] = { "show", "x" }, ["whole number from 1 on"] = { "-n", "0" },
      ["not '1e5'"] = { "show", "1e5" }, ["not '9007199254740993'"] = { "show", "9007199254740993" },
      ["'99999999999999999999' is too large"] = { "-n", "99999999999999999999" },
    } do
      complained(lmm { "log", (table.unpack or unpack)(words) }, 2, pattern) -- luacheck: ignore
    end
    complained(lmm { "log" }, 1, "nothing has been logged yet")
    complained(lmm({ "log" }, nil, { XDG_STATE_HOME = "", HOME = "" }), 1, "neither %$XDG_STATE_HOME nor %$HOME")
    answered(lmm { "ask", "a" })
    complained(lmm { "log", "9" }, 1, "there is no exchange 9")
  end)

  it("shows what a program has added with a part of a second and of a token", function()
    local logs = require "lmm.log"
    answered(lmm { "ask", "a" })
    local opened = assert(logs.open(folder .. "/lmm/log.db"))
    assert(opened:add { server = server.url, time = 1.5, request = { messages = { { role = "user", content = "b" } } },
      reply = { text = "c", usage = { prompt_tokens = 1.5, completion_tokens = 2 } } })
    opened:close()
    assert.same({ 1, 2 }, ids())
    assert.matches("user:\nb\n", log("show", "2"))
  end)
end)
