-- The fuzz targets over what is known to be worth trying: the corpora in spec/fuzz/corpus. No fuzzer is needed, only a
-- C compiler. `make fuzz` looks for what is not known yet.

local process = require "spec.support.process"
local shell = require "spec.support.shell"

local quote = process.quote
local version = _VERSION:match "%d%.%d"
local compiler = os.getenv "CC" or "cc"
local headers = os.getenv "LUA_INCDIR" or "/usr/include/lua" .. version
local folder = "build/fuzz/lua" .. version .. (os.getenv "VARIANT" or "")

local targets = { "sse", "read", "grow", "answer", "base64", "sniff", "body", "utf8", "head", "retry",
  "write" }
local more = { sniff = "spec/media/*" }
local sources = {} -- the C files of lmm.core
for name in shell.read "Makefile":match "\nCORE%s*:= ([^\n]*)":gmatch "%S+" do sources[#sources + 1] = name end

--- What a script prints, and then "exit" with its code. Nothing is preloaded into the compiler.
local function run(script)
  return process.shell("unset LD_PRELOAD; { " .. script .. "\n} 2>&1; echo \"exit $?\"")
end

local function missing()
  if run("command -v " .. compiler):find "exit 1" then return "there is no C compiler" end
  if not process.read(headers .. "/lua.h") then return "there is no lua.h in " .. headers end
end

--- Builds each target with a main that reads files; gives what went wrong.
local function build()
  local cc = table.concat({ compiler, "-std=c99 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I" .. quote(headers),
    os.getenv "OPTIMISE" or "-O1", os.getenv "CFLAGS" or "-g" }, " ")
  local lines = { "mkdir -p " .. quote(folder), "pids=" }
  local function start(command) lines[#lines + 1] = command .. " & pids=\"$pids $!\"" end
  local function finish() lines[#lines + 1] = "for pid in $pids; do wait $pid || exit; done; pids=" end
  local objects = {}
  local function compile(path)
    objects[#objects + 1] = quote(folder .. "/" .. path:match "[^/]+$" .. ".o")
    start(cc .. " -c -o " .. objects[#objects] .. " " .. path .. ".c")
  end
  for _, name in ipairs(sources) do compile("src/" .. name) end
  compile "spec/fuzz/replay"
  finish()
  local rest = table.concat(objects, " ") .. " -lb64 -llua" .. version .. " -lm -ldl -pthread"
  for _, name in ipairs(targets) do
    start(cc .. " -o " .. quote(folder .. "/fuzz_" .. name) .. " spec/fuzz/" .. name .. ".c " .. rest)
  end
  finish()
  return run("( " .. table.concat(lines, "\n") .. " )")
end

describe("the corpus of", function()
  local skipped, built

  setup(function()
    skipped = missing()
    built = not skipped and build()
  end)

  for _, name in ipairs(targets) do
    it(name, function()
      if skipped then return pending(skipped) end
      assert.matches("exit 0\n$", built)
      local text = run(("%s/fuzz_%s spec/fuzz/corpus/%s/* %s"):format(quote(folder), name, name, more[name] or ""))
      assert.truthy(text:find "exit 0\n$", text:sub(-2000)) -- the last file named is the one that failed
      assert.truthy(select(2, text:gsub("\n", "")) > 5, "hardly any files")
    end)
  end
end)
