-- The search for the row that a run's own server dies of.
local suspects = require "lmm.bulk.suspects"

local DEATH = { message = "killed" }

describe("a suspect", function()
  it("is a row that ran at two deaths, each of which counts once", function()
    local search, row = suspects.new(), {}
    assert.is_false(suspects.is(nil))
    for _, case in ipairs { { 1, false }, { 1, false }, { 2, true } } do
      search:lose(row, case[1])
      assert.equal(case[2], suspects.is(row))
    end
  end)

  it("tells nothing in a life in which a row was lost, whatever is heard of an earlier one later", function()
    local search = suspects.new()
    search:lose({}, 2)
    search:lose({}, 1)
    assert.same({ false, true }, { search:can_tell(2), search:can_tell(3) })
  end)

  it("is to blame where the server answers others", function()
    local search = suspects.new()
    assert.is_nil(search:blame(false, DEATH))
    search:answer()
    local err = search:blame(false, DEATH)
    assert.same({ "connect", "the server died each time that this row ran, the last time alone: killed" },
      { err.kind, err.message })
    assert.is_nil(search:blame(false, DEATH)) -- until it answers again
  end)

  it("is to blame where nothing else is left", function()
    assert.truthy(suspects.new():blame(true, DEATH))
  end)
end)
