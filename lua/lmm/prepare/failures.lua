--- Why media could not be prepared: what lmm.vips and ffmpeg say of it comes in; an error with one sentence goes out.
local errors = require "lmm.errors"
local texts = require "lmm.text"
local types = require "lmm.types"

local failures = {}

local function invalid(format, ...)
  return errors.new { kind = "invalid", message = format:format(...) }
end

--- The packages with what decodes a type, by Debian's names.
local packages = {
  ["image/heic"] = "libheif1 and libde265-0, from Debian 13 on libheif-plugin-libde265",
  ["image/heif"] = "libheif1 and libde265-0, from Debian 13 on libheif-plugin-libde265",
  ["image/avif"] = "libheif1 and libdav1d6, from Debian 13 on libheif-plugin-dav1d",
  ["image/jxl"] = "a libvips with JPEG XL, as libvips42",
  ["image/svg+xml"] = "a libvips with librsvg, as libvips42",
  ["application/pdf"] = "a libvips with poppler, as libvips42",
}

--- lmm.vips is not there, or cannot be loaded.
function failures.no_vips(plan, problem)
  local is_missing = tostring(problem):find("module 'lmm.vips' not found", 1, true)
  if is_missing then
    return invalid("%s cannot be prepared: this lmm was built without libvips (on Debian: apt install libvips-dev, "
      .. "then make install again; with LuaRocks: luarocks make src/lmm-vips-scm-1.rockspec)", plan.name)
  end
  return invalid("%s cannot be prepared: lmm.vips cannot be loaded: %s", plan.name, texts.line(tostring(problem)))
end

--- libvips, which is loaded with the first picture, is not there or cannot be used.
local function no_libvips(plan, failure)
  return invalid("%s cannot be prepared: libvips cannot be loaded (on Debian: apt install libvips42): %s", plan.name,
    texts.line(failure.detail))
end

--- A number with commas, as 60,000.
local function counted(number)
  local text = ("%d"):format(number)
  repeat
    local count
    text, count = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
  until count == 0
  return text
end

local function damaged(plan, failure)
  if plan.from == "image/svg+xml" and failure.detail == "bad dimensions" then
    return invalid("%s says nothing of its size: give it a width and a height, or a viewBox", plan.name)
  end
  if plan.page and failure.detail == "pages out of range" then return invalid("%s has no pages", plan.name) end
  local why = failure.detail ~= "" and " (libvips says: " .. texts.line(failure.detail) .. ")" or ""
  return invalid("%s is damaged or cut short, and cannot be prepared%s%s", plan.name,
    plan.page and "" or ": check = false takes what there is of it", why)
end

local function no_decoder(plan, failure)
  local found = plan.made.mime -- which need not be what the caller, or a data: URL, says
  if plan.is_decoded and not found then
    return invalid("%s is said to be %s, but its bytes are of no known type, and cannot be prepared", plan.name,
      plan.from)
  end
  found = found or plan.from
  local what, needs_magick = types.describe(found), failure.detail:find "^VipsForeignLoadMagick"
  if needs_magick and plan.is_decoded and found == plan.from then -- it is not what it begins like
    return damaged(plan, { detail = "" })
  elseif needs_magick then
    return invalid("%s is %s, which libvips reads by ImageMagick only, and that is not used on pictures that may come "
      .. "from anywhere: convert it to PNG first", plan.name, what)
  end
  local package = packages[found]
  return invalid("%s is %s, and there is no decoder for it: %s", plan.name, what,
    package and "install " .. package or "convert it to PNG or JPEG first")
end

--- The most pixels of what is drawn in the size that is wanted.
local drawn = { ["image/svg+xml"] = "25 million", ["image/x-eps"] = "100 million" }

--- How there is less to do.
local function lessen(plan)
  if plan.page then return "draw it with a smaller dpi" end
  return drawn[plan.from] and "pass a smaller max_side" or "shrink it first"
end

local says = {
  memory = function(plan)
    return invalid("there was not enough memory to prepare %s", plan.name)
  end,
  unreadable = function(plan, failure)
    return invalid("cannot read %s: %s", plan.name, failure.detail)
  end,
  long = function(plan)
    return invalid("%s has more than the 256 MiB that are prepared: shrink it first%s", plan.name,
      drawn[plan.from] and "" or ", or send it without options")
  end,
  decoder = no_decoder,
  large = function(plan, failure)
    if drawn[plan.from] then
      local says = ("and no more than %s are drawn: %s"):format(drawn[plan.from], lessen(plan))
      if failure.detail == "scale" then
        says = "and is drawn no smaller than a thousandth: pass a larger max_side, or write a smaller size into it"
      end
      return invalid("%s has %s x %s pixels, %s", plan.name, counted(failure.width), counted(failure.height), says)
    end
    local frames = failure.frames > 1 and not plan.page
    return invalid("%s has %s x %s pixels%s, and no more than 100 million are decoded: %s", plan.name,
      counted(failure.width), counted(failure.height),
      frames and (" in each of its %s frames"):format(counted(failure.frames)) or "", lessen(plan))
  end,
  damaged = damaged,
  password = function(plan)
    if plan.options.password then return invalid("the password for %s is wrong", plan.name) end
    return invalid("%s has a password: pass { password = \"...\" }", plan.name)
  end,
  page = function(plan, failure)
    return invalid("%s has %s page%s, and no page %d", plan.name, counted(failure.frames),
      failure.frames == 1 and "" or "s", plan.page)
  end,
  slow = function(plan, failure)
    return invalid("%s took more than %d seconds to prepare, and was given up: %s", plan.name, failure.limit,
      lessen(plan))
  end,
  library = no_libvips,
  forked = function(plan)
    return invalid("%s was being prepared when this process was forked, and cannot be in the child: make the part anew "
      .. "in a process that has not used libvips", plan.name)
  end,
  cancelled = function(plan)
    return errors.new { kind = "cancelled", message = "the preparation of " .. plan.name .. " was cancelled" }
  end,
}

