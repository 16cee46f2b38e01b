--- Tables of options: rows say which names there are and of what type; anything else raises.
local errors = require "lmm.errors"
local shown = require "lmm.text".shown

local options = {}

--- How many insertions, deletions and replacements make `a` of `b`.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j) and 0 or 1
      diagonal, row[j] = row[j], math.min(diagonal + same, row[j] + 1, row[j - 1] + 1)
    end
  end
  return row[#b]
end

--- The keys of a table, in order.
---@param set table<any, any>
---@return any[]
function options.names(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end) -- in a wrong table not all are strings
  return names
end

--- For a message that refuses a name: "there are: one, two".
---@param set table<any, any>
---@return string
function options.known(set)
  local names = options.names(set)
  for i, name in ipairs(names) do names[i] = tostring(name) end
  return #names > 0 and "there are: " .. table.concat(names, ", ") or "there are none"
end

--- The name among the keys of `names` that `name` was most likely meant to be, or nil where none is near.
function options.nearest(name, names)
  local best, least
  local most = math.max(2, #name / 3)
  for known in pairs(names) do
    local d = math.abs(#known - #name) <= most and distance(name, known) or math.huge -- never less than that
    if d <= most and (not least or d < least or d == least and known < best) then best, least = known, d end
  end
  return best
end

--- Whether one letter too many, missing, wrong, or changed places with the next makes `a` of `b`.
function options.is_slip(a, b)
  local at = 1
  while at <= #a and a:byte(at) == b:byte(at) do at = at + 1 end
  a, b = a:sub(at), b:sub(at)
  return a:sub(2) == b:sub(2) or a:sub(2) == b or a == b:sub(2)
    or a:sub(3) == b:sub(3) and a:sub(1, 2) == b:sub(1, 2):reverse()
end

local SHORTEST = 5 -- letters

--- The name among the keys of `names` that `name` is a slip of, or nil. Short names are passed over: one letter makes
--- other words of them, as "time" of "mime".
function options.slip_of(name, names)
  for known in pairs(names) do
    if #known >= SHORTEST and options.is_slip(name, known) then return known end
  end
end

--- Refuses a time that is not above 0; nil is none.
---@param what string  for the message
function options.check_seconds(what, seconds)
  if seconds and not (seconds > 0) then
    errors.misuse("%s must be more than 0 seconds, not %s", what, tostring(seconds))
  end
end

--- Makes the check of a whole number: a value comes in, what it has to be goes out where it is not that.
---@return fun(value): string|false
function options.whole(least, most)
  return function(value)
    local fits = type(value) == "number" and value >= least and value <= most and value % 1 == 0
    return not fits and ("a whole number from %d to %d, not %s"):format(least, most, shown(value))
  end
end

--- Checks the table `given` against `rows` (name = "type" or "type|type"); nil stands for an empty table.
---@param where string  what the options belong to, for the message
---@return table  `given`, unchanged
function options.check(where, rows, given)
  if given == nil then return {} end
  if type(given) ~= "table" then errors.misuse("%s: a table of options expected, got %s", where, type(given)) end
  for name, value in pairs(given) do
    local types = rows[name]
    if not types then
      local near = type(name) == "string" and options.nearest(name, rows)
      errors.misuse("%s: unknown option '%s' (%s)", where, tostring(name),
        near and "did you mean '" .. near .. "'?" or options.known(rows))
    end
    if not ("|" .. types .. "|"):find("|" .. type(value) .. "|", 1, true) then
      errors.misuse("%s: option '%s' must be a %s, not a %s", where, name, types:gsub("|", " or "), type(value))
    end
  end
  return given
end

return options
