-- The command line, run as a program of its own: what it prints where, its exit status, and how Ctrl-C ends it.
local cli = require "spec.support.cli"
local json = require "lmm.json"
local mock = require "lmm.mock"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"
local test = require "spec.support.test"

local server = assert(mock.start { delay = 0 })
local program = cli.new { OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "" }
local lmm, script, command, write = program.run, program.shell, program.command, program.write

--- It did what it should and had nothing to complain about.
local function answered(run)
  test.equal(run.err, "")
  test.equal(run.status, 0)
  return run.out
end

--- It ended with that status and one line on standard error.
local function complained(run, status, pattern)
  test.match(run.err, "^lmm: [^\n]*\n$")
  test.match(run.err, pattern)
  test.ok(not run.err:find "traceback" and not run.err:find "%.lua:%d", run.err)
  test.equal(run.status, status)
  return run.out
end

local function sha256(path) return shell.output("sha256sum " .. path):match "^%x+" end

-- ---- asking ------------------------------------------------------------------------------------------------------

test.case("pictures arrive intact and in order, after the question", function()
  local out = answered(lmm { "ask", "-i", "spec/media/picture.png", "What is the difference?", "--image",
    "spec/media/baseline.jpg", "-i", "https://example.org/other.png" })
  local first, second, third, question = out:match "^(.-)\n(.-)\n(.-)\n(.-)\n$"
  test.match(first, "^image 1: image/png, 37 x 23 pixels, .*sha256 " .. sha256 "spec/media/picture.png" .. "$")
  test.match(second, "^image 2: image/jpeg, .*sha256 " .. sha256 "spec/media/baseline.jpg" .. "$")
  test.equal(third, "image 3: by URL https://example.org/other.png")
  test.equal(question, "question: What is the difference?")
end)

test.case("the question comes from the argument, standard input or a file", function()
  local file = write("question", "from a file\nof two lines\r\n\n")
  test.equal(answered(lmm({ "ask", "plain" }, "unheeded")), "question: plain\n")
  test.equal(answered(lmm({ "ask" }, "from stdin\n")), "question: from stdin\n")
  test.equal(answered(lmm({ "ask", "-" }, "from stdin")), "question: from stdin\n")
  test.equal(answered(lmm { "ask", "@" .. file }), "question: from a file\nof two lines\n")
  test.equal(answered(lmm { "ask", "--", "-1 or 1?" }), "question: -1 or 1?\n")
end)

test.case("a picture comes from standard input", function()
  local bytes = shell.read "spec/media/picture.png"
  test.match(answered(lmm({ "ask", "-i", "-", "q" }, bytes)), "sha256 " .. sha256 "spec/media/picture.png")
  complained(lmm { "ask", "-i", "-", "q" }, 1, "no picture on standard input")
end)

test.case("an answer ends with a newline, and gets none where it has one", function()
  for _, mode in ipairs { "--verbose", "--no-stream" } do
    for reply, expected in pairs { ["a b"] = "a b\n", ["a b\n"] = "a b\n", ["a\n\n"] = "a\n\n", [""] = "\n" } do
      local run = lmm { "ask", "q", mode, "-p", "mock=" .. json.encode { reply = reply } }
      test.equal(run.out, expected)
    end
  end
end)

test.case("--verbose tells of the answer on standard error", function()
  for _, mode in ipairs { "-v", "--verbose" } do
    local run = lmm { "ask", "one two", mode }
    test.equal(run.status, 0)
    test.equal(run.out, "question: one two\n")
    test.match(run.err, "^model: mock\nfinish_reason: stop\ntime: [%d.]+ s, first token after [%d.]+ s\nattempts: 1\n"
      .. "usage: %d+ prompt tokens, 3 completion tokens\n$")
  end
  test.match(lmm({ "ask", "q", "-v", "-m", "gone" }).err, "^time: .-\nattempts: 1\nlmm: HTTP 404[^\n]*\n$")
end)

