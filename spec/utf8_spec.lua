-- What may stand in a JSON text: well-formed UTF-8 (RFC 3629), and where the first byte is that does not belong to it.

local core = require "lmm.core"
local texts = require "lmm.text"

local char = string.char

local good = {
  "", "abc", "\0", "\127", "\194\128", "\223\191", "\224\160\128", "\236\191\191", "\237\128\128", "\237\159\191",
  "\238\128\128", "\239\191\191", "\240\144\128\128", "\243\191\191\191", "\244\128\128\128", "\244\143\191\191",
}

local bad = { -- and the length of what cannot be the beginning of anything
  { "a lone continuation", "\128" }, { "the last continuation", "\191" },
  { "overlong in 2", "\192\128" }, { "overlong in 2", "\193\191" },
  { "overlong in 3", "\224\128\128" }, { "overlong in 3", "\224\159\191" },
  { "overlong in 4", "\240\128\128\128" }, { "overlong in 4", "\240\143\191\191" },
  { "the first surrogate", "\237\160\128" }, { "the last surrogate", "\237\191\191" },
  { "beyond U+10FFFF", "\244\144\128\128" }, { "beyond U+10FFFF", "\245\128\128\128" },
  { "5 bytes", "\248\136\128\128\128" }, { "6 bytes", "\252\132\128\128\128\128" },
  { "FE", "\254" }, { "FF", "\255" },
  { "2 cut short", "\194" }, { "3 cut short", "\226\130" }, { "3 cut shorter", "\226" },
  { "4 cut short", "\240\159\152" }, { "4 cut shorter", "\240\159" }, { "4 cut shortest", "\240" },
  { "2 and a letter", "\194a" }, { "3 and a letter", "\226\130a" }, { "4 and a letter", "\240\159\152a" },
  { "a beginning in a character", "\226\194\128" },
}

describe("UTF-8:", function()
  it("well-formed", function()
    for _, text in ipairs(good) do
      assert.same({}, { core.utf8(text) }, ("%q"):format(text))
      assert.same({}, { core.utf8("a" .. text .. "\195\164" .. text) }, ("%q"):format(text))
    end
    assert.same({}, { core.utf8(table.concat(good):rep(1000)) })
  end)

  for _, row in ipairs(bad) do
    it(("not well-formed: %s %q"):format(row[1], row[2]), function()
      for _, before in ipairs { "", "a", "\195\164", ("x"):rep(1000), "\240\159\152\128" } do
        for _, after in ipairs { "", "a", "\195\164" } do
          assert.same({ #before + 1 }, { core.utf8(before .. row[2] .. after) })
        end
      end
    end)
  end

  --- Lua's own check, where it is as strict (5.4 and later: 5.3 lets surrogates pass).
  local function reference()
    local utf8 = rawget(_G, "utf8")
    if not utf8 or utf8.len "\237\160\128" then pending "no strict utf8.len in this Lua" end
    return function(text)
      local length, offset = utf8.len(text)
      return not length and offset or nil
    end
  end

  it("every pair of bytes", function()
    local check = reference()
    for a = 0, 255 do
      for b = 0, 255 do
        local text = char(a, b)
        if core.utf8(text) ~= check(text) then
          assert.equal(check(text), core.utf8(text), ("%02x %02x"):format(a, b))
        end
      end
    end
  end)

  it("every beginning of three and four bytes with borders behind it", function()
    local check = reference()
    local borders = { 0, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF }
    for a = 0xC0, 255 do
      for _, b in ipairs(borders) do
        for _, c in ipairs(borders) do
          for _, d in ipairs(borders) do
            local text = char(a, b, c, d)
            if core.utf8(text) ~= check(text) then
              assert.equal(check(text), core.utf8(text), ("%02x %02x %02x %02x"):format(a, b, c, d))
            end
          end
        end
      end
    end
  end)

  it("from a place on", function()
    assert.same({ 1, 3, 3 }, { core.utf8("\255a\255", 1), core.utf8("\255a\255", 2), core.utf8("\255a\255", 3) })
    assert.same({}, { core.utf8("\255a", 2) })
    assert.same({}, { core.utf8("\255a", 3) })
  end)

  it("made well-formed: U+FFFD for each broken character", function()
    local mark = "\239\191\189"
    for _, text in ipairs(good) do assert.equal(text, texts.utf8(text)) end
    for _, row in ipairs(bad) do
      local made = texts.utf8("a" .. row[2] .. "\195\164")
      assert.same({}, { core.utf8(made) })
      assert.matches("^a" .. mark .. ".*\195\164$", made)
    end
    assert.equal("a" .. mark .. "b" .. mark .. mark .. mark, texts.utf8 "a\226\130b\255\255\240\159")
    assert.equal(300000, #texts.utf8(("\255"):rep(100000)))
  end)

  it("misuse raises", function()
    assert.raises("string", core.utf8)
    assert.raises("string", core.utf8, {})
    for _, init in ipairs { 0, -1, 5 } do assert.raises("outside of the text", core.utf8, "abc", init) end
  end)
end)
