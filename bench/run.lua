-- usage: LUA bench/run.lua [GROUP...]      from the project's folder, by `make bench`, which builds what this needs
--
-- Speed and memory as ratios, each measured side by side in this run: the two in turn, several rounds, the best of
-- each. Groups: base64, upload, asks, streams, values, crowd, map, turns, saved, texts, pictures, batch, prepare,
-- gateway, grid, log, start. Ends with a table, which a run of all groups writes into bench/README.md, too; exits with
-- 1 where a bound was missed.
local core = require "lmm.core"

local interpreter = arg[-1]
local built = os.getenv "BUILT" -- the folder of the programs that the Makefile compiled
local luajit = os.getenv "LUAJIT" -- a command that runs a program on LuaJIT with its modules, or ""
local groups, rows, missed = {}, {}, false

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function output(command)
  local run = assert(io.popen(command))
  local text = run:read "*a"
  if not run:close() then error("failed: " .. command, 0) end
  return text
end

local function seconds_of(command)
  local before = core.now()
  output(command)
  return core.now() - before
end

--- The numbers that a command prints.
local function numbers(...)
  local found = {}
  for number in output(table.concat({ ... }, " ")):gmatch "%-?[%d.]+" do found[#found + 1] = tonumber(number) end
  return (table.unpack or unpack)(found) -- luacheck: ignore
end

local function measure(...)
  return numbers(quote(interpreter), "bench/measure.lua", ...)
end

local function bare(...)
  return numbers(built .. "/bare", ...)
end

--- Runs each of the functions in turn, `rounds` times; gives the least that each returned.
local function interleaved(rounds, fns)
  local best = {}
  for _ = 1, rounds do
    for i, fn in ipairs(fns) do best[i] = math.min(best[i] or math.huge, fn()) end
  end
  return (table.unpack or unpack)(best) -- luacheck: ignore
end

--- A row of the table. Without a bound it is for who wants to know.
---@param ratio number
---@param bound number?
---@param is_least boolean?  the bound is the least that will do, not the most
---@param unit string?
local function report(what, ratio, bound, is_least, unit)
  local kept = not bound or is_least and ratio >= bound or not is_least and ratio <= bound
  missed = missed or not kept
  rows[#rows + 1] = { what = what, ratio = ("%.2f%s"):format(ratio, unit and " " .. unit or ""),
    bound = bound and ("at %s %g"):format(is_least and "least" or "most", bound) or "", kept = kept }
  print(("%-78s %10s   %-14s %s"):format(what, rows[#rows].ratio, rows[#rows].bound, kept and "" or "MISSED"))
end

--- A file of so many bytes; as large as it is, it holds no more than it must.
local function file_of(name, bytes, source)
  local path = built .. "/" .. name
  output("test -f " .. path .. " || " .. source:format(bytes, path))
  return path
end

local filled = "head -c %d /dev/urandom >%s"
local sparse = "truncate -s %d %s"

--- With the marker that a JPEG ends with: where it is missing, it is looked for.
local function large_picture()
  return file_of("1MB.jpg", 900 * 1000,
    [[{ cat examples/picture.jpg; head -c %d /dev/urandom; printf '\377\331'; } >%s]])
end

-- The server ends with its standard input, which is this pipe.
local address = os.tmpname()
local server = assert(io.popen(built .. "/server >" .. address, "w"))
local port
repeat
  local file = assert(io.open(address))
  port = file:read "*l"
  file:close()
until port
os.remove(address)

local root = "http://127.0.0.1:" .. port
local chat = "/v1/chat/completions"

function groups.base64()
  local kernels = output(quote(interpreter) .. " bench/base64.lua")
  io.write(kernels, "\n")
  report("base64: lmm / libb64", tonumber(kernels:match "lmm / libb64 *(%d+%.?%d*)"), 20, true)
  local best = tonumber((kernels:match "lmm / pybase64 *(%d+%.?%d*)"))
  if best then report("base64: lmm / pybase64", best, 0.8, true) end
end

--- The least seconds of the exchanges that a command prints, a line each. The first does not count: it is with a small
--- file, for loading libcurl and opening the connection are not what is compared.
local function least(command)
  local fewest, first = math.huge, true
  for seconds in output(command):gmatch "([%d.]+)[^\n]*\n" do
    if not first then fewest = math.min(fewest, tonumber(seconds)) end
    first = false
  end
  return fewest
end

function groups.upload()
  local small, large = file_of("1MB", 1000 * 1000, filled), file_of("200MB", 200 * 1000 * 1000, filled)
  output("cat " .. large .. " >/dev/null")
  local ask = quote(interpreter) .. " bench/measure.lua upload " .. root .. "/v1 "
  local times = 5 -- in each round
  local encoded = math.ceil(200 * 1000 * 1000 / 3) * 4
  local function plain(buffer)
    return least(("%s/bare upload %s %d 1333336%s"):format(built, root .. chat, buffer, (" " .. encoded):rep(times)))
  end
  local lmm, as_it_comes, with_buffer = interleaved(7, {
    function() return least(ask .. small .. (" " .. large):rep(times)) end,
    function() return plain(0) end,
    function() return plain(512 * 1024) end,
  })
  report("upload of 200 MB: lmm / libcurl alone with the bytes ready, as it comes", lmm / as_it_comes, 1.15)
  report("upload of 200 MB: the same, libcurl given lmm's upload buffer of 512 KiB", lmm / with_buffer, 1.15)
  local shell = "base64 -w0 " .. large .. [[ | jq -Rc '{model: "m", messages: [{role: "user", content: [{type: "text",
    text: "What is this?"}, {type: "image_url", image_url: {url: ("data:image/jpeg;base64," + .)}}]}]}' |
    curl -sS -H 'Content-Type: application/json' -H Expect: --data-binary @- ]] .. root .. chat
  local whole, piped = interleaved(2, {
    function() return seconds_of(ask .. large) end,
    function() return seconds_of(shell) end,
  })
  report("upload of 200 MB: lmm / base64 | jq | curl", whole / piped, 0.1)
  if output("command -v nginx; true") ~= "" then
    local plain_lua, in_nginx = interleaved(3, {
      function() return least(ask .. small .. (" " .. large):rep(times)) end,
      function()
        return least(quote(interpreter) .. " bench/nginx.lua upload " .. root .. "/v1 " .. small
          .. (" " .. large):rep(times))
      end,
    })
    report("upload of 200 MB: through nginx / plain Lua", in_nginx / plain_lua, 2.5)
  end
  local huge = file_of("1GB", 1000 * 1000 * 1000, sparse)
  local peaks = {}
  for peak in output(ask .. (small .. " "):rep(9) .. huge):gmatch " (%d+)\n" do peaks[#peaks + 1] = tonumber(peak) end
  -- The first asks load libcurl and find the heap that they need from then on, whatever the size of the file.
  report("memory: growth from a 1 MB to a 1 GB file", peaks[10] - peaks[9], 256, false, "KiB")
end

function groups.asks()
  local total = 6000
  for _, at_once in ipairs { 1, 16, 64, 256 } do
    local ask, turn, alone = interleaved(5, {
      function() return (measure("asks", root .. "/v1", total, at_once, "chat")) end,
      function() return (measure("asks", root .. "/v1", total, at_once, "conversation")) end,
      function() return (bare("asks", root .. chat, total, at_once)) end,
    })
    report(("a small ask, CPU, %d at once: client:chat / libcurl alone"):format(at_once), ask / alone, 4)
    report(("a small ask, CPU, %d at once: conversation:ask / libcurl alone"):format(at_once), turn / alone, 4.5)
  end
end

function groups.streams()
  local count = 200000
  local url = ("%s/stream/%d/280"):format(root, count)
  local text = built .. "/events"
  output(("curl -sS %s -d {} -o %s"):format(url .. chat, text))
  local memory, longest
  local pieces, events, alone, decoded = interleaved(3, {
    function()
      local seconds, kib = measure("stream", url .. "/v1", "pieces")
      memory = math.min(memory or kib, kib)
      return seconds
    end,
    function() return (measure("stream", url .. "/v1", "events")) end,
    function() return (bare("stream", url .. chat)) end,
    function() return (measure("stream", "-", "cjson", text)) end,
  })
  report("a stream, CPU an event: pieces / libcurl alone and cjson.decode of each", pieces / (alone + decoded), 1)
  report("a stream, CPU an event: events() / the same", events / (alone + decoded), 2)
  local bytes = tonumber(output("wc -c <" .. text))
  report("memory of 200,000 events beyond their bytes", memory / 1024 - bytes / 2 ^ 20, 15, false, "MiB")
  local longer = ("%s/stream/500000/280"):format(root)
  output(("curl -sS %s -d {} -o /dev/null"):format(longer .. chat)) -- the server makes it once
  for _ = 1, 2 do
    local _, _, ms = measure("stream", longer .. "/v1", "pieces")
    longest = math.min(longest or ms, ms)
  end
  report("the longest stream:next() of 500,000", longest, 5, false, "ms")
  if luajit == "" then return end
  local function on_luajit(events_in)
    local url_of_them = ("%s/stream/%d/280/v1"):format(root, events_in)
    return numbers(luajit, "bench/measure.lua stream", url_of_them, "pieces") / events_in
  end
  local many, few = interleaved(3, { function() return on_luajit(100000) end, function() return on_luajit(25000) end })
  report("LuaJIT, words that differ, CPU an event: 100,000 / 25,000", many / few, 1.1)
end

local function exponent(much, little, factor)
  return math.log(much / little) / math.log(factor)
end

function groups.values()
  local function url_of(count) return ("%s/json/%d/12/v1"):format(root, count) end
  local function way(count, how)
    return function() return (measure("values", url_of(count), how)) end
  end
  local values, elements, append = interleaved(7,
    { way(22000, "values"), way(22000, "elements"), way(22000, "append") })
  report("structured answer of 268 KB in 22,000 deltas: values() CPU / (append + one decode)", values / append, 2)
  report("the same, elements()", elements / append, 2)
  local many, few = interleaved(5, { way(176000, "values"), way(22000, "values") })
  report("values() of an answer 8 times as long, as an exponent", exponent(many, few, 8), 1.1)
end

function groups.crowd()
  local url = root .. "/stream/200000/280/v1"
  local beside, alone = interleaved(3, {
    function() return (measure("crowd", root .. "/hold/v1", 4000, url)) end,
    function() return (measure("crowd", root .. "/hold/v1", 0, url)) end,
  })
  report("a stream, CPU an event: beside 4,000 that wait / beside none", beside / alone, 1.25)
  local many, few = interleaved(3, {
    function() return measure("streams", root .. "/stream/50/280/v1", 4000) / 4000 end,
    function() return measure("streams", root .. "/stream/50/280/v1", 10) / 10 end,
  })
  report("streams, CPU an event: 4,000 at once / 10 at once", many / few, 1.25)
  report("the same, as an exponent", exponent(many, few, 400), 0.05)
  many, few = interleaved(5, {
    function() return measure("wake", 32000) / 32000 end,
    function() return measure("wake", 2000) / 2000 end,
  })
  report("a woken task: 32,000 / 2,000", many / few, 1.25)
  report("the same, as an exponent", exponent(many, few, 16), 0.05)
  report("gather over 100,000 functions: memory of one that has ended", measure("gather", 100000), 200, false, "bytes")
end

function groups.map()
  local results = built .. "/map.jsonl"
  os.execute(("rm -f %s/map.*"):format(built))
  local without, with = measure("map", 1000000, results)
  report("a map over 1,000,000 rows: memory from the thousandth row to the last", without, 1024, false, "KiB")
  report("the same with an output, whose ids are kept", with, 1024, false, "KiB")
  local pictures = built .. "/map_pictures.jsonl"
  os.execute(("rm -f %s/map_pictures.*"):format(built))
  local grown = measure("map_pictures", root .. "/v1", large_picture(), 5000, pictures)
  report("the same over 5,000 rows with pictures of 1 MB", grown, 1024, false, "KiB")
  local merged = measure("merge", results, built .. "/map.all.jsonl")
  report("a merge of 1,000,000 lines: memory of the process", merged / 1024, 64, false, "MiB")
  os.execute(("rm -f %s/map.*"):format(built))
end

function groups.turns()
  local all, last, encode = measure("turns", root .. "/v1", 1000)
  report("a turn at 2,000 messages, CPU / cjson.encode of all of them", last / encode, 1.5)
  report("1,000 turns of one conversation, CPU", all, 2.5, false, "s")
  local bytes, first = measure("media_turns", root .. "/v1", 20)
  report("bytes of 20 turns over one picture of 5 MB / of the first", bytes / first, 1.1)
  local long, short = interleaved(5, {
    function() return (measure("forks", 10000)) end,
    function() return (measure("forks", 100)) end,
  })
  report("fork and undo: of 10,000 messages / of 100", long / short, 1.25)
end

function groups.saved()
  local size = 5 * 1000 * 1000
  local picture = file_of("5MB", size, filled)
  local read, save, encode, load, decode = measure("saved", picture, built)
  report("bytes read to save a part of 5 MB by reference, its digest known / its bytes", read / 20 / size, 0.01)
  report("10,000 messages saved, CPU / cjson.encode of them", save / encode, 8)
  report("10,000 messages loaded, CPU / cjson.decode of the file", load / decode, 5)
end

function groups.texts()
  local ask, decode = measure("text", root .. "/text/10000000/v1")
  report("an answer of 10 MB of text, CPU / cjson.decode", ask / decode, 1.5)
  local part, plain = measure("data_url", 12 * 2 ^ 20 * 3 / 4)
  report("a data: URL of 12 MiB, CPU / base64.decode", part / plain, 2)
end

function groups.pictures()
  local path, total = "examples/picture.jpg", 3000
  local lmm, alone = interleaved(5, {
    function() return (measure("pictures", root .. "/v1", path, total, 64)) end,
    function() return (bare("pictures", root .. chat, path, total, 64)) end,
  })
  report("pictures of 104 KB, 64 at once, CPU / libcurl that reads and encodes them", lmm / alone, 1.4)
end

--- CPU seconds of a command and of what it starts.
local function cpu_of(command)
  local text = output("{ " .. command .. "; } >/dev/null; times"):match "\n(.*)$" -- the shell's own come first
  local seconds = 0
  for minutes, rest in text:gmatch "(%d+)m([%d.]+)s" do seconds = seconds + minutes * 60 + rest end
  return seconds
end

function groups.prepare()
  if output("command -v vips; command -v vipsthumbnail; true"):match "\n.*\n" == nil then return end
  local path, times = built .. "/12MP.jpg", 10
  local source = "vips thumbnail examples/picture.jpg '%s[Q=90]' 4000 --height 3000 --size force"
  output("test -f " .. path .. " || " .. source:format(path))
  local first, longest, peak, more
  local lmm, alone = interleaved(3, {
    function()
      return cpu_of(("%s bench/measure.lua prepare %s/v1 %s %d"):format(quote(interpreter), root, path, times))
    end,
    function()
      local files = (path .. " "):rep(times)
      return cpu_of(("VIPS_CONCURRENCY=1 vipsthumbnail -s 1568 -o 'small.jpg[Q=85,strip]' %s"):format(files))
    end,
  })
  report("a JPEG of 12 megapixels to 1568 pixels, CPU / vipsthumbnail", lmm / alone, 1.2)
  for _ = 1, 5 do first = math.min(first or math.huge, (measure("prepare", root .. "/v1", path, 0))) end
  for _ = 1, 2 do
    local _, ms, before, kib = measure("prepare", root .. "/v1", path, 200)
    longest = math.min(longest or ms, ms)
    peak, more = math.min(peak or kib, kib), math.min(more or kib, kib - before)
  end
  report("200 of them in a gather: the longest that the loop is held up", longest, 20, false, "ms")
  report("the same by the first picture of a process, which loads libvips", first, 20, false, "ms")
  report("200 of them in a gather: memory that they take", more / 1024, 64, false, "MiB")
  report("the same: memory of the whole process", peak / 1024, nil, false, "MiB")
end

--- A file of rows, each about a picture.
local function write_rows(count, picture)
  local path = built .. "/rows.jsonl"
  local file = assert(io.open(path, "w"))
  for i = 1, count do
    file:write(([[{"custom_id":"r%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]]
      .. [[{"role":"user","content":[{"type":"text","text":"What is this?"},]]
      .. [[{"type":"image_url","image_url":{"url":"%s"}}]}]}}]] .. "\n"):format(i, picture))
  end
  file:close()
  return path
end

--- The command `lmm batch` over such rows, 64 at a time.
local function batch(count, picture)
  local path = write_rows(count, picture)
  return ("rm -f %s/out.*; %s bin/lmm batch %s -o %s/out.jsonl --concurrency 64 --url %s/v1"):format(built,
    quote(interpreter), path, built, root)
end

function groups.batch()
  for _, row in ipairs { { "104 KB", "examples/picture.jpg", 2000 }, { "1 MB", large_picture(), 500 } } do
    local size, picture, count = row[1], row[2], row[3]
    -- What a row takes: of so many more of them, since the command's start and its first look at the rows are once.
    local many, few, alone = interleaved(5, {
      function() return cpu_of(batch(2 * count, picture)) end,
      function() return cpu_of(batch(count, picture)) end,
      function() return (bare("pictures", root .. chat, picture, count, 64)) end,
    })
    report(("lmm batch, CPU a row with a picture of %s / libcurl that reads and encodes it"):format(size),
      (many - few) / alone, 1.5)
  end
  local python = built .. "/venv/bin/python"
  local made = built .. "/venv/made"
  output(("test -e %s || { python3 -m venv %s/venv && %s -m pip install -q openai && touch %s; } >&2"):format(made,
    built, python, made))
  local words = ("%s bench/cookbook.py %s/v1 %s/rows.jsonl %s/cookbook.jsonl 64"):format(python, root, built, built)
  local ours, theirs = interleaved(3, {
    function() return cpu_of(batch(2000, "examples/picture.jpg")) end,
    function() return cpu_of(words) end,
  })
  report("lmm batch over 2,000 such rows, CPU of the process / openai-python with asyncio", ours / theirs, 0.2)
  ours, theirs = interleaved(3, {
    function() return seconds_of(batch(2000, "examples/picture.jpg")) end,
    function() return seconds_of(words) end,
  })
  report("the same, time", ours / theirs, 0.5)
end

function groups.start()
  local function start(module)
    local command = "for i in 1 2 3 4 5 6 7 8 9 10; do %s -e 'require \"%s\"'; done"
    return seconds_of(command:format(interpreter, module))
  end
  local lmm, cjson = interleaved(15, { function() return start "lmm" end, function() return start "cjson" end })
  report("start: require \"lmm\" / require \"cjson\"", lmm / cjson, 1.2)
  local maps = "%s -e 'require \"lmm\" io.write(io.open(\"/proc/self/maps\"):read \"*a\")'"
  report("start: libcurl is loaded by require \"lmm\" (0 no, 1 yes)",
    output(maps:format(interpreter)):find "libcurl" and 1 or 0, 0)
  local installed = built .. "/installed"
  local none, version = "unset LUA_PATH LUA_CPATH", _VERSION:match "%d%.%d"
  local paths = ("export LUA_PATH='I/share/lua/V/?.lua;I/share/lua/V/?/init.lua;;' LUA_CPATH='I/lib/lua/V/?.so;;'")
    :gsub("[IV]", { I = installed, V = version })
  local function ten(environment, command)
    local times = "export OPENAI_BASE_URL=%s/v1 XDG_CONFIG_HOME=/nowhere; %s; for i in 1 2 3 4 5 6 7 8 9 10; do "
      .. "%s >/dev/null </dev/null; done"
    return function() return seconds_of(times:format(root, environment, command)) end
  end
  -- A program of its own: the text of bench/measure.lua takes half a millisecond to compile.
  local ask = interpreter .. [[ -e 'assert(require "lmm".connect { base_url = "%s/v1", model = "m" }:chat {]]
    .. [[ messages = { { role = "user", content = "Say hello." } } })']]
  ask = ask:format(root)
  local command = installed .. "/bin/lmm ask -m m hello"
  local first, plain, asked, logged, told, curl = interleaved(10, {
    ten(paths, ask),
    ten(":", ask),
    ten(none, command .. " --no-log"),
    ten(none, "LMM_LOG=" .. built .. "/start.db " .. command),
    ten(none, installed .. "/bin/lmm --version"),
    ten(":", "curl -sS -H 'Content-Type: application/json' -d '{}' " .. root .. chat),
  })
  report("the first ask of a process, lmm installed / curl", first / curl, 1.5)
  report("the same from this tree, whose modules are not compiled / curl", plain / curl)
  report("the command lmm ask, without its log / curl", asked / curl, 1.3)
  report("the same with its log, as where SQLite is installed / curl", logged / curl)
  report("the command lmm --version", told / 10 * 1000, 10, false, "ms")
  if output("command -v nvim; true") == "" then return end
  local editor = "nvim --headless -n -i NONE -u NONE --cmd 'set runtimepath^=.' --cmd 'lua %s' --cmd 'qa!'"
  local function start_editor(code)
    return seconds_of("for i in 1 2 3 4 5 6 7 8 9 10; do " .. editor:format(code) .. "; done")
  end
  local with, without = interleaved(10, {
    function() return start_editor "require \"lmm\"" end,
    function() return start_editor "local nothing" end,
  })
  report("start: nvim with lmm / without", (with - without) / 10 * 1000, 5, false, "ms more")
end

--- What the log adds to an ask, in milliseconds.
function groups.log()
  if output("find /usr/lib /usr/local/lib -path '*luasql/sqlite3.so' 2>/dev/null"):match "^%s*$" then return end
  local path = built .. "/log.db"
  output(("rm -f %s %s-wal %s-shm"):format(path, path, path))
  local command = "env -u LUA_PATH -u LUA_CPATH LMM_LOG=%s OPENAI_BASE_URL=%s/v1 XDG_CONFIG_HOME=/nowhere "
    .. built .. "/installed/bin/lmm ask -m m -i examples/picture.jpg hello >/dev/null </dev/null"
  local function ask_with(log)
    return seconds_of(command:format(log, root))
  end
  ask_with(path) -- makes it
  local with, without = interleaved(100, { function() return ask_with(path) end, function() return ask_with "off" end })
  report("the log: the command lmm ask about a picture, with / without", (with - without) * 1000, 5, false, "ms more")
  local logged, plain = interleaved(5, {
    function() return (measure("logged", root .. "/v1", 100, path)) end,
    function() return (measure("logged", root .. "/v1", 100)) end,
  })
  report("the log: an ask of a process that goes on, with / without", (logged - plain) / 100 * 1000, 5, false,
    "ms more")
end

function groups.gateway()
  if output("command -v nginx; true") == "" then return end
  local first, later, at_once, one_by_one, plain_first, plain_later, plain_at_once, plain_one_by_one =
    numbers(quote(interpreter), "bench/gateway.lua", root)
  report("gateway in nginx, time to a first byte after 20 ms / proxy_pass", later / plain_later, 1.2)
  report("the same, to one that the server has at once", first / plain_first)
  report("gateway in nginx, CPU a stream of 300 events one by one / proxy_pass", one_by_one / plain_one_by_one, 2)
  report("the same, of 200 events that come at once", at_once / plain_at_once)
end

function groups.grid()
  local logged, memory, size, opened, found = numbers(quote(interpreter), "bench/grid.lua", built)
  report("a grid of 1,000 cells from the log, as a whole program", logged, 2, false, "s")
  report("a grid of 40 pictures of 8 MB and two models: memory of the process", memory, 64, false, "MiB")
  report("a grid of 500 pictures and two models: the page", size, 10, false, "MiB")
  if opened < 0 then return end
  report("the same: opened in Chromium", opened, 2, false, "s")
  report("the same: searched there", found, 2, false, "s")
end

local names = { "base64", "upload", "asks", "streams", "values", "crowd", "map", "turns", "saved", "texts", "pictures",
  "batch", "prepare", "gateway", "grid", "log", "start" }
local chosen = #arg > 0 and arg or names
for _, name in ipairs(chosen) do (groups[name] or error("no group " .. name, 0))() end
server:close()

--- Puts the table between two marks of bench/README.md, whose words around it are written by hand.
local function write_table()
  local lines = { "| what | now | bound | |", "|---|---|---|---|" }
  for _, row in ipairs(rows) do
    local what = row.what:gsub("|", "\\|")
    lines[#lines + 1] = ("| %s | %s | %s | %s |"):format(what, row.ratio, row.bound, row.kept and "" or "missed")
  end
  local file = assert(io.open "bench/README.md")
  local page = file:read "*a"
  file:close()
  local before, after = page:match "^(.-<!%-%- begin of the table %-%->\n).-(<!%-%- end of the table %-%->.*)$"
  file = assert(io.open("bench/README.md", "w"))
  file:write(before, "\n", table.concat(lines, "\n"), "\n\n", after)
  file:close()
end

if #arg == 0 then write_table() end
os.exit(missed and 1 or 0)
