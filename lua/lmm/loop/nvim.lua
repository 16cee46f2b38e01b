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

--- A wait outside of tasks, in which the editor goes on: it draws, and runs timers and scheduled functions.
local function run_once(loop, deadline)
  local before = loop.events -- counted, since a wait may be begun within another
  local patience = math.min(math.ceil(loop:patience(deadline) * 1000), LONGEST)
  local _, why = vim.wait(patience, function() return loop.events ~= before end, 50)
  if why == -2 then error("interrupted", 0) end
end

function nvim.new()
  local loop = luv.new(vim.uv or vim.loop, vim.schedule)
  local spawn = loop.spawn
  loop.events = 0
  loop.check, loop.run_once = check, run_once
  loop.rest = loop.arm

  function loop:stir()
    self.events = self.events + 1
  end

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
