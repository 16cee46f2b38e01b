--- Standard input, waited for beside signals: bytes go out, or the name of a signal that came first.

---@class lmm.chat.Input
---@field is_terminal boolean
---@field signal string?  the last signal that nobody has taken yet
---@field fd integer
local Input = {}
Input.__index = Input

local input = {}

local STDIN, PIECE = 0, 65536

--- What can be waited for; the rest, such as a file, can be read at once.
local POLLED = { tty = true, pipe = true, tcp = true }

--- libuv makes what it polls non-blocking, and with it whatever shares its description: standard output, where both are
--- the terminal, also once the program has ended. So it is opened anew.
---@param uv table  luv
---@return lmm.chat.Input
function input.new(uv)
  local kind = uv.guess_handle(STDIN)
  local fd = POLLED[kind] and uv.fs_open("/dev/stdin", "r", 0) or STDIN
  return setmetatable({
    uv = uv, is_terminal = kind == "tty", fd = fd, poll = POLLED[kind] and uv.new_poll(fd) or nil, signal = nil,
    is_continued = false,
  }, Input)
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

--- Waits until there is something to read, or the end of it.
---@param on_continue fun()?  called where the program goes on after Ctrl-Z, when the shell has used the terminal
---@return true? readable, string? signal
function Input:wait(on_continue)
  local uv, is_readable = self.uv, self.poll == nil
  self.is_continued = false
  if self.poll then self.poll:start("r", function() is_readable = true end) end
  while not is_readable and not self.signal do
    uv.run "once"
    if self.is_continued and on_continue then on_continue() end
    self.is_continued = false
  end
  if self.poll then self.poll:stop() end
  if self.signal then return nil, self:take_signal() end
  return true
end

--- Whether there is something to read now.
function Input:is_readable()
  if not self.poll then return true end
  local is_readable = false
  self.poll:start("r", function() is_readable = true end)
  self.uv.run "nowait"
  self.poll:stop()
  return is_readable
end

--- What there is to read: a terminal gives a line at a time; "" where there is nothing yet, nil at the end.
---@return string?
function Input:read()
  local bytes, _, code = self.uv.fs_read(self.fd, PIECE, -1)
  if bytes then return bytes ~= "" and bytes or nil end
  return code == "EAGAIN" and "" or nil
end

--- Throws away what waits to be read.
function Input:drain()
  while self.poll and self:is_readable() do
    if not self:read() then return end
  end
end

function Input:close()
  if self.poll then self.poll:close() end
  if self.fd ~= STDIN then self.uv.fs_close(self.fd) end
end

return input
