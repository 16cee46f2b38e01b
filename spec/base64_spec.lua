-- core.base64: every kernel against a plain encoder at every length, and the strictness of the decoder.

local core = require "lmm.core"
local shell = require "spec.support.shell"

local base64 = core.base64
local longest = 4096
local kernels, default = base64.kernels()

-- All 256 values, then the minimal standard generator of Park and Miller, whose products are exact in a double.
local function make_bytes(count)
  local bytes, state = {}, 1
  for i = 1, count do
    state = state * 16807 % 2147483647
    bytes[i] = string.char(i <= 256 and (i * 157) % 256 or math.floor(state / 65536) % 256)
  end
  return table.concat(bytes)
end

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function digit(value)
  return alphabet:sub(value + 1, value + 1)
end

-- The reference: RFC 4648, section 4, group by group, in arithmetic that all versions of Lua share.
local function encode_group(a, b, c)
  local bits = a * 65536 + (b or 0) * 256 + (c or 0)
  local third, fourth = math.floor(bits / 64) % 64, bits % 64
  return digit(math.floor(bits / 262144)) .. digit(math.floor(bits / 4096) % 64) ..
    (b and digit(third) or "=") .. (c and digit(fourth) or "=")
end

local function encode(bytes)
  local groups = {}
  for i = 1, #bytes, 3 do groups[#groups + 1] = encode_group(bytes:byte(i, i + 2)) end
  return table.concat(groups)
end

-- Calls fn(bytes, encoded) for every length. The whole groups of a shorter text are a prefix of the longer text's, so
-- only its last group needs the reference.
local function each_length(bytes, fn)
  local whole = encode(bytes)
  for length = 0, #bytes do
    local rest = length % 3
    local encoded = whole:sub(1, (length - rest) / 3 * 4)
    if rest > 0 then encoded = encoded .. encode_group(bytes:byte(length - rest + 1, length)) end
    fn(bytes:sub(1, length), encoded)
  end
end

local vectors = { -- RFC 4648, section 10
  { "", "" },
  { "f", "Zg==" },
  { "fo", "Zm8=" },
  { "foo", "Zm9v" },
  { "foob", "Zm9vYg==" },
  { "fooba", "Zm9vYmE=" },
  { "foobar", "Zm9vYmFy" },
}

