--- Where an answer is written: pieces of text come in, and a buffer grows at a place that edits elsewhere move along.
-- luacheck: globals vim unpack
local api = vim.api

local writer = {}

local namespace = api.nvim_create_namespace "lmm"

---@class lmm.nvim.Writer
---@field buffer integer
---@field mark integer      around what has been written
---@field first_row integer where it began, or below which
---@field follow boolean?   a window that shows the end of the buffer goes along
---@field is_below boolean? the answer begins a line of its own below the mark's, which comes with the first piece
---@field has_text boolean? something has been written
---@field state integer?    the buffer's, as `undotree()` counts, after the last piece
local Writer = {}
Writer.__index = Writer

--- A mark at the beginning of a line that takes in what is written there.
local function set_mark(buffer, row, id)
  return api.nvim_buf_set_extmark(buffer, namespace, row, 0, { id = id, end_row = row, end_col = 0,
    right_gravity = false, end_right_gravity = true })
end

local function at(buffer, row)
  return setmetatable({ buffer = buffer, mark = set_mark(buffer, row), first_row = row }, Writer)
end

--- The windows that show the end of the buffer stay there.
local function followers(buffer)
  local last, found = api.nvim_buf_line_count(buffer), {}
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    if api.nvim_win_get_cursor(window)[1] == last then found[#found + 1] = window end
  end
  return found
end

local function undo_state()
  return api.nvim_eval "undotree().seq_cur"
end

--- Ends a block of changes that are undone together.
local function end_block()
  vim.cmd "noautocmd let &g:undolevels = &g:undolevels"
end

--- Where the next piece goes: the end of what has been written. Nil where an undo or a deletion took that away.
---@return integer? row, integer? column
function Writer:place()
  local buffer = self.buffer
  local row, column, mark = unpack(api.nvim_buf_get_extmark_by_id(buffer, namespace, self.mark, { details = true }))
  if not mark then return nil end
  local line = api.nvim_buf_get_lines(buffer, mark.end_row, mark.end_row + 1, false)[1]
  if self.is_below then return line and row, 0 end
  local is_empty = row == mark.end_row and column == mark.end_col
  if not line or #line ~= mark.end_col or is_empty and self.has_text then return nil end
  if api.nvim_buf_call(buffer, undo_state) < (self.state or 0) then return nil end
  return mark.end_row, mark.end_col
end

--- Writes a piece of text; false where its buffer or its place is gone, and in the latter case why.
---@param text string
---@return boolean is_written, string? why
function Writer:write(text)
  local buffer = self.buffer
  if not api.nvim_buf_is_loaded(buffer) then return false end
  local row, column = self:place()
  if not row then return false, "its place in the buffer is gone" end
  text = text:gsub("\r", "")
  local lines = vim.split(text, "\n", { plain = true })
  local windows = self.follow and followers(buffer) or {}
  api.nvim_buf_call(buffer, function()
    end_block()
    if undo_state() == self.state then pcall(vim.cmd, "undojoin") end -- which is not allowed after an undo
    if self.is_below then
      row, self.is_below = row + 1, false
      api.nvim_buf_set_lines(buffer, row, row, true, { "" })
      set_mark(buffer, row, self.mark)
    end
    api.nvim_buf_set_text(buffer, row, column, row, column, lines)
    self.state = undo_state()
    end_block()
  end)
  for _, window in ipairs(windows) do api.nvim_win_set_cursor(window, { api.nvim_buf_line_count(buffer), 0 }) end
  self.has_text = self.has_text or text ~= ""
  return true
end

--- Says in the split why no more comes; a buffer of the user's own is left alone.
---@param note string
function Writer:note(note)
  if self.follow then self:write((self.has_text and "\n\n" or "") .. "*" .. note .. "*") end
end

--- Nothing more will be written.
function Writer:close()
  if api.nvim_buf_is_loaded(self.buffer) then api.nvim_buf_del_extmark(self.buffer, namespace, self.mark) end
end

--- Writes on a line of its own below a line of the current buffer.
---@param row integer  from 1
---@return lmm.nvim.Writer
function writer.below(row)
  local self = at(api.nvim_get_current_buf(), row - 1)
  self.is_below = true
  return self
end

--- Writes at the end of a buffer; a window that shows its end goes along.
---@param buffer integer
---@return lmm.nvim.Writer
function writer.at_end(buffer)
  local self = at(buffer, api.nvim_buf_line_count(buffer) - 1)
  self.follow = true
  return self
end

return writer
