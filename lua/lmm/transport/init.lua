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
local modules = { curl = "lmm.transport.curl", resty = "lmm.transport.resty", tcp = "lmm.transport.tcp" }

--- Makes the transport of a client: that which its loop names, else libcurl's, which is also there for servers that
--- plain TCP does not reach.
---@param loop lmm.Loop
---@param opts { base_url: string, proxy: string?, unix_socket: string?, tls: table? }  as lmm.connect takes them
---@return lmm.Transport
function transport.new(loop, opts)
  local name = loop.transport or "curl"
  if name == "tcp" and not require("lmm.transport.route").is_plain(opts) then name = "curl" end
  return require(modules[name]).new(loop, opts)
end

--- Loads lmm.curl, and with it libcurl and forty libraries, in the way that takes the least time (lmm.core.load);
--- `require` then finds it there.
---@param is_aside boolean?  in a thread, while the program goes on
function transport.load_libcurl(is_aside)
  local search = package.searchpath -- luacheck: ignore
  local path = search and search("lmm.curl", package.cpath) -- Lua 5.1 has no such function
  if path then require "lmm.core".load(path, is_aside) end
end

--- For a program that makes a call or a few and ends, before it makes its client: plain TCP has what it can reach, and
--- libcurl, where it seems to be needed, is loaded while the program has something else to do. Other loops than that of
--- plain Lua move one transport alone, which is libcurl's.
---@param loop lmm.Loop
---@param url string?  of its server, as far as is known by now
function transport.hasten(loop, url)
  local is_alone = loop.name ~= "blocking"
  if not is_alone then loop.transport = "tcp" end
  if is_alone or url and not require("lmm.transport.route").is_plain { base_url = url } then
    transport.load_libcurl(true)
  end
end

return transport
