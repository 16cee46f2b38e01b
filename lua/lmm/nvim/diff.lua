--- A change of some lines that the user is to accept or to take back: the lines as they were and as they are now come
--- in; until the user has decided, the buffer shows both.
-- luacheck: globals vim unpack
local keys = require "lmm.nvim.keys"

local api = vim.api

local diff = {}

local namespace = api.nvim_create_namespace "lmm.diff"
local compare = vim.text and vim.text.diff or vim.diff -- as it was called before 0.12

local HINT = " ga accepts, gr or u takes it back"

---@class lmm.nvim.Diff
---@field buffer integer
---@field mark integer       around the new lines
---@field before string[]    the lines as they were
---@field is_above boolean?   some of them are shown above the buffer's first line
---@field state integer      the buffer's, as `undotree()` counts, after the change
---@field restore_keys fun()
---@field group integer      of autocommands
local Diff = {}
Diff.__index = Diff

local pending -- the one that waits for the user

local function undo_state()
  return api.nvim_eval "undotree().seq_cur"
end

--- A line as virtual text, which shows no tabs.
local function virtual_line(buffer, line)
  return { { (line .. " "):gsub("\t", (" "):rep(vim.bo[buffer].tabstop)), "DiffDelete" } }
end

--- Makes room for so many virtual lines above the first line, where a window begins with it: they are not shown else,
--- and Neovim 0.7 keeps the room when they are gone.
local function set_room_above(buffer, count)
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    api.nvim_win_call(window, function()
      if vim.fn.winsaveview().topline == 1 then vim.fn.winrestview { topfill = count } end
    end)
  end
end

--- Shows the lines that went, under a line.
---@param row integer  from 0; -1 is above the first line
local function show_deleted(buffer, row, lines)
  local virtual = {}
  for i, line in ipairs(lines) do virtual[i] = virtual_line(buffer, line) end
  api.nvim_buf_set_extmark(buffer, namespace, math.max(row, 0), 0, { virt_lines = virtual, virt_lines_above = row < 0 })
  if row < 0 then set_room_above(buffer, #lines) end
end

--- Marks what differs: the old lines are shown in red above the new ones, which are green.
---@return integer row         the first that differs
---@return boolean is_above    lines are shown above the buffer's first one
local function show(buffer, first, before, after)
  local old_text, new_text = table.concat(before, "\n") .. "\n", table.concat(after, "\n") .. "\n"
  local top, is_above
  for _, hunk in ipairs(compare(old_text, new_text, { result_type = "indices" })) do
    local old, old_count, new, new_count = unpack(hunk)
    local row = first + new - (new_count > 0 and 1 or 0) -- of the first new line, or the one behind what went
    if old_count > 0 then show_deleted(buffer, row - 1, vim.list_slice(before, old, old + old_count - 1)) end
    if new_count > 0 then
      api.nvim_buf_set_extmark(buffer, namespace, row, 0, { end_row = row + new_count, end_col = 0,
        hl_group = "DiffAdd", hl_eol = true, strict = false })
    end
    top, is_above = top or math.min(row, first + #after - 1), is_above or row == 0 and old_count > 0
  end
  return top, is_above
end

--- Nothing is marked any more, and the keys are the user's again.
function Diff:close()
  if pending ~= self then return end
  pending = nil
  self.restore_keys()
  api.nvim_del_augroup_by_id(self.group)
  if not api.nvim_buf_is_loaded(self.buffer) then return end
  api.nvim_buf_clear_namespace(self.buffer, namespace, 0, -1)
  if self.is_above then set_room_above(self.buffer, 0) end
end

function Diff:reject()
  local row, _, mark = unpack(api.nvim_buf_get_extmark_by_id(self.buffer, namespace, self.mark, { details = true }))
  local is_last = api.nvim_buf_call(self.buffer, undo_state) == self.state
  self:close()
  if is_last then
    api.nvim_buf_call(self.buffer, function() vim.cmd "silent undo" end)
  else
    api.nvim_buf_set_lines(self.buffer, row, mark.end_row + 1, false, self.before)
  end
end

--- Ends it when the change has been undone, or the buffer is gone.
local function watch(self)
  self.group = api.nvim_create_augroup("lmm.diff", {})
  api.nvim_create_autocmd({ "TextChanged", "TextChangedI" }, { group = self.group, buffer = self.buffer,
    callback = function()
      if undo_state() < self.state then self:close() end
    end })
  api.nvim_create_autocmd("BufUnload", { group = self.group, buffer = self.buffer,
    callback = vim.schedule_wrap(function() self:close() end) })
end

--- Shows a change that has just been made. One that is shown already is accepted by that.
---@param buffer integer
---@param first integer     the row of the first new line, from 0
---@param before string[]   the lines that stood there
---@param after string[]    the lines that stand there now, which differ
function diff.show(buffer, first, before, after)
  diff.accept()
  local top, is_above = show(buffer, first, before, after)
  vim.cmd "highlight default link LmmHint Comment"
  api.nvim_buf_set_extmark(buffer, namespace, top, 0, { virt_text = { { HINT, "LmmHint" } } })
  local last = first + #after - 1
  local mark = api.nvim_buf_set_extmark(buffer, namespace, first, 0, { end_row = last, end_col = #after[#after],
    right_gravity = false, end_right_gravity = true })
  local self = setmetatable({ buffer = buffer, mark = mark, before = before, is_above = is_above,
    state = api.nvim_buf_call(buffer, undo_state) }, Diff)
  self.restore_keys = keys.map({ buffer }, {
    ga = { fn = diff.accept, desc = "Keep the model's text" },
    gr = { fn = diff.reject, desc = "Put back what the model's text replaced" },
  })
  watch(self)
  pending = self
end

--- Keeps the change that is shown.
---@return boolean is_done  false: none is
function diff.accept()
  if not pending then return false end
  local is_there = api.nvim_buf_is_loaded(pending.buffer)
  pending:close()
  return is_there
end

--- Takes the change that is shown back.
---@return boolean is_done  false: none is
function diff.reject()
  if not pending or not api.nvim_buf_is_loaded(pending.buffer) then return false end
  pending:reject()
  return true
end

return diff
