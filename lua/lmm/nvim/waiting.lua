--- Shows that something is awaited, and for how many seconds it has been: virtual text behind a line, which moves along
--- with edits elsewhere.
-- luacheck: globals vim unpack
local api = vim.api

local waiting = {}

local namespace = api.nvim_create_namespace "lmm.waiting"
local clock = (vim.uv or vim.loop).hrtime -- nanoseconds

---@class lmm.nvim.Waiting
---@field buffer integer
---@field mark integer
---@field word string     what is going on
---@field begun number    by `clock`
---@field timer integer?  draws it once a second; nil when it has ended
local Waiting = {}
Waiting.__index = Waiting

function Waiting:draw()
  if not api.nvim_buf_is_loaded(self.buffer) then return self:stop() end
  local row, column = unpack(api.nvim_buf_get_extmark_by_id(self.buffer, namespace, self.mark, {}))
  if not row then return self:stop() end
  local seconds = math.floor((clock() - self.begun) / 1e9)
  local text = (" %s ... %d s (<C-c> cancels)"):format(self.word, seconds)
  api.nvim_buf_set_extmark(self.buffer, namespace, row, column, { id = self.mark, hl_mode = "combine",
    virt_text = { { text, "LmmWaiting" } } })
end

--- Says from now on that something else is going on.
---@param word string
function Waiting:say(word)
  if word == self.word then return end
  self.word = word
  self:draw()
end

--- Nothing is shown any more.
function Waiting:stop()
  if not self.timer then return end
  vim.fn.timer_stop(self.timer)
  self.timer = nil
  if api.nvim_buf_is_loaded(self.buffer) then api.nvim_buf_del_extmark(self.buffer, namespace, self.mark) end
end

--- Shows behind a line that an answer is awaited.
---@param buffer integer
---@param row integer  from 0
---@return lmm.nvim.Waiting
function waiting.start(buffer, row)
  vim.cmd "highlight default link LmmWaiting Comment"
  local self = setmetatable({ buffer = buffer, word = "waiting", begun = clock() }, Waiting)
  self.mark = api.nvim_buf_set_extmark(buffer, namespace, row, 0, {})
  self.timer = vim.fn.timer_start(1000, function() self:draw() end, { ["repeat"] = -1 })
  self:draw()
  return self
end

return waiting
