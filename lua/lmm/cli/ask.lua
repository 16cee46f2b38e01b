--- `lmm ask`: one question, with media, to a model; the answer is printed as it comes.
local answer = require "lmm.cli.answer"
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"
local field = require "lmm.cli.field"
local logging = require "lmm.cli.logging"
local sources = require "lmm.cli.sources"

local ask = {}

local DESCRIPTION = [[
Ask a model a question, about pictures or without any, and print its answer as it comes.]]

local EPILOG = [[
QUESTION is one argument, so put it in quotes. @FILE stands for the text of that
file, @@ for an @ at the beginning. Without a question, or with -, it is read
from standard input. With a question, text that is piped in goes before it, with
a blank line between (</dev/null where nothing should). An argument that begins
with - comes after --.

-i and -a take several files, as in -i *.jpg, whose names have an ending.

The VALUE of -p is read as JSON where it is JSON (a number, true, false, null,
"...", [...], {...}); anything else is a text. @FILE stands for what the file
holds, without its last line end, @@ for an @ at the beginning.

The file of --tool is a program of yours, as in
   return { name = "now", description = "The time and the date.",
            run = function(args) return os.date() end }
with parameters = {...}, a JSON schema, where it takes any (args.NAME).

Examples:
   lmm ask -i picture.jpg "What is shown in the image?"
   lmm ask -i a.jpg -i https://example.org/b.png "What is the difference?"
   lmm ask -s "Answer in French." -p temperature=0 -p max_tokens=100 "Why?"
   lmm ask -p 'stop=["\n"]' --json "Name a colour." | jq .usage
   git diff | lmm ask "Explain this change."
   lmm ask -a talk.mp3 -a slides.pdf "Do they agree?"
   lmm ask --schema animal.json -i picture.jpg "What is it?" | jq .name
   lmm ask --choice cat,dog,other -i picture.jpg "What is it?"
   lmm ask --tool clock.lua "How long is it until noon?"
   lmm ask -i photo.heic --max-side 1568 "What is shown in the image?"
   lmm ask -a report.pdf --page 1-3 "What does the table say?"
   lmm ask @prompt.txt -i picture.jpg -v
   grim - | lmm ask -i - "What does the error on my screen mean?"
   git diff | lmm ask -m fast -t review -D language=Lua
   lmm ask --save chat.json -i picture.jpg "What is shown in the image?"
   lmm ask --continue chat.json "And in the background?"
   lmm ask --again 12 -m other-model]]

--- A whole number from 1 to `most`.
local function whole(name, most)
  return function(text)
    local number = text:find "^%d+$" and tonumber(text)
    if number and number >= 1 and number <= most then return number end
    return nil, ("%s takes a whole number from 1 to %d, not '%s'"):format(name, most, text)
  end
end

--- "3", "1-3", "2-" or "all".
local function pages(text)
  if text == "all" then return {} end
  local first, last = text:match "^(%d+)%-(%d*)$"
  first = tonumber(first or text:match "^%d+$")
  last = first and (last == nil and first or tonumber(last))
  if first and first >= 1 and (not last or last >= first) then return { first = first, last = last } end
  return nil, ("--page takes a page or a range, as in 3, 1-3, 2- or all, not '%s'"):format(text)
end

