--- The transports: a client's settings come in, the transport that belongs to its loop goes out.
local route = require "lmm.transport.route"

local transport = {
  environment = route.environment,
  proxy_of_environment = route.proxy_of_environment,
}

--- By the name that a loop gives; loaded with the first client that needs it.
local modules = { curl = "lmm.transport.curl", resty = "lmm.transport.resty" }

--- Makes the transport of a client: that which its loop names, else libcurl's.
---@param loop lmm.Loop
---@param opts { base_url: string, proxy: string?, unix_socket: string?, tls: table? }  as lmm.connect takes them
---@return lmm.Transport
function transport.new(loop, opts)
  return require(modules[loop.transport or "curl"]).new(loop, opts)
end

return transport
