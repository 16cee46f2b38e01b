--- Values without media: what holds parts, data: URLs or base64 comes in; plain data that names each medium by its
--- SHA-256 goes out; and back. { "lmm.medium": { "sha256": ..., "kind": ..., ... } } stands for one. That a table which
--- came from a server is never taken for one, every other name that begins with "lmm." has one more "lmm." in front.
local core = require "lmm.core"
local errors = require "lmm.errors"
local json = require "lmm.json"
local parts = require "lmm.part"
local types = require "lmm.types"
local version = require "lmm.version"

local plain = {}

local MEDIUM = "lmm.medium"

--- Base64 shorter than this stays where it is, unless it is in a data: URL: it may be a word. Bytes.
local SHORTEST = 200

--- The fields in which base64 stands without a data: URL around it.
local holds_base64 = { data = true, b64_json = true, file_data = true }

---@class lmm.log.Medium
---@field sha256 string?   of its source, or nil where that cannot be read
---@field kind string
---@field mime string?
---@field size integer?
---@field width integer?
---@field height integer?
---@field named string?    the path that it was made of, from the root on, whatever is there now
---@field path string?     the same, where its bytes are
---@field mtime number?    of that file
---@field bytes string?    where there is no file

-- ---- out

local function digest_of(bytes)
  return version.check("lmm.digest").new():update(bytes):finish():hex()
end

local sums = setmetatable({}, { __mode = "k" }) -- SHA-256 of the sources of parts, once they were looked at

--- What the file of a part is now, and its SHA-256; nil where it is not the one any more of which the part was made.
---@param known nil|fun(path: string, size: integer, mtime: number): string?
local function look_at_file(part, path, medium, known)
  local media, message = core.media(path)
  if not media then return nil, message end
  local info, made = media:info(), part.plan and part.plan.made or part.media and part.media:info() or {}
  if made.mtime and (made.mtime ~= info.mtime or made.size ~= info.size) then
    return nil, ("'%s' has changed since the part was made"):format(path)
  end
  medium.path = version.check("lmm.files").absolute(path) or path
  medium.size, medium.mtime = info.size, info.mtime
  local sum = sums[part] or not part.plan and part.digest or part.saved and part.saved.sha256
    or known and known(medium.path, info.size, info.mtime)
  if not sum then sum, message = version.check("lmm.digest").file(path) end
  return sum, message
end

--- What there is to know of the source of a part.
---@return lmm.log.Medium medium, string? problem
local function medium_of(part, known)
  local source, problem = part.source or part.path, nil
  local medium = { kind = part.kind, mime = part.converted or part.mime, size = part.size, width = part.width,
    height = part.height }
  if type(source) == "table" or not source and part.bytes then
    medium.bytes = part.bytes or source.bytes
    medium.size = #medium.bytes
    sums[part] = sums[part] or digest_of(medium.bytes)
  elseif source then
    local sum
    sum, problem = look_at_file(part, source, medium, known)
    sums[part] = sum or sums[part] -- a file that is gone since it was logged is the one that was logged
    medium.named = version.check("lmm.files").absolute(source) or source
  end
  medium.sha256 = sums[part]
  if part.plan and not part.converted then medium.mime = part.plan.from end
  return medium, problem
end

--- How a part was to be prepared, without the password of a PDF.
local function wanted_of(part)
  if not part.plan then return nil end
  local wanted = {}
  for name, value in pairs(part.plan.options) do wanted[name] = value end
  wanted.password = wanted.password and true or nil
  return wanted
end

