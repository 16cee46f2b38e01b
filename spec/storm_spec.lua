-- A short storm: some hundred exchanges with a server that breaks its replies in every way (`make storm` runs a long
-- one). Nothing may be wrong, hang or be left behind.
local storm = require "spec.storm.run"
local transports = require "spec.support.transports"

local wrapped = (os.getenv "LMM_TEST_WRAP" or "") ~= "" -- under valgrind everything takes its time

transports.describe("a short storm", function()
  it("leaves nothing wrong, hanging or behind", function()
    local said = {}
    local counts = storm.run {
      seed = 4, count = wrapped and 100 or 300, slowness = wrapped and 10 or 3,
      out = function(line) said[#said + 1] = line end,
    }
    for name, count in pairs(counts) do assert.equal(0, count, name .. "\n" .. table.concat(said, "\n") .. "\n") end
  end)
end)
