-- The cases run in one host, whichever it is. In: a file of lines "NUMBER URL". Out: a file of lines "NUMBER ok" or
-- "NUMBER failed WHY", and "end" when all have been run.
local lmm = require "lmm"
local cases = require "spec.parity.cases"

local host = {}

local function options(case, url)
  local opts = { base_url = url, model = "m", retry = false }
  for name, value in pairs(case.opts or {}) do opts[name] = value end
  return opts
end

--- Runs a case in a task. `connect(case, opts)` makes its client; `done(ok, why)` is told how it went.
function host.run_case(case, url, connect, done)
  local client = connect(case, options(case, url))
  return lmm.go(function() case.run(client) end, function(ok, why)
    client:close()
    done(ok, why)
  end)
end

--- Runs the cases of a file, one after the other, and calls `done` at the end.
---@param list string    the path of the file
---@param result string  the path of the file to write
---@param done fun()
function host.run(list, result, done)
  local todo, at = {}, 0
  for line in io.lines(list) do
    local number, url = line:match "^(%d+) (%S+)$"
    todo[#todo + 1] = { case = cases[tonumber(number)], number = number, url = url }
  end
  local out = assert(io.open(result, "w"))
  local function run_next()
    at = at + 1
    local entry = todo[at]
    if not entry then
      out:write "end\n"
      out:close()
      return done()
    end
    host.run_case(entry.case, entry.url, function(_, opts) return lmm.connect(opts) end, function(ok, why)
      out:write(entry.number, ok and " ok" or " failed " .. tostring(why):gsub("%s+", " "), "\n")
      run_next()
    end)
  end
  run_next()
end

return host
