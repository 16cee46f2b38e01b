-- usage: LUA bench/measure.lua WHAT URL ARGUMENT...      from the project's folder, by bench/run.lua
--
-- One measurement in a process of its own: what is done is named by the first argument, and what it cost is printed as
-- numbers. Times are CPU seconds of this process unless the line says otherwise.
local core = require "lmm.core"
local lmm = require "lmm"

local measures = {}

local QUESTION = { { role = "user", content = "Say hello." } }

local function connect(url)
  return lmm.connect { base_url = url, model = "m", retry = false, limits = { reply = math.huge },
    timeout = { total = 600, first = 600, idle = 600 } }
end

--- A line of /proc/self/status, in KiB.
local function memory(name)
  local status = assert(io.open "/proc/self/status")
  local kib = status:read "*a":match(name .. ":%s*(%d+)")
  status:close()
  return tonumber(kib)
end

--- CPU seconds of `fn`.
local function cpu(fn)
  collectgarbage()
  collectgarbage()
  local before = os.clock()
  fn()
  return os.clock() - before
end

--- Calls `fn` so many times, in so many tasks at once.
local function at_once(count, total, fn)
  local left, tasks = total, {}
  local function work()
    while left > 0 do
      left = left - 1
      fn()
    end
  end
  for i = 1, count do tasks[i] = work end
  lmm.gather(tasks, { limit = count })
end

--- upload URL FILE...: asks about each file in turn; for each the wall-clock seconds that it took, and the most memory
--- that the process has had so far, in KiB.
function measures.upload(url, ...)
  local client = connect(url)
  for _, path in ipairs { ... } do
    local part = lmm.image(path, { mime = "image/jpeg" })
    local before = core.now()
    assert(client:conversation():ask("What is this?", part))
    print(("%.6f %d"):format(core.now() - before, memory "VmHWM"))
  end
end

--- asks URL COUNT AT_ONCE chat|conversation
function measures.asks(url, total, count, how)
  local client = connect(url)
  local ways = {
    chat = function() assert(client:chat { messages = QUESTION }) end,
    conversation = function() assert(client:conversation():ask "Say hello.") end,
  }
  at_once(tonumber(count), 2 * count, ways[how])
  print(("%.6f"):format(cpu(function() at_once(tonumber(count), tonumber(total), ways[how]) end)))
end

--- stream URL pieces|events|cjson [FILE]: one stream to its end; also the memory beyond what there was before, in KiB,
--- and the longest wall-clock time of a step, in ms. `cjson` decodes each event of the text in FILE, and asks nobody.
function measures.stream(url, how, path)
  if how == "cjson" then
    local cjson, file = require "cjson", assert(io.open(path, "rb"))
    local text, decoded = file:read "*a", nil
    file:close()
    local count = 0
    print(("%.6f 0 0"):format(cpu(function()
      for event in text:gmatch "data: ({[^\n]*})" do
        count = count + 1
        decoded = cjson.decode(event)
      end
    end)))
    assert(decoded and count > 0)
    return
  end
  local client = connect(url)
  assert(connect((url:gsub("/stream/%d+", "/stream/3"))):stream { messages = QUESTION }:reply())
  local before, longest, count = memory "VmRSS", 0, 0
  local seconds = cpu(function()
    local stream = client:stream { messages = QUESTION }
    local step = how == "events" and stream:events() or function() return (stream:next()) end
    local last = core.now()
    while step() do
      count = count + 1
      local now = core.now()
      longest, last = math.max(longest, now - last), now
    end
    assert(stream:reply())
  end)
  assert(count > 0)
  print(("%.6f %d %.3f"):format(seconds, memory "VmRSS" - before, longest * 1000))
end