--- What lmm.vips says of a picture or a page.
---@param plan lmm.Plan
---@param failure { word: string, detail: string, width: integer, height: integer, frames: integer,
---  limit: number }  limit: of seconds
---@return lmm.Error
function failures.of_picture(plan, failure)
  return says[failure.word](plan, failure)
end

--- What ffmpeg says of what it found in the file, or of what it was not given.
local function of_ffmpeg(plan, status, text, limits)
  if status == 3 or text:find "Stream map '0:[av]:0' matches no streams" then
    return invalid("%s has no %s", plan.name, plan.options.frames and "pictures" or "sound")
  end
  local width, height = text:match "Picture size (%d+)x(%d+) exceeds specified max pixel count"
  if width then
    return invalid("%s has pictures of %s x %s pixels, and no more than 100 million are decoded: shrink it first",
      plan.name, counted(width), counted(height))
  elseif text:find "Cannot allocate memory" or text:find "alloc of size" or text:find "thread_encoder_init failed" then
    return invalid("ffmpeg needs more than the %d MiB of memory that it may have for %s: shrink it first",
      limits.memory / 2 ^ 20, plan.name)
  end
  local last = text:match "([^\n]+)%s*$" or "it does not say why"
  return invalid("ffmpeg cannot read %s: %s", plan.name, texts.line((last:gsub("^file:.-: ", ""))))
end

--- What Ghostscript says of a drawing, which may well be written by the drawing itself.
local function of_ghostscript(plan, status, text, limits)
  local version = status == 3 and text:match "^%s*(%d+%.[%d.]+)%s*$"
  if version then
    return invalid("%s cannot be prepared: Ghostscript is of version %s, and keeps drawings from files only from 9.50 "
      .. "on: install a newer one", plan.name, version)
  elseif status == 3 then
    return invalid("%s cannot be prepared: the program Ghostscript, gs, does not run here, it told %s in place of its "
      .. "version", plan.name, texts.shown(text))
  elseif status == 153 then -- by SIGXFSZ
    return failures.too_much(plan, limits.most, "output", "convert it to PNG first")
  end
  local problem, where = text:match "Error: /(%w+) in ([^\n]*)"
  if problem == "invalidfileaccess" or where == "--deletefile--" or where == "--renamefile--" then
    return invalid("%s wants to use a file or to run a program, which a drawing may not: convert it to PNG first, if "
      .. "you trust it", plan.name)
  elseif problem == "VMerror" then
    return invalid("Ghostscript needs more than the %d MiB of memory that it may have for %s: convert it to PNG first",
      limits.memory / 2 ^ 20, plan.name)
  end
  local at = problem and where:find "^[%w-]+$" and " in " .. where:sub(1, 60) or ""
  return invalid("%s is damaged or cut short, and cannot be drawn%s", plan.name,
    problem and (" (Ghostscript says: %s%s)"):format(problem, at) or "")
end

--- What is said where a program has made more bytes than are taken of it.
---@param what string    that it has made
---@param advice string
function failures.too_much(plan, most, what, advice)
  local told = most < 2 ^ 20 and ("%d bytes"):format(most) or ("%d MiB"):format(math.floor(most / 2 ^ 20))
  return invalid("%s makes more than the %s of %s that are sent: %s", plan.name, told, what, advice)
end

--- What is said of each program where it is missing, how there is less for it to do, and what its words mean.
local programs = {
  ffmpeg = {
    missing = "the programs ffmpeg and ffprobe are not installed (on Debian: apt install ffmpeg)",
    lessen = "cut it first",
    explain = of_ffmpeg,
  },
  Ghostscript = {
    missing = "the program Ghostscript, gs, is not installed (on Debian: apt install ghostscript)",
    lessen = "pass a smaller max_side, or convert it to PNG first",
    explain = of_ghostscript,
  },
}

--- What a script around a program says: its status, and what was written to standard error.
---@param program string
---@param plan lmm.Plan
---@param status integer
---@param text string
---@param limits { seconds: number, memory: number, most: number, is_late: boolean }  memory, and most of what it makes:
--- in bytes; is_late: its time is up
---@return lmm.Error
function failures.of_program(program, plan, status, text, limits)
  local words = programs[program]
  if status == 127 then
    return invalid("%s cannot be prepared: %s", plan.name, words.missing)
  elseif status == 137 and not limits.is_late then
    return invalid("%s was killed from outside while it read %s, as where memory runs out", program, plan.name)
  elseif status == 137 then
    return invalid("%s took more than %d seconds with %s, and was ended: %s", program, limits.seconds, plan.name,
      words.lessen)
  end
  return words.explain(plan, status, text, limits)
end

failures.invalid, failures.lessen = invalid, lessen

return failures
