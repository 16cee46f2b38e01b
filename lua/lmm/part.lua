--- A content part: a source and a kind come in; what can be sent, or why it cannot, goes out.
--
-- A part is always made. Where its source cannot be used its `err` says why, and whoever sends the part gets that error
-- before anything is sent.
local core = require "lmm.core"
local errors = require "lmm.errors"
local texts = require "lmm.text"

---@class lmm.Part
---@field kind "image"|"video"|"audio"|"file"
---@field url string?      what the server is to fetch, or a data URL as it was given
---@field filename string? the last part of the source's path
---@field media userdata?  the bytes (lmm.core)
---@field mime string?     found from the bytes, unless the caller named it
---@field size integer?    bytes
---@field width integer?   pixels as stored, where the type tells
---@field height integer?
---@field options table    what goes beside the source, as given
---@field err lmm.Error?   why the part cannot be sent
local Part = {}
Part.__name = "lmm.Part"

local part = {}

function part.is(value)
  return getmetatable(value) == Part
end

--- The bytes as far as they are text, or nil where they are none. `first` may be cut within a character.
local function text_of(first)
  local bad = core.utf8(first)
  if bad and (#first < 16 or not first:find("^[\194-\244][\128-\191]*$", bad)) then return nil end
  local text = texts.line(bad and first:sub(1, bad - 1) or first)
  return text ~= "" and not first:find "[%z\1-\8\14-\31\127]" and text or nil
end

--- The first bytes for a message: as text where they are text, else in hex.
local function show(first)
  local text = text_of(first)
  if text then return string.format("%q", text) end
  return (first:gsub(".", function(c) return string.format("%02x ", c:byte()) end):sub(1, -2))
end

local function invalid(self, format, ...)
  self.err = errors.new { kind = "invalid", message = string.format(format, ...) }
end

--- The type that the bytes have or the caller names, which must be one of this kind. A file may be of any.
local function set_type(self, name, info, mime)
  self.mime = mime or info.mime
  self.size, self.width, self.height = info.size, info.width, info.height
  if self.kind == "file" then
    self.mime = self.mime or text_of(info.first) and "text/plain" or "application/octet-stream"
  end
  if mime or self.kind == "file" then return end
  if not info.mime then
    invalid(self, "%s is of no known type%s: it begins with %s (pass { mime = \"%s/...\" } if you know better)", name,
      text_of(info.first) and ", it seems to be text" or "", show(info.first), self.kind)
  elseif info.mime:match "^[^/]+" ~= self.kind then
    invalid(self, "%s is %s, not %s (pass { mime = \"%s/...\" } if you know better)", name, info.mime, self.kind,
      self.kind)
  end
end

local function from_media(self, name, source, mime)
  local media, message = core.media(source)
  if not media then return invalid(self, "%s", message) end
  self.media = media
  set_type(self, name, media:info(), mime)
end

--- `data:` URLs are decoded once, as strictly as a server would, so that a bad one is never sent. A video may be a list
--- of JPEG frames.
local function from_data_url(self, url)
  local mime, start = url:match "^data:([^,;]*)[^,]*;base64,()"
  if not start then return invalid(self, "the data: URL does not begin with 'data:type;base64,'") end
  local frames = mime == "video/jpeg" and "()([^,]*)" or "()(.*)"
  for at, text in url:sub(start):gmatch(frames) do
    local _, offset = core.base64.decode(text)
    if text == "" and at == 1 then return invalid(self, "the data: URL is empty: there is nothing to send") end
    if offset then
      return invalid(self, "the data: URL is not base64 at character %d: no spaces or line breaks, and padded with '='",
        start - 1 + at - 1 + offset + 1)
    end
  end
  self.url, self.mime = url, mime
end

local function from_url(self, scheme, url)
  if scheme == "data" then return from_data_url(self, url) end
  if scheme ~= "http" and scheme ~= "https" and scheme ~= "file" then
    return invalid(self, "a %s: URL cannot be used: http, https, data and file can", scheme)
  end
  if url:find "[%c%s]" then return invalid(self, "the URL holds a space or a control character") end
  if scheme ~= "file" and not url:find "^%a+://[^/?#]" then return invalid(self, "the URL names no host") end
  self.url = url
end

--- Makes a part. `source` is a path, an http:, https:, data: or file: URL, or `{ bytes = ... }`.
---@param kind "image"|"video"|"audio"|"file"
---@param source string|table
---@param opts table?  `mime` wins over what the bytes say; all else goes to the server beside the source
---@return lmm.Part
function part.new(kind, source, opts)
  if opts ~= nil and type(opts) ~= "table" then
    errors.misuse("lmm.%s: the options are a table, not a %s", kind, type(opts))
  end
  local self = setmetatable({ kind = kind, options = {} }, Part)
  for name, value in pairs(opts or {}) do self.options[name] = value end
  local mime = self.options.mime
  self.options.mime = nil
  if mime ~= nil and not (type(mime) == "string" and mime:find "^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+$") then
    errors.misuse("lmm.%s: mime is a type like \"%s/png\"", kind, kind)
  end

  if type(source) == "table" and type(source.bytes) == "string" then
    from_media(self, "the data in bytes", source, mime)
  elseif type(source) ~= "string" then
    errors.misuse("lmm.%s: a path, a URL or { bytes = string } expected, got a %s", kind,
      type(source) == "table" and "table without bytes" or type(source))
  elseif source:find "%z" then
    invalid(self, "a path or URL cannot hold a NUL byte")
  else
    local scheme = source:match "^(%a[%w+.-]+)://" or source:match "^(data):" or source:match "^(file):"
    if scheme then
      from_url(self, scheme:lower(), source)
    else
      self.filename = source:match "[^/]*$"
      from_media(self, "'" .. source .. "'", source, mime)
    end
  end
  return self
end

return part
