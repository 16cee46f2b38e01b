--- Whether a command logs what it asks: its options come in; options of lmm.connect go out.
local console = require "lmm.cli.console"

local logging = {}

--- Says that the log cannot be used. On a terminal this stands on a line of its own.
local function report(_, text)
  require "lmm.cli.progress".clear()
  if console.is_terminal(1) then console.break_line() end
  console.note("%s", text)
end

---@param command table
---@param has_cache boolean?
function logging.declare(command, has_cache)
  command:flag("--no-log", "Do not log this (see lmm log).")
  if not has_cache then return end
  command:flag("--cache", "Answer from the log what was asked before at temperature=0 or with a seed.")
end

--- Adds what the client is to log to its options. Where nobody has said anything, and SQLite's module for Lua is not
--- there, nothing is logged: `lmm log` says so.
---@param options table  of lmm.connect
---@return table options
function logging.apply(options, args)
  if args.no_log then
    if args.cache then console.misuse "--cache answers from the log, and --no-log is given" end
    return options
  end
  local log = require "lmm.log"
  if not args.cache and not (log.is_on() and (os.getenv "LMM_LOG" or log.is_installed())) then return options end
  options.log, options.cache = log.default_path(), args.cache
  require "lmm.loop".current().report = report
  return options
end

return logging
