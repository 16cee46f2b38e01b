-- Installing: by make and by LuaRocks, somewhere else than this tree, and gone again afterwards.
local program = require "spec.support.program"
local shell = require "spec.support.shell"

local here = shell.output "pwd":match "^[^\n]+"
local interpreter = arg[-1]
local version = _VERSION:match "%d%.%d"

local scratch = os.tmpname()
os.remove(scratch)

--- Runs a script in the scratch folder, without this tree's paths in the environment; gives what it printed.
local function run(script)
  return shell.output("unset LUA_PATH LUA_CPATH MAKEFLAGS MAKELEVEL LD_PRELOAD VARIANT OPTIMISE LDFLAGS; mkdir -p "
    .. scratch .. " && cd " .. scratch .. " && { " .. script .. "\n} 2>&1; echo \"exit $?\"")
end

--- What a user would do: load the library in any folder, use both C modules, run the command.
local function check(paths, command, lua)
  local text = run(paths .. "cd / && " .. (lua or interpreter) .. [[ -e 'local lmm = require "lmm"
    print(lmm.image("]] .. here .. [[/examples/picture.jpg").width, (lmm.connect "http://127.0.0.1:9/v1":health()))
    print(package.searchpath and package.searchpath("lmm.core", package.cpath) or "found")']])
  assert.matches("1280%s+nil\n.*exit 0\n$", text)
  assert(not text:find(here .. "/build", 1, true), text)
  assert.matches("^lmm %d.*exit 0\n$", run("cd / && " .. command .. " --version"))
end

local function make_for(lua) return "make --no-print-directory -C " .. here .. " LUA=" .. lua .. " " end

local make = make_for(interpreter)

--- What makes a Lua of this version look into a prefix.
local function paths_of(prefix, abi)
  return (([[export LUA_PATH="PREFIX/share/lua/ABI/?.lua;PREFIX/share/lua/ABI/?/init.lua;;"
    export LUA_CPATH="PREFIX/lib/lua/ABI/?.so;;"; ]]):gsub("ABI", abi):gsub("PREFIX", (prefix:gsub("%%", "%%%%"))))
end

teardown(function() os.execute("rm -rf '" .. scratch .. "'") end)

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

  it("compiles the modules, which name the plain files, used where they are of these and this Lua", function()
    local prefix = scratch .. "/compiled"
    local folder = prefix .. "/share/lua/" .. version .. "/lmm/"
    local plain, compiled = folder .. "client/init.lua", folder .. "compiled/lmm.client.luac"
    local first = folder .. "compiled/lmm.version.luac" -- by which it is told whose all of them are
    assert.matches("exit 0\n$", run(make .. "install PREFIX=" .. prefix))
    local source = paths_of(prefix, version) .. "cd / && " .. interpreter
      .. [[ -e 'require "lmm".connect() print(debug.getinfo(require "lmm.client".new, "Sl").source)']]
    local text, whole = shell.read(plain), shell.read(compiled)
    local function set_back(path) run("touch -d 2000-01-01 '" .. path .. "'") end
    shell.write(compiled, (whole:gsub("lmm/client/init%.lua", "lmm/CLIENT/init.lua")))
    local used = "@" .. plain:gsub("client/", "CLIENT/") .. "\nexit 0\n"
    assert.equal(used, run(source)) -- it is what runs
    shell.write(plain, text) -- newer, and of the same size
    assert.equal("@" .. plain .. "\nexit 0\n", run(source))
    set_back(plain)
    assert.equal(used, run(source))
    shell.write(plain, text .. "-- more\n")
    set_back(plain)
    assert.equal("@" .. plain .. "\nexit 0\n", run(source))
    shell.write(plain, text)
    set_back(plain)
    local other = "\27Lua of another kind"
    local head, code = whole:match "^([^\n]*\n)(.*)$"
    for _, bytes in ipairs { "", other, other .. (" "):rep(#whole - #other), whole:sub(1, 2000), head, head .. other,
      head:sub(1, -2), code, head:gsub(" ", "") .. code, ("9"):rep(20) .. head:match " .*" .. code,
      head:gsub("/", ("/"):rep(5000)) .. code, head:gsub("client", "clients") .. code } do
      for _, path in ipairs { compiled, first } do
        local before = shell.read(path)
        shell.write(path, bytes)
        assert.equal("@" .. plain .. "\nexit 0\n", run(source))
        shell.write(path, before)
      end
    end
    assert.equal(used, run(source))
    os.remove(plain)
    assert.matches("module 'lmm.client' not found", run(source))
  end)

  it("leaves no compiled module open in which a finalizer raises", function()
    run "true" -- which makes the folder
    local text = "return { " .. ("'text', "):rep(300) .. "}"
    shell.write(scratch .. "/m.lua", text)
    local code = string.dump((loadstring or load)(text, "@m")) -- luacheck: ignore
    shell.write(scratch .. "/m.luac", #text .. " m.lua\n" .. code)
    local ended = program.run([[
      local core, files, folder = require "lmm.core", require "lmm.files", ...
      local newproxy, room = rawget(_G, "newproxy"), files.room()
      local function raise() error "finalizer" end
      local function load()
        if newproxy then getmetatable(newproxy(true)).__gc = raise else setmetatable({}, { __gc = raise }) end
        return core.compiled(folder, "m")()
      end
      assert(#core.compiled(folder, "m")() == 300)
      for _ = 1, 10000 do pcall(load) end
      collectgarbage "stop"
      print(("%d left"):format(room - files.room()))
    ]], { scratch })
    assert.same({ 0, "0 left\n", "" }, { ended.status, ended.out, ended.err })
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
