-- Model servers as child processes: started, waited for, stopped, and never left behind. Real processes throughout.
local lmm = require "lmm"
local loops = require "lmm.loop"
local mock = require "lmm.mock"
local process = require "spec.support.process"
local test = require "spec.support.test"

local LUA = arg[-1]
local scratch = os.tmpname()

--- The words of `lmm mock`, and of a model server with a flaw.
local function mock_words(...) return { LUA, "bin/lmm", "mock", ... } end
local function flawed(flaw) return { LUA, "spec/support/model_server.lua", flaw } end

--- A shell script in front of a server: what it does first, then the server.
local function after(script, words)
  local out = { "sh", "-c", script .. '\nexec "$@"', "sh" }
  for _, word in ipairs(words or mock_words()) do out[#out + 1] = word end
  return out
end

local function gone(server)
  test.ok(not server:is_running())
  test.equal(process.group(server.pid), {})
end

-- ---- a server that starts ----------------------------------------------------------------------------------------

test.case("starts, answers, and is gone once it is stopped", function()
  local server = assert(lmm.serve { command = mock_words() })
  test.equal(server.url, ("http://127.0.0.1:%d/v1"):format(server.port))
  test.equal(server.client.base_url, server.url)
  test.ok(server:is_running())
  test.ok(process.runs(server.pid))
  test.equal(assert(server.client:conversation():ask "Who?").text, "question: Who?")
  test.match(process.read(server.log), "^lmm mock: listening on " .. server.url:gsub("%p", "%%%0") .. " .*\n$")
  test.equal(server:stop(), true)
  gone(server)
  test.equal(process.read(server.log), nil, "a temporary log goes")
  test.equal(server:stop(), true)
  test.raises("closed", server.client.models, server.client)
end)

test.case("the port stands where {port} does, else at the end; the one that is asked for is taken", function()
  local other = assert(mock.start())
  other.stop()
  local rows = { { "$*", "--port={port}" }, { "$*" }, { "$*", port = other.port } }
  for i, row in ipairs(rows) do
    local words = after('echo "[$*]"', mock_words(row[2]))
    local server = assert(lmm.serve { command = words, port = row.port })
    test.match(process.read(server.log), (i == 1 and "mock %-%-port=" or "mock %-%-port ") .. server.port .. "%]\n")
    if row.port then test.equal(server.port, row.port) end
    server:stop()
  end
end)

test.case("words reach the command as they are, without a shell; more environment beside its own", function()
  local words = after('printf "%s|" "$LMM_SPEC" "${PATH:+path}" >' .. scratch .. '; shift; printf "%s|" "$1" >>'
    .. scratch .. "; shift", { "first", "a b$HOME`id`'\"\\ \nc", LUA, "bin/lmm", "mock" })
  local server = assert(lmm.serve { command = words, env = { LMM_SPEC = "it's $HOME" } })
  test.equal(process.read(scratch), "it's $HOME|path|a b$HOME`id`'\"\\ \nc|")
  server:stop()
end)

test.case("tells what it says while it loads, line by line, into the log that is named", function()
  local lines, waits = {}, 0
  local server = assert(lmm.serve {
    command = after("printf 'one\\n\\ntwo \\r\\n'; echo three >&2; printf ' 10%%\\r 20%%\\r'; sleep 0.5; echo done"),
    log = scratch, on_log = function(line) lines[#lines + 1] = line end, on_wait = function() waits = waits + 1 end,
  })
  test.equal(server.log, scratch)
  test.match(table.concat(lines, "|"), "^one||two |three| 10%%| 20%%|done|lmm mock: listening on ")
  test.ok(waits > 0, "on_wait is called")
  local count = #lines
  assert(server.client:models())
  server:stop()
  test.equal(#lines, count, "until it is ready")
  test.match(process.read(scratch), "^one\n\ntwo \r\nthree\n", "the log stays")
end)

test.case("its client takes more options", function()
  local server = assert(lmm.serve { command = mock_words("--api-key", "open sesame"),
    client = { api_key = "open sesame", model = "mock" } })
  assert(server.client:models())
  server:stop()
end)

for _, flaw in ipairs { "loading", "no_health" } do
  test.case("waits for one that is " .. flaw, function()
    local server = assert(lmm.serve { command = flawed(flaw) })
    test.equal(assert(server.client:models())[1].id, "tiny")
    server:stop()
  end)
end

test.case("waits while nobody listens", function()
  local server = assert(lmm.serve { command = mock_words("--start-delay", "0.7", "--log-lines", "3") })
  test.match(process.read(server.log), "^INFO .-\nINFO .-\nINFO .-\nlmm mock: listening")
  server:stop()
end)

-- ---- a server that does not --------------------------------------------------------------------------------------

local taken = assert(mock.start())

-- The command, the error's kind, what its message says, and more options. None takes long.
local failures = {
  { "no such command", { "./no such command" }, "invalid",
    "not started: cannot run './no such command': ENOENT.*is the command installed, and in PATH" },
  { "no program", { "spec/media/picture.png" }, "invalid", "cannot run 'spec/media/picture%.png': EACCES" },
  { "a log in a folder that is not there", mock_words(), "invalid", "cannot write the log: ENOENT.*: /gone/away/log",
    { log = "/gone/away/log" } },
  { "a log that is a folder", mock_words(), "invalid", "cannot write the log: EISDIR", { log = "spec" } },
  { "a taken port", mock_words(), "invalid", "port " .. taken.port .. " cannot be had: EADDRINUSE",
    { port = taken.port } },
  { "one that ends at once", { "true" }, "connect", "the server 'true' ended with exit code 0 before it was ready$" },
  { "one that ends with a word", after "echo first; echo; printf 'last word' >&2; exit 3", "connect",
    "the server 'sh' ended with exit code 3 before it was ready; it said last: first last word$" },
  { "one that is killed", after "echo a; kill -9 $$", "connect",
    "ended by signal 9 before it was ready; it said last: a %(something killed it: often the system, when memory" },
  { "one that fails after it has loaded", mock_words("--start-delay", "0.5", "--log-lines", "9", "--fail-start"),
    "connect", "ended with exit code 1 .*shard 9 of 9 lmm: torch.OutOfMemoryError.*%(too little memory: " },
  { "one that leaves the port to others", { "sh", "-c", "echo on " .. taken.port, "{port}" }, "connect",
    "ended with exit code 0" },
  { "one that never listens", after "echo loading; sleep 600", "timeout",
    "the server 'sh' was not ready within 1.5 s: cannot reach http://[%d.:]+/%w+: .*; it said last: loading$",
    { ready_timeout = 1.5 } },
  { "one that is never ready", flawed "loading", "timeout", "not ready within 0%.3 s: .*; it said last",
    { ready_timeout = 0.3 } },
  { "what is no web server", flawed "noise", "protocol",
    "does not answer as it should: .*; it said last: ready" },
  { "a server of pages", flawed "page", "protocol",
    "does not answer as it should: .*HTML page.*; it said last: ready" },
  { "a server of something else", flawed "no_list", "protocol", "there is no 'data'.*; it said last: ready" },
  { "a server that asks for a key", flawed "guarded", "http", "HTTP 401.*it said last: ready %(pass api_key" },
}

for _, row in ipairs(failures) do
  local name, command, kind, pattern = row[1], row[2], row[3], row[4]
  test.case("says why there is none: " .. name, function()
    local opts = { command = command, ready_timeout = 60 }
    for option, value in pairs(row[5] or {}) do opts[option] = value end
    local started
    opts.on_wait = function() started = true end
    local err = test.refused(pattern, lmm.serve(opts))
    test.equal(err.kind, kind)
    if kind == "timeout" then test.equal(err.limit, "ready") end
    if kind ~= "invalid" then test.equal(type(err.log), "string") end
    test.ok(kind == "timeout" or not started or kind ~= "invalid")
  end)
end

taken.stop()

test.case("nothing of one that failed is left", function()
  local words = after("echo $$ >" .. scratch .. "; sleep 600 & sleep 600")
  test.refused("not ready within 1 s", lmm.serve { command = words, ready_timeout = 1 })
  local pid = process.read(scratch):match "%d+"
  test.equal(process.group(pid), {})
  -- Its leader ends by itself; what it has started would go on.
  test.refused("exit code 4", lmm.serve { command = after("echo $$ >" .. scratch .. "; sleep 600 & exit 4") })
  test.equal(process.group(process.read(scratch):match "%d+"), {})
end)

-- What the log says, and what the advice is about. The lines are the servers' own.
local hints = {
  { "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "too little memory" },
  { "ValueError: Free memory on device (3.22/4.0 GiB) on startup is less than desired GPU memory utilization (0.9).",
    "%-%-gpu%-memory%-utilization" },
  { "ValueError: No available memory for the cache blocks.", "%-%-gpu%-memory%-utilization" },
  { "OSError: [Errno 98] Address already in use", "the port is taken" },
  { "OSError: x/y is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
    "there is no such model" },
  { "Value error, Invalid repository ID or local directory specified: '/gone'", "there is no such model" },
  { "vllm: error: unrecognized arguments: --tensor-paralel-size 2", "does not know that argument" },
  { "error: argument --dtype: invalid choice: 'float17' (choose from auto, half)", "does not know that value" },
  { "ValueError: As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat "
    .. "template if the tokenizer does not define one.", "pass %-%-chat%-template" },
  { "ValueError: The supplied chat template string (a.jinja) appears path-like, but doesn't exist!", "check the path" },
  { "INFO Detected the chat template content format to be 'string'.", nil },
}

for i, row in ipairs(hints) do
  test.case("gives advice: " .. (row[2] or "none") .. " (" .. i .. ")", function()
    -- The root cause stands far above the last lines, after a warning that means nothing.
    process.write(scratch, (row[2] and "WARNING No module named 'vllm._C'\n" or "") .. row[1] .. "\n"
      .. ("  File \"core.py\", line 1\n"):rep(200))
    local err = test.refused("exit code 1", lmm.serve { command = { "sh", "-c", "cat " .. scratch .. "; exit 1" } })
    if row[2] then test.match(err.message, "%(.*" .. row[2] .. ".*%)$") else test.equal(err.hint, nil) end
  end)
end

test.case("what it said last is bounded", function()
  local err = test.refused("said last: %.%.%.[x ]+$", lmm.serve {
    command = { "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; exit 1" } })
  test.ok(#err.message < 3000, #err.message)
end)

test.case("misuse raises before anything is started", function()
  local rows = {
    { nil, "command is a list of words" }, { {}, "command is a list" }, { { command = "vllm serve" }, "a table" },
    { { command = {} }, "command is a list" }, { { command = { 1 } }, "command%[1%] is no text" },
    { { command = { "a\0b" } }, "is no text" }, { { command = { "" } }, "command%[1%] is empty" },
    { { command = { "x" }, prot = 1 }, "did you mean 'port'" }, { { command = { "x" }, port = 1.5 }, "is no port" },
    { { command = { "x" }, port = 70000 }, "70000 is no port" },
    { { command = { "x" }, env = { A = 1 } }, "env holds texts" },
    { { command = { "x" }, ready_timeout = 0 }, "ready_timeout is a number of seconds above 0" },
    { { command = { "touch", scratch .. ".touched" }, client = { modle = "x" } }, "did you mean 'model'" },
  }
  for _, row in ipairs(rows) do test.raises(row[2], lmm.serve, row[1]) end
  test.equal(process.read(scratch .. ".touched"), nil)
end)

test.case("what on_log or on_wait raises is raised, and the server is gone", function()
  for _, name in ipairs { "on_log", "on_wait" } do
    local opts = { command = after("echo $$ | tee " .. scratch .. "; sleep 600") }
    opts[name] = function() error("on purpose", 0) end
    test.equal(select(2, pcall(lmm.serve, opts)), "on purpose")
    process.wait_gone(process.read(scratch):match "%d+")
  end
end)

-- ---- tasks -------------------------------------------------------------------------------------------------------

--- A task that makes the scratch file after a few rounds, on which the server waits.
local function maker()
  os.remove(scratch)
  return function()
    for _ = 1, 10 do loops.current():wait({}, loops.current():now() + 0.02) end
    process.write(scratch, "")
  end
end

test.case("a task beside goes on while it waits, and while it stops", function()
  local wait = "until [ -e " .. scratch .. " ]; do sleep 0.02; done"
  local words = { "sh", "-c", wait .. '\n"$@" & trap "rm ' .. scratch .. "; echo told; " .. wait
    .. '; kill $!; exit" TERM; wait', "sh", LUA, "bin/lmm", "mock", "--port", "{port}" }
  local server
  lmm.gather { function() server = assert(lmm.serve { command = words, ready_timeout = 60 }) end, maker() }
  local order = {}
  lmm.gather {
    function()
      server:stop()
      order[#order + 1] = "stopped"
    end,
    function()
      while not process.read(server.log):find "told" do loops.current():wait({}, loops.current():now() + 0.02) end
      maker()()
      order[#order + 1] = "made"
    end,
    function() -- another who stops it waits as long
      server:stop()
      order[#order + 1] = "stopped"
    end,
  }
  test.equal(order, { "made", "stopped", "stopped" })
  gone(server)
end)

test.case("a cancelled start leaves nothing", function()
  local message
  local task = lmm.go(function()
    message = select(2, lmm.serve { command = after("echo $$ >" .. scratch .. "; sleep 600") })
  end)
  os.remove(scratch)
  local loop = loops.current()
  process.wait_for("the server", function()
    loop:wait({}, loop:now() + 0.02)
    return (process.read(scratch) or ""):find "\n"
  end)
  task:cancel()
  task:wait()
  test.match(message, "cancelled")
  process.wait_gone(process.read(scratch):match "%d+")
end)

-- ---- how it ends -------------------------------------------------------------------------------------------------

test.case("one that ignores SIGTERM is killed with its children, and the others go on meanwhile", function()
  local server = assert(lmm.serve { command = flawed "stubborn" })
  process.wait_for("its child", function() return #process.group(server.pid) > 1 end)
  local stopped, ticks = false, 0
  lmm.gather {
    function()
      server:stop()
      stopped = true
    end,
    function()
      while not stopped do
        loops.current():wait({}, loops.current():now() + 0.05)
        ticks = ticks + 1
      end
    end,
  }
  gone(server)
  test.ok(ticks > 20, ticks)
end)

test.case("a server killed in mid-stream", function()
  local server = assert(lmm.serve { command = mock_words("--delay", "0.05") })
  local stream = server.client:conversation():stream("x", { mock = { reply = ("word "):rep(10000) } })
  test.equal(stream:next(), "word ")
  os.execute(("kill -9 %d"):format(server.pid))
  local piece, message, err
  repeat piece, message, err = stream:next() until not piece
  test.equal(test.refused("broke off", piece, message, err).kind, "truncated")
  test.match(err.partial, "^word ")
  process.wait_for("its end", function() return not server:is_running() end)
  test.match(server:problem().message, "^the server '.*' ended by signal 9; it said last: lmm mock: listening")
  test.equal(server:stop(), true)
end)

test.case("it ends when it is collected; whoever keeps its client alone keeps it", function()
  local client, pid
  do
    local server = assert(lmm.serve { command = mock_words() })
    client, pid = server.client, server.pid
  end
  for _ = 1, 3 do collectgarbage() end
  assert(client:models())
  client = nil -- luacheck: ignore
  for _ = 1, 3 do collectgarbage() end
  process.wait_gone(pid)
end)

test.case("collecting one that takes long to end waits for nothing", function()
  local pid
  do
    local server = assert(lmm.serve { command = flawed "stubborn" })
    pid = server.pid
  end
  for _ = 1, 3 do collectgarbage() end
  test.ok(process.runs(pid), "it is asked, not waited for")
  process.wait_gone(pid)
end)

test.case("a variable that is closed stops it", function()
  if _VERSION < "Lua 5.4" then test.skip "before Lua 5.4 no variable is closed" end
  local run = load([[local words = ...
    local server <close> = assert(require("lmm").serve { command = words })
    return server]])
  gone(run(mock_words()))
end)

local function guard_of(server) return server.guard.notes()[1]:match "%d+" end

test.case("it goes although the process that watches over it was killed", function()
  local server = assert(lmm.serve { command = mock_words() })
  os.execute("kill -9 " .. guard_of(server))
  process.wait_for("that process's end", function() return not server:is_running() end)
  test.match(server:problem().message, "left alone")
  test.ok(process.runs(server.pid))
  server:stop()
  process.wait_gone(server.pid)

  local path = process.shell "mktemp":match "%S+"
  -- Its parent is that process.
  local err = test.refused("watches over it was killed before it was ready",
    lmm.serve { command = { "sh", "-c", "echo $$ >" .. path .. "; kill -9 $PPID; sleep 600" } })
  test.equal(err.kind, "connect")
  process.wait_gone(process.read(path):match "%d+")
  os.remove(path)
end)

-- ---- how its owner may end ---------------------------------------------------------------------------------------

-- An owner tells what it has made. `hold` starts a process that holds open every pipe that the owner has.
local OWNER = [[
local tmpname = os.tmpname
function os.tmpname()
  local name = tmpname()
  print("file " .. name)
  return name
end
local function hold() os.execute "sleep 600 >/dev/null 2>&1 & echo holder $!" end
io.stdout:setvbuf "no"
local lmm = require "lmm"
local server = lmm.serve { command = {%s}, on_wait = function() %s end }
print("running " .. server.pid)
%s
]]

local KILLED = "while true do os.execute 'sleep 0.1' end"
local LOADING = "print 'loading'"

-- Each: what happens, what the owner does while the server loads and while it runs, and how it is killed.
local ends = {
  { "is killed while it loads", LOADING, "", "kill -9 %d", loads = true },
  { "is killed while it loads, its pipes held open", "hold() hold = print", "", "kill -9 %d", loads = true },
  { "is told to end while it loads", LOADING, "", "kill -TERM %d", loads = true },
  { "is killed with its whole process group while it loads", LOADING, "", "kill -9 -%d", loads = true },
  { "is killed", "", KILLED, "kill -9 %d" },
  { "is killed, its pipes held open", "", "hold() " .. KILLED, "kill -9 %d" },
  { "is killed with its whole process group", "", KILLED, "kill -9 -%d" },
  { "is interrupted with its whole process group", "", KILLED, "kill -INT -%d; kill -9 %d" },
  { "returns", "", "" },
  { "returns, its pipes held open", "", "hold()" },
  { "raises", "", "error 'on purpose'" },
  { "exits", "", "os.exit(0)" },
  { "exits and closes its state", "", "os.exit(0, true)" },
  { "exits, its pipes held open", "", "hold() os.exit(0)" },
}

local function quote_all(words)
  local out = {}
  for i, word in ipairs(words) do out[i] = ("%q"):format(word) end
  return table.concat(out, ", ")
end

for _, row in ipairs(ends) do
  test.case("no process and no file is left when its owner " .. row[1], function()
    local pids, said = scratch .. ".pids", scratch .. ".said"
    os.remove(pids)
    local words = after("echo $$ >" .. pids .. "; sleep 600 & " .. (row.loads and "sleep 600" or ""))
    local script = process.write(scratch .. ".lua", OWNER:format(quote_all(words), row[2], row[3]))
    local owner = process.shell(("setsid %s %s </dev/null >%s 2>&1 & echo $!"):format(LUA, script, said)):match "%d+"
    local mark = row[2] == LOADING and "loading\n" or row.loads and "holder %d+\n" or "running %d+\n"
    process.wait_for("the server", function()
      local text = process.read(said)
      return text:find(mark) and (not row[3]:find "hold" or text:find "holder %d+\n") and process.read(pids)
    end)
    local leader = process.read(pids):match "%d+"
    if row[4] then os.execute((row[4]:gsub("%%d", owner)) .. " 2>/dev/null") end
    process.wait_for("the owner's end", function() return not process.runs(owner) end)
    process.wait_gone(leader)
    local text = process.read(said)
    for file in text:gmatch "file (%S+)" do
      process.wait_for("the end of " .. file, function() return process.read(file) == nil end)
    end
    local holder = text:match "holder (%d+)"
    if holder then
      test.ok(row[4] and row[4]:find "-%-" or process.runs(holder), "the holder has outlived them")
      os.execute("kill " .. holder .. " 2>/dev/null")
    end
  end)
end

for _, suffix in ipairs { "", ".pids", ".said", ".lua" } do os.remove(scratch .. suffix) end
