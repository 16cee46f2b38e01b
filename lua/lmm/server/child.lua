--- A Lua program as a child process: the name of a module whose `main(words)` is the program comes in, with its words;
--- once the program has announced itself by its first line, a handle goes out.
--
-- The program ends when the handle is stopped or collected, and when the process that started it (its owner) ends,
-- however that happens. It is started by plain Lua, with io.popen and the shell: the owner needs no luv.
--
-- The pipe from the child's standard output is what ties the two together: nothing is read from it after the
-- announcement, but when the owner is gone, its end of the pipe is closed, and the child sees that.
local core = require "lmm.core"
local errors = require "lmm.errors"
local quote = require "lmm.text".quote

local child = {}

local READY = "ready " -- begins the announcement

--- In a child, the process that has started it.
---@type integer?
child.owner = nil

-- Runs in the child. What fails before the announcement is written to the same pipe, on one line.
local PROGRAM = [[
package.path, package.cpath = %q, %q
local ok, problem = pcall(function()
  require("lmm.server.child").owner = owner
  require(%q).main({%s})
end)
if not ok then print((tostring(problem):gsub("%%s+", " "))) os.exit(1) end
]]

-- The shell prints its process number, which the program keeps after `exec`, and tells the program who its owner is:
-- the owner may be gone before the program could ask. A missing interpreter is reported through the pipe, too;
-- otherwise the reason would only reach the terminal.
local COMMAND = "echo $$; command -v %s >/dev/null || { echo %s; exit 127; }; "
  .. 'exec %s -e "owner = $PPID" -e %s </dev/null'

--- The interpreter this process was started with, where `arg` holds it as in the stand-alone `lua`.
function child.own_interpreter()
  local arguments = rawget(_G, "arg")
  local lowest = 0
  while type(arguments) == "table" and arguments[lowest - 1] do lowest = lowest - 1 end
  if lowest < 0 then return arguments[lowest] end
  return rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d+%.%d+"
end

--- Calls `on_collect` when `handle` is collected, and `on_close`, the same unless given, where a variable that holds it
--- is closed. After a fork both processes have the handle; only the one that made it acts on it. Lua 5.1 knows
--- finalizers of userdata only.
function child.set_finalizer(handle, on_collect, on_close)
  local owner = core.pid()
  local function collect()
    if core.pid() == owner then on_collect() end
  end
  local newproxy = rawget(_G, "newproxy")
  if newproxy then
    handle.finalizer = newproxy(true)
    getmetatable(handle.finalizer).__gc = collect
  end
  return setmetatable(handle, { __gc = collect, __close = on_close or on_collect })
end

---@class lmm.Child
---@field line string           the announcement
---@field pid integer
---@field stop fun()            kills the program and waits until it is gone; may be called again

--- Starts `require(module).main(words)` in a process of its own and waits for its announcement (`child.ready`). It
--- finds modules where this process does, reads an empty standard input, and writes errors where this process does.
--- It is ended by SIGKILL, so it must leave nothing behind that needs cleaning up. `stop` does not rely on the pipe
--- alone, since another process that this one has started meanwhile may hold the pipe's end open as well.
---@param module string
---@param words string[]
---@param opts? { interpreter: string? }  interpreter: the `lua` to run; otherwise the one that runs this process
---@return lmm.Child? handle  keep it: the program ends when it is collected
---@return string? message    a sentence with what the program printed before it ended
function child.start(module, words, opts)
  local interpreter = opts and opts.interpreter or child.own_interpreter()
  local literals = {}
  for i, word in ipairs(words) do literals[i] = string.format("%q", word) end
  local program = PROGRAM:format(package.path, package.cpath, module, table.concat(literals, ", "))
  local missing = "the interpreter " .. interpreter .. " was not found; name one by the option interpreter"
  local pipe = assert(io.popen(COMMAND:format(quote(interpreter), quote(missing), quote(interpreter), quote(program))))

  local pid = tonumber(pipe:read "*l")
  local printed, line = {}, nil
  repeat
    printed[#printed + 1] = line
    line = pipe:read "*l"
  until not line or line:sub(1, #READY) == READY
  if not line then
    pipe:close()
    local why = printed[1] and table.concat(printed, " ") or "it printed nothing"
    return nil, string.format("%s ended before it was ready: %s.", module, errors.missing_package(why) or why)
  end

  local function stop()
    if not pipe then return end
    local open_pipe = pipe
    pipe = nil
    os.execute(string.format("kill -9 %d 2>/dev/null", pid))
    open_pipe:close()
  end
  return child.set_finalizer({ line = line:sub(#READY + 1), pid = pid, stop = stop }, stop)
end

--- In the child: announces that the program is ready, and from here on ends this process when its owner is gone. It
--- sees that nobody holds the reading end of its standard output any more, or, where some other process does, that its
--- parent has changed (checked twice a second). SIGINT is ignored: a terminal sends it to both, and the owner decides
--- what it means. The loop runs until the process ends, and nothing else may be printed.
---
--- Where `child.start` has not started this process, the line is printed, and that is all.
---@param uv table  luv
---@param line string
function child.ready(uv, line)
  if not child.owner or uv.guess_handle(1) ~= "pipe" then return print(line) end
  local function exit() os.exit(0) end
  local function check_parent()
    if uv.os_getppid() ~= child.owner then exit() end
  end
  uv.new_signal():start("sigint", function() end)
  uv.new_timer():start(0, 500, check_parent)

  -- The owner reads no further than the line, so the pipe fills, and the last write waits until it fails. A poll handle
  -- would report the same, but luv prints the error that it gives to standard error.
  local pipe, filling = uv.new_pipe(false), (" "):rep(64 * 1024)
  local function fill(err)
    if err then exit() end
    pipe:write(filling, fill)
  end
  pipe:open(1)
  pipe:write(READY .. line .. "\n", fill)
end

return child
