--- The Neovim plugin, for people's own mappings and plugins: questions come in, answers go into buffers. Its parts are
--- loaded with their first use. `:help lmm` describes the commands; plugin/lmm.lua defines them.
---@class lmm.nvim
local M = {}

--- Sets what `lmm.connect` takes (`base_url`, `api_key`, `model`, ...); `system`, the system message; and `params`, the
--- fields that go along with each request, by the server's names. Without it the environment alone decides.
--- Unknown options raise. It begins a new conversation.
---@param opts lmm.NvimOptions?
function M.setup(opts)
  require("lmm.nvim.session").setup(opts)
end

--- Asks in the conversation. The answer is streamed into the split.
---@param question string
---@param opts lmm.NvimAskOptions?
function M.ask(question, opts)
  require("lmm.nvim.session").ask(question, opts)
end

--- Asks for what is to stand in the place of some lines of the current buffer, puts it there and shows the difference.
---@param question string
---@param opts lmm.NvimReplaceOptions
function M.replace(question, opts)
  local selected = require("lmm.nvim.selection").of_lines(opts.first, opts.last)
  require("lmm.nvim.session").replace(question, selected, opts.images)
end

--- Keeps what `replace` has put into the buffer.
---@return boolean is_done  false: nothing waits to be accepted
function M.accept()
  return require("lmm.nvim.diff").accept()
end

--- Puts back what `replace` replaced.
---@return boolean is_done  false: nothing waits to be accepted
function M.reject()
  return require("lmm.nvim.diff").reject()
end

--- Shows the conversation in the split.
function M.show()
  require("lmm.nvim.session").show()
end

--- Cancels the answer that is under way, if any; the server sees the connection close.
function M.stop()
  require("lmm.nvim.session").stop()
end

--- Ends the conversation; the next question begins another.
function M.reset()
  require("lmm.nvim.session").reset()
end

--- The client, made of the settings, for calls of your own. It raises where they are refused, or the library does not
--- load.
---@return lmm.Client
function M.client()
  return require("lmm.nvim.session").client()
end

--- Asks this model from now on.
---@param name string
function M.model(name)
  require("lmm.nvim.session").model(name)
end

--- The names of the server's models that begin with `lead`. It waits for the server, 2 seconds at most; why there is no
--- answer is told.
---@param lead string
---@return string[]
function M.models(lead)
  return require("lmm.nvim.session").models(lead)
end

--- Carries out a command of plugin/lmm.lua.
---@private
---@param action string
---@param given table  what Neovim hands to a command's function
function M.run(action, given)
  require("lmm.nvim.command").run(action, given)
end

--- Completes a path in a command, for plugin/lmm.lua. See `:help command-completion-customlist`.
---@private
---@return string[]
function M.complete(lead, line, position)
  return require("lmm.nvim.command").complete(lead, line, position)
end

return M
