-- The command line, run as a program of its own: what it prints where, its exit status, and how Ctrl-C ends it.
local cli = require "spec.support.cli"
local json = require "lmm.json"
local mock = require "lmm.mock"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"

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
local function script(...) return program.shell(...) end
local function command(...) return program.command(...) end
local function write(...) return program.write(...) end

local answered, complained = cli.answered, cli.complained

local function sha256(path) return shell.output("sha256sum " .. path):match "^%x+" end

describe("lmm ask", function()
  it("pictures arrive intact and in order, after the question", function()
    local out = answered(lmm { "ask", "-i", "spec/media/picture.png", "What is the difference?", "--image",
      "spec/media/baseline.jpg", "-i", "https://example.org/other.png" })
    local first, second, third, question = out:match "^(.-)\n(.-)\n(.-)\n(.-)\n$"
    assert.matches("^image 1: image/png, 37 x 23 pixels, .*sha256 " .. sha256 "spec/media/picture.png" .. "$", first)
    assert.matches("^image 2: image/jpeg, .*sha256 " .. sha256 "spec/media/baseline.jpg" .. "$", second)
    assert.equal("image 3: by URL https://example.org/other.png", third)
    assert.equal("question: What is the difference?", question)
  end)

  it("the question comes from the argument, standard input or a file", function()
    local file = write("question", "from a file\nof two lines\r\n\n")
    assert.equal("question: plain\n", answered(lmm { "ask", "plain" }))
    assert.equal("question: from stdin\n", answered(lmm({ "ask" }, "from stdin\n")))
    assert.equal("question: from stdin\n", answered(lmm({ "ask", "-" }, "from stdin")))
    assert.equal("question: from a file\nof two lines\n", answered(lmm { "ask", "@" .. file }))
    assert.equal("question: -1 or 1?\n", answered(lmm { "ask", "--", "-1 or 1?" }))
  end)

  it("a picture comes from standard input", function()
    local bytes = shell.read "spec/media/picture.png"
    assert.matches("sha256 " .. sha256 "spec/media/picture.png", answered(lmm({ "ask", "-i", "-", "q" }, bytes)))
    complained(lmm { "ask", "-i", "-", "q" }, 1, "no picture on standard input")
  end)

  it("an answer ends with a newline, and gets none where it has one", function()
    for _, mode in ipairs { "--verbose", "--no-stream" } do
      for reply, expected in pairs { ["a b"] = "a b\n", ["a b\n"] = "a b\n", ["a\n\n"] = "a\n\n", [""] = "\n" } do
        local run = lmm { "ask", "q", mode, "-p", "mock=" .. json.encode { reply = reply } }
        assert.same(expected, run.out)
      end
    end
  end)

  it("--verbose tells of the answer on standard error", function()
    for _, mode in ipairs { "-v", "--verbose" } do
      local run = lmm { "ask", "one two", mode }
      assert.equal(0, run.status)
      assert.equal("question: one two\n", run.out)
      assert.matches("^model: mock\nfinish_reason: stop\ntime: [%d.]+ s, first token after [%d.]+ s\nattempts: 1\n"
        .. "usage: %d+ prompt tokens, 3 completion tokens\n$", run.err)
    end
    assert.matches("^time: .-\nattempts: 1\nlmm: HTTP 404[^\n]*\n$", lmm({ "ask", "q", "-v", "-m", "gone" }).err)
  end)

  it("--json prints the server's own text", function()
    local out = answered(lmm { "ask", "a question", "--json" })
    assert.matches('^{"id":"chatcmpl%-%d+","object":"chat%.completion",[^\n]*"refusal":null,[^\n]*"metrics":null}\n$',
      out)
    local reply = assert(json.decode(out))
    assert.equal("question: a question", reply.choices[1].message.content)
  end)
end)

local ANSWER = '{\r\n  "choices": [\n    {"message": {"content": "a\\n b"}, "finish_reason": "stop"}\n  ],\n "n": []}\n'

local function whole(body)
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

