-- lmm embed, lmm tokens and lmm transcribe, run as programs of their own against the mock.
local cli = require "spec.support.cli"
local lmm_library = require "lmm"
local mock = require "lmm.mock"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"

local PNG, SOUND = "spec/media/picture.png", "spec/media/sound.wav"

local server, program, client

setup(function()
  server = assert(mock.start { delay = 0 })
  program = cli.new { OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "" }
  client = lmm_library.connect(server.url)
end)

teardown(function()
  client:close()
  server.stop()
  program.remove()
end)

local function lmm(...) return program.run(...) end

local answered, complained = cli.answered, cli.complained

--- The lines that `lmm embed` prints for these items.
local function lines_for(items, opts)
  local lines = {}
  for i, vector in ipairs(assert(client:embed(items, opts)).vectors) do
    lines[i] = lmm_library.json.encode(vector) .. "\n"
  end
  return table.concat(lines)
end

--- What a server gets of these words, whose answer is this JSON, and the run.
local function sent(words, answer)
  local peer = raw.start { { { await = "request" }, { send = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    .. "Content-Length: " .. #answer .. "\r\n\r\n" .. answer }, { await = "close" } } }
  local all = {}
  for _, word in ipairs(words) do all[#all + 1] = word end
  for _, word in ipairs { "-m", "m", "--url", peer.url } do all[#all + 1] = word end
  local run = lmm(all)
  local text = peer:received()
  peer:stop()
  return text, run
end

describe("lmm embed", function()
  it("prints a JSON list for each text", function()
    local file = program.write("text", "from a file\n")
    assert.equal(lines_for { "a b", "c", "from a file" }, answered(lmm { "embed", "a b", "c", "@" .. file }))
    assert.equal(lines_for({ "-x" }, { dimensions = 3 }), answered(lmm { "embed", "-p", "dimensions=3", "--", "-x" }))
  end)

  it("takes the lines of standard input that are not blank, however many", function()
    assert.equal(lines_for { "a", "b c", "d" }, answered(lmm({ "embed" }, "a\n\n  \r\nb c\r\nd")))
    local texts = {}
    for i = 1, 600 do texts[i] = "line " .. i end
    assert.equal(lines_for(texts), answered(lmm({ "embed" }, table.concat(texts, "\n") .. "\n")))
  end)

  it("takes media, behind the texts", function()
    local image = lmm_library.image(PNG)
    assert.equal(lines_for { "a", image }, answered(lmm { "embed", "-i", PNG, "a" }))
    assert.equal(lines_for { image }, answered(lmm({ "embed", "-a", "-" }, shell.read(PNG))))
  end)

  it("sends fields, the model and headers as they are", function()
    local text, run = sent({ "embed", "a", "-p", "truncate_prompt_tokens=5", "-H", "X-A: b" },
      '{"data":[{"embedding":[0.1,2]}]}')
    assert.equal("[0.1,2]\n", answered(run))
    assert.matches("\r\nX%-A: b\r\n", text)
    assert.matches('{"input":"a","model":"m","truncate_prompt_tokens":5}$', text)
  end)

  it("says what is wrong, with the exit status for it", function()
    for _, row in ipairs {
      { { "embed" }, 2, "there is nothing to embed" },
      { { "embed", "a", "-p", "input=b" }, 2, "%-p does not set 'input': TEXT and %-i give it" },
      { { "embed", "a", "-p", "timeot=5" }, 2, "unknown option 'timeot' %(did you mean 'timeout'%?%)" },
      { { "embed", "a", "--timeout", "0" }, 2, "not a number of seconds above 0" },
      { { "embed", "a", "-m", "x" }, 1, "HTTP 404 .*the server has \"mock\"" },
      { { "embed", "-i", "gone.png" }, 1, "cannot read 'gone.png'" },
      { { "embed", "a", "--url", "http://127.0.0.1:9/v1", "-p", "retry=false" }, 1, "cannot reach" },
    } do
      assert.equal("", complained(lmm(row[1]), row[2], row[3]))
    end
    complained(lmm({ "embed" }, shell.read(PNG)), 2, "the standard input holds image/png, which is no text")
  end)

  it("prints what it has before a failure", function()
    local answer = {}
    for i = 1, 256 do answer[i] = '{"embedding":[1]}' end
    answer = '{"data":[' .. table.concat(answer, ",") .. "]}"
    local peer = raw.start { { { await = "request" }, { send = "HTTP/1.1 200 OK\r\nContent-Length: " .. #answer
      .. "\r\n\r\n" .. answer }, { await = "request" }, { send = "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\n"
      .. "No." } } }
    local run = lmm({ "embed", "-m", "m", "--url", peer.url }, ("a\n"):rep(257))
    peer:stop()
    assert.equal(("[1]\n"):rep(256), complained(run, 1, "HTTP 400 .*: No%."))
  end)
end)

describe("lmm tokens", function()
  it("counts a text of the argument, a file or standard input", function()
    local file = program.write("text", "abcd\n")
    assert.equal("3\n", answered(lmm { "tokens", "abc" }))
    assert.equal("4\n", answered(lmm { "tokens", "@" .. file }))
    assert.equal("5\n", answered(lmm({ "tokens" }, "abcd\n")))
    assert.equal("2\n", answered(lmm({ "tokens", "-" }, "ab")))
    assert.equal("0\n", answered(lmm({ "tokens" }, "")))
  end)

  it("--ids prints the tokens", function()
    assert.equal("[97,98]\n", answered(lmm { "tokens", "--ids", "ab" }))
    assert.equal("[]\n", answered(lmm({ "tokens", "--ids" }, "")))
  end)

  it("counts a question of a chat, with pictures, as lmm ask sends it", function()
    local tokens = assert(client:tokenize { { role = "user", content = { { type = "text", text = "x" },
      lmm_library.image(PNG) } } }).tokens
    assert.equal(#tokens .. "\n", answered(lmm { "tokens", "-i", PNG, "x" }))
    assert.equal(lmm_library.json.encode(tokens) .. "\n", answered(lmm { "tokens", "--ids", "-a", PNG, "x" }))
    assert.equal("20\n", answered(lmm { "tokens", "--chat", "x" }))
    assert.equal("9\n", answered(lmm { "tokens", "--chat", "-p", "add_generation_prompt=false", "x" }))
    assert.matches("^%d+\n$", answered(lmm { "tokens", "-i", PNG }))
  end)

  it("takes llama-server's answer, which has no count", function()
    local text, run = sent({ "tokens", "a" }, '{"tokens":[5,6,7]}')
    assert.equal("3\n", answered(run))
    assert.matches("^POST /tokenize ", text)
    assert.matches('{"content":"a","model":"m","prompt":"a"}$', text)
  end)

  it("says what is wrong", function()
    complained(lmm { "tokens", "a", "-p", "prompt=b" }, 2, "%-p does not set 'prompt': TEXT gives it")
    complained(lmm({ "tokens", "-", "-i", "-" }, "x"), 2, "cannot both come from standard input")
    complained(lmm { "tokens", "a", "b" }, 2, "too many arguments")
    complained(lmm { "tokens", "a", "-m", "x" }, 1, "HTTP 404 from .*/tokenize")
  end)
end)

describe("lmm transcribe", function()
  local FILE = "^file: sound%.wav, audio/wav, audio/wav, 1644 bytes, sha256 %x+\n"

  it("prints the text", function()
    assert.matches(FILE .. "model: mock\nresponse_format: text\n$", answered(lmm { "transcribe", SOUND }))
    assert.matches(FILE .. "language: de\nmodel: mock\nresponse_format: text\n$",
      answered(lmm { "transcribe", "-l", "de", "--english", SOUND }))
    assert.matches("^file: file%.wav, .* 1644 bytes", answered(lmm({ "transcribe", "-" }, shell.read(SOUND))))
  end)

  it("prints the server's own JSON, on one line", function()
    assert.matches('^{"text":"file: sound.wav[^\n]*","usage":{"type":"duration","seconds":1}}\n$',
      answered(lmm { "transcribe", "--format", "json", SOUND }))
    assert.matches('^{"duration":"1%.0",[^\n]*"words":null}\n$',
      answered(lmm { "transcribe", "--format", "verbose_json", SOUND }))
  end)

  it("prints subtitles as they come", function()
    local SRT = "1\n00:00:00,000 --> 00:00:01,000\nHi.\n\n"
    local text, run = sent({ "transcribe", "--format", "srt", SOUND, "--english" }, SRT)
    assert.equal(SRT, answered(run))
    assert.matches("^POST /v1/audio/translations ", text)
    assert.matches('name="response_format"\r\n\r\nsrt\r\n', text)
  end)

  it("says what is wrong", function()
    for _, row in ipairs {
      { { "transcribe" }, 2, "missing argument 'file'" },
      { { "transcribe", "--format", "pdf", SOUND }, 2, "must be one of 'text', 'srt', 'vtt', 'json', 'verbose_json'" },
      { { "transcribe", "-p", "response_format=srt", SOUND }, 2, "%-p does not set 'response_format': %-%-format" },
      { { "transcribe", "-p", "stream=true", SOUND }, 2, "%-p does not set 'stream'" },
      { { "transcribe", "gone.wav" }, 1, "cannot read 'gone.wav'" },
      { { "transcribe", "-" }, 1, "there is no sound on standard input" },
      { { "transcribe", "--format", "vtt", SOUND }, 1, "HTTP 400 .*Currently only support" },
    } do
      assert.equal("", complained(lmm(row[1]), row[2], row[3]))
    end
  end)
end)
