-- The jobs of examples/slurm, run by a shell, with the built-in server in the place of vLLM and scripts in the place of
-- Slurm's commands. `make test-slurm` runs them in a real Slurm.
local process = require "spec.support.process"
local stand_ins = require "spec.support.stand_ins".new()

local LUA = arg[-1]
local folder, program = stand_ins.folder, stand_ins.program
local quote = process.quote
local root = process.shell "pwd":match "[^\n]+"
local LMM = ("exec %s %s/bin/lmm"):format(quote(LUA), quote(root))

--- Runs a script, which finds the jobs in $jobs, in a folder that is not theirs.
local function run(script)
  return stand_ins.run(("cd %s; jobs=%s/examples/slurm; %s"):format(folder, quote(root), script))
end

local sum = process.shell "sha256sum examples/picture.jpg":match "%x+"
local PICTURE = "image 1: image/jpeg, 1280 x 854 pixels, 104316 bytes, sha256 " .. sum .. "\n"

-- Stands where vLLM does: notes how it was called, and as which process.
local called = folder .. "/called"
local MOCK = ('echo $$ "$@" >%s; %s mock --delay 0 "$@"'):format(called, LMM)
local CACHED = "/cache/hub/models--Org--A-Name--2/snapshots/0123abc"
local ANSWER = "^model: Org/A%-Name%-%-2\n" .. PICTURE:gsub("%p", "%%%0") .. "question: What is shown in the image%?\n"
  .. PICTURE:gsub("%p", "%%%0") .. "image 2: by URL https://[^\n]*\nquestion: And what is shown in this one%?\n"
  .. "turn 2, after 2 messages\n$"

local ways = {
  { "with vllm", quote(LUA) .. " $jobs/serve_and_ask.lua " .. CACHED },
  { "with another command", quote(LUA) .. " $jobs/serve_and_ask.lua " .. CACHED .. " server" },
  { "as a job", ("LUA=%s MODEL=%s bash $jobs/serve_and_ask.sbatch"):format(quote(LUA), CACHED) },
  { "as a job with a container", ("LUA=%s MODEL=%s SERVE='apptainer exec --nv vllm.sif vllm serve' "
    .. "bash $jobs/serve_and_ask.sbatch"):format(quote(LUA), CACHED),
    "exec --nv vllm.sif vllm serve " .. CACHED },
}

setup(function()
  program("lmm", LMM .. ' "$@"')
  program("server", MOCK)
  program("vllm", 'shift; . ' .. folder .. "/bin/server")
  program("apptainer", 'echo "$@" >' .. folder .. "/container; shift 5; . " .. folder .. "/bin/server")
end)

teardown(stand_ins.remove)

