--- Commands of model servers for lmm.serve, and whether one is gone.
local assert = require "luassert"
local process = require "spec.support.process"

local LUA = arg[-1]

local serving = {}

--- The words of `lmm mock`.
function serving.mock(...)
  return { LUA, "bin/lmm", "mock", ... }
end

--- Those of a model server with a flaw.
function serving.flawed(flaw)
  return { LUA, "spec/support/model_server.lua", flaw }
end

--- A shell script in front of a server: what it does first, then the server, a mock unless given.
function serving.after(script, words)
  local out = { "sh", "-c", script .. '\nexec "$@"', "sh" }
  for _, word in ipairs(words or serving.mock()) do out[#out + 1] = word end
  return out
end

--- Checks that no process of a server is left.
function serving.gone(server)
  assert.falsy(server:is_running())
  assert.same({}, process.group(server.pid))
end

return serving
