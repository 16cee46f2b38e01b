-- `lmm chat` as it is: in a terminal, which tmux plays, and with lines from a pipe or a file.
local cli = require "spec.support.cli"
local mock = require "lmm.mock"
local process = require "spec.support.process"
local shell = require "spec.support.shell"
local terminal = require "spec.support.terminal"

local PICTURE = "examples/picture.jpg"

local server, program

setup(function()
  server = assert(mock.start { delay = 0.02 })
  program = cli.new { OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "", LMM_LOG = "off" }
end)

teardown(function()
  server.stop()
  program.remove()
end)

--- Calls `fn` with a terminal in which a chat runs that waits for its first line.
local function chat(words, opts, fn)
  opts.env = opts.env or {}
  for name, value in pairs { OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "", LUA_PATH = package.path,
    LUA_CPATH = package.cpath, LMM_LOG = "off" } do opts.env[name] = opts.env[name] or value end
  table.insert(words, 1, "chat")
  local screen = terminal.start(program.command(words), opts)
  local ok, problem = pcall(function()
    screen:wait_for "> ?$"
    fn(screen)
  end)
  local shown = not ok and screen:text()
  screen:stop()
  if not ok then error(tostring(problem) .. "\n" .. shown, 0) end
end

--- Waits for the next prompt behind a text.
local function wait_prompt(screen, text)
  return screen:wait_for(text:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0") .. "[^\n]*\n> ?$")
end

local function in_terminal(name, words, opts, fn)
  it(name, function() chat(words, opts, fn) end)
end

describe("lmm chat in a terminal", function()
  in_terminal("completes, attaches, asks and ends", {}, {}, function(screen)
    screen:type "/att"
    screen:press "Tab"
    screen:wait_for "> /attach"
    screen:type "examples/pict"
    screen:press("Tab", "Enter")
    screen:wait_for "1  examples/picture.jpg: image/jpeg, 1280 x 854 pixels, 104,316 bytes\n%+1 >"
    screen:enter "What?"
    wait_prompt(screen, "question: What?")
    screen:enter "And?"
    wait_prompt(screen, "turn 2, after 2 messages")
    screen:press "C-d"
    assert.equal(0, screen:status())
    assert.matches(" echo .*", shell.read(screen.folder .. "/stty"))
    assert.matches(" icanon", shell.read(screen.folder .. "/stty"))
  end)

  in_terminal("Ctrl-C stops answers and drops lines, again and again", {}, {}, function(screen)
    for i = 1, 3 do
      screen:enter(("begin%d "):format(i) .. ("and go on "):rep(40))
      screen:wait_for(("question: begin%d and"):format(i))
      screen:press "C-c"
      process.wait_for("the stop", function()
        return select(2, screen:text():gsub("%[stopped: what came stays", "")) == i
      end)
      screen:type "dropped"
      screen:wait_for "> dropped$"
      screen:press "C-c"
      process.wait_for("the drop", function()
        return select(2, screen:text():gsub("> dropped[^\n]*\n%[Ctrl%-D or /quit ends the chat", "")) == i
      end)
    end
    screen:enter "last"
    assert.falsy(wait_prompt(screen, "turn 4, after 6 messages"):find "question: dropped")
    screen:enter "/quit"
    assert.equal(0, screen:status())
  end)

  in_terminal("Ctrl-C leaves a search and a count, too", {}, {}, function(screen)
    screen:enter "first"
    wait_prompt(screen, "question: first")
    screen:press "C-r"
    screen:type "fir"
    screen:wait_for "%(reverse%-i%-search%)`fir': first"
    screen:press "C-c"
    screen:wait_for "ends the chat%]\n"
    screen:enter "second"
    assert.matches("question: second", wait_prompt(screen, "turn 2, after 2 messages"))
    screen:press("Escape", "3")
    screen:wait_for "%(arg: 3%)"
    screen:press "C-c"
    screen:wait_for "%(arg: 3%)[^\n]*\n%[Ctrl%-D or /quit ends the chat%]\n"
    screen:enter "xyz"
    assert.matches("question: xyz\n", wait_prompt(screen, "turn 3, after 4 messages"))
    screen:enter "/quit"
    screen:status()
  end)

  in_terminal("takes what is pasted as one question", {}, {}, function(screen)
    screen:paste "one\n/undo\n\tthree"
    screen:wait_for "three"
    screen:press "Enter"
    assert.matches("question: one\n/undo\n", wait_prompt(screen, "three"))
    screen:paste "a\27b"
    screen:press "Enter"
    screen:wait_for "question: a"
    screen:enter "/quit"
    screen:status()
  end)

  in_terminal("takes what is pasted while an answer comes as one question behind it", {}, {}, function(screen)
    local long = (("word"):rep(25) .. " "):rep(60) -- few words, since the answer has them one by one
    screen:enter("begin " .. ("and go on "):rep(40))
    screen:wait_for "question: begin and"
    screen:type "typed,"
    screen:paste(" one\n/undo\n\t" .. long .. "three")
    local answer = screen:wait_for "> typed, one\n/undo\n%s+word.*three":match "question: begin(.-) ?\n> typed"
    assert.equal((" and go on"):rep(40), answer)
    screen:press "Enter"
    assert(wait_prompt(screen, "turn 2, after 2 messages"):find(long .. "three", 1, true))
    screen:enter "/quit"
    screen:status()
    assert.matches(" echo .*", shell.read(screen.folder .. "/stty"))
    assert.matches(" icanon", shell.read(screen.folder .. "/stty"))
  end)

  it("leaves what was typed ahead, where a picture is to be shown", function()
    local screen = terminal.start("read line; " .. program.command { "chat", "-i", PICTURE }, { env = {
      OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "", LUA_PATH = package.path, LUA_CPATH = package.cpath,
      LMM_LOG = "off" } })
    finally(function() screen:stop() end)
    screen:type "go\nahead" -- what stands behind the line is there when the chat begins
    screen:wait_for "\n%+1 > ahead$"
    screen:press "Enter"
    wait_prompt(screen, "question: ahead")
  end)

  --- Calls `fn` with a terminal in which a shell runs a chat, and would go on with what the chat left behind.
  local function in_shell(fn)
    local run = [[sh -ic '%s chat; echo "status $?"; exec sleep 600']]
    local screen = terminal.start("exec " .. run:format(program.command({}):gsub("'", "")), { env = {
      OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "", LUA_PATH = package.path, LUA_CPATH = package.cpath,
      LMM_LOG = "off" } })
    finally(function() screen:stop() end)
    screen:wait_for "> ?$"
    fn(screen)
  end

  local KEYS = { "\3", "\26", "\28" }

  --- Waits until so many pastes have been refused, with the prompt behind the last refusal.
  local function wait_refused(screen, count)
    process.wait_for("the refusal", function()
      local text = screen:text()
      return select(2, text:gsub("holds bytes that are no text", "")) == count and text:find "sends a file\n> ?$"
    end)
  end

  it("takes no pasted byte for a key", function()
    in_shell(function(screen)
      local count = 0
      for _, rest in ipairs { "two\nthree", ("two\n"):rep(100) .. "%sthree" } do
        for _, byte in ipairs(KEYS) do
          count = count + 1
          screen:paste("one" .. byte .. rest:format(byte))
          wait_refused(screen, count)
        end
      end
      screen:enter "the last" -- the first letter may end a sequence of keys of which the rest was thrown away
      assert.falsy(screen:wait_for "question: [^\n]*last\n":find "question: two")
    end)
  end)

  it("takes no pasted byte for a key while an answer comes", function()
    in_shell(function(screen)
      for i, byte in ipairs(KEYS) do
        screen:enter(("begin%d "):format(i) .. ("and go on "):rep(20))
        screen:wait_for(("question: begin%d and"):format(i))
        screen:paste("one" .. byte .. "two\n/quit\nthree")
        wait_refused(screen, i)
      end
      screen:enter "the last"
      local text = screen:wait_for "question: [^\n]*last\n"
      assert.falsy(text:find "question: two")
      assert.falsy(text:find "%[stopped")
    end)
  end)

  in_terminal("is not suspended where no shell could go on with it", {}, {}, function(screen)
    screen:type "half"
    screen:wait_for "> half$"
    screen:press "C-z"
    shell.run "sleep 0.3" -- what comes at once would be a paste's
    screen:enter " a question"
    wait_prompt(screen, "question: half a question")
  end)

  --- Calls `fn` with a terminal in which an interactive bash runs a chat.
  local function in_bash(fn)
    local screen = terminal.start("exec env PS1='$ ' bash --norc -i", { env = { OPENAI_BASE_URL = server.url,
      OPENAI_API_KEY = "", LUA_PATH = package.path, LUA_CPATH = package.cpath, LMM_LOG = "off" } })
    finally(function() screen:stop() end)
    screen:wait_for "%$ ?$"
    screen:enter(program.command { "chat" })
    screen:wait_for "> ?$"
    fn(screen)
  end

  it("is suspended by Ctrl-Z, and goes on in the line", function()
    in_bash(function(screen)
      screen:type "half"
      screen:wait_for "> half$"
      screen:press "C-z"
      screen:wait_for "Stopped[^\n]*\n%$ ?$"
      screen:enter "fg"
      screen:wait_for "%$ fg\n[^\n]*chat"
      screen:enter " a question"
      wait_prompt(screen, "question: half a question")
    end)
  end)

  it("is suspended by Ctrl-Z while an answer comes, and shows what is typed behind it", function()
    in_bash(function(screen)
      screen:enter("begin " .. ("and go on "):rep(40))
      screen:wait_for "question: begin and"
      screen:press "C-z"
      screen:wait_for "Stopped[^\n]*\n%$ ?$"
      screen:enter "fg"
      screen:wait_for "%$ fg\n[^\n]*chat'\n[^\n]*go"
      screen:type "typed"
      local text = screen:wait_for "> typed$"
      assert.equal(1, select(2, text:gsub("typed", "")))
    end)
  end)

  it("keeps a history for its owner alone", function()
    local state = os.tmpname()
    os.remove(state)
    chat({}, { env = { XDG_STATE_HOME = state } }, function(screen)
      screen:enter "first"
      wait_prompt(screen, "question: first")
      screen:paste "two\nlines"
      screen:press "Enter"
      wait_prompt(screen, "turn 2, after 2 messages")
      screen:enter " secret"
      wait_prompt(screen, "turn 3, after 4 messages")
      screen:enter "/quit"
      screen:status()
    end)
    chat({}, { env = { XDG_STATE_HOME = state } }, function(screen)
      screen:press("Up", "Up", "Enter")
      wait_prompt(screen, "question: two\nlines")
      screen:press "C-d"
      screen:status()
    end)
    local path = state .. "/lmm/history"
    assert.equal("first\ntwo\\nlines\n/quit\ntwo\\nlines\n", shell.read(path))
    assert.equal("600\n", shell.output("stat -c %a " .. path))
    shell.run("rm -rf %s", state)
  end)

  in_terminal("says once that the history cannot be kept", {}, { env = { XDG_STATE_HOME = "/dev/null" } },
  function(screen)
    screen:enter "one"
    local text = wait_prompt(screen, "question: one")
    assert.equal(1, select(2, text:gsub("%[the history is not kept: '/dev/null/lmm/history' cannot be written: Not a "
      .. "directory%]", "")))
  end)

  in_terminal("says on a line of its own that the log cannot be used", {}, { env = { LMM_LOG = "/dev/null/log" } },
  function(screen)
    screen:enter "one"
    local text = screen:wait_for "is said once%)\n> ?$"
    assert.matches("\nquestion: one\nlmm: the log '/dev/null/log' cannot be used", text)
    screen:enter "/quit"
    screen:status()
    screen = terminal.start(program.command { "ask", "two" }, { env = { OPENAI_BASE_URL = server.url,
      OPENAI_API_KEY = "", LUA_PATH = package.path, LUA_CPATH = package.cpath, LMM_LOG = "/dev/null/log" } })
    finally(function() screen:stop() end)
    assert.equal(0, screen:status())
    assert.matches("^question: two\nlmm: the log '/dev/null/log' cannot be used[^\n]*$", screen:text())
  end)

  it("lmm ask reads its question up to the first Ctrl-D", function()
    local screen = terminal.start(program.command { "ask" }, { env = { OPENAI_BASE_URL = server.url,
      OPENAI_API_KEY = "", LUA_PATH = package.path, LUA_CPATH = package.cpath, LMM_LOG = "off" } })
    finally(function() screen:stop() end)
    screen:wait_for "Ctrl%-D ends it"
    screen:enter "typed"
    screen:press "C-d"
    assert.equal(0, screen:status())
    assert.matches("question: typed$", screen:text())
  end)

  in_terminal("copies the answer", {}, {}, function(screen)
    screen:tmux "set -s set-clipboard on"
    screen:enter "one"
    wait_prompt(screen, "question: one")
    screen:enter "/copy"
    screen:wait_for "copied: 13 bytes"
    process.wait_for("the buffer", function() return screen:tmux "show-buffer" == "question: one" end)
  end)

  it("edits by $VISUAL", function()
    local editor = program.write("editor", "#!/bin/sh\nsed -i 's/one/two/' \"$2\"\n")
    chat({}, { env = { VISUAL = "sh " .. editor .. " -x" } }, function(screen)
      screen:enter "one"
      wait_prompt(screen, "question: one")
      screen:enter "/edit"
      wait_prompt(screen, "question: two")
    end)
  end)

  in_terminal("says that there is no room for the editor", {}, { env = { TMPDIR = "/dev/null/x", VISUAL = "true" } },
  function(screen)
    screen:enter "/edit"
    screen:wait_for "\nlmm: nothing temporary can be made in /dev/null/x: Not a directory %(%$TMPDIR names"
  end)

  in_terminal("help fits into 40 columns", {}, { width = 40, height = 100 }, function(screen)
    screen:enter "/help"
    screen:wait_for "/quit\n    End the chat"
    for line in screen:tmux("capture-pane -p"):gmatch "[^\n]+" do assert(#line < 40 or line:find "^%[", line) end
  end)

  for _, row in ipairs { { "TERM=dumb", env = { TERM = "dumb" } }, { "without lua-readline", is_missing = true } } do
    it("reads plain lines: " .. row[1], function()
      local env = row.env or {}
      if row.is_missing then
        local path = program.write("readline.lua", "error \"module 'readline' not found\"")
        env.LUA_PATH = path:gsub("readline%.lua$", "?.lua") .. ";" .. package.path
      end
      chat({}, { env = env }, function(screen)
        if row.is_missing then screen:wait_for "no line editing: the Lua module readline is missing" end
        screen:enter("begin " .. ("and go on "):rep(100))
        screen:wait_for "question: begin and"
        screen:press "C-c"
        screen:wait_for "%[stopped"
        screen:type "dropped"
        screen:wait_for "> dropped$"
        screen:press "C-c"
        screen:wait_for "Ctrl%-D or /quit"
        screen:paste "two\nlines\n"
        wait_prompt(screen, "question: two\nlines\nturn 2, after 2 messages")
        screen:press "C-d"
        assert.equal(0, screen:status())
      end)
    end)
  end

  for _, row in ipairs { { true, {} }, { false, { NO_COLOR = "1" } } } do
    in_terminal(row[1] and "dims what is no answer" or "has no styles with NO_COLOR", {}, { env = row[2] },
    function(screen)
      assert.equal(row[1], screen:text(true):find "\27%[2m" ~= nil)
    end)
  end

  for _, row in ipairs { { "TERM", 143 }, { "HUP", 129 } } do
    in_terminal("ends in good order by SIG" .. row[1], {}, {}, function(screen)
      screen:enter "one"
      wait_prompt(screen, "question: one")
      screen:type "begun"
      screen:wait_for "> begun"
      local around = screen:tmux "display-message -p '#{pane_pid}'":match "%d+"
      shell.run("kill -%s %d", row[1], process.children(around)[1])
      assert.equal(row[2], screen:status())
      assert.matches(" icanon", shell.read(screen.folder .. "/stty"))
    end)
  end
end)

describe("lmm chat without a terminal", function()
  it("takes each line as a question", function()
    local run = program.run({ "chat" }, "one\n/undo\ntwo\n" .. PICTURE .. "\n")
    assert.equal("question: one\nquestion: two\nquestion: " .. PICTURE .. "\nturn 2, after 2 messages\n", run.out)
    assert.equal("taken back: one\nthe conversation is empty\n", run.err)
    assert.equal(0, run.status)
  end)

  it("goes on behind what fails, and ends with 1", function()
    local run = program.run({ "chat", "-p", "retry=false" }, '/nothing\n/set mock {"status":400}\na\n/set mock\nb\n')
    assert.equal("question: b\n", run.out)
    assert.matches("^lmm: there is no command /nothing[^\n]*\nlmm: HTTP 400[^\n]*\nmock is the server's to choose\n$",
      run.err)
    assert.equal(1, run.status)
  end)

  it("refuses what is no text", function()
    local run = program.shell(program.command { "chat" } .. " <" .. PICTURE .. " >$out 2>$err; echo $? >$status")
    local out = cli.complained(run, 1, "holds bytes that are no text, and is not asked: /attach PATH sends a file")
    assert.equal("", out)
  end)

  it("is ended by Ctrl-C, with what had come", function()
    local questions = program.write("questions", ("one and "):rep(200) .. "\ntwo\n")
    local run = program.shell(program.command { "chat" } .. " <" .. questions .. [[ >$out 2>$err & pid=$!
      until grep -q "question: one" $out; do sleep 0.02; done; kill -INT $pid; wait $pid; echo $? >$status]])
    assert.equal(130, run.status)
    assert.matches("^question: one [^\n]*\n$", run.out)
  end)

  it("refuses a line without an end", function()
    local run = program.shell("timeout 60 " .. program.command { "chat" }
      .. " </dev/zero >$out 2>$err; echo $? >$status")
    cli.complained(run, 1, "more than 16 MiB")
  end)

  it("reads a pipe as it comes", function()
    local run = program.shell("{ echo one; sleep 0.1; printf two; } | " .. program.command { "chat" }
      .. " >$out 2>$err; echo $? >$status")
    assert.equal("question: one\nquestion: two\nturn 2, after 2 messages\n", cli.answered(run))
    run = program.shell(program.command { "chat" } .. " </dev/null >$out 2>$err; echo $? >$status")
    assert.equal("", cli.answered(run))
  end)

  it("has media, a system message and fields from the beginning", function()
    local run = program.run({ "chat", "-i", PICTURE, "-s", "Be brief.", "-p", "max_tokens=3", "-m", "mock", "-v" },
      "What?\n")
    assert.equal("image 1: image/jpeg, \n", run.out)
    assert.matches("attached to the next question:\n  1  examples/picture.jpg: image/jpeg", run.err)
    assert.matches("%[mock, %d+%.%d s, %d+ %+ 3 tokens%]\n$", run.err)
  end)

  it("goes on with what was saved", function()
    local path = program.write("saved.json", "")
    assert.equal(0, program.run({ "chat" }, "one\n/save " .. path .. "\n").status)
    local run = program.run({ "chat", "--load", path }, "two\n")
    assert.equal("question: two\nturn 2, after 2 messages\n", cli.answered(run))
    cli.complained(program.run({ "chat", "--load", path, "-s", "x" }, ""), 2, "/system changes that")
    cli.complained(program.run({ "chat", "--load", path, "--continue" }, ""), 2, "give one")
    cli.complained(program.run({ "chat", "--load", "gone" }, ""), 1, "cannot load")
    cli.complained(program.run({ "chat", "-i", "-" }, ""), 2, "where the questions come from")
    cli.complained(program.run({ "chat", "-i", "gone.jpg" }, ""), 1, "cannot read 'gone.jpg'")
    cli.complained(program.run({ "chat", "--pictures", "big" }, ""), 2, "takes auto, kitty")
  end)

  it("goes on with the last conversation in the log, its picture and fields", function()
    if not pcall(require, "luasql.sqlite3") then return pending "lua-sql-sqlite3 is not installed for this Lua" end
    local log = { LMM_LOG = program.write("log.db", "") }
    os.remove(log.LMM_LOG)
    cli.complained(program.run({ "chat", "--continue" }, "", log), 1, "^lmm: %-%-continue: .*nothing has been logged")
    cli.complained(program.run({ "chat" }, "/log\n", log), 1, "nothing has been logged")
    local run = program.run({ "chat", "-i", PICTURE, "-p", "temperature=0.5", "-s", "Be brief." }, "What?\n/log\n", log)
    assert.matches("\nquestion: What%?\n1  [^\n]*  What%?\n$", run.out)
    run = program.run({ "chat", "--continue", "--no-log" }, "/set\nAnd?\n/export\n", log)
    assert.matches("^temperature 0.5\nimage 1: image/jpeg, .*\nquestion: And%?\nturn 2, after 3 messages\n## System\n\n"
      .. "Be brief.\n", run.out)
    assert.equal("", run.err)
  end)

  it("goes on with the server and the model of that conversation, where nothing names another", function()
    if not pcall(require, "luasql.sqlite3") then return pending "lua-sql-sqlite3 is not installed for this Lua" end
    local second = assert(mock.start { delay = 0, model = "second" })
    finally(second.stop)
    local env = { LMM_LOG = program.write("log.db", ""), OPENAI_BASE_URL = "" }
    os.remove(env.LMM_LOG)
    cli.answered(program.run({ "chat", "--url", second.url, "-m", "second" }, "What?\n", env))
    local run = program.run({ "chat", "--continue", "-v" }, "And?\n", env)
    assert.equal("question: And?\nturn 2, after 2 messages\n", run.out)
    assert.matches("%[second, ", run.err)
  end)

  it("asks servers and models of the configuration by name", function()
    local second = assert(mock.start { delay = 0, model = "second" })
    finally(second.stop)
    local config = os.tmpname()
    os.remove(config)
    shell.run("mkdir -p %s/lmm", config)
    shell.write(config .. "/lmm/config.lua", ([[return { servers = { two = { base_url = %q } },
      models = { fast = { server = "two", model = "second", params = { temperature = 0.3 } } } }]]):format(second.url))
    local run = program.run({ "chat", "-v" }, "a\n/model fast\nb\n/set\n/model\n/server " .. server.url
      .. "\nc\n/server two\n/server none\n", { XDG_CONFIG_HOME = config })
    shell.run("rm -r %s", config)
    assert.matches("turn 2, after 2 messages\ntemperature 0.3\n%* second\nquestion: c", run.out)
    assert.matches("%[mock.*asked is [^\n]*\n%[second.*asked is [^\n]*\n%[mock.*asked is [^\n]*second\n"
      .. "lmm: there is no server 'none' in [^\n]* %(there are: two%)\n$", run.err)
    assert.equal(1, run.status)
  end)

  it("says of a server that has no such name what would name it", function()
    local run = program.run({ "chat" }, "/server gpu\n/server gpu:80/v1\n", { XDG_CONFIG_HOME = "/nowhere" })
    assert.same({ 1, "lmm: there is no server 'gpu': a configuration gives servers names, and there is none at "
      .. "/nowhere/lmm/config.lua\nlmm: 'gpu:80/v1' has no scheme: write http://gpu:80/v1 or https://gpu:80/v1\n" },
      { run.status, run.err })
  end)

  it("has the commands in its help", function()
    local help = cli.answered(program.run({ "chat", "--help" }))
    for _, command in ipairs(require("lmm.cli.chat.commands").list()) do
      assert(help:find("\n   /" .. command.name, 1, true), command.name)
    end
    for line in help:gmatch "[^\n]+" do assert(#line <= 80, line) end
  end)
end)
