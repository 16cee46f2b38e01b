-- What tasks do in a host, outside of any call: what happens goes to `out`, line by line.
local lmm = require "lmm"

local REPORT_WITHIN = 30 -- seconds: only ever reached by a failure

---@param out fun(line: string)
return function(out)
  local loop = require("lmm.loop").current()
  local function sleep(seconds) return loop:wait({}, loop:now() + seconds) end

  local reports, report = 0, loop.report
  function loop.report(...)
    reports = reports + 1
    return report(...)
  end

  local ended = {}
  local function sleeper(name, seconds, fn)
    lmm.go(function()
      sleep(seconds)
      if fn then fn() end
    end, function() ended[#ended + 1] = name end)
  end
  sleeper("b", 0.05, function() sleeper("c", 0.05) end)
  sleeper("a", 0.01)
  lmm.run()
  out("run waited for " .. table.concat(ended, " "))
  lmm.run()

  local _, problem = lmm.go(lmm.run):wait()
  out("in a task: " .. problem:gsub("^.-lmm: ", ""))

  local function fail(name, seconds, done)
    return lmm.go(function()
      if seconds then sleep(seconds) end
      error(name, 0)
    end, done)
  end
  fail "dropped at once"
  fail("dropped later", 0.01)
  fail("given to done", 0.01, function() end)
  fail("cancelled", 60):cancel()
  local first, second = fail "taken at once", fail("taken later", 0.01)
  lmm.run()
  out("waited for: " .. select(2, first:wait()) .. ", " .. select(2, second:wait()))

  local deadline = loop:now() + REPORT_WITHIN
  while reports < 2 and loop:now() < deadline do
    sleep(0.01)
    if not loop.later then collectgarbage() end -- the others make the collector look
  end
  first, second = nil, nil -- luacheck: ignore 311
  collectgarbage()
  collectgarbage()
  sleep(0.01)
  out("reported: " .. reports)
end
