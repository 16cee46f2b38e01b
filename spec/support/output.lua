-- busted's output for spec/run.lua: each case that failed or was skipped, and last a line `counts: PASSED FAILED SKIPPED`.
local base = require "busted.outputHandlers.base"

local function text_of(message)
  return (type(message) == "string" and message or require("pl.pretty").write(message)):gsub("\n", "\n    ")
end

return function()
  local handler = base()

  local function told(kind)
    return function(result)
      print(("  %s: %s\n    %s"):format(kind, result.name, text_of(result.message)))
      local trace = result.trace and result.trace.traceback
      if kind == "FAILED" and trace then print("    " .. trace:gsub("\n", "\n    ")) end
    end
  end

  function handler.suiteEnd()
    for _, result in ipairs(handler.pendings) do told "skipped" (result) end
    for _, result in ipairs(handler.failures) do told "FAILED" (result) end
    for _, result in ipairs(handler.errors) do told "FAILED" (result) end
    local test = require "spec.support.test"
    print(("counts: %d %d %d"):format(handler.successesCount + test.passed,
      handler.failuresCount + handler.errorsCount + test.failed, handler.pendingsCount + test.skipped))
    return nil, true
  end

  return {
    subscribe = function(self, options)
      handler:subscribe(options)
      require "busted".subscribe({ "suite", "end" }, handler.suiteEnd)
      return self
    end,
  }
end
