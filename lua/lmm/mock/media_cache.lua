--- The media that the server keeps under the uuids that clients give them, as vLLM does: what was seen of a medium
--- comes in, and goes out again for its kind and uuid. Where there is no room for one more, the one that was used
--- longest ago goes.

---@class lmm.mock.MediaCache
local MediaCache = {}
MediaCache.__index = MediaCache

local media_cache = {}

---@param most integer  how many are kept
---@return lmm.mock.MediaCache
function media_cache.new(most)
  return setmetatable({ most = most, order = {}, media = {} }, MediaCache)
end

local function forget(self, uuid)
  for i, known in ipairs(self.order) do
    if known == uuid then table.remove(self.order, i) break end
  end
end

---@param uuid string  with the kind before it
---@return { line: string, tokens: integer }? medium
function MediaCache:get(uuid)
  return self.media[uuid]
end

---@param uuid string  with the kind before it
---@param medium { line: string, tokens: integer }
function MediaCache:put(uuid, medium)
  forget(self, uuid)
  self.order[#self.order + 1], self.media[uuid] = uuid, medium
  if #self.order > self.most then self.media[table.remove(self.order, 1)] = nil end
end

return media_cache
