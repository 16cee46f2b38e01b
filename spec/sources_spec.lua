-- The C files: each calls only what is declared above it, in src/lmm.h, src/transport.h or src/prepare.h, so that no
-- two call each other; and the rockspec builds the same ones as the Makefile.
local process = require "spec.support.process"

local header = process.read "src/lmm.h" .. process.read "src/transport.h" .. process.read "src/prepare.h"

--- Function -> its part and the part's place, in the order of the header; part -> its place.
local function declared()
  local functions, places, part, place = {}, {}, nil, 0
  for line in header:gmatch "[^\n]+" do
    local name = line:match "^/%* %-%-%-%- ([%w ]+)"
    if name then part, place = name:match "^%w+", place + 1 end
    if name then places[part] = place end
    local fn = line:match "^[%w_][%w_ *]-(lmm_[%l%d_]+)%("
    if fn then functions[fn] = { part = part, place = place } end
  end
  return functions, places
end

describe("the C sources", function()
  it("call only what is declared above them", function()
    local functions, places = declared()
    assert.truthy(functions.lmm_multi_poll and functions.lmm_quirks_resend and functions.lmm_buf_add)
    local up = {}
    for part, place in pairs(places) do
      local text = (process.read("src/" .. part .. ".c") or ""):gsub("/%*.-%*/", "")
      for fn in text:gmatch "%f[%w_](lmm_[%l%d_]+)%(" do
        local known, is_own = functions[fn], fn:match "^lmm_(%l%w*)_" == part
        if known and not is_own and known.place > place then up[#up + 1] = part .. ".c calls " .. fn end
      end
    end
    assert.same({}, up)
  end)

  it("are the same in the rockspec and the Makefile, built with the same definitions", function()
    local make = process.read "Makefile"
    local rock = {}
    assert(load and (setfenv and setfenv(assert(loadstring(process.read "lmm-scm-1.rockspec")), rock) -- luacheck: ignore
      or load(process.read "lmm-scm-1.rockspec", "rockspec", "t", rock)))()
    local defines = {}
    for name in make:match "\nC_FLAGS%s*:=([^\n]*)":gmatch "%-D(%S+)" do defines[#defines + 1] = name end
    for list, module in pairs { CORE = "lmm.core", CURL = "lmm.curl", DIGEST = "lmm.digest", FILES = "lmm.files" } do
      local names = make:match("\n" .. list .. "%s*:=([^\n]*)")
      local sources = {}
      for name in names:gmatch "%S+" do sources[#sources + 1] = "src/" .. name .. ".c" end
      assert.same(sources, rock.build.modules[module].sources)
      assert.same(defines, rock.build.modules[module].defines)
    end
  end)
end)
