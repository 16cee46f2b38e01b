--- How long a server asks to wait: the headers of its reply come in, seconds or nil go out.
local retry_after = {}

local months = {}
for name in ("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"):gmatch "%a+" do
  months[#months + 1], months[name] = name, #months
end
local weekdays = { Sun = true, Mon = true, Tue = true, Wed = true, Thu = true, Fri = true, Sat = true }

--- Days from 1970 to the first of a month: 0 is January, 12 the next year's.
local function days_before(year, month)
  local m = (month + 10) % 12 -- months since March, so that a leap day ends the year
  local y = year + math.floor(month / 12) - (m >= 10 and 1 or 0)
  local leaps = math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
  return 365 * y + leaps + math.floor((153 * m + 2) / 5) - 719468
end

--- Seconds since 1970 of an HTTP date in the form that servers must send (IMF-fixdate, RFC 9110, section 5.6.7).
local function parse_date(text)
  local weekday, day, name, year, hour, minute, second =
    text:match "^(%a%a%a), (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$"
  local month = months[name]
  if not weekdays[weekday] or not month then return nil end
  local first = days_before(year, month)
  local days, seconds = first + day - 1, hour * 3600 + minute * 60 + second
  local is_date = days >= first and days < days_before(year, month + 1)
  local is_time = tonumber(hour) < 24 and tonumber(minute) < 60 and tonumber(second) <= 60 -- a leap second is one
  return is_date and is_time and days * 86400 + seconds or nil
end

local UNITS = { h = 3600, m = 60, s = 1, ms = 0.001 }

--- Seconds of a duration like "6m0s" or "20ms"; a number without a unit is of seconds.
local function duration(text)
  if text:find "^[%d.]+$" then return tonumber(text) end
  local seconds = 0
  local rest = text:gsub("([%d.]+)(%a+)", function(number, unit)
    if not UNITS[unit] or not tonumber(number) then return nil end
    seconds = seconds + tonumber(number) * UNITS[unit]
    return ""
  end)
  return rest == "" and seconds or nil
end

--- When the limits that are used up are lifted, as OpenAI and others tell; where none says that it is, the last one.
local function reset(headers)
  local longest, longest_used
  for name, value in pairs(headers) do
    local what = name:match "^x%-ratelimit%-reset%-(.+)$"
    local seconds = what and duration(value)
    if seconds and seconds > 0 then
      longest = math.max(longest or 0, seconds)
      if headers["x-ratelimit-remaining-" .. what] == "0" then longest_used = math.max(longest_used or 0, seconds) end
    end
  end
  return longest_used or longest
end

--- The seconds that the server asks for, or nil where it asks for nothing that makes sense.
---@param headers table<string, string>
---@param clock fun(): number  seconds since 1970
---@param status integer?  429 where a rate limit is what was met
---@return number?
function retry_after.seconds(headers, clock, status)
  local function positive(text, unit)
    local seconds = text and text:find "^%d" and not text:find "[^%d.]" and tonumber(text)
    return seconds and seconds > 0 and seconds * unit or nil
  end
  local after = headers["retry-after"]
  local asked = positive(headers["retry-after-ms"], 0.001) or positive(after and after:match "^(%S+)s$" or after, 1)
  local date = not asked and after and parse_date(after)
  if date and date > clock() then asked = date - clock() end
  return asked or status == 429 and reset(headers) or nil
end

return retry_after
