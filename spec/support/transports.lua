--- Cases for each transport of plain Lua: libcurl's, and that over plain TCP, for servers whose address is known.
--
--     transports.describe("a request that is sent again", function(transport) it("...", function() ... end) end)
local busted = require "busted"
local loops = require "lmm.loop"

local transports = {}

--- Has clients that are made from here on use this one.
function transports.use(name)
  loops.current().transport = name ~= "curl" and name or nil
end

function transports.describe(what, cases)
  for _, name in ipairs { "curl", "tcp" } do
    busted.describe(("%s, by %s:"):format(what, name), function()
      busted.setup(function() transports.use(name) end)
      busted.teardown(function() transports.use "curl" end)
      cases(name)
    end)
  end
end

return transports
