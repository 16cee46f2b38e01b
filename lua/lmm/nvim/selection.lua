--- What of a buffer goes along with a question: the range of a command comes in; a text and its place go out.
-- luacheck: globals vim unpack
local api = vim.api

local selection = {}

---@class lmm.nvim.Selection
---@field buffer integer
---@field row1 integer      the first line, from 0
---@field column1 integer   the first byte of it, from 0
---@field row2 integer      the last line
---@field column2 integer   the byte of it behind the last one
---@field block { left: integer, right: integer }?  the screen columns of a blockwise one, from 0; its rows are whole
---@field lines string[]    what is selected

local BLOCK = "\22"            -- CTRL-V, as visualmode() says
local TO_THE_ENDS = 2147483647 -- the column that `$` wants, as getcurpos() says

--- The characters of a line, each with the ones that combine with it, and the screen columns where they begin.
local function characters(line)
  local found, column = {}, 0
  for _, char in ipairs(vim.fn.split(line, "\\zs")) do
    local width = vim.fn.strdisplaywidth(char, column)
    found[#found + 1] = { text = char, left = column, right = column + width - 1 }
    column = column + width
  end
  return found
end

--- A line in three parts: before the screen columns of a block, inside them, and behind them. A character that is
--- partly inside them is inside.
---@return string before, string inside, string behind
function selection.cut(line, block)
  local parts = { {}, {}, {} }
  for _, char in ipairs(characters(line)) do
    local part = char.right < block.left and 1 or char.left <= block.right and 2 or 3
    table.insert(parts[part], char.text)
  end
  return table.concat(parts[1]), table.concat(parts[2]), table.concat(parts[3])
end

--- The character of a line that begins at a byte, from 1; nil behind the end.
local function character_at(line, byte)
  for _, char in ipairs(characters(line)) do
    if byte <= #char.text then return char end
    byte = byte - #char.text
  end
end

--- Whole lines of the current buffer.
---@param first integer  from 1
---@param last integer
---@return lmm.nvim.Selection
function selection.of_lines(first, last)
  local lines = api.nvim_buf_get_lines(0, first - 1, last, true)
  return { buffer = api.nvim_get_current_buf(), row1 = first - 1, column1 = 0, row2 = last - 1,
    column2 = #lines[#lines], lines = lines }
end

--- The byte behind the end of a charwise selection.
local function end_of(line, byte)
  if vim.o.selection == "exclusive" then return math.min(byte - 1, #line) end
  local char = byte <= #line and character_at(line, byte)
  return char and byte - 1 + #char.text or #line
end

--- Narrows whole lines to the characters that are selected in them.
local function to_characters(self)
  local _, _, first = unpack(vim.fn.getpos "'<")
  local _, _, last = unpack(vim.fn.getpos "'>")
  local lines = self.lines
  self.column1, self.column2 = math.min(first - 1, #lines[1]), end_of(lines[#lines], last)
  lines[#lines] = lines[#lines]:sub(1, self.column2)
  lines[1] = lines[1]:sub(self.column1 + 1)
end

--- The screen columns of the character under a mark.
local function columns_at(mark, line)
  local char = character_at(line, vim.fn.getpos(mark)[3])
  if char then return char.left, char.right end
  local behind = vim.fn.strdisplaywidth(line)
  return behind, behind
end

--- Whether `$` made the block that is selected. Neovim says so only while it is.
local function is_to_the_ends()
  local view = vim.fn.winsaveview()
  vim.cmd "noautocmd normal! gv"
  local wanted = vim.fn.getcurpos()[5]
  vim.cmd "noautocmd normal! \27"
  vim.fn.winrestview(view)
  return wanted == TO_THE_ENDS
end

--- Narrows whole lines to the block that is selected in them.
local function to_block(self)
  local left1, right1 = columns_at("'<", self.lines[1])
  local left2, right2 = columns_at("'>", self.lines[#self.lines])
  local right = math.max(right1, right2)
  if vim.o.selection == "exclusive" and right2 > right1 then right = math.max(right1, left2 - 1) end
  if is_to_the_ends() then right = TO_THE_ENDS end
  self.block = { left = math.min(left1, left2), right = right }
  for i, line in ipairs(self.lines) do self.lines[i] = select(2, selection.cut(line, self.block)) end
end

--- Whether the range of a command is the selection, and not lines that happen to be the same: a typed command says so.
local function is_selection(given)
  if given.range ~= 2 or given.line1 ~= vim.fn.line "'<" or given.line2 ~= vim.fn.line "'>" then return false end
  local typed = vim.fn.histget(":", -1)
  local range = typed:sub(-#given.args) == given.args and typed:match "^[%s:]*(.-)Lmm"
  return not range or range:find("'<", 1, true) ~= nil or vim.trim(range) == "*"
end

--- What the range of a command says; nil without one.
---@param given { range: integer, line1: integer, line2: integer, args: string }  as the function of a command gets it
---@return lmm.nvim.Selection?
function selection.of(given)
  if given.range == 0 then return nil end
  local self = selection.of_lines(math.max(given.line1, 1), math.max(given.line2, 1)) -- :0Lmm
  local mode = is_selection(given) and vim.fn.visualmode()
  if mode == "v" then to_characters(self) elseif mode == BLOCK then to_block(self) end
  return self
end

return selection
