--- A batch: rows in files, and an output, come in; a run over them that can be begun, watched and ended goes out.
local descriptions = require "lmm.bulk.description"
local errors = require "lmm.errors"
local inputs = require "lmm.bulk.inputs"
local journals = require "lmm.bulk.journal"
local json = require "lmm.json"
local merge = require "lmm.bulk.merge"
local paths = require "lmm.bulk.paths"
local runs = require "lmm.bulk.run"
local shards = require "lmm.bulk.shards"
local sources = require "lmm.bulk.sources"
local texts = require "lmm.text"

local batch = {}

--- What the run is, so that another one is noticed.
local function describe(opts, input, found, shard)
  local request = opts.request and require("lmm.version").check("lmm.digest").file(opts.request)
  return descriptions.new {
    input = input.name, rows_digest = found.digest, rows = found.rows, columns = input.columns,
    model = opts.model, prompt = opts.prompt, system = opts.system, request = request,
    fields = opts.fields and next(opts.fields) and json.text(opts.fields) or nil,
    shard = shard and shard.text, task = shard and shard.task,
  }
end

local function find_shard(opts)
  if not opts.shard then return nil end
  if opts.shard ~= "auto" then return shards.parse(opts.shard) end
  return shards.auto(opts.getenv or os.getenv, (journals.read_run(paths.run(opts.output))))
end

local MOST_BESIDE = 200 -- of the outputs that are looked at

--- Whether the shard that a job array has given is this task's alone, as the outputs of other tasks in the same folder
--- tell: those that are parts of the same run. An output that is there already has been through this.
---@return lmm.Error? err
local function check_beside(output, shard, description)
  if not shard.task or journals.read_run(paths.run(output)) then return nil end
  local folder = output:match "^(.*/)" or "./"
  local listing = assert(io.popen(("ls -1 -- %s 2>/dev/null"):format(texts.quote(folder))))
  local looked, err = 0, nil
  for name in listing:lines() do
    local path = (output:match "^.*/" or "") .. name
    local header = looked < MOST_BESIDE and not err and name:find "%.run$" and journals.read_run(path)
    if header and header.task then
      looked = looked + 1
      err = not merge.difference(header, description) and shards.check_beside(shard, header, path) or nil
    end
  end
  listing:close()
  return err
end

local function refuse(bad)
  return errors.new { kind = "invalid", message = bad.message,
    hint = "nothing was sent; --skip-bad goes on without such lines" }
end

--- Reads the rows once before anything is sent: what is wrong with one of them ends it, unless bad ones are skipped.
local function scan(opts, input, shard)
  local reader, err = input.open()
  if not reader then return nil, err end
  local found
  found, err = sources.scan(reader, { check = input.check, shard = shard }, opts.output,
    not opts.skip_bad and refuse or nil)
  if found and found.rows == 0 then
    return nil, errors.new { kind = "invalid", message = ("there are no rows in '%s'"):format(input.name) }
  end
  return found, err
end

---@class lmm.BatchOptions
---@field output string
---@field client lmm.Client
---@field input string?        a file of OpenAI's batch format, or of any JSON lines with prompt or request
---@field images string?       a pattern of the shell's
---@field image_list string?   a file of paths and URLs
---@field csv string?
---@field prompt string?, system string?, request string?, fields table?, model string?
---@field call function?       calls the function of `request`, as pcall does; an error "cancelled" ends the run
---@field shard string?        "3/10", or "auto": by the job array's variables
---@field skip_bad boolean?, force boolean?, retry_errors boolean?
---@field concurrency integer?, rate number?, max_tokens_per_minute number?, max_errors integer?
---@field server_timeout number?, on_progress function?

--- Prepares a run; nothing is sent before its `run`. Its `journal` is open, see bulk.finish.
---@param opts lmm.BatchOptions
---@return lmm.Run? run, lmm.Error? err
function batch.prepare(opts)
  local input, shard, found, journal, reader, err
  input, err = inputs.find(opts)
  if input then shard, err = find_shard(opts) end
  if not input or err then return nil, err end
  found, err = scan(opts, input, shard)
  if not found then return nil, err end
  err = shard and check_beside(opts.output, shard, describe(opts, input, found, shard))
  if err then return nil, err end
  journal, err = journals.open(opts.output, describe(opts, input, found, shard),
    { force = opts.force, retry_errors = opts.retry_errors, rows = found.rows, own = found.own })
  if not journal then return nil, err end
  reader, err = input.open()
  if not reader then return nil, err end
  return runs.new {
    source = sources.rows(reader, { ids = true, check = input.check, shard = shard }),
    client = opts.client, journal = journal, total = found.own,
    fn = function(record, client) return input.fn(record, client, journal) end,
    concurrency = opts.concurrency, rate = opts.rate, max_errors = opts.max_errors,
    max_tokens_per_minute = opts.max_tokens_per_minute, server_timeout = opts.server_timeout,
    on_progress = opts.on_progress,
  }
end

--- How far a run is, from its files; it may be under way.
---@param output string
---@return { done: integer, failed: integer, rows: integer?, shard: string?, is_running: boolean, start: table? }?
---@return lmm.Error? err
function batch.status(output)
  local misnamed = paths.problem(output)
  if misnamed then return nil, errors.new { kind = "invalid", message = misnamed } end
  local run_path = paths.run(output)
  local header, start = journals.read_run(run_path)
  if not header then return nil, journals.unknown(output) end
  local ids, err = journals.open_ids(output)
  if not ids then return nil, err end
  local counts
  counts, err = journals.count(ids, output)
  ids:close()
  if not counts then return nil, err end
  local rows = start and tonumber(start.rows) or not header.shard and tonumber(header.rows) or nil
  return { done = counts.done, failed = counts.failed, rows = rows, shard = header.shard,
    is_running = journals.is_open(run_path), start = start }
end

return batch
