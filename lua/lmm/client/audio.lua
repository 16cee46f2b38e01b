--- What is said in a sound: a file comes in; its text goes out, in its language or in English (POST
--- /audio/transcriptions and /audio/translations, multipart, the file read while it is sent).
local answers = require "lmm.answer"
local calls = require "lmm.call"
local endpoint = require "lmm.client.endpoint"
local errors = require "lmm.errors"
local forms = require "lmm.form"
local parts = require "lmm.part"
local replies = require "lmm.reply"
local request = require "lmm.request"

local audio = {}

---@class lmm.Transcription : lmm.EndpointReply
---@field text string        what `tostring` gives
---@field segments table[]?  these as far as the server tells, each as it sent it; so is every other field
---@field words table[]?
---@field duration number?   seconds
---@field language string?

local OWN = { file = true }

--- Formats in which the text itself is the reply, whether it comes in JSON or alone.
local PLAIN = { text = true, srt = true, vtt = true }

local BROKEN_OFF = "it ended without [DONE] and without a finish_reason"

--- What one event of a stream says: a piece of the text, and whether it is the last word. Their form is vLLM's, that of
--- a chat, or OpenAI's.
---@return string? piece, boolean? is_last, string? whole
local function read_event(event)
  if type(event) ~= "table" then return nil end
  local choice = type(event.choices) == "table" and event.choices[1]
  if type(choice) ~= "table" then
    local is_last = event.type == "transcript.text.done"
    return not is_last and event.delta or nil, is_last, is_last and event.text or nil
  end
  return type(choice.delta) == "table" and choice.delta.content or nil, type(choice.finish_reason) == "string"
end

--- What the events of a stream add up to.
---@return table? value, table? failure
local function read_events(text, head, limits)
  local events = answers.events(head, { limits = limits })
  events.reader:feed(text)
  events:finish()
  local pieces, said, is_whole, whole = {}, {}, false, nil
  local kind, failure = events:next()
  while kind do
    local event = events:event()
    local piece, is_last, all = read_event(event)
    if type(piece) == "string" then pieces[#pieces + 1] = piece end
    if type(all) == "string" then whole = all end
    is_whole = is_whole or is_last
    if type(event) == "table" then
      for _, name in ipairs { "usage", "model", "id" } do said[name] = event[name] or said[name] end
    end
    kind, failure = events:next()
  end
  said.text = whole or table.concat(pieces)
  if not failure and not is_whole and not (events.is_done and said.text ~= "") then
    failure = { kind = "truncated", phase = "receive", reason = BROKEN_OFF }
  end
  if failure then failure.partial = said.text end
  return not failure and said or nil, failure
end

--- What a reply says, by its first bytes: events, JSON, or where `is_plain` a text alone.
---@return table? value, table? failure
local function read_value(text, head, limits, is_plain)
  local start = text:match "^\239?\187?\191?%s*()" -- behind a byte order mark
  if text:find("^data:", start) or text:find("^event:", start) or text:find("^:", start) then
    return read_events(text, head, limits)
  end
  is_plain = is_plain and text ~= "" and not (head.headers["content-type"] or ""):lower():find("html", 1, true)
  if is_plain and not text:find("^{", start) then return { text = text } end
  local value, failure = endpoint.decode(text, limits, head.status)
  if is_plain and failure and failure.kind == "protocol" then return { text = text } end
  if value and type(value.text) ~= "string" then failure = endpoint.failure "a transcription without a text" end
  return not failure and value or nil, failure
end

--- The form to send.
---@return lmm.Written? written, lmm.Error? err
local function write(part, fields, model)
  local form = { file = part, model = model }
  for name, value in pairs(fields) do
    local is_list = type(value) == "table" and value[1] ~= nil and not name:find "%[%]$"
    form[is_list and name .. "[]" or name] = value
  end
  local body, err, content_type = request.any(forms.new(form))
  if not body then return nil, err end
  return { body = body, model = model, content_type = content_type, parts = { part }, fields = form }
end

---@return lmm.Part? part, lmm.Error? err
local function part_of(source, where)
  if parts.is(source) then return source end
  if type(source) ~= "string" then errors.misuse("%s takes a path or a part, not a %s", where, type(source)) end
  if not source:lower():find "^https?://" then return parts.new("file", source) end
  return nil, errors.new { kind = "invalid", message = ("'%s' is a URL, which no server fetches here: download it and "
    .. "pass its path"):format(source) }
end

local function ask(self, where, path, source, opts)
  local ours, fields = endpoint.split(self, where, opts, OWN)
  local part, err = part_of(source, where)
  if not part then return nil, err end
  local written
  written, err = write(part, fields) -- first of all: what cannot be sent is told before anything is
  if not written then return nil, err end
  local call_opts = calls.options(self, ours)
  local model
  model, err = endpoint.model(self, fields, call_opts)
  if not model then return nil, err end
  written, err = write(part, fields, model)
  if not written then return nil, err end
  local is_plain = PLAIN[fields.response_format] or false
  return endpoint.send(self, path, written, call_opts, function(text, head)
    local value, failure = read_value(text, head, self.limits, is_plain)
    if not value then return nil, failure end
    value.duration = tonumber(value.duration) -- vLLM and OpenAI write it as a text
    return replies.new(endpoint.common(value, value))
  end)
end

--- The words that are said in a sound, or in the sound of a film.
---@param self lmm.Client
---@param source lmm.Input  a path, or a part with its bytes
---@param opts lmm.TranscribeOptions?
---@return lmm.Transcription? reply  with `response_format` "text", "srt" or "vtt" its `text` is that
---@return string? message
---@return lmm.Error? err
function audio.transcribe(self, source, opts)
  return errors.public(ask(self, "client:transcribe", "audio/transcriptions", source, opts))
end

--- The same in English.
---@param self lmm.Client
---@param source lmm.Input
---@param opts lmm.TranscribeOptions?
---@return lmm.Transcription? reply, string? message, lmm.Error? err
function audio.translate(self, source, opts)
  return errors.public(ask(self, "client:translate", "audio/translations", source, opts))
end

return audio
