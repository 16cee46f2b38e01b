--- `lmm tokens`: how many tokens a text or a message has for a model, and which.
local console = require "lmm.cli.console"
local request = require "lmm.cli.request"
local sources = require "lmm.cli.sources"

local tokens = {}

local EPILOG = [[
Without TEXT, or with -, the text is read from standard input. @FILE stands for
the text of that file, @@ for an @ at the beginning. A TEXT that begins with -
comes after --.

Examples:
   lmm tokens "How many tokens are these?"
   lmm tokens --ids @prompt.txt
   lmm tokens -i picture.jpg "What is shown?"]]

function tokens.declare(parser)
  local command = parser:command("tokens", "Print how many tokens a text has for a model; with media or --chat "
    .. "those of a question of a chat, with what the model's template puts around it.", EPILOG)
  command:summary "Count the tokens of a text."
  command:usage "Usage: lmm tokens [OPTION]... [TEXT]"
  command:argument("text", "The text, or @FILE, or - for standard input."):args "?"
  request.declare_media(command)
  command:flag("--chat", "Count the text as a question of a chat.")
  command:flag("--ids", "Print the tokens' numbers, as a JSON list on one line.")
  request.declare(command)
end

--- What is to be counted: a text, or a list of one message, as `lmm ask` sends it.
local function subject(args)
  local given, is_missing = args.text, args.text == "-" or not args.text and not args.media
  for _, medium in ipairs(args.media or {}) do
    if is_missing and medium.source == "-" then
      console.misuse "the text and a medium cannot both come from standard input: give the text as an argument"
    end
  end
  local text = is_missing and sources.check_text(console.read "the text")
    or given and console.text(given, "the text")
  if not args.media and not args.chat then return text end
  local content = { text and { type = "text", text = text } or nil }
  for _, part in ipairs(sources.parts(args.media or {})) do content[#content + 1] = part end
  return { { role = "user", content = content } }
end

function tokens.run(args)
  local client, opts = request.client(args, { prompt = "TEXT gives it", messages = "TEXT and -i make them" })
  local reply, message, err = client:tokenize(subject(args), opts)
  if not reply then return nil, message, err end
  local json = require "lmm.json"
  console.write((args.ids and json.encode(json.array(reply.tokens)) or ("%d"):format(reply.count)) .. "\n")
  return true
end

return tokens
