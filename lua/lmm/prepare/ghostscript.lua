--- EPS drawings, by the program Ghostscript: a plan comes in; a job that draws it as PNG, in the size that is wanted,
--- goes out. An EPS is a program, and may be a stranger's.
local core = require "lmm.core"
local failures = require "lmm.prepare.failures"
local jobs = require "lmm.prepare.jobs"
local programs = require "lmm.prepare.programs"
local texts = require "lmm.text"

local ghostscript = {}

local DPI = 150                -- as pages are drawn
local MOST_PIXELS = 100000000  -- as lmm.vips decodes
local FARTHEST = 100000000     -- points from the origin that a BoundingBox may speak of
local LOOKED_AT = 65536        -- bytes at either end, where comments tell of the size

-- It reads the drawing from standard input and writes the picture to standard output, so that -dSAFER, which is sound
-- from 9.50 on, need allow no file but its own fonts. It would allow those in $TMPDIR, too, which is no folder here;
-- -dMaxBitmap has it need no temporary ones. It gets nothing of the environment, which may hold keys, and in
-- $GS_OPTIONS what undoes all this. With -dEPSCrop it would look for the size itself, and might find another than was
-- allowed: so the size is given, and the drawing put there as the EPSF specification says, by scale and translate, its
-- own showpage undone, and a quit behind it.
local SCRIPT = [[
command -v gs >/dev/null || exit 127
in_safety() { env -i PATH="$PATH" ${LD_LIBRARY_PATH:+LD_LIBRARY_PATH="$LD_LIBRARY_PATH"} TMPDIR=/dev/null gs "$@"; }
version=$(in_safety --version)
case $version in 9.[5-9]*|[1-9][0-9].*) ;; *) echo "$version" >&2; exit 3 ;; esac
tail -c +%d "$source" | head -c %d | in_safety -q -dSAFER -dNOPAUSE -dBATCH -dNOPLATFONTS -dNOEPS -dLastPage=1 \
  -dMaxBitmap=1000000000 -sDEVICE=png16m -dTextAlphaBits=4 -dGraphicsAlphaBits=4 -r72 -g%dx%d \
  -sstdout=%%stderr -sOutputFile=- \
  -c 'userdict begin /showpage {} def /quit {} def /setpagedevice {pop} def end' \
  -c '%d %d div %d %d div scale %d neg %d neg translate' \
  - -c 'systemdict /showpage get exec']]

--- What reads so many bytes of the source from an offset on.
local function reader(source)
  if source.bytes then return function(at, count) return source.bytes:sub(at + 1, at + count) end end
  return function(at, count)
    local file = io.open(source.path, "rb")
    local bytes = file and file:seek("set", at) and file:read(count)
    if file then file:close() end
    return bytes or ""
  end
end

--- Where the PostScript stands: all of the source, but in a DOS EPS, whose header tells of it and of a preview.
---@return integer? at, integer count  nil where it ends before that
local function find_program(read, size)
  local head = read(0, 12)
  if head:sub(1, 4) ~= "\197\208\211\198" then return 0, size end
  if #head < 12 then return nil, 12 end
  local function number(at)
    local a, b, c, d = head:byte(at, at + 3)
    return a + 256 * (b + 256 * (c + 256 * d))
  end
  local at, count = number(5), number(9)
  if at + count > size then return nil, at + count end
  return at, count
end

--- What the comments say of the size: the first, or, where that says `(atend)`, the last.
---@return string? box  what stands behind "%%BoundingBox:"
local function find_box(read, at, count)
  local box = ("\n" .. read(at, math.min(count, LOOKED_AT))):match "[\r\n]%%%%BoundingBox:([^\r\n]*)"
  if not box or not box:find "atend" then return box end
  local last = math.min(count, LOOKED_AT)
  return read(at + count - last, last):match "^.*[\r\n]%%%%BoundingBox:([^\r\n]*)"
end

--- Its edges, in whole points.
---@return integer? left, integer bottom, integer right, integer top
local function parse(box)
  local edges = { box:match "^%s*(%-?[%d.]+)%s+(%-?[%d.]+)%s+(%-?[%d.]+)%s+(%-?[%d.]+)" }
  for i = 1, 4 do
    local edge = tonumber(edges[i])
    if not edge or edge < -FARTHEST or edge > FARTHEST then return nil end
    edges[i] = i <= 2 and math.floor(edge) or math.ceil(edge)
  end
  local left, bottom, right, top = edges[1], edges[2], edges[3], edges[4]
  if right <= left or top <= bottom then return nil end
  return left, bottom, right, top
end

--- Begins to draw.
---@param plan lmm.Plan
---@return table? job, lmm.Error? err
function ghostscript.start(plan)
  local read, size = reader(plan.source), plan.made.size
  if size > programs.MOST then return nil, failures.of_picture(plan, { word = "long" }) end
  local at, count = find_program(read, size)
  if not at then
    return nil, failures.invalid("%s is cut short: its header tells of %d bytes, and %d are there", plan.name, count,
      size)
  end
  local box = find_box(read, at, count)
  if not box then
    return nil, failures.invalid("%s says nothing of its size: give it a comment %%%%BoundingBox: 0 0 WIDTH HEIGHT",
      plan.name)
  end
  local left, bottom, right, top = parse(box)
  if not left then
    return nil, failures.invalid("%s says nothing of its size: its %%%%BoundingBox is %s, and not left, bottom, right "
      .. "and top, four numbers", plan.name, texts.shown(box))
  end
  local wide, high = right - left, top - bottom
  local width, height = core.fit(math.ceil(wide * DPI / 72), math.ceil(high * DPI / 72), plan.options.max_side or 0,
    plan.options.max_pixels or 0)
  if width * height > MOST_PIXELS then
    return nil, failures.of_picture(plan, { word = "large", width = width, height = height, frames = 1 })
  end
  local script = SCRIPT:format(at + 1, count, width, height, width, wide, height, high, left, bottom)
  return jobs.new("Ghostscript", plan, script, function(job)
    local bytes = job:take("out", programs.MOST + 1) or ""
    if #bytes > programs.MOST then
      return nil, failures.too_much(plan, programs.MOST, "PNG", failures.lessen(plan))
    end
    local info = bytes ~= "" and core.media({ bytes = bytes }):info() or {}
    if info.mime ~= "image/png" or info.width ~= width or info.height ~= height or info.cut then
      return nil, failures.invalid("%s is no drawing: Ghostscript made no picture of it", plan.name)
    end
    return { bytes = bytes, width = width, height = height }
  end)
end

return ghostscript
