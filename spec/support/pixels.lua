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

  --- How far two pictures are from each other, on the average and at most, of 255.
  ---@return number average, number most
  function folder.difference(a, b)
    for i, picture in ipairs { a, b } do
      folder.vips("colourspace %s %s srgb", picture, "srgb.v")
      local has_alpha = folder.header(folder.path "srgb.v", "bands") == "4" -- which flatten does not ask
      folder.vips(has_alpha and "flatten %s %s" or "copy %s %s", "srgb.v", i == 1 and "a.v" or "b.v")
    end
    folder.vips("subtract %s %s %s", "a.v", "b.v", "c.v")
    folder.vips("abs %s %s", "c.v", "d.v")
    local function number(operation)
      return tonumber(shell.output((pixels.BARE .. "vips %s %s"):format(operation, shell.quote(folder.path "d.v"))))
    end
    return number "avg", number "max"
  end

  --- What vipsheader says of a field; of an enumeration the last word, in small letters.
  function folder.header(path, field)
    local said = shell.output((pixels.BARE .. "vipsheader -f %s %s 2>&1"):format(field,
      shell.quote(path))):gsub("%s+$", "")
    return said:match "^%(%(Vips%w+%) VIPS_[A-Z]+_(%w+)%)$" and said:match "_(%w+)%)$":lower() or said
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
