-- C modules and Lua files of two versions side by side: one sentence says so.
local program = require "spec.support.program"
local shell = require "spec.support.shell"
local version = require "lmm.version"

local SUM = 1986829650 -- of the contracts of interface 25

describe("the version", function()
  it("is the same in the Lua files and in the C modules", function()
    assert.equal(version.number, require("lmm").version)
    for _, name in ipairs { "lmm.core", "lmm.curl", "lmm.digest", "lmm.files", "lmm.tcp", "lmm.vips" } do
      assert.equal(("%s-%d"):format(version.number, version.interface), require(name).version)
      assert.equal(require(name), version.check(name))
    end
  end)

  for _, name in ipairs { "lmm.core", "lmm.curl", "lmm.files" } do
    for _, other in ipairs { '"0.0.9"', "nil" } do
      it(("of %s is told where it is %s"):format(name, other), function()
        local ended = program.run(([[
          local name = %q
          local module = require(name)
          module.version = %s
          print(select(2, pcall(function()
            local lmm = require "lmm"
            if name == "lmm.core" then return lmm.image "x" end
            local client = lmm.connect { base_url = "http://127.0.0.1:9/v1", model = "m" }
            if name == "lmm.files" then return client:conversation():save "/nowhere/x" end
            return client:models()
          end)))
        ]]):format(name, other))
        assert.same({ 0, "" }, { ended.status, ended.err })
        local own = ("%s-%d"):format(version.number, version.interface)
        assert.matches(("lmm: the C module %s is of version %s, but the Lua files are of version %s: build or install "
          .. "lmm again\n$"):format(name, other == "nil" and "0.0" or "0.0.9", own):gsub("[.-]", "%%%0"), ended.out)
      end)
    end
  end

  it("of older Lua files is told by the C module where they have a request written", function()
    assert.raises("lmm: the Lua files are older than the C module lmm.core, which is of version 0%.1%.0%-%d+: install",
      require("lmm.core").body, '{"a":"lmm-1;"}', "lmm-", {})
  end)

  --- A sum of the contracts of all bindings: the comments above them, which say what each takes and gives.
  local function sum_of_contracts()
    local sum = 0
    for file in shell.output "ls src/*.c":gmatch "%S+" do
      local text = shell.read(file)
      for comment, behind in text:gmatch "\n/%* (.-)%*/()" do
        local is_contract = comment:find "^[%w_:]+[({].*%->" and text:find("^\nstatic int", behind)
        for i = 1, is_contract and #comment or 0 do sum = (sum * 31 + comment:byte(i)) % 2147483647 end
      end
    end
    return sum
  end

  it("names the interface of the C modules, which has changed where this sum has", function()
    assert.same({ interface = 25, sum = SUM }, { interface = version.interface, sum = sum_of_contracts() },
      "raise LMM_INTERFACE in src/lmm.h and lua/lmm/version.lua, and write the new sum here")
  end)
end)
