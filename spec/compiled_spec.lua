-- The modules that `make install` compiles: which of them are loaded in place of the plain files.
local installing = require "spec.support.installing"
local program = require "spec.support.program"
local shell = require "spec.support.shell"

local interpreter, version = installing.interpreter, installing.version
local scratch, run, remove = installing.folder()

teardown(remove)

describe("compiled modules", function()
  it("name the plain files, and are used where they are of these and this Lua", function()
    local prefix = scratch .. "/compiled"
    local folder = prefix .. "/share/lua/" .. version .. "/lmm/"
    local plain, compiled = folder .. "client/init.lua", folder .. "compiled/lmm.client.luac"
    local first = folder .. "compiled/lmm.version.luac" -- by which it is told whose all of them are
    assert.matches("exit 0\n$", run(installing.make_for(interpreter) .. "install PREFIX=" .. prefix))
    local source = installing.paths_of(prefix, version) .. "cd / && " .. interpreter
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

  it("are closed where a finalizer raises while they load", function()
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
end)
