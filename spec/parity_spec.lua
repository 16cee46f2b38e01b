-- One set of cases, run on every transport and loop: what a client does is the same wherever it does it.
local cases = require "spec.parity.cases"
local host = require "spec.parity.host"
local fake = require "spec.support.fake"
local nginx = require "spec.support.nginx"
local nvim = require "spec.support.nvim"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"
local test = require "spec.support.test"
local wire = require "spec.parity.wire"

local quote = shell.quote

--- A program that is given the cases by its environment.
local function program(words)
  return function(list)
    return shell.output(("LMM_PARITY=%s timeout 120 %s 2>&1"):format(quote(list), words))
  end
end

local function in_nginx(list)
  local server = nginx.start {}
  local code = "require('spec.parity.host').run(%q, ngx.say)"
  local said = server:run(code:format(list)) .. "\n"
  local _, problem = pcall(server.stop, server)
  return said .. (problem or ""):gsub("[^\n]*recv%(%) failed %(104:[^\n]*", ""):gsub("^error.log: ", "") -- one is meant
end

local interpreter = quote(arg and arg[-1] or "lua")
local hosts = {
  { name = "curl, blocking", run = program(interpreter .. " spec/parity/program.lua blocking") },
  { name = "curl, luv", run = program(interpreter .. " spec/parity/program.lua luv") },
  { name = "resty, nginx", run = in_nginx },
}
for _, found in ipairs(nvim.editors()) do
  if found.program then
    local run = program(nvim.command(found.program, "spec/parity/program.lua"))
    hosts[#hosts + 1] = { name = "curl, " .. found.name, run = run }
  end
end

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

--- Runs the cases in a host; gives the servers, and what the host said of each case, "other" besides.
local function run(entry)
  local servers, list, results = {}, {}, { other = "" }
  for i, case in ipairs(cases) do
    servers[i] = raw.start(wire.scenarios(case))
    list[i] = i .. " " .. servers[i].url
  end
  for line in entry.run(table.concat(list, " ")):gmatch "[^\r\n]+" do
    local number, outcome = line:match "^(%d+) (.*)$"
    if number then results[tonumber(number)] = outcome else results.other = results.other .. line end
  end
  return servers, results
end

for _, entry in ipairs(hosts) do
  local servers, results = run(entry)
  test.case(entry.name .. ": it ends well", function() test.equal(results.other, "end") end)
  for i, case in ipairs(cases) do
    test.case(entry.name .. ": " .. case.name, function()
      test.equal(results[i], "ok")
      if case.seen then case.seen(servers[i]) end
    end)
    servers[i]:stop()
  end
end
