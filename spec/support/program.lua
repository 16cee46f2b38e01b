--- Lua programs in a process of their own: the text of one comes in; what it printed and how it ended go out.
--
-- A program finds modules where this process does, and is wrapped as the specs are ($LMM_TEST_WRAP).

local process = require "spec.support.process"

local program = {}

local LIMIT = 60 -- seconds, after which a program is ended: status 124

---@class lmm.spec.Ended
---@field status integer?
---@field out string
---@field err string

--- Runs a program, its arguments in `...`, to its end.
---@param text string
---@param words string[]?
---@param prefix string?  of the shell's command: variables of the environment
---@return lmm.spec.Ended
function program.run(text, words, prefix)
  local name = os.tmpname()
  local list = {}
  for i, word in ipairs(words or {}) do list[i] = process.quote(tostring(word)) end
  process.write(name, text)
  -- What `env` would set is in the environment already, and the prefix may have added to it.
  local wrap = os.getenv "LMM_TEST_WRAP" or ""
  local paths = ("LUA_PATH=%s LUA_CPATH=%s"):format(process.quote(package.path), process.quote(package.cpath))
  local command = ("timeout %d %s %s %s %s"):format(LIMIT, wrap:find "^env " and "" or wrap, process.quote(arg[-1]),
    name, table.concat(list, " "))
  os.execute(("%s %s %s </dev/null >%s.out 2>%s.err; echo $? >%s.status"):format(paths, prefix or "", command,
    name, name, name))
  local ended = {
    status = tonumber(process.read(name .. ".status")), out = process.read(name .. ".out"),
    err = process.read(name .. ".err"),
  }
  for _, suffix in ipairs { "", ".out", ".err", ".status" } do os.remove(name .. suffix) end
  return ended
end

--- Builds a shared library from a file of C beside this one.
---@return string path  remove it
function program.library(name)
  local path = os.tmpname()
  local command = "env -u LD_PRELOAD cc -shared -fPIC -D_GNU_SOURCE -o %s.so spec/support/%s.c 2>&1; echo status $?"
  local said = process.shell(command:format(path, name))
  os.remove(path)
  if not said:find "status 0\n$" then error("the library " .. name .. " was not built: " .. said) end
  return path .. ".so"
end

return program
