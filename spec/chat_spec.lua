-- The chat with a reader that is handed in: entries, commands, attachments, and what is shown.
local chats = require "spec.support.chat"
local commands = require "lmm.cli.chat.commands"
local completion = require "lmm.cli.chat.completion"
local mock = require "lmm.mock"
local raw = require "spec.support.raw"
local replies = require "spec.support.replies"
local shell = require "spec.support.shell"

local PICTURE = "spec/media/picture.png"
local HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
local END = replies.delta({}, "stop") .. replies.event "[DONE]"

local server, folder

setup(function()
  server = assert(mock.start { delay = 0 })
  folder = os.tmpname()
  os.remove(folder)
  shell.run("mkdir %s && cp %s %s/'a picture.png'", folder, PICTURE, folder)
end)

teardown(function()
  server.stop()
  shell.run("rm -rf %s", folder)
end)

local function run(lines, opts) return chats.run(server.url, lines, opts) end

--- Runs it against a server that streams these deltas.
local function answered(deltas, opts)
  local bytes = HEAD
  for _, delta in ipairs(deltas) do bytes = bytes .. replies.delta(delta) end
  local other = raw.start { { { await = "request" }, { send = bytes .. END } } }
  opts = opts or {}
  opts.client = { model = "m", dialect = "generic" }
  local ok, chat = pcall(chats.run, other.url, { "q", (table.unpack or unpack)(opts.more or {}) }, opts) -- luacheck: ignore
  other:stop()
  assert(ok, chat)
  return chat
end

local function first(list, n)
  local out = {}
  for i = 1, n do out[i] = list[i] end
  return out
end

--- How many questions the conversation has.
local function count(session)
  local n = 0
  while session:chat():question(n + 1) do n = n + 1 end
  return n
end

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

  it("ends the chat where another signal comes", function()
    assert.equal("sigterm", run({ "one", { "sigterm" }, "two" }).ended)
  end)
end)

describe("what is shown", function()
  it("steers no terminal", function()
    local chat = answered { "a\27[2Jb\27]0;title\7c\8d\127", "\194\155", "31m e\r", "\nf\tg\r\r\n" }
    assert.equal("a^[[2Jb^[]0;title^Gc^Hd^?<U+009B>31m e\nf\tg^M\n", chat.out)
  end)

  local THOUGHT = { { reasoning = "hm\27[m" }, { reasoning = "m" }, "yes" }

  it("is dim where it is reasoning", function()
    assert.equal("\27[2mhm^[[m\27[22m\27[2mm\27[22m\nyes\n", answered(THOUGHT, { is_terminal = true }).out)
  end)

  for _, row in ipairs { { "dumb" }, { "xterm", "1" } } do
    it("says what is reasoning where nothing may be dim: " .. table.concat(row, " "), function()
      local chat = answered(THOUGHT, { is_terminal = true, term = row[1], no_color = row[2] })
      assert.equal("[reasoning]\nhm^[[mm\n[answer]\nyes\n", chat.out)
    end)
  end

  it("is the answer alone where no terminal is", function() assert.equal("yes\n", answered(THOUGHT).out) end)

  it("says what was cut", function()
    local chat = run { "/set max_tokens 2", "one two three" }
    assert.matches("%[the answer is cut: it reached the most tokens %(/set max_tokens N%)%]", chat.said)
  end)
end)

