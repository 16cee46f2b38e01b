--- A server's key: where it is kept comes in, and the function that lmm.connect takes as api_key goes out. The key is
--- fetched when it is first needed and kept for the process; it stands in no message.
local texts = require "lmm.text"

local key = {}

--- The words of a command. A text is split at its blanks, and holds nothing that a shell would do something with.
---@param command string|string[]
---@return string[]? words, string? problem
function key.words(command)
  if type(command) == "table" then
    for i, word in ipairs(command) do
      if type(word) ~= "string" or word:find "%z" then return nil, ("word %d is no text"):format(i) end
    end
    if #command == 0 then return nil, "it has no words" end
    return command
  end
  local special = command:match "[\"'`$\\|&;<>()*?%[%]#~{}%c]"
  if special then
    return nil, ("no shell runs it, so that %s stands for itself: write the words as a list, as in "
      .. "{ \"pass\", \"show\", \"my key\" }"):format(special)
  end
  local words = {}
  for word in command:gmatch "%S+" do words[#words + 1] = word end
  if #words == 0 then return nil, "it is empty" end
  return words
end

local MOST = 65536 -- bytes of a key

--- Seconds that a command may take. Where the machine has no timeout of GNU's, it may take any time.
key.timeout = 60

local readers = {}

-- The shell only starts the command: each word is quoted. Its errors go where ours go, but a command that is not there
-- is told by its status alone. It gets no standard input, which may be the question. In the foreground it may ask at
-- the terminal, and Ctrl-C ends it.
local SCRIPT = [[
command -v %s >/dev/null || { printf '\n[127]\n'; exit; }
bound=; timeout --foreground 1 true 2>/dev/null && bound='timeout --foreground %g'
$bound %s </dev/null; printf '\n[%%d]\n' $?]]

--- What is printed up to the line that tells the status: what the command has started may live on, and hold the pipe.
---@return string text, string? status
local function read_output(pipe)
  local bytes = {}
  repeat
    local byte = pipe:read(1)
    bytes[#bytes + 1] = byte
    local status = byte == "\n" and table.concat(bytes, "", math.max(1, #bytes - 6)):match "\n%[(%d+)%]\n$"
    if status then return table.concat(bytes, "", 1, #bytes - #status - 4), status end
  until not byte or #bytes > MOST
  return table.concat(bytes)
end

local ENDED = { ["124"] = "took longer than %g seconds", ["127"] = "is not there", ["130"] = "was interrupted" }

--- What the command prints on its first line.
function readers.command(command)
  local quoted = {}
  for i, word in ipairs((key.words(command))) do quoted[i] = texts.quote(word) end
  local name = table.concat(key.words(command), " ", 1, 1)
  local pipe = io.popen(SCRIPT:format(quoted[1], key.timeout, table.concat(quoted, " ")))
  local text, status = read_output(pipe)
  pipe:close()
  if #text > MOST then return nil, ("the command '%s' prints more than %d bytes"):format(name, MOST) end
  if status == "0" then return text, ("the command '%s' printed nothing"):format(name) end
  local how = ENDED[status or "130"] or "ended with status " .. status
  return nil, ("the command '%s' %s"):format(name, how:format(key.timeout))
end

function readers.env(name)
  return require "lmm.transport".environment(name) or "", ("the variable %s is not set"):format(name)
end

function readers.file(path)
  local home = path:match "^~(/.*)$"
  path = home and (os.getenv "HOME" or "") .. home or path
  local file, message = io.open(path, "rb")
  if not file then return nil, "cannot read " .. message end
  local text = file:read(MOST) or ""
  file:close()
  return text, ("the file '%s' is empty"):format(path)
end

--- What a key may be kept by.
key.kinds = { command = "string|table", env = "string", file = "string" }

--- The function that gives a server's key.
---@param given { command: string|string[]?, env: string?, file: string? }  one of them
---@return fun(): string?, string?
function key.reader(given)
  local kind, what = next(given)
  local value
  return function()
    if value then return value end
    local text, message = readers[kind](what)
    local first = text and text:match "^[ \t]*([^\r\n]-)[ \t]*[\r\n]" or text and text:match "^%s*(.-)%s*$"
    if not first or first == "" then return nil, message end
    value = first
    return value
  end
end

return key
