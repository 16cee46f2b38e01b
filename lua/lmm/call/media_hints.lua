--- Advice where a server refuses media: what it says and the parts that were sent come in; a hint or nil goes out.
local media_hints = {}

--- What servers say of a picture that they cannot decode: vLLM, llama-server, Ollama, OpenAI.
local undecoded = { "cannot identify image", "[Ff]ailed to load image", "image file is truncated",
  "[Uu]nsupported image", "[Ii]nvalid image", "unknown format", "could not process image" }

--- What they say of a kind of part that they do not know.
local unknown_kind = { "[Uu]nsupported content", "Unsupported chat content part", "[Uu]nknown part type",
  "[Ii]nvalid content type", "Input tag '[%w_]+'", "unknown variant" }

local function says(message, list)
  for _, pattern in ipairs(list) do
    if message:find(pattern) then return true end
  end
  return false
end

--- What every server decodes needs no word.
local everywhere = { ["image/jpeg"] = true, ["image/png"] = true }

local MOST = 3 -- so many are named

local function of_pictures(parts)
  local named = {}
  for _, part in ipairs(parts) do
    local name = part.filename and "'" .. part.filename .. "'" or "a picture"
    if part.kind == "image" and #named < MOST and part.has_no_end then
      named[#named + 1] = name .. " is a JPEG without its end"
    elseif part.kind == "image" and #named < MOST and part.mime and not everywhere[part.mime] then
      named[#named + 1] = name .. " is " .. part.mime .. ", which this server may not decode: PNG and JPEG are taken"
        .. " everywhere"
    end
  end
  return named[1] and table.concat(named, "; ")
end

--- llama-server says the same of all media.
local function of_videos(message, parts)
  for _, part in ipairs(message:find "image or audio file" and parts or {}) do
    if part.kind == "video" then
      return "this server may not decode video (llama-server needs ffmpeg for it): send some frames as pictures"
    end
  end
end

local function of_kinds(parts)
  for _, part in ipairs(parts) do
    if part.kind == "file" then
      return "this server may take no files: send text as text, and the pages of a PDF as pictures, by lmm.pages"
    elseif part.kind == "audio" and not part.options.format then
      return "llama-server and others take audio as input_audio: pass { format = \"wav\" } to lmm.audio"
    elseif part.kind == "audio" then
      return "this server may know no input_audio: leave out format, or ask the model server itself"
    elseif part.kind == "video" then
      return "this server may take no video: send some of its frames as pictures"
    end
  end
end

---@param message string
---@param parts lmm.Part[]
---@return string?
function media_hints.find(message, parts)
  if says(message, undecoded) then return of_pictures(parts) or of_videos(message, parts) end
  return says(message, unknown_kind) and of_kinds(parts) or nil
end

return media_hints
