--- `lmm serve`: a model server's command comes in; the server's URL, or the run of one command with it, goes out.
--
-- The server is started by a task, while this program looks for signals, at the task and at the command.
local console = require "lmm.cli.console"
local signals = require "lmm.cli.signals"

local serve = {}

local function port(text)
  local number = text:find "^%d+$" and tonumber(text)
  if number and number >= 1 and number <= 65535 then return number end
  return nil, ("'%s' is not a port: a number from 1 to 65535"):format(text)
end

function serve.declare(parser)
  local command = parser:command("serve", "Start a model server, wait until it answers, print its URL, and run until "
    .. "Ctrl-C or SIGTERM stops both. With --with, run one command instead, with $OPENAI_BASE_URL set, and stop the "
    .. "server when it ends. Nothing of the server stays behind, however this program ends. On a terminal a line shows "
    .. "how long it has been loading, and the last line of its log.", [[
COMMAND is run without a shell. {port} in it stands for the port; where there is
none, --port N is appended.

Exit status:
   with --with, that of its command, 128 + N where signal N ended it; else 0
   stopped, 1 the server failed, 2 wrong usage; 129, 130 or 143 where SIGHUP,
   SIGINT or SIGTERM came before it was ready

Examples:
   lmm serve -- vllm serve Qwen/Qwen3-VL-8B-Instruct --max-model-len 32768
   lmm serve --with 'lmm ask -i picture.jpg "What is it?"' -- vllm serve MODEL
   lmm serve --log vllm.log -- apptainer exec --nv vllm.sif vllm serve MODEL
   lmm serve -- llama-server -m model.gguf --port {port}]])
  command:summary "Start a model server, and run a command with it."
  command:usage "Usage: lmm serve [OPTION]... -- COMMAND [ARGUMENT]..."
  command:argument("COMMAND", "The server's command. It comes after --."):args "+"
  command:option("--with", "The command to run once the server answers, by /bin/sh."):argname "COMMAND"
  command:option("--ready-timeout", "How long the server may take to answer (default: 600)."):argname("SECONDS")
    :convert(console.seconds)
  command:option("--log", "The file for what the server says (default: a temporary one)."):argname "FILE"
  command:option("--port", "The server's port (default: a free one)."):argname("N"):convert(port)
end

-- ---- signals -----------------------------------------------------------------------------------------------------

local SIGNALS = { sighup = 1, sigint = 2, sigterm = 15 }

-- ---- the command of --with ---------------------------------------------------------------------------------------

--- Starts it by the shell. At a terminal it stays in this program's process group, so that it may read and Ctrl-C
--- reaches it; elsewhere it leads a group of its own, to which signals are passed on.
---@return { status: integer?, signal: fun(name: string) } command  `status` once it has ended
local function spawn(uv, text, url)
  local command, env = {}, uv.os_environ()
  env.OPENAI_BASE_URL = url
  local list = {}
  for name, value in pairs(env) do list[#list + 1] = name .. "=" .. value end
  local at_terminal = uv.guess_handle(0) == "tty"
  local handle, pid
  handle, pid = uv.spawn("/bin/sh", {
    args = { "-c", text }, env = list, stdio = { 0, 1, 2 }, detached = not at_terminal,
  }, function(code, signal)
    command.status = signal > 0 and 128 + signal or code
    handle:close()
  end)
  if not handle then console.fail("cannot run /bin/sh: %s", pid) end
  function command.signal(name)
    if command.status or at_terminal and name == "sigint" then return end
    uv.kill(at_terminal and pid or -pid, name)
  end
  return command
end

-- ---- the run -----------------------------------------------------------------------------------------------------

---@class lmm.cli.Serve
---@field signal string?          the first that came
---@field starting lmm.Task?      while the server starts
---@field server lmm.Server?      once it answers
---@field command table?          of --with, while it runs
local Run = {}
Run.__index = Run

--- The first signal stops what is under way; a second one kills the server.
function Run:on_signal(name)
  local is_second = self.signal ~= nil
  self.signal = self.signal or name
  if self.command then
    self.command.signal(name)
  elseif self.starting then
    self.starting:cancel()
  elseif is_second and self.server then
    self.server:kill()
  end
end

--- Runs `fn` as a task, which a signal may end, and which is in the field `name` meanwhile.
function Run:run_task(fn, name)
  local value, message, err = signals.run_task(self.uv, fn, function(task) self[name] = task end)
  self[name] = nil
  return value, message, err
end

function Run:start_server(args)
  local line, last = require "lmm.cli.progress".new(), ""
  local server, message, err = self:run_task(function()
    return require "lmm".serve {
      command = args.COMMAND, ready_timeout = args.ready_timeout, log = args.log, port = args.port,
      on_log = function(text) last = text:find "%S" and text or last end,
      on_wait = function(seconds) line:show(seconds, last) end,
    }
  end, "starting")
  line:clear()
  self.server = server
  return server, message, err
end

function Run:stop_server()
  self:run_task(function() return self.server:stop() end, "stopping")
end

--- Until it is stopped, or ends by itself, which is a failure.
function Run:serve_until_stopped()
  console.write(self.server.url .. "\n")
  local problem
  signals.run_until(self.uv, function()
    problem = not self.signal and self.server:problem() or nil
    return self.signal or problem
  end)
  self:stop_server()
  if problem then return nil, problem.message, problem end
  return 0
end

function Run:serve_command(text)
  self.command = spawn(self.uv, text, self.server.url)
  signals.run_until(self.uv, function() return self.command.status end)
  local status, problem = self.command.status, self.server:problem()
  self.command = nil
  self:stop_server()
  if problem then console.note("lmm: %s", problem.message) end
  return status
end

function serve.run(args)
  local uv = require "luv"
  local run = setmetatable({ uv = uv }, Run)
  local close = signals.listen(uv, { "sighup", "sigint", "sigterm" }, function(name) run:on_signal(name) end)
  local ok, status, message, err = pcall(function()
    local server, message, err = run:start_server(args)
    if not server and run.signal then return 128 + SIGNALS[run.signal] end
    if not server then return nil, message, err end
    if args.with and not run.signal then return run:serve_command(args.with) end
    return run:serve_until_stopped()
  end)
  close()
  if not ok then error(status, 0) end
  if not status then return nil, message, err end
  if status ~= 0 then error({ status = status }, 0) end
  return true
end

return serve
