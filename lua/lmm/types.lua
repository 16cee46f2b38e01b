--- What there is to know of media types beyond their names: a type comes in; how it is written, what people call it,
--- why no server takes it, and the formats and endings that stand for it go out.
local types = {}

local aliases = {
  ["image/jpg"] = "image/jpeg", ["image/pjpeg"] = "image/jpeg", ["image/x-png"] = "image/png",
  ["image/tif"] = "image/tiff", ["image/x-bmp"] = "image/bmp", ["image/x-ms-bmp"] = "image/bmp",
  ["image/vnd.microsoft.icon"] = "image/x-icon", ["image/svg"] = "image/svg+xml",
  ["audio/mp3"] = "audio/mpeg", ["audio/x-mp3"] = "audio/mpeg", ["audio/x-mpeg"] = "audio/mpeg",
  ["audio/x-wav"] = "audio/wav", ["audio/wave"] = "audio/wav", ["audio/vnd.wave"] = "audio/wav",
  ["audio/x-flac"] = "audio/flac", ["audio/m4a"] = "audio/mp4", ["audio/x-m4a"] = "audio/mp4",
  ["audio/x-aac"] = "audio/aac", ["audio/aacp"] = "audio/aac", ["audio/x-aiff"] = "audio/aiff",
  ["video/mov"] = "video/quicktime", ["video/avi"] = "video/x-msvideo", ["video/mkv"] = "video/x-matroska",
  ["application/x-pdf"] = "application/pdf", ["image/eps"] = "image/x-eps", ["application/eps"] = "image/x-eps",
  ["application/x-eps"] = "image/x-eps",
}

--- Whether a value has the form of a media type.
---@return boolean
function types.is_type(value)
  return type(value) == "string" and value:find "^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+$" ~= nil
end

--- A type as servers know it.
---@param mime string
---@return string
function types.normal(mime)
  mime = mime:lower()
  return aliases[mime] or mime
end

local names = {
  ["image/svg+xml"] = "an SVG drawing", ["image/jxl"] = "a JPEG XL picture", ["image/jls"] = "a JPEG-LS picture",
  ["image/x-eps"] = "an EPS drawing", ["application/postscript"] = "a PostScript document",
  ["audio/aiff"] = "an AIFF sound",
  ["image/jxr"] = "a JPEG XR picture", ["image/bpg"] = "a BPG picture", ["image/x-exr"] = "an OpenEXR picture",
  ["image/vnd.radiance"] = "a Radiance picture", ["image/vnd.ms-dds"] = "a DDS texture",
  ["image/vnd.djvu"] = "a DjVu document", ["image/x-xcf"] = "a GIMP picture",
  ["image/x-portable-arbitrarymap"] = "a PAM picture", ["application/dicom"] = "a DICOM picture",
  ["audio/midi"] = "a MIDI file", ["audio/x-caf"] = "a CAF sound", ["audio/basic"] = "an AU sound",
  ["application/zip"] = "a ZIP archive", ["application/gzip"] = "a gzip archive",
  ["application/x-7z-compressed"] = "a 7z archive", ["application/vnd.rar"] = "a RAR archive",
  ["application/x-xz"] = "an xz archive", ["application/zstd"] = "a zstd archive",
  ["application/x-bzip2"] = "a bzip2 archive", ["application/x-tar"] = "a tar archive",
  ["application/x-ole-storage"] = "an old Office document", ["application/vnd.sqlite3"] = "an SQLite database",
  ["application/x-executable"] = "a program", ["application/rtf"] = "an RTF document",
  ["application/x-numpy"] = "a NumPy array",
  ["application/vnd.openxmlformats-officedocument.wordprocessingml.document"] = "a Word document",
  ["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"] = "an Excel document",
  ["application/vnd.openxmlformats-officedocument.presentationml.presentation"] = "a PowerPoint document",
}

--- What no server decodes that is known, by the kind of part that it would be, and what to do.
local TO_PNG, TO_WAV = "convert it to PNG or JPEG", 'pass { convert = "wav" } to lmm.audio'
local refused = {
  image = {
    ["image/svg+xml"] = "draw it as PNG, as with rsvg-convert", ["image/jxl"] = TO_PNG,
    ["image/x-eps"] = "draw it as PNG, as with Ghostscript",
    ["application/postscript"] = "make a PDF of it, as with ps2pdf, and pages of that with lmm.pages",
    ["image/jls"] = TO_PNG, ["image/jxr"] = TO_PNG,
    ["image/bpg"] = TO_PNG, ["image/x-exr"] = TO_PNG, ["image/vnd.radiance"] = TO_PNG, ["image/vnd.ms-dds"] = TO_PNG,
    ["image/vnd.djvu"] = TO_PNG, ["image/x-xcf"] = TO_PNG, ["image/x-portable-arbitrarymap"] = TO_PNG,
    ["application/dicom"] = TO_PNG,
  },
  audio = {
    ["audio/aiff"] = TO_WAV, ["audio/midi"] = "play it into a WAV first", ["audio/x-caf"] = TO_WAV,
    ["audio/basic"] = TO_WAV,
  },
  video = {},
  file = {},
}