describe("attachments", function()
  it("are listed, sent with the next question, and gone then", function()
    local chat = run { "/attach " .. PICTURE, "/attach https://example.org/x.png", "/detach 2", "What?", "/attach" }
    assert.matches("1  spec/media/picture.png: image/png, %d+ x %d+ pixels, [%d,]+ bytes\n  2  https://example.org/x.png: "
      .. "image, fetched by the server", chat.said)
    assert.matches("detached https://example.org/x.png", chat.said)
    assert.matches("nothing is attached\n$", chat.said)
    assert.same({ "> ", "+1 > ", "+2 > ", "+1 > ", "> " }, first(chat.reader.prompts, 5))
    assert.matches("^image 1: image/png, .*\nquestion: What%?\n$", chat.out)
  end)

  it("may be a path alone on a line, once that is agreed to", function()
    for _, row in ipairs { { "", true }, { "y", true }, { "n", false }, { { "sigint" }, false } } do
      local chat = run { folder .. "/a picture.png", row[1], "What?" }
      assert.matches("^attach .*/a picture.png%? %[Y/n%] $", chat.reader.prompts[2])
      assert.equal(row[2], chat.out:find "image 1: " ~= nil)
    end
  end)

  for _, row in ipairs { { "in quotes", "'%s/a picture.png'" }, { "in other quotes", '"%s/a picture.png"' },
    { "with backslashes", "%s/a\\ picture.png" }, { "as it is", " %s/a picture.png " } } do
    it("may be written " .. row[1], function()
      assert.matches("a picture.png: image/png", run({ "/attach " .. row[2]:format(folder) }).said)
      assert.matches("a picture.png: image/png", run({ row[2]:format(folder), "y" }).said)
    end)
  end

  it("are asked about where it is a URL", function()
    local chat = run { "https://example.org/a.png", "" }
    assert.matches("1  https://example.org/a.png", chat.said)
  end)

  it("that cannot be sent are told at once", function()
    for _, row in ipairs { { "/attach gone.jpg", "cannot read 'gone.jpg'" }, { "/attach src", "directory" },
      { "/attach https://example.org/x", "name does not tell" }, { "/detach 1", "nothing is" },
      { "/detach", "takes a number" } } do
      local chat = run { row[1] }
      assert.matches("^lmm: [^\n]*" .. row[2] .. "[^\n]*\n$", chat.said)
    end
  end)

  it("stay where the question fails, and /retry asks it", function()
    local chat = run { "/attach " .. PICTURE, '/set mock {"status":400}', "What?", "/set mock", "/retry", "/retry" }
    assert.matches("lmm: HTTP 400", chat.said)
    assert.matches("^(image 1: image/png.-\nquestion: What%?\n)%1$", chat.out)
    assert.equal(1, count(chat.session))
  end)
end)

