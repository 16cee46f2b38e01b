--- The database of a log: a path comes in; what runs SQL on it goes out. Inside, what fails raises a lmm.Error; `guard`
--- makes nil and that error of it, at the door of the room.
---
--- SQLite comes through LuaSQL, which takes a statement as one text: values are put into it here.
local errors = require "lmm.errors"
local json = require "lmm.json"
local schema = require "lmm.log.schema"
local version = require "lmm.version"

---@class lmm.log.Database
---@field path string
---@field connection userdata?  of LuaSQL; nil once it is closed
local Database = {}
Database.__index = Database

local database = {}

--- What SQLite says, what that means, and a word for programs (`err.code`).
local MEANINGS = {
  { "locked", "locked", "another program keeps it locked" },
  { "malformed", "damaged", "it is damaged: move it away, with its -wal and -shm, and a new one is begun" },
  { "not a database", "damaged", "it is no SQLite database, or a damaged one" },
  { "readonly", "readonly", "it cannot be written" },
  { "disk is full", "full", "the disk is full" },
  { "disk I/O error", "io", "the disk cannot be read or written, or is full" },
  { "unable to open", "unopened", "it cannot be opened, or its folder cannot be written" },
}

---@return lmm.Error
function Database:failure(code, format, ...)
  return errors.new { kind = "invalid", code = code,
    message = ("the log '%s' cannot be used: %s"):format(self.path, format:format(...)) }
end

--- Raises what SQLite says.
local function fail(self, said)
  said = tostring(said):gsub("^LuaSQL: ", "")
  for _, row in ipairs(MEANINGS) do
    if said:find(row[1], 1, true) then error(self:failure(row[2], "%s", row[3]), 0) end
  end
  error(self:failure("sql", "SQLite says: %s", said), 0)
end

-- ---- SQL

--- A value as it stands in a statement. Texts hold no NUL there, so that one with a NUL goes as bytes; numbers have a
--- point, whatever the locale.
local function quote(value)
  if value == nil then return "NULL" end
  if type(value) == "boolean" then return value and "1" or "0" end
  if type(value) == "number" and value - value ~= 0 then return "NULL" end -- not finite
  if type(value) == "number" then return value % 1 == 0 and ("%.0f"):format(value) or json.text(value) end
  if not value:find("\0", 1, true) then return "'" .. value:gsub("'", "''") .. "'" end
  return "CAST(x'" .. value:gsub(".", function(c) return ("%02x"):format(c:byte()) end) .. "' AS TEXT)"
end

--- Runs a statement, `...` in the places of its question marks.
---@return userdata|number  a cursor, or how many rows it has changed
function Database:run(sql, ...)
  if not self.connection then errors.misuse "this log is closed" end
  local values, at = { ... }, 0
  sql = sql:gsub("%?", function()
    at = at + 1
    return quote(values[at])
  end)
  local result, message = self.connection:execute(sql)
  if not result then fail(self, message) end
  return result
end

