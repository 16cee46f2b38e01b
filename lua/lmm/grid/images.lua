--- The pictures of a grid: paths, patterns, URLs and parts come in; one entry each goes out, in their order.
local bulk = require "lmm.bulk"
local errors = require "lmm.errors"
local parts = require "lmm.part"
local paths = require "lmm.paths"

local images = {}

---@class lmm.GridImage
---@field name string     as people know it: the last part of its path
---@field path string?    of its file, as given
---@field url string?     what the server fetches
---@field part lmm.Part
---@field make fun(): lmm.Part  for one request: one that is prepared for it, and gone with it, where it is to be
---@field digest string?  of its bytes, once they have been read

--- The paths that an entry stands for.
---@return string[]? paths, lmm.Error? err
local function expand(text)
  local is_pattern = (text:find "[*?%[{]" or text:find "^~/") and not text:find "^%a[%w+.-]+:"
  if not is_pattern or paths.exists(text) then return { text } end
  return bulk.glob(text)
end

local function entry_of(part, path, number, opts)
  local name = part.filename or part.url and part.url:match "([^/?#]+)[^/]*$"
  local function make() return path and part.plan and parts.new(part.kind, path, opts) or part end
  return { name = name or ("picture %d"):format(number), path = path or part.path, part = part, make = make,
    url = part.url and part.url:find "^https?:" and part.url or nil }
end

--- Makes the part of a path or a URL: a picture, or another medium where its bytes say so.
---@return lmm.Part? part, lmm.Error? err  of the options
local function part_of(source, opts)
  local kind = parts.kind_of(source) or "image"
  local part, misuse = errors.try(parts.make, kind, source, kind == "image" and opts or nil)
  return part, misuse and errors.new { kind = "invalid", message = "image: " .. misuse }
end

--- Finds them. None is a list of none.
---@param given string|(string|lmm.Part)[]|lmm.Part|nil
---@param opts table?  for lmm.image
---@return lmm.GridImage[]? found, lmm.Error? err
function images.find(given, opts)
  local list = (type(given) == "string" or parts.is(given)) and { given } or given or {}
  local found = {}
  for i, item in ipairs(list) do
    if type(item) ~= "string" and not parts.is(item) then
      return nil, errors.new { kind = "invalid",
        message = ("images: number %d is a %s, not a path, a URL or a part of lmm.image"):format(i, type(item)) }
    end
    local sources, problem = { item }, nil
    if type(item) == "string" then sources, problem = expand(item) end
    if not sources then return nil, problem end
    for _, source in ipairs(sources) do
      local part, err = source, nil
      if type(source) == "string" then part, err = part_of(source, opts) end
      err = err or parts.check(part)
      if err then return nil, err end
      found[#found + 1] = entry_of(part, type(source) == "string" and part.path or nil, #found + 1, opts)
    end
  end
  return found
end

return images