function ask.declare(parser)
  local command = parser:command("ask", DESCRIPTION, EPILOG):summary "Ask a question, about pictures or without any."
  command:usage "Usage: lmm ask [OPTION]... [QUESTION]"
  command:argument("question", "The question, or @FILE, or - for standard input."):args "*"
  command:option("-i --image", "A picture: a path, an http:, https:, file: or data: URL, or - for standard input. May"
    .. " be given several times; the order is kept."):argname("SOURCE"):count("*"):action(sources.add "image")
  command:option("-a --attach", "A medium of any kind, told by its bytes: a picture, a video, a sound, a PDF or a text"
    .. " file. Sources are as for -i; a URL is told by its ending."):argname("SOURCE"):count("*"):action(sources.add())
  command:option("--max-side", "Shrink pictures until no side is longer, before they are sent; they go upright and"
    .. " without metadata then. Needs libvips."):argname("PIXELS"):convert(whole("--max-side", 100000))
  command:option("--page", "Send pages of a PDF as pictures: 3, or 1-3, or all. Needs libvips."):argname("PAGES")
    :convert(pages)
  command:option("--frames", "Send so many pictures of a video, spread evenly over it. Needs the program ffmpeg.")
    :argname("N"):convert(whole("--frames", 1000))
  command:option("-m --model", "The model to ask (default: the first that the server lists)."):argname "NAME"
  command:option("-s --system", "The system message, or @FILE."):argname "TEXT"
  command:option("-t --template", "Ask what a template of your configuration says: {stdin} in it stands for standard"
    .. " input, {question} for QUESTION, which else follows it, {NAME} for what -D gives."):argname "NAME"
  command:option("-D --define", "What fills a hole of the template, or @FILE. May be given several times.")
    :argname("NAME=TEXT"):count("*"):convert(function(word) return require "lmm.cli.templated".parse(word) end)
  connection.declare(command)
  logging.declare(command, true)
  command:option("-p --param", "A field of the request, by the server's name, such as temperature=0; schema, choice,"
    .. " regex, grammar, retry and timeout as the library takes them. May be given several times.")
    :argname("NAME=VALUE"):count("*"):convert(field.parse)
  command:option("--schema", "A file with a JSON schema that the answer is to follow; it is printed as one line of"
    .. " JSON. Checked are types, required and further fields, enum, const and items, and nothing else.")
    :argname "FILE"
  command:option("--choice", "Texts with commas between them, one of which the answer is to be; that one is printed.")
    :argname "TEXT,TEXT"
  command:option("--tool", "A file in Lua that returns a tool, or a list of them, for the model to call; see below. May"
    .. " be given several times."):argname("FILE.lua"):count("*")
  command:option("-o --output", "Save the picture or the sound that the model makes in FILE; further ones beside it, as"
    .. " FILE-2.png."):argname "FILE"
  command:option("--save", "Save the conversation in FILE once the question is answered: texts, fields, and media by"
    .. " their paths. A file that is no saved conversation is not overwritten."):argname "FILE"
  command:option("--continue", "Ask in the conversation that was saved in FILE, and save it there again, or where"
    .. " --save says. Fields that -p sets are saved with it. Where the question is empty, calls that are unanswered"
    .. " are run, with the tools of --tool. -p 'media={\"OLD\":\"NEW\"}' says where folders of media are"
    .. " now."):argname "FILE"
  command:option("--again", "Ask again what the exchange ID of lmm log has asked: its messages, media and fields, and"
    .. " its model and server unless others are named. A QUESTION takes the place of its own."):argname("ID")
    :convert(whole("--again", 2 ^ 53))
  command:option("--timeout", "How long to wait for the whole answer, all attempts included (default: no limit but"
    .. " 600 until the first piece and 120 between two)."):argname("SECONDS")
    :convert(console.seconds)
  command:flag("--no-stream", "Print the answer when it is complete.")
  command:flag("--json", "Print the server's reply as it is, as JSON on one line. Implies --no-stream.")
  command:flag("-v --verbose", "Say on standard error, after the answer, which model gave it, why it ended, how long it"
    .. " took, in how many attempts, and how many tokens it has; before it, which tools are called.")
end

