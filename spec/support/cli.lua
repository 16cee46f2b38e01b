--- Runs bin/lmm as a program of its own, which finds modules where this process does.
--
-- In:  words, standard input and environment, or a shell script around the program.
-- Out: what it wrote to standard output and standard error, and its exit status.

local assert = require "luassert"
local shell = require "spec.support.shell"

local cli = {}

local quote = shell.quote

---@class lmm.spec.Run
---@field out string
---@field err string
---@field status integer?

---@class lmm.spec.Program
---@field command fun(words: string[]): string  what a shell runs the program by
---@field write fun(name: string, text: string): string  writes a scratch file; gives its path
---@field shell fun(script: string, env: table?): lmm.spec.Run  runs a script that writes to $out, $err and $status
---@field run fun(words: string[], input: string?, env: table?): lmm.spec.Run
---@field remove fun()  removes the scratch files

--- It did what it should and had nothing to complain about; gives what it printed.
---@param run lmm.spec.Run
function cli.answered(run)
  assert.equal("", run.err)
  assert.equal(0, run.status)
  return run.out
end

--- It ended with that status and one line on standard error; gives what it printed.
---@param run lmm.spec.Run
function cli.complained(run, status, pattern)
  assert.matches("^lmm: [^\n]*\n$", run.err)
  assert.matches(pattern, run.err)
  assert(not run.err:find "traceback" and not run.err:find "%.lua:%d", run.err)
  assert.same(status, run.status)
  return run.out
end

--- The program with this environment; a call may add to it.
---@param environment table<string, string>
---@return lmm.spec.Program
function cli.new(environment)
  local program, prefix, written = {}, os.tmpname(), {}

  function program.command(words)
    local out = { quote(arg[-1]), "bin/lmm" }
    for i, word in ipairs(words) do out[i + 2] = quote(word) end
    return table.concat(out, " ")
  end

  function program.write(name, text)
    local path = shell.write(prefix .. "." .. name, text)
    written[path] = true
    return path
  end

  local function read(name) return shell.read(prefix .. "." .. name) end

  -- The script is run from a file, so that nothing of the environment stands in a command line.
  function program.shell(script, env)
    local lines = {}
    local function export(name, value) lines[#lines + 1] = "export " .. name .. "=" .. quote(value) end
    for _, name in ipairs { "out", "err", "status" } do export(name, program.write(name, "")) end
    export("LMM_LOG", "off")
    export("LUA_PATH", package.path)
    export("LUA_CPATH", package.cpath)
    for name, value in pairs(environment) do export(name, value) end
    for name, value in pairs(env or {}) do export(name, value) end
    os.execute("sh " .. quote(program.write("sh", table.concat(lines, "\n") .. "\n" .. script)))
    return { out = read "out", err = read "err", status = tonumber(read "status") }
  end

  function program.run(words, input, env)
    local stdin = program.write("in", input or "")
    return program.shell(program.command(words) .. " <" .. quote(stdin) .. " >$out 2>$err; echo $? >$status", env)
  end

  function program.remove()
    os.remove(prefix)
    for path in pairs(written) do os.remove(path) end
  end

  return program
end

return cli
