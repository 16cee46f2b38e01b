--- A certificate authority that lives as long as a spec, and HTTPS servers with its certificates: the openssl program.
--
--     local authority = authorities.new()
--     authority:issue("good", "IP:127.0.0.1,DNS:localhost")
--     local server = authority:serve("good", "-Verify 1")
--     lmm.connect { base_url = server.url, tls = { ca = authority:path "ca.pem" } }:models()

local process = require "spec.support.process"

local quote = process.quote

-- What `make asan` preloads into all that the specs run is not for other people's programs.
local OPENSSL = "env -u LD_PRELOAD openssl "

local NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

local LONGEST = 300 -- seconds after which a server ends that nobody has stopped

local MODELS = '{"object":"list","data":[{"id":"tiny"}]}'

local Authority = {}
Authority.__index = Authority

--- The path of one of its files.
function Authority:path(name)
  return self.folder .. "/" .. name
end

--- Runs openssl in its folder; raises what openssl says where it fails.
function Authority:openssl(words)
  local said = process.shell(("cd %s && { %s %s; } 2>&1; echo \"exit $?\""):format(quote(self.folder), OPENSSL, words))
  if not said:find "exit 0\n$" then error("openssl " .. words .. ": " .. said, 2) end
end

--- Makes NAME.pem and NAME.key.
---@param names string   the subject's alternative names, in openssl's form
---@param days integer?  how long it is good; -1: until yesterday
function Authority:issue(name, names, days)
  process.write(self:path(name .. ".ext"), "subjectAltName=" .. names)
  self:openssl(("req %s -keyout %s.key -out %s.csr -subj /CN=%s"):format(NEW_KEY, name, name, name))
  self:openssl(("x509 -req -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days %d -extfile %s.ext -out %s.pem")
    :format(name, days or 30, name, name))
end

--- Makes NAME.pem, which vouches for itself, and NAME.key.
function Authority:vouch(name, names)
  self:openssl(("req -x509 %s -keyout %s.key -out %s.pem -days 30 -subj /CN=%s -addext %s"):format(
    NEW_KEY, name, name, name, quote("subjectAltName=" .. names)))
end

--- Starts a server that answers GET /v1/models.
---@param name string    its certificate
---@param words string?  further options of s_server
---@return { url: string, port: integer, requests: (fun(): integer), stop: fun() }
function Authority:serve(name, words)
  self.served = self.served + 1
  local log = self:path("log." .. self.served)
  local command = ("cd %s && echo $$ && exec timeout %d %s s_server -HTTP -accept 127.0.0.1:0 -cert %s -key %s %s"
    .. " >%s 2>&1 </dev/null"):format(quote(self.folder), LONGEST, OPENSSL, name .. ".pem", name .. ".key", words or "",
    quote(log))
  local pipe = assert(io.popen(command))
  local pid = pipe:read "*l"
  local port = process.wait_for("openssl s_server", function()
    local said = process.read(log) or ""
    return said:match "ACCEPT [^\n]*:(%d+)\n" or said:find "rror" and error(said, 0)
  end)
  return {
    url = "https://127.0.0.1:" .. port .. "/v1",
    port = tonumber(port),
    requests = function() return select(2, process.read(log):gsub("FILE:", "")) end,
    stop = function()
      if not pipe then return end
      os.execute("kill " .. pid)
      pipe:close()
      pipe = nil
    end,
  }
end

function Authority:remove()
  os.execute("rm -rf " .. quote(self.folder))
end

local authorities = {}

function authorities.new()
  local folder = process.shell "mktemp -d":match "^[^\n]+"
  local self = setmetatable({ folder = folder, served = 0 }, Authority)
  self:openssl("req -x509 " .. NEW_KEY .. " -keyout ca.key -out ca.pem -days 30 -subj /CN=authority")
  os.execute("mkdir " .. quote(folder .. "/v1"))
  process.write(self:path "v1/models", ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    .. "Connection: close\r\n\r\n%s"):format(#MODELS, MODELS))
  return self
end

return authorities
