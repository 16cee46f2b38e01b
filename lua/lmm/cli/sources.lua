--- The media of a question: the sources of -i and -a come in, in their order; content parts go out.
local console = require "lmm.cli.console"
local parts = require "lmm.part"

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

--- What standard input holds must be text where it is not told to be a medium.
---@param bytes string
---@return string text
function sources.check_text(bytes)
  local kind = bytes:find "%S" and parts.new("file", { bytes = bytes })
  local is_text = kind and kind.media:info().is_text and kind.mime ~= "application/pdf" -- an SVG is text, too
  if kind and not is_text then
    console.misuse("the standard input holds %s, which is no text%s",
      kind.mime == "application/octet-stream" and "bytes" or kind.mime,
      parts.kind_of { bytes = bytes } and ": write -a - for it, and give the question as an argument" or "")
  end
  return bytes
end

local function part_of(given)
  local name, source = given.source, given.source
  if source == "-" then
    local what = given.kind == "image" and "picture" or "medium"
    source, name = { bytes = console.read("the " .. what) }, "the standard input"
    if source.bytes == "" then console.fail("there is no %s on standard input: it is empty", what) end
  elseif console.is_fifo(source) then
    source = { bytes = console.read_file(source, "a medium") }
    if source.bytes == "" then console.fail("nothing came through %s: it is empty", name) end
  end
  local kind = given.kind or parts.kind_of(source)
  if kind then return parts.new(kind, source) end
  local failed = type(source) == "string" and parts.new("image", source)
  if failed and failed.url then
    console.misuse("what is at %s, its name does not tell: -i sends it as a picture", name)
  elseif failed and failed.err and not failed.media then
    return failed
  end
  console.fail("%s is no picture, video, sound, PDF or text that is known", name)
end

---@param list { kind: string?, source: string }[]
---@return lmm.Part[]
function sources.parts(list)
  local out = {}
  for i, given in ipairs(list) do out[i] = part_of(given) end
  return out
end

return sources