--- The rows that a statement gives, by the names of their columns; what is NULL is nil.
---@return table<string, any>[]
function Database:rows(sql, ...)
  local cursor, rows = self:run(sql, ...), {}
  while true do
    local row, message = cursor:fetch({}, "a")
    if message then fail(self, message) end
    if not row then return rows end -- the cursor has closed itself
    rows[#rows + 1] = row
  end
end

---@return table<string, any>?
function Database:row(sql, ...)
  return self:rows(sql, ...)[1]
end

--- The first column, which has to be called `value`, of the first row.
function Database:value(sql, ...)
  local row = self:row(sql, ...)
  return row and row.value
end

--- Sets what is SQLite's own; some of it gives a row, some does not.
function Database:pragma(words)
  local result = self:run("PRAGMA " .. words)
  if type(result) == "userdata" then result:close() end
end

--- Adds a row; gives its id.
function Database:insert(sql, ...)
  self:run(sql, ...)
  return math.floor(self.connection:getlastautoid())
end

--- Runs `fn` as one transaction: all that it writes is in the database afterwards, or nothing.
local function transact(self, begin, fn)
  self:run(begin)
  local ok, result = pcall(function()
    local value = fn()
    self:run "COMMIT"
    return value
  end)
  if ok then return result end
  pcall(self.run, self, "ROLLBACK")
  error(result, 0)
end

--- Runs `fn`, which writes. Nobody else writes meanwhile.
function Database:transaction(fn)
  return transact(self, "BEGIN IMMEDIATE", fn)
end

--- What `fn()` gives, which only reads: all of it as it stands at one moment, and under one lock; nil and the error
--- where one is raised in it.
---@return any value, lmm.Error? err
function Database:snapshot(fn)
  return self:guard(transact, self, "BEGIN", fn)
end

--- What `fn(...)` gives; nil and the error where one is raised in it.
---@return any value, lmm.Error? err
function Database.guard(_, fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then return result end
  if errors.is(result) then return nil, result end
  error(result, 0)
end

-- ---- opening

--- Has readers and a writer go on side by side. To change that, nobody else may use the database, and for that SQLite
--- waits for nobody: who opens it later does it then.
local function allow_readers(self)
  local ok, err = pcall(self.pragma, self, "journal_mode = WAL")
  if not ok and not (errors.is(err) and err.code == "locked") then error(err, 0) end
end

--- Sees to the tables: makes those of a new database, and refuses what another program or a newer lmm has made.
local function prepare(self)
  local number = self:value "SELECT user_version AS value FROM pragma_user_version"
  if number == schema.version then return end
  if number > schema.version then
    error(self:failure("newer", "a newer lmm has written it (version %d, and this one knows %d): update lmm", number,
      schema.version), 0)
  end
  self:transaction(function()
    if self:value "SELECT user_version AS value FROM pragma_user_version" == schema.version then return end
    local other = self:value "SELECT name AS value FROM sqlite_master LIMIT 1"
    if other then error(self:failure("other", "it is the database of another program, with a table '%s'", other), 0) end
    for _, statement in ipairs(schema.statements) do self:run(statement) end
  end)
end

local LONGEST_WAIT = 2 ^ 31 - 1 -- milliseconds

local environment -- of LuaSQL, one for all

local function load_sqlite(self)
  if environment then return end
  local ok, sqlite = pcall(require, "luasql.sqlite3")
  if not ok then
    error(self:failure("missing_module", "%s", errors.missing_package(sqlite) or tostring(sqlite)), 0)
  end
  environment = sqlite.sqlite3()
end

--- Sees to it that there is a file. It is not opened for that: where a process closes a file, it loses all its locks on
--- it (POSIX), those of its other connections to the same database, too.
local function provide(self, creates)
  if self.path:find(":memory:", 1, true) then
    error(self:failure("unopened", "LuaSQL takes ':memory:' in a path for no file at all"), 0)
  end
  local files = version.check "lmm.files"
  local kind, why, is_missing = files.kind(self.path)
  if kind == "file" then return end
  local is_made
  if kind then
    why = ("it is a %s, not a file"):format(kind)
  elseif is_missing and creates then
    is_made, why = files.create(self.path)
  elseif is_missing then
    error(self:failure("missing", "there is none: nothing has been logged yet"), 0)
  end
  if not is_made then error(self:failure("unopened", "%s", why), 0) end
end

local function open(self, wait, creates)
  load_sqlite(self)
  provide(self, creates)
  local name = self.path:gsub("^file:", "./%0") -- else it would be a URI
  local connection, message = environment:connect(name)
  if not connection then fail(self, message) end
  self.connection = connection
  self:pragma(("busy_timeout = %.0f"):format(math.min(wait * 1000, LONGEST_WAIT)))
  self:pragma "synchronous = NORMAL" -- after a power failure the last exchanges may be missing, and no more
  prepare(self)
  allow_readers(self)
  return self
end

--- Opens a database, or makes it.
---@param path string
---@param wait number  seconds, for another program that writes
---@param creates boolean
---@return lmm.log.Database? database, lmm.Error? err
function database.open(path, wait, creates)
  local self = setmetatable({ path = path, connection = nil }, Database)
  local opened, err = self:guard(open, self, wait, creates)
  if not opened then self:close() end
  return opened, err
end

function Database:close()
  if self.connection then self.connection:close() end
  self.connection = nil
end

--- What a write-ahead log may be left with, in bytes: whoever opens the database next reads all of it first.
local MOST_LEFT = 2 ^ 18

--- The end of a program that leaves the database open, since SQLite waits for the disk several times where it closes
--- the last connection. What stands in a short write-ahead log is as good as in the database, however the program ends,
--- but for a power failure; a long one is taken in now, by closing.
function Database:leave()
  local file = self.connection and io.open(self.path .. "-wal", "rb")
  local size = file and file:seek "end"
  if file then file:close() end
  if not size or size > MOST_LEFT then self:close() end
end

return database
