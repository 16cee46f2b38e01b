-- The door of the transports: which one a client gets, and what is loaded when.
local process = require "spec.support.process"
local transport = require "lmm.transport"

local function loaded(code)
  local said = process.shell(("%s -e '%s' 2>&1"):format(process.quote(arg[-1]), code
    .. [[ for name in pairs(package.loaded) do if name:find "^lmm" then io.write(name, "\n") end end]]))
  return function(name) return ("\n" .. said):find("\n" .. name .. "\n", 1, true) ~= nil end
end

describe("the transports", function()
  it("are loaded with the first client that needs one", function()
    local has = loaded [[local client = require("lmm").connect "http://127.0.0.1:1/v1" ]]
    assert.is_true(has "lmm.transport")
    assert.is_false(has "lmm.transport.curl" or has "lmm.curl" or has "lmm.transport.resty")
    has = loaded [[require("lmm").connect("http://127.0.0.1:1/v1"):get_transport() ]]
    assert.is_true(has "lmm.transport.curl" and has "lmm.curl")
    assert.is_false(has "lmm.transport.resty" or has "lmm.transport.http1")
  end)

  it("go by the name that the loop gives", function()
    local other = { new = function(loop, opts) return { loop, opts } end }
    local kept = package.loaded["lmm.transport.resty"]
    finally(function() package.loaded["lmm.transport.resty"] = kept end)
    package.loaded["lmm.transport.resty"] = other
    local loop, opts = { transport = "resty" }, {}
    assert.same({ loop, opts }, transport.new(loop, opts))
  end)
end)
