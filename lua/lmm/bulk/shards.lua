--- Which rows are whose, where several processes share them: "3/10" or a job array's variables come in; a shard, which
--- knows its rows by their ids, goes out. The same id is always the same shard's.
local errors = require "lmm.errors"

---@class lmm.Shard
---@field index integer  from 1
---@field count integer
---@field text string    "3/10"
---@field task string?   the job array's own number of it
local Shard = {}
Shard.__index = Shard

local shards = {}

local MOST = 1000000

local function fail(format, ...)
  return nil, errors.new { kind = "invalid", message = format:format(...) }
end

local digest

--- Whether it has the row of this id.
function Shard:has(id)
  digest = digest or require("lmm.version").check "lmm.digest"
  return tonumber(digest.new():update(id):finish():hex():sub(1, 8), 16) % self.count == self.index - 1
end

local function new(index, count, task)
  return setmetatable({ index = index, count = count, text = ("%d/%d"):format(index, count), task = task }, Shard)
end

--- The shard of "3/10".
---@return lmm.Shard? shard, lmm.Error? err
function shards.parse(text)
  local index, count = text:match "^(%d+)/(%d+)$"
  index, count = tonumber(index), tonumber(count)
  if not index or index < 1 or index > count or count > MOST then
    return fail("'%s' is no shard: 3/10 is the third of ten", text)
  end
  return new(index, count)
end

--- The number and the count that a job array tells.
local function of_environment(getenv)
  local function number(name) return tonumber((getenv(name) or ""):match "^%d+$") end
  local task = number "SLURM_ARRAY_TASK_ID"
  if task then
    local first, step = number "SLURM_ARRAY_TASK_MIN" or 0, number "SLURM_ARRAY_TASK_STEP" or 1
    return task, (task - first) / math.max(step, 1) + 1, number "SLURM_ARRAY_TASK_COUNT"
  end
  task = number "JOB_COMPLETION_INDEX"
  if task then return task, task + 1, number "JOB_COMPLETIONS" end
end

--- The shard of this task of a Slurm job array (SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _STEP) or of an indexed Kubernetes
--- job (JOB_COMPLETION_INDEX, and JOB_COMPLETIONS, which the manifest has to set). A task that is run again later, by
--- `--array=2`, is told that it is the only one; so what its output says that it was at first holds.
---@param getenv fun(name: string): string?
---@param kept table?  what the run that wrote the output was
---@return lmm.Shard? shard, lmm.Error? err
function shards.auto(getenv, kept)
  local task, index, count = of_environment(getenv)
  if not task then return fail "no job array is found: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set" end
  task = ("%d"):format(task)
  if kept and kept.shard and kept.task == task then
    local shard, err = shards.parse(kept.shard)
    return shard and new(shard.index, shard.count, task), err
  end
  if not count then
    return fail "the number of tasks is not known: set JOB_COMPLETIONS, or name the shard, as in 3/10"
  end
  if index % 1 ~= 0 or index < 1 or index > count then
    return fail("task %s is none of the %d of the job array: name the shard, as in 3/10", task, count)
  end
  return new(index, count, task)
end

return shards
