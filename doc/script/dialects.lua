--- The table of doc/servers.md: what each server takes, as its dialect says.
local request = require "lmm.request"

local dialects = request.dialects

local M = {}

local FORMS = { image = "image_url", video = "video_url", audio = "audio_url", file = "file" }

local function form(dialect, kind)
  local of = dialect.forms and dialect.forms[kind]
  if of == false then return "no" end
  return "`" .. (of or FORMS[kind]) .. "`"
end

--- The types of pictures, without their "image/".
local function pictures(dialect)
  if not dialect.decodes then return "not known" end
  local names = {}
  for mime in pairs(dialect.decodes) do names[#names + 1] = mime:match "^image/x?%-?(.*)$" end
  table.sort(names)
  return table.concat(names, ", ")
end

--- The field that asks for one kind of structured answer.
local function field(dialect, kind)
  local way = (dialect.structured or request.structured.unknown)[kind]
  if type(way) ~= "table" then return "no" end
  return "`" .. table.concat(way, ".") .. "`"
end

--- How a server is recognised.
local function found(dialect)
  local by = {}
  local marks = dialects.marks(dialect.name)
  for _, host in ipairs(marks.hosts or {}) do
    by[#by + 1] = "`" .. host:gsub("^%^", ""):gsub("%$$", ""):gsub("^%%%.", "*."):gsub("%%", "") .. "`"
  end
  for _, header in ipairs(marks.headers or {}) do by[#by + 1] = "header `" .. header .. "`" end
  if marks.owner then by[#by + 1] = "`owned_by` " .. marks.owner end
  return #by > 0 and table.concat(by, ", ") or "its name only"
end

--- The tables.
---@return string
function M.text()
  local media = { "| dialect | server | found by | video | audio | file | fetches URLs | keeps media |",
    "|---|---|---|---|---|---|---|---|" }
  local answers = { "| dialect | decodes, of pictures | `schema` | `choice` | `regex` | `grammar` | media of tools |",
    "|---|---|---|---|---|---|---|" }
  for _, name in ipairs(dialects.names()) do
    local dialect = dialects.named(name)
    media[#media + 1] = ("| `%s` | %s | %s | %s | %s | %s | %s | %s |"):format(name, dialect.title, found(dialect),
      form(dialect, "video"), form(dialect, "audio"), form(dialect, "file"), dialect.fetches == false and "no" or "yes",
      dialect.caches and "yes" or "no")
    answers[#answers + 1] = ("| `%s` | %s | %s | %s | %s | %s | %s |"):format(name, pictures(dialect),
      field(dialect, "schema"), field(dialect, "choice"), field(dialect, "regex"), field(dialect, "grammar"),
      dialect.tool_media == "user" and "behind the result" or "in the result")
  end
  return table.concat(media, "\n") .. "\n\n" .. table.concat(answers, "\n") .. "\n"
end

return M
