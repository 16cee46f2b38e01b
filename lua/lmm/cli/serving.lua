--- How a command starts a model server: its options come in; what lmm.serve takes goes out.
local console = require "lmm.cli.console"

local serving = {}

local function port(text)
  local number = text:find "^%d+$" and tonumber(text)
  if number and number >= 1 and number <= 65535 then return number end
  return nil, ("'%s' is not a port: a number from 1 to 65535"):format(text)
end

function serving.declare(command)
  command:option("--ready-timeout", "How long the server may take to answer (default: 600)."):argname("SECONDS")
    :convert(console.seconds)
  command:option("--log", "The file for what the server says (default: a temporary one)."):argname "FILE"
  command:option("--port", "The server's port (default: a free one)."):argname("N"):convert(port)
end

--- A key that nobody can guess.
function serving.new_key()
  local bytes = require "luv".random(16)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

--- The environment of a server that is to ask for a key: servers are told by these names, so that it stands in no
--- process's arguments.
function serving.key_environment(key)
  return { VLLM_API_KEY = key, LLAMA_API_KEY = key }
end

--- What lmm.serve takes.
---@param command string[]
---@param key string?  that the server is to ask for
---@param client table?  options of its client
function serving.options(args, command, key, client)
  local own = { api_key = key }
  for name, value in pairs(client or {}) do own[name] = value end
  return {
    command = command, ready_timeout = args.ready_timeout, log = args.log, port = args.port,
    env = key and serving.key_environment(key) or nil, client = own,
  }
end

return serving
