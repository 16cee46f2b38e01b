--- The names of the files of a run, and of the process that runs it: the path of its output comes in.
local core = require "lmm.core"

local paths = {}

local function base(path) return (path:gsub("%.jsonl$", "")) end

--- out.errors.jsonl for out.jsonl.
function paths.errors(path) return base(path) .. ".errors.jsonl" end

--- out.run for out.jsonl.
function paths.run(path) return base(path) .. ".run" end

function paths.is_errors(path) return path:find "%.errors%.jsonl$" ~= nil end

--- What is wrong with the name of an output; nil where nothing is, or where it is the name of what is no file. Two
--- outputs share nothing that stands beside them, as o and o.jsonl would.
---@return string?
function paths.problem(path)
  local kind = require("lmm.version").check("lmm.files").kind(path)
  if kind and kind ~= "file" then return nil end
  if paths.is_errors(path) then return ("'%s' is the name of a file of errors: name another output"):format(path) end
  if path:find "%.jsonl$" then return nil end
  return ("the name of an output ends in .jsonl: '%s.jsonl', not '%s'"):format(path, path)
end

local function first_line(path)
  local file = io.open(path, "rb")
  local line = file and file:read "*l"
  if file then file:close() end
  return line
end

--- Who runs: the machine, the process, and when it began, as far as Linux tells.
---@return { host: string?, pid: integer, time: string }
function paths.process()
  return {
    host = first_line "/proc/sys/kernel/hostname",
    pid = core.pid(),
    time = os.date "!%Y-%m-%dT%H:%M:%SZ",
  }
end

return paths
