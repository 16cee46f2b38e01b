-- `lmm batch --serve`: a run with a model server of its own, which is killed, does not start, or is not needed.
local assert = require "luassert"
local cli = require "spec.support.cli"
local json = require "lmm.json"
local process = require "spec.support.process"

local LUA = arg[-1]
local AT_ONCE = 4

local program = cli.new { OPENAI_API_KEY = "" }
local folder, file = process.folder()

local quote = process.quote
local MOCK = { LUA, "bin/lmm", "mock", "--delay", "0" }

--- Rows that take some time each; each third one asks for a vector.
local function write_rows(count, seconds)
  local out = assert(io.open(file "in.jsonl", "wb"))
  for i = 1, count do
    local is_vector = i % 3 == 0
    out:write(json.encode { custom_id = "r" .. i, method = "POST",
      url = is_vector and "/v1/embeddings" or "/v1/chat/completions",
      body = is_vector and { model = "mock", input = "q" .. i } or {
        mock = { first_delay = seconds, reply = "answer " .. i },
        messages = { { role = "user", content = "q" } } } }, "\n")
  end
  out:close()
end

--- The words of `lmm batch` with a server, which first notes its process and runs `script`.
local function words(options, server, script)
  local all = { "batch", file "in.jsonl", "-o", file "out.jsonl" } -- the last -o counts
  for _, word in ipairs(options or {}) do all[#all + 1] = word end
  local shell = ("echo $$ >>%s\n%s\nexec \"$@\""):format(file "pids", script or "")
  for _, word in ipairs { "--serve", "--", "sh", "-c", shell, "sh" } do all[#all + 1] = word end
  for _, word in ipairs(server or MOCK) do all[#all + 1] = word end
  return all
end

--- A shell script around `batch`, which runs in the background as $batch.
local function around(script, command)
  return program.shell(([[
    batch() { %s </dev/null >>$out 2>>$err & batch=$!; }
    ended() { wait $batch 2>/dev/null; echo $? >>$status; }
    until_() { until eval "$1" || ! kill -0 $batch 2>/dev/null; do sleep 0.02; done; }
    lines() { until_ "[ \$(cat %s 2>/dev/null | wc -l) -ge $1 ]"; }
    starts() { until_ "[ \$(cat %s 2>/dev/null | wc -l) -ge $1 ]"; }
    server() { tail -n 1 %s; }
    %s
    echo $(cat $status) >$out]]):format(program.command(command), quote(file "out.jsonl"), quote(file "pids"),
    quote(file "pids"), script))
end

--- How often a server was started; none is left.
local function starts()
  local count = 0
  for pid in (process.read(file "pids") or ""):gmatch "%d+" do
    count = count + 1
    assert.same({}, process.group(pid))
  end
  return count
end

local function check_once(count)
  local seen, number = {}, 0
  for text in process.read(file "out.jsonl"):gmatch "[^\n]+" do
    local record = assert(json.decode(text))
    assert.is_nil(seen[record.custom_id], record.custom_id .. " is there twice")
    seen[record.custom_id], number = true, number + 1
  end
  assert.same({ count, "" }, { number, process.read(file "out.errors.jsonl") })
end

teardown(function()
  program.remove()
  os.execute("rm -rf " .. folder)
end)

describe("lmm batch --serve", function()
  before_each(function() os.execute("rm -rf " .. folder .. "/*") end)

  it("runs with a server of its own, which asks for a key that nobody sees, and stops it", function()
    write_rows(12, 0)
    local script = ('(cd %s; echo "$VLLM_API_KEY" >key; cat /proc/[0-9]*/cmdline >words 2>/dev/null\n'
      .. 'grep -cf key words >>key)'):format(folder)
    local summary = json.decode(cli.answered(program.run(words({ "--summary" }, nil, script))))
    assert.same({ 12, 0, 1 }, { summary.done, summary.failed, starts() })
    assert.matches("^" .. ("%x"):rep(32) .. "\n0\n$", process.read(file "key"))
    check_once(12)
  end)

  it("starts it again when it is killed, runs again what ran, and has every row once", function()
    write_rows(60, 0.05)
    local log = file "log"
    local run = around("batch; lines 10; kill -9 $(server); starts 2; lines 30; kill -9 $(server); ended",
      words { "--concurrency", tostring(AT_ONCE), "--log", log })
    assert.equal("0\n", run.out)
    local said = "lmm: the server 'sh' ended by signal 9;[^\n]*; it is started again, for time %d of 3\n"
    assert.matches("^" .. said:format(1) .. said:format(2) .. "$", run.err)
    assert.equal(3, starts())
    check_once(60)
    local text = process.read(log) .. process.read(log .. ".2") .. process.read(log .. ".3")
    local sent = select(2, text:gsub("POST /v1/", ""))
    assert(sent <= 60 + 2 * AT_ONCE, sent .. " requests")
  end)

  it("does not blame a row for what a dying server said of it", function()
    write_rows(1, 0)
    local out = assert(io.open(file "in.jsonl", "wb"))
    for i = 1, 8 do
      out:write(json.encode { custom_id = "r" .. i, url = "/v1/chat/completions",
        body = { messages = { { role = "user", content = "q" } } } }, "\n")
    end
    out:close()
    local server = { "sh", "-c", 'exec "$1" spec/support/model_server.lua dying --port {port} "$2"', "sh", LUA,
      file "marked" }
    local run = program.run(words({ "--concurrency", "2", "-m", "tiny" }, server))
    assert.matches("^lmm: the server 'sh' ended with exit code 1;[^\n]*\n$", run.err)
    assert.same({ 0, 2 }, { run.status, starts() })
    check_once(8)
  end)

  --- Rows of chat; those of these numbers kill the server.
  local function write_poison(count, poison, word)
    local is_poison = {}
    for _, i in ipairs(poison) do is_poison[i] = true end
    local out = assert(io.open(file "in.jsonl", "wb"))
    for i = 1, count do
      out:write(json.encode { custom_id = "r" .. i, url = "/v1/chat/completions",
        body = { messages = { { role = "user", content = is_poison[i] and (word or "poison") or "q" } } } }, "\n")
    end
    out:close()
  end

  local POISONED = { LUA, "spec/support/model_server.lua", "poisoned" }

  for _, row in ipairs {
    { "in the middle", 60, { 20 } }, { "at the beginning", 30, { 1 } }, { "at the end", 30, { 30 } },
    { "several of them, side by side, too", 60, { 10, 25, 26, 27, 45 } },
    { "the last ones", 20, { 4, 19, 20 } }, { "by an engine that dies first", 40, { 20 }, "slow poison" },
  } do
    it("has a row that kills the server as an error, and the others done: " .. row[1], function()
      write_poison(row[2], row[3], row[4])
      local run = program.run(words({ "-m", "tiny" }, POISONED))
      local bad = #row[3]
      assert.matches(("lmm: %d of %d rows failed: [^\n]*\n$"):format(bad, row[2]), run.err)
      assert.equal(1, run.status)
      local _, done = process.read(file "out.jsonl"):gsub("\n", "")
      local failed, lines = process.read(file "out.errors.jsonl"), {}
      for text in failed:gmatch "[^\n]+" do
        local record = json.decode(text)
        lines[#lines + 1] = record.line
        assert.matches("^the server died each time that this row ran, the last time alone: the server 'sh' ended with "
          .. "exit code 7", record.error.message)
      end
      table.sort(lines)
      assert.same({ row[2] - bad, row[3] }, { done, lines })
      starts()
    end)
  end

  it("blames no row where the server dies of every one", function()
    local all = {}
    for i = 1, 20 do all[i] = i end
    write_poison(20, all)
    local run = program.run(words({ "-m", "tiny" }, POISONED))
    assert.matches("exit code 7[^\n]*; it had been started again 3 times %(%-%-restarts%)\n$", run.err)
    assert.same({ 1, 4, "", "" },
      { run.status, starts(), process.read(file "out.jsonl"), process.read(file "out.errors.jsonl") })
  end)

  it("ends when it has died too often, and goes on when it is run again", function()
    write_rows(30, 0.3)
    local run = program.run(words({ "--restarts", "1", "--concurrency", "4" }, nil, "(sleep 0.6; kill -9 $$) &"))
    assert.matches("^lmm: the server 'sh' ended by signal 9;[^\n]*for time 1 of 1\nlmm: the server 'sh' ended by "
      .. "signal 9[^\n]*; it had been started again 1 time %(%-%-restarts%)\n$", run.err)
    assert.same({ 1, 2 }, { run.status, starts() })
    cli.answered(program.run(words()))
    check_once(30)
  end)

  it("starts it once more where it dies as it starts again", function()
    write_rows(30, 0.05)
    local dies = ("[ $(wc -l <%s) != 2 ] || exit 5"):format(file "pids")
    local run = around("batch; lines 10; kill -9 $(server); ended", words({ "--concurrency", "4" }, nil, dies))
    assert.matches("^lmm: [^\n]* for time 1 of 3\nlmm: the server 'sh' ended with exit code 5 before it was ready; it "
      .. "is started again, for time 2 of 3\n$", run.err)
    assert.equal("0\n", run.out)
    assert.equal(3, starts())
    check_once(30)
  end)

  it("is told why its server does not start, at once", function()
    write_rows(3, 0)
    cli.complained(program.run(words({}, { "sh", "-c", "echo CUDA out of memory; exit 3" })), 1,
      "^lmm: the server 'sh' ended with exit code 3 before it was ready; it said last: CUDA out of memory")
    assert.equal(1, starts())
    cli.complained(program.run(words({ "--ready-timeout", "0.5" }, { "sh", "-c", "sleep 600" })), 1,
      "was not ready within 0.5 s")
    local all = { "batch", file "in.jsonl", "-o", file "out.jsonl", "--serve", "--", "./no such command" }
    cli.complained(program.run(all), 1, "cannot run './no such command': ENOENT")
    all[#all] = "x"
    all[#all + 1] = "--port=8"
    cli.complained(program.run(all), 2, "the command names a %-%-port: write %-%-port {port}")
    assert.equal(2, starts())
    cli.answered(program.run(words()))
    check_once(3)
  end)

  it("starts no server where nothing is left to do", function()
    write_rows(3, 0)
    cli.answered(program.run(words()))
    cli.answered(program.run(words()))
    cli.answered(program.run(words { "--retry-errors" }))
    assert.equal(1, starts())
    assert.matches("3 done, 0 failed of 3; nobody", program.run { "batch", "status", file "out.jsonl" }.out)
    os.execute("rm -rf " .. folder .. "/*")
    write_rows(1, 0)
    for i = 1, 3 do
      cli.answered(program.run(words { "-o", file(i .. ".jsonl"), "--shard", i .. "/3" }))
    end
    assert.equal(1, starts())
    cli.answered(program.run { "batch", "merge", file "1.jsonl", file "2.jsonl", file "3.jsonl",
      "-o", file "all.jsonl" })
  end)

  it("starts one where rows are left, whatever other rows the output has", function()
    write_rows(3, 0)
    cli.answered(program.run(words()))
    local text = process.read(file "in.jsonl")
    process.write(file "in.jsonl", (text:gsub('"r(%d)', '"s%1')))
    cli.answered(program.run(words { "--force" }))
    check_once(6)
    cli.answered(program.run(words())) -- more rows have gone well than the input has
    process.write(file "in.jsonl", (text:gsub('"r(%d)', '"t%1')))
    cli.answered(program.run(words { "--force" }))
    assert.equal(3, starts())
    check_once(9)
  end)

  it("stops it on signals, while it loads, too, and leaves none behind when it is killed", function()
    write_rows(40, 0.1)
    local loading = { LUA, "bin/lmm", "mock", "--start-delay", "600" }
    local run = around("batch; starts 1; sleep 0.2; kill -INT $batch; ended", words({}, loading))
    assert.same({ "130\n", "lmm: finishing what runs, 0 rows; once more ends it at once\n"
      .. "lmm: stopped after 0 rows; the same command goes on\n" }, { run.out, run.err })
    assert.equal(1, starts())
    run = around("batch; starts 2; sleep 0.2; kill -INT $batch; kill -TERM $batch; ended", words({}, loading))
    assert.equal("130\n", run.out)
    assert.falsy(run.err:find("rror", 1, true))
    assert.equal(2, starts())
    run = around("batch; lines 8; kill -TERM $batch; ended; batch; lines 20; kill -9 $batch; ended",
      words { "--concurrency", "4" })
    assert.equal("143 137\n", run.out)
    process.wait_gone(process.read(file "pids"):match "(%d+)\n$")
    cli.answered(program.run(words()))
    check_once(40)
  end)

  it("does not start it again where a signal ends both, as scancel sends it", function()
    write_rows(40, 0.1)
    local run = around("batch; lines 8; kill -9 $(server); kill -TERM $batch; ended", words { "--concurrency", "4" })
    assert.equal("143\n", run.out)
    assert.falsy(run.err:find("started again", 1, true))
    assert.equal(1, starts())
    cli.answered(program.run(words()))
    check_once(40)
  end)

  it("ends at once at the second signal, however long a row takes and the server", function()
    write_rows(4, 600)
    local stubborn = "trap '' TERM; \"$@\" & wait"
    local run = around("batch; starts 1; until_ 'kill -USR1 $batch; grep -q \"[1-4] of 4 running\" $err'\n"
      .. "kill -INT $batch; until_ 'grep -q finishing $err'; kill -INT $batch; ended",
      words({ "--concurrency", "4" }, { "sh", "-c", stubborn, "sh", LUA, "bin/lmm", "mock" }))
    assert.equal("130\n", run.out)
    process.wait_gone(process.read(file "pids"):match "(%d+)\n$")
  end)

  it("refuses words that make no sense", function()
    write_rows(1, 0)
    for _, row in ipairs {
      { { "--serve" }, "%-%-serve takes the server's command: %-%-serve %-%- vllm serve MODEL" },
      { { "--", "x" }, "a server's command goes with %-%-serve" },
      { { "--restarts", "2" }, "%-%-restarts goes with %-%-serve" },
      { { "--ready-timeout", "2" }, "%-%-ready%-timeout goes with %-%-serve" },
      { { "--restarts", "x" }, "'x' is not a whole number from 0 on" },
      { { "--url", "http://127.0.0.1:1/v1", "--serve", "--", "x" }, "%-%-url names a server, and %-%-serve" },
      { { "--url-file", "x", "--serve", "--", "x" }, "%-%-url%-file names a server, and %-%-serve starts one" },
    } do
      local all = { "batch", file "in.jsonl", "-o", file "out.jsonl" }
      for _, word in ipairs(row[1]) do all[#all + 1] = word end
      cli.complained(program.run(all), 2, row[2])
    end
  end)
end)