test.case("--json prints the server's own text", function()
  local out = answered(lmm { "ask", "a question", "--json" })
  test.match(out, '^{"id":"chatcmpl%-%d+","object":"chat%.completion",[^\n]*"refusal":null,[^\n]*"metrics":null}\n$')
  local reply = assert(json.decode(out))
  test.equal(reply.choices[1].message.content, "question: a question")
end)

-- ---- what is sent ------------------------------------------------------------------------------------------------

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

test.case("model, system message and question are sent, streamed unless told otherwise", function()
  local request, run = sent { "-s", "Be brief." }
  test.equal(run.out, "a\n b\n")
  test.equal(request.model, "m")
  test.equal(request.stream, true)
  test.equal(request.messages, { { role = "system", content = "Be brief." }, { role = "user", content = "q" } })
  test.equal(sent({ "--no-stream" }).stream, nil)

  local system = write("system", "Be\nbrief.\n")
  test.equal(sent({ "--system", "@" .. system }).messages[1].content, "Be\nbrief.")
  test.equal(sent({ "--model", "other" }).model, "other")
end)

test.case("--json prints the server's own bytes", function()
  local bytes = '{"z":1.0, "tool_calls":[],"none":null,"a":{"b":[]},"choices":[{"message":{"content":"\\u00e4\\/"}}],'
    .. '"large":12345678901234567890}'
  local _, run = sent({ "--json" }, bytes)
  test.equal(answered(run), bytes .. "\n")
end)

test.case("--json makes one line of a reply that has several", function()
  local request, run = sent { "--json" }
  test.equal(request.stream, nil)
  test.equal(answered(run), '{ "choices": [ {"message": {"content": "a\\n b"}, "finish_reason": "stop"} ], "n": []}\n')
end)

