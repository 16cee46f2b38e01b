-- A child process lives as long as its owner wants and never longer.

local child = require "lmm.server.child"
local process = require "spec.support.process"
local program = require "spec.support.program"
local shell = require "spec.support.shell"

local PROGRAM = "lmm.mock.server" -- it announces itself, and then waits for nothing but its end

-- The letter of a process's state in /proc, or nil where there is no such process.
local function state(pid)
  return (shell.read("/proc/" .. pid .. "/stat") or ""):match "%) (%a)"
end

local function start(words, opts)
  return assert(child.start(PROGRAM, words or {}, opts))
end

-- What the child says in place of its announcement.
local troubles = {
  { "no such interpreter", PROGRAM, { interpreter = "./no lua" }, "ended before it was ready: the interpreter %./no" },
  { "no such module", "no.such.module", {}, "^no%.such%.module ended .*module 'no%.such%.module' not found" },
  { "a module that is no program", "lmm.options", {}, "main" },
}

-- How an owner may end. The code runs after the child has started; hold() starts a process that holds the pipe open.
local ends = {
  { "is killed", "while true do os.execute 'sleep 0.1' end", kill = true },
  { "returns", "" },
  { "raises", "error 'on purpose'" },
  { "exits", "os.exit(0)" },
  { "exits and closes its state", "os.exit(0, true)" },
  { "is killed, the pipe held open", "hold() while true do os.execute 'sleep 0.1' end", kill = true },
  { "returns, the pipe held open", "hold()" },
  { "exits, the pipe held open", "hold() os.exit(0)" },
}

local OWNER = [[
local handle = assert(require("lmm.server.child").start(%q, {}))
local function hold() os.execute "sleep 30 >/dev/null 2>&1 & echo holder $!" end
print("child " .. string.format("%%d", handle.pid))
io.flush()
local function go_on() %s end
go_on()
]]

describe("a child process", function()
  it("starts, announces itself, and is reaped when it is stopped", function()
    local handle = start()
    assert.matches("^listening 127%.0%.0%.1:%d+$", handle.line)
    assert.truthy(state(handle.pid))
    handle.stop()
    assert.equal(nil, state(handle.pid))
    handle.stop()
  end)

  it("is started without the client, libcurl, luv and what starts model servers", function()
    local run = program.run [[
      local server = assert(require("lmm").mock())
      for _, name in ipairs { "lmm.client", "lmm.curl", "luv", "lmm.server.serve", "lmm.loop" } do
        print(name, package.loaded[name])
      end
      server.stop()]]
    assert.equal("lmm.client\tnil\nlmm.curl\tnil\nluv\tnil\nlmm.server.serve\tnil\nlmm.loop\tnil\n", run.out)
  end)

  it("ends when its handle is collected", function()
    local pid = start().pid
    collectgarbage()
    collectgarbage()
    process.wait_gone(pid)
  end)

  it("two at once are stopped in either order", function()
    for _, order in ipairs { { 1, 2 }, { 2, 1 } } do
      local handles = { start(), start() }
      for _, i in ipairs(order) do
        handles[i].stop()
        assert.equal(nil, state(handles[i].pid))
      end
    end
  end)

  it("is stopped although another process holds the pipe", function()
    local handle, base = start(), os.tmpname()
    os.execute("sleep 30 >/dev/null 2>&1 & echo $! >" .. base)
    local other = shell.read(base):match "%d+"
    local pipe = shell.output(string.format("readlink /proc/%d/fd/1", handle.pid)):match "%d+"
    assert(shell.output(string.format("ls -l /proc/%s/fd", other)):find(pipe, 1, true), "it holds the pipe")
    handle.stop()
    assert.equal(nil, state(handle.pid))
    os.execute("kill " .. other)
    os.remove(base)
  end)

  it("leaves SIGINT to its owner", function()
    local handle = start()
    os.execute(string.format("kill -INT %d", handle.pid))
    os.execute "sleep 0.1"
    assert.matches("[^Z]", state(handle.pid))
    handle.stop()
  end)

  for _, row in ipairs(troubles) do
    local name, module, opts, pattern = row[1], row[2], row[3], row[4]
    it("says what went wrong: " .. name, function()
      local handle, message = child.start(module, {}, opts)
      assert.equal(nil, handle)
      assert.matches(pattern, message)
      assert(not message:find "\n", "one line")
    end)
  end

  it("gets its words as they are, and finds modules where its owner does", function()
    local base = os.tmpname()
    local module = base:match "[^/]*$"
    shell.write(base .. ".lua", [[
    local words = ...
    return { main = function(list) print("ready " .. #list .. " " .. table.concat(list, "|"):gsub("\n", "$")) end }
  ]])
    local before = package.path
    package.path = base:match "^(.*/)" .. "?.lua;" .. package.path
    local handle = assert(child.start(module, { "it's", '"$HOME" `id`', "two\nlines", "", "%d\\" }))
    package.path = before
    assert.equal([[5 it's|"$HOME" `id`|two$lines||%d\]], handle.line)
    handle.stop()
    os.remove(base)
    os.remove(base .. ".lua")
  end)

  for _, row in ipairs(ends) do
    it("ends when its owner " .. row[1], function()
      local base = os.tmpname()
      local script = shell.write(base .. ".lua", OWNER:format(PROGRAM, row[2]))
      local command = string.format("%s %s </dev/null >%s 2>&1 & echo $!", arg[-1], script, base)
      local owner = shell.output(command):match "%d+"
      local holds = row[2]:find("hold", 1, true)
      local pid, holder
      process.wait_for("the child", function()
        local said = shell.read(base)
        pid, holder = said:match "child (%d+)", said:match "holder (%d+)"
        return pid and (holder or not holds)
      end)
      if row.kill then os.execute("kill -9 " .. owner) end
      process.wait_gone(owner)
      process.wait_gone(pid)
      if holder then
        assert(state(holder), "the holder has outlived them")
        os.execute("kill " .. holder)
      end
      os.remove(base)
      os.remove(script)
    end)
  end
end)
