--- Pictures made, looked at and compared by the command vips, and prepared by lmm, in a folder of their own.
--
-- In:  vips' operations; paths or bytes; parts.
-- Out: paths; numbers that vips computes; what lmm says of a part that it cannot prepare.

local assert = require "luassert"
local core = require "lmm.core"
local prepare = require "lmm.prepare"
local shell = require "spec.support.shell"

local pixels = {}

--- Begins the shell's command for a program that is not looked at by what looks at the specs ($LMM_TEST_WRAP).
pixels.BARE = "env -u LD_PRELOAD "

--- Has lmm run its programs so, too.
function pixels.run_bare()
  local run = core.shell
  function core.shell(command) return run("unset LD_PRELOAD\n" .. command) end
end

--- The check sum of a PNG's chunk, of its name and data.
function pixels.crc32(text)
  local name = os.tmpname()
  shell.write(name, text)
  local gz = shell.output("gzip -c " .. name)
  os.remove(name)
  local a, b, c, d = gz:byte(-8, -5) -- which gzip keeps, lowest byte first
  return ((d * 256 + c) * 256 + b) * 256 + a
end

--- A folder for one spec; `folder.path(name)`, `folder.remove()`.
function pixels.folder()
  local base = shell.output "mktemp -d":gsub("%s+$", "")
  local folder = { base = base }

  function folder.path(name) return base .. "/" .. name end

  function folder.remove() shell.run("rm -rf %s", base) end

  --- Runs one of vips' operations, the words in %s being paths in the folder: folder.vips("invert %s %s", "a", "b").
  function folder.vips(words, ...)
    local paths = {}
    for i, name in ipairs { ... } do paths[i] = shell.quote(name:find "^/" and name or folder.path(name)) end
    shell.run(pixels.BARE .. "vips " .. words .. "", (table.unpack or unpack)(paths)) -- luacheck: ignore
    return paths[#paths]:sub(2, -2):gsub("%[.*$", "")
  end

  --- A photo that is all there: a smooth picture in colours, 240 x 160, whose four corners differ.
  function folder.photo(name)
    folder.vips("xyz %s 240 160", "xyz.v")
    folder.vips("linear %s %s '1 1.5' 0", "xyz.v", "grey2.v")
    folder.vips("extract_band %s %s 0", "grey2.v", "x.v")
    folder.vips("bandjoin_const %s %s 60", "grey2.v", "rgb.v")
    folder.vips("cast %s %s uchar", "rgb.v", "rgb8.v")
    return folder.vips("copy %s %s --interpretation srgb", "rgb8.v", name)
  end

  --- What `fn` makes of a picture, which is computed once for the same bytes: a start of vips takes long.
  local function once(fn)
    local known = {}
    return function(picture)
      local name = picture:find "^/" and picture or folder.path(picture)
      local bytes = assert(shell.read(name))
      if known[bytes] == nil then known[bytes] = fn(name) end
      return known[bytes]
    end
  end

  --- The pixels of a picture as vips decodes it, three bytes for each, on black where it has alpha.
  local decoded = once(function(name)
    local bytes = shell.read(folder.vips("colourspace %s %s srgb", name, "srgb.v"))
    local function number(at)
      local a, b, c, d = bytes:byte(at + 1, at + 4)
      return a + 256 * (b + 256 * (c + 256 * d))
    end
    local width, height, bands = number(4), number(8), number(12)
    assert(number(20) == 0 and (bands == 3 or bands == 4), "not in 8 bit")
    local data = bytes:sub(65, 64 + width * height * bands) -- behind the header
    if bands == 4 then
      data = data:gsub("(.)(.)(.)(.)", function(...)
        local r, g, b, alpha = (...):byte(), select(2, ...):byte(), select(3, ...):byte(), select(4, ...):byte()
        return string.char(math.floor(r * alpha / 255), math.floor(g * alpha / 255), math.floor(b * alpha / 255))
      end)
    end
    return { width = width, height = height, data = data }
  end)

  --- How far two pictures of the same size are from each other, on the average and at most, of 255.
  ---@return number average, number most
  function folder.difference(a, b)
    a, b = decoded(a), decoded(b)
    assert(a.width == b.width and a.height == b.height, "they differ in size")
    if a.data == b.data then return 0, 0 end
    local sum, most = 0, 0
    for at = 1, #a.data, 100 do
      local left, right = { a.data:byte(at, at + 99) }, { b.data:byte(at, at + 99) }
      for i = 1, #left do
        local distance = math.abs(left[i] - right[i])
        sum = sum + distance
        if distance > most then most = distance end
      end
    end
    return sum / #a.data, most
  end

  local headed = once(function(name) return shell.output(pixels.BARE .. "vipsheader -a " .. shell.quote(name)) end)

  --- What vipsheader says of a field, or nil where the picture has none.
  ---@return string?
  function folder.header(path, field)
    return headed(path):match("\n" .. field:gsub("%-", "%%-") .. ": ([^\n]*)")
  end

  --- Whether one of vipsheader's lines begins so.
  function folder.says(path, words)
    return headed(path):find("\n" .. words, 1, true) ~= nil
  end

  --- What is sent of a part, as a file; or nil and what is wrong with it.
  ---@param name string?  of the file: else "sent.png" and so on
  ---@return string? path, string? message
  function folder.prepared(part, name)
    if not part.err then
      local ok, err = prepare.all({ part }, function() core.sleep(0.002) end)
      assert.equal(err, part.err)
      if ok then
        local bytes = core.concat({ part.media }):read(2 ^ 24)
        assert.equal(part.size, #bytes)
        return shell.write(folder.path(name or "sent." .. part.mime:match "%w+$"), bytes)
      end
    end
    assert.equal("invalid", part.err.kind)
    return nil, part.err.message
  end

  --- What is wrong with a part that cannot be prepared.
  function folder.message_of(part)
    local sent, message = folder.prepared(part)
    assert(not sent, "it was prepared")
    return message
  end

  return folder
end

return pixels