test.case("a field's value is JSON where it is JSON, else a text", function()
  local cases = {
    { "1", 1 }, { "-1.5e3", -1500 }, { "0", 0 }, { "true", true }, { "false", false }, { "null", json.null },
    { '"1"', "1" }, { "plain text", "plain text" }, { "", "" }, { "a=b", "a=b" }, { "007", "007" }, { "0x10", "0x10" },
    { "inf", "inf" }, { "nan", "nan" }, { "+1", "+1" }, { "True", "True" }, { "-", "-" },
    { "[1, \"two\"]", { 1, "two" } }, { '{"a": {"b": null}}', { a = { b = json.null } } }, { "{not json", "{not json" },
    { '"open', '"open' }, { "[1] 2", "[1] 2" },
  }
  local words = {}
  for i, case in ipairs(cases) do
    words[#words + 1] = i % 2 == 0 and "-p" or "--param"
    words[#words + 1] = "field" .. i .. "=" .. case[1]
  end
  local request = sent(words)
  for i, case in ipairs(cases) do test.equal(request["field" .. i], case[2], case[1]) end
end)

test.case("empty arrays stay arrays, and brackets inside strings stay what they are", function()
  local _, _, body = sent { "-p", [=[x={"a": [ ], "b": {}, "c": [[], {}], "d": "[] \" [] \\"}]=], "-p", "y=[]" }
  test.match(body, '"a":%[%]')
  test.match(body, '"b":{}')
  test.match(body, '"c":%[%[%],{}%]')
  test.ok(body:find([=["d":"[] \" [] \\"]=], 1, true), body)
  test.match(body, '"y":%[%]')
end)

-- ---- what goes wrong ---------------------------------------------------------------------------------------------

test.case("misuse gives one line and status 2", function()
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
  for _, case in ipairs(cases) do test.equal(complained(lmm(case[1]), 2, case[2]), "") end
end)

test.case("a failure gives one line and status 1", function()
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
  for _, case in ipairs(cases) do test.equal(complained(lmm(case[1]), 1, case[2]), "") end
end)

test.case("the part of an answer that came before the stream broke is kept", function()
  local run = lmm { "ask", "q", "-p", 'mock={"reply":"one two three","cut_after":2}' }
  test.equal(complained(run, 1, "broke off"), "one two \n")
  run = lmm { "ask", "q", "-p", 'mock={"reply":"no json"}', "-p", 'schema={"type":"object"}', "--no-stream" }
  test.equal(complained(run, 1, "is not the JSON"), "no json\n")
end)

test.case("the key comes from the environment and stands in no command line and no message", function()
  local guarded = assert(mock.start { delay = 0, api_key = "right" })
  local env = { OPENAI_BASE_URL = guarded.url, OPENAI_API_KEY = "right" }
  test.equal(answered(lmm({ "ask", "q" }, nil, env)), "question: q\n")
  env.OPENAI_API_KEY = "wrong-key-4711"
  local refused = lmm({ "ask", "q" }, nil, env)
  complained(refused, 1, "HTTP 401.*set OPENAI_API_KEY")
  test.ok(not refused.err:find "4711")
  guarded.stop()

  if not io.open "/proc/self/cmdline" then test.skip "there is no /proc" end
  local run = script(command { "ask", "q", "-p", 'mock={"first_delay":9}' } .. [[ </dev/null >/dev/null 2>$err & pid=$!
    sleep 0.3
    cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' >$out
    kill -INT $pid
    wait $pid
    echo $? >$status]], env)
  test.equal(run.status, 130)
  test.match(run.out, "bin/lmm ask q")
  test.ok(not run.out:find("wrong-key-4711", 1, true))
end)

-- ---- how it ends -------------------------------------------------------------------------------------------------

local LONG = 'mock={"reply":"one two three four five six seven eight","delay":0.2}'

test.case("a closed pipe ends it without a word", function()
  local pipeline = "{ " .. command { "ask", "q", "-p", LONG } .. " 2>$err; echo $? >$status; } | head -c 3 >$out"
  local run = script(pipeline)
  test.equal(run.out, "one")
  test.equal(run.err, "")
  test.equal(run.status, 128 + 13) -- SIGPIPE
  run = script("trap '' PIPE; " .. pipeline)
  test.equal(run.err, "")
  test.equal(run.status, 1)
end)

test.case("an answer that cannot be written is a failure", function()
  if not io.open "/dev/full" then test.skip "there is no /dev/full" end
  for _, mode in ipairs { "--verbose", "--no-stream", "--json" } do
    local run = script(command { "ask", "q", mode } .. " >/dev/full 2>$err; echo $? >$status")
    complained(run, 1, "cannot write to the standard output: No space left")
  end
end)

test.case("what the printed text does not show of an answer is said on standard error", function()
  local function said(choices, ...)
    local _, run = sent({ "--no-stream", ... }, json.encode { choices = choices })
    test.equal(run.status, 0)
    return run.err
  end
  local function choice(reason, message)
    return { index = 0, finish_reason = reason, message = message or { content = "a" } }
  end
  test.match(said { choice "length" }, "^lmm: the answer is cut: [^\n]*max_tokens[^\n]*\n$")
  test.match(said { choice "content_filter" }, "^lmm: the answer is cut: the server's content filter [^\n]*\n$")
  test.equal(said { choice("stop", { refusal = "I\ncannot." }) }, "lmm: the model refuses: I cannot.\n")
  local call = { id = "a", type = "function", ["function"] = { name = "f", arguments = "{}" } }
  test.equal(said { choice("tool_calls", { tool_calls = { call } }) },
    "lmm: the model calls 1 tool (--json shows all)\n")
  local second = choice "stop"
  second.index = 1
  test.equal(said { choice "stop", second }, "lmm: this is the first of 2 answers (--json shows all)\n")
  test.equal(said({ choice "length" }, "--json"), "")
end)

test.case("an answer that broke off before its first word prints no empty line", function()
  local run = lmm { "ask", "q", "--no-stream", "-p", 'mock={"cut_after":2}' }
  test.equal(complained(run, 1, "broke off"), "")
end)

test.case("-p refuses what is given in another way", function()
  for _, word in ipairs { "system=x", "stream=true", "messages=[]" } do
    complained(lmm { "ask", "q", "-p", word }, 2, "%-p does not set '" .. word:match "%l+" .. "': ")
  end
  complained(lmm { "ask", "q", "-p", "headers={}" }, 2, "'headers' is an option of lmm.connect")
end)

--- Interrupts `lmm` once `ready` (a shell command) is true.
local function interrupted(words, ready, before)
  return script((before or "") .. command(words) .. [[ >$out 2>$err & pid=$!
    tries=0
    until ]] .. ready .. [[ || [ $tries -gt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
    kill -INT $pid
    wait $pid
    echo $? >$status]])
end

test.case("Ctrl-C keeps what has arrived", function()
  local run = interrupted({ "ask", "q", "-p", LONG }, "grep -q two $out")
  test.match(run.out, "^one two [%l ]*\n$")
  test.ok(not run.out:find "eight")
  test.equal(run.err, "")
  test.equal(run.status, 130)
end)

test.case("Ctrl-C ends every wait at once", function()
  local slow = 'mock={"first_delay":9}'
  for _, words in ipairs { { "ask", "q", "-p", slow }, { "ask", "q", "--json", "-p", slow } } do
    local run = interrupted(words, "sleep 0.3")
    test.equal({ run.out, run.err, run.status }, { "", "", 130 })
  end
  if _VERSION < "Lua 5.4" then test.skip "before Lua 5.4 a read goes on unless the whole group is interrupted" end
  local run = interrupted({ "ask" }, "sleep 0.3", "sleep 2 2>/dev/null | ")
  test.equal({ run.out, run.err, run.status }, { "", "", 130 })
end)

test.case("Ctrl-C ends an answer that nobody reads", function()
  if _VERSION < "Lua 5.4" then test.skip "before Lua 5.4 a write goes on" end
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
  test.equal({ run.err, run.status }, { "", 130 })
end)

test.case("lmm mock serves as told until Ctrl-C, which is its proper end", function()
  local words = { "mock", "--port", "0", "--delay", "0.01", "--model", "tiny", "--api-key", "k" }
  local run = interrupted(words, [[grep -q listening $out; do :; done
    url=$(sed 's/.*\(http[^ ]*\).*/\1/' $out)
    until OPENAI_API_KEY=k OPENAI_BASE_URL=$url ]] .. command { "models" } .. [[ >>$out]])
  test.match(run.out, '^lmm mock: listening on http://127%.0%.0%.1:%d+/v1 %(model "tiny"%)\ntiny\n$')
  test.equal(run.err, "GET /v1/models 200\n")
  test.equal(run.status, 0)
end)

-- ---- the rest ----------------------------------------------------------------------------------------------------

test.case("models lists one id on each line", function()
  test.equal(answered(lmm { "models", "--url", server.url }), "mock\n")
  local run = lmm { "models", "-v" }
  test.equal(run.out, "mock\n")
  test.match(run.err, "^mock: .*max_model_len 32768.*\n$")
end)

test.case("the help tells of every option, with examples", function()
  local cases = {
    { {}, "ask models mock --help --version OPENAI_BASE_URL OPENAI_API_KEY" },
    { { "ask" }, "-i --image -m --model -s --system --url -p --param --timeout --no-stream --json -v --verbose" },
    { { "models" }, "--url -v --verbose" },
    { { "mock" }, "--port --delay --model --api-key" },
  }
  for _, case in ipairs(cases) do
    for _, flag in ipairs { "--help", "-h" } do
      local out = answered(lmm { case[1][1] or flag, case[1][1] and flag })
      for name in case[2]:gmatch "%S+" do test.ok(out:find(name, 1, true), name) end
      test.match(out, "Examples:\n   lmm " .. (case[1][1] or "ask"))
      for line in out:gmatch "[^\n]+" do test.ok(#line <= 80, line) end
    end
  end
end)

test.case("--version tells the version", function()
  test.match(answered(lmm { "--version" }), "^lmm %S+\n$")
end)

server.stop()
program.remove()
