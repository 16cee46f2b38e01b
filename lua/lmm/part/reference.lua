--- What a saved conversation keeps of a part: a part comes in, and plain data that names its bytes, or holds them, goes
--- out; and back. A file that is named is not looked at before the part is sent: then it must be the same as ever.
local core = require "lmm.core"
local errors = require "lmm.errors"
local parts = require "lmm.part"
local prepare = require "lmm.prepare"
local texts = require "lmm.text"
local types = require "lmm.types"
local version = require "lmm.version"

local reference = {}

local function invalid(message, hint)
  return errors.new { kind = "invalid", message = message, hint = hint }
end

-- ---- out

--- What names the file of a part, which must still be the one that the part was made of where it is read for that.
---@return { size: integer, mtime: number, sha256: string }? saved, lmm.Error? err
local function file_of(part)
  local info = part.media:info()
  local hex = part.digest
  if not hex then
    local message
    hex, message = version.check("lmm.digest").file(part.path)
    if not hex then return nil, invalid(message) end
    local now = core.media(part.path)
    now = now and now:info()
    if not now or now.size ~= info.size or now.mtime ~= info.mtime then
      return nil, invalid(("'%s' has changed since the part was made: make the part again"):format(part.path))
    end
    part.digest = hex
  end
  return { size = info.size, mtime = info.mtime, sha256 = hex }
end

--- Names the file of a part.
local function name_file(fields, part)
  local path, message = version.check("lmm.files").absolute(part.path)
  if not path then return nil, invalid(message) end
  if core.utf8(path) then
    return nil, invalid(("the path '%s' is not UTF-8, and cannot be saved: save with { inline = true }"):format(
      texts.utf8(path)))
  end
  if not part.saved then
    local saved, err = file_of(part)
    if not saved then return nil, err end
    part.saved = saved
  end
  local saved = part.saved
  fields.path, fields.size, fields.mtime, fields.sha256 = path, saved.size, saved.mtime, saved.sha256
  return fields
end

--- A part as plain data for core.write: `kind`, `mime`, `filename`, `options` and `is_unchecked` as in the part; then
--- `path`, `size`, `mtime` and `sha256` of a file, or `base64`, or `url`, or nothing where the server knows its bytes
--- by their uuid.
---@param part lmm.Part
---@param inline boolean?  the bytes of a file, too, are to go along
---@return table? fields, lmm.Error? err
---@return integer bytes  of base64 in it
function reference.describe(part, inline)
  local has_name = part.filename and not core.utf8(part.filename) -- else it cannot be sent either
  local fields = { kind = part.kind, mime = part.mime, filename = has_name and part.filename or nil, url = part.url,
    options = part.options, is_unchecked = part.is_unchecked }
  local is_named = part.path and not inline and not part.plan
  local is_known = is_named and part.saved
  local err = not is_known and parts.check(part)
  if err then return nil, err, 0 end
  if prepare.is_pending(part) then
    return nil, invalid(("the %s was not sent yet, and is not prepared: it cannot be saved"):format(part.kind)), 0
  end
  if part.frames then
    local frames, length = {}, 0
    for i, frame in ipairs(part.frames) do
      frames[i], length = frame.media, length + math.floor((frame.media:info().size + 2) / 3) * 4
    end
    fields.url = core.embed("data:video/jpeg;base64,", frames)
    return fields, nil, length
  end
  if is_named then
    fields, err = name_file(fields, part)
    return fields, err, 0
  end
  if not part.media then return fields, nil, 0 end
  fields.base64 = core.embed("", part.media)
  return fields, nil, math.floor((part.size + 2) / 3) * 4
end

-- ---- back

local KINDS = { image = true, video = true, audio = true, file = true }

local function is_count(value)
  return type(value) == "number" and value >= 1 and value % 1 == 0
end

local function is_path(value)
  return type(value) == "string" and value ~= "" and not value:find("\0", 1, true)
end

