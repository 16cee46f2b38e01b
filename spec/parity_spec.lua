-- One set of cases, run on every transport and loop: what a client does is the same wherever it does it.
local cases = require "spec.parity.cases"
local host = require "spec.parity.host"
local fake = require "spec.support.fake"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"
local test = require "spec.support.test"
local wire = require "spec.parity.wire"

local interpreter = shell.quote(arg and arg[-1] or "lua")

--- What runs the cases in each host: a command to which the two files' names are added.
local hosts = {
  { name = "curl, blocking", command = interpreter .. " spec/parity/program.lua blocking" },
  { name = "curl, luv", command = interpreter .. " spec/parity/program.lua luv" },
}

for _, case in ipairs(cases) do
  if not case.has_no_fake then
    test.case("fake: " .. case.name, function()
      local result
      local function connect(_, opts) return fake.net(case.replies):connect(opts) end
      host.run_case(case, nil, connect, function(...) result = { ... } end)
      while not result do fake.loop:wait({}, fake.loop:now() + 1) end
      if not result[1] then error(result[2], 0) end
    end)
  end
end

--- Runs the cases in a host; gives the servers, and what the host said of each case.
local function run(command)
  local list, result, servers, lines = os.tmpname(), os.tmpname(), {}, {}
  for i, case in ipairs(cases) do
    servers[i] = raw.start(wire.scenarios(case))
    lines[i] = i .. " " .. servers[i].url
  end
  shell.write(list, table.concat(lines, "\n") .. "\n")
  local said = shell.output(("timeout 120 %s %s %s 2>&1; echo exit $?"):format(command, list, result))
  local results = {}
  for line in shell.read(result):gmatch "[^\n]+" do
    local number, outcome = line:match "^(%d+) (.*)$"
    if number then results[tonumber(number)] = outcome else results.ended = line end
  end
  os.remove(list)
  os.remove(result)
  return servers, results, said
end

for _, entry in ipairs(hosts) do
  local servers, results, said = run(entry.command)
  test.case(entry.name .. ": it ends well", function()
    test.equal({ said, results.ended }, { "exit 0\n", "end" })
  end)
  for i, case in ipairs(cases) do
    test.case(entry.name .. ": " .. case.name, function()
      test.equal(results[i], "ok")
      if case.seen then case.seen(servers[i]) end
    end)
    servers[i]:stop()
  end
end
