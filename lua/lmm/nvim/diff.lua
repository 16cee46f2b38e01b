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

--- Shows the lines that went, under a line; above the first one, where there is none, a window that begins with it is
--- scrolled to show them.
---@param row integer  from 0; -1 is above the first line
local function show_deleted(buffer, row, lines)
  local virtual = {}
  for i, line in ipairs(lines) do virtual[i] = virtual_line(buffer, line) end
  api.nvim_buf_set_extmark(buffer, namespace, math.max(row, 0), 0, { virt_lines = virtual, virt_lines_above = row < 0 })
  if row >= 0 then return end
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    api.nvim_win_call(window, function()
      if vim.fn.winsaveview().topline == 1 then vim.fn.winrestview { topfill = #lines } end
    end)
  end
end

--- Marks what differs: the old lines are shown in red above the new ones, which are green.
---@return integer? row  the first that differs
local function show(buffer, first, before, after)
  local old_text, new_text = table.concat(before, "\n") .. "\n", table.concat(after, "\n") .. "\n"
  local top
  for _, hunk in ipairs(compare(old_text, new_text, { result_type = "indices" })) do
    local old, old_count, new, new_count = unpack(hunk)
    local row = first + new - (new_count > 0 and 1 or 0) -- of the first new line, or the one behind what went
    if old_count > 0 then show_deleted(buffer, row - 1, vim.list_slice(before, old, old + old_count - 1)) end
    if new_count > 0 then
      api.nvim_buf_set_extmark(buffer, namespace, row, 0, { end_row = row + new_count, end_col = 0,
        hl_group = "DiffAdd", hl_eol = true, strict = false })
    end
    top = top or math.min(row, first + #after - 1)
  end
  return top
end

--- Nothing is marked any more, and the keys are the user's again.
function Diff:close()
  if pending ~= self then return end
  pending = nil
  self.restore_keys()
  api.nvim_del_augroup_by_id(self.group)
  if api.nvim_buf_is_loaded(self.buffer) then api.nvim_buf_clear_namespace(self.buffer, namespace, 0, -1) end
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
---@param after string[]    the lines that stand there now
---@return boolean differs  else there is nothing to show
function diff.show(buffer, first, before, after)
  diff.accept()
  local top = show(buffer, first, before, after)
  if not top then return false end
  api.nvim_buf_set_extmark(buffer, namespace, top, 0, { virt_text = { { HINT, "LmmHint" } } })
  vim.cmd "highlight default link LmmHint Comment"
  local last = first + #after - 1
  local mark = api.nvim_buf_set_extmark(buffer, namespace, first, 0, { end_row = last, end_col = #after[#after],
    right_gravity = false, end_right_gravity = true })
  local self = setmetatable({ buffer = buffer, mark = mark, before = before,
    state = api.nvim_buf_call(buffer, undo_state) }, Diff)
  self.restore_keys = keys.map({ buffer }, {
    ga = { fn = diff.accept, desc = "Keep the model's text" },
    gr = { fn = diff.reject, desc = "Put back what the model's text replaced" },
  })
  watch(self)
  pending = self
  return true
end

--- Keeps the change that is shown.
---@return boolean is_done  false: none is
function diff.accept()
  if not pending then return false end
  pending:close()
  return true
end

--- Takes the change that is shown back.
---@return boolean is_done  false: none is
function diff.reject()
  if not pending then return false end
  pending:reject()
  return true
end

return diff