--- What each field must be, where it is there.
local rows = {
  { "kind", function(value) return KINDS[value] end, "one of image, video, audio and file" },
  { "mime", types.is_type, "a media type" },
  { "filename", function(value) return type(value) == "string" end, "a text" },
  { "options", function(value) return type(value) == "table" and #value == 0 end, "an object" },
  { "is_unchecked", function(value) return value == true end, "true" },
  { "url", function(value) return type(value) == "string" end, "a text" },
  { "base64", function(value) return type(value) == "string" end, "a text" },
  { "path", is_path, "a path" },
  { "size", is_count, "a number of bytes" },
  { "mtime", function(value) return type(value) == "number" end, "a number of seconds" },
  { "sha256", function(value) return type(value) == "string" and #value == 64 and not value:find "[^%x]" end,
    "64 hex digits" },
}

--- What is wrong with a part's plain data, or nil.
---@return string?
local function problem_in(fields)
  if type(fields) ~= "table" then return " is no object" end
  for _, row in ipairs(rows) do
    local name, is_right, what = row[1], row[2], row[3]
    if fields[name] ~= nil and not is_right(fields[name]) then return (".%s is not %s"):format(name, what) end
  end
  for _, name in ipairs { "kind", "options", fields.path and "size", fields.path and "mtime",
    fields.path and "sha256" } do
    if name and fields[name] == nil then return (".%s is missing"):format(name) end
  end
  if fields.path and not fields.mime then return ".mime is missing" end
  if not (fields.path or fields.base64 or fields.url or fields.options.uuid ~= nil) then
    return ".path, .base64 or .url is missing"
  end
end

--- The options of a part. A uuid beside a source is not among them: a server shows what it has under that, and a file
--- is not enough to vouch for it.
local function options_of(fields)
  local opts = {}
  for name, value in pairs(fields.options) do opts[name] = value end
  if fields.base64 or fields.path or fields.url then opts.uuid = nil end
  return opts
end

--- A part whose bytes, URL or uuid are there.
local function made_of(fields)
  local opts = options_of(fields)
  if fields.base64 then
    local bytes, offset = core.base64.decode(fields.base64)
    if not bytes then return nil, (".base64 is wrong at character %d"):format(offset + 1) end
    opts.mime, opts.check = fields.mime, false
    local part = parts.new(fields.kind, { bytes = bytes }, opts)
    part.filename, part.is_unchecked = fields.filename or part.filename, fields.is_unchecked
    return part
  end
  return (parts.new(fields.kind, fields.url, opts))
end

--- A part whose file is named. What is ours of the options has been done when it was sent, and is not saved.
local function named(fields, map)
  local own = parts.own_option(fields.kind, fields.options)
  if own then return nil, (".options: '%s' is not for a file of a saved conversation"):format(own) end
  return setmetatable({
    kind = fields.kind, mime = fields.mime, filename = fields.filename, options = options_of(fields),
    size = fields.size, path = map and map(fields.path) or fields.path, is_unchecked = fields.is_unchecked,
    saved = { size = fields.size, mtime = fields.mtime, sha256 = fields.sha256:lower() },
  }, parts.metatable)
end

--- The part of plain data, or what is wrong with that, to be put behind its name. Its file is not looked at.
---@param fields any  a stranger's
---@param map nil|fun(path: string): string  where a file is now
---@return lmm.Part? part, string? problem
function reference.restore(fields, map)
  local problem = problem_in(fields)
  if problem then return nil, problem end
  local ok, part, why = pcall(fields.path and named or made_of, fields, map) -- raises where options are of a wrong type
  if not ok then return nil, ".options: " .. tostring(part):gsub("^.-lmm: ", "") end
  return part, why
end

--- What is not as it was with the file of a saved part, or nil; and its SHA-256, where it was found out.
---@return string? problem, string? sha256
local function difference(part, info)
  local saved = part.saved
  local whose = saved.is_logged and "that was logged" or "of the saved conversation"
  if info.size ~= saved.size then
    return ("'%s' is not the file %s: it has %d bytes, not %d"):format(part.path, whose, info.size, saved.size)
  end
  if info.mtime == saved.mtime then return nil end
  local hex, message = version.check("lmm.digest").file(part.path)
  if hex == saved.sha256 then return nil, hex end
  return hex and ("'%s' is not the file %s: its SHA-256 is %s, not %s"):format(part.path, whose, hex, saved.sha256)
    or message
end

--- What to do where the file is not there.
local function hint(part)
  if part.saved.is_logged then
    return "the log names it: put that file back, or, where it was moved, ask about it there once"
  end
  return ("a saved conversation names it: put that file back, or, where it was moved, load with media = { [%q] = "
    .. "\"its new folder\" }"):format(part.path:match "^(.*)/[^/]*$" or "")
end

--- Looks for the file of a saved part: where it is the same one, its bytes can be sent from now on; else `part.err`
--- says what is wrong. One of the same size that was not changed since is taken for the same; else its SHA-256 counts.
--- Only what was found out becomes `part.digest`: what a file says is not enough to name bytes to a server by.
---@param part lmm.Part
function reference.look(part)
  local media, problem = core.media(part.path)
  local info, sha256 = media and media:info(), nil
  if media then problem, sha256 = difference(part, info) end
  if problem then
    part.err = invalid(problem, hint(part))
    return
  end
  part.media, part.err = media, nil
  if sha256 then part.digest, part.saved.mtime = sha256, info.mtime end
  part.width, part.height, part.orientation = info.width, info.height, info.orientation
  part.has_no_end = info.has_no_end or nil
end

return reference
