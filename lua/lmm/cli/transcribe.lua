--- `lmm transcribe`: what is said in a sound, as text.
local console = require "lmm.cli.console"
local request = require "lmm.cli.request"

local transcribe = {}

local EPILOG = [[
Examples:
   lmm transcribe talk.mp3
   lmm transcribe --format srt talk.mp4 >talk.srt
   lmm transcribe --english -m whisper -p temperature=0 - <talk.wav]]

local FORMATS = { "text", "srt", "vtt", "json", "verbose_json" }

function transcribe.declare(parser)
  local command = parser:command("transcribe", "Print what is said in a sound, or in the sound of a film.", EPILOG)
  command:summary "Print what is said in a sound."
  command:usage "Usage: lmm transcribe [OPTION]... FILE"
  command:argument("file", "The sound or the film, or - for standard input.")
  command:option("--format", "The form of what is printed: text, srt, vtt, json or verbose_json (default: text). Which "
    .. "of them there are is the server's choice."):argname("NAME"):choices(FORMATS)
  command:option("-l --language", "The language that is spoken, such as en."):argname "CODE"
  command:flag("--english", "Translate it into English.")
  request.declare(command)
end

--- What the file is, or the sound on standard input.
local function source_of(path)
  if path ~= "-" then return path end
  local bytes = console.read "the sound"
  if bytes == "" then console.fail "there is no sound on standard input: it is empty" end
  return require "lmm".file { bytes = bytes }
end

function transcribe.run(args)
  local client, opts = request.client(args, { file = "FILE gives it", response_format = "--format gives it",
    language = "-l gives it", stream = "what is printed is whole" })
  opts.response_format, opts.language = args.format or "text", args.language
  local recorder
  if opts.response_format:find "json" then
    recorder = require "lmm.cli.record".new(client)
  end
  local method = args.english and client.translate or client.transcribe
  local reply, message, err = method(client, source_of(args.file), opts)
  if not reply then return nil, message, err end
  local text = recorder and require "lmm.text".fold(console.chomp(recorder:body())) or reply.text
  console.show(text:find "\n$" and text or text .. "\n")
  return true
end

return transcribe
