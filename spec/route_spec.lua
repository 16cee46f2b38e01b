-- Where a request goes: directly, through a proxy, or to a socket.
local process = require "spec.support.process"
local route = require "lmm.transport.route"

local cases = {
  { "http://a.example/v1", {}, "a.example:80", "/v1", "a.example" },
  { "http://a.example:80/v1", {}, "a.example:80", "/v1", "a.example" },
  { "https://a.example", {}, "a.example:443", "/", "a.example" },
  { "http://[::1]:8000/v1?x=y", {}, "[::1]:8000", "/v1?x=y", "[::1]:8000" },
  { "http://[::1]/v1", {}, "[::1]:80", "/v1", "[::1]" },
  { "http://a.example/v1", { unix_socket = "/run/a" }, "unix:/run/a", "/v1", "a.example" },
  { "http://a.example:8000/v1", { proxy = "http://p:3128" }, "p:3128", "http://a.example:8000/v1", "a.example:8000" },
  { "http://a.example/v1", { proxy = "p" }, "p:1080", "http://a.example/v1", "a.example" },
  { "https://a.example/v1", { proxy = "http://p:3128/" }, "p:3128", "/v1", "a.example", "a.example:443" },
  { "https://[::2]:8443/v1", { proxy = "http://[::1]:3128" }, "[::1]:3128", "/v1", "[::2]:8443", "[::2]:8443" },
}

describe("where a request goes", function()
  for _, row in ipairs(cases) do
    it(row[1] .. (row[2].proxy and " through " .. row[2].proxy or ""), function()
      local to = route.of(row[1], row[2])
      local address = to.connect_to .. (to.connect_port and ":" .. to.connect_port or "")
      assert.same({ row[3], row[4], row[5], row[6] }, { address, to.target, to.authority, to.tunnel })
    end)
  end

  it("a proxy's user", function()
    local to = route.of("http://a.example", { proxy = "http://us%20er:pa:ss@p:1" })
    assert.same({ host = "p", port = 1, authorization = "Proxy-Authorization: Basic dXMgZXI6cGE6c3M=" }, to.proxy)
  end)

  it("a proxy that is not spoken to", function()
    local text = assert.raises("proxy 'socks5://p:1': from here only http:// proxies",
      route.of, "http://a.example", { proxy = "socks5://user:secret@p:1" })
    assert.falsy(text:find "secret")
  end)

  -- What a process with these variables takes for the proxy.
  local environments = {
    { "http_proxy=http://p:1", "http://a.example", "p:1" },
    { "HTTP_PROXY=http://p:1", "http://a.example", "a.example:80" },
    { "http_proxy=http://p:1", "https://a.example", "a.example:443" },
    { "https_proxy=http://p:1", "https://a.example", "p:1" },
    { "HTTPS_PROXY=http://p:1", "https://a.example", "p:1" },
    { "all_proxy=http://p:1", "https://a.example", "p:1" },
    { "ALL_PROXY=http://p:1", "http://a.example", "p:1" },
    { "all_proxy=", "http://a.example", "a.example:80" },
    { "all_proxy=http://p:1", "http://localhost:8000", "localhost:8000" },
    { "all_proxy=http://p:1", "http://127.0.0.2:8000", "127.0.0.2:8000" },
    { "all_proxy=http://p:1", "http://[::1]:8000", "[::1]:8000" },
    { "all_proxy=http://p:1 no_proxy=b,.example", "http://a.example", "a.example:80" },
    { "all_proxy=http://p:1 no_proxy=a.EXAMPLE", "http://A.example.", "A.example.:80" },
    { "all_proxy=http://p:1 no_proxy=example.", "http://a.example", "a.example:80" },
    { "all_proxy=http://p:1 NO_PROXY=xample", "http://a.example", "p:1" },
    { "all_proxy=http://p:1 no_proxy='*'", "http://a.example", "a.example:80" },
  }

  -- Networks, as libcurl has known them since 7.86.
  for _, row in ipairs {
    { "192.168.0.0/16", "192.168.3.4", true }, { "192.168.0.0/16", "192.169.0.1", false },
    { "10.0.0.0/9", "10.127.0.1", true }, { "10.0.0.0/9", "10.128.0.1", false },
    { "b,10.1.2.3/32", "10.1.2.3", true }, { "10.1.2.3/32", "10.1.2.2", false },
    { "10.1.2.0/24", "a.10.1.2.0", false }, { "10.1.2/24", "10.1.2.3", false }, { "10.0.0.0/x", "10.0.0.0", false },
    { "fd00::/8", "[fd12:3::4]", true }, { "fd00::/8", "[fe80::1]", false },
    { "2001:DB8:1::/47", "[2001:db8:0:1::9]", true }, { "2001:db8::/47", "[2001:db8:2::9]", false },
    { "::/8", "10.0.0.1", false }, { "0.0.0.0/8", "[::2]", false }, { "2001:db8:0:0::1", "[2001:db8::1]", true },
  } do
    environments[#environments + 1] = { "all_proxy=http://p:1 no_proxy=" .. row[1], "http://" .. row[2],
      row[3] and row[2] .. ":80" or "p:1" }
  end

  it("hosts of this machine go around the proxy of the environment, all others through it", function()
    local getenv = os.getenv
    finally(function() os.getenv = getenv end) -- luacheck: ignore
    os.getenv = function(name) return name == "http_proxy" and "http://p:1" or nil end -- luacheck: ignore
    for host, is_direct in pairs { ["localhost"] = true, ["LOCALHOST."] = true, ["a.localhost"] = true,
      ["127.8.9.1"] = true, ["0.0.0.0"] = true, ["[::1]"] = true, ["[::]"] = true, ["[0:0:0:0:0:0:0:1]"] = true,
      ["[::ffff:127.0.0.1]"] = true, ["example.org"] = false, ["127.example.org"] = false, ["[::2]"] = false,
      ["localhost.example.org"] = false } do
      local url, variable = route.proxy_of_environment("http", host)
      assert.equal(not is_direct and "http://p:1" or nil, url, host)
      assert.equal(not is_direct and "$http_proxy" or nil, variable, host)
    end
  end)

  local SHOW = [[local client = require("lmm").connect "%s"
  local to = require("lmm.transport.route").of(client.base_url, client) io.write(to.connect_to, ":", to.connect_port)]]

  local CLEAN = "env -u http_proxy -u https_proxy -u all_proxy -u no_proxy -u HTTPS_PROXY -u ALL_PROXY -u NO_PROXY "
  local interpreter = arg[-1]

  for _, row in ipairs(environments) do
    it(row[1] .. " for " .. row[2], function()
      local command = CLEAN .. row[1] .. (" %s -e '%s'"):format(process.quote(interpreter), SHOW:format(row[2]))
      assert.equal(row[3], process.shell(command))
    end)
  end
end)
