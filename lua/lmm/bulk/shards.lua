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

local function failure(format, ...)
  return errors.new { kind = "invalid", message = format:format(...) }
end

local function fail(...)
  return nil, failure(...)
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
  if not index or count < 1 or count > MOST then return fail("'%s' is no shard: 3/10 is the third of ten", text) end
  if index < 1 or index > count then return fail("'%s' is no shard: of %d there are 1/%d to %d/%d", text, count, count,
    count, count) end
  return new(index, count)
end

---@class lmm.ArrayTask
---@field id string
---@field index number    from 1, where the tasks' numbers are a row
---@field count integer?  of tasks
---@field is_part boolean?  the tasks are no whole array, but some of one, most likely

--- What a job array tells of its task.
---@return lmm.ArrayTask?
local function of_environment(getenv)
  local function number(name) return tonumber((getenv(name) or ""):match "^%d+$") end
  local id, count = number "SLURM_ARRAY_TASK_ID", number "SLURM_ARRAY_TASK_COUNT"
  if id then
    local first, step = number "SLURM_ARRAY_TASK_MIN" or 0, math.max(number "SLURM_ARRAY_TASK_STEP" or 1, 1)
    local last = number "SLURM_ARRAY_TASK_MAX"
    local is_part = count == 1 or count and last and (last - first) / step + 1 ~= count
    return { id = ("%d"):format(id), index = (id - first) / step + 1, count = count, is_part = is_part }
  end
  id = number "JOB_COMPLETION_INDEX"
  if id then return { id = ("%d"):format(id), index = id + 1, count = number "JOB_COMPLETIONS" } end
end

--- The shard of this task of a Slurm job array (SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _MAX, _STEP) or of an indexed
--- Kubernetes job (JOB_COMPLETION_INDEX, and JOB_COMPLETIONS, which the manifest has to set). A task that is run again
--- later, by `--array=2`, is told that it is the only one; so what its output says that it was at first holds, and
--- where that says nothing, such an array is refused.
---@param getenv fun(name: string): string?
---@param kept table?  what the run that wrote the output was
---@return lmm.Shard? shard, lmm.Error? err
function shards.auto(getenv, kept)
  local task = of_environment(getenv)
  if not task then return fail "no job array is found: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set" end
  if kept and kept.shard and kept.task == task.id then
    local shard, err = shards.parse(kept.shard)
    return shard and new(shard.index, shard.count, task.id), err
  end
  if kept and kept.task then
    return fail("the output is that of task %s, which has shard %s: task %s needs another one", kept.task, kept.shard,
      task.id)
  end
  if not task.count then
    return fail "the number of tasks is not known: set JOB_COMPLETIONS, or name the shard, as in 3/10"
  end
  if task.is_part then
    return fail("the job array has %d %s, which may be some of a larger one that are run again, and the output does "
      .. "not tell how many there were at first: name the shard, as in 3/10", task.count,
      task.count == 1 and "task" or "tasks that are no row")
  end
  if task.index % 1 ~= 0 or task.index < 1 or task.index > task.count then
    return fail("task %s is none of the %d of the job array: name the shard, as in 3/10", task.id, task.count)
  end
  return new(task.index, task.count, task.id)
end

--- Whether another task's part of the same run, as its output tells, leaves this shard to this task.
---@param shard lmm.Shard  that a job array has given
---@param other table  what the run of that output was
---@param path string  of that output
---@return lmm.Error? err
function shards.check_beside(shard, other, path)
  local index, count = tostring(other.shard):match "^(%d+)/(%d+)$"
  if not index or other.task == shard.task then return nil end
  if tonumber(count) ~= shard.count then
    return failure("task %s would have shard %s, but '%s' beside it is shard %s of the same run: name the shard, "
      .. "1/%s to %s/%s", shard.task, shard.text, path, other.shard, count, count, count)
  end
  if tonumber(index) == shard.index then
    return failure("task %s has shard %s, which task %s has, too: see '%s'", shard.task, shard.text,
      tostring(other.task), path)
  end
end

return shards
