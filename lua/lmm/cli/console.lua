--- What the commands read and write: standard input, files named on the command line, standard output and error.
--- A failure is raised as { status, message }, which ends the program with that exit status.

local console = {}

local EPIPE = 32 -- on Linux and macOS

local PIPE_BUF = 4096 -- bytes, of which a pipe takes all or none, so that Ctrl-C works while nobody reads the pipe

local PIECE = 64 * 1024 -- bytes that are read at a time

local MAX_INPUT = 1024 * 1024 * 1024 -- bytes that are read from one place: endless input ends in good order

--- Where descriptors 0 to 2 are closed, the next sockets that are opened would get their numbers, and what is printed
--- would be sent. This opens them on a file that can only be read, so that writing to them fails.
function console.open_descriptors()
  for _ = 1, 3 do console.open_files = { console.open_files, io.open "/dev/null" } end
end

--- All bytes of a file, or nil and why not.
local function read_all(file)
  local pieces, total = {}, 0
  while total <= MAX_INPUT do
    local piece, message = file:read(PIECE)
    if not piece and message then return nil, message end
    pieces[#pieces + 1], total = piece, total + #(piece or "")
    -- A short piece is the last one, and a terminal would have to be told its end again.
    if not piece or #piece < PIECE then return table.concat(pieces) end
  end
  return nil, "it has more than 1 GiB"
end

--- Ends the program with status 1.
function console.fail(format, ...)
  error({ status = 1, message = format:format(...) }, 0)
end

--- Ends the program with status 2: it was called wrongly.
function console.misuse(format, ...)
  error({ status = 2, message = format:format(...) }, 0)
end

--- Refuses an option that a word of a command does not heed: it might be meant.
---@param args table
---@param options string[]  those of the command
---@param heeded table<string, true>?  by this word
---@param words string  the command and this word
function console.check_options(args, options, heeded, words)
  for _, name in ipairs(options) do
    local given = args[name]
    local is_given = given and (type(given) ~= "table" or given[1] ~= nil)
    if is_given and not (heeded and heeded[name]) then
      console.misuse("--%s is nothing for %s (see %s --help)", (name:gsub("_", "-")), words, words:match "^lmm %S+")
    end
  end
end

--- What was raised, as a text.
function console.words_of(raised)
  local is_told, text = pcall(tostring, raised)
  if not is_told or type(raised) == "table" and text:find "^table: " then return "a table was raised" end
  return text
end

--- Writes to standard output at once. Whoever closes the pipe early has read enough and is told nothing; usually the
--- signal SIGPIPE has ended the program by then.
function console.write(text)
  for start = 1, #text, PIPE_BUF do
    local ok, message, code = io.stdout:write(text:sub(start, start + PIPE_BUF - 1))
    if ok then ok, message, code = io.stdout:flush() end
    if not ok and code == EPIPE then error({ status = 1 }, 0) end
    if not ok then console.fail("cannot write to the standard output: %s", message) end
  end
end

--- A stranger's text, so that it steers no terminal.
local function safe(text)
  return require "lmm.cli.safe".text(text)
end

--- Writes a line to standard error.
function console.note(format, ...)
  io.stderr:write(safe(format:format(...)), "\n")
end

--- Ends the line of an answer that is being printed, if there is one. Whoever prints answers sets it.
function console.break_line() end

--- What a path or a descriptor is: "file", "fifo", "terminal", ...
---@param of string|integer
---@return string?
local function kind(of)
  return (require "lmm.version".check "lmm.files".kind(of))
end

--- Whether a descriptor is a terminal's.
---@param descriptor integer
function console.is_terminal(descriptor)
  return kind(descriptor) == "terminal"
end

--- Writes what a stranger wrote to standard output: on a terminal, which it is not to steer, control characters are
--- shown; anywhere else it goes as it came.
function console.show(text)
  console.write(console.is_terminal(1) and safe(text) or text)
end

--- Whether somebody has put something on standard input: a pipe or a file stands there.
function console.is_fed()
  return kind(0) == "fifo" or kind(0) == "file"
end

function console.is_fifo(path)
  return kind(path) == "fifo"
end

--- All bytes of standard input. Before Lua 5.4 a read that Ctrl-C interrupts is begun anew by the C library, so there
--- another process reads, which Ctrl-C ends.
---@param what string  for the message, and for whoever sits at the terminal
function console.read(what)
  if console.is_terminal(0) then console.note("lmm: reading %s from the terminal; Ctrl-D ends it", what) end
  local restarts = _VERSION < "Lua 5.4"
  local input = restarts and assert(io.popen "exec cat 2>/dev/null") or io.stdin
  local bytes, message = read_all(input)
  if restarts then input:close() end
  if not bytes then console.fail("cannot read %s from the standard input: %s", what, message) end
  return bytes
end

--- All bytes of a file or a fifo.
---@param what string  for the message
function console.read_file(path, what)
  local file, message
  if console.is_fifo(path) and _VERSION < "Lua 5.4" then -- see console.read
    file = assert(io.popen("exec cat <" .. require "lmm.text".quote(path) .. " 2>/dev/null"))
  else
    file, message = io.open(path, "rb")
  end
  if not file then console.fail("cannot read %s from %s", what, message) end
  local bytes
  bytes, message = read_all(file)
  file:close()
  if not bytes then console.fail("cannot read %s from %s: %s", what, path, message) end
  return bytes
end

--- The text that an argument stands for: `@path` stands for that file's, without the line ends at its end; `@@text` for
--- `@text`.
---@param what string  for the message
function console.text(argument, what)
  if argument:sub(1, 1) ~= "@" then return argument end
  if argument:sub(2, 2) == "@" then return argument:sub(2) end
  if argument == "@" then console.misuse("%s is in no file: a path follows @", what) end
  local path = argument:sub(2)
  return console.chomp(require "lmm.cli.sources".check_text(console.read_file(path, what), path))
end

function console.chomp(text)
  local stop = #text
  while stop > 0 and text:find("^[\r\n]", stop) do stop = stop - 1 end
  return text:sub(1, stop)
end

--- For argparse: a number above 0, or nil and why not.
function console.seconds(text)
  local number = tonumber(text)
  if number and number > 0 then return number end
  return nil, ("'%s' is not a number of seconds above 0"):format(text)
end

local MOST_WHOLE = 2 ^ 53 -- from it on a number of Lua's may not be the one that was written

--- For argparse: a whole number, at least `least`.
function console.whole(least)
  return function(text)
    local number = text:find "^%d+$" and tonumber(text)
    if number and number >= MOST_WHOLE then return nil, ("'%s' is too large"):format(text) end
    if number and number >= least then return number end
    return nil, ("'%s' is not a whole number from %d on"):format(text, least)
  end
end

return console
