-- Installing: by make and by LuaRocks, somewhere else than this tree, and gone again afterwards. What was compiled then
-- is spec/compiled_spec.lua's.
local installing = require "spec.support.installing"
local shell = require "spec.support.shell"

local here, interpreter, version = installing.here, installing.interpreter, installing.version
local make_for, paths_of = installing.make_for, installing.paths_of
local make = make_for(interpreter)
local scratch, run, remove = installing.folder()

--- What a user would do: load the library in any folder, use both C modules, run the command.
local function check(paths, command, lua)
  local text = run(paths .. "cd / && " .. (lua or interpreter) .. [[ -e 'local lmm = require "lmm"
    print(lmm.image("]] .. here .. [[/examples/picture.jpg").width, (lmm.connect "http://127.0.0.1:9/v1":health()))
    print(package.searchpath and package.searchpath("lmm.core", package.cpath) or "found")']])
  assert.matches("1280%s+nil\n.*exit 0\n$", text)
  assert(not text:find(here .. "/build", 1, true), text)
  assert.matches("^lmm %d.*exit 0\n$", run("cd / && " .. command .. " --version"))
end

teardown(remove)

describe("installing", function()
  it("make install into a PREFIX; make uninstall", function()
    local prefix = scratch .. "/usr"
    assert.matches("exit 0\n$", run(make .. "install PREFIX=" .. prefix))
    check(paths_of(prefix, version), prefix .. "/bin/lmm")
    assert.matches("exit 0\n$", run(make .. "uninstall PREFIX=" .. prefix))
    assert.equal("exit 0\n", run("find " .. prefix .. " -type f"))
  end)

  it("over an older version, none of whose files stays to hide one of this", function()
    local prefix = scratch .. "/old"
    local stray = prefix .. "/share/lua/" .. version .. "/lmm/call.lua"
    run("mkdir -p " .. prefix .. "/share/lua/" .. version .. "/lmm && echo 'error \"old\"' >" .. stray)
    assert.matches("exit 0\n$", run(make .. "install PREFIX=" .. prefix))
    assert.is_nil(shell.read(stray))
    check(paths_of(prefix, version), prefix .. "/bin/lmm")
  end)

  it("a PREFIX may hold a space", function()
    local prefix = scratch .. "/my usr"
    assert.matches("exit 0\n$", run(make .. "install PREFIX='" .. prefix .. "'"))
    check(paths_of(prefix, version), "'" .. prefix .. "/bin/lmm'")
    assert.matches("exit 0\n$", run(make .. "uninstall PREFIX='" .. prefix .. "'"))
    assert.equal("exit 0\n", run("find '" .. prefix .. "' -type f"))
  end)

  it("installs for two Luas side by side, and leaves the command to the first one until it is moved", function()
    local other = version == "5.4" and "5.1" or "5.4"
    local lua = "lua" .. other
    if run(("command -v %s && [ -e /usr/include/%s/lua.h ]"):format(lua, lua)):find "exit [^0]" then
      pending("there is no " .. lua .. " with its headers")
    end
    local prefix = scratch .. "/both"
    local command, into = prefix .. "/bin/lmm", " PREFIX=" .. prefix
    assert.matches("exit 0\n$", run(make_for(lua) .. "install" .. into))
    local text = run(make .. "install" .. into)
    assert.matches("/bin/lmm stays as it is; 'make install%-command LUA=" .. interpreter .. "' [^\n]*\nexit 0\n$", text)
    assert.matches("^#![%w/]*/" .. lua .. "\n", shell.read(command))
    check(paths_of(prefix, version), command)
    check(paths_of(prefix, other), command, lua)

    assert.matches("exit 0\n$", run(make .. "install-command" .. into))
    assert.matches("^#![%w/]*/" .. interpreter:match "[^/]*$" .. "\n", shell.read(command))
    assert.matches("exit 0\n$", run(make_for(lua) .. "install" .. into))
    assert.matches("^#![%w/]*/" .. interpreter:match "[^/]*$" .. "\n", shell.read(command))
    check(paths_of(prefix, version), command)

    assert.matches("exit 0\n$", run(make .. "uninstall" .. into)) -- for both
    assert.equal("exit 0\n", run("find " .. prefix .. " -type f"))
  end)

  it("make install brings the command up to date where it is of the same Lua", function()
    local prefix = scratch .. "/again"
    assert.matches("exit 0\n$", run(make .. "install PREFIX=" .. prefix))
    local written = shell.read(prefix .. "/bin/lmm")
    shell.write(prefix .. "/bin/lmm", written:match "^[^\n]*\n")
    assert.matches("exit 0\n$", run(make .. "install PREFIX=" .. prefix))
    assert.equal(written, shell.read(prefix .. "/bin/lmm"))
  end)

  it("leaves a program alone that somebody else has installed as lmm", function()
    local prefix = scratch .. "/theirs"
    run("mkdir -p " .. prefix .. "/bin")
    shell.write(prefix .. "/bin/lmm", "#!/bin/sh\n")
    assert.matches("stays as it is.*exit 0\n$", run(make .. "install PREFIX=" .. prefix))
    assert.matches("exit 0\n$", run(make .. "uninstall PREFIX=" .. prefix))
    assert.equal(prefix .. "/bin/lmm\nexit 0\n", run("find " .. prefix .. " -type f"))
    assert.equal("#!/bin/sh\n", shell.read(prefix .. "/bin/lmm"))
  end)

  it("make install-command needs the library for that Lua", function()
    local text = run(make .. "install-command PREFIX=" .. scratch .. "/none")
    assert.matches("lmm is not installed for " .. interpreter .. ": make install LUA=" .. interpreter, text)
    assert.matches("exit 2\n$", text)
    assert.equal("exit 0\n", run("find " .. scratch .. "/none -type f 2>/dev/null; true"))
  end)

  it("make install honours DESTDIR", function()
    assert.matches("exit 0\n$", run(make .. "install DESTDIR=" .. scratch .. "/stage PREFIX=/usr"))
    local files = run("find stage -type f")
    for _, name in ipairs { "/usr/bin/lmm", "/usr/lib/lua/" .. version .. "/lmm/core.so", "/usr/share/lua/" .. version
      .. "/lmm/init.lua", "/usr/share/lua/" .. version .. "/lmm/grid/page/page.css" } do
      assert(files:find("stage" .. name .. "\n", 1, true), name .. " is not in " .. files)
    end
    assert.matches("exit 0\n$", run(make .. "uninstall DESTDIR=" .. scratch .. "/stage PREFIX=/usr"))
    assert.equal("exit 0\n", run("find stage -type f"))
  end)

  it("the rockspec is sound, and LuaRocks installs it", function()
    if run("command -v luarocks"):find "exit 1" then pending "there is no luarocks" end
    assert.matches("exit 0\n$", run("luarocks lint " .. here .. "/lmm-scm-1.rockspec"))
    -- In a copy, since LuaRocks builds in the tree.
    local rocks = "luarocks --lua-version=" .. version .. " --tree " .. scratch .. "/rocks "
    local text = run("git clone -q " .. here .. " copy && cd copy && " .. rocks .. "make --deps-mode=none")
    assert.matches("is now installed.*exit 0\n$", text)
    local paths = 'eval "$(' .. rocks .. 'path)"; '
    check(paths, paths .. "lmm")
    for path in run "cd copy/lua && find lmm/grid/page -type f":gmatch "(lmm/[^\n]+)" do
      assert.matches("exit 0\n$", run(("cmp copy/lua/%s rocks/share/lua/%s/%s"):format(path, version, path)))
    end
    text = run("cd copy && " .. rocks .. "make --deps-mode=none src/lmm-vips-scm-1.rockspec")
    assert.matches("lmm%-vips scm%-1 is now installed.*exit 0\n$", text)
    assert.matches("^function: [^\n]*\nexit 0\n$", run(paths .. arg[-1] .. " -e 'print(require(\"lmm.vips\").start)'"))
  end)

  it("the rockspec and the changelog name what there is", function()
    local rockspec = {}
    local chunk = loadfile(here .. "/lmm-scm-1.rockspec")
    if rawget(_G, "setfenv") then rawget(_G, "setfenv")(chunk, rockspec) else
      chunk = loadfile(here .. "/lmm-scm-1.rockspec", "t", rockspec)
    end
    chunk()
    local modules = rockspec.build.modules
    for path in run("cd " .. here .. " && find lua -name '*.lua'"):gmatch "(lua/[^\n]+)" do
      local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
      assert.same(path, modules[name])
    end
    local sources = {}
    for _, name in ipairs { "lmm.core", "lmm.curl", "lmm.digest", "lmm.files", "lmm.tcp" } do
      for _, path in ipairs(modules[name].sources) do sources[path] = true end
    end
    local vips = run("sed -En 's/^(VIPS|ENGINE) *:= *//p' " .. here .. "/Makefile") -- which make builds
    for part in vips:gmatch "[%w_]+" do sources["src/" .. part .. ".c"] = true end
    for path in run("cd " .. here .. " && ls src/*.c"):gmatch "(src/[^\n]+)" do assert(sources[path], path) end
  end)
end)
