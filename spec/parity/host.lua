-- The cases run in one host, whichever it is: their numbers and the servers' URLs come in, how each went goes out.
local lmm = require "lmm"
local cases = require "spec.parity.cases"

local host = {}

local function options(case, url)
  local opts = { base_url = url, model = "m", retry = false }
  for name, value in pairs(case.opts or {}) do opts[name] = value end
  if case.servers then opts.base_url = case.servers(url) end
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

--- Runs cases, one after the other, and calls `done` at the end.
---@param list string            "NUMBER URL NUMBER URL ..."
---@param out fun(line: string)  is told "NUMBER ok" or "NUMBER failed WHY", and "end"
---@param done fun()?
function host.run(list, out, done)
  local next_entry = list:gmatch "(%d+) (%S+)"
  local function run_next()
    local number, url = next_entry()
    if not number then
      out "end"
      return done and done()
    end
    host.run_case(cases[tonumber(number)], url, function(_, opts) return lmm.connect(opts) end, function(ok, why)
      out(number .. (ok and " ok" or " failed " .. tostring(why):gsub("%s+", " ")))
      run_next()
    end)
  end
  run_next()
end

return host
