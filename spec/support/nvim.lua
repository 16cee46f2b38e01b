--- Real editors, driven over their RPC from plain Lua.
--
-- In:  an editor's program, the address of a server, Lua code to run in it, keys to type.
-- Out: what the code gives, as JSON carries it; the exit code; what the editor printed.

local json = require "lmm.json"
local process = require "spec.support.process"
local shell = require "spec.support.shell"

local quote = shell.quote
local nvim = {}

local here = shell.output "pwd":match "^[^\n]+"
local CLEAN = "unset LUA_PATH LUA_CPATH LUA_INIT MAKEFLAGS MAKELEVEL LD_PRELOAD VARIANT OPTIMISE LDFLAGS LUA NVIM "
  .. "VIMRUNTIME; "

--- Runs a script in a folder, without this tree's paths in the environment; gives what it printed.
function nvim.run(folder, script)
  return shell.output(CLEAN .. "cd " .. quote(folder) .. " && { " .. script .. "\n} 2>&1; echo \"exit $?\"")
end

--- The editors that there are: the system's, and the current one that `make test` installs.
---@return { name: string, program: string? }[]
function nvim.editors()
  local cache = os.getenv "XDG_CACHE_HOME" or os.getenv "HOME" .. "/.cache"
  local editors = {
    { name = "the system's nvim", program = "nvim" },
    { name = "a current nvim", program = cache .. "/lmm/nvim/nvim" },
  }
  for _, editor in ipairs(editors) do
    editor.version = nvim.run("/", quote(editor.program) .. " --version"):match "^NVIM v(%S+)"
    if not editor.version then editor.program = nil end
  end
  return editors
end

--- The words of a command that runs a Lua file of this tree in an editor, with what is built here for Lua 5.1.
---@param program string
---@param file string
function nvim.command(program, file)
  local said = nvim.run(here, "make --no-print-directory all LUA=lua5.1")
  if not said:find "exit 0\n$" then error("make all LUA=lua5.1: " .. said, 2) end
  return ("env -u LD_PRELOAD LUA_CPATH=%s %s --headless -u NONE -c %s"):format(quote(here .. "/build/lua5.1/?.so;;"),
    quote(program), quote("luafile " .. file))
end

