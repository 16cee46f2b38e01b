--- Signals, and work that goes on while they are looked for: signals come in as calls of a function; the work is tasks.
---
--- About twenty times a second the program looks for what luv has.
local signals = {}

local POLL_INTERVAL = 0.05 -- seconds

--- Calls `on_signal(name)` for each of these signals, while luv's loop is run.
---@param names string[]  "sigint", ...
---@return fun() close
function signals.listen(uv, names, on_signal)
  local handles = {}
  for _, name in ipairs(names) do
    local handle = uv.new_signal()
    handle:start(name, function() on_signal(name) end)
    handles[#handles + 1] = handle
  end
  return function()
    for _, handle in ipairs(handles) do handle:close() end
    uv.run "nowait" -- luv crashes at the end of the process over a handle that is closed and not yet gone
  end
end

local HOOKED = 1000000 -- instructions of a function of the user's between looks at signals

--- Has signals looked for while functions of the user's run in this coroutine, and in those that it makes, which may
--- not end: `look` may raise. LuaJIT calls no hook in what it has compiled.
---@param look fun()
function signals.hook(uv, look)
  debug.sethook(function()
    uv.run "nowait"
    look()
  end, "", HOOKED)
end

--- Runs tasks and luv's loop until `is_done()`.
---@param look (fun())?  called each time that luv's loop was run
function signals.run_until(uv, is_done, look)
  local loop, cell = require "lmm.loop".current(), {}
  while not is_done() do
    uv.run "nowait"
    if look then look() end
    loop:wait(cell, loop:now() + POLL_INTERVAL)
  end
end

--- Runs `fn` as a task, while signals are handled; returns what it returns, or raises what it raises.
---@param on_start (fun(task: lmm.Task))?
---@param look (fun())?  as for `run_until`
function signals.run_task(uv, fn, on_start, look)
  local ended, ok, value, message, err
  local task = require "lmm".go(fn, function(...)
    ended = true
    ok, value, message, err = ...
  end)
  if on_start then on_start(task) end
  signals.run_until(uv, function() return ended end, look)
  if not ok then error(value, 0) end
  return value, message, err
end

return signals
