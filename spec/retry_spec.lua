-- Retry policies: which failures are tried again, and after how long, on a clock and a random source of the spec's own.

local errors = require "lmm.errors"
local retry = require "lmm.call.retry"

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
  { "truncated", kind "truncated", true },
  { "a type of a server's fault under 200", http(200, { type = "server_error" }), true },
  { "an overloaded server under 200", http(200, { type = "overloaded_error" }), true },
  { "a rate limit under 200", http(200, { code = "rate_limit_exceeded" }), true },
  { "a type of a fault that stays, under 200", http(200, { type = "invalid_request_error" }), false },
  { "a quota used up, under 200", http(200, { code = "insufficient_quota" }), false },
  { "protocol", kind "protocol", false },
  { "limit", kind "limit", false },
  { "cancelled, whatever a server advises", kind "cancelled", false, { ["x-should-retry"] = "true" } },
  { "truncated, whatever a server advises", kind "truncated", true, { ["x-should-retry"] = "false" } },
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
  [413] = false, [415] = false, [422] = false, [425] = true, [429] = true, [499] = false,
  [500] = true, [501] = false, [502] = true, [503] = true, [504] = true, [505] = false, [519] = false, [520] = true,
  [521] = true, [522] = true, [523] = true, [524] = true, [525] = false, [529] = true, [599] = false,
} do
  decisions[#decisions + 1] = { "HTTP " .. status, http(status), again }
end

describe("which failures", function()
  for _, row in ipairs(decisions) do
    it((row[3] and "again: " or "not again: ") .. row[1], function()
      assert.equal(row[3], retry.is_retryable(row[2], row[4]))
      assert.equal(row[3] and 0.5 or nil, delay(policy(), row[2], 1, row[4]))
      assert.equal(row[3] and 0.5 or nil, delay(policy(), row[2], 1, row[4] or {}))
    end)
  end

  it("500 is tried again once only", function()
    local of = policy { attempts = 10 }
    assert.equal(0.5, delay(of, http(500), 1))
    assert.is_nil(delay(of, http(500), 2))
    assert.equal(1, retry.delay(of, { http(500), http(503) }))
    assert.equal(1, retry.delay(of, { http(503), http(500) }))
    assert.is_nil(retry.delay(of, { http(500), http(503), http(500) }))
    assert.equal(4, retry.delay(of, { http(500), kind "connect", http(503), kind "connect" }))
    assert.equal(2, delay(of, http(500), 3, { ["x-should-retry"] = "true" }))
    assert.is_nil(delay(of, http(500), 1, { ["x-should-retry"] = "false" }))
  end)
end)

describe("how long", function()
  it("the delay doubles up to the cap", function()
    local of, delays = policy { attempts = 100 }, {}
    for attempt = 1, 7 do delays[attempt] = delay(of, http(503), attempt) end
    assert.same({ 0.5, 1, 2, 4, 8, 8, 8 }, delays)
    assert.equal(8, delay(of, http(503), 99))
    of = policy { attempts = 10000, base = 3, cap = 10 }
    assert.same({ 3, 6, 10 }, { delay(of, http(503), 1), delay(of, http(503), 2), delay(of, http(503), 3) })
    assert.equal(10, delay(of, http(503), 5000))
    assert.equal(0, delay(policy { base = 0 }, http(503), 2))
    assert.equal(0, delay(policy { cap = 0 }, http(503), 2))
  end)

  it("up to a quarter is taken off at random", function()
    for _, row in ipairs { { 0, 0.5, 8 }, { 0.5, 0.4375, 7 }, { 1, 0.375, 6 } } do
      local of = policy { attempts = 100, random = function() return row[1] end }
      assert.equal(row[2], delay(of, http(503), 1))
      assert.equal(row[3], delay(of, http(503), 50))
    end
    local of = retry.new { attempts = 100 }
    for attempt = 1, 50 do
      local seconds, whole = delay(of, http(503), attempt), math.min(8, 0.5 * 2 ^ (attempt - 1))
      assert(seconds <= whole and seconds > 0.75 * whole, seconds)
    end
  end)

  it("three attempts, unless told otherwise", function()
    assert.same({ 0.5, 1 }, { delay(policy(), http(503), 1), delay(policy(), http(503), 2) })
    assert.is_nil(delay(policy(), http(503), 3))
    assert.is_nil(delay(policy { attempts = 1 }, http(503), 1))
    assert.is_nil(delay(policy { attempts = 2 }, http(503), 2))
    assert.is_nil(delay(retry.new(false), http(503), 1))
    assert.is_nil(delay(policy { attempts = 1 }, http(503), 1, { ["retry-after"] = "1" }))
    assert.is_nil(delay(policy(), http(503), 3, { ["x-should-retry"] = "true" }))
    assert.equal(8, delay(policy { attempts = math.huge }, http(503), 1000))
  end)
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
  { "0x10", "f" }, { "5 s", "f" }, { "30s", 30 }, { "1.5s", 1.5 }, { "s", "f" }, { "0s", "f" }, { " ", "f" },
    { "5,5", "f" }, { "soon", "f" }, { ("9"):rep(400), "-" },
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

describe("what the server asks for", function()
  for _, row in ipairs(asked) do
    it(("Retry-After: %q"):format(row[1]:sub(1, 40)), function()
      assert.equal(expected(row[2]), delay(policy(), http(429), 1, { ["retry-after"] = row[1] }))
      assert.equal(expected(row[2]), delay(policy(), http(500), 1, { ["retry-after"] = row[1] }))
    end)
  end

  it("long runs of anything: with quadratic work this would not end", function()
    for _, value in ipairs { ("9"):rep(2 ^ 20) .. "x", ("9"):rep(2 ^ 20) .. ".x", "1." .. ("9"):rep(2 ^ 20) .. "x",
      ("."):rep(2 ^ 20), ("1."):rep(2 ^ 20) } do
      for _, name in ipairs { "retry-after", "retry-after-ms" } do
        assert.equal(FORMULA, delay(policy(), http(429), 1, { [name] = value }))
      end
    end
  end)

  for _, row in ipairs {
    { "1500", "60", 1.5 }, { "1500", "121", 1.5 }, { "1500", nil, 1.5 }, { "120000", nil, 120 }, { "120001", "1", "-" },
    { "0", "20", 20 }, { "-5", "20", 20 }, { "x", "20", 20 }, { "", "20", 20 }, { "nan", nil, "f" }, { "0", "0", "f" },
    { "0.5", nil, 0.0005 },
    { "x", "Fri, 29 Sep 2023 16:26:57 GMT", 20 }, { "1000", "Fri, 29 Sep 2023 16:26:57 GMT", 1 },
  } do
    it(("Retry-After-Ms: %q, Retry-After: %q"):format(row[1], row[2] or "none"), function()
      local headers = { ["retry-after-ms"] = row[1], ["retry-after"] = row[2] }
      assert.equal(expected(row[3]), delay(policy(), http(429), 1, headers))
    end)
  end

  for _, row in ipairs {
    { "6m0s", nil, nil, nil, "-" }, { "1m30s", nil, nil, nil, 90 }, { "20ms", nil, nil, nil, 0.02 },
    { "7.5s", nil, nil, nil, 7.5 }, { "2", nil, nil, nil, 2 }, { "1h", nil, nil, nil, "-" },
    { "soon", nil, nil, nil, "f" }, { "6m0", nil, nil, nil, "f" }, { "", nil, nil, nil, "f" },
      { "0s", nil, nil, nil, "f" },
    { "1s", "9", "20s", "0", 20 }, { "1s", "0", "20s", "9", 1 }, { "1s", "9", "20s", "9", 20 },
      { "1s", nil, "20s", nil, 20 },
  } do
    it(("x-ratelimit-reset: requests %q, %s left, tokens %s, %s left"):format(row[1], tostring(row[2]),
      tostring(row[3]), tostring(row[4])), function()
      local headers = { ["x-ratelimit-reset-requests"] = row[1], ["x-ratelimit-remaining-requests"] = row[2],
        ["x-ratelimit-reset-tokens"] = row[3], ["x-ratelimit-remaining-tokens"] = row[4] }
      assert.equal(expected(row[5]), delay(policy(), http(429), 1, headers))
      assert.equal(FORMULA, delay(policy(), http(503), 1, headers)) -- which is no rate limit
      headers["retry-after"] = "3"
      assert.equal(3, delay(policy(), http(429), 1, headers))
    end)
  end

  it("in the error itself, as Google's RetryInfo", function()
    assert.equal(34.07, delay(policy(), http(429, { retry_after = 34.07 }), 1, {}))
    assert.is_nil(delay(policy(), http(429, { retry_after = 121 }), 1))
  end)

  it("what the server asks for wins over the formula, and no random is taken off", function()
    local of = policy { attempts = 100, random = function() return 1 end }
    assert.equal(1, delay(of, http(503), 50, { ["retry-after"] = "1" }))
    assert.equal(100, delay(of, http(503), 1, { ["retry-after"] = "100" }))
  end)

  it("max_wait is the policy's own", function()
    assert.equal(10, delay(policy { max_wait = 10 }, http(429), 1, { ["retry-after"] = "10" }))
    assert.is_nil(delay(policy { max_wait = 10 }, http(429), 1, { ["retry-after"] = "11" }))
    assert.is_nil(delay(policy { max_wait = 0 }, http(429), 1, { ["retry-after"] = "1" }))
    assert.equal(0.5, delay(policy { max_wait = 0 }, http(429), 1, {}))
    assert.equal(100000, delay(policy { max_wait = math.huge }, http(429), 1, { ["retry-after"] = "100000" }))
  end)

  it("a reply that is not tried again does not wait for what it asks", function()
    assert.is_nil(delay(policy(), http(400), 1, { ["retry-after"] = "5" }))
  end)
end)

-- ---- dates

--- Seconds from a clock at `now` until the date, by Retry-After.
local function requested(date, now)
  return require("lmm.call.retry_after").seconds({ ["retry-after"] = date }, function() return now end)
end

describe("dates", function()
  it("leap days and centuries", function()
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
      assert.equal(7, requested(date, seconds - 7), date)
      assert.is_nil(requested(date, seconds), date)
    end
    for _, date in ipairs {
      "Mon, 29 Feb 2100 00:00:00 GMT", "Tue, 29 Feb 2023 00:00:00 GMT", "Tue, 30 Feb 2024 00:00:00 GMT",
      "Fri, 29 Feb 1900 00:00:00 GMT",
    } do
      assert.is_nil(requested(date, -1e12), date)
    end
  end)

  it("every day of 800 years against os.date", function()
    local seed = 1
    for day = 0, 292200 do
      seed = (seed * 16807) % 2147483647
      local seconds = day * 86400 + seed % 86400
      if day % 5 == 0 or day % 365 < 3 then
        local date = os.date("!%a, %d %b %Y %H:%M:%S GMT", seconds)
        if requested(date, seconds - 1) ~= 1 then assert.equal(1, requested(date, seconds - 1), date) end
      end
    end
  end)

  it("each month's name and days", function()
    local days = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
    for month, name in ipairs { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" } do
      local form = "Mon, %02d " .. name .. " 2024 00:00:00 GMT"
      local first = requested(form:format(1), 0)
      assert.equal(("2024-%02d-01"):format(month), os.date("!%Y-%m-%d", first))
      assert.equal(first + (days[month] - 1) * 86400, requested(form:format(days[month]), 0))
      assert.is_nil(requested(form:format(days[month] + 1), 0))
    end
  end)
end)

describe("policies", function()
  it("a policy is data with the defaults filled in", function()
    local of = retry.new()
    assert.same({ 3, 0.5, 8, 120 }, { of.attempts, of.base, of.cap, of.max_wait })
    assert.same({ os.time, math.random }, { of.clock, of.random })
    local given = { attempts = 5 }
    of = retry.new(given)
    assert.same({ 5, 0.5 }, { of.attempts, of.base })
    assert.same({ attempts = 5 }, given)
    assert.same(of, retry.new(of))
    assert.same(retry.new(), retry.new {})
  end)

  it("on_retry is kept, and nobody calls it here", function()
    local function on_retry() error "called" end
    local of = policy { on_retry = on_retry }
    assert(of.on_retry == on_retry, "another function")
    assert.equal(0.5, delay(of, http(503)))
    assert.equal(on_retry, retry.new(of).on_retry)
    assert.is_nil(retry.new().on_retry)
  end)

  it("a policy may be a function", function()
    local seen = {}
    local function of(attempt, err)
      seen[#seen + 1] = { attempt, err }
      return attempt < 3 and attempt * 10 or nil
    end
    assert(retry.new(of) == of, "another function")
    local first, second, third = http(400), kind "truncated", http(500)
    assert.equal(10, retry.delay(of, { first }, { ["retry-after"] = "1" }))
    assert.equal(20, retry.delay(of, { first, second }))
    assert.is_nil(retry.delay(of, { first, second, third }))
    assert(seen[1][2] == first and seen[2][2] == second and seen[3][2] == third, "another error")
    assert.same({ 1, 2, 3 }, { seen[1][1], seen[2][1], seen[3][1] })
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
    it("misuse raises: " .. row[2], function()
      local message = assert.raises("lmm%.retry: " .. row[2], function()
        local _ = retry.new(row[1])
      end)
      assert.matches("^[^:]*retry_spec%.lua:%d+: lmm", message)
    end)
  end
end)
