--- The gateway of examples/nginx as it stands, but for the places where it listens and writes.
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local raw = require "spec.support.raw"

local gateway = {}

gateway.KEY = "-H 'Authorization: Bearer alices-key' "

local function free_port()
  local server = raw.start { {} }
  server:stop()
  return server.port
end

--- Starts it, at `url` and for curl on a Unix socket; `servers` are URLs with spaces between.
---@param servers string
---@param edit nil|fun(config: string): string  changes more of its configuration
function gateway.start(servers, edit)
  local port = free_port()
  local server = nginx.start {
    prefix = "examples/nginx/gateway",
    config = function(folder)
      local text = process.read "examples/nginx/gateway/nginx.conf"
      text = text:gsub("listen [^;]+", ("listen 127.0.0.1:%d; listen unix:%s/socket"):format(port, folder))
        :gsub("pid [^;]+", "pid " .. folder .. "/nginx.pid")
        :gsub("error_log [^;]+", "error_log " .. folder .. "/error.log")
        :gsub("/dev/stdout", folder .. "/access.log")
        :gsub("/tmp/lmm%-gateway", folder .. "/body")
      return edit and edit(text) or text
    end,
    env = ("LMM_SERVERS='%s' OPENAI_API_KEY=the-servers-key"):format(servers),
  }
  server.url = ("http://127.0.0.1:%d/v1"):format(port)
  return server
end

return gateway
