--- A folder of its own for a spec of programs that start others: programs that stand in the place of real ones, a shell
--- that finds them first, and files.
local process = require "spec.support.process"

local stand_ins = {}

---@class lmm.spec.StandIns
---@field folder string
---@field program fun(name: string, script: string): string  makes a program of a shell's script; gives its path
---@field run fun(script: string): string, string, integer?  a script's output, its errors and its status
---@field remove fun()

---@return lmm.spec.StandIns
function stand_ins.new()
  local folder = process.shell "mktemp -d":match "%S+"
  local self = { folder = folder }

  function self.program(name, script)
    os.execute(("mkdir -p %s/bin"):format(folder))
    local path = process.write(folder .. "/bin/" .. name, "#!/bin/sh\n" .. script .. "\n")
    os.execute("chmod +x " .. path)
    return path
  end

  function self.run(script)
    local errors = folder .. "/errors"
    local text = process.shell(("PATH=%s/bin:$PATH\n{ %s\n} 2>%s; echo \"status $?\""):format(folder, script, errors))
    local out, status = text:match "^(.*)status (%d+)\n$"
    return out, process.read(errors), tonumber(status)
  end

  function self.remove() os.execute("rm -rf " .. process.quote(folder)) end

  return self
end

return stand_ins
