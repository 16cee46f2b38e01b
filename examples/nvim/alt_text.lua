--- A plugin of your own: `:AltText` writes the alternative text of the Markdown image under the cursor.
--
-- Put it into ~/.config/nvim/plugin, or try it with `:source %`. The editor goes on while the model looks.
-- luacheck: globals vim
local lmm = require "lmm"

local QUESTION = "Write the alternative text of this image: one plain sentence, without quotes."
local namespace = vim.api.nvim_create_namespace "alt_text"
local client

--- The image under the cursor: its path, and where its text is to stand, in bytes from 0.
local function image_under_cursor()
  local cursor = vim.api.nvim_win_get_cursor(0)[2] + 1
  for first, text, path, last in vim.api.nvim_get_current_line():gmatch "()!%[([^%]]*)%]%(([^%s)]+)[^)]*%)()" do
    if first <= cursor and cursor < last then return path, first + 1, first + 1 + #text end
  end
end

vim.api.nvim_create_user_command("AltText", function()
  local path, from, to = image_under_cursor()
  if not path then return vim.notify("there is no image under the cursor", vim.log.levels.WARN) end
  if not path:find "^%a+:" then path = vim.fn.expand "%:p:h" .. "/" .. path end
  client = client or lmm.connect()
  local buffer, row = vim.api.nvim_get_current_buf(), vim.api.nvim_win_get_cursor(0)[1] - 1
  local mark = vim.api.nvim_buf_set_extmark(buffer, namespace, row, from, { end_row = row, end_col = to,
    virt_text = { { "looking at it ...", "Comment" } } })
  lmm.go(function()
    local reply = assert(client:conversation():ask(QUESTION, lmm.image(path), { max_tokens = 100 }))
    return (vim.trim(reply.text):gsub("%s+", " "):gsub("[%[%]]", "\\%0"))
  end, function(ok, text)
    local place = vim.api.nvim_buf_get_extmark_by_id(buffer, namespace, mark, { details = true })
    vim.api.nvim_buf_del_extmark(buffer, namespace, mark)
    if not ok then return vim.notify(text, vim.log.levels.ERROR) end
    vim.api.nvim_buf_set_text(buffer, place[1], place[2], place[3].end_row, place[3].end_col, { text })
  end)
end, { desc = "Write the alternative text of the image under the cursor" })
