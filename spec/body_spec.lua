-- Request bodies: text and media come out as one run of bytes, of a size known before, whatever is read at a time.

local core = require "lmm.core"
local shell = require "spec.support.shell"

local encode = core.base64.encode

local patterns = {} -- by their length: each is computed once

local function pattern(count)
  if not patterns[count] then
    local bytes = {}
    for i = 1, count do bytes[i] = string.char((i * 7 + math.floor(i / 256)) % 256) end
    patterns[count] = table.concat(bytes)
  end
  return patterns[count]
end

local function quoted(bytes)
  return '"' .. encode(bytes) .. '"'
end

local function of_bytes(bytes)
  return assert(core.media { bytes = bytes })
end

--- All that a body gives, read so many bytes at a time, or nil, why not, and what it gave before.
local function read_all(body, capacity)
  local pieces = {}
  while true do
    local bytes, problem = body:read(capacity)
    if problem then return nil, problem, table.concat(pieces) end
    if not bytes then return table.concat(pieces) end
    if #bytes == 0 or #bytes > capacity then error("read " .. #bytes .. " of " .. capacity) end
    pieces[#pieces + 1] = bytes
  end
end

local function check(body, expected)
  assert.same(#expected, body:size(), "size")
  for capacity = 4, 200 do
    body:rewind()
    local bytes, problem = read_all(body, capacity)
    if bytes ~= expected then
      assert.same(expected, problem or bytes, "read by " .. capacity)
    end
    assert.same({}, { body:read(capacity) }, "behind the end")
  end
  body:rewind()
  assert(read_all(body, 65536) == expected, "read at once")
end

-- ---- files: each case has a file of its own, from years ago, so that a change always shows in its time

local function with_file(bytes, fn)
  local path = os.tmpname()
  shell.write(path, bytes)
  shell.run("touch -d 2001-01-01 '%s'", path)
  local ok, err = pcall(fn, path, assert(core.media(path)))
  os.remove(path)
  if not ok then error(err, 0) end
end

describe("a body", function()
  -- ---- text and media

  it("is text as it is", function()
    check(core.body "{\"a\":1}", "{\"a\":1}")
    check(core.body "a\0b", "a\0b")
    check(core.body "no JSON", "no JSON")
    local empty = core.body ""
    assert.same({ 0, nil }, { empty:size(), (empty:read(4)) })
  end)

  it("is a JSON string of a prefix and a media", function()
    check(core.embed("data:image/png;base64,", of_bytes "abc"), '"data:image/png;base64,YWJj"')
    check(core.embed("", of_bytes "a"), '"YQ=="')
    check(core.embed('"\n\195\164', of_bytes "a"), '"\\"\\n\195\164YQ=="')
  end)

  it("has media at several places", function()
    for _, sizes in ipairs { { 1, 2, 3 }, { 4, 5, 6 }, { 7, 8, 9 }, { 10, 300, 1 }, { 3000, 1, 1 } } do
      local a, b, c = pattern(sizes[1]), pattern(sizes[2]), pattern(sizes[3])
      local one, two, three = core.embed("", of_bytes(a)), core.embed("x:", of_bytes(b)), core.embed("", of_bytes(c))
      local p, q, r = quoted(a), '"x:' .. encode(b) .. '"', quoted(c)
      check(core.write { one, two, three }, ("[%s,%s,%s]"):format(p, q, r))
      check(core.write { "x", three, { u = one }, "yz", two }, ('["x",%s,{"u":%s},"yz",%s]'):format(r, p, q))
    end
  end)

  it("has a media of each small size after each length of text", function()
    for size = 1, 10 do
      local bytes = pattern(size)
      local media = of_bytes(bytes)
      for before = 0, 5 do
        local text = ("x"):rep(before)
        check(core.embed(text, media), '"' .. text .. encode(bytes) .. '"')
      end
    end
  end)

  it("has a hundred media", function()
    local list, expected = {}, {}
    for i = 1, 100 do
      list[i], expected[i] = core.embed("", of_bytes(pattern(i))), quoted(pattern(i))
    end
    check(core.write(list), "[" .. table.concat(expected, ",") .. "]")
  end)

  -- ---- media as they are

  it("is texts and media one after the other, as they are", function()
    local a, b = pattern(1000), pattern(1)
    with_file(a, function(_, file)
      check(core.concat { "x", file, "", of_bytes(b), of_bytes(a), "\r\n\0" }, "x" .. a .. b .. a .. "\r\n\0")
      check(core.concat { file }, a)
      check(core.write { core.concat { "1" }, core.embed("", file) }, '[1,"' .. encode(a) .. '"]')
      check(core.write { core.concat { file, "1" } }, "[" .. a .. "1]")
    end)
    assert.equal(0, core.concat({}):size())
    assert.raises("lmm.media expected", core.concat, { 1 == 1 })
  end)

  it("that is as it is does not go on with a file that has changed", function()
    with_file(pattern(1000), function(path, file)
      local body = core.concat { "x", file }
      body:read(100)
      shell.write(path, pattern(900))
      local bytes, problem = read_all(body, 100)
      assert.same({ nil, "'" .. path .. "' has changed" }, { bytes, problem:match "^'[^']*' has changed" })
    end)
  end)

  -- ---- in another body

  it("stands in another as it was written, more than once, too", function()
    local inner = core.write { { a = core.embed("", of_bytes "abc") }, "x" }
    local text = '[{"a":"YWJj"},"x"]'
    check(core.write { b = inner, c = { inner, inner } }, ('{"b":%s,"c":[%s,%s]}'):format(text, text, text))
    check(core.write(inner), text)
    check(core.write { core.body "1.0" }, "[1.0]")
    check(inner, text)
  end)

  it("is read in two places at the same time", function()
    local inner = core.write { core.embed("", of_bytes(pattern(1000))) }
    local a, b = core.write { inner }, core.write { inner }
    assert.equal(a:read(100), b:read(100))
    inner:read(500)
    assert.equal(a:read(4000), b:read(4000))
  end)

  it("cannot stand in another once it is closed", function()
    local inner = core.write {}
    inner:close()
    assert.raises("a closed body cannot be written", core.write, { inner })
  end)

  -- ---- one more field

  it("gets a field before its others", function()
    local body = core.write { b = 1, url = core.embed("", of_bytes "abc") }
    check(body:with("model", "m"), '{"model":"m","b":1,"url":"YWJj"}')
    check(body:with("a", { { core.embed("", of_bytes "x") } }), '{"a":[["eA=="]],"b":1,"url":"YWJj"}')
    check(body:with("a", 1):with('"', core.null), '{"\\"":null,"a":1,"b":1,"url":"YWJj"}')
    check(core.write({}):with("model", "m"), '{"model":"m"}')
    check(core.body " {}":with("a", 1), '{"a":1}')
    check(core.body "{\n\t }":with("a", 1), '{"a":1\n\t }')
    check(body, '{"b":1,"url":"YWJj"}')
  end)

  it("gets a field behind its others", function()
    local body = core.write { b = 1, url = core.embed("", of_bytes "abc") }
    check(body:with("a", { core.embed("", of_bytes "x") }, true), '{"b":1,"url":"YWJj","a":["eA=="]}')
    check(body:with("a", 1, true):with("c", 2), '{"c":2,"b":1,"url":"YWJj","a":1}')
    check(core.write({}):with("a", 1, true), '{"a":1}')
    check(core.body " {\n} ":with("a", 1, true), '{\n"a":1}')
    local inner = core.write { url = core.embed("", of_bytes "abc") }:with("a", 1, true)
    check(core.write { inner }, '[{"url":"YWJj","a":1}]')
    assert.raises("an object expected", core.body("{").with, core.body "{", "a", 1, true)
    assert.raises("an object expected", core.body("[}").with, core.body "[}", "a", 1)
  end)

  it("refuses a field that cannot be written, and an object that is none", function()
    local body = core.write { b = 1 }
    assert.same({ nil, "model.x is not UTF-8: byte 1 is 0xFF" }, { body:with("model", { x = "\255" }) })
    assert.same({ nil, "a field name in the value is not UTF-8: byte 1 is 0xFF" }, { body:with("\255", 1) })
    assert.raises("an object expected", body.with, core.write { 1 }, "a", 1)
    assert.raises("an object expected", body.with, core.body "", "a", 1)
    assert.raises("string expected", body.with, body, 1, 1)
    assert.raises("value expected", body.with, body, "a")
    body:close()
    assert.raises("closed body", body.with, body, "a", 1)
  end)

  -- ---- reading

  it("rewind in the middle", function()
    local bytes = pattern(1000)
    with_file(bytes, function(_, file)
      local body = core.write { core.embed("", of_bytes(bytes)), core.embed("", file), 0 }
      local expected = "[\"" .. encode(bytes) .. "\",\"" .. encode(bytes) .. "\",0]"
      for reads = 0, 30 do
        for _ = 1, reads do body:read(100) end
        body:rewind()
        assert(read_all(body, 77) == expected, "after " .. reads .. " reads")
        body:rewind()
      end
    end)
  end)

  it("one media in two bodies read in turns, and twice in one", function()
    local bytes = pattern(5000)
    with_file(bytes, function(_, file)
      for _, media in ipairs { file, of_bytes(bytes) } do
        local a = core.write { core.embed("", media), core.embed("", media) }
        local b = core.embed("", media)
        local from_a, from_b = {}, {}
        repeat
          local piece_a, piece_b = a:read(100), b:read(64)
          from_a[#from_a + 1], from_b[#from_b + 1] = piece_a, piece_b
        until not piece_a and not piece_b
        local text = quoted(bytes)
        assert(table.concat(from_a) == "[" .. text .. "," .. text .. "]", "the first body")
        assert(table.concat(from_b) == text, "the second body")
      end
    end)
  end)

  it("media of a file", function()
    for _, size in ipairs { 1, 2, 3, 10, 3000, 70000 } do
      local bytes = pattern(size)
      with_file(bytes, function(_, file)
        local body, expected = core.embed("", file), quoted(bytes)
        assert.same(#expected, body:size())
        for _, capacity in ipairs { 4, 5, 6, 7, 61, 4096, 1048576 } do
          body:rewind()
          assert(read_all(body, capacity) == expected, ("%d bytes read by %d"):format(size, capacity))
        end
      end)
    end
  end)

  -- ---- files that change. `change(path)`; where the old bytes are still those of the open file, they are given.

  local changes = {
    { "grew", function(path) shell.write(path, "x", "ab") end },
    { "grew in no time", function(path)
      shell.write(path, "x", "ab")
      shell.run("touch -d 2001-01-01 '%s'", path)
    end },
    { "was truncated", function(path) shell.write(path, "") end },
    { "became shorter", function(path, bytes) shell.write(path, bytes:sub(1, -2)) end },
    { "has other bytes", function(path, bytes) shell.write(path, bytes:reverse()) end, rewritten = true },
    { "has another time", function(path) shell.run("touch -d 2001-01-02 '%s'", path) end },
    { "has another time by a nanosecond", function(path)
      shell.run("touch -d '2001-01-01 00:00:00.000000001' '%s'", path)
    end },
    { "was replaced", function(path, bytes)
      shell.write(path .. ".new", bytes:reverse())
      assert(os.rename(path .. ".new", path))
    end, survives = true },
    { "was replaced by one of the same size and time", function(path, bytes)
      shell.write(path .. ".new", bytes:reverse())
      shell.run("touch -r '%s' '%s'", path, path .. ".new")
      assert(os.rename(path .. ".new", path))
    end, survives = true },
    { "was replaced by a directory", function(path)
      os.remove(path)
      shell.run("mkdir '%s'", path)
    end, survives = true },
    { "was replaced by a fifo", function(path)
      os.remove(path)
      shell.run("mkfifo '%s'", path)
    end, survives = true },
    { "was deleted", function(path) os.remove(path) end, survives = true, why = "No such file" },
  }

  for _, row in ipairs(changes) do
    it("a file that " .. row[1] .. " before it is read", function()
      local bytes = pattern(3000)
      with_file(bytes, function(path, file)
        local body = core.embed("", file)
        row[2](path, bytes)
        for _ = 1, 3 do
          local got, problem = read_all(body, 1000)
          assert.equal(nil, got)
          assert.matches(row.why or "has changed since", problem)
          assert(problem:find(path, 1, true), "the message does not name the file")
        end
      end)
    end)

    it("a file that " .. row[1] .. " while it is read", function()
      local bytes = pattern(300000)
      with_file(bytes, function(path, file)
        local body = core.embed("", file)
        local begun = assert(body:read(1000))
        row[2](path, bytes)
        local got, problem, given = read_all(body, 1000)
        if row.survives then return assert(begun .. got == quoted(bytes), "other bytes") end
        assert.equal(nil, got)
        given = begun .. given
        assert(#given < body:size(), "the whole body was given")
        if not row.rewritten then assert(given == quoted(bytes):sub(1, #given), "other bytes") end
        assert.matches("has changed since", problem)
        assert(problem:find(path, 1, true), "the message does not name the file")
      end)
    end)
  end

  it("what has failed does not go on, and nothing before it is lost", function()
    local bytes = pattern(30000)
    with_file(bytes, function(path, file)
      local body = core.write { core.embed("text", of_bytes "abc"), core.embed("more", file) }
      local expected = '["textYWJj","more' .. encode(bytes) .. '"]'
      local given = assert(body:read(1000))
      shell.run("touch -d 2001-01-02 '%s'", path)
      for _ = 1, 100 do given = given .. (body:read(1000) or "") end
      assert(#given < #expected and given == expected:sub(1, #given), "other bytes")
      shell.run("touch -d 2001-01-01 '%s'", path)
      assert(given .. read_all(body, 1000) == expected, "it did not go on where it was")
      body:rewind()
      assert(read_all(body, 1000) == expected, "after the file was as before")
      os.remove(path)
      body:rewind()
      given = body:read(1000)
      assert.equal('["textYWJj","more', given)
      assert.equal(nil, (body:read(1000)))
    end)
  end)

  it("no descriptor stays open", function()
    -- At once, the end of the pipe that belongs to the shell might still be one of them.
    local listing = "sleep 0.1; ls /proc/$PPID/fd 2>/dev/null | wc -l"
    local function count() return tonumber(shell.output(listing)) end
    if not count() or count() == 0 then pending "no /proc" end
    with_file(pattern(3000), function(path, file)
      collectgarbage()
      collectgarbage()
      local before = count()
      for i = 1, 40 do
        local body = core.embed("", file)
        read_all(body, i * 100)
        body:rewind()
        body:read(100)
        if i % 2 == 0 then body:close() end
      end
      shell.run("touch -d 2001-01-02 '%s'", path)
      for _ = 1, 20 do
        local body = core.embed("", file)
        assert.equal(nil, (read_all(body, 100)))
        core.media(path)
        core.media(path .. "/none")
      end
      collectgarbage()
      collectgarbage()
      assert.same(before, count())
    end)
  end)

  -- ---- the binding

  it("a closed body", function()
    local body = core.embed("", of_bytes "abc")
    body:read(4)
    body:close()
    body:close()
    assert.raises("closed body", body.size, body)
    assert.raises("closed body", body.read, body, 100)
    assert.raises("closed body", body.rewind, body)
  end)

  it("misuse raises", function()
    local media = of_bytes "abc"
    assert.raises("string", core.body)
    assert.raises("string", core.body, {})
    assert.raises("string", core.embed, media)
    assert.raises("lmm.media", core.embed, "", "bytes")
    assert.raises("not UTF%-8", core.embed, "\255", media)
    local body = core.body "text"
    for _, capacity in ipairs { 3, 0, -1, 2 ^ 30 + 1 } do assert.raises("4 bytes", body.read, body, capacity) end
    assert.raises("number", body.read, body, "x")
    assert.raises("lmm.body", body.read, media)
    assert.raises("lmm.body", body.size, {})
    assert.equal("text", body:read())
  end)

  it("what a body is made of stays while it is needed", function()
    local bytes = pattern(200000)
    local alive = setmetatable({}, { __mode = "v" })
    local function make()
      local media = of_bytes(pattern(200000))
      alive[1] = media
      return core.write { ("x"):rep(200000), core.embed("", media), ("9"):rep(200000) }
    end
    local pieces = {}
    local function read(body)
      repeat
        collectgarbage()
        local others = { ("y"):rep(200000), ("z"):rep(200000), ("w"):rep(200004) }
        pieces[#pieces + 1] = body:read(50000)
        assert.equal(3, #others)
      until not body:read(4)
      assert(alive[1], "the media was collected")
    end
    read(make())
    local whole = '["' .. ("x"):rep(200000) .. '","' .. encode(bytes) .. '","' .. ("9"):rep(200000) .. '"]'
    local at = 1
    for _, piece in ipairs(pieces) do
      assert(whole:sub(at, at + #piece - 1) == piece, "other bytes at " .. at)
      at = at + #piece + 4
    end
    collectgarbage()
    collectgarbage()
    assert.equal(nil, alive[1], "the media outlives its body")
  end)

  it("a table may be changed after it was written", function()
    local list = { core.embed("", of_bytes "abc"), 1 }
    local body = core.write(list)
    list[1], list[2] = nil, nil
    collectgarbage()
    check(body, '["YWJj",1]')
  end)

  it("reading takes no new memory but for what it gives", function()
    local body = core.body "text"
    body:read(2 ^ 20)
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    for _ = 1, 100 do
      body:rewind()
      body:read(2 ^ 20)
    end
    local grown = collectgarbage "count" - before
    collectgarbage "restart"
    assert(grown < 1024, grown .. " KiB")
  end)
end)
