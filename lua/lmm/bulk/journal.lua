--- What a run keeps: how its rows ended comes in; files that tell what is missing, whenever the run is cut off, go out.
---
---     OUT.jsonl           a line for each row that went well, as it ended (lmm.bulk.result)
---     OUT.errors.jsonl    a line for each row that failed
---     OUT.run             what the run is: lines of JSON, the first its input, model and options; one for each start,
---                         with the machine and the process; one for each end
---
--- Each line is added by one write, so that whatever ends the process leaves whole lines, and perhaps one that is cut
--- short, which is dropped and done again. OUT.run is locked while a run writes; the lock goes with the process, on
--- network file systems, too.
local descriptions = require "lmm.bulk.description"
local errors = require "lmm.errors"
local json = require "lmm.json"
local lines = require "lmm.bulk.lines"
local paths = require "lmm.bulk.paths"
local result = require "lmm.bulk.result"

--- The flags of an id.
local DONE, FAILED, MET, AGAIN = 1, 2, 4, 8

local function has(flags, flag) return flags % (2 * flag) >= flag end

---@class lmm.Journal
---@field done integer     rows that went well, by all runs
---@field failed integer   rows that failed and did not go well later
---@field dropped string[]  the files whose last lines were cut short and have been dropped
---@field has_stale boolean  some errors that were there are none any more
local Journal = {}
Journal.__index = Journal

local journal = {}

local function fail(format, ...)
  return nil, errors.new { kind = "invalid", message = format:format(...) }
end

local function core() return require("lmm.version").check "lmm.files" end

local function open(path) return core().journal.open(path) end

--- Whether a process runs what this file tells of.
---@param run_path string  OUT.run
function journal.is_open(run_path) return core().journal.is_open(run_path) end

-- ---- what the run is ------------------------------------------------------------------------------------------

--- What OUT.run tells: what the run is, its last start, its last line, and the model that rows without one asked. nil
--- where there is none.
---@return table? header, table? start, table? last, string? asked
function journal.read_run(path)
  local reader = lines.open(path)
  if not reader then return nil end
  local header, start, last, asked
  for line in function() return reader:next() end do
    local value = json.clean((json.decode(line)))
    if type(value) == "table" then
      last, start = value, type(value.start) == "table" and value.start or start
      asked = type(value.asked) == "string" and value.asked or asked
      if type(value.run) == "table" then header, asked = value.run, nil end
    end
  end
  reader:close()
  return header, start, last, asked
end

--- Whether there is no such file, or nothing in it; nil and why where that cannot be told, or what is there is no file.
---@return boolean? is_empty, string? why
local function is_empty(path)
  local first, why, is_missing = core().read(path, 1)
  if not first and not is_missing then return nil, why end
  return not first or first == ""
end

--- Why nothing is known of the run that wrote an output: a file that is there has lost its first line.
---@param path string  of the output
---@param advice string?
---@return lmm.Error
function journal.unknown(path, advice)
  local run_path = paths.run(path)
  local nothing, why = is_empty(run_path)
  if why then return select(2, fail("cannot read '%s': %s", run_path, why)) end
  if nothing then return select(2, fail("no run has written '%s': there is no '%s'", path, run_path)) end
  return select(2, fail("'%s' does not tell any more what the run of '%s' is, since its first line is not whole%s",
    run_path, path, advice or ""))
end

--- Says who holds the lock.
local function locked(path, run_path)
  local _, start = journal.read_run(run_path)
  start = start or {}
  return fail("another run writes '%s': process %s on %s, begun %s", path, tostring(start.pid or "unknown"),
    tostring(start.host or "an unknown machine"), tostring(start.time or "at an unknown time"))
end

-- ---- opening --------------------------------------------------------------------------------------------------

--- Calls `fn(id, line, text, offset)` for each line of a file of results, if there is one. A last one without its end
--- is not whole yet.
---@return true? read, lmm.Error? err
function journal.each(path, fn)
  local reader, cannot, is_missing = lines.open(path)
  if is_missing then return true end
  if not reader then return fail("cannot read the results: %s", cannot) end
  local text, why = reader:next()
  while text and not reader.is_cut do
    local value = json.decode(text)
    local id, line = type(value) == "table" and value.custom_id, type(value) == "table" and value.line
    if type(id) ~= "string" or type(line) ~= "number" then
      reader:close()
      return fail("line %d of '%s' is no result of lmm batch: mend or remove it", reader.number, path)
    end
    fn(id, line, text, reader.offset)
    text, why = reader:next()
  end
  reader:close()
  if why then return fail("cannot read '%s': %s", path, why) end
  return true
end

--- A set of ids (src/ids.c), in a file without a name beside the output, or where temporary files are where nobody may
--- write there, as when somebody else's run is looked at.
---@param path string  of the output
---@param rows integer?  how many there will be, where that is known
---@return table? ids, lmm.Error? err
function journal.open_ids(path, rows)
  local new, beside = core().journal.ids, nil
  local ids, why = new(path, rows)
  if not ids then beside, why = core().temporary() end
  if beside then
    ids, why = new(beside, rows)
    os.remove(beside)
  end
  if ids then return ids end
  return fail("%s", why)
