--- The commands of the plugin. Neovim reads this file when it starts; nothing else is loaded before one of them is
--- used.
-- luacheck: globals vim
if vim.g.loaded_lmm then return end
vim.g.loaded_lmm = true

--- A command of this name, which `require("lmm.nvim").run(action, arguments)` carries out.
local function command(name, action, opts)
  vim.api.nvim_create_user_command(name, function(arguments)
    require("lmm.nvim").run(action, arguments)
  end, opts)
end

-- The completion is a function: with "file", Neovim would expand % and ` in a question.
local function complete(...)
  return require("lmm.nvim").complete(...)
end

command("Lmm", "ask", { nargs = "*", bang = true, range = true, complete = complete,
  desc = "Ask a multimodal model; alone: show the conversation" })
command("LmmReplace", "replace", { nargs = "+", range = true, complete = complete,
  desc = "Put a model's answer in place of the selection" })
command("LmmAccept", "accept", { desc = "Keep what :LmmReplace put there" })
command("LmmReject", "reject", { desc = "Put back what :LmmReplace replaced" })
command("LmmStop", "stop", { desc = "Cancel the answer that is under way" })
command("LmmNew", "reset", { desc = "Begin a new conversation" })
command("LmmModel", "model", { nargs = "?", desc = "Choose the model to ask, or tell which one it is",
  complete = function(lead) return require("lmm.nvim").models(lead) end })
