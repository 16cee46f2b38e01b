--- A content part: a source and a kind come in; what can be sent, or why it cannot, goes out.
--
-- A part is always made. Where its source cannot be used its `err` says why, and whoever sends the part gets that error
-- before anything is sent.
local core = require "lmm.core"
local errors = require "lmm.errors"
local paths = require "lmm.paths"
local prepare = require "lmm.prepare"
local texts = require "lmm.text"
local types = require "lmm.types"

--- A picture, a video, a sound or a file, to be sent or that a model made.
---@class lmm.Part
---@field kind "image"|"video"|"audio"|"file"
---@field path string?     of its file, as given
---@field url string?      what the server is to fetch
---@field filename string? the last part of the source's path; a file part always has one
---@field package media userdata?  the bytes (lmm.core)
---@field mime string?     found from the bytes, unless the caller named it
---@field size integer?    bytes
---@field width integer?   pixels as shown, turned and clapped as the file says; nil where the type does not tell
---@field height integer?
---@field orientation integer?  how the stored picture was turned for that, 1 to 8 as EXIF counts; nil where none is
--- told
---@field package frames { media: userdata }[]?  of a video that goes as pictures
---@field package film lmm.Part?    of a frame: the video that it comes from
---@field package options table    what goes beside the source, as given
---@field bytes string?     of what a model made
---@field transcript string?  of a sound that a model made
---@field digest string?    the SHA-256 of the bytes in hex, once they were sent where the server keeps media, or saved
---@field package is_unchecked true?  the caller knows better what servers decode
---@field package has_no_end true?  a JPEG whose end is missing: some servers refuse it
---@field package saved { size: integer, mtime: number, sha256: string }?  what a saved conversation holds of its file
---@field converted string?  the type that it had before it was prepared for sending, where that is another
---@field package plan lmm.Plan?    how it is prepared when it is first sent; until then its size in bytes is not known
---@field err lmm.Error?   why the part cannot be sent
local Part = {}
Part.__name = "lmm.Part"

local part = { metatable = Part }

---@class lmm.Part
local methods = {}
Part.__index = methods

--- Writes what a model made into a file.
---@param path string
---@return true? saved, string? message, lmm.Error? err
function methods:save(path)
  if type(path) ~= "string" then errors.misuse("part:save takes a path, not a %s", type(path)) end
  local file, message = nil, "it holds no bytes that a model made"
  if self.bytes then file, message = io.open(path, "wb") end
  local ok = file
  if file then
    ok, message = file:write(self.bytes)
    local closed, why = file:close()
    if ok and not closed then ok, message = nil, why end
  end
  if ok then return true end
  local err = errors.new { kind = "invalid", message = ("cannot save the %s: %s"):format(self.kind, message) }
  return errors.public(nil, err)
end

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

local function advice(self)
  return ("pass { mime = \"%s/...\" } as options if you know better"):format(self.kind)
end

local takers = { image = "lmm.image", video = "lmm.video", audio = "lmm.audio", file = "lmm.file" }

--- Has a picture be prepared that no server decodes, as an SVG or an EPS, though nothing was asked for.
local function plan_by_type(self, mime, opts)
  local is_needed = self.kind == "image" and types.refusal("image", mime) and prepare.takes("image", mime)
  if is_needed and not opts.wanted then opts.wanted = { orient = true } end
end

--- Checks that the bytes are of this kind, of a type that servers decode, and all there.
local function check_bytes(self, name, info, opts)
  local kind = types.kind(self.mime)
  if info.mime then plan_by_type(self, info.mime, opts) end
  local is_prepared = opts.wanted and prepare.takes(self.kind, info.mime)
  local refusal = not is_prepared and info.mime
    and (types.refusal(self.kind, info.mime) or types.refusal(kind, info.mime))
  if refusal then
    invalid(self, "%s is %s, which no server is known to decode: %s (mime or check = false sends it as it is)", name,
      types.describe(self.mime), refusal)
  elseif kind == "video" and opts.wanted and prepare.takes_films(self.kind) then
    return -- its sound is taken out of it; whether it has any, not every film tells at once
  elseif kind ~= self.kind and self.kind == "audio" and info.has_sound then
    invalid(self, "%s is %s, not audio: %s takes it (mime = \"audio/%s\" sends it for its sound)", name, self.mime,
      takers[kind], self.mime:match "[^/]+$")
  elseif kind ~= self.kind then
    local can_be_drawn = self.kind == "image" and self.mime == "application/pdf"
    invalid(self, "%s is %s, not %s: %s%s takes it (%s)", name, types.describe(self.mime), self.kind,
      can_be_drawn and "lmm.pages draws its pages, " or "", takers[kind], advice(self))
  elseif info.cut then
    invalid(self, "%s is cut short: %s (check = false sends it as it is)", name, info.cut)
  end
