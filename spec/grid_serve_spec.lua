-- `lmm grid serve` and `lmm grid watch`: who may ask, what is kept, and what is made again.
local assert = require "luassert"
local browsers = require "spec.support.browser"
local cli = require "spec.support.cli"
local json = require "lmm.json"
local lmm = require "lmm"
local mock = require "lmm.mock"
local process = require "spec.support.process"

local server = assert(mock.start { delay = 0 })
local program = cli.new { OPENAI_API_KEY = "", OPENAI_BASE_URL = server.url }
local folder, file = process.folder()
local running

local PAGE, NOTES = file "page.html", file "page.grid/notes.json"

--- Starts `lmm grid` with these words in the background.
local function start(words)
  file("out", "")
  file("err", "")
  local run = program.shell(("%s >%s 2>%s & echo $! >$out"):format(program.command(words), file "out", file "err"))
  running = run.out:match "%d+"
end

local function stop(signal)
  if not running then return end
  os.execute(("kill -%s %s"):format(signal or "INT", running))
  process.wait_gone(tonumber(running))
  running = nil
end

--- Serves PAGE; gives the URL.
local function serve()
  start { "grid", "serve", PAGE }
  return process.wait_for("the server", function()
    return (process.read(file "out") or ""):match "is at (http://%S+) until"
  end)
end

setup(function()
  os.execute("cp examples/picture.jpg " .. file "picture.jpg")
  program.run { "grid", "--prompt", "one", "--prompt", "two", "--images", file "picture.jpg", "-o", PAGE }
end)

after_each(function() stop() end)

teardown(function()
  server.stop()
  program.remove()
  os.execute("rm -rf " .. folder)
end)

