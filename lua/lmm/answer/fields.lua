--- What stands beside the text in a message or a delta: pictures, sound, annotations, the details of reasoning, log
--- probabilities; and whatever else a server sends. It is gathered in the choice, in lists of its own: an event,
--- whoever has it, stays as it came.
local core = require "lmm.core"
local json = require "lmm.json"

local fields = {}

--- Texts that come in pieces, in fields of these names.
local in_pieces = { text = true, summary = true, data = true, transcript = true, thinking = true }

--- Adds the fields of a delta to what has come of the same thing.
local function merge(known, given)
  for name, value in pairs(given) do
    if not in_pieces[name] then
      known[name] = value
    elseif type(value) == "string" then
      known[name] = known[name] or {}
      table.insert(known[name], value)
    end
  end
end

--- The same with its texts joined.
local function joined(known)
  local out = {}
  for name, value in pairs(known) do out[name] = in_pieces[name] and core.join(value) or value end
  return out
end

local adders = {}

--- Adds a picture: `field` says where it stood, "images" or "content".
local function add_image(choice, field, image)
  choice.images = choice.images or {}
  table.insert(choice.images, { field = field, image = image })
end

function adders.images(choice, given)
  for _, image in json.items(given) do add_image(choice, "images", image) end
end

function adders.audio(choice, given)
  choice.audio = choice.audio or {}
  merge(choice.audio, given)
end

function adders.annotations(choice, given)
  choice.annotations = choice.annotations or {}
  for _, item in json.items(given) do table.insert(choice.annotations, item) end
end

--- Pieces of the same detail come one after the other.
function adders.reasoning_details(choice, given)
  local list = choice.reasoning_details or {}
  choice.reasoning_details = list
  for _, item in json.items(given) do
    local latest = list[#list]
    local is_same = latest and choice.streamed and latest.type == item.type and latest.index == item.index
      and (latest.id == nil or item.id == nil or latest.id == item.id)
    if not is_same then
      latest = {}
      list[#list + 1] = latest
    end
    merge(latest, item)
  end
end

--- Adds a field of a message or a delta that says something.
---@param choices table  of lmm.answer.choices
---@param choice table
---@param name string
function fields.add(choices, choice, name, value)
  if adders[name] and type(value) == "table" then adders[name](choice, value) end
  choices:note(choice, name, value)
end

--- Adds a picture that stood in a content.
function fields.add_image(choices, choice, image)
  add_image(choice, "content", image)
  choices:note(choice, "images", { image })
end

--- Adds log probabilities, the lists in them behind those that came before.
function fields.add_logprobs(choice, logprobs)
  if type(logprobs) ~= "table" then return end
  choice.logprobs = choice.logprobs or {}
  for name, value in pairs(logprobs) do
    if type(value) == "table" then
      local list = choice.logprobs[name]
      if type(list) ~= "table" then list = {} end
      choice.logprobs[name] = list
      choice.lengths = choice.lengths or {}
      local length = choice.lengths[name] or 0
      for key, item in pairs(value) do -- nulls in it have left holes
        if type(key) == "number" then
          list[length + key] = item
          choice.lengths[name] = math.max(choice.lengths[name] or 0, length + key)
        else
          list[key] = item
        end
      end
    else
      choice.logprobs[name] = value
    end
  end
end

-- ---- what they add up to

--- Base64 that came in pieces, each of which may have padding of its own.
local function decode(pieces)
  local bytes = core.base64.decode(table.concat(pieces))
  if bytes then return bytes end
  local decoded = {}
  for i, piece in ipairs(pieces) do
    decoded[i] = core.base64.decode(piece)
    if not decoded[i] then return nil end
  end
  return table.concat(decoded)
end

--- A part of bytes that a model made: its `bytes` are there, whatever its type.
local function part_of(kind, bytes, mime)
  local parts = require "lmm.part"
  local part = parts.new(kind, { bytes = bytes })
  if part.err and bytes ~= "" then part = parts.new(kind, { bytes = bytes }, { mime = mime }) end
  part.bytes = bytes
  return part
end

local function image_part(image)
  local url = image.image_url or image.url
  if type(url) == "table" then url = url.url end
  local base64 = image.b64_json or image.data
  if type(url) == "string" then
    local mime, rest = url:match "^[dD][aA][tT][aA]:(image/[%w.+-]+)[^,]*;base64,()"
    local bytes = mime and core.base64.decode(url:sub(rest))
    if bytes then return part_of("image", bytes, mime) end
    -- Nothing else is taken from a server: a path would be read here, and sent with the next question.
    if url:find "^[hH][tT][tT][pP][sS]?://" or mime then return require("lmm.part").new("image", url) end
  end
  return part_of("image", type(base64) == "string" and core.base64.decode(base64) or "", "image/png")
end

--- The pictures of a choice, as parts.
---@return lmm.Part[]
function fields.images(choice)
  local images = {}
  for i, entry in ipairs(choice.images) do images[i] = image_part(entry.image) end
  return images
end

local RAW_AUDIO = "audio/pcm" -- samples without a head, of which the bytes do not tell the type

--- The sound of a choice, as a part with `transcript` and `id`, where it has them.
---@return lmm.Part
function fields.audio(choice)
  local audio = choice.audio
  local part = part_of("audio", type(audio.data) == "table" and decode(audio.data) or "", RAW_AUDIO)
  part.transcript = type(audio.transcript) == "table" and core.join(audio.transcript) or nil
  part.id = audio.id
  return part
end

--- The details of a choice's reasoning, whole.
---@return table[]?
function fields.reasoning_details(choice)
  if not choice.reasoning_details then return nil end
  local details = {}
  for i, item in ipairs(choice.reasoning_details) do details[i] = joined(item) end
  return details
end

return fields
