--- Processes that this one starts: a model server's command comes in, and a server that answers goes out; or a Lua
--- program comes in, and a child process goes out. Each file is loaded when it is first used.

---@class lmm.server
---@field child { start: function, ready: function }  see lmm/server/child.lua
local server = {}

--- Starts a model server as a child process and waits until it answers. See lmm.serve.
---@param opts table  see lmm/server/serve.lua
---@return lmm.Server? server, string? message, lmm.Error? err
function server.start(opts)
  return require("lmm.server.serve").start(opts)
end

--- Keeps a model server running: starts it again when it dies.
---@param opts lmm.KeeperOptions  see lmm/server/keeper.lua
---@return lmm.Keeper
function server.keep(opts)
  return require("lmm.server.keeper").start(opts)
end

return setmetatable(server, {
  __index = function(_, name) return name == "child" and require "lmm.server.child" or nil end,
})
