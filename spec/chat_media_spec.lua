-- Media in the chat, with a reader that is handed in: what is attached, how it is sent, and how it is shown.
local chats = require "spec.support.chat"
local shell = require "spec.support.shell"

local PICTURE = "spec/media/picture.png"

local server, folder

setup(function() server, folder = chats.surroundings(PICTURE) end)

teardown(function()
  server.stop()
  shell.run("rm -rf %s", folder)
end)

local function run(lines, opts) return chats.run(server.url, lines, opts) end

describe("attachments", function()
  it("are listed, sent with the next question, and gone then", function()
    local chat = run { "/attach " .. PICTURE, "/attach https://example.org/x.png", "/detach 2", "What?", "/attach" }
    assert.matches("1  spec/media/picture.png: image/png, %d+ x %d+ pixels, [%d,]+ bytes\n  2  "
      .. "https://example.org/x.png: image, fetched by the server", chat.said)
    assert.matches("detached https://example.org/x.png", chat.said)
    assert.matches("/detach takes a number from 1 to 1, or all", run({ "/attach " .. PICTURE, "/detach 2" }).said)
    assert.matches("nothing is attached\n$", chat.said)
    assert.same({ "> ", "+1 > ", "+2 > ", "+1 > ", "> " }, chats.first(chat.reader.prompts, 5))
    assert.matches("^image 1: image/png, .*\nquestion: What%?\n$", chat.out)
  end)

  it("may be a path alone on a line, once that is agreed to", function()
    for _, row in ipairs { { "", true }, { "y", true }, { "n", false }, { { "sigint" }, false } } do
      local chat = run { folder .. "/a picture.png", row[1], "What?" }
      assert.matches("^attach .*/a picture.png%? %[Y/n%] $", chat.reader.prompts[2])
      assert.equal(row[2], chat.out:find "image 1: " ~= nil)
      assert.equal(row[1] == "n" and 2 or 1, chats.count(chat.session))
    end
  end)

  it("may be a file: URL alone on a line, as a path", function()
    local chat = run { "file://" .. folder .. "/a%20picture.png", "n" }
    assert.matches("^attach file:.*%? %[Y/n%] $", chat.reader.prompts[2])
  end)

  it("may be several paths alone on a line, as of files that were dropped", function()
    local chat = run { ("'%s/a picture.png' '%s/a picture.png'"):format(folder, folder), "" }
    assert.matches("^attach .*/a picture.png, .*/a picture.png%? %[Y/n%] $", chat.reader.prompts[2])
    assert.equal(2, #chat.session.attached.parts)
    chat = run { ("What is in '%s/a picture.png'?"):format(folder), ("'%s/a picture.png' gone.png"):format(folder) }
    assert.equal(2, chats.count(chat.session))
  end)

  for _, row in ipairs { { "in quotes", "'%s/a picture.png'" }, { "in other quotes", '"%s/a picture.png"' },
    { "with backslashes", "%s/a\\ picture.png" }, { "as it is", " %s/a picture.png " } } do
    it("may be written " .. row[1], function()
      assert.matches("a picture.png: image/png", run({ "/attach " .. row[2]:format(folder) }).said)
      assert.matches("a picture.png: image/png", run({ row[2]:format(folder), "y" }).said)
    end)
  end

  it("may be several", function()
    local parts = run({ ("/attach %s '%s/a picture.png' %s/a\\ picture.png https://example.org/x.png"):format(PICTURE,
      folder, folder) }).session.attached.parts
    local other = folder .. "/a picture.png"
    assert.same({ PICTURE, other, other, 4 }, { parts[1].path, parts[2].path, parts[3].path, #parts })
    local chat = run { "/attach " .. PICTURE .. " gone.png https://example.org/x.png" }
    assert.matches("^lmm: cannot read 'gone.png'", chat.said)
    assert.same({}, chat.session.attached.parts)
    assert.matches("^lmm: cannot read 'both gone.png'", run({ "/attach both gone.png" }).said)
  end)

  it("are asked about where it is a URL", function()
    for _, url in ipairs { "https://example.org/a.png", "http://example.org/a?b=c" } do
      local chat = run { url, "" }
      assert.matches("1  http[^\n]*: image, fetched by the server\n", chat.said)
    end
  end)

  it("that cannot be sent are told at once", function()
    for _, row in ipairs { { "/attach gone.jpg", "cannot read 'gone.jpg'" }, { "/attach src", "directory" },
      { "/detach 1", "nothing is attached" }, { "/load " .. PICTURE, "no saved conversation: /save writes one" },
      { "/detach", "nothing is attached" } } do
      local chat = run { row[1] }
      assert.matches("^lmm: [^\n]*" .. row[2] .. "[^\n]*\n$", chat.said)
    end
  end)

  it("are no fifos, which nobody may ever write to", function()
    local fifo = folder .. "/fifo.txt"
    shell.run("mkfifo %s", fifo)
    for _, line in ipairs { "/attach %s", "%s", "/system @%s", "/schema %s", "/tool %s", "/load %s", "/save %s",
      "/export %s", "/output %s" } do
      local said = run({ "x", line:format(fifo), "y" }, { is_interactive = line ~= "%s" }).said
      assert(line == "%s" or said:find "^lmm: [^\n]* is a fifo[^\n]*\n$", line .. ": " .. said)
    end
  end)

  it("stay where the question fails, and /retry asks it", function()
    local chat = run { "/attach " .. PICTURE, '/set mock {"status":400}', "What?", "/set mock", "/retry", "/retry" }
    assert.matches("lmm: HTTP 400", chat.said)
    assert.matches("^(image 1: image/png.-\nquestion: What%?\n)%1$", chat.out)
    assert.equal(1, chats.count(chat.session))
  end)
end)

describe("where a medium cannot be sent, what helps is said", function()
  it("of one that the server refuses", function()
    local chat = run { "/attach README.md", "What?", "/detach", "And?" }
    assert.matches("\nlmm: 'README.md' cannot be sent: vLLM takes no files %(paste a text, between \"\"\" and \"\"\", "
      .. "and /attach pictures of a PDF's pages, as pdftoppm %-png draws them%)\n"
      .. "%[it stays attached: /detach takes it away%]\n", chat.said)
    assert.equal("question: And?\n", chat.out)
    chat = run { "/attach " .. PICTURE, "/attach " .. PICTURE, '/set mock {"status":400}', "What?" }
    assert.matches("lmm: HTTP 400 [^\n]*\n%[they stay attached: /detach N takes one of them away, /detach all takes "
      .. "all%]\n$", chat.said)
    chat = run({ "/attach https://example.org/x.png", "What?" }, { client = { dialect = "ollama" } })
    assert.matches("fetches nothing: download it, and /attach that file\n%[it stays attached: ", chat.said)
    chat = run({ "/attach " .. PICTURE, "What?" }, { client = { base_url = "http://127.0.0.1:1/v1" } })
    assert.falsy(chat.said:find("detach", 1, true))
  end)

  it("of one that has changed", function()
    local file = folder .. "/changed.png"
    local function change() shell.run("cp %s %s", "examples/picture.jpg", file) return "What?" end
    shell.run("cp %s %s", PICTURE, file)
    local chat = run { "/attach " .. file, change }
    assert.matches("lmm: '[^']*/changed.png' has changed since it was attached\n%[it stays attached: /detach takes it "
      .. "away%]\n$", chat.said)
  end)

  it("of one in the conversation", function()
    local file, lost = folder .. "/lost.png", folder .. "/is_not.png"
    shell.run("cp %s %s", PICTURE, file)
    local lines = { "One", "/attach " .. file, "Two", "/save " .. folder .. "/lost.json", "/quit" }
    run(lines)
    shell.run("mv %s %s", file, lost)
    local chat = run { "/load " .. folder .. "/lost.json", "Three", "/undo", "Four", { "sigint" } }
    assert.matches("lmm: cannot read '[^']*/lost.png'[^\n]*put that file back%)\n%[/undo takes back the question with "
      .. "it%]\n", chat.said)
    assert.matches("question: Four\nturn 2, after 2 messages\n$", chat.out)
    shell.run("mv %s %s", lost, file)
    table.insert(lines, 4, "Three")
    run(lines)
    shell.run("rm %s", file)
    chat = run { "/load " .. folder .. "/lost.json", "Four" }
    assert.matches("\n%[/undo, 2 times, takes back the question with it%]\n$", chat.said)
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
    local size, base64 = out:match("^\27%]1337;File=inline=1;size=(%d+);width=40;height=14;"
      .. "preserveAspectRatio=1:(.*)\7\n$")
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
      { "sixel", TERM = "foot" }, { "sixel", TERM = "mlterm-256color" }, { "sixel", TERM = "contour" },
      { "sixel", TERM = "xterm-256color", KONSOLE_VERSION = "220400" }, { "none", TERM = "xterm-256color" },
      { "none", TERM = "xterm-256color", KONSOLE_VERSION = "211203" },
      { "sixel", TERM = "xterm", TERM_PROGRAM = "mintty" }, { "none", TERM = "foot", TMUX = "/tmp/tmux" },
    } do
      assert.equal(row[1], pictures.protocol(function(name) return row[name] end) or "none")
    end
  end)

  it("that the model makes is shown, told and saved", function()
    local url = "data:image/png;base64," .. require "lmm.core".base64.encode(shell.read(PICTURE))
    local deltas = { "Here.", { images = { { type = "image_url", image_url = { url = url } } } } }
    local path = folder .. "/made.png"
    local chat = chats.answered(deltas, { is_terminal = true, pictures = "kitty",
      more = { "/output " .. path, "/output" } })
    assert.matches("^Here.\n\27_Ga=T", chat.out)
    assert.matches("%[the model made a picture %(image/png, [^\n]*%): /output FILE saves what came%]", chat.said)
    assert.equal(shell.read(PICTURE), shell.read(path))
  end)
end)
