--- Where an answer is written: pieces of text come in, and a buffer grows at a place that edits elsewhere move along.
-- luacheck: globals vim unpack
local api = vim.api

local page = {}

local namespace = api.nvim_create_namespace "lmm"

---@class lmm_nvim.Page
---@field buffer integer
---@field mark integer      around what has been written
---@field source integer    the buffer that the question was asked in
---@field follow boolean?   it is the split's: a window that shows its end goes along
---@field is_below boolean? the answer begins a line of its own below the mark's, which comes with the first piece
---@field has_text boolean? something has been written
---@field state integer?    the buffer's, as `undotree()` counts, after the last piece
---@field mappings table<integer, table|false>?  what `<C-c>` was in the two buffers before
local Page = {}
Page.__index = Page

--- A mark at the beginning of a line that takes in what is written there.
local function set_mark(buffer, row, id)
  return api.nvim_buf_set_extmark(buffer, namespace, row, 0, { id = id, end_row = row, end_col = 0,
    right_gravity = false, end_right_gravity = true })
end

local function at(buffer, row, source)
  return setmetatable({ buffer = buffer, mark = set_mark(buffer, row), source = source }, Page)
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
function Page:place()
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
function Page:write(text)
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
function Page:note(note)
  if self.follow then self:write((self.has_text and "\n\n" or "") .. "*" .. note .. "*") end
end

--- A buffer's own mapping of `<C-c>`, or nil.
local function mapping_of(buffer)
  for _, mapping in ipairs(api.nvim_buf_get_keymap(buffer, "n")) do
    if mapping.lhs:upper() == "<C-C>" then return mapping end
  end
end

local function map(buffer, mapping)
  local opts = { callback = mapping.callback, desc = mapping.desc }
  for _, name in ipairs { "expr", "noremap", "nowait", "replace_keycodes", "script", "silent" } do
    opts[name] = mapping[name] == 1 or nil
  end
  api.nvim_buf_set_keymap(buffer, "n", "<C-c>", mapping.rhs or "", opts)
end

--- Calls `fn` when `<C-c>` is typed in the answer's or the question's buffer, or the answer's last window is closed.
---@param fn fun()
function Page:on_leave(fn)
  self.group = api.nvim_create_augroup("lmm" .. self.buffer .. "." .. self.mark, {})
  api.nvim_create_autocmd({ "BufWinLeave", "BufUnload" }, { group = self.group, buffer = self.buffer,
    callback = vim.schedule_wrap(fn) }) -- meanwhile nothing can be written
  self.mappings = { [self.buffer] = mapping_of(self.buffer) or false, [self.source] = mapping_of(self.source) or false }
  for buffer in pairs(self.mappings) do
    vim.keymap.set("n", "<C-c>", fn, { buffer = buffer, desc = "Cancel the answer" })
  end
end

--- Nothing more will be written.
function Page:close()
  if api.nvim_buf_is_loaded(self.buffer) then api.nvim_buf_del_extmark(self.buffer, namespace, self.mark) end
  for buffer, mapping in pairs(self.mappings) do -- unless the buffer is gone
    pcall(vim.keymap.del, "n", "<C-c>", { buffer = buffer })
    if mapping then pcall(map, buffer, mapping) end
  end
  pcall(api.nvim_del_augroup_by_id, self.group) -- unless an error came before it
end

--- Below a line of the current buffer.
---@param row integer
---@return lmm_nvim.Page
function page.below(row)
  local buffer = api.nvim_get_current_buf()
  local self = at(buffer, row - 1, buffer)
  self.is_below = true
  return self
end

local scratch -- the buffer of the conversation

--- At the end of the scratch buffer, which is shown in a split unless it is in sight.
---@param heading string[]  lines to begin with
---@return lmm_nvim.Page
function page.in_split(heading)
  local source = api.nvim_get_current_buf()
  if not (scratch and api.nvim_buf_is_loaded(scratch)) then
    scratch = api.nvim_create_buf(false, true)
    vim.bo[scratch].filetype = "markdown"
    vim.bo[scratch].bufhidden = "hide"
  end
  if not vim.bo[scratch].modifiable then error("lmm: the answers' buffer is locked: :set modifiable in it", 0) end
  if vim.fn.bufwinid(scratch) == -1 then
    local before = api.nvim_get_current_win()
    vim.cmd("botright split")
    api.nvim_win_set_buf(0, scratch)
    vim.wo.wrap, vim.wo.linebreak = true, true
    api.nvim_set_current_win(before)
  end
  local is_empty = api.nvim_buf_line_count(scratch) == 1 and api.nvim_buf_get_lines(scratch, 0, 1, true)[1] == ""
  if not is_empty then table.insert(heading, 1, "") end
  vim.list_extend(heading, { "", "" })
  api.nvim_buf_set_lines(scratch, is_empty and 0 or -1, -1, true, heading)
  local last = api.nvim_buf_line_count(scratch)
  for _, window in ipairs(vim.fn.win_findbuf(scratch)) do api.nvim_win_set_cursor(window, { last, 0 }) end
  local self = at(scratch, last - 1, source)
  self.follow = true
  return self
end

--- Empties the scratch buffer.
function page.clear()
  if scratch and api.nvim_buf_is_loaded(scratch) then api.nvim_buf_set_lines(scratch, 0, -1, true, {}) end
end

return page
