-- The search for the row that a run's own server dies of.
local suspects = require "lmm.bulk.suspects"

local DEATH = { message = "killed" }

describe("a suspect", function()
  it("is a row that ran at two deaths, each of which counts once", function()
    local search, row = suspects.new(), {}
    assert.is_false(suspects.is(nil))
    for _, case in ipairs { { true, false }, { false, false }, { true, true } } do
      if case[1] then search:start() end
      search:begin(row)
      search:lose(row)
      assert.equal(case[2], suspects.is(row))
    end
  end)

  it("tells nothing in a life in which a row was lost, whatever is heard of an earlier one later", function()
    local search, early, late, suspect = suspects.new(), {}, {}, { deaths = 2 }
    for _, row in ipairs { early, late } do
      search:start()
      search:begin(row)
    end
    search:lose(late)
    search:lose(early)
    search:begin(suspect)
    assert.is_nil(search.alone)
    search:start()
    search:begin(suspect)
    assert.equal(suspect, search.alone)
    search:begin {}
    assert.is_nil(search.alone)
  end)

  --- A search while a suspect runs alone.
  local function searching()
    local search, suspect = suspects.new(), { deaths = 2 }
    search:start()
    return search, suspect
  end

  it("is to blame where the server answers others", function()
    local search, suspect = searching()
    search:begin(suspect)
    assert.is_false(search:blame(false, DEATH))
    search:answer()
    assert.is_false(search:blame(true, DEATH)) -- none runs
    search:begin(suspect)
    assert.is_true(search:blame(false, DEATH))
    assert.same({ "connect", "the server died each time that this row ran, the last time alone: killed" },
      { suspect.blame.kind, suspect.blame.message })
    search:begin { deaths = 2 }
    assert.is_false(search:blame(false, DEATH)) -- until it answers again
  end)

  it("is to blame where nothing else is left", function()
    local search, suspect = searching()
    search:begin(suspect)
    assert.is_true(search:blame(true, DEATH))
  end)
end)
