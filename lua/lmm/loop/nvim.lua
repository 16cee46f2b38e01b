--- The loop inside Neovim: libuv's, which the editor runs. Tasks run where the whole of its API is allowed.
-- luacheck: globals vim
local errors = require "lmm.errors"
local luv = require "lmm.loop.luv"

local nvim = {}

local LONGEST = 1000 -- milliseconds; returning early is always right

function nvim.new()
  local self = luv.new(vim.uv or vim.loop, vim.schedule)

  --- The editor goes on meanwhile: it draws, and runs timers and scheduled functions.
  function self:run_once(deadline)
    if vim.in_fast_event() then
      errors.misuse "this would have to wait inside a callback of libuv's: call it in a task, by lmm.go(function() ... end)"
    end
    self.happened = false
    local patience = math.min(math.ceil(self:patience(deadline) * 1000), LONGEST)
    local _, why = vim.wait(patience, function() return self.happened end, 50)
    if why == -2 then error("interrupted", 0) end
  end

  self.rest = self.arm
  return self
end

return nvim
