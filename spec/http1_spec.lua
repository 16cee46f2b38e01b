-- HTTP/1.1 without a socket: whatever pieces a reply comes in, the outcome is the same.
local http1 = require "lmm.transport.http1"

local LIMIT = 200 -- bytes of a head

--- What becomes of a reply that comes in these pieces; "" at the end stands for the end of the connection.
local function decode(pieces, opts)
  local decoder = http1.decoder { method = opts.method or "POST", max_head = LIMIT, is_tunnel = opts.is_tunnel }
  local failure
  for _, piece in ipairs(pieces) do
    failure = failure or decoder:feed(piece)
  end
  if opts.ends and not failure then failure = decoder:finish(opts.reason) end
  return {
    status = decoder.head and decoder.head.status,
    body = decoder:take() or "",
    done = decoder.done,
    reusable = decoder.done and decoder.is_reusable,
    failure = failure and table.concat({ failure.kind, failure.phase, failure.reason }, ", "),
  }
end

--- Every way to cut a reply in two, the single bytes, and the whole.
local function cuts(text)
  local all, bytes = { { text } }, {}
  for at = 1, #text - 1 do all[#all + 1] = { text:sub(1, at), text:sub(at + 1) } end
  for at = 1, #text do bytes[at] = text:sub(at, at) end
  all[#all + 1] = bytes
  return all
end

local OK = "HTTP/1.1 200 OK\r\n"
local CHUNKED = OK .. "Transfer-Encoding: chunked\r\n\r\n"
local COUNTED = OK .. "Content-Length: 5\r\n\r\n"

local function whole(body, reusable, status)
  return { status = status or 200, body = body, done = true, reusable = reusable }
end

local function failed(failure, status, body)
  return { status = status, body = body or "", done = false, reusable = false, failure = failure }
end

local cases = {
  { "counted", COUNTED .. "hello", whole("hello", true) },
  { "counted, empty", OK .. "Content-Length: 0\r\n\r\n", whole("", true) },
  { "counted twice alike", OK .. "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", whole("hello", true) },
  { "line feeds alone", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", whole("hello", true) },
  { "chunked", CHUNKED .. "5\r\nhello\r\n1;a=b\r\n!\r\n000\r\n\r\n", whole("hello!", true) },
  { "chunked with trailers", CHUNKED .. "5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n", whole("hello", true) },
  { "chunk of letters", CHUNKED .. "0A\r\n0123456789\r\n0\r\n\r\n", whole("0123456789", true) },
  { "chunked but for the last line feed", CHUNKED .. "5\r\nhello\r\n0\r\n\r", whole("hello", false), { ends = true } },
  { "chunked but for the last line feed, broken", CHUNKED .. "5\r\nhello\r\n0\r\n\r",
    failed("truncated, receive, reset, its end is missing", 200, "hello"), { ends = true, reason = "reset" } },
  { "to the end", OK .. "\r\nhello", whole("hello", false), { ends = true } },
  { "to the end, nothing", OK .. "\r\n", whole("", false), { ends = true } },
  { "to the end, broken", OK .. "\r\nhello", failed("truncated, receive, reset, its end is missing", 200, "hello"),
    { ends = true, reason = "reset" } },
  { "no body by its status", "HTTP/1.1 204 No Content\r\n\r\n", whole("", true, 204) },
  { "no body of a HEAD", COUNTED, whole("", true), { method = "HEAD" } },
  { "no body of a tunnel", OK .. "\r\n", whole("", true), { is_tunnel = true } },
  { "interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n" .. COUNTED .. "hello",
    whole("hello", true) },
  { "closing", OK .. "Connection: close\r\nContent-Length: 5\r\n\r\nhello", whole("hello", false) },
  { "old", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", whole("hello", false) },
  { "both framings", OK .. "Content-Length: 3\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    whole("hello", false) },
  { "counted, cut", COUNTED .. "hell", failed("truncated, receive, 1 bytes are missing", 200, "hell"),
    { ends = true } },
  { "chunked, cut in a chunk", CHUNKED .. "5\r\nhel", failed("truncated, receive, its end is missing", 200, "hel"),
    { ends = true } },
  { "chunked, cut before its last", CHUNKED .. "5\r\nhello\r\n",
    failed("truncated, receive, its end is missing", 200, "hello"), { ends = true } },
  { "chunked, cut in the trailers", CHUNKED .. "5\r\nhello\r\n0\r\n",
    failed("truncated, receive, its end is missing", 200, "hello"), { ends = true } },
  { "no size", CHUNKED .. "x\r\n", failed("truncated, receive, a chunk of it is malformed", 200) },
  { "no size at all", CHUNKED .. "\r\n", failed("truncated, receive, a chunk of it is malformed", 200) },
  { "a size beyond all sizes", CHUNKED .. "1000000000000\r\n",
    failed("truncated, receive, a chunk of it is malformed", 200) },
  { "a chunk longer than it says", CHUNKED .. "5\r\nhello(\r\n",
    failed("truncated, receive, a chunk of it is malformed", 200, "hello") },
  { "ended in its head", OK, failed "truncated, wait, it ended within its head", { ends = true } },
  { "no HTTP", "SSH-2.0-OpenSSH\r\n", failed "protocol, wait, it does not speak HTTP" },
  { "another HTTP", "HTTP/2 200\r\n\r\n", failed "protocol, wait, its status line is not one of HTTP/1.1" },
  { "another protocol", "HTTP/1.1 101 Switching\r\n\r\n",
    failed "protocol, wait, it switches to another protocol that nobody asked for" },
  { "another coding", OK .. "Transfer-Encoding: gzip, chunked\r\n\r\n",
    failed "protocol, receive, a reply in the transfer coding gzip, chunked" },
  { "no number", OK .. "Content-Length: -1\r\n\r\n", failed "protocol, receive, its Content-Length is not a number" },
  { "two numbers", OK .. "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    failed "protocol, receive, its Content-Length is not a number" },
  { "a long head", OK .. "A: " .. ("a"):rep(LIMIT) .. "\r\n\r\n",
    failed "limit, wait, the reply's header is longer than 200 bytes (limits.header)" },
  { "long trailers", CHUNKED .. "0\r\nA: " .. ("a"):rep(LIMIT) .. "\r\n\r\n",
    failed("limit, receive, the reply's header is longer than 200 bytes (limits.header)", 200) },
}

describe("HTTP/1.1", function()
  for _, row in ipairs(cases) do
    local name, text, expected, opts = row[1], row[2], row[3], row[4] or {}
    it(name, function()
      for _, pieces in ipairs(cuts(text)) do
        assert.same(expected, decode(pieces, opts), ("%d pieces, the first of %d bytes"):format(#pieces, #pieces[1]))
      end
    end)
  end

  it("what nobody asked for keeps a connection from being used again", function()
    assert.same(whole("hello", false), decode({ COUNTED .. "hello!" }, {}))
    assert.same(whole("", false), decode({ CHUNKED .. "0\r\n\r\nHTTP/1.1 200 OK" }, {}))
  end)

  it("a head of just the length that is allowed", function()
    local head = OK .. "Content-Length: 2\r\nA: "
    local text = head .. ("a"):rep(LIMIT - #head - 4) .. "\r\n\r\nhi"
    assert.same(whole("hi", true), decode({ text }, {}))
    assert.equal("limit, wait, the reply's header is longer than 200 bytes (limits.header)",
      decode({ (text:gsub("a\r", "aa\r")) }, {}).failure)
  end)

  it("nothing heard", function()
    assert.same(failed "connect, wait, the server closed it", decode({}, { ends = true }))
    assert.same(failed "connect, wait, reset", decode({}, { ends = true, reason = "reset" }))
  end)

  it("a line of a chunk has an end", function()
    assert.same(failed("truncated, receive, a chunk of it is malformed", 200),
      decode({ CHUNKED .. "5;" .. ("a"):rep(20000) }, {}))
  end)

  it("long runs of anything: with quadratic work this would not end", function()
    local function failure(text)
      local decoder = http1.decoder { method = "POST", max_head = 2 ^ 22 }
      local found = decoder:feed(text)
      return found and found.reason
    end
    local many = 2 ^ 20
    for _, value in ipairs { "5" .. (" "):rep(many) .. "x", ("\t"):rep(many) .. "x", ("5"):rep(many) .. "x",
      "5," .. (" "):rep(many) .. "6" } do
      assert.equal("its Content-Length is not a number", failure(OK .. "Content-Length: " .. value .. "\r\n\r\n"))
    end
    for _, line in ipairs { ("0"):rep(many) .. "x", ("0"):rep(many) .. "g;", "5" .. (" "):rep(many) .. "x",
      ("f"):rep(many) } do
      assert.equal("a chunk of it is malformed", failure(CHUNKED .. line .. "\r\n"))
    end
    assert.is_nil(failure(CHUNKED .. ("0"):rep(many) .. "5" .. (" "):rep(many) .. ";a\r\nhello"))
  end)

  it("a body longer than any integer of 32 bits, or than any number", function()
    for _, text in ipairs { OK .. "Content-Length: 3000000000\r\n\r\nhello", CHUNKED .. "FFFFFFFFFFFF\r\nhello",
      OK .. "Content-Length: 9223372036854775807\r\n\r\nhello", OK .. "Content-Length: " .. ("9"):rep(400)
      .. "\r\n\r\nhello" } do
      local decoder = http1.decoder { method = "POST", max_head = 2000 }
      assert.is_nil(decoder:feed(text))
      assert.equal("hello", decoder:take())
      assert.is_false(decoder.done)
    end
  end)

  it("request heads", function()
    local request = { method = "POST", target = "/v1", host = "a:1", size = 3, lines = { "A: b", "C;" } }
    assert.equal("POST /v1 HTTP/1.1\r\nHost: a:1\r\nAccept: */*\r\nA: b\r\nC:\r\nContent-Length: 3\r\n\r\n",
      http1.request_head(request))
    request = { method = "GET", target = "/", host = "a", lines = { "host: own", "Accept: x" } }
    assert.equal("GET / HTTP/1.1\r\nhost: own\r\nAccept: x\r\n\r\n", http1.request_head(request))
  end)
end)
