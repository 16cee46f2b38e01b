-- C modules and Lua files of two versions side by side: one sentence says so.
local program = require "spec.support.program"
local version = require "lmm.version"

describe("the version", function()
  it("is the same in the Lua files and in both C modules", function()
    assert.equal(version.number, require("lmm").version)
    for _, name in ipairs { "lmm.core", "lmm.curl" } do
      assert.equal(version.number, require(name).version)
      assert.equal(require(name), version.check(name))
    end
  end)

  for _, name in ipairs { "lmm.core", "lmm.curl" } do
    for _, other in ipairs { '"0.0.9"', "nil" } do
      it(("of %s is told where it is %s"):format(name, other), function()
        local ended = program.run(([[
          local module = require %q
          module.version = %s
          print(select(2, pcall(require, "lmm.transport.curl")))
        ]]):format(name, other))
        assert.same({ 0, "" }, { ended.status, ended.err })
        assert.matches(("^[^\n]*lmm: the C module %s is of version %s, but the Lua files are of version %s: build or "
          .. "install lmm again\n$"):format(name, other == "nil" and "0.0" or "0%.0%.9", version.number), ended.out)
      end)
    end
  end
end)