--- The request that `lmm ask` sends with these words, decoded, and the run.
local function sent(words, answer)
  local peer = raw.start { { { await = "request" }, { send = whole(answer or ANSWER) }, { await = "close" } } }
  local all = { "ask", "q", "-m", "m", "--url", peer.url }
  for _, word in ipairs(words) do all[#all + 1] = word end
  local run = lmm(all)
  local body = peer:received():match "\r\n\r\n(.*)$"
  peer:stop()
  return assert(json.decode(body)), run, body
end

describe("what lmm ask sends", function()
  it("model, system message and question are sent, streamed unless told otherwise", function()
    local request, run = sent { "-s", "Be brief." }
    assert.equal("a\n b\n", run.out)
    assert.equal("m", request.model)
    assert.equal(true, request.stream)
    assert.same({ { role = "system", content = "Be brief." }, { role = "user", content = "q" } }, request.messages)
    assert.equal(false, sent({ "--no-stream" }).stream)

    local system = write("system", "Be\nbrief.\n")
    assert.equal("Be\nbrief.", sent({ "--system", "@" .. system }).messages[1].content)
    assert.equal("other", sent({ "--model", "other" }).model)
  end)

  it("--json prints the server's own bytes", function()
    local bytes = '{"z":1.0, "tool_calls":[],"none":null,"a":{"b":[]},"choices":[{"message":{"content":"\\u00e4\\/"}}],'
      .. '"large":12345678901234567890}'
    local _, run = sent({ "--json" }, bytes)
    assert.equal(bytes .. "\n", answered(run))
  end)

  it("--json makes one line of a reply that has several", function()
    local request, run = sent { "--json" }
    assert.equal(false, request.stream)
    assert.equal('{ "choices": [ {"message": {"content": "a\\n b"}, "finish_reason": "stop"} ], "n": []}\n',
      answered(run))
  end)

  it("a field's value is JSON where it is JSON, else a text", function()
    local cases = {
      { "1", 1 }, { "-1.5e3", -1500 }, { "0", 0 }, { "true", true }, { "false", false }, { "null", json.null },
      { '"1"', "1" }, { "plain text", "plain text" }, { "", "" }, { "a=b", "a=b" }, { "007", "007" },
      { "0x10", "0x10" }, { "inf", "inf" }, { "nan", "nan" }, { "+1", "+1" }, { "True", "True" }, { "-", "-" },
      { "[1, \"two\"]", { 1, "two" } }, { '{"a": {"b": null}}', { a = { b = json.null } } },
      { "{not json", "{not json" }, { '"open', '"open' }, { "[1] 2", "[1] 2" },
    }
    local words = {}
    for i, case in ipairs(cases) do
      words[#words + 1] = i % 2 == 0 and "-p" or "--param"
      words[#words + 1] = "field" .. i .. "=" .. case[1]
    end
    local request = sent(words)
    for i, case in ipairs(cases) do assert.same(case[2], request["field" .. i], case[1]) end
  end)

  it("empty arrays stay arrays, and brackets inside strings stay what they are", function()
    local _, _, body = sent { "-p", [=[x={"a": [ ], "b": {}, "c": [[], {}], "d": "[] \" [] \\"}]=], "-p", "y=[]" }
    assert.matches('"a":%[%]', body)
    assert.matches('"b":{}', body)
    assert.matches('"c":%[%[%],{}%]', body)
    assert(body:find([=["d":"[] \" [] \\"]=], 1, true), body)
    assert.matches('"y":%[%]', body)
  end)
end)

describe("what goes wrong in lmm", function()
  it("misuse gives one line and status 2", function()
    local cases = {
      { {}, "a command is required %(see lmm %-%-help%)" },
      { { "aks" }, "unknown command 'aks': did you mean 'ask'%? %(see lmm %-%-help%)" },
      { { "ask", "two", "words" }, "one question is taken, not 2 arguments: put it in quotes" },
      { { "ask", "" }, "the question is empty" },
      { { "ask" }, "the question is empty" },
      { { "ask", "--modle", "x" }, "unknown option '%-%-modle': did you mean '%-%-model'%? %(see lmm ask %-%-help%)" },
      { { "ask", "q", "-i" }, "option '%-i' requires an argument" },
      { { "ask", "-i", "-" }, "the question and a picture cannot both come from standard input: give the question" },
      { { "ask", "-i", "-", "-" }, "the question and a picture cannot both" },
      { { "ask", "-i", "-", "q", "-i", "-" }, "a picture and a picture cannot both" },
      { { "ask", "q", "-p", "temperature" }, "%-p takes name=value, not 'temperature'" },
      { { "ask", "q", "-p", "=1" }, "%-p takes name=value" },
      { { "ask", "q", "-p", "stream=true" }, "'stream'" },
      { { "ask", "q", "--timeout", "soon" }, "'soon' is not a number of seconds above 0" },
      { { "ask", "q", "--timeout", "0" }, "above 0" },
      { { "ask", "q", "--url", "localhost:8000" }, "write http://localhost:8000" },
      { { "models", "--url", "ftp://x" }, "only http and https" },
      { { "models", "x" }, "too many arguments %(see lmm models %-%-help%)" },
      { { "mock", "--port", "70000" }, "'70000' is not a port" },
      { { "mock", "--delay", "-1" }, "unknown option '%-1'" },
      { { "mock", "--delay=-1" }, "'%-1' is not a number of seconds" },
    }
    for _, case in ipairs(cases) do assert.equal("", complained(lmm(case[1]), 2, case[2])) end
  end)

  it("a failure gives one line and status 1", function()
    local down = "http://127.0.0.1:1/v1"
    local cases = {
      { { "ask", "q", "--url", down, "-p", "retry=false" }, "cannot reach http://127%.0%.0%.1:1/v1.*is a server run" },
      { { "models", "--url", down }, "cannot reach" },
      { { "ask", "q", "-m", "gone" }, "HTTP 404 .*`gone` does not exist" },
      { { "ask", "q", "-i", "gone.jpg" }, "'gone%.jpg'.*No such file" },
      { { "ask", "q", "-i", "Makefile" }, "it seems to be text" },
      { { "ask", "@gone.txt" }, "cannot read the question from gone%.txt: No such file" },
      { { "ask", "@spec" }, "cannot read the question from spec: Is a directory" },
      { { "ask", "q", "-s", "@gone.txt" }, "cannot read the system message from gone%.txt: No such file" },
      { { "ask", "q", "--json", "-p", 'mock={"status":400}' }, "HTTP 400" },
      { { "ask", "q", "--timeout", "0.2", "-p", 'mock={"first_delay":9}' }, "within 0%.2 s" },
      { { "mock", "--port", tostring(server.port) }, "cannot listen on 127%.0%.0%.1:%d+: .*in use" },
    }
    for _, case in ipairs(cases) do assert.equal("", complained(lmm(case[1]), 1, case[2])) end
  end)

  it("the part of an answer that came before the stream broke is kept", function()
    local run = lmm { "ask", "q", "-p", 'mock={"reply":"one two three","cut_after":2}' }
    assert.equal("one two \n", complained(run, 1, "broke off"))
    run = lmm { "ask", "q", "-p", 'mock={"reply":"no json"}', "-p", 'schema={"type":"object"}', "--no-stream" }
    assert.equal("no json\n", complained(run, 1, "is not the JSON"))
  end)

  it("the key comes from the environment and stands in no command line and no message", function()
    local guarded = assert(mock.start { delay = 0, api_key = "right" })
    local env = { OPENAI_BASE_URL = guarded.url, OPENAI_API_KEY = "right" }
    assert.equal("question: q\n", answered(lmm({ "ask", "q" }, nil, env)))
    env.OPENAI_API_KEY = "wrong-key-4711"
    local refused = lmm({ "ask", "q" }, nil, env)
    complained(refused, 1, "HTTP 401.*does not take the key in %$OPENAI_API_KEY")
    assert.falsy(refused.err:find "4711")
    guarded.stop()

    if not io.open "/proc/self/cmdline" then pending "there is no /proc" end
    local asking = command { "ask", "q", "-p", 'mock={"first_delay":9}' }
    local run = script(asking .. [[ </dev/null >/dev/null 2>$err & pid=$!
    sleep 0.3
    cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' >$out
    kill -INT $pid
    wait $pid
    echo $? >$status]], env)
    assert.equal(130, run.status)
    assert.matches("bin/lmm ask q", run.out)
    assert.falsy(run.out:find("wrong-key-4711", 1, true))
  end)
end)

local LONG = 'mock={"reply":"one two three four five six seven eight","delay":0.2}'

--- Interrupts `lmm` once `ready` (a shell command) is true.
local function interrupted(words, ready, before)
  return script((before or "") .. command(words) .. [[ >$out 2>$err & pid=$!
    tries=0
    until ]] .. ready .. [[ || [ $tries -gt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
    kill -INT $pid
    wait $pid
    echo $? >$status]])
end

describe("how lmm ends", function()
  it("a closed pipe ends it without a word", function()
    local pipeline = "{ " .. command { "ask", "q", "-p", LONG } .. " 2>$err; echo $? >$status; } | head -c 3 >$out"
    local run = script(pipeline)
    assert.equal("one", run.out)
    assert.equal("", run.err)
    assert.equal(128 + 13, run.status) -- SIGPIPE
    run = script("trap '' PIPE; " .. pipeline)
    assert.equal("", run.err)
    assert.equal(1, run.status)
  end)

  it("an answer that cannot be written is a failure", function()
    if not io.open "/dev/full" then pending "there is no /dev/full" end
    for _, mode in ipairs { "--verbose", "--no-stream", "--json" } do
      local run = script(command { "ask", "q", mode } .. " >/dev/full 2>$err; echo $? >$status")
      complained(run, 1, "cannot write to the standard output: No space left")
    end
  end)

  it("what the printed text does not show of an answer is said on standard error", function()
    local function said(choices, ...)
      local _, run = sent({ "--no-stream", ... }, json.encode { choices = choices })
      assert.equal(0, run.status)
      return run.err
    end
    local function choice(reason, message)
      return { index = 0, finish_reason = reason, message = message or { content = "a" } }
    end
    assert.matches("^lmm: the answer is cut: [^\n]*max_tokens[^\n]*\n$", said { choice "length" })
    assert.matches("^lmm: the answer is cut: the server's content filter [^\n]*\n$", said { choice "content_filter" })
    assert.equal("lmm: the model refuses: I cannot.\n", said { choice("stop", { refusal = "I\ncannot." }) })
    local call = { id = "a", type = "function", ["function"] = { name = "f", arguments = "{}" } }
    assert.equal("lmm: the model calls 1 tool (--json shows all)\n",
      said { choice("tool_calls", { tool_calls = { call } }) })
    local second = choice "stop"
    second.index = 1
    assert.equal("lmm: this is the first of 2 answers (--json shows all)\n",
      said({ choice "stop", second }, "-p", "n=2"))
    assert.equal("", said({ choice "length" }, "--json"))
  end)

  it("an answer that broke off before its first word prints no empty line", function()
    local run = lmm { "ask", "q", "--no-stream", "-p", 'mock={"cut_after":2}' }
    assert.equal("", complained(run, 1, "broke off"))
  end)

  it("-p refuses what is given in another way", function()
    for _, word in ipairs { "system=x", "stream=true", "messages=[]", "headers={}" } do
      complained(lmm { "ask", "q", "-p", word }, 2, "%-p does not set '" .. word:match "%l+" .. "': ")
    end
  end)

  it("Ctrl-C keeps what has arrived", function()
    local run = interrupted({ "ask", "q", "-p", LONG }, "grep -q two $out")
    assert.matches("^one two [%l ]*\n$", run.out)
    assert.falsy(run.out:find "eight")
    assert.equal("", run.err)
    assert.equal(130, run.status)
  end)

  it("Ctrl-C ends every wait at once", function()
    local slow = 'mock={"first_delay":9}'
    for _, words in ipairs { { "ask", "q", "-p", slow }, { "ask", "q", "--json", "-p", slow } } do
      local run = interrupted(words, "sleep 0.3")
      assert.same({ "", "", 130 }, { run.out, run.err, run.status })
    end
    if _VERSION < "Lua 5.4" then pending "before Lua 5.4 a read goes on unless the whole group is interrupted" end
    local run = interrupted({ "ask" }, "sleep 0.3", "sleep 2 2>/dev/null | ")
    assert.same({ "", "", 130 }, { run.out, run.err, run.status })
  end)

  it("Ctrl-C ends an answer that nobody reads", function()
    if _VERSION < "Lua 5.4" then pending "before Lua 5.4 a write goes on" end
    local long = 'mock={"reply":"' .. ("word "):rep(20000) .. '"}'
    local asking = command { "ask", "q", "--no-stream", "-p", long }
    local run = script("mkfifo $out.pipe; exec 3<>$out.pipe; " .. asking .. [[ >&3 2>$err & pid=$!
    head -c 1 <&3 >/dev/null
    until grep -q ") S" /proc/$pid/stat; do :; done
    kill -INT $pid
    { sleep 9; kill -KILL $pid; } 2>/dev/null & guard=$!
    wait $pid
    echo $? >$status
    kill $guard
    rm $out.pipe]])
    assert.same({ "", 130 }, { run.err, run.status })
  end)

  it("lmm mock serves as told until Ctrl-C, which is its proper end", function()
    local words = { "mock", "--port", "0", "--delay", "0.01", "--model", "tiny", "--api-key", "k" }
    local run = interrupted(words, [[grep -q listening $out; do :; done
    url=$(sed 's/.*\(http[^ ]*\).*/\1/' $out)
    until OPENAI_API_KEY=k OPENAI_BASE_URL=$url ]] .. command { "models" } .. [[ >>$out]])
    assert.matches('^lmm mock: listening on http://127%.0%.0%.1:%d+/v1 %(model "tiny"%)\ntiny\n$', run.out)
    assert.equal("GET /v1/models 200\n", run.err)
    assert.equal(0, run.status)
  end)
end)

describe("lmm", function()
  it("models lists one id on each line", function()
    assert.equal("mock\n", answered(lmm { "models", "--url", server.url }))
    local run = lmm { "models", "-v" }
    assert.equal("mock\n", run.out)
    assert.matches("^mock: .*max_model_len 32768.*\n$", run.err)
  end)

  it("several --url are a pool", function()
    local down, other = "http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"
    local urls = { "--url", down, "--url", server.url }
    local function with(...)
      local words = { ... }
      for _, word in ipairs(urls) do words[#words + 1] = word end
      return lmm(words)
    end
    assert.equal("question: q\n", answered(with("ask", "q")))
    assert.matches('^{"id":.*"question: q"', answered(with("ask", "q", "--json")))
    assert.equal("mock\n", answered(with "models"))
    complained(with("wait", "--timeout", "0.3"), 1, "no server was ready at http://127%.0%.0%.1:1/v1 within 0%.3 s")
    urls[4] = other
    complained(with("ask", "q", "-p", "retry=false"), 1, "^lmm: no server answers: .*:1/v1.*; .*:2/v1[^\n]*\n$")
  end)

  it("the help names every option, with examples", function()
    local cases = {
      { {}, "ask embed tokens transcribe models mock --help --version OPENAI_BASE_URL OPENAI_API_KEY" },
      { { "ask" }, "-i --image -m --model -s --system --url -p --param --timeout --no-stream --json -v --verbose" },
      { { "models" }, "--url -v --verbose" },
      { { "embed" }, "-i --image -a --attach -m --model --url -H --header -p --param --timeout" },
      { { "tokens" }, "-i --image -a --attach --chat --ids -m --model --url -H --header -p --param --timeout" },
      { { "transcribe" }, "--format -l --language --english -m --model --url -H --header -p --param --timeout" },
      { { "mock" }, "--port --delay --model --api-key --max-model-len --start-delay --log-lines --fail-start reply"
        .. " status retry_after fail_times key html empty not_json first_delay delay cut_after end_after reset_after"
        .. " error_after" },
    }
    for _, case in ipairs(cases) do
      for _, flag in ipairs { "--help", "-h" } do
        local out = answered(lmm { case[1][1] or flag, case[1][1] and flag })
        for name in case[2]:gmatch "%S+" do assert(out:find(name, 1, true), name) end
        assert.matches("Examples:\n   lmm " .. (case[1][1] or "ask"), out)
        for line in out:gmatch "[^\n]+" do assert(#line <= 80, line) end
      end
    end
  end)

  it("loads no more than what it was called with needs", function()
    local without = "for _, name in ipairs { %s } do package.preload[name] = function() error(name, 0) end end"
    local function run(names, words)
      return lmm(words, nil, { LUA_INIT = without:format(names) })
    end
    assert.matches("^lmm %S+\n$", answered(run("'argparse', 'lmm.core', 'lmm.client'", { "--version" })))
    assert.equal("mock\n", answered(run("'lmm.cli.ask', 'lmm.cli.batch', 'lmm.cli.serve'", { "models" })))
  end)

  it("--version tells the version", function()
    assert.matches("^lmm %S+\n$", answered(lmm { "--version" }))
  end)
end)
