--- The answer of a model: a stream or a reply comes in; it is printed on standard output, what its text does not show
--- is said on standard error, and what the model made is saved in files.
local console = require "lmm.cli.console"
local texts = require "lmm.text"

local answer = {}

local function end_line(text)
  if text:sub(-1) ~= "\n" then console.write "\n" end
end

--- Whether the model said or made something that is no text: then no text is no answer of its own.
local function has_more(reply)
  return reply.images or reply.audio or reply.refusal or reply.tool_calls
end

local open_line -- the piece that was printed last, unless a line has been ended since

--- Ends the line that is being printed: what comes next is not the same text.
function answer.break_line()
  if open_line then end_line(open_line) end
  open_line = nil
end

--- The same as console.show for pieces of an answer.
---@return fun(piece: string): string
local function make_safe()
  if console.is_terminal(1) then return require("lmm.cli.safe").in_pieces() end
  return function(piece) return piece end
end

--- Prints the pieces as they come. What had arrived stays, on lines of its own, however the stream ends.
---@param clear fun()  takes away what a terminal shows of waiting
---@return lmm.Reply? reply, string? message, lmm.Error? err
function answer.print_stream(stream, clear)
  local last, show = nil, make_safe()
  console.break_line = answer.break_line
  local ok, message, err = pcall(function()
    while true do
      local piece, message, err = stream:next()
      clear()
      if not piece then return message, err end
      last, open_line = piece, piece
      console.write(show(piece))
    end
  end)
  answer.break_line()
  if not ok then error(message, 0) end
  if message then return nil, message, err end
  local reply, why
  reply, why, err = stream:reply()
  if reply and not last and not has_more(reply) then console.write "\n" end
  return reply, why, err
end

--- Prints the answer once it is complete; where it cannot be used, as much of it as there is.
function answer.print_reply(reply, message, err)
  local text = reply and reply.text or err.partial or ""
  if text ~= "" or reply and not has_more(reply) then
    console.show(text)
    end_line(text)
  end
  return reply, message, err
end

--- Prints the value of a structured answer, on one line, as the model wrote it, without the fence around it. What is
--- none is not printed.
function answer.print_value(reply, message, err)
  if not reply then return nil, message, err end
  local text = reply.text:gsub("^%s+", "")
  if text:find "^```" then text = text:gsub("^`+%a*%s*", ""):match "^(.*[^%s`])" end
  console.show(texts.fold(console.chomp(text)) .. "\n")
  return reply
end

--- Prints the choice that the model has made.
function answer.print_choice(reply, message, err)
  if not reply then return nil, message, err end
  console.show(texts.fold(tostring(reply.value or reply.text)) .. "\n")
  return reply
end

local function is_stream(reply)
  return reply.raw[1] ~= nil -- maybe from a server that streams without being asked to
end

--- Prints the reply's own text. Line ends stand between its values only, never inside a JSON string.
---@param recorder table  see lmm.cli.record
function answer.print_json(reply, message, err, recorder)
  if not reply then return nil, message, err end
  local text = (is_stream(reply) or reply.cached) and require "lmm.json".encode(reply.raw) or recorder:body()
  console.show(texts.fold(console.chomp(text)) .. "\n")
  return reply
end

-- ---- what the model made ---------------------------------------------------------------------------------------

