--- Standard input, waited for beside signals: bytes go out, or the name of a signal that came first.

---@class lmm.chat.Input
---@field is_terminal boolean
---@field signal string?  the last signal that nobody has taken yet
---@field on_continue fun()?  called where the program goes on after Ctrl-Z, when the shell has used the terminal
---@field fd integer
local Input = {}
Input.__index = Input

local input = {}

local STDIN, PIECE = 0, 65536

--- What can be waited for; the rest, such as a file, can be read at once.
local POLLED = { tty = true, pipe = true, tcp = true }

--- Keys of the terminal beside Ctrl-C that reach a program as signals: Ctrl-\ and Ctrl-Z. They are looked at while a
--- line is read and while an answer comes: elsewhere they do what they do to every program.
local KEYS = { "sigquit", "sigtstp" }
local IS_KEY = { sigint = true, sigquit = true, sigtstp = true }

local QUIET = 50 -- milliseconds in which nobody types on behind such a key, but in which a paste goes on

--- libuv makes what it polls non-blocking, and with it whatever shares its description: standard output, where both are
--- the terminal, also once the program has ended. So it is opened anew.
---@param uv table  luv
---@return lmm.chat.Input
function input.new(uv)
  local kind = uv.guess_handle(STDIN)
  local fd = POLLED[kind] and uv.fs_open("/dev/stdin", "r", 0) or STDIN
  return setmetatable({
    uv = uv, is_terminal = kind == "tty", fd = fd, poll = POLLED[kind] and uv.new_poll(fd) or nil, signal = nil,
    is_continued = false, on_continue = nil, is_torn = false, keys = {},
  }, Input)
end

--- Has the keys looked at, until `leave_keys`.
function Input:watch_keys()
  for _, name in ipairs(self.is_terminal and KEYS or {}) do
    self.keys[name] = self.keys[name] or self.uv.new_signal()
    self.keys[name]:start(name, function() self:on_signal(name) end)
  end
end

function Input:leave_keys()
  for _, handle in pairs(self.keys) do handle:stop() end
end

local function go_on(self)
  self.is_continued = false
  if self.on_continue then self.on_continue() end
end

--- Does what Ctrl-Z does to every program, which is nothing where no shell is there to go on with it.
local function suspend(self)
  self:leave_keys()
  self.uv.kill(self.uv.os_getpid(), "sigtstp")
  self:watch_keys()
  go_on(self)
end

--- To be called when a signal comes.
---@param name string
function Input:on_signal(name)
  if name == "sigcont" then self.is_continued = true else self.signal = name end
end

--- The signal that came, once.
function Input:take_signal()
  local name = self.signal
  self.signal = nil
  return name
end

--- Does what a key asks for that has come as a signal. Among bytes that are pasted it is no key, though the terminal
--- takes it for one, and has thrown away what stood before it: then the rest goes, too.
---@return string? signal  "pasted" where it was; nil where there is nothing left to do
local function take_key(self, name)
  if not (self.is_terminal and IS_KEY[name]) then return name end
  if self:drain() then
    if IS_KEY[self.signal] then self.signal = nil end -- it was pasted, too
    return "pasted"
  end
  if name ~= "sigtstp" then return "sigint" end
  suspend(self)
end

--- To be called again and again while an answer comes: does what a key asks for. A paste that one has torn is refused
--- when the next line is read.
---@return string? signal  that is to end the answer
function Input:take_key()
  if self.is_continued then go_on(self) end
  local signal = self.signal and take_key(self, self:take_signal())
  if signal ~= "pasted" then return signal end
  self.is_torn = true
end

--- Waits until there is something to read, or the end of it.
---@return true? readable, string? signal  also "pasted": a key's signal, among bytes that were pasted
function Input:wait()
  local uv, is_readable, signal = self.uv, self.poll == nil, self.is_torn and "pasted" or nil
  self.is_torn = false
  while not is_readable and not signal do
    if self.poll then self.poll:start("r", function() is_readable = true end) end
    if not self.signal then uv.run "once" end
    if self.poll then self.poll:stop() end
    if is_readable then uv.run "nowait" end -- luv may tell first of bytes, and then of a signal that came before them
    if self.is_continued then go_on(self) end
    signal = self.signal and take_key(self, self:take_signal())
  end
  if signal then return nil, signal end
  return true
end

--- Whether there is something to read now, or within so many milliseconds.
---@param milliseconds integer?
function Input:is_readable(milliseconds)
  if not self.poll then return true end
  local is_readable, is_late = false, not milliseconds
  local timer = milliseconds and self.uv.new_timer()
  if timer then timer:start(milliseconds, 0, function() is_late = true end) end
  self.poll:start("r", function() is_readable = true end)
  repeat self.uv.run(timer and "once" or "nowait") until is_readable or is_late
  self.poll:stop()
  if timer then timer:close() end
  return is_readable
end

--- What there is to read: a terminal gives a line at a time; "" where there is nothing yet, nil at the end.
---@return string?
function Input:read()
  local bytes, _, code = self.uv.fs_read(self.fd, PIECE, -1)
  if bytes then return bytes ~= "" and bytes or nil end
  return code == "EAGAIN" and "" or nil
end

--- Throws away what is being pasted, until nothing more comes.
---@return boolean was_there  whether there was something
function Input:drain()
  local was_there = false
  while self.poll and self:is_readable(QUIET) do
    local bytes = self:read()
    if not bytes then break end
    was_there = was_there or bytes ~= ""
  end
  return was_there
end

function Input:close()
  for _, handle in pairs(self.keys) do handle:close() end
  if self.poll then self.poll:close() end
  if self.fd ~= STDIN then self.uv.fs_close(self.fd) end
end

return input
