-- `lmm ask --tool`: the model calls what files in Lua return. The program is run as it is, with the built-in server.
local cli = require "spec.support.cli"
local mock = require "lmm.mock"

local server, program, add, list

setup(function()
  server = assert(mock.start { delay = 0 })
  program = cli.new { OPENAI_BASE_URL = server.url, OPENAI_API_KEY = "" }
  add = program.write("add.lua", [[
    return { name = "add", description = "Adds.", parameters = { type = "object",
      properties = { a = { type = "number" }, b = { type = "number" } }, required = { "a", "b" } },
      run = function(args) return args.a + args.b end }]])
  list = program.write("list.lua", [[
    return { { name = "one", run = function() return 1 end }, { name = "two", run = function() error "no" end } }]])
end)

teardown(function()
  server.stop()
  program.remove()
end)

local QUESTION = 'call add {"a":1,"b":1.5}\ncall two'

describe("lmm ask --tool", function()
  for _, row in ipairs { { "streamed" }, { "whole", "--no-stream" } } do
    it("runs what the model calls: " .. row[1], function()
      local run = program.run { "ask", "--tool", add, "--tool", list, QUESTION, row[2] }
      assert.equal("tool add: 2.5\ntool two: error: no\nquestion: " .. QUESTION .. "\n", cli.answered(run))
    end)
  end

  it("-v says what is called", function()
    local run = program.run { "ask", "--tool", add, "-v", "--no-stream", QUESTION }
    assert.matches('^call: add {"a":1,"b":1.5}\nmodel: mock\n', run.err)
    assert.equal(0, run.status)
  end)

  it("--json prints the last reply", function()
    local out = cli.answered(program.run { "ask", "--tool", add, "--json", QUESTION })
    assert.matches('^{"id":[^\n]*tool add: 2.5[^\n]*}\n$', out)
  end)

  it("-p sets the rules", function()
    local run = program.run { "ask", "--tool", add, "-p", "max_rounds=1", QUESTION }
    cli.complained(run, 1, "still calls tools in reply 1 to one question %(%-p max_rounds=N sets this limit%)")
    run = program.run { "ask", "--tool", add, "-p", "on_call=x", QUESTION }
    cli.complained(run, 2, "%-p does not set 'on_call': it is a function")
  end)

  for _, row in ipairs {
    { "none.lua", nil, 1, "cannot read the tools from .*none.lua: No such file or directory" },
    { "bad.lua", "return\n{", 2, "%-%-tool [^\n]*bad.lua, line 2: .*<eof>" },
    { "raise.lua", "error('no luck', 0)", 1, "%-%-tool [^\n]*raise.lua: no luck" },
    { "raise_there.lua", "error 'no luck'", 1, "%-%-tool [^\n]*raise_there.lua, line 1: no luck" },
    { "raise_table.lua", "error {}", 1, "%-%-tool [^\n]*raise_table.lua: a table was raised" },
    { "number.lua", "return 5", 2, "a tool is a table { name =, description =, parameters =, run = function" },
    { "no_run.lua", "return { name = 'x' }", 2, "the file returns no tool" },
    { "empty.lua", "", 2, "the file returns no tool" },
    { "odd.lua", "return { { name = 'x', run = print }, 5 }", 2, "a tool is a table" },
    { "name.lua", "return { name = 'x y', run = print }", 2, "a tool's name is 1 to 64 letters, digits, _ and %-" },
    { "twice.lua", "local t = { name = 'x', run = print } return { t, t }", 2, "there is a tool 'x' already" },
    { "word.lua", "return { name = 'x', run = print, params = {} }", 2, "unknown option 'params'" },
  } do
    it("refuses " .. row[1], function()
      local path = row[2] and program.write(row[1], row[2]) or "/none.lua"
      cli.complained(program.run { "ask", "--tool", path, "q" }, row[3], row[4])
    end)
  end

  it("what a tool raises ends the program where that is asked for, and is no defect of lmm", function()
    for _, row in ipairs { { "error 'no luck'", "two.lua, line 1: no luck" }, { "error('no luck', 0)", "no luck" },
      { "error {}", "a table was raised" }, { "return nil + 1", "two.lua, line 1: attempt to" } } do
      local path = program.write("two.lua", "return { name = 'two', run = function() " .. row[1] .. " end }")
      local run = program.run { "ask", "--tool", path, "-p", "on_tool_error=raise", "call two" }
      cli.complained(run, 1, "^lmm: [^\n]*" .. row[2])
      assert.not_matches("defect", run.err)
    end
  end)

  it("the server may refuse tools", function()
    local other = assert(mock.start { tools = false })
    local run = program.run({ "ask", "--tool", add, "q" }, "", { OPENAI_BASE_URL = other.url })
    cli.complained(run, 1, "HTTP 400 .*start vLLM with %-%-enable%-auto%-tool%-choice")
    other.stop()
    local refused = program.shell(program.command { "serve", "--with",
      program.command { "ask", "--tool", add, "q" }, "--", arg[-1], "bin/lmm", "mock", "--no-tools" }
      .. " >$out 2>$err; echo $? >$status")
    assert.matches("start vLLM with %-%-enable%-auto%-tool%-choice", refused.err)
  end)
end)