--- A copy of this tree in which `make nvim` has been run, as a plugin manager does it.
---@return string folder
function nvim.plugin()
  local folder = os.tmpname()
  os.remove(folder)
  local said = nvim.run(here, ([[F=%s; mkdir -p $F/build && cp -a Makefile .ci src lua bin plugin doc $F &&
    { ! test -d build/lua5.1 || cp -a build/lua5.1 $F/build; } && # so that nothing is built twice
    cd $F && rm -f lua/lmm/*.so doc/tags && make nvim]]):format(folder))
  if not said:find "exit 0\n$" then error("make nvim: " .. said, 2) end
  return folder
end

---@class lmm.spec.Editor
---@field folder string  a home of its own, which is also where it runs
local Editor = {}
Editor.__index = Editor

local INIT = [[
vim.opt.runtimepath:prepend(%q)
vim.opt.swapfile = false
vim.opt.hidden = true
said = {}
vim.notify = function(message, level) said[#said + 1] = { message, level } end
]]

--- The home of an editor, and the commands that make it one's environment.
local function home(opts)
  local folder = os.tmpname()
  os.remove(folder)
  nvim.run("/", ("mkdir %s && cp %s/examples/picture.jpg %s"):format(folder, here, folder))
  shell.write(folder .. "/init.lua", INIT:format(opts.plugin) .. (opts.init or ""))
  return folder, CLEAN .. "cd " .. folder .. "; export HOME=$PWD XDG_CONFIG_HOME=$PWD/c XDG_DATA_HOME=$PWD/data "
    .. "XDG_STATE_HOME=$PWD/state XDG_CACHE_HOME=$PWD/cache XDG_RUNTIME_DIR=$PWD OPENAI_BASE_URL="
    .. (opts.url or "http://127.0.0.1:9/v1") .. "; "
end

--- Starts an editor without a screen. The messages of vim.notify are kept in the global `said` there.
---@param opts { program: string, plugin: string, url: string?, init: string? }
---@return lmm.spec.Editor
function nvim.start(opts)
  local folder, environment = home(opts)
  local self = setmetatable({ folder = folder, program = opts.program, socket = folder .. "/socket",
    environment = environment }, Editor)
  local command = "timeout -k 5 300 " .. quote(opts.program) .. " --headless -n -i NONE -u init.lua --listen "
    .. self.socket .. " >out 2>&1; echo $? >code"
  os.execute("{ " .. self.environment .. command .. "; } </dev/null >/dev/null 2>&1 &")
  process.wait_for("an editor", function() return self:remote("--remote-expr 1"):find "^1%s*exit 0" end)
  return self
end

---@class lmm.spec.Screen
local Screen = {}
Screen.__index = Screen

--- Starts an editor on a screen of 60 x 20 characters, by tmux.
---@param opts { program: string, plugin: string, url: string?, init: string? }
---@return lmm.spec.Screen
function nvim.screen(opts)
  local folder, environment = home(opts)
  local self = setmetatable({ folder = folder }, Screen)
  shell.write(folder .. "/run", environment .. "exec timeout --foreground -k 5 300 " .. quote(opts.program)
    .. " -n -i NONE -u init.lua")
  self:tmux("new-session -d -x 60 -y 20 'sh " .. folder .. "/run'")
  process.wait_for("an editor's screen", function() return self:text():find "\n~" end)
  return self
end

function Screen:tmux(words)
  return shell.output(CLEAN .. "env -u TMUX LC_ALL=C.UTF-8 TERM=screen tmux -u -f /dev/null -S " .. self.folder
    .. "/tmux " .. words .. " 2>&1")
end

function Screen:type(text)
  self:tmux("send-keys -l " .. quote(text))
end

--- What is on the screen, a line each, without spaces at their ends.
function Screen:text()
  return self:tmux "capture-pane -p"
end

function Screen:is_running()
  return self:tmux("has-session") == ""
end

function Screen:stop()
  self:tmux "kill-server"
  shell.run("rm -rf %s", self.folder)
end

function Editor:remote(words)
  return nvim.run(self.folder, ("%s timeout 60 %s -u NONE --server %s %s"):format(self.environment, quote(self.program),
    self.socket, words))
end

-- The value comes through a file: Neovim 0.7 shortens what --remote-expr prints.
local CALL = [[
local value = vim.json.encode { (function()
%s
end)() }
local file = assert(io.open("value.json", "wb"))
file:write(value)
file:close()
]]

--- Runs Lua code in the editor and gives what it returns.
function Editor:lua(code)
  shell.write(self.folder .. "/call.lua", CALL:format(code))
  os.remove(self.folder .. "/value.json")
  local said = self:remote "--remote-expr \"luaeval('dofile(_A)', 'call.lua')\""
  local text = shell.read(self.folder .. "/value.json")
  if not text then error("in the editor: " .. said, 2) end
  return json.clean(assert(json.decode(text))[1])
end

--- Types keys, written as in a mapping.
function Editor:keys(keys)
  self:remote("--remote-send " .. quote(keys))
end

--- Waits until Lua code gives a true value, and gives it.
function Editor:wait_for(what, code)
  return process.wait_for(what .. " in the editor", function() return self:lua(code) end)
end

--- The exit code, once the editor has ended.
function Editor:code()
  return process.wait_for("the editor's end", function()
    return tonumber(shell.read(self.folder .. "/code") or "")
  end)
end

--- What it printed so far.
function Editor:said()
  return shell.read(self.folder .. "/out")
end

--- Quits it, whatever it does, and gives its exit code and what it had printed.
function Editor:stop()
  if not shell.read(self.folder .. "/code") then self:keys "<C-Bslash><C-n>:qa!<CR>" end
  local code, said = self:code(), self:said()
  shell.run("rm -rf %s", self.folder)
  return code, said
end

--- Calls `fn` with an editor and stops it, also where that raises.
function nvim.with(opts, fn)
  local editor = nvim.start(opts)
  local ok, problem = pcall(fn, editor)
  local stopped, code, said = pcall(editor.stop, editor)
  if not ok then error(problem, 0) end
  if not stopped then error(code, 0) end
  if code ~= 0 then error("the editor's exit code is " .. code .. ": " .. said, 0) end
  return said
end

return nvim