local DEVELOP = "develop it to JPEG or TIFF first, or take out the JPEG in it, as with exiftool -b -PreviewImage"
for _, row in ipairs {
  { "adobe-dng", "DNG" }, { "nikon-nef", "NEF" }, { "canon-cr2", "CR2" }, { "canon-cr3", "CR3" },
  { "canon-crw", "CRW" }, { "sony-arw", "ARW" }, { "pentax-pef", "PEF" }, { "fuji-raf", "RAF" },
  { "olympus-orf", "ORF" }, { "panasonic-rw2", "RW2" }, { "sigma-x3f", "X3F" }, { "minolta-mrw", "MRW" }, { "raw" },
} do
  local mime = "image/x-" .. row[1]
  names[mime] = "a camera's raw picture" .. (row[2] and ", " .. row[2] or "")
  refused.image[mime] = DEVELOP
end

--- What a file of this type is called in a message: words where there are any, and the type.
---@param mime string
---@return string
function types.describe(mime)
  return names[mime] and ("%s (%s)"):format(names[mime], mime) or mime
end

--- What to do with a file that no server decodes as a part of this kind; nil where servers may.
---@param kind "image"|"video"|"audio"|"file"
---@param mime string
---@return string? advice
function types.refusal(kind, mime)
  return refused[kind][mime]
end

--- The kind of part that takes a file of this type.
---@param mime string
---@return "image"|"video"|"audio"|"file"
function types.kind(mime)
  local kind = mime:match "^[^/]+"
  return kind ~= "file" and refused[kind] and kind or "file"
end

--- What the `format` of input_audio may be for each type; the first is what we write.
local formats = {
  ["audio/wav"] = { "wav", "wave" }, ["audio/mpeg"] = { "mp3", "mpeg", "mpga" }, ["audio/flac"] = { "flac" },
  ["audio/ogg"] = { "ogg", "opus", "oga", "vorbis" }, ["audio/mp4"] = { "m4a", "mp4", "aac" },
  ["audio/aac"] = { "aac" }, ["audio/webm"] = { "webm", "opus" },
  ["audio/x-matroska"] = { "mka", "mkv" }, ["audio/amr"] = { "amr" },
  ["audio/amr-wb"] = { "awb", "amr-wb" }, ["audio/x-wavpack"] = { "wv", "wavpack" }, ["audio/3gpp"] = { "3gp" },
  ["audio/quicktime"] = { "mov" }, ["audio/x-ms-wma"] = { "wma" }, ["audio/aiff"] = { "aiff", "aif" },
}

--- The format that stands for a type; nil where none is known.
---@param mime string
---@return string?
function types.format(mime)
  return formats[mime] and formats[mime][1]
end

--- Whether a format stands for what a type is; of a type without known formats anything may.
---@param format string
---@param mime string?
---@return boolean
function types.is_format(format, mime)
  for _, name in ipairs(formats[mime] or { format }) do
    if name == format then return true end
  end
  return false
end

local endings = {
  ["audio/mpeg"] = "mp3", ["audio/mp4"] = "m4a", ["audio/amr-wb"] = "awb", ["audio/x-matroska"] = "mka",
  ["audio/x-wavpack"] = "wv", ["audio/3gpp"] = "3gp", ["audio/quicktime"] = "mov",
  ["video/quicktime"] = "mov", ["video/x-matroska"] = "mkv", ["video/x-msvideo"] = "avi", ["video/3gpp"] = "3gp",
  ["video/mp2t"] = "ts", ["image/jpeg"] = "jpg", ["image/svg+xml"] = "svg", ["image/vnd.adobe.photoshop"] = "psd",
  ["image/x-icon"] = "ico", ["text/plain"] = "txt", ["text/markdown"] = "md", ["application/octet-stream"] = "bin",
  ["application/postscript"] = "ps", ["application/gzip"] = "gz", ["application/x-7z-compressed"] = "7z",
  ["application/vnd.openxmlformats-officedocument.wordprocessingml.document"] = "docx",
  ["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"] = "xlsx",
  ["application/vnd.openxmlformats-officedocument.presentationml.presentation"] = "pptx",
}

--- The ending that the name of a file of this type has.
---@param mime string
---@return string
function types.ending(mime)
  return endings[mime] or mime:match "/x?%-?([%w]+)" or "bin"
end

return types
