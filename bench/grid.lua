-- usage: LUA bench/grid.lua FOLDER      from the project's folder
--
-- A grid as a whole program, with the built-in server. Prints the seconds in which a page of 1,000 cells that the
-- log has answered is written; the most memory of the process, in MiB, of one with 40 pictures of 8 MB and two models;
-- and of one with 500 pictures and two models the page's MiB, and the seconds in which a browser opens it and finds
-- some of its cells (-1 where there is none).
local browsers = require "spec.support.browser"
local core = require "lmm.core"
local mock = require "lmm.mock"
local shell = require "spec.support.shell"

local folder = shell.output("realpath " .. shell.quote(arg[1])):match "[^\n]+" .. "/grid" -- a browser takes no other
local server = assert(mock.start { delay = 0 })

--- Has the program write down, as it ends, how much memory it had at most.
local PEAK = [[local exit = os.exit
  os.exit = function(...)
    local status = io.open "/proc/self/status":read "*a"
    io.open(os.getenv "PEAK", "w"):write(status:match "VmHWM:%s*(%d+)"):close()
    exit(...)
  end]]

local function file(name, text)
  return text and shell.write(folder .. "/" .. name, text) or folder .. "/" .. name
end

--- Runs a grid file; gives the seconds that it took, and its most memory in MiB.
local function run(name, text)
  local begun = core.now()
  os.execute(("OPENAI_BASE_URL=%s LMM_LOG=%s PEAK=%s %s -e %s bin/lmm grid %s -o %s >/dev/null 2>&1"):format(server.url,
    file "log.db", file "peak", shell.quote(arg[-1]), shell.quote(PEAK), file(name .. ".lua", text),
    file(name .. ".html")))
  local seconds = core.now() - begun
  assert(shell.read(file(name .. ".html")), "the grid has failed")
  return seconds, shell.read(file "peak") / 1024
end

--- Copies of a picture, each with bytes of its own at its end.
local function copies(name, picture, count)
  shell.run("mkdir -p %s", file(name))
  for i = 1, count do
    shell.run("cp %s %s/%d.jpg && echo %d >>%s/%d.jpg", picture, file(name), i, i, file(name), i)
  end
  return file(name) .. "/*.jpg"
end

local function logged()
  local text = [[local prompts = {}
    for i = 1, 1000 do prompts[i] = "Question " .. i end
    return { prompts = prompts, models = "mock" }]]
  run("logged", text)
  shell.run("rm -r %s", file "logged.grid")
  return (run("logged", text))
end

local function memory()
  local large, noise = file "large.jpg", file "noise.v"
  shell.run("vips gaussnoise %s 4400 3000 --mean 120 --sigma 40 && vips cast %s '%s[Q=90]' uchar", noise, noise, large)
  assert(#shell.read(large) > 8e6, "the picture is too small")
  return (select(2, run("memory", ([[local other = { base_url = %q, model = "mock" }
    return { prompts = "What is it?", images = %q, models = { "mock", other } }]]):format(
    server.url:gsub("127.0.0.1", "localhost"), copies("memory", large, 40)))))
end

local function page()
  run("page", ([[return { prompts = "What is it?", images = %q, models = { "mock", "absent" } }]]):format(
    copies("page", "examples/picture.jpg", 500)))
  local size = #shell.read(file "page.html") / 2 ^ 20
  if not browsers.is_installed() then return size, -1, -1 end
  local browser = browsers.start()
  local begun = core.now()
  browser:open("file://" .. file "page.html")
  browser:wait "return document.querySelectorAll('td.cell').length > 100"
  local opened = core.now()
  browser:run [[const search = document.getElementById("search"); search.value = "499";
    search.dispatchEvent(new Event("input"))]]
  browser:wait "return document.querySelectorAll('td.cell').length < 100"
  local found = core.now()
  browser:quit()
  return size, opened - begun, found - opened
end

shell.run("rm -rf %s && mkdir -p %s", folder, folder)
print(logged())
print(memory())
print(page())
server.stop()
shell.run("rm -rf %s", folder)