--- values URL values|elements|append: one streamed answer that is JSON, as a value that grows, item by item, or joined
--- and decoded at its end.
function measures.values(url, how)
  local client = connect(url)
  local ways = {
    values = function(stream)
      local value
      for now in stream:values() do value = now end
      return value
    end,
    elements = function(stream)
      local count = 0
      for _ in stream:elements "rows" do count = count + 1 end
      return { rows = { [count] = true } }
    end,
    append = function(stream)
      local pieces = {}
      for piece in stream do pieces[#pieces + 1] = piece end
      return core.decode(table.concat(pieces))
    end,
  }
  assert(client:chat { messages = QUESTION }) -- the server makes the answer once
  local value
  print(("%.6f"):format(cpu(function() value = ways[how](client:stream { messages = QUESTION }) end)))
  assert(#value.rows > 0 or next(value.rows))
end

--- crowd URL_OF_HOLD WAITING URL_OF_STREAM: a busy stream beside so many that wait.
function measures.crowd(hold, waiting, url)
  local holding, busy = connect(hold), connect(url)
  for _ = 1, tonumber(waiting) do
    local stream = holding:stream { messages = QUESTION }
    lmm.go(function() stream:next() end, function() end)
  end
  lmm.go(function() connect(url):chat { messages = QUESTION } end):wait()
  local result
  print(("%.6f"):format(cpu(function()
    lmm.go(function()
      for _ in busy:stream { messages = QUESTION } do result = true end
    end):wait()
  end)))
  assert(result)
  holding:close()
end

--- streams URL COUNT: so many streams at once, each to its end.
function measures.streams(url, count)
  local client, tasks = connect(url), {}
  for i = 1, tonumber(count) do
    tasks[i] = function()
      for _ in client:stream { messages = QUESTION } do end -- luacheck: ignore
      return true
    end
  end
  print(("%.6f"):format(cpu(function() lmm.gather(tasks, { limit = #tasks }) end)))
end

--- wake COUNT: tasks that are woken at once.
function measures.wake(count)
  local loop, cells, tasks = require("lmm.loop").current(), {}, {}
  for i = 1, tonumber(count) do
    cells[i] = {}
    tasks[i] = lmm.go(function() loop:wait(cells[i], loop:now() + 600) end)
  end
  print(("%.6f"):format(cpu(function()
    for _, cell in ipairs(cells) do loop:wake(cell) end
    for _, task in ipairs(tasks) do task:wait() end
  end)))
end

--- gather COUNT: bytes for each function that has ended.
function measures.gather(count)
  local fns = {}
  for i = 1, tonumber(count) do fns[i] = function() if i == #fns then
    collectgarbage()
    collectgarbage()
    fns.at_end = collectgarbage "count" * 1024
  end end end
  collectgarbage()
  collectgarbage()
  local before = collectgarbage "count" * 1024
  lmm.gather(fns)
  print(("%.1f"):format((fns.at_end - before) / #fns))
end

--- The KiB by which a map over so many rows grows from the thousandth to the last: the least of what the last three
--- thousands say, since the uploads under way take more or less.
local function growth(count, fn, opts)
  local at, seen = 0, {}
  assert(lmm.map(function()
    at = at + 1
    if at % 1000 == 0 then
      collectgarbage() -- each time, so that the heap is as full of what is free
      collectgarbage()
      seen[#seen + 1] = memory "VmRSS"
    end
    return at <= count and { n = at } or nil
  end, fn, opts))
  return math.min(seen[#seen], seen[#seen - 1], seen[#seen - 2]) - seen[1]
end

--- map COUNT OUTPUT: rows with results of 40 bytes; the KiB by which the process grows from the thousandth row to the
--- last, without an output and with one.
function measures.map(count, output)
  count = tonumber(count)
  print(("%d %d"):format(growth(count, function() end, { concurrency = 16 }),
    growth(count, function(item) return ("x"):rep(40) .. item.n end, { output = output, concurrency = 16 })))
end

--- map_pictures URL FILE COUNT OUTPUT: the same of rows that each ask about a picture's file.
function measures.map_pictures(url, path, count, output)
  local client = connect(url)
  print(growth(tonumber(count), function()
    return client:conversation():ask("What is this?", lmm.image(path))
  end, { client = client, output = output, concurrency = 16 }))
end

--- merge OUTPUT PATH: the KiB that the process has at most.
function measures.merge(output, path)
  assert(require("lmm.bulk").merge({ output }, path))
  print(memory "VmHWM")
end

--- media_turns URL COUNT: that many turns of a conversation about one picture of 5 MB, with a server that keeps media:
--- the bytes of all of them, and of the first.
function measures.media_turns(url, count)
  local chat = require("lmm").connect({ base_url = url, model = "m", dialect = "vllm" }):conversation()
  local picture = require("lmm").image({ bytes = ("x"):rep(5 * 2 ^ 20) }, { mime = "image/png" })
  local all, first = 0, nil
  for i = 1, tonumber(count) do
    local sent = assert(chat:ask("What is this?", i == 1 and picture or nil)).usage.bytes_sent
    all, first = all + sent, first or sent
  end
  print(("%d %d"):format(all, first))
end

--- forks COUNT: the CPU seconds of 20,000 times fork and undo of a conversation of that many messages. The collector,
--- which walks over all messages whatever is done, stands still meanwhile.
function measures.forks(count)
  local messages = {}
  for i = 1, tonumber(count) / 2 do
    messages[2 * i - 1] = { role = "user", content = "question " .. i }
    messages[2 * i] = { role = "assistant", content = "answer " .. i }
  end
  local chat = require("lmm").connect({ model = "m" }):conversation()
  chat.messages = messages
  chat = chat:fork()
  collectgarbage()
  collectgarbage "stop"
  print(("%.9f"):format(cpu(function()
    for _ = 1, 20000 do chat:fork():undo() end
  end)))
end

--- turns URL COUNT: that many turns of one conversation, the CPU seconds of all, of the last, and of cjson.encode of
--- the messages that the last one sends.
function measures.turns(url, count)
  local cjson = require "cjson"
  local chat = connect(url):conversation()
  local last = math.huge
  local all = cpu(function()
    for i = 1, tonumber(count) do
      assert(chat:ask("This is question number " .. i .. ", about as long as they are."))
    end
  end)
  for _ = 1, 20 do
    last = math.min(last, cpu(function() assert(chat:ask "And the last one.") end))
    chat:undo()
  end
  local encode = math.huge
  for _ = 1, 20 do encode = math.min(encode, cpu(function() cjson.encode(chat.messages) end)) end
  print(("%.6f %.6f %.6f"):format(all, last, encode))
end

--- Bytes that this process has read so far, by read and pread.
local function bytes_read()
  local io_counts = assert(io.open "/proc/self/io")
  local count = io_counts:read "*a":match "rchar: (%d+)"
  io_counts:close()
  return tonumber(count)
end

--- saved FILE FOLDER: the bytes read by 20 saves of a conversation with this picture, once its digest is known; the CPU
--- seconds of saving 10,000 messages, of cjson.encode of the same, of loading them, and of cjson.decode of the file.
function measures.saved(picture, folder)
  local cjson, client = require "cjson", connect "http://127.0.0.1:9/v1"
  local path = folder .. "/chat.json"
  local part = lmm.image(picture, { mime = "image/jpeg" })
  local chat = client:conversation { messages = { { role = "user", content = { part } } } }
  assert(chat:save(path))
  local before = bytes_read()
  for _ = 1, 20 do assert(chat:save(path)) end
  local read = bytes_read() - before
  local messages = {}
  for i = 1, 5000 do
    messages[2 * i - 1] = { role = "user", content = "This is question number " .. i .. ", as long as they are." }
    messages[2 * i] = { role = "assistant", content = "And this is its answer, which is a little longer than that." }
  end
  chat = client:conversation { messages = messages }
  local save, encode, load, decode = math.huge, math.huge, math.huge, math.huge
  for _ = 1, 10 do
    save = math.min(save, cpu(function() assert(chat:save(path)) end))
    encode = math.min(encode, cpu(function() cjson.encode(messages) end))
    load = math.min(load, cpu(function() assert(client:load(path)) end))
    local file = assert(io.open(path))
    local text = file:read "*a"
    file:close()
    decode = math.min(decode, cpu(function() cjson.decode(text) end))
  end
  os.remove(path)
  print(("%d %.6f %.6f %.6f %.6f"):format(read, save, encode, load, decode))
end

--- text URL: an answer of much text, and cjson.decode of the same bytes.
function measures.text(url)
  local cjson, client = require "cjson", connect(url)
  local body = assert(client:request("POST", "chat/completions", {})).body
  local ask, decode = math.huge, math.huge
  for _ = 1, 5 do
    ask = math.min(ask, cpu(function() assert(client:chat { messages = QUESTION }) end))
    decode = math.min(decode, cpu(function() cjson.decode(body) end))
  end
  print(("%.6f %.6f"):format(ask, decode))
end

--- data_url BYTES: a part made of a data: URL, and base64.decode of the same characters.
function measures.data_url(count)
  local base64 = core.base64.encode("\255\216\255\224" .. ("\7\90\200"):rep(math.floor(count / 3)))
  local url, part, decode = "data:image/jpeg;base64," .. base64, math.huge, math.huge
  for _ = 1, 5 do
    part = math.min(part, cpu(function() assert(not lmm.image(url).err) end))
    decode = math.min(decode, cpu(function() core.base64.decode(base64) end))
  end
  print(("%.6f %.6f"):format(part, decode))
end

--- pictures URL FILE COUNT AT_ONCE: CPU seconds of asks about a picture's file.
function measures.pictures(url, path, total, count)
  local client = connect(url)
  local function ask() assert(client:conversation():ask("What is this?", lmm.image(path))) end
  at_once(tonumber(count), 2 * count, ask)
  print(("%.6f"):format(cpu(function() at_once(tonumber(count), tonumber(total), ask) end)))
end

--- prepare URL FILE COUNT: asks in a gather, each about the picture made smaller. The longest wall-clock time, in ms,
--- in which the loop did not get to a task that wants to go on every millisecond: by the first ask, about a small
--- picture, which loads libvips, and by the others; the memory of the process after the first, and the most that it has
--- had, in KiB.
function measures.prepare(url, path, count)
  local client, loop = connect(url), require("lmm.loop").current()
  local function about(picture, side)
    return function()
      assert(client:conversation():ask("What is this?", lmm.image(picture, { max_side = side })))
      return true
    end
  end
  local function longest_of(times, ask)
    local asks, is_over, longest = {}, false, 0
    local ticks = lmm.go(function()
      while not is_over do
        local before = core.now()
        loop:wait({}, loop:now() + 0.001)
        longest = math.max(longest, core.now() - before)
      end
    end)
    for i = 1, times do asks[i] = ask end
    assert(#lmm.gather(asks) == #asks)
    is_over = true
    ticks:wait()
    return longest * 1000
  end
  local first, before = longest_of(1, about("examples/picture.jpg", 64)), memory "VmRSS"
  print(("%.3f %.3f %d %d"):format(first, longest_of(tonumber(count), about(path, 1568)), before, memory "VmHWM"))
end

--- logged URL COUNT PATH?: wall-clock seconds of so many asks about a picture in one conversation, with a log or not.
function measures.logged(url, count, path)
  local client = lmm.connect { base_url = url, model = "m", log = path }
  local chat = client:conversation()
  assert(chat:ask("What is this?", lmm.image "examples/picture.jpg"))
  local before = core.now()
  for i = 1, tonumber(count) do assert(chat:ask("And " .. i)) end
  print(("%.6f"):format(core.now() - before))
end

--- encode COUNT: base64 of 1 MiB, so many times.
function measures.encode(count)
  local bytes = ("\0\16\131\255"):rep(2 ^ 18)
  print(("%.6f"):format(cpu(function()
    for _ = 1, tonumber(count) do core.base64.encode(bytes) end
  end)))
end

measures[arg[1]](select(2, (table.unpack or unpack)(arg))) -- luacheck: ignore