end

--- Counts the ids of what has ended, each once.
---@param ids table  of journal.open_ids
---@param path string  of the output
---@return { done: integer, failed: integer, stale: boolean? }? counts, lmm.Error? err  stale: some errors are none any
--- more, as a run that ran their rows again and was killed leaves them
function journal.count(ids, path)
  local counts, why = { done = 0, failed = 0 }, nil
  local function add(id, flag, name)
    local flags, problem = ids:add(id, flag)
    why = why or problem
    if flags == 0 then counts[name] = counts[name] + 1 else counts.stale = flag == FAILED or counts.stale end
  end
  local ok, err = journal.each(path, function(id) add(id, DONE, "done") end)
  if ok then ok, err = journal.each(paths.errors(path), function(id) add(id, FAILED, "failed") end) end
  if why then return fail("%s", why) end
  return ok and counts, err
end

local function open_file(self, name, path)
  local file, dropped, is_locked = open(path)
  if not file and is_locked then return locked(self.path, self.run_path) end
  if not file then return fail("cannot write '%s': %s", path, dropped) end
  self[name] = file
  if dropped > 0 then self.dropped[#self.dropped + 1] = path end
  return true
end

--- Adds a line of JSON to OUT.run.
function Journal:note(value)
  return self.run:add(json.text(value) .. "\n")
end

local function other_run(path, changed)
  return fail("'%s' belongs to another run: %s: name another output, or pass force (--force) to go on all the same",
    path, changed)
end

--- Whether this run may go on with what is there. Asked before the results are opened, which takes a line that was cut
--- short away: a file that is none of ours stays as it is.
---@return true? ok, lmm.Error? err, boolean? is_new  the description is to be noted
local function check_run(self, description, force)
  local header, _, _, asked = journal.read_run(self.run_path)
  self.asked = asked
  local nothing = {}
  for _, at in ipairs { self.run_path, self.path, self.errors_path } do
    local why
    nothing[at], why = is_empty(at)
    if why then return fail("cannot write '%s': %s", at, why) end
  end
  if not header and not force and not (nothing[self.path] and nothing[self.errors_path]) then
    if nothing[self.run_path] then
      return fail("'%s' is there and no run of lmm has written it: name another output", self.path)
    end
    return nil, journal.unknown(self.path, ": pass force (--force) to go on with this one, or name another output")
  end
  local changed = header and descriptions.difference(header, description)
  if changed and not force then
    return other_run(self.path, changed)
  end
  return true, nil, not header or changed ~= nil
end

--- Notes what the run is, unless that stands there, and that it starts, with how many rows.
local function note_start(self, description, is_new, own)
  local start = paths.process()
  start.rows = own
  local ok, why = true, nil
  if is_new then ok, why = self:note { run = description } end
  if ok then ok, why = self:note { start = start } end
  if ok then ok, why = self.run:sync() end -- else results could last that nobody has written
  if not ok then return fail("cannot write '%s': %s", self.run_path, why) end
  return true
end

--- Opens the files of a run, for it alone.
---@param path string  OUT.jsonl
---@param description table<string, string|number|boolean>  what the run is (lmm.bulk.description): another one is
--- refused
---@param opts { force: boolean?, retry_errors: boolean?, rows: integer?, own: integer? }  rows: how many there are, if
--- that is known; own: of the run's shard
---@return lmm.Journal? journal, lmm.Error? err
function journal.open(path, description, opts)
  local self = setmetatable({ path = path, errors_path = paths.errors(path), run_path = paths.run(path), done = 0,
    failed = 0, retries = opts.retry_errors or false, force = opts.force or false, dropped = {} }, Journal)
  local misnamed = paths.problem(path)
  if misnamed then return fail("%s", misnamed) end
  local is_new
  local ok, err = check_run(self, description, opts.force) -- before a file is made
  if ok then ok, err = open_file(self, "run", self.run_path) end
  if ok then ok, err, is_new = check_run(self, description, opts.force) end
  if ok then ok, err = open_file(self, "results", path) end
  if ok then ok, err = open_file(self, "errors", self.errors_path) end
  if ok then ok, err = note_start(self, description, is_new, opts.own) end
  local counts
  if ok then
    self.errors_begin = self.errors:size()
    self.ids, err = journal.open_ids(path, opts.rows)
    if self.ids then counts, err = journal.count(self.ids, path) end
  end
  if counts then
    self.done, self.failed, self.has_stale = counts.done, counts.failed, counts.stale or false
    return self
  end
  if self.run and self.run:size() == 0 then os.remove(self.run_path) end -- nothing has begun that it could tell of
  self:close_files()
  return nil, err
end

--- Rows that name no model ask this one: it is kept, and another one than before ends the run.
---@param model string
---@return true? ok, lmm.Error? err
function Journal:keep_model(model)
  if self.asked == model then return true end
  local err
  if self.asked and not self.force then
    err = select(2, other_run(self.path, ("the model was %s and is now %s"):format(self.asked, model)))
  else
    self.asked = model
    local noted, why = self:note { asked = model }
    err = not noted and select(2, fail("cannot write '%s': %s", self.run_path, why)) or nil
  end
  if not err then return true end
  err.ends_run = true
  return nil, err
end

-- ---- rows ------------------------------------------------------------------------------------------------------

--- What is to become of a row of this id: "run" it, "skip" it, or it is met "again", which its input should not have.
---@return "run"|"skip"|"again"|nil what, string? message
function Journal:meet(id)
  local flags, message = self.ids:add(id, MET)
  if not flags then return nil, message end
  if has(flags, MET) then return "again" end
  if has(flags, DONE) then return "skip" end
  return has(flags, FAILED) == self.retries and "run" or "skip"
end

local function add(self, file, path, line, row, flag)
  local ok, why = file:add(line)
  if not ok then
    return fail("cannot write '%s': %s: what ended so far is kept, and the same command goes on from there", path, why)
  end
  local flags, problem = self.ids:add(row.id, flag)
  if flags and has(flags, FAILED) and not has(flags, AGAIN) then problem = select(2, self.ids:add(row.id, AGAIN)) end
  if problem then return fail("%s: what ended so far is kept, and the same command goes on from there", problem) end
  return true, flags
end

--- A row went well.
---@return true? written, lmm.Error? err
function Journal:succeed(row, value)
  local line, message = result.line(row, value)
  if not line then
    return self:fail(row, { kind = "invalid", message = "what came for the row cannot be written: " .. message })
  end
  local ok, flags = add(self, self.results, self.path, line, row, DONE)
  if not ok then return nil, flags end
  self.done = self.done + 1
  if has(flags, FAILED) then self.failed = self.failed - 1 end
  return true
end

--- A row failed.
---@return true? written, lmm.Error? err
function Journal:fail(row, err)
  local ok, flags = add(self, self.errors, self.errors_path, result.error_line(row, err), row, FAILED)
  if not ok then return nil, flags end
  if not has(flags, FAILED) then self.failed = self.failed + 1 end
  return true
end

--- Makes what has been written last, where it can be found.
---@return true? lasts, lmm.Error? err
function Journal:sync()
  for _, name in ipairs { "results", "errors" } do
    local file, path = self[name], name == "results" and self.path or self.errors_path
    local ok, why = file:sync()
    if not ok then return fail("cannot write '%s' to the disk: %s", path, why) end
    local _, size = core().read(path, 0)
    if type(size) ~= "number" or size < file:size() then
      return fail("'%s' was removed or cut short while the run wrote it", path)
    end
  end
  return true
end

-- ---- the end ---------------------------------------------------------------------------------------------------

--- Whether an error stands for its row: that has not gone well, nor failed once more in this run. Of two that an
--- earlier run has left of one row the first does.
---@param kept table  the ids of those that do
local function is_current(self, kept, id, offset)
  local flags, why = self.ids:get(id)
  if not flags then return nil, why end
  if has(flags, DONE) or has(flags, AGAIN) and offset < self.errors_begin then return false end
  flags, why = kept:add(id, FAILED)
  return flags and flags == 0, why
end

--- Takes out of the errors those that are none any more, since their rows were run again.
local function compact_errors(self)
  local temporary = self.errors_path .. ".new"
  os.remove(temporary)
  local kept, err = journal.open_ids(self.path)
  if not kept then return nil, err end
  local out, why = open(temporary)
  local ok, read, problem = out ~= nil, nil, nil
  if out then
    read, problem = journal.each(self.errors_path, function(id, _, text, offset)
      local is_kept, failure = is_current(self, kept, id, offset)
      if failure then ok, why = nil, failure end
      if ok and is_kept then ok, why = out:add(text .. "\n") end
    end)
    out:close()
  end
  kept:close()
  if ok and read then ok, why = core().replace(temporary, self.errors_path) end
  if ok and read then return true end
  os.remove(temporary)
  if problem then return nil, problem end
  return fail("cannot write '%s': %s", self.errors_path, why)
end

function Journal:close_files()
  for _, name in ipairs { "ids", "results", "errors", "run" } do
    if self[name] then self[name]:close() end
    self[name] = nil
  end
end

--- The run has ended, in what way `summary` tells.
---@return true? lasts, lmm.Error? err
function Journal:close(summary)
  local ok, err = self:sync()
  if ok and (self.retries or self.has_stale) then ok, err = compact_errors(self) end
  local noted, why = self:note { ended = summary }
  if noted then noted, why = self.run:sync() end
  self:close_files()
  if ok and not noted then return fail("cannot write '%s': %s", self.run_path, why) end
  return ok, err
end

return journal
