--- `lmm serve`: a model server's command comes in; the server's URL, or the run of one command with it, goes out.
--
-- The server is started by a task, while this program looks for signals, at the task and at the command.
local console = require "lmm.cli.console"
local serving = require "lmm.cli.serving"
local signals = require "lmm.cli.signals"
local url_file = require "lmm.cli.url_file"

local serve = {}

local function host(text)
  if text:find "^[%w._:%[%]-]+$" then return text end
  return nil, ("'%s' is not the name of a machine"):format(text)
end

function serve.declare(parser)
  local command = parser:command("serve", "Start a model server, wait until it answers, print its URL, and run until "
    .. "Ctrl-C or SIGTERM stops both. With --with, run one command instead, with $OPENAI_BASE_URL set, and stop the "
    .. "server when it ends. Nothing of the server stays behind, however this program ends. On a terminal a line shows "
    .. "how long it has been loading, and the last line of its log.", [[
COMMAND is run without a shell. {port} in it stands for the port; where there is
none, --port N is appended.

A server on a machine that others use answers them, too: --key has it ask for a
key. The file of --url-file has the mode 0600 and goes when the server ends;
lmm wait, ask, batch and so on find the server by it, and a shell does by
set -a; . FILE. For other machines the server has to listen on their network, as
vllm does unless it is told --host, and --url-host is its machine's name there.

Exit status:
   with --with, that of its command, 128 + N where signal N ended it; else 0
   stopped, 1 the server failed, 2 wrong usage; 129, 130 or 143 where SIGHUP,
   SIGINT or SIGTERM came before it was ready

Examples:
   lmm serve -- vllm serve Qwen/Qwen3-VL-8B-Instruct --max-model-len 32768
   lmm serve --with 'lmm ask -i picture.jpg "What is it?"' -- vllm serve MODEL
   lmm serve --log vllm.log -- apptainer exec --nv vllm.sif vllm serve MODEL
   lmm serve -- llama-server -m model.gguf --port {port}
   lmm serve --key --url-file server.url --url-host "$(hostname)" -- \
       vllm serve MODEL]])
  command:summary "Start a model server, and run a command with it."
  command:usage "Usage: lmm serve [OPTION]... -- COMMAND [ARGUMENT]..."
  command:argument("COMMAND", "The server's command. It comes after --."):args "+"
  command:option("--with", "The command to run once the server answers, by /bin/sh."):argname "COMMAND"
  serving.declare(command)
  command:flag("--key", "Have the server ask for a key, which is made at random and told by $VLLM_API_KEY and"
    .. " $LLAMA_API_KEY. One that stands in $VLLM_API_KEY is taken instead, without this option, too. The command of"
    .. " --with has it as $OPENAI_API_KEY.")
  command:option("--url-file", "Write the URL, and the key where there is one, to FILE."):argname "FILE"
  command:option("--url-host", "The machine in the URL (default: 127.0.0.1)."):argname("NAME"):convert(host)
end

-- ---- signals -----------------------------------------------------------------------------------------------------

local SIGNALS = { sighup = 1, sigint = 2, sigterm = 15 }

-- ---- the command of --with ---------------------------------------------------------------------------------------

--- Starts it by the shell. At a terminal it stays in this program's process group, so that it may read and Ctrl-C
--- reaches it; elsewhere it leads a group of its own, to which signals are passed on.
---@return { status: integer?, signal: fun(name: string) } command  `status` once it has ended
local function spawn(uv, text, url, key)
  local command, env = {}, uv.os_environ()
  env.OPENAI_BASE_URL, env.OPENAI_API_KEY = url, key or env.OPENAI_API_KEY
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
---@field key string?             that the server asks for
---@field url_file string?        the path
---@field written string?         what has been written to it last
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
    local opts = serving.options(args, args.COMMAND, self.key)
    function opts.on_log(text) last = text:find "%S" and text or last end
    function opts.on_wait(seconds) line:show(seconds, last) end
    return require "lmm".serve(opts)
  end, "starting")
  line:clear()
  self.server = server
  return server, message, err
end

function Run:stop_server()
  self:run_task(function() return self.server:stop() end, "stopping")
end

--- Tells other programs by a file where the server is; `url` is nil while it is still starting. That is written, too:
--- so the file is known to be one that can be written, and nobody goes by one that an earlier server has left behind.
function Run:tell(url)
  if not self.url_file then return end
  local message
  self.written, message = url_file.write(self.url_file, { url = url, key = url and self.key, note = self.note })
  if not self.written then console.fail("%s", message) end
end

--- The URL, for whoever is on other machines, too.
function Run:public_url(name)
  return name and (self.server.url:gsub("127%.0%.0%.1", name)) or self.server.url
end

--- Until it is stopped, or ends by itself, which is a failure.
function Run:serve_until_stopped(url)
  console.write(url .. "\n")
  local problem
  signals.run_until(self.uv, function()
    problem = self.server:problem()
    if problem then self.uv.run "nowait" end -- whoever ends a whole job, as Slurm does, has sent a signal here, too
    return self.signal or problem
  end)
  if self.signal then problem = nil end
  self:stop_server()
  if problem then return nil, problem.message, problem end
  return 0
end

function Run:serve_command(text)
  self.command = spawn(self.uv, text, self.server.url, self.key)
  signals.run_until(self.uv, function() return self.command.status end)
  local status, problem = self.command.status, self.server:problem()
  self.command = nil
  self:stop_server()
  if problem then console.note("lmm: %s", problem.message) end
  return status
end

--- A key that is set already is what the server asks for, whether this program knows of it or not.
local function find_key(args)
  local given = os.getenv "VLLM_API_KEY"
  if given and given ~= "" then return given end
  return args.key and serving.new_key() or nil
end

function serve.run(args)
  local uv = require "luv"
  local run = setmetatable({
    uv = uv, key = find_key(args), url_file = args.url_file,
    note = ("a server of process %d on %s"):format(uv.os_getpid(), uv.os_gethostname()),
  }, Run)
  local close = signals.listen(uv, { "sighup", "sigint", "sigterm" }, function(name) run:on_signal(name) end)
  local ok, status, message, err = pcall(function()
    run:tell(nil)
    local server, message, err = run:start_server(args)
    if not server and run.signal then return 128 + SIGNALS[run.signal] end
    if not server then return nil, message, err end
    local url = run:public_url(args.url_host)
    run:tell(url)
    if args.with and not run.signal then return run:serve_command(args.with) end
    return run:serve_until_stopped(url)
  end)
  close()
  if run.written then url_file.remove(run.url_file, run.written) end
  if not ok then error(status, 0) end
  if not status then return nil, message, err end
  if status ~= 0 then error({ status = status }, 0) end
  return true
end

return serve
