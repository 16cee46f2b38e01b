--- A terminal by tmux, in which a program runs: keys come in; what is on the screen goes out.
local process = require "spec.support.process"
local shell = require "spec.support.shell"

local quote = shell.quote

local terminal = {}

---@class lmm.spec.Terminal
---@field folder string  of its own, which also holds `end`, the program's exit status once it has ended
local Terminal = {}
Terminal.__index = Terminal

--- Ctrl-C reaches the shell around the program, too, which is to stay.
local SCRIPT = [[
%s
trap : INT
%s
status=$?
stty -a >%s/stty
echo $status >%s/end
exec sleep 600]]

--- Starts a program on a screen.
---@param command string  for a shell
---@param opts { width: integer?, height: integer?, env: table<string, string>? }?
---@return lmm.spec.Terminal
function terminal.start(command, opts)
  opts = opts or {}
  local folder = os.tmpname()
  os.remove(folder)
  shell.run("mkdir %s", folder)
  local self = setmetatable({ folder = folder }, Terminal)
  local lines = { "unset TMUX_TMPDIR NO_COLOR XDG_STATE_HOME; export HOME=" .. folder }
  for name, value in pairs(opts.env or {}) do lines[#lines + 1] = "export " .. name .. "=" .. quote(value) end
  shell.write(folder .. "/run", SCRIPT:format(table.concat(lines, "\n"), command, folder, folder))
  self:tmux(("new-session -d -x %d -y %d 'sh %s/run'"):format(opts.width or 80, opts.height or 30, folder))
  return self
end

function Terminal:tmux(words)
  return shell.output("env -u TMUX LC_ALL=C.UTF-8 TERM=xterm-256color tmux -u -f /dev/null -S " .. self.folder
    .. "/tmux " .. words .. " 2>&1")
end

--- Types a text.
function Terminal:type(text)
  self:tmux("send-keys -l " .. quote(text))
end

--- Presses keys by tmux's names for them: Enter, Up, C-c ...
function Terminal:press(...)
  self:tmux("send-keys " .. table.concat({ ... }, " "))
end

--- Types a line.
function Terminal:enter(text)
  self:type(text)
  self:press "Enter"
end

--- Pastes a text, as a terminal does that knows where a paste begins and ends.
function Terminal:paste(text)
  shell.write(self.folder .. "/pasted", text)
  self:tmux("load-buffer -b pasted " .. self.folder .. "/pasted")
  self:tmux "paste-buffer -d -p -b pasted"
end

--- What is on the screen and above it, a line each, without what is empty below; lines that were wrapped are whole.
---@param with_styles boolean?
function Terminal:text(with_styles)
  return (self:tmux("capture-pane -p -J -S - " .. (with_styles and "-e" or "")):gsub("%s+$", ""))
end

--- Waits until a pattern is on the screen, and gives the screen.
function Terminal:wait_for(pattern)
  local last
  local ok, found = pcall(process.wait_for, pattern, function()
    last = self:text()
    return last:find(pattern) and last
  end)
  if not ok then error(("waited in vain for %q on this screen:\n%s"):format(pattern, last), 2) end
  return found
end

--- The program's exit status, once it has ended.
function Terminal:status()
  return process.wait_for("the end of the program", function()
    return tonumber(shell.read(self.folder .. "/end") or "")
  end)
end

--- Ends what runs there, and waits for it: a shell whose terminal is gone still writes its history.
function Terminal:stop()
  local leader = self:tmux "list-panes -F '#{pane_pid}'":match "^%d+"
  self:tmux "kill-server"
  if leader then
    process.wait_for("the end of what runs in the terminal", function() return #process.session(leader) == 0 end)
  end
  shell.run("rm -rf %s", self.folder)
end

return terminal
