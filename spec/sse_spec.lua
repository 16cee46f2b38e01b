-- Server-sent events: the same events come out however the bytes are cut, and nothing is kept beyond the maximum.

local core = require "lmm.core"
local cut_up = require "spec.support.cut_up"

local MAX = 1024 * 1024
local BOM = "\239\187\191"

--- Feeds the pieces to one decoder: { { name, data }, ... }, with "limit" at the end where the maximum was reached.
local function decode(pieces, max)
  local decoder, events = core.sse(max or MAX), {}
  for _, piece in ipairs(pieces) do
    decoder:feed(piece)
    local data, name = decoder:next()
    while data do
      events[#events + 1] = { name, data }
      data, name = decoder:next()
    end
    if name then
      events[#events + 1] = name
      return events
    end
  end
  return events
end

--- Whole, cut in two at every offset, in single bytes, and with empty pieces in between.
local function check(text, expected, max)
  assert.same(expected, decode({ text }, max))
  for cut = 0, #text do
    assert.same(expected, decode({ text:sub(1, cut), text:sub(cut + 1) }, max), "cut at " .. cut)
  end
  assert.same(expected, decode(cut_up(text), max), "byte by byte")
  local airy = {}
  for _, byte in ipairs(cut_up(text)) do
    airy[#airy + 1] = ""
    airy[#airy + 1] = byte
  end
  assert.same(expected, decode(airy, max), "with empty pieces")
end

local vectors = {
  { "a name and data", "event: completion\ndata: {\"foo\":true}\n\n", { { "completion", "{\"foo\":true}" } } },
  { "data of many lines", "data: {\ndata: \"foo\":\ndata: \ndata:\ndata: true}\n\n\n",
    { { "", "{\n\"foo\":\n\n\ntrue}" } } },
  { "LF", "data:ok\n\n", { { "", "ok" } } },
  { "CR", "data:ok\r\r", { { "", "ok" } } },
  { "CRLF", "data:ok\r\n\r\n", { { "", "ok" } } },
  { "line ends mixed", "data:a\rdata:b\r\ndata:c\n\r\n", { { "", "a\nb\nc" } } },
  { "no phantom event of a LF that belongs to a CR", "data: first\r\r\ndata: second\r\r\n",
    { { "", "first" }, { "", "second" } } },
  { "an unfinished event is dropped", "id:one\r\ndata:X\r\n\ndata:two\n\rdata:unfinished",
    { { "", "X" }, { "", "two" } } },
  { "comments", ": keepalive\r\nevent: update\r\ndata: first\r\ndata: second\r\n\r\n",
    { { "update", "first\nsecond" } } },
  { "the empty comment", ":\n\n:\ndata: a\n\n", { { "", "a" } } },
  { "one LF does not finish an event", "data: {\"flushed\":true}\n", {} },
  { "one CR does not finish an event", "data: {\"flushed\":true}\r", {} },
  { "one CRLF does not finish an event", "data: {\"flushed\":true}\r\n", {} },
  { "a last line without an end does not finish an event", "data: a\n\ndata: b", { { "", "a" } } },
  { "retry is read over", "retry: 1000\n\ndata: {}\n\n", { { "", "{}" } } },
  { "id is read over", "id: 7\n\ndata:x\n\n", { { "", "x" } } },
  { "a byte order mark", BOM .. "data: a\n\n", { { "", "a" } } },
  { "only one byte order mark", BOM .. BOM .. "data: a\n\ndata: b\n\n", { { "", "b" } } },
  { "a byte order mark is one at the beginning only", "\n" .. BOM .. "data: a\n\n" .. BOM .. "data: b\n\ndata: c\n\n",
    { { "", "c" } } },
  { "a byte order mark alone", BOM, {} },
  { "a byte order mark and an empty line", BOM .. "\n" .. BOM .. "data: a\n\ndata: b\n\n", { { "", "b" } } },
  { "a byte order mark cut short", "\239\187data: a\n\ndata: b\n\n", { { "", "b" } } },
  { "empty data is an event", "data:\n\n", { { "", "" } } },
  { "empty data without a colon is an event", "data\n\n", { { "", "" } } },
  { "two empty data lines", "data\ndata\n\n", { { "", "\n" } } },
  { "an event without data is none", "event: ping\n\ndata: a\n\n", { { "", "a" } } },
  { "the last name counts", "event: a\nevent: b\ndata: x\n\n", { { "b", "x" } } },
  { "a name can be taken back", "event: a\nevent\ndata: x\n\n", { { "", "x" } } },
  { "a name holds for one event", "event: a\ndata: x\n\ndata: y\n\n", { { "a", "x" }, { "", "y" } } },
  { "one space after the colon goes", "data:  a\ndata:\tb\ndata: c \n\n", { { "", " a\n\tb\nc " } } },
  { "field names are exact", " data: a\nDATA: b\ndata : c\ndatax: d\ndat: e\ndata: f\n\n", { { "", "f" } } },
  { "the first colon ends the name", "data:a:b: c\n\n", { { "", "a:b: c" } } },
  { "other line separators of Unicode", "data: a\226\128\168b\226\128\169c\194\133d\n\n",
    { { "", "a\226\128\168b\226\128\169c\194\133d" } } },
  { "VT and FF do not end lines", "data: a\11b\12c\n\n", { { "", "a\11b\12c" } } },
  { "NUL bytes", "data: a\0b\nevent: \0\n\0data: c\n\n", { { "\0", "a\0b" } } },
  { "bytes that are not UTF-8", "data: \255\192\128\n\n", { { "", "\255\192\128" } } },
  { "nothing", "", {} },
  { "only line ends", "\n\r\n\r\r\r\n\n", {} },
}

describe("an event stream:", function()
  for _, vector in ipairs(vectors) do
    it(vector[1], function() check(vector[2], vector[3]) end)
  end
end)

-- ---- against a second decoder, which is slow and sees the whole text at once

local function reference(text)
  if text:sub(1, 3) == BOM then text = text:sub(4) end
  local events, data, name = {}, nil, ""
  for line in (text:gsub("\r\n", "\n"):gsub("\r", "\n")):gmatch "([^\n]*)\n" do
    local field, value = line:match "^([^:]*):? ?(.*)$"
    if not line:find(":", 1, true) then field, value = line, "" end
    if line == "" then
      if data then events[#events + 1] = { name, table.concat(data, "\n") } end
      data, name = nil, ""
    elseif field == "data" then
      data = data or {}
      data[#data + 1] = value
    elseif field == "event" then
      name = value
    end
  end
  return events
end

describe("an event stream", function()
  it("of pseudo-random text is what the reference says", function()
    local alphabet = { "data:", "data:", "event:", "data", ":", "\r", "\n", "\r\n", "\n\n", "\r\r", " ", BOM, "x" }
    local seed, events = 20230929, 0
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n + 1
    end
    for _ = 1, 300 do
      local pieces = {}
      for i = 1, random(16) do pieces[i] = alphabet[random(#alphabet)] end
      local text = table.concat(pieces)
      local expected = reference(text)
      events = events + #expected
      assert.same(expected, decode(pieces), ("in tokens: %q"):format(text))
      check(text, expected)
    end
    assert.truthy(events > 100, "the texts hold hardly any events")
  end)
end)

-- ---- sizes

describe("large streams:", function()
  it("an event of 64 MiB", function()
    local chunk = ("x"):rep(65536)
    local decoder = core.sse(64 * 1024 * 1024 + 5)
    decoder:feed "data:"
    assert.is_nil((decoder:next()))
    for _ = 1, 1024 do
      decoder:feed(chunk)
      local data, problem = decoder:next()
      if data or problem then error "ended early" end
    end
    decoder:feed "\n\n"
    local data, name = decoder:next()
    assert.equal("", name)
    assert.equal(64 * 1024 * 1024, #data)
    assert.truthy(data == ("x"):rep(64 * 1024 * 1024), "other bytes")
  end)

  it("an event of 64 MiB in one piece, and one byte more", function()
    local line = "data:" .. ("x"):rep(64 * 1024 * 1024)
    local decoder = core.sse(#line)
    decoder:feed(line .. "\n\n")
    local data = decoder:next()
    assert.truthy(data == line:sub(6), "other bytes")
    decoder = core.sse(#line - 1)
    decoder:feed(line .. "\n\n")
    local problem
    data, problem = decoder:next()
    assert.truthy(not data and problem == "limit", "no limit")
  end)

  it("an event of 256 KiB byte by byte: with quadratic work this would not end", function()
    local decoder, count = core.sse(MAX), 256 * 1024
    decoder:feed "data:"
    for _ = 1, count do
      decoder:next()
      decoder:feed "x"
    end
    decoder:next()
    decoder:feed "\n\n"
    assert.equal(count, #decoder:next())
  end)

  it("10,000 comments are not kept", function()
    local decoder, comments = core.sse(64), {}
    for i = 1, 10000 do
      comments[i] = ": keep-alive\n\n"
      decoder:feed(comments[i])
      local data, problem = decoder:next()
      if data or problem then error "an event of comments" end
    end
    decoder:feed(table.concat(comments) .. "data: a\n\n")
    assert.equal("a", (decoder:next()))
  end)

  it("200,000 events in one piece", function()
    local decoder = core.sse(64)
    decoder:feed(("data: {}\n\n"):rep(200000))
    local count = 0
    for data in function() return decoder:next() end do
      if data ~= "{}" then error(data) end
      count = count + 1
    end
    assert.equal(200000, count)
  end)
end)

-- ---- the maximum

describe("the maximum:", function()
  local limits = {
    { "a line without an end, at the maximum", ("x"):rep(10), {} },
    { "a line without an end, beyond the maximum", ("x"):rep(11), { "limit" } },
    { "a comment at the maximum", ":" .. ("x"):rep(9) .. "\ndata:a\n\n", { { "", "a" } } },
    { "a comment beyond the maximum", ":" .. ("x"):rep(10) .. "\ndata:a\n\n", { "limit" } },
    { "a line of data at the maximum", "data:12345\n\n", { { "", "12345" } } },
    { "a line of data beyond the maximum", "data:123456\n\n", { "limit" } },
    { "data over several lines, at the maximum", "data:12345\ndata:6789\n\n", { { "", "12345\n6789" } } },
    { "data over several lines, beyond the maximum", "data:12345\ndata:67890\n\n", { "limit" } },
    { "line ends count in the data", ("data\n"):rep(11) .. "\n" .. ("data\n"):rep(12) .. "\n",
      { { "", ("\n"):rep(10) }, "limit" } },
    { "an event before the maximum is reached", "data:a\n\ndata:123456\n\n", { { "", "a" }, "limit" } },
    { "each event has the maximum for itself", ("data:12345\n\n"):rep(3),
      { { "", "12345" }, { "", "12345" }, { "", "12345" } } },
    { "a byte order mark counts", BOM .. "data:12\n\n" .. BOM .. "data:123\n\n", { { "", "12" }, "limit" } },
  }

  for _, row in ipairs(limits) do
    it(row[1], function() check(row[2], row[3], 10) end)
  end

  it("nothing comes after the maximum was reached", function()
    for _, text in ipairs { "data:123456\n\ndata:a\n\n", "data:12345\ndata:67890\n\ndata:a\n\n" } do
      local decoder = core.sse(10)
      decoder:feed(text)
      for _ = 1, 3 do assert.same({ nil, "limit" }, { decoder:next() }) end
      decoder:feed "\n\ndata:b\n\n"
      assert.same({ nil, "limit" }, { decoder:next() })
    end
  end)

  it("nor after a line that is too long in two pieces", function()
    local decoder = core.sse(10)
    for _, piece in ipairs { "data:1", "23456", "\n\ndata:a\n\n" } do
      decoder:feed(piece)
      assert.same(piece == "data:1" and {} or { nil, "limit" }, { decoder:next() })
    end
  end)
end)

-- ---- the binding

describe("the binding:", function()
  it("misuse raises", function()
    assert.raises("number", core.sse)
    assert.raises("positive", core.sse, 0)
    assert.raises("positive", core.sse, -1)
    local decoder = core.sse(100)
    assert.raises("string", decoder.feed, decoder)
    assert.raises("string", decoder.feed, decoder, {})
    assert.raises("lmm.sse", decoder.feed, io.stdout, "x")
    assert.raises("lmm.sse", decoder.next, {})
  end)

  it("bytes are taken before others are fed", function()
    local decoder = core.sse(100)
    assert.same({}, { decoder:next() })
    decoder:feed "data:a\n\ndata:b\n\n"
    assert.equal("a", (decoder:next()))
    assert.raises("take the events", decoder.feed, decoder, "data:c\n\n")
    assert.equal("b", (decoder:next()))
    assert.same({}, { decoder:next() })
    decoder:feed "data:c\n\n"
    assert.equal("c", (decoder:next()))
  end)

  it("what was fed stays while it is needed", function()
    local decoder = core.sse(1000)
    local function feed(i) decoder:feed(("data:%03d\n\n"):format(i):rep(50)) end
    for i = 1, 20 do
      feed(i)
      collectgarbage()
      local others = {}
      for j = 1, 20 do others[j] = ("data:yyy\n\n"):rep(49) .. ("%010d"):format(i * 100 + j) end
      for _ = 1, 50 do assert.equal(("%03d"):format(i), (decoder:next())) end
      assert.same({ nil, 20 }, { decoder:next(), #others })
    end
  end)
end)
