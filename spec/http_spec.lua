-- The mock's HTTP side, byte by byte: requests cut at every offset, requests that do not wait, and garbage.

local cut_up = require "spec.support.cut_up"
local http = require "lmm.http"
local uv = require "luv"

local NOW, LATER = "now", "later"

-- Serves one connection that brings `pieces`, one read each, and gives what came back with the requests that were seen.
local function exchange(pieces, when)
  local seen, came = {}, {}
  local server
  server = assert(http.serve {
    on_request = function(request, response)
      seen[#seen + 1] = request
      local function answer() response:send(200, {}, request.method .. " " .. request.body) end
      if when ~= LATER then return answer() end
      local timer = uv.new_timer()
      timer:start(1, 0, function()
        timer:close()
        answer()
      end)
    end,
  })
  local client, at = uv.new_tcp(), 0
  local function send()
    at = at + 1
    if pieces[at] then client:write(pieces[at], send) end
  end
  client:nodelay(true)
  client:connect(server.host, server.port, function()
    client:read_start(function(_, bytes)
      came[#came + 1] = bytes
      if not bytes then
        client:close()
        server:close()
      end
    end)
    send()
  end)
  uv.run()
  return table.concat(came), seen
end

local function ok(body, last)
  local close = last and "connection: close\r\n" or ""
  return "HTTP/1.1 200 OK\r\ncontent-length: " .. #body .. "\r\n" .. close .. "\r\n" .. body
end

local PLAIN = "POST /a?b=c HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-one:  2 \r\nContent-Length: 5\r\n\r\nhello"
local CHUNKED = "POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
  .. "3;x=y\r\nabc\r\n1 \r\n\n\r\n0\r\nTrailer: t\r\n\r\n"
local LAST = "GET http://h/e HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
local ALL = PLAIN .. CHUNKED .. "\r\n" .. LAST
local ANSWERS = ok "POST hello" .. ok "POST abc\n" .. ok("GET ", true)

local function check(pieces, when)
  local came, seen = exchange(pieces, when)
  assert.same(ANSWERS, came)
  assert.same({ "/a", "b=c", "1, 2" }, { seen[1].path, seen[1].query, seen[1].headers["x-one"] })
  assert.same({ "/d", "", "/e" }, { seen[2].path, seen[2].query, seen[3].path })
end

local HEAD = "GET / HTTP/1.1\r\nHost: h\r\n"
local CODED = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

local garbage = {
  { "no request line", "hello\r\n\r\n", 400 },
  { "TLS", "\22\3\1\2\0\1\0\1\252\3\3\r\n\r\n", 400 },
  { "HTTP/2", "PRI * HTTP/2.0\r\n\r\n", 400 },
  { "a bare LF", "GET / HTTP/1.1\nHost: h\n\n", 400 },
  { "a folded header", HEAD .. "A: b\r\n c\r\n\r\n", 400 },
  { "a space before the colon", HEAD .. "A : b\r\n\r\n", 400 },
  { "a NUL", HEAD .. "A: b\0c\r\n\r\n", 400 },
  { "lengths that differ", HEAD .. "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400 },
  { "an unknown coding", HEAD .. "Transfer-Encoding: gzip\r\n\r\n", 400 },
  { "no chunk size", CODED .. "x\r\n", 400 },
  { "a chunk longer than its size", CODED .. "1\r\nab\r\n", 400 },
  { "a chunk beyond all limits", CODED .. "20000001\r\n", 413 },
  { "an endless header", HEAD .. "A: " .. ("x"):rep(64 * 1024), 431 },
  { "endless headers", HEAD .. ("A: b\r\n"):rep(11000), 431 },
}

describe("HTTP on the server", function()
  for _, when in ipairs { NOW, LATER } do
    it("three requests at once, answered " .. when, function() check({ ALL }, when) end)

    it("three requests cut at every offset, answered " .. when, function()
      for cut = 1, #ALL - 1 do check({ ALL:sub(1, cut), ALL:sub(cut + 1) }, when) end
    end)

    it("three requests byte by byte, answered " .. when, function()
      check(cut_up(ALL), when)
    end)
  end

  for _, row in ipairs(garbage) do
    it("refuses " .. row[1], function()
      local came, seen = exchange { row[2] }
      assert.equal(0, #seen)
      assert.same(row[3], tonumber(came:match "^HTTP/1%.1 (%d+) "))
      assert.matches("\r\nconnection: close\r\n", came)
    end)
  end

  it("an HTTP/1.0 client gets no chunks", function()
    local server = assert(http.serve { on_request = function(_, response)
      response:start(200, {})
      response:write "one "
      response:write "two"
      response:finish()
    end })
    local client, pieces = uv.new_tcp(), {}
    client:connect(server.host, server.port, function()
      client:write "GET / HTTP/1.0\r\n\r\n"
      client:read_start(function(_, bytes)
        pieces[#pieces + 1] = bytes
        if not bytes then
          client:close()
          server:close()
        end
      end)
    end)
    uv.run()
    assert.equal("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\none two", table.concat(pieces))
  end)

  it("tells that the client has gone", function()
    local gone = 0
    local server, client
    server = assert(http.serve { on_request = function(_, response)
      response.on_close = function()
        gone = gone + 1
        assert.truthy(response.closed)
        response:write "nobody reads this"
        server:close()
      end
      client:close()
    end })
    client = uv.new_tcp()
    client:connect(server.host, server.port, function() client:write "GET / HTTP/1.1\r\nHost: h\r\n\r\n" end)
    uv.run()
    assert.equal(1, gone)
  end)
end)
