--- What the chat shows: texts come in; they go to standard output, and what is no answer to standard error. Nothing in
--- a text steers the terminal.
local console = require "lmm.cli.console"
local safe = require "lmm.cli.safe"
local texts = require "lmm.text"

---@class lmm.chat.Screen
---@field is_terminal boolean  both are one
---@field has_styles boolean   some words may be dim
local Screen = {}
Screen.__index = Screen

local screen = {}

local WIDTH, NARROWEST = 80, 20 -- columns: where they are not known, and fewer are taken for no terminal's

local function say(text)
  io.stderr:write(text)
  io.stderr:flush()
end

--- What is handed in takes the place of standard output and standard error.
---@class lmm.chat.ScreenOptions
---@field is_terminal boolean
---@field term string?      $TERM
---@field no_color string?  $NO_COLOR
---@field write nil|fun(text: string)
---@field say nil|fun(text: string)
---@field columns integer?

---@param opts lmm.chat.ScreenOptions
---@return lmm.chat.Screen
function screen.new(opts)
  return setmetatable({
    is_terminal = opts.is_terminal, columns = opts.columns, write = opts.write or console.write, say = opts.say or say,
    has_styles = opts.is_terminal and opts.term ~= "dumb" and (opts.no_color or "") == "",
  }, Screen)
end

--- How many columns there are now.
function Screen:width()
  local width = self.columns or self.is_terminal and require "lmm.cli.progress".new().width
  return width and math.max(width, NARROWEST) or WIDTH
end

--- The text, dim where the terminal can.
function Screen:dim(text)
  return self.has_styles and text ~= "" and "\27[2m" .. text .. "\27[22m" or text
end

--- Says something of our own: no answer.
function Screen:note(format, ...)
  self.say(self:dim(safe.text(format:format(...))) .. "\n")
end

--- Says what went wrong.
function Screen:fail(message)
  self.say("lmm: " .. safe.text(texts.fold(message)) .. "\n")
end

--- Prints lines that were asked for.
function Screen:print(text)
  self.write(safe.text(text) .. "\n")
end

-- ---- tables -------------------------------------------------------------------------------------------------------

--- Lines of at most `width` bytes, cut between words.
local function wrapped(text, width)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and #line + 1 + #word > width then
      lines[#lines + 1], line = line, word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return lines
end

--- Rows of a name and what it means, as text: beside each other where there is room, else below.
---@param rows { [1]: string, [2]: string }[]
---@param width integer
---@return string
function screen.rows(rows, width)
  local column = 0
  for _, row in ipairs(rows) do column = math.max(column, #row[1] + 2) end
  local is_beside = width - column >= 40
  local indent = (" "):rep(is_beside and column or 4)
  local out = {}
  for _, row in ipairs(rows) do
    local lines = wrapped(row[2], width - #indent - 1)
    if is_beside then
      out[#out + 1] = row[1] .. (" "):rep(column - #row[1]) .. table.remove(lines, 1)
    else
      out[#out + 1] = row[1]
    end
    for _, line in ipairs(lines) do out[#out + 1] = indent .. line end
  end
  return table.concat(out, "\n")
end

-- ---- an answer ----------------------------------------------------------------------------------------------------

---@class lmm.chat.View  of one answer, as it comes
local View = {}
View.__index = View

--- Begins to show an answer.
---@return lmm.chat.View
function Screen:view()
  return setmetatable({ screen = self, clean = safe.in_pieces(), kind = nil, last = "\n" }, View)
end

function View:write(text, is_dim)
  if text == "" then return end
  self.last = text:sub(-1)
  self.screen.write(is_dim and self.screen:dim(text) or text)
end

--- Ends the line that is being written, if there is one.
function View:break_line()
  if self.last ~= "\n" then self:write "\n" end
end

--- To be called where somebody else has ended the line, on a terminal.
function View:note_line()
  if self.screen.is_terminal then self.last = "\n" end
end

--- Where words cannot be dim, a line says what follows.
local function heading(view, kind)
  if not view.screen.has_styles then view:write(kind == "reasoning" and "[reasoning]\n" or "[answer]\n") end
end

local show = {}

function show.text(view, piece) view:write(view.clean(piece)) end
show.refusal = show.text

--- What is read by a program has no use for it.
function show.reasoning(view, piece)
  if view.screen.is_terminal then view:write(view.clean(piece), true) end
end

function show.tool_call(view, call)
  view:write(texts.line(("[%s %s]"):format(call.name, texts.utf8(call.arguments)), 200) .. "\n", true)
end

function show.tool_result(view, result)
  if result.is_error then view:write(texts.line("[" .. texts.utf8(result.text) .. "]", 200) .. "\n", true) end
end

--- Shows a piece, as stream:pieces() gives it.
---@param kind string
function View:piece(kind, piece)
  local shows = show[kind]
  if not shows then return end
  if kind ~= self.kind and not (kind == "reasoning" and not self.screen.is_terminal) then
    self:break_line()
    if kind == "reasoning" or self.kind == "reasoning" then heading(self, kind) end
    self.kind = kind
  end
  shows(self, piece)
end

return screen
