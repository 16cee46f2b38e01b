--- What the commands read and write: standard input, files named on the command line, standard output and error.
--- A failure is raised as { status, message }, which ends the program.

local console = {}

local EPIPE = 32 -- on Linux and macOS

--- Ends the program with status 1.
function console.fail(format, ...)
  error({ status = 1, message = format:format(...) }, 0)
end

--- Ends the program with status 2: it was called wrongly.
function console.misuse(format, ...)
  error({ status = 2, message = format:format(...) }, 0)
end

--- Writes to standard output at once. Whoever closes the pipe early has read enough and is told nothing; usually the
--- signal SIGPIPE has ended the program by then.
function console.write(text)
  local ok, message, code = io.stdout:write(text)
  if ok then ok, message, code = io.stdout:flush() end
  if ok then return end
  if code == EPIPE then error({ status = 1 }, 0) end
  console.fail("cannot write to the standard output: %s", message)
end

--- Writes a line to standard error.
function console.note(format, ...)
  io.stderr:write(format:format(...), "\n")
end

local function is_terminal()
  local ok = os.execute "test -t 0" -- 0 on Lua 5.1, true later
  return ok == 0 or ok == true
end

--- All bytes of standard input. Before Lua 5.4 a read that Ctrl-C interrupts is begun anew by the C library, so there
--- another process reads, which Ctrl-C ends.
---@param what string  for the message, and for whoever sits at the terminal
function console.read(what)
  if is_terminal() then console.note("lmm: reading %s from the terminal; Ctrl-D ends it", what) end
  local restarts = _VERSION < "Lua 5.4"
  local input = restarts and assert(io.popen "exec cat 2>/dev/null") or io.stdin
  local bytes, message = input:read "*a"
  if restarts then input:close() end
  if not bytes then console.fail("cannot read %s from the standard input: %s", what, message) end
  return bytes
end

local function read_file(path, what)
  local file, message = io.open(path, "rb")
  if not file then console.fail("cannot read %s from %s", what, message) end
  local bytes
  bytes, message = file:read "*a"
  file:close()
  if not bytes then console.fail("cannot read %s from %s: %s", what, path, message) end
  return bytes
end

--- The text that an argument stands for: `@path` stands for that file's, without the line ends at its end.
---@param what string  for the message
function console.text(argument, what)
  if argument:sub(1, 1) ~= "@" then return argument end
  return console.chomp(read_file(argument:sub(2), what))
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

return console
