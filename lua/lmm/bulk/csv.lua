--- A table in a file of comma-separated values (RFC 4180) comes in; its records, by the names of its columns, go out. A
--- byte order mark, CRLF, commas and line ends within quotes are what they should be; a line end within quotes is LF.
local errors = require "lmm.errors"
local lines = require "lmm.bulk.lines"
local texts = require "lmm.text"

local csv = {}

local MOST = 16 * 1024 * 1024 -- bytes of a record

local function invalid(format, ...)
  return errors.new { kind = "invalid", message = format:format(...) }
end

---@class lmm.Csv
---@field columns string[]
local Csv = {}
Csv.__index = Csv

--- The fields of a record whose quotes are closed; nil and what is wrong.
local function split(text)
  local fields, at = {}, 1
  while true do
    local field, after
    if text:sub(at, at) == '"' then
      local pieces, from = {}, at + 1
      repeat
        local stop = text:find('"', from, true)
        if not stop then return nil, "a quote is left open" end
        local is_doubled = text:sub(stop + 1, stop + 1) == '"'
        pieces[#pieces + 1] = text:sub(from, is_doubled and stop or stop - 1)
        from = stop + (is_doubled and 2 or 1)
      until not is_doubled
      field, after = table.concat(pieces), from
      if not text:find("^,", after) and after <= #text then return nil, "something follows a quoted field" end
    else
      field, after = text:match("^([^,]*)()", at)
    end
    fields[#fields + 1] = field
    if after > #text then return fields end
    at = after + 1
    if at > #text then
      fields[#fields + 1] = "" -- after the last comma
      return fields
    end
  end
end

--- The text of the next record, and its first line; more lines where a quote is open at the end of one.
---@return string? text, integer? line, lmm.Error? err
function Csv:read_record()
  local first, pieces, quotes, size
  repeat
    local text, why = self.reader:next()
    if not text then
      if why then return nil, nil, invalid("cannot read '%s': %s", self.path, why) end
      if not pieces then return nil end
      return table.concat(pieces, "\n"), first, invalid("line %d of '%s': a quote is left open", first, self.path)
    end
    first, pieces, quotes, size = first or self.reader.number, pieces or {}, quotes or 0, (size or 0) + #text
    pieces[#pieces + 1] = text
    quotes = quotes + select(2, text:gsub('"', ""))
    if size > MOST then
      return nil, nil, invalid("line %d of '%s': the record has more than %d bytes: a quote must be left open", first,
        self.path, MOST)
    end
  until quotes % 2 == 0
  return table.concat(pieces, "\n"), first
end

--- The next record. See lmm.RecordReader.
function Csv:next()
  local text, line, err
  repeat text, line, err = self:read_record() until err or text ~= ""
  if err then return nil, text, line, err end
  if not text then return nil end
  local fields, wrong = split(text)
  if not fields then return nil, text, line, invalid("line %d of '%s': %s", line, self.path, wrong) end
  if #fields ~= #self.columns then
    return nil, text, line, invalid("line %d of '%s' has %s, its first line names %s", line, self.path,
      texts.count(#fields, "field"), texts.count(#self.columns, "column"))
  end
  local record = {}
  for i, name in ipairs(self.columns) do record[name] = fields[i] end
  return record, text, line
end

function Csv:close()
  self.reader:close()
end

--- Opens a file whose first line names the columns.
---@return lmm.Csv? reader, lmm.Error? err
function csv.open(path)
  local reader, why = lines.open(path)
  if not reader then return nil, invalid("cannot read the table: %s", why) end
  local self = setmetatable({ path = path, reader = reader }, Csv)
  local text, _, err = self:read_record()
  local wrong = not text and "it is empty"
  if text and not err then self.columns, wrong = split(text) end
  if text and text:find "\r" then wrong = "its lines end in CR alone: they are to end in LF or CRLF" end
  if text and text:find "%z" then wrong = "it has NUL bytes, as UTF-16 has: write it in UTF-8" end
  local seen = {}
  for i, name in ipairs(not wrong and self.columns or {}) do
    if name == "" then wrong = ("column %d has no name"):format(i) end
    if seen[name] then wrong = ("two columns are called '%s'"):format(name) end
    seen[name] = true
  end
  if not err and not wrong then return self end
  reader:close()
  return nil, err or invalid("the first line of '%s' names no columns: %s", path, wrong)
end

return csv
