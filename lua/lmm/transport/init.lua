--- The transports: a client's settings come in, the transport that belongs to its loop goes out.
local transport = {}

--- See lmm.transport.route.
function transport.environment(...)
  return require("lmm.transport.route").environment(...)
end

function transport.proxy_of_environment(...)
  return require("lmm.transport.route").proxy_of_environment(...)
end

--- By the name that a loop gives; loaded with the first client that needs it.
local modules = { curl = "lmm.transport.curl", resty = "lmm.transport.resty" }

--- Makes the transport of a client: that which its loop names, else libcurl's.
---@param loop lmm.Loop
---@param opts { base_url: string, proxy: string?, unix_socket: string?, tls: table? }  as lmm.connect takes them
---@return lmm.Transport
function transport.new(loop, opts)
  return require(modules[loop.transport or "curl"]).new(loop, opts)
end

--- Loads lmm.curl, and with it libcurl and forty libraries, in the way that takes the least time (lmm.core.load);
--- `require` then finds it there.
---@param is_aside boolean?  in a thread, for a program that has something else to do before it makes its first call
function transport.load_libcurl(is_aside)
  local search = package.searchpath -- luacheck: ignore
  local path = search and search("lmm.curl", package.cpath) -- Lua 5.1 has no such function
  if path then require "lmm.core".load(path, is_aside) end
end

return transport
