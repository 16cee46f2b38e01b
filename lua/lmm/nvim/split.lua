--- The conversation as the user sees it: questions come in; a buffer holds them, each with its answer under it, and a
--- split shows it.
-- luacheck: globals vim
local writer = require "lmm.nvim.writer"

local api = vim.api

local split = {}

local scratch -- the buffer, once there was a question

--- Makes the buffer unless it is there; raises where it cannot be changed.
function split.prepare()
  if not (scratch and api.nvim_buf_is_loaded(scratch)) then
    scratch = api.nvim_create_buf(false, true)
    vim.bo[scratch].filetype = "markdown"
    vim.bo[scratch].bufhidden = "hide"
  end
  if not vim.bo[scratch].modifiable then error("lmm: the answers' buffer is locked: :set modifiable in it", 0) end
end

--- Shows the buffer's end in a split below, unless it is in sight.
function split.show()
  if vim.fn.bufwinid(scratch) ~= -1 then return end
  local before = api.nvim_get_current_win()
  vim.cmd "botright split"
  api.nvim_win_set_buf(0, scratch)
  vim.wo.wrap, vim.wo.linebreak = true, true
  api.nvim_win_set_cursor(0, { api.nvim_buf_line_count(scratch), 0 })
  api.nvim_set_current_win(before)
end

--- Writes a question at the end of the buffer; its answer goes under it.
---@param question string
---@return lmm.nvim.Writer
function split.writer(question)
  local heading = vim.split("> " .. question:gsub("\n", "\n> "), "\n", { plain = true })
  local is_empty = api.nvim_buf_line_count(scratch) == 1 and api.nvim_buf_get_lines(scratch, 0, 1, true)[1] == ""
  if not is_empty then table.insert(heading, 1, "") end
  vim.list_extend(heading, { "", "" })
  api.nvim_buf_set_lines(scratch, is_empty and 0 or -1, -1, true, heading)
  local last = api.nvim_buf_line_count(scratch)
  for _, window in ipairs(vim.fn.win_findbuf(scratch)) do api.nvim_win_set_cursor(window, { last, 0 }) end
  return writer.at_end(scratch)
end

--- Empties the buffer.
function split.clear()
  if scratch and api.nvim_buf_is_loaded(scratch) then api.nvim_buf_set_lines(scratch, 0, -1, true, {}) end
end

return split
