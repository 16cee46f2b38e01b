-- usage: LUA spec/storm/program.lua blocking|tcp|luv|nvim|nginx      from the project's folder, by `make storm`
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

--- What `storm` takes for this.
local function options(wish, out)
  local only
  for number in wish.only:gmatch "%d+" do
    only = only or {}
    only[#only + 1] = tonumber(number)
  end
  return { seed = wish.seed, count = wish.count, only = only, out = out }
end

local function status_of(counts)
  for _, count in pairs(counts) do
    if count > 0 then return 1 end
  end
  return 0
end

--- Runs the storm, telling `out`; gives the exit status.
local function run(wish, out)
  return status_of(storm.run(options(wish, out)))
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

local current -- the storm in an nginx worker

--- Inside nginx, a request for each thousand: what a request takes of nginx's memory is given back as it ends. Its last
--- line is the exit status, or "more".
function M.in_request(wish)
  local function out(line)
    ngx.say(line)
    ngx.flush(true)
  end
  current = current or storm.new(options(wish, out))
  current.out = out
  ngx.say(current:step() and "more" or status_of(current:finish()))
end

local hosts = {}

function hosts.blocking(wish)
  return run(wish, print_line)
end

--- The command's transport.
function hosts.tcp(wish)
  require("lmm.loop").current().transport = "tcp"
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
  local command = server:command(code:format(wish.seed, wish.count, wish.only), "-N")
  local last
  repeat
    last = nil
    local pipe = assert(io.popen(command))
    for line in pipe:lines() do
      if last then print_line(last) end
      last = line
    end
    pipe:close()
  until last ~= "more"
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
