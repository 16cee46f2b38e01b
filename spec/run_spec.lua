-- The runner of the specs: what it says of spec files that pass, fail, crash, and end before their end.
local shell = require "spec.support.shell"

local interpreter = shell.quote(arg[-1])
local folder

--- Runs spec files with these texts; gives what is printed, with the folder's name taken out, and the status.
local function run(...)
  local names = {}
  for i, text in ipairs { ... } do names[i] = shell.write(("%s/%d_spec.lua"):format(folder, i), text) end
  local command = "unset LMM_TEST_WRAP LMM_TEST_VERBOSE LD_PRELOAD; %s spec/run.lua %s 2>&1; echo \"exit $?\""
  local said = shell.output(command:format(interpreter, table.concat(names, " ")))
  local text, status = said:gsub(folder:gsub("%p", "%%%0") .. "/", ""):match "^(.*)exit (%d+)\n$"
  return text, tonumber(status)
end

describe("the runner", function()
  setup(function() folder = shell.output "mktemp -d":match "^[^\n]+" end)

  teardown(function() os.execute("rm -rf " .. shell.quote(folder)) end)

  it("counts over all files", function()
    local text, status = run('it("a", function() end) it("b", function() end)',
      'describe("c", function() it("d", function() assert(true) end) end)')
    assert.same({ "1_spec.lua\n2_spec.lua\n3 passed, 0 failed\n", 0 }, { text, status })
  end)

  it("names what failed, where, and why; and runs the rest", function()
    local text, status = run [[
      describe("a", function()
        it("b", function() assert.equal(1, 2) end)
      end)
      it("c", function() end)]]
    assert.equal("1_spec.lua\n  FAILED: a b\n    1_spec.lua:2: Expected objects to be equal.\n    Passed in:\n"
      .. "    (number) 2\n    Expected:\n    (number) 1\n1 passed, 1 failed\n", text)
    assert.equal(1, status)
  end)

  it("tells what was skipped, and why", function()
    local text, status = run 'it("a", function() pending "no compiler" end) pending "b"'
    assert.equal("1_spec.lua\n  skipped: a: no compiler\n  skipped: b: pending\n0 passed, 0 failed, 2 skipped\n", text)
    assert.equal(0, status)
  end)

  for _, row in ipairs {
    { "an error", 'it("a", function() error "why" end)', "0 passed, 1", "FAILED: a\n    1_spec.lua:1: why\n" },
    { "an error object", 'it("a", function() error { code = 5 } end)', "0 passed, 1", "FAILED: a\n.*code = 5" },
    { "an error in a function that is called, with the way to it",
      'local function f()\nerror "why" end\nit("a", function()\nf() end)', "0 passed, 1",
      "1_spec.lua:2: why\n[^\n]*1_spec.lua:2: in [^\n]*\n[^\n]*1_spec.lua:4: in" },
    { "an error in setup", 'setup(function() error "why" end) it("a", function() end)', "0 passed, 1",
      "FAILED: setup\n    1_spec.lua:1: why\n" },
    { "an error in teardown", 'teardown(function() error "why" end) it("a", function() end)', "1 passed, 1",
      "FAILED: teardown\n    1_spec.lua:1: why\n" },
    { "an error in before_each", 'before_each(function() error "why" end) it("a", function() end)', "0 passed, 1",
      "FAILED: before_each\n    1_spec.lua:1: why\n" },
    { "an error beside the cases", 'describe("a", function() error "why" end) it("b", function() end)', "1 passed, 1",
      "FAILED: a\n    1_spec.lua:1: why\n" },
    { "a file that raises", 'it("a", function() end) error "why"', "0 passed, 1",
      "FAILED: 1_spec.lua\n    1_spec.lua:1: why\n" },
    { "a file that is no Lua", 'it("a" function() end)', "0 passed, 1",
      "FAILED: 1_spec.lua\n    1_spec.lua:1: '%)' expected" },
    { "a file without a case", "", "0 passed, 1", "FAILED: 1_spec.lua has no case\n" },
    { "an early end", 'it("a", function() os.exit(0) end)', "0 passed, 1",
      "FAILED: 1_spec.lua ended before its end, with status 0\n" },
    { "a crash", 'it("a", function() print "before" os.execute "kill -9 $PPID" os.execute "sleep 60" end)',
      "0 passed, 1", "before\n.*FAILED: 1_spec.lua ended before its end, with status 137\n" },
    { "a crash after the last case", [[it("a", function()
      local object = newproxy and newproxy(true) or setmetatable({}, { __gc = function() os.exit(3) end })
      getmetatable(object).__gc = function() os.exit(3) end
      package.loaded.kept = object
      debug.getregistry().kept = object end)]], "1 passed, 1", "FAILED: 1_spec.lua ended with status 3\n" },
  } do
    it("counts " .. row[1], function()
      local text, status = run(row[2], 'it("another", function() end)')
      assert.matches(row[4], text)
      local passed, failed = row[3]:match "(%d+) passed, (%d+)"
      assert.equal(("%d passed, %d failed"):format(passed + 1, failed), text:match "\n([^\n]*)\n$")
      assert.equal(1, status)
    end)
  end

  it("counts a file that is not there", function()
    local said = shell.output(interpreter .. " spec/run.lua spec/none_spec.lua 2>&1")
    assert.matches("FAILED: spec/none_spec.lua ended before its end, with status 1\n0 passed, 1 failed\n$", said)
  end)

  it("takes a leak that the wrapper finds for a failure", function()
    shell.write(folder .. "/1_spec.lua", 'it("a", function() end)')
    shell.write(folder .. "/wrap", '"$@"\nexit 99\n')
    local said = shell.output(("LMM_TEST_WRAP='sh %s/wrap' %s spec/run.lua %s/1_spec.lua 2>&1"):format(folder,
      interpreter, folder))
    assert.matches("FAILED: [^\n]*1_spec.lua ended with status 99\n1 passed, 1 failed\n$", said)
  end)
end)

describe("the specs' own assertions", function()
  --- The message of the failure.
  local function failure(...)
    local ok, raised = pcall(...)
    assert(not ok, "did not fail")
    return tostring(raised)
  end

  it("raises", function()
    assert.equal("lmm: x", assert.raises("^lmm", error, "lmm: x", 0))
    assert.same({ 5 }, assert.raises("table", error, { 5 }))
    assert.matches('run_spec.lua:%d+: did not raise; expected "x"', failure(function() assert.raises("x", type, 5) end))
    assert.matches('raised "b", expected "a"', failure(assert.raises, "a", error, "b", 0))
  end)

  it("refused", function()
    local err = { message = "HTTP 400" }
    assert.equal(err, assert.refused("400", nil, "HTTP 400", err))
    assert.matches('run_spec.lua:%d+: succeeded with 5, expected a failure "a"',
      failure(function() assert.refused("a", 5) end))
    assert.matches("no error object: nil", failure(assert.refused, "a", nil, "a"))
    assert.matches("no error object: table", failure(assert.refused, "a", nil, "a", { message = "b" }))
    assert.matches('failed with "HTTP 400", expected "500"', failure(assert.refused, "500", nil, "HTTP 400", err))
    assert.matches("a message of several lines", failure(assert.refused, "a", nil, "a\nb", { message = "a\nb" }))
  end)
end)
