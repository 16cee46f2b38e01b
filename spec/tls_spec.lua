-- TLS on real sockets, with an authority of the spec's own: whom the client trusts, what it shows of itself, and what
-- it says where the two sides do not come together.
local authorities = require "spec.support.authority"
local lmm = require "lmm"
local process = require "spec.support.process"
local raw = require "spec.support.raw"

local authority

local function path(name) return authority:path(name) end

local ASKS = "-Verify 1 -CAfile ca.pem -verify_return_error"

--- Paths for the names of files; what is no name stays.
local function tls_of(names)
  local tls = {}
  for option, value in pairs(names) do tls[option] = type(value) == "string" and path(value) or value end
  return tls
end

--- What models() gives, with retries that do not wait.
local function list(url, tls, timeout)
  return lmm.connect({ base_url = url, tls = tls, retry = { base = 0 }, timeout = timeout }):models()
end

local function with(name, words, fn)
  local server = authority:serve(name, words)
  local ok, err = xpcall(function() fn(server) end, debug.traceback)
  server.stop()
  if not ok then error(err, 0) end
end

local accepted = { -- what, the server's certificate, further options of the server, options of the client
  { "a certificate of the authority", "good", "", { ca = "ca.pem" } },
  { "a certificate that is named itself", "alone", "", { ca = "alone.pem" } },
  { "TLS 1.2", "good", "-tls1_2", { ca = "ca.pem" } },
  { "TLS 1.3", "good", "-tls1_3", { ca = "ca.pem" } },
  { "the client's certificate", "good", ASKS, { ca = "ca.pem", cert = "client.pem", key = "client.key" } },
  { "the client's certificate, with TLS 1.2", "good", ASKS .. " -tls1_2",
    { ca = "ca.pem", cert = "client.pem", key = "client.key" } },
  { "without verification: an unknown issuer", "good", "", { verify = false } },
  { "without verification: another host", "other", "", { verify = false } },
  { "without verification: a certificate too old", "expired", "", { verify = false } },
  { "without verification: nobody's", "alone", "", { verify = false } },
}

