--- The media of a log: where the bytes of each were seen last, and those that the log keeps itself.
local core = require "lmm.core"
local json = require "lmm.json"
local plain = require "lmm.log.plain"
local types = require "lmm.types"
local version = require "lmm.version"

local media = {}

--- What gives the SHA-256 of a file that has not changed since it was found out.
---@return fun(path: string, size: integer, mtime: number): string?
function media.known_by(log)
  return function(path, size, mtime)
    return log.database:value("SELECT sha256 AS value FROM medium WHERE path = ? AND size = ? AND mtime = ?", path,
      size, mtime)
  end
end

--- The path of a medium that the log keeps.
local function kept_path(log, medium)
  return ("%s.media/%s.%s"):format(log.path, medium.sha256, types.ending(medium.mime or "application/octet-stream"))
end

--- Keeps the bytes of media as files beside the log, each once. From then on that is their path.
---@param log lmm.Log
---@param list lmm.log.Medium[]
function media.keep(log, list)
  local files = version.check "lmm.files"
  for _, medium in ipairs(list) do
    local path = files.absolute(kept_path(log, medium))
    local found, why, is_missing = files.read(path, 0)
    local is_empty = found and why == 0 -- its size: the disk was full once, or the process was killed
    local has_bytes = medium.bytes or medium.path -- else its file is gone since it was logged
    if has_bytes and (is_missing or is_empty) then
      files.create(path) -- which makes the folder, too
      found, why = files.write(path, medium.bytes or core.concat { (core.media(medium.path)) })
    end
    if has_bytes and not found then error(log.database:failure("media", "it cannot keep a medium: %s", why), 0) end
    if has_bytes or found and not is_empty then
      local info = core.media(path):info()
      medium.path, medium.size, medium.mtime, medium.is_kept = path, info.size, info.mtime, true
    end
  end
end

--- Notes media and that a message has them.
---@param list lmm.log.Medium[]?
function media.link(log, message, list)
  local db = log.database
  for _, medium in ipairs(list or {}) do
    local row = db:row("SELECT id, is_kept, path, mtime FROM medium WHERE sha256 = ?", medium.sha256)
    local id = row and row.id
    local is_elsewhere = row and medium.path and (medium.path ~= row.path or medium.mtime ~= row.mtime)
    if not row then
      id = db:insert([[INSERT INTO medium (sha256, kind, mime, size, width, height, path, mtime, is_kept)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)]], medium.sha256, medium.kind, medium.mime, medium.size, medium.width,
        medium.height, medium.path, medium.mtime, medium.is_kept or false)
    elseif is_elsewhere and (medium.is_kept or row.is_kept == 0) then
      db:run("UPDATE medium SET path = ?, size = ?, mtime = ?, is_kept = ? WHERE id = ?", medium.path, medium.size,
        medium.mtime, medium.is_kept or false, id)
    end
    db:run("INSERT OR IGNORE INTO message_medium (message, medium) VALUES (?, ?)", message, id)
  end
end

--- What finds a medium by its SHA-256, for plain.restore.
function media.finder(log)
  return function(sha256)
    return log.database:row("SELECT path, size, mtime, mime FROM medium WHERE sha256 = ?", sha256)
  end
end

--- A value of the log with parts in the place of media.
function media.restore(log, value)
  return plain.restore(value, media.finder(log))
end

--- The media of the messages up to one, the first first.
---@return lmm.LoggedMedium[]
function media.of(log, message)
  return json.array(log.database:rows([[WITH RECURSIVE up (id, depth) AS (SELECT ?, 0 UNION ALL
    SELECT parent, depth + 1 FROM message JOIN up USING (id) WHERE parent IS NOT NULL)
    SELECT sha256, kind, mime, size, width, height, path FROM up
    JOIN message_medium ON message = up.id JOIN medium ON medium.id = medium
    GROUP BY medium.id ORDER BY max(depth) DESC, medium.id]], message))
end

return media
