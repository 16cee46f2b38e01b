-- One set of cases, run on every transport and loop: what a client does is the same wherever it does it.
local cases = require "spec.parity.cases"
local host = require "spec.parity.host"
local fake = require "spec.support.fake"
local nginx = require "spec.support.nginx"
local nvim = require "spec.support.nvim"
local raw = require "spec.support.raw"
local shell = require "spec.support.shell"
local wire = require "spec.parity.wire"

local quote = shell.quote

--- A program that is given the cases by its environment, and finds what this one does.
local function program(words)
  return function(list)
    local environment = ("LMM_PARITY=%s LUA_PATH=%s"):format(quote(list), quote(package.path))
    return shell.output(("%s timeout 120 %s 2>&1"):format(environment, words))
  end
end

local function in_nginx(list)
  local server = nginx.start {}
  local code = list == "tasks" and "require('spec.parity.tasks')(ngx.say)"
    or ("require('spec.parity.host').run(%q, ngx.say)"):format(list)
  local said = server:run(code) .. "\n"
  local _, problem = pcall(server.stop, server)
  return said .. (problem or ""):gsub("[^\n]*recv%(%) failed %(104:[^\n]*", ""):gsub("^error.log: ", "") -- one is meant
end

local interpreter = quote(arg and arg[-1] or "lua")
local hosts = {
  { name = "curl, blocking", run = program(interpreter .. " spec/parity/program.lua blocking") },
  { name = "tcp, blocking", run = program(interpreter .. " spec/parity/program.lua blocking tcp") },
  { name = "curl, luv", run = program(interpreter .. " spec/parity/program.lua luv") },
  { name = "resty, nginx", run = in_nginx, report = "[error]" },
}
for _, found in ipairs(nvim.editors()) do
  if found.program then
    hosts[#hosts + 1] = { name = "curl, " .. found.name, report = "vim.notify 4 ", run = function(list)
      return program(nvim.command(found.program, "spec/parity/program.lua"))(list)
    end }
  end
end

describe("fake", function()
  for _, case in ipairs(cases) do
    if not case.has_no_fake then
      it(case.name, function()
        local result
        local function connect(_, opts) return fake.net(case.replies):connect(opts) end
        host.run_case(case, nil, connect, function(...) result = { ... } end)
        while not result do fake.loop:wait({}, fake.loop:now() + 1) end
        if not result[1] then error(result[2], 0) end
      end)
    end
  end
end)

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

local TASKS = {
  "run waited for a b c",
  "in a task: lmm.run waits for all tasks: a task would wait for itself",
  "waited for: taken at once, taken later",
  "reported: 2",
}

for _, entry in ipairs(hosts) do
  describe(entry.name, function()
    local servers, results

    setup(function() servers, results = run(entry) end)

    teardown(function()
      for _, server in ipairs(servers) do server:stop() end
    end)

    it("ends well", function() assert.equal("end", results.other) end)

    for i, case in ipairs(cases) do
      it(case.name, function()
        assert.equal("ok", results[i])
        if case.seen then case.seen(servers[i]) end
      end)
    end

    it("waits for all tasks, and reports once what one raised and nobody took", function()
      local said, failures, lines = entry.run "tasks", {}, {}
      for line in said:gmatch "[^\r\n]+" do
        local report, problem = line:match "^(.*)lmm: a task failed, and nobody waited for it: ([%a ]+)"
        if problem then
          failures[#failures + 1] = problem
          assert(report:find(entry.report or "", 1, true), said)
        elseif line:find "^run " or line:find "^in " or line:find "^waited " or line:find "^reported" then
          lines[#lines + 1] = line
        end
      end
      table.sort(failures)
      assert.same(TASKS, lines)
      assert.same({ "dropped at once", "dropped later" }, failures)
    end)
  end)
end
