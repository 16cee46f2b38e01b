--- Bulk work: items and what is to be done with each come in; it is done, many at a time, and what came of it is kept
--- so that a run can go on wherever it was cut off. See lmm.map; `lmm batch` is the same with its rows in files.
local descriptions = require "lmm.bulk.description"
local errors = require "lmm.errors"
local journals = require "lmm.bulk.journal"
local loops = require "lmm.loop"
local options = require "lmm.options"
local results = require "lmm.bulk.result"
local runs = require "lmm.bulk.run"
local sources = require "lmm.bulk.sources"

local bulk = {}

---@class lmm.MapOptions
---@field client lmm.Client?     that `fn` gets
---@field url string|(string|lmm.PoolEntry)[]|nil  where no client is given: one is made that leaves refusals to the run
---@field output string?         the file of results, OUT.jsonl, which ends so; beside it OUT.errors.jsonl and OUT.run
---@field concurrency integer?   rows at a time; finds itself unless given
---@field rate number?           rows that are begun in a second, at most
---@field max_tokens_per_minute number?  of prompts and answers, as the server counts them in what `fn` returns
---@field max_errors integer?    so many rows may fail; more end the run
---@field ordered boolean?       sorts the results by their lines at the end
---@field retry_errors boolean?  runs the rows that failed, and no others
---@field force boolean?         goes on though the run is another one than that which wrote the output
---@field server_timeout number? seconds for which nothing may reach the server before the run ends (60)
---@field on_progress (fun(progress: lmm.Progress): boolean?)?  called about once a second and at the end; where it
--- gives false no more rows are begun

--- What a run came to.
---@class lmm.MapSummary
---@field done integer          rows that went well, in earlier runs with the same output, too
---@field failed integer        rows that failed, likewise
---@field seconds number
---@field prompt_tokens integer
---@field completion_tokens integer
---@field concurrency integer    rows at a time in the end
---@field results any[]?        without `output`: what each row gave, by its line
---@field errors lmm.Error[]?   without `output`: why rows failed, by their lines

local rows = {
  client = "table", url = "string|table", output = "string", concurrency = "number", rate = "number",
  max_tokens_per_minute = "number", max_errors = "number", ordered = "boolean", retry_errors = "boolean",
  force = "boolean", server_timeout = "number", on_progress = "function",
}

local function check_numbers(opts)
  local function refuse(name, what)
    errors.misuse("lmm.map: %s is %s, not %s", name, what, tostring(opts[name]))
  end
  local function is_whole(number) return number % 1 == 0 and number < math.huge end
  if opts.concurrency and not (opts.concurrency >= 1 and is_whole(opts.concurrency)) then
    refuse("concurrency", "a whole number, at least 1")
  end
  if opts.rate and not (opts.rate > 0) then refuse("rate", "a number of rows a second above 0") end
  if opts.max_tokens_per_minute and not (opts.max_tokens_per_minute > 0) then
    refuse("max_tokens_per_minute", "a number of tokens above 0")
  end
  if opts.max_errors and not (opts.max_errors >= 0) then refuse("max_errors", "at least 0") end
  options.check_seconds("lmm.map: server_timeout", opts.server_timeout)
  for _, name in ipairs { "ordered", "retry_errors", "force" } do
    if opts[name] and not opts.output then errors.misuse("lmm.map: %s goes with output", name) end
  end
  if opts.client and opts.url then errors.misuse "lmm.map: client and url are two ways to say the same: give one" end
end

local TRIES, BASE, CAP = 3, 0.5, 8 -- as lmm.retry has them

--- How a call of a run is tried again: what is the server's, and not the row's, is left to the run, which holds back
--- all rows for it.
---@return number? delay
function bulk.retry(attempt, err)
  local is_load = err.status == 429 or err.status == 503 or err.status == 529
  if not err.retryable or is_load or err.kind == "connect" or attempt >= TRIES then return nil end
  if err.status == 500 and attempt > 1 then return nil end
  return math.min(CAP, BASE * 2 ^ (attempt - 1)) * (1 - 0.25 * math.random())
end

--- What a run came to.
---@param run lmm.Run
---@return lmm.MapSummary
function bulk.summary(run)
  local state = run:state()
  return {
    done = state.done, failed = state.failed, seconds = math.floor(state.seconds * 1000 + 0.5) / 1000,
    prompt_tokens = state.prompt_tokens, completion_tokens = state.completion_tokens,
    concurrency = state.concurrency, results = run.results, errors = run.failures,
  }
