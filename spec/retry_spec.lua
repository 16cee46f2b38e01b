-- Retry policies: which failures are tried again, and after how long, on a clock and a random source of the spec's own.

local errors = require "lmm.errors"
local retry = require "lmm.call.retry"
local test = require "spec.support.test"

local NOW = 1696004797 -- Fri, 29 Sep 2023 16:26:37 GMT

local function policy(opts)
  local given = { clock = function() return NOW end, random = function() return 0 end }
  for name, value in pairs(opts or {}) do given[name] = value end
  return retry.new(given)
end

local function http(status, fields)
  local err = { kind = "http", status = status, message = "m" }
  for name, value in pairs(fields or {}) do err[name] = value end
  return errors.new(err)
end

local function kind(name, fields)
  local err = http(nil, fields)
  err.kind = name
  return err
end

--- The delay after so many failures like `err`.
local function delay(of, err, attempt, headers)
  local failures = {}
  for i = 1, attempt or 1 do failures[i] = err end
  return retry.delay(of, failures, headers)
end

-- ---- which failures

local decisions = { -- the failure, whether it is tried again, and what the reply's headers were
  { "no connection", kind("connect", { phase = "connect" }), true },
  { "no name", kind("connect", { phase = "dns" }), true },
  { "no TLS", kind("connect", { phase = "tls" }), true },
  { "a connection that took too long", kind("timeout", { limit = "connect", phase = "connect" }), true },
  { "no first byte in time", kind("timeout", { limit = "first", phase = "wait" }), true },
  { "no content in time, but bytes", kind("timeout", { limit = "first", phase = "receive" }), false },
  { "a pause that took too long", kind("timeout", { limit = "idle", phase = "receive" }), false },
  { "no time left", kind("timeout", { limit = "total", phase = "wait" }), false },
  { "no time left while connecting", kind("timeout", { limit = "total", phase = "connect" }), false },
  { "cancelled", kind "cancelled", false },
  { "invalid", kind "invalid", false },
  { "truncated", kind "truncated", false },
  { "protocol", kind "protocol", false },
  { "limit", kind "limit", false },
  { "cancelled, whatever a server advises", kind "cancelled", false, { ["x-should-retry"] = "true" } },
  { "truncated, whatever a server advises", kind "truncated", false, { ["x-should-retry"] = "true" } },
  { "a quota used up", http(429, { code = "insufficient_quota" }), false },
  { "a quota used up, by its type", http(429, { type = "insufficient_quota" }), false },
  { "a billing limit", http(429, { code = "billing_hard_limit_reached" }), false },
  { "a rate limit", http(429, { code = "rate_limit_exceeded", type = "requests" }), true },
  { "429 with a number as code", http(429, { code = 429 }), true },
  { "503 that shall not be tried again", http(503), false, { ["x-should-retry"] = "false" } },
  { "400 that shall be tried again", http(400), true, { ["x-should-retry"] = "true" } },
  { "a quota used up that shall be tried again", http(429, { code = "insufficient_quota" }), true,
    { ["x-should-retry"] = "true" } },
  { "advice that is none", http(503), true, { ["x-should-retry"] = "maybe" } },
  { "advice that is none for 400", http(400), false, { ["x-should-retry"] = "" } },
}
for status, again in pairs {
  [300] = false, [301] = false, [304] = false, [307] = false, [308] = false,
  [400] = false, [401] = false, [403] = false, [404] = false, [405] = false, [408] = true, [409] = true, [410] = false,
  [413] = false, [415] = false, [422] = false, [425] = false, [429] = true, [499] = false,
  [500] = true, [501] = false, [502] = true, [503] = true, [504] = true, [505] = false, [529] = false, [599] = false,
} do
  decisions[#decisions + 1] = { "HTTP " .. status, http(status), again }
end

for _, row in ipairs(decisions) do
  test.case((row[3] and "again: " or "not again: ") .. row[1], function()
    test.equal(retry.is_retryable(row[2], row[4]), row[3])
    test.equal(delay(policy(), row[2], 1, row[4]), row[3] and 0.5 or nil)
    test.equal(delay(policy(), row[2], 1, row[4] or {}), row[3] and 0.5 or nil)
  end)
end

test.case("500 is tried again once only", function()
  local of = policy { attempts = 10 }
  test.equal(delay(of, http(500), 1), 0.5)
  test.equal(delay(of, http(500), 2), nil)
  test.equal(retry.delay(of, { http(500), http(503) }), 1)
  test.equal(retry.delay(of, { http(503), http(500) }), 1)
  test.equal(retry.delay(of, { http(500), http(503), http(500) }), nil)
  test.equal(retry.delay(of, { http(500), kind "connect", http(503), kind "connect" }), 4)
  test.equal(delay(of, http(500), 3, { ["x-should-retry"] = "true" }), 2)
  test.equal(delay(of, http(500), 1, { ["x-should-retry"] = "false" }), nil)
end)

-- ---- how long

test.case("the delay doubles up to the cap", function()
  local of, delays = policy { attempts = 100 }, {}
  for attempt = 1, 7 do delays[attempt] = delay(of, http(503), attempt) end
  test.equal(delays, { 0.5, 1, 2, 4, 8, 8, 8 })
  test.equal(delay(of, http(503), 99), 8)
  of = policy { attempts = 10000, base = 3, cap = 10 }
  test.equal({ delay(of, http(503), 1), delay(of, http(503), 2), delay(of, http(503), 3) }, { 3, 6, 10 })
  test.equal(delay(of, http(503), 5000), 10)
  test.equal(delay(policy { base = 0 }, http(503), 2), 0)
  test.equal(delay(policy { cap = 0 }, http(503), 2), 0)
end)

test.case("up to a quarter is taken off at random", function()
  for _, row in ipairs { { 0, 0.5, 8 }, { 0.5, 0.4375, 7 }, { 1, 0.375, 6 } } do
    local of = policy { attempts = 100, random = function() return row[1] end }
    test.equal(delay(of, http(503), 1), row[2])
    test.equal(delay(of, http(503), 50), row[3])
  end
  local of = retry.new { attempts = 100 }
  for attempt = 1, 50 do
    local seconds, whole = delay(of, http(503), attempt), math.min(8, 0.5 * 2 ^ (attempt - 1))
    test.ok(seconds <= whole and seconds > 0.75 * whole, seconds)
  end
end)

test.case("three attempts, unless told otherwise", function()
  test.equal({ delay(policy(), http(503), 1), delay(policy(), http(503), 2) }, { 0.5, 1 })
  test.equal(delay(policy(), http(503), 3), nil)
  test.equal(delay(policy { attempts = 1 }, http(503), 1), nil)
  test.equal(delay(policy { attempts = 2 }, http(503), 2), nil)
  test.equal(delay(retry.new(false), http(503), 1), nil)
  test.equal(delay(policy { attempts = 1 }, http(503), 1, { ["retry-after"] = "1" }), nil)
  test.equal(delay(policy(), http(503), 3, { ["x-should-retry"] = "true" }), nil)
  test.equal(delay(policy { attempts = math.huge }, http(503), 1000), 8)
end)

-- ---- what the server asks for. "f" is the formula, "-" no retry.

local FORMULA = 0.5

local asked = {
  { "20", 20 }, { "60", 60 }, { "120", 120 }, { "121", "-" }, { "0", "f" }, { "-10", "f" }, { "inf", "f" },
  { "nan", "f" }, { "", "f" }, { "Zun, 29 Sep 2023", "f" }, { "Fri, 29 Sep 2023 16:26:57 GMT", 20 },
  { "Fri, 29 Sep 2023 16:28:37 GMT", 120 }, { "Fri, 29 Sep 2023 16:28:38 GMT", "-" },
  { "Fri, 29 Sep 2023 16:26:37 GMT", "f" }, { "Fri, 29 Sep 2023 16:26:36 GMT", "f" },
  { "Thu, 01 Jan 1970 00:00:00 GMT", "f" }, { "Mon, 01 Jan 0001 00:00:00 GMT", "f" },
  { "Fri, 31 Dec 9999 23:59:59 GMT", "-" },
  { "1.5", 1.5 }, { "1.", 1 }, { "1..", "f" }, { "1.5.", "f" }, { "1.5 ", "f" },
  { "0.0", "f" }, { "00020", 20 }, { ".5", "f" }, { "+5", "f" }, { "1e1", "f" },
  { "0x10", "f" }, { "5 s", "f" }, { " ", "f" }, { "5,5", "f" }, { "soon", "f" }, { ("9"):rep(400), "-" },
  { "Zun, 29 Sep 2023 16:26:57 GMT", "f" }, { "Fri, 29 Zep 2023 16:26:57 GMT", "f" },
  { "fri, 29 sep 2023 16:26:57 gmt", "f" }, { "Fri, 29 Sep 2023 16:26:57", "f" },
  { "Fri, 29 Sep 2023 16:26:57 CET", "f" }, { "Fri, 29 Sep 2023 16:26:57 GMT x", "f" },
  { "Fri, 29 Sep 23 16:26:57 GMT", "f" }, { "Friday, 29-Sep-23 16:26:57 GMT", "f" },
  { "Fri Sep 29 16:26:57 2023", "f" }, { "Fri, 29 Sep 2023 1:26:57 GMT", "f" },
  { "Fri, 29 Sep 2023 24:00:00 GMT", "f" }, { "Fri, 29 Sep 2023 16:60:00 GMT", "f" },
  { "Fri, 29 Sep 2023 16:26:61 GMT", "f" }, { "Fri, 31 Sep 2023 16:26:57 GMT", "f" },
  { "Fri, 00 Oct 2023 16:26:57 GMT", "f" }, { "Fri, 29 Feb 2023 16:26:57 GMT", "f" },
  { "Fri, 32 Oct 2023 16:26:57 GMT", "f" }, { "Fri, 29 Sep 2023 16:26:60 GMT", 23 },
}

local function expected(value)
  return value == "f" and FORMULA or value ~= "-" and value or nil
end

for _, row in ipairs(asked) do
  test.case(("Retry-After: %q"):format(row[1]:sub(1, 40)), function()
    test.equal(delay(policy(), http(429), 1, { ["retry-after"] = row[1] }), expected(row[2]))
    test.equal(delay(policy(), http(500), 1, { ["retry-after"] = row[1] }), expected(row[2]))
  end)
end

test.case("long runs of anything: with quadratic work this would not end", function()
  for _, value in ipairs { ("9"):rep(2 ^ 20) .. "x", ("9"):rep(2 ^ 20) .. ".x", "1." .. ("9"):rep(2 ^ 20) .. "x",
    ("."):rep(2 ^ 20), ("1."):rep(2 ^ 20) } do
    for _, name in ipairs { "retry-after", "retry-after-ms" } do
      test.equal(delay(policy(), http(429), 1, { [name] = value }), FORMULA)
    end
  end
end)

for _, row in ipairs {
  { "1500", "60", 1.5 }, { "1500", "121", 1.5 }, { "1500", nil, 1.5 }, { "120000", nil, 120 }, { "120001", "1", "-" },
  { "0", "20", 20 }, { "-5", "20", 20 }, { "x", "20", 20 }, { "", "20", 20 }, { "nan", nil, "f" }, { "0", "0", "f" },
  { "0.5", nil, 0.0005 }, { "x", "Fri, 29 Sep 2023 16:26:57 GMT", 20 }, { "1000", "Fri, 29 Sep 2023 16:26:57 GMT", 1 },
} do
  test.case(("Retry-After-Ms: %q, Retry-After: %q"):format(row[1], row[2] or "none"), function()
    local headers = { ["retry-after-ms"] = row[1], ["retry-after"] = row[2] }
    test.equal(delay(policy(), http(429), 1, headers), expected(row[3]))
  end)
end

test.case("what the server asks for wins over the formula, and no random is taken off", function()
  local of = policy { attempts = 100, random = function() return 1 end }
  test.equal(delay(of, http(503), 50, { ["retry-after"] = "1" }), 1)
  test.equal(delay(of, http(503), 1, { ["retry-after"] = "100" }), 100)
end)

test.case("max_wait is the policy's own", function()
  test.equal(delay(policy { max_wait = 10 }, http(429), 1, { ["retry-after"] = "10" }), 10)
  test.equal(delay(policy { max_wait = 10 }, http(429), 1, { ["retry-after"] = "11" }), nil)
  test.equal(delay(policy { max_wait = 0 }, http(429), 1, { ["retry-after"] = "1" }), nil)
  test.equal(delay(policy { max_wait = 0 }, http(429), 1, {}), 0.5)
  test.equal(delay(policy { max_wait = math.huge }, http(429), 1, { ["retry-after"] = "100000" }), 100000)
end)

test.case("a reply that is not tried again does not wait for what it asks", function()
  test.equal(delay(policy(), http(400), 1, { ["retry-after"] = "5" }), nil)
end)

-- ---- dates

--- Seconds from a clock at `now` until the date, by Retry-After.
local function requested(date, now)
  return retry.requested({ ["retry-after"] = date }, function() return now end)
end

test.case("leap days and centuries", function()
  for date, seconds in pairs {
    ["Thu, 01 Jan 1970 00:00:10 GMT"] = 10, ["Sat, 28 Feb 1970 23:59:59 GMT"] = 5097599,
    ["Sun, 01 Mar 1970 00:00:00 GMT"] = 5097600, ["Thu, 31 Dec 1970 23:59:59 GMT"] = 31535999,
    ["Fri, 01 Jan 1971 00:00:00 GMT"] = 31536000, ["Tue, 29 Feb 1972 00:00:00 GMT"] = 68169600,
    ["Tue, 29 Feb 2000 00:00:00 GMT"] = 951782400, ["Wed, 01 Mar 2000 00:00:00 GMT"] = 951868800,
    ["Sun, 31 Dec 2000 23:59:59 GMT"] = 978307199, ["Thu, 29 Feb 2024 12:00:00 GMT"] = 1709208000,
    ["Fri, 01 Mar 2024 00:00:00 GMT"] = 1709251200, ["Tue, 19 Jan 2038 03:14:08 GMT"] = 2147483648,
    ["Sun, 28 Feb 2100 23:59:59 GMT"] = 4107542399, ["Mon, 01 Mar 2100 00:00:00 GMT"] = 4107542400,
    ["Tue, 29 Feb 2400 00:00:00 GMT"] = 13574563200, ["Fri, 31 Dec 9999 23:59:59 GMT"] = 253402300799,
  } do
    test.equal(requested(date, seconds - 7), 7, date)
    test.equal(requested(date, seconds), nil, date)
  end
  for _, date in ipairs {
    "Mon, 29 Feb 2100 00:00:00 GMT", "Tue, 29 Feb 2023 00:00:00 GMT", "Tue, 30 Feb 2024 00:00:00 GMT",
    "Fri, 29 Feb 1900 00:00:00 GMT",
  } do
    test.equal(requested(date, -1e12), nil, date)
  end
end)

test.case("every day of 800 years against os.date", function()
  local seed = 1
  for day = 0, 292200 do
    seed = (seed * 16807) % 2147483647
    local seconds = day * 86400 + seed % 86400
    if day % 5 == 0 or day % 365 < 3 then
      local date = os.date("!%a, %d %b %Y %H:%M:%S GMT", seconds)
      if requested(date, seconds - 1) ~= 1 then test.equal(requested(date, seconds - 1), 1, date) end
    end
  end
end)

test.case("each month's name and days", function()
  local days = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
  for month, name in ipairs { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" } do
    local form = "Mon, %02d " .. name .. " 2024 00:00:00 GMT"
    local first = requested(form:format(1), 0)
    test.equal(os.date("!%Y-%m-%d", first), ("2024-%02d-01"):format(month))
    test.equal(requested(form:format(days[month]), 0), first + (days[month] - 1) * 86400)
    test.equal(requested(form:format(days[month] + 1), 0), nil)
  end
end)

-- ---- policies

test.case("a policy is data with the defaults filled in", function()
  local of = retry.new()
  test.equal({ of.attempts, of.base, of.cap, of.max_wait }, { 3, 0.5, 8, 120 })
  test.equal({ of.clock, of.random }, { os.time, math.random })
  local given = { attempts = 5 }
  of = retry.new(given)
  test.equal({ of.attempts, of.base }, { 5, 0.5 })
  test.equal(given, { attempts = 5 })
  test.equal(retry.new(of), of)
  test.equal(retry.new {}, retry.new())
end)

test.case("on_retry is kept, and nobody calls it here", function()
  local function on_retry() error "called" end
  local of = policy { on_retry = on_retry }
  test.ok(of.on_retry == on_retry, "another function")
  test.equal(delay(of, http(503)), 0.5)
  test.equal(retry.new(of).on_retry, on_retry)
  test.equal(retry.new().on_retry, nil)
end)

test.case("a policy may be a function", function()
  local seen = {}
  local function of(attempt, err)
    seen[#seen + 1] = { attempt, err }
    return attempt < 3 and attempt * 10 or nil
  end
  test.ok(retry.new(of) == of, "another function")
  local first, second, third = http(400), kind "truncated", http(500)
  test.equal(retry.delay(of, { first }, { ["retry-after"] = "1" }), 10)
  test.equal(retry.delay(of, { first, second }), 20)
  test.equal(retry.delay(of, { first, second, third }), nil)
  test.ok(seen[1][2] == first and seen[2][2] == second and seen[3][2] == third, "another error")
  test.equal({ seen[1][1], seen[2][1], seen[3][1] }, { 1, 2, 3 })
end)

for _, row in ipairs {
  { { attempt = 3 }, "unknown option 'attempt' %(did you mean 'attempts'%?%)" },
  { { bogus_name = 3 },
    "unknown option 'bogus_name' %(there are: attempts, base, cap, clock, max_wait, on_retry, random%)" },
  { { 3 }, "unknown option '1'" },
  { { attempts = "3" }, "option 'attempts' must be a number, not a string" },
  { { clock = 5 }, "option 'clock' must be a function, not a number" },
  { { on_retry = "x" }, "option 'on_retry' must be a function, not a string" },
  { { attempts = 0 }, "'attempts' is at least 1, not 0: the first try counts" },
  { { attempts = 1.5 }, "'attempts' is a whole number, not 1.5" },
  { { attempts = 0.5 }, "'attempts' is at least 1, not 0.5" },
  { { attempts = -1 }, "'attempts' is at least 1, not %-1: the first try counts" },
  { { attempts = 0 / 0 }, "'attempts' is at least 1, not %-?nan" },
  { { base = -1 }, "'base' is at least 0, not %-1" },
  { { cap = 0 / 0 }, "'cap' is at least 0" },
  { { max_wait = -0.1 }, "'max_wait' is at least 0" },
  { 3, "a table of options expected, got number" },
  { "x", "a table of options expected, got string" },
} do
  test.case("misuse raises: " .. row[2], function()
    local message = test.raises("lmm%.retry: " .. row[2], function()
      local _ = retry.new(row[1])
    end)
    test.match(message, "^[^:]*retry_spec%.lua:%d+: lmm")
  end)
end
