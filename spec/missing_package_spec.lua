-- A Lua module that is not installed: it is named with its Debian package where it is first needed, and what does not
-- need it works.
local cli = require "spec.support.cli"
local mock = require "lmm.mock"
local process = require "spec.support.process"
local program = require "spec.support.program"

local server, command

setup(function()
  server = assert(mock.start { delay = 0 })
  command = cli.new { OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "" }
end)

teardown(function()
  server.stop()
  command.remove()
end)

--- What makes every Lua that is started not find a module.
local function hide(module)
  local raise = ("error(\"module '%s' not found:\\n\\tno file\", 0)"):format(module)
  return ("package.preload['%s'] = function() %s end"):format(module, raise)
end

local function sentence(module, package)
  return ("the Lua module '%s' is not installed (on Debian: apt install %s)"):format(module, package)
end

local HELP, VERSION, ASK, MODELS = { "--help" }, { "--version" }, { "ask", "q" }, { "models" }
local MOCK, SERVE = { "mock", "--port", "0" }, { "serve", "--", "true" }

-- The module, its package, the arguments with which the command works without it, and those with which it does not.
local rows = {
  { "argparse", "lua-argparse", { VERSION }, { HELP, ASK } },
  { "luv", "lua-luv", { HELP, VERSION, ASK, MODELS }, { MOCK, SERVE } },
  { "openssl.digest", "lua-luaossl", { HELP, VERSION, ASK, MODELS }, { MOCK } },
  { "cjson", "lua-cjson", { HELP, VERSION, { "mock", "--help" } }, { MOCK } },
}

for _, row in ipairs(rows) do
  local module, package, works, fails = row[1], row[2], row[3], row[4]
  describe("the command without " .. package, function()
    for _, words in ipairs(works) do
      it("runs " .. table.concat(words, " "), function()
        local run = command.run(words, nil, { LUA_INIT = hide(module) })
        assert.same({ "", 0 }, { run.err, run.status })
      end)
    end

    for _, words in ipairs(fails) do
      it("names it in " .. table.concat(words, " "), function()
        local run = command.run(words, nil, { LUA_INIT = hide(module) })
        assert.same({ "", "lmm: " .. sentence(module, package) .. "\n", 1 }, { run.out, run.err, run.status })
      end)
    end
  end)
end

--- Runs a program that does not find a module.
local function run_without(module, text, ...)
  return program.run(text, { ... }, "LUA_INIT=" .. process.quote(hide(module)))
end

describe("the library", function()
  local PRINT = [[
    local value, message, err = require("lmm")[%q](%s)
    print(value, message, err.kind)]]

  it("says of lmm.mock what it lacks", function()
    local run = run_without("luv", PRINT:format("mock", ""))
    assert.equal("nil\tlmm.mock.server ended before it was ready: " .. sentence("luv", "lua-luv") .. ".\tconnect\n",
      run.out)
    run = run_without("openssl.digest", PRINT:format("mock", ""))
    assert.truthy(run.out:find(sentence("openssl.digest", "lua-luaossl"), 1, true))
  end)

  it("says of lmm.serve what it lacks", function()
    local run = run_without("luv", PRINT:format("serve", "{ command = { 'true' } }"))
    assert.equal("nil\tthe server was not started: " .. sentence("luv", "lua-luv") .. "\tinvalid\n", run.out)
  end)

  it("asks without what only the command and the servers need", function()
    for _, module in ipairs { "luv", "argparse", "openssl.digest" } do
      local run = run_without(module, "print(require('lmm').connect(...):conversation():ask 'q')", server.url)
      assert.same({ "question: q\n", 0 }, { run.out, run.status })
    end
  end)
end)
