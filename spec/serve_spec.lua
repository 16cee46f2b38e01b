-- Model servers as child processes: started and waited for, or why not. Real processes throughout.
local lmm = require "lmm"
local mock = require "lmm.mock"
local process = require "spec.support.process"
local serving = require "spec.support.serving"

local LUA = arg[-1]
local scratch = os.tmpname()
local taken -- a server whose port is taken

setup(function() taken = assert(mock.start()) end)

teardown(function()
  taken.stop()
  os.remove(scratch)
end)

local mock_words, flawed, after, gone = serving.mock, serving.flawed, serving.after, serving.gone

describe("a server that starts", function()
  it("starts, answers, and is gone once it is stopped", function()
    local server = assert(lmm.serve { command = mock_words() })
    assert.same(("http://127.0.0.1:%d/v1"):format(server.port), server.url)
    assert.same(server.url, server.client.base_url)
    assert.truthy(server:is_running())
    assert.truthy(process.runs(server.pid))
    assert.equal("question: Who?", assert(server.client:conversation():ask "Who?").text)
    assert.matches("^lmm mock: listening on " .. server.url:gsub("%p", "%%%0") .. " .*\n$", process.read(server.log))
    assert.equal(true, server:stop())
    gone(server)
    assert.equal(nil, process.read(server.log), "a temporary log goes")
    assert.equal(true, server:stop())
    assert.raises("closed", server.client.models, server.client)
  end)

  it("the port stands where {port} does, else at the end; the one that is asked for is taken", function()
    local other = assert(mock.start())
    other.stop()
    local rows = { { "$*", "--port={port}" }, { "$*" }, { "$*", port = other.port } }
    for i, row in ipairs(rows) do
      local words = after('echo "[$*]"', mock_words(row[2]))
      local server = assert(lmm.serve { command = words, port = row.port })
      assert.matches((i == 1 and "mock %-%-port=" or "mock %-%-port ") .. server.port .. "%]\n",
        process.read(server.log))
      if row.port then assert.same(row.port, server.port) end
      server:stop()
    end
  end)

  it("words reach the command as they are, without a shell; more environment beside its own", function()
    local words = after('printf "%s|" "$LMM_SPEC" "${PATH:+path}" >' .. scratch .. '; shift; printf "%s|" "$1" >>'
      .. scratch .. "; shift", { "first", "a b$HOME`id`'\"\\ \nc", LUA, "bin/lmm", "mock" })
    local server = assert(lmm.serve { command = words, env = { LMM_SPEC = "it's $HOME" } })
    assert.equal("it's $HOME|path|a b$HOME`id`'\"\\ \nc|", process.read(scratch))
    server:stop()
  end)

  it("tells what it says while it loads, line by line, into the log that is named", function()
    local lines, waits = {}, 0
    local server = assert(lmm.serve {
      command = after("printf 'one\\n\\ntwo \\r\\n'; echo three >&2; printf ' 10%%\\r 20%%\\r'; sleep 0.5; echo done"),
      log = scratch, on_log = function(line) lines[#lines + 1] = line end, on_wait = function() waits = waits + 1 end,
    })
    assert.same(scratch, server.log)
    assert.matches("^one||two |three| 10%%| 20%%|done|lmm mock: listening on ", table.concat(lines, "|"))
    assert(waits > 0, "on_wait is called")
    local count = #lines
    assert(server.client:models())
    server:stop()
    assert.same(count, #lines, "until it is ready")
    assert.matches("^one\n\ntwo \r\nthree\n", process.read(scratch))
  end)

  it("its client takes more options", function()
    local server = assert(lmm.serve { command = mock_words("--api-key", "open sesame"),
      client = { api_key = "open sesame", model = "mock" } })
    assert(server.client:models())
    server:stop()
  end)

  for _, flaw in ipairs { "loading", "no_health" } do
    it("waits for one that is " .. flaw, function()
      local server = assert(lmm.serve { command = flawed(flaw) })
      assert.equal("tiny", assert(server.client:models())[1].id)
      server:stop()
    end)
  end

  it("waits while nobody listens", function()
    local server = assert(lmm.serve { command = mock_words("--start-delay", "0.7", "--log-lines", "3") })
    assert.matches("^INFO .-\nINFO .-\nINFO .-\nlmm mock: listening", process.read(server.log))
    server:stop()
  end)
end)

local function taken_port() return taken.port end

-- The command, the error's kind, what its message says, and more options. None takes long.
local failures = {
  { "no such command", { "./no such command" }, "invalid",
    "not started: cannot run './no such command': ENOENT.*is the command installed, and in PATH" },
  { "no program", { "spec/media/picture.png" }, "invalid", "cannot run 'spec/media/picture%.png': EACCES" },
  { "a log in a folder that is not there", mock_words(), "invalid", "cannot write the log: ENOENT.*: /gone/away/log",
    { log = "/gone/away/log" } },
  { "a log that is a folder", mock_words(), "invalid", "is a directory, not a file", { log = "spec" } },
  { "a taken port", mock_words(), "invalid", "port %d+ cannot be had: EADDRINUSE", { port = taken_port } },
  { "one that ends at once", { "true" }, "connect", "the server 'true' ended with exit code 0 before it was ready$" },
  { "one that ends with a word", after "echo first; echo; printf 'last word' >&2; exit 3", "connect",
    "the server 'sh' ended with exit code 3 before it was ready; it said last: first last word$" },
  { "one that is killed", after "echo a; kill -9 $$", "connect",
    "ended by signal 9 before it was ready; it said last: a %(something killed it: often the system, when memory" },
  { "one that fails after it has loaded", mock_words("--start-delay", "0.5", "--log-lines", "9", "--fail-start"),
    "connect", "ended with exit code 1 .*shard 9 of 9 lmm: torch.OutOfMemoryError.*%(too little memory: " },
  { "one that leaves the port to others", { "sh", "-c", "echo on another", "{port}" }, "connect",
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

describe("a server that does not start", function()
  for _, row in ipairs(failures) do
    local name, command, kind, pattern = row[1], row[2], row[3], row[4]
    it("says why there is none: " .. name, function()
      local opts = { command = command, ready_timeout = 60 }
      for option, value in pairs(row[5] or {}) do
        opts[option] = value == taken_port and taken_port() or value
      end
      local started
      opts.on_wait = function() started = true end
      local err = assert.refused(pattern, lmm.serve(opts))
      assert.same(kind, err.kind)
      assert(not err.message:find "does not answer as it should.*does not answer", err.message)
      if kind == "timeout" then assert.equal("ready", err.limit) end
      if kind ~= "invalid" then assert.equal("string", type(err.log)) end
      assert.truthy(kind == "timeout" or not started or kind ~= "invalid")
    end)
  end

  it("nothing of one that failed is left", function()
    local words = after("echo $$ >" .. scratch .. "; sleep 600 & sleep 600")
    assert.refused("not ready within 1 s", lmm.serve { command = words, ready_timeout = 1 })
    local pid = process.read(scratch):match "%d+"
    assert.same({}, process.group(pid))
    -- Its leader ends by itself; what it has started would go on.
    assert.refused("exit code 4", lmm.serve { command = after("echo $$ >" .. scratch .. "; sleep 600 & exit 4") })
    assert.same({}, process.group(process.read(scratch):match "%d+"))
  end)

  for i, row in ipairs(hints) do
    it("gives advice: " .. (row[2] or "none") .. " (" .. i .. ")", function()
      -- The root cause stands far above the last lines, after a warning that means nothing.
      process.write(scratch, (row[2] and "WARNING No module named 'vllm._C'\n" or "") .. row[1] .. "\n"
        .. ("  File \"core.py\", line 1\n"):rep(200))
      local err = assert.refused("exit code 1", lmm.serve { command = { "sh", "-c", "cat " .. scratch .. "; exit 1" } })
      if row[2] then assert.matches("%(.*" .. row[2] .. ".*%)$", err.message) else assert.equal(nil, err.hint) end
    end)
  end

  it("what it said last is bounded", function()
    local err = assert.refused("said last: %.%.%.[x ]+; all of its log is in ", lmm.serve {
      command = { "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; exit 1" } })
    assert(#err.message < 3000, #err.message)
  end)

  it("misuse raises before anything is started", function()
    local rows = {
      { nil, "command is a list of words" }, { {}, "command is a list" }, { { command = "vllm serve" }, "a table" },
      { { command = {} }, "command is a list" }, { { command = { 1 } }, "command%[1%] is no word of a list" },
      { { command = { "a\0b" } }, "is no word of a list" }, { { command = { "" } }, "command%[1%] is empty" },
      { { command = { "x" }, prot = 1 }, "did you mean 'port'" }, { { command = { "x" }, port = 1.5 }, "is no port" },
      { { command = { "x" }, port = 70000 }, "70000 is no port" },
      { { command = { "x" }, env = { A = 1 } }, "env holds texts" },
      { { command = { "x" }, ready_timeout = 0 }, "ready_timeout is a number of seconds above 0" },
      { { command = { "touch", scratch .. ".touched" }, client = { modle = "x" } }, "did you mean 'model'" },
    }
    for _, row in ipairs(rows) do assert.raises(row[2], lmm.serve, row[1]) end
    assert.equal(nil, process.read(scratch .. ".touched"))
  end)

  it("what on_log or on_wait raises is raised, and the server is gone", function()
    for _, name in ipairs { "on_log", "on_wait" } do
      local opts = { command = after("echo $$ | tee " .. scratch .. "; sleep 600") }
      local pid
      opts[name] = function()
        pid = process.wait_for("its pid", function() return (process.read(scratch) or ""):match "(%d+)\n" end)
        error("on purpose", 0)
      end
      os.remove(scratch)
      assert.equal("on purpose", select(2, pcall(lmm.serve, opts)))
      process.wait_gone(pid)
    end
  end)
end)
