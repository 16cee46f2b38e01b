-- The file by which programs find a server: `lmm serve --url-file` writes it, `lmm wait --url-file` waits for it, and
-- every command with --url-file takes the server from it.
local assert = require "luassert"
local cli = require "spec.support.cli"
local mock = require "lmm.mock"
local process = require "spec.support.process"

local LUA = arg[-1]
local program = cli.new { OPENAI_API_KEY = "" }
local folder = process.shell "mktemp -d":match "%S+"
local FILE = folder .. "/server.url"
local MOCK = { LUA, "bin/lmm", "mock", "--delay", "0" }
local lmm = program.command

local function serve_words(options, server)
  local words = { "serve", "--url-file", FILE }
  for _, word in ipairs(options) do words[#words + 1] = word end
  words[#words + 1] = "--"
  for _, word in ipairs(server or MOCK) do words[#words + 1] = word end
  return words
end

local function is_there() return io.open(FILE, "rb") ~= nil end

--- Starts `lmm serve` with these options, and runs a script once its file has a URL.
local function while_served(options, script)
  return program.shell(lmm(serve_words(options)) .. (" </dev/null >>$err 2>&1 & serve=$!\n"
    .. "until grep -q URL= %s 2>/dev/null || ! kill -0 $serve 2>/dev/null; do sleep 0.02; done\n"):format(FILE)
    .. script .. "\nkill -TERM $serve; wait $serve; echo $? >$status")
end

teardown(function()
  program.remove()
  os.execute("rm -rf " .. folder)
end)

describe("the file of a URL", function()
  before_each(function() os.execute("rm -rf " .. folder .. "/*") end)

  it("tells the URL to its owner alone, and goes with the server", function()
    local run = while_served({}, ("cat %s >$out; stat -c %%a %s >>$out"):format(FILE, FILE))
    local url = run.err:match "http://127%.0%.0%.1:%d+/v1"
    local text = "^# a server of process %d+ on %S+\nOPENAI_BASE_URL='" .. url:gsub("%p", "%%%0") .. "'\n600\n$"
    assert.matches(text, run.out)
    assert.same({ 0, false }, { run.status, is_there() })
  end)

  it("tells a key that is made at random, without which the server answers nobody", function()
    local ask = lmm { "ask", "--url-file", FILE, "Who?" }
    local run = while_served({ "--key" }, ([[
      %s >>$out 2>&1; %s >>$out 2>&1
      (set -a; . %s; %s >>$out 2>&1; OPENAI_API_KEY=wrong; %s >>$out 2>&1
      cat /proc/[0-9]*/cmdline >$out.words 2>/dev/null; echo "$OPENAI_API_KEY" >$out.key
      . %s; echo "$OPENAI_API_KEY" >$out.key; grep -cf $out.key $out.words $err >>$out)
      rm $out.words $out.key]]):format(ask, lmm { "wait", "--url-file", FILE }, FILE, lmm { "ask", "Whose?" },
      lmm { "models" }, FILE))
    assert.equal(0, run.status)
    local url = run.err:match "http://127%.0%.0%.1:%d+/v1"
    assert.matches("^question: Who%?\n" .. url:gsub("%p", "%%%0") .. "\nquestion: Whose%?\nlmm: HTTP 401 [^\n]*\n"
      .. "[^\n]*words:0\n[^\n]*:0\n$", run.out)
  end)

  it("gives the command of --with the key, and takes the one of $VLLM_API_KEY", function()
    local words = serve_words({ "--with", "cat " .. FILE .. "; echo $OPENAI_API_KEY; " .. lmm { "ask", "Who?" } })
    local out = cli.answered(program.run(words, nil, { VLLM_API_KEY = "it's one" }))
    assert.matches("\nOPENAI_API_KEY='it'\\''s one'\nit's one\nquestion: Who%?\n$", out)
    table.insert(words, 2, "--key")
    out = cli.answered(program.run(words))
    local key, same = out:match "OPENAI_API_KEY='(%x+)'\n(%x+)\nquestion"
    assert.same({ 32, key }, { #key, same })
  end)

  it("names the machine that --url-host says", function()
    local run = while_served({ "--url-host", "localhost" }, lmm { "ask", "--url-file", FILE, "Who?" } .. " >$out")
    assert.same({ "question: Who?\n", 0 }, { run.out, run.status })
    assert.matches("^http://localhost:%d+/v1\n$", run.err)
    cli.complained(program.run(serve_words { "--url-host", "a b" }), 2, "'a b' is not the name of a machine")
  end)

  it("is written before the server is started, where it can be", function()
    local words = serve_words({}, { "sh", "-c", "cat " .. FILE .. " >" .. folder .. "/seen; exit 1" })
    process.write(FILE, "OPENAI_BASE_URL='http://127.0.0.1:1/v1'\n")
    cli.complained(program.run(words), 1, "exit code 1")
    assert.matches("^# a server of process %d+ on %S+\n$", process.read(folder .. "/seen"))
    assert.falsy(is_there())
    words[3] = folder .. "/none/server.url"
    cli.complained(program.run(words), 1, "cannot write '.*/none/server.url': No such file or directory")
    words[3] = process.write(folder .. "/notes", "my notes\n")
    cli.complained(program.run(words), 1, "'.*notes' is there, and names no server: name another file")
    assert.equal("my notes\n", process.read(words[3]))
    words[3] = folder
    cli.complained(program.run(words), 1, "cannot write '.*': it is a directory, not a file")
  end)

  it("stays where another server has written it since", function()
    local run = while_served({}, "echo \"OPENAI_BASE_URL='http://other/v1'\" >" .. FILE)
    assert.equal(0, run.status)
    assert.equal("OPENAI_BASE_URL='http://other/v1'\n", process.read(FILE))
  end)
end)

describe("lmm wait --url-file", function()
  before_each(function() os.execute("rm -rf " .. folder .. "/*") end)

  it("waits for the file, and for the server that it names in the end", function()
    local server = assert(mock.start())
    local function write(text)
      return ("printf %%s %s >%s.new; mv %s.new %s\n"):format(process.quote(text), FILE, FILE, FILE)
    end
    local run = program.shell(lmm { "wait", "--url-file", FILE } .. " >$out 2>$err & wait=$!\nsleep 0.4\n"
      .. write "# a server of process 1 on x\n" .. "sleep 0.4\n" .. write "OPENAI_BASE_URL='http://127.0.0.1:1/v1'\n"
      .. "sleep 0.6\n" .. write("OPENAI_BASE_URL=" .. server.url .. "\n") .. "wait $wait; echo $? >$status")
    server.stop()
    assert.same({ server.url .. "\n", "", 0 }, { run.out, run.err, run.status })
  end)

  it("tells why no server came", function()
    local words = { "wait", "--url-file", FILE, "--timeout", "0.4" }
    cli.complained(program.run(words), 1,
      "^lmm: no server was ready within 0.4 s: cannot read '.*server.url': No such file or directory\n")
    process.write(FILE, "# a server of process 7 on node1\n")
    cli.complained(program.run(words), 1, "within 0.4 s: a server of process 7 on node1 is still starting")
    process.write(FILE, "OPENAI_BASE_URL='http://127.0.0.1:1/v1'\n")
    cli.complained(program.run(words), 1,
      "^lmm: no server was ready within 0.4 s: cannot reach http://127.0.0.1:1/health")
    process.write(FILE, "hello\n")
    cli.complained(program.run(words), 1, "'.*server.url' names no server: no line of it begins with OPENAI_BASE_URL=")
  end)
end)

describe("--url-file", function()
  before_each(function() os.execute("rm -rf " .. folder .. "/*") end)

  it("is refused where it names no server, or --url another one", function()
    cli.complained(program.run { "models", "--url-file", FILE }, 1,
      "^lmm: cannot read '.*server.url': No such file or directory %(lmm wait %-%-url%-file waits for it%)\n$")
    process.write(FILE, "OPENAI_BASE_URL='http://127.0.0.1:1/v1'\n")
    for _, mode in ipairs { "620", "602" } do
      os.execute("chmod " .. mode .. " " .. FILE)
      for _, command in ipairs { "models", "wait" } do
        cli.complained(program.run { command, "--url-file", FILE }, 1,
          "^lmm: others can write '.*server.url', and name another server: chmod go%-w makes it yours\n$")
      end
    end
    os.execute("chmod 644 " .. FILE)
    process.write(FILE, "# a server of process 7 on node1\n")
    cli.complained(program.run { "models", "--url-file", FILE }, 1, "'.*server.url' is still starting %(lmm wait")
    for _, command in ipairs { "models", "wait" } do
      cli.complained(program.run { command, "--url-file", FILE, "--url", "http://x/v1" }, 2,
        "^lmm: %-%-url and %-%-url%-file both name the server: give one\n$")
    end
  end)

  it("leads lmm batch to the server", function()
    local list = process.write(folder .. "/list.txt", "examples/picture.jpg\n")
    local out = folder .. "/out.jsonl"
    local run = while_served({ "--key" }, lmm { "batch", "--url-file", FILE, "--prompt", "What?", "--image-list", list,
      "-o", out })
    assert.equal(0, run.status)
    assert.matches("1280 x 854 pixels", process.read(out))
  end)
end)
