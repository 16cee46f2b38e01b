--- A PDF comes in; its pages go out as image parts, which are drawn when they are sent.
local core = require "lmm.core"
local errors = require "lmm.errors"
local loops = require "lmm.loop"
local paths = require "lmm.paths"
local parts = require "lmm.part"
local prepare = require "lmm.prepare"
local texts = require "lmm.text"
local types = require "lmm.types"

local pages = {}

local MOST_PAGES = 1000 -- that are taken without being named
local MOST_DPI = 1200
local NOT_OF_PAGES = { "mime", "check", "uuid", "trust_uuid" } -- by one uuid a server would show one page for all
local OWN = { first = true, last = true, dpi = true, password = true }

local function check_number(name, value, least, most)
  local fits = type(value) == "number" and value >= least and value <= most and (name == "dpi" or value % 1 == 0)
  if not fits then
    errors.misuse("lmm.pages: %s is a %s from %d to %d, not %s", name, name == "dpi" and "number" or "whole number",
      least, most, texts.shown(value))
  end
end

--- What of the options is said of the PDF, what prepares each page, and what goes to the server beside it.
---@return { first: integer?, last: integer? } range, table wanted, table options
local function read_options(opts)
  if opts ~= nil and type(opts) ~= "table" then
    errors.misuse("lmm.pages: the options are a table, not a %s", type(opts))
  end
  prepare.check_names("lmm.pages", "image", opts, OWN)
  local options = {}
  for name, value in pairs(opts or {}) do options[name] = value end
  if options.page ~= nil then
    local page = texts.shown(options.page)
    errors.misuse("lmm.pages: there is no option 'page': first = %s, last = %s draws one page", page, page)
  end
  local range = { first = options.first, last = options.last }
  for name, value in pairs(range) do check_number(name, value, 1, 100000) end
  if range.first and range.last and range.first > range.last then
    errors.misuse("lmm.pages: first is %d, behind last, %d", range.first, range.last)
  end
  local dpi, password = options.dpi, options.password
  if dpi ~= nil then check_number("dpi", dpi, 1, MOST_DPI) end
  if password ~= nil and type(password) ~= "string" then
    errors.misuse("lmm.pages: password is a text, not a %s", type(password))
  end
  options.first, options.last, options.dpi, options.password = nil, nil, nil, nil
  local wanted = prepare.take_of_pictures("lmm.pages", "pages", options, NOT_OF_PAGES) or {}
  wanted.dpi, wanted.password = dpi, password
  return range, wanted, options
end

local function invalid(format, ...)
  return nil, errors.new { kind = "invalid", message = format:format(...) }
end

--- How many pages it has; waits in the loop.
---@return integer? count, lmm.Error? err
local function count_pages(name, source, password)
  local media, message = core.media(source)
  if not media then return nil, paths.failure(source, message) end
  local mime = media:info().mime or "of no known type"
  if mime ~= "application/pdf" then return invalid("%s is %s, not a PDF", name, types.describe(mime)) end
  local loop, from = loops.current(), type(source) == "string" and { path = source } or { bytes = source.bytes }
  local job, err = prepare.count_pages(name, from, password)
  if not job then return nil, err end
  return prepare.wait(function() return job:result() end, function(elapsed)
    local _, why = loop:wait({}, loop:now() + prepare.interval(elapsed))
    if why == "cancelled" then
      return errors.new { kind = "cancelled", message = "the opening of " .. name .. " was cancelled" }
    end
  end, core.now())
end

local function open(source, opts)
  local range, wanted, options = read_options(opts)
  local is_path = type(source) == "string"
  if not is_path and not (type(source) == "table" and type(source.bytes) == "string") then
    errors.misuse("lmm.pages: a path or { bytes = string } expected, got a %s", type(source))
  elseif is_path and (source:find("\0", 1, true) or source:find "^%a[%w+.-]+://") then
    return invalid "lmm.pages takes a file's path, not a URL: fetch it and pass { bytes = ... }"
  end
  loops.check()
  local name = is_path and "'" .. source .. "'" or "the data in bytes"
  local count, err = count_pages(name, source, wanted.password)
  if not count then return nil, err end
  local first, last = range.first or 1, range.last or count
  if first > count or last > count then
    local missing = first > count and first or last
    return invalid("%s has %s, and no page %d", name, texts.count(count, "page"), missing)
  elseif not (range.first or range.last) and count > MOST_PAGES then
    return invalid("%s has %d pages, and more than %d are taken only where they are named: pass { first =, last = }",
      name, count, MOST_PAGES)
  end
  local list = {}
  for page = first, last do
    local own, beside = { page = page }, {}
    for key, value in pairs(wanted) do own[key] = value end
    for key, value in pairs(options) do beside[key] = value end
    list[#list + 1] = parts.page(name, source, own, beside)
  end
  return list
end

--- See lmm.pages.
---@return lmm.Part[]? pages, string? message, lmm.Error? err
function pages.open(source, opts)
  return errors.public(open(source, opts))
end

return pages
