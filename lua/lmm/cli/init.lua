--- The command `lmm`: its arguments come in; what it prints goes to standard output and standard error, and its exit
--- status goes out. 0: done; 1: failed; 2: wrong usage; 130: interrupted. An error is one line.
--
-- Everything is required inside `run`, so that Ctrl-C ends the program in good order however early it comes: the
-- stand-alone lua turns it into an error that is raised wherever the program happens to be.

local COMMANDS = {
  "ask", "chat", "batch", "grid", "embed", "tokens", "transcribe", "models", "log", "serve", "wait", "mock", "config",
  "completion", "manual",
}

--- Those that are done once they have made a call or a few.
local ASKING = { ask = true, embed = true, tokens = true, transcribe = true, models = true }

local DESCRIPTION = "Talk to multimodal models on servers with an OpenAI-compatible API."

local EPILOG = [[
Environment:
   OPENAI_BASE_URL       the server (default: http://127.0.0.1:8000/v1)
   OPENAI_API_KEY        its key; there is no option for it, since other users
                         of the machine can read a program's arguments
   XDG_CONFIG_HOME       where your configuration is (default: ~/.config), which
                         gives servers and models names; see lmm config --help

Exit status:
   0 done, 1 failed, 2 wrong usage, 130 interrupted; `lmm serve --help` has more

Examples:
   lmm ask -i picture.jpg "What is shown in the image?"
   lmm chat -i picture.jpg
   lmm models --url http://gpu1:8000/v1
   lmm serve --with 'lmm ask -i picture.jpg "What is it?"' -- vllm serve MODEL
   lmm mock --port 8000

`lmm help <command>` tells more of each command.]]

--- Raised in the form that `explain` reads: argparse itself would print its usage and exit with 1.
local function refuse(parser, message)
  local name = parser:get_usage():match "^Usage: ([%l ]*%l)"
  error({ status = 2, message = ("%s (see %s --help)"):format(message:gsub("\nDid", ": did"), name) }, 0)
end

local function print_version()
  print("lmm " .. require "lmm".version)
  os.exit(0)
end

local function declared(name)
  for _, command in ipairs(COMMANDS) do
    if command == name then return { name } end
  end
  return COMMANDS
end

--- The parser for a command, or for all of them. To declare a command its file and all that it requires are loaded.
---@param name string?  where it is no command's, all are declared
local function new_parser(name)
  package.preload.argparse = package.preload.argparse or require "lmm.compiled".find "argparse"
  local parser = require "argparse"("lmm", DESCRIPTION, EPILOG)
  parser:usage("Usage: lmm <command> [OPTION]... [ARGUMENT]"):help_max_width(80):command_target("command")
  parser:flag("--version", "Show the version and exit."):action(print_version)
  parser.error = refuse
  for _, command in ipairs(declared(name)) do require("lmm.cli." .. command).declare(parser) end
  return parser
end

--- The server's URL, as far as the words and the environment tell it before they are looked at closely.
local function likely_url(words)
  for i = #words, 2, -1 do
    local url = words[i]:match "^%-%-url=(.*)$" or words[i - 1] == "--url" and words[i]
    if url then return url end
  end
  return require "lmm.transport".environment "OPENAI_BASE_URL"
end

local function run(words)
  if words[1] == "--version" then print_version() end
  require "lmm.errors" -- by which, and by lmm.text, a failure is told, also where no file can be opened any more
  require "lmm.cli.console".open_descriptors()
  if ASKING[words[1]] then
    require "lmm.version".check "lmm.files" -- first: a C module that is loaded later waits until libcurl is there
    require "lmm.transport".hasten(require "lmm.loop".current(), likely_url(words))
  end
  if words[1] == "help" then words = words[2] and { words[2], "--help" } or { "--help" } end
  local parser = new_parser(words[1])
  if words[1] == "ask" or words[1] == "chat" then words = require "lmm.cli.sources".spread(words) end
  local args = parser:parse(words)
  return require("lmm.cli." .. args.command).run(args, new_parser)
end

local function is_interrupt(text)
  return text:find "interrupted!$" ~= nil
end

--- Whether an error has its place in one of lmm's own files. Those of a tool are the caller's.
local function is_ours(text)
  return text:find "^[^\n]-lua/[%d.]*/?lmm/[%w_/]+%.lua:%d+: " ~= nil
end

--- The exit status and the message for what was raised.
local function explain(problem)
  if type(problem) == "table" and problem.status then return problem.status, problem.message end
  local text = require "lmm.cli.console".words_of(problem)
  if is_interrupt(text) then return 130 end
  local misuse = require "lmm.errors".misuse_in(text)
  if misuse then return 2, require "lmm.cli.advice".of(misuse) end
  local missing = text:match "module '([^']+)' not found"
  if missing then
    local _, why = io.open "/dev/null"
    if why then return 1, ("the Lua module '%s' cannot be loaded: %s"):format(missing, why:gsub("^/dev/null: ", "")) end
    local message = require "lmm.errors".missing_package(text)
    return 1, message or ("the Lua module '%s' is not installed for %s"):format(missing, _VERSION)
  end
  if is_ours(text) then return 1, text .. " (this is a defect of lmm)" end
  return 1, (text:gsub("^([^\n]-):(%d+): ", "%1, line %2: ", 1))
end

--- Whether the Lua state is to be closed at the end. Where a command asks and no tool has run it need not be, and
--- whoever waits for the command waits for that. Its log is left as it is, or closed where much stands beside it, which
--- fails where Ctrl-C has left a row unread.
local function needs_closing(words)
  local loaded = package.loaded
  if not ASKING[words[1]] or loaded["lmm.cli.tool"] then return true end
  local logs = loaded["lmm.log"]
  return logs ~= nil and not pcall(logs.leave_all)
end

--- Runs the command.
---@param words string[]
---@return integer status, boolean needs_closing  as os.exit takes them
return function(words)
  local ok, done, message, err = pcall(run, words)
  local status = 0
  if not ok then
    status, message = explain(done)
  elseif not done then
    -- Where the library runs something in `pcall`, Ctrl-C comes back as the message of a failure. The same words from
    -- a server are no interrupt.
    status = 1
    if is_interrupt(message) and not (err and err.kind == "http") then status, message = 130, nil end
    if message then message = require "lmm.cli.advice".of(message, err) end
  end
  if status ~= 0 and message then io.stderr:write("lmm: ", require "lmm.text".fold(message), "\n") end
  return status, needs_closing(words)
end
