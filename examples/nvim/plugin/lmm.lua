--- The commands. Nothing else is loaded before one of them is used.
-- luacheck: globals vim
local command = vim.api.nvim_create_user_command

command("Lmm", function(given)
  require("lmm_nvim").command(given)
end, {
  nargs = "+", bang = true, range = true,
  complete = function(...) return require("lmm_nvim").complete(...) end, -- with "file", % and ` would be expanded
  desc = "Ask a multimodal model",
})

command("LmmStop", function()
  require("lmm_nvim").stop()
end, { desc = "Cancel the answer that is under way" })

command("LmmNew", function()
  require("lmm_nvim").forget()
end, { desc = "Begin a new conversation" })

command("LmmModel", function(given)
  require("lmm_nvim").model(given.args)
end, {
  nargs = "?",
  complete = function(lead) return require("lmm_nvim").models(lead) end,
  desc = "Choose the model to ask, or tell which one it is",
})
