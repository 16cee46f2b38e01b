--- What is in a log: its path comes in; its exchanges, whole, the oldest first, go out.
local logs = require "lmm.log"

return function(path)
  local log = assert(logs.open(path))
  local rows, out = assert(log:list()), {}
  for i, row in ipairs(rows) do out[#rows + 1 - i] = assert(log:get(row.id)) end
  log:close()
  return out
end
