--- The built-in server that needs no model: options come in; a server goes out, as a child process or in this one. A
--- child process ends when it is stopped or its handle is collected, and when this process ends, however that happens.
local errors = require "lmm.errors"
local options = require "lmm.options"

local mock = {}

--- The names of the servers that it can be like.
---@package
---@return string[]
function mock.likenesses()
  return require("lmm.mock.likeness").names()
end

-- All but the last are those of lmm/mock/server.lua, which is not loaded here: it needs luv.
local OPTIONS = {
  port = "number", delay = "number", api_key = "string", model = "string", max_model_len = "number",
  limit_image = "number", limit_video = "number", limit_audio = "number", like = "string", media_cache = "number",
  tools = "boolean", capacity = "string", record = "string", upstream = "string", replay = "string",
  closest = "boolean", timing = "boolean", interpreter = "string",
}

--- The built-in server as a child process. It ends when this is collected, and when the program ends.
---@class lmm.MockServer
---@field url string     "http://127.0.0.1:PORT/v1"
---@field port integer
---@field pid integer
---@field stop fun()     ends the server and waits until it is gone; may be called again

--- Starts the server and waits until it listens. It answers every chat request with what it received, in the form vLLM
--- answers in; a line `call NAME {"argument": 1}` of a question calls a tool of the request (lmm/mock/tools.lua tells
--- more), and a request's own field `mock` asks it for faults (lmm/mock/faults.lua lists them).
---@param opts lmm.MockOptions?
---@return lmm.MockServer? server  keep it: the server ends when it is collected
---@return string? message
---@return lmm.Error? err
function mock.start(opts)
  opts = options.check("lmm.mock", OPTIONS, opts)
  for name, value in pairs(opts) do
    if type(value) == "number" and not (value >= 0 and value < math.huge and (name == "delay" or value % 1 == 0)) then
      errors.misuse("mock: option '%s' must be a %snumber, at least 0, not %s", name,
        name == "delay" and "" or "whole ", tostring(value))
    end
  end
  local words = {}
  for name in pairs(OPTIONS) do
    if opts[name] ~= nil and name ~= "interpreter" then
      words[#words + 1] = ("--%s=%s"):format(name, tostring(opts[name]))
    end
  end
  local child = require("lmm.server").child
  local server, message = child.start("lmm.mock.server", words, { interpreter = opts.interpreter })
  if not server then return errors.public(nil, errors.new { kind = "connect", message = message }) end
  server.port = tonumber(server.line:match ":(%d+)$")
  server.url = string.format("http://127.0.0.1:%d/v1", server.port)
  return server
end

--- Serves in this process until SIGINT or SIGTERM, and prints the URL: what `lmm mock` does.
---@param opts? table  as for `start`, but for the interpreter
---@param plan? lmm.mock.Startup  how long it takes to start, what it logs meanwhile, and whether it fails
---@return true? ended
---@return string? message
function mock.run(opts, plan)
  return require("lmm.mock.server").run(opts, plan)
end

return mock
