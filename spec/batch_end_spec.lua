-- `lmm batch` that is ended in the middle, by whatever it is, and goes on: every row once, and only those that ran are
-- sent again. $LMM_KILLS and $LMM_ROWS make it long (`make soak`).
local cli = require "spec.support.cli"
local json = require "lmm.json"
local process = require "spec.support.process"

local KILLS, ROWS = tonumber(os.getenv "LMM_KILLS") or 20, tonumber(os.getenv "LMM_ROWS") or 800
local AT_ONCE = 4

local program = cli.new { OPENAI_API_KEY = "" }
local folder, file = process.folder()

local quote = process.quote
local PICTURE = process.shell "pwd":match "[^\n]+" .. "/examples/picture.jpg"

--- Rows that take some time each.
local function write_rows(count, seconds)
  local out = assert(io.open(file "in.jsonl", "wb"))
  for i = 1, count do
    out:write(json.encode { custom_id = "r" .. i, method = "POST", url = "/v1/chat/completions", body = {
      mock = { first_delay = seconds, reply = "answer " .. i },
      messages = { { role = "user", content = { { type = "text", text = "q" },
        { type = "image_url", image_url = { url = PICTURE } } } } } } }, "\n")
  end
  out:close()
end

--- A shell script with a server that counts what it is sent, and `batch`, which runs in the background as $batch.
local function with_server(script, words)
  local all = { "batch", file "in.jsonl", "-o", file "out.jsonl" }
  for _, word in ipairs(words or {}) do all[#all + 1] = word end
  return program.shell(([[
    log=%s
    %s >$log.url 2>$log & server=$!
    trap 'kill $server; wait $server 2>/dev/null' EXIT
    until [ -s $log.url ]; do sleep 0.02; done
    export OPENAI_BASE_URL=$(sed -n 's|.*\(http://[^ ]*\).*|\1|p' $log.url)
    export batch_command=%s
    batch() { eval "exec $batch_command" </dev/null >>$out 2>>$err & batch=$!; }
    ended() { wait $batch 2>/dev/null; echo $? >>$status; }
    lines() { cat %s 2>/dev/null | wc -l; }
    at_lines() { while [ $(lines) -lt $1 ] && kill -0 $batch 2>/dev/null; do sleep 0.01; done; }
    said() { until grep -q "$1" $err || ! kill -0 $batch 2>/dev/null; do $2; sleep 0.02; done; }
    # Until SIGUSR1 is caught, the third digit from the right of the mask.
    catches() { until grep -q '^SigCgt:.*[2367abef]..$' /proc/$batch/status; do sleep 0.01; done; }
    %s
    echo $(cat $status) >$out
  ]]):format(quote(file "log"), program.command { "mock", "--delay", "0" }, quote(program.command(all)),
    quote(file "out.jsonl"), script))
end

--- How often each row is among the answers, and how many requests the server was sent.
local function check_once(count, most)
  local seen, number = {}, 0
  for text in process.read(file "out.jsonl"):gmatch "[^\n]+" do
    local record = assert(json.decode(text))
    assert.is_nil(seen[record.custom_id], record.custom_id .. " is there twice")
    seen[record.custom_id], number = true, number + 1
    assert.equal("answer " .. record.line, record.response.body.choices[1].message.content)
  end
  assert.equal(count, number)
  local sent = select(2, process.read(file "log"):gsub("POST /v1/chat/completions", ""))
  assert(sent >= count and sent <= most, ("%d rows were sent %d times"):format(count, sent))
end

local function clean() os.execute("rm -rf " .. folder .. "/*") end

teardown(function()
  program.remove()
  os.execute("rm -rf " .. folder)
end)

describe("lmm batch", function()
  before_each(clean)

  it(("killed at %d random moments has every row once"):format(KILLS), function()
    write_rows(ROWS, 0.01)
    local steps, seed = {}, 20261129
    for i = 1, KILLS do
      seed = (seed * 16807) % 2147483647
      -- Each fifth before the first row or soon after, the others all over the first half, so that none comes too late;
      -- each third time the last line is cut short, as a power cut would.
      local random, is_early = seed / 2147483647, i % 5 == 0
      steps[i] = ("batch; %s sleep %.3f; kill -9 $batch; ended; %s"):format(
        is_early and "" or ("at_lines %d;"):format(math.floor(i * ROWS / (2 * KILLS))),
        is_early and 0.02 + 0.2 * random or 0.05 * random,
        i % 3 == 0 and "printf '{\"id\":\"lmm-1\",\"custom_id\":\"r1' >>" .. quote(file "out.jsonl") or "")
    end
    local run = with_server(table.concat(steps, "\n") .. "\nbatch; ended", { "--concurrency", tostring(AT_ONCE) })
    local told = run.err:gsub("lmm: the last line of '[^']*out[^']*' was cut short, and is dropped[^\n]*\n", "")
    assert.equal("", (told:gsub("lmm: %d+/%d+ rows, [^\n]* left\n", "")))
    assert.equal(("137 "):rep(KILLS) .. "0\n", run.out)
    check_once(ROWS, ROWS + KILLS * AT_ONCE)
  end)

  it("finishes what runs at the first signal, and ends at once at the second", function()
    write_rows(60, 0.1)
    local run = with_server([[
      batch; at_lines 8; kill -INT $batch; ended
      batch; at_lines 20; kill -TERM $batch; ended
      batch; at_lines 36; kill -USR1 $batch; ended]], { "--concurrency", tostring(AT_ONCE) })
    assert.equal("130 143 0\n", run.out)
    assert.matches("finishing what runs, 4 rows; once more ends it at once\nlmm: stopped after %d+ rows; the same "
      .. "command goes on\n", run.err)
    assert.matches("lmm: %d+/60 rows, %d+%.%d/s, %d+ tokens/s, 4 of 4 running, %d+ s left\n", run.err)
    check_once(60, 60)

    clean()
    write_rows(4, 600) -- so that this spec ends only where the second signal waits for nothing
    run = with_server([[batch; catches; said '4 of 4 running' 'kill -USR1 '$batch
      kill -INT $batch; said finishing true; kill -INT $batch; ended]], { "--concurrency", tostring(AT_ONCE) })
    assert.same({ "130\n", "" }, { run.out, process.read(file "out.jsonl") .. process.read(file "out.errors.jsonl") })
  end)

  local does_hook = rawget(_G, "jit") and pending or it -- LuaJIT calls no hook in what it has compiled
  does_hook("ends at the second signal a function of --request that does not, and that row is run again", function()
    write_rows(3, 0)
    local request = file "request.lua"
    process.write(request, [[return function(row)
      while row.custom_id == "r2" do io.stderr:write "endless\n" while true do end end
      return row.body
    end]])
    local run = with_server(([[
      batch; said endless true; kill -INT $batch; said finishing true; kill -INT $batch; ended
      echo 'return function(row) return row.body end' >%s; batch_command="$batch_command --force"
      batch; ended]]):format(quote(request)), { "--request", request, "--concurrency", "1" })
    assert.equal("130 0\n", run.out)
    assert.matches("stopped after 1 row; the same command goes on\n$", run.err)
    assert.equal("", process.read(file "out.errors.jsonl"))
    check_once(3, 3)
  end)

  local can_wait = (_VERSION ~= "Lua 5.1" or rawget(_G, "jit")) and it or pending -- in a pcall
  can_wait("ends at the second signal a function of --request that waits, and nothing is written of its row", function()
    write_rows(3, 0)
    local request = file "request.lua"
    process.write(request, [[local loop = require "lmm.loop".current()
    return function(row)
      io.stderr:write "waiting\n"
      loop:wait({}, loop:now() + 600)
      return row.body
    end]])
    local run = with_server([[
      batch; said waiting true; kill -INT $batch; said finishing true; kill -INT $batch; ended]],
      { "--request", request })
    assert.equal("130\n", run.out)
    assert.equal("", process.read(file "out.jsonl") .. process.read(file "out.errors.jsonl"))
  end)

  it("is not ended by SIGUSR1 while it reads the rows", function()
    write_rows(3, 0)
    process.write(file "asked.lua", [[
      local uv = require "luv"
      uv.kill(uv.os_getpid(), "sigusr1")
      return function(row) return row.body end]])
    local run = with_server("batch; ended", { "--request", file "asked.lua" })
    assert.equal("0\n", run.out)
    assert.matches("^lmm: 0/3 rows, 0.0/s, %d of 16 running\n$", run.err)
    check_once(3, 3)
  end)

  it("shows on a terminal how far it is, by a line that goes away", function()
    write_rows(30, 0.1)
    local run = with_server([[script -qec "$batch_command" /dev/null </dev/null >>$log.seen; echo $? >$status]],
      { "--concurrency", "2" })
    assert.same({ "0\n", "" }, { run.out, run.err })
    local seen = process.read(file "log.seen")
    assert.matches("^\r\27%[K1 s  %d+/30 rows, %d+%.%d/s, %d+ tokens/s, 2 of 2 running, %d s left\r", seen)
    assert.matches("\r\27%[K%d s  30/30 rows, %d+%.%d/s, %d+ tokens/s, 0 of 2 running\r\27%[K$", seen)
  end)

  it("ends where the disk is full, says so, and goes on once there is room", function()
    local disk = file "disk"
    local mounted = process.shell(("mkdir %s && mount -t tmpfs -o size=128k none %s && echo done"):format(disk, disk))
    if not mounted:find "done" then return pending "no small file system can be mounted here: that takes root" end
    write_rows(400, 0.001)
    local run = with_server(([[
      trap 'kill $server; wait $server 2>/dev/null; umount %s' EXIT
      batch_command="$batch_command -o %s/out.jsonl"
      batch; ended
      batch; ended
      mount -o remount,size=4m %s
      batch; ended
      cp %s/out.jsonl %s]]):format(disk, disk, disk, disk, quote(file "out.jsonl")),
      { "--concurrency", tostring(AT_ONCE) })
    assert.equal("1 1 0\n", run.out)
    local full = "lmm: cannot write '[^\n]*out.jsonl': No space left on device: what ended so far is kept, and the "
      .. "same command goes on from there\n"
    assert.matches("^" .. full .. "lmm: [^\n]*No space left on device[^\n]*\n$", run.err)
    check_once(400, 400 + 3 * AT_ONCE)
  end)

  it("goes on when its server is killed and there again, and loses no row", function()
    write_rows(60, 0.05)
    local again = program.command { "mock", "--delay", "0" }
    local run = with_server(([[
      batch; at_lines 15; kill -9 $server; sleep 1
      port=${OPENAI_BASE_URL%%/v1}; port=${port##*:}
      %s --port $port >/dev/null 2>>$log & server=$!
      ended]]):format(again), { "--concurrency", tostring(AT_ONCE) })
    assert.same({ "", "0\n" }, { run.err, run.out })
    check_once(60, 60 + 2 * AT_ONCE)
  end)

  it("goes on with the other of two servers when one is killed, and with both when it is back", function()
    write_rows(160, 0.05)
    local again = program.command { "mock", "--delay", "0" }
    local run = with_server(([[
      %s >$log.other 2>$log.beside & other=$!
      trap 'kill $server $other; wait $server $other 2>/dev/null' EXIT
      until [ -s $log.other ]; do sleep 0.02; done
      batch_command="$batch_command --url $OPENAI_BASE_URL --url $(sed -n 's|.*\(http://[^ ]*\).*|\1|p' $log.other)"
      batch; at_lines 15; kill -9 $server
      at_lines 30
      port=${OPENAI_BASE_URL%%/v1}; port=${port##*:}
      %s --port $port >/dev/null 2>$log.back & server=$!
      ended
      cat $log.beside $log.back >>$log]]):format(again, again), { "--rate", "20" })
    assert.equal("0\n", run.out)
    local gone, back_again = run.err:match("^lmm: [^\n]-(http://[%d.:]+/v1)[^\n]*: it is left out while others answer\n"
      .. "lmm: (http://[%d.:]+/v1) answers again\n$")
    assert.equal(gone, back_again, run.err)
    assert.is_truthy(gone, run.err)
    local back = select(2, process.read(file "log.back"):gsub("/chat/completions", ""))
    assert(back > 0, "the server that was back was not asked")
    check_once(160, 160 + 20)
  end)
end)
