--- A real browser: Debian's chromium, headless, driven by chromedriver over WebDriver (W3C), which is JSON over HTTP,
--- so that the library itself asks it.
--
-- In:  pages to open, what to press and type, scripts that look at the page.
-- Out: what the scripts return; screenshots.

local core = require "lmm.core"
local json = require "lmm.json"
local lmm = require "lmm"
local process = require "spec.support.process"

local browser = {}

--- Whether there is one.
function browser.is_installed()
  return process.shell "command -v chromium && command -v chromedriver":find "chromedriver" ~= nil
end

---@class lmm.spec.Browser
local Browser = {}
Browser.__index = Browser

--- One command of WebDriver; gives its value.
function Browser:ask(method, path, body)
  local reply, message, err = self.client:request(method, (self.session or "") .. path, body)
  if not reply then error(err and err.body or message, 2) end
  return reply.json.value
end

--- Starts it.
---@param opts { width: integer?, height: integer?, dark: boolean? }?
---@return lmm.spec.Browser
function browser.start(opts)
  opts = opts or {}
  local folder = process.shell "mktemp -d":match "%S+"
  local log = folder .. "/log"
  local pid = process.shell(("XDG_CONFIG_HOME=%s chromedriver --port=0 >%s 2>&1 </dev/null & echo $!"):format(folder,
    log)):match "%d+"
  local port = process.wait_for("chromedriver", function()
    return (process.read(log) or ""):match "started successfully on port (%d+)"
  end)
  local self = setmetatable({ pid = pid, folder = folder,
    client = lmm.connect { base_url = "http://127.0.0.1:" .. port, dialect = "generic", retry = false } }, Browser)
  local words = { "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--no-first-run", "--disable-background-networking", "--user-data-dir=" .. folder .. "/profile",
    ("--window-size=%d,%d"):format(opts.width or 1280, opts.height or 900) }
  if opts.dark then words[#words + 1] = "--force-dark-mode" end
  local session = self:ask("POST", "/session", { capabilities = { alwaysMatch = {
    browserName = "chrome", ["goog:chromeOptions"] = { binary = "/usr/bin/chromium", args = words },
    ["goog:loggingPrefs"] = { browser = "ALL" },
  } } })
  self.session = "/session/" .. session.sessionId
  return self
end

function Browser:open(url)
  self:ask("POST", "/url", { url = url })
end

--- Runs a script in the page; its `return` is the value.
function Browser:run(script, ...)
  return json.clean(self:ask("POST", "/execute/sync", { script = script, args = json.array { ... } }))
end

--- Runs a script until it returns something true.
function Browser:wait(script, ...)
  local args = { ... }
  return process.wait_for(script, function()
    local value = self:run(script, (unpack or table.unpack)(args)) -- luacheck: ignore 143 113
    return value
  end)
end

local function element(self, selector)
  local found = self:ask("POST", "/element", { using = "css selector", value = selector })
  return "/element/" .. select(2, next(found))
end

--- Does something with an element; again where the page was drawn anew meanwhile, and has another one in its place.
local function act(self, selector, what, value)
  process.wait_for(selector, function()
    local ok, problem = pcall(self.ask, self, "POST", element(self, selector) .. what, value)
    if not ok and not tostring(problem):find("stale element", 1, true) then error(problem, 0) end
    return ok
  end)
end

function Browser:click(selector)
  act(self, selector, "/click", json.decode "{}")
end

function Browser:type(selector, text)
  act(self, selector, "/value", { text = text })
end

local NAMES = { left = "\238\128\146", up = "\238\128\147", right = "\238\128\148", down = "\238\128\149",
  enter = "\238\128\135", escape = "\238\128\140" }

--- Presses keys, one after the other: characters, or names such as "enter".
function Browser:press(...)
  local actions = json.array {}
  for _, key in ipairs { ... } do
    local value = NAMES[key] or key
    actions[#actions + 1] = { type = "keyDown", value = value }
    actions[#actions + 1] = { type = "keyUp", value = value }
  end
  self:ask("POST", "/actions", { actions = { { type = "key", id = "keyboard", actions = actions } } })
end

function Browser:resize(width, height)
  self:ask("POST", "/window/rect", { width = width, height = height })
end

--- As a telephone shows it: the window itself may not be that narrow.
function Browser:emulate(width, height)
  self:ask("POST", "/goog/cdp/execute", { cmd = "Emulation.setDeviceMetricsOverride",
    params = { width = width, height = height, deviceScaleFactor = 2, mobile = true } })
end

function Browser:set_dark(is_dark)
  self:ask("POST", "/goog/cdp/execute", { cmd = "Emulation.setEmulatedMedia",
    params = { features = { { name = "prefers-color-scheme", value = is_dark and "dark" or "light" } } } })
end

--- What the page has said on its console: errors of scripts and of the policy are among it.
function Browser:log()
  local lines = {}
  for _, entry in ipairs(self:ask("POST", "/se/log", { type = "browser" })) do lines[#lines + 1] = entry.message end
  return lines
end

---@return string path
function Browser:screenshot(path)
  return process.write(path, (assert(core.base64.decode(self:ask("GET", "/screenshot")))))
end

function Browser:quit()
  pcall(self.ask, self, "DELETE", "")
  os.execute("kill " .. self.pid .. " 2>/dev/null")
  process.wait_for("the end of chromedriver", function() return not process.runs(self.pid) end)
  self.client:close()
  os.execute("rm -rf " .. process.quote(self.folder))
end

return browser
