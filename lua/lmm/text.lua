--- What is done with texts that are often a stranger's: every function takes linear time whatever the text.
local core = require("lmm.version").check "lmm.core" -- every part of the library comes by here when it is loaded

local text = {}

--- Without white space at its end.
function text.trim_right(given)
  local last = #given
  while last > 0 and given:find("^%s", last) do last = last - 1 end
  return given:sub(1, last)
end

--- A URL without the user name and the password in it.
function text.without_user(url)
  local scheme, rest = url:match "^(%a[%w+.-]*://)(.*)$"
  return (scheme or "") .. (rest or url):gsub("^.*@", "")
end

--- A word as a shell takes it, whatever is in it.
function text.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- So many of something, as in "1 row" and "2 rows".
function text.count(number, noun)
  return ("%.15g %s"):format(number, number == 1 and noun or noun .. "s")
end

local SHOWN = 60 -- bytes of a text in a message

--- A value as messages show it: a text in quotes, so that one sees why "9" is no number.
function text.shown(value)
  local kind = type(value)
  if kind == "string" then return '"' .. text.line(value, SHOWN) .. '"' end
  return (kind == "number" or kind == "boolean" or kind == "nil") and tostring(value) or "a " .. kind
end

--- In UTF-8: each broken character becomes U+FFFD.
function text.utf8(given)
  local bad = core.utf8(given)
  if not bad then return given end
  local pieces, start = {}, 1
  while bad do
    pieces[#pieces + 1] = given:sub(start, bad - 1)
    start = given:match("^[\128-\191]*()", bad + 1)
    bad = core.utf8(given, start)
  end
  pieces[#pieces + 1] = given:sub(start)
  return table.concat(pieces, "\239\191\189")
end

--- Each run of white space with a line end in it becomes one space.
function text.fold(given)
  return (given:gsub("%s+", function(run) return run:find "[\r\n]" and " " or nil end))
end

--- The first bytes, at most `most`, cut between characters. No character has more than three continuation bytes.
local function cut(given, most)
  local least = most - 3
  while most > 0 and most > least and given:find("^[\128-\191]", most + 1) do most = most - 1 end
  return given:sub(1, most)
end

--- One line of at most `limit` bytes, cut between characters. Other control characters, which could steer a terminal,
--- go, too: those of ASCII, U+0080 to U+009F, U+2028 and U+2029.
---@param given string
---@param limit integer?
function text.line(given, limit)
  if limit and #given > 16 * limit then given = cut(given, 16 * limit) end -- what is far beyond need not be cleaned
  given = text.fold(given):gsub("[%z\1-\8\11\12\14-\31\127]", "")
  given = given:gsub("\194[\128-\159]", ""):gsub("\226\128[\168\169]", "")
  given = text.trim_right(given):sub(given:find "%S" or 1)
  return limit and #given > limit and cut(given, math.max(limit - 3, 0)) .. "..." or given
end

return text
