-- Request bodies: text and media come out as one run of bytes, of a size known before, whatever is read at a time.

local core = require "lmm.core"
local shell = require "spec.support.shell"
local test = require "spec.support.test"

local encode = core.base64.encode

local function pattern(count)
  local bytes = {}
  for i = 1, count do bytes[i] = string.char((i * 7 + math.floor(i / 256)) % 256) end
  return table.concat(bytes)
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
  test.equal(body:size(), #expected, "size")
  for capacity = 4, 200 do
    body:rewind()
    local bytes, problem = read_all(body, capacity)
    if bytes ~= expected then
      test.equal(problem or bytes, expected, "read by " .. capacity)
    end
    test.equal({ body:read(capacity) }, {}, "behind the end")
  end
  body:rewind()
  test.ok(read_all(body, 65536) == expected, "read at once")
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

-- ---- splices

test.case("text without splices", function()
  check(core.body "{\"a\":1}", "{\"a\":1}")
  check(core.body("a\0b", nil, {}), "a\0b")
  check(core.body("a T1; b", "T", {}), "a T1; b")
  local empty = core.body ""
  test.equal({ empty:size(), (empty:read(4)) }, { 0, nil })
end)

test.case("media at several places", function()
  for _, sizes in ipairs { { 1, 2, 3 }, { 4, 5, 6 }, { 7, 8, 9 }, { 10, 300, 1 }, { 3000, 1, 1 } } do
    local a, b, c = pattern(sizes[1]), pattern(sizes[2]), pattern(sizes[3])
    local media = { of_bytes(a), of_bytes(b), of_bytes(c) }
    for _, form in ipairs { "T1;T2;T3;", "xT3;T1;yzT2;", "[\"data:,T2;\",{\"u\":\"T1;\"},\"T3;\"]" } do
      local expected = form:gsub("T(%d);", function(n) return encode(({ a, b, c })[tonumber(n)]) end)
      check(core.body(form, "T", media), expected)
    end
  end
end)

test.case("a media of each small size after each length of text", function()
  for size = 1, 10 do
    local bytes = pattern(size)
    local media = of_bytes(bytes)
    for before = 0, 5 do
      local text = ("x"):rep(before)
      check(core.body(text .. "T1;y", "T", { media }), text .. encode(bytes) .. "y")
    end
  end
end)

test.case("text splices take the quotes with them", function()
  check(core.body("{\"a\":\"T1;\",\"b\":[\"T2;\",\"T3;\"]}", "T", { "[]", "9007199254740993", "-1e+400" }),
    "{\"a\":[],\"b\":[9007199254740993,-1e+400]}")
  check(core.body("\"T1;\"", "T", { "[]" }), "[]")
  check(core.body("\"T2;\"\"T1;\"", "T", { "a", "b" }), "ba")
  check(core.body("[\"T1;\",\"T2;\"]", "T", { "", of_bytes "abc" }), "[,\"YWJj\"]")
end)

test.case("a splice that holds a token is not looked into", function()
  check(core.body("[\"T1;\",\"T2;\"]", "T", { "T2;", "T1;" }), "[T2;,T1;]")
end)

test.case("more splices than one digit counts", function()
  local text, splices, expected = {}, {}, {}
  for i = 1, 120 do
    text[i], splices[i], expected[i] = "\"T" .. 121 - i .. ";\"", tostring(i), tostring(121 - i)
  end
  check(core.body(table.concat(text, ","), "T", splices), table.concat(expected, ","))
end)

local refused = {
  { "missing", "xyz" },
  { "one of two missing", "T1;", 2 },
  { "twice", "T1; T1;" },
  { "twice, and the other missing", "T1; T1;", 2 },
  { "twice beside the other", "T1; T2; T1;", 2 },
  { "number 0", "T1; T0;" },
  { "an unknown number", "T1; T2;" },
  { "no number", "T1; T;" },
  { "no semicolon", "T1; T2" },
  { "the text ends in the number", "T1; T1" },
  { "the text ends behind the token", "T1; T" },
  { "a letter in the number", "T1; T1x;" },
  { "a sign", "T1; T-1;" },
  { "a space", "T1; T 1;" },
  { "a number beyond 64 bits", "T18446744073709551617;" },
  { "a number beyond 32 bits", "T4294967297;" },
  { "a number of 10,000 digits", "T1; T" .. ("1"):rep(10000) .. ";" },
  { "a token that begins in a token", "T1; TT1;" },
}

for _, row in ipairs(refused) do
  test.case("no body where a token is: " .. row[1], function()
    local media, splices = of_bytes "abc", {}
    for i = 1, row[3] or 1 do splices[i] = media end
    test.equal({ core.body(row[2], "T", splices) }, {})
  end)
end

for _, form in ipairs { "T1;", "\"T1;", "T1;\"", "\"xT1;\"", "\"T1;x\"", "" } do
  test.case(("no body where a text splice is not a JSON string: %q"):format(form), function()
    test.equal({ core.body(form, "T", { "[]" }) }, {})
  end)
end

test.case("a quote serves one text splice", function()
  test.equal({ core.body("\"T1;\"T2;\"", "T", { "[]", "[]" }) }, {})
end)

-- ---- reading

test.case("rewind in the middle", function()
  local bytes = pattern(1000)
  with_file(bytes, function(_, file)
    local body = core.body("[\"T1;\",\"T2;\",\"T3;\"]", "T", { of_bytes(bytes), file, "0" })
    local expected = "[\"" .. encode(bytes) .. "\",\"" .. encode(bytes) .. "\",0]"
    for reads = 0, 30 do
      for _ = 1, reads do body:read(100) end
      body:rewind()
      test.ok(read_all(body, 77) == expected, "after " .. reads .. " reads")
      body:rewind()
    end
  end)
end)

test.case("one media in two bodies read in turns, and twice in one", function()
  local bytes = pattern(5000)
  with_file(bytes, function(_, file)
    for _, media in ipairs { file, of_bytes(bytes) } do
      local a = core.body("a:T1;:T2;", "T", { media, media })
      local b = core.body("T1;", "T", { media })
      local from_a, from_b = {}, {}
      repeat
        local piece_a, piece_b = a:read(100), b:read(64)
        from_a[#from_a + 1], from_b[#from_b + 1] = piece_a, piece_b
      until not piece_a and not piece_b
      test.ok(table.concat(from_a) == "a:" .. encode(bytes) .. ":" .. encode(bytes), "the first body")
      test.ok(table.concat(from_b) == encode(bytes), "the second body")
    end
  end)
end)

test.case("media of a file", function()
  for _, size in ipairs { 1, 2, 3, 10, 3000, 70000 } do
    local bytes = pattern(size)
    with_file(bytes, function(_, file)
      local body, expected = core.body("<T1;>", "T", { file }), "<" .. encode(bytes) .. ">"
      test.equal(body:size(), #expected)
      for _, capacity in ipairs { 4, 5, 6, 7, 61, 4096, 1048576 } do
        body:rewind()
        test.ok(read_all(body, capacity) == expected, ("%d bytes read by %d"):format(size, capacity))
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
  test.case("a file that " .. row[1] .. " before it is read", function()
    local bytes = pattern(3000)
    with_file(bytes, function(path, file)
      local body = core.body("T1;", "T", { file })
      row[2](path, bytes)
      for _ = 1, 3 do
        local got, problem = read_all(body, 1000)
        test.equal(got, nil)
        test.match(problem, row.why or "has changed since")
        test.ok(problem:find(path, 1, true), "the message does not name the file")
      end
    end)
  end)

  test.case("a file that " .. row[1] .. " while it is read", function()
    local bytes = pattern(300000)
    with_file(bytes, function(path, file)
      local body = core.body("T1;", "T", { file })
      local begun = assert(body:read(1000))
      row[2](path, bytes)
      local got, problem, given = read_all(body, 1000)
      if row.survives then return test.ok(begun .. got == encode(bytes), "other bytes") end
      test.equal(got, nil)
      given = begun .. given
      test.ok(#given < body:size(), "the whole body was given")
      if not row.rewritten then test.ok(given == encode(bytes):sub(1, #given), "other bytes") end
      test.match(problem, "has changed since")
      test.ok(problem:find(path, 1, true), "the message does not name the file")
    end)
  end)
end

test.case("what has failed does not go on, and nothing before it is lost", function()
  local bytes = pattern(30000)
  with_file(bytes, function(path, file)
    local body = core.body("text T1; more T2;", "T", { of_bytes "abc", file })
    local expected = "text YWJj more " .. encode(bytes)
    local given = assert(body:read(1000))
    shell.run("touch -d 2001-01-02 '%s'", path)
    for _ = 1, 100 do given = given .. (body:read(1000) or "") end
    test.ok(#given < #expected and given == expected:sub(1, #given), "other bytes")
    shell.run("touch -d 2001-01-01 '%s'", path)
    test.ok(given .. read_all(body, 1000) == expected, "it did not go on where it was")
    body:rewind()
    test.ok(read_all(body, 1000) == expected, "after the file was as before")
    os.remove(path)
    body:rewind()
    given = body:read(1000)
    test.equal(given, "text YWJj more ")
    test.equal((body:read(1000)), nil)
  end)
end)

test.case("no descriptor stays open", function()
  -- At once, the end of the pipe that belongs to the shell might still be one of them.
  local listing = "sleep 0.1; ls /proc/$PPID/fd 2>/dev/null | wc -l"
  local function count() return tonumber(shell.output(listing)) end
  if not count() or count() == 0 then test.skip "no /proc" end
  with_file(pattern(3000), function(path, file)
    collectgarbage()
    collectgarbage()
    local before = count()
    for i = 1, 40 do
      local body = core.body("T1;", "T", { file })
      read_all(body, i * 100)
      body:rewind()
      body:read(100)
      if i % 2 == 0 then body:close() end
    end
    shell.run("touch -d 2001-01-02 '%s'", path)
    for _ = 1, 20 do
      local body = core.body("T1;", "T", { file })
      test.equal((read_all(body, 100)), nil)
      core.media(path)
      core.media(path .. "/none")
    end
    collectgarbage()
    collectgarbage()
    test.equal(count(), before)
  end)
end)

-- ---- the binding

test.case("a closed body", function()
  local body = core.body("T1;", "T", { of_bytes "abc" })
  body:read(4)
  body:close()
  body:close()
  test.raises("closed body", body.size, body)
  test.raises("closed body", body.read, body, 100)
  test.raises("closed body", body.rewind, body)
end)

test.case("misuse raises", function()
  local media = of_bytes "abc"
  test.raises("string", core.body)
  test.raises("string", core.body, {})
  test.raises("table", core.body, "T1;", "T", "x")
  test.raises("table", core.body, "T1;", "T", media)
  test.raises("empty token", core.body, "T1;", "", { media })
  test.raises("empty token", core.body, "T1;", nil, { media })
  for _, bad in ipairs { true, 1, {}, io.stdout, core.sse(1), core.body "x" } do
    test.raises("strings and media", core.body, "T1;", "T", { bad })
  end
  test.raises("strings and media", core.body, "T1;T2;", "T", { media, 0 })
  local body = core.body "text"
  for _, capacity in ipairs { 3, 0, -1, 2 ^ 30 + 1 } do test.raises("4 bytes", body.read, body, capacity) end
  test.raises("number", body.read, body, "x")
  test.raises("lmm.body", body.read, media)
  test.raises("lmm.body", body.size, {})
  test.equal(body:read(), "text")
end)

test.case("what a body is made of stays while it is needed", function()
  local bytes = pattern(200000)
  local alive = setmetatable({}, { __mode = "v" })
  local function make()
    local media = of_bytes(pattern(200000))
    alive[1] = media
    return core.body(("x"):rep(200000) .. "T1;\"T2;\"", "T", { media, ("9"):rep(200000) })
  end
  local pieces = {}
  local function read(body)
    repeat
      collectgarbage()
      local others = { ("y"):rep(200000), ("z"):rep(200000), ("w"):rep(200004) }
      pieces[#pieces + 1] = body:read(50000)
      test.equal(#others, 3)
    until not body:read(4)
    test.ok(alive[1], "the media was collected")
  end
  read(make())
  local whole = ("x"):rep(200000) .. encode(bytes) .. ("9"):rep(200000)
  local at = 1
  for _, piece in ipairs(pieces) do
    test.ok(whole:sub(at, at + #piece - 1) == piece, "other bytes at " .. at)
    at = at + #piece + 4
  end
  collectgarbage()
  collectgarbage()
  test.equal(alive[1], nil, "the media outlives its body")
end)

test.case("a list of splices may be changed afterwards", function()
  local splices = { of_bytes "abc", "1" }
  local body = core.body("T1;\"T2;\"", "T", splices)
  splices[1], splices[2] = nil, nil
  collectgarbage()
  check(body, "YWJj1")
end)

test.case("reading takes no new memory but for what it gives", function()
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
  test.ok(grown < 1024, grown .. " KiB")
end)