end

--- The type that the caller names, else the one that the bytes have, else the one that a data: URL claims; it must be
--- one of this kind. A file may be of any.
local function set_type(self, name, info, opts, claimed)
  local mime = opts.mime
  local is_track = self.kind == "audio" and (claimed or ""):find "^audio/" and (info.mime or ""):find "^video/"
  self.mime = mime or is_track and claimed or info.mime or claimed -- a video without pictures begins like any other
  self.size, self.width, self.height, self.orientation = info.size, info.width, info.height, info.orientation
  self.has_no_end = info.has_no_end or nil
  if self.kind == "file" then
    self.mime = self.mime or info.is_text and "text/plain" or "application/octet-stream"
    self.filename = self.filename or "file." .. types.ending(self.mime)
    return
  end
  if not self.mime then
    invalid(self, "%s is of no known type%s: it begins with %s (%s)", name,
      info.is_text and ", it seems to be text" or "", show(info.first), advice(self))
  elseif not mime and opts.check ~= false then
    check_bytes(self, name, info, opts)
  end
end

--- The format of audio that goes as input_audio: as it was named, or by the bytes, which it has to agree with.
local function set_format(self, name, opts)
  local format = opts.format
  if format == true then
    self.options.format = types.format(self.mime)
    if self.options.format then return end
    return invalid(self, "%s is %s, for which no format is known: name it, as in format = \"wav\"", name, self.mime)
  end
  if type(format) ~= "string" or format == "" then
    errors.misuse "lmm.audio: format is a text like \"wav\", or true: by the bytes"
  end
  format = format:lower():gsub("^%.", "")
  if format:find "/" then format = types.format(types.normal(format)) or format:match "[^/]*$":gsub("^x%-", "") end
  self.options.format = format
  if opts.mime or opts.check == false or types.is_format(format, self.mime) then return end
  invalid(self, "%s is %s, but its format is said to be '%s': pass format = \"%s\", or true", name, self.mime, format,
    types.format(self.mime))
end

local function from_media(self, name, source, opts, claimed)
  local media, message = core.media(source)
  if not media then
    self.err = paths.failure(source, message)
    return
  end
  self.media, self.source, self.name = media, source, name
  set_type(self, name, media:info(), opts, claimed)
  if opts.wanted and not self.err then prepare.plan(self, name, source, opts.wanted, opts.check == false) end
  if self.kind == "audio" and opts.format ~= nil and not self.err then set_format(self, name, opts) end
end

--- A video of JPEG frames.
local function set_frames(self, frames)
  self.mime, self.frames, self.size = "video/jpeg", {}, 0
  for i, bytes in ipairs(frames) do
    self.frames[i] = part.new("image", { bytes = bytes }, { mime = "image/jpeg" })
    self.size = self.size + #bytes
  end
  self.width, self.height = self.frames[1].width, self.frames[1].height
end

--- A video may be a list of frames; everything else is decoded and sent as bytes are.
local function from_data_url(self, url, opts)
  local data_url = require "lmm.part.data_url"
  local claimed, start = data_url.split(url)
  if not claimed then return invalid(self, "%s", start) end
  local base64 = url:sub(start)
  if self.kind == "video" and (opts.mime or claimed) == "video/jpeg" then
    if opts.wanted then
      errors.misuse("lmm.video: %s is for a film, and the data: URL is a video of frames already", (next(opts.wanted)))
    end
    local frames, problem = data_url.frames(base64, start)
    if not frames then return invalid(self, "%s", problem) end
    return set_frames(self, frames)
  end
  local bytes, problem = data_url.bytes(base64, start)
  if not bytes then return invalid(self, "%s", problem) end
  from_media(self, "the data: URL", { bytes = bytes }, opts, types.is_type(claimed) and types.normal(claimed))
end

