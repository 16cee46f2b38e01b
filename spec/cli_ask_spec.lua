-- What `lmm ask` takes in: text and media from files, pipes, fifos and URLs, fields, schemas and headers; and how its
-- advice is worded. The program is run as it is, over real pipes, fifos and a pseudo-terminal.
local cli = require "spec.support.cli"
local json = require "lmm.json"
local mock = require "lmm.mock"
local pixels = require "spec.support.pixels"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"

local PNG, JPEG = "spec/media/picture.png", "spec/media/baseline.jpg"

local server, program

setup(function()
  server = assert(mock.start { delay = 0 })
  program = cli.new { OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "" }
end)

teardown(function()
  server.stop()
  program.remove()
end)

local function lmm(...) return program.run(...) end

local answered, complained = cli.answered, cli.complained

--- The head and the decoded body of what is sent with these words.
local function sent(words, message)
  local choice = { index = 0, finish_reason = "stop", message = message or { content = "a" } }
  local body = json.encode { choices = { choice } }
  local peer = raw.start { { { await = "request" }, { send = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    .. "Content-Length: " .. #body .. "\r\n\r\n" .. body }, { await = "close" } } }
  local all = { "ask", "q", "-m", "m", "--url", peer.url, "--dialect", "generic" }
  for _, word in ipairs(words) do all[#all + 1] = word end
  local run = lmm(all)
  local head, request = peer:received():match "^(.-)\r\n\r\n(.*)$"
  peer:stop()
  return head, assert(json.decode(request)), run
end

describe("standard input of lmm ask", function()
  it("text that is piped in goes before the question", function()
    local asking = program.command { "ask", "Explain" }
    local run = program.shell("printf 'a\\nb\\n\\n' | " .. asking .. " >$out 2>$err; echo $? >$status")
    assert.equal("question: a\nb\n\nExplain\n", answered(run))
    assert.equal("question: from a file\n\nq\n", answered(lmm({ "ask", "q" }, "from a file\n")))
  end)

  it("what is empty, closed or no pipe adds nothing", function()
    for _, input in ipairs { "</dev/null", "<&-" } do
      local run = program.shell(program.command { "ask", "q" } .. " " .. input .. " >$out 2>$err; echo $? >$status")
      assert.equal("question: q\n", answered(run))
    end
    assert.equal("question: q\n", answered(lmm({ "ask", "q" }, "\n\n")))
  end)

  it("a medium that is not told as one is told how", function()
    local bytes = shell.read(PNG)
    for _, words in ipairs { { "ask", "q" }, { "ask" }, { "ask", "-i", JPEG, "q" } } do
      complained(lmm(words, bytes), 2, "standard input holds image/png, which is no text: write %-a %- for it")
    end
    complained(lmm({ "ask", "q" }, "\0\1\2\255"), 2, "the standard input holds bytes, which is no text\n$")
  end)

  it("a medium that is given as the file of a text is told how, too", function()
    for _, words in ipairs { { "ask", "@" .. PNG, "q" }, { "ask", "@" .. PNG }, { "ask", "-s", "@" .. PNG, "q" } } do
      complained(lmm(words), 2, "'" .. PNG:gsub("%p", "%%%0") .. "' holds image/png, which is no text: write %-i "
        .. PNG:gsub("%p", "%%%0") .. " for it")
    end
  end)

  it("a medium comes from it by -a -", function()
    assert.matches("^image 1: image/png.*question: q\n$", answered(lmm({ "ask", "-a", "-", "q" }, shell.read(PNG))))
    complained(lmm { "ask", "-a", "-", "q" }, 1, "no medium on standard input")
  end)
end)

describe("media of lmm ask", function()
  local function kinds(parts)
    local out = {}
    for i, part in ipairs(parts) do out[i] = part.type end
    return table.concat(out, " ")
  end

  it("-a tells the kind by the bytes, a URL's by its ending", function()
    local wav = program.write("wav", "RIFF\36\0\0\0WAVEfmt \16\0\0\0\1\0\1\0\64\31\0\0\64\31\0\0\1\0\8\0data\0\0\0\0")
    local pdf = program.write("pdf", "%PDF-1.4\n%%EOF\n")
    local _, request = sent { "-a", PNG, "-a", wav, "-a", pdf, "-a", "https://a.example/b.mp4?c=d", "-i", JPEG,
      "--attach", program.write("txt", "words\n") }
    assert.equal("text image_url audio_url file video_url image_url file", kinds(request.messages[1].content))
  end)

  it("a sound or a film goes in the form that the server takes, which its list of models tells", function()
    for like, expected in pairs { ["llama.cpp"] = "audio 1: audio/wav", ["vllm"] = "audio 1: audio/wav" } do
      local peer = assert(mock.start { delay = 0, like = like })
      local out = answered(lmm { "ask", "--url", peer.url, "-m", "mock", "-a", "spec/media/sound.wav", "q" })
      assert.matches(expected, out)
      out = answered(lmm { "ask", "--url", peer.url, "-m", "mock", "-a", "spec/media/clip.mp4", "q" })
      peer.stop()
      assert.matches("video 1: video/mp4", out)
    end
    complained(lmm { "ask", "--dialect", "lama", "q" }, 2, "there is no dialect 'lama'")
    complained(lmm { "ask", "--dialect", "ollama", "-a", "spec/media/clip.mp4", "q" }, 1,
      "'clip.mp4' cannot be sent: Ollama takes no video")
  end)

  it("what -a cannot tell is told", function()
    complained(lmm { "ask", "-a", "https://a.example/b", "q" }, 2, "its name does not tell: %-i sends it as a picture")
    complained(lmm { "ask", "-a", "gone.jpg", "q" }, 1, "'gone%.jpg'.*No such file")
    local odd = program.write("odd", "\0\1\2\3\4\5\6\7")
    complained(lmm { "ask", "-a", odd, "q" }, 1, "is no picture, video, sound, PDF")
  end)

  it("several are taken at a time, whether the question is first or last", function()
    local png, jpeg = "image 1: image/png[^\n]*\n", "image 2: image/jpeg[^\n]*\n"
    for _, words in ipairs { { "-i", PNG, JPEG, "What?" }, { "What?", "-i", PNG, JPEG },
      { "-a", PNG, JPEG, "-v", "What?" }, { "-i", PNG, "-a", JPEG, "--", "What?" } } do
      local out = lmm { "ask", words[1], words[2], words[3], words[4], words[5], words[6] }.out
      assert.matches("^" .. png .. jpeg .. "question: What%?\n$", out)
    end
    assert.matches("question: piped\n$", answered(lmm({ "ask", "-i", PNG, JPEG }, "piped")))
    complained(lmm { "ask", "-i", PNG, "What", "is it" }, 2, "one question is taken, not 2 arguments: put it in quotes")
  end)

  it("a fifo is read whole", function()
    for _, option in ipairs { "-a", "-i" } do
      local run = program.shell("mkfifo $out.fifo; cat " .. PNG .. " >$out.fifo & "
        .. program.command { "ask", "q", option } .. " $out.fifo </dev/null >$out 2>$err;"
        .. " echo $? >$status; rm $out.fifo; kill $! 2>/dev/null")
      local digest = shell.output("sha256sum " .. PNG):match "^%x+"
      assert.matches("^image 1: image/png, [^\n]*sha256 " .. digest, answered(run))
    end
    local run = program.shell("mkfifo $out.fifo; : >$out.fifo & " .. program.command { "ask", "q", "-a" }
      .. " $out.fifo </dev/null >$out 2>$err; echo $? >$status; rm $out.fifo; kill $! 2>/dev/null")
    complained(run, 1, "nothing came through [^ ]*%.fifo: it is empty")
  end)
end)

describe("what lmm ask is told", function()
  it("-p name=@file takes the value from a file", function()
    local list, text = program.write("list", '["a", []]\n'), program.write("text", "two\nlines\n")
    local _, request = sent { "-p", "stop=@" .. list, "-p", "suffix=@" .. text, "-p", "user=@@me" }
    assert.same({ { "a", json.array and json.array {} or {} }, "two\nlines", "@me" },
      { request.stop, request.suffix, request.user })
    complained(lmm { "ask", "q", "-p", "x=@gone.json" }, 1, "cannot read the value of %-p x from gone%.json: No such")
  end)

  it("a source that is not there is told as one, where the question is still to come", function()
    complained(lmm { "ask", "-i", PNG, "gone.png", "What?" }, 1, "cannot read 'gone.png'")
    complained(lmm { "ask", "-i", PNG, "./gone", "What?" }, 1, "cannot read './gone'")
    complained(lmm { "ask", "-i", PNG, "Why", "not?" }, 2, "one question is taken, not 2 arguments")
  end)

  it("a list is no schema", function()
    complained(lmm { "ask", "q", "--schema", program.write("list", "[]") }, 2, "the schema in [^ ]* is no JSON object")
  end)

  it("--schema FILE prints the value", function()
    local file = program.write("schema", '{"type":"object"}')
    local _, request, run = sent({ "--schema", file }, { content = '{\n "z": 1.0,\n "a": []\n}\n' })
    assert.same({ type = "object" }, request.response_format.json_schema.schema)
    assert.equal('{ "z": 1.0, "a": [] }\n', answered(run):gsub(" +", " "))
    complained(lmm { "ask", "q", "--schema", "gone" }, 1, "cannot read the schema from gone: No such file")
    complained(lmm { "ask", "q", "--schema", program.write("bad", "{") }, 2, "is no JSON object")
    complained(lmm { "ask", "q", "--schema", program.write("odd", '{"type":"txt"}') }, 2,
      "the schema in [^ ]*odd is none: there is no type 'txt'")
    complained(lmm { "ask", "q", "--schema", file, "-p", "schema={}" }, 2, "two ways to say the same")
  end)

  it("--schema FILE prints JSON without the fence around it, and tells what does not follow it", function()
    local file = program.write("schema", '{"type":"object","required":["a"]}')
    local function ask(reply)
      return lmm { "ask", "q", "--schema", file, "-p", "mock=" .. json.encode { reply = reply } }
    end
    assert.equal('{"a": "`x`"}\n', answered(ask '\n```json\n{"a": "`x`"}\n```\n'))
    assert.equal("", complained(ask '{"b":1}', 1, "the answer does not follow the schema: a is missing"))
    assert.equal("", complained(ask "prose", 1, "is not the JSON that the schema asks for"))
  end)

  it("--choice TEXT,TEXT prints the choice", function()
    local _, request, run = sent({ "--choice", "cat, big dog" }, { content = '"big dog"' })
    assert.same({ "cat", "big dog" }, request.response_format.json_schema.schema.enum)
    assert.equal("big dog\n", answered(run))
    assert.equal("cat\n", answered(lmm { "ask", "q", "--choice", "cat,dog" }))
    local file = program.write("schema", "{}")
    for _, row in ipairs {
      { { "--choice", "a,,b" }, "choice is a list of texts, and its item 2 is empty" },
      { { "--choice", "a,b,a" }, "choice holds 'a' twice" },
      { { "--choice", "a", "-p", 'choice=["b"]' }, "%-%-choice and %-p choice are two ways to say the same" },
      { { "--choice", "a", "--schema", file }, "schema and choice are two ways to say what the answer is to be" },
    } do
      complained(lmm { "ask", "q", row[1][1], row[1][2], row[1][3], row[1][4] }, 2, row[2])
    end
    local no_json = lmm { "ask", "no json", "--choice", "cat,dog" }
    assert.equal("", complained(no_json, 1, "is none of the choices.*they are: cat, dog"))
  end)

  it("an answer cut by its length is told as that, in the shell's words", function()
    local file = program.write("schema", '{"type":"object"}')
    local run = lmm { "ask", "q", "--schema", file, "-p", "max_tokens=1", "-p", 'mock={"reply":"{\\"a\\": 1}"}' }
    complained(run, 1, "was cut at the most tokens, before the JSON.*%(raise %-p max_tokens=N%)")
    assert.equal("", run.out)
  end)

  it("-H gives a header, and tells misuse without the value", function()
    local head = sent { "-H", "X-Team: vision", "--header", "X-Two:a b " }
    assert.matches("\r\nX%-Team: vision\r\n", head .. "\r\n")
    assert.matches("\r\nX%-Two: a b\r\n", head .. "\r\n")
    complained(lmm { "ask", "q", "-H", "secret" }, 2, "%-H takes 'Name: value', not 'secret'")
    complained(lmm { "ask", "q", "-H", "a b: s3cret" }, 2, "%-H takes 'Name: value', not 'a b:%.%.%.'")
    assert.equal("mock\n", answered(lmm { "models", "-H", "X-A: b" }))
  end)

  it("lmm help COMMAND is its --help", function()
    for _, name in ipairs { "ask", "embed", "tokens", "transcribe", "models", "serve", "wait", "mock" } do
      assert.equal(answered(lmm { name, "--help" }), answered(lmm { "help", name }))
    end
    assert.equal(answered(lmm { "--help" }), answered(lmm { "help" }))
    complained(lmm { "help", "aks" }, 2, "unknown command 'aks': did you mean 'ask'")
  end)

  it("advice is in the shell's words", function()
    local guarded = assert(mock.start { delay = 0, api_key = "right" })
    local env = { OPENAI_BASE_URL = guarded.url }
    complained(lmm({ "ask", "q" }, nil, env), 1, "%(set %$OPENAI_API_KEY%)")
    env.OPENAI_API_KEY = "another-key"
    complained(lmm({ "ask", "q" }, nil, env), 1, "does not take the key in %$OPENAI_API_KEY")
    guarded.stop()
    complained(lmm { "ask", "q", "-i", "Makefile" }, 1, "%(%-a takes any medium")
    complained(lmm { "ask", "q", "-a", "spec/media/sound.wav", "--dialect", "lmstudio" }, 1, "see lmm transcribe%)")
    complained(lmm { "ask", "q", "-i", "https://example.org/x.png", "--dialect", "ollama" }, 1,
      "fetches nothing: download it, and give that file")
    local vast = shell.write(shell.output "mktemp":match "%S+", "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
      .. "2 0 obj<</Type/Pages/Count 1/Kids[3 0 R]>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 14400 "
      .. "14400]>>endobj\ntrailer<</Root 1 0 R>>\n")
    complained(lmm { "ask", "q", "-a", vast, "--page", "1" }, 1, "decoded: pdftoppm %-r 50 %-png FILE NAME draws it "
      .. "smaller\n$")
    os.remove(vast)
    local slow = 'mock={"first_delay":9}'
    complained(lmm { "ask", "q", "--timeout", "0.2", "-p", slow }, 1, "%(%-%-timeout sets this limit%)")
  end)
end)

describe("a wait for another attempt", function()
  local words = { "ask", "q", "-p", 'mock={"status":503,"fail_times":1,"key":"%s"}', "-p", 'retry={"base":0}' }
  local function asking(key)
    local out = {}
    for i, word in ipairs(words) do out[i] = word:gsub("%%s", key) end
    return program.command(out)
  end

  it("is shown on a terminal by a line that goes away", function()
    local run = program.shell("script -qec " .. shell.quote(asking "terminal") .. " /dev/null </dev/null >$out 2>$err;"
      .. " echo $? >$status")
    assert.matches("\r\27%[K%d+ s  until the next attempt: HTTP 503 [^\r\n]*\r\27%[Kquestion: q\r\n$", run.out)
    assert.equal(0, run.status)
  end)

  it("is not shown elsewhere", function()
    local run = program.shell(asking "file" .. " </dev/null >$out 2>$err; echo $? >$status")
    assert.equal("question: q\n", answered(run))
  end)
end)

describe("control characters in an answer", function()
  local words = { "ask", "q", "-p", [[mock={"reply":"a\u001b[2Jb"}]] }

  --- What a terminal gets of a command.
  local function on_terminal(own)
    return program.shell("script -qec " .. shell.quote(program.command(own)) .. " /dev/null </dev/null >$out;"
      .. " echo $? >$status")
  end

  it("are shown on a terminal, and steer it nowhere", function()
    for _, more in ipairs { {}, { "--no-stream" } } do
      local run = on_terminal { "ask", "q", "-p", words[4], more[1] }
      assert.truthy(run.out:find("a^[[2Jb\r\n", 1, true))
      assert.is_nil(run.out:find("\27[2J", 1, true))
      assert.equal(0, run.status)
    end
  end)

  it("are shown in JSON, too", function()
    local reply = [[mock={"reply":"{\"a\": \"b\u009b2J\"}"}]]
    local schema = "--schema=" .. program.write("any.json", '{"type":"object"}')
    for form, option in pairs { ['"b<U%+009B>2J"}\r\n'] = schema, ["b<U%+009B>2J"] = "--json" } do
      assert.matches(form, on_terminal({ "ask", "q", "-p", reply, option }).out)
      assert.matches("b\194\1552J", answered(lmm { "ask", "q", "-p", reply, option }))
    end
  end)

  it("are shown in a model's name", function()
    local other = assert(mock.start { delay = 0, model = "m\27[2J" })
    finally(other.stop)
    assert.equal("m\27[2J\n", answered(lmm { "models", "--url", other.url }))
    local run = on_terminal { "models", "--url", other.url, "-v" }
    assert.matches("^m%^%[%[2J\r\nm%^%[%[2J: created", run.out)
    assert.matches("m%^%[%[2J: created", lmm({ "models", "--url", other.url, "-v" }).err)
  end)

  it("go elsewhere as they came", function()
    assert.equal("a\27[2Jb\n", answered(lmm(words)))
  end)
end)

describe("conversations of lmm ask", function()
  local folder = shell.output "mktemp -d":match "%S+"
  local file, other = folder .. "/chat.json", folder .. "/other.json"

  teardown(function() os.execute("rm -rf " .. folder) end)

  before_each(function() os.execute("rm -rf " .. folder .. "/*") end)

  local function messages(path) return #assert(json.decode(shell.read(path))).messages end

  it("are saved, continued, and saved again", function()
    answered(lmm { "ask", "--save", file, "-s", "Be brief.", "-p", "max_tokens=500", "-i", PNG, "first" })
    assert.equal(3, messages(file))
    assert.equal("600", shell.output("stat -c %a " .. file):match "%d+")
    local out = answered(lmm { "ask", "--continue", file, "second", "--no-stream" })
    assert.matches("image 1: image/png.*question: second\nturn 2, after 3 messages\n", out)
    assert.equal(5, messages(file))
    answered(lmm { "ask", "--continue", file, "--save", other, "-p", "max_tokens=400", "third" })
    assert.same({ 5, 7 }, { messages(file), messages(other) })
    assert.equal(400, assert(json.decode(shell.read(other))).options.fields.max_tokens)
  end)

  it("go on from calls that nobody has answered, without a question", function()
    local tool = program.write("add.lua", "return { name = 'add', run = function(args) return args.a + 1 end }")
    lmm { "ask", "--save", file, "--tool", tool, "-p", "run_tools=false", 'call add {"a":1}' }
    complained(lmm { "ask", "--continue", file, "and?" }, 1, "the call of 'add' [^\n]* is unanswered: before the next "
      .. "question have its tool run by lmm ask %-%-continue FILE %-%-tool FILE.lua </dev/null\n")
    complained(lmm { "ask", "--continue", file }, 1, "is unanswered: give its tool by %-%-tool\n")
    local run = lmm { "ask", "--continue", file, "--tool", tool }
    assert.equal('tool add: 2\nquestion: call add {"a":1}\n', answered(run))
    assert.equal(4, messages(file))
    complained(lmm { "ask", "--continue", file }, 2, "there is nothing to ask: pass a question")
    complained(lmm { "ask", "--continue", file, "-i", PNG }, 2, "the question is empty")
    complained(lmm { "ask" }, 2, "the question is empty")
  end)

  it("whose media were moved are told where they are", function()
    local from, to = folder .. "/from", folder .. "/to"
    shell.run("mkdir %s %s && cp " .. PNG .. " %s/a.png", from, to, from)
    answered(lmm { "ask", "--save", file, "-i", from .. "/a.png", "first" })
    shell.run("mv %s/a.png %s", from, to)
    local err = complained(lmm { "ask", "--continue", file, "second" }, 1, "where it was moved, add %-p 'media={\""
      .. from:gsub("%p", "%%%0") .. "\":\"its new folder\"}'%)") and lmm { "ask", "--continue", file, "second" }.err
    local advice = err:match "%-p '(media=.-)'":gsub("its new folder", to)
    assert.matches("^image 1: image/png", answered(lmm { "ask", "--continue", file, "second", "-p", advice }))
  end)

  it("that fail leave the file as it was", function()
    answered(lmm { "ask", "--save", file, "first" })
    local before = shell.read(file)
    complained(lmm { "ask", "--continue", file, "q", "-p", "mock={\"status\":400}" }, 1, "400")
    complained(lmm { "ask", "--save", other, "q", "-p", "mock={\"status\":400}" }, 1, "400")
    assert.same({ before, nil }, { shell.read(file), shell.read(other) })
  end)

  it("that cannot be saved or continued are told before anything is asked", function()
    shell.write(file, "notes")
    local asked = { "ask", "q", "--url", "http://127.0.0.1:1/v1", "--save", file }
    assert.equal("", complained(lmm(asked), 1, "chat%.json' is there, and is no saved conversation"))
    assert.equal("", complained(lmm { "ask", "q", "--continue", file }, 1, "is no saved conversation"))
    assert.equal("", complained(lmm { "ask", "q", "--continue", other }, 1, "No such file"))
    assert.equal("", complained(lmm { "ask", "q", "--continue", other, "-s", "s" }, 2, "its own system message"))
    assert.equal("notes", shell.read(file))
    for _, place in ipairs { folder .. "/none/chat.json", folder .. "/none/", file .. "/chat.json", "none/x.json" } do
      assert.equal("", complained(lmm { "ask", "q", "--save", place }, 1, "cannot save the conversation in"))
    end
    assert.equal("", complained(lmm { "ask", "q", "--save", "" }, 2, "the path is empty"))
  end)

  it("that cannot be saved after all have their answer printed", function()
    local tool = program.write("rmdir.lua", ("return { name = 'rmdir', run = function() os.remove %q end }"):format(
      folder .. "/soon"))
    shell.run("mkdir %s/soon", folder)
    local run = lmm { "ask", "call rmdir {}", "--save", folder .. "/soon/chat.json", "--tool", tool }
    assert.equal("tool rmdir: \nquestion: call rmdir {}\n", run.out)
    assert.matches("cannot save the conversation in .*: No such file or directory", run.err)
    assert.equal(1, run.status)
  end)
end)

describe("media that lmm ask prepares", function()
  local folder = pixels.folder()

  teardown(folder.remove)

  it("are shrunk pictures", function()
    local photo = folder.photo "photo.png"
    for _, words in ipairs { { "-i", photo }, { "-a", photo } } do
      local text = answered(lmm { "ask", "q", "--max-side", "60", words[1], words[2], "-i", JPEG })
      assert.matches("image 1: image/png, 60 x 40 pixels.*image 2: image/jpeg, 37 x 23 pixels", text)
    end
  end)

  it("are drawings", function()
    local eps = shell.write(folder.path "drawing.eps", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 24\n")
    assert.matches("image 1: image/png, 100 x 50 pixels", answered(lmm { "ask", "q", "-i", eps }))
    assert.matches("image 1: image/png, 60 x 30 pixels", answered(lmm { "ask", "q", "-a", eps, "--max-side", "60" }))
    complained(lmm { "ask", "q", "-i", shell.write(eps, "%!PS-Adobe-3.0\n") }, 1, "make a PDF of it, as with ps2pdf")
  end)

  it("are pages of a PDF", function()
    local pdf = folder.path "two.pdf"
    shell.write(pdf, "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 2/Kids[3 0 R "
      .. "4 0 R]>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 144 72]>>endobj\n"
      .. "4 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>endobj\ntrailer<</Root 1 0 R>>\n")
    local wide, high = "image/png, 300 x 150 pixels", "image/png, 150 x 150 pixels"
    for _, row in ipairs {
      { "1", wide }, { "2", high }, { "1-2", wide, high }, { "2-", high }, { "all", wide, high },
    } do
      local text = answered(lmm { "ask", "q", "-a", pdf, "--page", row[1] })
      local seen = {}
      for medium in text:gmatch "image %d: (image/png, %d+ x %d+ pixels)" do seen[#seen + 1] = medium end
      assert.same({ select(2, (table.unpack or unpack)(row)) }, seen) -- luacheck: ignore
    end
    assert.matches("image 1: image/png, 30 x 15 pixels",
      answered(lmm { "ask", "q", "-i", pdf, "--page", "1", "--max-side", "30" }))
    assert.matches("image 1: image/png, 300 x 150",
      answered(lmm({ "ask", "q", "-a", "-", "--page", "1" }, shell.read(pdf))))
    complained(lmm { "ask", "q", "-a", pdf, "--page", "3" }, 1, "two.pdf' has 2 pages, and no page 3")
    complained(lmm { "ask", "q", "-i", pdf }, 1,
      "two.pdf' is application/pdf, not image: %-%-page 1%-3 draws its pages, %-a takes any medium")
    complained(lmm { "ask", "q", "-a", pdf }, 1, "and the pages of a PDF as pictures, by %-%-page 1%-3%)")
    local sound = shell.write(folder.path "a.aiff", "FORM\0\0\0\20AIFF")
    complained(lmm { "ask", "q", "-a", sound }, 1, "no server is known to decode: convert it to WAV or FLAC\n")
    local locked = folder.path "locked.pdf"
    shell.run(pixels.BARE .. "qpdf --encrypt secret owner 128 --use-aes=y -- %s %s 2>/dev/null || true", pdf, locked)
    complained(lmm { "ask", "q", "-a", locked, "--page", "1" }, 1,
      "locked.pdf' has a password: qpdf %-%-decrypt %-%-password=WORD FILE COPY makes a copy without")
  end)

  it("are pictures of a video", function()
    assert.matches("video 1: 2 frames of image/jpeg", answered(lmm { "ask", "q", "-a", "spec/media/clip.mkv",
      "--frames", "2" }))
    complained(lmm { "ask", "q", "-i", "spec/media/clip.mp4", "--frames", "2" }, 1,
      "is video/mp4, not image %(%-a takes any medium, %-i only pictures%)")
  end)

  for _, row in ipairs {
    { { "--page", "1", "-i", PNG }, "%-%-page is for a PDF, and there is none" },
    { { "--frames", "1", "-i", PNG }, "%-%-frames is for a video, and there is none" },
    { { "--max-side", "1", "-a", "spec/media/sound.wav" }, "%-%-max%-side is for a picture, and there is none" },
    { { "--max-side", "1", "-i", "https://example.org/a.png" }, "%-%-max%-side is for files, not for what the server" },
    { { "--max-side", "0", "-i", PNG }, "%-%-max%-side takes a whole number from 1 to 100000, not '0'" },
    { { "--frames", "x", "-i", PNG }, "%-%-frames takes a whole number from 1 to 1000, not 'x'" },
    { { "--page", "2-1", "-i", PNG }, "%-%-page takes a page or a range, as in 3, 1%-3, 2%- or all, not '2%-1'" },
    { { "--page", "0", "-i", PNG }, "%-%-page takes a page or a range" },
  } do
    it("are not asked for by " .. table.concat(row[1], " "), function()
      complained(lmm { "ask", "q", (table.unpack or unpack)(row[1]) }, 2, row[2]) -- luacheck: ignore
    end)
  end
end)