describe("TLS", function()
  setup(function()
    authority = authorities.new()
    authority:issue("good", "IP:127.0.0.1,DNS:localhost")
    authority:issue("other", "DNS:other.example,IP:127.0.0.2")
    authority:issue("expired", "IP:127.0.0.1", -1)
    authority:issue("client", "email:client@other.example")
    authority:vouch("alone", "IP:127.0.0.1")
    authority:vouch("stranger", "IP:127.0.0.1")
    authority:openssl "pkey -in client.key -aes-128-cbc -passout pass:phrase -out locked.key"
  end)
  teardown(function() authority:remove() end)

  for _, row in ipairs(accepted) do
    it("accepted: " .. row[1], function()
      with(row[2], row[3], function(server)
        assert.equal("tiny", assert(list(server.url, tls_of(row[4])))[1].id)
      end)
    end)
  end

  it("accepted: by the host's name", function()
    with("good", "", function(server)
      assert.equal("tiny", assert(list("https://localhost:" .. server.port .. "/v1", { ca = path "ca.pem" }))[1].id)
    end)
  end)

  local TRUST = "tls.ca: name the file of the authority's certificate"
  local ASKED = "the server asks for a client certificate: tls.cert and tls.key"
  local KEY = "tls.key: name the file of the certificate's own key, PEM and without a pass phrase"

  local refused = { -- what, as above, what the message says, the hint
    { "an unknown issuer", "good", "", {}, "certificate", TRUST },
    { "an unknown issuer, verified by word", "good", "", { verify = true }, "certificate", TRUST },
    { "another issuer", "good", "", { ca = "stranger.pem" }, "certificate", TRUST },
    { "another host", "other", "", { ca = "ca.pem" }, "127%.0%.0%.1" },
    { "a certificate too old", "expired", "", { ca = "ca.pem" }, "expired" },
    { "nobody's certificate", "alone", "", { ca = "ca.pem" }, "certificate", TRUST },
    { "a CA file without a certificate", "good", "", { ca = "v1/models" }, "v1/models" },
    { "no certificate of the client's", "good", ASKS, { ca = "ca.pem" }, "certificate required", ASKED },
    { "no certificate of the client's, with TLS 1.2", "good", ASKS .. " -tls1_2", { ca = "ca.pem" }, "handshake" },
    { "a client's certificate of another authority", "good", ASKS,
      { ca = "ca.pem", cert = "stranger.pem", key = "stranger.key" }, "alert" },
    { "a client's certificate whose file holds no key", "good", ASKS, { ca = "ca.pem", cert = "client.pem" },
      "client%.pem", KEY },
    { "a client's key for another certificate", "good", ASKS,
      { ca = "ca.pem", cert = "client.pem", key = "good.key" }, "good%.key", KEY },
    { "a client's key behind a pass phrase", "good", ASKS,
      { ca = "ca.pem", cert = "client.pem", key = "locked.key" }, "locked%.key", KEY },
  }

  for _, row in ipairs(refused) do
    it("refused, and not tried again: " .. row[1], function()
      with(row[2], row[3], function(server)
        local err = assert.refused(row[5], list(server.url, tls_of(row[4])))
        assert.same({ "connect", "tls", 1, false, row[6], 0 },
          { err.kind, err.phase, err.attempts, err.retryable, err.hint, server.requests() }, err.message)
        assert.matches("^cannot reach https://127%.0%.0%.1:%d+/v1/models: ", err.message)
      end)
    end)
  end

  it("a refused certificate is not waited out", function()
    with("good", "", function(server)
      local client = lmm.connect { base_url = server.url, retry = false }
      local err = assert.refused("certificate", client:wait_ready { timeout = 60 })
      assert.same({ "connect", "tls" }, { err.kind, err.phase })
    end)
  end)

  it("files that cannot be read are refused before anything is sent", function()
    for _, option in ipairs { "ca", "cert", "key" } do
      for name, why in pairs { ["gone.pem"] = "No such file or directory", ["ca.pem/x"] = "Not a directory",
        v1 = "Is a directory" } do
        local says = "lmm: lmm%%.connect: tls%%.%s: cannot read '%s': %s$"
        assert.raises(says:format(option, path(name):gsub("%p", "%%%0"), why), lmm.connect,
          { base_url = "https://127.0.0.1:9/v1", tls = { [option] = path(name) } })
      end
    end
  end)

  it("nobody at the terminal is asked for a pass phrase", function()
    if process.shell "command -v script" == "" then pending "there is no program script, which lends a terminal" end
    with("good", ASKS, function(server)
      local program = process.write(path "ask.lua", ([[
        local client = require "lmm".connect { base_url = %q, retry = false,
          tls = { ca = %q, cert = %q, key = %q } }
        print(select(2, client:models()))]]):format(server.url, path "ca.pem", path "client.pem", path "locked.key"))
      local said = process.shell(("script -qec %s /dev/null </dev/null 2>&1"):format(
        process.quote(("%s %s"):format(process.quote(arg[-1]), process.quote(program)))))
      assert.matches("cannot reach https", said)
      assert.truthy(not said:lower():find "enter", said)
    end)
  end)

  --- Runs `fn(https_url, server)` with a plain server of this scenario.
  local function with_plain(scenario, fn)
    local server = raw.start { scenario }
    local ok, err = xpcall(function() fn((server.url:gsub("^http:", "https:")), server) end, debug.traceback)
    server:stop()
    if not ok then error(err, 0) end
  end

  it("a handshake that is never answered: the limit for connecting, or for all of it", function()
    local silent = { { hold = true } }
    with_plain(silent, function(url, server)
      local err = assert.refused("^could not connect to https://.* within 0.3 s %(timeout%.connect sets this limit%)$",
        lmm.connect({ base_url = url, retry = false, timeout = { connect = 0.3 } }):models())
      assert.same({ "timeout", "tls", "connect", true }, { err.kind, err.phase, err.limit, err.retryable })
      server:wait "closed"
    end)
    with_plain(silent, function(url)
      local err = assert.refused("within 0.3 s %(timeout%.total sets this limit%)$", list(url, nil, 0.3))
      assert.same({ "timeout", "tls", "total", false }, { err.kind, err.phase, err.limit, err.retryable })
    end)
  end)

  local BAD_REQUEST = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

  it("TLS to a server without it", function()
    local cases = { -- what the server does, and how often that is tried
      { { { send = BAD_REQUEST }, { await = "close" } }, 1 },
      { { { send = "SSH-2.0-OpenSSH_9.2\r\n" }, { await = "close" } }, 1 },
      { { { close = true } }, 3 }, -- may be one that is about to end
    }
    for _, case in ipairs(cases) do
      with_plain(case[1], function(url)
        local err = assert.refused(" %(does the server speak http%?%)$", list(url))
        assert.same({ "connect", "tls", case[2] }, { err.kind, err.phase, err.attempts }, err.message)
      end)
    end
  end)

  it("no TLS to a server with it", function()
    with("good", "", function(server)
      local err = assert.refused(" %(does the server speak https%?%)$", list((server.url:gsub("^https", "http"))))
      assert.same({ "connect", "wait", 0 }, { err.kind, err.phase, server.requests() })
    end)
    local function page(text)
      return ("HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text)
    end
    local answers = {
      "\21\3\3\0\2\2\10", -- an alert: unexpected_message
      page "<html><center>The plain HTTP request was sent to HTTPS port</center></html>",
      page "Client sent an HTTP request to an HTTPS server.\n",
      page "<html>Reason: You're speaking plain HTTP to an SSL-enabled server port.</html>",
    }
    for _, answer in ipairs(answers) do
      with_plain({ { await = "request" }, { send = answer }, { close = true } }, function(_, server)
        local err = assert.refused(" %(does the server speak https%?%)$", list(server.url))
        assert.equal(1, err.attempts)
      end)
    end
  end)

  it("whoever has answered before is not suspected of speaking something else", function()
    local body = '{"data":[{"id":"tiny"}]}'
    local answer = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)
    local server = raw.start { { { await = "request" }, { send = answer }, { close = true } },
      { { await = "request" }, { close = true } } }
    local client = lmm.connect { base_url = server.url, retry = false }
    assert(client:models())
    local err = assert.refused("ended before an answer", client:models())
    assert.same({ "connect", "wait", nil }, { err.kind, err.phase, err.hint })
    server:stop()
  end)
end)
