--- A model server as a child process: a command comes in; a server that answers goes out, or an error that says why
--- there is none. The server ends when it is stopped, when its handle is collected, and when this process is gone,
--- however that happens: a guard, a process between the two, sees to that (see lmm/server/guard.lua).
local errors = require "lmm.errors"
local guard_handle = require "lmm.server.guard_handle"
local json = require "lmm.json"
local log_tail = require "lmm.server.log"
local loops = require "lmm.loop"
local options = require "lmm.options"
local text = require "lmm.text"
local version = require "lmm.version"

--- A model server that lmm.serve has started. It ends when this is collected, and when the program ends.
---@class lmm.Server
---@field url string     the base URL, "http://127.0.0.1:PORT/v1"
---@field client lmm.Client
---@field port integer
---@field pid integer    of the command, which leads its process group
---@field log string     the file that holds what it says
local Server = {}
Server.__index = Server
Server.__name = "lmm.Server"

local serve = {}

local rows = {
  command = "table", port = "number", ready_timeout = "number", log = "string", env = "table", client = "table",
  on_log = "function", on_wait = "function",
}

local READY_TIMEOUT = 600 -- seconds
local POLL_INTERVAL = 0.05 -- seconds between looks at what the guard has reported
local STOP_TIMEOUT = 20    -- seconds; the guard itself kills after 15, and waits no longer than 17
local MAX_EXCERPT = 2000   -- bytes of the log in a message, as much as a client takes of a server's words

--- The client of a server at `url`; raises where its options are wrong.
local function new_client(url, opts)
  local given = { base_url = url }
  for name, value in pairs(opts or {}) do given[name] = value end
  return require("lmm.client").new(given)
end

--- Raises where the options of lmm.serve are wrong.
function serve.check(opts)
  options.check("lmm.serve", rows, opts)
  if type(opts) ~= "table" or type(opts.command) ~= "table" or #opts.command == 0 then
    errors.misuse "lmm.serve: command is a list of words, like { \"vllm\", \"serve\", model }"
  end
  for i, word in pairs(opts.command) do
    if type(i) ~= "number" or i < 1 or i > #opts.command or type(word) ~= "string" or word:find "%z" then
      errors.misuse("lmm.serve: command[%s] is no word of a list", tostring(i))
    end
  end
  for i = 1, #opts.command do
    if opts.command[i] == nil then errors.misuse("lmm.serve: command[%d] is nil", i) end
  end
  local all = table.concat(opts.command, "\n")
  if ("\n" .. all):find "\n%-%-port[\n=]" and not all:find("{port}", 1, true) then
    errors.misuse "lmm.serve: the command names a --port: write --port {port}, or leave it out and pass `port`"
  end
  if opts.log and (opts.log == "" or opts.log:find "%z") then errors.misuse "lmm.serve: log is no path" end
  if opts.command[1] == "" then errors.misuse "lmm.serve: command[1] is empty" end
  for name, value in pairs(opts.env or {}) do
    if type(name) ~= "string" or type(value) ~= "string" or name:find "[=%z]" or value:find "%z" then
      errors.misuse "lmm.serve: env holds texts by name"
    end
  end
  if opts.client and opts.client.base_url then errors.misuse "lmm.serve: the client's base_url is the server's own" end
  local port = opts.port or 1
  if port % 1 ~= 0 or port < 1 or port > 65535 then errors.misuse("lmm.serve: %s is no port", tostring(port)) end
  if opts.ready_timeout and not (opts.ready_timeout > 0) then
    errors.misuse "lmm.serve: ready_timeout is a number of seconds above 0"
  end
  new_client("http://127.0.0.1/v1", opts.client):close()
end

--- The arguments of the guard's report that begins with `name`, or nil.
---@package
function Server:reported(name)
  for _, line in ipairs(self.guard.reports()) do
    local arguments = line:match("^" .. name .. " ?(.*)$")
    if arguments then return arguments end
  end
end

--- Calls a callback of the caller's. What it raises is raised again once the server is stopped.
---@package
function Server:run_callback(fn, ...)
  if not fn or self.raised then return end
  local ok, problem = pcall(fn, ...)
  if not ok then self.raised = { problem } end
end

