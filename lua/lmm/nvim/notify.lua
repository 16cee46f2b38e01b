--- What is told to the user: a message, or what was raised, comes in; a notification of one line goes out.
-- luacheck: globals vim
local notify = {}

--- What was raised, on one line. The place in front of a message of the library's is dropped: it is a line of this
--- plugin, which handed a setting on. The editor's own errors go on with a traceback.
---@param problem any
---@return string
function notify.line(problem)
  return (tostring(problem):match("^[^\n]*"):gsub("^[^\n]-:%d+: lmm: ", "lmm: "))
end

---@param problem any
function notify.error(problem)
  vim.notify(notify.line(problem), vim.log.levels.ERROR, { title = "lmm" })
end

---@param message string
function notify.info(message)
  vim.notify("lmm: " .. message, vim.log.levels.INFO, { title = "lmm" })
end

return notify
