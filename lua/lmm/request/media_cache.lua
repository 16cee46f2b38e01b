--- The media that a server keeps: a part comes in; the content part goes out, whole the first time, and from then on so
--- that the bytes can be left out. The server finds them again by a uuid, for which only it itself can be asked: the
--- uuid is an HMAC of their SHA-256 with a secret of the client, so that nobody else reads them by it.
---
--- A file is hashed while it is sent: its uuid stands behind its bytes. One that is sent again is hashed again, and not
--- sent whole where it is not what it was, so that no uuid ever stands for other bytes.
local content = require "lmm.request.content"
local core = require "lmm.core"
local digest = require("lmm.version").check "lmm.digest"
local json = require "lmm.json"

---@class lmm.MediaCache
---@field secret string
---@field held table<string, true>  the uuids of what the server has, as far as is known
---@field count integer  of them
---@field losses integer  how often in succession the server had not what it should have
---@field turn integer    of the requests since then
local MediaCache = {}
MediaCache.__index = MediaCache

local media_cache = {}

--- So many uuids are remembered; then all are forgotten, and what is sent again goes whole once.
local MOST = 100000

--- After so many losses in succession, media are left out once in so many requests only: the server keeps few, or none.
local MOST_LOSSES = 8

---@return lmm.MediaCache
function media_cache.new()
  return setmetatable({ secret = digest.random(), held = {}, count = 0, losses = 0, turn = 0 }, MediaCache)
end

--- What a server does with a medium by these fields; the same bytes need another uuid where they differ.
local PROCESSING = { "media_io_kwargs", "mm_processor_kwargs" }

--- What the uuid of a part is for: its kind, and how the server is to process it.
local function purpose_of(part, fields)
  local purpose = part.frames and "frames" or part.kind
  for _, name in ipairs(PROCESSING) do
    if fields[name] ~= nil then purpose = purpose .. "\n" .. (json.text(fields[name]) or name) end
  end
  return purpose
end

---@class lmm.KeptMedia  a medium of a request that the server is to keep
---@field part lmm.Part
---@field seen userdata  the digest that has seen it, or is to see it
---@field uuid string?   where it is known before it is sent

--- Writes a part. What the server has already can be left out of the body, see body:brief.
---@param part lmm.Part
---@param dialect lmm.Dialect
---@param fields table  the request's
---@param kept lmm.KeptMedia[]  to which it is added
---@return table|userdata  for core.write
function MediaCache:write(part, dialect, fields, kept)
  local is_kept = (part.media or part.frames) and part.options.uuid == nil
    and content.form(part, dialect):find "_url$" -- vLLM takes no input_audio without its data
  if not is_kept then return content.of(part, dialect) end
  local seen = digest.new(self.secret, purpose_of(part, fields), part.digest)
  local uuid = seen:name()
  kept[#kept + 1] = { part = part, seen = seen, uuid = uuid }
  local out = content.of(part, dialect, seen)
  if uuid and self.held[uuid] then out[out.type] = core.known(out[out.type]) end
  local body = core.write(out) -- where that fails, whoever writes the rest says where
  return body and body:with("uuid", core.name(seen), true) or out -- behind the bytes
end

--- The server has taken a request: it keeps its media.
---@param kept lmm.KeptMedia[]
function MediaCache:hold(kept)
  for _, medium in ipairs(kept) do
    local uuid = medium.uuid
    if not uuid then
      medium.part.digest, uuid = medium.seen:hex(), medium.seen:name()
    end
    if uuid and not self.held[uuid] then
      if self.count == MOST then self.held, self.count = {}, 0 end
      self.held[uuid], self.count = true, self.count + 1
    end
  end
end

--- Whether the next request is to leave out what the server should have.
---@return boolean
function MediaCache:leaves_out()
  if self.losses < MOST_LOSSES then return true end
  self.turn = (self.turn + 1) % MOST_LOSSES
  return self.turn == 0
end

--- A request that left media out has been answered: at once, or only whole.
---@param was_lost boolean?
function MediaCache:note(was_lost)
  self.losses = was_lost and self.losses + 1 or 0
end

return media_cache
