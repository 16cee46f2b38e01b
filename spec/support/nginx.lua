--- A real nginx as a child process, on a Unix socket in a folder of its own.
--
-- In:  { workers = 2, main =, events =, http =, server = } with more of nginx's configuration for each level.
-- Out: a server that runs Lua which it is sent. It ends when it is stopped, or after some minutes.
--
--     local server = nginx.start {}
--     server:run [[return require("lmm").connect("..."):models()[1].id]]  --> "tiny"
--     server:stop()                                                       -- raises what the error log holds

local process = require "spec.support.process"
local run_curl = require "spec.support.curl"

local quote = process.quote

local LONGEST = 300 -- seconds after which a server ends that nobody has stopped

-- What is preloaded into all that the specs run, and where they look for modules, is not for nginx.
local CLEAN = "env -u LD_PRELOAD -u LUA_PATH -u LUA_CPATH -u MAKEFLAGS -u MAKELEVEL "

local CONFIG = [[
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
daemon off;
pid nginx.pid;
error_log error.log;
worker_processes $workers;
worker_rlimit_nofile 4096;
$main
events { worker_connections 1024; $events }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  lua_package_path "$root/lua/?.lua;$root/lua/?/init.lua;$root/?.lua;;";
  lua_package_cpath "$root/build/lua5.1/?.so;;";
  lua_socket_log_errors off;
  $http
  server {
    listen unix:$folder/socket;
    client_max_body_size 100m;
    client_body_buffer_size 1m;
    location = /run {
      lua_check_client_abort on;
      content_by_lua_block {
        ngx.req.read_body()
        local results = { assert(loadstring(ngx.req.get_body_data(), "=spec"))() }
        for i = 1, table.maxn(results) do ngx.say(tostring(results[i])) end
      }
    }
    location = /ping { return 200 pong; }
    $server
  }
}
]]

local Server = {}
Server.__index = Server

--- What the server says to a request; `words` are more words for curl.
---@return string body, integer code  curl's exit code
function Server:get(path, words)
  return run_curl(("%s --unix-socket %s/socket http://localhost%s"):format(words or "", self.folder, path))
end

--- The words of a shell command that has the server run Lua. What the chunk returns is printed, a line for each value.
function Server:command(code, words)
  self.written = self.written + 1
  local path = process.write(("%s/chunk.%d"):format(self.folder, self.written), code)
  return ("env -u LD_PRELOAD curl -sS %s --data-binary @%s --unix-socket %s/socket http://localhost/run"):format(
    words or "", path, self.folder)
end

--- Has the server run Lua and gives what it returned, a value in each line. `$name` stands for `values.name`.
function Server:run(code, values)
  code = code:gsub("%$(%a+)", values or {})
  return (process.shell(self:command(code, "--max-time 20") .. " 2>&1"):gsub("\n$", ""))
end

--- What the error log holds.
function Server:log()
  return process.read(self.folder .. "/error.log")
end

--- The master's process number.
function Server:pid()
  return tonumber((process.read(self.folder .. "/nginx.pid")))
end

--- The process numbers of the workers that take requests.
function Server:workers()
  local found = {}
  for pid in process.shell("cat /proc/" .. self:pid() .. "/task/*/children"):gmatch "%d+" do
    local words = process.read("/proc/" .. pid .. "/cmdline") or ""
    if words:find "worker process" and not words:find "shutting down" then found[#found + 1] = tonumber(pid) end
  end
  return found
end

--- Runs `nginx -s SIGNAL`.
function Server:signal(name)
  process.shell(("%s nginx -p %s -c nginx.conf -s %s 2>&1"):format(CLEAN, self.folder, name))
end

--- Ends it; raises where something has been written to the error log but lines with one of the patterns.
---@param expected string[]?
function Server:stop(expected)
  if not self.pipe then return end
  os.execute("kill " .. self.parent)
  self.pipe:close()
  self.pipe = nil
  local log = self:log():gsub("[^\n]*\n", function(line)
    for _, pattern in ipairs(expected or {}) do
      if line:find(pattern) then return "" end
    end
  end)
  os.execute("rm -rf " .. quote(self.folder))
  if log ~= "" then error("error.log: " .. log, 2) end
end

local nginx = {}

local is_built

--- lmm.core as nginx takes it.
local function build()
  if is_built then return end
  local said = process.shell(CLEAN .. "make --no-print-directory core LUA=lua5.1 VARIANT= 2>&1; echo \"exit $?\"")
  if not said:find "exit 0\n$" then error("lmm.core for nginx: " .. said, 2) end
  is_built = true
end

local function configure(folder, opts)
  local values = { workers = opts.workers or 1, main = opts.main or "", events = opts.events or "",
    http = opts.http or "", server = opts.server or "", folder = folder, root = process.shell "pwd":match "^[^\n]+" }
  if process.shell "id -u" == "0\n" then values.main = "user root;\n" .. values.main end
  local text = CONFIG
  for _ = 1, 2 do text = text:gsub("%$(%l+)", values) end
  return text
end

--- Starts a server. `env` are assignments; `config` makes the whole of a configuration for a folder, to be run with
--- this `prefix`.
---@param opts { workers: integer?, main: string?, events: string?, http: string?, server: string?, env: string?,
--- prefix: string?, config: nil|fun(folder: string): string }
function nginx.start(opts)
  build()
  local folder = process.shell "mktemp -d":match "^[^\n]+"
  os.execute("chmod a+x " .. folder) -- its workers may be somebody else
  process.write(folder .. "/nginx.conf", opts.config and opts.config(folder) or configure(folder, opts))
  local command = ("echo $$; exec %s %s timeout -k 5 %d nginx -p %s -c %s/nginx.conf >%s/said 2>&1 </dev/null"):format(
    CLEAN, opts.env or "", LONGEST, opts.prefix or folder, folder, folder)
  local pipe = assert(io.popen(command))
  local self = setmetatable({ folder = folder, pipe = pipe, parent = pipe:read "*l", written = 0 }, Server)
  process.wait_for("nginx", function()
    if not process.runs(self.parent) then error(process.read(folder .. "/said"), 0) end
    return self:get "/ping":find "^pong"
  end)
  return self
end

return nginx