describe("base64", function()
  it("the vectors of RFC 4648", function()
    for _, vector in ipairs(vectors) do
      assert.same(vector[2], encode(vector[1]), "the reference")
      assert.same(vector[2], base64.encode(vector[1]))
      assert.same(vector[1], base64.decode(vector[2]))
      for _, kernel in ipairs(kernels) do assert.same(vector[2], base64.encode(vector[1], kernel), kernel) end
    end
  end)

  it("kernels are named, best first, and libb64 is always there", function()
    local rank = { avx512 = 1, avx2 = 2, ssse3 = 3, libb64 = 4 }
    for i, kernel in ipairs(kernels) do
      assert(rank[kernel], kernel)
      assert(i == 1 or rank[kernels[i - 1]] < rank[kernel], "out of order: " .. kernel)
    end
    assert.equal("libb64", kernels[#kernels])
    assert(rank[default], "no default")
  end)

  for _, kernel in ipairs(kernels) do
    it(kernel .. " at every length", function()
      each_length(make_bytes(longest), function(bytes, encoded)
        -- Not assert.equal: a message with both texts would help nobody.
        if base64.encode(bytes, kernel) ~= encoded then error("wrong at length " .. #bytes) end
      end)
    end)

    it(kernel .. " with each value of a byte at each place of its step", function()
      for value = 0, 255 do
        local bytes = string.char(value, 255 - value, value):rep(34) .. string.char(value)
        for skip = 0, 2 do
          local part = bytes:sub(1 + skip)
          if base64.encode(part, kernel) ~= encode(part) then error("wrong with the byte " .. value) end
        end
      end
    end)
  end

  it("kernels agree wherever the text begins", function()
    local bytes = make_bytes(longest)
    for skip = 0, 100 do
      local part = bytes:sub(1 + skip, -1 - skip % 7)
      local expected = base64.encode(part, "libb64")
      for _, kernel in ipairs(kernels) do
        if base64.encode(part, kernel) ~= expected then error(kernel .. " differs after " .. skip .. " bytes") end
      end
    end
  end)

  it("no line breaks, whatever the length", function()
    for _, kernel in ipairs(kernels) do
      local encoded = base64.encode(("x"):rep(100000), kernel)
      assert.equal(133336, #encoded)
      assert(not encoded:find "[^%w+/=]", kernel)
    end
  end)

  it("decode gives back what was encoded, and any character less is too short", function()
    each_length(make_bytes(longest), function(bytes, encoded)
      if base64.decode(encoded) ~= bytes then error("wrong at length " .. #bytes) end
      if #encoded > 0 then
        local cut = encoded:sub(1, -2)
        local decoded, offset = base64.decode(cut)
        if decoded ~= nil or offset ~= #cut then error("a cut text was taken at length " .. #bytes) end
      end
    end)
  end)

  local refused = { -- text, offset of the first bad byte; the text's length where it is too short
    { "Z", 1 },
    { "Zg", 2 },
    { "Zm8", 3 },
    { "Zg=", 3 },
    { "Zm9vYg", 6 },
    { "=", 0 },
    { "====", 0 },
    { "Z===", 1 },
    { "Zg=v", 3 },
    { "Zg==Zm9v", 4 },
    { "Zm8=Zm9v", 4 },
    { "Zm9v=", 4 },
    { "Zm9v====", 4 },
    { "Zg===", 4 },
    { "Zh==", 1 },
    { "Zm9=", 2 },
    { "Zm9vZv==", 5 },
    { " Zm9v", 0 },
    { "Zm9v ", 4 },
    { "Zm 9v", 2 },
    { "Zm9v\n", 4 },
    { "Zm9v\nYmFy", 4 },
    { "Zm9vY\r\nmFy", 5 },
    { "Zg==\n", 4 },
    { "Zm8-", 3 },
    { "Zm_v", 2 },
    { "Zm9v\0", 4 },
    { "Zm\0009v", 2 },
    { "Zm9\255", 3 },
    { "Zm9vYmFyZm9vYmFyZm9v@mFy", 20 },
  }

  it("what is not strictly base64 is refused, with the place", function()
    for _, case in ipairs(refused) do
      local decoded, offset = base64.decode(case[1])
      assert.same({ offset = case[2] }, { decoded = decoded, offset = offset }, string.format("%q", case[1]))
    end
  end)

  it("every byte outside the alphabet is refused at every place of a group", function()
    for value = 0, 255 do
      local char = string.char(value)
      for place = 0, 3 do
        local decoded, offset = base64.decode("Zm9v" .. ("AAAA"):sub(1, place) .. char .. ("AAAA"):sub(place + 2))
        if alphabet:find(char, 1, true) or (char == "=" and place == 3) then
          assert(decoded, value)
        else
          -- '=' in the third place is no error before the fourth turns out to be none.
          assert.same(4 + place + (char == "=" and place == 2 and 1 or 0), offset, value)
        end
      end
    end
  end)

  it("misuse raises", function()
    assert.raises("no base64 kernel 'mmx' here; there are: .*libb64", base64.encode, "x", "mmx")
    assert.raises("no base64 kernel ''", base64.encode, "x", "")
    assert.raises("string expected", base64.encode, "x", {})
    assert.raises("string expected", base64.encode)
    assert.raises("string expected", base64.decode, {})
  end)

  -- What a new process prints, or fails with, when $LMM_BASE64 is `value`: the kernel in use and the fastest.
  local function with_environment(value)
    local code = [[local names, default = require "lmm.core".base64.kernels() print(default, names[1])]]
    return shell.output(string.format("LMM_BASE64='%s' '%s' -e '%s' 2>&1", value, arg[-1], code))
  end

  it("$LMM_BASE64 names the default kernel", function()
    for _, kernel in ipairs(kernels) do assert.matches("^" .. kernel .. "\t", with_environment(kernel)) end
    assert.matches("^(%w+)\t%1\n$", with_environment "")
  end)

  it("an unknown $LMM_BASE64 is an error, not ignored", function()
    assert.matches("lmm: $LMM_BASE64: no base64 kernel 'mmx' here; there are: .*libb64", with_environment "mmx")
  end)
end)