local function from_url(self, scheme, url, opts)
  if scheme == "data" then return from_data_url(self, url, opts) end
  if scheme ~= "http" and scheme ~= "https" and scheme ~= "file" then
    return invalid(self, "a %s: URL cannot be used: http, https, data and file can", scheme)
  end
  local name = opts.mime and "mime" or opts.wanted and next(opts.wanted)
  if name then errors.misuse("lmm.%s: %s is not for what the server is to fetch", self.kind, name) end
  if url:find "[%c%s]" then return invalid(self, "the URL holds a space or a control character") end
  local host = url:match "^%a+://([^/?#]*)" or ""
  if scheme == "file" and not url:find "^%a+:/*[^/]" then return invalid(self, "the URL names no file") end
  if scheme ~= "file" and not host:gsub("^.*@", ""):find "^[^:]" then return invalid(self, "the URL names no host") end
  self.url = url
end

--- A medium that the server has already, by its uuid.
local function set_known(self, opts)
  if self.kind == "file" then errors.misuse "lmm.file: no server knows a file by its uuid: pass a source" end
  local name = opts.mime and "mime" or opts.wanted and next(opts.wanted)
    or self.options.detail ~= nil and "detail" or self.options.format ~= nil and "format"
  if name then errors.misuse("lmm.%s: '%s' says something of a source, and there is none", self.kind, name) end
end

--- Refuses a uuid that is no text, or that stands beside a source for which the caller does not vouch.
---@param where string  for the message
function part.check_uuid(where, uuid, is_trusted)
  if type(uuid) ~= "string" or uuid == "" then errors.misuse("%s: uuid is a text", where) end
  if not is_trusted then
    errors.misuse("%s: servers show the medium that they know by a uuid, whatever comes with it; lmm makes its own "
      .. "where they keep media (trust_uuid = true sends yours)", where)
  end
end

--- What is ours of the options; all others go to the server.
local function own_options(kind, options)
  if next(options) == nil then return {} end
  local own = { mime = options.mime, check = options.check, format = options.format }
  options.mime, options.check = nil, nil
  if own.mime ~= nil and not types.is_type(own.mime) then
    errors.misuse("lmm.%s: mime is a type like \"%s/png\"", kind, kind)
  end
  if own.check ~= nil and type(own.check) ~= "boolean" then
    errors.misuse("lmm.%s: check is true or false, not a %s", kind, type(own.check))
  end
  own.mime = own.mime and types.normal(own.mime)
  if options.trust_uuid ~= nil and type(options.trust_uuid) ~= "boolean" then
    errors.misuse("lmm.%s: trust_uuid is true or false, not a %s", kind, type(options.trust_uuid))
  end
  own.trusts_uuid, options.trust_uuid = options.trust_uuid, nil
  own.wanted = prepare.take_options(kind, options)
  return own
end

--- The name of an option that is ours, or nil where all go to the server; raises where one is not what it has to be.
---@param options table
---@return string?
function part.own_option(kind, options)
  local rest = {}
  for name, value in pairs(options) do rest[name] = value end
  own_options(kind, rest)
  for name in pairs(options) do
    if rest[name] == nil then return name end
  end
end

local function from_text(self, source, opts)
  if source:find("\0", 1, true) then
    return invalid(self,
      "a path or URL cannot hold a NUL byte (if these are the bytes themselves, pass { bytes = ... })")
  end
  local scheme, is_url = source:match "^(%a[%w+.-]+):(/?/?)"
  if scheme then
    scheme = scheme:lower()
    if scheme == "data" or scheme == "file" or is_url == "//" then return from_url(self, scheme, source, opts) end
  end
  self.path, self.filename = source, (source:gsub("^.*/", "")) -- in linear time, however long a text comes as a path
  from_media(self, "'" .. source .. "'", source, opts)
end

