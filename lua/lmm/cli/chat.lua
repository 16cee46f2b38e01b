--- `lmm chat`: questions and answers in the terminal, with media, until it is ended.
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"
local field = require "lmm.cli.field"
local logging = require "lmm.cli.logging"
local sources = require "lmm.cli.sources"

local chat = {}

local DESCRIPTION = [[
Talk with a model in the terminal: questions with pictures and other media, answers as they come.]]

local EPILOG = [[
A line is a question, or a command that begins with /. A line that ends in \ is
continued in the next one; what stands between """ and """ is one question, and
so is what is pasted. A path or a URL alone on a line is attached, once you
agree. Ctrl-C stops an answer, and keeps the chat; Ctrl-D ends it. Tab completes
commands, paths, models and names.

Where the standard input is no terminal, each line of it is a question.

Line editing is lua-readline's. The history is in $XDG_STATE_HOME/lmm/history; a
line that begins with a space is not kept there.

Commands:
%s

Examples:
   lmm chat
   lmm chat -i picture.jpg -s "Answer in one sentence."
   lmm chat --continue
   lmm chat --load chat.json -m other-model]]

local PICTURES = { "auto", "kitty", "iterm", "sixel", "none" }

local function picture_protocol(word)
  for _, known in ipairs(PICTURES) do
    if known == word then return word end
  end
  return nil, ("--pictures takes auto, kitty, iterm, sixel or none, not '%s'"):format(word)
end

--- What is said below the options: the commands, as their table has them.
local function epilog()
  local list = require("lmm.cli.chat.commands").help(76):gsub("[^\n]+", "   %0")
  return (EPILOG:gsub("%%s", function() return list end))
end

function chat.declare(parser)
  local command = parser:command("chat", DESCRIPTION, epilog()):summary "Talk with a model in the terminal."
  command:usage "Usage: lmm chat [OPTION]..."
  command:option("-i --image", "A picture for the first question: a path, or an http:, https:, file: or data: URL. May"
    .. " be given several times."):argname("SOURCE"):count("*"):action(sources.add "image")
  command:option("-a --attach", "A medium of any kind for it, told by its bytes."):argname("SOURCE"):count("*")
    :action(sources.add())
  command:option("-m --model", "The model to ask (default: the first that the server lists)."):argname "NAME"
  command:option("-s --system", "The system message, or @FILE."):argname "TEXT"
  connection.declare(command)
  logging.declare(command)
  command:option("-p --param", "A field of the requests, by the server's name, such as temperature=0. May be given"
    .. " several times; /set changes it."):argname("NAME=VALUE"):count("*"):convert(field.parse)
  command:option("--tool", "A file in Lua that returns a tool, or a list of them, for the model to call; see lmm ask"
    .. " --help. May be given several times."):argname("FILE.lua"):count("*")
  command:flag("--continue", "Go on with the last conversation in the log (see lmm log).")
  command:option("--load", "Go on with the conversation that was saved in FILE."):argname "FILE"
  local how = command:option("--pictures", "How pictures are shown: kitty, iterm, sixel (by chafa), none or auto, which"
    .. " finds out what the terminal can (default: auto)."):argname("HOW"):convert(picture_protocol)
  how.words = PICTURES
  command:option("--timeout", "How long to wait for a whole answer, all attempts included (default: no limit but 600"
    .. " until the first piece and 120 between two)."):argname("SECONDS"):convert(console.seconds)
  command:flag("-v --verbose", "Say after each answer which model gave it, how long it took and how many tokens it"
    .. " has.")
end

--- Lines by lua-readline where somebody sits at a terminal that can, else as they come.
local function new_reader(session, input)
  local readers = require "lmm.cli.chat.reader"
  if not input.is_terminal or os.getenv "TERM" == "dumb" then return readers.plain(input) end
  local history, problem = require("lmm.cli.chat.history").open(require("lmm.cli.chat.history").path())
  local complete = require("lmm.cli.chat.completion").new(session)
  local reader = readers.readline(input, complete, history)
  if not reader then
    session.screen:note "[there is no line editing: the Lua module readline is missing (apt install lua-readline)]"
    return readers.plain(input)
  end
  if problem then session.screen:note("[the history is not kept: %s]", problem) end
  return reader
end

local function is_terminal()
  local ok = os.execute "test -t 1 -a -t 2" -- 0 on Lua 5.1, true later
  return ok == 0 or ok == true
end

--- What it begins with, on the screen.
local function greet(session)
  if not session.reader.is_interactive then return end
  session.screen:note("[%s; /help lists the commands]", require("lmm.text").without_user(session.client.base_url))
  local last = session:chat():question(-1)
  if last and type(last[1]) == "string" then
    session.screen:note("[the last question was: %s]", require("lmm.text").line(last[1], 200))
  end
end

local SIGNALS = { sighup = 1, sigint = 2, sigterm = 15 }

local function converse(session, args, input)
  if #args.tool > 0 then require "lmm.cli.tool".add(session:chat(), args.tool) end
  local reader = new_reader(session, input)
  session.reader = reader
  greet(session)
  for _, part in ipairs(session.attached.parts) do session.pictures:show(part) end
  if args.media then session.screen:note("%s", session.attached:listing()) end
  local ok, signal = pcall(require("lmm.cli.chat.loop").run, session, reader)
  reader:close()
  if not ok then error(signal, 0) end
  if signal then error({ status = 128 + SIGNALS[signal] }, 0) end
  if session.has_failed and not reader.is_interactive then error({ status = 1 }, 0) end
  return true
end

function chat.run(args)
  local uv = require "luv"
  local start, message, err = require("lmm.cli.chat.start").start(args)
  if not start then return nil, message, err end
  local screen = require("lmm.cli.chat.screen").new { is_terminal = is_terminal(), term = os.getenv "TERM",
    no_color = os.getenv "NO_COLOR" }
  local session = require("lmm.cli.chat.session").new { uv = uv, client = start.client, chat = start.chat,
    screen = screen, change = start.change, clear = start.clear, is_verbose = args.verbose }
  session.pictures = require("lmm.cli.chat.pictures").new(screen, function(fn) return session:wait(fn) end,
    args.pictures ~= "auto" and args.pictures or nil)
  -- Before signals are listened to, so that Ctrl-C ends the wait for a fifo.
  for _, given in ipairs(args.media or {}) do session.attached:add_given(given.source, given.kind) end
  local input = require("lmm.cli.chat.input").new(uv)
  local close = require("lmm.cli.signals").listen(uv, { "sigcont", "sighup", "sigint", "sigterm" }, function(name)
    local is_end = SIGNALS[name] and (name ~= "sigint" or not input.is_terminal)
    if is_end then session.ended_by = name end
    if not (is_end and session:stop()) then input:on_signal(name) end
  end)
  local ok, done, why, problem = pcall(converse, session, args, input)
  input:close()
  close()
  if not ok then error(done, 0) end
  return done, why, problem
end

return chat
