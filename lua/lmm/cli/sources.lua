--- The media of a question: the sources of -i and -a come in, in their order; content parts go out.
local console = require "lmm.cli.console"

--- lmm.part, which is loaded with the first medium.
local parts = setmetatable({}, { __index = function(_, name) return require "lmm.part"[name] end })

local sources = {}

--- For argparse: adds a source, in the order of the command line. Without a kind it is told by its bytes.
---@param kind "image"|nil
function sources.add(kind)
  return function(args, _, source)
    args.media = args.media or {}
    table.insert(args.media, { kind = kind, source = source })
  end
end

local OPTIONS = { ["-i"] = true, ["--image"] = true, ["-a"] = true, ["--attach"] = true }

--- Whether a word behind a source is one more of them: a file that is there and whose name has an ending, a URL, or
--- what `<(command)` stands for. A fifo is not opened for it.
local function is_source(word)
  if word:find "^https?://%S+$" or word:find "^/dev/fd/%d+$" then return true end
  return word:find "%.%w+$" ~= nil and not word:find "^%-" and parts.new("file", word).err == nil
end

--- Whether a word that is no source that is there must have been meant as one: it looks like a path, and the question
--- is still to come.
local function is_meant(word, next_word)
  local has_question = next_word and (next_word == "-" or not next_word:find "^%-")
  return has_question and (word == "-" or word:find "^[^%s-]*[./]%S*$" ~= nil)
end

--- Gives each source an option of its own, as in `-i *.jpg QUESTION`, which the shell makes `-i a.jpg b.jpg QUESTION`.
---@param words string[]
---@return string[]
function sources.spread(words)
  local out, option, at = {}, nil, 1
  while at <= #words and words[at] ~= "--" do
    local word = words[at]
    if OPTIONS[word] then
      option = word
      out[#out + 1], out[#out + 2], at = word, words[at + 1], at + 2
    elseif option and (is_source(word) or is_meant(word, words[at + 1])) then
      out[#out + 1], out[#out + 2], at = option, word, at + 1
    else
      option = nil
      out[#out + 1], at = word, at + 1
    end
  end
  for rest = at, #words do out[#out + 1] = words[rest] end
  return out
end

--- What standard input or a file holds must be text where it is not told to be a medium.
---@param bytes string
---@param path string?  of the file
---@return string text
function sources.check_text(bytes, path)
  local kind = bytes:find "%S" and parts.new("file", { bytes = bytes })
  local is_text = kind and kind.media:info().is_text and kind.mime ~= "application/pdf" -- an SVG is text, too
  if kind and not is_text then
    local hint = path and (": write -i %s for it, without @"):format(path)
      or ": write -a - for it, and give the question as an argument"
    console.misuse("%s holds %s, which is no text%s", path and ("'%s'"):format(path) or "the standard input",
      kind.mime == "application/octet-stream" and "bytes" or kind.mime, parts.kind_of { bytes = bytes } and hint or "")
  end
  return bytes
end

--- What the media options make of the parts: each applies to the sources of its kind, of which there must be one.
---@class lmm.MediaOptions
---@field max_side integer?
---@field pages { first: integer, last: integer }?
---@field frames integer?

local function parts_of_pdf(source, name, media)
  local pages, message, err = require("lmm").pages(source, { first = media.pages.first, last = media.pages.last,
    max_side = media.max_side })
  if not pages then console.fail("%s", (require "lmm.cli.advice".of(message, err):gsub("^the data in bytes", name))) end
  return pages
end

--- The parts of one source, and what kind of source it is.
local function parts_of(given, media)
  local name, source = given.source, given.source
  if source == "-" then
    local what = given.kind == "image" and "picture" or "medium"
    source, name = { bytes = console.read("the " .. what) }, "the standard input"
    if source.bytes == "" then console.fail("there is no %s on standard input: it is empty", what) end
  elseif console.is_fifo(source) then
    source = { bytes = console.read_file(source, "a medium") }
    if source.bytes == "" then console.fail("nothing came through %s: it is empty", name) end
  end
  local is_fetched = type(source) == "string" and source:find "^%a[%w+.-]+://"
  if is_fetched and (media.max_side or media.frames) then
    local option = media.max_side and "--max-side" or "--frames"
    console.misuse("%s is for files, not for what the server fetches: %s", option, name)
  end
  if media.pages and parts.new("file", source).mime == "application/pdf" then
    return parts_of_pdf(source, name, media), "pdf"
  end
  local kind = given.kind or parts.kind_of(source)
  if kind == "image" then return { parts.new(kind, source, { max_side = media.max_side }) }, kind end
  if kind == "video" and media.frames then
    return { parts.new(kind, source, { frames = media.frames, max_side = media.max_side }) }, kind
  end
  if kind then return { parts.new(kind, source) }, kind end
  local failed = type(source) == "string" and parts.new("image", source)
  if failed and failed.url then
    console.misuse("what is at %s, its name does not tell: -i sends it as a picture", name)
  elseif failed and failed.err and not failed.media then
    return { failed }, "image"
  end
  console.fail("%s is no picture, video, sound, PDF or text that is known", name)
end

---@param list { kind: string?, source: string }[]
---@param media lmm.MediaOptions?
---@return lmm.Part[]
function sources.parts(list, media)
  media = media or {}
  local out, seen, has_failed = {}, {}, false
  for _, given in ipairs(list) do
    local made, kind = parts_of(given, media)
    seen[kind] = true
    for _, part in ipairs(made) do
      out[#out + 1], has_failed = part, has_failed or part.err ~= nil
    end
  end
  if has_failed then return out end -- whoever sends it tells why, which comes first
  if media.pages and not seen.pdf then console.misuse "--page is for a PDF, and there is none" end
  if media.frames and not seen.video then console.misuse "--frames is for a video, and there is none" end
  if media.max_side and not (seen.image or seen.pdf or media.frames) then
    console.misuse "--max-side is for a picture, and there is none"
  end
  return out
end

return sources
