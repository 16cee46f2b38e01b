-- Films as pictures, and sounds in another form: by the program ffmpeg, compared with what it makes of them when it is
-- asked for each picture by itself; and what it cannot read, or does not end with.
local core = require "lmm.core"
local files = require "lmm.files"
local lmm = require "lmm"
local pixels = require "spec.support.pixels"
local prepare = require "lmm.prepare"
local process = require "spec.support.process"
local program = require "spec.support.program"
local programs = require "lmm.prepare.programs"
local shell = require "spec.support.shell"

local folder = pixels.folder()
local path = folder.path

local function ffmpeg(words, ...)
  shell.run(pixels.BARE .. "ffmpeg -v error -y -nostdin " .. words, ...)
end

pixels.run_bare()

local function pause() core.sleep(0.002) end

local function bytes_of(media)
  local body, pieces = core.concat { media }, {}
  for piece in function() return body:read(65536) end do pieces[#pieces + 1] = piece end
  return table.concat(pieces)
end

local function ready(part)
  assert.is_nil(part.err)
  assert(prepare.all({ part }, pause))
  return part
end

local function failed(part)
  local _, err = prepare.all({ part }, pause)
  assert.equal(err, part.err)
  assert.equal("invalid", err.kind)
  return err.message
end

--- Runs `fn`, and gives the names of the temporary files that were made meanwhile.
local function temporary_names(fn)
  local temporary, names = files.temporary, {}
  function files.temporary(is_folder)
    names[#names + 1] = temporary(is_folder)
    return names[#names]
  end
  local ok, problem = pcall(fn)
  files.temporary = temporary
  assert(ok, problem)
  assert(#names > 0)
  return names
end

local function is_there(name) return shell.output("ls -d " .. name .. " 2>/dev/null") ~= "" end

--- Runs `fn`, and checks that nothing is left of the temporary files that were made meanwhile.
local function leaves_nothing(fn)
  for _, name in ipairs(temporary_names(fn)) do assert.falsy(is_there(name)) end
end

describe("a film", function()
  setup(function()
    ffmpeg("-f lavfi -i testsrc=duration=4:size=160x120:rate=10 -f lavfi -i sine=duration=4 -c:v mpeg4 -q:v 2 "
      .. "-c:a aac %s", path "film.mp4")
    ffmpeg("-i %s -start_number 0 %s", path "film.mp4", path "%02d.png")
  end)
  teardown(folder.remove)

  --- The n-th picture of the film, from 0 on.
  local function picture(n) return path(("%02d.png"):format(n)) end

  it("is sent as pictures spread evenly over it", function()
    local part = ready(lmm.video(path "film.mp4", { frames = 4 }))
    assert.same({ "video/jpeg", "video/mp4", 4, 160, 120 }, { part.mime, part.converted, #part.frames, part.width,
      part.height })
    for i, n in ipairs { 4, 14, 24, 34 } do
      local sent = shell.write(path "frame.jpg", bytes_of(part.frames[i].media))
      local right = folder.difference(picture(n), sent)
      for _, other in ipairs { n - 3, n + 3 } do
        local wrong = folder.difference(picture(other), sent)
        assert(right * 1.5 < wrong, ("frame %d is as near to %d as to %d: %g, %g"):format(i, other, n, wrong, right))
      end
    end
  end)

  it("is shrunk, and its last picture repeated where there are fewer", function()
    local part = ready(lmm.video(path "film.mp4", { frames = 50, max_side = 40 }))
    assert.same({ 50, 40, 30 }, { #part.frames, part.width, part.height })
    assert.equal(bytes_of(part.frames[49].media), bytes_of(part.frames[50].media))
    assert.equal(160, ready(lmm.video(path "film.mp4", { frames = 1, max_side = 1000 })).width)
  end)

  it("comes from bytes, a relative path and one with odd characters", function()
    local expected = bytes_of(ready(lmm.video(path "film.mp4", { frames = 2 })).frames[2].media)
    local odd = path "a 'film' $(date) -y.mp4"
    shell.write(odd, shell.read(path "film.mp4"))
    leaves_nothing(function()
      for _, source in ipairs { odd, { bytes = shell.read(path "film.mp4") } } do
        assert(expected == bytes_of(ready(lmm.video(source, { frames = 2 })).frames[2].media), "another picture")
      end
      assert.equal(2, #ready(lmm.video("spec/media/clip.mkv", { frames = 2 })).frames)
    end)
  end)

  it("goes to the server in one URL, and a second time without ffmpeg", function()
    local mock = assert(lmm.mock {})
    local client = lmm.connect(mock.url)
    local part = lmm.video(path "film.mp4", { frames = 3 })
    local reply, message = client:conversation():ask("what?", part)
    programs.start, programs.kept = nil, programs.start
    local again, problem = client:conversation():ask("what?", part)
    programs.start = programs.kept
    mock.stop()
    assert.matches("3 frames of image/jpeg, 160 x 120 pixels", assert(reply, message).text)
    assert.equal(reply.text, assert(again, problem).text)
  end)

  it("has no pictures, or is damaged", function()
    ffmpeg("-f lavfi -i sine=duration=1 -c:a aac %s", path "sound.mp4")
    assert.equal("'" .. path "sound.mp4" .. "' has no pictures",
      failed(lmm.video(path "sound.mp4", { frames = 2, mime = "video/mp4" })))
    local cut = shell.write(path "cut.mp4", shell.read(path "film.mp4"):sub(1, 3000))
    assert.equal("ffmpeg cannot read '" .. cut .. "': Invalid data found when processing input",
      failed(lmm.video(cut, { frames = 2, check = false })))
  end)

  it("reads no other file than its own", function()
    local secret = picture(7)
    local list = shell.write(path "list.mp4", ("#EXTM3U\n#EXTINF:1,\n%s\n#EXT-X-ENDLIST\n"):format(secret))
    local text = failed(lmm.video(list, { frames = 1, mime = "video/mp4" }))
    assert.matches("^ffmpeg cannot read '.*/list%.mp4': ", text)
  end)

  it("asks for frames that cannot be", function()
    assert.raises("lmm.video: frames is a whole number from 1 to 1000, not 0", lmm.video, path "film.mp4",
      { frames = 0 })
    assert.raises("lmm.video: frames is a whole number from 1 to 1000, not \"x\"", lmm.video, path "film.mp4",
      { frames = "x" })
    assert.raises("lmm.video: max_side goes with frames", lmm.video, path "film.mp4", { max_side = 9 })
    for _, name in ipairs { "max_pixels", "convert", "quality", "orient", "animated" } do
      assert.raises("lmm.video: " .. name .. " is for pictures: of a film, max_side shrinks the frames", lmm.video,
        path "film.mp4", { frames = 1, [name] = 1 })
    end
    assert.equal(1, lmm.video(path "film.mp4", { max_pixels = 1 }).options.max_pixels) -- for the server
    assert.raises("lmm.video: frames is not for what the server is to fetch", lmm.video, "https://x.org/a.mp4",
      { frames = 1 })
  end)
end)

describe("a sound", function()
  setup(function()
    folder = pixels.folder()
    path = folder.path
    ffmpeg("-f lavfi -i sine=duration=2:frequency=440 -ar 16000 -ac 1 %s", path "sound.wav")
  end)
  teardown(function() folder.remove() end)

  for _, ending in ipairs { "flac", "aiff", "caf", "au", "mka" } do
    it("becomes WAV of " .. ending .. ", sample by sample", function()
      ffmpeg("-i %s %s %s", path "sound.wav", ending == "mka" and "-c:a flac" or "", path("a." .. ending))
      local part = ready(lmm.audio(path("a." .. ending), { convert = "wav" }))
      assert.equal("audio/wav", part.mime)
      local wav = bytes_of(part.media)
      assert.same({ "audio/wav", #wav }, { part.media:info().mime, part.size })
      local function samples(bytes) return bytes:sub(-64000) end -- two seconds
      assert(samples(shell.read(path "sound.wav")) == samples(wav), "other samples")
    end)
  end

  it("is taken out of a film, and sent under its format", function()
    ffmpeg("-f lavfi -i testsrc=duration=1 -f lavfi -i sine=duration=1 -c:v mpeg4 -c:a aac %s", path "film.mp4")
    local part = ready(lmm.audio(path "film.mp4", { convert = "mp3", format = true }))
    assert.same({ "audio/mpeg", "video/mp4", "mp3" }, { part.mime, part.converted, part.options.format })
    local mock = assert(lmm.mock {})
    local reply, message = lmm.connect(mock.url):conversation():ask("what?", lmm.audio(path "film.mp4",
      { convert = "wav" }))
    mock.stop()
    assert.matches("audio 1: audio/wav, ", assert(reply, message).text)
  end)

  it("is taken out of a film that does not tell at once what is in it", function()
    for _, name in ipairs { "film.avi", "film.ts" } do
      ffmpeg("-f lavfi -i testsrc=duration=1 -f lavfi -i sine=duration=1 -c:v mpeg2video -c:a mp2 %s", path(name))
      local part = ready(lmm.audio(path(name), { convert = "wav" }))
      assert.same({ "audio/wav", true }, { part.mime, part.size > 80000 })
    end
  end)

  it("is not there", function()
    for _, name in ipairs { "silent.mp4", "silent.avi" } do
      ffmpeg("-f lavfi -i testsrc=duration=1 -c:v mpeg4 %s", path(name))
      assert.equal("'" .. path(name) .. "' has no sound", failed(lmm.audio(path(name), { convert = "wav" })))
    end
    assert.raises('lmm.audio: convert is "wav", "flac" or "mp3", not "ogg"', lmm.audio, path "sound.wav",
      { convert = "ogg" })
  end)
end)

describe("the program ffmpeg", function()
  local limit, most, memory, run = programs.LIMIT, programs.MOST, programs.MEMORY, nil

  --- Has another program in the place of ffmpeg and ffprobe.
  local function with_program(text, fn)
    local start = programs.start
    shell.run("mkdir -p %s", path "bin")
    for _, name in ipairs { "ffmpeg", "ffprobe" } do
      shell.write(path("bin/" .. name), "#!/bin/sh\n" .. text .. "\n")
      shell.run("chmod 755 %s", path("bin/" .. name))
    end
    programs.start = function(script) return start(("PATH=%s:$PATH\n%s"):format(path "bin", script)) end
    local ok, problem = pcall(fn)
    programs.start = start
    assert(ok, problem)
  end

  setup(function()
    folder = pixels.folder()
    path = folder.path
    run = path "run"
  end)
  teardown(function() folder.remove() end)
  after_each(function() programs.LIMIT, programs.MOST, programs.MEMORY = limit, most, memory end)

  it("is told with its package where it is missing", function()
    local start = programs.start
    programs.start = function(script) return start("PATH=/nowhere\n" .. script) end
    local message = failed(lmm.audio("spec/media/sound.flac", { convert = "wav" }))
    programs.start = start
    assert.equal("'spec/media/sound.flac' cannot be prepared: the programs ffmpeg and ffprobe are not installed (on "
      .. "Debian: apt install ffmpeg)", message)
  end)

  it("makes no more than so many bytes, of all pictures together", function()
    programs.MOST = 1000
    with_program([[case $0 in
      *ffprobe) echo 3 ;;
      *) for i in 1 2 3; do head -c 400 /dev/zero >000$i.jpg; done ;;
    esac]], function()
      leaves_nothing(function()
        assert.equal("'spec/media/clip.mp4' makes more than the 1000 bytes of pictures that are sent: ask for fewer "
          .. "frames, or pass a smaller max_side", failed(lmm.video("spec/media/clip.mp4", { frames = 3 })))
      end)
      programs.MOST = 1200
      assert.equal(1200, ready(lmm.video("spec/media/clip.mp4", { frames = 3 })).size)
    end)
  end)

  for _, row in ipairs {
    { "nothing", ":" }, { "files without bytes", ": >0001.jpg; : >sound" },
  } do
    it("is told where it says that all went well and makes " .. row[1], function()
      with_program("case $0 in *ffprobe) echo 1 ;; *) " .. row[2] .. " ;; esac", function()
        assert.equal("ffmpeg made no picture 1 of 'spec/media/clip.mp4'",
          failed(lmm.video("spec/media/clip.mp4", { frames = 1 })))
        assert.equal("ffmpeg made no sound of 'spec/media/sound.flac'",
          failed(lmm.audio("spec/media/sound.flac", { convert = "wav" })))
      end)
    end)
  end

  it("decodes no pictures beyond the bound, and takes no more memory than it may", function()
    ffmpeg("-f lavfi -i color=size=16000x16000:rate=1:duration=1,format=gray -c:v png -compression_level 1 %s",
      path "huge.mkv")
    assert.equal("'" .. path "huge.mkv" .. "' has pictures of 16,000 x 16,000 pixels, and no more than 100 million are "
      .. "decoded: shrink it first", failed(lmm.video(path "huge.mkv", { frames = 1 })))
    ffmpeg("-f lavfi -i color=size=9000x9000:rate=1:duration=1 -c:v png -compression_level 1 %s", path "large.mkv")
    programs.MEMORY = 400 * 2 ^ 20
    assert.equal("ffmpeg needs more than the 400 MiB of memory that it may have for '" .. path "large.mkv"
      .. "': shrink it first", failed(lmm.video(path "large.mkv", { frames = 1 })))
    assert.equal(2, #ready(lmm.video("spec/media/clip.mp4", { frames = 2 })).frames)
  end)

  it("is killed by somebody else, as by a system that is short of memory", function()
    with_program("kill -KILL $$", function()
      assert.equal("ffmpeg was killed from outside while it read 'spec/media/sound.flac', as where memory runs out",
        failed(lmm.audio("spec/media/sound.flac", { convert = "wav" })))
    end)
  end)

  it("is over soon after its time is up where nobody has noted how it ended", function()
    local job = programs.start(('kill -KILL $(ps -o ppid= -p $PPID); echo $$ >%s; sleep 1000'):format(run))
    process.wait_for("the program", function() return (shell.read(run) or "") ~= "" end)
    assert.is_nil(job:status())
    job.deadline = job.deadline - programs.LIMIT - 20
    assert.equal(137, job:status())
    job:close()
  end)

  -- Each notes how many there are, and waits until it may end.
  local COUNTED = "touch %s/$$; ls %s | wc -l >>%s; until [ -e %s ]; do sleep 0.02; done; rm %s/$$; exit 1"

  local function counted(fn)
    local folder_of_all, go = shell.quote(path "all"), shell.quote(path "go")
    shell.run("rm -rf %s %s %s; mkdir %s", path "all", path "counts", path "go", path "all")
    with_program(COUNTED:format(folder_of_all, folder_of_all, shell.quote(path "counts"), go, folder_of_all), fn)
  end

  --- How many have begun, and the most that there were at once.
  local function counts()
    local begun, most_at_once = 0, 0
    for count in (shell.read(path "counts") or ""):gmatch "%d+" do
      begun, most_at_once = begun + 1, math.max(most_at_once, tonumber(count))
    end
    return begun, most_at_once
  end

  local function some_sounds(count)
    local list = {}
    for i = 1, count do list[i] = lmm.audio("spec/media/sound.flac", { convert = "wav" }) end
    return list
  end

  it("runs a few times at once, however much there is to do", function()
    counted(function()
      local waiting = some_sounds(3 * programs.AT_ONCE)
      prepare.all(waiting, function()
        core.sleep(0.005)
        if counts() >= programs.AT_ONCE then shell.write(path "go", "") end
      end)
      for _, part in ipairs(waiting) do pcall(prepare.all, { part }, pause) end -- the first one that fails ended that
      assert.same({ 3 * programs.AT_ONCE, programs.AT_ONCE }, { counts() })
    end)
  end)

  it("leaves its place when it has ended, though nobody asks what came of it", function()
    counted(function()
      local given_up = some_sounds(programs.AT_ONCE)
      prepare.all(given_up, function()
        core.sleep(0.005)
        return counts() == programs.AT_ONCE and { kind = "cancelled" } or nil
      end)
      shell.write(path "go", "")
      failed(some_sounds(1)[1])
      assert.equal(programs.AT_ONCE, #given_up) -- they are still somebody's
    end)
  end)

  it("is ended with all that it has started when its time is up", function()
    programs.LIMIT = 1
    with_program(("echo $$ >%s; sleep 1000"):format(run), function()
      leaves_nothing(function()
        assert.equal("ffmpeg took more than 1 seconds with 'spec/media/sound.flac', and was ended: cut it first",
          failed(lmm.audio("spec/media/sound.flac", { convert = "wav" })))
      end)
      assert.falsy(process.runs(tonumber(shell.read(run))))
    end)
  end)

  it("is ended with all that it has started whatever they do with signals", function()
    local stubborn = "trap '' TERM INT HUP; while :; do sleep 1; done"
    local text = ("echo $$ >>%s; sh -c %s & %s"):format(run, shell.quote(("echo $$ >>%s; %s"):format(run, stubborn)),
      stubborn)
    local function ends(fn)
      os.remove(run)
      with_program(text, fn)
      local pids = {}
      for pid in shell.read(run):gmatch "%d+" do pids[#pids + 1] = tonumber(pid) end
      assert.equal(2, #pids)
      for _, pid in ipairs(pids) do
        process.wait_for("the end of " .. pid, function() return not process.runs(pid) end)
      end
    end
    local function part() return lmm.audio("spec/media/sound.flac", { convert = "wav" }) end
    ends(function()
      programs.LIMIT = 1
      assert.matches("took more than 1 seconds", failed(part()))
    end)
    ends(function()
      programs.LIMIT = limit
      prepare.all({ part() }, function()
        core.sleep(0.005)
        local _, count = (shell.read(run) or ""):gsub("\n", "")
        return count == 2 and { kind = "cancelled" } or nil
      end)
      collectgarbage()
      collectgarbage()
    end)
    text = ("sh -c %s & until [ -s %s ]; do sleep 0.1; done; echo $$ >>%s"):format(
      shell.quote(("echo $$ >>%s; %s"):format(run, stubborn)), run, run)
    ends(function() failed(part()) end) -- it ends itself, and leaves what it has started
  end)

  for what, source in pairs { file = "spec/media/sound.flac",
    bytes = { bytes = shell.read "spec/media/sound.flac" } } do
    it("is ended, and leaves no files, when nobody has the part of " .. what .. " any more", function()
      with_program(("echo $$ >%s; sleep 1000"):format(run), function()
        os.remove(run)
        local pid
        local names = temporary_names(function()
          local part, count = lmm.audio(source, { convert = "wav" }), 0
          prepare.all({ part }, function()
            count = count + 1
            core.sleep(0.005)
            local text = shell.read(run)
            return (text and text:find "\n" or count > 2000) and { kind = "cancelled" } or nil
          end)
          pid = tonumber(shell.read(run))
          assert.truthy(process.runs(pid))
        end)
        collectgarbage()
        collectgarbage()
        process.wait_for("the program's end", function() return not process.runs(pid) end)
        for _, name in ipairs(names) do
          process.wait_for("the end of " .. name, function() return not is_there(name) end)
        end
      end)
    end)
  end

  it("gets none of the files that this process has open, nor does what looks after it", function()
    local file = assert(io.open "Makefile") -- as nginx has the connections of its clients
    local job = assert(programs.start("ls -l /proc/self/fd >list; echo >ready; until [ -e go ]; do sleep 0.02; done"))
    process.wait_for("the program", function() return is_there(shell.quote(job.folder .. "/ready")) end)
    assert.falsy(shell.read(job.folder .. "/list"):find("Makefile", 1, true))
    local count = 0
    for pid in shell.output("grep -la " .. job.folder .. " /proc/[0-9]*/cmdline 2>/dev/null"):gmatch "%d+" do
      local open = shell.output("ls -l /proc/" .. pid .. "/fd 2>/dev/null || true")
      if open ~= "" then count = count + 1 end
      assert.falsy(open:find("Makefile", 1, true))
    end
    assert(count >= 2, count .. " of its processes")
    file:close()
    job:close()
  end)

  for _, row in ipairs {
    { "the process that has it is killed", "kill -9 $PPID", 137 },
    { "a signal ends the whole group of the process that has it", "kill -TERM 0", 143 },
  } do
    it("is ended, and leaves no files, when " .. row[1], function()
      os.remove(run)
      local ended = program.run([[
        local core, programs = require "lmm.core", require "lmm.prepare.programs"
        local run, kill = ...
        local job = assert(programs.start("echo $$ $PWD >" .. run .. "; exec sleep 1000"))
        repeat
          core.sleep(0.005)
          local file = io.open(run)
          local text = file and file:read "*a" or ""
          if file then file:close() end
        until text:find "\n"
        os.execute(kill)
        core.sleep(60)
        job:close()
      ]], { run, row[2] })
      assert.equal(row[3], ended.status)
      local pid, place = shell.read(run):match "^(%d+) ([^\n]+)"
      process.wait_for("the program's end", function() return not process.runs(tonumber(pid)) end)
      process.wait_for("the end of its folder", function() return not os.rename(place, place) end)
    end)
  end
end)

describe("a video of frames", function()
  setup(function()
    folder = pixels.folder()
    path = folder.path
    folder.photo "photo.png"
    folder.vips("copy %s %s", "photo.png", "photo.jpg")
  end)
  teardown(function() folder.remove() end)

  it("goes in one URL, each frame as it is or made a JPEG", function()
    local mock = assert(lmm.mock {})
    local small = lmm.image(path "photo.png", { max_side = 240, convert = "jpeg" })
    local part = lmm.video({ frames = { path "photo.jpg", { bytes = shell.read(path "photo.jpg") }, path "photo.png",
      small },
      fps = 2 }, { uuid = "u", trust_uuid = true })
    assert.is_nil(part.err)
    assert.same({ 2, "u", 240, 160 }, { part.options.fps, part.options.uuid, part.width, part.height })
    local reply, message = lmm.connect(mock.url):conversation():ask("what?", part)
    mock.stop()
    assert.matches("4 frames of image/jpeg, 240 x 160 pixels", assert(reply, message).text)
    assert.equal(part.size, tonumber(reply.text:match "(%d+) bytes"))
    local bytes = shell.read(path "photo.jpg")
    assert.equal(2 * #bytes, lmm.video({ frames = { path "photo.jpg", { bytes = bytes } } }).size)
  end)

  it("is shrunk frame by frame", function()
    local mock = assert(lmm.mock {})
    local part = lmm.video({ frames = { path "photo.jpg", path "photo.png" } }, { max_side = 60, quality = 50 })
    assert.same({ 60, 40 }, { part.width, part.height })
    local reply, message = lmm.connect(mock.url):conversation():ask("what?", part)
    mock.stop()
    assert.matches("2 frames of image/jpeg, 60 x 40 pixels", assert(reply, message).text)
    assert.equal('frame 1 is image/webp, and frames go as JPEG: pass lmm.image(f, { convert = "jpeg" })',
      lmm.video({ frames = { path "photo.jpg" } }, { convert = "webp" }).err.message)
  end)

  it("has frames of other sizes, of other kinds, or none", function()
    local function message(...) return lmm.video({ frames = { ... } }).err.message end
    assert.equal("frame 2 has 37 x 23 pixels, and the first has 240 x 160: all are of one size",
      message(path "photo.jpg", "spec/media/baseline.jpg"))
    assert.equal("frame 1 is a picture that the server is to fetch: a frame is a picture whose bytes are sent",
      message "https://example.org/a.jpg")
    assert.equal("frame 2 is of the kind audio: a frame is a picture whose bytes are sent",
      message(path "photo.jpg", lmm.audio "spec/media/sound.wav"))
    assert.equal('frame 1 is image/png, and frames go as JPEG: pass lmm.image(f, { convert = "jpeg" })',
      message(lmm.image(path "photo.png")))
    assert.matches("cannot read 'gone.jpg'", message "gone.jpg")
    local saved = { kind = "image", mime = "image/jpeg", options = {}, path = "gone.jpg", size = 9, mtime = 9,
      sha256 = ("0"):rep(64) }
    assert.matches("cannot read 'gone.jpg'", message(require("lmm.part").restore(saved)))
    for name, value in pairs { mime = "image/png", check = false } do
      assert.raises("lmm.video: " .. name .. " is for one file that goes as it is, not for frames", lmm.video,
        { frames = { "a" } }, { [name] = value })
    end
    assert.raises("lmm.video: servers show the medium that they know by a uuid", lmm.video, { frames = { "a" } },
      { uuid = "u" })
    assert.equal("u", lmm.video({ frames = { path "photo.jpg" } }, { uuid = "u", trust_uuid = true }).options.uuid)
    assert.is_nil(lmm.video({ frames = { path "photo.jpg" } }, { uuid = "u", trust_uuid = true }).options.trust_uuid)
    for _, list in ipairs { {}, { "a", [3] = "b" }, { "a", b = "c" } } do
      assert.raises("lmm.video: frames is a list of pictures", lmm.video, { frames = list })
    end
    assert.raises('lmm.video: max_side is a whole number from 1 to 100000, not "9"', lmm.video, { frames = { "a" } },
      { max_side = "9" })
    assert.raises("lmm.video: fps is a number above 0, not 0", lmm.video, { frames = { path "photo.jpg" }, fps = 0 })
    assert.raises("lmm.video: fps is a number above 0, not \"2\"", lmm.video, { frames = { path "photo.jpg" },
      fps = "2" })
    assert.raises("lmm.video: 'fsp' beside frames: the options are the second", lmm.video, { frames = { "a" },
      fsp = 1 })
    local many = {}
    for i = 1, 1001 do many[i] = path "photo.jpg" end
    assert.equal("a video of frames has at most 1000, not 1001", lmm.video({ frames = many }).err.message)
  end)

  it("tells of a frame that cannot be prepared, before anything is sent", function()
    local cut = shell.write(path "cut.png", shell.read(path "photo.png"):sub(1, 400))
    local part = lmm.video { frames = { path "photo.jpg", lmm.image(cut, { convert = "jpeg", mime = "image/png" }) } }
    local _, message = lmm.connect { base_url = "http://127.0.0.1:9/v1", model = "m" }:conversation():ask("what?", part)
    assert.matches("cut%.png' is damaged or cut short, and cannot be prepared", message)
  end)
end)
