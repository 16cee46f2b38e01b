--- Media made into what a server takes: a part and what is to be done with its bytes come in; the part with other bytes
--- goes out, once, when it is first sent.
--
-- A part whose media are to be prepared has a plan, which says from what and how. Nothing is done, and neither libvips
-- nor a program looked for, before it is sent. The work runs beside this thread, as a job; whoever sends the part waits
-- in the loop. A job has one method: result(), which gives false while it runs, then what came of it
-- ({ bytes =, width =, height = }), or nil and an error.
local core = require "lmm.core"
local errors = require "lmm.errors"
local slip_of = require("lmm.options").slip_of

local prepare = {}

---@class lmm.Plan
---@field source { path: string?, bytes: string? }
---@field name string       what the source is called in messages
---@field from string       its type
---@field made table        what media:info() said of it when the part was made
---@field start fun(plan: lmm.Plan): table?, lmm.Error?  makes the job
---@field options table     what was asked for
---@field take nil|fun(part: lmm.Part, result: table)  makes the part of what the job gave, where that is not its bytes
---@field format string?    what becomes of a picture, without "image/"
---@field page integer?     of a PDF
---@field is_decoded boolean?  libvips, or Ghostscript, decodes pictures of this type
---@field lenient boolean?  what is cut short is taken as far as it goes
---@field job table?        while it runs
---@field is_done boolean?

--- What prepares the parts of a kind, loaded with the first of them: an ask of text alone needs none.
local load = {
  image = function() return require "lmm.prepare.pictures" end,
  video = function() return require "lmm.prepare.ffmpeg".film end,
  audio = function() return require "lmm.prepare.ffmpeg".sound end,
}
local kinds = setmetatable({}, { __index = function(self, kind)
  local found = load[kind] and load[kind]()
  self[kind] = found
  return found
end })

--- Takes out of a part's options what is ours; nil where there is nothing to be done.
---@param kind string
---@param options table
---@param where string?  what they were given to, for messages
---@return table? wanted
function prepare.take_options(kind, options, where)
  local rows, wanted = kinds[kind] and kinds[kind].rows or {}, nil
  where = where or "lmm." .. kind
  for name, check in pairs(rows) do
    if options[name] ~= nil then
      local problem = check(options[name])
      if problem then errors.misuse("%s: %s is %s", where, name, problem) end
      wanted = wanted or {}
      wanted[name], options[name] = options[name], nil
    end
  end
  if wanted and kinds[kind].check then kinds[kind].check(wanted, where, options) end
  return wanted
end

--- What servers call nearly as we call something else: the number of a film's frames, as Qwen's models have it.
local OF_SERVERS = { nframes = true }

--- Refuses an option that is one of ours misspelt: it would go to the server, which passes over it without a word.
---@param where string  what they were given to, for messages
---@param kind string   of part, whose preparation they say
---@param given any
---@param more table<string, true>  the names of those that are ours beside
function prepare.check_names(where, kind, given, more)
  if type(given) ~= "table" or next(given) == nil then return end
  local rows = kinds[kind] and kinds[kind].rows or {}
  for name in pairs(given) do
    if type(name) == "string" and not (rows[name] or more[name] or OF_SERVERS[name]) then
      local meant = slip_of(name, rows) or slip_of(name, more)
      if meant then errors.misuse("%s: unknown option '%s' (did you mean '%s'?)", where, name, meant) end
    end
  end
end

--- Takes out of options what prepares the pictures that something is made of, and refuses what is said of one file.
---@param where string   for messages
---@param what string    what it is made of, as "pages"
---@param options table
---@param refused string[]
---@return table? wanted
function prepare.take_of_pictures(where, what, options, refused)
  for _, name in ipairs(refused) do
    if options[name] ~= nil then
      errors.misuse("%s: %s is for one file that goes as it is, not for %s", where, name, what)
    end
  end
  return prepare.take_options("image", options, where)
end

--- Whether a part that no server takes as it is can be sent when it is prepared.
function prepare.takes(kind, mime)
  return kinds[kind] ~= nil and kinds[kind].decodes[mime] == true
end

--- Whether a part of this kind is taken out of a film when it is prepared: its sound.
function prepare.takes_films(kind)
  return kind == "audio"
end

--- Has a part be prepared when it is first sent. From now on it says what it will be then: its type and its size in
--- pixels; `converted` is its own type where that becomes another. Its size in bytes is known once it is prepared.
---@param part lmm.Part  with the media of its source
---@param name string    what the source is called in messages
---@param source string|{ bytes: string }
---@param wanted table   of prepare.take_options
---@param lenient boolean?
function prepare.plan(part, name, source, wanted, lenient)
  local plan = {
    source = type(source) == "string" and { path = source } or { bytes = source.bytes },
    name = name, from = part.mime, options = wanted, lenient = lenient, made = part.media:info(),
  }
  kinds[part.kind].plan(plan, part)
  part.plan, part.size, part.has_no_end = plan, nil, nil
  if plan.from ~= part.mime then part.converted = plan.from end
end

