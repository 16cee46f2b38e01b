--- The loop inside Neovim: libuv's, which the editor runs. Tasks run where the whole of its API is allowed.
-- luacheck: globals vim
local errors = require "lmm.errors"
local luv = require "lmm.loop.luv"

local nvim = {}

local LONGEST = 100 -- milliseconds; Neovim 0.7 looks for Ctrl-C only when vim.wait ends

local function check(loop)
  if vim.in_fast_event() and not loop:running() then
    errors.misuse "this would have to wait in a callback of libuv's: call it in a task, lmm.go(function() ... end)"
  end
end

--- The editor goes on while it waits: it draws, and runs timers and scheduled functions.
local function run_host(loop, cell, deadline)
  local left = math.max(0, (deadline or math.huge) - loop:now())
  local function is_over() return cell.set or loop.raised ~= nil end
  local _, why = vim.wait(math.min(math.ceil(left * 1000), LONGEST), is_over, 50)
  if why == -2 then error("interrupted", 0) end
end

local function report(_, text)
  vim.schedule(function() vim.notify(text, vim.log.levels.ERROR) end)
end

function nvim.new()
  local loop = luv.new(vim.uv or vim.loop, vim.schedule)
  local spawn = loop.spawn
  loop.check, loop.run_host, loop.report = check, run_host, report

  function loop.interrupt() end -- vim.wait looks at the cell after each event

  function loop.finish_closing() end -- the editor's loop does

  --- A task is begun at once, but from a callback of libuv's it is begun where the editor's API is allowed.
  function loop:spawn(fn, done)
    if not vim.in_fast_event() then return spawn(self, fn, done) end
    local cell = {}
    local task = spawn(self, function()
      self:wait(cell)
      return fn()
    end, done)
    self:wake(cell)
    return task
  end

  return loop
end

return nvim
