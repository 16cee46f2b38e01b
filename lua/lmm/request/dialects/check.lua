--- A dialect that a caller describes: a table comes in; it goes out, or what is wrong with it is raised.
local content = require "lmm.request.content"
local errors = require "lmm.errors"
local options = require "lmm.options"

local rows = { name = "string", title = "string", forms = "table", fetches = "boolean", decodes = "table",
  caches = "boolean", stream_options = "boolean", tool_media = "string", structured = "table" }

local form_rows = { image = "string|boolean", video = "string|boolean", audio = "string|boolean",
  file = "string|boolean" }

--- What says to a server what an answer is to be leads to a field; of what not every server has, a text may say what to
--- give in its place.
local structured_rows = { heeds = "table", schema = "table", choice = "table", regex = "table|string",
  grammar = "table|string" }

local function check_form(kind, form)
  if form == false or content.is_form(form) then return end
  errors.misuse("lmm.connect dialect.forms: %s is no form of a part, in '%s'", tostring(form), kind)
end

local function check_way(kind, way)
  if type(way) == "table" and kind ~= "heeds" and type(way[1]) ~= "string" then
    errors.misuse("lmm.connect dialect.structured: '%s' is a list of names that lead to a field", kind)
  end
end

---@param given table
---@return lmm.Dialect
return function(given)
  if type(given.name) ~= "string" then errors.misuse "lmm.connect: a dialect has a name, see lmm.Dialect" end
  options.check("lmm.connect dialect", rows, given)
  for kind, form in pairs(options.check("lmm.connect dialect.forms", form_rows, given.forms)) do
    check_form(kind, form)
  end
  for kind, way in pairs(options.check("lmm.connect dialect.structured", structured_rows, given.structured)) do
    check_way(kind, way)
  end
  local whose = given.tool_media
  if whose ~= nil and whose ~= "tool" and whose ~= "user" then
    errors.misuse("lmm.connect dialect: tool_media is \"tool\" or \"user\", not '%s'", whose)
  end
  return given
end
