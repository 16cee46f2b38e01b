-- The chat with a reader that is handed in: entries, commands, attachments, and what is shown.
local chats = require "spec.support.chat"
local commands = require "lmm.cli.chat.commands"
local completion = require "lmm.cli.chat.completion"
local histories = require "lmm.cli.chat.history"
local mock = require "lmm.mock"
local raw = require "spec.support.raw"
local replies = require "spec.support.replies"
local shell = require "spec.support.shell"

local PICTURE = "spec/media/picture.png"

local server, folder

setup(function() server, folder = chats.surroundings(PICTURE) end)

teardown(function()
  server.stop()
  shell.run("rm -rf %s", folder)
end)

local function run(lines, opts) return chats.run(server.url, lines, opts) end

describe("an entry", function()
  for _, row in ipairs {
    { "a line", { "one" }, "question: one" },
    { "goes on behind a backslash", { "one\\", "two" }, "question: one\ntwo" },
    { "may end in two of them", { "one\\\\" }, "question: one\\\\" },
    { "stands between quotes", { '"""', "one", "", 'two"""' }, "question: one\n\ntwo" },
    { "stands between quotes on one line", { '"""/help"""' }, "question: /help" },
    { "begins behind the quotes", { '"""one', '/two', '"""' }, "question: one\n/two" },
    { "was pasted", { "one\n/two\n" }, "question: one\n/two" },
    { "begins with a space, and is no command", { " /help" }, "question:  /help" },
    { "is a path in a sentence", { "/etc/hosts has what in it?" }, "question: /etc/hosts has what in it?" },
  } do
    it(row[1], function()
      local chat = run(row[2])
      assert.equal(row[3] .. "\n", chat.out)
      assert.equal("", chat.said)
      assert.equal(1, #chat.reader.remembered)
    end)
  end

  it("that is empty asks nothing", function() assert.equal("", run({ "", "   " }).out) end)

  it("is dropped by Ctrl-C, and the chat goes on", function()
    local chat = run { "one\\", { "sigint" }, '"""', { "sigint" }, { "sigint" }, "two" }
    assert.equal("question: two\n", chat.out)
    assert.is_nil(chat.ended)
  end)

  it("that is no text is refused", function()
    local chat = run { "a\0b", "\255\254", "GIF89a\1\2", "fine" }
    assert.equal("question: fine\n", chat.out)
    assert.equal(3, select(2, chat.said:gsub("holds bytes that are no text", "")))
  end)

  it("that was pasted and held a key of the terminal is refused", function()
    local chat = run { "one\\", { "pasted" }, "fine" }
    assert.equal("question: fine\n", chat.out)
    assert.matches("holds bytes that are no text", chat.said)
  end)

  it("ends the chat where another signal comes", function()
    assert.equal("sigterm", run({ "one", { "sigterm" }, "two" }).ended)
  end)
end)

describe("what is shown", function()
  it("steers no terminal", function()
    local chat = chats.answered { "a\27[2Jb\27]0;title\7c\8d\127", "\194\155", "31m e\r", "\nf\tg\r\r\n" }
    assert.equal("a^[[2Jb^[]0;title^Gc^Hd^?<U+009B>31m e\nf\tg^M\n", chat.out)
  end)

  local THOUGHT = { { reasoning = "hm\27[m" }, { reasoning = "m" }, "yes" }

  it("is dim where it is reasoning", function()
    assert.equal("\27[2mhm^[[m\27[22m\27[2mm\27[22m\nyes\n", chats.answered(THOUGHT, { is_terminal = true }).out)
  end)

  for _, row in ipairs { { "dumb" }, { "xterm", "1" } } do
    it("says what is reasoning where nothing may be dim: " .. table.concat(row, " "), function()
      local chat = chats.answered(THOUGHT, { is_terminal = true, term = row[1], no_color = row[2] })
      assert.equal("[reasoning]\nhm^[[mm\n[answer]\nyes\n", chat.out)
    end)
  end

  it("is the answer alone where no terminal is", function() assert.equal("yes\n", chats.answered(THOUGHT).out) end)

  it("says what was cut", function()
    local chat = run { "/set max_tokens 2", "one two three" }
    assert.matches("%[the answer is cut: it reached the most tokens %(/set max_tokens N%)%]", chat.said)
  end)
end)

describe("the commands", function()
  local editor = require "lmm.cli.chat.editor"
  local original = editor.command

  after_each(function() editor.command = original end)

  --- Has a script be the user's editor, which is given the file.
  local function edit_by(script)
    local path = shell.write(folder .. "/editor", script .. "\n")
    editor.command = function() return "sh " .. path end
  end

  it("have each a word of help, in 80 columns and in 40", function()
    for _, width in ipairs { 80, 40, 20 } do
      local help = run({ "/help" }, { columns = width }).out
      for _, command in ipairs(commands.list()) do
        assert(help:find("/" .. command.name, 1, true), command.name)
        assert.matches("%.$", command.help)
      end
      if width >= 40 then
        for line in help:gmatch "[^\n]+" do assert(#line < width, line) end
      end
    end
    assert.matches("^/undo \nForget", run({ "/help undo" }).out)
  end)

  it("that are none are told", function()
    assert.matches("there is no command /foo", run({ "/foo" }).said)
    assert.matches("did you mean /retry", run({ "/ret" }).said)
    local chat = run { "one", "/undo 3", "/quit now", "/retry the last" }
    assert.equal(3, select(2, chat.said:gsub("lmm: /%a+ takes nothing behind it", "")))
    assert.equal(1, chats.count(chat.session))
  end)

  it("undo, retry and ask again", function()
    local chat = run { "one", "two", "/undo", "three", "/retry", "/undo", "/undo", "/undo" }
    assert.equal("question: one\nquestion: two\nturn 2, after 2 messages\nquestion: three\nturn 2, after 2 messages\n"
      .. "question: three\nturn 2, after 2 messages\n", chat.out)
    assert.matches("taken back: two\nthe last question is now: one", chat.said)
    assert.matches("lmm: there is no question yet\n$", chat.said)
  end)

  it("edit a question by the user's editor, its media kept", function()
    edit_by "sed -i 's/What/Where/' \"$1\""
    local chat = run { "/attach " .. PICTURE, "What?", "more", "/edit 1", "/edit 7", "/edit x",
      "/edit 99999999999999999999", "/log 99999999999999999999" }
    assert.matches("\nquestion: Where%?\n$", chat.out)
    assert.equal(1, chats.count(chat.session))
    assert.same({ "Where?" }, { chat.session:chat():question(1)[1] })
    assert.equal("image", chat.session:chat():question(1)[2].kind)
    assert.matches("there is no question 7", chat.said)
    assert.equal(2, select(2, chat.said:gsub("/edit takes the number of a question", "")))
    assert.matches("lmm: /log takes how many exchanges to show\n$", chat.said)
    edit_by "false"
    assert.matches("ended with a failure", run({ "a", "/edit" }).said)
  end)

  it("leave nothing of what an editor keeps beside the file", function()
    local seen = folder .. "/seen"
    edit_by("cp $1 $1~; cp $1 ${1%/*}/.swap; echo ${1%/*} >" .. seen)
    run { "one", "/edit" }
    assert.equal("gone\n", shell.output(("test -d $(cat %s) || echo gone"):format(seen)))
  end)

  it("ask a changed question again that failed", function()
    edit_by "sed -i 's/t/T/;s/^/x/' \"$1\""
    local failing = { "one", "two", '/set mock {"status":400}', "/edit 1", "/set mock" }
    local function questions(...)
      local chat = run({ failing[1], failing[2], failing[3], failing[4], failing[5], ... }).session:chat()
      return { chat:question(1)[1], (chat:question(2) or {})[1] }
    end
    assert.same({ "xone" }, questions "/retry")
    assert.same({ "xxone" }, questions "/edit")
    assert.same({ "xone" }, questions("/undo", "/edit"))
    assert.same({ "one", "two" }, questions("/fork other", "/retry"))
    assert.same({ "xone" }, questions("/edit 1", "/retry"))
  end)

  it("fork and switch", function()
    local chat = run { "one", "/fork other", "two", "/switch main", "three", "/switch", "/switch gone", "/fork a b",
      "/fork other" }
    assert.same({ "> ", "> ", "other > ", "other > ", "> " },
      chats.first(chat.reader.prompts, 5))
    assert.matches("\nquestion: three\nturn 2, after 2 messages\n%* main: three\n  other: two\n$", chat.out)
    assert.matches("no conversation 'gone'", chat.said)
    assert.matches("takes a name of letters", chat.said)
    assert.matches("there is a conversation 'other' already", chat.said)
  end)

  it("set fields, list them and take them away", function()
    local chat = run { '/set mock {"reply":"ok"}', "/set temperature=0.2", "/set", "a", "/set mock", "b",
      "/set temperature",
      "/set", "/set timeout soon", "/set stream true", "c" }
    assert.equal('mock {"reply":"ok"}\ntemperature 0.2\nok\nquestion: b\nturn 2, after 2 messages\nquestion: c\n'
      .. 'turn 3, after 4 messages\n', chat.out)
    assert.matches("nothing is set", chat.said)
    assert.matches("lmm: [^\n]*timeout", chat.said)
    assert.matches("/set does not set 'stream'", chat.said)
  end)

  it("change the system message and the model", function()
    local chat = run { "/system Be brief.", "a", "/system", "/model", "/model none", "b", "/model mock", "c" }
    assert.equal("* mock\n", chat.out:match "%*[^\n]*\n")
    assert.matches("lmm: HTTP 404 .*'?none'?", chat.said)
    assert.matches("there is no system message", chat.said)
    assert.equal(2, chats.count(chat.session))
    assert.equal("user", chat.session:chat().messages[1].role)
  end)

  it("ask another server, with all conversations", function()
    local second = assert(mock.start { delay = 0, model = "second" })
    finally(second.stop)
    local chat = run { "one", "/fork x", "/model mock", "/server " .. second.url, "two", "/switch main", "three",
      "/server http://127.0.0.1:9/v1", "four", "/server" }
    assert.matches("asked is http://[^\n]* from now on, and of its models second\n", chat.said)
    assert.matches("lmm: cannot reach http://127.0.0.1:9", chat.said)
    assert.equal("second", chat.session.last.model)
    assert.equal(3, chats.count(chat.session))
    assert.equal(second.url .. "\n", chat.out:match "http[^\n]*\n$")
  end)

  it("have answers follow a schema, and be free again", function()
    local path = shell.write(folder .. "/schema.json", '{"type":"object","properties":{"a":{"type":"integer"}},'
      .. '"required":["a"]}')
    local chat = run { "/schema " .. path, "a", "/schema", "b", "/schema gone.json" }
    assert.matches('^{[^\n]*"a"[^\n]*}\nquestion: b\n', chat.out)
    assert.matches("answers are free\nlmm: cannot read the schema", chat.said)
  end)

  it("give the model tools", function()
    local path = shell.write(folder .. "/tool.lua", 'return { name = "now", run = function() return "noon" end }')
    local chat = run({ "/tool " .. path, "call now", "/tool gone.lua", "/tool" }, { is_terminal = true,
      no_color = "1" })
    assert.matches("%[now {}%]\ntool now: noon\n", chat.out)
    assert.matches("lmm: cannot read the tools from gone.lua", chat.said)
  end)

  it("save, load and export", function()
    local path, text = folder .. "/chat.json", folder .. "/chat.md"
    local chat = run { "/attach " .. PICTURE, "one", "/save " .. path, "two", "/save", "/load " .. path, "three",
      "/export " .. text, "/export " .. text, "n", "/export " .. text, "y", "/export", "/load gone", "/save" }
    assert.same({ "chat", 3 }, { chat.session.name, chats.count(chat.session) })
    assert.matches("^## User\n\none\n\n!%[picture.png%]", shell.read(text))
    assert.matches("## User\n\none\n\n!", chat.out)
    assert.matches("was left as it is", chat.said)
    assert.matches("cannot load the conversation in 'gone'", chat.said)
    run { "one", "/export " .. folder .. "/chat2.json" }
    assert.matches('^%[{[^\n]*"content":"one"', shell.read(folder .. "/chat2.json"))
  end)

  it("count the tokens of a conversation that has not begun", function()
    local chat = run { "/tokens" }
    assert.equal("the conversation has not begun\n", chat.said)
    assert.matches("^used so far: 0 tokens", chat.out)
  end)

  for status, said in pairs { [404] = "^this server counts no tokens of conversations\n$",
    [401] = "^lmm: HTTP 401 from [^\n]*: who are you%?" } do
    it("say where tokens are not counted for " .. status, function()
      local refusal = ("HTTP/1.1 %d No\r\nContent-Length: 12\r\n\r\nwho are you?"):format(status)
      local other = raw.start { { { await = "request" }, { send = chats.HEAD .. replies.delta "yes" .. chats.END } },
        { { await = "request" }, { send = refusal } } }
      local chat = chats.run(other.url, { "q", "/tokens" }, { client = { model = "m", dialect = "generic" } })
      other:stop()
      assert.matches(said, chat.said)
    end)
  end

  it("count tokens and cost", function()
    local chat = run { "one", "/tokens", "/cost", "/cost 1 2", "/cost x" }
    assert.matches("the conversation has %d+ tokens, of at most 32768\nused so far: %d+ tokens of prompts and 2 of "
      .. "answers, in 1 answer\n", chat.out)
    local prompt = tonumber(chat.out:match "used so far: (%d+)")
    assert.matches(("%d tokens of prompts, 2 of answers: %s\n$"):format(prompt, ("%.6f"):format((prompt + 4) / 1e6)
      :gsub("0+$", "")), chat.out)
    assert.matches("prices are not known", chat.said)
    assert.matches("/cost takes what a million", chat.said)
  end)

  it("copy by OSC 52", function()
    local chat = run({ "/copy", "one", "/copy", '/set mock {"reply":"x\\n```lua\\nprint(1)\\n```\\ny"}', "two",
      "/copy code",
      "/copy all" }, { is_terminal = true })
    assert.matches("\27%]52;c;cXVlc3Rpb246IG9uZQ==\27\\", chat.out)
    assert.matches("\27%]52;c;cHJpbnQoMSk=\27\\", chat.out)
    assert.matches("there is no answer yet", chat.said)
    assert.matches("there is no terminal", run({ "one", "/copy" }).said)
  end)

  it("copy in a tmux that does not answer", function()
    local program = folder .. "/chat.lua"
    shell.write(program, ([[
      local chat = require("spec.support.chat").run(%q, { '/set mock {"reply":"' .. ("x"):rep(70000) .. '"}', "a",
        "/copy", "/copy" }, { is_terminal = true })
      print(select(2, chat.said:gsub("copied: 70000 bytes", "")))]]):format(server.url))
    shell.write(folder .. "/tmux", "#!/bin/sh\nexit 1\n")
    shell.run("chmod +x %s/tmux", folder)
    assert.equal("2\n", shell.output(("TMUX=x PATH=%s:$PATH %s %s"):format(folder, shell.quote(arg[-1]), program)))
  end)

  it("are advised where the model calls a tool that is not there", function()
    local call = { index = 0, id = "a", type = "function", ["function"] = { name = "f", arguments = "{}" } }
    local chat = chats.answered({ { tool_calls = { call } } }, { more = { "next", "/undo" } })
    assert.matches("%[the model calls 1 tool%]\nlmm: [^\n]* give its tool by /tool FILE and ask again by /retry, or "
      .. "take the question back by /undo\ntaken back: q\n", chat.said)
  end)

  it("quit", function() assert.equal("", run({ "/quit", "one" }).out) end)
end)

describe("Ctrl-C", function()
  --- A chat of which the first answer comes in part; the signal comes once that is there.
  local function stopped(deltas, more)
    local bytes = chats.HEAD
    for _, delta in ipairs(deltas) do bytes = bytes .. replies.delta(delta) end
    local other = raw.start { { { await = "request" }, { send = bytes }, { await = "close" } },
      { { await = "request" }, { send = chats.HEAD .. replies.delta "second" .. chats.END } } }
    local lines = { "/attach " .. PICTURE, "q" }
    for _, line in ipairs(more) do lines[#lines + 1] = line end
    local chat = chats.run(other.url, lines, { client = { model = "m", dialect = "generic" },
      on_session = function(session)
      local view = session.screen.view
      local timer = require "luv".new_timer()
      timer:start(5, 5, function()
        local has_come = #deltas == 0 and #other:events() >= 2 or session.is_shown
        if has_come and session.task then
          timer:close()
          session:stop()
        end
      end)
      function session.screen:view()
        local made = view(self)
        local piece = made.piece
        function made.piece(...)
          session.is_shown = true
          return piece(...)
        end
        return made
      end
    end })
    other:stop()
    return chat
  end

  it("keeps the chat, with what had come of the answer", function()
    local chat = stopped({ "one ", "two" }, { "more" })
    assert.equal("one two\nsecond\n", chat.out)
    assert.matches("%[stopped: what came stays", chat.said)
    local messages = chat.session:chat().messages
    assert.same({ "user", "assistant", "user", "assistant" }, { messages[1].role, messages[2].role, messages[3].role,
      messages[4].role })
    assert.same({ "q", "one two" }, { messages[1].content[1].text, messages[2].content })
    assert.equal("image", messages[1].content[2].kind)
    assert.equal("> ", chat.reader.prompts[3])
  end)

  it("before anything came leaves the chat as it was", function()
    local chat = stopped({}, { "/retry" })
    assert.equal("second\n", chat.out)
    assert.matches("%[stopped: the chat is as it was; /retry asks again%]", chat.said)
    assert.equal("+1 > ", chat.reader.prompts[3])
    assert.equal(1, chats.count(chat.session))
  end)
end)

describe("the history", function()
  it("keeps what a chat enters after another has cut the file down", function()
    local path = folder .. "/history"
    local first = histories.open(path)
    first:add "before"
    shell.write(path, ("old\n"):rep(2001), "ab")
    local second = histories.open(path)
    first:add "after"
    second:add "last"
    local entries = histories.open(path):entries()
    assert.same({ 1002, "old", "after", "last" }, { #entries, entries[1], entries[1001], entries[1002] })
  end)
end)

describe("completion", function()
  local complete

  setup(function()
    local session = run({ "/fork other" }).session
    complete = completion.new(session)
  end)

  for _, row in ipairs {
    { "/ret", { "/retry" }, 1 }, { "/mo", { "/model" }, 1 }, { "/s", { "/save", "/schema", "/server", "/set", "/switch",
      "/system" }, 1 }, { "/nothing", {}, 1 }, { "/switch o", { "other" }, 9 }, { "/help qu", { "quit" }, 7 },
    { "/set temp", { "temperature" }, 6 }, { "/set temperature 0", {}, 6 }, { "/undo x", {}, 7 },
    { "/attach spec/media/picture.p", { "spec/media/picture.png" }, 9 }, { "/attach exampl", { "examples/" }, 9, true },
    { "/system @spec/media/picture.p", { "@spec/media/picture.png" }, 9 },
    { "./spec/media/picture.p", { "./spec/media/picture.png" },
      1 }, { "what is", {}, 6 },
  } do
    it("of " .. row[1], function()
      local found, at, is_open = complete(row[1])
      assert.same({ row[2], row[3], row[4] or false }, { found, at, is_open or false })
    end)
  end

  it("of paths knows spaces and ~", function()
    assert.same({ folder .. "/a picture.png" }, (complete("/attach " .. folder .. "/a pi")))
    assert(#complete "/attach ~/" >= 0)
  end)
end)
