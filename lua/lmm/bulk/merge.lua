--- Results in order, and in one piece: the files of results of some runs come in; one file, its lines in the order of
--- the input, goes out. In memory is where each line stands, 16 bytes or so each, and no line.
local descriptions = require "lmm.bulk.description"
local errors = require "lmm.errors"
local journals = require "lmm.bulk.journal"
local json = require "lmm.json"
local lines = require "lmm.bulk.lines"
local paths = require "lmm.bulk.paths"

local merge = {}

local OFFSETS = 2 ^ 40   -- bytes of a file at most: a place is the file's number times this, and the offset in it
local MOST_FILES = 4096  -- so that a place is a whole number that a double holds; and so many can be open
local MOST_LINES = 2 ^ 28 -- of an input
local MOST_NAMED = 10    -- of the lines that are missing

local function core() return require("lmm.version").check "lmm.files" end

local function fail(format, ...)
  return nil, errors.new { kind = "invalid", message = format:format(...) }
end

--- Notes where the lines of a file stand. A run that was forced to go on over other rows has several of one line of an
--- input: those after the first are `more`.
local function find_places(found, path, index)
  local too_far
  local ok, err = journals.each(path, function(id, line, _, offset)
    if line < 1 or line % 1 ~= 0 or line > MOST_LINES or offset >= OFFSETS then
      too_far = too_far or id
      return
    end
    local place = (index - 1) * OFFSETS + offset
    for at = found.last + 1, line do found.places[at] = false end -- a list without holes
    found.last = math.max(found.last, line)
    if not found.places[line] then
      found.places[line] = place
      return
    end
    found.repeated = found.repeated or { line = line, before = found.places[line], place = place }
    local more = found.more[line] or {}
    more[#more + 1], found.more[line] = place, more
  end)
  if not ok then return nil, err end
  if too_far then return fail("'%s' names a line of its input that cannot be, for '%s'", path, too_far) end
  return true
end

--- Where each line of some files of results stands.
---@param files string[]
---@return { places: (number|false)[], more: table<integer, number[]>, last: integer, repeated: table? }? found
---@return lmm.Error? err
local function find(files)
  if #files > MOST_FILES then return fail("%d files are more than the %d that can be merged", #files, MOST_FILES) end
  local found = { places = {}, more = {}, last = 0 }
  for index, file in ipairs(files) do
    local ok, err = find_places(found, file, index)
    if not ok then return nil, err end
  end
  return found
end

local function file_of(place) return math.floor(place / OFFSETS) + 1 end

--- A function that copies the line at a place; it gives nil and why where it cannot.
local function copier(files, readers, out)
  return function(place)
    local index = file_of(place)
    if not readers[index] then
      local opened, why = io.open(files[index], "rb")
      if not opened then return nil, why end
      readers[index] = opened
    end
    local reader = readers[index]
    reader:seek("set", place % OFFSETS)
    local line = reader:read "*l"
    if not line then return nil, files[index] .. " has been written anew meanwhile" end
    return out:write(line, "\n")
  end
end

--- Writes the lines in their order.
local function write_lines(found, files, temporary)
  local readers = {}
  local out, why = io.open(temporary, "wb")
  if not out then return nil, why end
  out:setvbuf("full", 65536)
  local copy, ok = copier(files, readers, out), true
  for line = 1, found.last do
    local place, more = found.places[line], found.more[line]
    if place and ok then ok, why = copy(place) end
    for i = 1, more and #more or 0 do
      if ok then ok, why = copy(more[i]) end
    end
  end
  for _, reader in pairs(readers) do reader:close() end
  local closed, problem = out:close()
  if not ok then return nil, why end
  return closed, problem
end

--- Writes the lines of `files` to `path`, in the order of their input.
---@param found table  of `find`
---@param files string[]
---@param path string
---@return true? written, lmm.Error? err
local function write(found, files, path)
  local target = core().target(path) -- a link stays, and what stands there afterwards is no second file beside it
  local temporary = target .. ".new"
  local ok, why = write_lines(found, files, temporary)
  if ok then ok, why = core().replace(temporary, target) end
  if ok then return true end
  os.remove(temporary)
  return fail("cannot write '%s': %s", path, why)
end

--- Puts the lines of a run's output in the order of its input.
---@param path string
---@return true? sorted, lmm.Error? err
function merge.sort(path)
  local found, err = find { path }
  local ok
  if found then ok, err = write(found, { path }, path) end
  if ok then return true end
  return fail("the results are kept in '%s', but not in order: %s", path, err.message)
end

-- ---- several runs ------------------------------------------------------------------------------------------------

local may_differ = { shard = true, task = true, input = true } -- the same rows may stand in another place

--- What differs between the runs of two outputs that are to be parts of one; nil where nothing does.
---@return string?
function merge.difference(a, b)
  for name, value in pairs(a) do
    if not may_differ[name] and b[name] ~= value then return name end
  end
  for name in pairs(b) do
    if not may_differ[name] and a[name] == nil then return name end
  end
end

local function is_missing(path)
  local reader, _, missing = lines.open(path)
  if reader then reader:close() end
  return missing
end

--- Reads what the runs of these outputs are, and which shards are there.
---@return { header: table, rows: integer?, shards: table<integer, string>, count: integer? }? runs, lmm.Error? err
local function read_runs(files)
  local runs = { shards = {} }
  for _, path in ipairs(files) do
    local header, _, _, asked = journals.read_run(paths.run(path))
    if not header then return nil, journals.unknown(path) end
    local first = runs.header or header
    local name = merge.difference(first, header)
    if name then
      return fail("'%s' and '%s' are parts of different runs: %s differs", files[1], path,
        descriptions.label(name))
    end
    if runs.asked and asked and asked ~= runs.asked then
      return fail("'%s' and '%s' are parts of different runs: one asked %s, the other %s", files[1], path, runs.asked,
        asked)
    end
    runs.header, runs.asked = first, runs.asked or asked -- a shard without rows has asked nobody
    local i, n = tostring(header.shard or "1/1"):match "^(%d+)/(%d+)$"
    i, n = tonumber(i), tonumber(n)
    if runs.count and runs.count ~= n then
      return fail("'%s' is a shard of %d, and '%s' one of %d", files[1], runs.count, path, n)
    end
    if runs.shards[i] then return fail("'%s' and '%s' are both shard %d of %d", runs.shards[i], path, i, n) end
    if is_missing(path) then return fail("shard %d of %d is missing: there is no '%s'", i, n, path) end
    runs.count, runs.shards[i] = n, path
  end
  for i = 1, runs.count do
    if not runs.shards[i] then return fail("shard %d of %d is missing", i, runs.count) end
  end
  return runs
end

--- How many rows there are and how many are in no file, and the first lines of these. An input may have lines that are
--- no rows, such as a table's first one; where it does, none is named.
local function find_missing(found, total)
  local named, absent, present = {}, 0, 0
  for line = 1, math.max(total or 0, found.last) do
    if found.places[line] then
      present = present + 1
    else
      absent = absent + 1
      if absent <= MOST_NAMED then named[absent] = line end
    end
  end
  local missing = total and math.max(0, total - present) or absent
  return present, missing, json.array(missing == absent and named or {})
end

--- How many rows have errors and no result. A row that was run again may have two errors.
local function count_failed(found, outputs)
  local count, seen = 0, {}
  for _, output in ipairs(outputs) do
    local ok, err = journals.each(paths.errors(output), function(_, line)
      if not found.places[line] and not seen[line] then count, seen[line] = count + 1, true end
    end)
    if not ok then return nil, err end
  end
  return count
end

--- What is wrong where two results are of one line.
---@return lmm.Error?
local function repeated(found, files)
  local two = found.repeated
  if not two then return nil end
  local first, second = files[file_of(two.before)], files[file_of(two.place)]
  local who = first == second and ("'%s' has two results"):format(first)
    or ("'%s' and '%s' both have a result"):format(first, second)
  return select(2, fail("%s of line %d of the input", who, two.line))
end

--- Whether there is no such file, or nothing in it, or results, as another merge has left them.
local function may_be_replaced(path)
  local reader = lines.open(path)
  local line = reader and reader:next()
  if reader then reader:close() end
  local result = line and json.decode(line)
  return not line or type(result) == "table" and (result.response ~= nil or result.error ~= nil)
end

--- Joins the outputs of the shards of one run.
---@param files string[]  outputs; files of errors among them are passed over
---@param path string
---@return { lines: integer, missing: integer, first_missing: integer[], failed: integer }? merged, lmm.Error? err
function merge.merge(files, path)
  local misnamed = paths.problem(path)
  if misnamed then return fail("%s", misnamed) end
  local outputs, is_named = {}, false -- a pattern finds what an earlier merge has written, too
  for _, file in ipairs(files) do
    is_named = is_named or file == path
    if not paths.is_errors(file) and file ~= path then outputs[#outputs + 1] = file end
  end
  if journals.read_run(paths.run(path)) then
    return fail(is_named and "'%s' is one of the outputs that are to be merged: name another file for what comes of "
      .. "them" or "'%s' is the output of a run, which may go on: name another file", path)
  end
  if #outputs == 0 and is_named then
    return fail("'%s' is the file to write, and no other one is named to merge", path)
  end
  if #outputs == 0 then return fail "there is no file of results to merge" end
  local kind = core().kind(path)
  if kind and kind ~= "file" then return fail("cannot write '%s': it is a %s, not a file", path, kind) end
  if not may_be_replaced(path) then
    return fail("'%s' holds something else than results, and would be overwritten: name another file", path)
  end
  local runs, found, err
  runs, err = read_runs(outputs)
  if not runs then return nil, err end
  found, err = find(outputs)
  if found then err = repeated(found, outputs) end
  if err then return nil, err end
  local ok
  ok, err = write(found, outputs, path)
  if not ok then return nil, err end
  local failed
  failed, err = count_failed(found, outputs)
  if not failed then return nil, err end
  local present, missing, named = find_missing(found, runs.header.rows)
  return { lines = present, missing = missing, first_missing = named, failed = failed }
end

return merge
