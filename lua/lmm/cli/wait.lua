--- `lmm wait`: until a server that someone else has started answers.
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"
local progress = require "lmm.cli.progress"

local wait = {}

function wait.declare(parser)
  local command = parser:command("wait", "Wait until a server answers: /health, then its list of models; with several "
    .. "--url until all do. On a terminal a line shows how long it has been, and why it is not ready.", [[
Examples:
   lmm wait --timeout 60
   lmm wait --url http://gpu1:8000/v1 && lmm ask "Are you there?"]])
  command:summary "Wait until a server answers."
  command:usage "Usage: lmm wait [OPTION]..."
  connection.declare(command)
  command:option("--timeout", "How long to wait (default: 600)."):argname("SECONDS"):convert(console.seconds)
end

function wait.run(args)
  local client = require "lmm".connect(connection.options(args))
  local line = progress.new()
  local ok, ready, message, err = pcall(client.wait_ready, client, {
    timeout = args.timeout,
    on_wait = function(seconds, why) line:show(seconds, why.message) end,
  })
  line:clear()
  if not ok then error(ready, 0) end
  return ready, message, err
end

return wait
