--- A model server as a child process: a command comes in; a server that answers goes out, or why there is none. The
--- server ends when it is stopped, when its handle is collected, and when this process is gone, however that happens.
local child = require "lmm.child"
local errors = require "lmm.errors"
local json = require "lmm.json"
local loops = require "lmm.loop"
local options = require "lmm.options"

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

local TICK = 0.05         -- seconds between looks at what the guard has noted
local STOP_TIMEOUT = 20   -- seconds; the guard itself kills after 15
local LAST_LINES = 12     -- of the log, in an error

--- What a server that does not start mostly says, and what to do then.
local hints = {
  { "out of memory", "too little memory: a smaller model, --max-model-len or --gpu-memory-utilization may help" },
  { "No available memory for the cache", "raise --gpu-memory-utilization, or lower --max-model-len" },
  { "[Aa]ddress already in use", "the port is taken: leave `port` out to get a free one" },
  { "not a local folder and is not a valid model identifier", "there is no such model: check its name, or its path" },
  { "RepositoryNotFound", "there is no such model, or it needs a token (HF_TOKEN)" },
  { "does not appear to have a file named config", "that folder holds no model" },
  { "unrecognized arguments?", "the server does not know that argument: see its --help" },
  { "invalid choice", "the server does not know that value: see its --help" },
  { "chat template", "the model has no chat template: pass --chat-template FILE" },
  { "No module named", "the server's installation is incomplete" },
}

local function find_hint(text)
  for _, row in ipairs(hints) do
    if text:find(row[1]) then return row[2] end
  end
end

local function check(opts)
  options.check("lmm.serve", rows, opts)
  if type(opts) ~= "table" or type(opts.command) ~= "table" or #opts.command == 0 then
    errors.misuse "lmm.serve: command is a list of words, like { \"vllm\", \"serve\", model }"
  end
  for i, word in ipairs(opts.command) do
    if type(word) ~= "string" or word:find "%z" then errors.misuse("lmm.serve: command[%d] is no text", i) end
  end
  for name, value in pairs(opts.env or {}) do
    if type(name) ~= "string" or type(value) ~= "string" then
      errors.misuse("lmm.serve: env holds texts by name, not a %s", type(value))
    end
  end
end

--- The arguments of the guard's note that begins with `name`, or nil.
function Server:noted(name)
  for _, line in ipairs(self.guard.notes()) do
    local rest = line:match("^" .. name .. " ?(.*)$")
    if rest then return rest end
  end
end

--- Reads what the log has gained, and hands it on line by line.
function Server:read_log()
  local file = io.open(self.log, "rb")
  if not file then return end
  file:seek("set", self.log_read)
  local text = file:read "*a"
  file:close()
  local complete = text:match "^.*\n" or ""
  self.log_read = self.log_read + #complete
  for line in complete:gmatch "([^\r\n]*)\r?\n" do
    self.last_lines[#self.last_lines + 1] = line
    if #self.last_lines > LAST_LINES then table.remove(self.last_lines, 1) end
    if self.on_log then self.on_log(line) end
  end
end

--- An error with the end of the log in it.
function Server:failure(fields)
  self:read_log()
  local said = table.concat(self.last_lines, "\n")
  if said:find "%S" then fields.message = fields.message .. "; it said last: " .. errors.line(said) end
  fields.hint = fields.hint or find_hint(said)
  fields.log = said
  return errors.new(fields)
end

--- Why the server cannot become ready any more, or nil.
function Server:ended()
  local exited = self:noted "exited"
  if not exited then return nil end
  local code, signal = exited:match "^(%d+) (%d+)$"
  return self:failure { kind = "connect", message = ("the server '%s' ended %s before it was ready"):format(
    self.command[1], signal ~= "0" and "by signal " .. signal or "with exit code " .. code) }
end

--- Waits until the guard has started the command; gives an error where it could not.
function Server:wait_started(loop)
  local cell = {}
  while not self:noted "started" do
    local failed = self:noted "failed"
    if failed then
      return errors.new { kind = "invalid", message = "the server was not started: " .. failed,
        hint = failed:find "ENOENT" and failed:find "cannot run" and "is the command installed, and in PATH?" or nil }
    end
    local _, why = loop:wait(cell, loop:now() + TICK)
    if why == "cancelled" then return errors.new { kind = "cancelled", message = "the start was cancelled" } end
  end
  local pid, port = self:noted "started":match "^(%d+) (%d+)$"
  self.pid, self.port = tonumber(pid), tonumber(port)
  self.url = ("http://127.0.0.1:%d/v1"):format(self.port)
end

--- Starts a server and waits until it answers.
---@param opts { command: string[], port: integer?, ready_timeout: number?, log: string?, env: table<string, string>?,
--- client: table?, on_log: fun(line: string)?, on_wait: fun(seconds: number)? }
---  command: its words, run without a shell; "{port}" in them stands for the port, else `--port N` is appended; port: a
---  free one unless given; ready_timeout: seconds (600); log: the file for what it says, a temporary one unless given;
---  env: more of the environment; client: more options of its client, as lmm.connect takes them; on_log gets each line
---  that it says until it is ready; on_wait is called about four times a second until then
---@return lmm.Server? server  keep it: the server ends when it is collected
---@return string? message
---@return lmm.Error? err  its `log` holds the last lines that the server said
function serve.start(opts)
  check(opts)
  local self = setmetatable({
    command = opts.command, log = opts.log or os.tmpname(), own_log = not opts.log, log_read = 0, last_lines = {},
    on_log = opts.on_log,
  }, Server)
  local order = { command = opts.command, env = opts.env or {}, log = self.log, port = opts.port }
  self.guard = child.hold("lmm.guard", json.encode(order) .. "\n")
  local err = self:wait_started(loops.current())
  if not err then
    local given = { base_url = self.url }
    for name, value in pairs(opts.client or {}) do given[name] = value end
    self.client = require("lmm.client").new(given)
    local ready = { timeout = opts.ready_timeout or 600, on_wait = function(seconds)
      self:read_log()
      if opts.on_wait then opts.on_wait(seconds) end
      return self:ended()
    end }
    local _, _, problem = self.client:wait_ready(ready)
    err = problem
    if err and err.kind == "timeout" then
      err = self:failure { kind = "timeout", limit = "ready", message = err.message }
    end
  end
  if not err then return self end
  self:stop()
  return errors.public(nil, err)
end

--- Ends the server and all that it has started: asks, and after 15 s kills. Gives true once nothing of it is left; may
--- be called again. Inside a task the others go on meanwhile.
function Server:stop()
  if self.stopped then return true end
  self.stopped = true
  local guard = self:noted "guard"
  if guard then os.execute("kill -TERM " .. guard .. " 2>/dev/null") end
  local loop, cell = loops.current(), {}
  local deadline = loop:now() + STOP_TIMEOUT
  while guard and not self:noted "gone" and loop:now() < deadline do
    local _, why = loop:wait(cell, loop:now() + TICK)
    if why == "cancelled" then break end -- the rest is waited for in one go
  end
  self.guard.close()
  if self.client then self.client:close() end
  if self.own_log then os.remove(self.log) end
  return true
end

--- Whether the server still runs, and has not been stopped.
function Server:is_running()
  return not self.stopped and self:noted "exited" == nil
end

Server.__close = Server.stop

return serve