--- Reads what the log has gained, and hands it on line by line.
---@package
function Server:read_log(is_all)
  self.tail:read(self.on_log and function(line) self:run_callback(self.on_log, line) end, is_all)
end

--- The last lines of the log, without what must not be in an error.
---@package
function Server:log_excerpt()
  local client, said = self.client, self.tail:text()
  return client and require("lmm.call").without_secrets(client, said) or said
end

--- The end of a text, cut between characters.
local function ending(said, limit)
  return #said > limit and "..." .. said:sub(-limit):gsub("^[\128-\191]+", "") or said
end

--- An error with the end of the log in it.
---@package
function Server:failure(fields)
  self:read_log(true)
  local said = self:log_excerpt()
  if said:find "%S" then
    fields.message = fields.message .. "; it said last: " .. text.line(ending(said, MAX_EXCERPT))
  end
  fields.hint = fields.hint or self.tail.hint
  fields.log = said
  if self.tail.has_more then -- the cause may stand above the last lines
    fields.message = fields.message .. "; all of its log is in " .. self.log
    self.guard.keep_files()
  end
  return errors.new(fields)
end

--- Why the server does not run, or nil.
---@return lmm.Error?
function Server:problem()
  local is_watched = self.guard.is_running() -- asked first: it reports before it ends
  local exited = self:reported "exited"
  local how, hint
  if exited then
    local code, signal = exited:match "^(%d+) (%d+)$"
    how = signal ~= "0" and "ended by signal " .. signal or "ended with exit code " .. code
    hint = signal == "9" and "something killed it: often the system, when memory runs out" or nil
  elseif not is_watched then
    how = "is left alone: the process that watches over it was killed"
  else
    return nil
  end
  if not self.is_ready then how = how .. " before it was ready" end
  return self:failure { kind = "connect", hint = hint, message = ("the server '%s' %s"):format(self.command[1], how) }
end

local function cancelled()
  return errors.new { kind = "cancelled", message = "the start was cancelled" }
end

--- Waits until the guard has started the command.
---@package
---@return lmm.Error? err  why it was not started
function Server:wait_started(loop, deadline)
  local cell = {}
  while true do
    local is_watched = self.guard.is_running() -- asked first: it reports before it ends
    if self:reported "started" then break end
    local failed = self:reported "failed"
    if failed then
      local is_missing = failed:find "^cannot run" and failed:find "ENOENT"
      local why = errors.missing_package(failed) or failed
      return errors.new { kind = "invalid", message = "the server was not started: " .. why,
        hint = is_missing and "is the command installed, and in PATH?" or nil }
    end
    local is_late = loop:now() >= deadline
    if is_late or not is_watched then
      return errors.new { kind = is_late and "timeout" or "connect", limit = is_late and "ready" or nil,
        message = "the process that was to start the server " .. (is_late and "does not get to it" or "was killed") }
    end
    local _, why = loop:wait(cell, math.min(deadline, loop:now() + POLL_INTERVAL))
    if why == "cancelled" then return cancelled() end
  end
  local pid, port = self:reported "started":match "^(%d+) (%d+)$"
  self.pid, self.port = tonumber(pid), tonumber(port)
  self.url = ("http://127.0.0.1:%d/v1"):format(self.port)
end

