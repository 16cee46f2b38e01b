--- `lmm embed`: the vectors of texts and pictures, each as JSON on a line of its own.
local console = require "lmm.cli.console"
local request = require "lmm.cli.request"
local sources = require "lmm.cli.sources"

local embed = {}

local EPILOG = [[
Without TEXT, -i and -a, each line of standard input that is not blank is a
text. The vectors stand in the order of the texts, those of media behind them.
@FILE stands for the text of that file, @@ for an @ at the beginning. A TEXT
that begins with - comes after --.

Examples:
   lmm embed "a cat" "a dog"
   lmm embed -p dimensions=256 <lines.txt >vectors.jsonl
   lmm embed -i picture.jpg --url http://gpu1:8000/v1]]

function embed.declare(parser)
  local command = parser:command("embed", "Print the vectors of texts and media, each as a JSON list on a line of "
    .. "its own.", EPILOG):summary "Print the vectors of texts and pictures."
  command:usage "Usage: lmm embed [OPTION]... [TEXT]..."
  command:argument("text", "What to embed, or @FILE."):args "*"
  request.declare_media(command)
  request.declare(command)
end

local BATCH = 256 -- texts in one request, so that endless input is printed as it goes

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\r\n]+" do
    if line:find "%S" then lines[#lines + 1] = line end
  end
  return lines
end

--- Prints the vectors of the items from one to another.
local function print_vectors(client, items, first, last, opts)
  local batch = {}
  for i = first, last do batch[#batch + 1] = items[i] end
  local reply, message, err = client:embed(batch, opts)
  if not reply then return nil, message, err end
  for _, vector in ipairs(reply.vectors) do console.write(require "lmm.json".encode(vector) .. "\n") end
  return true
end

function embed.run(args)
  local client, opts = request.client(args, { input = "TEXT and -i give it", messages = "TEXT and -i make them" })
  local items = request.texts(args.text, "the text")
  if #items == 0 and not args.media then
    items = lines_of(sources.check_text(console.read "the texts"))
    if #items == 0 then console.misuse "there is nothing to embed: no TEXT, and the standard input has none" end
  end
  for _, part in ipairs(sources.parts(args.media or {})) do items[#items + 1] = part end
  for first = 1, #items, BATCH do
    local done, message, err = print_vectors(client, items, first, math.min(first + BATCH - 1, #items), opts)
    if not done then return nil, message, err end
  end
  return true
end

return embed