local function add(state, medium, problem)
  if problem and state.is_strict then error(errors.new { kind = "invalid", message = problem }, 0) end
  if medium.sha256 then state.media[#state.media + 1] = medium end
  return medium
end

local walk

local function reference(part, state)
  local has_options = next(part.options or {}) ~= nil
  local name = part.kind == "file" and part.filename or nil -- servers get no other's
  local fields = { kind = part.kind, mime = part.mime, filename = name, is_unchecked = part.is_unchecked,
    options = has_options and walk(part.options, state, 1) or nil }
  if part.url then
    fields.url = walk(part.url, state, 1, "url")
  elseif part.frames and not part.plan then
    fields.frames = {}
    for i, frame in ipairs(part.frames) do fields.frames[i] = reference(frame, state)[MEDIUM] end
  else
    local medium = add(state, medium_of(part, state.known))
    fields.sha256, fields.prepare = medium.sha256, wanted_of(part)
    fields.path = not medium.sha256 and medium.named or nil
    if fields.prepare then fields.mime = medium.mime end
  end
  return { [MEDIUM] = fields }
end

--- A text, or what stands for the medium that is all of it.
local function of_text(text, state, name)
  local head, base64 = text:match "^(data:[^,]*;base64,)()"
  local is_base64 = head or #text >= SHORTEST and holds_base64[name] and not text:find "[^%w+/=]"
  if not is_base64 then return text end
  base64 = base64 and text:sub(base64) or text
  local bytes = core.base64.decode(base64)
  if not bytes and not head then return text end
  local mime = head and head:match "^data:([^;,]+)" or bytes and core.media({ bytes = bytes }):info().mime
  local kind = mime and types.kind(mime) or "file"
  local medium = add(state, { kind = kind, mime = mime, bytes = bytes or base64, size = #(bytes or base64),
    sha256 = digest_of(bytes or base64) })
  return { [MEDIUM] = { kind = kind, mime = mime, sha256 = medium.sha256, head = head, is_text = true } }
end

function walk(value, state, depth, name)
  if type(value) == "string" then return of_text(value, state, name) end
  if type(value) ~= "table" or value == json.null or depth > json.MAX_DEPTH then return value end
  if parts.is(value) then return reference(value, state) end
  local copy = {}
  for key, item in next, value do
    if type(key) == "string" and key:find "^lmm%." then key = "lmm." .. key end
    copy[key] = walk(item, state, depth + 1, key)
  end
  return setmetatable(copy, getmetatable(value)) -- such as lmm.array's
end

---@param value any
---@param opts { known: function?, is_strict: boolean? }?  known: gives the SHA-256 of a file that has not changed since
--- it was found out; is_strict: a medium that cannot be read raises its error
---@return any plain, lmm.log.Medium[] media  in the order of the parts, as far as that is the tables'
function plain.of(value, opts)
  opts = opts or {}
  local state = { media = {}, known = opts.known, is_strict = opts.is_strict }
  return walk(value, state, 1), state.media
end

-- ---- back

--- A part that says why it cannot be sent.
local function lost(fields, reason, ...)
  return setmetatable({ kind = fields.kind, mime = fields.mime, filename = fields.filename,
    options = fields.options or {}, digest = fields.sha256,
    err = errors.new { kind = "invalid", message = reason:format(...) } }, parts.metatable)
end

--- The options of a part; as of a saved conversation, without a uuid that stood beside a source.
local function options_of(fields, has_source)
  local opts = {}
  for name, value in pairs(fields.options or {}) do opts[name] = value end
  if has_source then opts.uuid = nil end
  return opts
end

local restored

local function frames_of(fields, find)
  local frames = {}
  for i, frame in ipairs(fields.frames) do frames[i] = restored({ [MEDIUM] = frame }, find) end
  return require("lmm.frames").new({ frames = frames }, options_of(fields, true))
end

--- A part that is to be prepared anew, of the file that it was made of.
local function prepared(fields, file)
  local sum = version.check("lmm.digest").file(file.path)
  if sum ~= fields.sha256 then
    return lost(fields, "'%s' is not the file that was logged: %s", file.path,
      sum and "it has other bytes" or "it cannot be read")
  end
  local wanted = fields.prepare
  if wanted.password then return lost(fields, "the password of '%s' is not in the log", file.path) end
  if wanted.page then return parts.page("'" .. file.path .. "'", file.path, wanted, fields.options or {}) end
  local opts = options_of(fields, true)
  for name, value in pairs(wanted) do opts[name] = value end
  return parts.new(fields.kind, file.path, opts)
end

local function part_of(fields, find)
  if fields.frames then return frames_of(fields, find) end
  local url = fields.url and restored(fields.url, find)
  if parts.is(url) then return lost(fields, "%s", url.err.message) end
  local is_known = fields.options and fields.options.uuid ~= nil
  if not (url or fields.sha256 or is_known) then
    return lost(fields, "%s could not be read any more when it was logged",
      fields.path and "'" .. fields.path .. "'" or "the " .. fields.kind)
  end
  if url or not fields.sha256 then
    return (parts.new(fields.kind, url, options_of(fields, url ~= nil)))
  end
  local file = find(fields.sha256)
  if not (file and file.path) then
    return lost(fields, "the bytes of the %s are not in the log (log_media = true keeps them)", fields.kind)
  end
  if fields.prepare then return prepared(fields, file) end
  local part, problem = parts.restore { kind = fields.kind, mime = fields.mime or file.mime, filename = fields.filename,
    options = fields.options or {}, is_unchecked = fields.is_unchecked, path = file.path, size = file.size,
    mtime = file.mtime, sha256 = fields.sha256 }
  if not part then return lost(fields, "what the log holds of the %s is wrong: its%s", fields.kind, problem) end
  part.saved.is_logged = true
  return part
end

--- The text that a medium stood for, or a part that says why it is gone.
local function text_of(fields, find)
  local file = find(fields.sha256)
  local media = file and file.path and core.media(file.path)
  if not media then
    return lost(fields, "the bytes of the %s are not in the log (log_media = true keeps them)", fields.kind)
  end
  return core.embed(fields.head or "", media)
end

function restored(value, find)
  if type(value) ~= "table" then return value end
  local fields = value[MEDIUM]
  if fields then return (fields.is_text and text_of or part_of)(fields, find) end
  local copy = {}
  for key, item in next, value do
    if type(key) == "string" and key:find "^lmm%.lmm%." then key = key:sub(5) end
    copy[key] = restored(item, find)
  end
  return setmetatable(copy, getmetatable(value))
end

--- The value with parts in the place of media, which are looked at when they are sent.
---@param value any
---@param find fun(sha256: string): { path: string?, size: integer, mtime: number, mime: string? }?  where the bytes are
function plain.restore(value, find)
  return restored(value, find)
end

return plain
