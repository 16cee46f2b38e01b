--- What comes in place of a selection: pieces of an answer come in and are kept; when all of it is there, it is put
--- into the buffer, and the user is shown what differs.
-- luacheck: globals vim unpack
local diff = require "lmm.nvim.diff"
local selection = require "lmm.nvim.selection"

local api = vim.api

local replacement = {}

local namespace = api.nvim_create_namespace "lmm.replacement"

---@class lmm.nvim.Replacement
---@field buffer integer
---@field first_row integer
---@field block { left: integer, right: integer }?
---@field mark integer      around what is to be replaced
---@field is_whole boolean  that is whole lines
---@field before string[]   the text inside the mark
---@field pieces string[]
local Replacement = {}
Replacement.__index = Replacement

--- The answer without a fence of code around the whole of it. A fence that closes earlier is part of the answer.
---@param text string
---@return string
function replacement.unfenced(text)
  local lines = vim.split(vim.trim(text), "\n", { plain = true })
  local fence = lines[1]:match "^```+" or lines[1]:match "^~~~+"
  if not fence or #lines < 2 then return text end
  local depth = 0
  for i, line in ipairs(lines) do
    local marks, info = line:match("^%s*(" .. fence:sub(1, 1):rep(#fence) .. "+)%s*(.-)%s*$")
    if marks then depth = depth + ((i == 1 or info ~= "") and 1 or -1) end
    if depth == 0 and i < #lines then return text end
  end
  return depth == 0 and table.concat(lines, "\n", 2, #lines - 1) or text
end

--- Keeps a piece; false where the buffer is gone.
function Replacement:write(piece)
  if not api.nvim_buf_is_loaded(self.buffer) then return false end
  table.insert(self.pieces, piece)
  return true
end

--- The rows of a block with the lines of an answer in place of what was inside it.
local function put_block(rows, block, answer)
  local width, out = 0, {}
  for _, line in ipairs(answer) do width = math.max(width, vim.fn.strdisplaywidth(line)) end
  for i = 1, math.max(#rows, #answer) do
    local before, _, behind = selection.cut(rows[i] or "", block)
    local line = answer[i] or ""
    if line ~= "" or behind ~= "" then before = before .. (" "):rep(block.left - vim.fn.strdisplaywidth(before)) end
    if behind ~= "" then line = line .. (" "):rep(width - vim.fn.strdisplaywidth(line)) end
    out[i] = before .. line .. behind
  end
  return out
end

--- Where the selection is now, unless it was changed.
---@return integer? row1, integer column1, integer row2, integer column2
function Replacement:place()
  local buffer = self.buffer
  local row1, column1, mark = unpack(api.nvim_buf_get_extmark_by_id(buffer, namespace, self.mark, { details = true }))
  if not row1 or mark.end_row < row1 then return nil end
  local lines, column2 = api.nvim_buf_get_lines(buffer, row1, mark.end_row + 1, false), mark.end_col
  if self.is_whole and #lines > 0 then column1, column2 = 0, #lines[#lines] end
  local found, text = pcall(api.nvim_buf_get_text, buffer, row1, column1, mark.end_row, column2, {})
  if not (found and vim.deep_equal(text, self.before)) then return nil end
  return row1, column1, mark.end_row, column2
end

--- Puts the answer into the buffer, as one change, and shows what differs.
---@return boolean is_done, string? why
function Replacement:finish()
  local buffer = self.buffer
  if not api.nvim_buf_is_loaded(buffer) then return false, "its buffer is gone" end
  local text = replacement.unfenced((table.concat(self.pieces):gsub("\r", ""))):gsub("^%s*\n", ""):match "^.*%S"
  if not text then return false, "the answer is empty" end
  local row1, column1, row2, column2 = self:place()
  if not row1 then return false, "the selection was changed meanwhile" end
  local before = api.nvim_buf_get_lines(buffer, row1, row2 + 1, false)
  local lines = vim.split(text, "\n", { plain = true })
  if self.block then lines = put_block(before, self.block, lines) end
  if vim.deep_equal(lines, self.before) then return false, "the answer is what stands there already" end
  api.nvim_buf_call(buffer, function()
    vim.cmd "noautocmd let &g:undolevels = &g:undolevels" -- ends a block of changes that are undone together
    api.nvim_buf_set_text(buffer, row1, column1, row2, column2, lines)
    vim.cmd "noautocmd let &g:undolevels = &g:undolevels"
  end)
  diff.show(buffer, row1, before, api.nvim_buf_get_lines(buffer, row1, row1 + #lines, false))
  return true
end

--- Nothing more comes.
function Replacement:close()
  if api.nvim_buf_is_loaded(self.buffer) then api.nvim_buf_del_extmark(self.buffer, namespace, self.mark) end
end

--- Puts an answer in place of a selection. Of a block that is the part of each of its rows.
---@param selected lmm.nvim.Selection
---@return lmm.nvim.Replacement
function replacement.of(selected)
  local buffer, row1, column1, row2, column2 = selected.buffer, selected.row1, selected.column1, selected.row2,
    selected.column2
  local mark = api.nvim_buf_set_extmark(buffer, namespace, row1, column1, { end_row = row2, end_col = column2 })
  return setmetatable({ buffer = buffer, first_row = row1, block = selected.block, mark = mark, pieces = {},
    is_whole = column1 == 0 and column2 == #api.nvim_buf_get_lines(buffer, row2, row2 + 1, true)[1],
    before = api.nvim_buf_get_text(buffer, row1, column1, row2, column2, {}) }, Replacement)
end

return replacement