describe("lmm grid serve", function()
  it("answers nobody but who has its URL", function()
    local url = serve()
    local root, token = url:match "^(http://127%.0%.0%.1:%d+)/%?token=(%x+)$"
    assert.same(32, #token)
    local port = root:match "%d+$"
    local client = lmm.connect { base_url = root, dialect = "generic", retry = false }
    local function status(path, headers, method, body)
      local reply, _, err = client:request(method or "GET", path, body, { headers = headers })
      return reply and reply.status or err.status
    end
    local with = "?token=" .. token
    assert.same({ 200, 200, 200, 404 }, { status("/" .. with), status("/notes" .. with), status("/version" .. with),
      status("/nothing" .. with) })
    assert.same({ 403, 403, 403, 403 }, { status "/", status "/?token=", status("/notes?token=" .. ("0"):rep(32)),
      status("/notes" .. with .. "0") })
    local foreign = { "http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:" .. port }
    for _, origin in ipairs(foreign) do
      assert.same(403, status("/" .. with, { Origin = origin }))
      assert.same(403, status("/notes" .. with, { Origin = origin }, "POST", { key = "ab", star = true }))
    end
    assert.same({ 403, 403 }, { status("/" .. with, { Host = "evil.example:" .. port }),
      status("/" .. with, { ["Sec-Fetch-Site"] = "cross-site" }) })
    assert.same({ 200, 200 }, { status("/" .. with, { Host = "localhost:" .. port }),
      status("/" .. with, { Origin = "http://127.0.0.1:" .. port }) })
    local listening = process.shell(("ss -ltnH 'sport = :%s' 2>/dev/null"):format(port))
    if listening ~= "" then assert.matches("127%.0%.0%.1:" .. port, listening) end
  end)

  it("ends with a sentence where its port is taken", function()
    local port = server.url:match ":(%d+)"
    local run = program.run { "grid", "serve", "--port", port, PAGE }
    assert.same({ 1, "" }, { run.status, run.out })
    assert.matches("^lmm: cannot listen on 127%.0%.0%.1:" .. port .. ": EADDRINUSE[^\n]*\n$", run.err)
  end)

  it("gives the pictures of the page, and no other file", function()
    local url = serve()
    local root, with = url:match "^(http://[^/]+)/(.*)$"
    local client = lmm.connect { base_url = root, dialect = "generic", retry = false }
    local digest = process.shell "sha256sum examples/picture.jpg":match "%x+"
    local reply = assert(client:request("GET", "/picture/" .. digest .. with))
    assert.same(process.read "examples/picture.jpg", reply.body)
    assert.same("image/jpeg", reply.headers["content-type"])
    for _, path in ipairs { "/picture/" .. ("0"):rep(64), "/picture/../page.html", "/etc/passwd", "/picture/jpg" } do
      assert.is_nil(client:request("GET", path .. with))
    end
  end)

  it("keeps stars and notes in a file", function()
    os.remove(NOTES)
    local url = serve()
    local root, with = url:match "^(http://[^/]+)/(.*)$"
    local client = lmm.connect { base_url = root, dialect = "generic", retry = false }
    local function post(body) return client:request("POST", "/notes" .. with, body) end
    assert(post { key = "ab12", star = true, note = "</script> good" })
    assert(post { key = "cd34", star = false, note = "later" })
    assert.same({ ab12 = { star = true, note = "</script> good" }, cd34 = { note = "later" } },
      json.clean((json.decode(process.read(NOTES)))))
    assert(post { key = "cd34", star = false, note = "" })
    for _, bad in ipairs { { key = "../x" }, { key = ("a"):rep(65) }, { key = "ab", note = 7 },
      { key = "ab", note = ("x"):rep(70000) }, "no JSON" } do
      assert.is_nil(post(bad))
    end
    stop()
    -- The next page has them.
    program.run { "grid", "--prompt", "one", "--images", file "picture.jpg", "-o", PAGE }
    local data = assert(json.decode(process.read(PAGE):match '<script type="application/json" id="data">(.-)</script>'))
    assert.same({ ab12 = { star = true, note = "</script> good" } }, json.clean(data.head.notes))
  end)

  it("overwrites no file of notes that it cannot read", function()
    process.write(NOTES, "{}")
    local url = serve()
    process.write(NOTES, '{"ab12":{"note":"la')
    local root, with = url:match "^(http://[^/]+)/(.*)$"
    local client = lmm.connect { base_url = root, dialect = "generic", retry = false }
    for _, method in ipairs { "GET", "POST" } do
      local reply, message = client:request(method, "/notes" .. with, method == "POST" and { key = "cd34" } or nil)
      assert.is_nil(reply)
      assert.matches("holds no notes of a page: mend it, or move it away", message)
    end
    stop()
    for _, words in ipairs { { "grid", "serve", PAGE }, { "grid", "--prompt", "one", "-o", PAGE } } do
      cli.complained(program.run(words), 1, "notes.json' holds no notes of a page: mend it, or move it away")
    end
    assert.equal('{"ab12":{"note":"la', process.read(NOTES))
    os.remove(NOTES)
  end)

  it("is of use in a browser", function()
    if not browsers.is_installed() then pending "no browser" end
    os.remove(NOTES)
    local url = serve()
    local browser = browsers.start()
    browser:open(url)
    browser:click "td.cell .star"
    browser:run "document.querySelector('td.cell').click()"
    browser:wait "return /picture/.test(document.querySelector('img.large').src)" -- the full picture
    browser:type("textarea", "kept")
    browser:press "escape"
    process.wait_for("the note", function() return (process.read(NOTES) or ""):find "kept" end)
    browser:open(url)
    browser:wait "return document.querySelector('.note')?.textContent === 'kept'"
    assert.same("true", browser:run "return document.querySelector('td.cell .star').ariaPressed")
    assert.same({}, browser:log())
    -- A page that was made anew comes by itself.
    program.run { "grid", "--prompt", "another", "-o", PAGE }
    browser:wait "return /another/.test(document.querySelector('td.cell')?.textContent)"
    browser:quit()
  end)

  it("serves no other file", function()
    cli.complained(program.run { "grid", "serve", file "none.html" }, 1, "there is no page '.*none.html'")
    cli.complained(program.run { "grid", "serve", file("other.html", "<html>") }, 1, "is no page of lmm grid")
    cli.complained(program.run { "grid", "serve" }, 2, "serve takes one page")
  end)
end)

describe("lmm grid watch", function()
  local function wait_for(name, pattern)
    return process.wait_for(pattern, function() return (process.read(file(name)) or ""):match(pattern) end)
  end

  it("asks again what changed when the file is saved", function()
    local grid = file("watched.lua", "return { prompts = { 'one', 'two' } }")
    start { "grid", "watch", grid, "-o", file "watched.html" }
    wait_for("out", "2 cells, 2 asked now")
    file("watched.lua", "return { prompts = { 'one', 'three' } }")
    wait_for("out", "2 cells, 1 asked now")
    file("watched.lua", "return { prompts = ")
    wait_for("err", "watched.lua:1: [^\n]+")
    -- As an editor saves it: another file takes its place.
    file("new.lua", "return { prompts = { 'one', 'three' }, check = function() return true end }")
    os.rename(file "new.lua", grid)
    wait_for("out", "2 cells, 0 asked now, score 1")
    assert.matches("question: three", process.read(file "watched.html"))
    local pid = tonumber(running)
    stop()
    assert.falsy(process.runs(pid))
    cli.complained(program.run { "grid", "watch" }, 2, "watch takes one file")
  end)

  it("ends in good order by a signal", function()
    local grid = file("watched.lua", "return { prompts = 'one' }")
    for signal, status in pairs { INT = 130, TERM = 143 } do
      local run = program.shell(([[%s >$out 2>$err & pid=$!; while ! grep -qs 'cell' $out; do sleep 0.02; done
        while kill -%s $pid 2>/dev/null; do sleep 0.05; done; wait $pid; echo $? >$status]]):format(
        program.command { "grid", "watch", grid, "-o", file "watched.html" }, signal))
      assert.same({ "", status }, { run.err, run.status })
    end
  end)

  it("says once that there is no file, and takes the one that comes", function()
    start { "grid", "watch", file "late.lua", "-o", file "late.html" }
    wait_for("err", "cannot read the grid: ")
    process.shell "sleep 0.5" -- two looks at the file, which are to say nothing
    file("late.lua", "return { prompts = 'one' }")
    wait_for("out", "1 cell")
    stop()
    assert.equal(1, select(2, process.read(file "err"):gsub("cannot read", "")))
  end)

  it("writes nothing into a table on standard output", function()
    local grid = file("watched.lua", "return { prompts = 'one' }")
    start { "grid", "watch", grid, "-o", file "watched.html", "--csv", "-" }
    process.wait_for("the end of a run", function()
      return (process.read(file "out") .. process.read(file "err")):find "1 cell"
    end)
    stop()
    assert.matches("^prompt,[^\n]*\none,[^\n]*\n$", process.read(file "out"))
  end)
end)
