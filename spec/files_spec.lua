-- Files that are replaced whole or not at all: what is there after each way in which writing one can end.
local core = require "lmm.core"
local files = require "lmm.files"
local program = require "spec.support.program"
local shell = require "spec.support.shell"

local interpreter = shell.quote(arg[-1])
local folder = shell.output "mktemp -d":match "%S+"
local path = folder .. "/file"

teardown(function() os.execute("rm -rf " .. folder) end)

before_each(function() shell.run("rm -rf %s && mkdir %s", folder, folder) end)

--- The names in the folder, in order.
local function names()
  return (shell.output("ls -A " .. folder):gsub("\n$", ""))
end

local function mode(of)
  return shell.output("stat -c %a " .. of):match "%d+"
end

--- For program.run: the program alone is run after this script.
local function under(script)
  return "sh -c " .. shell.quote(script .. '; exec "$@"') .. " sh"
end

describe("writing a file", function()
  it("puts a text there, for its owner alone", function()
    assert.is_true(files.write(path, "a\0b"))
    assert.same({ "a\0b", "600", "file" }, { shell.read(path), mode(path), names() })
    assert.is_true(files.write(path, ""))
    assert.equal("", shell.read(path))
  end)

  it("replaces what is there, and its mode", function()
    shell.write(path, "old and longer")
    shell.run("chmod 644 %s", path)
    assert.is_true(files.write(path, "new"))
    assert.same({ "new", "600", "file" }, { shell.read(path), mode(path), names() })
  end)

  it("takes a path without a folder, and names of any length", function()
    local long = ("n"):rep(255)
    local ended = program.run(([[
      local files = require "lmm.files"
      assert(files.write("plain", "1"))
      assert(files.write(%q, "2"))
      print(files.absolute "plain", files.absolute "/x", files.absolute "")
      print(files.absolute "./a//./b/.", files.absolute "//x/./", files.absolute "/./.", files.absolute "../.a/..b/c.")
    ]]):format(long), {}, under("umask 777; cd " .. folder))
    assert.same({ 0, "" }, { ended.status, ended.err })
    assert.equal(folder .. "/plain\t/x\t" .. folder .. "\n"
      .. folder .. "/a/b\t/x\t/\t" .. folder .. "/../.a/..b/c.\n", ended.out)
    assert.same({ "1", "2", "600" }, { shell.read(folder .. "/plain"), shell.read(folder .. "/" .. long),
      mode(folder .. "/plain") })
  end)

  it("replaces a symbolic link, and leaves alone what it leads to", function()
    shell.write(folder .. "/other", "other")
    for _, to in ipairs { "other", "nowhere" } do
      shell.run("ln -sf %s %s", to, path)
      assert.is_true(files.write(path, "new"))
      assert.same({ "new", "other" }, { shell.read(path), shell.read(folder .. "/other") })
      assert.equal("", shell.output("readlink " .. path))
    end
    assert.equal("file\nother", names())
  end)

  it("tells where a link leads, and a path that leads nowhere as it is", function()
    shell.run("ln -s plain %s/link && ln -s nowhere %s/dangling && : >%s/plain", folder, folder, folder)
    assert.equal(shell.output("realpath " .. folder):match "[^\n]+" .. "/plain", files.target(folder .. "/link"))
    for _, name in ipairs { "dangling", "nowhere" } do
      assert.equal(folder .. "/" .. name, files.target(folder .. "/" .. name))
    end
  end)

  it("writes a body as it is sent, media in it", function()
    local media = assert(core.media "spec/media/picture.png")
    local body = core.write({ data = core.embed("", media), text = ("x"):rep(300000) }, { name = "it" })
    assert.is_true(files.write(path, body))
    assert.equal(#shell.read(path), body:size())
    local base64 = shell.output("base64 -w 0 spec/media/picture.png")
    assert.equal('{"data":"' .. base64 .. '","text":"' .. ("x"):rep(300000) .. '"}', shell.read(path))
  end)

  it("refuses what is no file", function()
    shell.run("mkdir %s/dir && mkfifo %s/fifo && ln -s /dev/null %s/null", folder, folder, folder)
    local beside = shell.write(folder .. "/beside", "x")
    for name, kind in pairs { dir = "directory", fifo = "fifo", null = "device" } do
      assert.same({ nil, "it is a " .. kind .. ", not a file" }, { files.write(folder .. "/" .. name, "x") })
      assert.same({ nil, "it is a " .. kind .. ", not a file" }, { files.replace(beside, folder .. "/" .. name) })
      assert.same({ nil, "it is a " .. kind .. ", not a file", false }, { files.read(folder .. "/" .. name, 9) })
    end
    os.remove(beside)
    assert.same({ nil, "No such file or directory" }, { files.write(folder .. "/none/file", "x") })
    assert.same({ nil, "No such file or directory" }, { files.write("", "x") })
    assert.raises("a path cannot hold a NUL byte", files.write, "a\0b", "x")
    assert.raises("a string, or a body of this build's lmm.core expected", files.write, path, {})
    assert.raises("a string, or a body of this build's lmm.core expected", files.write, path, io.stdout)
    assert.equal("dir\nfifo\nnull", names())
  end)

  it("leaves what was there where the source fails", function()
    local source = shell.write(folder .. "/source", shell.read "spec/media/picture.png")
    local media = assert(core.media(source))
    shell.write(source, "changed")
    shell.write(path, "old")
    local ok, why = files.write(path, core.write({ core.embed("", media) }, { name = "it" }))
    assert.is_nil(ok)
    assert.matches("source' has changed since the part was made", why)
    assert.same({ "old", "file\nsource" }, { shell.read(path), names() })
  end)

  describe("on a disk that", function()
    local library

    setup(function() library = program.library "disk" end)

    teardown(function() os.remove(library) end)

    local function write(how)
      shell.write(path, "old")
      return program.run(([[print(require "lmm.files".write(%q, ("new"):rep(1000)))]]):format(path), {},
        "LMM_SPEC_DISK=" .. how .. ' LD_PRELOAD="$LD_PRELOAD ' .. library .. '"')
    end

    it("takes a byte at a time and is interrupted all the while gets all of it", function()
      assert.same({ out = "true\n", err = "", status = 0 }, write "short")
      assert.same({ ("new"):rep(1000), "file" }, { shell.read(path), names() })
    end)

    for how, why in pairs { full = "No space left on device", lost = "Input/output error",
      late = "Input/output error" } do
      it("fails (" .. how .. ") keeps what was there, and nothing else", function()
        assert.same({ out = "nil\t" .. why .. "\n", err = "", status = 0 }, write(how))
        assert.same({ "old", "file" }, { shell.read(path), names() })
      end)
    end

    it("loses the folder tells it, and one that cannot be told to keep it does not mind", function()
      assert.same({ out = "nil\tInput/output error\n", err = "", status = 0 }, write "folder")
      assert.same({ ("new"):rep(1000), "file" }, { shell.read(path), names() })
      assert.same({ out = "true\n", err = "", status = 0 }, write "nowhere")
    end)

    it("is really full keeps what was there", function()
      local mounted = folder .. "/mounted"
      shell.run("mkdir %s", mounted)
      local ok = os.execute("mount -t tmpfs -o size=64k none " .. mounted .. " 2>/dev/null")
      if ok ~= true and ok ~= 0 then return pending "needs the right to mount" end
      path = mounted .. "/file"
      shell.write(path, "old")
      local written, why = files.write(path, ("x"):rep(100000))
      local found, left = shell.read(path), shell.output("ls -A " .. mounted)
      path = folder .. "/file"
      shell.run("umount %s", mounted)
      assert.same({ nil, "No space left on device", "old", "file\n" }, { written, why, found, left })
    end)

    it("is full by a limit of the system's keeps what was there", function()
      local ended = program.run(([[print(require "lmm.files".write(%q, ("new"):rep(100000)))]]):format(
        shell.write(path, "old")), {}, under "trap '' XFSZ; ulimit -f 8")
      assert.same({ out = "nil\tFile too large\n", err = "", status = 0 }, ended)
      assert.same({ "old", "file" }, { shell.read(path), names() })
    end)

    it("loses the process before its end keeps what was there, and the next write does not mind the rest", function()
      assert.equal(137, write "killed".status)
      assert.equal("old", shell.read(path))
      assert.matches("^%.lmm%-%w%w%w%w%w%w\nfile$", names())
      assert.is_true(files.write(path, "newer"))
      assert.equal("newer", shell.read(path))
    end)
  end)
end)

describe("creating a file", function()
  it("makes it, and its folders, for its owner alone", function()
    local deep = folder .. "/a/b/c/file"
    assert.is_true(files.create(deep))
    assert.same({ "", "600", "700", "700" }, { shell.read(deep), mode(deep), mode(folder .. "/a"),
      mode(folder .. "/a/b/c") })
    local ended = program.run([[
      local files = require "lmm.files"
      print(files.create "plain", files.create "plain")
    ]], {}, under("umask 777; cd " .. folder))
    assert.equal("true\ttrue\n", ended.out)
    assert.equal("600", mode(folder .. "/plain"))
  end)

  it("leaves what is there as it is", function()
    shell.write(path, "old")
    shell.run("chmod 644 %s", path)
    assert.is_true(files.create(path))
    assert.same({ "old", "644" }, { shell.read(path), mode(path) })
  end)

  it("says why it cannot", function()
    shell.write(path, "old")
    assert.same({ nil, "Not a directory" }, { files.create(path .. "/x") })
    assert.same({ nil, "Not a directory" }, { files.create(path .. "/x/y") })
    assert.raises("a path cannot hold a NUL byte", files.create, "a\0b")
    assert.is_nil((files.create ""))
  end)
end)

describe("reading a file", function()
  it("gives so many of its bytes, and its size", function()
    shell.write(path, "12345")
    assert.same({ "123", 5 }, { files.read(path, 3) })
    assert.same({ "12345", 5 }, { files.read(path, 5) })
    assert.same({ "12345", 5 }, { files.read(path, 1024 * 1024 * 1024) })
    assert.same({ "", 5 }, { files.read(path, 0) })
    shell.write(path, "")
    assert.same({ "", 0 }, { files.read(path, 9) })
  end)

  it("tells what is missing from what cannot be read", function()
    assert.same({ nil, "No such file or directory", true }, { files.read(folder .. "/none", 9) })
    assert.same({ nil, "Not a directory", true }, { files.read(shell.write(path, "x") .. "/none", 9) })
    files.read(folder .. "/none", 9)
    assert.same({ nil, "it is a directory, not a file", false }, { files.read(folder, 9) })
    assert.raises("0 bytes to 1 GiB", files.read, path, -1)
    assert.raises("0 bytes to 1 GiB", files.read, path, 2 ^ 31)
  end)
end)

describe("what a path or a descriptor is", function()
  it("is told by the name of its kind", function()
    shell.write(path, "x")
    shell.run("mkfifo %s/fifo && ln -s file %s/link", folder, folder)
    for _, row in ipairs { { path, "file" }, { folder .. "/link", "file" }, { folder, "directory" },
      { folder .. "/fifo", "fifo" }, { "/dev/null", "device" } } do
      assert.equal(row[2], (files.kind(row[1])))
    end
    assert.same({ nil, "No such file or directory", true }, { files.kind(folder .. "/none") })
    assert.same({ nil, "Bad file descriptor", false }, { files.kind(999) })
    assert.equal("fifo\n", shell.output("true | " .. interpreter .. " -e 'print((require \"lmm.files\".kind(0)))'"))
    assert.raises("number expected", files.kind, {})
  end)

  it("and whether somebody else can write to it", function()
    shell.write(path, "x")
    for mode_of, is_own in pairs { ["600"] = true, ["644"] = true, ["664"] = false, ["646"] = false } do
      shell.run("chmod %s %s", mode_of, path)
      assert.equal(is_own, select(2, files.kind(path)))
    end
    assert.is_true(select(2, files.kind "/"))
  end)
end)

describe("a temporary file or folder", function()
  --- What lmm.files.temporary gives twice where $TMPDIR is `place`.
  local function made_in(place, is_folder)
    local text = 'local files = require "lmm.files" for _ = 1, 2 do print(files.temporary(%s)) end'
    local ended = program.run(text:format(tostring(is_folder)), nil, "TMPDIR=" .. shell.quote(place))
    assert.same({ 0, "" }, { ended.status, ended.err })
    return ended.out
  end

  it("is new, in $TMPDIR, and nobody else's", function()
    for what, is_folder in pairs { ["600 regular empty file"] = false, ["700 directory"] = true } do
      local one, two = made_in(folder, is_folder):match "^([^\n]*)\n([^\n]*)\n$"
      assert.are_not.equal(one, two)
      for _, name in ipairs { one, two } do
        assert.equal(folder, name:match "^(.*)/lmm%-%w+$")
        assert.equal(what, shell.output(("stat -c '%%a %%F' %s"):format(name)):match "[^\n]*")
      end
    end
  end)

  it("is in /tmp where $TMPDIR names no place from the root on", function()
    for _, place in ipairs { "", "spec" } do
      for name in made_in(place, false):gmatch "[^\n]+" do
        assert.matches("^/tmp/lmm%-%w+$", name)
        os.remove(name)
      end
    end
  end)

  it("says where there is no room", function()
    local said = "nil\tnothing temporary can be made in %s: %s %%(%%$TMPDIR names another place%%)\n"
    assert.matches("^" .. (said:format("/dev/null", "Not a directory")):rep(2) .. "$", made_in("/dev/null", true))
    local long = ("/x"):rep(3000)
    assert.matches("^" .. (said:format(long, "File name too long")):rep(2) .. "$", made_in(long, false))
  end)
end)
