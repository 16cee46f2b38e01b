-- What `lmm ask` does with an answer: pictures and sound are saved or told, an end without a reason is told, and --json
-- passes on what came. The program is run as it is; the server's words are written here.
local cli = require "spec.support.cli"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"

local PNG = shell.read "spec/media/picture.png"
local base64 = require("lmm.core").base64.encode
local URL = "data:image/png;base64," .. base64(PNG)

local program

setup(function() program = cli.new { OPENAI_API_KEY = "" } end)
teardown(function() program.remove() end)

--- What comes of a reply with this body.
local function ask(body, ...)
  local head = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"):format(#body)
  local server = raw.start { { { await = "request" }, { send = head .. body }, { close = true } } }
  local run = program.run({ "ask", "-m", "m", "q", ... }, "", { OPENAI_BASE_URL = server.url })
  server:stop()
  return run
end

local function message(fields, reason)
  return ('{"choices":[{"index":0,"message":{%s},"finish_reason":%s}]}'):format(fields, reason or '"stop"')
end

local function images(...)
  local list = {}
  for i, url in ipairs { ... } do list[i] = ('{"type":"image_url","image_url":{"url":"%s"}}'):format(url) end
  return '"images":[' .. table.concat(list, ",") .. "]"
end

describe("a picture in an answer", function()
  it("is told, and is no empty line", function()
    local run = ask(message('"content":null,' .. images(URL)))
    assert.equal("", run.out)
    local says = "^lmm: the model made a picture %%(image/png, %%d+ x %%d+ pixels, %d bytes%%): %%-o FILE[^\n]*\n$"
    assert.matches(says:format(#PNG), run.err)
    assert.equal(0, run.status)
    run = ask(message('"content":"Here:",' .. images(URL)), "--no-stream")
    assert.equal("Here:\n", run.out)
    assert.matches("the model made a picture", run.err)
  end)

  it("is saved by -o, and so are more of them", function()
    local path = os.tmpname()
    os.remove(path)
    local run = ask(message('"content":"Here:",' .. images(URL, URL)), "-o", path .. ".png")
    assert.equal("Here:\n", run.out)
    assert.equal(0, run.status)
    assert.matches("^lmm: a picture [^\n]* is in " .. path:gsub("%p", "%%%0") .. "%-2%.png\n$", run.err)
    assert.equal(PNG, shell.read(path .. ".png"))
    assert.equal(PNG, shell.read(path .. "-2.png"))
    os.remove(path .. ".png")
    os.remove(path .. "-2.png")
  end)

  it("that is not there is not saved", function()
    local path = os.tmpname()
    os.remove(path)
    local run = ask(message '"content":"No."', "-o", path)
    assert.matches("^lmm: there is nothing to save in [^\n]*\n$", run.err)
    assert.equal(1, run.status)
    run = ask(message('"content":"",' .. images "https://x.invalid/y.png"), "-o", path)
    assert.matches("^lmm: a picture %(at https://x.invalid/y.png%) came without its bytes", run.err)
    assert.is_nil((io.open(path)))
  end)

  it("is not asked for where it could not be written", function()
    local run = program.run { "ask", "-m", "m", "q", "-o", "/nowhere/x.png" }
    assert.matches("^lmm: cannot write to /nowhere/x.png: No such file", run.err)
    assert.equal(1, run.status)
  end)
end)

it("a sound in an answer is told by its words, and saved", function()
  local audio = '"content":null,"audio":{"id":"a","data":"UklGRg==","transcript":"Hello"}'
  local run = ask(message(audio))
  assert.equal("", run.out)
  assert.matches("^lmm: the model made a sound %(audio/pcm, 4 bytes, which says: Hello%)", run.err)
  local path = os.tmpname()
  assert.equal(0, ask(message(audio), "-o", path).status)
  assert.equal("RIFF", shell.read(path))
  os.remove(path)
end)

it("an end without a reason is told", function()
  local run = ask 'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\ndata: [DONE]\n\n'
  assert.equal("Hello\n", run.out)
  assert.matches("^lmm: the server did not say why the answer ended", run.err)
  assert.equal(0, run.status)
end)

it("--json passes on half a character as it came", function()
  local body = message '"content":"l\\udcafo"'
  local run = ask(body, "--json")
  assert.same({ body .. "\n", "", 0 }, { run.out, run.err, run.status })
end)
