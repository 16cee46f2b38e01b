--- The forms of one request: the body comes in; what is to be sent goes out, and after a refusal another form of it,
--- where that may help: with the media that the server has lost, or without a field that the server does not take.
local fields = require "lmm.client.fields"
local request = require "lmm.request"

---@class lmm.Variants
---@field client lmm.Client
---@field plain userdata  the body, with all media and without fields that may be refused
---@field kept lmm.KeptMedia[]?
---@field has_usage boolean?  `stream_options` go along
---@field is_brief boolean?   media that the server has are left out
---@field was_lost boolean?    the server has refused it without them
---@field left_out string?    the field that the next attempt goes without
local Variants = {}
Variants.__index = Variants

local variants = {}

--- Makes the forms of a request; nil where there is only one.
---@param client lmm.Client
---@param plain userdata
---@param wants_usage boolean
---@param kept lmm.KeptMedia[]?
---@return lmm.Variants?
function variants.new(client, plain, wants_usage, kept)
  if not wants_usage and not kept then return nil end
  return setmetatable({ client = client, plain = plain, kept = kept, has_usage = wants_usage,
    is_brief = kept ~= nil and client:get_media_cache():leaves_out(),
    left_out = nil, was_lost = nil }, Variants)
end

--- The body of the next attempt.
---@return userdata? body, lmm.Error? err
function Variants:body()
  local body, err = self.plain, nil
  if self.has_usage then body, err = request.with(body, "stream_options", fields.STREAM_OPTIONS) end
  local brief = body and self.is_brief and body:brief()
  self.is_brief = brief ~= nil and brief ~= false -- otherwise nothing was left out
  return brief or body, err
end

local OPTIONAL = "stream_options"

local function refuses_field(failure)
  if failure.status ~= 400 and failure.status ~= 422 then return false end
  return failure.param == OPTIONAL or failure.message:find(OPTIONAL, 1, true) ~= nil
end

--- What a refusal names as `param` where it may be of a part's null.
local OF_PART = { type = true, content = true, image_url = true, video_url = true, audio_url = true }

--- Whether a server may refuse so what it has lost. vLLM says "Cache miss", but where it keeps nothing, that it cannot
--- process a null. One that names another field, as `temperature`, would refuse the whole media, too.
local function may_have_lost(failure)
  if failure.status ~= 400 and failure.status ~= 422 and failure.status ~= 500 then return false end
  local param = failure.param
  return type(param) ~= "string" or param == "" or OF_PART[param] or param:find("messages", 1, true) ~= nil
end

--- The server refuses: whether another form is to be sent at once.
---@param failure { status: integer?, message: string, param: string? }
---@return boolean
function Variants:refused(failure)
  if self.has_usage and refuses_field(failure) then
    self.has_usage, self.left_out = false, OPTIONAL
    return true
  end
  if not self.is_brief or not may_have_lost(failure) then return false end
  self.is_brief, self.was_lost = false, true
  return true
end

--- The server has begun to answer it.
function Variants:accepted()
  if self.left_out then self.client.left_out[self.left_out] = true end -- it was the field that was wrong
  if not self.kept then return end
  local cache = self.client:get_media_cache()
  cache:hold(self.kept)
  if self.is_brief or self.was_lost then cache:note(self.was_lost) end
end

return variants
