--- `lmm wait`: until a server that someone else has started answers.
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"
local progress = require "lmm.cli.progress"
local url_file = require "lmm.cli.url_file"

local wait = {}

local TIMEOUT, INTERVAL = 600, 0.25 -- seconds

function wait.declare(parser)
  local command = parser:command("wait", "Wait until a server answers: /health, then its list of models; with several "
    .. "--url until all do. With --url-file wait for the file, too, and for the server of which it tells in the end; "
    .. "then print the URL. On a terminal a line shows how long it has been, and why it is not ready.", [[
Examples:
   lmm wait --timeout 60
   lmm wait --url http://gpu1:8000/v1 && lmm ask "Are you there?"
   lmm wait --url-file server.url && lmm ask --url-file server.url "Hello?"]])
  command:summary "Wait until a server answers."
  command:usage "Usage: lmm wait [OPTION]..."
  connection.declare(command)
  command:option("--timeout", "How long to wait (default: 600)."):argname("SECONDS"):convert(console.seconds)
end

--- Waits for the server of these options. `is_over()` ends the wait early, where it gives an error.
local function wait_ready(opts, timeout, line, is_over)
  local client = require "lmm".connect(opts)
  local ok, ready, message, err = pcall(client.wait_ready, client, {
    timeout = timeout,
    on_wait = function(seconds, why)
      line:show(seconds, why.message)
      return is_over and is_over()
    end,
  })
  line:clear()
  client:close()
  if not ok then error(ready, 0) end
  return ready, message, err
end

--- Waits for the file and for the server of which it tells. It is read again all the time: what stands in it at first
--- may be of a server that is gone, and another one may be on its way.
local function wait_file(args, line)
  local path, timeout = args.url_file, args.timeout or TIMEOUT
  local loop, cell = require "lmm.loop".current(), {}
  local started = loop:now()
  local function left() return math.max(0, started + timeout - loop:now()) end
  local where, why, is_unread
  local function has_changed() return (url_file.read(path) or {}).text ~= where.text end
  while true do
    where, why, is_unread = url_file.read(path)
    if not where and not is_unread then return nil, why end
    if where and where.url then
      local changed
      local ready, message, err = wait_ready(connection.options(args, where), math.max(left(), 0.001), line, function()
        changed = has_changed() and require "lmm.errors".new { kind = "cancelled", message = "the file has changed" }
        return changed or nil
      end)
      if ready then console.write(where.url .. "\n") end
      local is_over = ready or err.limit ~= "ready" and not changed and not has_changed()
      if is_over then return ready, message, err end
      why = err.last and err.last.message or message
    elseif where then
      why = ("%s is still starting"):format(where.note)
    end
    if left() == 0 then return nil, ("no server was ready within %g s: %s"):format(timeout, why) end
    line:show(loop:now() - started, why)
    loop:wait(cell, loop:now() + INTERVAL)
  end
end

function wait.run(args)
  local line = progress.new()
  if not args.url_file then return wait_ready(connection.options(args), args.timeout, line) end
  if args.url[1] then connection.options(args) end -- which refuses both
  local ok, ready, message, err = pcall(wait_file, args, line)
  line:clear()
  if not ok then error(ready, 0) end
  return ready, message, err
end

return wait
