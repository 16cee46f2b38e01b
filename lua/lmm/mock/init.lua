--- The built-in server that needs no model: options come in; a server goes out, as a child process or in this one. A
--- child process ends when it is stopped or its handle is collected, and when this process ends, however that happens.
local errors = require "lmm.errors"
local options = require "lmm.options"

local mock = {}

-- All but the last are those of lmm/mock/server.lua, which is not loaded here: it needs luv.
local OPTIONS = {
  port = "number", delay = "number", api_key = "string", model = "string", max_model_len = "number",
  limit_image = "number", limit_video = "number", limit_audio = "number", like = "string", media_cache = "number",
  tools = "boolean", capacity = "string", record = "string", upstream = "string", replay = "string",
  closest = "boolean", timing = "boolean", interpreter = "string",
}

---@class lmm.MockServer
---@field url string     "http://127.0.0.1:PORT/v1"
---@field port integer
---@field pid integer
---@field stop fun()     ends the server and waits until it is gone; may be called again

--- Starts the server and waits until it listens. It answers every chat request with what it received, in the form vLLM
--- answers in; a line `call NAME {"argument": 1}` of a question calls a tool of the request (lmm/mock/tools.lua tells
--- more), and a request's own field `mock` asks it for faults (lmm/mock/faults.lua lists them).
---@param opts? { port: integer?, delay: number?, api_key: string?, model: string?, max_model_len: integer?,
--- limit_image: integer?, limit_video: integer?, limit_audio: integer?, like: string?, media_cache: integer?,
--- tools: boolean?, capacity: string?, record: string?, upstream: string?, replay: string?, closest: boolean?,
--- timing: boolean?, interpreter: string? }
---  port: a free one unless given; delay: seconds between the pieces of a streamed answer, 0.02 unless given; api_key:
---  asked of every request, seen by other users of this machine, so invent one; model: its name, "mock" unless given;
---  max_model_len: tokens of a prompt and its answer; limit_...: how many of a kind a prompt may hold, any number
---  unless given; like: the server that it is like, a dialect's name, "vllm" unless given;
---  media_cache: how many media it keeps under their uuids, where that server does, 256 unless given; tools: false
---  refuses them, as vLLM does that was started without a parser; record: a file; with it, requests are passed on to
---  the server at the base URL `upstream`, and answers come back and go into the file; replay: such a file, from which
---  requests are answered; one that is not in it gets a 404, or, with `closest`, the answer to the one that is most
---  like it; timing: an answer takes the time that it took; interpreter: the `lua` to run it with, one that has
---  luv, lua-cjson and luaossl
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
