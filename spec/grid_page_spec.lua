-- The page of `lmm grid` in a real browser: drawn, turned, filtered, sorted, starred, and safe from what models say.
local assert = require "luassert"
local browsers = require "spec.support.browser"
local cli = require "spec.support.cli"
local mock = require "lmm.mock"
local process = require "spec.support.process"

if not browsers.is_installed() then
  it("needs chromium and chromedriver (on Debian: apt install chromium chromium-driver)", function()
    pending "no browser"
  end)
  return
end

local server = assert(mock.start { delay = 0 })
local program = cli.new { OPENAI_API_KEY = "", OPENAI_BASE_URL = server.url }
local folder, file = process.folder()
local browser

--- Makes a page of a grid file and opens it.
local function open(name, text, env)
  local page = file(name .. ".html")
  local run = program.run({ "grid", file(name .. ".lua", text), "-o", page }, nil, env)
  assert(process.read(page), run.err)
  browser:open("file://" .. page)
end

--- The texts of what a selector finds.
local function texts(selector)
  return browser:run("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)
end

local function count(selector)
  return browser:run("return document.querySelectorAll(arguments[0]).length", selector)
end

--- The names of the rows, or of the columns.
local function heads(where)
  return browser:run([[return [...document.querySelectorAll(arguments[0])].map((head) =>
    [...head.querySelectorAll(".value")].map((value) => (value.querySelector(".name") ?? value).textContent)
      .join("/"))]], where == "rows" and "tbody th" or "thead th:not(.corner)")
end

setup(function()
  for i, name in ipairs { "a", "b", "c" } do
    process.shell(("vips thumbnail examples/picture.jpg %s %d"):format(file(name .. ".jpg"), 300 + 100 * i))
  end
  browser = browsers.start()
end)

teardown(function()
  browser:quit()
  server.stop()
  program.remove()
  os.execute("rm -rf " .. folder)
end)

local GRID = ([[return {
  title = "Three pictures",
  prompts = { one = "What is it?", two = "Describe it in a few words." },
  images = %q, models = { "mock", "absent" }, settings = { max_tokens = { 8, 60 } },
  check = function(reply, row) return row.image:find "b.jpg" == nil, "not that one" end,
}]]):format(file "*.jpg")

describe("the page of a grid", function()
  it("is drawn", function()
    open("drawn", GRID)
    assert.same("Three pictures", browser:run "return document.title")
    assert.same({ "mock/max_tokens 8", "mock/max_tokens 60", "absent/max_tokens 8", "absent/max_tokens 60" },
      heads "columns")
    assert.same({ "one/a.jpg", "one/b.jpg", "one/c.jpg", "two/a.jpg", "two/b.jpg", "two/c.jpg" }, heads "rows")
    assert.same({ 24, 12 }, { count "td.cell", count "td.error" })
    assert.matches("^image 1: image/jpeg, %d+ x %d+ pixels", texts("td.cell .answer")[2])
    assert.matches("The model `absent` does not exist", texts("td.error .answer")[1])
    assert.matches("^[%d.]+ m?s[%d.]+ m?s8 toklength$", texts("td.cell .facts")[1])
    assert.matches("0.67 score", texts("thead .summary")[2])
    assert.matches("6 errors", texts("thead .summary")[3])
    browser:wait [[return [...document.querySelectorAll("tbody th img")].slice(0, 3)
      .every((img) => img.naturalWidth > 0)]]
    assert.same({}, browser:log())
  end)

  it("says how many checks failed to run", function()
    open("unchecked", "return { prompts = { 'one', 'two' }, check = function() error 'boom' end }")
    assert.matches("score 0 · 2 checks failed to run · ", texts("#facts")[1])
    assert.equal("check: " .. file "unchecked.lua" .. ":1: boom",
      browser:run "return document.querySelector('td.cell .badge').title")
  end)

  it("is turned by any axis", function()
    open("turned", GRID)
    browser:click "#turn"
    assert.same(6, #heads "columns")
    assert.same({ "mock/max_tokens 8", "mock/max_tokens 60", "absent/max_tokens 8", "absent/max_tokens 60" },
      heads "rows")
    browser:press "t"
    browser:click "[data-axis=settings]"
    assert.same({ "mock", "absent" }, heads "columns")
    assert.same({ "one/a.jpg/max_tokens 8", "one/a.jpg/max_tokens 60" }, { heads "rows"[1], heads "rows"[2] })
    browser:click "[data-axis=image]"
    assert.same({ "mock/a.jpg", "mock/b.jpg" }, { heads "columns"[1], heads "columns"[2] })
    assert.same(24, count "td.cell")
    -- A mark between two values stands where they are on one line.
    browser:click "[data-axis=prompt]"
    browser:click "[data-axis=settings]"
    assert.same("mock/a.jpg/one/max_tokens 8", heads "columns"[1])
    assert.same({ "none", "none", "none", "none" }, browser:run [[return [...document.querySelectorAll("thead th")]
      .at(-1).querySelectorAll(".value").values().map((v) => getComputedStyle(v, "::before").content).toArray()]])
  end)

  it("is filtered, searched and narrowed", function()
    open("filtered", GRID)
    local function press(name)
      browser:run([[[...document.querySelectorAll("#filters button")]
        .find((button) => button.textContent.includes(arguments[0])).click()]], name)
    end
    press "Errors"
    assert.same({ 24, 12, "12 of 24 cells" }, { count "td.cell", count "td.other", texts("#count")[1] })
    press "Failed check"
    assert.same({ "one/b.jpg", "two/b.jpg" }, heads "rows")
    press "Cut off"
    assert.same({ "6 of 24 cells" }, texts "#count")
    press "Starred"
    assert.same({ 0, true }, { count "td.cell", browser:run "return !document.getElementById('nothing').hidden" })
    browser:click "#reset"
    assert.same({ "24 cells" }, texts "#count")
    browser:press "/"
    browser:press("c", ".", "j", "p", "g", " ", "t", "w", "o")
    browser:wait "return document.getElementById('count').textContent === '4 of 24 cells'"
    assert.same({ "two/c.jpg" }, heads "rows")
    browser:click "#turn" -- the cells that are found, however the table stands
    assert.same({ "4 of 24 cells" }, texts "#count")
  end)

  it("is narrowed to some values of an axis", function()
    open("narrowed", GRID)
    browser:click "#columns-axes details summary"
    browser:wait "return document.querySelector('.menu input')"
    browser:run "document.querySelectorAll('#columns-axes .menu input')[1].click()"
    assert.same({ "mock/max_tokens 8", "mock/max_tokens 60" }, heads "columns")
    assert.same({ "1 of 2 ▾" }, { texts("#columns-axes summary")[1] })
  end)

  it("is sorted", function()
    open("sorted", GRID)
    local function sort_by(key)
      browser:run([[const select = document.getElementById("sort"); select.value = arguments[0];
        select.dispatchEvent(new Event("change"))]], key)
    end
    sort_by "score"
    assert.same({ "one/b.jpg", "two/b.jpg" }, { heads "rows"[5], heads "rows"[6] })
    browser:click "#order"
    assert.same({ "one/b.jpg", "two/b.jpg" }, { heads "rows"[1], heads "rows"[2] })
    sort_by "name"
    browser:click "#order"
    assert.same({ "two/c.jpg", "one/a.jpg" }, { heads "rows"[1], heads "rows"[6] })
    browser:click "thead th:nth-child(3) .column"
    assert.same({ "mock/max_tokens 60" }, { browser:run [[return document.querySelector("th.sorted .column")
      && [...document.querySelectorAll("th.sorted .value")].map((v) => v.textContent).join("/")]] })
  end)

  it("marks the words that differ", function()
    open("differ", [[return { prompts = { "the red fox runs", "the blue fox runs" }, models = "mock" }]])
    assert.same({ "the red fox runs", "the blue fox runs" }, heads "columns")
    browser:press "d"
    assert.same({ "red", "blue" }, texts "mark")
    browser:press "d"
    assert.same({}, texts "mark")
  end)

  it("keeps stars and notes", function()
    open("starred", GRID)
    browser:click "td.cell .star"
    browser:run [[document.querySelectorAll("td.cell")[3].click()]]
    browser:type("textarea", "look at this")
    browser:press "escape"
    browser:wait "return document.querySelector('.note')"
    assert.same({ "look at this" }, texts ".note")
    browser:open("file://" .. file "starred.html")
    browser:wait "return document.querySelector('.note')"
    assert.same({ "look at this" }, texts ".note")
    assert.same({ "true", 1 }, { browser:run "return document.querySelector('td.cell .star').ariaPressed",
      count ".star[aria-pressed=true]" })
  end)

  it("is used by keys alone, and shows an answer in full", function()
    open("keys", GRID)
    browser:press("down", "right", "down", "enter")
    assert.same({ "one · mock · max_tokens 60" }, texts "#detail h2")
    assert.matches("^image 1: .*question: What is it%?$", texts("#detail .right .text")[1])
    assert.same({ "What is it?" }, texts "#detail .left .text")
    local request, reply = texts("#detail pre")[1], texts("#detail pre")[2]
    assert.matches('"model": "mock",\n  "max_tokens": 60,\n  "messages"', request)
    assert.matches('"url": "/[^"]*/b.jpg"', request)
    assert.matches('"finish_reason": "stop"', reply)
    browser:press "right"
    assert.matches("does not exist.*HTTP 404", texts("#detail .problem")[1])
    browser:press("left", "down", "s", "escape")
    browser:wait "return !document.getElementById('detail').open"
    assert.same(1, count "td .star[aria-pressed=true]")
    browser:press "?"
    assert.same(true, browser:run "return document.getElementById('keys').open")
  end)

  it("fits a telephone, the dark, and paper", function()
    open("phone", GRID)
    browser:emulate(390, 844)
    assert.same(390, browser:run "return Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")
    local light = browser:run "return getComputedStyle(document.body).backgroundColor"
    browser:set_dark(true)
    assert.are_not.same(light, browser:run "return getComputedStyle(document.body).backgroundColor")
    browser:click "#theme"
    assert.same(light, browser:run "return getComputedStyle(document.body).backgroundColor")
    browser:run "document.getElementById('theme').click(); localStorage.removeItem('lmm grid theme')"
    browser:set_dark(false)
    browser:ask("POST", "/goog/cdp/execute", { cmd = "Emulation.setEmulatedMedia", params = { media = "print" } })
    assert.same("none", browser:run "return getComputedStyle(document.querySelector('.bar')).display")
    browser:ask("POST", "/goog/cdp/execute", { cmd = "Emulation.setEmulatedMedia", params = { media = "" } })
    browser:ask("POST", "/goog/cdp/execute", { cmd = "Emulation.clearDeviceMetricsOverride",
      params = require("lmm.json").decode "{}" })
  end)

  -- A4 and A5 without their margins, in CSS pixels.
  for _, row in ipairs { { 3, 718 }, { 8, 718 }, { 14, 718 }, { 8, 484 } } do
    local columns, width = row[1], row[2]
    it(("has all its columns on paper: %d, %d wide"):format(columns, width), function()
      local settings = {}
      for i = 1, columns do settings[i] = i end
      open("wide", ([[return { prompts = { "What is it?", "And a_word_that_is_longer_than_a_column_is_wide?" },
        models = { "mock" }, settings = { max_tokens = { %s } } }]]):format(table.concat(settings, ", ")))
      browser:emulate(width, 1000)
      browser:ask("POST", "/goog/cdp/execute", { cmd = "Emulation.setEmulatedMedia", params = { media = "print" } })
      local over = browser:run([[return [...document.querySelectorAll("th, td, td *, th *")]
        .filter((each) => each.getBoundingClientRect().right > arguments[0]).map((each) => each.outerHTML)]], width)
      browser:ask("POST", "/goog/cdp/execute", { cmd = "Emulation.setEmulatedMedia", params = { media = "" } })
      browser:ask("POST", "/goog/cdp/execute", { cmd = "Emulation.clearDeviceMetricsOverride",
        params = require("lmm.json").decode "{}" })
      assert.same({}, over)
    end)
  end

  it("shows pictures without libvips, too", function()
    local modules, others = file "modules", {}
    os.execute("mkdir -p " .. modules .. "/lmm")
    for path in package.cpath:gmatch "[^;]+" do
      if process.read((path:gsub("%?", "lmm/vips"))) then
        process.shell(("cp %s %s/lmm; rm %s/lmm/vips.so"):format(path:gsub("%?", "lmm/*"), modules, modules))
      else
        others[#others + 1] = path
      end
    end
    open("plain", GRID, { LUA_CPATH = modules .. "/?.so;" .. table.concat(others, ";") })
    local source = browser:run "return document.querySelector('tbody th img').src"
    assert.same("image/jpeg", source:match "^data:([^;]*)")
    browser:wait [[return document.querySelector("tbody th img").naturalWidth > 0]]
    -- What is too large for a page that is mailed is read where it stands.
    local noise = file "noise.png"
    process.shell(("vips gaussnoise %s 3000 2000 --sigma 60 && vips cast %s %s uchar"):format(file "noise.v",
      file "noise.v", noise))
    open("large", ("return { prompts = 'x', images = %q }"):format(noise),
      { LUA_CPATH = modules .. "/?.so;" .. table.concat(others, ";") })
    assert(#process.read(noise) > 5000000 and #process.read(file "large.html") < 100000)
    browser:wait [[return document.querySelector("#grid img").naturalWidth === 3000]]
  end)
end)

describe("what a model says", function()
  local HOSTILE = {
    "<script>document.title = 'taken'</script>", "</script><script>document.title = 'taken'</script>",
    "<!--<script>", "]]></script>", "<img src=x onerror=\"document.title = 'taken'\">",
    "<a href=\"javascript:document.title='taken'\">x</a> javascript:alert(1)",
    "line\226\128\168separator\226\128\169end", "{{script}} {{data}} %1 $& `${document.title = 'taken'}`",
    "\226\128\174reversed", "__proto__ constructor toString", "&lt;b&gt; &amp;",
  }

  it("is nothing but text", function()
    local words = {}
    for i, text in ipairs(HOSTILE) do words[i] = ("%q"):format(text) end
    open("hostile", ([[local list = { %s }
      return { title = list[2], prompts = list, models = { "mock", list[1] } }]]):format(table.concat(words, ", ")))
    assert.same(HOSTILE[2], browser:run "return document.title")
    assert.same({ 0, 2 }, { count "main a, main script, main img", count "script" })
    local answers = texts "td.cell:not(.error) .answer"
    for i, text in ipairs(HOSTILE) do assert.same("question: " .. text, answers[i]) end
    for i = 1, #HOSTILE do
      browser:run("document.querySelectorAll('td.cell:not(.error)')[arguments[0]].click()", i - 1)
      assert.same("question: " .. HOSTILE[i], texts("#detail .right .text")[1])
      browser:press "escape"
    end
    assert.same(HOSTILE[2], browser:run "return document.title")
    assert.same({}, browser:log())
    -- Were there a script in the page all the same, the policy would not let it run.
    browser:run [[const script = document.createElement("script"); script.textContent = "document.title = 'taken'";
      document.body.append(script);
      document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='document.title = 1'>")]]
    assert.same(HOSTILE[2], browser:run "return document.title")
    assert.matches("Content Security Policy", table.concat(browser:log(), "\n"))
  end)

  it("may have a megabyte", function()
    local roomy = assert(mock.start { delay = 0, max_model_len = 10000000 })
    open("large", [[local long = ("0123456789 <b>"):rep(76000)
      return { prompts = { long, "short" }, models = { "mock", "absent" } }]], { OPENAI_BASE_URL = roomy.url })
    roomy.stop()
    assert.matches("1,064,010 characters$", texts("td.cell:not(.error) .answer")[1])
    assert(#texts("td.cell .answer")[1] < 5000)
    browser:press "d" -- compared, it takes no longer than anyone waits
    browser:run "document.querySelector('td.cell').click()"
    assert.same(1064010, browser:run "return document.querySelector('#detail .right .text').textContent.length")
  end)
end)