end

--- Runs it to its end, and closes its journal.
---@param run lmm.Run
---@param ordered boolean?
---@param server lmm.RunServer?  the run's own, which is started and stopped
---@return lmm.MapSummary? summary, lmm.Error? err
function bulk.finish(run, ordered, server)
  if server then server:start() end
  local ok, done, err = loops.pcall(run.run, run)
  if server then server:stop() end
  local summary = bulk.summary(run)
  local journal = run.journal
  if ok and done and ordered then -- as long as nobody else may write it
    done, err = require("lmm.bulk.merge").sort(journal.path)
  end
  if journal then
    local noted = {}
    for name, value in pairs(summary) do noted[name] = value end
    noted.error = not ok and results.message(done) or err and err.message or nil
    local closed, problem = journal:close(noted)
    if not closed and not err then done, err = nil, problem end
  end
  if not ok then error(done, 0) end
  if done then return summary end
  err = errors.copy(err)
  err.summary = summary
  return nil, err
end

--- What stands behind a hole of a list would be passed over without a word; where there is one, `#` may end before it.
local function check_list(items)
  local last = 0
  for place in pairs(items) do
    if type(place) == "number" and place > last then last = place end
  end
  if last == 0 and next(items) ~= nil then errors.misuse "lmm.map: a list expected, got a table without an item 1" end
  for i = 1, last do
    if items[i] == nil then errors.misuse("lmm.map: item %d of %g is nil: a list has no holes", i, last) end
  end
end

local function open_reader(items, has_output)
  if type(items) == "string" then return sources.json_lines(items) end
  if type(items) == "table" or type(items) == "function" then return sources.items(items, has_output) end
  errors.misuse("lmm.map: a list, a function or the path of a file of JSON lines expected, got %s", type(items))
end

--- Reads the rows of a run with an output once, for their digest; not those that a function gives, each of which comes
--- once and is known again by its id alone.
---@return { rows: integer, digest: string }? found, lmm.Error? err
local function scan(items, output)
  if type(items) == "function" then return {} end
  local reader, err = open_reader(items, true)
  if not reader then return nil, err end
  return sources.scan(reader, {}, output)
end

--- Runs `fn` for each item. See lmm.map.
---@return lmm.MapSummary? summary, string? message, lmm.Error? err
function bulk.map(items, fn, opts)
  opts = options.check("lmm.map", rows, opts)
  if type(fn) ~= "function" then errors.misuse("lmm.map: a function expected, got %s", type(fn)) end
  if type(items) == "table" then check_list(items) end
  check_numbers(opts)
  loops.check()
  local reader, journal, err
  local has_output = opts.output ~= nil
  reader, err = open_reader(items, has_output)
  if not reader then return errors.public(nil, err) end
  local client = opts.client or require("lmm.client").new { base_url = opts.url, retry = bulk.retry }
  if has_output then
    local found
    found, err = scan(items, opts.output)
    if not found then return errors.public(nil, err) end
    local what = descriptions.new {
      items = type(items) == "string" and items or "a " .. type(items), model = client.given_model,
      rows = found.rows, rows_digest = found.digest,
    }
    journal, err = journals.open(opts.output, what, { force = opts.force, retry_errors = opts.retry_errors,
      rows = found.rows })
    if not journal then return errors.public(nil, err) end
  end
  local run = runs.new {
    source = sources.rows(reader, { ids = has_output }), fn = fn, client = client, journal = journal,
    concurrency = opts.concurrency, rate = opts.rate, max_errors = opts.max_errors, on_progress = opts.on_progress,
    max_tokens_per_minute = opts.max_tokens_per_minute, server_timeout = opts.server_timeout,
    total = type(items) == "table" and #items or nil,
  }
  local summary
  summary, err = bulk.finish(run, opts.ordered)
  reader:close()
  return errors.public(summary, err)
end

--- For the command: see lmm.bulk.batch, lmm.bulk.server and lmm.bulk.merge.
function bulk.prepare(opts) return require("lmm.bulk.batch").prepare(opts) end

function bulk.server(run, opts) return require("lmm.bulk.server").new(run, opts) end

function bulk.status(output) return require("lmm.bulk.batch").status(output) end

function bulk.merge(files, path) return require("lmm.bulk.merge").merge(files, path) end

--- The files that a pattern of the shell's matches, in order.
---@param pattern string
---@return string[]? paths, lmm.Error? err
function bulk.glob(pattern) return require("lmm.bulk.inputs").glob(pattern) end

return bulk
