--- usage: LUA doc/script/grid_picture.lua      from the checkout, by `make grid-picture`
---
--- Makes doc/pictures/grid.png: the page of a real grid, asked of two built-in servers, in a real browser.
local browsers = require "spec.support.browser"
local mock = require "lmm.mock"
local shell = require "spec.support.shell"

local INTO = "doc/pictures/grid.png"
local WIDTH, HEIGHT = 1240, 860
local CROPS = { galaxy = "0 0 1280 854", corner = "640 0 600 400", core = "340 227 600 400" }

local GRID = [[
local function server(url, model) return { base_url = url, model = model } end
return {
  title = "Which model says what it is?",
  prompts = { "What is shown in the image?", "Name it in three words." },
  images = "*.jpg", models = { server(%q, "small-vl-2b"), server(%q, "large-vl-72b") },
  settings = { max_tokens = { 12, 100 } },
  check = function(reply) return reply.finish_reason == "stop", "it was cut off" end,
}
]]

local folder = shell.output "mktemp -d":match "%S+"
local servers = { assert(mock.start { model = "small-vl-2b" }), assert(mock.start { model = "large-vl-72b" }) }
for name, area in pairs(CROPS) do
  shell.run("vips extract_area examples/picture.jpg %s/%s.jpg %s", folder, name, area)
end
shell.write(folder .. "/grid.lua", GRID:format(servers[1].url, servers[2].url))
shell.run([[here=$PWD; cd %s && LMM_LOG=off %s "$here/bin/lmm" grid grid.lua >/dev/null]], folder, shell.quote(arg[-1]))

local browser = browsers.start { width = WIDTH, height = HEIGHT }
browser:open("file://" .. folder .. "/grid.html")
browser:run "document.querySelectorAll('td.cell .star')[1].click()"
browser:wait "return [...document.images].every((image) => image.complete)"
local shot = browser:screenshot(folder .. "/shot.png")
browser:quit()
for _, server in ipairs(servers) do server.stop() end

shell.run("mkdir -p doc/pictures && vips pngsave %s %s --palette --Q 90 --compression 9", shot, INTO)
os.execute("rm -rf " .. folder)
print(INTO)
