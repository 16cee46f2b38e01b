--- An OpenAI-compatible server that needs no model: options come in; a server that answers as lmm.mock.routes says, or
--- as a recorder or a player does, goes out.
local uv = require "luv"
local capacity = require "lmm.mock.capacity"
local http = require "lmm.http"
local likeness = require "lmm.mock.likeness"
local media_cache = require "lmm.mock.media_cache"
local options = require "lmm.options"
local routes = require "lmm.mock.routes"
local startup = require "lmm.mock.startup"

local mock_server = {}

--- The options and their types. The same names are words on a command line: `--name=value`.
mock_server.options = {
  port = "number", delay = "number", api_key = "string", model = "string", max_model_len = "number",
  limit_image = "number", limit_video = "number", limit_audio = "number", like = "string", media_cache = "number",
  tools = "boolean", capacity = "string", record = "string", upstream = "string", replay = "string",
  closest = "boolean", timing = "boolean",
}

local DEFAULTS = { port = 0, delay = 0.02, model = "mock", max_model_len = 32768, like = "vllm", media_cache = 256 }

local UVICORN = "server: uvicorn\r\n" -- by which vLLM and many others are served
local LARGE = 1024 * 1024 -- bytes of a body that are not left to the collector, since several copies of it were made
local ROW_SECONDS = 0.1 -- that an answer takes where there is a capacity

--- The model of what the server can do at a time; nil where that is anything.
---@return lmm.mock.Capacity? load, string? message
local function new_load(text)
  if not text then return nil end
  return capacity.new(text, { seconds = ROW_SECONDS, after = function(seconds, fn)
    local timer = uv.new_timer()
    timer:start(math.ceil(seconds * 1000), 0, function()
      timer:close()
      fn()
    end)
  end })
end

--- What answers in the mock's place: a recorder, a player, or nothing.
---@return lmm.mock.Recorder|lmm.mock.Player|nil stand_in, string? message
local function new_stand_in(settings)
  if settings.record and settings.replay then return nil, "it either records or replays, not both" end
  if settings.record and not settings.upstream then return nil, "the server to record is not named" end
  if settings.record then
    return require("lmm.mock.recorder").new(settings.upstream, settings.record, function(line)
      io.stderr:write(line, "\n")
    end)
  end
  if settings.replay then return require("lmm.mock.player").new(settings.replay, settings) end
end

--- Serves on 127.0.0.1 while the loop runs.
---@param opts? { port: integer?, delay: number?, api_key: string?, model: string?, max_model_len: integer?,
--- limit_image: integer?, limit_video: integer?, limit_audio: integer?, like: string?, media_cache: integer?,
--- tools: boolean?, capacity: string?, record: string?, upstream: string?, replay: string?, closest: boolean?,
--- timing: boolean? }
---  port: a free one unless given; delay: seconds between the pieces of a streamed answer, 0.02 unless given; api_key:
---  asked of every request below /v1; model: "mock" unless given; max_model_len: tokens of a prompt, or 32768;
---  limit_...: how many of a kind a prompt may hold; like: the server that it is like, "vllm" unless given;
---  media_cache: how many media it keeps under their uuids, 256 unless given; tools: false refuses them, as vLLM
---  does without a parser; capacity: what it can do at a time, see lmm/mock/capacity.lua, an answer alone takes 0.1 s;
---  record and upstream: a file, and the base URL of a server to which requests are passed on; replay: a file to
---  answer from; closest: also what was not recorded; timing: in the time that it took
---@param log nil|fun(line: string)  gets each request and the status that it is answered with
---@return lmm.http.Server? server
---@return string? message
function mock_server.serve(opts, log)
  local given = options.check("mock", mock_server.options, opts)
  local settings = { created = os.time() }
  for name, value in pairs(DEFAULTS) do settings[name] = value end
  for name, value in pairs(given) do settings[name] = value end
  settings.limits = { image = settings.limit_image, video = settings.limit_video, audio = settings.limit_audio }
  local like = likeness.named(settings.like)
  if not like then
    return nil, ("there is no server '%s' to be like (there are: %s)"):format(settings.like,
      table.concat(likeness.names(), ", "))
  end
  settings.like, settings.cache = like, media_cache.new(like.keeps and settings.media_cache or 0)
  local problem
  settings.load, problem = new_load(settings.capacity)
  if problem then return nil, problem end
  settings.stand_in, problem = new_stand_in(settings)
  if problem then return nil, problem end
  if settings.port % 1 ~= 0 or settings.port < 0 or settings.port > 65535 then
    return nil, string.format("port %s is not between 0 and 65535", settings.port)
  end
  local server
  server, problem = http.serve {
    port = settings.port,
    on_request = function(request, response)
      response.head = like.head or UVICORN
      response.on_start = log and function(status) log(("%s %s %d"):format(request.method, request.path, status)) end
      if settings.stand_in then
        settings.stand_in:answer(request, response)
      else
        routes.answer(settings, request, response)
      end
      if #(request.body or "") > LARGE then collectgarbage() end
    end,
  }
  if not server then return nil, problem end
  local close = server.close
  function server.close()
    close()
    if settings.stand_in then settings.stand_in:close() end
  end
  server.description = settings.stand_in and settings.stand_in:describe() or ('model "%s"'):format(settings.model)
  return server
end

--- Serves in this process until SIGINT or SIGTERM.
---@param opts? table  as for `serve`
---@param plan? lmm.mock.Startup  how long it takes to start, what it logs meanwhile, and whether it fails
---@return true? ended
---@return string? message
function mock_server.run(opts, plan)
  local server, failure, start
  local signals = {}
  local function stop(why)
    if server then server.close() end
    start.close()
    failure = why
    for _, signal in ipairs(signals) do
      if not signal:is_closing() then signal:close() end
    end
  end
  for i, name in ipairs { "sigint", "sigterm" } do
    signals[i] = uv.new_signal()
    signals[i]:start(name, function() stop() end)
  end
  start = startup.run(plan or {}, function(problem)
    if problem then return stop(problem) end
    server, problem = mock_server.serve(opts, function(line) io.stderr:write(line, "\n") end)
    if not server then return stop(problem) end
    print(string.format("lmm mock: listening on http://127.0.0.1:%d/v1 (%s)", server.port, server.description))
    io.flush()
  end)
  uv.run()
  if failure then return nil, failure end
  return true
end

--- The program of a child process (see lmm/server/child.lua).
---@param words string[]  "--name=value"
function mock_server.main(words)
  local opts = {}
  for _, word in ipairs(words) do
    local name, value = word:match "^%-%-([%w_]+)=(.*)$"
    local kind = mock_server.options[name]
    if kind == "boolean" then value = value == "true" end
    opts[name] = kind == "number" and tonumber(value) or value
  end
  local server, message = mock_server.serve(opts)
  if not server then error(message, 0) end
  require("lmm.server").child.ready(uv, string.format("listening 127.0.0.1:%d", server.port))
  uv.run()
end

return mock_server
