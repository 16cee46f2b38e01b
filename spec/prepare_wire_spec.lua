-- Pictures prepared on their way to a server: once, in any loop, without holding up anything else, and told as an error
-- before anything is sent where that fails.
local core = require "lmm.core"
local lmm = require "lmm"
local pixels = require "spec.support.pixels"
local program = require "spec.support.program"
local shell = require "spec.support.shell"
local vips = require "lmm.vips"

local folder = pixels.folder()
local path = folder.path
local photo, large, mock

--- What the server says that it got of the picture.
local function told(reply, message)
  return assert(reply, message).text:match "image 1: ([^,]+, %d+ x %d+ pixels)"
end

--- Runs `fn` and counts how many pictures are begun meanwhile.
local function begun(fn)
  local start, count = vips.start, 0
  vips.start = function(...)
    count = count + 1
    return start(...)
  end
  local ok, problem = pcall(fn)
  vips.start = start
  assert(ok, problem)
  return count
end

describe("a picture that is to be prepared", function()
  setup(function()
    photo = folder.photo "photo.png"
    folder.vips("replicate %s %s 20 20", "photo.png", "large.v")
    large = folder.vips("copy %s %s", "large.v", "large.jpg")
    mock = assert(lmm.mock {})
  end)
  teardown(function()
    mock.stop()
    folder.remove()
  end)

  local function client(opts)
    opts = opts or {}
    opts.base_url = mock.url
    return lmm.connect(opts)
  end

  it("is prepared when it is first sent, and once", function()
    local chat, part = client():conversation(), lmm.image(photo, { max_side = 60, convert = "webp" })
    assert.equal(1, begun(function()
      assert.equal("image/webp, 60 x 40 pixels", told(chat:ask("what?", part)))
      assert.equal("image/webp, 60 x 40 pixels", told(chat:ask "and now?"))
      assert.equal("image/webp, 60 x 40 pixels", told(client():chat {
        messages = { { role = "user", content = { part } } },
      }))
      assert.equal("image/webp, 60 x 40 pixels", told((chat:fork():stream "what?"):reply()))
    end))
    assert.truthy(part.size > 0)
  end)

  it("goes along in a raw request, a form and events", function()
    local function part() return lmm.image(photo, { max_side = 60 }) end
    local body = { model = "mock", messages = { { role = "user", content = { part() } } } }
    local reply = assert(client():request("POST", "chat/completions", body))
    assert.matches("image/png, 60 x 40 pixels", reply.body)
    body.messages[1].content[1] = part()
    local text = {}
    for event in client():events("POST", "chat/completions", body) do
      text[#text + 1] = event.choices[1] and event.choices[1].delta.content or ""
    end
    assert.matches("image/png, 60 x 40 pixels", table.concat(text))
    local made = part()
    assert(client():request("POST", "audio/transcriptions", lmm.form { file = made, model = "mock" }))
    assert.same({ true, 60 }, { made.plan.is_done, made.media:info().width })
  end)

  it("is prepared once though several ask with it at once", function()
    local part, fns = lmm.image(large, { max_side = 60 }), {}
    for i = 1, 5 do fns[i] = function() return client():conversation():ask("what?", part) end end
    local results
    assert.equal(1, begun(function() results = assert(lmm.gather(fns)) end))
    for i = 1, 5 do assert.equal("image/jpeg, 60 x 40 pixels", told(results[i], i)) end
  end)

  it("holds up nobody else", function()
    local count, is_over = 0, false
    local others = {
      function()
        local picture = lmm.image(large, { max_side = 2400, convert = "png" }) -- a long piece of work
        local reply, message = client():conversation():ask("what?", picture)
        is_over = true
        return reply, message
      end,
      function()
        local loop = client().loop
        while not is_over do
          loop:wait({}, loop:now() + 0.001)
          count = count + 1
        end
        return true
      end,
    }
    local results = assert(lmm.gather(others))
    assert.equal("image/png, 2400 x 1600 pixels", told(results[1]))
    assert(count > 10, "the other task went on " .. count .. " times")
  end)

  it("that cannot be prepared is an error, before anything is sent", function()
    local part = lmm.image(shell.write(path "no.png", shell.read(photo):sub(1, 500)), { max_side = 9,
      mime = "image/png" })
    local chat = client { model = "mock" }:conversation()
    for _ = 1, 2 do
      local _, message, err = chat:ask("what?", part)
      assert.matches("^'.*/no%.png' is damaged or cut short, and cannot be prepared", message)
      assert.same({ "invalid", part.err }, { err.kind, err })
      assert.same({}, chat.messages)
    end
  end)

  it("is cancelled with its question", function()
    local chat = client { model = "mock" }:conversation()
    local part = lmm.image(large, { convert = "png" })
    local kinds = {}
    assert(lmm.gather {
      function()
        local _, _, err = chat:ask("what?", part)
        kinds[1] = err and err.kind
      end,
      function() chat:cancel() end,
    })
    local task = lmm.go(function()
      local _, _, err = chat:ask("what?", part)
      kinds[2] = err and err.kind
    end)
    task:cancel()
    task:wait()
    assert.same({ "cancelled", "cancelled" }, kinds)
    assert.is_nil(part.err)
    assert.equal("image/png, 4800 x 3200 pixels", told(chat:ask("what?", part))) -- what was begun is not lost
  end)

  it("says what was converted for the server that it was sent to last", function()
    local tiff = folder.vips("copy %s %s", "photo.png", "photo.tif")
    local part, given = lmm.image(tiff), lmm.image(tiff, { max_side = 60 })
    local function sent(dialect)
      local reply, message = client { dialect = dialect }:conversation():ask("what?", part, given)
      return { assert(reply, message).text:match "image 1: ([^,]+)", part.mime, part.converted or "", given.converted }
    end
    for _ = 1, 2 do
      assert.same({ "image/jpeg", "image/tiff", "image/tiff", "image/tiff" }, sent "llama.cpp")
      assert.same({ "image/tiff", "image/tiff", "", "image/tiff" }, sent "vllm")
    end
    sent "llama.cpp"
    assert(client():request("POST", "chat/completions", { model = "mock", messages = {
      { role = "user", content = { part } } } })) -- which is written as if nobody knew the server
    assert.is_nil(part.converted)
  end)

  it("counts as time of the call", function()
    local part = lmm.image(large, { convert = "png" })
    local _, message, err = client { model = "mock" }:conversation():ask("what?", part, { timeout = 0.001 })
    assert.same({ "timeout", "total", 0 }, { err.kind, err.limit, err.attempts }, message)
    assert.is_nil(part.err)
  end)
end)

describe("lmm.vips", function()
  local PRELUDE = "local lmm = require 'lmm'\nlocal url, photo = ...\n"

  setup(function()
    folder = pixels.folder()
    photo = folder.photo "photo.png"
    mock = assert(lmm.mock {})
  end)
  teardown(function()
    mock.stop()
    folder.remove()
  end)

  -- A child forgets what is the parent's, as it must, so who looks for leaks is not asked about it.
  local NO_LEAKS = "ASAN_OPTIONS=detect_leaks=0"

  local function run(text, more, prefix)
    local ended = program.run(PRELUDE .. text, { mock.url, photo, more }, prefix)
    assert.same({ 0, "" }, { ended.status, ended.err })
    return ended.out
  end

  it("is loaded by the first picture that needs it, not before", function()
    assert.equal("false false true\n", run [[
      local function is_loaded()
        for line in io.lines "/proc/self/maps" do
          if line:find "libvips%.so" then return "true" end
        end
        return "false"
      end
      local client = lmm.connect(url)
      assert(client:conversation():ask("what?", lmm.image(photo)))
      local first, part = is_loaded(), lmm.image(photo, { max_side = 9 })
      local second = is_loaded()
      assert(client:conversation():ask("what?", part))
      print(first .. " " .. second .. " " .. is_loaded())
    ]])
  end)

  it("is told with its package where it was not built, or cannot be loaded", function()
    assert.equal("'" .. photo .. "' cannot be prepared: this lmm was built without libvips (on Debian: apt install "
      .. "libvips-dev, then make install again; with LuaRocks: luarocks make src/lmm-vips-scm-1.rockspec)\n", run [[
      package.preload["lmm.vips"] = function() error("module 'lmm.vips' not found:\n\tno file", 0) end
      print((select(2, lmm.connect(url):conversation():ask("what?", lmm.image(photo, { max_side = 9 })))))
    ]])
    assert.matches("' cannot be prepared: lmm%.vips cannot be loaded: no room\n$", run [[
      package.preload["lmm.vips"] = function() error("no room", 0) end
      print((select(2, lmm.connect(url):conversation():ask("what?", lmm.image(photo, { max_side = 9 })))))
    ]])
  end)

  local ASK = "print((select(2, lmm.connect(url):conversation():ask('what?', lmm.image(photo, { max_side = 9 })))))"

  it("tells with the package that libvips is not there", function()
    shell.run("mkdir -p %s", path "lib")
    shell.write(path "lib/libvips.so.42", "no library")
    assert.matches("' cannot be prepared: libvips cannot be loaded %(on Debian: apt install libvips42%): .*"
      .. "libvips%.so%.42: file too short\n$", run(ASK, nil, "LD_LIBRARY_PATH=" .. path "lib"))
  end)

  it("takes no engine of another version, nor does without one", function()
    local own
    for template in package.cpath:gmatch "[^;]+" do
      local name = template:gsub("?", "lmm/vips")
      own = own or shell.read(name) and name
    end
    local engine = shell.read((own:gsub("vips%.so$", "vips_engine.so")))
    shell.run("mkdir -p %s; cp %s %s", path "lmm", own, path "lmm")
    local prelude = ("package.cpath = %q .. package.cpath\n"):format(path "?.so;")
    assert.matches("libvips cannot be loaded %(.*/vips_engine%.so: cannot open shared object file", run(prelude .. ASK))
    shell.write(path "lmm/vips_engine.so", (engine:gsub("0%.1%.0%-(%d+)%z", "0.0.9-%1\0")))
    assert.matches("/vips_engine%.so is of version 0%.0%.9%-%d+, and not 0%.1%.0%-%d+: build or install lmm again\n$",
      run(prelude .. ASK))
  end)

  it("goes on where a decoder does not return, and the process ends", function()
    local jpeg = folder.vips("copy %s %s", "photo.png", "photo.jpg")
    local library = program.library "stuck_decoder"
    local said = run([[
      require("lmm.prepare.pictures").LIMIT = 1
      local core, jpeg, ticks, stuck = require "lmm.core", select(3, ...), 0, 4
      local client, loop = lmm.connect(url), require("lmm.loop").current()
      local function ask(side)
        return function()
          local reply, message = client:conversation():ask("what?", lmm.image(jpeg, { max_side = side }))
          stuck = stuck - (reply and 0 or 1)
          return reply or message
        end
      end
      local function tick()
        local longest = 0
        while stuck > 0 do
          local before = core.now()
          loop:wait({}, loop:now() + 0.01)
          longest = math.max(longest, core.now() - before)
        end
        return longest
      end
      local results = assert(lmm.gather { ask(9), ask(9), ask(9), ask(9), tick })
      for i = 1, 4 do print((results[i]:gsub("^.*/", ""))) end
      print(results[5] < 1)
      print((assert(client:conversation():ask("what?", lmm.image(jpeg, { max_side = 60 }))).text:match "60 x 40"))
    ]], jpeg, NO_LEAKS .. " STUCK=4 LD_PRELOAD=\"$LD_PRELOAD " .. library .. "\"") -- of what the lost threads hold
    os.remove(library)
    assert.equal(("photo.jpg' took more than 1 seconds to prepare, and was given up: shrink it first\n"):rep(4)
      .. "true\n60 x 40\n", said)
  end)

  it("holds up the end of the process once, where a decoder does not return", function()
    local jpeg, file = folder.vips("copy %s %s", "photo.png", "photo.jpg"), path "stuck"
    local library = program.library "stuck_decoder"
    local said = run([[
      local jpeg, stuck = select(3, ...), os.getenv "STUCK_FILE"
      local vips, core = require "lmm.vips", require "lmm.core"
      local job = assert(vips.start { path = jpeg, format = "png" })
      local file
      while not file do
        core.sleep(0.005)
        file = io.open(stuck)
      end
      print(core.now())
    ]], jpeg, NO_LEAKS .. " STUCK=1 STUCK_FILE=" .. file .. " LD_PRELOAD=\"$LD_PRELOAD " .. library .. "\"")
    local took = core.now() - tonumber((said:match "[%d.]+"))
    os.remove(library)
    assert(took < 9, took) -- 5 s are waited
  end)

  it("leaves a process that ends while pictures are prepared, whatever is collected or closed", function()
    for _, ending in ipairs { "", "jobs = nil collectgarbage()", "jobs[1]:close() jobs[3]:close()", "os.exit(0, true)",
      "os.exit(0)", "while jobs[1]:result() == false do core.sleep(0.001) end" } do
      run([[
        local vips, core = require "lmm.vips", require "lmm.core"
        local jobs = {}
        for i = 1, 9 do jobs[i] = assert(vips.start { path = photo, format = "png" }) end
        core.sleep(0.002)
      ]] .. ending)
    end
  end)

  it("says why a file cannot be read to its end, and takes no part of it for the picture", function()
    local library, bad = program.library "disk", path "bad"
    shell.write(bad, shell.read(photo))
    assert.equal("nil\tunreadable\tInput/output error\n", run([[
      local vips, core = require "lmm.vips", require "lmm.core"
      local job = assert(vips.start { path = select(3, ...), format = "png", lenient = true })
      local bytes, failure, detail
      repeat
        core.sleep(0.001)
        bytes, failure, detail = job:result()
      until bytes ~= false
      print(bytes and #bytes, failure, detail)
    ]], bad, 'LMM_SPEC_DISK=bad LD_PRELOAD="$LD_PRELOAD ' .. library .. '"'))
    os.remove(library)
  end)

  it("may be closed by a finalizer that runs while its result is given", function()
    assert.equal("true\n", run([[
      local vips, core = require "lmm.vips", require "lmm.core"
      local job
      local function close() job:close() end
      local function leave_garbage()
        local garbage = rawget(_G, "newproxy") and newproxy(true) or setmetatable({}, { __gc = close })
        getmetatable(garbage).__gc = close
      end
      local function result()
        leave_garbage()
        collectgarbage "restart"
        local ok, bytes, width, height = pcall(job.result, job)
        collectgarbage "stop"
        return ok, bytes, width, height
      end
      collectgarbage(_VERSION == "Lua 5.4" and "generational" or "collect")
      collectgarbage("setstepmul", 1000)
      for _ = 1, 20 do
        collectgarbage()
        collectgarbage "stop"
        job = assert(vips.start { path = photo, format = "png" })
        local ok, bytes, width, height
        repeat
          core.sleep(0.001)
          ok, bytes, width, height = result()
        until bytes ~= false
        local said = ok and ("%d x %d"):format(width, height) or bytes:match "this job is over"
        assert(said == "240 x 160" or said == "this job is over", said or bytes)
      end
      print(true)
    ]], nil, "MALLOC_PERTURB_=90")) -- what is freed holds other bytes
  end)

  it("says nothing on standard error, whatever it finds in a picture", function()
    run [[
      local vips, core = require "lmm.vips", require "lmm.core"
      local file = io.open(photo, "rb")
      local bytes = file:read "*a"
      file:close()
      for cut = 1, 40 do
        local job = vips.start { bytes = bytes:sub(1, math.floor(#bytes * cut / 40)), format = "jpeg",
          lenient = cut % 2 == 0 }
        while job:result() == false do core.sleep(0.001) end
      end
    ]]
  end)

  it("cannot be used in the child of a process that has used it", function()
    local library = program.library "fork"
    local said = run([[
      local library = select(3, ...)
      local process = require "spec.support.process"
      local fork = assert(package.loadlib(library, "lmm_spec_fork"))
      local client = lmm.connect { base_url = url, model = "mock" }
      assert(client:conversation():ask("what?", lmm.image(photo, { max_side = 9 })))
      local held = require "lmm.vips".start { path = photo, format = "png" }
      for side = 10, 20 do -- by then it is done, too
        assert(client:conversation():ask("what?", lmm.image(photo, { max_side = side })))
      end
      local prepare = require "lmm.prepare"
      local parts = {}
      for i = 1, 40 do parts[i] = lmm.image(photo, { convert = "png" }) end
      local underway
      prepare.all(parts, function() -- all are begun: the last one waits for a thread
        underway = fork()
        return "forked"
      end)
      if underway == 0 then
        local _, err = prepare.all({ parts[40] }, function(elapsed) return elapsed > 5 and { message = "hangs" } end)
        io.stdout:write((tostring(err.message):gsub("^.*/", "")), "\n")
        io.stdout:flush()
        os.exit(0, true)
      end
      process.wait_for("the first child's end", function() return not process.runs(underway) end)
      local pid = fork()
      if pid == 0 then
        local _, message = lmm.connect { base_url = url, model = "mock" }:conversation():ask("what?",
          lmm.image(photo, { max_side = 8 }))
        io.stdout:write(tostring(message), "\n")
        io.stdout:flush()
        held = nil
        collectgarbage()
        os.exit(0, true)
      end
      process.wait_for("the child's end", function() return not process.runs(pid) end)
      assert(client:conversation():ask("what?", lmm.image(photo, { max_side = 7 })))
      print(held ~= nil)
    ]], library, NO_LEAKS)
    os.remove(library)
    assert.equal("photo.png' was being prepared when this process was forked, and cannot be in the child: make the "
      .. "part anew in a process that has not used libvips\n"
      .. "libvips was used before this process was forked, and cannot be used in the child\ntrue\n", said)
  end)
end)