--- Makes a part. `source` is a path, an http:, https:, data: or file: URL, or `{ bytes = ... }`; nil, with the option
--- `uuid`, is what the server has kept under it.
---@param kind "image"|"video"|"audio"|"file"
---@param source string|table|nil
---@param opts table?  `mime` wins over what the bytes say; `check = false` sends what is refused for its bytes; for
--- audio, `format` is a name or true (by the bytes); for pictures, what lmm.image says of their preparation; all else
--- goes to the server beside the source
---@return lmm.Part
function part.new(kind, source, opts)
  if opts ~= nil and type(opts) ~= "table" then
    errors.misuse("lmm.%s: the options are a table, not a %s", kind, type(opts))
  end
  local self = setmetatable({ kind = kind, options = {},
    -- What comes later; named here so that the table is made large enough at once.
    path = nil, filename = nil, media = nil, source = nil, name = nil, mime = nil, size = nil, width = nil,
    height = nil,
  }, Part)
  for name, value in pairs(opts or {}) do self.options[name] = value end
  local own = own_options(kind, self.options)

  local uuid = self.options.uuid
  if uuid ~= nil then part.check_uuid("lmm." .. kind, uuid, source == nil or own.trusts_uuid) end
  self.is_unchecked = (own.mime ~= nil or own.check == false) or nil
  if source == nil and uuid ~= nil then
    set_known(self, own)
  elseif type(source) == "table" and type(source.bytes) == "string" then
    for name in pairs(source) do
      if name ~= "bytes" then
        errors.misuse("lmm.%s: '%s' beside bytes: the options are the second argument", kind, tostring(name))
      end
    end
    from_media(self, "the data in bytes", source, own)
  elseif type(source) ~= "string" then
    errors.misuse("lmm.%s: a path, a URL or { bytes = string } expected, got a %s", kind,
      type(source) == "table" and "table without bytes" or type(source))
  else
    from_text(self, source, own)
  end
  local needs_bytes = kind == "file" or kind == "audio" and self.options.format
  if self.url and needs_bytes then
    invalid(self, "no server fetches %s: read it and pass { bytes = ... }",
      kind == "file" and "a file part" or "audio that has a format")
  end
  return self
end

--- The names of options that are ours beside those of preparation.
local OWN = { mime = true, check = true, trust_uuid = true }
local OWN_OF_SOUNDS = { mime = true, check = true, trust_uuid = true, format = true }

--- The same for somebody who writes the options, and may misspell one. Those that come from a file go to the server as
--- they are.
---@return lmm.Part
function part.make(kind, source, opts)
  prepare.check_names("lmm." .. kind, kind, opts, kind == "audio" and OWN_OF_SOUNDS or OWN)
  return (part.new(kind, source, opts))
end

--- Why a part cannot be sent, or nil. To be called before its media is used: the file of a part that comes from a saved
--- conversation is looked at here, again and again until it is found as it was.
---@param self lmm.Part
---@return lmm.Error?
function part.check(self)
  if self.saved and not self.media then require("lmm.part.reference").look(self) end
  return self.err
end

--- A part as plain data, and back: see lmm.part.reference.
function part.describe(self, inline)
  return require("lmm.part.reference").describe(self, inline)
end

function part.restore(fields, map)
  return require("lmm.part.reference").restore(fields, map)
end

--- Makes an image part of one page of a PDF, which is drawn when it is first sent. See lmm.pages.
---@param name string    what the PDF is called in messages
---@param source string|{ bytes: string }
---@param wanted table   `page`, `dpi`, `password`, and what prepares a picture
---@param options table  what goes to the server beside the picture
---@return lmm.Part
function part.page(name, source, wanted, options)
  local self = setmetatable({ kind = "image", options = options }, Part)
  local media, message = core.media(source)
  if not media then
    self.err = paths.failure(source, message)
    return self
  end
  self.media, self.source, self.mime = media, source, "application/pdf"
  prepare.plan(self, ("page %d of %s"):format(wanted.page, name), source, wanted)
  self.filename = ("page-%d.%s"):format(wanted.page, types.ending(self.mime))
  return self
end

local kinds = { -- of what a server is to fetch, by the end of its path
  image = "png jpg jpeg webp gif bmp tif tiff avif", video = "mp4 m4v mov webm mkv avi mpg mpeg",
  audio = "wav mp3 flac ogg opus m4a aac",
}

--- The kind of part that a source makes: by its bytes, or by the end of its URL where a server is to fetch it.
---@param source string|table  as part.new takes it
---@return "image"|"video"|"audio"|"file"|nil kind  nil where that does not tell
function part.kind_of(source)
  local path = type(source) == "string" and source:match "^%a[%w+.-]+://[^/?#]*([^?#]*)"
  if path then
    local ending = path:match "%.(%w+)$"
    for kind, endings in pairs(kinds) do
      if ending and (" " .. endings .. " "):find(" " .. ending:lower() .. " ", 1, true) then return kind end
    end
    return nil
  end
  local mime = part.new("file", source).mime
  local kind = mime and types.kind(mime)
  if kind ~= "file" then return kind end
  if types.refusal("image", mime) then return "image" end -- which says why it cannot be sent
  return (mime:find "^text/" or mime == "application/pdf") and "file" or nil
end

return part
