-- usage: LUA spec/storm/program.lua blocking|luv      from the project's folder, by `make storm`
--        nvim --headless -u NONE -c "luafile spec/storm/program.lua"
--
-- A storm in a host of its own. $LMM_STORM is how many exchanges (10000), $SEED repeats a storm, $ONLY="17 23" some of
-- its exchanges. The exit status is 0 where nothing was wrong.
-- luacheck: globals vim
local lmm = require "lmm"
local storm = require "spec.storm.run"

local host = rawget(_G, "vim") and "nvim" or arg[1]

local function out(line)
  io.stdout:write(line, "\n")
  io.stdout:flush()
end

local function options()
  local only
  for number in (os.getenv "ONLY" or ""):gmatch "%d+" do
    only = only or {}
    only[#only + 1] = tonumber(number)
  end
  local seed = tonumber(os.getenv "SEED") or os.time() % 2147483648
  out(("SEED=%d, %s"):format(seed, host))
  return { seed = seed, count = tonumber(os.getenv "LMM_STORM") or 10000, only = only, out = out }
end

local function status_of(counts)
  for _, count in pairs(counts) do
    if count > 0 then return 1 end
  end
  return 0
end

--- Runs the storm as a task of a loop that somebody else runs.
local function in_task(done)
  lmm.go(function() return storm.run(options()) end, function(ok, counts)
    if not ok then out(tostring(counts)) end
    done(ok and status_of(counts) or 1)
  end)
end

if host == "nvim" then
  in_task(function(status) vim.cmd(status .. "cquit") end)
elseif host == "luv" then
  local status
  lmm.use "luv"
  in_task(function(given) status = given end)
  require("luv").run()
  os.exit(status)
else
  os.exit(status_of(storm.run(options())))
end
