-- usage: LUA spec/storm/program.lua blocking|luv|nvim|nginx      from the project's folder, by `make storm`
--
-- A storm in a host of its own. $LMM_STORM is how many exchanges (10000), $SEED repeats a storm, $ONLY="17 23" some of
-- its exchanges. The exit status is 0 where nothing was wrong.
-- luacheck: globals vim ngx
local lmm = require "lmm"
local shell = require "spec.support.shell"
local storm = require "spec.storm.run"

local M = {}

--- What the environment asks for, with a seed in any case.
local function wishes()
  return {
    seed = tonumber(os.getenv "SEED") or os.time() % 2147483648,
    count = tonumber(os.getenv "LMM_STORM") or 10000,
    only = os.getenv "ONLY" or "",
  }
end

--- Runs the storm, telling `out`; gives the exit status.
local function run(wish, out)
  local only
  for number in wish.only:gmatch "%d+" do
    only = only or {}
    only[#only + 1] = tonumber(number)
  end
  local status = 0
  for _, count in pairs(storm.run { seed = wish.seed, count = wish.count, only = only, out = out }) do
    if count > 0 then status = 1 end
  end
  return status
end

local function print_line(line)
  io.stdout:write(line, "\n")
  io.stdout:flush()
end

--- Runs it as a task of a loop that somebody else runs.
local function in_task(done)
  lmm.go(function() return run(wishes(), print_line) end, function(ok, status)
    if not ok then print_line(tostring(status)) end
    done(ok and status or 1)
  end)
end

--- Inside nginx: its last line is the exit status.
function M.in_request(wish)
  ngx.say(run(wish, function(line)
    ngx.say(line)
    ngx.flush(true)
  end))
end

local hosts = {}

function hosts.blocking(wish)
  return run(wish, print_line)
end

function hosts.luv()
  local status
  lmm.use "luv"
  in_task(function(given) status = given end)
  require("luv").run()
  return status
end

function hosts.nvim(wish)
  local command = require("spec.support.nvim").command("nvim", "spec/storm/program.lua")
  local done = os.execute(("SEED=%d LMM_STORM=%d ONLY=%s %s"):format(wish.seed, wish.count, shell.quote(wish.only),
    command))
  return (done == true or done == 0) and 0 or 1
end

--- nginx notes each reset that the server of the storm does: its log is not looked at.
function hosts.nginx(wish)
  local server = require("spec.support.nginx").start {}
  local code = "require('spec.storm.program').in_request { seed = %d, count = %d, only = %q }"
  local last
  local pipe = assert(io.popen(server:command(code:format(wish.seed, wish.count, wish.only), "-N")))
  for line in pipe:lines() do
    if last then print_line(last) end
    last = line
  end
  pipe:close()
  pcall(server.stop, server)
  return last == "0" and 0 or 1
end

if rawget(_G, "vim") then
  in_task(function(status) vim.cmd(status .. "cquit") end)
elseif ... ~= "spec.storm.program" then
  local wish = wishes()
  print_line(("SEED=%d, %s"):format(wish.seed, arg[1]))
  os.exit(hosts[arg[1]](wish))
end

return M
