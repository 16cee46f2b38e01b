-- `lmm serve` and `lmm wait`, run as programs of their own, with real servers.
local cli = require "spec.support.cli"
local mock = require "lmm.mock"
local process = require "spec.support.process"

local LUA = arg[-1]
local program = cli.new { OPENAI_API_KEY = "" }
local lmm, quote = program.command, process.quote
local pid_file = program.write("pid", "")

--- The words of `lmm serve` with these options, and a server whose process number is noted.
local function serve_words(options, server)
  local words = { "serve" }
  for _, word in ipairs(options) do words[#words + 1] = word end
  local script = "echo $$ >" .. pid_file .. '; exec "$@"'
  for _, word in ipairs { "--", "sh", "-c", script, "sh" } do words[#words + 1] = word end
  for _, word in ipairs(server or { LUA, "bin/lmm", "mock", "--delay", "0" }) do words[#words + 1] = word end
  return words
end

local LOADING = { LUA, "bin/lmm", "mock", "--start-delay", "600" }

--- No process of the server is left.
local function gone()
  assert.same({}, process.group(process.read(pid_file):match "%d+"))
end

local function run(options, server, input, env)
  program.write("pid", "")
  return program.run(serve_words(options, server), input, env)
end

--- Starts it, and does something to it, process $pid, once `ready`, a shell command that may read $out, is true.
local function disturbed(options, server, ready, action)
  program.write("pid", "")
  return program.shell(lmm(serve_words(options, server)) .. [[ </dev/null >$out 2>$err & pid=$!
    tries=0
    until ]] .. ready .. [[ || [ $tries -gt 1200 ]; do sleep 0.05; tries=$((tries + 1)); done
    ]] .. action .. [[

    wait $pid 2>/dev/null
    echo $? >$status]])
end

local ASK = lmm { "ask", "Who?" }

describe("lmm serve --with", function()
  it("--with runs one command with the server, and ends as it ends", function()
    local rows = {
      { ASK, "question: what comes in\n\nWho%?\n", 0 },
      { ASK .. " </dev/null; exit 7", "question: Who%?\n", 7 },
      { "echo $OPENAI_BASE_URL $LMM_SPEC; false", "^http://127%.0%.0%.1:%d+/v1 kept\n$", 1 },
      { "cat", "^what comes in\n$", 0 },
      { "kill -9 $$", "^$", 128 + 9 },
      { "./no such command 2>/dev/null", "^$", 127 },
    }
    for _, row in ipairs(rows) do
      local env = { LMM_SPEC = "kept", OPENAI_BASE_URL = "http://x/v1" }
      local result = run({ "--with", row[1] }, nil, "what comes in\n", env)
      assert.matches(row[2], result.out)
      assert.same({ "", row[3] }, { result.err, result.status })
      gone()
    end
  end)

  it("--with tells when the server has ended under its command", function()
    local result = run { "--with", "kill -9 $(cat " .. pid_file .. "); sleep 1; exit 3" }
    assert.matches("^lmm: the server 'sh' ended by signal 9; it said last: lmm mock: listening [^\n]*\n$", result.err)
    assert.equal(3, result.status)
    gone()
  end)

  it("signals are passed on to the command of --with, all of it", function()
    for signal, status in pairs { TERM = 5, INT = 6, HUP = 7 } do
      local script = ("trap 'echo told; exit %d' %s; sleep 600 & echo $!; wait"):format(status, signal)
      local result = disturbed({ "--with", script }, nil, "grep -q . $out",
        "kill -" .. signal .. " $pid")
      assert.matches("^%d+\ntold\n$", result.out)
      assert.same({ "", status }, { result.err, result.status })
      gone()
      process.wait_for("the end of what the command had started", function()
        return not process.runs(result.out:match "%d+") or signal == "INT" -- which a background process ignores
      end)
      os.execute("kill " .. result.out:match "%d+" .. " 2>/dev/null")
    end
  end)
end)

describe("lmm serve until it is stopped", function()
  it("prints the URL, and serves until it is stopped", function()
    for _, signal in ipairs { "INT", "TERM", "HUP" } do
      local ready = "[ -s $out ] && OPENAI_BASE_URL=$(cat $out) " .. ASK .. " >>$out"
      local result = disturbed({}, nil, ready, "kill -" .. signal .. " $pid")
      assert.matches("^http://127%.0%.0%.1:%d+/v1\nquestion: Who%?\n$", result.out)
      assert.same({ "", 0 }, { result.err, result.status })
      gone()
    end
  end)

  it("a signal while it loads ends it, too", function()
    for signal, status in pairs { INT = 130, TERM = 143, HUP = 129 } do
      local result = disturbed({ "--with", "echo never" }, LOADING, "[ -s " .. pid_file .. " ]",
        "kill -" .. signal .. " $pid")
      assert.same({ "", "", status }, { result.out, result.err, result.status })
      gone()
    end
  end)

  it("a second signal waits for nothing", function()
    local result = disturbed({}, { LUA, "spec/support/model_server.lua", "stubborn" }, "[ -s $out ]",
      "kill -INT $pid; sleep 0.5; kill -INT $pid")
    assert.same({ "", 0 }, { result.err, result.status })
    gone()
  end)

  it("it leaves no server behind when it is killed", function()
    for _, server in ipairs { LOADING, false } do
      local ready = server and "[ -s " .. pid_file .. " ]" or "[ -s $out ]"
      local result = disturbed({}, server or nil, ready, "kill -KILL $pid")
      assert.equal(128 + 9, result.status)
      process.wait_gone(process.read(pid_file):match "%d+")
    end
  end)

  it("a server that ends by itself is a failure", function()
    local result = disturbed({}, nil, "[ -s $out ]", "kill -9 $(cat " .. pid_file .. ")")
    assert.matches("^http", result.out)
    assert.matches("^lmm: the server 'sh' ended by signal 9; it said last: [^\n]*\n$", result.err)
    assert.equal(1, result.status)
    gone()
  end)
end)

describe("what goes wrong in lmm serve", function()
  it("a server that does not start is a failure, with the reason, and the command is not run", function()
    local rows = {
      { {}, { LUA, "bin/lmm", "mock", "--fail-start" }, "exit code 1 before it was ready; it said last: .*memory" },
      { { "--ready-timeout", "0.5" }, { "sh", "-c", "echo loading; sleep 600" },
        "within 0%.5 s.*it said last: loading" },
      { { "--log", "/gone/away" }, nil, "cannot write the log: ENOENT" },
    }
    for _, row in ipairs(rows) do
      table.insert(row[1], "--with")
      table.insert(row[1], "echo never")
      local result = run(row[1], row[2])
      assert.matches("^lmm: [^\n]*" .. row[3] .. "[^\n]*\n$", result.err)
      assert.same({ "", 1 }, { result.out, result.status })
      if process.read(pid_file) ~= "" then gone() end
    end
    local missing = program.run { "serve", "--", "./no such command" }
    assert.matches("^lmm: [^\n]*cannot run './no such command': ENOENT.*in PATH%?%)\n$", missing.err)
    assert.equal(1, missing.status)
  end)

  it("misuse gives one line and status 2", function()
    local rows = {
      { { "serve" }, "missing argument 'COMMAND'" },
      { { "serve", "vllm", "--max-model-len", "9" }, "unknown option '%-%-max%-model%-len'" },
      { { "serve", "--ready-timeout", "soon", "--", "x" }, "'soon' is not a number of seconds" },
      { { "serve", "--port", "0", "--", "x" }, "'0' is not a port" },
      { { "serve", "--", "" }, "command%[1%] is empty" },
      { { "wait", "--timeout", "-1" }, "" },
      { { "wait", "x" }, "too many arguments" },
      { { "wait", "--url", "ftp://x" }, "only http and https" },
    }
    for _, row in ipairs(rows) do
      local result = program.run(row[1])
      assert.matches("^lmm: [^\n]*" .. row[2] .. "[^\n]*\n$", result.err)
      assert.same({ "", 2 }, { result.out, result.status })
    end
  end)
end)

describe("what lmm serve shows", function()
  it("--log keeps what the server says; --port is where it listens", function()
    local other = assert(mock.start())
    other.stop()
    local log = program.write("log", "")
    local result = run({ "--log", log, "--port", tostring(other.port), "--with", "echo $OPENAI_BASE_URL" })
    assert.equal(other.url .. "\n", result.out)
    assert.matches("^lmm mock: listening", process.read(log))
  end)

  it("on a terminal a line shows the time and the log's last line", function()
    if not process.shell "command -v script":find "%S" then pending "there is no script(1)" end
    local words = serve_words({ "--with", "echo done" },
      { LUA, "bin/lmm", "mock", "--start-delay", "1.5", "--log-lines", "2" })
    local out = process.shell("script -qec " .. quote(lmm(words)) .. " /dev/null </dev/null")
    assert.matches("\r\27%[K%d s  INFO lmm mock: loading shard 1 of 2", out)
    assert.matches("\r\27%[Kdone\r?\n", out)
  end)
end)

teardown(function() program.remove() end)

describe("lmm wait", function()
  it("lmm wait ends when a server answers", function()
    local server = assert(mock.start())
    local result = program.run({ "wait", "--timeout", "60" }, nil, { OPENAI_BASE_URL = server.url })
    assert.same({ "", "", 0 }, { result.out, result.err, result.status })
    local port = tostring(server.port)
    server.stop()

    local late = { "mock", "--port", port, "--start-delay", "0.7" }
    result = program.shell(lmm(late) .. " >/dev/null 2>&1 & pid=$!\n" .. lmm { "wait", "--url", server.url }
      .. " >$out 2>$err; echo $? >$status; kill $pid")
    assert.same({ "", "", 0 }, { result.out, result.err, result.status })
  end)

  it("lmm wait fails when its time is up, or what answers is no such server", function()
    local result = program.run { "wait", "--url", "http://127.0.0.1:1/v1", "--timeout", "0.4" }
    assert.matches("^lmm: no server was ready at http://127%.0%.0%.1:1/v1 within 0%.4 s: cannot reach [^\n]*\n$",
      result.err)
    assert.same({ "", 1 }, { result.out, result.status })

    local guarded = assert(mock.start { api_key = "k" })
    result = program.run { "wait", "--url", guarded.url }
    assert.matches("^lmm: HTTP 401", result.err)
    assert.equal(1, result.status)
    guarded.stop()
  end)

  it("Ctrl-C ends lmm wait", function()
    local result = program.shell(lmm { "wait", "--url", "http://127.0.0.1:1/v1" } .. [[ >$out 2>$err & pid=$!
    sleep 0.5
    kill -INT $pid
    wait $pid
    echo $? >$status]])
    assert.same({ "", "", 130 }, { result.out, result.err, result.status })
  end)

  it("the help names every option, with examples", function()
    local names = { serve = "-- --with --ready-timeout --log --port {port}", wait = "--url --timeout" }
    for command, options in pairs(names) do
      local result = program.run { command, "--help" }
      for name in options:gmatch "%S+" do assert(result.out:find(name, 1, true), name) end
      assert.matches("Examples:\n   lmm " .. command, result.out)
      for line in result.out:gmatch "[^\n]+" do assert(#line <= 80, line) end
    end
  end)
end)
