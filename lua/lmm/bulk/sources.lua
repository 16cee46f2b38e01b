--- Where rows come from: a list, an iterator, or a file come in; rows, one at a time, with the ids by which a run knows
--- them again, go out.
---
--- A reader has `next()`, which gives a record with its text and its line; nil at its end; and an error where there is
--- none in that line (then the text and the line come, too), or where the rest cannot be read.
local errors = require "lmm.errors"
local journals = require "lmm.bulk.journal"
local json = require "lmm.json"
local lines = require "lmm.bulk.lines"
local texts = require "lmm.text"

local sources = {}

local function invalid(format, ...)
  return errors.new { kind = "invalid", message = format:format(...) }
end

local function new_digest()
  return require("lmm.version").check("lmm.digest").new()
end

--- The SHA-256 of a text in hex.
local function sha256(text)
  return new_digest():update(text):finish():hex()
end

-- ---- readers ---------------------------------------------------------------------------------------------------

---@class lmm.RecordReader
---@field next fun(self): record: any, text: string?, line: integer?, err: lmm.Error?
---@field close fun(self)

local JsonLines = {}
JsonLines.__index = JsonLines

--- A file of JSON lines; empty lines are passed over.
function JsonLines:next()
  while true do
    local text, why = self.reader:next()
    if not text and not why then return nil end
    if not text then return nil, nil, nil, invalid("cannot read '%s': %s", self.path, why) end
    local line = self.reader.number
    if text:find "%S" then
      local record, message = json.decode(text)
      if message or record == nil then
        return nil, text, line, invalid("line %d of '%s' is no JSON: %s", line, self.path, message)
      end
      return record, text, line
    end
  end
end

function JsonLines:close()
  self.reader:close()
end

---@return lmm.RecordReader? reader, lmm.Error? err
function sources.json_lines(path)
  local reader, why = lines.open(path)
  if not reader then return nil, invalid("cannot read the rows: %s", why) end
  return setmetatable({ path = path, reader = reader }, JsonLines)
end

--- Items of a list, or those that a function gives one after the other. What JSON cannot hold has no text but its type,
--- which is the same in another process.
---@param items table|fun(): any
---@param wants_text boolean  for the ids
---@return lmm.RecordReader
function sources.items(items, wants_text)
  local count, at = type(items) == "table" and #items or nil, 0
  local reader = { close = function() end }
  function reader.next()
    if count and at >= count then return nil end
    at = at + 1
    local item
    if count then item = items[at] else item = items() end
    if item == nil then return nil end
    return item, wants_text and (json.text(item) or type(item)) or nil, at
  end
  return reader
end

-- ---- rows ------------------------------------------------------------------------------------------------------

--- The id of a record: its own custom_id, or one of its line and its text, so that equal rows stay apart.
---@return string id, lmm.Error? err
local function id_of(record, text, line)
  local own, wrong = type(record) == "table" and record.custom_id, nil
  if own and own ~= json.null then
    if type(own) ~= "string" or own == "" then wrong = "no text" end
    if type(own) == "string" and texts.utf8(own) ~= own then wrong = "not UTF-8" end
    if not wrong then return own end
  end
  return ("line-%d-%s"):format(line, sha256(text):sub(1, 12)),
    wrong and invalid("line %d has a custom_id that is %s", line, wrong) or nil
end

local Rows = {}
Rows.__index = Rows

--- Rows of a reader.
---@param reader lmm.RecordReader
---@param opts { ids: boolean?, check: (fun(record: any): string?)?, shard: lmm.Shard? }  ids: whether rows are to be
--- known again; check: says what is wrong with a record
---@return lmm.RowSource
function sources.rows(reader, opts)
  return setmetatable({ reader = reader, ids = opts.ids, check = opts.check, shard = opts.shard }, Rows)
end

function Rows:next()
  local record, text, line, err = self.reader:next()
  if line == nil then return nil, err end
  if self.digest then self.digest:update(text .. "\n") end
  local row = { line = line, item = record, id = nil,
    -- The run's, see lmm.bulk.concurrency; named here so that the table is made large enough at once.
    started = nil, running = nil, epoch = nil, is_measured = nil }
  if self.check and not err then
    local wrong = self.check(record)
    err = wrong and invalid("line %d: %s", line, wrong)
  end
  if self.ids then
    local problem
    row.id, problem = id_of(record, text, line)
    err = err or problem
  end
  return row, err, self.shard and not self.shard:has(row.id) or nil
end

--- Counts rows, with a set of ids, which is to be empty.
local function count(source, ids, refuse)
  local rows, own = 0, 0
  while true do
    local row, err, is_other = source:next()
    if not row and err then return nil, err end
    if not row then return { rows = rows, own = own, digest = source.digest:finish():hex() } end
    rows = rows + 1
    own = own + (is_other and 0 or 1)
    local before, why = ids:add(row.id, 1)
    if not before then return nil, invalid("%s", why) end
    if before > 0 then err = invalid("line %d repeats the custom_id '%s'", row.line, row.id) end
    if err and refuse then return nil, refuse(err) end
  end
end

--- Reads all rows once, before anything is sent, and closes their reader.
---@param reader lmm.RecordReader
---@param opts { check: (fun(record: any): string?)?, shard: lmm.Shard? }  of sources.rows
---@param output string  of the run, beside which a file for the ids may stand
---@param refuse (fun(err: lmm.Error): lmm.Error)?  the first row that is wrong ends it, with the error that this gives
---@return { rows: integer, own: integer, digest: string }? found, lmm.Error? err  own: rows of this shard
function sources.scan(reader, opts, output, refuse)
  local source = sources.rows(reader, { ids = true, check = opts.check, shard = opts.shard })
  source.digest = new_digest()
  local found
  local ids, err = journals.open_ids(output)
  if ids then
    found, err = count(source, ids, refuse)
    ids:close()
  end
  reader:close()
  return found, err
end

return sources