--- A part that a server takes in the place of one whose type it does not decode, which says so by `converted`; the part
--- itself where the server takes it, or where that is not known. Each is made once.
---@param part lmm.Part
---@param dialect lmm.Dialect?
---@return lmm.Part
function prepare.needs(part, dialect)
  if part.plan then return part end
  local decodes = dialect and dialect.decodes
  local source = part.source or part.path -- that of a saved part is known by its path alone
  local is_taken = not decodes or not part.media or not source or part.is_unchecked or decodes[part.mime]
  local is_needed = not is_taken and prepare.takes(part.kind, part.mime)
  part.converted = is_needed and part.mime or nil
  if not is_needed then return part end
  if part.derived then return part.derived end
  local media, message = core.media(source)
  if not media then error(errors.new { kind = "invalid", message = message }, 0) end
  local derived = setmetatable({}, getmetatable(part))
  for name, value in pairs(part) do derived[name] = value end
  derived.media, derived.digest, derived.saved, derived.derived = media, nil, nil, nil
  local name = part.filename and "'" .. part.filename .. "'" or "the " .. part.kind
  local convert = part.mime == "image/webp" and "jpeg" or nil -- which would stay what it is
  prepare.plan(derived, ("%s, which %s does not decode,"):format(name, dialect.title), source,
    { orient = true, convert = convert })
  part.derived = derived
  return derived
end

--- How many pages a PDF has, as a job.
---@param name string  what it is called in messages
---@param source { path: string?, bytes: string? }
---@param password string?
---@return table? job, lmm.Error? err  result() gives false, then the number, or nil and an error
function prepare.count_pages(name, source, password)
  return kinds.image.start { name = name, source = source, from = "application/pdf", format = "count", page = 1,
    made = { mime = "application/pdf" }, options = { password = password } }
end

-- ---- doing it

--- What the job gave becomes the part's.
local function take(part, result)
  local plan = part.plan
  -- The source is still what it was when the part was made, or else the size in pixels may not be the part's.
  local body = plan.source.path and core.concat { part.media }
  local ok, message = true, nil
  if body then
    ok, message = body:read(4)
    body:close()
  end
  if not ok then return nil, errors.new { kind = "invalid", message = message } end
  if plan.take then
    plan.take(part, result)
  else
    part.media:replace(result.bytes)
    part.size, part.width, part.height, part.orientation = #result.bytes, result.width, result.height, nil
  end
  plan.is_done, plan.job, plan.source = true, nil, nil
  return true
end

--- Begins to prepare a part, unless that is begun already.
local function start(part)
  local plan = part.plan
  if part.err then return nil, part.err end
  if plan.job or plan.is_done then return true end
  plan.job, part.err = plan:start()
  return plan.job, part.err
end

--- Whether it is done: false while it is not.
local function finish(part)
  local plan = part.plan
  if part.err then return nil, part.err end
  if plan.is_done then return true end
  local result, err = plan.job:result()
  if result == false then return false end
  if result then result, err = take(part, result) end
  part.err = err
  return result, err
end

--- Whether something is to be done before the part can be sent.
---@param part lmm.Part
---@return boolean
function prepare.is_pending(part)
  return part.plan ~= nil and not part.plan.is_done
end

local SHORTEST, LONGEST, SHARE = 0.001, 0.1, 1 / 8

--- How long to wait before looking again at what runs since so many seconds: a small share of what it takes in all.
function prepare.interval(elapsed)
  return math.max(SHORTEST, math.min(LONGEST, elapsed * SHARE))
end

--- Waits for the end of what runs: `poll` gives false until it is over.
---@param pause fun(elapsed: number): lmm.Error?  waits a little; gives an error where nobody wants it any more
---@param begun number  by core.now()
---@return any result, lmm.Error? err
function prepare.wait(poll, pause, begun)
  local result, err = poll()
  while result == false do
    err = pause(core.now() - begun)
    if err then return nil, err end
    result, err = poll()
  end
  return result, err
end

--- Says of a video of frames how many bytes it has, as soon as all of them are known.
---@param part lmm.Part
function prepare.size_up(part)
  local size = 0
  for _, frame in ipairs(part.frames) do
    if not frame.size then return end
    size = size + frame.size
  end
  part.size = size
end

--- Prepares all of these parts that are not prepared yet; those that fail say why in their `err`.
---@param parts lmm.Part[]
---@param pause fun(elapsed: number): lmm.Error?  as for prepare.wait
---@return true? ready, lmm.Error? err
function prepare.all(parts, pause)
  local pending = {}
  for _, part in ipairs(parts) do
    for i = 0, part.frames and #part.frames or 0 do
      local medium = i == 0 and part or part.frames[i]
      if prepare.is_pending(medium) then
        pending[#pending + 1] = medium
        local ok, err = start(medium)
        if not ok then return nil, err end
      end
    end
  end
  local begun = core.now()
  for _, part in ipairs(pending) do
    local ok, err = prepare.wait(function() return finish(part) end, pause, begun)
    if not ok then return nil, err end
  end
  for _, part in ipairs(parts) do
    if part.frames and not part.size then prepare.size_up(part) end
  end
  return true
end

return prepare