--- What the model made, in order.
---@return lmm.Part[]
local function media_of(reply)
  local media = {}
  for i, image in ipairs(reply.images or {}) do media[i] = image end
  media[#media + 1] = reply.audio
  return media
end

local names = { image = "a picture", audio = "a sound" }

--- "a picture (image/png, 37 x 23 pixels, 1234 bytes)"
local function describe_medium(part)
  local facts = { part.mime }
  if part.width then facts[#facts + 1] = ("%d x %d pixels"):format(part.width, part.height) end
  if part.bytes and #part.bytes > 0 then facts[#facts + 1] = ("%d bytes"):format(#part.bytes) end
  if part.url then facts[#facts + 1] = "at " .. texts.line(part.url, 500) end
  if part.transcript then facts[#facts + 1] = "which says: " .. texts.line(part.transcript, 2000) end
  return names[part.kind] .. (#facts > 0 and " (" .. table.concat(facts, ", ") .. ")" or "")
end

--- What the model made, in words.
function answer.media_words(reply)
  local said = {}
  for i, part in ipairs(media_of(reply)) do said[i] = describe_medium(part) end
  return table.concat(said, ", ")
end

--- Says on standard error what came beside the text.
function answer.tell_media(reply)
  local words = answer.media_words(reply)
  if words ~= "" then console.note("lmm: the model made %s: -o FILE saves what came", words) end
end

local extensions = {
  ["image/jpeg"] = "jpg", ["image/png"] = "png", ["image/webp"] = "webp", ["image/gif"] = "gif", ["image/bmp"] = "bmp",
  ["audio/wav"] = "wav", ["audio/mpeg"] = "mp3", ["audio/flac"] = "flac", ["audio/ogg"] = "ogg", ["audio/mp4"] = "m4a",
  ["audio/aac"] = "aac", ["audio/pcm"] = "pcm",
}

--- The file of the i-th medium: FILE, FILE-2.png ...
local function name_of(path, i, part)
  if i == 1 then return path end
  local base, extension = path:match "^(.*[^/])%.(%w+)$"
  return ("%s-%d.%s"):format(base or path, i, extensions[part.mime] or extension or "bin")
end

--- Whether FILE can be written is found out before anything is asked.
function answer.check_output(path)
  if path == "" then console.misuse "-o takes the name of a file" end
  local existing = io.open(path, "rb")
  if existing then existing:close() end
  local file, message = io.open(path, "ab")
  if not file then console.fail("cannot write to %s", message) end
  file:close()
  if not existing then os.remove(path) end
end

--- Saves what the model made. Files beside the one that was named are told.
---@return true? saved, string? message
function answer.save(reply, path)
  local count, missing = 0, nil
  for _, part in ipairs(media_of(reply)) do
    if part.bytes and part.bytes ~= "" then
      count = count + 1
      local name = name_of(path, count, part)
      local ok, message = part:save(name)
      if not ok then return nil, message end
      if count > 1 then console.note("lmm: %s is in %s", describe_medium(part), name) end
    else
      missing = describe_medium(part)
    end
  end
  if missing then return nil, ("%s came without its bytes, so that it is in no file"):format(missing) end
  if count == 0 then
    return nil, ("there is nothing to save in %s: the model made no picture and no sound"):format(path)
  end
  return true
end

-- ---- what is said of it on standard error ------------------------------------------------------------------------

--- What nobody would see in the text that was printed.
---@param note nil|fun(format: string, ...)  says it; on standard error unless given
function answer.warn(reply, note)
  note = note or console.note
  if reply.finish_reason == "length" then
    note "lmm: the answer is cut: it reached the most tokens (-p max_tokens=N)"
  elseif reply.finish_reason == "content_filter" then
    note "lmm: the answer is cut: the server's content filter ended it"
  elseif not reply.finish_reason and is_stream(reply) then
    note "lmm: the server did not say why the answer ended (no finish_reason): it may be cut"
  end
  if reply.refusal then note("lmm: the model refuses: %s", texts.line(reply.refusal)) end
  local calls = reply.tool_calls and #reply.tool_calls
  if calls then note("lmm: the model calls %d tool%s (--json shows all)", calls, calls > 1 and "s" or "") end
  if #reply.choices > 1 then
    note("lmm: this is the first of %d answers (--json shows all)", #reply.choices)
  end
end

--- What --verbose tells.
function answer.describe(reply, err)
  local timing = reply and reply.timing or { total = err.elapsed }
  local usage = (reply or err).usage or {}
  if reply then console.note("model: %s", reply.model or "unknown") end
  if reply then console.note("finish_reason: %s", reply.finish_reason or "none") end
  if timing.total then
    local first = timing.first_token and (", first token after %.3f s"):format(timing.first_token) or ""
    console.note("time: %.3f s%s", timing.total, first)
  end
  if reply and reply.cached then console.note "cached: the answer is from the log, nothing was sent" end
  local attempts = not (reply and reply.cached) and (reply or err).attempts
  if attempts then console.note("attempts: %d", attempts) end
  if usage.prompt_tokens then
    console.note("usage: %d prompt tokens, %d completion tokens", usage.prompt_tokens, usage.completion_tokens or 0)
  end
end

return answer
