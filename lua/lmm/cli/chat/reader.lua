--- Where lines come from: a prompt comes in, a line goes out. A reader is whatever has `read` and `remember`; the loop
--- is handed one, so that it runs by lua-readline, without it, and in a spec.
local console = require "lmm.cli.console"

---@class lmm.chat.Reader
---@field is_interactive boolean  somebody sits there, who can be asked
---@field read fun(self, prompt: string): string?, string?  a line, which holds line ends where it was pasted; nil at
--- the end; nil and the name of a signal
---@field remember fun(self, entry: string)  keeps what was entered in the history
---@field lend fun(self, fn: fun(...): any, ...): any  calls a function that has another program use the terminal
---@field close fun(self)

local reader = {}

local LONGEST = 16 * 1024 * 1024 -- bytes of a line: more is no question

--- What is no answer does not stand among the answers.
local function say(text)
  io.stderr:write(text)
  io.stderr:flush()
end

-- ---- plain --------------------------------------------------------------------------------------------------------

local Plain = {}
Plain.__index = Plain

--- Reads standard input as it is. On a terminal the system's own line editing is all there is.
---@param input lmm.chat.Input
---@return lmm.chat.Reader
function reader.plain(input)
  return setmetatable({ input = input, is_interactive = input.is_terminal, rest = "", searched = 1,
    is_over = false }, Plain)
end

--- The next line of what has been read, if it is there.
function Plain:take()
  local stop, line = self.rest:find("\n", self.searched, true), nil
  if stop then
    line, self.rest, self.searched = self.rest:sub(1, stop - 1), self.rest:sub(stop + 1), 1
  elseif self.is_over and self.rest ~= "" then
    line, self.rest, self.searched = self.rest, "", 1
  end
  return line and (line:gsub("\r$", ""))
end

--- Reads on; false where a signal came.
function Plain:fill()
  local ok, signal = self.input:wait()
  if not ok then return false, signal end
  local bytes = self.input:read()
  self.searched = #self.rest + 1 -- there is no line end before it
  if bytes then self.rest = self.rest .. bytes else self.is_over = true end
  if #self.rest > LONGEST then console.fail "a line of more than 16 MiB is no question: /attach PATH sends a file" end
  return true
end

--- Lines that come at once, once somebody was waited for, were pasted, and are one entry.
function Plain:take_pasted(line)
  local lines = { line }
  while not self.is_over and (self.rest ~= "" or self.input:is_readable()) do
    if not self.rest:find "\n" and not self:fill() then break end
    lines[#lines + 1] = self:take()
  end
  return table.concat(lines, "\n")
end

function Plain:read(prompt)
  self.input:watch_keys()
  local line, signal = self:read_line(prompt)
  self.input:leave_keys()
  return line, signal
end

function Plain:read_line(prompt)
  if self.is_interactive then say(prompt) end
  local is_waited = self.is_interactive and self.rest == "" and not self.input:is_readable()
  local line = self:take()
  while not line and not self.is_over do
    local ok, signal = self:fill()
    if not ok then
      self.rest, self.searched = "", 1
      if self.is_interactive then say "\n" end
      return nil, signal
    end
    line = self:take()
  end
  if not line and self.is_interactive then say "\n" end
  return line and is_waited and self:take_pasted(line) or line
end

function Plain:remember() end

function Plain.lend(_, fn,...) return fn(...) end

function Plain:close() end

-- ---- lua-readline -------------------------------------------------------------------------------------------------

local Readline = {}
Readline.__index = Readline

--- readline's own interface for completion: what stands in the place of the last word of a line. What is raised in it
--- would go through readline's C.
local function completer(complete)
  return function(line, from, to)
    local out = {}
    pcall(function()
      local candidates, start, is_open = complete(line:sub(1, to))
      for i, candidate in ipairs(candidates) do out[i] = candidate:sub(from - start + 1) end
      if is_open then require "readline".set_completion_append_character "" end
    end)
    return out
  end
end

--- Has the terminal in another state, of words for stty, and a text said to it.
local function set_terminal(words, text)
  os.execute(("exec 2>/dev/null </dev/tty >/dev/tty; stty %s; printf '%s'"):format(words, text))
end

--- The state of the terminal, in words for stty.
local function terminal_modes()
  local pipe = io.popen "stty -g </dev/tty 2>/dev/null"
  local modes = pipe:read "*l"
  pipe:close()
  return modes and modes:find "^[%x:]+$" and modes or "sane"
end

--- What is pasted is marked, or no longer so.
local MARKED, UNMARKED = "\\033[?2004h", "\\033[?2004l"

--- As readline needs the terminal while it reads a line, and as it stays until the next one: what is typed and pasted
--- meanwhile waits for that, whole. The system would keep 4095 bytes of a line, and take some of them for keys.
local function hold()
  set_terminal("-icanon -echo min 1 time 0", MARKED)
end

--- Line editing by lua-readline; nil where it is not installed.
---@param input lmm.chat.Input
---@param complete fun(line: string): string[], integer, boolean?  what the end of a line may become, from which byte
--- on, and whether more will follow
---@param history lmm.chat.History
---@return lmm.chat.Reader?
function reader.readline(input, complete, history)
  local ok, module = pcall(require, "readline")
  if not ok then return nil end
  os.setlocale("", "ctype") -- so that a character of several bytes is one
  module.set_options { histfile = "", auto_add = false }
  module.set_readline_name "lmm"
  module.set_complete_function(completer(complete))
  for _, entry in ipairs(history:entries()) do module.add_history(entry) end
  input.on_continue = hold
  return setmetatable({ input = input, module = module, history = history, is_interactive = true,
    is_installed = false, modes = terminal_modes() }, Readline)
end

function Readline:read(prompt)
  local module, line, is_over = self.module, nil, false
  -- What is typed is shown where it was so before. After Ctrl-C a line is begun on top of the one that is dropped:
  -- lua-readline's handler_remove closes the stream to the terminal first, and is safe in a handler alone.
  if not self.is_installed then set_terminal("-icanon echo min 1 time 0", MARKED) end
  self.is_installed = true
  module.handler_install(prompt, function(text)
    line, is_over = text, true
    module.handler_remove()
  end)
  self.input:watch_keys()
  local ok, signal = true, nil
  while ok and not is_over do
    ok, signal = self.input:wait()
    if ok then module.read_char() end
  end
  self.input:leave_keys()
  if not ok and module.sigcleanup then module.sigcleanup() end -- ends a search, a count, half a key
  self.is_installed = not ok
  if ok then hold() end
  if not line then say "\n" end
  return line, signal
end

function Readline:remember(entry)
  self.module.add_history(entry)
  self.history:add(entry)
end

function Readline:lend(fn, ...)
  set_terminal(self.modes, UNMARKED)
  local ok, value = pcall(fn, ...)
  hold()
  if not ok then error(value, 0) end
  return value
end

function Readline:close()
  set_terminal(self.modes, UNMARKED)
end

return reader
