-- The examples run as they stand, with the built-in server where a model's would be. Those for Slurm: slurm_spec.lua.
local mock = require "lmm.mock"
local process = require "spec.support.process"
local stand_ins = require "spec.support.stand_ins".new()

local LUA = arg[-1]
local folder, run = stand_ins.folder, stand_ins.run
local quote = process.quote

local sum = process.shell "sha256sum examples/picture.jpg":match "%x+"
local PICTURE = "image 1: image/jpeg, 1280 x 854 pixels, 104316 bytes, sha256 " .. sum .. "\n"

teardown(stand_ins.remove)

describe("the examples", function()
  it("describe.lua", function()
    local server = assert(mock.start { delay = 0 })
    local out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/describe.lua"):format(server.url, quote(LUA)))
    assert.same({ PICTURE .. "question: What is shown in the image?\n", "", 0 }, { out, errors, status })
    server.stop()
    out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/describe.lua"):format(server.url, quote(LUA)))
    assert.same({ "", 1 }, { out, status })
    assert.matches(": cannot reach [^\n]*\n", errors)
  end)

  --- What an example prints, its errors and its status, asked of the built-in server.
  local function asked(words)
    local server = assert(mock.start { delay = 0 })
    local out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/%s"):format(server.url, quote(LUA), words))
    server.stop()
    return out, errors, status
  end

  it("photo.lua", function()
    os.execute(("heif-enc -q 90 -p preset=ultrafast -o %s/photo.heic examples/picture.jpg >/dev/null 2>&1"):format(
      folder))
    local out, errors, status = asked("photo.lua " .. folder .. "/photo.heic")
    assert.matches("^image 1: image/jpeg, 1280 x 854 pixels, %d+ bytes[^\n]*\nquestion: What is shown in the "
      .. "picture%?\n$", out)
    assert.matches("^sent as image/jpeg, 1280 x 854 pixels, %d+ bytes, made of image/heic\n$", errors)
    assert.equal(0, status)
    out, errors, status = asked "photo.lua gone.heic"
    assert.same({ "", "cannot read 'gone.heic': No such file or directory\n", 1 }, { out, errors, status })
  end)

  it("pdf.lua", function()
    process.write(folder .. "/two.pdf", "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
      .. "2 0 obj<</Type/Pages/Count 2/Kids[3 0 R 4 0 R]>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 144 "
      .. "72]>>endobj\n4 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>endobj\ntrailer<</Root 1 0 R>>\n")
    local out, errors, status = asked("pdf.lua " .. folder .. "/two.pdf")
    assert.same({ "", 0 }, { errors, status })
    assert.matches("^page 1: image 1: image/png, 300 x 150 pixels[^\n]*\npage 2: image 1: image/png, 150 x 150 "
      .. "[^\n]*\n$", out)
    out, errors, status = asked("pdf.lua " .. folder .. "/two.pdf 2 2 'Is it empty?'")
    assert.matches("^page 2: [^\n]*150 x 150 [^\n]*question: Is it empty%?[^\n]*\n$", out)
    assert.same({ "", 0 }, { errors, status })
    out, errors, status = asked("pdf.lua " .. folder .. "/two.pdf 3")
    assert.same({ "", 1 }, { out, status })
    assert.matches("two%.pdf' has 2 pages, and no page 3\n$", errors)
    for words, problem in pairs {
      ["0"] = "first is a whole number from 1 to 100000, not 0", ["2 1"] = "first is 2, behind last, 1",
      ["1 x"] = 'last is a whole number from 1 to 100000, not "x"',
    } do
      assert.same({ "", "lmm.pages: " .. problem .. "\n", 1 }, { asked("pdf.lua " .. folder .. "/two.pdf " .. words) })
    end
  end)

  it("video.lua", function()
    local out, errors, status = asked "video.lua spec/media/clip.mkv 2"
    assert.matches("^video 1: 2 frames of image/jpeg[^\n]*\nquestion: What happens in the video%?\n$", out)
    assert.matches("^sent 2 frames of %d+ x %d+ pixels, %d+ bytes\n$", errors)
    assert.equal(0, status)
    for word, shown in pairs { ["0"] = "0", ["many"] = '"many"' } do
      assert.same({ "", "lmm.video: frames is a whole number from 1 to 1000, not " .. shown .. "\n", 1 },
        { asked("video.lua spec/media/clip.mkv " .. word) })
    end
  end)

  it("demo.lua", function()
    local out, errors, status = run(quote(LUA) .. " examples/demo.lua")
    assert.same({ "", 0 }, { errors, status })
    assert(out:find(PICTURE .. "question: What is shown in the image?\n", 1, true), out)
    assert.matches("file: +" .. sum .. "\n[^\n]*server: +" .. sum .. "\nThe same bytes%.", out)
  end)

  it("long_chat.lua", function()
    local server = assert(mock.start { delay = 0 })
    local file = folder .. "/chat.json"
    local command = ("printf '%%%%s\\n' %%s | OPENAI_BASE_URL=%s %s examples/long_chat.lua examples/picture.jpg %s")
      :format(server.url, quote(LUA), file)
    local out, errors, status = run(command:format("first second"))
    assert.same({ "", 0 }, { errors, status })
    local bytes = "turn: (%d+) bytes sent, %d+ tokens of the prompt, %d+ of the answer; "
    local pattern = "^" .. PICTURE:gsub("%p", "%%%0") .. "question: first\n" .. bytes .. "3 messages\n"
      .. PICTURE:gsub("%p", "%%%0") .. "question: second\nturn 2, after 3 messages\n" .. bytes
      .. "5 messages\nin all: 2 requests, (%d+) bytes, %d+ tokens\n$"
    local first, second, all = out:match(pattern)
    assert(first, out)
    first, second = tonumber(first), tonumber(second)
    assert(first > 104316 * 4 / 3 and second < 1000, out) -- the picture, in base64, and its name
    assert.equal(first + second, tonumber(all))
    out, errors, status = run(command:format "third")
    assert.same({ "", 0 }, { errors, status })
    assert.matches("^[^\n]* goes on after 5 messages\n.*question: third\nturn 3, after 5 messages\n", out)
    process.write(file, "notes")
    out, errors, status = run(command:format "fourth")
    assert.same({ "", 1 }, { out, status })
    assert.matches("is no saved conversation", errors)
    server.stop()
  end)

  it("tools.lua", function()
    local server = assert(mock.start { delay = 0 })
    local question = 'Which?\ncall list_pictures\ncall look {"name":"picture.jpg"}\ncall look {"name":"../x"}\n'
      .. 'call look {"name":"gone.jpg"}'
    local out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/tools.lua %s"):format(server.url, quote(LUA),
      quote(question)))
    server.stop()
    assert.same({ "", 0 }, { errors, status })
    assert.equal('[list_pictures {}]\n[look {"name":"picture.jpg"}]\n[look {"name":"../x"}]\n'
      .. '[look {"name":"gone.jpg"}]\n'
      .. "  -> ok\n  -> ok\n  -> error: that is no name of list_pictures\n"
      .. "  -> error: cannot read 'examples/gone.jpg': No such file or directory\n" .. PICTURE
      .. 'tool list_pictures: ["picture.jpg"]\ntool look: \ntool look: error: that is no name of list_pictures\n'
      .. "tool look: error: cannot read 'examples/gone.jpg': No such file or directory\nquestion: " .. question .. "\n",
      out)
  end)

  it("compare.lua", function()
    local one, other = assert(mock.start { delay = 0 }), assert(mock.start { delay = 0 })
    local command = "OPENAI_BASE_URL=%s %s examples/compare.lua examples/picture.jpg %s %s"
    local answer = PICTURE:gsub("%p", "%%%0") .. "question: What is shown in the image%? Answer in one sentence%.\n"
    local out, errors, status = run(command:format(one.url, quote(LUA), "mock", other.url .. "=mock"))
    assert.same({ "", 0 }, { errors, status })
    assert.matches("^== mock, %d+%.%d s\n" .. answer .. "== http[^\n]*=mock, %d+%.%d s\n" .. answer .. "$", out)
    out, errors, status = run(command:format(one.url, quote(LUA), "mock", "none"))
    assert.same({ "", 1 }, { errors, status })
    assert.matches("== none\nfailed: HTTP 404 [^\n]*none", out)
    for _, word in ipairs { other.url, other.url .. "=" } do
      out, errors, status = run(command:format(one.url, quote(LUA), "mock", word))
      assert.same({ "", 0 }, { errors, status })
      assert.matches("\n== " .. word:gsub("%p", "%%%0") .. ", %d+%.%d s\n" .. answer .. "$", out)
    end
    one.stop()
    other.stop()
  end)

  it("compare.lua without two models, or a picture", function()
    for _, words in ipairs { "", "examples/picture.jpg", "examples/picture.jpg a", "a b '' ''" } do
      local out, errors, status = run(quote(LUA) .. " examples/compare.lua " .. words)
      assert.same({ "", 2 }, { out, status })
      assert.matches("^usage: compare.lua PICTURE [^\n]*\n$", errors)
    end
    local out, errors, status = run(quote(LUA) .. " examples/compare.lua none.jpg a b")
    assert.same({ "", "cannot read 'none.jpg': No such file or directory\n", 1 }, { out, errors, status })
  end)

  it("transcribe.lua", function()
    local server = assert(mock.start { delay = 0 })
    local sound = "file: sound.wav, audio/wav, audio/wav, 1644 bytes, sha256 "
      .. process.shell "sha256sum spec/media/sound.wav":match "%x+" .. "\nmodel: mock\nresponse_format: verbose_json\n"
    local command = ("OPENAI_BASE_URL=%s %s examples/transcribe.lua "):format(server.url, quote(LUA))
    local out, errors, status = run(command .. "spec/media/sound.wav")
    assert.same({ "[0:00.0 - 0:01.0] " .. sound, "", 0 }, { out, errors, status })
    out, errors, status = run(command .. "none.wav spec/media/sound.wav")
    assert.same({ "== none.wav\n== spec/media/sound.wav\n[0:00.0 - 0:01.0] " .. sound,
      "none.wav: cannot read 'none.wav': No such file or directory\n", 1 }, { out, errors, status })
    server.stop()
    out, errors, status = run(command .. "spec/media/sound.wav")
    assert.same({ "", 1 }, { out, status })
    assert.matches("^spec/media/sound.wav: cannot reach ", errors)
    out, errors, status = run(quote(LUA) .. " examples/transcribe.lua")
    assert.same({ "", "usage: transcribe.lua FILE...\n", 2 }, { out, errors, status })
  end)

  it("pool.lua", function()
    local one, other = assert(mock.start { delay = 0 }), assert(mock.start { delay = 0 })
    local command = quote(LUA) .. " examples/pool.lua %s -- examples/picture.jpg examples/picture.jpg"
    local answer = "examples/picture.jpg: " .. PICTURE .. "question: What is shown in the image?\n"
    local out, errors, status = run(command:format("http://127.0.0.1:1/v1 " .. one.url .. " " .. other.url))
    assert.same({ answer .. answer, 0 }, { out, status })
    assert.matches("^http://127%.0%.0%.1:1/v1 is down: cannot reach [^\n]*\n[^\n]* is well\n[^\n]* is well\n$", errors)
    one.stop()
    other.stop()
    out, errors, status = run(command:format("http://127.0.0.1:1/v1 http://127.0.0.1:2/v1"))
    assert.matches("is down[^\n]*\n[^\n]*is down", errors)
    assert.equal(1, status)
    assert.matches("^examples/picture.jpg: no server answers: [^\n]*:1/v1[^\n]*; [^\n]*:2/v1", out)
    for _, words in ipairs { "", "http://127.0.0.1:1/v1", "-- a.jpg", "http://127.0.0.1:1/v1 --" } do
      out, errors, status = run(quote(LUA) .. " examples/pool.lua " .. words)
      assert.same({ "", "usage: pool.lua URL... -- PICTURE...\n", 2 }, { out, errors, status })
    end
  end)

  it("folder.lua", function()
    local server = assert(mock.start { delay = 0 })
    local pictures = folder .. "/it's pictures"
    os.execute("mkdir " .. quote(pictures))
    os.execute("cp examples/picture.jpg " .. quote(pictures .. "/a.jpg"))
    os.execute("cd " .. quote(pictures) .. " && cp a.jpg b.JPEG && echo x >c.png")
    local out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/folder.lua %s Why?"):format(server.url, quote(LUA),
      quote(pictures)))
    local lines = {}
    for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    table.sort(lines)
    local answer = "\t" .. PICTURE:gsub("\n", " ") .. "question: Why?"
    assert.same({ { "a.jpg" .. answer, "b.JPEG" .. answer }, 1 }, { lines, status })
    assert.matches("^c%.png: [^\n]*\n$", errors)
    server.stop()
    local problems = {
      { folder .. "/none", "^cannot read [^\n]*/none[^\n]*: No such file or directory\n$" },
      { "examples/picture.jpg", "^cannot read [^\n]*: Not a directory\n$" },
      { "spec", "^no pictures in spec\n$" },
      { quote(pictures), "^cannot reach [^\n]*\n$" },
    }
    for _, row in ipairs(problems) do
      out, errors, status = run(("OPENAI_BASE_URL=%s %s examples/folder.lua %s"):format(server.url, quote(LUA), row[1]))
      assert.same({ "", 1 }, { out, status })
      assert.matches(row[2], errors)
    end
  end)

  it("grid.lua", function()
    local server = assert(mock.start { delay = 0 })
    local out, errors, status = run(("OPENAI_BASE_URL=%s LMM_LOG=off %s bin/lmm grid examples/grid.lua -o %s/page.html")
      :format(server.url, quote(LUA), folder))
    server.stop()
    assert.matches("page.html: 6 cells, 6 asked now, score 1 %(6 of 6 passed%); %d+ KB\n$", out)
    assert.same({ "", 0 }, { errors, status })
  end)

  it("extract.lua", function()
    local server = assert(mock.start { delay = 0 })
    local command = "OPENAI_BASE_URL=%s %s examples/extract.lua %s"
    local picture = "examples/picture.jpg"
    local comma = folder .. "/a,b.jpg"
    os.execute("cp " .. picture .. " " .. quote(comma))
    local out, errors, status = run(command:format(server.url, quote(LUA), picture .. " " .. quote(comma)))
    assert.same({ "", 0 }, { errors, status })
    assert.equal(table.concat({ "file,item,count,price", picture .. ",item 1,1,1.5", picture .. ",item 2,2,2.5",
      '"' .. comma .. '",item 1,1,1.5', '"' .. comma .. '",item 2,2,2.5', "" }, "\r\n"), out)
    out, errors, status = run(command:format(server.url, quote(LUA), "none.jpg " .. picture))
    assert.same({ 1, 4 }, { status, select(2, out:gsub("\n", "")) + 1 })
    assert.matches("^none%.jpg: cannot read 'none%.jpg': No such file or directory\n$", errors)
    out, errors, status = run(quote(LUA) .. " examples/extract.lua")
    assert.same({ "", "usage: extract.lua RECEIPT...\n", 2 }, { out, errors, status })
    server.stop()
    out, errors, status = run(command:format(server.url, quote(LUA), picture))
    assert.same({ "file,item,count,price\r\n", 1 }, { out, status })
    assert.matches("^examples/picture%.jpg: cannot reach [^\n]*\n$", errors)
  end)

  it("luv_server.lua", function()
    local server = assert(mock.start { delay = 0 })
    local log = folder .. "/front"
    local pid = process.shell(("OPENAI_BASE_URL=%s %s examples/luv_server.lua 0 >%s 2>&1 & echo $!"):format(server.url,
      quote(LUA), log)):match "%d+"
    local url = process.wait_for("the front", function()
      return (process.read(log) or ""):match "listening on (%S+)"
    end)
    local out, errors = run("env -u LD_PRELOAD curl -sS --data-binary @examples/picture.jpg " .. url)
    assert.same({ PICTURE .. "question: What is shown in the image?\n", "" }, { out, errors })
    assert.matches("no known type", (run("env -u LD_PRELOAD curl -sS --data-binary nonsense " .. url)))
    local curl = "env -u LD_PRELOAD curl -sS -m 30 -o /dev/null -w '%{http_code}' "
    assert.equal("400", (run(curl .. "--data-binary nonsense " .. url)))
    assert.equal("411", (run(curl .. "-H 'Transfer-Encoding: chunked' --data-binary x " .. url)))
    assert.equal("411", (run(curl .. "-H 'Transfer-Encoding: chunked' -H 'Content-Length: 5' --data-binary x " .. url)))
    assert.equal("413", (run(curl .. "-H 'Content-Length: 99999999' --data-binary x " .. url)))
    assert.equal("405", (run(curl .. url)))
    local long = process.write(folder .. "/long", "X: " .. ("x"):rep(70000))
    assert.equal("431", (run(curl .. "--data-binary x -H @" .. long .. " " .. url)))
    out, errors = run(quote(LUA) .. " examples/luv_server.lua " .. url:match "%d+$")
    assert.equal("", out)
    assert.matches("^cannot listen on port %d+: EADDRINUSE[^\n]*\n$", errors)
    os.execute("kill " .. pid)
    server.stop()
  end)

  it("luv_server.lua, a PORT that is none", function()
    for _, words in ipairs { "nonsense", "-1", "8080.5", "65536", "''", "0 0" } do
      local out, errors, status = run("timeout 10 " .. quote(LUA) .. " examples/luv_server.lua " .. words)
      assert.same({ "", "usage: luv_server.lua [PORT]\n", 2 }, { out, errors, status })
    end
  end)

  it("make names what is missing, and builds nothing", function()
    local command = "env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory core VARIANT=-none "
    for _, missing in ipairs { "LUA_INCDIR=/none", "CC=/none/cc" } do
      local out, errors, status = run(command .. missing)
      assert.same({ "", 2 }, { out, status })
      assert.matches("^needed: %S+ lauxlib.h b64/cencode.h; on Debian: apt install gcc [^\n]*libb64%-dev nettle%-dev\n"
        .. "make: [^\n]*\n$", errors)
    end
    assert.equal("", process.shell "ls -d build/*-none 2>/dev/null")
  end)
end)