describe("the jobs for Slurm", function()
  for _, row in ipairs(ways) do
    it("serve_and_ask " .. row[1], function()
      local out, errors, status = run("export SLURM_GPUS_ON_NODE=4; " .. row[2])
      assert.equal(0, status, errors)
      assert.matches(ANSWER, out)
      assert.matches("^lmm mock: listening on [^\n]*\n$", (errors:gsub("%u+ /%S+ %d+\n", "")))
      local pid, words = process.read(called):match "^(%d+) (.*)$"
      assert.matches("^" .. CACHED:gsub("%p", "%%%0") .. " %-%-served%-model%-name Org/A%-Name%-%-2 .*"
        .. "%-%-tensor%-parallel%-size 4 .*%-%-port %d+\n$", words)
      assert.same({}, process.group(pid))
      if row[3] then assert.same(row[3], process.read(folder .. "/container"):sub(1, #row[3])) end
    end)
  end

  it("serve_and_ask takes a model's name as it is, and one GPU where Slurm tells of none", function()
    local out, errors, status = run("unset SLURM_GPUS_ON_NODE; " .. quote(LUA)
      .. " $jobs/serve_and_ask.lua org/name")
    assert.equal(0, status, errors)
    assert.matches("^model: org/name\n", out)
    assert.matches("%-%-tensor%-parallel%-size 1 ", process.read(called))
  end)

  it("serve_and_ask says why there is no server", function()
    local out, errors, status = run(quote(LUA) .. " $jobs/serve_and_ask.lua org/name server --fail-start")
    assert.same({ "", 1 }, { out, status })
    assert.matches("the server 'server' ended with exit code 1 .*CUDA out of memory.*too little memory", errors)
  end)

  it("serve_and_ask is short, and the job script is sound", function()
    local _, count = process.read "examples/slurm/serve_and_ask.lua":gsub("\n", "")
    assert(count <= 40, count .. " lines")
    assert.equal("", process.shell "for f in examples/slurm/*.sbatch; do bash -n $f; done 2>&1")
  end)

  it("the job array captions a folder, each task with a server of its own, goes on when it is run again, and merges",
    function()
      local out, errors, status
      local function task(id, count, first)
        out, errors, status = run(("export MODEL=m PICTURES='pictures/*.jpg' "
          .. "SLURM_ARRAY_TASK_ID=%d SLURM_ARRAY_TASK_COUNT=%d SLURM_ARRAY_TASK_MIN=%d; "
          .. "bash $jobs/caption.sbatch"):format(id, count, first))
        assert.equal(0, status, errors)
      end
      os.execute(("mkdir %s/pictures; for i in 1 2 3 4 5 6 7 8 9; do cp examples/picture.jpg %s/pictures/$i.jpg; done")
        :format(folder, folder))
      task(0, 2, 0)
      task(1, 2, 0)
      os.execute(("sed -i 1d %s/captions/part.1.jsonl"):format(folder))
      out, errors, status = run "bash $jobs/merge.sbatch"
      assert.same({ "", 1 }, { out, status })
      assert.matches("^lmm: 1 row missing in .*all.jsonl, 0 of which failed: lines %d\n$", errors)
      task(1, 1, 1) -- run again alone, by --array=1
      out, errors, status = run "bash $jobs/merge.sbatch"
      assert.same({ "", "", 0 }, { out, errors, status })
      local lines = 0
      for line in process.read(folder .. "/captions/all.jsonl"):gmatch "[^\n]+" do
        lines = lines + 1
        assert.truthy(line:find(sum, 1, true) and line:find('"line":' .. lines .. ",", 1, true))
      end
      assert.equal(9, lines)
    end)

  describe("the job array", function()
    local requeued = folder .. "/requeued"

    --- Does something to the job script of task 3, process $job, and to its run, $batch, once that has an answer; gives
    --- its status, and what it asked Slurm for.
    local function disturbed(action, env)
      os.execute(("rm -rf %s/captions %s; mkdir -p %s/pictures; for i in $(seq 40); do "
        .. "cp examples/picture.jpg %s/pictures/$i.jpg; done"):format(folder, requeued, folder, folder))
      program("scontrol", ('echo "$@" >>%s'):format(requeued))
      program("squeue", "echo ${STATE:-RUNNING}")
      local _, errors, status = run(("export MODEL=m PICTURES='pictures/*.jpg' OUT=captions "
        .. "SLURM_ARRAY_JOB_ID=77 SLURM_JOB_ID=77 SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=2 "
        .. "SLURM_ARRAY_TASK_MIN=2 SERVE='lmm mock --capacity slots:1' %s\n"
        .. "bash $jobs/caption.sbatch & job=$!\n"
        .. "until grep -q . $OUT/part.3.jsonl 2>/dev/null || ! kill -0 $job; do sleep 0.02; done\n"
        .. [[batch=$(sed -n 's/.*"start".*"pid":\([0-9]*\).*/\1/p' $OUT/part.3.run)]] .. "\n%s\nwait $job"):format(
        env or "", action))
      return status, process.read(requeued), errors
    end

    it("queues a task again that was killed, or whose time is over, by its own number", function()
      for action, expected in pairs { ["kill -9 $batch"] = 137, ["kill -TERM $job"] = 143 } do
        local status, queued, errors = disturbed(action)
        assert.same({ expected, "requeue 77_3\n" }, { status, queued }, errors)
      end
    end)

    it("leaves a task alone that was cancelled, or queued again too often", function()
      local status, queued = disturbed("kill -TERM $batch", "STATE=COMPLETING")
      assert.same({ 143 }, { status, queued })
      status, queued = disturbed("kill -9 $batch", "RESTARTS=2 SLURM_RESTART_COUNT=2")
      assert.same({ 137 }, { status, queued })
    end)
  end)

  it("one server answers several jobs, which find it by its file", function()
    os.execute(("mkdir -p %s/pictures; cp examples/picture.jpg %s/pictures/1.jpg"):format(folder, folder))
    local out, errors, status = run("export MODEL=m SERVE='lmm mock' URL_HOST=127.0.0.1\n"
      .. "bash $jobs/server.sbatch >&2 & server=$!\n"
      .. "PICTURES='pictures/1.jpg' OUT=client.jsonl timeout 120 bash $jobs/client.sbatch; echo $?\n"
      .. "kill $server; wait $server")
    assert.matches("^http://127.0.0.1:%d+/v1\n0\n$", out, errors)
    assert.equal(0, status)
    assert.truthy(process.read(folder .. "/client.jsonl"):find(sum, 1, true))
    assert.is_nil(process.read(folder .. "/server.url"))
  end)
end)
