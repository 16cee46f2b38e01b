--- The README's picture of the chat: `lmm chat` runs in a real terminal (tmux), asks the built-in server, and what is
--- on the screen then becomes doc/pictures/chat.svg. Run by `make chat-picture`; $PORT is the server's, else 8000.
local mock = require "lmm.mock"
local shell = require "spec.support.shell"
local terminal = require "spec.support.terminal"

local WIDTH, HEIGHT = 128, 18
local CELL, LINE, MARGIN = 8.4, 18, 16 -- pixels of a column, of a line, around it all
local FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

--- How the styles look that lmm uses: SGR codes.
local STYLES = { ["1"] = 'font-weight="bold"', ["2"] = 'opacity="0.6"', ["3"] = 'font-style="italic"' }

local function escaped(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

--- One line of the screen, with styles, as SVG.
local function line_of(text, row)
  local spans, style = {}, ""
  for piece, codes in (text .. "\27[m"):gmatch "(.-)\27%[([%d;]*)m" do
    if piece ~= "" then spans[#spans + 1] = ("<tspan %s>%s</tspan>"):format(style, escaped(piece)) end
    style = STYLES[codes:match "^%d" or ""] or ""
  end
  return ('<text x="%d" y="%d" xml:space="preserve">%s</text>'):format(MARGIN, MARGIN + 13 + row * LINE,
    table.concat(spans))
end

local function picture_of(screen)
  local lines, row = {}, 0
  for line in (screen .. "\n"):gmatch "(.-)\n" do
    lines[#lines + 1], row = line_of(line, row), row + 1
  end
  local width, height = math.floor(WIDTH * CELL) + 2 * MARGIN, row * LINE + 2 * MARGIN
  return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">\n'
    .. '<rect width="100%%" height="100%%" rx="8" fill="#1d2026"/>\n'
    .. '<g fill="#dfe3ea" font-size="14" font-family="%s">\n'
    .. "%s\n</g>\n</svg>\n"):format(width, height, width, height, FONT, table.concat(lines, "\n"))
end

local server = assert(mock.start { delay = 0.005, port = tonumber(os.getenv "PORT" or 8000) })
local here = shell.output "pwd":match "^[^\n]+"
local screen = terminal.start(("cd %s/examples && %s %s/bin/lmm chat -s 'Answer in one sentence.'"):format(
  shell.quote(here), arg[-1], shell.quote(here)), { width = WIDTH, height = HEIGHT, env = {
  LUA_PATH = package.path:gsub("%./", here .. "/"), LUA_CPATH = package.cpath:gsub("%./", here .. "/"), LMM_LOG = "off",
  OPENAI_BASE_URL = server.url, TERM = "xterm-256color" } })
screen:wait_for "\n?> ?$"
screen:enter "/attach picture.jpg"
screen:wait_for "1 > ?$"
screen:enter "What is shown in the image?"
screen:wait_for "question: What is shown[^\n]*\n.*> ?$"
screen:enter "/set temperature 0.2"
screen:wait_for "0%.2\n.*> ?$"
screen:enter "And in the background?"
screen:wait_for "question: And in the[^\n]*\n.*> ?$"
local text = screen:text(true)
screen:enter "/quit"
screen:stop()
server.stop()
os.execute "mkdir -p doc/pictures"
shell.write("doc/pictures/chat.svg", picture_of(text))