describe("a picture", function()
  it("goes to a server that keeps media once, and by its uuid from then on", function()
    local sent = {}
    local function note(session) sent[#sent + 1] = session.client.usage.bytes_sent end
    local session
    local lines = { "/attach examples/picture.jpg", "What?", function() note(session) return "And in the back?" end,
      function() note(session) return "" end }
    local chat = run(lines, { on_session = function(made) session = made end })
    assert.equal(2, select(2, chat.out:gsub("image 1: image/jpeg, 1280 x 854 pixels", "")))
    assert(sent[1] > 104316, sent[1])
    assert(sent[2] - sent[1] < 2048, sent[2] - sent[1])
  end)

  --- The bytes of base64 that are the picture, which must be one that fits.
  local function decoded(base64)
    local part = require "lmm".image { bytes = assert(require "lmm.core".base64.decode(base64)) }
    assert.is_nil(part.err)
    return part
  end

  local SHOW = { "/attach examples/picture.jpg", "/attach " .. PICTURE, "/attach spec/media/sound.wav" }

  it("is shown by kitty's protocol", function()
    local out, pictures = run(SHOW, { is_terminal = true, pictures = "kitty" }).out, {}
    assert.matches("^\27_Ga=T,f=100,q=2,c=40,r=14,m=1;", out)
    for first, more, data in out:gmatch "\27_G([^;]-)m=([01]);([^\27]*)\27\\" do
      assert(#data <= 4096)
      if first ~= "" then pictures[#pictures + 1] = "" end
      pictures[#pictures] = pictures[#pictures] .. data
      assert.equal(more == "1", #data == 4096)
    end
    assert.equal("", (out:gsub("\27_G[^\27]*\27\\", ""):gsub("\n", "")))
    assert.equal(2, #pictures)
    local part = decoded(pictures[1])
    assert.same({ "image/png", 640, 427 }, { part.mime, part.width, part.height })
    assert.equal("image/png", decoded(pictures[2]).mime)
  end)

  it("is shown by iTerm2's protocol", function()
    local out = run({ SHOW[1] }, { is_terminal = true, pictures = "iterm" }).out
    local size, base64 = out:match "^\27%]1337;File=inline=1;size=(%d+);width=40;height=14;preserveAspectRatio=1:(.*)\7\n$"
    local part = decoded(base64)
    assert.same({ "image/png", 640, tonumber(size) }, { part.mime, part.width, part.size })
  end)

  it("is shown as sixel, by chafa", function()
    if shell.output "command -v chafa" == "" then return pending "chafa is not installed" end
    assert.matches("^.-\27P[%d;]*q.*\27\\", run({ SHOW[1] }, { is_terminal = true, pictures = "sixel" }).out)
  end)

  it("is a line elsewhere", function()
    for _, row in ipairs { { true, "none" }, { false, "kitty" } } do
      local chat = run({ SHOW[1] }, { is_terminal = row[1], pictures = row[2] })
      assert.equal("", chat.out)
      assert.matches("picture.jpg: image/jpeg, 1280 x 854 pixels, 104,316 bytes", chat.said)
    end
  end)

  it("is shown as the terminal says that it can", function()
    local pictures = require "lmm.cli.chat.pictures"
    for _, row in ipairs {
      { "kitty", TERM = "xterm-kitty" }, { "kitty", TERM = "xterm", KITTY_WINDOW_ID = "1" },
      { "kitty", TERM = "xterm-ghostty" }, { "iterm", TERM = "xterm", TERM_PROGRAM = "iTerm.app" },
      { "iterm", TERM = "xterm", TERM_PROGRAM = "WezTerm" }, { "none", TERM = "dumb", KITTY_WINDOW_ID = "1" },
    } do
      assert.equal(row[1], pictures.protocol(function(name) return row[name] end) or "none")
    end
  end)

  it("that the model makes is shown, told and saved", function()
    local url = "data:image/png;base64," .. require "lmm.core".base64.encode(shell.read(PICTURE))
    local deltas = { "Here.", { images = { { type = "image_url", image_url = { url = url } } } } }
    local path = folder .. "/made.png"
    local chat = answered(deltas, { is_terminal = true, pictures = "kitty", more = { "/output " .. path, "/output" } })
    assert.matches("^Here.\n\27_Ga=T", chat.out)
    assert.matches("%[the model made a picture %(image/png, [^\n]*%): /output FILE saves what came%]", chat.said)
    assert.equal(shell.read(PICTURE), shell.read(path))
  end)
end)

describe("the commands", function()
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
  end)

  it("undo, retry and ask again", function()
    local chat = run { "one", "two", "/undo", "three", "/retry", "/undo", "/undo", "/undo" }
    assert.equal("question: one\nquestion: two\nturn 2, after 2 messages\nquestion: three\nturn 2, after 2 messages\n"
      .. "question: three\nturn 2, after 2 messages\n", chat.out)
    assert.matches("taken back: two\nthe last question is now: one", chat.said)
    assert.matches("lmm: there is no question yet\n$", chat.said)
  end)

  it("edit a question by the user's editor, its media kept", function()
    local editor = folder .. "/editor"
    shell.write(editor, "#!/bin/sh\nsed -i 's/What/Where/' \"$1\"\n")
    local edit = require "lmm.cli.chat.editor"
    local original = edit.command
    finally(function() edit.command = original end)
    edit.command = function() return "sh " .. editor end
    local chat = run { "/attach " .. PICTURE, "What?", "more", "/edit 1", "/edit 7", "/edit x" }
    assert.matches("\nquestion: Where%?\n$", chat.out)
    assert.equal(1, count(chat.session))
    assert.same({ "Where?" }, { chat.session:chat():question(1)[1] })
    assert.equal("image", chat.session:chat():question(1)[2].kind)
    assert.matches("there is no question 7", chat.said)
    edit.command = function() return "false" end
    assert.matches("ended with a failure", run({ "a", "/edit" }).said)
  end)

  it("fork and switch", function()
    local chat = run { "one", "/fork other", "two", "/switch main", "three", "/switch", "/switch gone", "/fork a b",
      "/fork other" }
    assert.same({ "> ", "> ", "other > ", "other > ", "> " },
      first(chat.reader.prompts, 5))
    assert.matches("\nquestion: three\nturn 2, after 2 messages\n%* main: three\n  other: two\n$", chat.out)
    assert.matches("no conversation 'gone'", chat.said)
    assert.matches("takes a name of letters", chat.said)
    assert.matches("there is a conversation 'other' already", chat.said)
  end)

  it("set fields, list them and take them away", function()
    local chat = run { '/set mock {"reply":"ok"}', "/set temperature=0.2", "/set", "a", "/set mock", "b", "/set temperature",
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
    assert.equal(2, count(chat.session))
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
    assert.equal(3, count(chat.session))
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
    local chat = run({ "/tool " .. path, "call now", "/tool gone.lua", "/tool" }, { is_terminal = true, no_color = "1" })
    assert.matches("%[now {}%]\ntool now: noon\n", chat.out)
    assert.matches("lmm: cannot read the tools from gone.lua", chat.said)
  end)

  it("save, load and export", function()
    local path, text = folder .. "/chat.json", folder .. "/chat.md"
    local chat = run { "/attach " .. PICTURE, "one", "/save " .. path, "two", "/save", "/load " .. path, "three",
      "/export " .. text, "/export " .. text, "n", "/export " .. text, "y", "/export", "/load gone", "/save" }
    assert.same({ "chat", 3 }, { chat.session.name, count(chat.session) })
    assert.matches("^## User\n\none\n\n!%[picture.png%]", shell.read(text))
    assert.matches("## User\n\none\n\n!", chat.out)
    assert.matches("was left as it is", chat.said)
    assert.matches("cannot load the conversation in 'gone'", chat.said)
    run { "one", "/export " .. folder .. "/chat2.json" }
    assert.matches('^%[{[^\n]*"content":"one"', shell.read(folder .. "/chat2.json"))
  end)

  it("count tokens and cost", function()
    local chat = run { "one", "/tokens", "/cost", "/cost 1 2", "/cost x" }
    assert.matches("the conversation has %d+ tokens, of at most 32768\nused so far: %d+ tokens of prompts and 2 of answers, "
      .. "in 1 answer\n", chat.out)
    local prompt = tonumber(chat.out:match "used so far: (%d+)")
    assert.matches(("%d tokens of prompts, 2 of answers: %s\n$"):format(prompt, ("%.6f"):format((prompt + 4) / 1e6)
      :gsub("0+$", "")), chat.out)
    assert.matches("prices are not known", chat.said)
    assert.matches("/cost takes what a million", chat.said)
  end)

  it("copy by OSC 52", function()
    local chat = run({ "/copy", "one", "/copy", '/set mock {"reply":"x\\n```lua\\nprint(1)\\n```\\ny"}', "two", "/copy code",
      "/copy all" }, { is_terminal = true })
    assert.matches("\27%]52;c;cXVlc3Rpb246IG9uZQ==\27\\", chat.out)
    assert.matches("\27%]52;c;cHJpbnQoMSk=\27\\", chat.out)
    assert.matches("there is no answer yet", chat.said)
    assert.matches("there is no terminal", run({ "one", "/copy" }).said)
  end)

  it("quit", function() assert.equal("", run({ "/quit", "one" }).out) end)
end)

describe("Ctrl-C", function()
  --- A chat of which the first answer comes in part; the signal comes once that is there.
  local function stopped(deltas, more)
    local bytes = HEAD
    for _, delta in ipairs(deltas) do bytes = bytes .. replies.delta(delta) end
    local other = raw.start { { { await = "request" }, { send = bytes }, { await = "close" } },
      { { await = "request" }, { send = HEAD .. replies.delta "second" .. END } } }
    local lines = { "/attach " .. PICTURE, "q" }
    for _, line in ipairs(more) do lines[#lines + 1] = line end
    local chat = chats.run(other.url, lines, { client = { model = "m", dialect = "generic" }, on_session = function(session)
      local view = session.screen.view
      local timer = require "luv".new_timer()
      timer:start(5, 5, function()
        local has_come = #deltas == 0 and #other:events() >= 2 or session.is_shown
        if has_come and session.task then
          timer:close()
          session:on_signal()
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
    assert.matches("%[stopped: nothing came; /retry asks again%]", chat.said)
    assert.equal("+1 > ", chat.reader.prompts[3])
    assert.equal(1, count(chat.session))
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
    { "/system @spec/media/picture.p", { "@spec/media/picture.png" }, 9 }, { "./spec/media/picture.p", { "./spec/media/picture.png" },
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