--- Only one thing can come from standard input, and there is one question.
local function check(args)
  local asks_again = args.again and not args.question[1]
  local readers = { (args.question[1] or "-") == "-" and not asks_again and "the question" or nil }
  for _, given in ipairs(args.media or {}) do
    if given.source == "-" then readers[#readers + 1] = given.kind and "a picture" or "a medium" end
  end
  if #args.question > 1 then
    console.text(args.question[1], "the question") -- a picture in its place is told as one
    console.misuse("one question is taken, not %d arguments: put it in quotes", #args.question)
  elseif #readers > 1 then
    console.misuse("%s and %s cannot both come from standard input%s", readers[1], readers[2],
      readers[1] == "the question" and ": give the question as an argument" or "")
  elseif args["continue"] and args.system then
    console.misuse "-s is for a conversation that begins: the one of --continue has its own system message"
  elseif args.again and (args.system or args["continue"]) then
    console.misuse("--again asks what was asked, and %s something else: give one", args.system and "-s" or "--continue")
  end
end

local function reads_medium(args)
  for _, given in ipairs(args.media or {}) do
    if given.source == "-" then return true end
  end
end

--- The question; nil where there is none, and the conversation is to go on from what is unanswered in it.
local function read_question(args)
  if args.again and not args.question[1] then return nil end
  local given = args.question[1] or "-"
  local question
  if given == "-" then
    question = console.chomp(sources.check_text(console.read "the question"))
  else
    question = console.text(given, "the question")
  end
  if not question:find "%S" then
    if args["continue"] and not args.media then return nil end
    console.misuse "the question is empty"
  end
  if given == "-" or reads_medium(args) or not console.is_fed() then return question end
  local before = console.chomp(sources.check_text(console.read "what the question is about"))
  return before == "" and question or before .. "\n\n" .. question
end

--- Fields that options of their own set, or that are no choice.
local reserved = { system = "-s gives it", stream = "see --no-stream", messages = "QUESTION, -i and -s make them",
  headers = "-H gives them", on_call = "it is a function", stop_when = "it is a function" }

--- The texts between commas, without the blanks around them.
local function read_choice(words)
  local choices = {}
  for word in (words .. ","):gmatch "([^,]*)," do choices[#choices + 1] = word:match "^%s*(.-)%s*$" end
  return choices
end

--- The options that say what the answer is to be.
local readers = { schema = function(path) return require "lmm.cli.schema_file".read(path) end, choice = read_choice }

--- What every request of the conversation carries, and its system message.
local function read_fields(args)
  local fields = {}
  for _, given in ipairs(args.param) do
    if reserved[given.name] then console.misuse("-p does not set '%s': %s", given.name, reserved[given.name]) end
    fields[given.name] = given.value
  end
  for name, read in pairs(readers) do
    if args[name] and fields[name] ~= nil then
      console.misuse("--%s and -p %s are two ways to say the same: give one", name, name)
    end
    if args[name] then fields[name] = read(args[name]) end
  end
  if args.system then fields.system = console.text(args.system, "the system message") end
  return fields
end

--- Called before each tool is run.
local function on_call(is_verbose)
  return function(call)
    answer.break_line()
    if is_verbose then require "lmm.cli.tool".note(call) end
    return true
  end
end

--- The conversation to ask in, a new one or one that was saved; nil, a message and an error. Where it cannot be saved
--- afterwards is told before anything is asked.
---@param fields table
---@param again lmm.cli.Again?
---@return lmm.Conversation? chat, string? message, lmm.Error? err
local function open(client, args, fields, again)
  local err = args.save and require("lmm.conversation").check_target(args.save)
  if err then return nil, err.message, err end
  if args["continue"] then return client:load(args["continue"], fields) end
  for name, value in pairs(again and again.fields or {}) do
    if fields[name] == nil then fields[name] = value end
  end
  return client:conversation(fields)
end

local unpack = table.unpack or unpack -- luacheck: ignore

--- A client for the question.
---@param again lmm.cli.Again?
local function connect(args, on_retry, again)
  local options = logging.apply(connection.options(args, nil, again and again.server), args)
  options.model, options.timeout, options.retry = args.model, args.timeout, { on_retry = on_retry }
  options.media_cache = false -- one question sends each medium once
  if again then options.model = options.model or again.model end
  return require "lmm".connect(options)
end

--- What is asked: the question and its media, or those of an exchange before.
---@return (string|table|lmm.Part)[]
local function parts_of(args, question, again)
  local media = sources.parts(args.media or {}, { max_side = args.max_side, pages = args.page, frames = args.frames })
  local out = again and again.question or { question }
  for _, part in ipairs(media) do out[#out + 1] = part end
  return out
end

function ask.run(args)
  if args.template then require "lmm.cli.templated".apply(args) end
  if #args.define > 0 and not args.template then console.misuse "-D fills a template: -t names one" end
  check(args)
  if args.output then answer.check_output(args.output) end
  local on_retry, clear = require "lmm.cli.progress".retries()
  local question = args.again and read_question(args)
  local again = args.again and require "lmm.cli.again".read(args.again, question)
  local client = connect(args, on_retry, again)
  local fields = read_fields(args)
  if type(fields.retry) == "table" then fields.retry.on_retry = on_retry end
  if #args.tool > 0 then fields.on_call = on_call(args.verbose) end
  local chat, message, err = open(client, args, fields, again)
  if not chat then return nil, message, err end
  if #args.tool > 0 then require "lmm.cli.tool".add(chat, args.tool) end
  local asked = parts_of(args, question or read_question(args), again)
  local reply
  local print_value = args.schema and answer.print_value or args.choice and answer.print_choice
  if args.json or print_value or args.no_stream then
    local recorder = args.json and require "lmm.cli.record".new(client)
    reply, message, err = chat:ask(unpack(asked))
    clear()
    local print_answer = args.json and answer.print_json or print_value or answer.print_reply
    reply, message, err = print_answer(reply, message, err, recorder)
  else
    reply, message, err = answer.print_stream((chat:stream(unpack(asked))), clear)
  end
  if reply and not args.json then
    answer.warn(reply)
    if not args.output then answer.tell_media(reply) end
  end
  if args.verbose then answer.describe(reply, err) end
  local done = reply and true
  if reply and args.output then done, message, err = answer.save(reply, args.output) end
  local target = args.save or args["continue"]
  if reply and target then
    local is_saved, why, problem = chat:save(target)
    if not is_saved then return nil, why, problem end
  end
  return done, message, err
end

return ask
