-- The head of a reply: which lines are headers, and what becomes of their names and values.
local core = require "lmm.core"

local rows = {
  { "names in lower case, values trimmed", "HTTP/1.1 200 OK\r\nX-A: \t one \t\r\nB:two\r\n\r\n",
    { ["x-a"] = "one", b = "two" } },
  { "a repeated one, whatever stands in between", "H\r\nX-A: one\r\nB: b\r\nx-a: two\r\nX-A:\r\n\r\n",
    { ["x-a"] = "one, two, ", b = "b" } },
  { "bare line ends", "H\nA: b\nC: d\n\n", { a = "b", c = "d" } },
  { "nothing after the colon", "H\r\nA:\r\nB: \r\n\r\n", { a = "", b = "" } },
  { "the first colon ends the name", "H\r\nA: b:c: d\r\n\r\n", { a = "b:c: d" } },
  { "lines that are no headers", "H: h\r\nno colon\r\n: no name\r\n:\r\nA: b\r\n\r\n", { a = "b" } },
  { "a last line without an end", "H\r\nA: b", { a = "b" } },
  { "white space of every kind at the end", "H\r\nA: b\11\12 \t\r\n\r\n", { a = "b" } },
  { "bytes that are not text", "H\nA\0: \0b\0\n\255: \254\n", { ["a\0"] = "\0b\0", ["\255"] = "\254" } },
  { "no headers", "HTTP/1.1 200 OK\r\n\r\n", {} },
  { "nothing", "", {} },
}

describe("the head of a reply", function()
  for _, row in ipairs(rows) do
    it("takes " .. row[1], function() assert.same(row[3], core.headers(row[2])) end)
  end

  it("joins a header repeated 100,000 times in linear time: one by one would move 20 GB", function()
    local headers = core.headers("H" .. ("\nA: b"):rep(100000))
    assert.equal(3 * 100000 - 2, #headers.a)
  end)
end)