--- Waits until the server answers.
---@package
---@return lmm.Error? err  why it does not
function Server:wait_ready(loop, deadline, opts)
  local started = loop:now()
  local _, _, err = self.client:wait_ready { timeout = math.max(0, deadline - started), on_wait = function(seconds)
    self:read_log()
    self:run_callback(opts.on_wait, seconds)
    -- The error is of no use where something was raised: it ends the wait.
    return self.raised and cancelled() or self:problem()
  end }
  self:read_log()
  -- Whatever has answered: where the command has ended, it was somebody else.
  local problem = not (err and err.kind == "cancelled") and self:problem()
  if problem then return problem end
  self.is_ready = err == nil
  if not err or err.kind == "cancelled" then return err end
  local why, message = err.last or err, "the server does not answer as it should: "
  if err.kind == "timeout" then
    message = ("the server '%s' was not ready within %g s: "):format(self.command[1],
      opts.ready_timeout or READY_TIMEOUT)
  elseif err.kind == "protocol" then
    message = "" -- the reason says just that
  end
  local reason = why.hint and why.message:sub(1, -#why.hint - 4) or why.message
  return self:failure { kind = err.kind, limit = err.limit, status = err.status, code = err.code,
    hint = err.kind ~= "timeout" and why.hint or nil, message = message .. reason }
end

--- Kills the group of a guard that was killed itself, by what it had reported.
local function kill_group(lines)
  local group
  for _, line in ipairs(lines) do
    group = line:match "^started (%d+)" or not line:find "^exited" and group or nil
  end
  if group then os.execute(("kill -KILL -%d 2>/dev/null"):format(group)) end
end

--- Starts a server and waits until it answers.
---@param opts { command: string[], port: integer?, ready_timeout: number?, log: string?, env: table<string, string>?,
--- client: table?, on_log: fun(line: string)?, on_wait: fun(seconds: number)? }
---  command: its words, run without a shell; "{port}" in them stands for the port, else `--port N` is appended; port: a
---  free one unless given; ready_timeout: seconds (600); log: the file for what it says, a temporary one in $TMPDIR
---  unless given; env: more of the environment; client: more options of its client, as lmm.connect takes them; on_log
---  gets each line that it says until it is ready; on_wait is called about four times a second until then
---@return lmm.Server? server  keep it or its client: the server ends when both are collected
---@return string? message
---@return lmm.Error? err  its `log` holds the last lines that the server said; where there are more, the file
--- that holds all is kept
function serve.start(opts)
  serve.check(opts)
  local loop = loops.current()
  local deadline = loop:now() + (opts.ready_timeout or READY_TIMEOUT)
  local path, problem = opts.log, nil
  if not path then path, problem = version.check("lmm.files").temporary() end
  if not path then return errors.public(nil, errors.new { kind = "invalid", message = problem }) end
  local self = setmetatable({ command = opts.command, log = path, tail = log_tail.new(path) }, Server)
  self.on_log = opts.on_log
  local temporary_files = { not opts.log and path or nil }
  local job = json.encode {
    command = opts.command, env = opts.env or {}, log = path, is_temporary = not opts.log, port = opts.port,
  }
  self.guard, problem = guard_handle.start(job .. "\n", { files = temporary_files, on_killed = kill_group })
  if not self.guard then
    for _, file in ipairs(temporary_files) do os.remove(file) end
    return errors.public(nil, errors.new { kind = "invalid", message = "the server was not started: " .. problem })
  end
  local err = self:wait_started(loop, deadline)
  if not err then
    self.client = new_client(self.url, opts.client)
    self.client.server = self -- so that whoever keeps the client alone keeps the server
    err = self:wait_ready(loop, deadline, opts)
  end
  self.on_log = nil
  if not err and not self.raised then return self end
  self:stop()
  if self.raised then error(self.raised[1], 0) end
  return errors.public(nil, err)
end

--- Kills the server and all that it has started at once; stop is still owed.
---@package
function Server:kill()
  if self.pid and not self.is_stopped then os.execute(("kill -KILL -%d 2>/dev/null"):format(self.pid)) end
end

--- Ends the server and all that it has started: asks, and after 15 s kills. Gives true once nothing of it is left; may
--- be called again. Inside a task the others go on meanwhile; in one that is cancelled it returns at once, and the
--- rest happens by itself.
---@return true
function Server:stop()
  local loop, cell = loops.current(), {}
  local deadline = loop:now() + STOP_TIMEOUT
  if not self.is_stopping and self.client then self.client:close() end
  while not self.is_stopped and not self:reported "gone" and loop:now() < deadline do
    if not self.guard.is_running() then break end
    if not self.is_stopping and self:reported "pid" then
      self.is_stopping = true
      self.guard.terminate()
    end
    local _, why = loop:wait(cell, loop:now() + POLL_INTERVAL)
    if why == "cancelled" then
      self.guard.abandon()
      return true
    end
  end
  self.is_stopping, self.is_stopped = true, true
  if loop:now() >= deadline then self.guard.kill() end -- stuck; what it leaves is killed by kill_group
  self.guard.close()
  return true
end

--- Whether the server still runs, and has not been stopped.
function Server:is_running()
  return not self.is_stopping and self:reported "exited" == nil and self.guard.is_running()
end

Server.__close = Server.stop

return serve
